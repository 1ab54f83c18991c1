"""The tools that measure (bench/load.c, bench/sink.c) count right: what they report is what happened."""

import json
import re
import socket
import subprocess

import pytest

import harness

PROGRAMS = harness.ROOT / "build"
LOAD, SINK = PROGRAMS / "bench_load", PROGRAMS / "bench_sink"


@pytest.fixture(scope="module", autouse=True)
def programs():
    """They belong to the plain build."""
    if not LOAD.exists() or not SINK.exists():
        pytest.skip("bench_load and bench_sink are not built (meson option bench)")


class Sink:
    def __init__(self, directory, *words):
        self.port, self.control = harness.free_port(), directory / "control"
        self.process = subprocess.Popen(
            [str(SINK), "-c", str(self.control), *words, f"127.0.0.1:{self.port}"], stdout=subprocess.PIPE, text=True
        )
        harness.wait_for(self.listens, 10, "the start of bench_sink")

    def listens(self):
        with socket.socket(socket.AF_UNIX) as s:
            return s.connect_ex(str(self.control)) == 0

    def wait(self, count, seconds=20):
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(str(self.control))
            s.sendall(f"wait {count} {seconds}\n".encode())
            return json.loads(s.makefile().readline())

    def close(self):
        if self.process.poll() is None:
            self.process.terminate()
        self.last, _ = self.process.communicate(timeout=10)


@pytest.fixture
def sink(place, tmp_path):
    s = Sink(tmp_path)
    place.things.append(s)
    return s


def load(port, *words, status=0):
    r = subprocess.run(
        [str(LOAD), *words, f"127.0.0.1:{port}"], capture_output=True, text=True, timeout=60 * harness.SLOW
    )
    assert r.returncode == status, r.stdout + r.stderr
    return json.loads(r.stdout)


CLEAN = {"duplicates": 0, "damaged": 0, "unknown": 0, "refused": 0}


def check(counters, **wanted):
    assert {k: counters[k] for k in {**CLEAN, **wanted}} == {**CLEAN, **wanted}


@pytest.mark.parametrize(
    "words, connections", [(["-k"], 7), ([], 300), (["-n", "10"], None)], ids=["kept", "each", "ten"]
)
@pytest.mark.parametrize("pipelining", [["-N"], []], ids=["waiting", "pipelining"])
def test_every_message_is_counted_once_at_both_ends(sink, words, connections, pipelining):
    result = load(sink.port, "-s", "7", "-m", "300", "-r", "3", *words, *pipelining)
    assert (result["accepted"], result["failed"], result["recipients"]) == (300, 0, 900)
    counters = sink.wait(300)
    check(counters, messages=300, recipients=900)
    if connections:
        assert result["connections"] == connections
    assert counters["connections"] == result["connections"]


def test_the_same_under_tls(place, tmp_path):
    cert, key = place.certificate()
    sink = Sink(tmp_path, "-C", str(cert), "-K", str(key))
    place.things.append(sink)
    assert load(sink.port, "-s", "5", "-m", "50", "-T", "-k", "-l", "100000")["accepted"] == 50
    check(sink.wait(50), messages=50, connections=5)


def test_a_message_that_comes_twice_is_noticed(sink):
    load(sink.port, "-m", "20", "-i", "0000abcd", "-k")
    check(sink.wait(20), messages=20)
    load(sink.port, "-m", "5", "-i", "0000abcd", "-k")
    check(sink.wait(25), messages=25, duplicates=5)
    load(sink.port, "-m", "5", "-i", "0000abce", "-k")
    check(sink.wait(30), messages=30, duplicates=5)


def test_one_message_in_two_parts_is_no_duplicate(sink):
    """A server may deliver to each recipient by itself."""
    peer_lines = b"Message-ID: <0000abcd.00000007@load.example>\r\nX-Load: 00000000\r\n\r\n"
    c = harness.Client("127.0.0.1", sink.port)
    c.hello()
    for recipient in ("0sink@sink.example", "1sink@sink.example"):
        c.send_message("a@b.example", [recipient], peer_lines)
    check(sink.wait(2), messages=2)
    c.send_message("a@b.example", ["1sink@sink.example"], peer_lines)
    check(sink.wait(3), messages=3, duplicates=1)
    c.socket.close()


def test_changed_content_is_noticed(sink, place):
    peer = place.peer(extensions=())
    load(peer.port, "-m", "1", "-l", "500", "-D")
    content = peer.messages[0]["data"]
    c = harness.Client("127.0.0.1", sink.port)
    c.hello()
    c.send_message("a@b.example", ["sink@sink.example"], stuffed(content))
    check(sink.wait(1), messages=1)
    changed = content[:-3] + b"#\r\n"
    assert len(changed) == len(content) and changed != content
    c.send_message("a@b.example", ["1sink@sink.example"], stuffed(changed))
    check(sink.wait(2), messages=2, damaged=1)
    c.send_message("a@b.example", ["2sink@sink.example"], b"Subject: nobody's\r\n\r\nhello\r\n")
    check(sink.wait(3), messages=3, damaged=1, unknown=1)
    c.socket.close()


def stuffed(content):
    return re.sub(rb"(?m)^\.", b"..", content)


def test_dotted_content_passes_a_server_unchanged(place, sink):
    relay = [{"to": "sink.example", "via": [{"host": f"127.0.0.1:{sink.port}"}]}]
    server = place.mx(routes=relay, trusted=["127.0.0.0/8"])
    result = load(server.port, "-s", "10", "-m", "200", "-k", "-D", "-r", "2", "-l", "3001", "-f", "alice@example.org")
    assert result["accepted"] == 200
    harness.wait_for(lambda: sink.wait(0, 0)["recipients"] == 400, 20, "all recipients at the sink")
    counters = sink.wait(0, 0)
    check(counters, recipients=400)
    assert counters["messages"] <= 400


def test_the_client_waits_for_every_reply_and_stuffs_dots(place):
    peer = place.peer()
    result = load(peer.port, "-N", "-s", "3", "-m", "30", "-D", "-l", "1000", "-L")
    assert result["accepted"] == len(peer.messages) == 30 and peer.early == 0
    assert 0 < result["latency_ms"]["p50"] <= result["latency_ms"]["max"] < 60000
    numbers = set()
    for message in peer.messages:
        header, _, body = message["data"].partition(b"\r\n\r\n")
        numbers.add(int(re.search(rb"Message-ID: <[0-9a-f]{8}\.(\d{8})@", header).group(1)))
        assert len(body) == 1000 and all(line.startswith(b".") for line in body.split(b"\r\n")[:-1])
    assert numbers == set(range(30))


def test_only_a_250_counts(place):
    peer = place.peer(answers={"DOT": ["250 2.0.0 Ok", "451 4.3.0 Not now", "250 2.0.0 Ok", None, "250 2.0.0 Ok"]})
    result = load(peer.port, "-N", "-m", "10", "-k", status=1)
    assert (result["accepted"], result["failed"]) == (8, 2)
    assert "451 4.3.0 Not now" in result["why"]


def test_a_refused_recipient_and_a_closed_port_are_failures(place):
    peer = place.peer(answers={"RCPT": "550 5.1.1 Nobody"})
    result = load(peer.port, "-m", "4", "-s", "2", status=1)
    assert (result["accepted"], result["failed"]) == (0, 4)
    result = load(harness.free_port(), "-m", "4", "-s", "2", status=1)
    assert (result["accepted"], result["failed"], result["connections"]) == (0, 4, 0)
    assert "refused" in result["why"]
