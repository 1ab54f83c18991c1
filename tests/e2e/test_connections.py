"""How the way out connects: addresses that don't answer, our own addresses, proxies, what a peer can't do, and peers that
take their time."""

import socket
import threading
import time

import pytest

import harness
from harness import wait_for
from outgoing import SENDER, Net, arrival, is_waiting
from socks import BlackHole, Proxy

BLOCKED = "554 5.7.1 Service unavailable; Client host [127.0.0.21] blocked using zen.spamhaus.org"


@pytest.fixture
def net(place):
    return Net(place)


def keep(place, thing):
    place.things.append(thing)
    return thing


def attempts(server, identity):
    return [e for e in server.events(identity) if e["event"] == "attempt"]


# --- addresses that don't answer -----------------------------------------------------------------------------------------


def test_a_black_hole_of_ipv6_holds_nobody_up_and_is_remembered(place, net):
    peer = net.host(1)
    net.record("mx1.dest.example.", "AAAA", "::1")
    net.mx((10, 1))
    hole = keep(place, BlackHole("::1", net.port))
    server = net.server(deliver={"connect_timeout": "20s"})
    started = time.monotonic()
    first = server.submit(SENDER, "bob@dest.example")
    arrival(peer)
    assert time.monotonic() - started < 5
    wait_for(server.queue_is_empty)
    assert attempts(server, first) == []  # it was beaten, and did not fail
    # IPv6 works again, but for an hour IPv4 is first here.
    hole.close()
    other = place.peer(address="::1", port=net.port)
    time.sleep(2.5)  # until the connection has ended
    server.submit(SENDER, "bob@dest.example")
    arrival(peer, 2)
    assert other.connections == 0


def test_ipv6_is_first_where_it_answers(place, net):
    peer = net.host(1)
    net.record("mx1.dest.example.", "AAAA", "::1")
    net.mx((10, 1))
    six = place.peer(address="::1", port=net.port)
    server = net.server()
    server.submit(SENDER, "bob@dest.example")
    arrival(six)
    assert peer.connections == 0


def test_hosts_of_one_preference_race(place, net):
    holes = [keep(place, BlackHole(net.addresses[i], net.port)) for i in (0, 1)]
    net.dead_host(1)
    net.dead_host(2)
    peer = net.host(3)
    net.mx((10, 1), (10, 2), (10, 3))
    server = net.server(deliver={"connect_timeout": "30s"})
    started = time.monotonic()
    server.submit(SENDER, "bob@dest.example")
    arrival(peer)
    assert time.monotonic() - started < 10 and len(holes) == 2


def test_without_a_greeting_the_next_address_gets_the_message(place, net):
    mute = net.host(1, answers={"CONNECT": lambda *_: time.sleep(30)})
    peer = net.host(2)
    net.mx((10, 1), (20, 2))
    server = net.server(deliver={"greeting_timeout": "1s"})
    identity = server.submit(SENDER, "bob@dest.example")
    arrival(peer)
    assert mute.connections == 1
    failed = attempts(server, identity)[0]
    assert failed["host"] == "mx1.dest.example" and "waiting for its greeting" in failed["reply"]


# --- our own addresses ---------------------------------------------------------------------------------------------------

POOL = [
    {"address": "127.0.0.21", "ehlo": "mta1.example.net", "weight": 3},
    {"address": "127.0.0.22", "ehlo": "mta2.example.net"},
]


def test_connections_come_from_the_pool_with_the_name_of_each_member(place):
    peer = place.peer()
    server = place.mx(
        sources={"news": POOL},
        queue={"messages_per_connection": 1},
        routes=[{"to": "*", "via": [{"host": f"127.0.0.1:{peer.port}", "source": "news"}]}],
    )
    identities = [server.submit(SENDER, f"bob{i}@dest.example") for i in range(40)]
    arrival(peer, 40, timeout=30)
    names = dict(zip(("127.0.0.21", "127.0.0.22"), ("mta1.example.net", "mta2.example.net")))
    said = peer.said("EHLO")
    assert set(peer.clients) == set(names) and set(said) == set(names.values())
    assert peer.clients.count("127.0.0.21") > peer.clients.count("127.0.0.22")
    assert peer.clients.count("127.0.0.21") == said.count("mta1.example.net")
    wait_for(server.queue_is_empty)
    sources = {e["source"] for i in identities for e in server.events(i) if e["event"] == "delivered"}
    assert sources == set(names)
    assert "from 127.0.0.2" in server.command("trace", identities[0]).stdout


def test_another_address_is_a_rung_of_the_ladder(place):
    def greet(_, number):
        return BLOCKED if peer.clients[number - 1] == "127.0.0.21" else True

    peer = place.peer(answers={"CONNECT": greet})
    host = f"127.0.0.1:{peer.port}"
    server = place.mx(
        sources={"usual": POOL[0], "other": POOL[1]},
        routes=[{"to": "*", "via": [{"host": host, "source": "usual"}, {"host": host, "source": "other", "when": ["blocked"]}]}],
    )
    identity = server.submit(SENDER, "bob@dest.example")
    assert arrival(peer)["to"]
    assert peer.clients == ["127.0.0.21", "127.0.0.22"]
    failed = attempts(server, identity)[0]
    stepped = [e for e in server.events(identity) if e["event"] == "stepped"]
    assert stepped[0]["to_hop"] == f"host {host} from other"
    assert failed["class"] == "blocked" and failed["source"] == "127.0.0.21" and failed["site"].endswith(";from=usual")


def test_a_member_that_is_blocked_at_a_site_rests_there(place):
    def greet(_, number):
        return BLOCKED if peer.clients[number - 1] == "127.0.0.21" else True

    peer = place.peer(answers={"CONNECT": greet})
    server = place.mx(
        sources={"news": [{**POOL[0], "weight": 1000}, {**POOL[1], "weight": 1}]},
        queue={"retry": ["1s"]},
        routes=[{"to": "*", "via": [{"host": f"127.0.0.1:{peer.port}", "source": "news"}]}],
    )
    server.submit(SENDER, "bob@dest.example")
    arrival(peer, timeout=30)
    assert peer.clients == ["127.0.0.21", "127.0.0.22"]


def test_the_usual_source_is_for_all_other_mail(place):
    peer = place.peer()
    server = place.mx(
        deliver={"source": "127.0.0.23"}, routes=[{"to": "*", "via": [{"host": f"127.0.0.1:{peer.port}"}]}]
    )
    server.submit(SENDER, "bob@dest.example")
    arrival(peer)
    assert peer.clients == ["127.0.0.23"]


def test_an_address_that_this_machine_lacks_is_said(place):
    peer = place.peer()
    server = place.mx(
        sources={"gone": [{"address": "192.0.2.77"}]},
        routes=[{"to": "*", "via": [{"host": f"127.0.0.1:{peer.port}", "source": "gone"}]}],
    )
    server.submit(SENDER, "bob@dest.example")
    is_waiting(server, "the source address 192.0.2.77 is none of this machine")
    assert peer.connections == 0
    said = server.command("check")
    assert "sources.gone: this machine does not have the address 192.0.2.77" in said.stdout + said.stderr


# --- proxies -------------------------------------------------------------------------------------------------------------


def proxied(place, proxy, peer, scheme="socks5", host="127.0.0.1", **extra):
    relay = {"hosts": [f"{host}:{peer.port}"], "proxy": f"{scheme}://127.0.0.1:{proxy.port}", **extra}
    return place.mx(relays={"far": relay}, routes=[{"to": "*", "via": [{"relay": "far"}]}])


def test_through_a_proxy_with_a_login(place):
    proxy = keep(place, Proxy(login=("us", "open sesame")))
    peer = place.peer()
    secret = place.tmp / "secret"
    secret.write_text("open sesame\n")
    secret.chmod(0o600)
    server = proxied(place, proxy, peer, proxy_user="us", proxy_password_file=str(secret))
    identity = server.submit(SENDER, "bob@dest.example")
    arrival(peer)
    assert proxy.asked == [("127.0.0.1", peer.port)]
    wait_for(server.queue_is_empty)
    delivered = [e for e in server.events(identity) if e["event"] == "delivered"]
    assert delivered[0]["source"] == f"socks5://127.0.0.1:{proxy.port}"
    assert "open sesame" not in server.log()


def test_a_proxy_may_look_up_names(place):
    peer = place.peer()
    proxy = keep(place, Proxy(names={"inside.example": "127.0.0.1"}))
    server = proxied(place, proxy, peer, scheme="socks5h", host="inside.example")
    server.submit(SENDER, "bob@dest.example")
    arrival(peer)
    assert proxy.asked == [("inside.example", peer.port)]


def test_a_proxy_in_trouble_is_named(place):
    proxy = keep(place, Proxy(login=("us", "secret")))
    peer = place.peer()
    server = proxied(place, proxy, peer)
    server.submit(SENDER, "bob@dest.example")
    is_waiting(server, "wants a login, and none is configured")
    assert peer.connections == 0


def test_tls_works_through_a_proxy(place):
    proxy = keep(place, Proxy())
    peer = place.peer(tls=place.certificate("relay.example"))
    server = proxied(place, proxy, peer, tls="required")
    server.submit(SENDER, "bob@dest.example")
    assert arrival(peer)["secure"]


# --- what a peer can't do ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", ["502 5.5.1 not implemented", None], ids=["refused", "dropped"])
def test_bdat_that_fails_is_done_without_from_then_on(place, answer):
    peer = place.peer(answers={"DOT": lambda message, _: answer if message["bdat"] else True})
    server = place.mx(routes=[{"to": "*", "via": [{"host": f"127.0.0.1:{peer.port}"}]}])
    identity = server.submit(SENDER, "bob@dest.example")
    arrival(peer)
    wait_for(lambda: [e["outcome"] for e in attempts(server, identity)] == ["again without BDAT"], what="the event")
    server.submit(SENDER, "bob@dest.example")
    arrival(peer, 2)
    assert len(peer.said("DOT")) == 3 and not any(m["bdat"] for m in peer.messages)


def recipients(count):
    return [f"r{i}@{'xyz'[i % 3]}.dest.example" for i in range(count)]


def test_limits_of_recipients_cost_transactions_not_time(place):
    peer = place.peer(extensions=("PIPELINING", "LIMITS RCPTMAX=4 RCPTDOMAINMAX=1"))
    server = place.mx(
        routes=[{"to": "*", "via": [{"relay": "r"}]}], relays={"r": {"hosts": [f"127.0.0.1:{peer.port}"]}}
    )
    server.submit(SENDER, recipients(24))
    arrival(peer, 6)
    wait_for(server.queue_is_empty)
    assert len(peer.messages) == 6 and peer.connections == 1
    assert sorted(a for m in peer.messages for a in m["to"]) == sorted(f"TO:<{r}>" for r in recipients(24))
    assert all(len({a.split("@")[1] for a in m["to"]}) == 1 and len(m["to"]) == 4 for m in peer.messages)


def test_too_many_recipients_follow_at_once(place):
    seen = {}

    def rcpt(_, number):
        key = (number, len(peer.messages))
        seen[key] = seen.get(key, 0) + 1
        return True if seen[key] <= 5 else "452 4.5.3 too many recipients"

    peer = place.peer(answers={"RCPT": rcpt})
    server = place.mx(
        routes=[{"to": "*", "via": [{"relay": "r"}]}], relays={"r": {"hosts": [f"127.0.0.1:{peer.port}"]}}
    )
    server.submit(SENDER, recipients(12))
    arrival(peer, 3)
    wait_for(server.queue_is_empty)
    assert [len(m["to"]) for m in peer.messages] == [5, 5, 2] and peer.connections == 1


# --- how long a peer may take --------------------------------------------------------------------------------------------


def trickle(connection):
    """Replies that never end, a byte now and then, each wait within its limit."""
    try:
        connection.sendall(b"220 hello\r\n")
        connection.recv(1000)
        for line in range(1000):
            connection.sendall(b"250-%d\r\n" % line)
            time.sleep(0.2)
    except OSError:
        pass


def test_a_trickling_peer_cannot_hold_a_message(place):
    listener = keep(place, socket.create_server(("127.0.0.1", 0)))

    def serve():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=trickle, args=(connection,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    server = place.mx(
        deliver={"attempt_timeout": "2s", "minimum_rate": "1M"},
        routes=[{"to": "*", "via": [{"host": f"127.0.0.1:{listener.getsockname()[1]}"}]}],
    )
    started = time.monotonic()
    server.submit(SENDER, "bob@dest.example")
    is_waiting(server, "it took longer than a whole attempt may take")
    assert time.monotonic() - started < 8 * harness.SLOW
    listener.shutdown(socket.SHUT_RDWR)
