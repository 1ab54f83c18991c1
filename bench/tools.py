"""The two clients and the two next hops: Yizhan's own (bench_load, bench_sink), and Postfix's smtp-source and smtp-sink
as the independent measure. Both clients answer run() with the seconds it took and their own processor seconds, and fail
unless every message got its 250."""

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import postfix_tools
from measure import wait_until
from servers import ROOT, certificate, free_port

BUILD = Path(os.environ.get("YIZHAN_BINARY", str(ROOT / "build" / "yizhan"))).parent


class Shape:
    """What a client does: sessions at once, octets of a message, kept connections or one per message, TLS; and whether it
    pipelines, which smtp-source never does."""

    def __init__(self, sessions, kept, size=4096, tls=False, pipelining=True):
        self.sessions, self.kept, self.size, self.tls, self.pipelining = sessions, kept, size, tls, pipelining

    def __str__(self):
        sessions = "1 session" if self.sessions == 1 else f"{self.sessions} sessions"
        words = [sessions, "kept connections" if self.kept else "a connection per message", f"{self.size // 1024} KB"]
        return ", ".join(words + ["TLS"] * self.tls + ["no pipelining"] * (not self.pipelining))


def floor(kept, pipelining, count):
    """Microseconds of both ends for the packets of a message alone."""
    words = ["-k"] * kept + ["-N"] * (not pipelining)
    return float(subprocess.run([str(BUILD / "bench_floor"), *words, str(count)], capture_output=True, check=True).stdout)


class Load:
    """bench_load"""

    name = "bench_load"

    def run(self, port, count, shape, server=None, timeout=200, domains=1, recipient=None):
        words = ["-s", str(shape.sessions), "-m", str(count), "-l", str(shape.size), "-w", str(timeout), "-d", str(domains)]
        words += ["-t", recipient] if recipient else []
        words += ["-k"] * shape.kept + ["-T"] * shape.tls + ["-N"] * (not shape.pipelining)
        words += ["-H"] * bool(server and server.half_close)
        if server and server.gap_ms:
            words += ["-g", str(server.gap_ms)]
        r = subprocess.run([str(BUILD / "bench_load"), *words, f"127.0.0.1:{port}"], capture_output=True, text=True)
        result = json.loads(r.stdout) if r.stdout else {"why": r.stderr.strip(), "accepted": 0}
        if result["accepted"] != count:
            raise RuntimeError(f"bench_load: {result['accepted']} of {count} messages accepted: {result.get('why')}")
        return result["seconds"], result["cpu_seconds"]


class Source:
    """smtp-source"""

    name = "smtp-source"

    def __init__(self):
        self.source = postfix_tools.Source()

    def run(self, port, count, shape, server=None, timeout=200):
        began = time.monotonic()
        words = ["-s", str(shape.sessions), "-m", str(count), "-l", str(shape.size)] + ["-d"] * shape.kept
        process = self.source.start(*words, port=port)
        pid, status, usage = _wait(process, timeout)
        took = time.monotonic() - began
        errors = process.stderr.read()
        if status != 0 or "fatal" in errors:
            raise RuntimeError(f"smtp-source {' '.join(words)}: status {status}: {errors.strip()[:500]}")
        return took, usage.ru_utime + usage.ru_stime


def _wait(process, timeout):
    """wait4 with a time limit: (pid, status, what it used)."""
    end = time.monotonic() + timeout
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = status
            return pid, status, usage
        if time.monotonic() > end:
            process.kill()
            process.wait()
            raise RuntimeError(f"smtp-source did not end within {timeout} s")
        time.sleep(0.001)


class Sink:
    """bench_sink: counts, notices duplicates and damage, and says when a number was reached."""

    name = "bench_sink"

    def __init__(self, tls=False, everywhere=False):
        self.dir = Path(tempfile.mkdtemp(prefix="bench-sink-"))
        self.port = free_port()
        self.process = subprocess.Popen(
            [
                str(BUILD / "bench_sink"),
                "-c",
                str(self.dir / "control"),
                *(["-C", str(certificate()[0]), "-K", str(certificate()[1])] if tls else []),
                f"{'0.0.0.0' if everywhere else '127.0.0.1'}:{self.port}",
            ],
            stdout=subprocess.DEVNULL,
        )
        self.control = socket.socket(socket.AF_UNIX)
        wait_until(self._connected, 10, "the start of bench_sink")
        self.lines = self.control.makefile("rw")

    def _connected(self):
        try:
            self.control.connect(str(self.dir / "control"))
        except OSError:  # not there, or not listening yet
            return False
        return True

    def _ask(self, count, seconds):
        self.lines.write(f"wait {count} {seconds}\n")
        self.lines.flush()
        return json.loads(self.lines.readline())

    def count(self):
        return self._ask(0, 0)["messages"]

    def wait(self, count, timeout):
        """Until so many messages have come; the monotonic time of the last one."""
        c = self._ask(count, int(timeout))
        if c["messages"] < count:
            raise RuntimeError(f"{c['messages']} of {count} messages at bench_sink after {timeout} s")
        return c["last"]

    def check(self, marked=True):
        """Nothing came twice, and nothing was changed on the way. marked: all of it came from bench_load."""
        c = self._ask(0, 0)
        if c["duplicates"] or c["damaged"] or c["refused"] or (marked and c["unknown"]):
            raise RuntimeError(f"bench_sink is not content: {c}")

    def cpu_seconds(self):
        return self._ask(0, 0)["cpu_seconds"]

    def close(self):
        self.control.close()
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


class SmtpSink:
    """smtp-sink"""

    name = "smtp-sink"

    def __init__(self):
        self.sink = postfix_tools.Sink()
        self.port = self.sink.port

    def count(self):
        return self.sink.counters()["mesg"]

    def wait(self, count, timeout):
        wait_until(lambda: self.count() >= count, timeout, f"{count} messages at smtp-sink", 0.01)
        return time.monotonic()

    def check(self, marked=True):
        pass  # it has nothing but a counter

    def cpu_seconds(self):
        fields = Path(f"/proc/{self.sink.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self):
        self.sink.close()
