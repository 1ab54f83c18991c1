"""The way out: content for servers that can't take it as it is (src/deliver/convert.h)."""

import email
import email.policy
import random

import harness
import pytest

from outgoing import SENDER, arrival, bounce, content

GERMAN = "Viele Grüße aus Köln, und schönes Wetter.\r\n"
CHINESE = "驿站传书，不失一字。\r\n"


def way(place, *extensions, port=None, **deliver):
    """A peer with these extensions alone, and a server that sends everything there."""
    peer = place.peer(extensions=list(extensions))
    options = {"routes": [{"to": "*", "via": [{"host": f"127.0.0.1:{peer.port}"}]}]}
    if port:
        options |= {"port": port, "listen": [{"address": f"127.0.0.1:{port}", "role": "mx", "offer": ["BINARYMIME"]}]}
    return peer, place.mx(**options, deliver=deliver)


def leaves(message):
    """(type, content) of each part that has no parts, as a mail program sees them."""
    found = []
    for part in message.walk():
        if not part.is_multipart():
            found.append((part.get_content_type(), part.get_payload(decode=True)))
    return found


def random_part(rng, depth=0):
    kind = rng.choice(["text", "text", "chinese", "octets", "ascii", "multipart", "message"] if depth < 3 else ["text", "octets"])
    if kind == "multipart":
        boundary = f"b{rng.randrange(10**6)}-{depth}"
        parts = [random_part(rng, depth + 1) for _ in range(rng.randrange(1, 4))]
        inside = b"".join(b"--" + boundary.encode() + b"\r\n" + p + b"\r\n" for p in parts)
        return f"Content-Type: multipart/mixed; boundary={boundary}\r\nContent-Transfer-Encoding: 8bit\r\n\r\n".encode() + inside + f"--{boundary}--".encode()
    if kind == "message":
        return b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\nSubject: inner\r\n" + random_part(rng, depth + 1)
    if kind == "octets":
        body = bytes(rng.choice([c for c in range(1, 256) if c not in (10, 13)]) for _ in range(rng.randrange(200)))
        return b"Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + body
    if kind == "ascii":
        return b"Content-Type: text/html\r\n\r\n" + b"<p>plain</p>\r\n" * rng.randrange(4)
    lines = [rng.choice([GERMAN, CHINESE if kind == "chinese" else "short = line \r\n", "\r\n", ".\r\n"]) for _ in range(rng.randrange(1, 8))]
    return b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + "".join(lines).encode()


def is_seven_bit(data):
    return all(c < 128 for c in data)


@pytest.mark.parametrize("extensions", [(), ("PIPELINING", "CHUNKING")], ids=["bare", "chunking"])
def test_a_mail_program_finds_the_same_parts_after_the_conversion(place, extensions):
    peer, server = way(place, *extensions)
    rng = random.Random(7)
    for number in range(40):
        text = b"Subject: %d\r\nMIME-Version: 1.0\r\n" % number + random_part(rng) + b"\r\n"
        if is_seven_bit(text):
            continue
        before = len(peer.messages)
        server.submit(SENDER, "bob@dest.example", text.replace(b"\r\n.", b"\r\n.."), " BODY=8BITMIME")
        message = arrival(peer, before + 1)
        assert is_seven_bit(message["data"]) and "BODY" not in message["from"] and "SIZE" not in message["from"]
        assert max(map(len, message["data"].split(b"\r\n"))) <= 998
        parsed = email.message_from_bytes(content(message), policy=email.policy.SMTP)
        wanted = email.message_from_bytes(text, policy=email.policy.SMTP)
        assert leaves(parsed) == leaves(wanted), text


def test_text_without_a_label_says_that_nobody_knows_its_character_set(place):
    peer, server = way(place, "PIPELINING")
    server.submit(SENDER, "bob@dest.example", b"Subject: x\r\n\r\n" + GERMAN.encode())
    message = email.message_from_bytes(content(arrival(peer)))
    assert message["MIME-Version"] == "1.0" and message["Content-Transfer-Encoding"] == "quoted-printable"
    assert message.get_content_charset() == "unknown-8bit" and message.get_payload(decode=True) == GERMAN.encode()


SIGNED = b"DKIM-Signature: v=1; a=rsa-sha256; d=example.org\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" + GERMAN.encode()


def test_what_bears_a_signature_goes_back_rather_than_broken(place):
    peer, server = way(place, "PIPELINING")
    server.submit(SENDER, "bob@dest.example", SIGNED, " BODY=8BITMIME")
    report = bounce(server)
    assert report.recipients[0]["Status"] == "5.6.3" and "would break a signature" in report.text
    assert peer.messages == []


def test_a_signature_may_be_broken_where_that_is_configured(place):
    peer, server = way(place, "PIPELINING", convert="always")
    server.submit(SENDER, "bob@dest.example", SIGNED, " BODY=8BITMIME")
    assert is_seven_bit(arrival(peer)["data"])


def test_nothing_is_converted_where_that_is_switched_off(place):
    peer, server = way(place, "PIPELINING", convert="never")
    server.submit(SENDER, "bob@dest.example", b"Subject: x\r\n\r\n" + GERMAN.encode(), " BODY=8BITMIME")
    assert bounce(server).recipients[0]["Status"] == "5.6.3"
    assert peer.messages == []


def test_what_is_labelled_wrongly_goes_back(place):
    peer, server = way(place, "PIPELINING")
    server.submit(SENDER, "bob@dest.example", b"Content-Transfer-Encoding: base64\r\n\r\n" + GERMAN.encode(), " BODY=8BITMIME")
    assert "not what their header fields say" in bounce(server).text
    assert peer.messages == []


def test_a_bounce_that_quotes_8_bit_text_reaches_a_server_without_8bitmime(place):
    peer, sender = way(place, "PIPELINING")
    peer.answers["RCPT"] = lambda argument, _: "550 5.1.1 no" if "nobody" in argument else True
    sender.submit("ann@dest.example", "nobody@dest.example", b"Subject: x\r\n\r\n" + GERMAN.encode(), " BODY=8BITMIME RET=FULL")
    message = arrival(peer)
    assert is_seven_bit(message["data"]) and b"multipart/report" in message["data"]
    inner = [p for p in email.message_from_bytes(message["data"]).walk() if p.get_content_type() == "message/rfc822"]
    assert inner[0]["Content-Transfer-Encoding"] in (None, "7bit")
    assert GERMAN.encode() in inner[0].get_payload(0).get_payload(decode=True)


@pytest.mark.parametrize("extensions", [("8BITMIME",), ()], ids=["8BITMIME", "bare"])
def test_binary_content_becomes_base64(place, extensions):
    peer, server = way(place, *extensions, port=harness.free_port())
    octets = bytes(range(256)) * 4
    text = b"Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: application/zip\r\nContent-Transfer-Encoding: binary\r\n\r\n" + octets
    with server.client(trusted=True) as c:
        c.hello()
        c.begin(SENDER, ["bob@dest.example"], " BODY=BINARYMIME")
        c.send(b"BDAT %d LAST\r\n" % len(text) + text)
        c.expect(250)
    message = arrival(peer)
    assert ("BODY=8BITMIME" in message["from"]) == bool(extensions)
    assert email.message_from_bytes(content(message)).get_payload(decode=True) == octets


def test_a_large_message_is_converted_while_it_is_sent(place):
    peer, server = way(place, "PIPELINING")
    body = (GERMAN * 100000).encode()
    server.submit(SENDER, "bob@dest.example", b"Content-Type: text/plain; charset=utf-8\r\n\r\n" + body, " BODY=8BITMIME")
    message = email.message_from_bytes(content(arrival(peer, timeout=60)))
    assert message.get_payload(decode=True) == body
