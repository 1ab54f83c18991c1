"""kill -9 and SIGSTOP at random moments under load: what got its 250 is never lost, and comes twice only when the crash fell
between the remote 250 and its record, or when a client or a peer gave up waiting after the dot.

YIZHAN_CRASH_ROUNDS says how often the server is killed in each test (12, under sanitizers 8), YIZHAN_STOP_ROUNDS how often
it is stopped (2, 1). The long runs are in docs/RELIABILITY.md."""

import os
import random
import signal
import struct
import time

import pytest

import harness
from harness import wait_for
from load import Load, at_peer, in_maildirs, lost, name_of

ROUNDS = int(os.environ.get("YIZHAN_CRASH_ROUNDS", "8" if harness.SANITIZED else "12"))
DRAIN = 60 + ROUNDS / 2  # seconds for what has gathered meanwhile
STOPS = int(os.environ.get("YIZHAN_STOP_ROUNDS", "1" if harness.SANITIZED else "2"))


def kill_and_restart(server, rounds):
    """Kills the server `rounds` times at moments that nobody chose, and returns all of them."""
    kills = []

    def kill():
        kills.append(time.monotonic())
        server.kill()

    for i in range(rounds):
        time.sleep(random.uniform(0.02, 0.4) * harness.SLOW)
        if i % 4 == 3:  # now and then while it is still starting
            kill()
            server.start(wait=False)
            time.sleep(random.uniform(0, 0.1))
        kill()
        server.start()
    return kills


def parted_by(moments, first, second):
    """Those between two deliveries. The peer may have read a message a moment after its sender was gone."""
    return [c for c in moments if first - 0.5 * harness.SLOW <= c <= second]


def test_every_acknowledged_message_reaches_the_next_server(place):
    """Duplicates are allowed only for transactions whose 250 the peer gave in the last two seconds before a crash."""
    peer = place.peer()
    server = place.mx(
        routes=[{"to": "*", "via": [{"host": f"127.0.0.1:{peer.port}"}]}], log={"format": "text", "level": "warning"}
    )
    peer.answers["DOT"] = lambda message, _: message.update(when=time.monotonic()) or True
    load = Load(server, [f"r{i}@d{i % 3}.example" for i in range(20)])
    crashes = kill_and_restart(server, ROUNDS)
    load.stop()
    wait_for(server.queue_is_empty, DRAIN, "an empty queue")
    seen, missing = at_peer(peer), lost(load, at_peer(peer))
    assert not missing, f"{len(missing)} of {len(load.acknowledged)} acknowledged messages were lost: {missing[:10]}"
    last, worst = {}, 0.0
    for message in sorted(peer.messages, key=lambda m: m["when"]):
        for key in [(name_of(message["data"]), to) for to in message["to"]]:
            if key in last:
                between = parted_by(crashes, last[key], message["when"])
                assert between, f"{key} was delivered twice without a crash in between"
                late = min(between) - last[key]
                worst = max(worst, late)
                assert late < 2 * harness.SLOW, f"{key} was delivered {late:.2f} s before the crash and once more"
            last[key] = message["when"]
    print(
        f"{len(crashes)} kills, {len(load.acknowledged)} acknowledged messages to {sum(map(len, load.acknowledged.values()))} "
        f"recipients, {sum(c - 1 for c in seen.values())} of them had it twice, at most {worst:.3f} s before the kill"
    )
    assert len(load.acknowledged) > 10 * ROUNDS**0.5


def test_every_acknowledged_message_reaches_its_maildir(place):
    server = place.mx(log={"format": "text", "level": "warning"})
    load = Load(server, [f"r{i}@example.org" for i in range(5)])
    kills = kill_and_restart(server, ROUNDS)
    load.stop()
    wait_for(server.queue_is_empty, DRAIN, "an empty queue")
    seen = in_maildirs(server.dir / "mail")
    missing = lost(load, seen)
    assert not missing, f"{len(missing)} of {len(load.acknowledged)} acknowledged messages were lost: {missing[:10]}"
    print(
        f"{len(kills)} kills, {len(load.acknowledged)} acknowledged, {sum(c - 1 for c in seen.values())} twice in a Maildir"
    )


def test_small_segments_are_rolled_and_compacted_under_crashes(place):
    peer = place.peer(answers={"RCPT": lambda *_: "451 4.3.0 later" if random.random() < 0.3 else True})
    server = place.mx(
        routes=[{"to": "*", "via": [{"host": f"127.0.0.1:{peer.port}"}]}],
        spool={"path": "{dir}/spool", "segment_size": "256K", "compact_after": "100ms", "compact_percent": 60},
        log={"format": "text", "level": "warning"},
    )
    load = Load(server, ["bob@dest.example", "carol@dest.example"])
    kills = kill_and_restart(server, max(3, ROUNDS // 3))
    load.stop()
    wait_for(server.queue_is_empty, DRAIN, "an empty queue")
    assert not lost(load, at_peer(peer))
    size = sum(p.stat().st_size for p in (server.dir / "spool").rglob("*") if p.is_file() and "journal" not in str(p))
    assert size < 8 << 20, f"the spool of an empty queue has {size} octets"
    print(f"{len(kills)} kills, {len(load.acknowledged)} acknowledged")


# --- stopped for seconds ---------------------------------------------------------------------------------------------------


def stop_and_continue(server, rounds, seconds):
    """SIGSTOP at moments that nobody chose. Returns when it began and ended, each time."""
    stops = []
    for _ in range(rounds):
        time.sleep(random.uniform(0.1, 0.6) * harness.SLOW)
        begin = time.monotonic()
        server.process.send_signal(signal.SIGSTOP)
        time.sleep(seconds * random.uniform(1.0, 1.3))
        server.process.send_signal(signal.SIGCONT)
        stops.append((begin, time.monotonic()))
    time.sleep(0.5)
    return stops


def test_a_server_that_is_stopped_for_seconds_loses_nothing(place):
    """Its clients give up waiting and send again what had no reply; its peer hangs up on the silent connection; its own
    time-outs pass while it can't look. Nobody but a client that did not wait for its 250 makes a second copy."""
    wait = 1.0 * harness.SLOW
    peer = place.peer(timeout=wait)
    server = place.mx(
        routes=[{"to": "*@dest.example", "via": [{"host": f"127.0.0.1:{peer.port}"}]}],
        deliver={"dot_timeout": f"{int(wait * 1000)}ms", "command_timeout": f"{int(wait * 1000)}ms"},
        limits={"command_timeout": f"{int(wait * 1000)}ms", "data_timeout": f"{int(wait * 1000)}ms"},
        log={"format": "text", "level": "warning"},
    )
    peer.answers["DOT"] = lambda *_: time.sleep(random.choice((0, 0.001, 0.02))) or True
    load = Load(
        server, ["a@dest.example", "b@dest.example", "c@example.org"], timeout=wait / harness.SLOW, again=True
    )
    stops = stop_and_continue(server, STOPS, 2 * wait)
    load.stop()
    wait_for(server.queue_is_empty, DRAIN, "an empty queue")
    seen = at_peer(peer) + in_maildirs(server.dir / "mail")
    assert not lost(load, seen)
    more = {key: n for key, n in seen.items() if n > load.dots[key[0]]}
    twice = sum(n - 1 for n in seen.values())
    print(
        f"{len(stops)} stops of {2 * wait:.0f} s and more, {len(load.acknowledged)} acknowledged, {twice} recipients had it "
        f"twice, {len(more)} of them without a client that sent it twice"
    )
    assert not more, more


# --- a torn spool ----------------------------------------------------------------------------------------------------------


def segments(server):
    """The files of the log, oldest first."""
    found = [
        p
        for p in (server.dir / "spool").rglob("*")
        if p.is_file() and p.stat().st_size > 0 and "journal" not in str(p) and "lock" not in p.name
    ]
    return sorted(found, key=lambda p: p.name)


@pytest.fixture
def filled(place):
    """A server that was killed with three messages held in its spool; their ids."""
    server = place.mx(routes=[{"to": "*", "via": ["hold"]}])
    ids = [
        server.submit("alice@example.org", f"r{i}@dest.example", b"Subject: %d\r\n\r\n" % i + b"body\r\n" * 500)
        for i in range(3)
    ]
    server.kill()
    return server, ids


def test_a_torn_tail_is_cut_off_and_said(filled):
    server, ids = filled
    last = segments(server)[-1]
    data = last.read_bytes().rstrip(b"\0")
    last.write_bytes(data + b"\x00\x01garbage of a write that was not finished" * 3)
    server.start()
    assert {r["id"] for r in server.rows()} == set(ids)


def test_a_tail_cut_anywhere_loses_only_what_was_not_whole(filled):
    server, ids = filled
    last = segments(server)[-1]
    whole = last.read_bytes()
    end = len(whole.rstrip(b"\0"))
    for cut in random.sample(range(end // 2, end), 12):
        last.write_bytes(whole[:cut])
        server.start()
        found = [r["id"] for r in server.rows()]
        assert found == ids[: len(found)] and set(found) <= set(ids), cut
        server.kill()
        for p in segments(server):
            p.unlink()
        last.write_bytes(whole)


def test_a_damaged_record_in_the_middle_costs_only_itself(filled):
    server, ids = filled
    first = segments(server)[0]
    data = bytearray(first.read_bytes())
    at = data.index(b"Subject: 1")
    data[at + 200] ^= 0xFF
    first.write_bytes(data)
    server.start()
    found = {r["id"] for r in server.rows()}
    assert {ids[0], ids[2]} <= found
    assert "checksum" in server.log().lower() or "damaged" in server.log().lower(), server.log()


def test_rot_under_a_running_server_is_not_delivered(place):
    """The octets on the disk change while the message waits. The first 64 KiB may be on the way when it is seen: the peer
    never gets an end, the log names the message, and others are delivered."""
    peer = place.peer(answers={"RCPT": "451 4.3.0 later"})
    server = place.mx(routes=[{"to": "*", "via": [{"host": f"127.0.0.1:{peer.port}"}]}])
    body = b"Subject: rot\r\n\r\n" + b"".join(b"line %06d of a long body\r\n" % i for i in range(20000))
    rotten = server.submit("alice@example.org", "r@dest.example", body)
    whole = server.submit("alice@example.org", "s@dest.example")
    for path in segments(server):
        data = bytearray(path.read_bytes())
        at = data.find(b"line 015000")
        if at >= 0:
            data[at + 7] ^= 0x01
            with open(path, "r+b") as f:
                f.seek(at)
                f.write(data[at : at + 16])
    peer.answers.clear()
    wait_for(lambda: len(peer.messages) == 1, what="the other message")
    wait_for(lambda: any(rotten in x and " error " in x for x in server.log().splitlines()), 10, "a line in the log")
    time.sleep(0.5)
    assert [m["to"] for m in peer.messages] == [["TO:<s@dest.example>"]]
    assert whole not in {r["id"] for r in server.rows()} and rotten in {r["id"] for r in server.rows()}


def crc32c(data):
    crc = 0xFFFFFFFF
    for octet in data:
        crc ^= octet
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def test_a_newer_version_of_the_format_is_refused_and_left_alone(filled):
    """Docs/SPOOL.md: in both copies of a segment's header the version and the size of a copy stand behind the magic."""
    server, _ = filled
    for path in segments(server):
        data = bytearray(path.read_bytes())
        if not data.startswith(b"Yizhan"):
            continue
        size = struct.unpack_from("<I", data, 12)[0]
        for at in (0, size):
            struct.pack_into("<I", data, at + 8, 99)
            struct.pack_into("<I", data, at + size - 4, crc32c(data[at : at + size - 4]))
        path.write_bytes(data)
    before = {p: p.read_bytes() for p in segments(server)}
    server.start(wait=False)
    assert server.process.wait(15 * harness.SLOW) == 1, server.log()
    assert "newer version" in server.log()
    assert {p: p.read_bytes() for p in segments(server)} == before
    server.process = None
