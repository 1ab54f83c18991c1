"""MTA-STS (RFC 8461) against a real HTTPS server on loopback with a CA of its own."""

import http.server
import json
import sqlite3
import ssl
import threading
import time

import harness
import pytest
from authority import DAY, Authority
from harness import SLOW, wait_for
from peer import Peer

WEB = "127.0.3.100"


def policy(mode="enforce", *mx, max_age=86400):
    return "\r\n".join(["version: STSv1", f"mode: {mode}", *[f"mx: {m}" for m in mx], f"max_age: {max_age}", ""])


class Web:
    """An HTTPS server that shows each domain's policy host its own certificate and what `answers` has for the domain: a text,
    or (status, headers, body)."""

    def __init__(self, port):
        self.port, self.answers, self.contexts, self.asked = port, {}, {}, []
        web = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                domain = self.headers["Host"].split(":")[0].removeprefix("mta-sts.")
                web.asked.append((domain, self.path))
                answer = web.answers.get(domain, (404, {}, ""))
                status, headers, body = answer if isinstance(answer, tuple) else (200, {}, answer)
                self.send_response(status)
                for name, value in {"Content-Type": "text/plain; charset=utf-8", **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer((WEB, port), Handler)
        base = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        base.sni_callback = lambda s, name, _: setattr(s, "context", self.contexts.get(name, base))
        self.base = base
        self.open = True
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        self.server.socket = self.base.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.server.serve_forever(poll_interval=0.05)

    def show(self, domain, pair):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*map(str, pair))
        self.contexts[f"mta-sts.{domain}"] = context
        if not self.open:
            return
        self.base.load_cert_chain(*map(str, pair))

    def count(self, domain):
        return sum(d == domain for d, _ in self.asked)

    def close(self):
        if self.open:
            self.open = False
            self.server.shutdown()
            self.server.server_close()


class Scene:
    """domain(...) makes one with its policy, its host and its records; server() starts what is tested."""

    def __init__(self, directory):
        self.directory = directory
        self.authority = Authority(directory)
        self.stranger = Authority(directory, "Stranger")
        self.port = harness.free_port(*[f"127.0.3.{i}" for i in range(1, 30)])
        self.web = Web(harness.free_port(WEB))
        self.peers, self.records, self.servers = {}, [], []

    def domain(self, name, answer=None, certificate=None, web=None, host=None, record="v=STSv1; id=1;", tls=True, secure=False):
        """certificate: of the mail host (default: a good one). web: of the policy host. record: None for none."""
        host = host or f"mx.{name}"
        address = f"127.0.3.{len(self.peers) + 1}"
        issued = certificate or self.authority.issue(host)
        self.peers[name] = Peer(address=address, port=self.port, tls=issued.pair if tls else None)
        self.records += [f"{name}. MX 10 {host}.", f"{host}. A {address}", f"mta-sts.{name}. A {WEB}"]
        if record:
            self.records.append(f'_mta-sts.{name}. 1 TXT "{record}"')
        if secure:
            self.records.append(f"; SECURE {name}.")
        if answer is not None:
            self.web.answers[name] = answer
        self.web.show(name, (web or self.authority.issue(f"mta-sts.{name}")).pair)
        return self.peers[name]

    def server(self, spool=None, **sections):
        port = harness.free_port("127.0.0.1")
        sections["mta_sts"] = {
            "port": self.web.port,
            "ca_file": str(self.authority.file),
            "timeout": "3s",
            **sections.get("mta_sts", {}),
        }
        if spool:
            sections["spool"] = {"path": str(spool)}
        config = harness.configuration(
            port, hostname="out.example.net", deliver={"port": self.port, "ca_file": str(self.authority.file)}, **sections
        )
        self.servers.append(harness.Server(config, port=port, zone="\n".join(self.records)).start())
        return self.servers[-1]

    def close(self):
        for s in self.servers:
            s.close()
        for p in self.peers.values():
            p.close()
        self.web.close()


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """One server, and a domain for each kind of policy."""
    s = Scene(tmp_path_factory.mktemp("sts"))
    a = s.authority
    s.domain("good.example", policy("enforce", "mx.good.example"))
    s.domain("wild.example", policy("enforce", "mx.else.example", "*.hosts.example"), host="a.hosts.example")
    s.domain("misnamed.example", policy("enforce", "mx.misnamed.example"), certificate=a.issue("else.example"))
    s.domain("unknown-ca.example", policy("enforce", "*.unknown-ca.example"), certificate=s.stranger.issue("mx.unknown-ca.example"))
    s.domain("expired.example", policy("enforce", "mx.expired.example"), certificate=a.issue("mx.expired.example", left=-DAY))
    s.domain("clear.example", policy("enforce", "mx.clear.example"), tls=False)
    s.domain("other-mx.example", policy("enforce", "mail.other-mx.example"))
    s.domain("testing.example", policy("testing", "mx.testing.example"), certificate=a.issue("else.example"))
    s.domain("testing-clear.example", policy("testing", "elsewhere.example"), tls=False)
    s.domain("none.example", policy("none"), certificate=a.issue("else.example"))
    # What is no policy: mail goes as if there were none, over the wrong certificate too.
    wrong = {"certificate": a.issue("else.example")}
    s.domain("absent.example", **wrong)
    s.domain("redirect.example", (301, {"Location": f"https://mta-sts.good.example:{s.web.port}/.well-known/mta-sts.txt"}, ""), **wrong)
    s.domain("large.example", policy("enforce", *[f"mx{i}.large.example" for i in range(4000)]), **wrong)
    s.domain("html.example", (200, {"Content-Type": "text/html"}, policy("enforce", "mx.html.example")), **wrong)
    s.domain("nonsense.example", "version: STSv1\r\nmode: strict\r\n", **wrong)
    s.domain("bad-web.example", policy("enforce", "mx.bad-web.example"), web=s.stranger.issue("mta-sts.bad-web.example"), **wrong)
    s.domain("web-name.example", policy("enforce", "mx.web-name.example"), web=a.issue("www.web-name.example"), **wrong)
    s.domain("no-record.example", policy("enforce", "elsewhere.example"), record=None, **wrong)
    s.domain("bad-record.example", policy("enforce", "elsewhere.example"), record="v=STSv1;", **wrong)
    # A host whose TLSA record describes its certificate, which no CA has signed.
    own = s.stranger.issue("else.example")
    s.domain("dane.example", policy("enforce", "mx.dane.example"), certificate=own, secure=True)
    from authority import tlsa

    s.records.append(f"_{s.port}._tcp.mx.dane.example. TLSA {tlsa(own.certificate)}")
    # And one whose TLSA record does not, though a CA has.
    s.domain("dane-wrong.example", policy("enforce", "mx.dane-wrong.example"), secure=True)
    s.records.append(f"_{s.port}._tcp.mx.dane-wrong.example. TLSA 3 1 1 {'00' * 32}")
    s.usual = s.server()
    yield s
    s.close()


def send(server, domain, parameters="", data=b"Subject: test\r\n\r\nhello\r\n"):
    return server.submit("alice@example.org", f"bob@{domain}", data, parameters)


def event(server, identity, kind):
    return wait_for(lambda: next((e for e in server.events(identity) if e["event"] == kind), None), what=f"the event {kind}")


def delivered(server, domain, **options):
    return event(server, send(server, domain, **options), "delivered")


@pytest.mark.parametrize("domain", ["good.example", "wild.example"])
def test_a_host_that_the_policy_names_and_whose_certificate_holds_gets_the_mail(scene, domain):
    e = delivered(scene.usual, domain)
    assert e["tls_wanted"] == f"verify, MTA-STS enforce of {domain}" and e["tls_reached"] == "verified"
    assert (domain, "/.well-known/mta-sts.txt") in scene.web.asked


@pytest.mark.parametrize(
    "domain, words",
    [
        ("misnamed.example", "hostname mismatch"),
        ("unknown-ca.example", "certificate"),
        ("expired.example", "certificate has expired"),
        ("clear.example", "does not offer STARTTLS"),
        ("other-mx.example", "does not name mx.other-mx.example among its hosts (mail.other-mx.example)"),
    ],
)
def test_what_the_policy_does_not_allow_waits(scene, domain, words):
    identity = send(scene.usual, domain)
    e = event(scene.usual, identity, "attempt")
    assert words in e["reply"] and e["outcome"] == "deferred" and e["class"] == "tls", e
    assert "MTA-STS" in e["reply"]
    assert not scene.peers[domain].messages
    scene.usual.command("queue", "remove", identity)


@pytest.mark.parametrize("domain", ["testing.example", "testing-clear.example"])
def test_in_testing_mode_mail_goes_all_the_same(scene, domain):
    e = delivered(scene.usual, domain)
    assert e["tls_wanted"] == f"may, MTA-STS testing of {domain}"


def test_mode_none_is_no_policy(scene):
    assert delivered(scene.usual, "none.example")["tls_wanted"] == "may"


@pytest.mark.parametrize(
    "domain, words",
    [
        ("absent.example", "status 404"),
        ("redirect.example", "redirects"),
        ("large.example", "64 KB"),
        ("html.example", "text/html"),
        ("nonsense.example", "mode is neither"),
        ("bad-web.example", "certificate"),
        ("web-name.example", "certificate"),
    ],
)
def test_what_is_no_policy_changes_nothing_and_is_told(scene, domain, words):
    e = delivered(scene.usual, domain)
    assert e["tls_wanted"] == "may" and e["tls_reached"].startswith("unverified")
    line = next(l for l in scene.usual.log().splitlines() if "MTA-STS policy can't be fetched" in l and domain in l)
    assert words in line, line
    # Not asked for again so soon.
    count = scene.web.count(domain)
    delivered(scene.usual, domain)
    assert scene.web.count(domain) == count


@pytest.mark.parametrize("domain", ["no-record.example", "bad-record.example"])
def test_without_a_record_nobody_is_asked(scene, domain):
    assert delivered(scene.usual, domain)["tls_wanted"] == "may"
    assert scene.web.count(domain) == 0


def test_dane_decides_where_there_is_dane(scene):
    assert delivered(scene.usual, "dane.example")["tls_reached"] == "dane (usage 3)"
    identity = send(scene.usual, "dane-wrong.example")
    assert "TLSA" in event(scene.usual, identity, "attempt")["reply"]
    assert not scene.peers["dane-wrong.example"].messages
    scene.usual.command("queue", "remove", identity)


def test_a_message_that_wants_no_tls_passes(scene):
    data = b"Subject: your certificate is wrong\r\nTLS-Required: No\r\n\r\nhello\r\n"
    assert delivered(scene.usual, "misnamed.example", data=data)["tls_wanted"] == "may, TLS-Required: No"
    scene.peers["misnamed.example"].messages.clear()


def test_one_fetch_serves_many_messages(scene):
    count = scene.web.count("good.example")
    assert count <= 1
    for _ in range(3):
        delivered(scene.usual, "good.example")
    assert scene.web.count("good.example") == max(count, 1)


def test_what_came_of_it_is_counted_for_the_tls_reports(alone):
    """RFC 8460: a result for each session and policy."""
    wrong = alone.authority.issue("else.example")
    alone.domain("good.example", policy("enforce", "mx.good.example"))
    alone.domain("testing.example", policy("testing", "mx.testing.example"), certificate=wrong)
    alone.domain("absent.example", certificate=wrong)
    alone.domain("clear.example", policy("enforce", "mx.clear.example"), tls=False)
    alone.domain("other.example", policy("enforce", "mail.other.example"))
    server = alone.server(reports={"tls": True, "from": "reports@example.org"})
    for domain in ("good.example", "testing.example", "absent.example"):
        delivered(server, domain)
    for domain in ("clear.example", "other.example"):
        event(server, send(server, domain), "attempt")
    # What the sender did not want to be held against the receiver is nobody's business.
    send(server, "clear.example", data=b"Subject: x\r\nTLS-Required: No\r\n\r\nx\r\n")

    def policies(domain):
        (report,) = wait_for(lambda: json.loads(server.command("tlsrpt", "show", domain, "--json").stdout), what="a row")
        return {p["type"]: p for p in report["policies"]}

    good = policies("good.example")["sts"]
    assert (good["successes"], good["failures"], good["mx_hosts"]) == (1, 0, ["mx.good.example"])
    assert good["strings"] == policy("enforce", "mx.good.example").strip().split("\r\n")
    (detail,) = policies("testing.example")["sts"]["details"]
    assert detail["result"] == "certificate-host-mismatch" and detail["mx"] == "mx.testing.example"
    absent = policies("absent.example")
    assert absent["no-policy-found"]["successes"] == 1
    assert absent["sts"]["details"][0]["result"] == "sts-policy-fetch-error"
    clear = policies("clear.example")
    assert clear["sts"]["details"][0]["result"] == "starttls-not-supported" and "no-policy-found" not in clear
    assert policies("other.example")["sts"]["details"][0]["result"] == "validation-failure"


def test_route_shows_the_policy(scene):
    def look(domain):
        return json.loads(scene.usual.command("route", f"bob@{domain}", "--json").stdout)["ladder"][0]["hosts"][0]

    host = look("good.example")
    assert host["mta_sts"] == {"mode": "enforce", "id": "1", "max_age": 86400, "hosts": ["mx.good.example"]}
    assert host["wanted"] == "verify, MTA-STS enforce of good.example"
    assert "does not name mx.other-mx.example" in look("other-mx.example")["refused"]
    assert "64 KB" in look("large.example")["mta_sts"]["trouble"]
    text = scene.usual.command("route", "bob@testing.example").stdout
    assert "MTA-STS: testing, id 1" in text and "must show: may, MTA-STS testing of testing.example" in text


# --- what is kept ------------------------------------------------------------------------------------------------------


@pytest.fixture
def alone(tmp_path):
    s = Scene(tmp_path)
    yield s
    s.close()


def change(server, old, new):
    """Another record in the zone: seen by the next server that starts."""
    path = server.dir / "zone"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def test_a_policy_outlives_a_restart_and_its_server(alone):
    alone.domain("kept.example", policy("enforce", "mx.kept.example"), certificate=alone.authority.issue("else.example"))
    server = alone.server()
    identity = send(server, "kept.example")
    assert "hostname mismatch" in event(server, identity, "attempt")["reply"]
    assert sqlite3.connect(server.dir / "spool" / "mta-sts.db").execute("SELECT domain, id FROM policies").fetchall() == [
        ("kept.example", "1")
    ]
    server.stop()
    alone.web.close()
    change(server, "_mta-sts.kept.example.", "_gone.kept.example.")
    server.start()
    identity = send(server, "kept.example")
    assert "hostname mismatch" in event(server, identity, "attempt")["reply"]
    assert not alone.peers["kept.example"].messages


def test_a_policy_that_has_expired_does_not_count(alone):
    alone.domain("old.example", policy("enforce", "mx.old.example", max_age=2), certificate=alone.authority.issue("else.example"))
    server = alone.server()
    identity = send(server, "old.example")
    assert "hostname mismatch" in event(server, identity, "attempt")["reply"]
    alone.web.close()
    event(server, identity, "delivered")
    assert alone.peers["old.example"].messages


def test_a_new_id_brings_a_new_policy(alone):
    """The administrator has corrected the policy: the message that waited goes."""
    alone.domain("new.example", policy("enforce", "wrong.new.example"))
    server = alone.server()
    identity = send(server, "new.example")
    assert "does not name mx.new.example" in event(server, identity, "attempt")["reply"]
    alone.web.answers["new.example"] = policy("enforce", "mx.new.example")
    server.stop()
    change(server, "id=1;", "id=2;")
    server.start()
    assert event(server, identity, "delivered")["tls_reached"] == "verified"
    assert alone.web.count("new.example") == 2


def test_policies_are_renewed_in_the_background(alone):
    alone.domain("fresh.example", policy("enforce", "mx.fresh.example", max_age=8))
    server = alone.server(mta_sts={"look": "100ms", "refresh": "1s"})
    event(server, send(server, "fresh.example"), "delivered")
    wait_for(lambda: alone.web.count("fresh.example") >= 3, 30, "two renewals")
    assert server.rows() == []
    # When it can't be renewed, the old one counts, and the log says so.
    alone.web.close()
    wait_for(lambda: "can't be renewed" in server.log(), 20, "a line in the log")
    assert event(server, send(server, "fresh.example"), "delivered")["tls_reached"] == "verified"


def test_a_slow_policy_host_holds_mail_no_longer_than_its_time(alone):
    alone.domain("slow.example", policy("enforce", "mx.slow.example"))
    alone.web.close()
    listener = __import__("socket").create_server((WEB, alone.web.port))  # accepts, and says nothing
    server = alone.server(mta_sts={"timeout": "1s"})
    begun = time.monotonic()
    event(server, send(server, "slow.example"), "delivered")
    assert 0.5 < time.monotonic() - begun < 6 * SLOW
    listener.close()


def test_requiretls_takes_a_name_from_a_policy(alone):
    """RFC 8689 section 4.2.1: nothing else vouches for the host, as the MX is not signed."""
    for name, mode in (("tested.example", "testing"), ("bare.example", None)):
        alone.domain(name, policy(mode, f"mx.{name}") if mode else None, record="v=STSv1; id=1;" if mode else None)
        alone.peers[name].extensions.append("REQUIRETLS")
    pair = alone.authority.issue("out.example.net").pair
    server = alone.server(tls={"certificate": str(pair[0]), "key": str(pair[1])})

    def hand_over(domain):
        with server.client(trusted=True) as c:
            c.hello()
            c.starttls()
            c.expect(250, "EHLO client.example")
            return c.send_message("alice@example.org", [f"bob@{domain}"], parameters=" REQUIRETLS").split("queued as ")[1].split()[0]

    assert event(server, hand_over("tested.example"), "delivered")["tls_reached"] == "verified"
    assert "nothing vouches for the name" in event(server, hand_over("bare.example"), "failed")["reason"]
