"""Reports to other domains: what was collected is shown, sent by mail and by HTTPS, and read by who gets it."""

import email
import gzip
import http.server
import json
import re
import shutil
import sqlite3
import ssl
import subprocess
import threading
import time
from pathlib import Path

import pytest

import harness
from dkim_peers import Peers, new_key, on_the_wire
from harness import wait_for

DAY = 86400
DMARC, TLS = 0, 1  # enum report_kind


class Collector:
    """An HTTPS server that keeps what is posted to it."""

    def __init__(self, certificate):
        self.posts, self.status = [], 201
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.posts.append((self.path, dict(self.headers), body))
                self.send_response(collector.status)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def collector(place):
    c = Collector(place.certificate("collector.example"))
    yield c
    c.close()


def ended(days=1):
    """The beginning of a day that is over."""
    return int(time.time()) // DAY * DAY - days * DAY


def collect(server, kind, domain, rows, begin=None, policy=None):
    """Rows as the server keeps them, as if it had collected them."""
    begin = ended() if begin is None else begin
    db = sqlite3.connect(server.dir / "spool/reports.db")
    with db:
        for row, count in rows:
            db.execute("INSERT INTO rows VALUES (?, ?, ?, ?, ?)", (kind, begin, domain, json.dumps(row), count))
        if policy:
            db.execute("INSERT INTO policies VALUES (?, ?, ?, ?)", (kind, begin, domain, json.dumps({"domain": domain, **policy})))
    db.close()


def dmarc_row(**more):
    return {
        "ip": "192.0.2.7",
        "disposition": "pass",
        "dkim": "pass",
        "spf": "fail",
        "from": "author.example",
        "mail_from": "bounce.example",
        "spf_domain": "bounce.example",
        "spf_result": "softfail",
        "signatures": [{"domain": "author.example", "selector": "s1", "result": "pass"}],
        **more,
    }


POLICY = {"p": "reject", "sp": "reject", "np": "reject", "adkim": "r", "aspf": "r", "fo": "0", "testing": "n"}


def reporter(place, zone="", identity=None, **reports):
    """A server that reports, whose file is there."""
    server = place.mx(zone="$ORIGIN .\n" + zone, dns={"zone": "{dir}/zone", "reverse_lookup": False},
                      reports={"dmarc": True, "tls": True, "organization": "Us", **reports}, identity=identity)  # fmt: skip
    server.stop()
    db = sqlite3.connect(server.dir / "spool/reports.db")
    db.executescript(
        "CREATE TABLE rows (kind INTEGER, begin INTEGER, domain TEXT, row TEXT, count INTEGER, PRIMARY KEY (kind, begin, domain, row)) WITHOUT ROWID;"
        "CREATE TABLE policies (kind INTEGER, begin INTEGER, domain TEXT, policy TEXT, PRIMARY KEY (kind, begin, domain)) WITHOUT ROWID;"
        "CREATE TABLE cuts (kind INTEGER, at INTEGER, PRIMARY KEY (kind, at)) WITHOUT ROWID;"
        "CREATE TABLE sends (kind INTEGER, begin INTEGER, domain TEXT, attempts INTEGER, first INTEGER, next INTEGER, done TEXT,"
        " PRIMARY KEY (kind, begin, domain)) WITHOUT ROWID;"
    )
    db.close()
    server.start()
    return server


def test_an_aggregate_report_arrives_and_is_read(place):
    server = reporter(place, '_dmarc.author.example. 60 IN TXT "v=DMARC1; p=reject"\n'
                             'author.example._report._dmarc.example.org. 60 IN TXT "v=DMARC1"\n')  # fmt: skip
    collect(server, DMARC, "author.example", [(dmarc_row(), 12), (dmarc_row(ip="2001:db8::7", dkim="fail", disposition="reject"), 2)],
            policy={**POLICY, "rua": "mailto:dmarc@example.org"})  # fmt: skip
    collect(server, DMARC, "other.example", [(dmarc_row(), 1)], policy={**POLICY, "rua": "mailto:x@elsewhere.example"})
    assert [(r["domain"], r["rows"], r["count"]) for r in server.json("dmarc", "show")] == [("author.example", 2, 14), ("other.example", 1, 1)]
    detail = server.json("dmarc", "show", "author.example")[0]
    assert detail["rows"][0]["source_ip"] == "192.0.2.7" and detail["rows"][0]["count"] == 12
    assert "192.0.2.7" in server.command("dmarc", "show", "author.example").stdout

    would = server.json("dmarc", "send", "--dry-run")
    assert [(r["domain"], r["to"], r["result"]) for r in would] == [
        ("author.example", "mailto:dmarc@example.org", "would be sent"),
        ("other.example", "", "nobody wants it"),
    ]
    assert server.summary()["messages"] == 0 and len(server.json("dmarc", "show")) == 2
    sent = server.json("dmarc", "send")
    assert [r["result"] for r in sent] == ["sent", "nobody wants it"]
    message = harness.arrived(server, "dmarc", b"Report Domain: author.example")
    assert b"\nTLS-Required: No" in message and b"\nFrom: <postmaster@mx.example.org>" in message
    assert server.json("dmarc", "show") == []

    maildir = server.dir / "mail/example.org/dmarc"
    (report,) = server.json("dmarc", "read", str(maildir))
    assert report["organization"] == "Us" and report["domain"] == "author.example" and report["policy"]["p"] == "reject"
    assert report["begin"].startswith(time.strftime("%Y-%m-%dT00:00:00Z", time.gmtime(ended())))
    assert sorted((r["source_ip"], r["count"], r["disposition"]) for r in report["rows"]) == [("192.0.2.7", 12, "pass"), ("2001:db8::7", 2, "reject")]
    assert "author.example, reported by Us" in server.command("dmarc", "read", str(maildir)).stdout


def test_reports_are_signed(place, tmp_path):
    """RFC 8460 section 3, RFC 9990 section 2.5.2."""
    key, record = new_key(tmp_path, "r1")
    server = reporter(place, '_dmarc.author.example. 60 IN TXT "v=DMARC1; p=reject"\n'
                             'author.example._report._dmarc.example.org. 60 IN TXT "v=DMARC1"\n' + record,
                      identity={"sign": [{"domain": "example.org", "keys": [{"selector": "r1", "file": key}]}]})  # fmt: skip
    collect(server, DMARC, "author.example", [(dmarc_row(), 12)], policy={**POLICY, "rua": "mailto:dmarc@example.org"})
    assert [r["result"] for r in server.json("dmarc", "send")] == ["sent"]
    message = on_the_wire(harness.arrived(server, "dmarc", b"Report Domain: author.example"))
    assert message.startswith(b"DKIM-Signature: v=1; a=rsa-sha256;") and Peers(record).dkimpy(message) == ["pass"]


def test_a_tls_report_is_posted(place, collector):
    server = reporter(
        place,
        f'_smtp._tls.there.example. 60 IN TXT "v=TLSRPTv1; rua=https://collector.example:{collector.port}/v1/reports?a=b"\n'
        "collector.example. 60 IN A 127.0.0.1\n",
        private_hosts=True,
        ca_file=str(place.certificate("collector.example")[0]),
    )
    policy = {"type": "sts", "domain": "there.example", "strings": "version: STSv1\nmode: enforce", "patterns": "mx.there.example"}
    rows = [(policy, 100), ({**policy, "result": "certificate-expired", "mx": "mx.there.example", "remote": "192.0.2.9", "local": "192.0.2.1"}, 3)]
    collect(server, TLS, "there.example", rows)
    collector.status = 503
    (row,) = server.json("tlsrpt", "send")
    assert row["result"] == "it answers with status 503"
    assert server.json("tlsrpt", "show")[0]["attempts"] == 1
    collector.status = 200
    (row,) = server.json("tlsrpt", "send", "there.example")
    assert row["result"] == "sent"
    path, headers, body = collector.posts[-1]
    assert path == "/v1/reports?a=b" and headers["Content-Type"] == "application/tlsrpt+gzip"
    report = json.loads(gzip.decompress(body))
    assert report["contact-info"] == "postmaster@mx.example.org"
    assert report["policies"][0]["summary"] == {"total-successful-session-count": 100, "total-failure-session-count": 3}
    assert collector.posts[0][2] == body  # the same report under the same name
    assert server.json("tlsrpt", "show") == []
    (server.dir / "report.json.gz").write_bytes(body)
    (read,) = server.json("tlsrpt", "read", str(server.dir / "report.json.gz"))
    assert read["policies"][0]["details"][0]["result"] == "certificate-expired"


def test_a_report_is_posted_to_no_stranger_and_not_into_our_own_network(place, collector):
    zone = (
        f'_smtp._tls.a.example. 60 IN TXT "v=TLSRPTv1; rua=https://collector.example:{collector.port}/"\n'
        f'_smtp._tls.b.example. 60 IN TXT "v=TLSRPTv1; rua=https://stranger.example:{collector.port}/"\n'
        "collector.example. 60 IN A 127.0.0.1\nstranger.example. 60 IN A 127.0.0.1\n"
    )
    row = [({"type": "no-policy-found", "domain": "a.example"}, 1)]
    ca_file = str(place.certificate("collector.example")[0])
    server = reporter(place, zone, ca_file=ca_file)
    collect(server, TLS, "a.example", row)
    (outcome,) = server.json("tlsrpt", "send")
    assert outcome["result"] == "its name leads to a private address"
    server = reporter(place, zone, ca_file=ca_file, private_hosts=True)
    collect(server, TLS, "b.example", row)
    (outcome,) = server.json("tlsrpt", "send")
    assert "certificate" in outcome["result"].lower() or "SSL" in outcome["result"]
    assert collector.posts == []


def test_reports_that_are_off_are_refused_with_what_to_do(place):
    server = place.mx(zone="$ORIGIN .\n")
    r = server.command("dmarc", "send", check=False)
    assert r.returncode == 1 and "set reports.dmarc: true" in r.stderr
    r = server.command("tlsrpt", "send", "--dry-run", check=False)
    assert r.returncode == 1 and "set reports.tls: true" in r.stderr
    assert server.command("dmarc", "show").stdout == "nothing was collected yet\n"
    for words in (["dmarc"], ["dmarc", "sned"], ["dmarc", "read"], ["dmarc", "show", "a", "b"], ["dmarc", "show", "--dry-run"]):
        assert server.command(*words, check=False).returncode == 2


def test_what_holds_no_report_is_named_and_the_rest_is_read(place, tmp_path):
    server = place.mx(start=False)
    directory = tmp_path / "reports"
    directory.mkdir()
    (directory / "bomb.gz").write_bytes(gzip.compress(b"<feedback>" + b" " * (100 << 20)))
    (directory / "lunch.eml").write_bytes(b"Subject: lunch?\n\nAt twelve.\n")
    (directory / "evil.xml").write_bytes(b"<!DOCTYPE f [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><feedback>&x;</feedback>")
    (directory / "good.xml").write_bytes(
        b"<feedback><policy_published><domain>a.example</domain><p>none</p></policy_published><record><row><source_ip>192.0.2.1</source_ip>"
        b"<count>5</count></row></record></feedback>"
    )
    r = server.command("dmarc", "read", str(directory), "--json", check=False)
    assert r.returncode == 1
    assert [x["domain"] for x in json.loads(r.stdout)] == ["a.example"]
    assert "bomb.gz: an archive was left" in r.stderr and "lunch.eml: a message holds no report" in r.stderr and "DOCTYPE" in r.stderr
    assert server.command("dmarc", "read", str(directory / "nothing"), check=False).returncode == 1


# --- two servers ----------------------------------------------------------------------------------------------------

RECEIVER, AUTHOR, FORGER = "127.0.1.21", "127.0.1.22", "127.0.1.23"


def two_servers(place, tmp_path):
    """One that reports, and that of the domain it reports about; each finds the other by the same zone."""
    port = harness.free_port(RECEIVER, AUTHOR)
    key, record = new_key(tmp_path, "r1", domain="mx.receiver.example")
    zone = (
        "$ORIGIN .\n"
        f'author.example. 60 IN TXT "v=spf1 ip4:{AUTHOR} -all"\n'
        f"author.example. 60 IN MX 10 mx.author.example.\nmx.author.example. 60 IN A {AUTHOR}\n"
        '_dmarc.author.example. 60 IN TXT "v=DMARC1; p=quarantine; sp=reject; rua=mailto:dmarc@author.example!1m; ruf=mailto:ruf@author.example"\n'
        '_smtp._tls.author.example. 60 IN TXT "v=TLSRPTv1; rua=mailto:tls@author.example"\n'
        '_dmarc.mx.receiver.example. 60 IN TXT "v=DMARC1; p=reject"\n' + record + "\n"
    )
    common = {"zone": zone, "port": port, "dns": {"zone": "{dir}/zone", "reverse_lookup": False}, "deliver": {"port": port}}
    author = place.mx(address=AUTHOR, hostname="mx.author.example", domains=["author.example"], **common)
    receiver = place.mx(
        address=RECEIVER,
        hostname="mx.receiver.example",
        domains=["receiver.example"],
        reports={"dmarc": True, "tls": True, "failures": True, "organization": "The Receiver"},
        identity={"sign": [{"domain": "mx.receiver.example", "keys": [{"selector": "r1", "file": key}]}]},
        **common,
    )
    return receiver, author


def bring(server, source, sender="joe@author.example", domain="author.example"):
    with server.client(source=source) as c:
        c.hello()
        c.begin(sender, ("bob@receiver.example",))
        c.expect(354, "DATA")
        c.send(f"From: <joe@{domain}>\r\nTo: <bob@receiver.example>\r\nSubject: hello\r\n\r\nhello\r\n.\r\n".encode())
        return c.reply()[0]


def test_what_one_server_sees_of_mail_another_reads_in_its_report(place, tmp_path):
    receiver, author = two_servers(place, tmp_path)
    assert [bring(receiver, AUTHOR), bring(receiver, AUTHOR), bring(receiver, FORGER)] == [250, 250, 250]
    bring(receiver, FORGER, domain="sub.author.example")
    (waits,) = receiver.json("dmarc", "show")
    assert (waits["domain"], waits["rows"], waits["count"]) == ("author.example", 3, 4)

    (sent,) = receiver.json("dmarc", "send")
    assert (sent["to"], sent["result"]) == ("mailto:dmarc@author.example", "sent")
    message = harness.arrived(author, "dmarc", b"Submitter: mx.receiver.example", domain="author.example")
    verdict = re.sub(rb"\s+", b" ", message)
    assert b"dkim=pass" in verdict and b"dmarc=pass" in verdict  # RFC 9990 section 2.5.2
    (report,) = author.json("dmarc", "read", str(author.dir / "mail/author.example/dmarc"))
    assert report["organization"] == "The Receiver" and report["email"] == "postmaster@mx.receiver.example"
    assert report["policy"]["p"] == "quarantine" and report["policy"]["sp"] == "reject"
    rows = {(r["source_ip"], r["header_from"]): r for r in report["rows"]}
    good = rows[AUTHOR, "author.example"]
    assert (good["count"], good["disposition"], good["spf"], good["dkim"]) == (2, "pass", "pass", "fail")
    assert (good["envelope_from"], good["spf_domain"], good["spf_result"]) == ("author.example", "author.example", "pass")
    forged = rows[FORGER, "author.example"]
    assert (forged["count"], forged["spf"], forged["spf_result"]) == (1, "fail", "fail")
    assert rows[FORGER, "sub.author.example"]["count"] == 1
    assert receiver.json("dmarc", "show") == []

    failure = harness.arrived(author, "ruf", b"Auth-Failure: dmarc", domain="author.example")
    assert f"Source-IP: {FORGER}".encode() in failure and b"bob@receiver.example" not in failure.split(b"\n\n", 1)[1]

    # As the schema has it, when xmllint is there.
    if shutil.which("xmllint"):
        (part,) = [p for p in email.message_from_bytes(message).walk() if p.get_content_type() == "application/gzip"]
        (tmp_path / "report.xml").write_bytes(gzip.decompress(part.get_payload(decode=True)))
        schema = Path(__file__).resolve().parent.parent / "unit/dmarc_report.rng"
        subprocess.run(["xmllint", "--noout", "--relaxng", str(schema), str(tmp_path / "report.xml")], check=True, capture_output=True)


def test_how_one_server_reaches_another_it_reads_in_its_report(place, tmp_path):
    receiver, author = two_servers(place, tmp_path)
    receiver.submit("bob@receiver.example", "joe@author.example")
    harness.arrived(author, "joe", b"hello", domain="author.example")
    wait_for(lambda: receiver.json("tlsrpt", "show"), what="the note about the connection")
    (sent,) = receiver.json("tlsrpt", "send")
    assert (sent["domain"], sent["to"], sent["result"]) == ("author.example", "mailto:tls@author.example", "sent")
    message = harness.arrived(author, "tls", b"TLS-Report-Domain: author.example", domain="author.example")
    signature = re.sub(rb"\s+", b"", message.split(b"DKIM-Signature:", 1)[1].split(b"b=", 1)[0])
    assert b":TLS-Report-Domain:TLS-Report-Submitter" in signature
    (report,) = author.json("tlsrpt", "read", str(author.dir / "mail/author.example/tls"))
    assert report["contact"] == "postmaster@mx.receiver.example"
    (policy,) = report["policies"]
    assert (policy["type"], policy["domain"], policy["successes"], policy["failures"]) == ("no-policy-found", "author.example", 0, 1)
    (failure,) = policy["details"]
    assert failure["result"] == "starttls-not-supported" and failure["mx"] == failure["helo"] == "mx.author.example"
    assert failure["receiving_ip"] == AUTHOR and failure["sending_ip"].startswith("127.")
    # The report itself went without TLS, too, and that is not reported (RFC 8460 section 3).
    assert receiver.json("tlsrpt", "show") == []
