"""The way out against next hops that break every rule: each accepted message ends once, delivered or bounced, and what
trace and the bounces say about it is right."""

import email.utils
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

NUMBERS = itertools.count()
EVERYTHING = ("PIPELINING", "8BITMIME", "SIZE 50000000", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES", "CHUNKING")
PLAIN = ("8BITMIME", "ENHANCEDSTATUSCODES")


def fresh_address():
    """An address on loopback that no other rogue has had."""
    n = next(NUMBERS)
    return f"127.0.{2 + n // 250}.{1 + n % 250}"


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
    port = harness.free_port("127.0.2.1", "127.0.3.1")
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
        made.append(Rogue(fresh_address(), out.hop_port, at, extensions))
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


def done(out, identity):
    wait_for(lambda: [e for e in out.events(identity) if e["event"] == "done"], what=f"the end of {identity}")


def report_about(out, identity):
    """The bounce about a message, in the Maildir of the sender."""

    def look():
        found = [r for r in reports(out.maildir("example.org", "alice")) if identity in r.raw.decode("latin-1")]
        return found and found[0]

    return wait_for(look, what=f"a bounce about {identity}")


# --- replies of every shape ------------------------------------------------------------------------------------------

ODD_BUT_FINE = {
    "many lines": {"CONNECT": b"".join(b"220-line %d\r\n" % i for i in range(100)) + b"220 end\r\n"},
    "nothing but the code": {s: b"250\r\n" for s in ("MAIL", "RCPT", "DOT")}
    | {"CONNECT": b"220\r\n", "DATA": b"354\r\n"},
    "one octet at a time": {"EHLO": lambda w: w.slowly(b"250-rogue\r\n250 8BITMIME\r\n", 0.02)},
    "bare LF": {
        "CONNECT": b"220 rogue\n",
        "EHLO": b"250-rogue\n250 8BITMIME\n",
        "MAIL": b"250 ok\n",
        "DOT": b"250 ok\n",
    },
    "eight bits": {"CONNECT": "220 grüß gott\r\n".encode("latin-1"), "DOT": "250 2.0.0 genommen, grüße\r\n".encode()},
    "wrong enhanced codes": {
        "MAIL": b"250 5.1.1 ok\r\n",
        "RCPT": b"250 4.99.9999999999 ok\r\n",
        "DOT": b"250 9.9.9 ok\r\n",
    },
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
    identity = send(out, r)
    done(out, identity)
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
    done(out, identity)
    assert len(r.messages) == 1


@pytest.mark.parametrize("extensions", [EVERYTHING, PLAIN], ids=["everything", "plain"])
@pytest.mark.parametrize("stage", ["CONNECT", "EHLO", "RCPT"])
def test_a_reply_too_many_is_never_taken_for_the_one_to_the_message(out, rogue, stage, extensions):
    """The server says yes once more than asked, and refuses the message: all later replies would be off by one."""
    usual = {"CONNECT": b"220 rogue\r\n", "EHLO": b"250-rogue\r\n250-PIPELINING\r\n250 CHUNKING\r\n"}
    many = usual.get(stage, b"250 2.1.5 ok\r\n") + b"250 2.0.0 surprise\r\n"
    r = rogue({stage: many, "DOT": b"550 5.7.0 never\r\n"}, extensions)
    identity = send(out, r)
    deferred = last_event(out, identity, "deferred")
    assert "it answered more than it was asked" in deferred["reason"]
    assert not [e for e in out.events(identity) if e["event"] == "delivered"]


# --- other servers of the same domain --------------------------------------------------------------------------------


@pytest.mark.parametrize("answers", [{"MAIL": None}, {"RCPT": "421 4.3.2 closing"}, {"DATA": None, "BDAT": None}])
def test_a_server_that_breaks_down_later_does_not_keep_the_next_one_from_being_asked(net, answers):
    net.host(1, answers=answers, extensions=PLAIN)
    second = net.host(2)
    net.mx((10, 1), (20, 2))
    server = net.server()
    identity = server.submit(SENDER, "bob@dest.example")
    wait_for(lambda: second.messages, what="the arrival at the second")
    wait_for(lambda: [e for e in server.events(identity) if e["event"] == "done"], what="the end")
    attempts = [e for e in server.events(identity) if e["event"] == "attempt"]
    assert [(e["host"], e["outcome"]) for e in attempts] == [("mx1.dest.example", "next host")]


def test_only_those_without_an_answer_go_to_the_next_server(net):
    replies = iter(["550 5.1.1 no such user", "250 ok", None])
    first = net.host(1, answers={"RCPT": lambda a, n: next(replies, None)}, extensions=PLAIN)
    second = net.host(2)
    net.mx((10, 1), (20, 2))
    server = net.server()
    server.submit(SENDER, [f"{n}@dest.example" for n in ("eve", "bob", "joe")])
    wait_for(lambda: second.messages, what="the arrival at the second")
    assert sorted(second.messages[0]["to"]) == ["TO:<bob@dest.example>", "TO:<joe@dest.example>"]
    wait_for(lambda: reports(server.maildir("example.org", "alice")), what="the bounce")
    found = reports(server.maildir("example.org", "alice"))
    assert [r["Final-Recipient"] for r in found[0].recipients] == ["rfc822; eve@dest.example"]
    assert first.connections == 1


def test_each_host_that_did_not_work_is_in_the_trace(net):
    net.dead_host(1)
    net.host(2, answers={"CONNECT": "421 4.3.2 too busy"})
    third = net.host(3)
    net.mx((10, 1), (20, 2), (30, 3))
    server = net.server()
    identity = server.submit(SENDER, "bob@dest.example")
    wait_for(lambda: third.messages, what="the arrival at the third")
    wait_for(lambda: [e for e in server.events(identity) if e["event"] == "delivered"], what="the end")
    attempts = [e for e in server.events(identity) if e["event"] == "attempt"]
    assert [(e["host"], e["stage"]) for e in attempts] == [
        ("mx1.dest.example", "connect"),
        ("mx2.dest.example", "greeting"),
    ]
    text = server.command("trace", identity).stdout
    assert "mx1.dest.example" in text and "too busy" in text, text


def test_a_connection_that_was_closed_after_a_refusal_costs_no_attempt(net):
    """The server refuses somebody and hangs up while the connection is kept for the next message."""
    first = net.host(1, answers={"RCPT": lambda a, n: "550 5.1.1 no such user" if "eve" in a else True})
    net.mx((10, 1))
    server = net.server(deliver={"idle_timeout": "3s"})
    server.submit(SENDER, "eve@dest.example")
    wait_for(lambda: reports(server.maildir("example.org", "alice")), what="the bounce")
    for connection in list(first.open_connections):
        connection.shutdown(socket.SHUT_RDWR)
    time.sleep(0.1)
    identity = server.submit(SENDER, "bob@dest.example")
    wait_for(lambda: first.messages, what="the arrival")
    wait_for(lambda: [e for e in server.events(identity) if e["event"] == "delivered"], what="the end")
    assert not [e for e in server.events(identity) if e["event"] == "attempt"]


# --- what senders are told -------------------------------------------------------------------------------------------

CLASS_OF_ACTION = {"failed": "45", "delayed": "4", "delivered": "2", "relayed": "2"}


def check_report(r, sender=SENDER, mta="out.example.net"):
    """What RFC 3464, RFC 3461 section 6 and RFC 3834 ask of every notification."""
    assert r.mail["From"] and "MAILER-DAEMON" in r.mail["From"]
    assert r.mail["To"] == f"<{sender}>"
    assert r.mail["Auto-Submitted"] == "auto-replied" and r.mail["MIME-Version"] == "1.0"
    assert r.mail["Return-Path"] == "<>"
    assert r.mail["Message-ID"] and email.utils.parsedate_to_datetime(r.mail["Date"])
    assert not r.mail.defects and all(not p.defects for p in r.mail.walk()), [p.defects for p in r.mail.walk()]
    assert all(len(line) <= 998 for line in r.raw.splitlines())
    assert r.message["Reporting-MTA"] == f"dns; {mta}"
    assert email.utils.parsedate_to_datetime(r.message["Arrival-Date"])
    assert r.recipients
    for fields in r.recipients:
        assert re.fullmatch(r"(rfc822|utf-8); \S.*", fields["Final-Recipient"]), fields.as_string()
        assert fields["Action"] in CLASS_OF_ACTION
        assert re.fullmatch(
            rf"[{CLASS_OF_ACTION[fields['Action']]}]\.\d{{1,3}}\.\d{{1,3}}", fields["Status"]
        ), fields.as_string()
        for name in ("Last-Attempt-Date", "Will-Retry-Until"):
            assert fields[name] is None or email.utils.parsedate_to_datetime(fields[name])
        assert (fields["Will-Retry-Until"] is not None) == (fields["Action"] == "delayed")
        assert fields["Remote-MTA"] is None or fields["Remote-MTA"].startswith("dns; ")
        if fields["Diagnostic-Code"] and fields["Diagnostic-Code"].startswith("smtp;"):
            assert re.match(r"smtp; [2-5]\d\d", fields["Diagnostic-Code"]), fields.as_string()
            assert fields["Remote-MTA"]
        for name in fields.keys():
            assert len(fields.get_all(name)) == 1, f"{name} twice"


HOSTILE_REFUSALS = {
    "many lines": b"".join(b"550-5.7.1 line %d of a long story\r\n" % i for i in range(100)) + b"550 5.7.1 end\r\n",
    "one long word": b"550 5.1.1 " + b"x" * 3900 + b"\r\n",
    "latin-1": "550 5.1.1 größenwahnsinnig\r\n".encode("latin-1"),
    "utf-8": "550 5.1.1 größenwahnsinnig 邮箱不存在\r\n".encode(),
    "looks like header fields": b"550-5.1.1 no\r\n550-Action: delivered\r\n550 Status: 2.0.0\r\n",
    "looks like a boundary": b"550-5.1.1 no\r\n550---=_boundary--\r\n550 .\r\n",
    "the wrong class": b"550 2.0.0 no\r\n",
    "no text": b"550\r\n",
    "a temporary status": b"550 4.2.0 no\r\n",
    "control characters": b"550 5.1.1 no\x1b[31m\x07\ttab\r\n",
}


@pytest.mark.parametrize("stage", ["MAIL", "RCPT", "DATA", "DOT"])
@pytest.mark.parametrize("name", HOSTILE_REFUSALS)
def test_a_bounce_is_well_formed_whatever_the_server_said(out, rogue, name, stage):
    r = rogue({stage: HOSTILE_REFUSALS[name]}, PLAIN)
    identity = send(out, r)
    report = report_about(out, identity)
    check_report(report)
    fields = report.recipients[0]
    assert fields["Action"] == "failed" and fields["Final-Recipient"] == f"rfc822; {to(r)}"
    assert fields["Status"][0] == ("4" if name == "a temporary status" and fields["Status"][0] == "4" else "5")
    assert fields["Diagnostic-Code"].startswith("smtp; 550")
    assert len(report.recipients) == 1
    out.command("trace", identity)


def test_a_long_reply_of_many_lines_can_be_read_everywhere(out, rogue):
    """Lines become spaces, and what is cut is not cut inside of a letter."""
    r = rogue({"RCPT": "450-4.2.0 erste Zeile\r\n450-4.2.0 x{}\r\n450 4.2.0 end\r\n".format("ß" * 1500).encode()}, PLAIN)
    identity = send(out, r)
    reason = last_event(out, identity, "deferred")["reason"]
    assert reason.startswith("450 4.2.0 erste Zeile xßßß") and re.fullmatch("450 4.2.0 erste Zeile xß+", reason), reason
    shown = [x for x in out.rows() if x["id"] == identity][0]["recipients"][0]["last_reply"]
    assert re.fullmatch("450 4.2.0 erste Zeile xß{900,}", shown), shown
    out.command("queue", "bounce", identity)
    assert b"returned by an administrator" in report_about(out, identity).raw


def test_a_report_has_all_lines_of_the_answer_and_says_who_gave_it(out, rogue):
    lines = [b"550-5.7.1 line %d of what has to be said about this message\r\n" % i for i in range(25)]
    r = rogue({"RCPT": b"".join(lines) + b"550 5.7.1 end of it\r\n"}, PLAIN)
    report = report_about(out, send(out, r))
    check_report(report)
    answer = " ".join(report.recipients[0]["Diagnostic-Code"].split())
    assert all(f"line {i} of what has to be said about this message" in answer for i in range(25)) and answer.endswith("end of it")
    assert re.fullmatch(r"dns; (\S+ \([0-9.]+\)|\[[0-9.]+\])", report.recipients[0]["Remote-MTA"])


def parameters(ret, envid):
    return (f" RET={ret}" if ret else "") + (f" ENVID={envid}" if envid else "")


@pytest.mark.parametrize("ret", [None, "HDRS", "FULL"])
@pytest.mark.parametrize(
    "notify", [None, "NEVER", "SUCCESS", "FAILURE", "DELAY", "SUCCESS,FAILURE", "SUCCESS,FAILURE,DELAY"]
)
@pytest.mark.parametrize("extensions", [EVERYTHING, PLAIN], ids=["dsn", "no dsn"])
def test_ret_and_notify_are_obeyed(out, rogue, extensions, notify, ret):
    r = rogue(
        {"RCPT": lambda w: b"550 5.1.1 nobody\r\n" if "eve" in r.said("RCPT")[-1] else True},
        [e for e in extensions if e != "PIPELINING"],
    )
    rcpt = " ORCPT=rfc822;some+2Bbody@else.example" + (f" NOTIFY={notify}" if notify else "")
    before = len(out.maildir("example.org", "alice"))
    identity = send(
        out,
        r,
        b"Subject: secret\r\n\r\nthe body of it\r\n",
        ("bob", "eve"),
        parameters=parameters(ret, "my+3Did"),
        rcpt_parameters=rcpt,
    )
    wait_for(lambda: [e for e in out.events(identity) if e["event"] == "done"], what="the end")
    words = (notify or "FAILURE").split(",")
    expected = {}
    if "FAILURE" in words:
        expected[to(r, "eve")] = "failed"
    if "SUCCESS" in words and "DSN" not in extensions:
        expected[to(r, "bob")] = "relayed"

    def told():
        found = [x for x in reports(out.maildir("example.org", "alice")[before:]) if identity in x.raw.decode()]
        return found if sum(len(x.recipients) for x in found) >= len(expected) else None

    found = wait_for(told, what="the reports") if expected else []
    if not expected:
        time.sleep(0.2)
        found = told() or []
    got = {}
    for report in found:
        check_report(report)
        assert report.message["Original-Envelope-Id"] == "my=id"
        for fields in report.recipients:
            got[fields["Final-Recipient"].split("; ")[1]] = fields["Action"]
            assert fields["Original-Recipient"] == "rfc822; some+body@else.example"
        full = "failed" in [f["Action"] for f in report.recipients] and ret != "HDRS"
        assert report.original_type == ("message/rfc822" if full else "text/rfc822-headers")
        assert (b"the body of it" in report.original) == full and b"secret" in report.original
    assert got == expected
    if "DSN" in extensions:
        assert all(
            f"ENVID=my+3Did" in c and ((f" RET={ret}" in c) if ret else " RET=" not in c) for c in r.said("MAIL")
        )
        assert all("ORCPT=rfc822;some+2Bbody@else.example" in c for c in r.said("RCPT"))
        assert all((f" NOTIFY={notify}" in c) if notify else "NOTIFY" not in c for c in r.said("RCPT"))
    else:
        assert not [c for c in r.commands if "ENVID" in c or "ORCPT" in c or "NOTIFY" in c or "RET=" in c]


def test_nobody_is_told_about_a_message_from_nobody(out, rogue):
    r = rogue({"RCPT": b"550 5.1.1 no such user\r\n"})
    before = len(out.maildir("example.org", "alice"))
    identity = out.submit("", to(r), parameters=" ENVID=x", rcpt_parameters=" NOTIFY=SUCCESS,FAILURE,DELAY")
    done(out, identity)
    assert [e["event"] for e in out.events(identity)].count("failed") == 1
    assert "bounced" not in [e["event"] for e in out.events(identity)]
    assert len(out.maildir("example.org", "alice")) == before


def test_a_bounce_that_bounces_ends_there(out, rogue):
    r = rogue({"RCPT": b"550 5.1.1 no such user\r\n"})
    identity = out.submit(to(r, "sender"), to(r, "bob"))
    done(out, identity)
    wait_for(out.queue_is_empty, what="an empty queue")
    assert len(r.said("MAIL")) == 2 and r.said("MAIL")[1].startswith("MAIL FROM:<>")
    about = [e for e in out.events(identity) if e["event"] == "bounced"]
    assert len(about) == 1
    assert [e["event"] for e in out.events(about[0]["dsn"])][-1] == "done"


def test_delays_and_failures_of_one_message_are_told_apart(place):
    refusals = {"gone": "550 5.1.1 no such user", "full": "452 4.2.2 mailbox full", "slow": "451 4.3.0 later"}
    peer = place.peer(answers={"RCPT": lambda a, n: next((v for k, v in refusals.items() if k in a), True)})
    server = place.mx(
        hostname="out.example.net",
        routes=[{"to": "*", "via": [{"host": f"127.0.0.1:{peer.port}"}]}],
        queue={"retry": ["300ms"], "warn": "1s", "expire": "3s"},
    )
    identity = server.submit(SENDER, [f"{n}@dest.example" for n in ("gone", "full", "slow", "fine")])
    done(server, identity)
    wait_for(server.queue_is_empty, what="an empty queue")
    time.sleep(0.3)
    found = reports(server.maildir("example.org", "alice"))
    told = []
    for r in found:
        check_report(r)
        told += [(f["Final-Recipient"].split("; ")[1].split("@")[0], f["Action"], f["Status"]) for f in r.recipients]
    assert sorted(told) == [
        ("full", "delayed", "4.2.2"),
        ("full", "failed", "4.4.7"),
        ("gone", "failed", "5.1.1"),
        ("slow", "delayed", "4.3.0"),
        ("slow", "failed", "4.4.7"),
    ]
    assert len(peer.messages) == 1


# --- extensions ------------------------------------------------------------------------------------------------------

OPTIONAL = ("PIPELINING", "8BITMIME", "SMTPUTF8", "DSN", "CHUNKING")


@pytest.mark.parametrize("number", range(1 << len(OPTIONAL)))
def test_only_what_is_offered_is_used(out, rogue, number):
    offered = [word for i, word in enumerate(OPTIONAL) if number & (1 << i)]
    r = rogue(extensions=["ENHANCEDSTATUSCODES", *offered])
    plain = send(out, r, b"Subject: plain\r\n\r\n..dot\r\n", parameters=" ENVID=a RET=HDRS")
    header = "Subject: eight\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    eight = send(out, r, f"{header}grüße\r\n".encode(), parameters=" BODY=8BITMIME")
    signed = send(out, r, f"DKIM-Signature: v=1\r\n{header}grüße\r\n".encode(), parameters=" BODY=8BITMIME")
    utf8 = out.submit(SENDER, f"jürgen@[{r.address}]", b"Subject: utf8\r\n\r\nx\r\n", parameters=" SMTPUTF8")
    for identity in (plain, eight, signed, utf8):
        done(out, identity)

    def fate(identity):
        found = [e for e in out.events(identity) if e["event"] in ("delivered", "failed")]
        assert len(found) == 1
        return found[0]["event"], found[0].get("reason", "")

    assert fate(plain)[0] == "delivered"
    assert fate(eight)[0] == "delivered"  # encoded where it has to be
    assert fate(signed)[0] == ("delivered" if "8BITMIME" in offered else "failed")  # that would break the signature
    assert "8BITMIME" in offered or "5.6.3" in fate(signed)[1]
    assert fate(utf8)[0] == ("delivered" if "SMTPUTF8" in offered else "failed")
    assert "SMTPUTF8" in offered or "5.6.7" in fate(utf8)[1] or "5.6.3" in fate(utf8)[1]
    said = "\n".join(r.commands)
    for word, trace in {"8BITMIME": "BODY=", "SMTPUTF8": "SMTPUTF8", "DSN": "ENVID=", "CHUNKING": "BDAT"}.items():
        assert (trace in said) <= (word in offered), said
    assert ("BDAT" in said) == ("CHUNKING" in offered)
    contents = [m["data"] for m in r.messages]
    assert any(b"\r\n\r\n.dot\r\n" in c or b"\r\n\r\n..dot\r\n" in c for c in contents)
    data = next(c for c in contents if b"Subject: eight" in c)
    assert harness.header_of(data).get_payload(decode=True).decode() == "grüße\r\n"
    assert "8BITMIME" in offered or max(data) < 128


def test_a_message_above_the_announced_size_fails_without_being_named(out, rogue):
    r = rogue(extensions=["SIZE 100", "8BITMIME"])
    identity = send(out, r, b"Subject: x\r\n\r\n" + b"y" * 1000 + b"\r\n")
    report = report_about(out, identity)
    check_report(report)
    assert report.recipients[0]["Status"] == "5.3.4" and r.said("MAIL") == []


def test_a_refusal_in_the_middle_of_the_content_is_heard_although_the_server_reads_no_more(out, rogue):
    def refuse(wire):
        wire.send(b"552 5.3.4 that is too much\r\n")
        time.sleep(6)
        wire.hang_up()

    r = rogue({"CONTENT": refuse}, PLAIN)
    identity = send(out, r, b"Subject: x\r\n\r\n" + (b"y" * 70 + b"\r\n") * 200000)
    report = report_about(out, identity)
    check_report(report)
    assert report.recipients[0]["Status"] == "5.3.4"
    assert len(r.said("DATA")) == 1, out.command("trace", identity).stdout


# --- TLS -------------------------------------------------------------------------------------------------------------


def tls_answer(place, then=b"", extensions=("8BITMIME",), stop_after=None):
    """For the stage STARTTLS: a handshake with a certificate nobody knows, then a dialogue of its own."""
    import ssl

    certificate = place.certificate("other.example")

    def deed(wire):
        wire.send(b"220 go\r\n" + then)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*map(str, certificate))
        wire.connection = context.wrap_socket(wire.connection, server_side=True)
        wire.buffer = b""
        if stop_after == "handshake":
            raise EOFError

    return deed


def test_what_is_offered_under_tls_counts(out, rogue, shared):
    r = rogue(extensions=["STARTTLS", "SIZE 10", "CHUNKING"])
    hello = b"250-rogue.example\r\n250 8BITMIME\r\n"
    r.at["STARTTLS"] = tls_answer(shared)
    r.at["EHLO"] = [True, hello]
    identity = send(out, r)
    done(out, identity)
    event = last_event(out, identity, "delivered")
    assert event["tls"].startswith("TLSv1") and r.said("DATA") and not r.said("BDAT")


BROKEN_TLS = {
    "refused": b"454 4.7.0 TLS not available\r\n",
    "refused for good": b"502 5.5.1 no\r\n",
    "garbage": lambda w: (w.send(b"220 go\r\n"), w.more(), w.send(b"this is no handshake\r\n"), w.hang_up()),
    "hang-up": lambda w: (w.send(b"220 go\r\n"), w.hang_up()),
    "reset": lambda w: (w.send(b"220 go\r\n"), w.more(), w.reset()),
    "silence": lambda w: (w.send(b"220 go\r\n"), w.stall()),
    "alert": lambda w: (w.send(b"220 go\r\n"), w.more(), w.send(b"\x15\x03\x01\x00\x02\x02\x28"), w.hang_up()),
    "injection": lambda w: (w.send(b"220 go\r\n250-evil\r\n250 AUTH PLAIN\r\n"), w.more(), w.hang_up()),
}


@pytest.mark.parametrize("name", BROKEN_TLS)
def test_broken_tls_goes_in_the_clear_where_nobody_asked_for_more(out, rogue, name):
    r = rogue({"STARTTLS": BROKEN_TLS[name]}, extensions=["STARTTLS", "8BITMIME"])
    identity = send(out, r)
    done(out, identity)
    assert last_event(out, identity, "delivered").get("tls") is None
    assert len(r.messages) == 1 and r.connections == (1 if name.startswith("refused") else 2)
    if not name.startswith("refused"):
        attempts = [e for e in out.events(identity) if e["event"] == "attempt"]
        assert [e["outcome"] for e in attempts] == ["again without TLS"]


# --- logging in ------------------------------------------------------------------------------------------------------

ODD_LOGINS = {
    "a challenge that is no base64": (["AUTH PLAIN"], b"334 !!!!\r\n"),
    "challenges without end": (["AUTH LOGIN"], b"334 VXNlcm5hbWU6\r\n"),
    "welcome without proof": (["AUTH SCRAM-SHA-256"], b"235 2.7.0 welcome\r\n"),
    "an empty challenge for SCRAM": (["AUTH SCRAM-SHA-256"], b"334 \r\n"),
    "nothing we know": (["AUTH GSSAPI NTLM"], b"235 ok\r\n"),
    "no AUTH": ([], b"235 ok\r\n"),
    "a refusal": (["AUTH PLAIN LOGIN"], b"535 5.7.8 wrong password\r\n"),
    "a temporary refusal": (["AUTH PLAIN LOGIN"], b"454 4.7.0 backend is down\r\n"),
}


@pytest.mark.parametrize("name", ODD_LOGINS)
def test_a_login_that_does_not_work_delays_and_says_why(place, name):
    extensions, answer = ODD_LOGINS[name]
    port = harness.free_port()
    words = [b"250-rogue.example\r\n", *[b"250-" + e.encode() + b"\r\n" for e in extensions], b"250 8BITMIME\r\n"]
    r = Rogue("127.0.0.1", port, {"AUTH": answer, "STARTTLS": tls_answer(place)}, ["STARTTLS"])
    r.at["EHLO"] = lambda w: b"".join(words) if hasattr(w.connection, "cipher") else True
    # The lines of the exchange behind AUTH are no verbs.
    r.deed, usual = (
        lambda stage, u, w: usual(stage if stage in STAGES + ("QUIT", "STARTTLS") else "AUTH", u, w)
    ), r.deed
    secret = place.tmp / "secret"
    secret.write_text("open sesame\n")
    secret.chmod(0o600)
    server = place.mx(
        relays={
            "out": {
                "hosts": [f"127.0.0.1:{port}"],
                "tls": "required",
                "login": {"user": "us", "password_file": str(secret)},
            }
        },
        routes=[{"to": "*", "via": [{"relay": "out"}]}],
        deliver=TIMES,
    )
    identity = server.submit(SENDER, "bob@dest.example")
    event = last_event(server, identity, "deferred")
    assert event["class"] == "auth" and len(event["reason"]) > 20
    assert not r.said("MAIL") and "open sesame" not in server.log()
    r.close()


# --- many recipients -------------------------------------------------------------------------------------------------


def test_a_thousand_recipients_at_several_sites_each_get_it_once(out, rogue):
    count = itertools.count()
    places = [
        rogue(),
        rogue(extensions=PLAIN),
        # takes 37 in a transaction
        rogue({"MAIL": lambda w: (setattr(w, "n", 0), True)[1], "RCPT": lambda w: thirty_seven(w)}, PLAIN),
        rogue({"DOT": [b"451 4.3.0 later\r\n"] * 2 + [True]}),
    ]

    def thirty_seven(w):
        w.n += 1
        return True if w.n <= 37 else b"452 4.5.3 too many recipients\r\n"

    everybody = [f"u{next(count)}@[{r.address}]" for _ in range(250) for r in places]
    identity = out.submit(SENDER, everybody)
    done(out, identity)
    got = [c.split("<")[1].split(">")[0] for r in places for m in r.messages for c in m["to"]]
    assert sorted(got) == sorted(everybody)
    assert max(len(m["to"]) for r in places for m in r.messages) <= 100
    assert len(places[2].messages) <= 12


# --- while deliveries are under way ------------------------------------------------------------------------------------


def test_a_stop_in_the_middle_loses_nothing(place):
    """Deliveries stand still at every stage; what the server knew of the message is there after the restart."""
    port = harness.free_port()
    stuck = threading.Event()
    stuck.set()

    def stall(wire):
        return wire.stall() if stuck.is_set() else True

    stages = ("CONNECT", "EHLO", "MAIL", "RCPT", "DATA", "CONTENT")
    rogues = {
        s: Rogue(fresh_address(), port, {s: [b"421 4.3.2 not now\r\n", stall]}, PLAIN) for s in stages if s != "CONTENT"
    }
    rogues["CONTENT"] = Rogue(fresh_address(), port, {"CONTENT": stall}, PLAIN)
    server = place.mx(deliver={"port": port}, queue={"retry": ["100ms"], "expire": "1h"}, stop_timeout="500ms")
    sent = {s: server.submit(SENDER, to(r)) for s, r in rogues.items()}
    wait_for(
        lambda: all(r.connections == (1 if s == "CONTENT" else 2) for s, r in rogues.items()), what="all to be stuck"
    )
    time.sleep(0.2)
    begun = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - begun < 5 * harness.SLOW
    stuck.clear()
    server.start()
    rows = {r["id"]: r["recipients"][0] for r in server.rows()}
    for stage, identity in sent.items():
        if identity in rows and stage != "CONTENT":
            assert rows[identity]["attempts"] >= 1 and "not now" in rows[identity]["last_reply"], rows[identity]
    wait_for(server.queue_is_empty, what="an empty queue")
    assert [len(r.messages) for r in rogues.values()] == [1] * len(stages)
    assert not reports(server.maildir("example.org", "alice"))
    for r in rogues.values():
        r.close()


def test_reloads_while_mail_goes_out(place):
    peer = place.peer(answers={"DOT": lambda a, n: time.sleep(0.02) or True})
    server = place.mx(routes=[{"to": "*", "via": [{"host": f"127.0.0.1:{peer.port}"}]}])
    with server.client(trusted=True) as c:
        c.hello()
        for i in range(300):
            c.send_message(SENDER, [f"u{i}@dest.example"])
            if i % 30 == 0:
                server.hangup()
    wait_for(server.queue_is_empty, 20, what="an empty queue")
    assert sorted(m["to"][0] for m in peer.messages) == sorted(f"TO:<u{i}@dest.example>" for i in range(300))


@pytest.mark.parametrize("order", ["hold", "remove", "bounce", "retry"])
def test_orders_while_deliveries_are_active(place, order):
    """The message that is being sent is delivered, whatever is ordered meanwhile; nobody is told otherwise."""
    go_on = threading.Event()
    peer = place.peer(answers={"DOT": lambda a, n: go_on.wait(20) and True})
    server = place.mx(routes=[{"to": "*", "via": [{"host": f"127.0.0.1:{peer.port}"}]}], queue={"site_connections": 1})
    first = server.submit(SENDER, "first@dest.example")
    wait_for(lambda: peer.said("DOT") or peer.messages, what="the first at the dot")
    second = server.submit(SENDER, "second@dest.example")
    for identity in (first, second):
        server.command("queue", order, identity)
    listed = {r["id"]: r["recipients"][0]["status"] for r in server.rows()}
    assert first in listed, listed
    go_on.set()
    wait_for(lambda: peer.messages, what="the first")
    if order == "hold":
        wait_for(lambda: [r["id"] for r in server.rows("--held")] == [second], what="the second to be held")
        server.command("queue", "release", second)
    wait_for(server.queue_is_empty, what="an empty queue")
    time.sleep(0.3)
    got = sorted(m["to"][0] for m in peer.messages)
    both = order in ("hold", "retry")
    assert got == ["TO:<first@dest.example>", "TO:<second@dest.example>"][: 2 if both else 1]
    found = reports(server.maildir("example.org", "alice"))
    assert [f["Final-Recipient"] for r in found for f in r.recipients] == (
        ["rfc822; second@dest.example"] if order == "bounce" else []
    )
    for r in found:
        check_report(r, mta="mx.example.org")


# --- fairness and bounds -----------------------------------------------------------------------------------------------


def test_a_single_message_is_not_behind_a_newsletter(net):
    slow = net.host(1, answers={"DOT": lambda a, n: time.sleep(0.1) or True})
    net.mx((10, 1))
    net.mx((10, 1), domain="other.example")
    server = net.server(queue={"site_connections": 2})
    with server.client(trusted=True) as c:
        c.hello()
        for i in range(200):
            c.send_message("news@example.org", [f"u{i}@dest.example"])
    server.submit("reset@example.org", "password@other.example")
    wait_for(lambda: [m for m in slow.messages if "password" in m["to"][0]], what="the single message")
    assert len(slow.messages) < 100


def test_a_dead_site_costs_few_connections_and_no_time_of_others(net):
    dead = net.host(1, answers={"CONNECT": "421 4.3.2 no"})
    alive = net.host(2)
    net.mx((10, 1))
    net.mx((10, 2), domain="alive.example")
    server = net.server(queue={"retry": ["1s"], "expire": "1h"})
    with server.client(trusted=True) as c:
        c.hello()
        for i in range(1000):
            c.send_message(SENDER, [f"u{i}@dest.example"])
    begun = time.monotonic()
    server.submit(SENDER, "bob@alive.example")
    wait_for(lambda: alive.messages, what="the healthy one")
    assert time.monotonic() - begun < 2 * harness.SLOW
    time.sleep(2)
    assert dead.connections < 40, dead.connections
    assert server.summary()["messages"] == 1000
    row = server.rows("--limit", "1")[0]["recipients"][0]
    assert "dest.example" in row["waits_for"] or "site" in row["waits_for"]
    dead.answers.clear()
    wait_for(server.queue_is_empty, 60, what="an empty queue")
    assert len(dead.messages) == 1000


# --- names -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address", ["bob@DEST.example", "bob@dest.EXAMPLE", "bob@bücher.example", "bob@XN--BCHER-KVA.example"]
)
def test_names_of_domains_in_all_their_shapes(net, address):
    peer = net.host(1)
    net.mx((10, 1))
    net.mx((10, 1), domain="xn--bcher-kva.example")
    server = net.server()
    utf8 = " SMTPUTF8" if "ü" in address else ""
    server.submit(SENDER, address, parameters=utf8)
    wait_for(lambda: peer.messages, what="the arrival")
    wait_for(server.queue_is_empty, what="an empty queue")
    assert peer.connections == 1
