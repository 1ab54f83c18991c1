"""Logging in to a relay that others have written: Dovecot's submission server, which knows the mechanisms and passes the mail on
to a peer."""

import json
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

import harness
from authority import Authority
from harness import wait_for
from https_forms import FormServer
from outgoing import arrival

USER, PASSWORD = "alice@example.org", "open sesame"
PROGRAM = Path("/usr/lib/dovecot/submission-login")

pytestmark = pytest.mark.skipif(
    not PROGRAM.exists() or os.getuid() != 0, reason="dovecot-submissiond is not installed, or nobody is root"
)


class Submission:
    """Dovecot as a submission server with a configuration of its own; mail goes on to 127.0.0.1:next_port. tokens: who says
    whose an access token is."""

    def __init__(self, mechanisms, pair, next_port, tokens=None):
        self.dir = Path(tempfile.mkdtemp(prefix="dovecot-submission-"))
        self.dir.chmod(0o755)
        self.port = harness.free_port()
        (self.dir / "users").write_text(f"{USER}:{{PLAIN}}{PASSWORD}\n")
        (self.dir / "run").mkdir()
        account = pwd.getpwnam("nobody")
        database = f"driver = passwd-file\n  args = {self.dir}/users"
        if tokens:
            (self.dir / "oauth2").write_text(
                f"introspection_mode = post\nintrospection_url = {tokens.url}introspect\ntls_ca_cert_file = {tokens.ca}\n"
                "username_attribute = username\nactive_attribute = active\nactive_value = true\n"
            )
            database = f"driver = oauth2\n  mechanisms = xoauth2 oauthbearer\n  args = {self.dir}/oauth2"
        (self.dir / "dovecot.conf").write_text(
            f"""
base_dir = {self.dir}/run
state_dir = {self.dir}/run
auth_mechanisms = {mechanisms.lower()}
protocols = submission
log_path = {self.dir}/log
auth_verbose = yes
listen = 127.0.0.1
ssl = required
ssl_cert = <{pair[0]}
ssl_key = <{pair[1]}
default_internal_user = nobody
default_internal_group = nogroup
default_login_user = nobody
auth_failure_delay = 0
submission_relay_host = 127.0.0.1
submission_relay_port = {next_port}
submission_relay_trusted = yes
first_valid_uid = 1
mail_location = maildir:{self.dir}/mail
passdb {{
  {database}
}}
userdb {{
  driver = static
  args = uid={account.pw_uid} gid={account.pw_gid} home={self.dir}/home
}}
service submission-login {{
  chroot =
  inet_listener submission {{
    port = {self.port}
  }}
}}
service auth {{
  chroot =
  user = root
}}
service stats {{
  chroot =
}}
service anvil {{
  chroot =
}}
"""
        )
        for folder in ("mail", "home"):
            (self.dir / folder).mkdir()
            os.chown(self.dir / folder, account.pw_uid, account.pw_gid)
        self.process = subprocess.Popen(
            [shutil.which("dovecot"), "-F", "-c", self.dir / "dovecot.conf"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        wait_for(self._greets, what="the start of Dovecot")

    def log(self):
        return (self.dir / "log").read_text() if (self.dir / "log").exists() else ""

    def _greets(self):
        if self.process.poll() is not None:
            raise AssertionError("Dovecot ended: " + self.process.stdout.read() + self.log())
        try:
            with harness.Client("127.0.0.1", self.port):
                return True
        except OSError:
            return False

    def close(self):
        self.process.terminate()
        self.process.wait(10)
        shutil.rmtree(self.dir, ignore_errors=True)


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "SCRAM-SHA-1", "SCRAM-SHA-256"])
def test_passwords_at_dovecot(place, mechanism):
    peer = place.peer()
    dovecot = Submission(mechanism, place.certificate(), peer.port)
    place.things.append(dovecot)
    secret = place.tmp / "secret"
    secret.write_text("wrong\n")
    secret.chmod(0o600)
    out = place.mx(
        relays={
            "out": {
                "hosts": [f"127.0.0.1:{dovecot.port}"],
                "tls": "required",
                "login": {"user": USER, "password_file": str(secret)},
            }
        },
        routes=[{"to": "*", "via": [{"relay": "out"}]}],
        domains=["local.example"],
    )
    identity = out.submit(USER, "bob@example.org")
    wait_for(lambda: [e for e in out.events(identity) if e["event"] == "deferred"], what="a refusal")
    event = [e for e in out.events(identity) if e["event"] == "deferred"][0]
    assert event["class"] == "auth" and "5.7.8" in event["reason"] and not peer.messages, event
    secret.write_text(PASSWORD + "\n")
    out.hangup()
    message = arrival(peer, timeout=30)
    assert b"hello" in message["data"], dovecot.log()


@pytest.mark.parametrize("mechanism", ["XOAUTH2", "OAUTHBEARER"])
def test_tokens_at_dovecot(place, mechanism):
    """The first token is none that Dovecot's friend knows; its challenge is told. The next one is."""
    good, n = "good", []

    def answer(path, form, authorization):
        if path == "/token":
            n.append(1)
            given = "bad" if len(n) == 1 else good
            return 200, json.dumps({"access_token": given, "token_type": "Bearer", "expires_in": 2}).encode()
        return 200, json.dumps({"active": form["token"] == [good], "username": USER}).encode()

    authority = Authority(place.tmp)
    tokens = FormServer(authority.issue("localhost").pair, answer)
    tokens.ca = authority.file
    place.things.append(tokens)
    peer = place.peer()
    dovecot = Submission(mechanism, place.certificate(), peer.port, tokens)
    place.things.append(dovecot)
    secret = place.tmp / "secret"
    secret.write_text("x\n")
    secret.chmod(0o600)
    oauth = {"token_url": tokens.url + "token", "client_id": "us", "client_secret_file": str(secret), "ca_file": str(tokens.ca)}
    out = place.mx(
        relays={
            "out": {
                "hosts": [f"127.0.0.1:{dovecot.port}"],
                "tls": "required",
                "login": {"user": USER, "oauth": oauth},
            }
        },
        routes=[{"to": "*", "via": [{"relay": "out"}]}],
        domains=["local.example"],
    )
    identity = out.submit(USER, "bob@example.org")
    arrival(peer, timeout=30)
    refusal = [e for e in out.events(identity) if e["event"] == "deferred"][0]
    status = {"XOAUTH2": "401", "OAUTHBEARER": "invalid_token"}[mechanism]
    assert refusal["class"] == "auth" and f"({status}" in refusal["reason"], (refusal, dovecot.log())
    assert len(n) >= 2
