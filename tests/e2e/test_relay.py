"""The way out: TLS and the dialogue with the next server."""

import re
import threading

import pytest

import harness
from harness import reports, wait_for
from outgoing import SENDER, arrival, bounce, content, is_waiting, one_host
from peer import Peer


# --- TLS ---------------------------------------------------------------------------------------------------------------


def test_tls_is_used_where_it_is_offered(place):
    peer, server = one_host(place, certificate=place.certificate("peer.example"))
    server.submit(SENDER, "bob@dest.example")
    assert arrival(peer)["secure"]


@pytest.mark.parametrize("how", ["refused", "broken", "dropped"])
def test_opportunistic_tls_falls_back_to_plain(place, how):
    answers = {
        "refused": {"STARTTLS": "454 4.7.0 not now"},
        "broken": {},
        "dropped": {"STARTTLS": lambda _, number: None if number == 1 else "454 4.7.0 no"},
    }[how]
    peer, server = one_host(place, answers=answers, broken_tls=True)
    server.submit(SENDER, "bob@dest.example")
    assert not arrival(peer)["secure"]


def test_policy_none_does_not_ask_for_tls(place):
    peer, server = one_host(place, tls="none", broken_tls=True)
    server.submit(SENDER, "bob@dest.example")
    arrival(peer)
    assert peer.said("STARTTLS") == []


@pytest.mark.parametrize(
    "options", [{}, {"broken_tls": True}, {"broken_tls": True, "answers": {"STARTTLS": "454 4.7.0 no"}}]
)
def test_required_tls_is_never_given_up(place, options):
    peer, server = one_host(place, tls="required", **options)
    server.submit(SENDER, "bob@dest.example")
    is_waiting(server)
    assert peer.said("MAIL") == [] and server.maildir("example.org", "alice") == []


def test_verify_wants_the_right_certificate(place):
    good, other = place.certificate("localhost"), place.certificate("other.example")
    zone = "localhost. 60 IN A 127.0.0.1"
    peer = place.peer(tls=good)
    wrong = place.peer(tls=other)
    routes = [
        {"to": f"{d}.example", "via": [{"host": f"localhost:{p.port}", "tls": "verify"}]}
        for d, p in (("good", peer), ("wrong", wrong))
    ]
    server = place.mx(routes=routes, zone=zone, deliver={"ca_file": str(good[0])})
    server.submit(SENDER, "bob@good.example")
    assert arrival(peer)["secure"]
    server.submit(SENDER, "bob@wrong.example")
    is_waiting(server)
    assert wrong.said("MAIL") == []


def test_the_whole_way_between_two_servers_under_tls(place):
    """Dots, long lines and octets arrive as they were sent, and each server leaves its stamp."""
    last_port = harness.free_port("127.0.2.1")
    zone = "dest.example. 60 IN MX 10 mx.dest.example.\nmx.dest.example. 60 IN A 127.0.2.1"
    last = place.mx(
        port=last_port,
        address="127.0.2.1",
        hostname="mx.dest.example",
        domains=["dest.example"],
        tls=place.certificate("mx.dest.example"),
        zone=zone,
    )
    first = place.mx(hostname="out.example.net", zone=zone, deliver={"port": last_port})
    body = b".\r\n..\r\n.x\r\n" + b"y" * 5000 + b"\r\n\r\n\r\nend\r\n"
    first.submit(
        SENDER,
        "bob@dest.example",
        b"Subject: whole way\r\n\r\n" + body.replace(b"\r\n.", b"\r\n..").replace(b".\r\n", b"..\r\n", 1),
    )
    wait_for(lambda: last.maildir("dest.example", "bob"), what="the message at its last stop")
    message = last.maildir("dest.example", "bob")[0]
    assert message.endswith(b"\n\n" + body.replace(b"\r\n", b"\n"))
    received = harness.header_of(message).get_all("Received")
    assert (
        len(received) == 2
        and "by mx.dest.example" in received[0]
        and "with ESMTPS" in received[0]
        and "by out.example.net" in received[1]
    )
    wait_for(first.queue_is_empty, what="an empty queue")
    wait_for(last.queue_is_empty, what="an empty queue")


# --- the dialogue --------------------------------------------------------------------------------------------------------


def test_a_connection_is_used_for_many_messages(place):
    peer = place.peer()
    server = place.mx(
        routes=[{"to": "*", "via": [{"host": f"127.0.0.1:{peer.port}"}]}],
        queue={"site_connections": 1, "site_initial": 1},
        deliver={"idle_timeout": "3s"},
    )
    for i in range(20):
        server.submit(SENDER, f"bob{i}@dest.example")
    arrival(peer, 20)
    assert peer.connections == 1


def test_domains_with_the_same_exchangers_share_a_site(net):
    peer = net.host(1)
    domains = [f"d{i}.example" for i in range(5)]
    for d in domains:
        net.mx((10, 1), domain=d)
    server = net.server(queue={"site_connections": 1, "site_initial": 1}, deliver={"idle_timeout": "3s"})
    for d in domains:
        server.submit(SENDER, f"bob@{d}")
    arrival(peer, 5)
    assert peer.connections == 1


def test_the_window_is_never_wider_than_configured(place):
    peer = place.peer()
    server = place.mx(
        routes=[{"to": "*", "via": [{"host": f"127.0.0.1:{peer.port}"}]}],
        queue={"site_connections": 3, "site_initial": 2},
    )
    for i in range(60):
        server.submit(SENDER, f"bob{i}@dest.example")
    arrival(peer, 60)
    assert peer.most_at_once <= 3


def test_recipients_of_one_site_go_in_one_transaction(place):
    peer, server = one_host(place)
    server.submit(SENDER, [f"r{i}@dest.example" for i in range(30)] + ["x@other.example"])
    wait_for(lambda: sum(len(m["to"]) for m in peer.messages) == 31)
    assert len(peer.messages) == 1


def test_too_many_recipients_are_split(place):
    peer = place.peer()
    server = place.mx(
        routes=[{"to": "*", "via": [{"host": f"127.0.0.1:{peer.port}"}]}], queue={"recipients_per_transaction": 10}
    )
    server.submit(SENDER, [f"r{i}@dest.example" for i in range(35)])
    wait_for(lambda: sum(len(m["to"]) for m in peer.messages) == 35)
    assert max(len(m["to"]) for m in peer.messages) == 10
    assert len({t for m in peer.messages for t in m["to"]}) == 35


@pytest.mark.parametrize("reply", ["452 4.5.3 too many recipients", "552 5.5.3 too many recipients"])
def test_a_peer_that_takes_few_recipients_gets_the_rest_later(place, reply):
    """RFC 5321 section 4.5.3.1.10: 552 at RCPT is to be taken as 452."""

    def rcpt(argument, number):
        taken[number] = taken.get(number, 0) + 1
        return True if taken[number] <= 10 else reply

    taken = {}
    peer, server = one_host(place, answers={"RCPT": rcpt, "MAIL": lambda _, number: (taken.pop(number, None), True)[1]})
    server.submit(SENDER, [f"r{i}@dest.example" for i in range(25)])
    wait_for(lambda: sum(len(m["to"]) for m in peer.messages) == 25, 20)
    assert len({t for m in peer.messages for t in m["to"]}) == 25
    wait_for(server.queue_is_empty, what="an empty queue")
    assert server.maildir("example.org", "alice") == []


def test_commands_are_pipelined_where_that_is_offered(place):
    peer, server = one_host(place)
    server.submit(SENDER, [f"r{i}@dest.example" for i in range(10)])
    arrival(peer)
    wait_for(server.queue_is_empty, what="an empty queue")
    assert peer.early > 0


def test_nothing_is_pipelined_where_it_is_not_offered(place):
    peer, server = one_host(place, extensions=["8BITMIME", "ENHANCEDSTATUSCODES"])
    server.submit(SENDER, [f"r{i}@dest.example" for i in range(10)])
    arrival(peer)
    wait_for(server.queue_is_empty, what="an empty queue")
    assert peer.early == 0


def test_helo_is_said_to_servers_that_do_not_know_ehlo(place):
    peer, server = one_host(place, answers={"EHLO": "502 5.5.1 never heard of it"})
    server.submit(SENDER, "bob@dest.example", parameters=" BODY=8BITMIME RET=HDRS SIZE=100")
    message = arrival(peer)
    assert message["from"].strip() == f"FROM:<{SENDER}>" and message["to"][0].strip() == "TO:<bob@dest.example>"


def test_ehlo_carries_our_hostname(place):
    peer, server = one_host(place)
    server.submit(SENDER, "bob@dest.example")
    arrival(peer)
    assert peer.said("EHLO") == ["mx.example.org"]


def test_a_greeting_of_many_lines_is_understood(place):
    peer, server = one_host(place, answers={"CONNECT": "220-peer.example ESMTP\r\n220-legal notice\r\n220 end"})
    server.submit(SENDER, "bob@dest.example")
    arrival(peer)


@pytest.mark.parametrize("reply", ["2", "abc", "250x", "-", "999 what", "2500 ok", ""])
def test_nonsense_instead_of_a_reply_defers(place, reply):
    peer, server = one_host(place, answers={"MAIL": [reply, True]})
    server.submit(SENDER, "bob@dest.example")
    arrival(peer)
    assert server.maildir("example.org", "alice") == []


def test_a_peer_that_never_stops_talking_is_left(place):
    peer, server = one_host(place, answers={"MAIL": ["\r\n".join(["250-more"] * 5000), True]})
    server.submit(SENDER, "bob@dest.example")
    arrival(peer)


def test_a_peer_that_says_nothing_is_left_after_the_time_limit(place):
    first = place.peer(answers={"CONNECT": lambda *_: wait_forever()})
    second = place.peer()
    server = place.mx(
        relays={"r": {"hosts": [f"127.0.0.1:{first.port}", f"127.0.0.1:{second.port}"]}},
        routes=[{"to": "*", "via": [{"relay": "r"}]}],
        deliver={"greeting_timeout": "500ms"},
    )
    server.submit(SENDER, "bob@dest.example")
    arrival(second)


def wait_forever():
    threading.Event().wait(5)


@pytest.mark.parametrize("extensions", [["PIPELINING", "8BITMIME", "CHUNKING"], ["PIPELINING", "8BITMIME"], []])
def test_the_content_arrives_octet_for_octet(place, extensions):
    peer, server = one_host(place, extensions=extensions)
    body = (
        b".\r\n..\r\n...\r\n.x\r\nx.\r\n\r\n"
        + b"".join(b"%d %s\r\n" % (i, b"." * (i % 5) + b"z" * (i % 200)) for i in range(3000))
        + b".\r\n"
    )
    wire = b"Subject: exact\r\n\r\n" + b"\r\n".join(
        b"." + line if line.startswith(b".") else line for line in body.split(b"\r\n")
    )
    server.submit(SENDER, "bob@dest.example", wire)
    message = arrival(peer)
    assert message["bdat"] == ("CHUNKING" in extensions)
    assert content(message) == b"Subject: exact\r\n\r\n" + body


def test_content_that_came_in_chunks_without_a_last_crlf_leaves_by_data(place):
    peer, server = one_host(place, extensions=["PIPELINING"])
    with server.client(trusted=True) as c:
        c.hello()
        c.begin(SENDER, ["bob@dest.example"])
        data = b"Subject: open end\r\n\r\n.no line end"
        c.send(b"BDAT %d LAST\r\n%s" % (len(data), data))
        c.expect(250)
    assert content(arrival(peer)) == data + b"\r\n"


def test_an_empty_message_is_sent(place):
    for extensions in (["CHUNKING"], []):
        peer, server = one_host(place, extensions=extensions)
        with server.client(trusted=True) as c:
            c.hello()
            c.begin(SENDER, ["bob@dest.example"])
            c.expect(354, "DATA")
            c.send(b".\r\n")
            c.expect(250)
        assert content(arrival(peer)) == b""


def test_eight_bit_content_says_so(place):
    peer, server = one_host(place)
    server.submit(SENDER, "bob@dest.example", "Subject: x\r\n\r\ngrüße\r\n".encode(), " BODY=8BITMIME")
    assert "BODY=8BITMIME" in arrival(peer)["from"]


def test_seven_bit_content_goes_everywhere(place):
    peer, server = one_host(place, extensions=[])
    server.submit(SENDER, "bob@dest.example", b"Subject: x\r\n\r\nhello\r\n", " BODY=8BITMIME SMTPUTF8")
    assert arrival(peer)["from"].strip() == f"FROM:<{SENDER}>"


@pytest.mark.parametrize(
    "sender,recipient,data",
    [
        (SENDER, "jörg@dest.example", b"Subject: x\r\n\r\n.\r\n"),
        ("jörg@example.org", "bob@dest.example", b"Subject: x\r\n\r\n"),
        (SENDER, "bob@dest.example", "Subject: grüße\r\n\r\n".encode()),
    ],
)
def test_smtputf8_goes_where_it_is_offered_and_bounces_elsewhere(place, sender, recipient, data):
    able = place.peer()
    unable = place.peer(extensions=["PIPELINING", "8BITMIME", "DSN"])
    server = place.mx(
        routes=[
            {"from": "*", "to": "able.example", "via": [{"host": f"127.0.0.1:{able.port}"}]},
            {"to": "*", "via": [{"host": f"127.0.0.1:{unable.port}"}]},
        ]
    )
    server.submit(sender, recipient.replace("dest", "able"), data, " SMTPUTF8 BODY=8BITMIME")
    message = arrival(able)
    assert "SMTPUTF8" in message["from"] and recipient.replace("dest", "able") in message["to"][0]
    server.submit(sender, recipient, data, " SMTPUTF8 BODY=8BITMIME")
    local = sender.split("@")[0]
    wait_for(lambda: reports(server.maildir("example.org", local)), what="the bounce")
    assert reports(server.maildir("example.org", local))[0].recipients[0]["Status"] == "5.6.7"
    assert unable.messages == []


def test_a_message_above_the_announced_size_bounces_without_being_sent(place):
    peer, server = one_host(place, extensions=["PIPELINING", "SIZE 1000"])
    server.submit(SENDER, "bob@dest.example", b"Subject: big\r\n\r\n" + b"x" * 70 + b"\r\n" * 1000)
    assert bounce(server).recipients[0]["Status"] == "5.3.4"
    assert peer.messages == []


def test_the_size_is_said_where_it_is_understood(place):
    peer, server = one_host(place)
    server.submit(SENDER, "bob@dest.example")
    message = arrival(peer)
    assert int(re.search(r"SIZE=(\d+)", message["from"]).group(1)) >= len(message["data"])


def test_dsn_parameters_are_passed_on(place):
    peer, server = one_host(place)
    server.submit(
        SENDER,
        "bob@dest.example",
        parameters=" RET=HDRS ENVID=QQ+2B1",
        rcpt_parameters=" NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;orig+2Binal@x.example",
    )
    message = arrival(peer)
    assert "RET=HDRS" in message["from"] and "ENVID=QQ+2B1" in message["from"]
    assert "NOTIFY=SUCCESS,FAILURE" in message["to"][0] and "ORCPT=rfc822;orig+2Binal@x.example" in message["to"][0]


def test_a_recipient_that_is_refused_does_not_stop_the_others(place):
    peer, server = one_host(place, answers={"RCPT": lambda argument, _: "550 5.1.1 no" if "bad" in argument else True})
    server.submit(SENDER, ["good1@dest.example", "bad@dest.example", "good2@dest.example"])
    assert len(arrival(peer)["to"]) == 2
    assert "bad@dest.example" in bounce(server).recipients[0]["Final-Recipient"]


def test_all_recipients_refused_ends_the_transaction_without_data(place):
    for extensions in (Peer.EXTENSIONS, ["PIPELINING"], []):
        peer, server = one_host(place, answers={"RCPT": "550 5.1.1 no"}, extensions=extensions)
        server.submit(SENDER, ["x@dest.example", "y@dest.example"])
        assert len(bounce(server).recipients) == 2
        assert peer.messages == []


def test_data_refused_after_pipelined_recipients(place):
    peer, server = one_host(
        place, answers={"DATA": ["451 4.3.0 not now", True], "DOT": True}, extensions=["PIPELINING"]
    )
    server.submit(SENDER, "bob@dest.example")
    arrival(peer)


def test_a_large_message_streams_through(place):
    peer, server = one_host(place)
    data = b"Subject: large\r\n\r\n" + b"".join(b"%08d %s\r\n" % (i, b"w" * 60) for i in range(300000))
    server.submit(SENDER, "bob@dest.example", data)
    assert content(arrival(peer, timeout=30)) == data
