"""Verdicts and signatures compared with those of dkimpy, pyspf and authres (Debian: python3-dkim, -spf, -authres)."""

import base64
import json
import os
import random
import subprocess
from pathlib import Path

import pytest

import harness
from harness import PROGRAM

PYTHON = "/usr/bin/python3"
PEER = Path(__file__).resolve().parent / "identity_peer.py"
SIGNER = Path(PROGRAM[-1]).resolve().parent / "identity_sign"
DOMAIN = "signer.example"


def missing():
    if not SIGNER.exists():
        return "build/identity_sign is not built"
    if subprocess.run([PYTHON, "-c", "import dkim, spf, authres, nacl"], capture_output=True).returncode:
        return "python3-dkim, python3-nacl, python3-spf or python3-authres is not installed"
    return None


pytestmark = pytest.mark.skipif(missing() is not None, reason=missing() or "")


def openssl(*words, **options):
    return subprocess.run(["openssl", *words], capture_output=True, check=True, **options).stdout


class Key:
    def __init__(self, place, algorithm, selector):
        self.algorithm, self.selector = algorithm, selector
        self.pem = place / f"{selector}.pem"
        kind = ["ed25519"] if algorithm.startswith("ed") else ["RSA", "-pkeyopt", "rsa_keygen_bits:2048"]
        openssl("genpkey", "-algorithm", *kind, "-out", self.pem)
        public = openssl("pkey", "-in", self.pem, "-pubout", "-outform", "DER")
        if algorithm.startswith("ed"):
            secret = openssl("pkey", "-in", self.pem, "-outform", "DER")[-32:]
            self.secret = base64.b64encode(secret).decode()
            self.record = "v=DKIM1; k=ed25519; p=" + base64.b64encode(public[-32:]).decode()
        else:
            self.secret = base64.b64encode(openssl("rsa", "-in", self.pem, "-traditional")).decode()
            self.record = "v=DKIM1; k=rsa; p=" + base64.b64encode(public).decode()


class Peers:
    def __init__(self, place):
        self.place = place
        self.keys = [Key(place, "rsa-sha256", "rsa"), Key(place, "ed25519-sha256", "ed")]
        self.zone = {f"{k.selector}._domainkey.{DOMAIN}": {"TXT": [k.record]} for k in self.keys}
        self.zone_file = place / "zone"
        lines = []
        for name, records in self.zone.items():
            text = records["TXT"][0]
            pieces = [text[i : i + 200] for i in range(0, len(text), 200)]
            lines.append(f"{name}. TXT " + " ".join(f'"{p}"' for p in pieces))
        self.zone_file.write_text("\n".join(lines) + "\n")

    def ask(self, jobs, zone=None):
        given = json.dumps({"zone": self.zone if zone is None else zone, "jobs": jobs})
        r = subprocess.run([PYTHON, str(PEER)], input=given, capture_output=True, text=True, timeout=300)
        assert r.returncode == 0, r.stderr
        return json.loads(r.stdout)

    def sign(self, mode, key, canon, message):
        words = [SIGNER, mode, key.pem, DOMAIN, key.selector, canon, self.zone_file]
        r = subprocess.run(words, input=message.encode("latin-1"), capture_output=True, timeout=60 * harness.SLOW)
        assert r.returncode == 0, r.stderr
        return r.stdout.decode("latin-1")

    def verify(self, message, zone_file=None):
        words = [*PROGRAM, "verify", "--zone", zone_file or self.zone_file, "--reasons", "-"]
        r = subprocess.run(words, input=message.encode("latin-1"), capture_output=True, timeout=60 * harness.SLOW)
        assert r.returncode == 0, r.stderr
        return json.loads(r.stdout)


@pytest.fixture(scope="module")
def peers(tmp_path_factory):
    return Peers(tmp_path_factory.mktemp("identity"))


def letters(n, seed):
    """Messages with folds, blanks, doubled and empty fields, blank lines at odd places, bodies without an end."""
    rng = random.Random(seed)
    blanks = [" ", "  ", "\t", " \t "]
    for _ in range(n):
        fields = [f"From:{rng.choice(blanks)}Joe <joe@{DOMAIN}>"]
        for name in ["To", "Subject", "Date", "Message-ID", "X-Empty", "Received", "Received", "Content-Type", "Subject"]:
            if rng.random() < 0.7:
                words = [rng.choice(["one", "Two", "thr=ee", "f;our", "caf\xe9", "", "a:b"]) for _ in range(rng.randint(0, 9))]
                joints = blanks + ["\r\n ", "\r\n\t", " \r\n  "]
                value = "".join(w + rng.choice(joints) if w else "" for w in words)
                case = rng.choice([str, str.lower, str.upper])
                fields.append(case(name) + ":" + rng.choice(["", " ", "  "]) + value.rstrip("\r\n \t"))
        rng.shuffle(fields)
        lines = []
        for _ in range(rng.randint(0, 12)):
            lines.append(rng.choice(["", "", " ", "text", "text  with\t blanks", " front", "back \t", "b\xe9", "." * 900]))
        # dkimpy leaves blanks at the end of a last line that has no CRLF; mail that came over SMTP has none such.
        body = "\r\n".join(lines).rstrip(" \t") + rng.choice(["", "\r\n", "\r\n\r\n\r\n"])
        yield "\r\n".join(fields) + "\r\n\r\n" + body


CANONS = ["simple/simple", "simple/relaxed", "relaxed/simple", "relaxed/relaxed"]


def test_what_dkimpy_signs_we_verify(peers):
    jobs = []
    for i, message in enumerate(letters(32, seed=1)):
        k = peers.keys[i % 2]
        jobs.append(
            {"do": "sign", "message": message, "canon": CANONS[i // 2 % 4], "algorithm": k.algorithm, "selector": k.selector,
             "domain": DOMAIN, "key": k.secret, "length": i % 5 == 4}
        )  # fmt: skip
    for job, signed in zip(jobs, peers.ask(jobs)):
        verdict = peers.verify(signed)["dkim"][0]
        assert verdict["result"] == "pass", (job["canon"], verdict, signed)


def test_what_we_sign_dkimpy_verifies(peers):
    jobs = []
    for i, message in enumerate(letters(32, seed=2)):
        signed = peers.sign("dkim", peers.keys[i % 2], CANONS[i // 2 % 4], message)
        jobs.append({"do": "verify", "message": signed, "signatures": 1})
    for job, verdict in zip(jobs, peers.ask(jobs)):
        assert verdict == [True], job["message"]


def test_changed_messages_get_the_same_verdict_of_both(peers):
    rng, jobs = random.Random(3), []
    for i, message in enumerate(letters(48, seed=3)):
        signed = peers.sign("dkim", peers.keys[i % 2], CANONS[i // 2 % 4], message)
        head = signed.index("\r\nFrom:") if "\r\nFrom:" in signed else 0
        at = rng.randrange(head, len(signed))
        change = rng.choice(["x", "", " ", signed[at] + " ", signed[at] * 2])
        if signed[at] not in "\r\n:":
            signed = signed[:at] + change + signed[at + 1 :]
        jobs.append({"do": "verify", "message": signed, "signatures": 1})
    for job, theirs in zip(jobs, peers.ask(jobs)):
        ours = [d["result"] == "pass" for d in peers.verify(job["message"])["dkim"]]
        assert ours == theirs, (job["message"], peers.verify(job["message"]))


def test_chains_of_both(peers):
    """dkimpy and Yizhan seal in turns; both find the chain whole, and broken after a change."""
    for seed, message in enumerate(letters(2, seed=4)):
        k = peers.keys[0]
        result = f"Authentication-Results: mx.their.example; spf=pass smtp.mailfrom=joe@{DOMAIN}\r\n"
        for turn in range(4):
            if (turn + seed) % 2:
                message = peers.sign("arc", k, "relaxed/relaxed", message)
            else:
                job = {"do": "arc_sign", "message": result + message, "algorithm": k.algorithm, "selector": k.selector,
                       "domain": DOMAIN, "key": k.secret, "authserv": "mx.their.example"}  # fmt: skip
                message = peers.ask([job])[0]
            assert peers.verify(message)["arc"]["result"] == "pass", (peers.verify(message), message)
            assert peers.ask([{"do": "arc_verify", "message": message}]) == ["pass"], message
            at = message.index("spf=pass", message.index("ARC-Authentication-Results:"))
            broken = message[:at] + "spf=fail" + message[at + 8 :]
            assert peers.verify(broken)["arc"]["result"] == "fail"
            assert peers.ask([{"do": "arc_verify", "message": broken}]) == ["fail"]


# --- SPF ----------------------------------------------------------------------------------------------------------------

NAMES = ["a.test", "b.test", "c.test", "d.test", "e.test"]
TERMS = ["a", "mx", "ptr", "all", "a:b.test", "a:c.test/24", "mx:c.test", "mx/24", "include:b.test", "include:c.test",
         "include:gone.test", "include:slow.test", "exists:%{i}.x.d.test", "exists:%{l}.y.%{d}", "ip4:192.0.2.0/24", "ip4:192.0.2.9",
         "ip6:2001:db8::/32", "a:%{d}", "exists:%{ir}.%{v}.%{d2}", "redirect=c.test", "redirect=d.test", "foo=bar", "a:gone.test",
         "ptr:test", "ip4:300.1.1.1", "a:bad", "mx:slow.test", "unknown", "include:d.test", "exists:%{l1r-}.z.test"]  # fmt: skip


def spf_world(rng):
    zone = {"slow.test": {"TIMEOUT": True}, "7.x.d.test": {"A": ["127.0.0.2"]}, "192.0.2.7.x.d.test": {"A": ["127.0.0.2"]},
            "joe.y.a.test": {"A": ["127.0.0.2"]}, "strong.z.test": {"A": ["127.0.0.2"]},
            "7.2.0.192.in-addr.arpa": {"PTR": ["h.a.test"]}, "h.a.test": {"A": ["192.0.2.7"]},
            "9.2.0.192.in-addr.arpa": {"PTR": ["b.test"]}}  # fmt: skip
    for name in NAMES:
        records = {}
        if rng.random() < 0.7:
            records["A"] = [f"192.0.2.{rng.choice([1, 7, 9])}"]
        if rng.random() < 0.5:
            records["MX"] = [[10, rng.choice(NAMES + ["gone.test", "h.a.test"])]]
        if name == "a.test" or rng.random() < 0.8:
            terms = [rng.choice(["", "", "-", "~", "?"]) + t if "=" not in t else t for t in rng.choices(TERMS, k=rng.randint(0, 5))]
            records["TXT"] = [" ".join(["v=spf1", *terms, rng.choice(["-all", "~all", "?all", ""])]).rstrip()]
        if records:
            zone[name] = records
    return zone


def zone_text(zone):
    lines = []
    for name, records in zone.items():
        if "TIMEOUT" in records:
            lines.append(f"; TIMEOUT {name}")
        lines += [f"{name}. A {a}" for a in records.get("A", [])]
        lines += [f"{name}. PTR {p}." for p in records.get("PTR", [])]
        lines += [f"{name}. MX {m[0]} {m[1]}." for m in records.get("MX", [])]
        lines += [f'{name}. TXT "{t}"' for t in records.get("TXT", [])]
    return "\n".join(lines) + "\n"


def test_spf_results_are_those_of_pyspf(peers):
    rng, differences = random.Random(int(os.environ.get("SEED", "5"))), []
    for i in range(int(os.environ.get("SPF_WORLDS", "20"))):
        zone = spf_world(rng)
        path = peers.place / "spf-zone"
        path.write_text(zone_text(zone))
        jobs = [
            {"do": "spf", "client": client, "from": f"{local}@a.test", "helo": "b.test"}
            for client, local in [("192.0.2.7", "joe"), ("192.0.2.9", "strong-bad"), ("2001:db8::1", "joe")]
        ]
        for job, theirs in zip(jobs, peers.ask(jobs, zone)):
            words = ["--client-ip", job["client"], "--helo", job["helo"], "--mail-from", job["from"], "--reasons"]
            r = subprocess.run([*PROGRAM, "verify", "--zone", path, *words], capture_output=True, check=True)
            ours = json.loads(r.stdout)["spf"]
            if ours["result"] != theirs:
                differences.append((job, theirs, ours, zone_text(zone)))
    assert not differences, "\n".join(map(str, differences[0]))


# --- Authentication-Results ----------------------------------------------------------------------------------------------


def test_the_results_that_we_write_are_read(peers):
    sealed = peers.sign("arc", peers.keys[0], "relaxed/relaxed", next(letters(1, seed=6)))
    value = sealed.split("ARC-Authentication-Results: i=1; ")[1].split("\r\n")[0]
    assert peers.ask([{"do": "authres", "field": "Authentication-Results: " + value}]) == [
        ["mx.yizhan.example", [["spf", "pass"]]]
    ]
