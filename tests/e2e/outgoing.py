"""What the tests of the way out share. The server under test takes mail from trusted clients, and is the last stop of
example.org, where the senders live and their bounces arrive."""

import re

import harness
from harness import reports, wait_for

SENDER = "alice@example.org"


class Net:
    """A port that is the same on many addresses, and zone records for hosts there."""

    def __init__(self, place):
        self.place = place
        self.addresses = [f"127.0.1.{i}" for i in range(1, 7)]
        self.port = harness.free_port(*self.addresses, "::1")
        self.records = []

    def host(self, number, name=None, **peer):
        """A peer at 127.0.1.<number>, with the name mx<number>.dest.example."""
        self.record(f"{name or f'mx{number}.dest.example'}.", "A", self.addresses[number - 1])
        return self.place.peer(address=self.addresses[number - 1], port=self.port, **peer)

    def dead_host(self, number):
        self.record(f"mx{number}.dest.example.", "A", self.addresses[number - 1])

    def record(self, name, kind, data):
        self.records.append(f"{name} 300 IN {kind} {data}")

    def secure(self, name="dest.example"):
        """It and all below it count as validated by DNSSEC."""
        self.records.append(f"; SECURE {name}.")

    def mx(self, *preferences, domain="dest.example"):
        """mx((10, 1), (20, 2)): mx1.dest.example with preference 10..."""
        for preference, number in preferences:
            self.record(f"{domain}.", "MX", f"{preference} mx{number}.dest.example.")

    def server(self, hostname="out.example.net", deliver=(), **sections):
        return self.place.mx(
            hostname=hostname, zone="\n".join(self.records), deliver={"port": self.port, **dict(deliver)}, **sections
        )


def arrival(peer, count=1, timeout=10):
    wait_for(lambda: len(peer.messages) >= count, timeout, f"{count} messages at the peer")
    return peer.messages[-1]


def bounce(server, timeout=10):
    """The one bounce in the sender's Maildir."""
    wait_for(lambda: reports(server.maildir("example.org", "alice")), timeout, "the bounce")
    found = reports(server.maildir("example.org", "alice"))
    assert len(found) == 1
    return found[0]


def is_waiting(server, words=""):
    """Was the message tried, and does it still wait? The last reply has these words."""

    def look():
        rows = server.rows()
        return rows and any(
            words.lower() in str(r.get("last_reply") or "").lower() and r["attempts"] > 0 for r in rows[0]["recipients"]
        )

    wait_for(look, what=f"a deferred message with {words!r}")


def content(message):
    """What the client had sent: without the Received field that the server put in front."""
    return re.sub(rb"\AReceived: .*?\r\n(?![ \t])", b"", message["data"], count=1, flags=re.S)


def one_host(place, tls=None, certificate=None, **peer):
    """A peer, and a server that sends everything there with this TLS policy."""
    p = place.peer(tls=certificate, **peer)
    via = {"host": f"127.0.0.1:{p.port}", **({"tls": tls} if tls else {})}
    return p, place.mx(routes=[{"to": "*", "via": [via]}])
