"""What receivers are given: limits of sites and providers, and what is learned from receivers that want less."""

import threading
import time

import pytest

import outgoing
from harness import wait_for
from outgoing import SENDER


@pytest.fixture
def net(place):
    return outgoing.Net(place)


def all_arrived(peers, count, timeout=20):
    wait_for(lambda: sum(len(p.messages) for p in peers) >= count, timeout, f"{count} messages")
    assert sum(len(p.messages) for p in peers) == count


class Together:
    """Peers that count how many connections they have all together, and take their time."""

    def __init__(self, net, count, pause=0.05):
        self.peers, self.most, self.pause = [], 0, pause
        for i in range(1, count + 1):
            self.peers.append(net.host(i, answers={"DOT": self.look}))
            net.mx((10, i), domain=f"d{i}.example")

    def look(self, *_):
        self.most = max(self.most, sum(len(p.open_connections) for p in self.peers))
        time.sleep(self.pause)
        return True


def test_the_sites_of_a_provider_share_its_connections(net):
    together = Together(net, 3)
    server = net.server(
        shaping={"providers": {"acme": {"hosts": [".dest.example"], "all_connections": 2}}}, threads=2
    )
    for i in range(20):
        for domain in (1, 2, 3):
            server.submit(SENDER, f"bob{i}@d{domain}.example")
    all_arrived(together.peers, 60)
    assert together.most <= 2
    assert all(len(p.messages) == 20 for p in together.peers)


def test_without_a_limit_there_are_more(net):
    together = Together(net, 3, pause=0.3)
    server = net.server(threads=2)
    for i in range(20):
        for domain in (1, 2, 3):
            server.submit(SENDER, f"bob{i}@d{domain}.example")
    all_arrived(together.peers, 60)
    assert together.most > 2


def test_a_connection_carries_as_many_messages_as_the_site_likes(net):
    busy, most = set(), [0]

    def dot(_, number):
        busy.add(number)
        most[0] = max(most[0], len(busy))
        time.sleep(0.05)
        busy.discard(number)
        return True

    peer = net.host(1, answers={"DOT": dot})
    net.mx((10, 1))
    server = net.server(
        shaping={"sites": [{"hosts": ["mx?.dest.example"], "connections": 1, "messages_per_connection": 4}]}
    )
    for i in range(20):
        server.submit(SENDER, f"bob{i}@dest.example")
    all_arrived([peer], 20)
    assert most[0] == 1
    assert 5 <= peer.connections <= 8


def test_a_rate_is_kept(net):
    times = []
    peer = net.host(1, answers={"DOT": lambda *_: times.append(time.monotonic()) or True})
    net.mx((10, 1))
    server = net.server(shaping={"sites": [{"hosts": ["mx1.dest.example"], "rate": "5/2s"}]})
    for i in range(15):
        server.submit(SENDER, f"bob{i}@dest.example")
    all_arrived([peer], 15)
    for first, sixth in zip(times, times[5:]):
        assert sixth - first > 1.9
    assert times[-1] - times[0] < 10


def test_a_receiver_that_wants_one_connection_gets_all_mail(net):
    """It refuses the second one, as large receivers do."""
    refused = []

    def connect(_, number):
        with peer.lock:
            many = len(peer.open_connections) > 1
        if not many:
            return True
        refused.append(number)
        return "421 4.7.0 too many concurrent connections from your address"

    peer = net.host(1, answers={"CONNECT": connect, "DOT": lambda *_: time.sleep(0.02) or True})
    net.mx((10, 1))
    server = net.server(queue={"retry": ["300ms"]})
    for i in range(100):
        server.submit(SENDER, f"bob{i}@dest.example")
    all_arrived([peer], 100, 60)
    wait_for(server.queue_is_empty, what="an empty queue")
    assert len({m["to"][0] for m in peer.messages}) == 100
    assert len(refused) < 60, "the window does not learn"


def test_greylisting_is_retried_on_its_own_schedule(net):
    seen = {}

    def rcpt(argument, _):
        first = seen.setdefault(argument, time.monotonic())
        return True if time.monotonic() - first > 0.9 else "450 4.7.1 You are greylisted"

    peer = net.host(1, answers={"RCPT": rcpt})
    net.mx((10, 1))
    server = net.server(queue={"retry": ["1h"], "greylist": ["1s"]})
    server.submit(SENDER, "bob@dest.example")
    all_arrived([peer], 1)


def test_what_was_learned_is_shown_and_survives_a_restart(net, place):
    peer = net.host(1, answers={"DOT": "451 4.7.0 sending rate too high, slow down"})
    net.mx((10, 1))
    server = net.server(queue={"retry": ["1h"]})
    for i in range(20):
        server.submit(SENDER, f"bob{i}@dest.example")

    def learned():
        rows = [r for r in server.json("sites") if "mx1.dest.example" in r["site"]]
        return rows and rows[0]["window"] == 1 and rows[0].get("interval", 0) > 1000

    wait_for(learned, what="a narrow window and a pace")
    assert "one message in" in server.command("sites", "*dest.example*").stdout
    assert "no sites" in server.command("sites", "*nobody*").stdout
    assert server.stop() == 0
    peer.answers = {}
    server.start()
    server.submit(SENDER, "carol@dest.example")
    wait_for(learned, what="the same after a restart")


def test_a_receiver_that_was_overloaded_has_its_mail_soon(net):
    """It took nothing, so one message a minute was only a guess."""
    peer = net.host(1, answers={"MAIL": "451 4.3.2 overloaded, try again later"})
    net.mx((10, 1))
    server = net.server(queue={"retry": ["1s"]})
    for i in range(100):
        server.submit(SENDER, f"bob{i}@dest.example")
    wait_for(lambda: any(r.get("interval", 0) >= 60000 for r in server.json("sites")), what="a pace that is guessed")
    peer.answers = {}
    all_arrived([peer], 100, 45)


def test_a_damaged_file_of_what_was_learned_is_told_and_left_out(net, place):
    net.host(1)
    net.mx((10, 1))
    server = net.server()
    assert server.stop() == 0
    path = server.dir / "spool" / "learned"
    path.write_text("yizhan-learned 1\n1 1 60000000 0 1764000000 mx:mx1.dest.example\nend 1 00000000\n")
    server.start()
    assert "What was learned of receivers can't be read" in server.log()
    server.submit(SENDER, "bob@dest.example")
    wait_for(server.queue_is_empty, what="an empty queue")


def test_a_domain_that_gmail_names_slows_down_nobody_else(net):
    lock, last = threading.Lock(), [0.0]

    def mail(argument, _):
        if "@spam.example" not in argument:
            return True
        with lock:
            early, last[0] = time.monotonic() - last[0] < 0.2, time.monotonic()
        return (
            "421 4.7.28 Gmail has detected an unusual rate of mail originating from your SPF domain [spam.example 35]."
            if early
            else True
        )

    peer = net.host(1, name="aspmx.l.google.com", answers={"MAIL": mail})
    net.record("dest.example.", "MX", "10 aspmx.l.google.com.")
    server = net.server(queue={"retry": ["1h"]})
    for i in range(30):
        server.submit("news@spam.example", f"bob{i}@dest.example")
        server.submit(SENDER, f"carol{i}@dest.example")
    wait_for(lambda: sum("carol" in m["to"][0] for m in peer.messages) == 30, 10, "the mail of the others")
    row = next(r for r in server.json("sites") if "google" in r["site"])
    assert row["provider"] == "google" and row["state"] != "throttling us" and "interval" not in row
    refused = sum("@spam.example" in a for a in peer.said("MAIL")) - sum(
        "@spam.example" in m["from"] for m in peer.messages
    )
    assert 0 < refused < 15


@pytest.mark.parametrize("by_header", [True, False])
def test_tenants_take_turns(net, by_header):
    """A hundred senders of one tenant wait already when a message of another comes."""
    peer = net.host(1, answers={"DOT": lambda *_: time.sleep(0.05) or True})
    net.mx((10, 1))
    queue = {"site_connections": 1, "site_initial": 1}
    if by_header:
        queue |= {"turns": "header", "tenant_header": "X-Tenant"}
    server = net.server(queue=queue, threads=1)
    for i in range(60):
        server.submit(f"s{i}@many.example", "theirs@dest.example", b"X-Tenant: large\r\n\r\nhello\r\n")
    server.submit("x@few.example", "other@dest.example", b"X-Tenant: small\r\n\r\nhello\r\n")
    all_arrived([peer], 61)
    place_in_line = next(i for i, m in enumerate(peer.messages) if "other@" in m["to"][0])
    assert (place_in_line < 55) == by_header
