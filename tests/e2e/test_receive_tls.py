"""The way in: TLS, and the stamp that a message gets."""

import re

import harness
from harness import arrived, wait_for


# --- TLS ---------------------------------------------------------------------------------------------------------------


def test_starttls_and_a_message(mx):
    with mx.client() as c:
        c.hello("secret.example")
        c.starttls()
        assert "STARTTLS" not in c.expect(250, "EHLO secret.example")
        c.send_message("a@client.example", ["alice@example.org"], b"Subject: over-tls\r\n\r\nx\r\n")
        c.expect(503, "STARTTLS")
        c.expect(221, "QUIT")
    received = harness.header_of(arrived(mx, "alice", b"over-tls"))["Received"]
    assert "with ESMTPS" in received and "TLSv1." in received


def test_starttls_forgets_what_came_before(mx):
    with mx.client() as c:
        c.hello()
        c.starttls()
        c.expect(503, "MAIL FROM:<a@client.example>")
        c.expect(250, "EHLO client.example")
        c.expect(503, "RCPT TO:<alice@example.org>")


def test_commands_pipelined_behind_starttls_end_the_session(mx):
    with mx.client() as c:
        c.hello()
        c.send("STARTTLS\r\nMAIL FROM:<evil@client.example>\r\n")
        c.expect(554)
        assert c.closed()


def test_starttls_inside_of_a_message_or_with_arguments_is_refused(client):
    client.expect(501, "STARTTLS now")
    client.expect(250, "MAIL FROM:<a@client.example>")
    client.expect(503, "STARTTLS")


def test_starttls_needs_ehlo(mx):
    with mx.client() as c:
        c.expect(220)
        assert c.command("STARTTLS")[0] in (502, 503)


def test_garbage_instead_of_a_handshake_ends_only_that_session(mx):
    with mx.client() as c:
        c.hello()
        c.expect(220, "STARTTLS")
        c.send(b"this is no client hello\r\n" * 10)
        assert c.closed()
    with mx.client() as c:
        c.hello()


def test_implicit_tls_and_several_listeners(place):
    tls_port, plain_port = harness.free_port(), harness.free_port()
    server = place.mx(
        tls=place.certificate(),
        port=plain_port,
        listen=[
            {"address": [f"127.0.0.1:{plain_port}", f"127.0.0.2:{plain_port}"], "role": "mx"},
            {"address": [f"127.0.0.1:{tls_port}"], "role": "mx", "tls": "implicit"},
        ],
    )
    with place.client("127.0.0.2", plain_port) as c:
        c.hello()
    with place.client("127.0.0.1", tls_port) as c:
        c.handshake()
        assert "STARTTLS" not in c.hello()
        c.send_message("a@client.example", ["alice@example.org"])
    wait_for(lambda: server.maildir("example.org", "alice"))


def test_without_a_certificate_starttls_is_not_offered(place):
    with place.mx().client() as c:
        assert "STARTTLS" not in c.hello()
        assert c.command("STARTTLS")[0] in (454, 500, 502)


# --- the Received field ------------------------------------------------------------------------------------------------


def test_received_says_who_when_and_how(client, mx):
    text = client.send_message("a@client.example", ["alice@example.org"], b"Subject: received-1\r\n\r\nx\r\n")
    message = arrived(mx, "alice", b"received-1")
    received = " ".join(harness.header_of(message)["Received"].split())
    identity = re.search(r"queued as (\S+)", text).group(1)
    assert received.startswith("from client.example ("), received
    assert "[127.0.0.1]" in received and "by mx.example.org" in received and "with ESMTP " in received + " "
    assert f"id {identity}" in received and "for <alice@example.org>" in received
    assert re.search(r"; \w{3}, \d{1,2} \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4}", received), received
    assert message.index(b"Received:") < message.index(b"Subject:")


def test_received_names_no_recipient_when_there_are_several(client, mx):
    client.send_message(
        "a@client.example", ["alice@example.org", "bob@example.org"], b"Subject: received-2\r\n\r\nx\r\n"
    )
    assert b"for <" not in arrived(mx, "alice", b"received-2").split(b"Subject")[0].split(b"Received:", 1)[1]


def test_received_says_smtp_after_helo(mx):
    with mx.client() as c:
        c.expect(220)
        c.expect(250, "HELO old.example")
        c.send_message("a@client.example", ["alice@example.org"], b"Subject: received-3\r\n\r\nx\r\n")
    assert re.search(r"with SMTP[\s;]", harness.header_of(arrived(mx, "alice", b"received-3"))["Received"])


def test_a_hostile_helo_can_not_add_header_fields(mx):
    with mx.client() as c:
        c.expect(220)
        code, _ = c.command("HELO x) by evil (a\tb")
        if code == 250:
            c.send_message("a@client.example", ["alice@example.org"], b"Subject: received-4\r\n\r\nx\r\n")
            received = harness.header_of(arrived(mx, "alice", b"received-4"))["Received"]
            assert re.sub(r"\([^()]*\)", "", received).count(" by ") == 1, received


def test_the_reverse_name_of_the_client_is_shown_when_it_is_confirmed(place):
    server = place.mx(
        dns={"reverse_lookup": True},
        zone="""\
5.0.0.127.in-addr.arpa. 60 IN PTR real.client.example.
real.client.example. 60 IN A 127.0.0.5
6.0.0.127.in-addr.arpa. 60 IN PTR fake.client.example.
fake.client.example. 60 IN A 127.0.0.99""",
    )
    for source in ("127.0.0.5", "127.0.0.6"):
        with server.client(source=source) as c:
            c.hello()
            c.send_message("a@client.example", ["alice@example.org"], f"Subject: from-{source}\r\n\r\nx\r\n".encode())
    assert b"real.client.example [127.0.0.5]" in arrived(server, "alice", b"from-127.0.0.5")
    assert b"fake.client.example" not in arrived(server, "alice", b"from-127.0.0.6")
