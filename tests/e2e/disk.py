"""A disk that is played from the record of a process (tests/shim/record.c), and what a power cut may leave of it.

Per file: what was synced is safe; of the writes and truncations since then any subset is there, in their order, each
write whole or torn. Per directory: what was synced is safe; of the names made, moved and taken away since then any subset
is. A rename is one change: both names or neither, unless the sync of one directory made its half safe. What was done
before a sync began is safe when it has ended; what was done meanwhile is not."""

import os
import struct
from pathlib import Path

LINE = struct.Struct("<IIQQqqq")
APPEND = 0xFFFFFFFF


class Event:
    """One line of the record."""

    __slots__ = ("kind", "time", "fd", "a", "b", "data")

    def __init__(self, kind, time, fd, a, b, data):
        self.kind, self.time, self.fd, self.a, self.b, self.data = kind, time, fd, a, b, data

    def text(self):
        return bytes(self.data).decode("utf-8", "surrogateescape")


def read_record(path):
    """The lines of a record, in order."""
    raw, at, events, expected = memoryview(Path(path).read_bytes()), 0, [], 0
    while at < len(raw):
        length, kind, sequence, time, fd, a, b = LINE.unpack_from(raw, at)
        at += LINE.size
        expected = 1 if chr(kind) == "S" else expected + 1
        assert sequence == expected and at + length <= len(raw), f"the record is broken at line {len(events)}"
        events.append(Event(chr(kind), time / 1e9, fd, a, b, raw[at : at + length]))
        at += length
    return events


class File:
    """now: what a reader sees; safe: what was synced; pending: (number, offset or None, bytes or size) since then."""

    __slots__ = ("now", "safe", "pending", "checked")

    def __init__(self, content=b""):
        self.now, self.safe, self.pending, self.checked = bytearray(content), bytearray(content), [], None


class Directory:
    __slots__ = ("now", "safe")

    def __init__(self):
        self.now, self.safe = {}, {}


class Change:
    """Of names: `add` and `remove` are (directory, name) or None; what is safe is set to None."""

    __slots__ = ("number", "node", "add", "remove")

    def __init__(self, number, node, add, remove):
        self.number, self.node, self.add, self.remove = number, node, add, remove


def store(content, offset, data):
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data


def resize(content, size):
    if len(content) > size:
        del content[size:]
    else:
        content.extend(bytes(size - len(content)))


def apply(content, operation):
    _, offset, what = operation
    if offset is None:
        resize(content, what)
    else:
        store(content, offset, what)


class Disk:
    """Plays a record. `deaf` is for the test of the test: syncs of "data" or of "names" do nothing."""

    def __init__(self, root, deaf=()):
        self.root, self.top, self.deaf = str(root), Directory(), deaf
        self.open, self.changes, self.syncs, self.number = {}, [], {}, 0

    # --- names ---

    def load(self, tree, into=None):
        """Everything of this tree is there and safe: {name: bytes or another tree}."""
        into = into or self.top
        for name, what in tree.items():
            node = Directory() if isinstance(what, dict) else File(what)
            into.now[name] = into.safe[name] = node
            if isinstance(what, dict):
                self.load(what, node)

    def _find(self, path):
        """(directory, name) of a path; None when it is not on this disk or its directory is unknown."""
        if path == self.root:
            return None
        if not path.startswith(self.root + "/"):
            return None
        *above, name = [p for p in path[len(self.root) :].split("/") if p]
        node = self.top
        for part in above:
            node = node.now.get(part)
            if node is None:
                return None
        return node, name

    def _node(self, path):
        if path.rstrip("/") == self.root:
            return self.top
        place = self._find(path)
        return place and place[0].now.get(place[1])

    def _change(self, node, add, remove):
        if remove:
            remove[0].now.pop(remove[1], None)
        if add:
            add[0].now[add[1]] = node
        self.changes.append(Change(self.number, node, add, remove))

    # --- playing ---

    def play(self, event):
        self.number += 1
        getattr(self, "_play_" + PLAYS[event.kind])(event)

    def _play_nothing(self, event):
        pass

    def _play_start(self, event):
        self.open, self.syncs = {}, {}

    def _play_open(self, event):
        path, node = event.text(), self._node(event.text())
        if node is None:
            place = self._find(path)
            assert event.a & os.O_CREAT and place, f"{path} was opened, and the record does not know it"
            node = File()
            self._change(node, place, None)
        elif event.a & os.O_TRUNC and node.now:
            self._operate(node, (self.number, None, 0))
        self.open[event.fd] = node

    def _play_close(self, event):
        self.open.pop(event.fd, None)

    def _operate(self, node, operation):
        apply(node.now, operation)
        node.pending.append(operation)
        node.checked = None

    def operation(self, event):
        """What a write or truncation does: (file, operation)."""
        node = self.open[event.fd]
        if event.kind == "t":
            return node, (self.number, None, event.a)
        return node, (self.number, len(node.now) if event.a < 0 else event.a, event.data)

    def _play_operation(self, event):
        self._operate(*self.operation(event))

    def _play_allocate(self, event):
        assert event.b & 1, "only reservations that keep the size are known here"

    def _play_rename(self, event):
        old, new = event.text().split("\0")
        self._change(self._node(old), self._find(new), self._find(old))

    def _play_link(self, event):
        old, new = event.text().split("\0")
        self._change(self._node(old), self._find(new), None)

    def _play_unlink(self, event):
        if self._node(event.text()) is not None:  # sockets are not on the record
            self._change(None, None, self._find(event.text()))

    def _play_mkdir(self, event):
        if self._find(event.text()):  # else the root itself
            self._change(Directory(), self._find(event.text()), None)

    def _play_sync_begin(self, event):
        self.syncs[event.a] = (self.open[event.fd], self.number)

    def _play_sync_end(self, event):
        node, number = self.syncs.pop(event.a)
        if isinstance(node, Directory):
            if "names" not in self.deaf:
                self._sync_names(node, number)
        elif "data" not in self.deaf:
            while node.pending and node.pending[0][0] < number:
                apply(node.safe, node.pending.pop(0))

    def _sync_names(self, directory, number):
        for c in self.changes:
            if c.number >= number or not any(p and p[0] is directory for p in (c.add, c.remove)):
                continue
            if c.remove and c.remove[0] is directory:
                directory.safe.pop(c.remove[1], None)
                c.remove = None
            if c.add:  # it never goes after its other name
                c.add[0].safe[c.add[1]] = c.node
                c.add = None
        self.changes = [c for c in self.changes if c.add or c.remove]

    # --- comparing with the real thing ---

    def differences(self, directory=None, path=None):
        """Where the directory that the process really left differs from what the record says."""
        directory, path = directory or self.top, Path(path or self.root)
        real = {p.name: p for p in path.iterdir() if not p.is_socket()}
        for name in sorted(real.keys() ^ directory.now.keys()):
            yield f"{path / name} is only {'on the disk' if name in real else 'in the record'}"
        for name in real.keys() & directory.now.keys():
            node = directory.now[name]
            if isinstance(node, Directory):
                yield from self.differences(node, real[name])
            elif name.endswith("-shm"):
                pass  # SQLite writes the index of its WAL through a mapping, and makes it anew after a crash
            elif real[name].read_bytes() != node.now:
                yield f"{real[name]} has other bytes than the record says"


PLAYS = {
    "S": "start",
    "o": "open",
    "c": "close",
    "w": "operation",
    "t": "operation",
    "a": "allocate",
    "r": "rename",
    "l": "link",
    "u": "unlink",
    "d": "unlink",
    "m": "mkdir",
    "b": "sync_begin",
    "e": "sync_end",
    "q": "nothing",
    "p": "nothing",
}


# --- what is left --------------------------------------------------------------------------------------------------------


class Cut:
    """The power goes now. `event` (may be None) was under way. Each cut has a temper, so that the extremes come, too."""

    TEMPERS = ("nothing", "everything", "prefix", "halves", "sectors", "mixed", "mixed", "data only", "names only")

    def __init__(self, disk, dice, event=None):
        self.disk, self.dice = disk, dice
        self.temper = dice.choice(self.TEMPERS)
        self.share = dice.random()
        self.last = dice.randint(disk.number - 8, disk.number + 1)
        self.under_way = disk.operation(event) if event and event.kind in "wt" else (None, None)

    def _name_is_there(self, number):
        if self.temper in ("nothing", "everything", "data only", "names only"):
            return self.temper in ("everything", "names only")
        if self.temper == "prefix":
            return number <= self.last
        return self.dice.random() < self.share

    def _fate(self, number):
        """Of a write or truncation: 0 gone, 1 torn, 2 whole."""
        if self.temper in ("nothing", "everything", "data only", "names only"):
            return 2 if self.temper in ("everything", "data only") else 0
        if self.temper == "prefix":
            return 2 if number < self.last else 1 if number == self.last else 0
        if self.temper == "sectors":
            return 1
        if self.temper == "halves":
            return 2 if self.dice.random() < self.share else 0
        return self.dice.choice((0, 1, 1, 2))

    def _tear(self, content, offset, data):
        """A part of a write: up to any byte, up to a border of sectors or pages, from there on, some sectors, or only
        the new size."""
        d, end = self.dice, offset + len(data)
        how = "sectors" if self.temper == "sectors" else d.choice(("head", "tail", "sectors", "size"))
        grain = d.choice((1, 512, 4096))
        at = d.randint(offset, end) // grain * grain
        at = min(max(at, offset), end)
        if how == "size":
            resize(content, max(len(content), end))
        elif how == "head":
            store(content, offset, data[: at - offset])
        elif how == "tail":
            store(content, at, data[at - offset :])
        else:
            grain = d.choice((512, 4096))
            while offset < end:
                border = min((offset // grain + 1) * grain, end)
                if d.random() < self.share:
                    store(content, offset, data[: border - offset])
                data, offset = data[border - offset :], border

    def content(self, node):
        """The bytes of a file, as they may have been left."""
        pending = node.pending + ([self.under_way[1]] if node is self.under_way[0] else [])
        if not pending:
            return node.safe
        content = bytearray(node.safe)
        for operation in pending:
            number, offset, what = operation
            fate = self._fate(number)
            if fate == 2 or fate == 1 and offset is None:
                apply(content, operation)
            elif fate == 1:
                self._tear(content, offset, what)
        return content

    def tree(self):
        """{name: node or tree} of the names that are left."""
        entries = {}

        def of(directory):
            if directory not in entries:
                entries[directory] = dict(directory.safe)
            return entries[directory]

        for c in self.disk.changes:
            if self._name_is_there(c.number):
                if c.remove:
                    of(c.remove[0]).pop(c.remove[1], None)
                if c.add:
                    of(c.add[0])[c.add[1]] = c.node

        def grow(directory):
            return {
                name: grow(node) if isinstance(node, Directory) else node for name, node in of(directory).items()
            }

        return grow(self.disk.top)
