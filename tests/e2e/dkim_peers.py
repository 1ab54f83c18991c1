"""Keys for signing, and other people's verifiers of DKIM: dkimpy, opendkim and Mail::DKIM, each with the keys of a zone file and no
DNS."""

import json
import re
import subprocess
import tempfile
from pathlib import Path

import harness
from harness import PROGRAM

PYTHON = "/usr/bin/python3"  # the one that Debian's packages belong to

DKIMPY = """
import dkim, json, sys
keys = json.load(open(sys.argv[1]))
message = open(sys.argv[2], "rb").read()
def txt(name, timeout=5):
    record = keys.get(name.decode().rstrip("."))
    return record.encode() if record else None
verdicts = []
d = dkim.DKIM(message)
for i in range(sum(n.lower() == b"dkim-signature" for n, _ in d.headers)):
    try:
        verdicts.append("pass" if dkim.DKIM(message).verify(idx=i, dnsfunc=txt) else "fail")
    except dkim.DKIMException as e:
        verdicts.append("fail: %s" % e)
print(json.dumps(verdicts))
"""

ARC_DKIMPY = """
import dkim, json, sys
keys = json.load(open(sys.argv[1]))
def txt(name, timeout=5):
    record = keys.get(name.decode().rstrip("."))
    return record.encode() if record else None
cv, results, reason = dkim.ARC(open(sys.argv[2], "rb").read()).verify(dnsfunc=txt)
print(json.dumps([cv.decode() if cv else "none", reason]))
"""

ARC_MAIL_DKIM = """
use Mail::DKIM::ARC::Verifier;
my $v = Mail::DKIM::ARC::Verifier->new(Strict => 1);
$v->PRINT(slurp($ARGV[1]));
$v->CLOSE();
print encode_json([$v->result, $v->result_detail]);
"""

MAIL_DKIM_BEGIN = """
use strict; use JSON::PP; use Mail::DKIM::Verifier; use Net::DNS;
sub slurp { local $/; open(my $f, '<:raw', $_[0]) or die; return scalar <$f>; }
my $keys = decode_json(slurp($ARGV[0]));
{ no warnings 'redefine'; *Mail::DKIM::DNS::query = sub {
    my ($name, $type) = @_;
    my $record = $keys->{$name} // return;
    return Net::DNS::RR->new(name => $name, type => 'TXT', txtdata => [$record]); }; }
"""

MAIL_DKIM = """
my $v = Mail::DKIM::Verifier->new();
$v->PRINT(slurp($ARGV[1]));
$v->CLOSE();
print encode_json([map { [$_->algorithm, $_->result_detail] } $v->signatures]);
"""


def records(zone):
    """{name: text} of the TXT records that `yizhan dkim keygen` wrote."""
    found = {}
    for name, rest in re.findall(r"^(\S+)\. IN TXT ((?:\(.*?\))|(?:[^\n]*))$", zone, re.M | re.S):
        found[name] = "".join(re.findall(r'"([^"]*)"', rest))
    return found


def new_key(directory, selector, kind="rsa", domain="example.org"):
    """(file, the record's lines for a zone)"""
    r = subprocess.run(
        [*PROGRAM, "dkim", "keygen", domain, "--type", kind, "--selector", selector, "--json", "--output"]
        + [str(directory / f"{domain}.{selector}.pem")],
        capture_output=True, text=True, timeout=60 * harness.SLOW,
    )  # fmt: skip
    assert r.returncode == 0, r.stderr
    made = json.loads(r.stdout)
    return made["file"], made["zone"]


def on_the_wire(message):
    """A message of a Maildir as it was in the spool: without what the delivery put in front."""
    text = message.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    return re.sub(rb"\A(?:(?:Return-Path|Delivered-To): .*?\r\n)+", b"", text)


class Peers:
    def __init__(self, zone):
        self.records = records(zone)
        self.dir = Path(tempfile.mkdtemp(prefix="dkim-peers-"))
        (self.dir / "keys.json").write_text(json.dumps(self.records))
        (self.dir / "keys").write_text("".join(f"{n} {r}\n" for n, r in self.records.items()))
        (self.dir / "opendkim.conf").write_text(f"TestPublicKeys {self.dir}/keys\nMode v\n")

    def run(self, *words):
        return subprocess.run([str(w) for w in words], capture_output=True, timeout=120)

    def put(self, message):
        path = self.dir / "message"
        path.write_bytes(message)
        return path

    def dkimpy(self, message):
        """A verdict for each signature, in the order of the fields: "pass", or "fail" with a reason."""
        r = self.run(PYTHON, "-c", DKIMPY, self.dir / "keys.json", self.put(message))
        assert r.returncode == 0, r.stderr
        return json.loads(r.stdout)

    def mail_dkim(self, message):
        """[[algorithm, verdict]...] of the signatures that it knows (1.20230212 doesn't know ed25519-sha256)."""
        r = self.run("perl", "-e", MAIL_DKIM_BEGIN + MAIL_DKIM, self.dir / "keys.json", self.put(message))
        assert r.returncode == 0, r.stderr
        return json.loads(r.stdout)

    def arc(self, message):
        """["pass", "pass"]: what dkimpy and Mail::DKIM say of the chain."""
        path = self.put(message)
        words = []
        for command in ([PYTHON, "-c", ARC_DKIMPY], ["perl", "-e", MAIL_DKIM_BEGIN + ARC_MAIL_DKIM]):
            r = self.run(*command, self.dir / "keys.json", path)
            assert r.returncode == 0, r.stderr
            words.append(json.loads(r.stdout)[0])
        return words

    def opendkim(self, message):
        """What it says of the message, as text."""
        whole = message if message.endswith(b"\r\n") else message + b"\r\n"  # as DATA would end it
        r = self.run("/usr/sbin/opendkim", "-x", self.dir / "opendkim.conf", "-t", self.put(whole), "-v")
        return (r.stdout + r.stderr).decode("utf-8", "replace")
