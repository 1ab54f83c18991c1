"""The way out against next hops that break every rule: each accepted message ends once, delivered or bounced, and what
trace and the bounces say about it is right."""

import itertools
import re
import socket
import struct
import threading
import time

import pytest

import harness
from harness import reports, wait_for
from outgoing import SENDER

NET = "127.0.2"
NUMBERS = itertools.count(1)
EVERYTHING = ("PIPELINING", "8BITMIME", "SIZE 50000000", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES", "CHUNKING")
PLAIN = ("8BITMIME", "ENHANCEDSTATUSCODES")


class Wire:
    """A connection as bytes."""

    def __init__(self, connection):
        self.connection, self.buffer = connection, b""

    def line(self):
        while b"\n" not in self.buffer:
            self.buffer += self.more()
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line + b"\n"

    def octets(self, count):
        while len(self.buffer) < count:
            self.buffer += self.more()
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data

    def more(self):
        data = self.connection.recv(65536)
        if not data:
            raise EOFError
        return data

    def send(self, data):
        self.connection.sendall(data)

    def slowly(self, data, pause=0.01):
        for i in range(len(data)):
            self.send(data[i : i + 1])
            time.sleep(pause)

    def reset(self):
        """RST instead of FIN."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        raise EOFError

    def hang_up(self):
        raise EOFError

    def stall(self):
        """Says nothing more; ends when the other side has gone."""
        self.connection.settimeout(60)
        while self.more():
            pass


class Rogue:
    """A next hop whose replies are raw bytes, or deeds. `at` maps a stage (CONNECT, EHLO, HELO, MAIL, RCPT, DATA, DOT,
    RSET, QUIT, CONTENT: before reading it) to bytes, to a callable that gets the Wire and may return bytes, or to a list
    of them, used one after the other; the last one repeats."""

    def __init__(self, address, port, at=None, extensions=EVERYTHING):
        self.at = {k: (list(v) if isinstance(v, list) else v) for k, v in (at or {}).items()}
        self.extensions = extensions
        self.messages, self.commands, self.connections = [], [], 0
        self.lock = threading.Lock()
        self.listener = socket.create_server((address, port), backlog=128)
        self.address = address
        threading.Thread(target=self.accept, daemon=True).start()

    def close(self):
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.dialogue(Wire(connection))
        except (OSError, EOFError, ValueError):
            pass
        finally:
            connection.close()

    def deed(self, stage, usual, wire):
        with self.lock:
            deed = self.at.get(stage, usual)
            if isinstance(deed, list):
                deed = deed.pop(0) if len(deed) > 1 else deed[0]
        if callable(deed):
            deed = deed(wire)
        if deed is True:
            deed = usual
        if deed:
            wire.send(deed)
        return deed if isinstance(deed, bytes) else b""

    def dialogue(self, wire):
        self.deed("CONNECT", b"220 rogue.example ESMTP\r\n", wire)
        message = {}
        while True:
            command = wire.line().decode("utf-8", "surrogateescape").rstrip("\r\n")
            with self.lock:
                self.commands.append(command)
            verb = command.split(" ")[0].upper()
            if verb == "EHLO":
                words = ["rogue.example", *self.extensions]
                lines = [f"250{'-' if i < len(words) - 1 else ' '}{w}\r\n" for i, w in enumerate(words)]
                self.deed("EHLO", "".join(lines).encode(), wire)
            elif verb == "HELO":
                self.deed("HELO", b"250 rogue.example\r\n", wire)
            elif verb == "MAIL":
                message = {"from": command, "to": [], "data": b""}
                self.deed("MAIL", b"250 2.1.0 ok\r\n", wire)
            elif verb == "RCPT":
                if self.deed("RCPT", b"250 2.1.5 ok\r\n", wire).startswith(b"2"):
                    message["to"].append(command)
            elif verb == "DATA":
                if not self.deed("DATA", b"354 go on\r\n", wire).startswith(b"3"):
                    continue
                self.deed("CONTENT", b"", wire)
                while (line := wire.line()) != b".\r\n":
                    message["data"] += line
                self.finish(message, wire)
            elif verb == "BDAT":
                self.deed("CONTENT", b"", wire)
                message["data"] += wire.octets(int(command.split(" ")[1]))
                self.finish(message, wire)
            elif verb == "QUIT":
                self.deed("QUIT", b"221 2.0.0 bye\r\n", wire)
                return
            else:
                self.deed(verb, b"250 2.0.0 ok\r\n", wire)

    def finish(self, message, wire):
        reply = self.deed("DOT", b"250 2.0.0 taken\r\n", wire)
        if re.fullmatch(rb"2\d\d( [^\0]{,4000})?\r?\n", reply) and message["to"]:
            with self.lock:
                self.messages.append(message)

    def said(self, verb):
        with self.lock:
            return [c for c in self.commands if c.upper().startswith(verb)]


TIMES = {f"{step}_timeout": "1200ms" for step in ("connect", "greeting", "command", "data", "block", "dot")}


@pytest.fixture(scope="module")
def out(shared):
    """A server that sends to address literals, whose port is the same everywhere, with short time limits."""
    port = harness.free_port(*[f"{NET}.{i}" for i in (1, 2, 3)])
    s = shared.mx(
        hostname="out.example.net",
        deliver={"port": port, "idle_timeout": "200ms", **TIMES},
        queue={"retry": ["200ms"], "expire": "1h"},
    )
    s.hop_port = port
    return s


@pytest.fixture
def rogue(out):
    """Makes rogues, each at an address of its own; what is left in the queue goes with the test."""
    made = []

    def make(at=None, extensions=EVERYTHING):
        address = f"{NET}.{next(NUMBERS)}"
        made.append(Rogue(address, out.hop_port, at, extensions))
        return made[-1]

    yield make
    for r in made:
        r.close()
    out.command("queue", "remove", "--all", check=False)


def to(rogue, local="bob"):
    return f"{local}@[{rogue.address}]"


def send(out, rogue, data=b"Subject: test\r\n\r\nhello\r\n", recipients=("bob",), **options):
    return out.submit(SENDER, [to(rogue, r) for r in recipients], data, **options)


def last_event(out, identity, kind):
    return wait_for(lambda: [e for e in out.events(identity) if e["event"] == kind], what=f"{kind} of {identity}")[-1]


def report_about(out, identity):
    """The bounce about a message, in the Maildir of the sender."""

    def look():
        found = [r for r in reports(out.maildir("example.org", "alice")) if identity in r.raw.decode("latin-1")]
        return found and found[0]

    return wait_for(look, what=f"a bounce about {identity}")


# --- replies of every shape ------------------------------------------------------------------------------------------

ODD_BUT_FINE = {
    "many lines": {"CONNECT": b"".join(b"220-line %d\r\n" % i for i in range(100)) + b"220 end\r\n"},
    "nothing but the code": {s: b"250\r\n" for s in ("MAIL", "RCPT", "DOT")} | {"CONNECT": b"220\r\n", "DATA": b"354\r\n"},
    "one octet at a time": {"EHLO": lambda w: w.slowly(b"250-rogue\r\n250 8BITMIME\r\n", 0.02)},
    "bare LF": {"CONNECT": b"220 rogue\n", "EHLO": b"250-rogue\n250 8BITMIME\n", "MAIL": b"250 ok\n", "DOT": b"250 ok\n"},
    "eight bits": {"CONNECT": "220 grüß gott\r\n".encode("latin-1"), "DOT": "250 2.0.0 genommen, grüße\r\n".encode()},
    "wrong enhanced codes": {"MAIL": b"250 5.1.1 ok\r\n", "RCPT": b"250 4.99.9999999999 ok\r\n", "DOT": b"250 9.9.9 ok\r\n"},
    "251 and 252": {"RCPT": b"251 will forward\r\n", "MAIL": b"252 fine\r\n"},
    "mixed codes in one reply": {"MAIL": b"550-no\r\n250 yes\r\n"},
    "long line": {"MAIL": b"250 " + b"x" * 4000 + b"\r\n"},
    "no answer to QUIT": {"QUIT": lambda w: w.stall()},
    "a flood at QUIT": {"QUIT": b"221 bye\r\n" * 10000},
}


@pytest.mark.parametrize("extensions", [EVERYTHING, PLAIN], ids=["everything", "plain"])
@pytest.mark.parametrize("name", ODD_BUT_FINE)
def test_odd_replies_that_mean_consent(out, rogue, name, extensions):
    r = rogue(ODD_BUT_FINE[name], extensions)
    send(out, r)
    wait_for(lambda: r.messages, what="the arrival")
    wait_for(out.queue_is_empty, what="an empty queue")
    time.sleep(0.3)
    assert len(r.messages) == 1


NONSENSE = {
    "a line that is too long": b"250 " + b"x" * 10000 + b"\r\n",
    "a megabyte without an end": b"2" * (1 << 20),
    "100,000 lines": b"250-more\r\n" * 100000,
    "1xx": b"150 hm\r\n",
    "3xx": b"399 hm\r\n",
    "6xx": b"650 hm\r\n",
    "000": b"000 hm\r\n",
    "no digits": b"OK\r\n",
    "a NUL": b"250 o\0k\r\n",
    "NULs": b"\0" * 5000,
    "nothing": b"\r\n",
    "HTTP": b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n",
    "TLS": b"\x15\x03\x01\x00\x02\x02\x46",
    "a reset": lambda w: w.reset(),
    "a hang-up": lambda w: w.hang_up(),
    "half a reply": lambda w: (w.send(b"250 2.0.0 o"), w.hang_up()),
    "half a reply of two lines": lambda w: (w.send(b"250-2.0.0 o\r\n"), w.hang_up()),
    "421": lambda w: (w.send(b"421 4.3.2 going down\r\n"), w.hang_up()),
    "silence": lambda w: w.stall(),
}
STAGES = ("CONNECT", "EHLO", "MAIL", "RCPT", "DATA", "CONTENT", "DOT")


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("name", NONSENSE)
def test_nonsense_at_any_stage_only_delays(out, rogue, name, stage):
    """The next attempt finds a server that has come to its senses: the message is there once."""
    deed = NONSENSE[name]
    if stage == "CONTENT" and isinstance(deed, bytes):
        deed = lambda w: (w.send(NONSENSE[name][:100000]), w.hang_up())
    r = rogue({stage: [deed, True]}, PLAIN)
    identity = send(out, r)
    try:
        wait_for(lambda: r.messages, 6, what="the arrival")
    finally:
        print(out.command("trace", identity).stdout)
    time.sleep(0.3)
    assert len(r.messages) == 1


@pytest.mark.parametrize("extensions", [EVERYTHING, PLAIN], ids=["everything", "plain"])
@pytest.mark.parametrize("stage", ["CONNECT", "EHLO", "MAIL", "RSET"])
def test_a_reply_too_many_is_never_taken_for_the_one_to_the_message(out, rogue, stage, extensions):
    """The server says yes once more than asked, and refuses the message: all later replies would be off by one."""
    usual = {"CONNECT": b"220 rogue\r\n", "EHLO": b"250 rogue\r\n"}.get(stage, b"250 2.0.0 ok\r\n")
    r = rogue({stage: usual + b"250 2.0.0 surprise\r\n", "RCPT": b"250 ok\r\n", "DOT": b"550 5.7.0 never\r\n"}, extensions)
    identity = send(out, r)
    time.sleep(1.0)
    events = [e["event"] for e in out.events(identity)]
    assert "delivered" not in events
