"""Line ends: every combination around a dot, cut at every octet, in the clear and across TLS records; what is refused, what is
made CRLF for listed clients, what BDAT may carry; and the relay path in and out, octet for octet."""

import itertools
import re

import pytest

import harness
from harness import wait_for

ENDS = {"crlf": b"\r\n", "lf": b"\n", "cr": b"\r", "crcrlf": b"\r\r\n", "crlfcr": b"\r\n\r", "lfcr": b"\n\r", "": b""}
SMUGGLED = b"MAIL FROM:<evil@client.example>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\nSubject: smuggled\r\n\r\nx\r\n"
HEAD = b"Subject: lines\r\n\r\nabc"


def made_crlf(data):
    """What a client from line_endings.normalize is taken to have meant."""
    return re.sub(rb"\r\n|\r|\n", b"\r\n", data)


def unstuffed(data):
    """The content of DATA: a dot goes behind CRLF only, where no other CR stands before it."""
    return re.sub(rb"((?:\A|[^\r])\r\n)\.", rb"\1", b"\n" + data)[1:] if not data.startswith(b".") else data


def is_strange(data):
    return re.search(rb"\r(?!\n)|(?<!\r)\n", data) is not None


def combinations():
    """Line end, dot, line end: all but the one that really ends the data."""
    for first, second in itertools.product(ENDS, repeat=2):
        middle = ENDS[first] + b"." + ENDS[second]
        if b"\r\n.\r\n" not in middle or b"\r\r\n.\r\n" in middle:
            yield f"{first or 'text'}-dot-{second or 'text'}", middle


CASES = dict(combinations())


@pytest.fixture(scope="module")
def strict(shared):
    return shared.mx(
        tls=shared.certificate(),
        limits={"connections_per_ip": 1000, "errors": 1000, "commands": 100000},
        domains={"example.org": {"deliver": "discard"}},
    )


@pytest.fixture(scope="module")
def relay(shared):
    """A server with two next hops (one that knows BDAT and one that does not) and clients from 127.5.0.0/16 normalized."""
    chunking = shared.peer()
    plain = shared.peer(extensions=("PIPELINING", "8BITMIME"))
    server = shared.mx(
        tls=shared.certificate(),
        trusted=["127.0.0.0/8"],
        routes=[
            {"to": "*@bdat.example", "via": [{"host": f"127.0.0.1:{chunking.port}"}]},
            {"to": "*@data.example", "via": [{"host": f"127.0.0.1:{plain.port}"}]},
        ],
        line_endings={"normalize": ["127.5.0.0/16"], "bdat_bare_lf": "accept"},
        limits={"errors": 1000, "commands": 100000},
    )
    server.hops = {"bdat": chunking, "data": plain}
    return server


class Sender:
    """One session after the other with a server, as long as each lasts."""

    def __init__(self, server, tls, source=None):
        self.server, self.tls, self.source, self.client = server, tls, source, None

    def session(self):
        if not self.client:
            self.client = self.server.client(source=self.source)
            self.client.hello()
            if self.tls:
                self.client.starttls()
                self.client.expect(250, "EHLO client.example")
        return self.client

    def drop(self):
        if self.client:
            self.client.close()
        self.client = None

    def begin(self, recipient):
        c = self.session()
        c.begin(recipients=(recipient,))
        c.expect(354, "DATA")
        return c


def pieces(data, around, cut):
    """data in two at this octet of the part `around` (or one octet for each, cut None)."""
    at = data.index(around)
    if cut is None:
        whole = [data[:at], *(data[i : i + 1] for i in range(at, at + len(around) + 1)), data[at + len(around) + 1 :]]
    else:
        whole = [data[: at + cut], data[at + cut :]]
    return [p for p in whole if p]


# --- refused by default ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("name", CASES)
def test_every_combination_cut_at_every_octet_is_refused_or_one_message(strict, name, tls):
    middle = CASES[name]
    content = HEAD + middle + SMUGGLED
    sender = Sender(strict, tls)
    for cut in (None, *range(len(middle) + 1)):
        c = sender.begin("bob@example.org")
        for piece in pieces(content, middle, cut):
            c.send(piece)
            if not tls:
                c.was_read()
        c.send(b".\r\n")
        code, text = c.reply()
        if is_strange(HEAD + middle):
            assert code == 550 and "5.5.2" in text, (cut, text)
            assert c.closed() and c.buffer == b"", (cut, c.buffer)
            sender.drop()
        else:
            assert code == 250, (cut, text)
            assert c.command("NOOP")[0] == 250 and c.buffer == b""
    sender.drop()
    assert strict.log().count("evil@client.example") == 0


def test_nul_is_refused_for_everybody(strict, relay):
    for server, source in ((strict, None), (relay, "127.5.0.1")):
        sender = Sender(server, False, source)
        c = sender.begin("bob@example.org" if server is strict else "bob@data.example")
        c.send(HEAD + b"\0\r\n.\r\n")
        assert "NUL" in c.expect(550)
        sender.drop()


# --- made CRLF for listed clients --------------------------------------------------------------------------------------


def arrivals(peer, before, count):
    wait_for(lambda: len(peer.messages) >= before + count, 20, "the arrival")
    return peer.messages[before : before + count]


def without_received(data):
    return re.sub(rb"\AReceived: .*?\r\n(?![ \t])", b"", data, count=1, flags=re.S)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("hop", ["bdat", "data"])
@pytest.mark.parametrize("name", CASES)
def test_line_ends_of_listed_clients_become_crlf_and_arrive_so(relay, name, hop, tls):
    middle = CASES[name]
    content = HEAD + middle + SMUGGLED
    peer, sender = relay.hops[hop], Sender(relay, tls, "127.5.0.1")
    before, cuts = len(peer.messages), (None, *range(len(middle) + 1))
    for number, cut in enumerate(cuts):
        c = sender.begin(f"bob@{hop}.example")
        for piece in pieces(content.replace(b"lines", b"lines-%d" % number), middle, cut):
            c.send(piece)
            if not tls:
                c.was_read()
        c.send(b".\r\n")
        c.expect(250)
        assert c.command("NOOP")[0] == 250 and c.buffer == b""
    sender.drop()
    got = sorted(without_received(m["data"]) for m in arrivals(peer, before, len(cuts)))
    wanted = sorted(made_crlf(unstuffed(content.replace(b"lines", b"lines-%d" % n))) for n in range(len(cuts)))
    assert got == wanted
    assert all(len(m["to"]) == 1 and f"bob@{hop}.example" in m["to"][0] for m in peer.messages[before:])


def test_listed_clients_may_end_commands_with_lf_but_data_only_with_crlf_dot_crlf(relay):
    peer = relay.hops["data"]
    before = len(peer.messages)
    with relay.client(source="127.5.0.1") as c:
        c.expect(220)
        for line, code in (("EHLO old.example", 250), ("MAIL FROM:<a@client.example>", 250), ("RCPT TO:<bob@data.example>", 250), ("DATA", 354)):
            c.send(line + "\n")
            assert c.reply()[0] == code, line
        c.send(b"Subject: lf\n\nbody\n.\n")
        assert c.silent(0.5)  # this is not the end
        c.send(b"more\r\n.\r\n")
        c.expect(250)
    assert without_received(arrivals(peer, before, 1)[0]["data"]) == b"Subject: lf\r\n\r\nbody\r\n.\r\nmore\r\n"


def test_others_may_not(relay):
    with relay.client(source="127.6.0.1") as c:
        c.expect(220)
        c.send(b"EHLO old.example\n")
        c.expect(500)
    sender = Sender(relay, False, "127.6.0.1")
    c = sender.begin("bob@data.example")
    c.send(b"a\nb\r\n.\r\n")
    c.expect(550)
    sender.drop()


def test_a_listed_client_that_ends_its_data_with_lf_dot_lf_is_refused_and_not_taken(relay):
    before = [len(p.messages) for p in relay.hops.values()]
    sender = Sender(relay, False, "127.5.0.1")
    c = sender.begin("bob@data.example")
    c.send(b"Subject: never\n\nbody\n.\n")
    c.socket.settimeout(20 * harness.SLOW)
    assert "5.5.2" in c.expect(550)
    assert c.closed()
    sender.drop()
    assert before == [len(p.messages) for p in relay.hops.values()]


# --- BDAT --------------------------------------------------------------------------------------------------------------

BARE = b"Subject: bare\r\n\r\none\ntwo\r\n.\n..three\n\n.\r\nfour\n"


def bdat(client, content, size, recipient):
    client.begin(recipients=(recipient,))
    for i in range(0, len(content), size):
        piece = content[i : i + size]
        last = " LAST" if i + size >= len(content) else ""
        client.send(f"BDAT {len(piece)}{last}\r\n".encode() + piece)
        client.expect(250)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 1000])
def test_lfs_alone_in_bdat_go_on_by_bdat_as_they_are_and_by_data_as_crlf(relay, size):
    for hop, wanted in (("bdat", BARE + b"\r\n"), ("data", made_crlf(BARE))):
        peer, before = relay.hops[hop], len(relay.hops[hop].messages)
        with relay.client(source="127.6.0.1") as c:
            c.hello()
            bdat(c, BARE, size, f"bob@{hop}.example")
        message = arrivals(peer, before, 1)[0]
        assert without_received(message["data"]) == wanted
        assert bool(message.get("bdat")) == (hop == "bdat")


@pytest.mark.parametrize("defect", [b"a\rb", b"a\0b", b"a\r"])
def test_crs_alone_and_nuls_in_bdat_are_refused_all_the_same(relay, defect):
    with relay.client(source="127.6.0.1") as c:
        c.hello()
        c.begin(recipients=("bob@data.example",))
        c.send(f"BDAT {len(defect)} LAST\r\n".encode() + defect)
        assert "5.5.2" in c.expect(550)
        assert c.closed()


def test_bdat_of_a_listed_client_is_made_crlf(relay):
    for hop, peer in relay.hops.items():
        before = len(peer.messages)
        with relay.client(source="127.5.0.1") as c:
            c.hello()
            bdat(c, b"Subject: x\n\na\rb\r\r\nc\r", 3, f"bob@{hop}.example")
        assert without_received(arrivals(peer, before, 1)[0]["data"]) == b"Subject: x\r\n\r\na\r\nb\r\n\r\nc\r\n"


def test_by_default_lfs_alone_in_bdat_are_refused(strict):
    with strict.client() as c:
        c.hello()
        c.begin(recipients=("bob@example.org",))
        c.send(b"BDAT 4 LAST\r\na\nb\n")
        assert "5.5.2" in c.expect(550)


# --- the relay path ----------------------------------------------------------------------------------------------------

CONTENTS = {
    "dots": b"Subject: x\r\n\r\n.\r\n..\r\n...\r\n.a\r\na.\r\n\r\n.\r\n",
    "empty lines": b"Subject: x\r\n\r\n\r\n\r\n\r\n",
    "no body": b"Subject: x\r\n",
    "8 bit": b"Subject: x\r\n\r\n" + bytes(range(128, 256)) + b"\r\n",
    "controls": b"Subject: x\r\n\r\n" + bytes(set(range(1, 32)) - {10, 13}) + b"\x7f\r\n",
    "long line": b"Subject: x\r\n\r\n" + b"y" * 70000 + b"\r\n.\r\n",
    "blocks": b"Subject: x\r\n\r\n" + b"".join(b"z" * (n % 70) + b"\r\n" + b"." * (n % 3) + b"\r\n" for n in range(1500)),
    "end at a block": b"Subject: x\r\n\r\n" + b"q" * (32768 - 14 - 5) + b"\r\n.\r\n",
}


@pytest.mark.parametrize("name", CONTENTS)
@pytest.mark.parametrize("hop", ["bdat", "data"])
@pytest.mark.parametrize("way", ["data", "bdat", "octets"])
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_what_goes_in_comes_out(relay, name, hop, way, tls):
    content, peer = CONTENTS[name], relay.hops[hop]
    before = len(peer.messages)
    sender = Sender(relay, tls, "127.6.0.1")
    c = sender.session()
    if way == "bdat":
        bdat(c, content, 4099, f"bob@{hop}.example")
    else:
        c = sender.begin(f"bob@{hop}.example")
        stuffed = re.sub(rb"^\.", b"..", content, flags=re.M) + b".\r\n"
        edge = 0 if way == "data" else min(len(stuffed), 60)
        c.send(stuffed[: len(stuffed) - edge])
        for i in range(len(stuffed) - edge, len(stuffed)):
            c.send(stuffed[i : i + 1])
        c.expect(250)
    sender.drop()
    assert without_received(arrivals(peer, before, 1)[0]["data"]) == content


# --- out of turn -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "greeting, ahead, waited_for",
    [
        ("EHLO", b"MAIL FROM:<a@client.example>\r\n", "EHLO"),
        ("HELO", b"MAIL FROM:<a@client.example>\r\n", "EHLO"),
    ],
)
def test_who_does_not_wait_for_the_reply_to_its_greeting_is_shown_out(strict, greeting, ahead, waited_for):
    with strict.client() as c:
        c.expect(220)
        c.send(f"{greeting} client.example\r\n".encode() + ahead)
        assert waited_for in c.expect(554)
        assert c.closed()


@pytest.mark.parametrize("command", ["MAIL", "RCPT"])
def test_after_helo_nobody_may_send_ahead(strict, command):
    with strict.client() as c:
        c.expect(220)
        c.expect(250, "HELO client.example")
        if command == "RCPT":
            c.expect(250, "MAIL FROM:<a@client.example>")
            c.send(b"RCPT TO:<bob@example.org>\r\nDATA\r\n")
        else:
            c.send(b"MAIL FROM:<a@client.example>\r\nRCPT TO:<bob@example.org>\r\n")
        assert command in c.expect(554)
        assert c.closed()
    with strict.client() as c:  # step by step it works
        c.expect(220)
        c.expect(250, "HELO client.example")
        c.send_message("a@client.example", ["bob@example.org"])


def test_who_talks_before_the_greeting_or_behind_starttls_is_shown_out(strict):
    with strict.client() as c:
        c.hello()
        for cut in range(1, 6):
            with strict.client() as other:
                other.hello()
                other.send(b"STARTTLS\r\n" + b"NOOP\r\n"[:cut])
                got = other.reply()
                # The rest may come when the 220 is on its way: then it is no handshake, and the session ends with it.
                assert got[0] in (554, 220)
                other.send(b"NOOP\r\n"[cut:])
                assert other.closed()
    assert "closing" in strict.log()


@pytest.mark.parametrize("verb", ["GET", "POST", "HEAD", "PUT", "CONNECT", "OPTIONS"])
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_http_ends_the_session_however_it_is_cut(strict, verb, tls):
    request = f"{verb} / HTTP/1.1\r\nHost: mx.example.org\r\n\r\nEHLO evil.example\r\nMAIL FROM:<evil@client.example>\r\n".encode()
    for cut in (1, len(verb), len(verb) + 1, request.index(b"\r"), request.index(b"\n"), len(request)):
        with strict.client() as c:
            if tls:
                c.hello()
                c.starttls()
            else:
                c.expect(220)
            c.send(request[:cut])
            if cut < len(request):
                if not tls:
                    c.was_read()
                try:
                    c.send(request[cut:])
                except OSError:
                    pass
            c.expect(554)
            assert c.closed() and b"250" not in c.buffer
