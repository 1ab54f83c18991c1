"""The gate: rules with every action, the ready-made checks, and `explain`, which must say what the server does."""

import json
import re
import time

import pytest

import harness
import mmdb
from harness import wait_for

ZONE = """
good.example. 60 IN MX 10 mx.good.example.
mx.good.example. 60 IN A 192.0.2.1
null.example. 60 IN MX 0 .
nomail.example. 60 IN TXT "nothing here"
; TIMEOUT slow.example
; lists
2.0.0.127.bl.example. 60 IN A 127.0.0.2
66.1.0.127.bl.example. 60 IN A 127.0.0.4
66.1.0.127.bl.example. 60 IN TXT "sent spam on Monday"
67.1.0.127.bl.example. 60 IN A 127.0.0.10
68.1.0.127.bl.example. 60 IN A 127.255.255.254
2.0.0.127.wl.example. 60 IN A 127.0.0.2
66.1.0.127.wl.example. 60 IN A 127.0.0.2
69.1.0.127.wl.example. 60 IN A 127.0.0.2
*.all.example. 60 IN A 127.0.0.2
66.1.0.127.empty.example. 60 IN A 127.0.0.2
2.0.0.127.refuses.example. 60 IN A 127.255.255.254
; reverse names: 127.0.1.10 matches, .11 does not lead back, .12 has none, .13 can't be told
10.1.0.127.in-addr.arpa. 60 IN PTR mail.good.example.
mail.good.example. 60 IN A 127.0.1.10
11.1.0.127.in-addr.arpa. 60 IN PTR liar.good.example.
liar.good.example. 60 IN A 192.0.2.99
; TIMEOUT 13.1.0.127.in-addr.arpa
"""
CLIENT = "127.0.1.5"


def gate_server(place, *rules, checks=None, limits=None, **options):
    sections = {"gate": list(rules), "checks": checks or {}, "limits": {"errors": 1000, **(limits or {})}, **options}
    return place.mx(zone=ZONE, dns={"zone": "{dir}/zone", "reverse_lookup": False}, **sections)


def one(server, sender="a@good.example", to="alice@example.org", source=CLIENT, helo="client.example", data=b"Subject: x\r\n\r\nhello\r\n", parameters=""):
    """Tries to send one message: (stage, reply) where it ended; ("data", "250 ...") when it was taken."""
    with server.client(source=source) as c:
        code, text = c.reply()
        if code != 220:
            return "connect", text
        for stage, line in (
            ("helo", f"EHLO {helo}"),
            ("mail", f"MAIL FROM:<{sender}>{parameters}"),
            ("rcpt", f"RCPT TO:<{to}>"),
            ("data", "DATA"),
        ):
            code, text = c.command(line)
            if code >= 400:
                return stage, text
        c.send(data + b".\r\n")
        return "data", c.reply()[1]


def taken(result):
    return result[0] == "data" and result[1].startswith("250")


def explain(server, *words, client=CLIENT, helo="client.example", sender="a@good.example", to="alice@example.org"):
    r = server.command("explain", "--client", client, "--helo", helo, "--from", sender, "--to", to, "--json", *words, check=False)
    assert r.stdout, r.stderr
    return json.loads(r.stdout)


# --- rules ---------------------------------------------------------------------------------------------------------------


def test_the_first_rule_that_decides_ends_the_list(place):
    server = gate_server(
        place,
        {"match": {"sender": "a@good.example"}, "action": "continue"},
        {"match": {"sender": "good.example"}, "action": "accept"},
        {"match": {"sender": "*.example"}, "action": "reject"},
    )
    assert taken(one(server))
    assert one(server, sender="x@other.example") == (
        "mail",
        "550 5.7.1 Refused by a rule of this server (gate[2]); ask postmaster@mx.example.org if you think that it is wrong",
    )
    assert taken(one(server, sender="x@other.org"))


@pytest.mark.parametrize(
    "match, stage",
    [
        ({"client": "127.0.1.0/24"}, "connect"),
        ({"listener": "mx", "trusted": False}, "connect"),
        ({"time": "00:00-24:00", "weekday": "Mon-Sun"}, "connect"),
        ({"reverse_state": "none"}, "connect"),
        ({"score": "0", "list": "none"}, "connect"),
        ({"helo": "client.*"}, "helo"),
        ({"tls": False, "user": "none"}, "mail"),
        ({"sender": "good.example"}, "mail"),
        ({"sender_domain_state": "ok"}, "mail"),
        ({"spf": "none"}, "mail"),
        ({"recipient": "alice@*"}, "rcpt"),
        ({"recipients": 0}, "rcpt"),
        ({"size": "<1K"}, "data"),
        ({"dkim": "none", "arc": "none"}, "data"),
        ({}, "connect"),
    ],
)
def test_a_rule_stands_where_all_is_known_that_it_matches(place, match, stage):
    server = gate_server(place, {"match": match, "action": "reject"}, checks={"lists": ["bl.example"]})
    where, text = one(server)
    assert (where, text[:9]) == (stage, "554 5.7.1" if stage == "connect" else "550 5.7.1")
    verdict = explain(server, "--size", "500")["verdict"]
    assert (verdict["action"], verdict["stage"], verdict["by"]) == ("reject", stage, "gate[0]")


def test_conditions_that_do_not_hold_let_it_pass(place):
    server = gate_server(
        place,
        {"match": {"client": "10.0.0.0/8"}, "action": "reject"},
        {"match": {"helo": "client.example"}, "unless": {"sender": "a@good.example"}, "action": "reject"},
        {"match": {"spf": "pass"}, "action": "reject"},
    )
    assert taken(one(server))
    assert one(server, sender="b@good.example")[0] == "mail"


def test_a_refusal_has_the_codes_and_the_text_of_its_rule(place):
    server = gate_server(
        place,
        {"name": "no news", "match": {"sender": "news@*"}, "action": "reject", "code": 553, "enhanced": "5.1.8", "text": "No <{sender}> from {client} here"},
        {"match": {"sender": "later@*"}, "action": "defer", "text": "Later, {helo}"},
        {"match": {"sender": "bye@*"}, "action": "defer", "code": 421},
    )
    assert one(server, sender="news@good.example")[1] == f"553 5.1.8 No <news@good.example> from {CLIENT} here"
    assert one(server, sender="later@good.example")[1] == "450 4.7.1 Later, client.example"
    with server.client(source=CLIENT) as c:
        c.hello()
        c.expect(421, "MAIL FROM:<bye@good.example>")
        assert c.closed()
    wait_for(lambda: 'rule="no news"' in server.log(), what="the line in the log")


def test_refusals_of_the_gate_are_counted(place):
    server = gate_server(
        place,
        {"match": {"sender": "news@*"}, "action": "reject"},
        {"match": {"sender": "later@*"}, "action": "defer"},
        admin={"listen": f"127.0.0.1:{harness.free_port()}"},
    )
    one(server, sender="news@good.example"), one(server, sender="news@good.example"), one(server, sender="later@good.example")
    assert server.json("status")["receive"]["gate"] == {"rejected": 2, "deferred": 1}
    assert server.metric('gate_refusals_total{for="good"}') == 2
    assert server.metric('gate_refusals_total{for="now"}') == 1
    assert "gate    2 refused, 1 put off" in server.command("status").stdout


def test_the_rule_stands_in_the_event(place):
    server = gate_server(place, {"name": "no-bob", "match": {"recipient": "bob@*"}, "action": "reject"})
    with server.client(source=CLIENT) as c:
        c.hello()
        c.expect(250, "MAIL FROM:<a@good.example>")
        c.expect(550, "RCPT TO:<bob@example.org>")
        c.expect(250, "RCPT TO:<alice@example.org>")
        c.expect(354, "DATA")
        c.send(b"Subject: x\r\n\r\nx\r\n.\r\n")
        identity = re.search(r"queued as (\S+)", c.expect(250)).group(1)
    events = wait_for(lambda: [e for e in server.events(identity) if e["event"] == "refused"], what="the event")
    assert events[0]["rule"] == "no-bob" and events[0]["to"] == "bob@example.org"
    assert "because of no-bob" in server.command("trace", identity).stdout


def test_accept_at_connect_skips_the_checks_but_does_not_allow_relaying(place):
    server = gate_server(
        place,
        {"match": {"client": CLIENT}, "action": "accept"},
        {"match": {"sender": "evil@*"}, "action": "reject"},
        checks={"sender_domain": "exists", "helo": ["not_fqdn"]},
    )
    assert taken(one(server, sender="evil@good.example"))
    assert one(server, sender="evil@good.example", source="127.0.1.6")[0] == "mail"
    assert taken(one(server, sender="x@nowhere.example", helo="short"))
    assert one(server, sender="x@nowhere.example", source="127.0.1.6")[1].startswith("550 5.1.8")
    assert one(server, to="x@elsewhere.example") == ("rcpt", "550 5.7.1 <x@elsewhere.example>: relaying denied; this server takes mail for its own domains only")


def test_a_client_that_a_proxy_names_is_looked_at_anew(place):
    port = harness.free_port()
    server = gate_server(
        place,
        {"match": {"client": "192.0.2.0/24"}, "action": "reject", "text": "not you, {client}"},
        {"match": {"user": "joe"}, "action": "reject", "text": "not you, {user}"},
        listen=[{"address": [f"127.0.0.1:{port}"], "role": "mx", "xclient": [f"{CLIENT}/32"]}],
    )
    with server.client(source=CLIENT, port=port) as c:
        c.hello()
        c.expect(220, "XCLIENT ADDR=192.0.2.7")
        assert "550 5.7.1 not you, 192.0.2.7" in c.expect(550, "EHLO client.example")
    with server.client(source=CLIENT, port=port) as c:
        c.hello()
        c.expect(220, "XCLIENT ADDR=198.51.100.7 LOGIN=joe")
        c.expect(250, "EHLO client.example")
        assert c.expect(550, "MAIL FROM:<a@good.example>") == "550 5.7.1 not you, joe"


@pytest.fixture
def fronted(place):
    """A gate that refuses one network, accepts another, and what the filter and the proxy in front send of their own."""
    port = harness.free_port("127.0.0.1")
    return gate_server(
        place,
        {"match": {"client": "198.51.100.0/24"}, "action": "reject", "text": "not you"},
        {"match": {"client": [CLIENT, "127.0.1.6", "203.0.113.0/24"]}, "action": "accept"},
        {"match": {"sender": "*"}, "action": "reject", "text": "a stranger"},
        port=port,
        listen=[{"address": [f"127.0.0.1:{port}"], "role": "mx", "xclient": [CLIENT], "proxies": ["127.0.1.6"]}],
    )


def test_whom_xclient_names_with_helo_is_asked_for_without_ehlo(fronted):
    with fronted.client(source=CLIENT) as c:
        c.hello()
        c.expect(250, "MAIL FROM:<a@good.example>")
        c.expect(250, "RSET")
        assert "not you" in c.expect(550, "XCLIENT ADDR=198.51.100.7 HELO=client.example PROTO=SMTP")
        c.expect(503, "MAIL FROM:<a@good.example>")


def test_an_address_that_is_the_proxys_is_not_the_clients(fronted):
    with fronted.client(source="127.0.1.6") as c:
        c.send(b"PROXY TCP4 203.0.113.9 198.51.100.1 40000 25\r\n")
        c.hello()
        c.expect(250, "MAIL FROM:<a@good.example>")
    with fronted.client(source="127.0.1.6") as c:
        c.send(b"PROXY UNKNOWN\r\n")
        c.hello()
        assert "a stranger" in c.expect(550, "MAIL FROM:<a@good.example>")


def test_what_a_helo_name_earned_ends_with_the_next_one(place):
    server = gate_server(place, {"match": {"helo": "friend.*"}, "action": "accept"}, {"match": {"sender": "*"}, "action": "reject"})
    with server.client(source=CLIENT) as c:
        c.hello("other.example")
        c.expect(550, "MAIL FROM:<a@good.example>")
        c.expect(250, "EHLO friend.example")
        c.expect(250, "MAIL FROM:<a@good.example>")
        c.expect(250, "EHLO other.example")
        c.expect(550, "MAIL FROM:<a@good.example>")


def test_discarded_mail_gets_its_250_and_is_gone(place):
    server = gate_server(
        place,
        {"match": {"sender": "news@*"}, "action": "discard"},
        {"match": {"recipient": "void@*"}, "action": "discard"},
        {"match": {"size": ">2K"}, "action": "discard"},
    )
    assert taken(one(server, sender="news@good.example"))
    assert taken(one(server, to="void@example.org"))
    assert taken(one(server, data=b"Subject: x\r\n\r\n" + b"y" * 70 * 40 + b"\r\n"))
    with server.client(source=CLIENT) as c:
        c.hello()
        c.send_message("a@good.example", ["void@example.org", "alice@example.org"], b"Subject: for alice\r\n\r\nx\r\n")
    harness.arrived(server, "alice", b"for alice")
    assert len(server.maildir("example.org", "alice")) == 1 and server.maildir("example.org", "void") == []
    assert server.queue_is_empty()


def test_held_mail_waits_for_an_administrator_also_over_a_restart(place):
    server = gate_server(place, {"name": "keep", "match": {"sender": "odd@*"}, "action": "hold"})
    where, text = one(server, sender="odd@good.example")
    identity = re.search(r"queued as (\S+)", text).group(1)
    wait_for(lambda: server.summary()["held"] == 1, what="the hold")
    assert "rule of the gate" in server.command("trace", identity).stdout
    server.stop()
    server.start()
    wait_for(lambda: server.summary()["held"] == 1, what="the hold after the restart")
    assert server.maildir("example.org", "alice") == []
    server.command("queue", "release", identity)
    harness.arrived(server, "alice", b"hello")


def test_added_headers_stand_in_front_with_their_placeholders(place):
    server = gate_server(
        place,
        {"match": {"client": "127.0.0.0/8"}, "action": "add_header", "header": "X-Client: {client}"},
        {"match": {"recipient": "alice@*"}, "action": "add_header", "header": "X-Sender: <{sender}>"},
    )
    assert taken(one(server))
    text = harness.arrived(server, "alice", b"hello")
    assert b"\nX-Client: 127.0.1.5\nX-Sender: <a@good.example>\nSubject: x\n" in text
    with server.client(source=CLIENT) as c:
        c.hello()
        c.begin("b@good.example", ["carol@example.org"])
        c.expect(250, "RSET")
        c.send_message("c@good.example", ["bob@example.org"])
    assert b"X-Sender" not in harness.arrived(server, "bob", b"hello")


def test_limits_hold_for_what_the_rule_matches(place):
    server = gate_server(
        place,
        {"match": {"sender": "small@*"}, "action": "limit", "limit": {"message_size": "1K", "recipients": 1}},
    )
    big = b"Subject: x\r\n\r\n" + (b"y" * 70 + b"\r\n") * 40
    assert one(server, sender="small@good.example", data=big)[1].startswith("552 5.3.4 The message is larger than the 1024 octets")
    assert taken(one(server, data=big))
    with server.client(source=CLIENT) as c:
        c.hello()
        c.expect(250, "MAIL FROM:<small@good.example>")
        c.expect(250, "RCPT TO:<alice@example.org>")
        assert "Only 1 recipients" in c.expect(452, "RCPT TO:<bob@example.org>")


def test_a_tarpit_delays_the_reply_and_others_go_on(place):
    server = gate_server(place, {"match": {"recipient": "slow@*"}, "action": "tarpit", "delay": "2s"})
    with server.client(source=CLIENT) as c:
        c.hello()
        c.expect(250, "MAIL FROM:<a@good.example>")
        began = time.monotonic()
        c.send("RCPT TO:<slow@example.org>\r\n")
        assert taken(one(server))
        assert time.monotonic() - began < 1.5 * harness.SLOW
        c.expect(250)
        assert time.monotonic() - began >= 2


def test_a_server_that_stops_does_not_wait_in_the_tar(place):
    server = gate_server(place, {"match": {"client": "127.0.1.0/24"}, "action": "tarpit", "delay": "60s"})
    with server.client(source=CLIENT) as c:
        assert c.silent(0.5)
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < 10 * harness.SLOW


def test_lmtp_gives_each_recipient_the_refusal_at_the_end(place):
    port = harness.free_port()
    server = gate_server(
        place,
        {"match": {"size": ">10"}, "action": "reject", "text": "too long for me"},
        listen=[{"address": [f"127.0.0.1:{port}"], "role": "lmtp"}],
    )
    with server.client(trusted=True, port=port) as c:
        c.expect(220)
        c.expect(250, "LHLO me.example")
        c.begin(recipients=("alice@example.org", "bob@example.org"))
        c.expect(354, "DATA")
        c.send(b"Subject: x\r\n\r\nxxxxxxxx\r\n.\r\n")
        assert [c.expect(550), c.expect(550)] == ["550 5.7.1 too long for me"] * 2
        c.expect(250, "NOOP")


# --- checks --------------------------------------------------------------------------------------------------------------


def test_a_listed_client_is_refused_with_the_words_of_the_list(place):
    server = gate_server(place, checks={"lists": ["bl.example"]})
    assert one(server, source="127.0.1.66") == (
        "rcpt",
        "550 5.7.1 Your address 127.0.1.66 is listed at bl.example: sent spam on Monday. Have it removed there, then send again",
    )
    assert taken(one(server))
    assert taken(one(server, source="127.0.1.66", to="postmaster@example.org"))
    assert taken(one(server, source="127.0.1.68"))  # a list that refuses to answer lists nobody
    assert taken(one(server, source=harness.TRUSTED))


def test_answers_are_filtered_and_weights_are_added(place):
    lists = [
        {"zone": "bl.example", "weight": 3, "replies": "127.0.0.[2..5]"},
        {"zone": "bl.example", "weight": 1, "replies": ["127.0.0.10"]},
        {"zone": "wl.example", "weight": -2},
    ]
    server = gate_server(place, checks={"lists": lists, "lists_reject": 3, "lists_defer": 1})
    assert one(server, source="127.0.1.66")[1].startswith("450 4.7.1")  # 3 - 2
    assert one(server, source="127.0.1.67")[1].startswith("450 4.7.1")
    assert taken(one(server, source="127.0.1.69"))
    server = gate_server(place, checks={"lists": lists[:2], "lists_reject": 3, "lists_defer": 1, "refuse_at": "connect"})
    assert one(server, source="127.0.1.66")[0] == "connect"
    assert one(server, source="127.0.1.67")[1].startswith("421 4.7.1")


def test_lists_that_do_not_work_are_switched_off_and_reported(place):
    server = gate_server(place, checks={"lists": ["all.example", "empty.example", "refuses.example", "bl.example"]})
    assert taken(one(server))
    assert one(server, source="127.0.1.66")[1].startswith("550 5.7.1 Your address 127.0.1.66 is listed at bl.example")
    warnings = "\n".join(server.json("status")["warnings"])
    assert "all.example: it lists every address" in warnings and "empty.example: its test entry" in warnings
    assert "refuses.example: it refuses" in warnings and "bl.example" not in warnings
    assert "all.example" in server.command("status").stdout
    wait_for(lambda: server.log().count("a DNS list is switched off") == 3, what="the lines in the log")
    assert any("all.example" in s["text"] for s in explain(server)["steps"])


def test_an_untested_list_is_believed(place):
    server = gate_server(place, checks={"lists": [{"zone": "empty.example", "test": False}]})
    assert one(server, source="127.0.1.66")[1].startswith("550 5.7.1")


@pytest.mark.parametrize("wanted, refused", [("any", ""), ("present", "12"), ("matching", "11 12")])
def test_clients_need_the_reverse_name_that_is_asked_for(place, wanted, refused):
    server = gate_server(place, checks={"reverse": wanted, "dns_timeout": "300ms"})
    for last in ("10", "11", "12", "13"):
        where, text = one(server, source=f"127.0.1.{last}")
        assert text.startswith("550 5.7.25" if last in refused.split() else "250"), (last, text)
    server = gate_server(place, checks={"reverse": wanted, "dns_timeout": "300ms", "dns_failure_defers": True, "reverse_action": "defer"})
    assert one(server, source="127.0.1.13")[1].startswith("250" if wanted == "any" else "451 4.4.3")
    if refused:
        assert one(server, source="127.0.1.12")[1].startswith("450 4.7.25")


@pytest.mark.parametrize(
    "fault, bad",
    [
        ("not_fqdn", "localhost"),
        ("own_name", "mx.example.org"),
        ("own_name", "example.org"),
        ("bare_address", "127.0.1.5"),
        ("wrong_literal", "[192.0.2.1]"),
        ("unresolved", "nomail.example"),
    ],
)
def test_helo_names_with_a_fault_are_refused_where_that_is_asked_for(place, fault, bad):
    server = gate_server(place, checks={"helo": [fault]})
    where, text = one(server, helo=bad)
    assert where == "rcpt" and text.startswith(f"550 5.7.1 You introduced yourself as {bad}, which "), text
    assert taken(one(server, helo="mail.good.example"))
    assert taken(one(server, helo=bad, source=harness.TRUSTED))
    assert taken(one(server, helo=f"[{CLIENT}]"))


def test_senders_that_can_never_be_answered_are_refused(place):
    server = gate_server(place)
    assert one(server, sender="x@null.example")[1].startswith("550 5.7.27 The sender's domain null.example takes no mail")
    for fine in ("x@nomail.example", "x@nowhere.example", ""):
        assert taken(one(server, sender=fine))
    server = gate_server(place, checks={"sender_domain": "exists", "dns_timeout": "300ms"})
    for missing in ("x@nomail.example", "x@nowhere.example"):
        assert one(server, sender=missing)[1].startswith("550 5.1.8")
    assert taken(one(server)) and taken(one(server, sender="")) and taken(one(server, sender="x@slow.example"))
    server = gate_server(place, checks={"sender_domain": "exists", "dns_timeout": "300ms", "dns_failure_defers": True})
    assert one(server, sender="x@slow.example")[1].startswith("451 4.4.3")
    assert taken(one(gate_server(place, checks={"sender_domain": "any"}), sender="x@null.example"))


def test_who_talks_before_the_greeting_is_shown_out(place):
    server = gate_server(place, checks={"greeting_delay": "700ms", "lists": [{"zone": "wl.example", "weight": -1}]})
    began = time.monotonic()
    with server.client(source=CLIENT) as c:
        c.expect(220)
        assert time.monotonic() - began >= 0.7
    for skips in (harness.TRUSTED, "127.0.1.69"):
        began = time.monotonic()
        with server.client(source=skips) as c:
            c.expect(220)
            assert time.monotonic() - began < 0.6 * harness.SLOW
    with server.client(source=CLIENT) as c:
        c.send("EHLO early.example\r\n")
        assert "before the greeting" in c.expect(554)
        assert c.closed()


def test_the_greylist_wants_to_see_strangers_twice_and_survives_a_restart(place):
    checks = {"greylist": {"enabled": True, "delay": "1s", "passes": 2}, "lists": [{"zone": "wl.example", "weight": -1}]}
    server = gate_server(place, checks=checks)
    assert one(server)[1].startswith("450 4.7.1 Your first message from this sender to this recipient; send it again in 1 s")
    assert taken(one(server, source=harness.TRUSTED)) and taken(one(server, source="127.0.1.69"))
    server.stop()
    server.start()
    time.sleep(1.2)
    assert taken(one(server, source="127.0.1.200"))  # a neighbour: large senders come from many addresses
    assert taken(one(server))
    assert one(server, sender="b@good.example")[1].startswith("450")
    assert one(server, source="127.0.2.5")[1].startswith("450")
    time.sleep(2.2)
    assert taken(one(server, sender="b@good.example"))
    assert taken(one(server, sender="c@good.example"))  # two passed: the network is known
    assert explain(server, sender="d@good.example")["verdict"]["action"] == "accept"
    assert explain(server, client="127.0.3.1")["verdict"]["by"] == "checks.greylist"


def test_a_greylist_that_cannot_write_lets_mail_pass_and_says_so(place):
    server = gate_server(place, checks={"greylist": {"enabled": True, "path": "{dir}/no/such/place.db"}})
    assert taken(one(server))
    wait_for(lambda: "the greylist can't be used" in server.log(), what="the line in the log")
    assert "unable to open database file" in server.log()


def test_rates_are_counted_by_any_key(place):
    rate = [
        {"key": "client", "messages": 3, "per": "1h"},
        {"key": "sender", "messages": 1, "per": "1h"},
        {"key": "recipient", "recipients": 2, "per": "1h"},
    ]
    server = gate_server(place, limits={"rate": rate})
    assert taken(one(server, sender="a@good.example", to="x1@example.org"))
    where, text = one(server, sender="a@good.example", to="x2@example.org")
    assert (where, text) == ("mail", "450 4.7.1 Too many: 1 messages in 1 h are allowed of this sender; the next one is possible in 1 h")
    assert taken(one(server, sender="b@good.example", to="x1@example.org"))
    assert one(server, sender="c@good.example", source="127.0.1.6", to="x1@example.org")[0] == "rcpt"
    assert one(server, sender="d@good.example", to="x3@example.org")[0] == "mail"
    assert taken(one(server, sender="e@good.example", to="x3@example.org", source="127.0.1.6"))
    for i in range(5):
        assert taken(one(server, sender="f@good.example", to=f"y{i}@example.org", source=harness.TRUSTED))


def test_a_rate_fills_up_again(place):
    server = gate_server(place, limits={"rate": [{"key": "network", "messages": 1, "per": "1s"}]})
    assert taken(one(server))
    assert one(server, source="127.0.1.6")[1].startswith("450 4.7.1")
    time.sleep(1.1)
    assert taken(one(server))


def test_connections_and_sessions_are_limited_by_network(place):
    server = gate_server(place, limits={"concurrent": [{"key": "network", "sessions": 2}]})
    with server.client(source="127.0.1.5") as a, server.client(source="127.0.1.6") as b:
        a.hello()
        b.hello()
        assert one(server) == ("connect", "421 4.7.0 Too many sessions from your network: 2 are allowed at a time; close some first")
        assert taken(one(server, source="127.0.2.1"))
    wait_for(lambda: taken(one(server)), what="a free place")
    server = gate_server(place, limits={"rate": [{"key": "client", "connections": 2, "per": "1h"}]})
    assert taken(one(server)) and taken(one(server))
    assert one(server)[1].startswith("421 4.7.0 Too many connections: 2 connections in 1 h are allowed from your address")
    assert taken(one(server, source="127.0.1.6"))


def test_messages_at_a_time_are_limited_by_sender_domain_and_recipient(place):
    concurrent = [{"key": "sender_domain", "sessions": 1}, {"key": "recipient_domain", "sessions": 1, "trusted": True}]
    server = gate_server(place, limits={"concurrent": concurrent})
    with server.client(source="127.0.1.5") as a, server.client(source="127.0.1.6") as b, server.client(trusted=True) as t:
        for c in (a, b, t):
            c.hello()
        a.begin("x@good.example", ["alice@example.org", "bob@Example.org"])
        text = b.expect(450, "MAIL FROM:<y@GOOD.example>")
        assert text == "450 4.7.1 Too many messages from this domain at a time: 1 are allowed; try again in a moment"
        t.expect(250, "MAIL FROM:<y@good.example>")
        assert "to this domain" in t.expect(450, "RCPT TO:<carol@example.org>")
        a.expect(250, "RSET")
        b.begin("y@good.example", ["alice@example.org"])
        a.expect(450, "MAIL FROM:<x@good.example>")
        b.close()
        wait_for(lambda: a.command("MAIL FROM:<x@good.example>")[0] == 250, what="the end of the other message")


# --- recipients ------------------------------------------------------------------------------------------------------------


def test_a_mailbox_must_be_there_when_that_is_asked_for(place):
    server = gate_server(place, checks={"recipients": {"verify": "local", "negative": "1s"}})
    assert one(server, to="alice@example.org")[1] == "550 5.1.1 <alice@example.org>: no such mailbox here"
    assert taken(one(server, to="postmaster@example.org"))
    (server.dir / "mail/example.org/alice").mkdir(parents=True)
    time.sleep(1.1)
    assert taken(one(server, to="alice@example.org"))
    assert taken(one(server, to="alice+detail@example.org"))


def test_the_server_behind_is_asked_once_about_each_recipient(place):
    behind = place.mx(domains={"example.org": {"deliver": "maildir:{dir}/mail/{domain}/{local}", "recipients": ["alice"]}})
    asked = []

    def rcpt(argument, _):
        asked.append(argument)
        return "550 5.1.1 Nobody by this name" if "nobody" in argument else "250 2.1.5 OK"

    lmtp = place.peer(lmtp=True, answers={"RCPT": rcpt})
    server = gate_server(
        place,
        checks={"recipients": "all"},
        domains={"example.org": {"deliver": f"lmtp:127.0.0.1:{lmtp.port}"}},
        routes=[{"to": "example.net", "via": [{"host": f"127.0.0.1:{behind.port}"}]}],
    )
    for _ in range(3):
        where, text = one(server, to="nobody@example.org")
        assert where == "rcpt"
        assert text == "550 5.1.1 <nobody@example.org>: refused by the server that holds this mailbox: Nobody by this name"
    assert len(asked) == 1 and "nobody@example.org" in asked[0]
    assert taken(one(server))
    wait_for(lambda: len(lmtp.messages) == 1, what="the delivery")
    # The next hop does not relay for us: its refusal is given at once, instead of in a bounce.
    where, text = one(server, to="x@example.net", source=harness.TRUSTED)
    assert where == "rcpt" and "refused by the server that holds this mailbox" in text


def test_while_the_server_behind_is_down_mail_is_taken_or_put_off(place):
    port = harness.free_port()
    options = {"domains": {"example.org": {"deliver": f"lmtp:127.0.0.1:{port}"}}}
    assert taken(one(gate_server(place, checks={"recipients": "local"}, **options)))
    server = gate_server(place, checks={"recipients": {"verify": "local", "defer": True}}, **options)
    assert one(server)[1].startswith("450 4.4.0 <alice@example.org>: the server that holds this mailbox can't be asked now")


# --- countries -------------------------------------------------------------------------------------------------------------


def test_countries_come_from_a_maxmind_file(place, tmp_path):
    mmdb.country_file(tmp_path / "c.mmdb", {"127.0.1.0/24": "DE", "127.0.2.0/25": "CN", "127.0.2.128/25": "FR"})
    rule = {"match": {"country": ["CN", "none"]}, "action": "reject", "text": "not from there"}
    server = place.mx(start=False, zone=ZONE, gate=[rule], checks={"country_file": str(tmp_path / "c.mmdb")})
    r = server.command("check", check=False)
    if "can't read MaxMind files" in r.stderr:
        pytest.skip("built without libmaxminddb")
    server.start()
    assert taken(one(server, source="127.0.1.9")) and taken(one(server, source="127.0.2.200"))
    assert one(server, source="127.0.2.9") == ("connect", "554 5.7.1 not from there")
    assert one(server, source="127.0.3.9")[0] == "connect"
    assert explain(server, client="127.0.1.9")["steps"][0]["because"] == "country is DE"


# --- texts, check and explain ------------------------------------------------------------------------------------------------


def test_texts_of_replies_are_those_of_the_configuration(place):
    server = gate_server(
        place,
        replies={"relay_denied": "<%1>: not our business, {client}", "null_mx_sender": "{sender} can't be answered", "goodbye": "Bye from {hostname}"},
    )
    assert one(server, to="x@elsewhere.example")[1] == f"550 5.7.1 <x@elsewhere.example>: not our business, {CLIENT}"
    assert one(server, sender="x@null.example")[1] == "550 5.7.27 x@null.example can't be answered"
    with server.client(source=CLIENT) as c:
        c.hello()
        assert c.expect(221, "QUIT") == "221 2.0.0 Bye from mx.example.org"


def test_a_reload_changes_the_rules_for_new_sessions(place):
    server = gate_server(place)
    assert taken(one(server))
    config = json.loads(server.config.read_text())
    server.write_config(json.dumps({**config, "gate": [{"match": {"sender": "good.example"}, "action": "reject"}]}))
    server.hangup()
    wait_for(lambda: one(server)[0] == "mail", what="the new rule")


@pytest.mark.parametrize(
    "rule, message",
    [
        ({"match": {"clinet": "::1"}, "action": "reject"}, 'a rule can\'t match "clinet", did you mean "client"?'),
        ({"match": {"client": "1.2.3"}, "action": "reject"}, 'client: expected an address or network like 192.0.2.0/24, found "1.2.3"'),
        ({"match": {"sender": "*"}, "action": "reject", "at": "connect"}, "at: connect is too early: what the rule matches is known from mail on"),
        ({"match": {"dkim": "fail"}, "action": "limit", "limit": {"recipients": 1}}, "limit works up to rcpt only"),
        ({"action": "accept", "text": "x"}, "text means nothing to the action accept"),
        ({"action": "reject", "code": 450}, "code: reject answers with 5xx, found 450"),
        ({"action": "reject", "text": "{cleint}"}, "{cleint} is none of {client}"),
        ({"action": "tarpit"}, "tarpit needs delay"),
        ({"action": "limit"}, "limit needs limit:"),
        ({"action": "add_header", "header": "no colon"}, 'add_header needs header: "Name: value"'),
        ({"match": {"country": "CN"}, "action": "reject"}, "needs checks.country_file"),
        ({"match": {"client": []}, "action": "reject"}, "client: the list is empty"),
        ({"match": {"score": "many"}, "action": "reject"}, 'score: expected a number like 5, >=5, <10M or 3..7, found "many"'),
        ({"match": {}}, '"action" is missing'),
    ],
)
def test_mistakes_in_rules_are_named_with_their_place(place, rule, message):
    server = place.mx(start=False, gate=[rule])
    r = server.command("check", check=False)
    assert r.returncode == 1 and message in r.stderr, r.stderr
    assert re.match(r"\S+yizhan.yaml:\d+:\d+: ", r.stderr)


@pytest.mark.parametrize(
    "sections, message",
    [
        ({"checks": {"lists": [{"zone": "bl.example", "replies": "127.0.0.[2..]"}]}}, "replies: expected answers like"),
        ({"checks": {"lists": [{"zone": "bl.example", "weight": "heavy"}]}}, "weight: expected a number"),
        ({"checks": {"helo": ["own_nam"]}}, 'did you mean "own_name"?'),
        ({"limits": {"rate": [{"key": "client"}]}}, "a rate needs connections, messages or recipients"),
        ({"limits": {"rate": [{"key": "user", "connections": 1}]}}, "connections are counted by client or network only"),
        ({"limits": {"rate": [{"key": "recipient", "messages": 1}]}}, "by recipient, recipients are counted"),
        ({"replies": {"no_such_usr": "x"}}, 'there is no reply "no_such_usr", did you mean "no_such_user"?'),
        ({"replies": {"goodbye": "%1"}}, "goodbye: %1 stands for nothing in this reply"),
        ({"checks": {"country_file": "{dir}/zone"}}, "zone"),
    ],
)
def test_mistakes_in_checks_are_named(place, sections, message):
    server = place.mx(start=False, **sections)
    r = server.command("check", check=False)
    assert r.returncode == 1 and message in r.stderr, r.stderr


def test_check_explains_the_table_of_rules(place):
    server = place.mx(
        start=False,
        gate=[
            {"match": {"size": ">10M"}, "action": "defer"},
            {"name": "office", "match": {"client": ["10.0.0.0/8", "::1"]}, "unless": {"time": "22:00-06:00"}, "action": "accept"},
        ],
    )
    assert server.command("check", "--gate").stdout.splitlines() == [
        "office: connect: accept when client in 10.0.0.0/8, ::1 unless time in 22:00-06:00",
        "gate[0]: data: defer when size >10M: 450 4.7.1 (built-in text)",
    ]


def test_explain_says_what_was_looked_at_and_what_decided(place):
    server = gate_server(
        place,
        {"name": "first", "match": {"client": "10.0.0.0/8"}, "action": "reject"},
        {"name": "second", "match": {"sender": "good.example", "tls": True}, "action": "defer", "text": "Not <{sender}>"},
        checks={"lists": ["bl.example"]},
    )
    answer = explain(server, "--tls")
    assert answer["steps"][0]["because"] == "client is 127.0.1.5" and answer["steps"][0]["matched"] is False
    assert answer["verdict"] == {"action": "defer", "stage": "mail", "by": "second", "reply": "450 4.7.1 Not <a@good.example>"}
    assert explain(server)["verdict"] == {"action": "accept", "stage": "data"}
    assert explain(server, to="x@elsewhere.example")["verdict"]["by"] == "access"
    assert explain(server, "--user", "joe", to="x@elsewhere.example")["verdict"]["action"] == "accept"
    assert explain(server, "--listener", "submission")["verdict"]["reply"].startswith("530 5.7.0")
    listed = explain(server, client="127.0.1.66")["verdict"]
    assert (listed["by"], listed["reply"]) == ("checks.lists", one(server, source="127.0.1.66")[1])
    text = server.command("explain", "--client", CLIENT, "--from", "", "--to", "alice@example.org").stdout
    assert "no match" in text and text.endswith("verdict: accept\n")


def test_explain_in_wrong_usage(place):
    server = place.mx(start=False)
    for words in (["--client", "1.2.3.4"], ["--client", "x", "--from", "", "--to", "a@b"], ["--size", "big"]):
        assert server.command("explain", *words, check=False).returncode in (1, 2)
