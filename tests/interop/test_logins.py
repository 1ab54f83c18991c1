"""Mail programs that people use log in and send; Dovecot and PostgreSQL as what they are asked about."""

import grp
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

import debian_packages
import harness
from harness import arrived, wait_for
from logins import ALICE, PASSWORD, User, auth_server, crypt_hash
from sasl import b64

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="module")
def server(shared):
    s = auth_server(shared, {"failures_per_address": 0, "failures_per_account": 0})
    s.start()
    return s


def run(words, status=0, **options):
    r = subprocess.run([str(w) for w in words], capture_output=True, text=True, timeout=60 * harness.SLOW, **options)
    assert (r.returncode == 0) == (status == 0), f"{words}: status {r.returncode}\n{r.stdout}{r.stderr}"
    return r.stdout + r.stderr


def needs(program):
    return pytest.mark.skipif(not shutil.which(program), reason=f"{program} is not installed")


def send_by(mechanism, program):
    return f"{mechanism} by {program}"


# --- programs ----------------------------------------------------------------------------------------------------------


@needs("swaks")
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
@pytest.mark.parametrize("tls", ["--tls", "--tls-on-connect"])
def test_swaks(server, mechanism, tls):
    subject = send_by(mechanism + tls, "swaks")
    port = server.implicit_port if "connect" in tls else server.port

    def swaks(password, status):
        return run(
            ["swaks", "--server", f"127.0.0.1:{port}", tls, "--auth", mechanism, "--auth-user", ALICE, "--auth-password", password]
            + ["--from", ALICE, "--to", "bob@example.org", "--header", f"Subject: {subject}"],
            status,
        )

    assert "5.7.8" in swaks("wrong", 1)
    swaks(PASSWORD, 0)
    assert b"with ESMTPSA" in arrived(server, "bob", subject.encode())


@needs("msmtp")
@pytest.mark.parametrize("mechanism", ["plain", "login", "scram-sha-1", "scram-sha-256"])
def test_msmtp(server, mechanism, tmp_path):
    subject = send_by(mechanism, "msmtp")
    common = ["msmtp", "-C", "/dev/null", "--host=127.0.0.1", f"--port={server.port}", "--tls=on", "--tls-certcheck=off"]
    common += [f"--auth={mechanism}", f"--user={ALICE}", f"--from={ALICE}"]

    def msmtp(password, status):
        secret = tmp_path / "secret"
        secret.write_text(password)
        return run(
            [*common, f"--passwordeval=cat {secret}", "bob@example.org"], status, input=f"Subject: {subject}\n\nhello\n"
        )

    msmtp("wrong", 1)
    msmtp(PASSWORD, 0)
    assert b"with ESMTPSA" in arrived(server, "bob", subject.encode())


@needs("curl")
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_curl(server, mechanism, tmp_path):
    subject = send_by(mechanism, "curl")
    mail = tmp_path / "mail"
    mail.write_text(f"Subject: {subject}\r\n\r\nhello\r\n")

    def curl(password, status):
        return run(
            ["curl", "-sS", "-k", "--ssl-reqd", f"smtp://127.0.0.1:{server.port}", "--login-options", f"AUTH={mechanism}"]
            + ["--user", f"{ALICE}:{password}", "--mail-from", ALICE, "--mail-rcpt", "bob@example.org", "-T", mail],
            status,
        )

    curl("wrong", 1)
    curl(PASSWORD, 0)
    assert b"with ESMTPSA" in arrived(server, "bob", subject.encode())


@pytest.fixture(scope="module")
def nodemailer():
    """The directory of node_modules with nodemailer, installed by npm on first use."""
    place = debian_packages.PEERS / "nodemailer"
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("npm is not installed: nodemailer comes from there")
    if not (place / "node_modules/nodemailer").is_dir():
        place.mkdir(parents=True, exist_ok=True)
        r = subprocess.run(
            ["npm", "install", "--no-audit", "--no-fund", "--no-save", "nodemailer@6"],
            cwd=place, capture_output=True, text=True, timeout=180,
        )
        if r.returncode != 0:
            pytest.skip("npm can't install nodemailer here: " + (r.stderr.strip().splitlines() or ["?"])[-1])
    return place


NODEMAILER = """
const [port, method, user, pass, subject] = process.argv.slice(2);
require('nodemailer').createTransport({
  host: '127.0.0.1', port: Number(port), requireTLS: true, authMethod: method, auth: { user, pass },
  tls: { rejectUnauthorized: false },
}).sendMail({ from: user, to: 'bob@example.org', subject, text: 'hello' },
  (error) => { if (error) { console.error(error.message); process.exit(1); } process.exit(0); });
"""


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_nodemailer(server, nodemailer, mechanism):
    subject = send_by(mechanism, "nodemailer")
    script = nodemailer / "send.js"
    script.write_text(NODEMAILER)
    words = ["node", script, server.port, mechanism, ALICE]
    assert "5.7.8" in run([*words, "wrong", subject], 1, cwd=nodemailer)
    run([*words, PASSWORD, subject], cwd=nodemailer)
    assert b"with ESMTPSA" in arrived(server, "bob", subject.encode())


@needs("gsasl")
@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN"])
def test_gsasl(server, mechanism):
    """GNU SASL's own program, which binds to TLS 1.3 by tls-exporter."""
    words = ["gsasl", "--smtp", "--connect", f"127.0.0.1:{server.port}", "--x509-ca-file=", "--authentication-id", ALICE]
    words += ["--authorization-id", "", "--mechanism", mechanism, "--password", PASSWORD, "--quiet"]
    if "PLUS" not in mechanism:
        words.append("--no-cb")  # else it says that it was denied a binding that it could make, and is refused
    assert "235 2.7.0" in run(words, input="", env={**os.environ, "LC_ALL": "C.UTF-8"})
    wait_for(lambda: f"mechanism={mechanism}" in server.log().split("a user logged in")[-1], what="the login")


# --- Dovecot -----------------------------------------------------------------------------------------------------------


class Dovecot:
    """Dovecot's auth service alone, with a configuration of its own."""

    def __init__(self, users):
        self.dir = Path(tempfile.mkdtemp(prefix="dovecot-"))
        self.dir.chmod(0o755)
        self.socket = self.dir / "auth-yizhan"
        (self.dir / "users").write_text(users)
        (self.dir / "run").mkdir()
        me = pwd.getpwuid(os.getuid()).pw_name
        nobody = "nobody" if os.getuid() == 0 else me
        group = "nogroup" if os.getuid() == 0 else grp.getgrgid(os.getgid()).gr_name
        (self.dir / "dovecot.conf").write_text(
            f"""
base_dir = {self.dir}/run
state_dir = {self.dir}/run
auth_mechanisms = plain login
protocols =
log_path = {self.dir}/log
ssl = no
default_internal_user = {nobody}
default_internal_group = {group}
default_login_user = {nobody}
auth_failure_delay = 0
passdb {{
  driver = passwd-file
  args = {self.dir}/users
}}
userdb {{
  driver = static
  args = uid={os.getuid()} gid={os.getgid()} home=/tmp
}}
service auth {{
  chroot =
  user = {me}
  unix_listener {self.socket} {{
    mode = 0666
  }}
}}
service stats {{
  chroot =
}}
service anvil {{
  chroot =
}}
"""
        )
        self.process = subprocess.Popen(
            [shutil.which("dovecot"), "-F", "-c", self.dir / "dovecot.conf"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        wait_for(self._is_open, what="the start of Dovecot")

    def _is_open(self):
        if self.process.poll() is not None:
            log = self.dir / "log"
            raise AssertionError("Dovecot ended: " + self.process.stdout.read() + (log.read_text() if log.exists() else ""))
        return self.socket.exists()

    def close(self):
        self.process.terminate()
        self.process.wait(10)
        shutil.rmtree(self.dir, ignore_errors=True)


@needs("dovecot")
def test_dovecot_says_who_may(place):
    users = f"alice@example.org:{{SHA512-CRYPT}}{crypt_hash('$6$', 'open sesame')}\nbob:{{PLAIN}}tab\there\n"
    dovecot = Dovecot(users)
    place.things.append(dovecot)
    s = auth_server(place, {"backends": [{"dovecot": str(dovecot.socket)}]}, users=False)
    s.start()
    with User(s) as c:
        assert c.plain(ALICE, "wrong")[0] == 535
        assert c.plain("nobody@example.org", "open sesame")[0] == 535
        assert c.plain(ALICE, "open sesame")[0] == 235
        c.send_message(ALICE, ["bob@example.org"])
    # Many at the same time: each has a connection of its own.
    clients = [User(s) for _ in range(10)]
    for c in clients:
        c.send("AUTH PLAIN " + b64(f"\0{ALICE}\0open sesame") + "\r\n")
    assert [c.reply()[0] for c in clients] == [235] * 10
    for c in clients:
        c.close()
    dovecot.process.terminate()
    dovecot.process.wait(10)
    with User(s) as c:
        assert c.plain(ALICE, "open sesame")[0] == 454


# --- PostgreSQL --------------------------------------------------------------------------------------------------------


class PostgreSQL:
    """A cluster of its own, as a user that is not root (it refuses that)."""

    def __init__(self, programs):
        self.dir = Path(tempfile.mkdtemp(prefix="postgresql-"))
        self.user = pwd.getpwuid(os.getuid()).pw_name
        self.options = {}
        if os.getuid() == 0:
            self.user = "postgres" if any(u.pw_name == "postgres" for u in pwd.getpwall()) else "nobody"
            os.chown(self.dir, pwd.getpwnam(self.user).pw_uid, -1)
            self.options = {"user": self.user}
        self.dir.chmod(0o755)
        run([programs / "initdb", "-D", self.dir / "data", "-A", "trust", "-U", "yizhan", "--no-sync"], cwd=self.dir, **self.options)
        self.process = subprocess.Popen(
            [programs / "postgres", "-D", self.dir / "data", "-k", self.dir, "-c", "listen_addresses=", "-c", "fsync=off"]
            + ["-c", "unix_socket_permissions=0777"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self.dir, **self.options,
        )
        self.where = f"host={self.dir} user=yizhan dbname=postgres"
        wait_for(lambda: self.sql("SELECT 1", check=False).returncode == 0, what="the start of PostgreSQL")

    def sql(self, text, check=True):
        return subprocess.run(["psql", "-q", "-c", text, self.where], check=check, capture_output=True, text=True)

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(2)  # fast shutdown
            self.process.wait(20)

    def close(self):
        self.stop()
        shutil.rmtree(self.dir, ignore_errors=True)


@pytest.fixture
def postgresql(place):
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin")) if Path("/usr/lib/postgresql").is_dir() else []
    if not found or not shutil.which("psql"):
        pytest.skip("PostgreSQL is not installed")
    p = PostgreSQL(found[-1])
    place.things.append(p)
    return p


def test_users_in_postgresql(place, postgresql):
    s = auth_server(
        place,
        {
            "backends": [
                {
                    "postgresql": postgresql.where,
                    "query": "SELECT password, addresses, login AS name FROM accounts WHERE lower(login) = $1 AND active",
                    "timeout": "2s",
                }
            ],
            "mechanisms": ["PLAIN", "LOGIN", "SCRAM-SHA-256"],
            "failures_per_address": 0,
        },
    )
    verifiers = (s.dir / "users").read_text().split(":", 1)[1].strip()
    postgresql.sql("CREATE TABLE accounts (login text, password text, addresses text, active bool)")
    postgresql.sql(f"INSERT INTO accounts VALUES ('Alice@example.org', '{verifiers}', 'alice@example.org', true)")
    postgresql.sql(f"INSERT INTO accounts VALUES ('gone@example.org', '{verifiers}', NULL, false)")
    s.start()
    with User(s) as c:
        assert c.plain(ALICE, "wrong")[0] == 535
        for name in ("gone@example.org", "nobody", "x' OR 'a'='a", "'; DROP TABLE accounts; --"):
            assert c.plain(name, PASSWORD)[0] == 535
        assert c.scram("SCRAM-SHA-256")[0] == 235
        c.send_message(ALICE, ["bob@example.org"])
    assert "user=Alice@example.org" in s.log()
    postgresql.stop()
    with User(s) as c:
        assert c.plain()[0] == 454
    wait_for(lambda: "PostgreSQL database" in s.log(), what="the line in the log")


def test_a_slow_postgresql_does_not_hold_up_others(place, postgresql):
    query = "SELECT NULL::text AS password FROM (SELECT pg_sleep(30), $1::text) AS x"
    s = auth_server(place, {"backends": [{"postgresql": postgresql.where, "query": query, "timeout": "1s"}]})
    s.start()
    with User(s) as c, harness.Client(s.address, s.mx_port) as other:
        other.hello()
        began = time.monotonic()
        c.send("AUTH PLAIN " + b64(f"\0{ALICE}\0x") + "\r\n")
        other.expect(250, "NOOP")
        assert time.monotonic() - began < 0.5 * harness.SLOW
        assert c.reply()[0] == 454
        assert time.monotonic() - began < 5 * harness.SLOW
