"""The way in: the dialogue, addresses and parameters, and who may send to whom."""

import re

import pytest

from harness import arrived


# --- the greeting and EHLO ---------------------------------------------------------------------------------------------


def test_the_greeting_names_the_host(mx):
    with mx.client() as c:
        assert c.expect(220).split()[1] == "mx.example.org"


def test_ehlo_lists_what_is_offered(mx):
    with mx.client() as c:
        lines = c.hello().split("\n")
    assert lines[0].split()[0] == "250-mx.example.org"
    words = {line[4:].split()[0]: line[4:].split()[1:] for line in lines[1:]}
    for keyword in ("PIPELINING", "8BITMIME", "CHUNKING", "ENHANCEDSTATUSCODES", "STARTTLS", "SMTPUTF8", "DSN"):
        assert keyword in words, lines
    assert words["SIZE"] == [str(200 * 1024)]
    assert "AUTH" not in words and "VRFY" not in words or words.get("VRFY") == []


def test_helo_gets_one_line(mx):
    with mx.client() as c:
        c.expect(220)
        assert "\n" not in c.expect(250, "HELO client.example")


@pytest.mark.parametrize(
    "name", ["client.example", "[127.0.0.1]", "[IPv6:::1]", "localhost", "host_with_underscore.example"]
)
def test_usual_hello_names_are_taken(mx, name):
    with mx.client() as c:
        c.hello(name)


@pytest.mark.parametrize("line", ["EHLO", "HELO", "EHLO "])
def test_a_hello_without_a_name_is_refused(mx, line):
    with mx.client() as c:
        c.expect(220)
        c.expect(501, line)


def test_a_second_ehlo_forgets_the_message(client):
    client.begin()
    client.expect(250, "EHLO again.example")
    client.expect(503, "DATA")


# --- the order of commands ---------------------------------------------------------------------------------------------


def test_commands_in_the_wrong_order_get_503(mx):
    with mx.client() as c:
        c.expect(220)
        c.expect(503, "MAIL FROM:<a@client.example>")
        c.expect(250, "EHLO client.example")
        c.expect(503, "RCPT TO:<alice@example.org>")
        c.expect(503, "DATA")
        c.expect(250, "MAIL FROM:<a@client.example>")
        c.expect(503, "MAIL FROM:<a@client.example>")
        c.expect(503, "DATA")
        c.expect(250, "RCPT TO:<alice@example.org>")
        c.expect(250, "RSET")
        c.expect(503, "RCPT TO:<alice@example.org>")
        c.expect(221, "QUIT")
        assert c.closed()


def test_data_without_a_valid_recipient_gets_554(client):
    client.expect(250, "MAIL FROM:<a@client.example>")
    client.expect(550, "RCPT TO:<nobody@example.org>")
    client.expect(554, "DATA")


def test_small_commands(client):
    client.expect(250, "NOOP")
    client.expect(250, "NOOP with an argument")
    client.expect(252, "VRFY alice@example.org")
    client.expect(214, "HELP")
    client.expect(214, "help me")
    client.expect(250, "rset")
    client.expect(250, "NoOp")


def test_unknown_verbs_get_500(client):
    for line in ("FROBNICATE", "XEXCH50 1 2", "MAILFROM:<a@b.example>", "", " ", "=?", "ETRN example.org"):
        code, text = client.command(line)
        assert code in (500, 502), (line, text)
    client.expect(250, "NOOP")


@pytest.mark.parametrize("line", ["GET / HTTP/1.1", "POST /x HTTP/1.0", "CONNECT example.org:25 HTTP/1.1"])
def test_http_ends_the_session(mx, line):
    with mx.client() as c:
        c.expect(220)
        c.send(line + "\r\nHost: mx.example.org\r\n\r\nMAIL FROM:<a@client.example>\r\n")
        c.expect(554)
        assert c.closed()


def test_replies_carry_enhanced_codes_of_their_class(client):
    for line in (
        "NOOP",
        "RSET",
        "VRFY x",
        "DATA",
        "MAIL FROM:<>",
        "RCPT TO:<nobody@example.org>",
        "RCPT TO:<a@elsewhere.example>",
        "WHAT",
    ):
        code, text = client.command(line)
        for one in text.split("\n"):
            assert re.match(rf"{code}[ -]{code // 100}\.\d+\.\d+ ", one), (line, text)


# --- lines -------------------------------------------------------------------------------------------------------------


def test_a_line_that_is_too_long_is_refused_once(client):
    client.expect(500, "NOOP " + "x" * 3000)
    client.expect(250, "NOOP")
    client.expect(500, "NOOP " + "x" * 100000)
    client.expect(250, "NOOP")


def test_lines_may_be_as_long_as_the_extensions_need(client):
    local, domain = "l" * 64, ".".join(["d" * 45] * 4)
    client.expect(250, f"MAIL FROM:<{local}@{domain}> SIZE=10000 BODY=8BITMIME RET=HDRS ENVID={'e' * 100}")
    client.expect(
        250, f"RCPT TO:<alice@example.org> NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;{'o' * 400}@client.example"
    )


@pytest.mark.parametrize(
    "bad", [b"NO\0OP\r\n", b"NOOP\nNOOP\r\n", b"NOOP\rNOOP\r\n", b"NOOP \n\r\n", b"NOOP\r\r\n", b"\nNOOP\r\n"]
)
def test_a_line_with_a_bare_cr_lf_or_nul_is_refused_as_a_whole(client, bad):
    client.send(bad)
    client.expect(500)
    client.expect(250, "NOOP")
    assert client.silent()


def test_a_command_in_single_octets_is_understood(client):
    for octet in b"MAIL FROM:<a@client.example>\r\n":
        client.send(bytes([octet]))
        client.was_read()
    client.expect(250)


def test_a_bare_lf_in_mail_can_not_inject_a_recipient(client):
    client.send(b"MAIL FROM:<a@client.example>\nRCPT TO:<alice@example.org>\r\n")
    client.expect(500)
    client.expect(503, "RCPT TO:<alice@example.org>")


# --- addresses ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "<>",
        "<a@client.example>",
        "<a.b+c=d/e@client.example>",
        '<"quoted local"@client.example>',
        '<"a\\"b@c"@client.example>',
        "<user@[192.0.2.1]>",
        "<user@[IPv6:2001:db8::1]>",
        "<@relay.example,@other.example:user@client.example>",
        "<user@localhost>",
    ],
)
def test_good_sender_addresses(client, path):
    client.expect(250, f"MAIL FROM:{path}")


@pytest.mark.parametrize(
    "path",
    [
        "a@client.example",
        "<a@client.example",
        "<a b@client.example>",
        "<a@client..example>",
        "<@client.example>",
        "<a@>",
        "<a>",
        "<a@-client.example>",
        "<a@[300.1.1.1]>",
        "<a@[IPv6:zz]>",
        "<.a@client.example>",
        "<a..b@client.example>",
        "<a@client.example>>",
        "<a@client.example>x",
        "",
        '<"open@client.example>',
        "<" + "l" * 241 + "@client.example>",
        "<a@" + ".".join(["d" * 60] * 5) + ">",
        "<a@b@client.example>",
    ],
)
def test_bad_sender_addresses_get_501(client, path):
    code, text = client.command(f"MAIL FROM:{path}")
    assert code == 501, text
    client.expect(250, "NOOP")


def test_mail_and_rcpt_without_their_words_are_refused(client):
    client.expect(501, "MAIL <a@client.example>")
    client.expect(501, "MAIL TO:<a@client.example>")
    client.expect(250, "MAIL FROM:<a@client.example>")
    client.expect(501, "RCPT <alice@example.org>")
    client.expect(501, "RCPT FROM:<alice@example.org>")
    client.expect(501, "RCPT TO:<>")


def test_control_characters_in_addresses_are_refused(client):
    client.send(b"MAIL FROM:<a\x01b@client.example>\r\n")
    assert client.reply()[0] in (500, 501)
    client.send(b"MAIL FROM:<a\x7fb@client.example>\r\n")
    assert client.reply()[0] in (500, 501)
    client.expect(250, "NOOP")


# --- who may send to whom ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "recipient",
    [
        "a@elsewhere.example",
        "a@[192.0.2.1]",
        "a%elsewhere.example@[192.0.2.1]",
        "a@sub.example.org",
        "a@example.org.elsewhere.example",
        '"a@elsewhere.example"@elsewhere.example',
        "@example.org:a@elsewhere.example",
    ],
)
def test_strangers_may_not_relay(client, recipient):
    client.expect(250, "MAIL FROM:<alice@example.org>")
    assert "5.7.1" in client.expect(550, f"RCPT TO:<{recipient}>")


@pytest.mark.parametrize(
    "recipient",
    ["a%elsewhere.example@example.org", "elsewhere.example!a@example.org", '"a@elsewhere.example"@example.org'],
)
def test_old_routing_tricks_are_local_parts_and_nothing_else(client, recipient):
    client.expect(250, "MAIL FROM:<a@client.example>")
    assert "5.1.1" in client.expect(550, f"RCPT TO:<{recipient}>")


def test_trusted_clients_may_relay(mx):
    with mx.client(trusted=True) as c:
        c.hello()
        c.expect(250, "MAIL FROM:<alice@example.org>")
        c.expect(250, "RCPT TO:<someone@elsewhere.example>")
        c.expect(250, "RSET")


def test_an_unknown_user_gets_550(client):
    client.expect(250, "MAIL FROM:<a@client.example>")
    assert "5.1.1" in client.expect(550, "RCPT TO:<nobody@example.org>")
    client.expect(250, "RCPT TO:<alice@example.org>")
    client.expect(250, "RCPT TO:<ALICE@EXAMPLE.ORG>")
    client.expect(250, "RCPT TO:<alice+detail@example.org>")
    client.expect(250, 'RCPT TO:<"Quoted Name"@example.org>')
    client.expect(250, "RCPT TO:<whoever@every.example>")


def test_postmaster_is_always_there(client):
    client.expect(250, "MAIL FROM:<>")
    client.expect(250, "RCPT TO:<postmaster@example.org>")
    client.expect(250, "RCPT TO:<PostMaster@Every.Example>")
    client.expect(250, "RCPT TO:<postmaster>")


def test_mail_from_the_null_path_arrives_with_an_empty_return_path(client, mx):
    client.send_message("", ["alice@example.org"], b"Subject: null-path\r\n\r\nx\r\n")
    assert arrived(mx, "alice", b"null-path").startswith(b"Return-Path: <>\n")


def test_the_limit_of_recipients_is_temporary_and_the_rest_is_delivered(client, mx):
    client.expect(250, "MAIL FROM:<a@client.example>")
    for i in range(110):
        client.expect(250, f"RCPT TO:<r{i}@every.example>")
    assert "4.5.3" in client.expect(452, "RCPT TO:<one-more@every.example>")
    client.expect(354, "DATA")
    client.send(b"Subject: to-many\r\n\r\nx\r\n.\r\n")
    client.expect(250)
    arrived(mx, "r109", b"to-many", "every.example")
    assert mx.maildir("every.example", "one-more") == []


# --- parameters --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "parameters",
    [
        "SIZE=1000",
        "BODY=7BIT",
        "BODY=8BITMIME",
        "SMTPUTF8",
        "RET=FULL",
        "RET=HDRS",
        "ret=hdrs",
        "ENVID=QQ314159",
        "ENVID=a+20b",
        "SIZE=1000 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=x",
    ],
)
def test_good_mail_parameters(client, parameters):
    client.expect(250, f"MAIL FROM:<a@client.example> {parameters}")


@pytest.mark.parametrize(
    "parameters,codes",
    [
        ("SIZE=abc", (501,)),
        ("SIZE=", (501,)),
        ("SIZE=-1", (501,)),
        ("SIZE=99999999999999999999999", (501, 552)),
        ("SIZE=10000000", (552,)),
        ("BODY=9BIT", (501, 504)),
        ("BODY=BINARYMIME", (501, 504, 555)),
        ("RET=BOTH", (501,)),
        ("RET", (501,)),
        ("ENVID=a+2", (501,)),
        ("ENVID=", (501,)),
        ("ENVID=" + "x" * 101, (501,)),
        ("SMTPUTF8=yes", (501, 555)),
        ("FOO=bar", (555,)),
        ("FOO", (555,)),
        ("RET=FULL RET=FULL", (501,)),
        ("SIZE=1 SIZE=2", (501,)),
        ("AUTH=<>", (555,)),
        ("NOTIFY=NEVER", (555,)),
        ("=x", (501,)),
        ("SIZE==1", (501,)),
    ],
)
def test_bad_mail_parameters(client, parameters, codes):
    code, text = client.command(f"MAIL FROM:<a@client.example> {parameters}")
    assert code in codes, text
    client.expect(503, "RCPT TO:<alice@example.org>")


@pytest.mark.parametrize(
    "parameters",
    [
        "NOTIFY=NEVER",
        "NOTIFY=SUCCESS",
        "NOTIFY=SUCCESS,FAILURE,DELAY",
        "notify=delay",
        "ORCPT=rfc822;bob@client.example",
        "ORCPT=rfc822;a+2Bb@client.example NOTIFY=FAILURE",
        "ORCPT=x400;x",
    ],
)
def test_good_rcpt_parameters(client, parameters):
    client.expect(250, "MAIL FROM:<a@client.example>")
    client.expect(250, f"RCPT TO:<alice@example.org> {parameters}")


@pytest.mark.parametrize(
    "parameters,code",
    [
        ("NOTIFY=NEVER,SUCCESS", 501),
        ("NOTIFY=", 501),
        ("NOTIFY=MAYBE", 501),
        ("NOTIFY=SUCCESS,", 501),
        ("ORCPT=bob@client.example", 501),
        ("ORCPT=rfc822;", 501),
        ("ORCPT=rfc822;a+2", 501),
        ("NOTIFY=NEVER NOTIFY=NEVER", 501),
        ("ORCPT=rfc822;a ORCPT=rfc822;b", 501),
        ("SIZE=10", 555),
        ("RRVS=x", 555),
    ],
)
def test_bad_rcpt_parameters(client, parameters, code):
    client.expect(250, "MAIL FROM:<a@client.example>")
    client.expect(code, f"RCPT TO:<alice@example.org> {parameters}")


def test_parameters_need_ehlo(mx):
    with mx.client() as c:
        c.expect(220)
        c.expect(250, "HELO client.example")
        assert c.command("MAIL FROM:<a@client.example> SIZE=100")[0] in (501, 555)
        c.expect(250, "MAIL FROM:<a@client.example>")


# --- SMTPUTF8 ----------------------------------------------------------------------------------------------------------


def test_addresses_in_utf8_need_smtputf8(client):
    assert "5.6.7" in client.expect(553, "MAIL FROM:<jörg@client.example>")
    client.expect(250, "MAIL FROM:<a@client.example>")
    assert "5.6.7" in client.expect(553, "RCPT TO:<jörg@example.org>")


def test_mail_in_utf8_arrives(client, mx):
    client.send_message(
        "用户@例え.example",
        ["jörg@example.org"],
        "Subject: grüße-1\r\n\r\nhallo jörg\r\n".encode(),
        " SMTPUTF8 BODY=8BITMIME",
    )
    message = arrived(mx, "jörg", "grüße-1".encode())
    assert message.startswith("Return-Path: <用户@例え.example>\n".encode())
    assert b"with UTF8SMTP" in message


def test_bad_utf8_is_refused(client):
    client.send(b"MAIL FROM:<a\xff@client.example> SMTPUTF8\r\n")
    assert client.reply()[0] in (500, 501, 553)
    client.send(b"MAIL FROM:<a\xc0\x80@client.example> SMTPUTF8\r\n")
    assert client.reply()[0] in (500, 501, 553)
    client.expect(250, "NOOP")
