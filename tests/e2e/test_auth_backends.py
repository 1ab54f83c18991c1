"""Where users are kept (the password file while it changes, Dovecot's auth socket, SQLite), tokens, and lock-outs."""

import base64
import json
import os
import pwd
import socket
import sqlite3
import ssl
import subprocess
import threading
import time

import pytest

import harness
import sasl
from harness import Client, wait_for
from https_forms import FormServer
from sasl import b64
from logins import ALICE, PASSWORD, User, add_user, auth_server, crypt_hash, logged, offered


def user_command(server, *words, password=None, status=0):
    r = subprocess.run(
        [*harness.PROGRAM, "user", *words, "-c", str(server.config)],
        input=None if password is None else password + "\n",
        text=True,
        capture_output=True,
    )
    assert r.returncode == status, r.stdout + r.stderr
    return r.stdout + r.stderr


# --- the password file and `yizhan user` -------------------------------------------------------------------------------


def test_the_server_sees_what_yizhan_user_changes(place):
    s = auth_server(place)
    s.start()
    with User(s) as c:
        assert c.plain("eve", "one")[0] == 535
        user_command(s, "add", "eve", password="one")
        assert c.plain("eve", "one")[0] == 235
    user_command(s, "passwd", "EVE", password="two")
    with User(s) as c:
        assert c.plain("eve", "one")[0] == 535
        assert c.scram("SCRAM-SHA-256", "eve", "two")[0] == 235
    user_command(s, "remove", "eve")
    with User(s) as c:
        assert c.plain("eve", "two")[0] == 535
        assert c.plain()[0] == 235
    assert oct((s.dir / "users").stat().st_mode & 0o777) == "0o600"


def test_yizhan_user_says_no(place):
    s = auth_server(place)
    assert "already" in user_command(s, "add", ALICE.upper(), password="x", status=1)
    assert "no user" in user_command(s, "passwd", "eve", password="x", status=1)
    assert "no user" in user_command(s, "remove", "eve", status=1)
    assert "can't be a password" in user_command(s, "add", "eve", password="", status=1)
    assert "no password" in subprocess.run(
        [*harness.PROGRAM, "user", "add", "eve", "-c", str(s.config)], stdin=subprocess.DEVNULL, text=True, capture_output=True
    ).stderr
    assert "can't be a user's name" in user_command(s, "add", "e:ve", password="x", status=1)
    assert "command line" in user_command(s, "add", "eve", "secret", status=2)
    user_command(s, "frobnicate", "eve", status=2)
    assert [u["user"] for u in json.loads(user_command(s, "list", "--json"))] == [ALICE]


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
def test_yizhan_user_gives_the_file_to_the_server(place):
    s = auth_server(place, users=False, user="nobody")
    nobody = pwd.getpwnam("nobody").pw_uid
    user_command(s, "add", "eve", password="x")
    assert (s.dir / "users").stat().st_uid == nobody
    os.chown(s.dir / "users", 1, 2)
    (s.dir / "users").chmod(0o640)
    user_command(s, "passwd", "eve", password="y")
    info = (s.dir / "users").stat()
    assert (info.st_uid, info.st_gid, info.st_mode & 0o777) == (1, 2, 0o640)


def test_two_at_once_lose_nothing(place):
    s = auth_server(place)
    threads = [threading.Thread(target=add_user, args=(s.dir, f"u{i}", "x")) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert {u["user"] for u in json.loads(user_command(s, "list", "--json"))} == {ALICE, *(f"u{i}" for i in range(8))}


def test_a_file_that_everybody_may_read_is_warned_of(place):
    s = auth_server(place)
    assert "everybody" not in s.command("check").stderr
    (s.dir / "users").chmod(0o644)
    assert "everybody on this machine may read" in s.command("check").stderr


def test_yizhan_user_keeps_comments_and_attributes(place):
    s = auth_server(place, users=False)
    (s.dir / "users").write_text("# people\n\nold:$6$salt$xx:addresses=a@example.org\nlocked:!\n")
    add_user(s.dir, "new", "n")
    user_command(s, "passwd", "old", password="x")
    text = (s.dir / "users").read_text()
    assert text.startswith("# people\n\nold:$y$") and ":addresses=a@example.org\n" in text and "\nlocked:!\n" in text
    rows = {u["user"]: u for u in json.loads(user_command(s, "list", "--json"))}
    assert rows["locked"]["login"] == [] and rows["new"]["login"] == ["password", "SCRAM-SHA-256", "SCRAM-SHA-1"]


@pytest.mark.parametrize("prefix", ["$y$", "$6$", "$2b$", "$5$", "$gy$"])
def test_forms_of_hashes(place, prefix):
    s = auth_server(place, users=False)
    (s.dir / "users").write_text(f"eve:{crypt_hash(prefix, 'swordfish')}\nmallory:{{CRYPT}}{crypt_hash(prefix, 'x')}\n")
    s.start()
    with User(s) as c:
        assert c.plain("eve", "sword")[0] == 535
        assert c.plain("eve", "swordfish")[0] == 235
    with User(s) as c:
        assert c.scram("SCRAM-SHA-256", "eve", "swordfish")[0] == 535  # there is only a hash
        logged(s, "can't log in by SCRAM")
        assert c.plain("mallory", "x")[0] == 235


def test_a_broken_line_is_named_and_the_others_hold(place):
    s = auth_server(place)
    with open(s.dir / "users", "a") as f:
        f.write("no colon\neve:plaintext\nlocked:!$6$x$y\nalice@example.org:!\n")
    s.start()
    with User(s) as c:
        assert c.plain("eve", "plaintext")[0] == 535
        assert c.plain("locked", "")[0] in (535, 501)
        assert c.plain()[0] == 235
    for number in (2, 3, 5):
        logged(s, f"line={number}")


def test_check_names_each_broken_line(place):
    s = auth_server(place)
    (s.dir / "users").write_text("# fine\nalice:$6$s$h\nno colon\neve:plaintext\n")
    r = s.command("check", check=False)
    assert r.returncode == 1
    assert f"{s.dir}/users:3:1: there is no ':'" in r.stderr and f"{s.dir}/users:4:1: the hash" in r.stderr, r.stderr
    (s.dir / "users").unlink()
    assert "cannot read" in s.command("check", check=False).stderr


def test_a_file_that_is_gone_is_a_temporary_failure(place):
    s = auth_server(place)
    s.start()
    text = (s.dir / "users").read_bytes()
    (s.dir / "users").unlink()
    with User(s) as c:
        assert " 4.7.0 " in c.plain()[1]
        assert c.scram("SCRAM-SHA-256")[0] == 454
        logged(s, "password file can't be read")
        (s.dir / "users").write_bytes(text)
        assert c.plain()[0] == 235


# --- lock-outs ---------------------------------------------------------------------------------------------------------


def test_an_address_is_locked_out(place):
    s = auth_server(place, {"failures_per_address": 3, "failures_per_account": 0, "lockout": "2s", "window": "1m"})
    s.start()
    with User(s) as c:
        for name in ("a", "b", "c"):
            assert c.plain(name, "wrong")[0] == 535
        code, text = c.plain()
        assert code == 454 and " 4.7.0 " in text and "your address" in text
    with User(s, source="127.0.0.2") as other:
        assert other.plain()[0] == 235
    with User(s, source=harness.TRUSTED) as trusted:
        for _ in range(5):
            assert trusted.plain(password="wrong")[0] == 535
    logged(s, "locked out")
    with User(s) as c:
        wait_for(lambda: c.plain()[0] == 235, 10, "the end of the lock-out", pause=0.3)


def test_an_account_is_locked_whether_it_exists_or_not(place):
    s = auth_server(place, {"failures_per_address": 0, "failures_per_account": 3})
    s.start()
    for name in (ALICE, "nobody@example.org"):
        for i in range(3):
            with User(s, source=f"127.0.0.{i + 2}") as c:
                assert c.plain(name.upper(), "wrong")[0] == 535
        with User(s) as c:
            code, text = c.plain(name, PASSWORD)
            assert code == 454 and "this account" in text
            assert c.scram("SCRAM-SHA-256", name)[0] == 454
    locked = wait_for(lambda: len(e := locked_out(s)) == 2 and e, what="the events")
    assert [e["user"].lower() for e in locked] == [ALICE, "nobody@example.org"] and locked[0]["for"] == "15 min"


def locked_out(server):
    """The events of lock-outs in the journal, whose last line may be on its way."""
    events = []
    for path in sorted((server.dir / "spool" / "journal").glob("*")):
        events += [line for line in path.read_text().splitlines() if '"locked_out"' in line and line.endswith("}")]
    return [json.loads(line) for line in events]


def test_a_success_clears_the_account(place):
    s = auth_server(place, {"failures_per_address": 0, "failures_per_account": 3})
    s.start()
    for _ in range(3):
        with User(s) as c:
            assert c.plain(password="wrong")[0] == 535
            assert c.plain(password="wrong")[0] == 535
            assert c.plain()[0] == 235


def test_guessing_at_the_same_time_gains_nothing(place):
    s = auth_server(place, {"failures_per_address": 5, "failures_per_account": 0})
    s.start()
    clients = [User(s) for _ in range(20)]
    codes = []

    def guess(c):
        codes.append(c.plain(password="wrong")[0])

    threads = [threading.Thread(target=guess, args=(c,)) for c in clients]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for c in clients:
        c.close()
    assert sorted(codes) == [454] * 15 + [535] * 5


def test_many_logins_at_the_same_time_are_no_failures(place):
    s = auth_server(place, {"failures_per_address": 5})
    s.start()
    clients = [User(s) for _ in range(20)]
    codes = []
    threads = [threading.Thread(target=lambda c=c: codes.append(c.plain()[0])) for c in clients]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for c in clients:
        c.close()
    assert codes == [235] * 20


def test_a_refusal_takes_its_time(place):
    s = auth_server(place, {"failure_delay": "700ms"})
    s.start()
    with User(s) as c:
        for who in ((ALICE, "wrong"), ("nobody", "wrong")):
            began = time.monotonic()
            assert c.plain(*who)[0] == 535
            assert time.monotonic() - began >= 0.69
        began = time.monotonic()
        assert c.plain()[0] == 235
        assert time.monotonic() - began < 0.69 * harness.SLOW


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
def test_logins_do_not_hold_up_others(place, mechanism):
    """While many passwords are hashed, and proofs looked at, somebody else's dialogue goes on."""
    s = auth_server(place, {"failures_per_address": 0, "failures_per_account": 0}, limits={"errors": 1000000, "commands": 1000000})
    s.start()
    stop = threading.Event()

    def guess():
        with User(s) as c:
            while not stop.is_set():
                c.plain(password="wrong") if mechanism == "PLAIN" else c.scram(mechanism, password="wrong")

    threads = [threading.Thread(target=guess) for _ in range(10)]
    for t in threads:
        t.start()
    try:
        with Client(s.address, s.mx_port) as c:
            c.hello()
            worst = 0
            for _ in range(100):
                began = time.monotonic()
                c.expect(250, "NOOP")
                worst = max(worst, time.monotonic() - began)
    finally:
        stop.set()
        for t in threads:
            t.join()
    assert worst < 0.5 * harness.SLOW, worst


# --- SQLite ------------------------------------------------------------------------------------------------------------


def sqlite_server(place, query, **auth):
    s = auth_server(
        place, {"backends": [{"sqlite": "{dir}/users.db", "query": query}], **auth}, users=False
    )
    add_user(s.dir, ALICE, PASSWORD)
    verifiers = (s.dir / "users").read_text().split(":", 1)[1].rstrip("\n")
    db = sqlite3.connect(s.dir / "users.db")
    db.execute("CREATE TABLE users (login TEXT, password TEXT, addresses TEXT)")
    db.execute("INSERT INTO users VALUES (?, ?, ?)", (ALICE, verifiers, "alice@example.org sales@example.org"))
    db.execute("INSERT INTO users VALUES ('hash', ?, NULL)", (verifiers.split()[0],))
    db.execute("INSERT INTO users VALUES ('odd', 'plaintext', NULL)")
    db.execute("INSERT INTO users VALUES ('none', NULL, NULL)")
    db.commit()
    s.db = db
    s.start()
    return s


def test_users_in_sqlite(place):
    s = sqlite_server(place, "SELECT login AS name, password, addresses FROM users WHERE login = $1")
    with User(s) as c:
        assert not any("SCRAM" in m for m in offered(c.greeting))
        assert c.plain()[0] == 235
        c.expect(250, "MAIL FROM:<sales@example.org>")
        c.expect(250, "RSET")
        c.expect(553, "MAIL FROM:<bob@example.org>")
    with User(s) as c:
        assert c.plain("hash", PASSWORD)[0] == 235
    with User(s) as c:
        assert c.plain("none", PASSWORD)[0] == 535
        assert c.plain("odd", "plaintext")[0] == 454
        logged(s, "none of the known forms")
        for name in ("nobody", "x' OR '1'='1", "'; DROP TABLE users; --", "$1", "%", ALICE + " "):
            assert c.plain(name, PASSWORD)[0] == 535, name
        s.db.execute("DELETE FROM users WHERE login = ?", (ALICE,))
        s.db.commit()
        assert c.plain()[0] == 535


def test_scram_with_sqlite_when_it_is_asked_for(place):
    s = sqlite_server(place, "SELECT password FROM users WHERE login = $1", mechanisms=["PLAIN", "SCRAM-SHA-256"])
    with User(s) as c:
        assert c.scram("SCRAM-SHA-256")[0] == 235


@pytest.mark.parametrize(
    "query, why",
    [
        ("SELECT passwd FROM users WHERE login = $1", "no such column"),
        ("SELECT login FROM users WHERE login = $1", "no column called password"),
        ("SELECT password FROM users WHERE login = $1 OR login = $2", "exactly one parameter"),
        ("SELEKT $1", "syntax error"),
    ],
)
def test_a_query_that_does_not_work_is_logged(place, query, why):
    s = sqlite_server(place, query)
    with User(s) as c:
        assert c.plain()[0] == 454
    logged(s, why)


# --- Dovecot, played by a script ---------------------------------------------------------------------------------------


class FakeDovecot:
    """The server's side of the auth protocol. answers: what it says to each AUTH line, {id} filled in; None: silence."""

    HELLO = b"VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nMECH\tLOGIN\tplaintext\nSPID\t1\nCUID\t2\nCOOKIE\tabc\nDONE\n"

    def __init__(self, path, answer, hello=HELLO):
        self.answer, self.hello, self.asked = answer, hello, []
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(str(path))
        self.socket.listen(16)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                c, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self.talk, args=(c,), daemon=True).start()

    def talk(self, c):
        with c:
            c.sendall(self.hello)
            for line in c.makefile("rb"):
                if line.startswith(b"AUTH\t"):
                    fields = line.decode().rstrip("\n").split("\t")
                    self.asked.append(fields)
                    text = self.answer(fields)
                    if text is None:
                        time.sleep(3)
                    elif text:
                        c.sendall(text.format(id=fields[1]).encode())

    def close(self):
        self.socket.close()


def dovecot_server(place, answer, backends=None, hello=FakeDovecot.HELLO):
    s = auth_server(place, {"backends": backends or [{"dovecot": "{dir}/auth", "timeout": "1s"}]})
    s.dovecot = FakeDovecot(s.dir / "auth", answer, hello)
    place.things.insert(0, s.dovecot)
    s.start()
    return s


def test_dovecot_is_asked(place):
    def answer(fields):
        _, user, password = base64.b64decode(fields[-1][5:]).decode().split("\0")
        return "OK\t{id}\tuser=Alice@Example.org\textra\n" if (user, password) == (ALICE, "right") else "FAIL\t{id}\tuser=x\n"

    s = dovecot_server(place, answer)
    with User(s) as c:
        assert offered(c.greeting) == ["PLAIN", "LOGIN"]
        assert c.plain(password="wrong")[0] == 535
        assert c.plain(password="right")[0] == 235
        c.expect(250, f"MAIL FROM:<{ALICE}>")
    fields = s.dovecot.asked[0]
    assert fields[2] == "PLAIN" and "service=smtp" in fields and "secured" in fields and "rip=127.0.0.1" in fields
    assert fields[-1].startswith("resp=")


@pytest.mark.parametrize(
    "answer", ["FAIL\t{id}\ttemp\n", "CONT\t{id}\tAAAA\n", "", None, "OK\t99\tuser=x\n", "x" * 20000, "OK\t{id}\tuser=\1\n"]
)
def test_what_dovecot_can_not_tell_is_a_temporary_failure(place, answer):
    s = dovecot_server(place, lambda fields: answer)
    with User(s) as c:
        assert c.plain()[0] == 454
    logged(s, "Dovecot can't be asked")


@pytest.mark.parametrize("hello", [b"VERSION\t2\t0\nDONE\n", b"VERSION\t1\t1\nMECH\tCRAM-MD5\nDONE\n", b"", b"\0" * 20000])
def test_another_protocol_is_a_temporary_failure(place, hello):
    s = dovecot_server(place, lambda fields: "OK\t{id}\tuser=x\n", hello=hello)
    with User(s) as c:
        assert c.plain()[0] == 454


def test_backends_are_asked_in_order(place):
    s = dovecot_server(
        place,
        lambda fields: "OK\t{id}\tuser=carol\n" if b"carol" in base64.b64decode(fields[-1][5:]) else "FAIL\t{id}\n",
        [{"file": "{dir}/users"}, {"dovecot": "{dir}/auth"}, {"file": "{dir}/more"}],
    )
    subprocess.run(
        [*harness.PROGRAM, "user", "add", "dave", "--file", str(s.dir / "more")], input="d\n", text=True, check=True
    )
    with User(s) as c:
        assert c.plain()[0] == 235 and not s.dovecot.asked
    with User(s) as c:
        assert c.plain(password="wrong")[0] == 535 and not s.dovecot.asked
        assert c.plain("carol", "x")[0] == 235
    with User(s) as c:
        assert c.plain("dave", "wrong")[0] == 535
        assert c.plain("dave", "d")[0] == 235


# --- tokens ------------------------------------------------------------------------------------------------------------


class TokenServer(FormServer):
    """RFC 7662 over HTTPS. answers: {token: dict or (status, bytes)}."""

    def __init__(self, directory, answers):
        self.ca, key = harness.certificate(directory, "localhost")

        def answer(path, form, authorization):
            found = answers.get(form["token"][0], {"active": False})
            return found if isinstance(found, tuple) else (200, json.dumps(found).encode())

        super().__init__((self.ca, key), answer, "/introspect")


@pytest.fixture
def tokens(place):
    t = TokenServer(
        place.tmp,
        {
            "good": {"active": True, "username": ALICE, "scope": "mail smtp", "exp": int(time.time()) + 600},
            "scopeless": {"active": True, "username": ALICE},
            "nameless": {"active": True},
            "short": {"active": True, "username": ALICE, "scope": "smtp", "exp": int(time.time()) - 5},
            "broken": (200, b"<html>"),
            "error": (500, b"{}"),
        },
    )
    place.things.append(t)
    return t


def token_server(place, tokens, **oauth):
    secret = place.tmp / "secret"
    secret.write_text("s3cret\n")
    secret.chmod(0o600)
    s = auth_server(
        place,
        {
            "oauth": {
                "introspection": tokens.url,
                "ca_file": str(tokens.ca),
                "client_id": "yizhan",
                "client_secret_file": str(secret),
                "scope": "smtp",
                **oauth,
            }
        },
    )
    s.start()
    return s


def bearer(c, mechanism, user, token):
    """The last code, and the error of the challenge, if there was one."""
    message = sasl.oauthbearer(user, token) if mechanism == "OAUTHBEARER" else sasl.xoauth2(user, token)
    code, text = c.command(f"AUTH {mechanism} {b64(message)}")
    if code != 334:
        return code, None
    error = json.loads(base64.b64decode(text[4:]))
    return c.command(b64(b"\1") if mechanism == "OAUTHBEARER" else "")[0], error


@pytest.mark.parametrize("mechanism", ["OAUTHBEARER", "XOAUTH2"])
def test_tokens(place, tokens, mechanism):
    s = token_server(place, tokens)
    with User(s) as c:
        assert {"OAUTHBEARER", "XOAUTH2"} <= set(offered(c.greeting))
        code, error = bearer(c, mechanism, ALICE, "bad")
        assert code == 535 and error["scope"] == "smtp" and error["schemes"] == "bearer"
        assert bearer(c, mechanism, ALICE, "scopeless")[0] == 535
        assert bearer(c, mechanism, ALICE, "nameless")[0] == 535
        assert bearer(c, mechanism, "bob@example.org", "good")[0] == 535
        for token in ("broken", "error"):
            assert bearer(c, mechanism, ALICE, token) == (454, None)
        assert bearer(c, mechanism, "Alice@example.org", "good") == (235, None)
        c.send_message(ALICE, ["bob@elsewhere.example"])
    path, form, authorization = tokens.asked[0]
    assert (path, form["token"], form["token_type_hint"]) == ("/introspect", ["bad"], ["access_token"])
    assert authorization == "Basic " + b64("yizhan:s3cret")
    assert "good" not in s.log() and "s3cret" not in s.log()


def test_a_good_answer_is_kept_for_a_moment(place, tokens):
    s = token_server(place, tokens)
    for token, questions in (("good", 1), ("short", 3), ("bad", 3)):
        tokens.asked.clear()
        for _ in range(3):
            with User(s) as c:
                bearer(c, "OAUTHBEARER", ALICE, token)
        assert len(tokens.asked) == questions, token


def test_a_token_server_that_is_not_there(place, tokens):
    s = token_server(place, tokens, ca_file=str(place.certificate("other.example")[0]))
    with User(s) as c:
        assert bearer(c, "XOAUTH2", ALICE, "good")[0] == 454
    logged(s, "can't be asked")


@pytest.mark.parametrize(
    "message", [b"", b"n,a=x,", b"n,,\1auth=Bearer x\1", b"p=tls-unique,,\1auth=Bearer x\1\1", b"n,,\1\1", b"n,,\1auth=Basic eA==\1\1"]
)
def test_messages_that_are_none(place, tokens, message):
    s = token_server(place, tokens)
    with User(s) as c:
        assert c.command("AUTH OAUTHBEARER " + (b64(message) or "="))[0] == 501
        c.expect(250, "NOOP")


def test_a_client_without_a_token_learns_what_is_wanted(place, tokens):
    s = token_server(place, tokens)
    with User(s) as c:
        error = json.loads(c.challenge("AUTH OAUTHBEARER " + b64(b"n,,\1host=x\1auth=\1\1")))
        assert error["scope"] == "smtp"
        c.expect(535, b64(b"\1"))


# --- certificates ------------------------------------------------------------------------------------------------------


class Authority:
    """A CA for client certificates."""

    def __init__(self, directory):
        self.dir = directory / "people"
        self.dir.mkdir()
        self.key, self.cert = self.dir / "ca.key", self.dir / "ca.crt"
        self.openssl("req", "-x509", "-nodes", "-days", "9", "-subj", "/CN=people", "-keyout", self.key, "-out", self.cert)

    def openssl(self, *words):
        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"] if words[0] == "req" else []
        r = subprocess.run(["openssl", words[0], *curve, *map(str, words[1:])], capture_output=True, text=True)
        assert r.returncode == 0, r.stderr
        return r.stdout

    def issue(self, name, subject, emails=(), signed=True):
        """(certificate, key)"""
        cert, key, request, ext = (self.dir / f"{name}.{end}" for end in ("crt", "key", "csr", "ext"))
        ext.write_text("subjectAltName=" + ",".join([f"email:{e}" for e in emails] or ["DNS:host.example"]) + "\n")
        self.openssl("req", "-nodes", "-subj", subject, "-keyout", key, "-out", request)
        signer = ["-CA", self.cert, "-CAkey", self.key, "-CAcreateserial"] if signed else ["-signkey", key]
        self.openssl("x509", "-req", "-days", "9", "-in", request, "-out", cert, "-extfile", ext, *signer)
        return cert, key

    def fingerprint(self, cert):
        return self.openssl("x509", "-noout", "-fingerprint", "-sha256", "-in", cert).split("=")[1].strip()


class CertifiedUser(User):
    def __init__(self, server, pair):
        Client.__init__(self, server.address, server.port)
        self.hello()
        self.expect(220, "STARTTLS")
        context = ssl._create_unverified_context()
        if pair:
            context.load_cert_chain(*pair)
        self.socket = context.wrap_socket(self.socket, server_hostname="mx.example.org")
        self.greeting = self.expect(250, "EHLO client.example")


def test_external(place):
    ca = Authority(place.tmp)
    alice = ca.issue("alice", "/CN=Alice", [ALICE, "alias@example.org"])
    printer = ca.issue("printer", "/CN=printer", signed=False)
    backup = ca.issue("backup", "/O=Example/CN=backup")
    forged = ca.issue("forged", "/O=Example/CN=backup", [ALICE], signed=False)
    stranger = ca.issue("stranger", "/CN=stranger")
    s = auth_server(
        place,
        {
            "certificate_email": True,
            "certificates": [
                {"user": "printer", "fingerprint": ca.fingerprint(printer[0])},
                {"user": "backup@example.org", "subject": "CN=backup,O=Example"},
            ],
            "senders": [{"user": "printer", "addresses": "printer@example.org"}],
        },
        listen=[{"role": "submission", "client_certificates": {"ca": str(ca.cert)}}],
    )
    s.start()
    for pair in (None, forged, stranger):
        with CertifiedUser(s, pair) as c:
            assert "EXTERNAL" not in offered(c.greeting) and "PLAIN" in offered(c.greeting)
            assert c.command("AUTH EXTERNAL =")[0] == 504
    for pair, name, address in (
        (alice, "", ALICE),
        (alice, "alias@example.org", "alias@example.org"),
        (printer, "", "printer@example.org"),
        (printer, "PRINTER", "printer@example.org"),
        (backup, "", "backup@example.org"),
    ):
        with CertifiedUser(s, pair) as c:
            assert "EXTERNAL" in offered(c.greeting)
            assert c.command("AUTH EXTERNAL " + b64("somebody@example.org"))[0] == 535
            assert c.command("AUTH EXTERNAL " + (b64(name) or "="))[0] == 235
            c.expect(553, "MAIL FROM:<other@example.org>")
            c.send_message(address, ["bob@example.org"])
    with CertifiedUser(s, alice) as c:
        assert c.challenge("AUTH EXTERNAL") == b""
        c.expect(235, "")


def test_a_certificate_is_not_that_of_the_client_whom_xclient_names(place):
    ca = Authority(place.tmp)
    s = auth_server(
        place,
        {"certificate_email": True},
        listen=[{"role": "submission", "client_certificates": {"ca": str(ca.cert)}, "xclient": ["127.0.0.1"]}],
    )
    s.start()
    with CertifiedUser(s, ca.issue("filter", "/CN=filter", [ALICE])) as c:
        assert "EXTERNAL" in offered(c.greeting)
        c.expect(220, "XCLIENT ADDR=203.0.113.9")
        assert "EXTERNAL" not in offered(c.expect(250, "EHLO client.example"))
        c.expect(504, "AUTH EXTERNAL =")


# --- the configuration -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "auth, why",
    [
        ({"backends": []}, "needs backends"),
        ({"backends": [{"file": "x", "dovecot": "y"}]}, "each is one of"),
        ({"backends": [{}]}, "each is one of"),
        ({"backends": [{"sqlite": "x"}]}, "needs a query"),
        ({"backends": [{"sqlite": "x", "query": "SELECT 1"}]}, "has no $1"),
        ({"backends": [{"file": "x", "query": "SELECT $1"}]}, "only a database"),
        ({"backends": [{"file": "x"}], "mechanisms": ["CRAM-MD5"]}, "none of the backends can do"),
        ({"backends": [{"file": "x"}], "mechanisms": ["FOO"]}, "not known"),
        ({"backends": [{"dovecot": "x"}], "mechanisms": ["SCRAM-SHA-256"]}, "none of the backends can do"),
        ({"backends": [{"file": "x"}], "oauth": {"introspection": "http://sso.example.org/"}}, "begins with https://"),
        ({"oauth": {"scope": "x"}}, "needs introspection"),
        ({"certificates": [{"user": "a"}]}, "each has one of"),
        ({"certificates": [{"user": "a", "subject": "CN=a", "name": "dns:a"}]}, "each has one of"),
        ({"backends": [{"file": "x"}], "oauth": {"introspection": "https://x/", "client_secret_file": "none"}}, "cannot read"),
    ],
)
def test_mistakes_in_the_configuration(place, auth, why):
    s = place.mx(tls=place.certificate(), auth=auth, start=False)
    r = s.command("check", check=False)
    assert r.returncode == 1 and why in r.stderr, r.stderr


@pytest.mark.parametrize(
    "listen, auth, tls, why",
    [
        ({"role": "mx", "auth": True}, None, True, "says who the users are"),
        ({"role": "lmtp", "auth": True}, {"backends": [{"file": "x"}]}, True, "nobody logs in by LMTP"),
        ({"role": "mx", "auth": True}, {"backends": [{"file": "x"}]}, False, "needs tls.certificate"),
        ({"role": "mx", "auth_without_tls": True}, {"backends": [{"file": "x"}]}, True, "means nothing"),
        ({"role": "mx", "auth": "maybe"}, {"backends": [{"file": "x"}]}, True, "true or false"),
    ],
)
def test_mistakes_in_listeners(place, listen, auth, tls, why):
    s = place.mx(
        tls=place.certificate() if tls else None, auth=auth, listen=[{"address": "127.0.0.1:2525", **listen}], start=False
    )
    r = s.command("check", check=False)
    assert r.returncode == 1 and why in r.stderr, r.stderr
