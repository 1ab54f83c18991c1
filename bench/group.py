"""A server's processes as one group: what they use together, whoever forked them and whoever has ended since.

A control group of the second kind does it where there is one and we may make groups; else the tree below the first
process, which loses sight of processes whose parent has gone (Yizhan has none of those)."""

import os
import re
import signal
import time
from pathlib import Path

import measure

COUNT = iter(range(1 << 30))


def _mount():
    for line in open("/proc/mounts"):
        fields = line.split()
        if fields[2] == "cgroup2":
            return Path(fields[1])
    return None


class Group:
    def __init__(self, name):
        self.root_pid, self.place = None, None
        mount = _mount()
        if mount:
            place = mount / f"yizhan-bench-{os.getpid()}-{next(COUNT)}-{name.lower()}"
            try:
                place.mkdir()
                self.place = place
            except OSError:
                pass

    def enter(self):
        """For preexec_fn: what is started belongs to the group, and so does all that it starts."""
        if self.place:
            (self.place / "cgroup.procs").write_text("0")

    def pids(self):
        if self.place:
            return {int(p) for p in (self.place / "cgroup.procs").read_text().split()}
        return measure.tree(self.root_pid)

    def cpu_seconds(self):
        """Processor time so far, ended processes included."""
        if self.place:
            return int(re.search(r"usage_usec (\d+)", (self.place / "cpu.stat").read_text()).group(1)) / 1e6
        return measure.cpu_seconds(self.root_pid)

    def pss_bytes(self):
        return measure.pss_bytes(self.pids())

    def thread_names(self):
        return measure.thread_names(self.pids())

    def end(self):
        """Nobody of the group lives on."""
        for _ in range(100):
            pids = self.pids() if self.place else set()
            if not pids:
                break
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            time.sleep(0.05)
        if self.place:
            for _ in range(50):
                try:
                    self.place.rmdir()
                    return
                except OSError:
                    time.sleep(0.05)
