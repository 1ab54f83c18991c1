"""The way in: messages that come once more because their 250 was lost (RFC 1047)."""

import re
import time

import pytest

import harness
from harness import wait_for

LETTER = b"Subject: once\r\n\r\n..a line with a dot\r\nx\r\n"


@pytest.fixture
def server(place):
    return place.mx(tls=place.certificate())


def lose_the_reply(server, letter=LETTER, recipients=("alice@example.org",), tls=False, bdat=False, **options):
    """Sends a message and hangs up instead of reading the reply; returns the message's id from the log."""
    before = server.log().count("it may send the message again")
    with server.client(**options) as c:
        c.hello()
        if tls:
            c.starttls()
            c.expect(250, "EHLO client.example")
        c.begin(recipients=recipients)
        if bdat:
            c.send(f"BDAT {len(letter)} LAST\r\n".encode() + letter)
        else:
            c.expect(354, "DATA")
            c.send(letter + b".\r\n")
    wait_for(lambda: server.log().count("it may send the message again") > before, what="the loss of the reply")
    return re.findall(r"it may send the message again id=(\S+)", server.log())[-1]


def send(server, letter=LETTER, recipients=("alice@example.org",), sender="a@client.example", last="QUIT", **options):
    """Sends it and reads the reply; returns the id."""
    with server.client(**options) as c:
        c.hello()
        text = c.send_message(sender, recipients, letter)
        if last:
            c.command(last)
    return re.search(r"queued as (\S+)", text).group(1)


def count(server, n, mailbox="alice"):
    wait_for(lambda: len(server.maildir("example.org", mailbox)) >= n, what=f"{n} messages")
    time.sleep(0.3)
    assert len(server.maildir("example.org", mailbox)) == n


def test_a_message_whose_reply_was_lost_is_acknowledged_and_not_queued_again(server):
    first = lose_the_reply(server)
    count(server, 1)
    assert send(server) == first
    assert send(server) == first  # as often as it comes
    count(server, 1)
    events = [e["event"] for e in server.events(first)]
    assert events.count("received") == 1 and events.count("repeated") == 2
    assert "once more from 127.0.0.1" in server.command("trace", first).stdout
    assert server.json("status")["receive"]["repeated"] == 2
    assert server.json("status")["receive"]["messages"] == 1


def test_who_hangs_up_under_tls_when_it_has_read_the_reply_has_had_it(server):
    for _ in range(2):
        with server.client() as c:
            c.hello()
            c.starttls()
            c.expect(250, "EHLO client.example")
            c.send_message("a@client.example", ["alice@example.org"], LETTER)
    count(server, 2)


def test_a_reply_that_lies_unread_when_the_client_ends_is_lost(server):
    with server.client() as c:
        c.hello()
        c.begin()
        c.expect(354, "DATA")
        c.send(LETTER + b".\r\n")
        wait_for(lambda: server.maildir("example.org", "alice"), what="the message")
        time.sleep(0.1)  # the 250 has arrived, and nobody reads it
    wait_for(lambda: "it may send the message again" in server.log(), what="the loss of the reply")
    send(server)
    count(server, 1)


def test_the_way_it_comes_makes_no_difference(server):
    first = lose_the_reply(server, tls=True, recipients=("alice@example.org", "bob@example.org"))
    assert send(server, recipients=("bob@example.org", "alice@example.org")) == first
    count(server, 1)
    count(server, 1, "bob")
    letter = b"Subject: chunks\r\n\r\n.\r\nx\r\n"
    first = lose_the_reply(server, letter, bdat=True)
    assert send(server, b"Subject: chunks\r\n\r\n..\r\nx\r\n") == first
    count(server, 2)


@pytest.mark.parametrize(
    "other",
    [
        {"letter": LETTER + b"\r\n"},
        {"letter": LETTER.replace(b"once", b"oncE")},
        {"sender": "b@client.example"},
        {"recipients": ("alice@example.org", "bob@example.org")},
        {"recipients": ("Alice@example.org",)},
        {"source": "127.0.0.9"},
    ],
    ids=["longer", "content", "sender", "recipients", "case", "client"],
)
def test_what_differs_in_anything_is_another_message(server, other):
    first = lose_the_reply(server)
    assert send(server, **other) != first
    wait_for(lambda: server.json("status")["receive"]["messages"] == 2, what="both messages")


@pytest.mark.parametrize("last", ["QUIT", "NOOP", "RSET", "WHAT", None], ids=str)
def test_who_has_had_the_reply_may_send_the_same_once_more(server, last):
    first = send(server, last=last)  # None: hangs up without a word, but has read the reply
    assert send(server, last=last) != first
    count(server, 2)
    assert "may send the message again" not in server.log()


def test_a_quit_sent_ahead_is_enough_when_the_replies_could_be_written(server):
    with server.client() as c:
        c.hello()
        c.begin()
        c.expect(354, "DATA")
        c.send(LETTER + b".\r\nQUIT\r\n")
        c.expect(250)
        c.expect(221)
    send(server)
    count(server, 2)


def test_only_the_last_message_of_a_session_is_in_doubt(server):
    with server.client() as c:
        c.hello()
        c.send_message("a@client.example", ["alice@example.org"], LETTER)
        c.begin()
        c.expect(354, "DATA")
        c.send(b"Subject: second\r\n\r\nx\r\n.\r\n")
    wait_for(lambda: "it may send the message again" in server.log(), what="the loss of the reply")
    second = re.search(r"it may send the message again id=(\S+)", server.log()).group(1)
    assert send(server, b"Subject: second\r\n\r\nx\r\n") == second
    send(server, LETTER)
    count(server, 3)


def test_after_the_window_it_is_a_new_message(place):
    server = place.mx(duplicates={"window": "700ms"})
    first = lose_the_reply(server)
    assert send(server) == first
    time.sleep(0.9)
    assert send(server) != first
    count(server, 2)


def test_it_can_be_switched_off(place):
    server = place.mx(duplicates={"window": "0s"})
    with server.client() as c:
        c.hello()
        c.begin()
        c.expect(354, "DATA")
        c.send(LETTER + b".\r\n")
    count(server, 1)
    send(server)
    count(server, 2)


def test_a_message_that_was_refused_is_never_acknowledged(server):
    with server.client() as c:
        c.hello()
        c.begin()
        c.expect(354, "DATA")
        c.send(b"Subject: bare\r\n\r\na\nb\r\n.\r\n")
    time.sleep(0.3)
    for _ in range(2):
        with server.client() as c:
            c.hello()
            c.begin()
            c.expect(354, "DATA")
            c.send(b"Subject: bare\r\n\r\na\nb\r\n.\r\n")
            c.expect(550)
    assert server.maildir("example.org", "alice") == []


def test_lmtp_answers_for_each_recipient_again(place):
    port = harness.free_port()
    server = place.mx(port=port, listen=[{"address": [f"127.0.0.1:{port}"], "role": "lmtp"}])
    for attempt in range(2):
        with server.client() as c:
            c.expect(220)
            c.expect(250, "LHLO client.example")
            c.begin(recipients=("alice@example.org", "bob@example.org"))
            c.expect(354, "DATA")
            c.send(LETTER + b".\r\n")
            if attempt:
                assert c.expect(250) == c.expect(250)
        wait_for(lambda: len(server.maildir("example.org", "bob")) == 1, what="the message")
        wait_for(lambda: server.json("status")["receive"]["sessions"] == 0, what="the end of the session")
    assert server.json("status")["receive"]["repeated"] == 1
    count(server, 1)
