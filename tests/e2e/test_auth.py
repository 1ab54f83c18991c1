"""Logging in (RFC 4954): where AUTH is offered, each mechanism, what a wrong password gets, lock-outs, and what users may
send afterwards."""

import re
import smtplib
import ssl
import time

import pytest

import harness
import sasl
from harness import Client, arrived, wait_for
from logins import ALICE, PASSWORD, User, add_user, auth_server, logged, offered
from sasl import b64


@pytest.fixture(scope="module")
def server(shared):
    """With limits so high that no test locks out another."""
    s = auth_server(shared, {"failures_per_address": 0, "failures_per_account": 0}, limits={"errors": 1000})
    add_user(s.dir, "bob", "pässword ½", "--addresses", "bob@example.org,*@team.example.org")
    s.start()
    return s


@pytest.fixture
def user(server):
    with User(server) as c:
        yield c


# --- where it is offered -----------------------------------------------------------------------------------------------


def test_auth_is_offered_after_starttls_only(server):
    with server.client() as c:
        assert offered(c.hello()) == []
        c.starttls()
        names = offered(c.expect(250, "EHLO client.example"))
    assert {"PLAIN", "LOGIN", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-1"} <= set(names)
    assert names[0] == "SCRAM-SHA-256-PLUS"


def test_auth_is_offered_at_once_under_implicit_tls(server):
    with Client(server.address, server.implicit_port) as c:
        c.handshake()
        assert "PLAIN" in offered(c.hello())


def test_auth_is_not_offered_on_an_mx(server):
    with Client(server.address, server.mx_port) as c:
        c.hello()
        c.starttls()
        assert offered(c.expect(250, "EHLO client.example")) == []
        c.expect(502, "AUTH PLAIN " + b64(sasl.plain(ALICE, PASSWORD)))


def test_without_tls_a_password_is_refused_with_538(server):
    with server.client() as c:
        c.hello()
        assert " 5.7.11 " in c.expect(538, "AUTH PLAIN " + b64(sasl.plain(ALICE, PASSWORD)))
        assert " 5.7.0 " in c.expect(530, "MAIL FROM:<alice@example.org>")


def test_a_client_that_said_helo_is_not_offered_auth(server):
    with server.client() as c:
        c.expect(220)
        c.expect(250, "HELO client.example")
        c.expect(502, "AUTH PLAIN")


def test_on_an_mx_and_without_tls_where_the_configuration_says_so(place):
    s = auth_server(place, listen=[{"role": "mx", "auth": True, "auth_without_tls": True}])
    s.start()
    with s.client() as c:
        assert offered(c.hello()) == ["SCRAM-SHA-256", "SCRAM-SHA-1"]
        assert " 5.7.11 " in c.expect(538, "AUTH PLAIN " + b64(sasl.plain(ALICE, PASSWORD)))
        c.__class__ = User
        assert c.scram("SCRAM-SHA-256")[0] == 235
        c.send_message(ALICE, ["bob@elsewhere.example"])


# --- the mechanisms ----------------------------------------------------------------------------------------------------


def test_plain_with_an_initial_response(user):
    code, text = user.plain()
    assert code == 235 and " 2.7.0 " in text


def test_plain_in_two_steps(user):
    assert user.challenge("AUTH PLAIN") == b""
    user.expect(235, b64(sasl.plain(ALICE, PASSWORD)))


def test_login(user):
    assert user.challenge("AUTH LOGIN") == b"Username:"
    assert user.challenge(b64(ALICE)) == b"Password:"
    user.expect(235, b64(PASSWORD))


def test_login_with_the_name_at_once(user):
    assert user.challenge("AUTH LOGIN " + b64(ALICE)) == b"Password:"
    user.expect(235, b64(PASSWORD))


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-1"])
def test_scram(user, mechanism):
    assert user.scram(mechanism)[0] == 235


def test_scram_waits_for_the_first_message(user):
    client = sasl.Scram(ALICE, PASSWORD)
    assert user.challenge("AUTH SCRAM-SHA-256") == b""
    first = user.challenge(b64(client.first()))
    client.verify(user.challenge(b64(client.final(first))))
    user.expect(235, "")


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS"])
def test_scram_with_channel_binding_by_tls_unique(server, mechanism):
    with User(server, tls=ssl.TLSVersion.TLSv1_2) as c:
        assert mechanism in offered(c.greeting)
        assert c.scram(mechanism, binding=c.socket.get_channel_binding("tls-unique"))[0] == 235


def test_scram_with_another_channels_binding_is_refused(server):
    with User(server, tls=ssl.TLSVersion.TLSv1_2) as c:
        assert c.scram("SCRAM-SHA-256-PLUS", binding=b"x" * 12)[0] == 535


def test_scram_finds_out_when_plus_was_hidden(user):
    """RFC 5802 section 6: y says that the client could bind and believes that the server can't."""
    assert user.scram("SCRAM-SHA-256", flag="y")[0] == 535


def test_a_name_and_a_password_beyond_ascii(server):
    for attempt in (
        lambda c: c.plain("bob", "pässword ½"),
        lambda c: c.scram("SCRAM-SHA-256", "bob", "pässword ½"),
        lambda c: c.plain("bob", "pa\u0308ssword ½"),  # the same in another form: RFC 4013
        lambda c: c.plain("BOB", "pässword ½"),
    ):
        with User(server) as c:
            assert attempt(c)[0] == 235


def test_smtplib_logs_in_and_sends(server):
    with smtplib.SMTP(server.address, server.port, timeout=20) as c:
        c.starttls(context=ssl._create_unverified_context())
        c.login(ALICE, PASSWORD)
        c.sendmail(ALICE, ["carol@example.org"], b"Subject: by smtplib\r\n\r\nhello\r\n")
    message = arrived(server, "carol", b"by smtplib")
    assert b"with ESMTPSA" in message


# --- what is wrong -----------------------------------------------------------------------------------------------------


def test_a_wrong_password_and_a_stranger_are_told_the_same(server):
    with User(server) as c:
        wrong, stranger = c.plain(password="wrong"), c.plain("nobody@example.org")
        assert wrong == stranger and wrong[0] == 535 and " 5.7.8 " in wrong[1]
        assert c.scram("SCRAM-SHA-256", password="wrong") == wrong
        assert c.scram("SCRAM-SHA-256", "nobody@example.org") == wrong
        assert c.plain()[0] == 235


def test_logins_are_counted(server):
    before = server.json("status")["receive"]["logins"]
    with User(server) as c:
        c.plain(password="wrong")
        assert c.plain()[0] == 235
    after = server.json("status")["receive"]["logins"]
    assert after == {"ok": before["ok"] + 1, "failed": before["failed"] + 1, "locked": before["locked"]}


def test_scram_shows_a_stranger_the_same_salt_each_time(server):
    def first(name):
        with User(server) as c:
            client = sasl.Scram(name, "x")
            client.final(c.challenge("AUTH SCRAM-SHA-256 " + b64(client.first())))
            c.expect(501, "*")
            return client.salt, client.iterations

    assert first("nobody@example.org") == first("nobody@example.org") != first("somebody@example.org")
    assert first("nobody@example.org")[1] == first(ALICE)[1]


def test_a_stranger_is_found_out_as_slowly_as_a_wrong_password(server):
    """The hash is what takes the time. Medians, since the machine has other things to do."""
    with User(server) as c:

        def median(*who):
            took = []
            for _ in range(7):
                began = time.monotonic()
                c.plain(*who)
                took.append(time.monotonic() - began)
            return sorted(took)[3]

        wrong, stranger = median(ALICE, "wrong"), median("nobody@example.org", "wrong")
    assert stranger > 0.3 * wrong and wrong > 0.3 * stranger, (wrong, stranger)


def test_acting_as_somebody_else_is_refused(user):
    assert user.plain(authorization="bob")[0] == 535
    assert user.plain(authorization=ALICE)[0] == 235


def test_cancelling(user):
    user.challenge("AUTH PLAIN")
    user.expect(501, "*")
    user.challenge("AUTH LOGIN")
    user.challenge(b64(ALICE))
    user.expect(501, "*")
    user.expect(250, "NOOP")
    assert user.plain()[0] == 235


@pytest.mark.parametrize(
    "response", ["!!!!", "QUJD=", "QUI", "QUJ=", "Q=JD", "QUJD QUJD", "=", "===", "AAAA", b64("no zeros here"), b64(b"\0\0")]
)
def test_a_response_that_is_none_gets_501(user, response):
    user.challenge("AUTH PLAIN")
    assert " 5.5.2 " in user.expect(501, response)
    user.expect(250, "NOOP")


def test_an_empty_initial_response(user):
    assert user.command("AUTH PLAIN =")[0] in (334, 501)


def test_unknown_mechanisms_and_none_at_all(user):
    assert " 5.5.4 " in user.expect(504, "AUTH CRAM-MD5")
    assert " 5.5.4 " in user.expect(504, "AUTH GSSAPI AAAA")
    assert " 5.5.4 " in user.expect(501, "AUTH")
    user.expect(504, "AUTH EXTERNAL =")


def test_a_mechanism_that_is_switched_off_gets_534(place):
    s = auth_server(place, {"mechanisms": ["SCRAM-SHA-256"]})
    s.start()
    with User(s) as c:
        assert offered(c.greeting) == ["SCRAM-SHA-256"]
        assert " 5.7.9 " in c.expect(534, "AUTH PLAIN " + b64(sasl.plain(ALICE, PASSWORD)))
        assert c.scram("SCRAM-SHA-256")[0] == 235


def test_not_twice_and_not_inside_of_a_message(user):
    assert user.plain()[0] == 235
    user.expect(503, "AUTH PLAIN " + b64(sasl.plain(ALICE, PASSWORD)))
    user.expect(250, f"MAIL FROM:<{ALICE}>")
    user.expect(503, "AUTH PLAIN")
    user.expect(250, "RSET")
    user.expect(250, "EHLO again.example")
    user.expect(503, "AUTH PLAIN")  # EHLO doesn't log out
    user.expect(250, f"MAIL FROM:<{ALICE}>")


def test_long_responses(user):
    token = "A" * 12284
    assert user.command("AUTH PLAIN " + token[: 12288 - 11])[0] == 501
    user.challenge("AUTH PLAIN")
    assert user.command(token)[0] == 501
    user.challenge("AUTH PLAIN")
    assert " 5.5.6 " in user.expect(500, "A" * 12292)
    user.expect(500, "NOOP " + "x" * 3000)
    assert user.plain()[0] == 235


def test_what_is_sent_behind_auth_ends_the_session(server):
    for text in ("AUTH PLAIN " + b64(sasl.plain(ALICE, PASSWORD)) + "\r\nMAIL FROM:<alice@example.org>\r\n", "AUTH LOGIN\r\n" + b64(ALICE) + "\r\n"):
        with User(server) as c:
            c.send(text)
            c.expect(554)
            assert c.closed()
    with User(server) as c:
        c.challenge("AUTH LOGIN")
        c.send(b64(ALICE) + "\r\n" + b64(PASSWORD) + "\r\n")
        c.expect(554)
        assert c.closed()


# --- afterwards --------------------------------------------------------------------------------------------------------


def test_submission_demands_a_login(server):
    with User(server) as c:
        assert " 5.7.0 " in c.expect(530, f"MAIL FROM:<{ALICE}>")
        assert c.plain()[0] == 235
        c.send_message(ALICE, ["dave@example.org"], b"Subject: after the login\r\n\r\nx\r\n")
    message = arrived(server, "dave", b"after the login")
    assert b"with ESMTPSA" in message and PASSWORD.encode() not in message


def test_a_user_may_relay_and_the_envelope_knows_him(server):
    with User(server) as c:
        assert c.scram("SCRAM-SHA-256")[0] == 235
        text = c.send_message(ALICE, ["far@elsewhere.example"])
    identity = re.search(r"queued as (\S+)", text).group(1)
    received = next(e for e in server.events(identity) if e["event"] == "received")
    assert received["user"] == ALICE


def test_users_send_as_their_own_addresses_only(server):
    with User(server) as c:
        c.plain()
        text = c.expect(553, "MAIL FROM:<bob@example.org>")
        assert " 5.7.1 " in text and "bob@example.org" in text and ALICE in text
        c.expect(553, "MAIL FROM:<alice@elsewhere.example>")
        c.expect(250, "MAIL FROM:<Alice@EXAMPLE.org>")
        c.expect(250, "RSET")
        c.expect(250, "MAIL FROM:<>")
    with User(server) as c:
        c.plain("bob", "pässword ½")
        c.expect(250, "MAIL FROM:<anything@team.example.org>")
        c.expect(250, "RSET")
        text = c.expect(553, f"MAIL FROM:<{ALICE}>")
        assert "bob@example.org, *@team.example.org" in text


def test_the_configuration_gives_addresses(place):
    s = auth_server(
        place,
        {
            "senders": [
                {"user": "al*@example.org", "addresses": ["info@example.org", "lists.example.org"]},
                {"user": "carol", "addresses": "carol@example.org"},
            ]
        },
    )
    add_user(s.dir, "carol", "c")
    add_user(s.dir, "dave", "d")
    s.start()
    with User(s) as c:
        c.plain()
        c.expect(250, "MAIL FROM:<info@example.org>")
        c.expect(250, "RSET")
        c.expect(250, "MAIL FROM:<x@lists.example.org>")
        c.expect(250, "RSET")
        c.expect(553, f"MAIL FROM:<{ALICE}>")
    with User(s) as c:
        c.plain("dave", "d")
        assert "yours: none" in c.expect(553, "MAIL FROM:<dave@example.org>")


def test_mail_takes_the_auth_parameter(user):
    user.plain()
    user.expect(250, f"MAIL FROM:<{ALICE}> AUTH=<>")
    user.expect(250, "RSET")
    user.expect(250, f"MAIL FROM:<{ALICE}> AUTH=alice+2Bx@example.org")
    user.expect(250, "RSET")
    user.expect(501, f"MAIL FROM:<{ALICE}> AUTH=+XY")


def test_the_auth_parameter_is_unknown_where_auth_is_not_offered(server):
    with Client(server.address, server.mx_port) as c:
        c.hello()
        c.expect(555, "MAIL FROM:<a@client.example> AUTH=<>")


def test_starttls_logs_out(place):
    s = auth_server(place, listen=[{"role": "submission", "auth_without_tls": True}])
    s.start()
    with s.client() as c:
        c.hello()
        c.__class__ = User
        assert c.scram("SCRAM-SHA-1")[0] == 235
        c.starttls()
        c.expect(250, "EHLO client.example")
        c.expect(530, f"MAIL FROM:<{ALICE}>")


def test_passwords_are_not_in_the_log(server):
    with User(server) as c:
        c.plain(password="very-wrong-password")
        c.scram("SCRAM-SHA-256", password="very-wrong-password")
    logged(server, "a login failed")
    log = server.log()
    for secret in ("very-wrong-password", PASSWORD, b64(sasl.plain(ALICE, PASSWORD)), b64(sasl.plain(ALICE, "very-wrong-password"))):
        assert secret not in log


def test_a_user_named_by_xclient_has_his_addresses_only(place):
    s = auth_server(place, listen=[{"role": "submission", "xclient": ["127.0.0.1"]}], users=False)
    add_user(s.dir, "eve", "x", "--addresses", "eve@example.org")
    s.start()
    with s.client() as c:
        c.hello()
        c.expect(220, "XCLIENT ADDR=192.0.2.7 LOGIN=eve")
        c.expect(250, "EHLO client.example")
        c.starttls()
        c.expect(250, "EHLO client.example")
        c.expect(530, "MAIL FROM:<eve@example.org>")
        c.expect(220, "XCLIENT LOGIN=eve")
        c.expect(250, "EHLO client.example")
        c.expect(553, "MAIL FROM:<alice@example.org>")
        c.expect(250, "MAIL FROM:<eve@example.org>")


def memory_holds(pid, texts):
    """Which of these octets the memory of a process holds."""
    found = set()
    for line in open(f"/proc/{pid}/maps"):
        where, rights = line.split()[:2]
        if "r" not in rights or "[v" in line:
            continue
        start, end = (int(x, 16) for x in where.split("-"))
        try:
            with open(f"/proc/{pid}/mem", "rb") as memory:
                memory.seek(start)
                data = memory.read(end - start)
        except PermissionError:
            pytest.skip("the memory of a process of ours can't be read here")
        except OSError:
            continue
        found |= {t for t in texts if t in data}
    return found


@pytest.mark.skipif(harness.OWN_ALLOCATOR, reason="it keeps freed memory as it is")
def test_passwords_do_not_stay_in_memory(place):
    secret = "Zq7-unmistakable-secret-91x"
    s = auth_server(place, users=False)
    add_user(s.dir, ALICE, secret)
    s.start()
    for log_in in (
        lambda c: c.plain(ALICE, secret),
        lambda c: c.plain(ALICE, secret + "!"),
        lambda c: c.scram("SCRAM-SHA-256", ALICE, secret),
    ):
        with User(s) as c:
            assert log_in(c)[0] in (235, 535)
            c.expect(250, "NOOP")
        wait_for(lambda: s.json("status")["receive"]["sessions"] == 0, what="the end of the session")
        message = b64(sasl.plain(ALICE, secret)).encode()[:40]
        assert not memory_holds(s.process.pid, [secret.encode(), message, b64(secret).encode()])
