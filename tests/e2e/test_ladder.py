"""The way out: static hosts, relays with a login, and ladders whose next rung depends on why the last one failed."""

import json
import threading

import pytest

import harness
from logins import ALICE, User, auth_server
from harness import reports, wait_for
from outgoing import SENDER, arrival, bounce, is_waiting

BLOCKED = "550 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org"


# --- hosts, relays, ladders ----------------------------------------------------------------------------------------------


def test_a_static_host(place):
    peer = place.peer()
    server = place.mx(routes=[{"to": "*.lan.example", "via": [{"host": f"127.0.0.1:{peer.port}"}]}])
    server.submit(SENDER, "bob@deep.lan.example")
    arrival(peer)


def test_the_first_matching_route_wins_and_from_counts_too(place):
    peers = [place.peer() for _ in range(3)]
    hosts = [{"via": [{"host": f"127.0.0.1:{p.port}"}]} for p in peers]
    server = place.mx(
        routes=[
            {"to": "vip@dest.example", **hosts[0]},
            {"from": "news@example.org", **hosts[1]},
            {"to": ["dest.example", "other.example"], **hosts[2]},
            {"to": "*", "reject": "nothing else leaves here"},
        ]
    )
    server.submit("news@example.org", ["vip@dest.example", "x@dest.example"])
    server.submit(SENDER, "y@OTHER.example")
    for peer, recipient in zip(peers, ("vip@dest.example", "x@dest.example", "y@")):
        assert recipient in arrival(peer)["to"][0]
    with server.client(trusted=True) as c:
        c.hello()
        c.expect(250, f"MAIL FROM:<{SENDER}>")
        code, text = c.command("RCPT TO:<z@third.example>")
        assert code == 550 and "nothing else leaves here" in text


# --- routes that look at more than addresses -----------------------------------------------------------------------------


def to_peer(peer):
    return [{"host": f"127.0.0.1:{peer.port}"}]


def test_a_route_looks_at_who_logged_in(place):
    users, others = place.peer(), place.peer()
    server = auth_server(
        place,
        trusted=[f"{harness.TRUSTED}/32"],
        submission={"check_domains": False, "missing_from": "accept"},
        routes=[{"user": "alice*", "via": to_peer(users)}, {"to": "*", "via": to_peer(others)}],
    )
    server.start()
    with User(server) as c:
        assert c.plain()[0] == 235
        c.send_message(ALICE, ["bob@dest.example"], b"Subject: of a user\r\n\r\nx\r\n")
    assert b"of a user" in arrival(users)["data"]
    server.submit(SENDER, "bob@dest.example")
    arrival(others)
    assert len(users.messages) == 1


def test_a_route_looks_at_the_size(place):
    large, small = place.peer(), place.peer()
    server = place.mx(routes=[{"size": ">10K", "via": to_peer(large)}, {"to": "*", "via": to_peer(small)}])
    server.submit(SENDER, "bob@dest.example", b"Subject: large\r\n\r\n" + b"0123456789\r\n" * 1000)
    server.submit(SENDER, "bob@dest.example", b"Subject: small\r\n\r\nx\r\n")
    assert b"Subject: large" in arrival(large)["data"] and b"Subject: small" in arrival(small)["data"]


CAMPAIGN = b"Subject: x\r\nX-Campaign:\r\n Spring\r\n sale\r\n\r\nhello\r\n"


def test_a_route_looks_at_header_fields_set_at_submission_also_after_a_restart(place):
    campaign, others = place.peer(answers={"MAIL": "451 4.3.0 later"}), place.peer()
    server = place.mx(
        routes=[{"header": {"X-Campaign": "spring sale"}, "via": to_peer(campaign)}, {"to": "*", "via": to_peer(others)}]
    )
    server.submit(SENDER, "bob@dest.example", CAMPAIGN)
    server.submit(SENDER, "carol@dest.example")
    assert "carol" in arrival(others)["to"][0]
    wait_for(lambda: campaign.said("MAIL"), what="an attempt by the route of the campaign")
    server.kill()
    campaign.answers.clear()
    server.start()
    assert b"X-Campaign" in arrival(campaign)["data"]
    assert len(others.messages) == 1


def test_a_stranger_does_not_choose_a_route_by_a_header_field(place):
    campaign, others = place.peer(), place.peer()
    server = place.mx(
        routes=[{"header": {"X-Campaign": "*"}, "via": to_peer(campaign)}, {"to": "*", "via": to_peer(others)}],
    )
    out = json.loads(server.command("route", "bob@dest.example", "--header", "X-Campaign: a", "--json").stdout)
    assert out["rule"] == "routes[0]: X-Campaign *"
    with server.client() as c:  # it may send to us only, where routes have no say
        c.hello()
        c.send_message("x@far.example", [SENDER], CAMPAIGN)
    wait_for(lambda: server.maildir("example.org", "alice"), what="the message in the mailbox")
    assert campaign.messages == [] and others.messages == []


def test_a_refusing_route_that_looks_at_content_is_obeyed_once_it_is_there(place):
    others = place.peer()
    server = place.mx(
        routes=[{"size": ">10K", "reject": "too much for us"}, {"to": "*", "via": to_peer(others)}],
    )
    server.submit(SENDER, "bob@dest.example")
    arrival(others)
    server.submit(SENDER, "bob@dest.example", b"Subject: large\r\n\r\n" + b"0123456789\r\n" * 1000)
    assert "too much for us" in bounce(server).text
    assert len(others.messages) == 1


def test_a_route_can_discard(place):
    server = place.mx(routes=[{"to": "*", "via": ["discard"]}])
    server.submit(SENDER, "bob@dest.example", rcpt_parameters=" NOTIFY=FAILURE")
    wait_for(server.queue_is_empty, what="an empty queue")
    assert server.maildir("example.org", "alice") == []


def relay(place, peer, **extra):
    secret = place.tmp / "secret"
    secret.write_text("open sesame\n")
    secret.chmod(0o600)
    return {"hosts": [f"127.0.0.1:{peer.port}"], "login": {"user": "us", "password_file": str(secret)}, **extra}


def test_a_relay_with_login_under_tls(place):
    peer = place.peer(tls=place.certificate("relay.example"), login=("us", "open sesame"))
    server = place.mx(
        relays={"backup": relay(place, peer, tls="required")}, routes=[{"to": "*", "via": [{"relay": "backup"}]}]
    )
    server.submit(SENDER, "bob@dest.example")
    message = arrival(peer)
    assert message["secure"] and message["user"] == "us"
    assert "open sesame" not in server.log() and b"open sesame" not in b"".join(
        p.read_bytes() for p in (server.dir / "spool").rglob("*") if p.is_file()
    )


def test_a_password_is_never_sent_without_tls(place):
    peer = place.peer(login=("us", "open sesame"))
    server = place.mx(
        relays={"backup": relay(place, peer, tls="required")}, routes=[{"to": "*", "via": [{"relay": "backup"}]}]
    )
    server.submit(SENDER, "bob@dest.example")
    is_waiting(server)
    assert peer.messages == [] and peer.said("AUTH") == []


def test_a_relay_that_refuses_the_login_defers(place):
    peer = place.peer(tls=place.certificate("relay.example"), login=("us", "another password"))
    server = place.mx(
        relays={"backup": relay(place, peer, tls="required")}, routes=[{"to": "*", "via": [{"relay": "backup"}]}]
    )
    server.submit(SENDER, "bob@dest.example")
    is_waiting(server, "5.7.8")
    assert server.maildir("example.org", "alice") == []


def test_the_hosts_of_a_relay_are_tried_in_order(place):
    dead, peer = harness.free_port(), place.peer()
    server = place.mx(
        relays={"backup": {"hosts": [f"127.0.0.1:{dead}", f"127.0.0.1:{peer.port}"]}},
        routes=[{"to": "*", "via": [{"relay": "backup"}]}],
    )
    server.submit(SENDER, "bob@dest.example")
    arrival(peer)


def test_the_hosts_of_an_srv_name_by_priority(net):
    first, second = net.host(1), net.host(2)
    net.dead_host(3)
    for priority, number in ((10, 3), (20, 1), (30, 2)):
        net.record("_smtp._tcp.farm.example.", "SRV", f"{priority} 1 {net.port} mx{number}.dest.example.")
    server = net.server(routes=[{"to": "*", "via": [{"srv": "_smtp._tcp.farm.example"}]}])
    for _ in range(2):
        server.submit(SENDER, "bob@dest.example")
    arrival(first, 2)
    assert second.messages == []


def test_an_srv_name_that_leads_nowhere_moves_to_the_next_rung(net):
    backup = net.place.peer()
    server = net.server(
        routes=[{"to": "*", "via": [{"srv": "_smtp._tcp.nowhere.example"}, {"when": "unreachable", **to_peer(backup)[0]}]}]
    )
    server.submit(SENDER, "bob@dest.example")
    arrival(backup)


def test_a_relay_by_srv_name_with_shares(net):
    peers = [net.host(1), net.host(2)]
    for weight, number in ((1, 1), (9, 2)):
        net.record("_submission._tcp.farm.example.", "SRV", f"0 {weight} {net.port} mx{number}.dest.example.")
    server = net.server(
        relays={"farm": {"srv": "_submission._tcp.farm.example"}},
        routes=[{"to": "*", "via": [{"relay": "farm"}]}],
        queue={"messages_per_connection": 1},
    )
    for i in range(100):
        server.submit(SENDER, f"bob{i}@dest.example")
    wait_for(server.queue_is_empty, what="an empty queue")
    shares = [len(p.messages) for p in peers]
    assert sum(shares) == 100 and 1 <= shares[0] <= 25, shares


def test_a_relays_host_that_failed_is_asked_last_for_a_while(place):
    dead, peer = harness.free_port(), place.peer()
    server = place.mx(
        relays={"backup": {"hosts": [f"127.0.0.1:{dead}", f"127.0.0.1:{peer.port}"]}},
        routes=[{"to": "*", "via": [{"relay": "backup"}]}],
    )
    server.submit(SENDER, "bob@dest.example")
    arrival(peer)
    wait_for(server.queue_is_empty, what="an empty queue")
    revived = place.peer(port=dead)
    server.submit(SENDER, "carol@dest.example")
    arrival(peer, 2)
    assert revived.connections == 0


def ladder(place, first, when, **options):
    """A server whose first rung is `first`, and the peer on the second, used when `when`."""
    backup = place.peer()
    server = place.mx(
        relays={"backup": {"hosts": [f"127.0.0.1:{backup.port}"]}},
        routes=[{"to": "*", "via": [first, {"relay": "backup", "when": when}]}],
        **options,
    )
    return server, backup


def test_ladder_unreachable(place):
    server, backup = ladder(place, {"host": f"127.0.0.1:{harness.free_port()}"}, ["unreachable", "blocked"])
    server.submit(SENDER, "bob@dest.example")
    arrival(backup)


def test_ladder_unreachable_by_mx(net):
    net.dead_host(1)
    net.mx((10, 1))
    backup = net.place.peer()
    server = net.server(
        relays={"backup": {"hosts": [f"127.0.0.1:{backup.port}"]}},
        routes=[{"to": "*", "via": ["mx", {"relay": "backup", "when": "unreachable"}]}],
    )
    server.submit(SENDER, "bob@dest.example")
    arrival(backup)


@pytest.mark.parametrize("stage", ["CONNECT", "MAIL", "RCPT", "DATA", "DOT"])
def test_ladder_blocked(place, stage):
    first = place.peer(answers={stage: BLOCKED}, extensions=["PIPELINING"])
    server, backup = ladder(place, {"host": f"127.0.0.1:{first.port}"}, ["blocked"])
    server.submit(SENDER, "bob@dest.example")
    arrival(backup)
    wait_for(server.queue_is_empty, what="an empty queue")
    assert server.maildir("example.org", "alice") == [] and len(backup.messages) == 1


@pytest.mark.parametrize(
    "reply", ["550 5.1.1 no such user here", "550 5.7.1 this message looks like spam", "552 5.2.2 mailbox full"]
)
def test_a_refusal_for_other_reasons_never_climbs(place, reply):
    first = place.peer(answers={"RCPT": reply})
    server, backup = ladder(place, {"host": f"127.0.0.1:{first.port}"}, ["unreachable", "blocked"])
    server.submit(SENDER, "bob@dest.example")
    if reply.startswith("552"):  # RFC 5321 section 4.5.3.1.10: at RCPT it may be temporary
        wait_for(lambda: reports(server.maildir("example.org", "alice")) or first.said("RCPT"))
    else:
        bounce(server)
    assert backup.connections == 0


def test_ladder_per_recipient(place):
    first = place.peer(
        answers={
            "RCPT": lambda argument, _: BLOCKED
            if "blocked" in argument
            else "550 5.1.1 no such user"
            if "gone" in argument
            else True
        }
    )
    server, backup = ladder(place, {"host": f"127.0.0.1:{first.port}"}, ["blocked"])
    server.submit(SENDER, ["blocked@dest.example", "gone@dest.example", "fine@dest.example"])
    assert [t.split(">")[0] for t in arrival(backup)["to"]] == ["TO:<blocked@dest.example"]
    assert [t.split(">")[0] for t in arrival(first)["to"]] == ["TO:<fine@dest.example"]
    assert [r["Final-Recipient"].split(";")[1].strip() for r in bounce(server).recipients] == ["gone@dest.example"]


def test_ladder_tls(place):
    first = place.peer()
    server, backup = ladder(place, {"host": f"127.0.0.1:{first.port}", "tls": "required"}, ["tls"])
    server.submit(SENDER, "bob@dest.example")
    arrival(backup)
    assert first.said("MAIL") == []


def test_ladder_delayed(place):
    first = place.peer(answers={"RCPT": "451 4.3.0 later"})
    server, backup = ladder(place, {"host": f"127.0.0.1:{first.port}"}, [{"delayed": "1s"}])
    server.submit(SENDER, "bob@dest.example")
    wait_for(lambda: len(first.said("RCPT")) >= 2, what="a second attempt")
    assert backup.messages == []
    arrival(backup)


def test_a_last_rung_that_fails_too_waits_and_starts_again(place):
    first, second = harness.free_port(), harness.free_port()
    server = place.mx(
        routes=[
            {"to": "*", "via": [{"host": f"127.0.0.1:{first}"}, {"host": f"127.0.0.1:{second}", "when": "unreachable"}]}
        ]
    )
    server.submit(SENDER, "bob@dest.example")
    is_waiting(server)
    peer = place.peer(port=second)
    arrival(peer)


# --- what `yizhan route` knows ------------------------------------------------------------------------------------------


def explained(server, address="bob@dest.example", *words):
    return json.loads(server.command("route", address, *words, "--json").stdout)


def verdicts(answer):
    return [rung["verdict"] for rung in answer["ladder"]]


def test_blocked_then_cool_then_a_canary_and_all_is_well_again(place):
    """A message of another route, which is under way there, lets the administrator end the cool-down."""
    go_on = threading.Event()
    blocked = [True]

    def rcpt(argument, _):
        if "slow@" in argument:
            go_on.wait(30)
            return "451 4.3.0 later"
        return BLOCKED if blocked[0] else True

    first, backup = place.peer(answers={"RCPT": rcpt}), place.peer()
    server = place.mx(
        relays={"backup": {"hosts": [f"127.0.0.1:{backup.port}"]}},
        routes=[
            {"to": "slow@dest.example", "via": to_peer(first)},
            {"to": "*", "via": [*to_peer(first), {"relay": "backup", "when": "blocked"}]},
        ],
    )
    assert verdicts(explained(server)) == ["next", "later"]
    server.submit(SENDER, "bob@dest.example")
    arrival(backup)
    wait_for(server.queue_is_empty, what="an empty queue")
    answer = explained(server)
    assert answer["live"] and verdicts(answer) == ["skipped", "next"]
    live = answer["ladder"][0]["live"]
    assert live["cool"] == "blocked" and "zen.spamhaus.org" in live["last_error"] and live["cool_until"]
    assert "it refuses our address until" in answer["ladder"][0]["because"]
    text = server.command("route", "bob@dest.example").stdout
    assert "cool-down (blocked) until" in text and "=> next: the next message goes here" in text
    server.submit(SENDER, "bob@dest.example")
    arrival(backup, 2)
    assert len(first.said("RCPT")) == 1  # it was not asked again

    identity = server.submit(SENDER, "slow@dest.example")
    wait_for(lambda: len(first.said("RCPT")) == 2, what="the slow message at the first server")
    server.command("queue", "retry", identity)
    wait_for(lambda: verdicts(explained(server)) == ["next", "later"], what="the end of the cool-down")
    assert "as a canary" in explained(server)["ladder"][0]["because"]
    server.submit(SENDER, "bob@dest.example")  # a canary, and it dies
    arrival(backup, 3)
    assert len(first.said("RCPT")) == 3 and verdicts(explained(server)) == ["skipped", "next"]
    blocked[0] = False
    server.command("queue", "retry", identity)
    wait_for(lambda: verdicts(explained(server)) == ["next", "later"], what="the end of the cool-down")
    server.submit(SENDER, "bob@dest.example")  # this one lives
    arrival(first)
    wait_for(lambda: "cool" not in explained(server)["ladder"][0]["live"], what="the first rung as if nothing had been")
    server.submit(SENDER, "bob@dest.example")
    arrival(first, 2)
    assert len(backup.messages) == 3
    go_on.set()


def test_a_site_that_is_down_is_explained_and_so_are_sick_hosts(place):
    dead, peer = harness.free_port(), place.peer()
    server = place.mx(
        relays={"pair": {"hosts": [f"127.0.0.1:{dead}", f"127.0.0.1:{peer.port}"]}},
        routes=[
            {"to": "*.pair.example", "via": [{"relay": "pair"}]},
            {"to": "*", "via": [{"host": f"127.0.0.1:{dead}"}, {"host": f"127.0.0.1:{dead}", "when": "blocked"}]},
        ],
    )
    server.submit(SENDER, "bob@dest.example")
    is_waiting(server)
    answer = explained(server)
    assert verdicts(answer) == ["waits", "later"]
    assert "no later rung is for that" in answer["ladder"][0]["because"]
    assert answer["ladder"][0]["live"]["failures"] >= 1
    server.submit(SENDER, "bob@a.pair.example")
    arrival(peer)
    hosts = explained(server, "bob@a.pair.example")["ladder"][0]["hosts"]
    assert hosts[0]["sick_until"] and "refused" in hosts[0]["last_error"] and "sick_until" not in hosts[1]
    assert "asked last until" in server.command("route", "bob@a.pair.example").stdout


def test_route_without_a_server(net):
    net.host(1)
    net.mx((10, 1))
    server = net.server(start=False)
    answer = explained(server)
    assert not answer["live"] and verdicts(answer) == ["next"] and "live" not in answer["ladder"][0]
    assert "No server runs" in server.command("route", "bob@dest.example").stdout


# --- a reload ---------------------------------------------------------------------------------------------------------------


def test_mail_for_a_relay_that_has_gone_takes_the_new_route_at_once(place):
    dead, peer = harness.free_port(), place.peer()
    old = {"relays": {"backup": {"hosts": [f"127.0.0.1:{dead}"]}}, "routes": [{"to": "*", "via": [{"relay": "backup"}]}]}
    server = place.mx(queue={"retry": ["1h"], "expire": "5d"}, **old)
    for _ in range(3):
        server.submit(SENDER, "bob@dest.example")
    is_waiting(server)
    config = json.loads(server.config.read_text())
    del config["relays"]
    config["routes"] = [{"to": "*", "via": to_peer(peer)}]
    server.write_config(json.dumps(config))
    server.hangup()
    arrival(peer, 2)  # the one that was tried waits for its own time


def test_a_ladder_that_changes_under_a_message_is_begun_again(place):
    """The rung with the number at which it waits is another one now, and was never meant for it."""
    first = place.peer(answers={"RCPT": BLOCKED})
    server = place.mx(
        relays={"backup": {"hosts": [f"127.0.0.1:{harness.free_port()}"]}},
        routes=[{"to": "*", "via": [*to_peer(first), {"relay": "backup", "when": "blocked"}]}],
    )
    server.submit(SENDER, "bob@dest.example")
    is_waiting(server)
    config = json.loads(server.config.read_text())
    config["routes"] = [{"to": "*", "via": [*to_peer(first), {"reject": "never", "when": "throttled"}]}]
    first.answers.clear()
    server.write_config(json.dumps(config))
    server.hangup()
    arrival(first)
    assert server.maildir("example.org", "alice") == []


def test_route_shows_the_pace_of_a_site(net):
    peer = net.host(1)
    net.mx((10, 1))
    server = net.server(shaping={"sites": [{"hosts": ["mx1.dest.example"], "rate": "5/1h"}]})
    server.submit(SENDER, "bob@dest.example")
    arrival(peer)
    live = explained(server)["ladder"][0]["live"]
    assert live["rate"] == 5 and live["rate_per"] == 3600_000 and live["window"] >= 1
    assert "at most 5 messages in 1h" in server.command("route", "bob@dest.example").stdout


# --- hold, discard and reject behind another rung ---------------------------------------------------------------------------


def end_of_ladder(place, last):
    server = place.mx(routes=[{"to": "*", "via": [{"host": f"127.0.0.1:{harness.free_port()}"}, last]}])
    server.submit(SENDER, "bob@dest.example")
    return server


def test_hold_as_the_last_rung(place):
    server = end_of_ladder(place, "hold")
    wait_for(lambda: server.rows() and server.rows()[0]["recipients"][0]["status"] == "held", what="a message that is held")


def test_discard_as_the_last_rung(place):
    server = end_of_ladder(place, "discard")
    wait_for(server.queue_is_empty, what="an empty queue")
    assert server.maildir("example.org", "alice") == []


def test_reject_as_the_last_rung(place):
    server = end_of_ladder(place, {"reject": "not even this way", "when": "unreachable"})
    assert "not even this way" in bounce(server).recipients[0]["Diagnostic-Code"].replace("\n", "")
