"""DANE (RFC 7672) with real signed zones: what a TLSA record says is kept, and nothing is downgraded."""

import json

import harness
import pytest
from authority import DAY, Authority, tlsa
from dnssec import Zones
from harness import wait_for
from peer import Peer

WRONG = "3 1 1 " + "00" * 32
NET = "127.0.2."


class Scene:
    """Hosts with certificates of all kinds, each with its own TLSA record, in zones that are signed, unsigned or broken.
    Every host is the mail exchanger of a domain of its own name below `for.`: bob@for.good.dane.example."""

    def __init__(self, directory):
        self.directory = directory
        self.authority = Authority(directory)
        self.port = harness.free_port(*[f"{NET}{i}" for i in range(1, 20)])
        self.peers, self.records = {}, {"dane.example": "", "plain.example": "", "bogus.example": ""}
        self.servers = []

    def host(self, name, record=None, issued=None, base=None, **peer):
        """name: of a host in one of the zones. issued None: it has no TLS."""
        zone = name.split(".", 1)[1]
        address = f"{NET}{len(self.peers) + 1}"
        self.peers[name] = Peer(address=address, port=self.port, tls=issued.pair if issued else None, **peer)
        self.records[zone] += f"{name}. A {address}\nfor.{name}. MX 10 {name}.\n"
        if record:
            self.records[zone] += f"_{self.port}._tcp.{name}. TLSA {record}\n"
        return self.peers[name]

    def start(self):
        self.zones = Zones(self.directory)
        for name, records in self.records.items():
            self.zones.add(name, records, {"plain.example": False, "bogus.example": "broken"}.get(name, True))
        self.zones.start()
        return self

    def server(self, **sections):
        port = harness.free_port("127.0.0.1")
        config = json.loads(
            harness.configuration(port, hostname="out.example.net", deliver={"port": self.port}, dns={"reverse_lookup": False}, **sections)
        )
        config["dns"] = {
            "servers": [f"{self.zones.address}:{self.zones.port}"],
            "trust_anchor": str(self.zones.trust_anchor),
            "timeout": "5s",
            "reverse_lookup": False,
        }
        self.servers.append(harness.Server(json.dumps(config), port=port).start())
        return self.servers[-1]

    def close(self):
        for s in self.servers:
            s.close()
        for p in self.peers.values():
            p.close()
        self.zones.close()


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    s = Scene(tmp_path_factory.mktemp("dane"))
    ca = s.authority
    good, stranger = ca.issue("good.dane.example"), ca.issue("else.example")
    s.host("good.dane.example", tlsa(good.certificate), good)
    s.host("wrong.dane.example", WRONG, good)
    expired = ca.issue("else.example", left=-DAY)
    s.host("expired.dane.example", tlsa(expired.certificate), expired)
    s.host("unusable.dane.example", tlsa(stranger.certificate, usage=1), stranger)
    s.host("unusable-clear.dane.example", tlsa(stranger.certificate, usage=1))
    s.host("none.dane.example", None, stranger)
    s.host("clear.dane.example", WRONG)  # says that it has TLS, and hasn't
    s.host("anchor.dane.example", tlsa(ca.certificate, usage=2, selector=0), ca.issue("anchor.dane.example"))
    s.host("next-hop.dane.example", tlsa(ca.certificate, usage=2, selector=0), ca.issue("for.next-hop.dane.example"))
    s.host("misnamed.dane.example", tlsa(ca.certificate, usage=2, selector=0), stranger)
    s.host("mx.plain.example", WRONG, stranger)
    s.host("mx.bogus.example", WRONG, stranger)
    s.records["dane.example"] += (
        "two.dane.example. MX 10 wrong.dane.example.\ntwo.dane.example. MX 20 good.dane.example.\n"
        "alias.dane.example. CNAME good.dane.example.\nfor.alias.dane.example. MX 10 alias.dane.example.\n"
    )
    s.records["plain.example"] += "hosted.plain.example. MX 10 wrong.dane.example.\n"
    s.start()
    s.usual = s.server()
    yield s
    s.close()


def send(server, domain, parameters="", data=b"Subject: test\r\n\r\nhello\r\n"):
    return server.submit("alice@example.org", f"bob@{domain}", data, parameters)


def delivered(server, identity):
    return wait_for(
        lambda: next((e for e in server.events(identity) if e["event"] == "delivered"), None), what="the delivery"
    )


def attempt(server, identity):
    return wait_for(
        lambda: next((e for e in server.events(identity) if e["event"] == "attempt"), None), what="an attempt"
    )


def test_unbound_sees_these_zones_as_we_do(scene):
    judge = scene.zones.unbound()
    p = scene.port
    assert judge(f"_{p}._tcp.good.dane.example", "TLSA") == "secure"
    assert judge("for.good.dane.example", "MX") == "secure"
    assert judge(f"_{p}._tcp.none.dane.example", "TLSA") == "secure"  # that there is none
    assert judge("mx.plain.example", "A") == "insecure"
    assert judge("mx.bogus.example", "A") == "secure"
    assert judge(f"_{p}._tcp.mx.bogus.example", "TLSA") == "bogus"


@pytest.mark.parametrize(
    "host, reached",
    [
        ("good.dane.example", "dane (usage 3)"),
        ("alias.dane.example", "dane (usage 3)"),
        ("expired.dane.example", "dane (usage 3)"),  # with DANE-EE neither names nor dates count
        ("anchor.dane.example", "dane (usage 2)"),
        ("next-hop.dane.example", "dane (usage 2)"),  # the certificate is for the domain whose MX it is
    ],
)
def test_a_certificate_that_a_record_describes_is_taken(scene, host, reached):
    event = delivered(scene.usual, send(scene.usual, f"for.{host}"))
    assert event["tls_reached"] == reached
    name = "good.dane.example" if host.startswith("alias") else host
    assert event["tls_wanted"] == f"dane, TLSA of _{scene.port}._tcp.{name}"
    assert scene.peers[name].messages[-1]["secure"]


@pytest.mark.parametrize(
    "host, words",
    [
        ("wrong.dane.example", "No matching DANE TLSA records"),
        ("misnamed.dane.example", "hostname mismatch"),
        ("clear.dane.example", "does not offer STARTTLS"),
        ("unusable-clear.dane.example", "does not offer STARTTLS"),
        ("mx.bogus.example", "can't be looked up"),
    ],
)
def test_what_can_not_be_proved_waits_and_is_never_sent_otherwise(scene, host, words):
    server = scene.usual
    identity = send(server, f"for.{host}")
    event = attempt(server, identity)
    assert words.lower() in event["reply"].lower() and event["outcome"] == "deferred", event
    wait_for(lambda: sum(e["event"] == "attempt" for e in server.events(identity)) >= 2, what="another attempt")
    assert not scene.peers[host].messages and not scene.peers[host].said("MAIL")
    server.command("queue", "remove", identity)


def test_records_that_can_not_be_used_ask_for_encryption_alone(scene):
    event = delivered(scene.usual, send(scene.usual, "for.unusable.dane.example"))
    assert scene.peers["unusable.dane.example"].messages[-1]["secure"]
    assert "can be used" in event["tls_wanted"] and event["tls_reached"].startswith("unverified")


def test_a_signed_host_without_records_gets_opportunistic_tls(scene):
    event = delivered(scene.usual, send(scene.usual, "for.none.dane.example"))
    assert event["tls_wanted"] == "may" and event["tls_reached"].startswith("unverified")


def test_records_in_an_unsigned_zone_mean_nothing(scene):
    event = delivered(scene.usual, send(scene.usual, "for.mx.plain.example"))
    assert event["tls_wanted"] == "may" and scene.peers["mx.plain.example"].messages


def test_an_mx_in_an_unsigned_zone_may_point_to_a_host_with_records(scene):
    """Anybody could have pointed it anywhere: the records prove nothing (RFC 7672 section 2.2.1)."""
    event = delivered(scene.usual, send(scene.usual, "hosted.plain.example"))
    assert event["host"] == "wrong.dane.example" and event["tls_wanted"] == "may"
    scene.peers["wrong.dane.example"].messages.clear()
    scene.peers["wrong.dane.example"].commands.clear()


def test_the_next_host_is_tried(scene):
    identity = send(scene.usual, "two.dane.example")
    assert delivered(scene.usual, identity)["host"] == "good.dane.example"
    assert any(e.get("host") == "wrong.dane.example" and e.get("outcome") == "next host" for e in scene.usual.events(identity))


def test_recipients_of_domains_that_differ_go_as_each_wants_it(scene):
    """hosted.plain.example and for.wrong.dane.example have one host; only the second is signed."""
    server, peer = scene.usual, scene.peers["wrong.dane.example"]
    identity = server.submit("alice@example.org", ["bob@hosted.plain.example", "bob@for.wrong.dane.example"])
    wait_for(lambda: peer.messages, what="the message for the unsigned domain")
    wait_for(lambda: any(e["event"] == "deferred" for e in server.events(identity)), what="the other's delay")
    assert len(peer.messages) == 1 and peer.messages[0]["to"] == ["TO:<bob@hosted.plain.example>"]
    server.command("queue", "remove", identity)
    peer.messages.clear()
    peer.commands.clear()


def test_a_message_that_wants_no_tls_passes(scene):
    """RFC 8689 section 3: policies of the recipient's domain are to be ignored."""
    data = b"Subject: your certificate is wrong\r\nTLS-Required: No\r\n\r\nhello\r\n"
    event = delivered(scene.usual, send(scene.usual, "for.wrong.dane.example", data=data))
    assert event["tls_wanted"] == "may, TLS-Required: No"
    event = delivered(scene.usual, send(scene.usual, "for.clear.dane.example", data=data))
    assert event["tls_reached"] == "plain"
    for host in ("wrong.dane.example", "clear.dane.example"):
        scene.peers[host].messages.clear()
        scene.peers[host].commands.clear()


def test_tls_dane_takes_nothing_less(scene):
    server = scene.server(routes=[{"to": "*", "via": [{"mx": True, "tls": "dane"}]}])
    assert delivered(server, send(server, "for.good.dane.example"))["tls_reached"] == "dane (usage 3)"
    before = len(scene.peers["none.dane.example"].messages)
    for domain, words in [
        ("for.none.dane.example", "no TLSA record"),
        ("for.unusable.dane.example", "none of its TLSA records can be used"),
        ("for.mx.plain.example", "not protected by DNSSEC"),
    ]:
        identity = send(server, domain)
        event = attempt(server, identity)
        assert words in event["reply"] and event["outcome"] == "deferred" and event["class"] == "tls", event
        server.command("queue", "remove", identity)
    assert len(scene.peers["none.dane.example"].messages) == before


def test_a_relay_can_be_proved_by_dane(scene):
    host = f"good.dane.example:{scene.port}"
    other = f"none.dane.example:{scene.port}"
    relays = {"far": {"hosts": [host], "tls": "dane"}, "other": {"hosts": [other], "tls": "dane"}}
    routes = [{"to": "far.example", "via": [{"relay": "far"}]}, {"to": "other.example", "via": [{"relay": "other"}]}]
    server = scene.server(relays=relays, routes=routes)
    assert delivered(server, send(server, "far.example"))["tls_reached"] == "dane (usage 3)"
    event = attempt(server, send(server, "other.example"))
    assert "tls: dane" in event["reply"] and event["outcome"] == "deferred"


def test_a_rung_for_tls_trouble_is_stepped_to(scene):
    routes = [{"to": "*", "via": ["mx", {"host": f"{NET}6:{scene.port}", "when": ["tls"]}]}]
    server = scene.server(routes=routes)
    event = delivered(server, send(server, "for.wrong.dane.example"))
    assert event["address"] == f"{NET}6"


def test_connections_are_used_again_without_further_questions(scene):
    server, peer = scene.usual, scene.peers["good.dane.example"]
    before = peer.connections
    for _ in range(3):
        delivered(server, send(server, "for.good.dane.example"))
    assert peer.connections - before <= 3
    assert all(m["secure"] for m in peer.messages)


def test_route_shows_what_each_host_must_show(scene):
    def look(domain):
        return json.loads(scene.usual.command("route", f"bob@{domain}", "--json").stdout)["ladder"][0]

    rung = look("two.dane.example")
    assert rung["dnssec"] is True
    wrong, good = rung["hosts"]
    assert wrong["dane"] == good["dane"] == "usable" and wrong["tlsa"] == [WRONG]
    assert good["wanted"] == f"dane, TLSA of _{scene.port}._tcp.good.dane.example" and "refused" not in good
    host = look("for.mx.bogus.example")["hosts"][0]
    assert host["dane"] == "error" and "can't be looked up" in host["refused"]
    host = look("hosted.plain.example")["hosts"][0]
    assert host["dane"] == "none" and host["dane_why"] == "the MX records are not protected by DNSSEC" and host["wanted"] == "may"
    text = scene.usual.command("route", "bob@for.unusable.dane.example").stdout
    assert "DANE: unusable" in text and "TLSA 1 1 1 " in text and "must show: required, no TLSA record" in text
