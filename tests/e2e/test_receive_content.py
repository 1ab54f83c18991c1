"""The way in: what ends a message and what doesn't, chunks, sizes and pipelining."""

import pytest

from harness import arrived, wait_for


# --- sizes -------------------------------------------------------------------------------------------------------------


def test_a_message_above_the_limit_is_refused_after_its_end_and_the_session_goes_on(client):
    client.begin()
    client.expect(354, "DATA")
    client.send(b"Subject: big\r\n\r\n" + (b"x" * 78 + b"\r\n") * 4000 + b".\r\n")
    assert "5.3.4" in client.expect(552)
    client.expect(250, "NOOP")


def test_a_message_of_exactly_the_limit_is_taken(client, mx):
    head = b"Subject: exact\r\n\r\n"
    client.send_message("a@client.example", ["alice@example.org"], head + b"x" * (200 * 1024 - len(head) - 2) + b"\r\n")
    arrived(mx, "alice", b"Subject: exact")


def test_long_text_lines_are_kept(client, mx):
    line = b"y" * 100000
    client.send_message("a@client.example", ["alice@example.org"], b"Subject: long-line\r\n\r\n" + line + b"\r\n")
    assert line in arrived(mx, "alice", b"long-line")


# --- the end of the data -----------------------------------------------------------------------------------------------

SMUGGLING = {
    "lf-dot-lf": b"\n.\n",
    "lf-dot-crlf": b"\n.\r\n",
    "crlf-dot-lf": b"\r\n.\n",
    "cr-dot-cr": b"\r.\r",
    "cr-dot-lf": b"\r.\n",
    "crlf-dot-cr": b"\r\n.\r",
    "cr-dot-crlf": b"\r.\r\n",
    "crlf-dot-crcrlf": b"\r\n.\r\r\n",
    "crcrlf-dot-crlf": b"\r\r\n.\r\n",
    "lf-dot-crcrlf": b"\n.\r\r\n",
    "lfcr-dot-lfcr": b"\n\r.\n\r",
    "nul": b"\r\n.\0\r\n",
    "nul-before": b"\r\n\0.\r\n",
    "lone-cr": b"a\rb",
    "lone-lf": b"a\nb",
}
INJECTED = (
    b"MAIL FROM:<evil@client.example>\r\nRCPT TO:<alice@example.org>\r\nDATA\r\nSubject: smuggled\r\n\r\nevil\r\n"
)


@pytest.mark.parametrize("name", SMUGGLING)
def test_nothing_but_crlf_dot_crlf_ends_the_data(client, mx, name):
    """The rest is read up to the real end and refused as a whole, and the session is over."""
    client.begin()
    client.expect(354, "DATA")
    client.send(b"Subject: outer\r\n\r\nbefore" + SMUGGLING[name] + INJECTED + b".\r\n")
    assert "5.5.2" in client.expect(550)
    assert client.closed() and client.buffer == b""
    assert not any(b"smuggled" in m for m in mx.maildir("example.org", "alice"))


@pytest.mark.parametrize("name", ["lf-dot-crlf", "crlf-dot-lf", "crlf-dot-crcrlf", "cr-dot-crlf"])
def test_nothing_else_ends_the_data_however_it_is_split(mx, name):
    """The stream is cut behind every octet of the sequence and its neighbours."""
    head, tail = b"Subject: outer\r\n\r\nbefore", INJECTED + b".\r\n"
    data = head + SMUGGLING[name] + tail
    for cut in range(len(head) - 1, len(head) + len(SMUGGLING[name]) + 2):
        with mx.client() as client:
            client.hello()
            client.begin()
            client.expect(354, "DATA")
            client.send(data[:cut])
            client.was_read()
            client.send(data[cut:])
            client.expect(550)
            assert client.closed() and client.buffer == b""


def test_the_real_end_is_found_however_it_is_split(client, mx):
    data = b"Subject: cut-%d\r\n\r\n..dot\r\n.\r\n"
    for cut in range(1, len(data)):
        client.begin()
        client.expect(354, "DATA")
        message = data % cut
        client.send(message[:cut])
        client.was_read()
        client.send(message[cut:])
        client.expect(250)
    last = len(data) - 1
    for cut in (1, last - 5, last - 1, last):
        assert arrived(mx, "alice", b"Subject: cut-%d\n" % cut).endswith(b"\n\n.dot\n")


def test_an_empty_message_is_only_its_end(client, mx):
    before = len(mx.maildir("example.org", "bob"))
    client.begin(recipients=["bob@example.org"])
    client.expect(354, "DATA")
    client.send(b".\r\n")
    client.expect(250)
    wait_for(lambda: len(mx.maildir("example.org", "bob")) == before + 1)


def test_dots_are_unstuffed_behind_a_line_end_only(client, mx):
    client.send_message(
        "a@client.example", ["alice@example.org"], b"Subject: dots-1\r\n\r\n..\r\n...\r\n..x\r\na..b\r\n.. \r\n"
    )
    assert arrived(mx, "alice", b"dots-1").endswith(b"\n\n.\n..\n.x\na..b\n. \n")


# --- BDAT --------------------------------------------------------------------------------------------------------------


def bdat(data, last=False):
    return b"BDAT %d%s\r\n" % (len(data), b" LAST" if last else b"") + data


def test_one_last_chunk(client, mx):
    client.begin()
    client.send(bdat(b"Subject: bdat-one\r\n\r\n.\r\n..\r\nend\r\n", last=True))
    client.expect(250)
    assert arrived(mx, "alice", b"bdat-one").endswith(b"\n\n.\n..\nend\n")


def test_many_chunks_each_get_a_reply(client, mx):
    client.begin()
    whole = b"Subject: bdat-many\r\n\r\n" + b"line\r\n" * 50
    for i in range(0, len(whole), 7):
        client.send(bdat(whole[i : i + 7]))
        client.expect(250)
    client.send(b"BDAT 0 LAST\r\n")
    client.expect(250)
    assert arrived(mx, "alice", b"bdat-many").endswith(b"\n\n" + b"line\n" * 50)


def test_chunks_may_be_pipelined_with_the_envelope(client, mx):
    client.send(
        b"MAIL FROM:<a@client.example>\r\nRCPT TO:<alice@example.org>\r\n"
        + bdat(b"Subject: bdat-piped\r\n\r\nxy\r")
        + bdat(b"\n", last=True)
        + b"NOOP\r\nQUIT\r\n"
    )
    for code in (250, 250, 250, 250, 250, 221):
        client.expect(code)
    arrived(mx, "alice", b"bdat-piped")


def test_zero_chunks_and_empty_messages(client):
    client.begin()
    client.send(b"BDAT 0\r\n")
    client.expect(250)
    client.send(b"BDAT 0 LAST\r\n")
    client.expect(250)


def test_octets_of_a_refused_chunk_are_never_commands(client):
    chunk = b"RSET\r\nQUIT\r\nMAIL FROM:<evil@client.example>\r\n"
    client.send(bdat(chunk, last=True))
    client.expect(503)
    client.expect(250, "NOOP")
    client.expect(250, "MAIL FROM:<a@client.example>")
    client.send(bdat(chunk))
    client.expect(503)
    client.expect(550, "RCPT TO:<nobody@example.org>")
    client.send(bdat(chunk, last=True))
    assert client.reply()[0] in (503, 554)
    client.expect(250, "NOOP")


def test_data_may_not_follow_bdat(client):
    client.begin()
    client.send(bdat(b"Subject: x\r\n\r\n"))
    client.expect(250)
    client.expect(503, "DATA")
    client.expect(250, "RSET")
    client.expect(503, "DATA")


def test_mail_may_not_interrupt_chunks(client):
    client.begin()
    client.send(bdat(b"Subject: x\r\n\r\n"))
    client.expect(250)
    client.expect(503, "MAIL FROM:<b@client.example>")


@pytest.mark.parametrize(
    "arguments", ["", "x", "-1", "10 FIRST", "1 LAST x", "99999999999999999999999999", "99999999999", "99999999999 LAST", "0x10", "+5", "10LAST"]
)
def test_a_bdat_without_a_clear_size_ends_the_session(client, arguments):
    client.begin()
    assert client.command(f"BDAT {arguments}".strip())[0] in (501, 552)
    assert client.closed()


def test_chunks_above_the_limit_are_read_and_refused(client):
    client.begin()
    for _ in range(2):
        client.send(bdat(b"z" * 150000))
        code, _ = client.reply()
    assert code == 552
    client.send(bdat(b"more", last=True))
    client.expect(503)
    client.expect(250, "NOOP")


def test_bare_lf_in_chunks_is_refused(client):
    client.begin()
    client.send(bdat(b"Subject: bare\n\nx\n", last=True))
    assert "5.5.2" in client.expect(550)
    assert client.closed() and client.buffer == b""


def test_rset_forgets_chunks(client, mx):
    client.begin()
    client.send(bdat(b"Subject: forgotten-chunk\r\n\r\n"))
    client.expect(250)
    client.expect(250, "RSET")
    client.send_message("a@client.example", ["alice@example.org"], b"Subject: after-rset\r\n\r\nx\r\n")
    assert b"forgotten" not in arrived(mx, "alice", b"after-rset")


# --- pipelining --------------------------------------------------------------------------------------------------------


def test_a_pipelined_group_is_answered_in_order(client, mx):
    client.send(
        "MAIL FROM:<a@client.example>\r\nRCPT TO:<nobody@example.org>\r\nRCPT TO:<alice@example.org>\r\nRCPT TO:<x@elsewhere.example>\r\nDATA\r\n"
    )
    assert [client.reply()[0] for _ in range(5)] == [250, 550, 250, 550, 354]
    client.send(b"Subject: piped-1\r\n\r\nx\r\n.\r\nQUIT\r\n")
    assert [client.reply()[0] for _ in range(2)] == [250, 221]
    arrived(mx, "alice", b"piped-1")


def test_a_group_after_the_end_of_the_data_is_a_new_message(client):
    client.begin()
    client.expect(354, "DATA")
    client.send(
        b"Subject: p\r\n\r\nx\r\n.\r\nRSET\r\nMAIL FROM:<a@client.example>\r\nRCPT TO:<alice@example.org>\r\nDATA\r\n"
    )
    assert [client.reply()[0] for _ in range(5)] == [250, 250, 250, 250, 354]
    client.send(b"Subject: q\r\n\r\n.\r\n")
    client.expect(250)


def test_a_thousand_commands_in_one_piece(client):
    client.send("NOOP\r\n" * 1000)
    for _ in range(1000):
        client.expect(250)


def test_content_that_did_not_wait_for_354_ends_the_session(client, mx):
    client.begin()
    client.send(b"DATA\r\nSubject: too-early\r\n\r\nx\r\n.\r\n")
    client.expect(554)
    assert client.closed()
    assert not any(b"too-early" in m for m in mx.maildir("example.org", "alice"))
