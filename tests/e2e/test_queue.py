"""The queue: retries, expiry, what senders are told, peers that fail at every step, and the hand of the administrator."""

import re
import threading
import time

import pytest

import harness
from harness import reports, wait_for

SENDER = "alice@example.org"


def sending_server(place, peer_port, via=None, **sections):
    """A server that sends everything but its own domain to one peer."""
    return place.mx(routes=[{"to": "*", "via": via or [{"host": f"127.0.0.1:{peer_port}"}]}], **sections)


@pytest.fixture
def pair(place):
    """pair(answers, ...) gives a peer and a server that sends there."""

    def make(answers=None, peer=None, **sections):
        p = place.peer(answers=answers, **(peer or {}))
        return p, sending_server(place, p.port, **sections)

    return make


def mailbox(server, action=None, local="alice"):
    return reports(server.maildir("example.org", local), action)


def the_report(server, action, local="alice"):
    wait_for(lambda: mailbox(server, action, local), what=f"a report of {action}")
    found = mailbox(server, action, local)
    assert len(found) == 1
    return found[0]


def is_empty(server, timeout=10):
    wait_for(server.queue_is_empty, timeout, "an empty queue")


def only_recipient(server):
    return server.rows()[0]["recipients"][0]


# --- temporary trouble ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["CONNECT", "EHLO", "MAIL", "RCPT", "DATA", "DOT"])
@pytest.mark.parametrize("reply", ["451 4.3.0 later", "421 4.3.2 closing", None])
def test_trouble_at_any_step_only_delays(pair, stage, reply):
    """4xx, 421 and a lost connection: once each, then the peer works."""
    peer, server = pair({stage: [reply, True]}, {"extensions": ["PIPELINING"] if stage == "DATA" else ["CHUNKING"]})
    server.submit(SENDER, "bob@dest.example", b"Subject: delayed\r\n\r\nx\r\n")
    wait_for(lambda: peer.messages, what="the delivery")
    is_empty(server)
    assert len(peer.messages) == 1
    assert mailbox(server) == []


@pytest.mark.parametrize("reply", ["451 4.3.0 later", "421 4.3.2 closing", None])
def test_trouble_with_quit_does_not_matter(pair, reply):
    peer, server = pair({"QUIT": reply})
    server.submit(SENDER, "bob@dest.example")
    is_empty(server)
    assert len(peer.messages) == 1


@pytest.mark.parametrize(
    "stage,extensions", [("BDAT", ["CHUNKING", "PIPELINING"]), ("RSET", ["PIPELINING"]), ("STARTTLS", [])]
)
def test_a_connection_lost_at_other_steps(pair, stage, extensions):
    peer, server = pair({stage: [None, True]}, {"extensions": extensions})
    server.submit(SENDER, "bob@dest.example", b"Subject: x\r\n\r\n" + b"y" * 70 + b"\r\n" * 20000)
    wait_for(lambda: peer.messages, what="the delivery")
    is_empty(server)


def test_a_peer_that_closes_after_the_dot_without_a_word_gets_it_again(pair):
    """Nobody knows whether it was taken: twice is better than never."""
    peer, server = pair({"DOT": [None, None, True]})
    server.submit(SENDER, "bob@dest.example")
    wait_for(lambda: peer.messages, what="the delivery")
    assert len(peer.said("DOT")) == 3
    is_empty(server)


def test_every_retry_follows_the_schedule(pair):
    peer, server = pair({"RCPT": "450 4.2.0 not yet"}, queue={"retry": ["200ms", "400ms", "1h"]})
    server.submit(SENDER, "bob@dest.example")
    wait_for(lambda: len(peer.said("RCPT")) == 3, what="three attempts")
    wait_for(lambda: only_recipient(server)["attempts"] == 3, what="three attempts in the queue")
    assert server.summary()["messages"] == 1 and "450" in only_recipient(server)["last_reply"]


def test_each_recipient_has_its_own_fate(pair):
    """2xx, 4xx then 2xx, and 5xx in one message: nobody gets it twice."""
    tries = {}

    def rcpt(argument, _):
        who = re.search(r"<(\w+)@", argument).group(1)
        tries[who] = tries.get(who, 0) + 1
        return {"good": True, "later": "451 4.2.1 later" if tries[who] < 3 else True, "gone": "550 5.1.1 no such user"}[
            who
        ]

    peer, server = pair({"RCPT": rcpt})
    server.submit(SENDER, ["good@dest.example", "later@dest.example", "gone@dest.example"])
    wait_for(lambda: len(peer.messages) == 2, what="two deliveries")
    is_empty(server)
    assert tries == {"good": 1, "later": 3, "gone": 1}
    assert [b.recipients[0]["Final-Recipient"].split(";")[1].strip() for b in mailbox(server)] == ["gone@dest.example"]


def test_a_dead_site_costs_one_probe_not_one_attempt_per_message(place):
    port = harness.free_port()
    server = sending_server(place, port, queue={"retry": ["1h"]})
    for i in range(50):
        server.submit(SENDER, f"bob{i}@dest.example")
    wait_for(lambda: any(r["attempts"] for row in server.rows() for r in row["recipients"]), what="a first attempt")
    peer = place.peer(port=port)
    server.command("queue", "retry", "--all")
    wait_for(lambda: len(peer.messages) == 50, 20, "50 deliveries")
    assert peer.connections <= 20


def test_other_sites_are_not_held_up_by_a_slow_one(place):
    slow, quick = place.peer(answers={"CONNECT": lambda *_: time.sleep(5) or "421 4.3.2 no"}), place.peer()
    server = place.mx(
        routes=[
            {"to": "slow.example", "via": [{"host": f"127.0.0.1:{slow.port}"}]},
            {"to": "*", "via": [{"host": f"127.0.0.1:{quick.port}"}]},
        ]
    )
    for i in range(30):
        server.submit(SENDER, f"bob{i}@slow.example")
    server.submit(SENDER, "bob@quick.example")
    wait_for(lambda: quick.messages, 3, "the message to the quick site")


# --- what senders are told -------------------------------------------------------------------------------------------------


def test_a_bounce_says_who_why_and_from_where(pair):
    peer, server = pair({"RCPT": "550 5.1.1 <bob@dest.example>: no such user here"})
    original = b"Subject: the original\r\nMessage-ID: <1@example.org>\r\n\r\nsome text\r\n"
    server.submit(SENDER, "bob@dest.example", original, " ENVID=Q+2B1", " ORCPT=rfc822;Bob+2BX@orig.example")
    report = the_report(server, "failed")
    mail = report.mail
    assert mail["Return-Path"] == "<>" and SENDER in mail["To"] and "MAILER-DAEMON" in mail["From"].upper()
    assert mail["Auto-Submitted"].startswith("auto-") and mail["Message-ID"] and mail["Date"] and mail["Subject"]
    assert report.message["Reporting-MTA"] == "dns; mx.example.org"
    assert report.message["Original-Envelope-Id"] == "Q+1" and report.message["Arrival-Date"]
    fields = report.recipients[0]
    assert fields["Original-Recipient"].replace(" ", "") == "rfc822;Bob+X@orig.example"
    assert fields["Final-Recipient"].replace(" ", "") == "rfc822;bob@dest.example"
    assert fields["Action"] == "failed" and fields["Status"] == "5.1.1"
    assert "no such user here" in fields["Diagnostic-Code"] and fields["Diagnostic-Code"].startswith("smtp;")
    assert "bob@dest.example" in report.text and "no such user here" in report.text
    assert (
        report.original_type == "message/rfc822"
        and b"some text" in report.original
        and b"Subject: the original" in report.original
    )


def test_a_bounce_travels_to_a_remote_sender_from_the_null_path(pair):
    peer, server = pair({"RCPT": lambda argument, _: "550 5.1.1 no" if "bob@" in argument else True})
    server.submit("carol@remote.example", "bob@dest.example")
    wait_for(lambda: peer.messages, what="the bounce")
    assert peer.messages[0]["from"].startswith("FROM:<>") and "carol@remote.example" in peer.messages[0]["to"][0]


def test_ret_hdrs_returns_the_header_only(pair):
    _, server = pair({"RCPT": "550 5.1.1 no"})
    server.submit(SENDER, "bob@dest.example", b"Subject: the original\r\n\r\nsecret text\r\n", " RET=HDRS")
    report = the_report(server, "failed")
    assert (
        report.original_type == "text/rfc822-headers"
        and b"the original" in report.original
        and b"secret text" not in report.raw
    )


def test_a_large_original_is_not_returned_whole(pair):
    _, server = pair({"RCPT": "550 5.1.1 no"}, queue={"bounce_size": "10K"})
    server.submit(SENDER, "bob@dest.example", b"Subject: the original\r\n\r\n" + b"0123456789\r\n" * 5000)
    report = the_report(server, "failed")
    assert b"the original" in report.original and len(report.raw) < 15000


def test_one_bounce_tells_of_all_recipients_that_failed_together(pair):
    _, server = pair({"RCPT": "550 5.1.1 no"})
    server.submit(SENDER, [f"r{i}@dest.example" for i in range(7)])
    assert len(the_report(server, "failed").recipients) == 7


def test_there_is_never_a_bounce_of_a_bounce(pair):
    peer, server = pair({"RCPT": "550 5.1.1 no"})
    server.submit("carol@remote.example", "bob@dest.example")
    wait_for(lambda: any("carol" in a for a in peer.said("RCPT")), what="an attempt to bounce")
    is_empty(server)
    server.submit("", "bob@dest.example")
    is_empty(server)
    assert len(peer.said("RCPT")) == 3


def test_notify_never_silences_bounces(pair):
    peer, server = pair({"RCPT": "550 5.1.1 no"})
    server.submit(SENDER, "bob@dest.example", rcpt_parameters=" NOTIFY=NEVER")
    server.submit(SENDER, "carol@dest.example", rcpt_parameters=" NOTIFY=SUCCESS")
    wait_for(lambda: len(peer.said("RCPT")) == 2)
    is_empty(server)
    assert mailbox(server) == []


def test_notify_success_into_a_mailbox(place):
    server = place.mx()
    server.submit(SENDER, "bob@example.org", rcpt_parameters=" NOTIFY=SUCCESS")
    report = the_report(server, "delivered")
    assert report.recipients[0]["Status"].startswith("2.") and report.original_type == "text/rfc822-headers"
    is_empty(server)


def test_notify_success_is_handed_on_to_a_server_that_knows_dsn(pair):
    peer, server = pair()
    server.submit(SENDER, "bob@dest.example", rcpt_parameters=" NOTIFY=SUCCESS")
    is_empty(server)
    assert "NOTIFY=SUCCESS" in peer.messages[0]["to"][0]
    assert mailbox(server) == []


def test_notify_success_is_a_relayed_report_where_dsn_is_not_known(pair):
    peer, server = pair(peer={"extensions": ["PIPELINING"]})
    server.submit(SENDER, "bob@dest.example", rcpt_parameters=" NOTIFY=SUCCESS")
    assert the_report(server, "relayed").recipients[0]["Status"].startswith("2.")
    assert peer.messages[0]["to"] == ["TO:<bob@dest.example>"]


def test_without_notify_success_nothing_is_said(pair):
    peer, server = pair(peer={"extensions": []})
    server.submit(SENDER, "bob@dest.example")
    is_empty(server)
    assert mailbox(server) == []


def test_a_delay_is_told_once_and_not_to_those_who_did_not_ask(pair):
    peer, server = pair({"RCPT": "450 4.2.0 mailbox busy"}, queue={"warn": "500ms", "expire": "1h"})
    server.submit(SENDER, "bob@dest.example")
    server.submit("other@example.org", "bob@dest.example", rcpt_parameters=" NOTIFY=FAILURE")
    report = the_report(server, "delayed")
    fields = report.recipients[0]
    assert (
        fields["Status"].startswith("4.") and fields["Will-Retry-Until"] and "mailbox busy" in fields["Diagnostic-Code"]
    )
    before = len(peer.said("RCPT"))
    wait_for(lambda: len(peer.said("RCPT")) >= before + 4, what="further attempts")
    assert len(mailbox(server)) == 1 and mailbox(server, local="other") == []


def test_an_expired_message_bounces_with_the_last_reply(pair):
    _, server = pair({"RCPT": "450 4.2.0 mailbox busy"}, queue={"expire": "1s", "warn": "never"})
    server.submit(SENDER, "bob@dest.example")
    report = the_report(server, "failed")
    assert "mailbox busy" in report.raw.decode() and report.recipients[0]["Status"] in (
        "4.2.0",
        "5.2.0",
        "4.4.7",
        "5.4.7",
    )
    is_empty(server)


def test_an_expired_message_that_no_server_ever_answered_bounces(place):
    server = sending_server(place, harness.free_port(), queue={"expire": "1s", "warn": "never"})
    server.submit(SENDER, "bob@dest.example")
    report = the_report(server, "failed")
    assert report.recipients[0]["Status"].split(".")[1] == "4"
    is_empty(server)


def test_an_original_in_utf8_makes_a_readable_bounce(place):
    server = place.mx()
    server.submit(
        "jörg@example.org", "bob@nowhere.example", "Subject: grüße\r\n\r\nhallo\r\n".encode(), " SMTPUTF8 BODY=8BITMIME"
    )
    wait_for(lambda: mailbox(server, "failed", "jörg"), what="the bounce")


# --- across a restart --------------------------------------------------------------------------------------------------------


def test_what_waits_survives_a_restart_with_its_history(pair):
    peer, server = pair(
        {"RCPT": lambda argument, _: True if "good" in argument else "451 4.3.0 later"}, queue={"retry": ["1h"]}
    )
    identity = server.submit(
        SENDER,
        ["good@dest.example", "bob@dest.example"],
        parameters=" RET=HDRS ENVID=keep",
        rcpt_parameters=" NOTIFY=FAILURE",
    )
    wait_for(
        lambda: peer.messages
        and server.rows()
        and any(r["attempts"] == 1 and r.get("last_reply") for r in server.rows()[0]["recipients"])
    )
    assert server.stop() == 0
    server.start()
    rows = server.rows()
    assert [r["id"] for r in rows] == [identity]
    waiting = [r for r in rows[0]["recipients"] if r["address"] == "bob@dest.example"]
    assert waiting and waiting[0]["attempts"] == 1 and "451" in waiting[0]["last_reply"]
    peer.answers["RCPT"] = True
    server.command("queue", "retry", identity)
    wait_for(lambda: len(peer.messages) == 2, what="the second delivery")
    assert "ENVID=keep" in peer.messages[1]["from"] and peer.messages[1]["to"][0].split()[0] == "TO:<bob@dest.example>"
    is_empty(server)


def test_a_stop_waits_for_a_delivery_that_is_under_way(pair):
    release = threading.Event()
    peer, server = pair({"DOT": lambda *_: release.wait(10) and True})
    server.submit(SENDER, "bob@dest.example")
    wait_for(lambda: peer.said("DATA") or peer.said("MAIL"), what="a delivery under way")
    server.process.terminate()
    release.set()
    assert server.ended() == 0
    server.start()
    is_empty(server)
    assert len(peer.messages) == 1


def test_a_stop_does_not_wait_for_a_server_that_says_nothing(pair):
    silent = threading.Event()
    peer, server = pair({"CONNECT": lambda *_: silent.wait(60) and True}, deliver={"greeting_timeout": "60s"})
    server.submit(SENDER, "bob@dest.example")
    wait_for(lambda: peer.open_connections, what="a connection")
    began = time.monotonic()
    server.process.terminate()
    assert server.ended() == 0 and time.monotonic() - began < 10 * harness.SLOW
    silent.set()
    server.start()
    wait_for(lambda: len(peer.messages) == 1, 30, "the delivery")
    is_empty(server)


# --- the administrator ---------------------------------------------------------------------------------------------------------


def test_summary_of_an_empty_and_a_full_queue(pair):
    _, server = pair({"RCPT": "451 4.3.0 later"}, queue={"retry": ["1h"]})
    empty = server.summary()
    assert (empty["messages"], empty["recipients"], empty["bytes"], empty["oldest_s"]) == (0, 0, 0, 0)
    server.submit(SENDER, ["a@dest.example", "b@dest.example"])
    server.submit(SENDER, "c@dest.example")
    full = server.summary()
    assert (full["messages"], full["recipients"]) == (2, 3) and full["bytes"] > 100 and full["oldest_s"] >= 0


def test_hold_and_release(pair):
    peer, server = pair(via=["hold"])
    identity = server.submit(SENDER, "bob@dest.example")
    assert server.rows()[0]["recipients"][0]["status"] == "held"
    shown = server.command("queue", "show", identity).stdout
    assert identity in shown and "bob@dest.example" in shown and SENDER in shown
    server.write_config(server.config.read_text().replace('"hold"', f'{{"host": "127.0.0.1:{peer.port}"}}'))
    server.hangup()
    wait_for(lambda: "in force" in server.log(), what="the new route")
    server.command("queue", "release", identity)
    wait_for(lambda: peer.messages, what="the delivery")
    is_empty(server)


def test_held_by_hand_means_no_attempts(pair):
    peer, server = pair({"RCPT": "451 4.3.0 later"}, queue={"retry": ["200ms"]})
    identity = server.submit(SENDER, "bob@dest.example")
    wait_for(lambda: peer.said("RCPT"))
    server.command("queue", "hold", identity)
    wait_for(lambda: only_recipient(server)["status"] == "held", what="a held message")
    attempts = only_recipient(server)["attempts"]
    peer.answers.clear()
    server.submit(SENDER, "other@dest.example")
    wait_for(lambda: len(peer.messages) == 1, what="the other message")
    assert only_recipient(server)["attempts"] == attempts
    server.stop()
    server.start()
    assert only_recipient(server)["status"] == "held"
    server.command("queue", "release", identity)
    is_empty(server)
    assert len(peer.messages) == 2


def test_remove_forgets_without_a_word(pair):
    _, server = pair({"RCPT": "451 4.3.0 later"}, queue={"retry": ["1h"]})
    keep, gone = server.submit(SENDER, "keep@dest.example"), server.submit(SENDER, "gone@dest.example")
    server.command("queue", "remove", gone)
    wait_for(lambda: [r["id"] for r in server.rows()] == [keep], what="the end of the message that was removed")
    assert mailbox(server) == []
    server.stop()
    server.start()
    assert [r["id"] for r in server.rows()] == [keep]


def test_bounce_by_hand_tells_the_sender(pair):
    _, server = pair({"RCPT": "451 4.3.0 later"}, queue={"retry": ["1h"]})
    server.command("queue", "bounce", server.submit(SENDER, "bob@dest.example"))
    assert the_report(server, "failed").recipients[0]["Status"].startswith(("5.", "4."))
    is_empty(server)


def test_retry_by_hand_does_not_wait_for_the_schedule(pair):
    peer, server = pair({"RCPT": ["451 4.3.0 later", True]}, queue={"retry": ["1h"]})
    identity = server.submit(SENDER, "bob@dest.example")
    wait_for(lambda: only_recipient(server)["attempts"] == 1)
    server.command("queue", "retry", identity)
    is_empty(server)
    assert len(peer.messages) == 1


def test_filters(pair):
    _, server = pair(
        {
            "RCPT": lambda argument, _: "451 4.7.1 greylisted, please try again"
            if "grey" in argument
            else "451 4.3.0 later"
        },
        queue={"retry": ["1h"]},
    )
    ids = {
        name: server.submit(f"{name}@example.org", f"{to}@{domain}")
        for name, to, domain in (("one", "a", "x.example"), ("two", "b", "x.example"), ("three", "grey", "y.example"))
    }
    wait_for(lambda: sum(r["attempts"] for row in server.rows() for r in row["recipients"]) == 3, what="three attempts")

    def found(*words):
        return {r["id"] for r in server.rows(*words)}

    assert found() == set(ids.values())
    assert found("--sender", "one@example.org") == {ids["one"]}
    assert found("--sender", "t*@example.org") == {ids["two"], ids["three"]}
    assert found("--recipient", "*@x.example") == {ids["one"], ids["two"]}
    assert found("--class", "greylisted") == {ids["three"]}
    assert found("--older", "1h") == set()
    server.command("queue", "remove", "--recipient", "*@x.example")
    assert found() == {ids["three"]}


def test_an_unknown_id_is_status_1_with_a_sentence(place):
    server = place.mx()
    for words in (("queue", "show", "0123456789abc"), ("queue", "remove", "0123456789abc"), ("trace", "0123456789abc")):
        r = server.command(*words, check=False)
        assert r.returncode == 1 and (r.stdout + r.stderr).strip(), words


def test_ten_thousand_waiting_messages_are_listed_and_summed(place):
    server = place.mx(routes=[{"to": "*", "via": ["hold"]}], queue={"retry": ["1h"]})
    with server.client(trusted=True) as c:
        c.hello()
        for start in range(0, 10000, 100):
            c.send(
                "".join(
                    f"MAIL FROM:<{SENDER}>\r\nRCPT TO:<r{start + i}@dest.example>\r\nBDAT 17 LAST\r\nSubject: x\r\n\r\ny\r\n"
                    for i in range(100)
                )
            )
            for _ in range(300):
                c.expect(250)
    assert server.summary()["messages"] == 10000
    assert len(server.rows()) == 10000
    server.stop()
    server.start()
    assert server.summary()["messages"] == 10000
    server.command("queue", "remove", "--sender", SENDER)
    assert server.summary()["messages"] == 0


def test_spare_files_lie_ready_after_a_quiet_moment_and_mail_goes_on_in_them(place):
    server = sending_server(place, 1, via=["hold"], spool={"spare": 2, "segment_size": "1M"})
    directory = server.dir / "spool"
    server.submit(SENDER, "bob@dest.example")
    wait_for(lambda: len(list(directory.glob("free-*.log"))) == 2, what="two spare files", timeout=20)
    server.submit(SENDER, "carol@dest.example")
    server.kill()
    server.start()
    assert {r["recipients"][0]["address"] for r in server.rows()} == {"bob@dest.example", "carol@dest.example"}
