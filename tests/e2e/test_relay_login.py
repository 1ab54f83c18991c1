"""Logging in to relays: each mechanism at a second Yizhan, which knows them all, and at peers with a will of their own; access
tokens, which are fetched and renewed; certificates of ours."""

import base64
import json
import re
import ssl
import threading
import time

import pytest

import harness
import peer as peers
from authority import Authority
from harness import wait_for
from https_forms import FormServer
from logins import ALICE, PASSWORD, auth_server, logged
from outgoing import arrival

BOB = "bob@example.org"
NO_LOCKS = {"failures_per_address": 0, "failures_per_account": 0}
SECRET = "client s3cret/+&="


def secret(place, text, name="secret"):
    path = place.tmp / name
    path.write_text(text + "\n")
    path.chmod(0o600)
    return str(path)


def sender(place, port, login, tls="required", host="127.0.0.1", **sections):
    """A server that sends everything to one relay."""
    return place.mx(
        hostname="out.example.net",
        domains=["local.example"],
        relays={"out": {"hosts": [f"{host}:{port}"], "tls": tls, "login": login}},
        routes=[{"to": "*", "via": [{"relay": "out"}]}],
        **sections,
    )


def send(server, to=BOB):
    return server.submit(ALICE, to)


def last(server, identity, kind):
    """The last event of this kind, once it is there."""
    wait_for(lambda: [e for e in server.events(identity) if e["event"] == kind], what=f"{kind} of {identity}")
    return [e for e in server.events(identity) if e["event"] == kind][-1]


# --- passwords ---------------------------------------------------------------------------------------------------------

MECHANISMS = ["PLAIN", "LOGIN", "SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256-PLUS"]


def both(place, mechanisms, login=None, **options):
    """The relay, with users, and the server that sends there."""
    relay = auth_server(place, {"mechanisms": mechanisms}, **options)
    relay.start()
    login = {"user": ALICE, "password_file": secret(place, PASSWORD), **(login or {})}
    return relay, sender(place, relay.port, login)


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_each_mechanism_at_another_yizhan(place, mechanism):
    relay, out = both(place, [mechanism.replace("-PLUS", ""), mechanism])
    identity = send(out)
    wait_for(lambda: relay.maildir("example.org", "bob"), what="the message")
    logged(relay, f"mechanism={mechanism} ")
    assert last(out, identity, "delivered")
    assert PASSWORD not in out.log() and "does not work" not in out.log()


def test_the_strongest_is_taken_unless_told_otherwise(place):
    relay, out = both(place, MECHANISMS)
    send(out)
    logged(relay, "mechanism=SCRAM-SHA-256-PLUS ")
    port = relay.port
    login = {"user": ALICE, "password_file": secret(place, PASSWORD), "mechanisms": ["SCRAM-SHA-1", "PLAIN"]}
    send(sender(place, port, login))
    logged(relay, "mechanism=SCRAM-SHA-1 ")


def test_a_channel_of_tls_1_2_is_bound_too(place):
    relay = auth_server(place, {"mechanisms": MECHANISMS})
    conf = place.tmp / "openssl.cnf"
    conf.write_text("openssl_conf=a\n[a]\nssl_conf=b\n[b]\nsystem_default=c\n[c]\nMaxProtocol=TLSv1.2\n")
    relay.env["OPENSSL_CONF"] = str(conf)
    relay.start()
    out = sender(place, relay.port, {"user": ALICE, "password_file": secret(place, PASSWORD)})
    identity = send(out)
    logged(relay, "mechanism=SCRAM-SHA-256-PLUS ")
    assert last(out, identity, "delivered")["tls"].startswith("TLSv1.2")


def test_a_wrong_password_waits_is_said_once_and_never_becomes_plain(place):
    relay = auth_server(place, {"mechanisms": ["SCRAM-SHA-256", "PLAIN"], **NO_LOCKS})
    relay.start()
    file = secret(place, "wrong")
    out = sender(place, relay.port, {"user": ALICE, "password_file": file})
    first, others = send(out), [send(out) for _ in range(5)]
    event = last(out, first, "deferred")
    assert event["class"] == "auth" and "535" in event["reason"]
    wait_for(lambda: attempts(out) >= 3, what="more attempts")
    assert out.log().count("logging in to a relay does not work") == 1
    assert "mechanism=PLAIN" not in relay.log()
    shown = out.command("route", BOB).stdout
    assert "last error: Login failed" in shown, shown
    # once the password is right, everything goes
    secret(place, PASSWORD)
    out.hangup()
    wait_for(lambda: len(relay.maildir("example.org", "bob")) == 1 + len(others), 30, "all messages")
    logged(out, "logging in to a relay works again")


def attempts(server):
    return max((r["attempts"] for m in server.rows() for r in m["recipients"]), default=0)


def test_nothing_secret_goes_in_the_clear(place):
    """A relay on another machine; this one looks like it, because its address isn't loopback."""
    peer = place.peer(login=("us", "open sesame"))
    out = place.mx(
        relays={"out": {"hosts": [f"127.0.0.1:{peer.port}"], "tls": "required", "login": {"user": "us", "password_file": secret(place, "x")}}},
        routes=[{"to": "*", "via": [{"relay": "out"}]}],
        domains=["local.example"],
    )
    event = last(out, send(out), "deferred")
    assert event["class"] == "tls" and not peer.said("AUTH")


# --- tokens ------------------------------------------------------------------------------------------------------------


class Endpoint(FormServer):
    """Gives tokens: one of .answers, of which the last repeats, each a dict, (status, bytes), or a callable without
    arguments that returns one of those. {n} in texts is the number of the question."""

    def __init__(self, place, *answers):
        self.ca = Authority(place.tmp, "Token CA")
        self.answers, self.lock, self.n = list(answers) or [token()], threading.Lock(), 0
        super().__init__(self.ca.issue("localhost").pair, self.give, "/token")
        place.things.append(self)

    def give(self, path, form, authorization):
        with self.lock:
            self.n += 1
            n = self.n
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if callable(answer):
            answer = answer()
        if isinstance(answer, tuple):
            return answer
        return 200, json.dumps(answer).replace("{n}", str(n)).encode()

    def login(self, place, grant="client_credentials", **oauth):
        section = {"token_url": self.url, "client_id": "yizhan at home", "ca_file": str(self.ca.file), "scope": "mail.send x"}
        if grant == "client_credentials":
            section["client_secret_file"] = secret(place, SECRET, "client")
        else:
            section["refresh_token_file"] = secret(place, "refresh0", "refresh")
        return {"user": ALICE, "oauth": {**section, **oauth}}


def token(text="token{n}", lifetime=3600, **more):
    return {"access_token": text, "token_type": "Bearer", "expires_in": lifetime, **more}


class Bearing(peers.PeerSession):
    """Takes the tokens of peer.good (None: all) by what peer.offers says; .logins has what came."""

    MECHANISMS = "XOAUTH2 OAUTHBEARER PLAIN"

    def do_auth(self, argument):
        name, _, message = argument.partition(" ")
        if not message:
            self.say("334 ")
            message = self.reader.line().decode().strip()
        text = base64.b64decode(message).decode()
        found = re.search("auth=Bearer ([^\1]*)\1\1$", text).group(1)
        with self.peer.lock:
            self.peer.logins = [*getattr(self.peer, "logins", []), (name, text, self.number)]
        good = getattr(self.peer, "good", None)
        if good is None or found in good:
            self.user = ALICE
            self.say("235 2.7.0 welcome")
            return
        error = {"status": "401", "schemes": "bearer", "scope": "https://mail.example/"}
        self.say("334 " + base64.b64encode(json.dumps(error).encode()).decode())
        answer = self.reader.line().strip()
        assert answer == (b"AQ==" if name == "OAUTHBEARER" else b""), answer
        self.say("535 5.7.8 no such token")


class Microsoft(Bearing):
    MECHANISMS = "LOGIN XOAUTH2"


def bearing_peer(place, session=Bearing, good=None):
    p = place.peer(tls=place.certificate(), login=("x", "x"), session=session)
    p.good, p.logins = good, []
    return p


@pytest.mark.parametrize("session", [Bearing, Microsoft])
def test_client_credentials(place, session):
    endpoint, peer = Endpoint(place, token("t.o-k~e+n/{n}==")), bearing_peer(place, session)
    out = sender(place, peer.port, endpoint.login(place))
    identity = send(out)
    arrival(peer)
    path, form, authorization = endpoint.asked[0]
    assert authorization is None and form == {
        "grant_type": ["client_credentials"],
        "client_id": ["yizhan at home"],
        "client_secret": [SECRET],
        "scope": ["mail.send x"],
    }
    name, text, _ = peer.logins[0]
    if session is Bearing:
        assert name == "OAUTHBEARER" and text == f"n,a={ALICE},\1auth=Bearer t.o-k~e+n/1==\1\1"
    else:
        assert (name, text) == ("XOAUTH2", f"user={ALICE}\1auth=Bearer t.o-k~e+n/1==\1\1")
    events = json.dumps(out.events(identity))
    for word in ("t.o-k", SECRET):
        assert word not in out.log() and word not in events


def test_the_secret_in_the_header(place):
    endpoint, peer = Endpoint(place), bearing_peer(place)
    send(sender(place, peer.port, endpoint.login(place, client_auth="header")))
    arrival(peer)
    path, form, authorization = endpoint.asked[0]
    assert base64.b64decode(authorization.split()[1]).decode() == f"yizhan at home:{SECRET}" and "client_secret" not in form


def test_a_long_token_comes_after_the_command(place):
    long = "A" * 3000
    endpoint, peer = Endpoint(place, token(long)), bearing_peer(place)
    send(sender(place, peer.port, endpoint.login(place)))
    arrival(peer)
    assert long in peer.logins[0][1] and peer.said("AUTH") == []  # Bearing hears it by itself


def test_one_fetch_serves_many_connections(place):
    endpoint, peer = Endpoint(place, lambda: time.sleep(1) or token()), bearing_peer(place)
    out = sender(place, peer.port, endpoint.login(place), threads=2, queue={"site_initial": 8, "retry": ["300ms"]})
    with_turns = [threading.Thread(target=send, args=(out, f"u{i}@example.org")) for i in range(8)]
    for t in with_turns:
        t.start()
    for t in with_turns:
        t.join()
    arrival(peer, 8, 20)
    assert endpoint.n == 1 and len({number for _, _, number in peer.logins}) > 1


def test_a_token_is_renewed_shortly_before_it_ends(place):
    endpoint, peer = Endpoint(place, token(lifetime=2)), bearing_peer(place)
    out = sender(place, peer.port, endpoint.login(place), deliver={"idle_timeout": "10ms"})
    send(out)
    arrival(peer)
    send(out)
    arrival(peer, 2)
    assert endpoint.n == 1
    time.sleep(2)
    send(out)
    arrival(peer, 3)
    assert endpoint.n == 2


def test_a_refresh_token_that_changes_is_written_back(place):
    endpoint = Endpoint(place, token(lifetime=1, refresh_token="refresh{n}"))
    peer = bearing_peer(place)
    out = sender(place, peer.port, endpoint.login(place, "refresh_token"), deliver={"idle_timeout": "10ms"})
    file = place.tmp / "refresh"
    for n in (1, 2):
        send(out)
        arrival(peer, n)
        assert endpoint.asked[-1][1]["grant_type"] == ["refresh_token"]
        assert endpoint.asked[-1][1]["refresh_token"] == [f"refresh{n - 1}"]
        assert file.read_text() == f"refresh{n}\n" and file.stat().st_mode & 0o777 == 0o600
        time.sleep(1.1)
    # an administrator's counts more than what we know
    file.write_text("by hand\n")
    send(out)
    arrival(peer, 3)
    assert endpoint.asked[-1][1]["refresh_token"] == ["by hand"]
    assert "refresh1" not in out.log() and "by hand" not in out.log()


TROUBLE = {
    "error": ((400, b'{"error": "invalid_grant", "error_description": "AADSTS70000: expired\\r\\n\\u001b"}'), "AADSTS70000"),
    "down": ((503, b"<html>"), "status 503"),
    "garbage": ((200, b"<html>no"), "no JSON"),
    "nested": ((200, b"[" * 60000), "no JSON"),
    "no token": ((200, b"{}"), "no access_token"),
    "other type": ((200, b'{"access_token": "x", "token_type": "mac"}'), "another type"),
    "evil token": ((200, b'{"access_token": "x\\u0001\\u0001user=root", "token_type": "bearer"}'), "no access_token"),
    "huge": ((200, b'{"access_token": "' + b"x" * 3_000_000 + b'"}'), "longer than"),
    "slow": (lambda: time.sleep(3) or (200, b"{}"), "time"),
    "redirect": ((302, b""), "status 302"),
}


@pytest.mark.parametrize("name", TROUBLE)
def test_an_endpoint_in_trouble_delays_says_why_and_is_left_in_peace(place, name):
    answer, words = TROUBLE[name]
    endpoint, peer = Endpoint(place, answer, answer), bearing_peer(place)
    out = sender(place, peer.port, endpoint.login(place, timeout="500ms"))
    identity = send(out)
    event = last(out, identity, "deferred")
    assert event["class"] == "auth" and words in json.dumps(event), event
    time.sleep(1)
    assert endpoint.n == 1 and peer.said("AUTH") == [] and not peer.messages
    assert out.log().count("no access token can be had") == 1 and SECRET not in out.log()
    assert words in out.command("route", BOB).stdout


def test_an_endpoint_that_is_back_is_asked_again(place):
    endpoint, peer = Endpoint(place, (500, b""), token()), bearing_peer(place)
    out = sender(place, peer.port, endpoint.login(place))
    send(out)
    arrival(peer, timeout=30)
    assert endpoint.n == 2
    logged(out, "access tokens can be had again")


def test_an_endpoint_with_a_strange_certificate_hears_no_secret(place):
    endpoint, peer = Endpoint(place), bearing_peer(place)
    out = sender(place, peer.port, endpoint.login(place, ca_file=str(Authority(place.tmp, "Other CA").file)))
    assert last(out, send(out), "deferred")["class"] == "auth"
    assert endpoint.n == 0


@pytest.mark.parametrize("session", [Bearing, Microsoft])
def test_a_token_that_is_refused(place, session):
    """Fresh as it is, another one would be no better: the mail waits, and the words of the challenge are told."""
    endpoint, peer = Endpoint(place), bearing_peer(place, session, good=[])
    out = sender(place, peer.port, endpoint.login(place))
    event = last(out, send(out), "deferred")
    assert event["class"] == "auth" and "535" in event["reason"] and "401, scope https://mail.example/" in event["reason"]
    wait_for(lambda: len(peer.logins) >= 2, what="another attempt")
    assert endpoint.n == 1 and not peer.said("MAIL")
    peer.good = None
    arrival(peer, timeout=30)


# --- tokens between two Yizhans -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mechanism", ["OAUTHBEARER", "XOAUTH2"])
def test_tokens_at_another_yizhan(place, mechanism):
    endpoint = Endpoint(place)

    def give(path, form, authorization):
        if path == "/token":
            return 200, json.dumps(token("abc")).encode()
        return 200, json.dumps({"active": form["token"] == ["abc"], "username": ALICE}).encode()

    endpoint.answer = give
    introspection = {"introspection": endpoint.url.replace("/token", "/introspect"), "ca_file": str(endpoint.ca.file)}
    relay = auth_server(place, {"oauth": introspection})
    relay.start()
    out = sender(place, relay.port, {**endpoint.login(place), "mechanisms": [mechanism]})
    send(out)
    wait_for(lambda: relay.maildir("example.org", "bob"), what="the message")
    logged(relay, f"mechanism={mechanism} ")


# --- certificates ------------------------------------------------------------------------------------------------------


def fingerprint(issued):
    from cryptography.hazmat.primitives import hashes

    return issued.certificate.fingerprint(hashes.SHA256()).hex()


def files(issued):
    return dict(zip(("certificate", "key"), map(str, issued.pair)))


def test_external(place):
    ours = Authority(place.tmp, "Client CA").issue("out.example.net")
    relay = auth_server(
        place,
        {"certificates": [{"user": ALICE, "fingerprint": fingerprint(ours)}]},
        listen=[{"role": "submission", "client_certificates": {"mode": "request"}}],
    )
    relay.start()
    out = sender(place, relay.port, files(ours))
    send(out)
    wait_for(lambda: relay.maildir("example.org", "bob"), what="the message")
    logged(relay, "mechanism=EXTERNAL ")


class Strict(peers.PeerSession):
    def prepare(self, context):
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(self.peer.client_ca)


def test_a_certificate_in_tls_alone(place):
    authority = Authority(place.tmp, "Client CA")
    peer = place.peer(tls=place.certificate(), session=Strict)
    peer.client_ca = authority.file
    out = sender(place, peer.port, files(authority.issue("out.example.net")))
    send(out)
    assert arrival(peer)["secure"] and not peer.said("AUTH")
    # a stranger's is not welcome
    out = sender(place, peer.port, files(Authority(place.tmp, "Other CA").issue("out.example.net")))
    identity = send(out)
    last(out, identity, "deferred")
    assert len(peer.messages) == 1


# --- the configuration -------------------------------------------------------------------------------------------------

OAUTH = {"token_url": "https://x.example/", "client_id": "x"}


@pytest.mark.parametrize(
    "login, words",
    [
        ({"user": "u"}, "needs user and password_file"),
        ({"password_file": "FILE"}, "needs user and password_file"),
        ({}, "needs user and password_file"),
        ({"oauth": {**OAUTH, "client_secret_file": "FILE"}}, "needs user and password_file"),
        ({"user": "u", "password_file": "FILE", "oauth": {**OAUTH, "client_secret_file": "FILE"}}, "either"),
        ({"user": "u", "oauth": OAUTH}, "needs client_secret_file"),
        ({"user": "u", "oauth": {**OAUTH, "grant": "refresh_token"}}, "needs refresh_token_file"),
        ({"user": "u", "oauth": {**OAUTH, "refresh_token_file": "none"}}, "cannot read"),
        ({"user": "u", "oauth": {"client_id": "x", "client_secret_file": "FILE"}}, "token_url"),
        ({"user": "u", "oauth": {**OAUTH, "token_url": "http://x/", "client_secret_file": "FILE"}}, "begins with https://"),
        ({"user": "u\1", "password_file": "FILE"}, "control characters"),
        ({"user": "u", "password_file": "FILE", "mechanisms": ["XOAUTH2"]}, "XOAUTH2 needs oauth"),
        ({"user": "u", "password_file": "FILE", "mechanisms": ["EXTERNAL"]}, "EXTERNAL needs certificate"),
        ({"user": "u", "password_file": "FILE", "mechanisms": ["CRAM-MD5"]}, "is not known"),
        ({"certificate": "FILE"}, "both certificate and key"),
        ({"certificate": "FILE", "key": "FILE"}, "secret: holds no certificate"),
    ],
)
def test_what_is_wrong_with_a_login_is_said(place, login, words):
    file = secret(place, "x")
    text = json.dumps(login).replace('"FILE"', json.dumps(file))
    s = place.mx(
        start=False,
        relays={"out": {"hosts": ["relay.example"], "tls": "verify", "login": json.loads(text)}},
        routes=[{"to": "*", "via": [{"relay": "out"}]}],
    )
    r = s.command("check", check=False)
    assert r.returncode != 0 and words in r.stdout + r.stderr, r.stdout + r.stderr
