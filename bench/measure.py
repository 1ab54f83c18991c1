"""What a process tree costs: processor time, memory, syncs; and idle sessions that are held open."""

import os
import re
import socket
import ssl
import subprocess
import time
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
TRACING = Path("/sys/kernel/tracing")


def _stat(pid):
    """(parent, own and reaped children's ticks) of a process, or None."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text[text.rindex(")") + 2 :].split()
    return int(fields[1]), sum(map(int, fields[11:15]))


def tree(root):
    """The process and all that descend from it."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (s := _stat(name)):
            parents[int(name)] = s[0]
    found, grown = {root}, True
    while grown:
        more = {p for p, parent in parents.items() if parent in found} - found
        found |= more
        grown = bool(more)
    return found


def cpu_seconds(root):
    """Processor time of the tree so far, with what its reaped children used."""
    return sum(s[1] for p in tree(root) if (s := _stat(p))) / TICK


def thread_names(pids):
    """Of all threads of these processes, as the kernel's traces show them."""
    names = set()
    for pid in pids:
        for path in Path(f"/proc/{pid}/task").glob("*/comm"):
            try:
                names.add(path.read_text().strip())
            except OSError:
                pass
    return names


def pss_bytes(pids):
    total = 0
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        total += int(re.search(r"^Pss:\s+(\d+) kB", text, re.M).group(1)) * 1024
    return total


def device_flushes(path):
    """Flush requests that the block device under this path has completed, or None where that isn't counted."""
    device = os.stat(path).st_dev
    for line in open("/proc/diskstats"):
        fields = line.split()
        if (int(fields[0]), int(fields[1])) == (os.major(device), os.minor(device)) and len(fields) >= 20:
            return int(fields[18])
    return None


class SyncCounter:
    """Counts fsync and fdatasync by the kernel's trace events, which cost nearly nothing. One at a time."""

    EVENTS = ("sys_enter_fsync", "sys_enter_fdatasync")

    def __init__(self):
        self.events = []
        if os.getuid() != 0:
            return
        if not (TRACING / "events").exists():
            subprocess.run(["mount", "-t", "tracefs", "none", str(TRACING)], capture_output=True)
        self.events = [e for e in (TRACING / "events/syscalls" / name / "enable" for name in self.EVENTS) if e.exists()]

    def available(self):
        return bool(self.events)

    def __enter__(self):
        if self.events:
            (TRACING / "buffer_size_kb").write_text("8192")
            (TRACING / "trace").write_text("")
        for e in self.events:
            e.write_text("1")
        return self

    def count(self, names):
        """Calls so far by threads of these names (the first 15 characters count)."""
        found = re.findall(
            r"^\s*(.{1,15})-\d+\s+.*: sys_f(?:data)?sync\(", (TRACING / "trace").read_text(errors="replace"), re.M
        )
        return sum(1 for name in found if any(name == n[:15] for n in names))

    def __exit__(self, *_):
        for e in self.events:
            e.write_text("0")


def _reply(connection, buffer=b""):
    while not re.search(rb"(?:^|\n)\d{3} [^\n]*\n$", buffer):
        more = connection.recv(4096)
        if not more:
            raise ConnectionError("the server closed an idle session")
        buffer += more
    return buffer


class IdleSessions:
    """N sessions that have said EHLO (under TLS if asked for) and then nothing."""

    def __init__(self, port, count, tls=False):
        self.connections = []
        context = ssl._create_unverified_context() if tls else None
        try:
            for _ in range(count):
                self.connections.append(self._open(port, context))
        except BaseException:
            self.close()
            raise

    def _open(self, port, context):
        c = socket.create_connection(("127.0.0.1", port), 30)
        _reply(c)
        c.sendall(b"EHLO idle.example\r\n")
        _reply(c)
        if context:
            c.sendall(b"STARTTLS\r\n")
            _reply(c)
            c = context.wrap_socket(c)
            c.sendall(b"EHLO idle.example\r\n")
            _reply(c)
        return c

    def alive(self):
        """All still there? Asks the first, the last and some in between."""
        for c in self.connections[:: max(1, len(self.connections) // 20)] + self.connections[-1:]:
            c.sendall(b"NOOP\r\n")
            _reply(c)

    def close(self):
        for c in self.connections:
            c.close()


def wait_until(condition, timeout, what, interval=0.005):
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            raise RuntimeError(f"{what}: not within {timeout} s")
        time.sleep(interval)
