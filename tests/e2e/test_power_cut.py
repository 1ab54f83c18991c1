"""A power cut at any moment of the real server's life.

Everything that `yizhan serve` writes under load is recorded (tests/shim/record.c) and played onto a disk that keeps only
what was synced and any part of the rest (disk.py). From many points of the record images of that disk are made; the spool
recovers each of them, and everything that was acknowledged before the cut has to be in it or durably delivered, with its
exact bytes.

YIZHAN_POWER_IMAGES says how many (300); the long run has 5,000 and more. YIZHAN_POWER_SEED repeats the choice of cuts for
a record that is kept with YIZHAN_KEEP."""

import os
import random
import shutil
import tempfile
from pathlib import Path

import pytest

import harness
import power
from conftest import Place
from disk import Cut, Directory, Disk, read_record
from harness import SANITIZED, wait_for

IMAGES = int(os.environ.get("YIZHAN_POWER_IMAGES", "150" if SANITIZED else "300"))
SEED = int(os.environ.get("YIZHAN_POWER_SEED", "0")) or random.randrange(1, 1 << 32)
LINES, LIVES = 5000, 4


@pytest.fixture(scope="module")
def memory():
    """A directory in memory: images are many and short-lived."""
    shm = Path("/dev/shm")
    path = Path(tempfile.mkdtemp(prefix="yizhan-power-", dir=shm if os.access(shm, os.W_OK) else None))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def recording(tmp_path_factory, memory):
    place = Place(tmp_path_factory.mktemp("power"))
    (memory / "server").mkdir()
    yield power.Recording(place, memory / "server", LINES, LIVES)
    place.close()


def cuts(recording, count, seed, deaf=()):
    """(number of the event before which the power goes, the disk then, the cut)"""
    dice = random.Random(seed)
    disk = Disk(recording.root, deaf)
    points = sorted(recording.moment(dice) for _ in range(count))
    at = 0
    for point in points:
        while at < point:
            disk.play(recording.events[at])
            at += 1
        yield point, disk, Cut(disk, dice, recording.events[point])


def spool_of(tree, cut, path):
    """Writes the spool of an image to `path`."""
    shutil.rmtree(path, ignore_errors=True)
    power.write_tree(path, {k: v for k, v in tree.get("spool", {}).items() if k != "journal"}, cut)


def describe(problems, point, cut, recording):
    return (
        f"seed {SEED}, cut before line {point} of {len(recording.events)} ({cut.temper}, {cut.share:.2f}): "
        + "\n".join(problems[:12])
        + f"\nrecord and data: {recording.server.dir}"
    )


def look_at(recording, path, count, seed, deaf=(), stop=False):
    """Recovers so many images. Returns the examiner and the problems; stop: raises at the first."""
    examiner, recoverer, bad = power.Examiner(recording), power.Recoverer(), []
    for point, _, cut in cuts(recording, count, seed, deaf):
        tree = cut.tree()
        spool_of(tree, cut, path)
        problems = examiner.check(point, *recoverer.look(path), examiner.mail.read(tree, cut))
        if (path / "quarantine").exists():
            problems.append(f"quarantine: {os.listdir(path / 'quarantine')}")
        assert not (problems and stop), describe(problems, point, cut, recording)
        bad += problems
    recoverer.close()
    return examiner, bad


def test_the_record_says_what_the_disk_really_holds(recording):
    """Else a call is missing in the recorder."""
    disk = Disk(recording.root)
    for event in recording.events:
        disk.play(event)
    assert not list(disk.differences())
    counts = recording.counts()
    print(counts)
    assert all(counts[k] > 0 for k in ("recycled", "notes", "removals", "seals", "spanning segments", "moved by compaction")), counts
    assert counts["segments"] > 10 and counts["acknowledged"] > 100


def tree_of(path):
    return {p.name: tree_of(p) if p.is_dir() else p.read_bytes() for p in path.iterdir() if not p.is_socket()}


def nodes_of(directory):
    return {n: nodes_of(d) if isinstance(d, Directory) else d for n, d in directory.now.items()}


def test_what_was_acknowledged_survives_a_power_cut_at_any_moment(recording, memory):
    examiner, _ = look_at(recording, memory / "image", IMAGES, SEED, stop=True)
    print(
        f"seed {SEED}: {examiner.images} images, {examiner.found} messages recovered, {examiner.torn} with a torn end, "
        f"{examiner.again} recipients that would get their message twice"
    )
    assert examiner.found > examiner.images and examiner.torn > 0


def test_a_second_cut_during_the_recovery_loses_nothing_either(recording, memory):
    """The recovery of an image is recorded and cut, too."""
    dice, images, firsts = random.Random(SEED), 0, max(10, IMAGES // 30)
    record, root = memory / "again", memory / "image"
    plain, examiner = power.Recoverer(), power.Examiner(recording)
    for point, _, cut in cuts(recording, firsts, SEED + 1):
        tree = cut.tree()
        mail = examiner.mail.read(tree, cut)
        spool_of(tree, cut, root)
        start = tree_of(root)
        record.unlink(missing_ok=True)
        first = power.Recoverer((record, root))
        examiner.check(point, *first.look(root), mail)
        first.close()
        events = read_record(record)
        for number in sorted(dice.randrange(1, len(events)) for _ in range(6)):
            disk = Disk(root)
            disk.load(start)
            for event in events[:number]:
                disk.play(event)
            second = Cut(disk, dice, events[number])
            shutil.rmtree(root)
            power.write_tree(root, second.tree(), second)
            problems = examiner.check(point, *plain.look(root), mail)
            assert not problems, f"cut again before line {number} ({second.temper}): " + describe(
                problems, point, cut, recording
            )
            images += 1
    plain.close()
    print(f"{firsts} recoveries cut at {images} moments")


def drained(recording, directory):
    """Starts the server on an image, waits until its queue is empty, stops it. What is then on the disk."""
    config = harness.configuration(recording.server.port, **power.sections(recording.remote))
    server = harness.Server(config, directory=directory)
    try:
        server.start(wait=False)
        wait_for(lambda: server.command("status", check=False).returncode == 0, 15, "the start on an image")
        wait_for(server.queue_is_empty, 30, "an empty queue")
        assert server.stop() == 0, server.log()
        assert "error" not in server.log().lower() and "critical" not in server.log().lower(), server.log()
        return tree_of(directory / "root")
    finally:
        server.close()


def test_the_real_server_delivers_what_an_image_holds(recording, memory):
    """Not the spool alone: `yizhan serve` starts on whole images, and every recipient gets the message."""
    remote, examiner, directory = recording.remote, power.Examiner(recording), memory / "start"
    remote.patient = False
    for point, _, cut in cuts(recording, max(3, IMAGES // 50), SEED + 2):
        directory.mkdir()
        tree, remote.taken = cut.tree(), []
        problems = examiner.mail.read(tree, cut)[2]
        power.write_tree(directory / "root", tree, cut)
        after = Disk(directory / "root")
        after.load(drained(recording, directory))
        delivered, bounced, more = examiner.mail.read(nodes_of(after.top), cut)
        done = delivered | bounced | set(remote.taken)
        problems += more + [
            f"{r} of {m.id} never came"
            for m in recording.messages
            if recording.acknowledged[m.id] < point
            for r in m.recipients
            if r not in done and recording.taken.get(r, point) >= point
        ]
        assert not problems, describe(problems, point, cut, recording)


@pytest.mark.parametrize("deaf", ["data", "names"])
def test_a_server_that_did_not_sync_would_be_caught(recording, memory, deaf):
    """The same checks on a disk that ignores syncs of this kind: they must fail."""
    _, bad = look_at(recording, memory / "image", 25, SEED, deaf=(deaf,))
    assert any("is lost" in b for b in bad), bad[:5]


def test_a_server_that_answered_too_early_would_be_caught(recording, memory, monkeypatch):
    """As if each 250 had gone out when the sync of its batch began."""
    begin, early = 0, {}
    numbers = {n: i for i, n in recording.acknowledged.items()}
    for number, event in enumerate(recording.events):
        begin = number if event.kind == "b" and event.b == 0 else begin
        if number in numbers:
            early[numbers[number]] = begin
    monkeypatch.setattr(recording, "acknowledged", early)
    _, bad = look_at(recording, memory / "image", 200, SEED)
    assert any("is lost" in b for b in bad), bad[:5]
