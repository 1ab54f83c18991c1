"""The real binary and scripted peers, for the tests in this folder.

Each server has an address of its own in 127.0.0.0/8 and a directory; nothing leaves the machine. A scripted peer
(Peer) is an SMTP server in this process that says what the test wants it to say."""

import email
import json
import os
import random
import re
import select
import shlex
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
BINARY = Path(os.environ.get("YIZHAN_BINARY", ROOT / "build" / "yizhan"))
SANITIZED = "asan" in str(BINARY)
SLOW = float(os.environ.get("YIZHAN_SLOWNESS", "4" if SANITIZED else "1"))  # sanitizers: deadlines are longer
WRAPPER = shlex.split(os.environ.get("YIZHAN_WRAPPER", ""))  # what goes in front of the binary: valgrind, for example
PROGRAM = [*WRAPPER, str(BINARY)]
TSAN = "tsan" in str(BINARY)
OWN_ALLOCATOR = SANITIZED or TSAN or bool(WRAPPER)  # a sanitizer's or Valgrind's
REPORTS = os.environ.get("YIZHAN_REPORTS")  # where a tool writes what it finds; see scripts/run_under.py
TRUSTED = "127.9.9.9"  # the address of clients that may relay, in the servers that configuration() makes


def free_port(*addresses):
    """A port that is free on all of these addresses."""
    for _ in range(200):
        port = random.randint(20000, 32000)
        held = []
        try:
            for a in addresses or ("127.0.0.1",):
                s = socket.socket(socket.AF_INET6 if ":" in a else socket.AF_INET)
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                held.append(s)
                s.bind((a, port))
            return port
        except OSError:
            continue
        finally:
            for s in held:
                s.close()
    raise RuntimeError("no free port")


def wait_for(condition, timeout=10.0, what="condition", pause=0.02):
    """Returns the first true value of condition()."""
    end = time.monotonic() + timeout * SLOW
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come true within {timeout * SLOW:.0f} s")
        time.sleep(pause)


_reports_read = {}


def new_reports():
    """What a tool (valgrind, a sanitizer) has written since the last call."""
    texts = []
    for path in sorted(Path(REPORTS).iterdir()) if REPORTS else []:
        text = path.read_text(errors="replace")
        texts.append(text[_reports_read.get(path, 0) :])
        _reports_read[path] = len(text)
    return "".join(texts)


def certificate(directory, name="mx.example.org"):
    """A self-signed certificate; returns (certificate, key)."""
    cert, key = Path(directory) / f"{name}.crt", Path(directory) / f"{name}.key"
    if not cert.exists():
        subprocess.run(
            [
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
                "-days",
                "30",
                "-subj",
                f"/CN={name}",
                "-addext",
                f"subjectAltName=DNS:{name}",
                "-keyout",
                str(key),
                "-out",
                str(cert),
            ],
            check=True,
            capture_output=True,
        )
    return cert, key


def configuration(port, address="127.0.0.1", hostname="mx.example.org", domains=("example.org",), tls=None, **sections):
    """A whole configuration as JSON, which is YAML, too. Domains are delivered to Maildirs in the server's directory.
    tls: certificate and key, or the whole section. Sections given replace or (maps) extend the ones here; None takes one away. domains: names, or a whole section."""
    c = {
        "hostname": hostname,
        "spool": {"path": "{dir}/spool", "spare": 0},  # hundreds of servers: no 256 MiB of spare files for each
        "trusted": [f"{TRUSTED}/32"],
        "listen": [{"address": [f"{address}:{port}"], "role": "mx"}],
        "domains": domains
        if isinstance(domains, dict)
        else {d: {"deliver": "maildir:{dir}/mail/{domain}/{local}"} for d in domains},
        "dns": {"zone": "{dir}/zone"},
        "deliver": {"connect_timeout": "3s", "idle_timeout": "300ms"},
        "submission": {"check_domains": False, "missing_from": "accept"},  # for tests that have neither
        "queue": {"retry": ["300ms"], "expire": "1h"},
        "log": {"format": "text", "level": "debug"},
    }
    if tls:
        c["tls"] = tls if isinstance(tls, dict) else {"certificate": str(tls[0]), "key": str(tls[1])}
    for key, value in sections.items():
        if value is None:
            c.pop(key, None)
        elif isinstance(value, dict) and isinstance(c.get(key), dict):
            c[key] = {**c[key], **value}
        else:
            c[key] = value
    return json.dumps(c, indent=1, ensure_ascii=False)


def header_of(message):
    """A message's header, read by the standard library."""
    return email.message_from_bytes(message)


class Report:
    """A bounce, taken apart: .text for people, .message fields, .recipients (a list of fields), .original."""

    def __init__(self, raw):
        self.raw = raw
        self.mail = email.message_from_bytes(raw)
        assert self.mail.get_content_type() == "multipart/report", raw
        assert self.mail.get_param("report-type") == "delivery-status", raw
        parts = self.mail.get_payload()
        self.text = parts[0].get_payload(decode=True).decode()
        assert parts[1].get_content_type() in ("message/delivery-status", "message/global-delivery-status"), raw
        blocks = parts[1].get_payload()
        self.message, self.recipients = blocks[0], list(blocks[1:])
        self.original_type = parts[2].get_content_type() if len(parts) > 2 else None
        self.original = parts[2].as_bytes() if len(parts) > 2 else b""


def reports(messages, action=None):
    """The bounces among messages, those of one action if it is given."""
    found = [Report(m) for m in messages if b"multipart/report" in m]
    return [r for r in found if action is None or r.recipients[0]["Action"] == action]


class Server:
    """One `yizhan serve`. `config` is YAML text; {dir} in it is replaced by the server's directory."""

    def __init__(self, config, directory=None, env=None, zone="", port=None, address="127.0.0.1"):
        self.dir = Path(directory or tempfile.mkdtemp(prefix="yizhan-e2e-"))
        self.address, self.port = address, port
        if not (self.dir / "zone").exists() or zone:
            (self.dir / "zone").write_text(zone + "\n")
        self.config = self.dir / "yizhan.yaml"
        self.log_path = self.dir / "log"
        self.process = None
        self.env = {**os.environ, **(env or {})}
        self.write_config(config)

    def write_config(self, config):
        self.config.write_text(config.replace("{dir}", str(self.dir)))

    def start(self, wait=True):
        self.log_file = open(self.log_path, "ab")
        self.log_start = self.log_file.tell()
        self.process = subprocess.Popen(
            [*PROGRAM, "serve", "-c", str(self.config)],
            stdout=self.log_file,
            stderr=self.log_file,
            env=self.env,
            cwd=self.dir,
        )
        if wait:
            wait_for(self.ready, 15, f"the start of the server in {self.dir}")
        return self

    def ready(self):
        if self.process.poll() is not None:
            raise AssertionError(f"the server ended with status {self.process.returncode}:\n{self.log()}")
        return (self.dir / "spool" / "control.sock").exists() and self.command(
            "status", "--json", check=False
        ).returncode == 0

    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def command(self, *words, check=True, timeout=20):
        r = subprocess.run(
            [*PROGRAM, words[0], "-c", str(self.config), *words[1:]],
            capture_output=True,
            text=True,
            timeout=timeout * SLOW,
            env=self.env,
        )
        if check and r.returncode != 0:
            raise AssertionError(f"yizhan {' '.join(words)}: status {r.returncode}\n{r.stdout}{r.stderr}\n{self.log()}")
        return r

    def json(self, *words):
        return json.loads(self.command(*words, "--json").stdout)

    def metrics(self):
        port = json.loads(self.config.read_text())["admin"]["listen"].split(":")[1]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10 * SLOW) as r:
            return r.read().decode()

    def metric(self, name):
        """Its value; name: without yizhan_, with labels."""
        found = re.search(rf"^yizhan_{re.escape(name)} (\d+)$", self.metrics(), re.M)
        assert found, name
        return int(found.group(1))

    def summary(self):
        r = self.command("queue", "summary", "--json")
        return json.loads(r.stdout)

    def queue_is_empty(self):
        return self.summary()["messages"] == 0

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()

    def stop(self, timeout=20):
        """SIGTERM; returns the exit status."""
        if not self.process:
            return None
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout * SLOW)
            except subprocess.TimeoutExpired:
                self.process.send_signal(signal.SIGABRT)
                self.process.wait()
                raise AssertionError(f"the server did not stop within {timeout * SLOW} s:\n{self.log()}")
        self.log_file.close()
        return self.process.returncode

    def ended(self, timeout=20):
        """Waits for a server that was told to stop; returns the exit status."""
        self.process.wait(timeout * SLOW)
        return self.process.returncode

    def hangup(self):
        self.process.send_signal(signal.SIGHUP)

    def maildir(self, domain, local):
        """The messages in a Maildir, as bytes, oldest first."""
        new = self.dir / "mail" / domain / local / "new"
        return [p.read_bytes() for p in sorted(new.iterdir())] if new.is_dir() else []

    def client(self, trusted=False, source=None, port=None, **options):
        return Client(self.address, port or self.port, source=source or (TRUSTED if trusted else None), **options)

    def submit(self, sender, recipients, data=b"Subject: test\r\n\r\nhello\r\n", parameters="", rcpt_parameters=""):
        """Hands a message over as a trusted client; returns its queue id."""
        if isinstance(recipients, str):
            recipients = [recipients]
        with self.client(trusted=True) as c:
            c.hello()
            text = c.send_message(sender, recipients, data, parameters, rcpt_parameters)
            return re.search(r"queued as (\S+)", text).group(1)

    def rows(self, *words):
        """The rows of `queue list`."""
        answer = json.loads(self.command("queue", "list", "--json", *words).stdout or "[]")
        return answer["messages"] if isinstance(answer, dict) else answer

    def events(self, identity):
        """What `trace` knows about a message."""
        answer = json.loads(self.command("trace", identity, "--json").stdout)
        return answer["events"] if isinstance(answer, dict) else answer

    def close(self):
        try:
            status = self.stop()
            log = self.log()
            assert status in (0, None, -signal.SIGKILL), f"exit status {status}:\n{log}"
            assert "Sanitizer" not in log and "runtime error" not in log, log
        finally:
            self.kill()
            if not os.environ.get("YIZHAN_KEEP"):
                shutil.rmtree(self.dir, ignore_errors=True)


def arrived(server, local, needle, domain="example.org"):
    """The message in a Maildir that holds these bytes."""

    def look():
        return next((m for m in server.maildir(domain, local) if needle in m), None)

    return wait_for(look, what=f"the arrival of {needle!r} at {local}")


class Client:
    """A raw SMTP client: sends exactly the bytes it is told, reads whole replies."""

    def __init__(self, address, port, timeout=10.0, source=None):
        self.socket = socket.create_connection((address, port), timeout * SLOW, (source, 0) if source else None)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""

    def send(self, data):
        self.socket.sendall(data.encode() if isinstance(data, str) else data)

    def line(self):
        while b"\r\n" not in self.buffer:
            more = self.socket.recv(65536)
            if not more:
                raise EOFError(f"connection closed, left over: {self.buffer!r}")
            self.buffer += more
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        return line.decode("utf-8", "surrogateescape")

    def reply(self):
        """(code, whole text)"""
        lines = []
        while True:
            lines.append(self.line())
            if not re.match(r"^\d{3}-", lines[-1]):
                return int(lines[-1][:3]), "\n".join(lines)

    def command(self, line):
        self.send(line + "\r\n")
        return self.reply()

    def expect(self, code, line=None):
        got, text = self.command(line) if line is not None else self.reply()
        assert got == code, f"{line!r}: expected {code}, got {text}"
        return text

    def hello(self, name="client.example"):
        self.expect(220)
        return self.expect(250, f"EHLO {name}")

    def starttls(self, name=None):
        self.expect(220, "STARTTLS")
        self.handshake(name)

    def handshake(self, name=None):
        context = ssl._create_unverified_context()
        self.socket = context.wrap_socket(self.socket, server_hostname=name or "mx.example.org")

    def send_message(
        self, sender, recipients, data=b"Subject: test\r\n\r\nhello\r\n", parameters="", rcpt_parameters=""
    ):
        """data is sent as it is, with dots as they come; it has to end with CRLF."""
        self.expect(250, f"MAIL FROM:<{sender}>{parameters}")
        for r in recipients:
            self.expect(250, f"RCPT TO:<{r}>{rcpt_parameters}")
        self.expect(354, "DATA")
        self.send(data + b".\r\n")
        return self.expect(250)

    def begin(self, sender="a@client.example", recipients=("alice@example.org",), parameters=""):
        """MAIL and RCPT."""
        self.expect(250, f"MAIL FROM:<{sender}>{parameters}")
        for r in recipients:
            self.expect(250, f"RCPT TO:<{r}>")

    def was_read(self):
        """Waits until the server has read everything that was sent."""
        mine, theirs = self.socket.getsockname(), self.socket.getpeername()
        key = " ".join(f"{socket.inet_aton(a)[::-1].hex().upper()}:{p:04X}" for a, p in (theirs, mine))

        def read():
            for line in open("/proc/net/tcp"):
                if key in line:
                    return line.split()[4].endswith(":00000000")
            return True

        wait_for(read, what="the reading of what was sent", pause=0.0005)

    def silent(self, seconds=0.3):
        """Does the server say nothing more for so long?"""
        return not self.buffer and not select.select([self.socket], [], [], seconds)[0]

    def closed(self):
        """Is the connection closed by the server? What comes before is put into .buffer."""
        try:
            while more := self.socket.recv(65536):
                self.buffer += more
            return True
        except ConnectionError:
            return True
        except socket.timeout:
            return False

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
