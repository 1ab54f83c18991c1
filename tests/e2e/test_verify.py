"""`yizhan verify`: the verdicts on a message on disk, with a zone file as all the DNS there is."""

import json
import subprocess

import pytest

import harness
from harness import PROGRAM

# RFC 8463 appendix A: one message, two signatures.
MESSAGE = """\
DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=brisbane; t=1528637909; h=from : to :
 subject : date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus
 Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==
DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=test; t=1528637909; h=from : to : subject :
 date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3
 DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz
 dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=
From: Joe SixPack <joe@football.example.com>
To: Suzie Q <suzie@shopping.example.net>
Subject: Is dinner ready?
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)
Message-ID: <20030712040037.46341.5F8J@football.example.com>

Hi.

We lost the game.  Are you hungry yet?

Joe.
"""

ZONE = """\
brisbane._domainkey.football.example.com. TXT "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
test._domainkey.football.example.com. TXT (
 "v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWR"
 "iGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutAC"
 "DfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3"
 "Ip3G+2kryOTIKT+l/K4w3QIDAQAB")
_dmarc.example.com. TXT "v=DMARC1; p=reject; sp=quarantine"
football.example.com. TXT "v=spf1 ip4:192.0.2.0/24 exp=why.%{d} -all"
why.football.example.com. TXT "%{i} may not send for %{o}, says %{r} at %{t}"
; TIMEOUT slow.example.com
; SERVFAIL broken.example.com
"""


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    path = tmp_path_factory.mktemp("verify")
    (path / "zone").write_text(ZONE)
    (path / "message").write_text(MESSAGE)
    return path


def run(here, *words, stdin=None):
    return subprocess.run(
        [*PROGRAM, "verify", "--zone", here / "zone", *map(str, words)],
        capture_output=True,
        input=stdin,
        timeout=60 * harness.SLOW,
    )


def verify(here, *words, stdin=None):
    r = run(here, *words, stdin=stdin)
    assert r.returncode == 0, r.stderr
    return json.loads(r.stdout)


CLIENT = ["--client-ip", "192.0.2.7", "--helo", "mail.football.example.com", "--mail-from", "joe@football.example.com"]


def test_everything_about_a_message_in_its_order(here):
    r = run(here, *CLIENT, here / "message")
    assert r.returncode == 0
    assert r.stdout.decode() == (
        '{"spf":{"result":"pass","explanation":""},'
        '"dkim":[{"result":"pass","domain":"football.example.com","selector":"brisbane"},'
        '{"result":"pass","domain":"football.example.com","selector":"test"}],'
        '"arc":{"result":"none"},'
        '"dmarc":{"result":"pass","policy":"quarantine","domain":"football.example.com"}}\n'
    )


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_the_message_may_come_on_standard_input(here, ends):
    seen = verify(here, *CLIENT, "-", stdin=MESSAGE.replace("\n", ends).encode())
    assert [d["result"] for d in seen["dkim"]] == ["pass", "pass"]


def test_without_a_message_only_spf(here):
    assert verify(here, *CLIENT) == {"spf": {"result": "pass", "explanation": ""}}


def test_the_explanation_of_a_failure(here):
    words = ["--client-ip", "203.0.113.9", "--helo", "x.example", "--mail-from", "a@football.example.com"]
    seen = verify(here, *words, "--receiver", "mx.here.example", "--time", "1234567890", "--rcpt", "b@c.example")
    why = "203.0.113.9 may not send for football.example.com, says mx.here.example at 1234567890"
    assert seen == {"spf": {"result": "fail", "explanation": why}}


def test_the_null_reverse_path_means_the_name_of_helo(here):
    seen = verify(here, "--client-ip", "192.0.2.7", "--helo", "football.example.com", "--mail-from", "")
    assert seen["spf"]["result"] == "pass"


@pytest.mark.parametrize("name", ["slow", "broken"])
def test_trouble_with_the_dns_is_temporary(here, name):
    seen = verify(here, "--client-ip", "192.0.2.7", "--helo", "x.example", "--mail-from", f"a@{name}.example.com")
    assert seen["spf"]["result"] == "temperror"


def test_a_change_shows(here):
    changed = here / "changed"
    changed.write_text(MESSAGE.replace("We lost", "We won"))
    words = ["--client-ip", "203.0.113.9", "--helo", "x.example", "--mail-from", "a@football.example.com", "--reasons"]
    seen = verify(here, *words, changed)
    assert [d["result"] for d in seen["dkim"]] == ["fail", "fail"] and "body" in seen["dkim"][0]["reason"]
    assert seen["dmarc"]["result"] == "fail" and seen["dmarc"]["policy"] == "quarantine"


def test_a_message_without_signature_and_from(here):
    seen = verify(here, *CLIENT, "-", stdin=b"Subject: x\n\nbody\n")
    assert seen["dkim"] == [] and seen["dmarc"]["result"] == "permerror" and seen["arc"]["result"] == "none"


def test_a_large_message(here):
    body = b"".join(b"line %d of a large message\n" % i for i in range(400000))
    seen = verify(here, *CLIENT, "-", stdin=MESSAGE.split("\n\n")[0].encode() + b"\n\n" + body)
    assert [d["result"] for d in seen["dkim"]] == ["fail", "fail"]


STRANGE = {
    "nothing": b"",
    "a line end": b"\n",
    "NULs": b"\0" * 5000,
    "not UTF-8": b"From: \xff\xfe\nDKIM-Signature: d=\xff; s=\xfe\n\n",
    "one long line": b"x" * 3000000,
}


@pytest.mark.parametrize("text", STRANGE.values(), ids=STRANGE)
def test_any_bytes_get_a_verdict(here, text):
    seen = verify(here, *CLIENT, "--reasons", "-", stdin=text)
    assert all(d["result"] in ("permerror", "neutral", "fail") for d in seen["dkim"])


def test_what_can_not_be_read(here):
    r = run(here, *CLIENT, here / "nothing")
    assert r.returncode == 1 and b"nothing" in r.stderr
    r = subprocess.run([*PROGRAM, "verify", "--zone", here / "nothing", *CLIENT], capture_output=True, timeout=60)
    assert r.returncode == 1 and b"nothing" in r.stderr


def test_wrong_usage(here):
    for words in (["--client-ip", "1.2.3", "-"], ["--time", "x", "-"], ["a", "b"], [], ["--frobnicate"]):
        assert run(here, *words).returncode == 2
