"""The way in: certificates by name, their renewal, tickets, and the certificates of clients. openssl is the client."""

import re
import shutil
import subprocess
import time

import pytest

import harness
from harness import arrived, wait_for


class Authority:
    """A CA of the test's own, and what it signs."""

    def __init__(self, directory, name="ca"):
        self.dir, self.name = directory, name
        self.certificate, self.key = directory / f"{name}.crt", directory / f"{name}.key"
        self.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30",
                     "-subj", f"/CN={name}", "-keyout", self.key, "-out", self.certificate)  # fmt: skip

    def openssl(self, *words):
        return subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True, text=True)

    def sign(self, file, subject, names="", kind="ec", days=10):
        """Returns (certificate, key); names as in a subjectAltName."""
        cert, key, request = (self.dir / f"{file}.{e}" for e in ("crt", "key", "csr"))
        new = ["-newkey", "rsa:2048"] if kind == "rsa" else ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
        extension = ["-addext", f"subjectAltName={names}"] if names else []
        self.openssl("req", *new, "-nodes", "-subj", subject, *extension, "-keyout", key, "-out", request)
        self.openssl("x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self.key, "-days", days,
                     "-copy_extensions", "copy", "-out", cert)  # fmt: skip
        return cert, key


def pair(files, **more):
    return {"certificate": str(files[0]), "key": str(files[1]), **more}


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


def s_client(port, *words, address="127.0.0.1", implicit=False, text=b"NOOP\r\nQUIT\r\n"):
    """What `openssl s_client` prints, and its exit status."""
    r = subprocess.run(
        ["openssl", "s_client", "-connect", f"{address}:{port}", *([] if implicit else ["-starttls", "smtp"]), "-ign_eof", *map(str, words)],
        input=text,
        capture_output=True,
        timeout=30 * harness.SLOW,
    )
    return (r.stdout + r.stderr).decode(errors="replace"), r.returncode


def shown(port, *words, **options):
    """The common name of the certificate that is shown, and the kind of its key."""
    text, _ = s_client(port, *words, **options)
    subject = re.search(r"^subject=.*?CN ?= ?(\S+)", text, re.M)
    kind = re.search(r"^Peer signature type: (\S+)|^Server public key is (\d+)", text, re.M)
    assert subject, text
    return subject.group(1), "rsa" if "RSA" in (kind.group(0) or "").upper() else "ec"


# --- names -------------------------------------------------------------------------------------------------------------


def test_the_name_that_the_client_asks_for_chooses_the_certificate(place, authority):
    server = place.mx(
        tls={
            **pair(authority.sign("mx", "/CN=default", "DNS:mx.example.org")),
            "certificates": [
                pair(authority.sign("rsa", "/CN=old", "DNS:mx.example.org", kind="rsa")),
                pair(authority.sign("net", "/CN=wild", "DNS:*.example.net")),
                pair(authority.sign("com", "/CN=given"), names=["mail.example.com"]),
            ],
        }
    )
    assert shown(server.port, "-servername", "mx.example.org") == ("default", "ec")
    assert shown(server.port, "-noservername") == ("default", "ec")
    assert shown(server.port, "-servername", "nobody.example") == ("default", "ec")
    assert shown(server.port, "-servername", "a.example.net") == ("wild", "ec")
    assert shown(server.port, "-servername", "mail.example.com") == ("given", "ec")
    # RSA and ECDSA side by side: a client that knows only RSA gets that one.
    for name in ("-noservername",), ("-servername", "mx.example.org"):
        assert shown(server.port, *name, "-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256") == ("old", "rsa")
        assert shown(server.port, *name, "-tls1_3", "-sigalgs", "rsa_pss_rsae_sha256") == ("old", "rsa")
    text, _ = s_client(server.port, "-servername", "a.example.net", "-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256")
    wait_for(lambda: "no shared cipher" in server.log() or "no cipher in common" in server.log(), what=f"the line in the log:\n{text}")


def test_old_versions_and_ciphers_without_forward_secrecy_are_refused(place, authority):
    server = place.mx(tls=authority.sign("rsa", "/CN=old", "DNS:mx.example.org", kind="rsa"))
    for words in (
        ("-tls1_1", "-cipher", "ALL:@SECLEVEL=0"),
        ("-tls1_2", "-cipher", "AES128-GCM-SHA256"),
        ("-tls1_2", "-cipher", "ALL:aNULL:@SECLEVEL=0:!kECDHE"),
    ):
        text, status = s_client(server.port, *words)
        assert status != 0 and "Cipher is (NONE)" in text, text
    for version in ("-tls1_2", "-tls1_3"):
        text, status = s_client(server.port, version)
        assert status == 0 and "Cipher is (NONE)" not in text, text


def test_a_browser_that_was_sent_here_gets_no_handshake(place, authority):
    port = harness.free_port()
    server = place.mx(
        tls=authority.sign("mx", "/CN=mx"), port=port, listen=[{"address": [f"127.0.0.1:{port}"], "tls": "implicit"}]
    )  # fmt: skip
    server.port = port
    text, status = s_client(port, "-alpn", "h2,http/1.1", implicit=True)
    assert status != 0 and "no application protocol" in text, text
    text, status = s_client(port, "-alpn", "smtp,h2", implicit=True)
    assert status == 0, text


# --- renewal -----------------------------------------------------------------------------------------------------------


def serial(port):
    text, _ = s_client(port, "-showcerts")
    pem = re.search(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", text, re.S)
    assert pem, text
    return pem.group(0)


def test_renewed_certificates_are_used_without_a_restart(place, authority):
    server = place.mx(tls={**pair(authority.sign("mx", "/CN=mx")), "check_files": "100ms"})
    before = serial(server.port)
    with server.client() as held:
        held.hello()
        authority.sign("mx", "/CN=mx")
        wait_for(lambda: serial(server.port) != before, what="the renewed certificate")
        held.starttls()  # a session that was there before goes on with what it began with
        held.expect(250, "EHLO client.example")
    wait_for(lambda: "renewed certificates are in use" in server.log(), what="the line in the log")


def test_a_broken_renewal_is_refused_with_one_line_and_the_old_stays(place, authority):
    cert, key = authority.sign("mx", "/CN=mx")
    server = place.mx(tls={**pair((cert, key)), "check_files": "50ms"})
    before = serial(server.port)
    other, _ = authority.sign("other", "/CN=other")
    shutil.copy(other, cert)  # and its key is not there yet
    wait_for(lambda: "the old one stays" in server.log(), what="the line in the log")
    assert serial(server.port) == before
    time.sleep(0.4)  # for some more looks at the files
    assert server.log().count("the old one stays") == 1
    assert "the key does not belong to the certificate" in server.log()
    shutil.copy(authority.dir / "other.key", key)
    wait_for(lambda: serial(server.port) != before, what="the renewed certificate")
    wait_for(lambda: "renewed certificates are in use" in server.log(), what="the line in the log")


def test_a_hangup_reads_the_certificates_again(place, authority):
    server = place.mx(tls=authority.sign("mx", "/CN=mx"))
    before = serial(server.port)
    authority.sign("mx", "/CN=mx")
    server.hangup()
    wait_for(lambda: serial(server.port) != before, what="the renewed certificate")


# --- tickets -----------------------------------------------------------------------------------------------------------


def listeners(place, authority, *listen, **options):
    """A server with these listeners (without their address); returns it and the ports."""
    ports = [harness.free_port() for _ in listen]
    tls = authority.sign("server", "/CN=mx.example.org", "DNS:mx.example.org")
    server = place.mx(
        tls=tls,
        port=ports[0],
        listen=[{"address": [f"127.0.0.1:{p}"], **what} for p, what in zip(ports, listen)],
        **options,
    )
    return server, ports


def resumed(port, tmp_path, version):
    ticket = tmp_path / f"ticket-{port}{version}"
    s_client(port, version, "-sess_out", ticket)
    if not ticket.exists():
        return None
    return "Reused, " in s_client(port, version, "-sess_in", ticket)[0]


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_tickets_are_for_submission_and_where_they_are_asked_for(place, authority, version):
    server, (mx, submission, asked, never) = listeners(
        place,
        authority,
        {"role": "mx"},
        {"role": "submission"},
        {"role": "mx", "session_tickets": True},
        {"role": "submission", "session_tickets": False},
    )
    assert not resumed(mx, authority.dir, version)
    assert resumed(submission, authority.dir, version)
    assert resumed(asked, authority.dir, version)
    assert not resumed(never, authority.dir, version)
    text, _ = s_client(mx, version)
    assert "TLS session ticket:" not in text, text


# --- the certificates of clients ---------------------------------------------------------------------------------------

LETTER = b"EHLO client.example\r\nMAIL FROM:<a@client.example>\r\nRCPT TO:<alice@example.org>\r\nDATA\r\n"


def send_with(port, subject, *words):
    """Sends a letter through s_client."""
    process = subprocess.Popen(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-starttls", "smtp", "-quiet", *map(str, words)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )

    def until(code):
        said = b""
        while not re.search(rb"^" + code + rb" ", said, re.M):
            line = process.stdout.readline()
            assert line, said
            said += line
        return said

    until(b"250")  # s_client has said EHLO itself, before STARTTLS
    accepted = None
    for command, code in (
        (b"EHLO client.example", b"250"),
        (b"MAIL FROM:<a@client.example>", b"250 2.1.0"),
        (b"RCPT TO:<alice@example.org>", b"250 2.1.5"),
        (b"DATA", b"354"),
        (b"Subject: %s\r\n\r\nx\r\n." % subject.encode(), b"250 2.0.0"),
        (b"QUIT", b"221"),
    ):
        process.stdin.write(command + b"\r\n")
        process.stdin.flush()
        said = until(code)
        accepted = re.search(rb"queued as (\S+)", said) or accepted
    process.stdin.close()
    process.wait(20)
    return accepted.group(1).decode()


def fingerprint(certificate):
    out = subprocess.run(
        ["openssl", "x509", "-in", str(certificate), "-noout", "-fingerprint", "-sha256"], capture_output=True, text=True, check=True
    ).stdout
    return out.split("=")[1].strip().replace(":", "").lower()


def test_a_client_certificate_is_asked_for_where_configured_and_shows_in_trace_and_message(place, authority):
    stranger = Authority(authority.dir, "stranger")
    server, (plain, asking) = listeners(
        place,
        authority,
        {"role": "mx"},
        {"role": "mx", "client_certificates": {"ca": str(authority.certificate)}},
    )
    good = authority.sign("client", "/CN=client (one)/O=Example", "DNS:client.example,email:a@client.example")
    bad = stranger.sign("bad", "/CN=bad.example")
    assert "No client certificate CA names sent" in s_client(plain)[0]
    assert "CN = ca" in s_client(asking)[0] or "CN=ca" in s_client(asking)[0]

    identity = send_with(asking, "with-good", "-cert", good[0], "-key", good[1])
    received = " ".join(harness.header_of(arrived(server, "alice", b"with-good"))["Received"].split())
    assert "(client certificate O=Example,CN=client ?one?, verified)" in received, received
    assert re.search(r"using TLSv1.3 with TLS_AES_\w+, \d+ bits, (x25519|X25519)\)", received), received
    event = next(e for e in server.events(identity) if e["event"] == "received")
    assert f"sha256 {fingerprint(good[0])} (verified)" in event["tls"] and "CN=client (one)" in event["tls"]

    identity = send_with(asking, "with-bad", "-cert", bad[0], "-key", bad[1])
    received = " ".join(harness.header_of(arrived(server, "alice", b"with-bad"))["Received"].split())
    assert "(client certificate CN=bad.example, not verified)" in received
    event = next(e for e in server.events(identity) if e["event"] == "received")
    assert f"sha256 {fingerprint(bad[0])} (not verified)" in event["tls"]

    send_with(asking, "with-none")
    assert b"client certificate" not in arrived(server, "alice", b"with-none")


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_a_client_certificate_can_be_required(place, authority, version):
    stranger = Authority(authority.dir, "stranger")
    server, (port,) = listeners(
        place,
        authority,
        {"role": "mx", "client_certificates": {"ca": str(authority.certificate), "mode": "require"}},
    )
    good = authority.sign("client", "/CN=client.example")
    bad = stranger.sign("bad", "/CN=bad.example")
    send_with(port, "let-in", version, "-cert", good[0], "-key", good[1])
    for words in ((), ("-cert", bad[0], "-key", bad[1])):
        text, _ = s_client(port, version, *words, text=LETTER)
        assert "250 2.1.0" not in text, text
    wait_for(lambda: server.log().count("TLS handshake with a client failed") == 2, what="two lines in the log")


def test_mistakes_are_named_by_check(place, authority):
    server, (port,) = listeners(place, authority, {"role": "mx"})
    text = server.config.read_text()
    for change, expected in (
        ('"role": "mx", "client_certificates": {"mode": "require"}', "needs \"ca\""),
        ('"role": "mx", "client_certificates": {"ca": "/nonexistent"}', "/nonexistent: cannot be read"),
        ('"role": "mx", "client_certificates": {"mode": "maybe"}', "one of request, require"),
    ):
        server.write_config(text.replace('"role": "mx"', change))
        r = server.command("check", check=False)
        assert r.returncode == 1 and expected in r.stdout + r.stderr, r.stdout + r.stderr
