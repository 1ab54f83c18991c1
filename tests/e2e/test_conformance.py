"""The way in under attack: what a careless or a hostile client may do, and what it is told."""

import re
import socket
import threading
import time

import pytest

import harness
from harness import arrived


# --- limits: each is named ---------------------------------------------------------------------------------------------


def test_refusals_name_the_limit(place):
    server = place.mx(
        limits={
            "errors": 3,
            "commands": 4,
            "messages": 1,
            "command_timeout": "700ms",
            "message_size": "10K",
            "connections_per_ip": 7,
        }
    )
    with server.client() as c:
        c.hello()
        assert "2048" in c.expect(500, "NOOP " + "x" * 3000)
        assert "10240" in c.expect(552, "MAIL FROM:<a@client.example> SIZE=10241")
        assert "10240" in c.expect(552, "MAIL FROM:<a@client.example> SIZE=99999999999999999999")
        assert "3 commands" in c.expect(421)
    with server.client() as c:
        c.hello()
        c.send("NOOP\r\n" * 3)
        assert [c.reply()[0] for _ in range(3)] == [250] * 3
        assert "4 commands" in c.expect(421)
    with server.client() as c:
        c.hello()
        c.send_message("a@client.example", ["alice@example.org"])
        assert "1 messages" in c.expect(421, "MAIL FROM:<a@client.example>")
    with server.client() as c:
        c.hello()
        assert "700 ms" in c.expect(421)
    held = [server.client() for _ in range(7)]
    for c in held:
        c.expect(220)
    with server.client() as c:
        text = c.expect(421)
        assert "127.0.0.1" in text and "7 are allowed" in text
    for c in held:
        c.close()


def test_the_limit_of_a_long_address_is_the_one_that_is_kept(client):
    client.expect(250, f"MAIL FROM:<{'l' * 240}@client.example>")
    assert "240" in client.expect(501, f"RCPT TO:<{'l' * 241}@every.example>")


def test_who_reached_a_limit_gets_the_reply_although_more_is_under_way(place):
    with place.mx(limits={"errors": 5}).client() as c:
        c.hello()
        try:
            c.send(b"WHAT\r\n" * 200000)
        except OSError:
            pass  # the server may be gone before all of it is sent
        assert [c.reply()[0] for _ in range(6)] == [500] * 5 + [421]


# --- nobody holds the thread -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("octet", [b"x", b"\n", b"\r", b"\0"])
def test_a_line_without_end_ends_the_session(client, octet):
    try:
        for _ in range(200):
            client.send(octet * 65536)
    except OSError:
        pass
    assert client.reply()[0] == 500
    assert client.closed()


def test_empty_chunks_are_no_work(place):
    with place.mx(limits={"commands": 10}).client() as c:
        c.hello()
        c.begin()
        c.send("BDAT 0\r\n" * 9)
        assert [c.reply()[0] for _ in range(10)] == [250] * 9 + [421]


def test_a_client_that_sends_without_a_pause_is_ended_by_the_time_of_the_session(place):
    server = place.mx(threads=1, limits={"recipients": 1, "session_timeout": "2s"})
    with server.client() as c:
        c.hello()
        c.begin()
        over = threading.Event()

        def send():
            try:
                while not over.is_set():
                    c.send(b"RCPT TO:<bob@example.org>\r\n" * 1000)
            except OSError:
                pass

        def read():
            tail = b""
            try:
                while data := c.socket.recv(65536):
                    tail = (tail + data)[-200:]
            except OSError:
                pass
            seen.append(tail)
            over.set()

        seen = []
        threads = [threading.Thread(target=f) for f in (send, read)]
        for t in threads:
            t.start()
        worst = 0.0
        while not over.wait(0.05):
            begin = time.monotonic()
            with server.client() as other:
                other.hello()
            worst = max(worst, time.monotonic() - begin)
        for t in threads:
            t.join()
        assert re.search(rb"421 4\.4\.2 No message was finished here for 2 s", seen[0]), seen[0]
        assert worst < 1.0 * harness.SLOW


# --- the content -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, start, shown",
    [
        ("fold", b" for <eve@forged.example>; yesterday\r\n", b"\n\n for <eve@forged.example>; yesterday\n"),
        ("tab", b"\tX-Forged: yes\r\n", b"\n\n\tX-Forged: yes\n"),
        ("body", b"only a body here\r\n", b"\n\nonly a body here\n"),
        ("mailbox", b"From eve Mon Nov 23 05:00:00 2026\r\n", b"\nX-Mailbox-Line: From eve Mon Nov 23 05:00:00 2026\n"),
        ("blank", b"\r\nonly a body\r\n", b"\n\nonly a body\n"),
        ("field", b"X-First : blank\r\n", b"\nX-First : blank\n"),
    ],
)
@pytest.mark.parametrize("piece", [1, 1000])
def test_what_stands_first_can_not_join_our_received_field(client, mx, name, start, shown, piece):
    name = f"first-{name}-{piece}"
    data = start + b"X-Next: line\r\n\r\nend\r\n"
    client.begin(recipients=[f"{name}@every.example"])
    for i in range(0, len(data), piece):
        part = data[i : i + piece]
        client.send(b"BDAT %d\r\n" % len(part) + part)
        assert client.reply()[0] == 250
    client.expect(250, "BDAT 0 LAST")
    message = arrived(mx, name, b"X-Next", domain="every.example")
    assert message.split(b"+0000", 1)[1].startswith(shown), message


def test_a_single_octet_is_a_message(client, mx):
    client.begin(recipients=["octet@every.example"])
    client.send(b"BDAT 1 LAST\r\nx")
    client.expect(250)
    assert arrived(mx, "octet", b"\n\nx", domain="every.example").rstrip(b"\n").endswith(b"\n\nx")


def test_a_recipient_given_twice_gets_one_copy(client, mx):
    client.begin(recipients=["twice@every.example", "twice@EVERY.example", "twice@every.example"])
    client.expect(354, "DATA")
    client.send(b"Subject: twice\r\n\r\n.\r\n")
    client.expect(250)
    arrived(mx, "twice", b"Subject: twice", domain="every.example")
    harness.wait_for(mx.queue_is_empty, what="an empty queue")
    assert len(mx.maildir("every.example", "twice")) == 1


# --- words -------------------------------------------------------------------------------------------------------------


def test_an_ipv6_literal_without_its_tag_is_taken_but_never_written_as_a_name(mx):
    with mx.client() as c:
        c.hello("[2001:db8::1]")
        c.send_message("a@client.example", ["tagless@every.example"])
    message = arrived(mx, "tagless", b"hello", domain="every.example")
    assert b"from [127.0.0.1] ([127.0.0.1])\n\t(HELO [2001:db8::1])" in message


def test_bad_utf8_is_called_so(client):
    client.send(b"MAIL FROM:<a\xff@client.example> SMTPUTF8\r\n")
    code, text = client.reply()
    assert code == 501 and "UTF-8" in text
    client.expect(250, "MAIL FROM:<a@client.example> SMTPUTF8")
    client.send(b"RCPT TO:<a\xc0\x80@every.example>\r\n")
    code, text = client.reply()
    assert code == 501 and "UTF-8" in text


def test_replies_echo_no_octets_beyond_ascii_without_smtputf8(client):
    client.send("FÜ bar\r\n".encode())
    code, text = client.reply()
    assert code == 500 and text.isascii()


def test_http2_ends_the_session(mx):
    with mx.client() as c:
        c.expect(220)
        c.expect(554, "PRI * HTTP/2.0")
        assert c.closed()


def test_a_half_closed_client_gets_its_replies(mx):
    with mx.client() as c:
        c.hello()
        c.begin(recipients=["half@every.example"])
        c.expect(354, "DATA")
        c.send(b"Subject: half\r\n\r\n.\r\n")
        c.socket.shutdown(socket.SHUT_WR)
        c.expect(250)
        assert c.closed()
    arrived(mx, "half", b"Subject: half", domain="every.example")


def test_a_connection_lost_inside_of_a_message_leaves_nothing(mx):
    for end in (b"", b"\r\n.", b"\r\n.\r"):
        with mx.client() as c:
            c.hello()
            c.begin(recipients=["lost@every.example"])
            c.expect(354, "DATA")
            c.send(b"Subject: lost\r\n\r\nabc" + end)
            c.socket.shutdown(socket.SHUT_WR)
            assert c.closed()
    harness.wait_for(mx.queue_is_empty, what="an empty queue")
    assert mx.maildir("every.example", "lost") == []
