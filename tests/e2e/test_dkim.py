"""`yizhan dkim`: keys made, and compared with what the DNS has."""

import json
import os
import re
import stat
import subprocess

import pytest

import harness
from harness import PROGRAM


def run(here, *words):
    return subprocess.run(
        [*PROGRAM, "dkim", *map(str, words)], capture_output=True, text=True, timeout=60 * harness.SLOW, cwd=here
    )


def configuration(here, keys, more=""):
    lines = "".join(f"        - {{{k}}}\n" for k in keys)
    (here / "zone").touch()
    (here / "y.yaml").write_text(
        f"hostname: mx.example.org\nspool: {here}/spool\ndns: {{zone: {here}/zone}}\n"
        f"identity:\n  sign:\n    - domain: example.org\n      keys:\n{lines}{more}"
    )


def rows(here, *words):
    r = run(here, "check", "-c", "y.yaml", "--json", *words)
    return r.returncode, {(x["domain"], x["selector"]): x for x in json.loads(r.stdout)}


def test_a_key_is_made_published_and_found(tmp_path):
    made = {}
    for kind, selector in (("rsa", "r1"), ("ed25519", "e1")):
        r = run(tmp_path, "keygen", "Example.ORG", "--type", kind, "--selector", selector, "--json")
        assert r.returncode == 0, r.stderr
        made[selector] = json.loads(r.stdout)
        path = tmp_path / f"example.org.{selector}.pem"
        assert made[selector]["file"] == str(path)
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        assert "PRIVATE" not in r.stdout
    configuration(tmp_path, ["selector: r1, file: example.org.r1.pem", "selector: e1, file: example.org.e1.pem"])
    (tmp_path / "zone").write_text(made["e1"]["zone"])
    status, found = rows(tmp_path, "example.org")
    assert status == 1
    assert found["example.org", "e1"]["result"] == "same"
    assert found["example.org", "r1"]["result"] == "missing" and found["example.org", "r1"]["bits"] == 2048
    # What it says is to be published is what mends it.
    (tmp_path / "zone").write_text(made["e1"]["zone"] + found["example.org", "r1"]["publish"])
    assert rows(tmp_path)[0] == 0
    assert made["r1"]["zone"] == found["example.org", "r1"]["publish"]


def test_the_strings_of_a_record_have_at_most_255_octets(tmp_path):
    r = run(tmp_path, "keygen", "example.org", "--bits", "4096", "--output", "k")
    strings = re.findall(r'"([^"]*)"', r.stdout)
    assert len(strings) >= 3 and all(len(s) <= 255 for s in strings)
    assert "".join(strings).startswith("v=DKIM1; k=rsa; p=")
    der = subprocess.run(["openssl", "pkey", "-in", tmp_path / "k", "-pubout"], capture_output=True, text=True).stdout
    assert "".join(der.splitlines()[1:-1]) == "".join(strings).split("p=")[1]


def test_a_file_is_never_overwritten(tmp_path):
    (tmp_path / "k").write_text("precious")
    r = run(tmp_path, "keygen", "example.org", "--output", "k")
    assert r.returncode == 1 and "never overwritten" in r.stderr and r.stdout == ""
    assert (tmp_path / "k").read_text() == "precious"
    r = run(tmp_path, "keygen", "example.org", "--output", "no/such/place")
    assert r.returncode == 1 and "No such file" in r.stderr


def test_what_can_be_wrong_with_a_record(tmp_path):
    keys = {}
    for s in ("same", "other", "revoked", "test", "gone", "old", "slow"):
        keys[s] = json.loads(run(tmp_path, "keygen", "example.org", "--type", "ed25519", "--selector", s, "--json").stdout)
    configuration(
        tmp_path,
        [f"selector: {s}, file: example.org.{s}.pem" for s in keys if s != "old"]
        + ["selector: old, file: example.org.old.pem, end: 2020-01-01"],
        "  seal: {domain: example.org, selector: same, file: example.org.same.pem}\n",
    )
    name = "{}._domainkey.example.org. TXT \"{}\"\n"
    (tmp_path / "zone").write_text(
        keys["same"]["zone"]
        + name.format("other", keys["same"]["record"])
        + name.format("revoked", "v=DKIM1; p=")
        + name.format("test", keys["test"]["record"] + "; t=y")
        + "; TIMEOUT slow._domainkey.example.org\n"
    )
    status, found = rows(tmp_path)
    assert status == 1
    assert {s: x["result"] for (_, s), x in found.items()} == {
        "same": "same", "other": "other key", "revoked": "revoked", "test": "same", "gone": "missing", "old": "missing",
        "slow": "unknown",
    }  # fmt: skip
    assert found["example.org", "test"]["testing"] and not found["example.org", "same"]["testing"]
    assert found["example.org", "old"]["use"] == "retired" and found["example.org", "same"]["use"] == "seals"
    assert "publish" not in found["example.org", "old"]
    text = run(tmp_path, "check", "example.org", "-c", "y.yaml").stdout
    assert text.count(keys["other"]["record"]) == 1 and keys["old"]["record"] not in text


def test_a_key_that_everybody_may_read_is_a_warning(tmp_path):
    run(tmp_path, "keygen", "example.org", "--type", "ed25519", "--output", "k")
    os.chmod(tmp_path / "k", 0o644)
    configuration(tmp_path, ["selector: a, file: k"])
    r = subprocess.run([*PROGRAM, "check", "-c", "y.yaml"], capture_output=True, text=True, cwd=tmp_path)
    assert r.returncode == 0 and "y.yaml:8:31: file: everybody on this machine may read" in r.stderr
    (tmp_path / "k").write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    r = subprocess.run([*PROGRAM, "check", "-c", "y.yaml"], capture_output=True, text=True, cwd=tmp_path)
    assert r.returncode == 1 and "y.yaml:8:31: file: there is no private key in" in r.stderr and "AAAA" not in r.stderr


@pytest.mark.parametrize(
    "words",
    [
        [], ["frobnicate"], ["keygen"], ["keygen", "a b"], ["keygen", "a.example", "b.example"], ["keygen", "a.example", "--bits", "1024"],
        ["keygen", "a.example", "--type", "dsa"], ["keygen", "a.example", "--selector", "a_b"], ["keygen", "a.example", "--zone", "z"],
        ["check", "a.example", "--selector", "s"],
    ],
)  # fmt: skip
def test_wrong_usage(tmp_path, words):
    r = run(tmp_path, *words)
    assert r.returncode == 2 and "yizhan dkim --help" in r.stderr
    assert not list(tmp_path.iterdir())


def test_a_domain_without_keys(tmp_path):
    run(tmp_path, "keygen", "example.org", "--type", "ed25519", "--output", "k")
    configuration(tmp_path, ["selector: a, file: k"])
    (tmp_path / "zone").write_text("")
    r = run(tmp_path, "check", "example.com", "-c", "y.yaml")
    assert r.returncode == 1 and "names no key of example.com" in r.stderr
