"""Postfix's programs, unpacked from Debian's package without being installed.

unpack() fetches the package (and the libraries it needs that this machine lacks) once into build/peers/postfix and
returns the directory it was unpacked into. Source and Sink drive smtp-source and smtp-sink from there."""

import os
import pwd
import re
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import debian_packages
from debian_packages import Unavailable  # noqa: F401  (for those who catch it)

PLACE = debian_packages.PEERS / "postfix"


def unpack():
    """The directory with usr/sbin/smtp-source and the rest; fetched when it isn't there yet."""
    return debian_packages.unpack("postfix", ["postfix"])


def environment(root):
    libraries = [str(root / "usr/lib/postfix")] + [str(p) for p in root.glob("usr/lib/*-linux-gnu*")]
    return {**os.environ, "LD_LIBRARY_PATH": ":".join(libraries), "MAIL_CONFIG": str(root / "etc/postfix")}


class Source:
    """smtp-source. Options are given as it takes them: run("-m", "100", "-s", "20", port=2525)."""

    def __init__(self, root=None):
        self.root = root or unpack()
        self.program = str(self.root / "usr/sbin/smtp-source")

    def start(
        self,
        *options,
        port,
        address="127.0.0.1",
        sender="source@source.example",
        recipient="sink@sink.example",
        unix=None,
    ):
        target = f"unix:{unix}" if unix else f"inet:{'[' + address + ']' if ':' in address else address}:{port}"
        return subprocess.Popen(
            [self.program, "-M", "source.example", "-f", sender, "-t", recipient, *options, target],
            env=environment(self.root),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *options, timeout=120, **where):
        """Returns the seconds it took; raises when smtp-source was not content."""
        began = time.monotonic()
        process = self.start(*options, **where)
        try:
            _, errors = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise AssertionError(f"smtp-source {' '.join(options)} did not end within {timeout} s")
        took = time.monotonic() - began
        if process.returncode != 0 or "fatal" in errors:
            raise AssertionError(
                f"smtp-source {' '.join(options)}: status {process.returncode}: {errors.strip()[:2000]}"
            )
        return took


class Sink:
    """smtp-sink with its counters; with dump=True it writes down every message."""

    def __init__(self, *options, port=0, address="127.0.0.1", unix=None, dump=False, root=None, backlog=2000):
        self.root = root or unpack()
        self.dir = Path(tempfile.mkdtemp(prefix="smtp-sink-"))
        os.chmod(self.dir, 0o777)
        self.dump = self.dir / "dump" if dump else None
        self.address, self.port, self.unix = address, port or (0 if unix else _free_port(address)), unix
        self.counter = self.dir / "counter"
        words = [str(self.root / "usr/sbin/smtp-sink"), "-c", "-m", "4000"]
        if os.getuid() == 0:
            words += ["-u", "nobody" if not unix else "root"]
        if dump:
            self.dump.mkdir()
            if os.getuid() == 0 and not unix:
                os.chown(self.dump, pwd.getpwnam("nobody").pw_uid, -1)
            words += ["-d", f"{self.dump}/m."]
        target = f"unix:{unix}" if unix else f"inet:{address}:{self.port}"
        self.output = open(self.counter, "wb")
        self.process = subprocess.Popen(
            [*words, *options, target, str(backlog)],
            env=environment(self.root),
            stdout=self.output,
            stderr=subprocess.STDOUT,
        )
        self._wait_open()

    def _wait_open(self):
        end = time.monotonic() + 10
        while time.monotonic() < end:
            if self.process.poll() == 0:
                return  # it has had all that -M lets it take
            if self.process.poll() is not None:
                raise AssertionError("smtp-sink ended: " + self.counter.read_text(errors="replace"))
            if self._is_listening():
                return
            time.sleep(0.02)
        raise AssertionError("smtp-sink does not listen")

    def _is_listening(self):
        if self.unix:
            return os.path.exists(self.unix)
        wanted = socket.inet_aton(self.address)[::-1].hex().upper() + f":{self.port:04X}"
        return any(f" {wanted} " in line and " 0A " in line for line in open("/proc/net/tcp"))

    def counters(self):
        """{'sess': ..., 'quit': ..., 'mesg': ...}: sessions, those that ended with QUIT, messages."""
        with open(self.counter, "rb") as f:
            f.seek(max(0, self.counter.stat().st_size - 200))
            text = f.read().decode(errors="replace")
        found = re.findall(r"sess=(\d+) quit=(\d+) mesg=(\d+)", text)
        return dict(zip(("sess", "quit", "mesg"), map(int, found[-1]))) if found else {"sess": 0, "quit": 0, "mesg": 0}

    def dumps(self):
        """The dumped messages: dicts of mail (the MAIL arguments), rcpt (a list), proto, content."""
        result = []
        for path in sorted(self.dump.iterdir()):
            text = path.read_bytes().decode("utf-8", "surrogateescape")
            head, _, rest = text.partition("\nReceived: ")
            fields = [line.partition(": ")[::2] for line in head.splitlines()]
            # The sink's own Received has three lines; what follows came from the client.
            result.append(
                {
                    "mail": next((v for k, v in fields if k == "X-Mail-Args"), None),
                    "rcpt": [v for k, v in fields if k == "X-Rcpt-Args"],
                    "proto": next((v for k, v in fields if k == "X-Client-Proto"), None),
                    "content": "\n".join(rest.split("\n")[3:]),
                }
            )
        return result

    def close(self):
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.output.close()
        shutil.rmtree(self.dir, ignore_errors=True)


def _free_port(address):
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind((address, 0))
        return s.getsockname()[1]
