"""The way in for people's mail programs: what a submission port adds, takes away and refuses (RFC 6409)."""

import re

import pytest

import harness
from harness import arrived

ZONE = """\
there.example. 60 IN MX 10 mx.there.example.
mx.there.example. 60 IN A 127.0.0.77
plain.example. 60 IN A 127.0.0.78
null.example. 60 IN MX 0 .
nomail.example. 60 IN TXT "neither MX nor address"
"""


def submission(place, **keys):
    port, mx = harness.free_port(), harness.free_port()
    server = place.mx(
        port=port,
        tls=place.certificate(),
        listen=[
            {"address": [f"127.0.0.1:{port}"], "role": "submission"},
            {"address": [f"127.0.0.1:{mx}"], "role": "mx"},
        ],
        submission={"check_domains": True, "missing_from": "refuse", **keys},
        routes=[{"to": "*.routed.example", "via": ["hold"]}, {"to": "*", "via": ["mx"]}],
        domains={"example.org": {"deliver": "maildir:{dir}/mail/{domain}/{local}"}},
        zone=ZONE,
    )
    server.mx_port = mx
    return server


def send(server, letter, sender="alice@example.org", recipients=("bob@example.org",), code=250, by=None, port=None):
    """Hands it over as a trusted client; returns the last reply."""
    with server.client(trusted=True, port=port) as c:
        c.hello("laptop.home.example")
        c.begin(sender, recipients)
        if by:
            for i in range(0, len(letter), by):
                piece = letter[i : i + by]
                c.send(f"BDAT {len(piece)}{' LAST' if i + by >= len(letter) else ''}\r\n".encode() + piece)
                if i + by < len(letter):
                    c.expect(250)
        else:
            c.expect(354, "DATA")
            c.send(letter.replace(b"\r\n.", b"\r\n..") + b".\r\n")
        return c.expect(code)


def fields(message):
    """The header without our Received and Return-Path, and the body."""
    head, _, body = message.replace(b"\r\n", b"\n").partition(b"\n\n")
    lines = re.sub(rb"\n[ \t]+", b" ", head).split(b"\n")
    return [x for x in lines if not x.lower().startswith((b"received:", b"return-path:", b"delivered-to:"))], body


def test_date_and_message_id_are_added_and_bcc_goes(place):
    server = submission(place)
    body = b"one\r\n.two\r\nBcc: in the body\r\n" + b"x" * 60000 + b"\r\n"
    text = send(server, b"From: Alice <alice@example.org>\r\nBcc: secret@there.example,\r\n\tmore@there.example\r\nSubject: s-1\r\n\r\n" + body)
    identity = re.search(r"queued as (\S+)", text).group(1)
    message = arrived(server, "bob", b"s-1")
    header, rest = fields(message)
    assert header[:2] == [b"From: Alice <alice@example.org>", b"Subject: s-1"]
    assert re.fullmatch(rb"Date: \w{3}, \d{1,2} \w{3} \d{4} \d\d:\d\d:\d\d \+0000", header[2])
    assert header[3] == b"Message-ID: <%s@mx.example.org>" % identity.encode() and len(header) == 4
    assert rest == body.replace(b"\r\n", b"\n")
    assert b"secret" not in message and b"more@" not in message
    event = next(e for e in server.events(identity) if e["event"] == "received")
    assert len(message) <= event["size"] + 500  # what was counted is what was written


def test_what_is_there_stays_and_mx_ports_change_nothing(place):
    server = submission(place)
    letter = b"From: alice@example.org\r\nDate: Thu, 1 Jan 2026 00:00:00 +0000\r\nMessage-ID: <m@x>\r\nSubject: s-2\r\n\r\nx\r\n"
    send(server, letter)
    assert fields(arrived(server, "bob", b"s-2"))[0] == letter.split(b"\r\n\r\n")[0].split(b"\r\n")
    send(server, b"Bcc: seen\r\nSubject: s-3\r\n\r\nx\r\n", port=server.mx_port)
    assert fields(arrived(server, "bob", b"s-3"))[0] == [b"Bcc: seen", b"Subject: s-3"]


@pytest.mark.parametrize("by", [1, 7, 50, 1000])
def test_chunks_of_any_size_make_the_same(place, by):
    server = submission(place)
    send(server, b"From: alice@example.org\r\nBcc: a@b\r\nSubject: s-4\r\n\r\n.\r\nbody\r\n", by=by)
    header, body = fields(arrived(server, "bob", b"s-4"))
    assert [h.split(b":")[0] for h in header] == [b"From", b"Subject", b"Date", b"Message-ID"]
    assert body == b".\nbody\n"


def test_who_writes_must_be_said(place):
    server = submission(place)
    assert "From" in send(server, b"Subject: x\r\n\r\nx\r\n", code=550)
    assert "more than one From" in send(server, b"From: a@b.example\r\nFrom: c@d.example\r\n\r\nx\r\n", code=550)
    assert "no address" in send(server, b"From: Alice\r\n\r\nx\r\n", code=550)
    assert "5.6.0" in send(server, b"\r\nx\r\n", code=550)
    assert "5.6.0" in send(server, b"", code=550)
    assert server.queue_is_empty() and server.maildir("example.org", "bob") == []


def test_from_and_sender_can_be_added(place):
    server = submission(place, missing_from="add", add_sender=True)
    send(server, b"Subject: s-5\r\n\r\nx\r\n")
    assert b"From: <alice@example.org>" in fields(arrived(server, "bob", b"s-5"))[0]
    send(server, b"From: Boss <boss@example.org>\r\nSubject: s-6\r\n\r\nx\r\n")
    assert b"Sender: <alice@example.org>" in fields(arrived(server, "bob", b"s-6"))[0]
    send(server, b"From: alice@example.org\r\nSubject: s-7\r\n\r\nx\r\n")
    assert not [h for h in fields(arrived(server, "bob", b"s-7"))[0] if h.startswith(b"Sender")]


def test_all_of_it_can_be_switched_off(place):
    server = submission(place, missing_from="accept", complete=False, remove_bcc=False, check_domains=False)
    send(server, b"Bcc: seen@x.example\r\nSubject: s-8\r\n\r\nx\r\n", sender="a@nowhere.example")
    assert fields(arrived(server, "bob", b"s-8"))[0] == [b"Bcc: seen@x.example", b"Subject: s-8"]


def test_the_client_can_be_hidden(place):
    letter = b"From: alice@example.org\r\nSubject: s-9\r\n\r\nx\r\n"
    server = submission(place, hide_client=True)
    send(server, letter)
    received = " ".join(harness.header_of(arrived(server, "bob", b"s-9"))["Received"].split())
    assert received.startswith("by mx.example.org with ESMTP") and "127." not in received and "laptop" not in received
    open_server = submission(place)
    send(open_server, letter)
    assert "laptop.home.example" in harness.header_of(arrived(open_server, "bob", b"s-9"))["Received"]


@pytest.mark.parametrize(
    "sender, code, words",
    [
        ("a@there.example", 250, ""),
        ("a@plain.example", 250, ""),
        ("alice@example.org", 250, ""),  # ours, whatever the DNS says
        ("a@[127.0.0.1]", 250, ""),
        ("", 250, ""),
        ("a@nowhere.example", 550, "5.1.8"),
        ("a@nomail.example", 550, "5.1.8"),
        ("a@null.example", 550, "5.7.27"),
        ("a@there..example", 501, "5.1.7"),
        ("a b@there.example", 501, "5.1.7"),
    ],
)
def test_senders_without_a_mail_domain_are_told_at_once(place, sender, code, words):
    with submission(place).client(trusted=True) as c:
        c.hello()
        got, text = c.command(f"MAIL FROM:<{sender}>")
        assert got == code and words in text, text


def test_recipients_without_a_mail_domain_are_told_at_once(place):
    with submission(place).client(trusted=True) as c:
        c.hello()
        c.expect(250, "MAIL FROM:<alice@example.org>")
        for recipient, code, words in (
            ("b@there.example", 250, ""),
            ("b@plain.example", 250, ""),
            ("bob@example.org", 250, ""),
            ("b@x.routed.example", 250, ""),  # a route says where; the DNS isn't asked
            ("b@nowhere.example", 550, "spelt"),
            ("b@nomail.example", 550, "5.1.2"),
            ("b@null.example", 556, "5.1.10"),
            ("b@.example", 501, "5.1.3"),
        ):
            got, text = c.command(f"RCPT TO:<{recipient}>")
            assert got == code and words in text, text


def test_a_header_that_is_too_large_is_refused_before_it_is_all_held(place):
    server = submission(place)
    server.stop()
    server.write_config(server.config.read_text().replace('"hostname"', '"limits": {"header_size": "8K"}, "hostname"'))
    server.start()
    assert "header" in send(server, b"From: alice@example.org\r\n" + b"X-A: b\r\n" * 2000 + b"\r\nx\r\n", code=552)
