"""SPF, DKIM, ARC, DMARC and the name of the client's address, judged while strangers' mail comes in."""

import base64
import email
import re
import subprocess
import time

import pytest

import harness
import logins
from harness import wait_for

PYTHON = "/usr/bin/python3"
CLIENT = "127.0.1.5"
ZONE = r"""
$ORIGIN .
pass.example. 60 IN TXT "v=spf1 ip4:127.0.1.5 -all"
pass.example. 60 IN MX 10 mail.pass.example.
fail.example. 60 IN TXT "v=spf1 ip4:192.0.2.1 -all"
soft.example. 60 IN TXT "v=spf1 ~all"
slow.example. 60 IN TXT "v=spf1 include:never.example -all"
; TIMEOUT never.example
; SERVFAIL broken.example
; SERVFAIL _dmarc.broken.example
_dmarc.reject.example. 60 IN TXT "v=DMARC1; p=reject"
_dmarc.quarantine.example. 60 IN TXT "v=DMARC1; p=quarantine"
_dmarc.testing.example. 60 IN TXT "v=DMARC1; p=reject; t=y"
_dmarc.pass.example. 60 IN TXT "v=DMARC1; p=reject"
5.1.0.127.in-addr.arpa. 60 IN PTR mail.pass.example.
mail.pass.example. 60 IN A 127.0.1.5
127.0.0.2.bl.example. 60 IN A 127.0.0.2
2.0.0.127.wl.example. 60 IN A 127.0.0.2
5.1.0.127.wl.example. 60 IN A 127.0.9.2
"""


def openssl(*words):
    return subprocess.run(["openssl", *words], capture_output=True, check=True).stdout


class Key:
    """An RSA key with its record, and dkimpy to sign with it."""

    def __init__(self, directory, domain="signer.example", selector="s1"):
        self.domain, self.selector, self.pem = domain, selector, directory / f"{selector}.pem"
        openssl("genrsa", "-traditional", "-out", str(self.pem), "2048")
        public = base64.b64encode(openssl("rsa", "-in", str(self.pem), "-pubout", "-outform", "DER")).decode()
        text = f"v=DKIM1; k=rsa; p={public}"
        pieces = " ".join(f'"{text[i : i + 200]}"' for i in range(0, len(text), 200))
        self.zone = f"{selector}._domainkey.{domain}. 60 IN TXT {pieces}\n"

    def run(self, code, message):
        program = "import sys, dkim; m = sys.stdin.buffer.read(); key = open(sys.argv[1], 'rb').read(); sys.stdout.buffer.write(" + code + ")"
        r = subprocess.run([PYTHON, "-c", program, str(self.pem)], input=message, capture_output=True)
        assert r.returncode == 0, r.stderr.decode()
        return r.stdout

    def sign(self, message):
        return self.run(f"dkim.sign(m, b'{self.selector}', b'{self.domain}', key, canonicalize=(b'relaxed', b'relaxed')) + m", message)

    def seal(self, message, results):
        """message with another ARC set, whose AAR says what is given."""
        field = f"Authentication-Results: {results}\r\n".encode()
        code = f"b''.join(dkim.arc_sign(m, b'{self.selector}', b'{self.domain}', key, b'{results.split(';')[0]}')) + m"
        return self.run(code, field + message)


needs_dkimpy = pytest.mark.skipif(
    subprocess.run([PYTHON, "-c", "import dkim"], capture_output=True).returncode != 0, reason="python3-dkim is not installed"
)


@pytest.fixture(scope="module")
def key(tmp_path_factory):
    return Key(tmp_path_factory.mktemp("key"))


def start(place, key=None, zone="", **sections):
    return place.mx(zone=ZONE + (key.zone if key else "") + zone, dns={"zone": "{dir}/zone", "reverse_lookup": False}, **sections)


def one(server, sender="a@pass.example", data=b"From: a@pass.example\r\nSubject: x\r\n\r\nhello\r\n", source=CLIENT, to="alice@example.org", helo="client.example"):
    """Tries to send one message: (stage, reply) where it ended."""
    with server.client(source=source) as c:
        c.expect(220)
        for stage, line in (("helo", f"EHLO {helo}"), ("mail", f"MAIL FROM:<{sender}>"), ("rcpt", f"RCPT TO:<{to}>"), ("data", "DATA")):
            code, text = c.command(line)
            if code >= 400:
                return stage, text
        c.send(data + b".\r\n")
        return "data", c.reply()[1]


def delivered(server, needle=b"hello", local="alice"):
    """The message as it was accepted: delivery puts two fields above it."""
    message = harness.arrived(server, local, needle)
    return message.split(b"\nDelivered-To: ", 1)[1].split(b"\n", 1)[1]


def results(message):
    """The uppermost Authentication-Results, on one line."""
    return re.sub(r"\s+", " ", email.message_from_bytes(message)["Authentication-Results"])


def identity_of(reply):
    return re.search(r"queued as (\S+)", reply[1]).group(1)


def test_forged_results_are_not_hidden_behind_a_header_section_without_end(place):
    server = start(place, limits={"header_size": "8K"})
    # The second line ends the section for one reader; another passes over it, and would find our field far below.
    data = b"Subject: x\r\nno field\r\n" + b"X-Fill: " + b"x" * 900 + b"\r\n"
    data += b"".join(b"X-Fill: " + b"x" * 900 + b"\r\n" for _ in range(500))
    data += b"Authentication-Results: mx.example.org; dmarc=pass\r\nFrom: a@pass.example\r\n\r\nhello\r\n"
    assert one(server, data=data)[1].startswith("552 5.3.4")


def test_two_from_fields_do_not_get_past_a_policy(place):
    server = start(place, identity={"dmarc": "enforce"})
    data = b"From: a@pass.example\r\nFrom: ceo@reject.example\r\nSubject: x\r\n\r\nhello\r\n"
    assert one(server, data=data)[1].startswith("550 5.7.26")
    data = b"From: ceo@reject.example\r\nno field\r\nSubject: x\r\n\r\nhello\r\n"
    assert one(server, data=data)[1].startswith("550 5.7.26")


# --- SPF -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sender, word", [("a@pass.example", "pass"), ("a@fail.example", "fail"), ("a@soft.example", "softfail"), ("a@none.example", "none")]
)
def test_spf_decides_rules_and_stands_in_the_field(place, sender, word):
    server = start(place, gate=[{"name": "spf", "match": {"spf": word, "recipient": "bob@*"}, "action": "reject", "text": "SPF says no"}])
    assert one(server, sender)[1].startswith("250")
    text = results(delivered(server))
    assert re.match(rf"mx\.example\.org; spf={word} \(.*\) smtp\.mailfrom={sender}; ", text), text
    assert one(server, sender, to="bob@example.org") == ("rcpt", "550 5.7.1 SPF says no")


def test_spf_of_a_null_sender_is_that_of_the_name_in_helo(place):
    server = start(place, zone='helo.example. 60 IN TXT "v=spf1 ip4:127.0.1.5 -all"\n')
    assert one(server, "", helo="helo.example")[1].startswith("250")
    assert "smtp.helo=helo.example" in results(delivered(server))


def test_received_spf_is_added_where_it_is_asked_for(place):
    server = start(place, identity={"received_spf": True, "name": "trust.example.org"})
    assert one(server, "a@fail.example")[1].startswith("250")
    message = delivered(server)
    assert message.startswith(b"Authentication-Results: trust.example.org;")
    assert re.search(rb"\r?\nReceived-SPF: fail .*client-ip=127\.0\.1\.5.*\r?\nReceived: from client", message, re.S), message


def test_names_that_time_out_are_temperror_within_the_time(place):
    server = start(place, identity={"spf_time": "500ms", "time": "1s"})
    began = time.monotonic()
    assert one(server, "a@slow.example", b"From: a@broken.example\r\n\r\nhello\r\n")[1].startswith("250")
    assert time.monotonic() - began < 8 * harness.SLOW
    text = results(delivered(server))
    assert "spf=temperror" in text and "dmarc=temperror" in text


# --- whose mail ---------------------------------------------------------------------------------------------------


def test_mail_of_trusted_clients_is_left_alone(place):
    server = start(place)
    field = b"Authentication-Results: mx.example.org; spf=pass smtp.mailfrom=x.example\r\n"
    server.submit("a@fail.example", "alice@example.org", field + b"Subject: trusted\r\n\r\nhello\r\n")
    message = delivered(server)
    assert message.count(b"Authentication-Results:") == 1 and b"x.example" in message


def test_nothing_is_judged_when_it_is_switched_off(place):
    server = start(place, identity=False, gate=[{"match": {"spf": "none"}, "action": "add_header", "header": "X-Spf: none"}])
    assert one(server, "a@fail.example")[1].startswith("250")
    message = delivered(server)
    assert b"Authentication-Results" not in message and b"X-Spf: none" in message


# --- forged fields -----------------------------------------------------------------------------------------------


def test_forged_fields_are_taken_out_and_the_rest_stays(place):
    server = start(place)
    data = (
        b"X-One: 1\r\n"
        b"Authentication-Results: mx.example.org; spf=pass\r\n"
        b"Authentication-Results: other.example; spf=pass smtp.mailfrom=kept.example\r\n"
        b"authentication-results: (comment)\r\n\tMX.Example.Org 1; dkim=pass\r\n"
        b"ARC-Authentication-Results: i=1; mx.example.org; dmarc=pass header.from=forged.example\r\n"
        b"From: a@pass.example\r\n"
        b"\r\nhello\r\nAuthentication-Results: mx.example.org; in the body\r\n"
    )
    assert one(server, data=data)[1].startswith("250")
    message = delivered(server).replace(b"\r\n", b"\n")
    head, body = message.split(b"\n\n", 1)
    assert email.message_from_bytes(message).get_all("Authentication-Results")[1] == "other.example; spf=pass smtp.mailfrom=kept.example"
    assert head.lower().count(b"authentication-results:") == 2
    assert head.index(b"Authentication-Results: mx.example.org;") < head.index(b"Received:") < head.index(b"X-One: 1\nAuth")
    assert body == b"hello\nAuthentication-Results: mx.example.org; in the body\n"
    assert "claimed to be ours" in server.log()


@pytest.mark.parametrize("data", [b"", b"no header at all\r\n\r\nhello\r\n", b"\r\nhello\r\n", b"Subject: only a header, hello\r\n", b"x\r\n"])
def test_messages_of_any_shape_keep_every_byte(place, data):
    server = start(place)
    assert one(server, data=data)[1].startswith("250")
    message = wait_for(lambda: server.maildir("example.org", "alice"), what="the message")[0].replace(b"\r\n", b"\n")
    assert message.endswith(data.replace(b"\r\n", b"\n")) and b"Authentication-Results: mx.example.org;" in message
    assert message.count(b"\nReceived: ") == 1


def test_content_in_pieces_of_any_size_comes_out_the_same(place):
    server = start(place)
    data = b"Authentication-Results: mx.example.org; spf=pass\r\nX-A: b\r\nFrom: a@pass.example\r\n\r\nhello\r\n"
    with server.client(source=CLIENT) as c:
        c.hello()
        for cut in range(1, len(data), 3):
            c.begin("a@pass.example")
            c.expect(354, "DATA")
            c.send(data[:cut])
            c.was_read()
            c.send(data[cut:] + b".\r\n")
            c.expect(250)
    messages = wait_for(lambda: len(m := server.maildir("example.org", "alice")) == len(range(1, len(data), 3)) and m, what="all of them")
    assert len({re.sub(rb"(id|;) .*", b"", m.split(b"X-A: b")[1]) for m in messages}) == 1
    assert all(m.count(b"Authentication-Results") == 1 for m in messages)


# --- DKIM and ARC --------------------------------------------------------------------------------------------------


@needs_dkimpy
def test_a_signature_of_another_implementation_passes_and_a_changed_message_does_not(place, key):
    server = start(place, key, gate=[{"match": {"dkim": "pass"}, "action": "add_header", "header": "X-Dkim: it passed"}])
    message = key.sign(b"From: a@signer.example\r\nTo: alice@example.org\r\nSubject: signed\r\n\r\nhello\r\n")
    taken = one(server, "a@none.example", message)
    got = delivered(server)
    assert re.search(r"dkim=pass header\.d=signer\.example header\.i=@signer\.example header\.s=s1 header\.a=rsa-sha256 header\.b=", results(got)), got
    assert b"X-Dkim: it passed" in got
    assert one(server, "a@none.example", message.replace(b"hello", b"hallo"), to="bob@example.org")[1].startswith("250")
    bad = delivered(server, b"hallo", "bob")
    assert "dkim=fail" in results(bad) and b"X-Dkim" not in bad
    event = next(e for e in server.events(identity_of(taken)) if e["event"] == "verified")
    assert event["dkim"].startswith("pass by signer.example (selector s1): ") and event["spf"].startswith("none")


@needs_dkimpy
def test_a_chain_that_holds_is_not_broken_by_taking_out_our_own_part_and_one_that_does_not_is(place, key):
    server = start(place, key)
    plain = b"From: a@signer.example\r\nTo: alice@example.org\r\nSubject: sealed\r\n\r\nhello\r\n"
    sealed = key.seal(plain, "mx.example.org; dmarc=pass header.from=signer.example")
    assert b"ARC-Authentication-Results: i=1; mx.example.org" in sealed, sealed
    assert one(server, data=sealed)[1].startswith("250")
    good = delivered(server)
    assert "arc=pass" in results(good) and b"ARC-Authentication-Results: i=1; mx.example.org" in good, good
    assert good.index(b"Authentication-Results: mx.example.org") < good.index(b"Received: ") < good.index(b"ARC-Seal")
    assert one(server, data=sealed.replace(b"hello", b"hallo"), to="bob@example.org")[1].startswith("250")
    bad = delivered(server, b"hallo", "bob")
    assert "arc=fail" in results(bad) and b"ARC-Authentication-Results" not in bad and b"Subject: sealed" in bad


@needs_dkimpy
def test_thirty_megabytes_are_judged_in_little_memory(place, key):
    server = start(place, key)
    line = b"0123456789" * 7 + b"\r\n"
    message = key.sign(b"From: a@signer.example\r\nTo: alice@example.org\r\nSubject: large\r\n\r\n" + line * (30_000_000 // len(line)))

    def resident(which="VmHWM"):
        return int(re.search(rf"{which}:\s+(\d+)", open(f"/proc/{server.process.pid}/status").read()).group(1))

    before = resident("VmRSS")
    assert one(server, "a@signer.example", message)[1].startswith("250")
    assert resident() - before < 12_000 * (1 if harness.SLOW == 1 else 20), (before, resident())
    got = delivered(server, b"Subject: large")
    assert "dkim=pass" in results(got) and got.replace(b"\r\n", b"\n").endswith(message.replace(b"\r\n", b"\n"))


# --- DMARC -----------------------------------------------------------------------------------------------------------


def forged(domain):
    return f"From: someone@{domain}\r\nSubject: forged\r\n\r\nhello\r\n".encode()


def test_dmarc_is_only_observed_by_default(place):
    server = start(place)
    assert one(server, data=forged("reject.example"))[1].startswith("250")
    message = delivered(server)
    assert "dmarc=fail policy.dmarc=reject header.from=reject.example" in results(message)
    assert b"X-Yizhan-Quarantine" not in message


def test_enforced_dmarc_refuses_what_is_to_be_rejected_and_says_why(place):
    server = start(place, identity={"dmarc": "enforce"})
    where, text = one(server, data=forged("reject.example"))
    assert where == "data" and text.startswith("550 5.7.26 From names reject.example, but neither SPF nor DKIM proves"), text
    assert one(server, data=forged("pass.example"))[1].startswith("250")
    assert one(server, data=forged("broken.example"), to="bob@example.org")[1].startswith("250")
    assert "dmarc=temperror" in results(delivered(server, local="bob"))


def test_enforced_quarantine_is_a_field_or_a_hold(place):
    server = start(place, identity={"dmarc": "enforce"})
    for domain in ("quarantine.example", "testing.example"):
        assert one(server, data=forged(domain), to=f"{domain}@example.org")[1].startswith("250")
        message = delivered(server, local=domain)
        assert message.startswith(b"X-Yizhan-Quarantine: dmarc=fail; policy="), message
    server = start(place, identity={"dmarc": "enforce", "quarantine": "hold"})
    taken = one(server, data=forged("quarantine.example"))
    wait_for(lambda: server.summary()["held"] == 1, what="the hold")
    assert "because of identity.dmarc" in server.command("trace", identity_of(taken)).stdout


def test_quarantine_as_header_marks_what_others_would_refuse(place):
    server = start(place, identity={"dmarc": "quarantine-as-header"})
    assert one(server, data=forged("reject.example"))[1].startswith("250")
    assert delivered(server).startswith(b"X-Yizhan-Quarantine: dmarc=fail; policy=reject; domain=reject.example")


def test_a_rule_of_the_gate_goes_before_dmarc(place):
    server = start(place, identity={"dmarc": "enforce"}, gate=[{"match": {"dmarc": "fail", "sender": "pass.example"}, "action": "accept"}])
    assert one(server, data=forged("reject.example"))[1].startswith("250")
    assert one(server, "a@soft.example", forged("reject.example"))[1].startswith("550 5.7.26")


@needs_dkimpy
def test_a_sealer_that_is_believed_excuses_a_failure(place, key):
    sealed = key.seal(forged("reject.example"), "lists.example; dmarc=pass header.from=reject.example")
    server = start(place, key, identity={"dmarc": "enforce", "sealers": ["signer.example"]})
    assert one(server, data=sealed)[1].startswith("250")
    assert "arc=pass" in results(delivered(server)) and "dmarc=fail" in results(delivered(server))
    assert one(server, data=key.seal(forged("reject.example"), "lists.example; dmarc=fail"))[1].startswith("550 5.7.26")
    stranger = start(place, key, identity={"dmarc": "enforce"})
    assert one(stranger, data=sealed)[1].startswith("550 5.7.26")


# --- what the gate knows ------------------------------------------------------------------------------------------------


GREYLIST = {"greylist": {"enabled": True, "delay": "1h"}}


def test_the_greylist_lets_pass_whom_spf_proves(place):
    server = start(place, checks=GREYLIST)
    assert one(server)[1].startswith("250")
    assert one(server, "a@soft.example")[1].startswith("450 4.7.1")


@needs_dkimpy
def test_the_greylist_remembers_who_signed_before(place, key):
    server = start(place, key, checks={"greylist": {"enabled": True, "delay": "1s"}})
    message = key.sign(b"From: a@signer.example\r\nTo: alice@example.org\r\nSubject: x\r\n\r\nhello\r\n")
    assert one(server, "a@signer.example", message)[1].startswith("450 4.7.1")
    wait_for(lambda: one(server, "a@signer.example", message)[1].startswith("250"), what="the second visit")
    assert one(server, "b@signer.example", message, to="bob@example.org")[1].startswith("250")
    server.stop()
    server.start()
    assert one(server, "c@signer.example", message, to="carol@example.org")[1].startswith("250")
    assert one(server, "c@other.example", message, to="carol@example.org")[1].startswith("450")
    assert one(server, "c@signer.example", message, to="carol@example.org", source="127.0.2.5")[1].startswith("450")


def test_iprev_and_white_lists_stand_in_the_field(place):
    server = start(place, checks={"lists": [{"zone": "wl.example", "weight": -1}]})
    assert one(server)[1].startswith("250")
    text = results(delivered(server))
    assert "iprev=pass (mail.pass.example) policy.iprev=127.0.1.5" in text and "dnswl=pass dns.zone=wl.example policy.ip=127.0.9.2" in text


def test_the_trace_shows_each_verdict_with_its_reason(place):
    server = start(place)
    taken = one(server, data=forged("reject.example"))
    text = server.command("trace", identity_of(taken)).stdout
    assert "spf pass for pass.example" in text and "ip4:127.0.1.5" in text
    assert "dmarc fail for reject.example (reject.example asks for reject)" in text and "iprev pass for mail.pass.example" in text


def explain(server, message, *words):
    (server.dir / "letter").write_bytes(message.replace(b"\r\n", b"\n"))
    common = ("explain", "--client", CLIENT, "--to", "alice@example.org", "--message", str(server.dir / "letter"))
    return server.command(*common, *words, check=False).stdout


@needs_dkimpy
def test_explain_says_what_the_verdicts_would_be(place, key):
    server = start(place, key, identity={"dmarc": "enforce"}, gate=[{"match": {"dkim": "pass"}, "action": "hold"}])
    text = explain(server, forged("reject.example"), "--from", "a@fail.example")
    assert re.search(r"mail +identity\.spf +fail for fail\.example: ", text), text
    assert re.search(r"data +identity\.dmarc +fail for reject\.example \(reject\.example asks for reject\)", text), text
    assert "verdict: reject at data, by identity.dmarc: 550 5.7.26 From names reject.example" in text
    signed = key.sign(b"From: a@signer.example\r\nSubject: x\r\n\r\nhello\r\n")
    text = explain(server, signed, "--from", "a@none.example")
    assert "identity.dkim            pass by signer.example" in text and "verdict: hold" in text, text
    assert "identity." not in explain(server, signed, "--from", "a@none.example", "--user", "alice")


@pytest.mark.parametrize("complete", [True, False])
def test_what_a_user_submits_is_freed_of_forged_fields_and_says_who_logged_in_where_asked(place, complete):
    # With nothing else to change, the header is held for this alone.
    submission = {"complete": complete, "remove_bcc": complete, "add_sender": complete}
    server = logins.auth_server(place, identity={"logins": True}, submission=submission).start()
    data = b"Authentication-Results: mx.example.org; spf=pass\r\nFrom: alice@example.org\r\nSubject: mine\r\n\r\nhello\r\n"
    with logins.User(server) as c:
        assert c.plain()[0] == 235
        c.send_message("alice@example.org", ["bob@example.org"], data)
    message = delivered(server, local="bob")
    assert results(message) == "mx.example.org; auth=pass smtp.auth=alice@example.org" and message.count(b"Authentication-Results") == 1
