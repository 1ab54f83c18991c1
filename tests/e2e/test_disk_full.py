"""A file system that fills up: new mail is put off with 452 4.3.1, what is there is delivered, and then it goes on."""

import ctypes
import os
import random
import subprocess
import time

import pytest

import harness
from harness import wait_for
from load import Load, at_peer, in_maildirs, lost


CLONE_NEWNS = 0x00020000
FULL_ROUNDS = int(os.environ.get("YIZHAN_FULL_ROUNDS", "2" if harness.SANITIZED else "3"))


@pytest.fixture(scope="module")
def own_mounts():
    """What is mounted from here on is seen by this process and its servers alone, and goes with them."""
    libc = ctypes.CDLL(None, use_errno=True)
    if os.getuid() == 0 and libc.unshare(CLONE_NEWNS) == 0:
        subprocess.run(["mount", "--make-rprivate", "/"], capture_output=True)


@pytest.fixture
def small_disk(tmp_path, own_mounts):
    """A file system of 160 MB of its own, for root only."""
    if os.getuid() != 0:
        pytest.skip("mounting a small file system needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=160M", "tmpfs", str(disk)], capture_output=True, text=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"no small file system: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def fill(disk, leave):
    """Takes all space but this many octets, or fewer when others take some meanwhile."""
    ballast = disk / "ballast"
    with open(ballast, "wb") as f:
        for _ in range(100):
            s = os.statvfs(disk)
            try:
                os.posix_fallocate(f.fileno(), 0, max(s.f_bavail * s.f_frsize - leave, 1))
                break
            except OSError:
                continue
    return ballast


def server_on(place, disk, peer, domains=None, routes=None, log=None, pressure=None, **sections):
    """By default connections are accepted however full the disk is, so that the spool's own rules are seen."""
    return place.mx(
        spool={"path": str(disk / "spool"), "segment_size": "4M", **sections},
        admin={"socket": "{dir}/spool/control.sock"},
        routes=routes or [{"to": "*", "via": [{"host": f"127.0.0.1:{peer.port}"}]}],
        start=False,
        pressure=pressure or {"disk_critical": 0},
        **{k: v for k, v in {"domains": domains, "log": log}.items() if v},
    )


def try_message(server, size=1000):
    """The reply to a whole message, or to the command that was refused."""
    with server.client(trusted=True) as c:
        c.hello()
        for line in ("MAIL FROM:<alice@example.org>", "RCPT TO:<bob@dest.example>", "DATA"):
            code, text = c.command(line)
            if code >= 400:
                return code, text
        c.send(b"Subject: x\r\n\r\n" + (b"y" * 78 + b"\r\n") * (size // 80 + 1) + b".\r\n")
        return c.reply()


def test_a_full_disk_puts_off_and_recovers(place, small_disk):
    peer = place.peer(answers={"RCPT": "451 4.3.0 later"})
    server = server_on(place, small_disk, peer)
    (server.dir / "spool").mkdir()
    server.start()
    codes = [try_message(server)[0] for _ in range(10)]
    assert codes == [250] * 10
    ballast = fill(small_disk, 1 << 20)
    wait_for(lambda: codes.append(try_message(server)[0]) or codes[-1] == 452, what="a refusal for lack of space")
    taken = codes.count(250)
    code, text = try_message(server)
    assert code == 452 and "4.3.1" in text
    peer.answers.clear()
    server.command("queue", "retry", "--all", check=False)  # status 1 when all of them went meanwhile
    wait_for(lambda: len(peer.messages) == taken, 20, "the delivery of what was there")
    wait_for(server.queue_is_empty, what="an empty queue")
    ballast.unlink()
    wait_for(lambda: try_message(server)[0] == 250, what="accepting again")
    wait_for(lambda: len(peer.messages) == taken + 1, what="the new message")


def test_with_little_room_messages_wait_and_with_none_nobody_comes_in(place, small_disk):
    peer = place.peer()
    server = server_on(place, small_disk, peer, pressure={"interval": "20ms"}, reserve="32M", spare=0)
    (server.dir / "spool").mkdir()
    server.start()

    def state():
        return server.json("status")["receive"]["pressure"]["disk"]["state"]

    assert try_message(server)[0] == 250 and state() == "enough"
    ballast = fill(small_disk, 24 << 20)
    wait_for(lambda: state() == "short", what="short of room")
    code, text = try_message(server)
    assert code == 452 and "4.3.1" in text
    wait_for(lambda: len(peer.messages) == 1, what="a delivery all the same")
    ballast.unlink()
    ballast = fill(small_disk, 4 << 20)
    wait_for(lambda: state() == "critical", what="out of room")
    time.sleep(0.3)
    held = []
    for _ in range(32):  # each loop of the server lets one in that it was waiting for already
        held.append(server.client(trusted=True))
        if held[-1].silent(0.3):
            break
        held[-1].expect(421)
    else:
        raise AssertionError("connections are accepted on a full disk")
    ballast.unlink()
    held[-1].hello()
    wait_for(lambda: try_message(server)[0] == 250, what="accepting again")
    for c in held:
        c.close()
    for line in ("disk of the spool is nearly full", "disk of the spool is full", "disk space enough again"):
        wait_for(lambda: line in server.log(), what=line)


def test_a_disk_that_fills_up_inside_of_a_message(place, small_disk):
    """Without a reserve to warn it, the server meets the full disk in the middle of its writes."""
    peer = place.peer(answers={"RCPT": "451 4.3.0 later"})
    server = server_on(place, small_disk, peer, reserve="1")
    (server.dir / "spool").mkdir()
    server.start()
    assert try_message(server)[0] == 250
    ballast = fill(small_disk, 6 << 20)
    code, text = 250, ""
    taken = 1
    for _ in range(60):
        code, text = try_message(server, 1 << 20)
        if code != 250:
            break
        taken += 1
    assert code in (452, 451), text
    ballast.unlink()
    wait_for(lambda: try_message(server)[0] == 250, what="accepting again")
    taken += 1
    peer.answers.clear()
    server.command("queue", "retry", "--all", check=False)  # status 1 when all of them went meanwhile
    wait_for(lambda: len(peer.messages) >= taken and server.queue_is_empty(), 30, f"all {taken} messages")
    assert len(peer.messages) == taken


def test_a_restart_on_a_full_disk_delivers_what_is_there(place, small_disk):
    peer = place.peer(answers={"RCPT": "451 4.3.0 later"})
    server = server_on(place, small_disk, peer)
    (server.dir / "spool").mkdir()
    server.start()
    for _ in range(5):
        assert try_message(server)[0] == 250
    server.kill()
    ballast = fill(small_disk, 0)
    peer.answers.clear()
    server.start()
    wait_for(lambda: len(peer.messages) == 5, 20, "the delivery")
    assert try_message(server)[0] == 452
    ballast.unlink()
    wait_for(lambda: try_message(server)[0] == 250, what="accepting again")


def test_a_disk_that_fills_and_empties_under_load_loses_nothing(place, small_disk):
    """Spool and mailboxes lie on it. It is full to the last octet several times, while mail comes in and goes out; every
    second time the server is killed then, and starts on the full disk."""
    peer = place.peer(answers={"RCPT": lambda *_: "451 4.3.0 later" if random.random() < 0.2 else True})
    server = server_on(
        place,
        small_disk,
        peer,
        reserve="1",
        domains={"example.org": {"deliver": f"maildir:{small_disk}/mail/{{local}}"}},
        routes=[{"to": "*@dest.example", "via": [{"host": f"127.0.0.1:{peer.port}"}]}],
        log={"format": "text", "level": "warning"},
    )
    (server.dir / "spool").mkdir()
    server.start()
    load = Load(server, ["a@dest.example", "b@dest.example", "c@example.org", "d@example.org"])
    kills = 0
    for i in range(FULL_ROUNDS):
        time.sleep(random.uniform(0.2, 0.5) * harness.SLOW)
        ballast = fill(small_disk, random.choice((0, 20_000, 300_000, 2 << 20)))
        time.sleep(random.uniform(0.3, 1.2) * harness.SLOW)
        if i % 2:
            server.kill()
            kills += 1
            server.start()
            time.sleep(random.uniform(0.1, 0.5) * harness.SLOW)
        ballast.unlink()
    before = len(load.acknowledged)
    wait_for(lambda: len(load.acknowledged) > before + 20, 20, "accepting again")
    load.stop()
    wait_for(server.queue_is_empty, 60, "an empty queue")
    seen = at_peer(peer) + in_maildirs(small_disk / "mail")
    missing = lost(load, seen)
    assert not missing, f"{len(missing)} of {len(load.acknowledged)} acknowledged messages were lost: {missing[:10]}"
    twice = sum(n - 1 for n in seen.values())
    refused = sum(n for code, n in load.codes.items() if code in (451, 452))
    print(
        f"{FULL_ROUNDS} times full, {kills} kills, {len(load.acknowledged)} acknowledged, {refused} put off, {twice} twice"
    )
    assert refused > 0
    assert kills or not twice
