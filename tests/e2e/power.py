"""For test_power_cut.py: a recorded run of the real server under load, and what has to be in every image of its disk."""

import bisect
import hashlib
import os
import random
import re
import struct
import subprocess
import threading
import time
from collections import Counter

import disk
import harness
from harness import BINARY, SLOW, wait_for

SEGMENT_SIZE = 256 << 10
RECORDER = BINARY.parent / "librecord.so"
RECOVER = BINARY.parent / "power_recover"
SESSIONS = 8
RECORDS = {1: "chunks", 2: "commits", 3: "notes", 4: "removals", 5: "lists of removals", 6: "seals"}
RECORDED_SOON = 2.0 * SLOW  # so long after a delivery its record is safe at the latest


def environment(**more):
    """For a process that is recorded."""
    asan = os.environ.get("ASAN_OPTIONS", "")
    return {
        **os.environ,
        "LD_PRELOAD": str(RECORDER),
        "ASAN_OPTIONS": f"{asan}:verify_asan_link_order=0".lstrip(":"),
        **more,
    }


class RecordedServer(harness.Server):
    """What it does to the files below `root` is recorded. Each life ends with itself after so many lines."""

    def life(self, lines=0):
        self.commands = self.env
        self.env = environment(
            YIZHAN_RECORD=str(self.dir / "record"),
            YIZHAN_RECORD_ROOT=str(self.dir / "root"),
            YIZHAN_RECORD_DELAY="3000",
            YIZHAN_RECORD_KILL=str(lines),
            VALGRIND_OPTS="--leak-check=no",  # it looks when a process kills itself, and finds what is half done
        )
        self.start(wait=False)
        self.env = self.commands


class Message:
    """What a client sent."""

    __slots__ = ("name", "recipients", "body", "id")

    def __init__(self, name, recipients, body):
        self.name, self.recipients, self.body, self.id = name, recipients, body, None


class Remote:
    """The next hop: takes "r-" at once, "later-" one time in twelve or when `patient` is over, never "bad-". It says in its
    reply what it took, so that the moment stands in the record."""

    def __init__(self, place):
        self.patient, self.taken = True, []
        self.peer = place.peer(answers={"RCPT": self._recipient, "DOT": self._taken})

    def _recipient(self, argument, _):
        if "<bad-" in argument:
            return "550 5.1.1 nobody here has that name"
        if "<later-" in argument and self.patient and random.random() > 0.08:
            return "451 4.2.0 come back later"
        return True

    def _taken(self, message, _):
        if self.patient:
            time.sleep(random.choice((0, 0, 0.002, 0.02)))
        to = ",".join(re.search("<(.*?)>", t).group(1) for t in message["to"])
        self.taken += to.split(",")
        return f"250 2.0.0 taken {to}"


class Load:
    """Sessions that send messages of all kinds, to mailboxes here and to the remote."""

    def __init__(self, server):
        self.server, self.messages, self.lock, self.enough = server, [], threading.Lock(), threading.Event()
        self.threads = [threading.Thread(target=self._work, args=(i,), daemon=True) for i in range(SESSIONS)]
        for t in self.threads:
            t.start()

    def _new(self):
        dice = random
        with self.lock:
            name = f"m{len(self.messages) + 1}"
            kinds = dice.choice((["u"], ["r"], ["r"], ["u", "r"], ["r", "later"], ["u", "bad"], ["u", "r", "later"]))
            to = [f"u{dice.randrange(3)}+{name}@example.org" if k == "u" else f"{k}-{name}@dest.example" for k in kinds]
            lines = dice.choice((1, 5, 20, 40, 40, 200)) if dice.random() < 0.92 else dice.choice((2000, 9000))
            filler = b"".join(b"%s line %d\r\n" % (name.encode() * 6, i) for i in range(lines))
            message = Message(name, to, f"Subject: {name}\r\n\r\n".encode() + filler)
            self.messages.append(message)
            return message

    def _work(self, number):
        while not self.enough.is_set():
            try:
                with self.server.client(trusted=True, timeout=5) as c:
                    c.hello()
                    while not self.enough.is_set():
                        while time.monotonic() % 0.6 < 0.2:  # sometimes nobody commits, and all that is lazy shows
                            time.sleep(0.01)
                        self._send(c, self._new(), number)
            except (OSError, EOFError, AssertionError, ValueError):
                time.sleep(0.02)  # the server is down: try again soon

    def _send(self, c, m, number):
        c.begin(f"s+{m.name}@example.org", m.recipients)
        if number % 2:
            c.send(b"BDAT %d LAST\r\n%s" % (len(m.body), m.body))
        else:
            c.expect(354, "DATA")
            c.send(m.body + b".\r\n")
        m.id = re.search(r"queued as (\S+)", c.expect(250)).group(1)

    def stop(self):
        self.enough.set()
        for t in self.threads:
            t.join(20 * SLOW)


def sections(remote, directory="{dir}/root"):
    """The configuration of the recorded server, and of those that start on an image."""
    return {
        "domains": {"example.org": {"deliver": f"maildir:{directory}/mail/{{local}}"}},
        "routes": [{"to": "*", "via": [{"host": f"127.0.0.1:{remote.peer.port}"}]}],
        "spool": {
            "path": f"{directory}/spool",
            "segment_size": "256K",
            "reserve": "1",
            "compact_percent": 60,
            "compact_after": "200ms",
        },
        "admin": {"socket": "{dir}/control.sock"},
        "journal": {"size": "4M"},
        "log": {"format": "text", "level": "warning"},
    }


class Recording:
    """A run of the server in several lives under load: its record, and what the clients know."""

    def __init__(self, place, directory, lines, lives):
        self.remote = Remote(place)
        port = harness.free_port()
        server = RecordedServer(
            harness.configuration(port, **sections(self.remote)), directory=directory, port=port
        )
        place.things.append(server)
        self.server, self.root = server, server.dir / "root"
        self.root.mkdir()
        load = Load(server)
        for life in range(lives):
            server.life(int(lines * random.uniform(0.5, 1.5)))
            status = server.process.wait(120 * SLOW)
            assert status == -9, f"the recorded server ended with status {status}:\n{server.log()}"
        load.stop()
        self.messages = [m for m in load.messages if m.id]
        self.sent = load.messages
        self.events = disk.read_record(server.dir / "record")
        self._note_moments()

    def _note_moments(self):
        """Where in the record a message was acknowledged, a recipient taken by the remote, a process ended."""
        self.acknowledged, self.taken, self.ends = {}, {}, []
        for number, e in enumerate(self.events):
            if e.kind == "q":
                self.acknowledged.setdefault(e.text().split()[-1], number)
            elif e.kind == "p":
                for recipient in e.text().split()[-1].split(","):
                    self.taken.setdefault(recipient, number)
            elif e.kind == "S" and number > 0:
                self.ends.append(self.events[number - 1].time)
        self.busy = list(self._busy())
        missing = [m.name for m in self.messages if m.id not in self.acknowledged]
        assert not missing, f"the recorder did not see the acknowledgements of {missing[:5]}"

    def _busy(self):
        """The lines that change the spool itself, and those behind them: where a cut hurts most."""
        spool, followed = f"{self.root}/spool/", set()
        for number, e in enumerate(self.events):
            if e.kind == "o":
                (followed.add if e.text().startswith(spool) and "/journal" not in e.text() else followed.discard)(e.fd)
            if e.kind in "wtb" and e.fd in followed or e.kind in "ru" and e.text().startswith(spool):
                yield from (n for n in (number, number + 1) if n < len(self.events))

    def moment(self, dice):
        """The line before which the power goes: one that changes the spool or the one behind it, or any, or what was next
        at any time, so that quiet times have their share."""
        how = dice.random()
        if how < 0.6:
            return dice.choice(self.busy)
        if how < 0.8:
            return dice.randrange(1, len(self.events))
        time = dice.uniform(self.events[1].time, self.events[-1].time)
        return bisect.bisect_left(self.events, time, lo=1, hi=len(self.events) - 1, key=lambda e: e.time)

    def forgotten(self, since, now):
        """Must what was done at `since` be on record at `now`? Not when the process ended in between."""
        return now - since > RECORDED_SOON and not any(since <= t <= since + RECORDED_SOON for t in self.ends)

    def counts(self):
        """What the record covers, by docs/SPOOL.md: which records were written, and how often a commit was moved."""
        kinds = "".join(e.kind for e in self.events)
        names = [e.text() for e in self.events if e.kind == "r"]
        types, commits, spanning = Counter(), Counter(), 0
        for e in self.events:
            data = bytes(e.data) if e.kind == "w" and e.a >= 4096 else b""
            while len(data) >= 48:
                length, kind, entries, identity = struct.unpack_from("<8xIBxHQ", data)
                types[kind] += 1
                commits[identity] += kind == 2
                places = struct.unpack_from(f"<{3 * entries}I", data, 48)
                spanning += len(set(places[::3])) > 1
                data = data[48 + 12 * entries + length + 7 & ~7 :]
        return {
            "lines": len(kinds),
            "acknowledged": len(self.messages),
            "writes": kinds.count("w"),
            "syncs": kinds.count("e"),
            "segments": sum(bool(re.search(r"\0.*/[0-9a-f]{8}\.log$", n)) for n in names),
            "recycled": sum("/free-" in n.split("\0")[0] for n in names),
            **{RECORDS[t]: n for t, n in sorted(types.items()) if t in RECORDS},
            "spanning segments": spanning,
            "moved by compaction": sum(n - 1 for n in commits.values() if n > 1),
        }


class Recoverer:
    """build/power_recover: what the spool finds in a directory. recorded: (record, root) of this process."""

    def __init__(self, recorded=None):
        env = environment(YIZHAN_RECORD=recorded[0], YIZHAN_RECORD_ROOT=recorded[1]) if recorded else None
        self.process = subprocess.Popen([str(RECOVER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env)

    def look(self, path):
        """(messages by id, lines of the log, fields of the end)"""
        self.process.stdin.write(f"{SEGMENT_SIZE} {path}\n".encode())
        self.process.stdin.flush()
        messages, log = {}, []
        for raw in self.process.stdout:
            words = raw.decode("utf-8", "replace").split()
            if words[0] == "message":
                messages[words[1]] = words[2:]
            elif words[0] == "log":
                log.append(raw.decode("utf-8", "replace").rstrip())
            else:
                return messages, log, [int(w) for w in words[1:]]
        raise AssertionError(f"the recovery ended with status {self.process.wait()} in {path}")

    def close(self):
        self.process.stdin.close()
        assert self.process.wait(60) == 0


def write_tree(path, tree, cut):
    path.mkdir()
    for name, what in tree.items():
        if isinstance(what, dict):
            write_tree(path / name, what, cut)
        else:
            fd = os.open(path / name, os.O_WRONLY | os.O_CREAT, 0o600)
            os.write(fd, cut.content(what))
            os.close(fd)


class Mail:
    """What the Maildirs of an image hold: recipients that have their message, recipients that a bounce tells of."""

    def __init__(self, recording, bodies):
        self.recording, self.bodies = recording, bodies

    def read(self, tree, cut):
        delivered, bounced, problems = set(), set(), []
        for box, parts in tree.get("mail", {}).items():
            for name, node in (parts.get("new", {}) if isinstance(parts, dict) else {}).items():
                clean = not node.pending
                result = node.checked if clean and node.checked else self._check(bytes(cut.content(node)), box)
                if clean:
                    node.checked = result
                if isinstance(result, str):
                    problems.append(f"mail/{box}/new/{name}: {result}")
                else:
                    delivered |= result[0]
                    bounced |= result[1]
        return delivered, bounced, problems

    def _check(self, data, box):
        head = re.match(rb"Return-Path: <.*>\nDelivered-To: (.*)\n((?:Received: .*\n(?:[ \t].*\n)*)?)", data)
        if not head:
            return f"not a whole message: {data[:60]!r}"
        rest, recipient = data[head.end() :], head.group(1).decode()
        if box == "s":
            if not data.rstrip().endswith(b"--"):
                return "not a whole bounce"
            return set(), set(re.findall(r"Final-Recipient: rfc822; (\S+)", rest.decode()))
        if self.bodies.get(recipient) != rest:
            return f"altered: {recipient}"
        return {recipient}, set()


class Examiner:
    """Holds images against what was promised until the power went."""

    def __init__(self, recording):
        self.recording = recording
        self.by_hash = {hashlib.sha256(m.body).hexdigest(): m for m in recording.sent}
        bodies = {r: m.body.replace(b"\r\n", b"\n") for m in recording.sent for r in m.recipients}
        self.mail = Mail(recording, bodies)
        self.whole = {}  # the hash of each message with the Received field, as first seen
        self.images = self.again = self.torn = self.found = 0

    def spool(self, found):
        """(recipients that wait, ids) in the recovered spool, recipients that bounces in it tell of, problems"""
        waiting, bounced, problems = set(), set(), []
        for identity, (_, whole, rest, result, flags, sender, recipients, final) in found.items():
            if int(result) != 0:
                problems.append(f"message {identity} can't be read: {result}")
                continue
            if self.whole.setdefault(identity, whole) != whole:
                problems.append(f"message {identity} is altered")
            if int(flags) & 4:
                bounced |= set(final.split(","))
                continue
            m = self.by_hash.get(rest)
            states = dict(r.split("=") for r in recipients.split(",")) if "=" in recipients else {}
            if not m or m.id not in (None, identity) or list(states) != m.recipients or sender != f"s+{m.name}@example.org":
                problems.append(f"message {identity} is altered: {recipients}")
            waiting |= {r for r, state in states.items() if state != "done"}
        return waiting, bounced, problems

    def check(self, number, found, log, end, delivered_and_bounced):
        """Everything that is wrong with one image that was cut before event `number`."""
        r = self.recording
        delivered, bounced, problems = delivered_and_bounced
        waiting, more, wrong = self.spool(found)
        problems, bounced = problems + wrong, bounced | more
        if end[0] != 0 or end[2] or end[3]:
            problems.append(f"recovery: result {end[0]}, {end[2]} quarantined, {end[3]} lost")
        problems += [line for line in log if line.split()[2] in ("error", "critical")]
        now = r.events[number - 1].time
        for m in r.messages:
            if r.acknowledged[m.id] >= number:
                continue
            for recipient in m.recipients:
                taken = r.taken.get(recipient, number)
                done = recipient in delivered or recipient in bounced or taken < number
                if not done and recipient not in waiting:
                    problems.append(f"{recipient} of {m.id} is lost")
                if done and recipient in waiting:
                    self.again += 1
                    if taken < number and r.forgotten(r.events[taken].time, now):
                        problems.append(f"{recipient} of {m.id} has come back")
        self.images += 1
        self.torn += end[4] > 0
        self.found += len(found)
        return problems
