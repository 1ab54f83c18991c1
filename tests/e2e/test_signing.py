"""The mail of our own users leaves signed, and other people's programs verify what we signed: dkimpy, opendkim and
Mail::DKIM. docs/IDENTITY.md, "Signing"."""

import base64
import hashlib
import json
import re
import subprocess
import time

import pytest

import harness
from dkim_peers import Peers, new_key, on_the_wire
from harness import PROGRAM, arrived, wait_for
from logins import ALICE, PASSWORD, add_user, b64

OTHER = "127.9.9.8"  # a client that is not trusted


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """Of each domain an RSA key r1 and an Ed25519 key e1; .zone has their records, .peers know them."""

    class Keys:
        directory = tmp_path_factory.mktemp("keys")
        zone, files = "", {}

        def add(self, selector, kind, domain="example.org"):
            self.files[domain, selector], zone = new_key(self.directory, selector, kind, domain)
            self.zone += zone

        def entry(self, *selectors, domain="example.org", **more):
            """One of identity.sign. A selector may be a dict with its dates."""
            found = [s if isinstance(s, dict) else {"selector": s} for s in selectors]
            return {"domain": domain, "keys": [{**s, "file": self.files[domain, s["selector"]]} for s in found], **more}

    k = Keys()
    for domain in ("example.org", "other.example"):
        k.add("r1", "rsa", domain)
        k.add("e1", "ed25519", domain)
    k.add("r2", "rsa")
    k.peers = Peers(k.zone)
    return k


def server(place, keys, *entries, **options):
    return place.mx(identity={"sign": list(entries)}, zone=keys.zone, **options)


def sent(server, data, sender="alice@example.org", needle=None, **how):
    """The message as it arrived at bob."""
    server.submit(sender, "bob@example.org", data, **how)
    return on_the_wire(arrived(server, "bob", needle or re.search(rb"(?i)^Subject: (.*)", data, re.M)[1].strip()))


def signatures(message):
    """[{tag: value}], in the order of the fields."""
    head = message.partition(b"\r\n\r\n")[0].decode("latin-1")
    found = re.findall(r"(?mi)^DKIM-Signature:((?:.*\r?\n?[ \t])*.*)", head)
    return [dict(t.strip().split("=", 1) for t in re.sub(r"\s", "", f).split(";") if "=" in t) for f in found]


def without_signature(message, algorithm):
    return re.sub(rb"(?m)^DKIM-Signature: v=1; a=%s;(?:.*\r\n[ \t])*.*\r\n" % algorithm, b"", message, count=1)


def verify(keys, tmp_path, message):
    """What `yizhan verify` says of the signatures."""
    (tmp_path / "zone").write_text(keys.zone)
    r = subprocess.run([*PROGRAM, "verify", "--zone", tmp_path / "zone", "-"], input=message, capture_output=True)
    return [d["result"] for d in json.loads(r.stdout)["dkim"]]


def everybody_passes(keys, tmp_path, message, rsa=True, ed25519=True):
    """RSA by all, Ed25519 by those who know it."""
    n = rsa + ed25519
    assert len(signatures(message)) == n
    assert verify(keys, tmp_path, message) == ["pass"] * n
    assert keys.peers.dkimpy(message) == ["pass"] * n
    if rsa:
        verdicts = dict(keys.peers.mail_dkim(message))
        assert verdicts["rsa-sha256"] == "pass"
        assert re.search(r"verification \(s=r\d, d=\S+, 2048-bit key\) succeeded", keys.peers.opendkim(message))
    if ed25519:  # opendkim speaks of the first that holds
        text = keys.peers.opendkim(without_signature(message, b"rsa-sha256"))
        assert re.search(r"verification \(s=e1, d=\S+, \d+-bit key\) succeeded", text), text


LETTER = b"From: Alice <alice@example.org>\r\nTo: bob@example.org\r\nSubject: %s\r\nDate: Wed, 25 Nov 2026 12:00:00 +0000\r\n\r\n"


# --- who verifies it ------------------------------------------------------------------------------------------------------


def test_both_kinds_of_signature_are_verified_by_everybody(place, keys, tmp_path):
    s = server(place, keys, keys.entry("r1", "e1"))
    message = sent(s, LETTER % b"both" + b"Hello, \t  Bob.  \r\n..dots\r\n\r\n\r\n")
    assert message.startswith(b"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;\r\n\td=example.org; s=r1; t=")
    everybody_passes(keys, tmp_path, message)
    changed = message.replace(b"Hello", b"Hallo")
    assert verify(keys, tmp_path, changed) == ["fail", "fail"]
    assert not any(v == "pass" for v in keys.peers.dkimpy(changed))
    assert dict(keys.peers.mail_dkim(changed))["rsa-sha256"].startswith("fail")


@pytest.mark.parametrize("canonicalization", ["simple/simple", "simple/relaxed", "relaxed/simple"])
def test_every_canonicalization(place, keys, tmp_path, canonicalization):
    s = server(place, keys, keys.entry("r1", "e1", canonicalization=canonicalization, expire="7d"))
    message = sent(s, LETTER % b"canon" + b"Two  spaces \r\n\r\n tab\t\r\n\r\n\r\n")
    everybody_passes(keys, tmp_path, message)
    for tags in signatures(message):
        assert tags["c"] == canonicalization and int(tags["x"]) - int(tags["t"]) == 7 * 86400


BODIES = {
    "empty": b"",
    "only-lines": b"\r\n\r\n\r\n",
    "eight-bit": "Grüße, 你好\r\n".encode() + bytes(range(128, 256)) + b"\r\n",
    "long-lines": b"x" * 997 + b"\r\n" + b"y " * 499 + b"\r\nlast\r\n",
    "dots": b".\r\n..\r\n...\r\n. \r\n",
    "no-header": None,
}


@pytest.mark.parametrize("name", BODIES)
def test_all_kinds_of_content(place, keys, tmp_path, name):
    s = server(place, keys, keys.entry("r1", "e1"))
    subject = name.encode()
    if BODIES[name] is None:
        data = b"From: alice@example.org\r\nSubject: %s\r\n" % subject
    else:
        data = LETTER % subject + BODIES[name]
    with s.client(trusted=True) as c:
        c.hello()
        c.begin("alice@example.org", ["bob@example.org"], " BODY=8BITMIME")
        c.expect(354, "DATA")
        c.send(re.sub(rb"(?m)^\.", b"..", data) + b".\r\n")
        c.expect(250)
    everybody_passes(keys, tmp_path, on_the_wire(arrived(s, "bob", subject)))


def test_content_in_pieces_of_any_size(place, keys, tmp_path):
    s = server(place, keys, keys.entry("r1", "e1"))
    data = LETTER % b"pieces" + b"line \r\n" * 300 + b"no end of line"
    for by in (1, 7, 400):
        with s.client(trusted=True) as c:
            c.hello()
            c.begin("alice@example.org", ["bob@example.org"])
            text = data.replace(b"pieces", b"pieces-%d" % by)
            for i in range(0, len(text), by):
                last = " LAST" if i + by >= len(text) else ""
                piece = text[i : i + by]
                c.send(f"BDAT {len(piece)}{last}\r\n".encode() + piece)
                c.expect(250)
        everybody_passes(keys, tmp_path, on_the_wire(arrived(s, "bob", b"pieces-%d\n" % by)))


def test_strange_line_ends_are_mended_before_the_signature(place, keys, tmp_path):
    s = server(place, keys, keys.entry("r1", "e1"), line_endings={"normalize": [harness.TRUSTED]})
    message = sent(s, (LETTER % b"bare").replace(b"\r\n", b"\n") + b"one\ntwo\rthree\r\n")
    assert message.endswith(b"one\r\ntwo\r\nthree\r\n")
    everybody_passes(keys, tmp_path, message)


def test_line_feeds_alone_stay_and_go_unsigned(place, keys):
    """A header without CRLF is not one to everybody: such a message can't be signed, and is taken as it is."""
    s = server(place, keys, keys.entry("r1"), line_endings={"bdat_bare_lf": "accept"})
    data = (LETTER % b"lf-alone").replace(b"\r\n", b"\n") + b"one\ntwo\n"
    with s.client(trusted=True) as c:
        c.hello()
        c.begin("alice@example.org", ["bob@example.org"])
        c.send(f"BDAT {len(data)} LAST\r\n".encode() + data)
        c.expect(250)
    assert not signatures(on_the_wire(arrived(s, "bob", b"lf-alone")))
    assert "a message goes out unsigned" in s.log()


def test_line_feeds_alone_in_the_body_are_signed_as_they_are(place, keys, tmp_path):
    """They go on by BDAT octet for octet."""
    peer = place.peer()
    s = server(place, keys, keys.entry("r1", "e1"), line_endings={"bdat_bare_lf": "accept"},
               routes=[{"to": "*", "via": [{"host": f"127.0.0.1:{peer.port}"}]}])  # fmt: skip
    data = LETTER % b"lf-body" + b"one\ntwo\n\nthree\r\n"
    with s.client(trusted=True) as c:
        c.hello()
        c.begin("alice@example.org", ["bob@far.example"])
        c.send(f"BDAT {len(data)} LAST\r\n".encode() + data)
        c.expect(250)
    wait_for(lambda: peer.messages, what="the message at the peer")
    message = peer.messages[0]["data"]
    body = message.partition(b"\r\n\r\n")[2]
    assert body == b"one\ntwo\n\nthree\r\n"
    # The other programs make them CRLF before they look, so they can't say; RFC 6376 section 3.4.4 can.
    hashed = base64.b64encode(hashlib.sha256(body).digest()).decode()
    assert [t["bh"] for t in signatures(message)] == [hashed, hashed]


def test_twenty_megabytes(place, keys, tmp_path):
    s = server(place, keys, keys.entry("r1", "e1"))
    before = memory(s)
    line = b"0123456789 " * 80 + b"\r\n"
    message = sent(s, LETTER % b"large" + line * (20 * 1024 * 1024 // len(line)), needle=b"Subject: large")
    assert len(message) > 20 * 1000 * 1000
    if not harness.OWN_ALLOCATOR:
        assert memory(s) - before < 10 * 1024  # it was never held
    everybody_passes(keys, tmp_path, message)


def memory(s):
    """The most that the server ever had, in KiB."""
    return int(re.search(r"VmHWM:\s+(\d+)", open(f"/proc/{s.process.pid}/status").read())[1])


def test_nobody_can_add_a_field(place, keys):
    s = server(place, keys, keys.entry("r1", "e1"))
    message = sent(s, LETTER % b"over" + b"x\r\n")
    for field in (b"Subject: another\r\n", b"From: mallory@example.com\r\n", b"Reply-To: mallory@example.com\r\n", b"MIME-Version: 1.0\r\n"):
        assert all(v.startswith("fail") for v in keys.peers.dkimpy(field + message)), field
        assert dict(keys.peers.mail_dkim(field + message))["rsa-sha256"].startswith("fail"), field
    assert keys.peers.dkimpy(b"X-Seen: yes\r\n" + message) == ["pass", "pass"]


def test_what_is_oversigned_is_configured(place, keys, tmp_path):
    s = server(place, keys, keys.entry("r1", oversign=["Subject", "X-Own"], headers=["Date"]))
    message = sent(s, LETTER % b"list" + b"x\r\n")
    assert signatures(message)[0]["h"] == "From:From:Subject:Subject:X-Own:Date"
    assert keys.peers.dkimpy(b"X-Own: yes\r\n" + message) != ["pass"]
    assert keys.peers.dkimpy(b"Reply-To: x@example.com\r\n" + message) == ["pass"]
    everybody_passes(keys, tmp_path, message, ed25519=False)


# --- whose mail it is -------------------------------------------------------------------------------------------------------


def test_after_all_that_a_submission_port_changes(place, keys, tmp_path):
    port = harness.free_port()
    s = server(place, keys, keys.entry("r1", "e1"), port=port, tls=place.certificate(),
               listen=[{"address": [f"127.0.0.1:{port}"], "role": "submission"}])  # fmt: skip
    message = sent(s, b"Bcc: secret@example.com\r\nFrom: alice@example.org\r\nSubject: completed\r\n\r\nx\r\n")
    assert b"Message-ID:" in message and b"secret" not in message
    assert signatures(message)[0]["h"].lower().split(":").count("message-id") == 2
    everybody_passes(keys, tmp_path, message)


def test_who_logged_in_is_ours_and_a_stranger_is_not(place, keys, tmp_path):
    add_user(tmp_path, ALICE, PASSWORD)
    port = harness.free_port()
    s = server(place, keys, keys.entry("r1", "e1"), port=port, tls=place.certificate(),
               listen=[{"address": [f"127.0.0.1:{port}"], "role": "mx", "auth": True}],
               auth={"backends": [{"file": str(tmp_path / "users")}]})  # fmt: skip
    for logs_in in (True, False):
        subject = b"user" if logs_in else b"stranger"
        with s.client(source=OTHER) as c:
            c.hello()
            c.starttls()
            c.expect(250, "EHLO client.example")
            if logs_in:
                c.expect(235, "AUTH PLAIN " + b64(f"\0{ALICE}\0{PASSWORD}"))
            c.send_message("alice@example.org", ["bob@example.org"], LETTER % subject + b"x\r\n")
        message = on_the_wire(arrived(s, "bob", b"Subject: " + subject))
        if logs_in:
            everybody_passes(keys, tmp_path, message)
        else:
            assert not signatures(message)


def test_who_logged_in_signs_for_nobody_else(place, keys, tmp_path):
    """From chooses the key only with an address that is the user's: another customer's key would make a forgery pass DMARC."""
    add_user(tmp_path, ALICE, PASSWORD)
    port = harness.free_port()
    s = server(place, keys, keys.entry("r1"), keys.entry("r1", domain="other.example"), port=port, tls=place.certificate(),
               listen=[{"address": [f"127.0.0.1:{port}"], "role": "mx", "auth": True}],
               auth={"backends": [{"file": str(tmp_path / "users")}],
                     "senders": [{"user": ALICE, "addresses": ["alice@example.org", "sales.other.example"]}]})  # fmt: skip
    cases = [("alice@example.org", "example.org"), ("boss@other.example", "example.org"), ("x@sales.other.example", "other.example")]
    for i, (author, domain) in enumerate(cases):
        with s.client(source=OTHER) as c:
            c.hello()
            c.starttls()
            c.expect(250, "EHLO client.example")
            c.expect(235, "AUTH PLAIN " + b64(f"\0{ALICE}\0{PASSWORD}"))
            c.send_message("alice@example.org", ["bob@example.org"], f"From: {author}\r\nSubject: whose-{i}\r\n\r\nx\r\n".encode())
        message = on_the_wire(arrived(s, "bob", f"Subject: whose-{i}".encode()))
        assert [t["d"] for t in signatures(message)] == [domain], author


def test_what_a_filter_hands_back_is_signed_only_if_it_is_ours(place, keys):
    port = harness.free_port()
    s = server(place, keys, keys.entry("r1"), port=port,
               listen=[{"address": [f"127.0.0.1:{port}"], "role": "mx", "xclient": [f"{harness.TRUSTED}/32"]}])  # fmt: skip
    for address, ours in (("192.0.2.7", False), (harness.TRUSTED, True)):
        subject = b"filtered-%d" % ours
        with s.client(trusted=True) as c:
            c.hello()
            c.expect(250, f"XFORWARD ADDR={address}")
            c.send_message("alice@example.org", ["bob@example.org"], LETTER % subject + b"x\r\n")
        assert bool(signatures(on_the_wire(arrived(s, "bob", subject)))) == ours


def test_the_author_chooses_the_keys(place, keys, tmp_path):
    s = server(place, keys, keys.entry("r1"), keys.entry("r1", domain="other.example", **{"from": ["*@other.example", "carol@*"]}))
    cases = [
        ("alice@example.org", "alice@example.org", ["example.org"]),
        ("alice@mx1.example.org", "", ["example.org"]),
        ("dave@other.example", "alice@example.org", ["other.example"]),
        ("carol@example.org", "alice@example.org", ["example.org", "other.example"]),
        ("eve@elsewhere.example", "alice@example.org", ["example.org"]),
        ("eve@elsewhere.example", "eve@elsewhere.example", []),
    ]
    for i, (author, sender, domains) in enumerate(cases):
        message = sent(s, f"From: {author}\r\nSubject: author-{i}\r\n\r\nx\r\n".encode(), sender)
        assert sorted(t["d"] for t in signatures(message)) == sorted(domains), (author, sender)
        assert verify(keys, tmp_path, message) == ["pass"] * len(domains)


def test_a_bounce_is_signed(place, keys, tmp_path):
    """Its author is MAILER-DAEMON of the server's name, which lies below the domain."""
    peer = place.peer(answers={"RCPT": "550 5.1.1 no such user"})
    s = server(place, keys, keys.entry("r1", "e1"), routes=[{"to": "*", "via": [{"host": f"127.0.0.1:{peer.port}"}]}])
    s.submit("alice@example.org", "nobody@far.example", LETTER % b"lost" + b"x\r\n")
    wait_for(lambda: harness.reports(s.maildir("example.org", "alice")), what="the bounce")
    message = on_the_wire(s.maildir("example.org", "alice")[0])
    assert b"MAILER-DAEMON@mx.example.org" in message and b"multipart/report" in message
    everybody_passes(keys, tmp_path, message)
    assert {t["d"] for t in signatures(message)} == {"example.org"}


def test_a_signed_bounce_of_8_bit_mail_reaches_a_server_without_8bitmime(place, keys, tmp_path):
    refuses = place.peer(answers={"RCPT": "550 5.1.1 no such user"})
    old = place.peer(extensions=("PIPELINING",))
    s = server(place, keys, keys.entry("r1", "e1"),
               routes=[{"to": "*@far.example", "via": [{"host": f"127.0.0.1:{refuses.port}"}]},
                       {"to": "*", "via": [{"host": f"127.0.0.1:{old.port}"}]}])  # fmt: skip
    mime = b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n"
    letter = mime + LETTER % b"acht"
    s.submit("alice@sender.example", "nobody@far.example", letter + "Grüße\r\n".encode(), parameters=" BODY=8BITMIME")
    wait_for(lambda: old.messages, what="the bounce at the server without 8BITMIME")
    message = old.messages[0]["data"]
    assert message.isascii() and base64.b64encode("Grüße\r\n".encode()) in message
    everybody_passes(keys, tmp_path, message)


def test_the_trace_says_who_signed(place, keys):
    s = server(place, keys, keys.entry("r1", "e1"))
    identity = s.submit("alice@example.org", "bob@example.org", LETTER % b"trace" + b"x\r\n")
    found = wait_for(lambda: [e for e in s.events(identity) if e["event"] == "signed"], what="the event")
    assert found[0]["by"] == "example.org (r1, e1)"
    assert "signed     by example.org (r1, e1)" in s.command("trace", identity).stdout


# --- keys that come and go ----------------------------------------------------------------------------------------------------


def day(offset):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + offset))


def test_rotation_by_date(place, keys, tmp_path):
    soon = day(4 * harness.SLOW)
    s = server(place, keys, keys.entry({"selector": "r1", "end": soon}, {"selector": "r2", "begin": soon}))
    assert [t["s"] for t in signatures(sent(s, LETTER % b"before" + b"x\r\n"))] == ["r1"]
    wait_for(lambda: time.gmtime() > time.strptime(soon, "%Y-%m-%dT%H:%M:%SZ"), what="the change")
    message = sent(s, LETTER % b"after" + b"x\r\n")
    assert [t["s"] for t in signatures(message)] == ["r2"]
    everybody_passes(keys, tmp_path, message, ed25519=False)


def test_without_a_key_for_today_mail_goes_out_unsigned_and_the_log_says_so(place, keys):
    s = server(place, keys, keys.entry({"selector": "r1", "end": "2020-01-01"}))
    assert not signatures(sent(s, LETTER % b"none" + b"x\r\n"))
    assert "a message goes out unsigned" in s.log() and "none of its domain's keys signs at this time" in s.log()
    r = s.command("check")
    assert "none of them signs today" in r.stderr


def test_a_reload_brings_a_new_key(place, keys, tmp_path):
    s = server(place, keys, keys.entry("r1"))
    assert [t["s"] for t in signatures(sent(s, LETTER % b"old-key" + b"x\r\n"))] == ["r1"]
    old = s.config.read_text()
    # One that can't be read: the old configuration stays, and mail is signed on.
    s.write_config(old.replace(keys.files["example.org", "r1"], str(tmp_path / "missing.pem")))
    s.hangup()
    wait_for(lambda: "missing.pem" in s.log(), what="the refusal of the new configuration")
    assert [t["s"] for t in signatures(sent(s, LETTER % b"still-old" + b"x\r\n"))] == ["r1"]
    s.write_config(old.replace(keys.files["example.org", "r1"], keys.files["example.org", "r2"]).replace('"r1"', '"r2"'))
    s.hangup()

    def signed_by_the_new_key():
        name = b"new-%d" % time.monotonic_ns()
        return [t["s"] for t in signatures(sent(s, LETTER % name + b"x\r\n"))] == ["r2"]

    wait_for(signed_by_the_new_key, what="a signature by the new key")
    assert "PRIVATE KEY" not in s.log()


def test_many_at_once(place, keys, tmp_path):
    """The private keys work on the worker pool: the sessions of both loops sign at the same time."""
    s = server(place, keys, keys.entry("r1", "e1"), threads=2)
    clients = [place.client(s.address, s.port, source=harness.TRUSTED) for _ in range(20)]
    for c in clients:
        c.hello()
    for n in range(5):
        for i, c in enumerate(clients):
            c.send(f"MAIL FROM:<alice@example.org>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\n")
        for i, c in enumerate(clients):
            for code in (250, 250, 354):
                c.expect(code)
            c.send(LETTER % b"crowd-%d-%d" % (n, i) + b"x\r\n.\r\n")
        for c in clients:
            c.expect(250)
    wait_for(s.queue_is_empty, 30, "the delivery of all")
    messages = [on_the_wire(m) for m in s.maildir("example.org", "bob")]
    assert len(messages) == 100
    for message in messages[::10]:
        assert verify(keys, tmp_path, message) == ["pass", "pass"]


# --- ARC: mail of others that goes on -----------------------------------------------------------------------------------------


def sealing(place, keys, domain, selector="r1", **options):
    """A server that hands the mail of example.org to a mail store by LMTP and seals it; (server, the store)."""
    store = place.peer(lmtp=True)
    seal = {"domain": domain, "selector": selector, "file": keys.files[domain, selector]}
    s = place.mx(identity={"seal": seal, **options}, zone=keys.zone, hostname=f"mx.{domain}",
                 domains={"example.org": {"deliver": f"lmtp:127.0.0.1:{store.port}"},
                          "here.example": {"deliver": "maildir:{dir}/mail/{domain}/{local}"}})  # fmt: skip
    return s, store


def from_a_stranger(server, store, message, recipient="bob@example.org"):
    """The message as it arrived in the store."""
    before = len(store.messages)
    with server.client(source=OTHER) as c:
        c.hello("mx.elsewhere.example")
        c.send_message("alice@elsewhere.example", [recipient], re.sub(rb"(?m)^\.", b"..", message))
    wait_for(lambda: len(store.messages) > before, what="the message in the store")
    return store.messages[-1]["data"]


def link(message, instance):
    """The three fields of one ARC set: {name: value}, unfolded."""
    head = re.sub(rb"\r\n[ \t]+", b" ", message.partition(b"\r\n\r\n")[0]).decode()
    found = re.findall(rf"(?m)^ARC-(Seal|Message-Signature|Authentication-Results): i={instance}; (.*?)\r?$", head)
    assert len(found) == 3, head
    return dict(found)


def yizhan_arc(keys, tmp_path, message):
    (tmp_path / "zone").write_text(keys.zone)
    r = subprocess.run([*PROGRAM, "verify", "--reasons", "--zone", tmp_path / "zone", "-"], input=message, capture_output=True)
    return json.loads(r.stdout)["arc"]


def test_mail_of_others_that_goes_on_is_sealed(place, keys, tmp_path):
    signer = server(place, keys, keys.entry("r1"))
    original = sent(signer, LETTER % b"sealed" + b"Hello.\r\n")
    one, store = sealing(place, keys, "example.org")
    message = from_a_stranger(one, store, original)
    assert re.match(rb"(Return-Path:.*\r\n)?ARC-Seal: i=1; a=rsa-sha256; cv=none; d=example.org;", message)
    results = link(message, 1)["Authentication-Results"]
    assert results.startswith("mx.example.org;") and "dkim=pass header.d=example.org" in results and "spf=none" in results
    assert "\r\nAuthentication-Results: " + results.split(";")[0] in message.decode()
    assert keys.peers.arc(message) == ["pass", "pass"]
    assert yizhan_arc(keys, tmp_path, message)["result"] == "pass"
    assert not signatures(message)[1:]  # nothing of ours but the seal
    # The next one vouches for the chain and adds its link.
    two, store = sealing(place, keys, "other.example")
    message = from_a_stranger(two, store, message)
    assert "cv=pass" in link(message, 2)["Seal"] and "arc=pass" in link(message, 2)["Authentication-Results"]
    assert keys.peers.arc(message) == ["pass", "pass"]
    assert yizhan_arc(keys, tmp_path, message)["result"] == "pass"
    changed = message.replace(b"Hello.", b"Hullo.")
    assert keys.peers.arc(changed) == ["fail", "fail"] and yizhan_arc(keys, tmp_path, changed)["result"] == "fail"


def test_a_broken_chain_is_closed(place, keys, tmp_path):
    signer = server(place, keys, keys.entry("r1"))
    original = sent(signer, LETTER % b"broken" + b"Hello.\r\n")
    one, store = sealing(place, keys, "example.org")
    message = from_a_stranger(one, store, original).replace(b"Hello.", b"Hullo.")
    two, store = sealing(place, keys, "other.example")
    message = from_a_stranger(two, store, message)
    assert "cv=fail" in link(message, 2)["Seal"] and "arc=fail" in link(message, 2)["Authentication-Results"]
    assert yizhan_arc(keys, tmp_path, message)["result"] == "fail"
    # RFC 8617 section 5.1: who comes then adds nothing.
    three, store = sealing(place, keys, "example.org")
    assert b"i=3" not in from_a_stranger(three, store, message)


def test_forged_results_of_ours_are_gone_from_what_is_sealed(place, keys, tmp_path):
    one, store = sealing(place, keys, "example.org")
    forged = b"Authentication-Results: mx.example.org; dkim=pass\r\nARC-Authentication-Results: i=1; mx.example.org; dkim=pass\r\n"
    message = from_a_stranger(one, store, forged + LETTER % b"forged" + b"Hello.\r\n")
    assert message.count(b"dkim=pass") == 0
    assert "cv=fail" in link(message, 2)["Seal"]  # there was a part of a chain


def test_what_stays_here_and_what_our_users_send_is_not_sealed(place, keys):
    one, store = sealing(place, keys, "example.org")
    with one.client(source=OTHER) as c:
        c.hello()
        c.send_message("alice@elsewhere.example", ["carol@here.example"], LETTER % b"stays" + b"x\r\n")
    assert b"ARC-" not in arrived(one, "carol", b"stays", "here.example")
    one.submit("alice@example.org", "bob@example.org", LETTER % b"ours" + b"x\r\n")
    wait_for(lambda: any(b"ours" in m["data"] for m in store.messages), what="the message of a user")
    assert not any(b"ARC-" in m["data"] for m in store.messages)


def test_what_cannot_be_sealed_goes_on_as_it_is(place, keys):
    one, store = sealing(place, keys, "example.org")
    message = from_a_stranger(one, store, b"Subject: no author\r\n\r\nx\r\n")
    assert b"ARC-" not in message and b"Authentication-Results: mx.example.org;" in message


def test_headers_of_the_gate_are_part_of_what_is_sealed(place, keys, tmp_path):
    """Reply-To is oversigned: a rule that adds one must not break our own seal."""
    store = place.peer(lmtp=True)
    s = place.mx(identity={"seal": {"domain": "example.org", "selector": "r1", "file": keys.files["example.org", "r1"]}}, zone=keys.zone,
                 domains={"example.org": {"deliver": f"lmtp:127.0.0.1:{store.port}"}},
                 gate=[{"name": "early", "action": "add_header", "header": "Reply-To: list@example.org", "at": "rcpt"},
                       {"name": "late", "action": "add_header", "header": "Sender: list@example.org", "at": "data"}])  # fmt: skip
    message = from_a_stranger(s, store, LETTER % b"gate" + b"x\r\n")
    assert b"\r\nReply-To: list@example.org\r\n" in message and b"\r\nSender: list@example.org\r\n" in message
    assert keys.peers.arc(message) == ["pass", "pass"]
    for field in (b"Reply-To", b"Sender"):
        assert keys.peers.arc(message.replace(b"\r\n" + field + b": list@", b"\r\n" + field + b": lost@")) == ["fail", "fail"]
    # The same for our own users' mail.
    s = place.mx(identity={"sign": [keys.entry("r1", "e1")]}, zone=keys.zone,
                 gate=[{"name": "early", "action": "add_header", "header": "Reply-To: list@example.org", "at": "rcpt"},
                       {"name": "late", "action": "add_header", "header": "Sender: list@example.org", "at": "data"}])  # fmt: skip
    everybody_passes(keys, tmp_path, sent(s, LETTER % b"gate-ours" + b"x\r\n"))
