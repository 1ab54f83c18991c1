"""Every failure once, in the real process: a shim (tests/shim/fault.c) lets the n-th call of a kind fail, for each n of
the way of one message from the client to a mailbox and to another server.

A client that got its 250 finds the message in both places in the end; one that got something else, or nothing, may
send it again. The server lives on, or (at its start) ends with a sentence that says why.

YIZHAN_FAULT_POINTS says how many points of each kind are failed (12); 0: every one."""

import errno
import itertools
import mmap
import os
import struct
import subprocess
import time

import pytest

import harness
from harness import wait_for

KINDS = ["allocate", "write", "sync", "open", "connect", "accept", "rename", "send"]
POINTS = int(os.environ.get("YIZHAN_FAULT_POINTS", "12"))
SHIM = harness.BINARY.parent / "fault.so"
SETTLES = 0.25 * harness.SLOW  # for a message to arrive when nothing has to be tried again

pytestmark = [
    pytest.mark.skipif(not SHIM.exists(), reason="the shim was not built"),
    pytest.mark.skipif(harness.TSAN, reason="ThreadSanitizer does not start when its own mmap is not the first"),
]
# The allocator of a sanitizer or of Valgrind stands in front of the shim's.
allocations = pytest.mark.skipif(harness.OWN_ALLOCATOR, reason="the memory checker brings its own allocator")


class Faults:
    """The file that the test and the process share: arrays of calls, point, error and fired, by kind."""

    def __init__(self, directory):
        self.path = directory / "faults"
        self.path.write_bytes(bytes(4 * 8 * len(KINDS)))
        with open(self.path, "r+b") as f:
            self.memory = mmap.mmap(f.fileno(), 0)

    def _at(self, array, kind):
        return 8 * (array * len(KINDS) + KINDS.index(kind))

    def _get(self, array, kind):
        return struct.unpack_from("Q", self.memory, self._at(array, kind))[0]

    def _put(self, array, kind, value):
        struct.pack_into("Q", self.memory, self._at(array, kind), value)

    def calls(self, kind):
        return self._get(0, kind)

    def fired(self, kind):
        return self._get(3, kind)

    def arm(self, kind, n, error):
        """The n-th call from now fails."""
        self._put(2, kind, error)
        self._put(1, kind, self.calls(kind) + n)

    def arm_start(self, kind, n, error):
        """The n-th call of a process that is started next."""
        self._put(0, kind, 0)
        self.arm(kind, n, error)

    def disarm(self, kind):
        self._put(1, kind, 0)


def preloaded(faults):
    libraries = [str(SHIM)]
    if harness.SANITIZED:
        asan = subprocess.run(["gcc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True)
        libraries.insert(0, asan.stdout.strip())
    return {"LD_PRELOAD": ":".join(libraries), "YIZHAN_FAULTS": str(faults.path)}


class Office:
    """A server under the shim, a peer, and the messages between them."""

    def __init__(self, place):
        self.faults = Faults(place.tmp)
        self.port = harness.free_port("127.0.1.7")
        self.peer = place.peer(address="127.0.1.7", port=self.port)
        self.server = place.mx(
            zone="dest.example. 300 IN MX 10 mx.dest.example.\nmx.dest.example. 300 IN A 127.0.1.7\n",
            # The system's list of authorities is 200,000 allocations long.
            deliver={"port": self.port, "ca_file": str(place.certificate()[0])},
            queue={"retry": ["100ms"]},
            start=False,
        )
        self.server.env.update(preloaded(self.faults))
        self.numbers = itertools.count(1)
        self.accepted = set()
        self.restarts = 0

    def send(self):
        """Hands a message over; whether it was accepted."""
        name = f"m{next(self.numbers)}."
        try:
            with self.server.client(trusted=True, timeout=5) as c:
                c.hello()
                c.send_message("a@client.example", ["alice@example.org", "bob@dest.example"], b"Subject: %s\r\n\r\nhello\r\n" % name.encode())
        except (OSError, EOFError, AssertionError):
            return None
        self.accepted.add(name)
        return name

    def in_mailbox(self):
        new = self.server.dir / "mail/example.org/alice/new"
        found = set()
        for p in new.iterdir() if new.is_dir() else ():
            lines = p.read_bytes().splitlines()
            found.update(line[9:].decode() for line in lines if line.startswith(b"Subject: m"))
        return found

    def at_peer(self):
        with self.peer.lock:
            texts = [m["data"] for m in self.peer.messages]
        return {line[9:].decode() for t in texts for line in t.splitlines() if line.startswith(b"Subject: m")}

    def missing(self):
        return self.accepted - (self.in_mailbox() & self.at_peer())

    def settle(self, seconds=SETTLES):
        """Waits for what is under way, but not for what is to be tried again."""
        end = time.monotonic() + seconds
        while self.missing() and time.monotonic() < end:
            time.sleep(0.005)

    def recover(self):
        """A message goes through; else the server is started again, as its log asks for."""
        name = self.send() or self.send()
        if not name:
            self.server.stop()
            self.server.start()
            self.restarts += 1
            name = self.send()
        assert name, f"the server takes nothing any more:\n{self.server.log()[-3000:]}"
        self.settle()

    def check_alive(self):
        assert self.server.process.poll() is None, f"the server ended:\n{self.server.log()[-3000:]}"

    def check_arrived(self, kind):
        """Everything accepted has come, at the latest after a restart."""
        try:
            wait_for(lambda: not self.missing(), 4, "the arrival of all messages")
        except AssertionError:
            self.server.stop()
            self.server.start()
            self.restarts += 1
        wait_for(lambda: not self.missing(), 60, f"with {kind}: the arrival of {sorted(self.missing())[:5]}")


@pytest.fixture
def office(place):
    return Office(place)


def spread(total):
    """The points 1..total, or so many of them as are wanted."""
    points = min(POINTS, total) if POINTS else total
    return [1 + i * total // points for i in range(points)]


def walk(office, kind, errors):
    """One message, counted; then one for each of its calls of this kind, which fails."""
    faults = office.faults
    office.server.start()
    office.recover()
    before = faults.calls(kind)
    office.recover()
    time.sleep(0.5 * harness.SLOW)  # the idle connection to the peer ends
    total = max(faults.calls(kind) - before, 2)
    failed = 0
    for n, error in itertools.product(spread(total), errors):
        fired = faults.fired(kind)
        faults.arm(kind, n, error)
        office.send()
        office.settle()
        office.check_alive()
        faults.disarm(kind)
        if faults.fired(kind) > fired:
            failed += 1
            if n % 3 == 0 or kind == "sync":
                office.recover()
    office.recover()
    office.check_arrived(kind)
    print(f"{kind}: {failed} failures at {total} calls for one message; {len(office.accepted)} accepted, {office.restarts} restarts")
    assert failed > 0
    assert office.server.stop() == 0


@allocations
def test_an_allocation_fails(office):
    walk(office, "allocate", [errno.ENOMEM])


def test_a_write_fails(office):
    walk(office, "write", [errno.EIO, errno.ENOSPC])


def test_a_sync_fails(office):
    walk(office, "sync", [errno.EIO])


def test_an_open_fails(office):
    walk(office, "open", [errno.EMFILE])


def test_a_connection_is_not_made(office):
    walk(office, "connect", [errno.ECONNREFUSED, errno.ENETUNREACH])


def test_a_connection_is_not_taken(office):
    walk(office, "accept", [errno.EMFILE, errno.ECONNABORTED])


def test_a_rename_fails(office):
    walk(office, "rename", [errno.EIO])


def test_a_send_fails(office):
    walk(office, "send", [errno.ECONNRESET])


def begin_with(office, kind, n, error):
    """A start in which the n-th call fails: the server is up, or ends and says why. Whether it is up."""
    before = len(office.server.log())
    office.faults.arm_start(kind, n, error)
    office.server.start(wait=False)
    try:
        wait_for(lambda: office.server.process.poll() is not None or office.server.ready(), 10, f"a start with {kind} {n}")
    except AssertionError as e:
        if office.server.process.poll() is None:
            raise AssertionError(f"{e}; {office.server.log()[before:][-3000:]}") from e
    office.faults.disarm(kind)
    status = office.server.process.poll()
    if status is None:
        return True
    said = office.server.log()[before:]
    assert status > 0, f"{kind} {n}: the start ended with status {status}:\n{said[-3000:]}"
    assert said.strip(), f"{kind} {n}: the start ended without a word"
    return False


@pytest.mark.parametrize("kind", [pytest.param("allocate", marks=allocations), "write", "sync", "open", "rename"])
def test_a_start_in_which_a_call_fails(office, kind):
    error = {"allocate": errno.ENOMEM, "open": errno.EMFILE}.get(kind, errno.EIO)
    office.server.start()
    office.recover()
    assert office.server.stop() == 0
    assert begin_with(office, kind, 10**9, error)
    total = office.faults.calls(kind)
    assert office.server.stop() == 0
    up = 0
    for n in spread(total):
        if begin_with(office, kind, n, error):
            up += 1
            office.send()
            office.check_alive()
            office.server.stop()
        else:
            office.server.log_file.close()
    office.server.start()
    office.recover()
    office.check_arrived(kind)
    print(f"{kind}: {len(spread(total))} of {total} calls of a start failed, {up} starts came up all the same")


def reload(office):
    """Whether the new configuration is in force."""
    before = len(office.server.log())
    office.server.hangup()
    words = ["the new configuration is in force", "the old one stays in force", "the configuration cannot be read", "is wrong"]
    said = wait_for(lambda: next((w for w in words if w in office.server.log()[before:]), None), 5, "the end of the reload")
    return said == words[0]


@allocations
def test_a_reload_in_which_an_allocation_fails(office):
    office.server.start()
    office.recover()
    before = office.faults.calls("allocate")
    reload(office)
    total = office.faults.calls("allocate") - before
    for n in spread(total):
        office.faults.arm("allocate", n, errno.ENOMEM)
        reload(office)
        office.faults.disarm("allocate")
        office.send()
        office.check_alive()
    assert reload(office), office.server.log()[-3000:]
    office.recover()
    office.check_arrived("a reload")
    print(f"{len(spread(total))} of {total} allocations of a reload failed")
