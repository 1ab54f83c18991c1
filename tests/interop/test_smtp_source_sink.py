"""Postfix's load tools: smtp-source as the client, smtp-sink as the next hop, in all their moods. Every message that was
accepted is delivered once, or its sender gets one bounce."""

import re
import time
from collections import Counter

import pytest

import harness
from harness import reports, wait_for
from postfix_tools import Sink, Source, Unavailable, unpack


@pytest.fixture(scope="module")
def tools():
    try:
        return unpack()
    except Unavailable as e:
        pytest.skip(str(e))


@pytest.fixture
def source(tools):
    return Source(tools)


@pytest.fixture
def sink(place, tools):
    """sink(options...) starts an smtp-sink."""

    def make(*options, **where):
        s = Sink(*options, root=tools, **where)
        place.things.append(s)
        return s

    return make


def relaying(place, via, **sections):
    """Sends all mail for sink.example there. The senders' domain ends here, so that bounces can be counted."""
    return place.mx(
        domains=["source.example"],
        routes=[{"to": "*", "via": [via]}],
        trusted=["127.0.0.0/8"],
        log={"format": "text", "level": "warning"},
        **sections,
    )


def to(sink):
    return {"lmtp": f"unix:{sink.unix}"} if sink.unix else {"host": f"127.0.0.1:{sink.port}"}


def identities(dumps):
    """How often each message is there. A sink that ended in the middle leaves pieces without a Message-Id."""
    found = (re.search(r"^Message-Id: (\S+)$", d["content"], re.M | re.I) for d in dumps)
    return Counter(m.group(1) for m in found if m)


def is_empty(server, timeout=60):
    wait_for(server.queue_is_empty, timeout, "an empty queue")


def bounces(server, local="source"):
    return reports(server.maildir("source.example", local))


# --- smtp-source's options ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options,messages,recipients",
    [
        (["-m", "200"], 200, 1),
        (["-m", "300", "-s", "20"], 300, 1),
        (["-m", "300", "-s", "20", "-d"], 300, 1),
        (["-m", "50", "-s", "5", "-r", "20"], 50, 20),
        (["-m", "100", "-s", "10", "-N"], 100, 1),
        (["-m", "60", "-s", "6", "-r", "3", "-N", "-d"], 60, 3),
        (["-m", "20", "-l", "1"], 20, 1),
        (["-m", "20", "-s", "4", "-l", "100000"], 20, 1),
        (["-m", "4", "-s", "2", "-l", "5000000"], 4, 1),
        (["-m", "10", "-T", "1000", "-l", "50000"], 10, 1),
        (["-m", "30", "-o"], 0, 1),
        (["-m", "60", "-s", "6", "-R", "1"], 60, 1),
        (["-m", "40", "-s", "100"], 40, 1),
        (["-m", "5", "-S", "a subject"], 5, 1),
        (["-m", "5", "-r", "900"], 5, 900),
    ],
)
def test_all_that_smtp_source_sends_arrives_once(place, source, sink, options, messages, recipients):
    next_hop = sink(dump=True)
    server = relaying(place, to(next_hop))
    if "-o" in options:  # without HELO: refused, as it should be
        with pytest.raises(AssertionError):
            source.run(*options, port=server.port)
        return
    source.run(*options, port=server.port)
    is_empty(server)
    wait_for(
        lambda: sum(len(d["rcpt"]) for d in next_hop.dumps()) >= messages * recipients, 20, "all recipients at the sink"
    )
    dumps = next_hop.dumps()
    got = Counter((identity, r) for d in dumps for identity in identities([d]) for r in d["rcpt"])
    assert len(got) == messages * recipients and max(got.values()) == 1
    assert bounces(server) == []


def test_content_of_a_large_message_arrives_whole(place, source, sink):
    next_hop = sink(dump=True)
    server = relaying(place, to(next_hop))
    source.run("-m", "2", "-l", "3000000", port=server.port)
    is_empty(server)
    wait_for(lambda: len(next_hop.dumps()) == 2)
    for d in next_hop.dumps():
        assert abs(len(re.sub(r"[^X]", "", d["content"].split("\n\n", 1)[1])) - 3000000) < 200000


def test_a_source_that_goes_away_leaves_nothing_behind(place, source, sink):
    next_hop = sink()
    server = relaying(place, to(next_hop))
    for _ in range(5):
        process = source.start("-m", "100000", "-s", "20", "-d", "-l", "20000", port=server.port)
        time.sleep(0.3)
        process.kill()
        process.communicate()
    is_empty(server)
    wait_for(
        lambda: server.json("status")["receive"]["sessions"] == 0 if "receive" in server.json("status") else True,
        what="no sessions",
    )


def test_lmtp_from_smtp_source(place, source):
    port = harness.free_port()
    server = place.mx(port=port, domains=["sink.example"], listen=[{"address": [f"127.0.0.1:{port}"], "role": "lmtp"}])
    source.run("-L", "-m", "50", "-s", "5", "-r", "3", port=port)
    is_empty(server)
    assert (
        sum(len(server.maildir("sink.example", p.name)) for p in (server.dir / "mail" / "sink.example").iterdir())
        == 150
    )


# --- smtp-sink as the next hop -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        ["-p"],
        ["-e"],
        ["-8"],
        ["-N"],
        ["-E"],
        ["-P"],
        ["-a"],
        ["-p", "-8", "-N", "-E"],
        ["-w", "1"],
        ["-W", ".:1"],
        ["-T", "1000"],
        ["-h", "other.example"],
    ],
)
def test_sinks_that_can_less_or_are_slow(place, source, sink, options):
    next_hop = sink(*options, dump=True)
    server = relaying(place, to(next_hop))
    source.run("-m", "40", "-s", "10", "-d", "-l", "3000", port=server.port)
    is_empty(server)
    wait_for(lambda: len(next_hop.dumps()) >= 40)
    assert len(identities(next_hop.dumps())) == 40 and max(identities(next_hop.dumps()).values()) == 1


@pytest.mark.parametrize("target", ["tcp", "unix"])
@pytest.mark.parametrize("recipients", ["1", "5"])
def test_lmtp_sink(place, source, sink, target, recipients):
    next_hop = sink("-L", unix=str(place.tmp / "sink") if target == "unix" else None, dump=True)
    server = relaying(place, to(next_hop) if target == "unix" else {"lmtp": f"127.0.0.1:{next_hop.port}"})
    source.run("-m", "60", "-s", "6", "-r", recipients, port=server.port)
    is_empty(server)
    wait_for(lambda: sum(len(d["rcpt"]) for d in next_hop.dumps()) >= 60 * int(recipients))
    got = Counter((identity, r) for d in next_hop.dumps() for identity in identities([d]) for r in d["rcpt"])
    assert len(got) == 60 * int(recipients) and max(got.values()) == 1
    assert {d["proto"] for d in next_hop.dumps()} == {"LMTP"}


STEPS = ["CONNECT", "EHLO", "MAIL", "RCPT", "DATA", "."]


@pytest.mark.parametrize("step", STEPS)
def test_a_sink_that_refuses_for_good_makes_one_bounce_each(place, source, sink, step):
    """-f: 5xx. At CONNECT and EHLO it is the server that is unwilling, not the message: those may wait."""
    next_hop = sink("-f", step)
    server = relaying(place, to(next_hop), queue={"expire": "3s", "warn": "never"})
    source.run("-m", "30", "-s", "5", port=server.port)
    is_empty(server)
    if step == "EHLO":  # HELO works there
        assert len(bounces(server)) + next_hop.counters()["mesg"] == 30
    else:
        assert len(bounces(server)) == 30


@pytest.mark.parametrize("option", ["-r", "-q", "-Q"])
@pytest.mark.parametrize("step", STEPS)
def test_a_sink_that_is_unable_for_now(place, source, sink, option, step):
    """-r: 4xx, -q: closes without a word, -Q: 421. The mail waits, until a better one takes its place."""
    bad = sink(option, step)
    server = relaying(place, to(bad), queue={"retry": ["500ms"]})
    source.run("-m", "20", "-s", "4", port=server.port)
    if step == "EHLO" and option == "-r":
        pass  # HELO may do
    else:
        wait_for(
            lambda: server.rows() and all(r["attempts"] >= 1 for row in server.rows()[:1] for r in row["recipients"]),
            20,
            "attempts",
        )
        assert server.summary()["messages"] == 20
    delivered = bad.counters()["mesg"]
    bad.close()
    good = sink(port=bad.port, dump=True)
    is_empty(server)
    wait_for(lambda: len(good.dumps()) + (delivered if step == "EHLO" else 0) >= 20)
    assert max(identities(good.dumps()).values(), default=1) == 1
    assert bounces(server) == []
    place.things.remove(bad)


@pytest.mark.parametrize("option", ["-r", "-q", "-Q", "-f"])
@pytest.mark.parametrize("step", ["QUIT", "RSET"])
def test_trouble_at_the_end_of_a_session_does_not_matter(place, source, sink, option, step):
    next_hop = sink(option, step, dump=True)
    server = relaying(place, to(next_hop))
    source.run("-m", "40", "-s", "8", "-d", port=server.port)
    is_empty(server)
    wait_for(lambda: len(next_hop.dumps()) >= 40)
    assert len(identities(next_hop.dumps())) == 40 and max(identities(next_hop.dumps()).values()) == 1
    assert bounces(server) == []


def test_a_sink_that_hangs_up_at_random(place, source, sink):
    """-A: aborts after DATA; -M: goes away after some messages, and comes back."""
    server = relaying(place, {"host": f"127.0.0.1:{(port := harness.free_port())}"}, queue={"retry": ["300ms"]})
    source.run("-m", "200", "-s", "10", port=server.port)
    seen = Counter()
    for _ in range(50):
        if server.queue_is_empty():
            break
        short = sink("-M", "10", port=port, dump=True)
        wait_for(lambda: short.process.poll() is not None or server.queue_is_empty(), 60, "ten messages")
        seen += identities(short.dumps())
    is_empty(server)
    assert len(seen) == 200
    assert bounces(server) == []


def test_a_premature_550_after_data_bounces(place, source, sink):
    next_hop = sink("-A", "0")
    server = relaying(place, to(next_hop), queue={"expire": "5s", "warn": "never"})
    source.run("-m", "10", "-s", "2", "-l", "200000", port=server.port)
    is_empty(server)
    assert len(bounces(server)) == 10
