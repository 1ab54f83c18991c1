"""swaks, the tool that administrators paste into their terminals."""

import shutil
import subprocess

import pytest

import harness
from harness import wait_for

pytestmark = pytest.mark.skipif(not shutil.which("swaks"), reason="swaks is not installed")


@pytest.fixture(scope="module")
def mx(shared):
    return shared.mx(tls=shared.certificate(), dns={"reverse_lookup": False})


def swaks(server, *options, status=0):
    r = subprocess.run(
        [
            "swaks",
            "--server",
            f"127.0.0.1:{server.port}",
            "--from",
            "alice@client.example",
            "--to",
            "bob@example.org",
            "--timeout",
            "20",
            *options,
        ],
        capture_output=True,
        text=True,
        timeout=60 * harness.SLOW,
    )
    assert r.returncode == status, r.stdout + r.stderr
    return r.stdout


def arrived(server, needle):
    return wait_for(
        lambda: next((m for m in server.maildir("example.org", "bob") if needle in m), None),
        what=f"the arrival of {needle!r}",
    )


def test_a_message(mx):
    out = swaks(mx, "--header", "Subject: plain swaks", "--body", "hello\n.\n..\nend")
    assert "queued as" in out
    assert b"\n.\n..\nend\n" in arrived(mx, b"plain swaks")


def test_with_tls(mx):
    out = swaks(mx, "--tls", "--header", "Subject: swaks with tls")
    assert "TLS started" in out
    assert b"with ESMTPS" in arrived(mx, b"swaks with tls")


def test_with_helo(mx):
    swaks(mx, "--protocol", "SMTP", "--header", "Subject: swaks with helo")
    assert b"with SMTP " in arrived(mx, b"swaks with helo").replace(b"\n", b" ")


def test_with_pipelining(mx):
    swaks(
        mx,
        "--pipeline",
        "--to",
        "bob@example.org,carol@example.org,dave@example.org",
        "--header",
        "Subject: swaks pipelining",
    )
    arrived(mx, b"swaks pipelining")


def test_with_tls_and_pipelining(mx):
    swaks(mx, "--tls", "--pipeline", "--header", "Subject: swaks both")
    arrived(mx, b"swaks both")


def test_an_attachment(mx, tmp_path):
    data = tmp_path / "data.bin"
    data.write_bytes(bytes(range(256)) * 4000)
    swaks(mx, "--attach", f"@{data}", "--header", "Subject: swaks attachment")
    mail = harness.header_of(arrived(mx, b"swaks attachment"))
    assert any(
        part.get_payload(decode=True) == data.read_bytes() for part in mail.walk() if part.get_filename() == "data.bin"
    )


def test_refusals_show_in_the_exit_status(mx):
    assert "550" in swaks(mx, "--to", "bob@elsewhere.example", status=24)


@pytest.mark.parametrize("stage", ["connect", "banner", "ehlo", "tls", "mail", "rcpt", "data"])
@pytest.mark.parametrize("how", ["--quit-after", "--drop-after"])
def test_leaving_at_any_step_harms_nothing(mx, stage, how):
    options = ["--tls"] if stage == "tls" else []
    if how == "--quit-after" and stage == "data":
        stage = "rcpt"
    subprocess.run(
        [
            "swaks",
            "--server",
            f"127.0.0.1:{mx.port}",
            "--from",
            "a@client.example",
            "--to",
            "bob@example.org",
            how,
            stage,
            *options,
        ],
        capture_output=True,
        timeout=60 * harness.SLOW,
    )
    swaks(mx, "--quit-after", "rcpt")


def test_lmtp(shared):
    port = harness.free_port()
    server = shared.mx(port=port, listen=[{"address": [f"127.0.0.1:{port}"], "role": "lmtp"}])
    swaks(server, "--protocol", "LMTP", "--header", "Subject: swaks lmtp", "--to", "bob@example.org,carol@example.org")
    assert b"with LMTP" in arrived(server, b"swaks lmtp")
