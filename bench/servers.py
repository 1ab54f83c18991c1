"""Yizhan as it is measured, started fresh for a scenario: accept (durable, nothing delivered), relay (everything to one
next hop) or idle (sessions that say nothing). The other servers are in peers.py."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "interop"))
from group import Group  # noqa: E402
from measure import wait_until  # noqa: E402
from site_tables import zone as sites_zone  # noqa: E402

WORK = ROOT / "build" / "bench"  # on the disk that is measured, not in a tmpfs


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def certificate():
    WORK.mkdir(parents=True, exist_ok=True)
    cert, key = WORK / "bench.crt", WORK / "bench.key"
    if not cert.exists():
        words = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650".split()
        words += ["-subj", "/CN=mx.bench.example", "-keyout", str(key), "-out", str(cert)]
        subprocess.run(words, check=True, capture_output=True)
    return cert, key


def greets(port):
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as s:
            s.settimeout(2)
            return s.recv(512).startswith(b"220")
    except OSError:
        return False


class Yizhan:
    name = "Yizhan"
    processes = set()
    durability = "the message's records in the log (one `fdatasync` for all that arrived meanwhile)"
    settings = "the defaults (in the rest after the warm-up it writes 4 spare files of 64 MiB ahead); accept only: a route that holds"
    half_close = False
    gap_ms, crowd, relay_messages, tls = 0, 1 << 30, 0, True
    idle, idle_tls = 5000, 1000
    OPEN = """\
trusted: [127.0.0.0/8]
dns: {{zone: {dir}/zone}}
routes:
  - {{to: "*", via: [{via}]}}
"""
    # Each domain's own address is its mail exchanger.
    SITES = """\
trusted: [127.0.0.0/8]
dns: {{zone: {dir}/zone}}
deliver: {{port: {port}}}
"""
    # A stranger, who may send to one domain here, and is looked at as on the open Internet.
    GATE = """\
trusted: [192.0.2.1]
dns: {servers: ["127.0.0.1:53"]}
domains: {sink.example: {deliver: hold}}
limits: {connections_per_ip: 100000}
identity: false
checks:
  lists: [bl1.bench.example, bl2.bench.example]
  reverse: matching
  helo: [syntax, not_fqdn]
  sender_domain: exists
"""
    binary = os.environ.get("YIZHAN_BINARY", str(ROOT / "build" / "yizhan"))

    many_sites = True

    def __init__(self, scenario, sink_port=0, sessions=0, sites=None):
        WORK.mkdir(parents=True, exist_ok=True)
        self.dir = Path(tempfile.mkdtemp(prefix="yizhan-", dir=WORK))
        self.port = free_port()
        self.config = self.dir / "yizhan.yaml"
        cert, key = certificate()
        (self.dir / "zone").write_text("bench.example. 60 IN A 127.0.0.1\n")
        via = f'{{host: "127.0.0.1:{sink_port}"}}' if scenario == "relay" else "hold"
        rules = self.GATE if scenario == "gate" else self.OPEN.format(dir=self.dir, via=via)
        if sites:
            sites_zone(sites, self.dir / "zone")
            rules = self.SITES.format(dir=self.dir, port=sink_port)
        self.config.write_text(
            f"""\
hostname: mx.bench.example
spool: {self.dir}/spool
listen:
  - {{address: ["127.0.0.1:{self.port}"], role: mx}}
tls: {{certificate: {cert}, key: {key}}}
{rules}log: {{format: json, level: info}}
"""
        )
        self.log = open(self.dir / "log", "wb")
        self.group = Group(self.name)
        self.process = subprocess.Popen(
            [self.binary, "serve", "-c", str(self.config)],
            stdout=self.log,
            stderr=self.log,
            preexec_fn=self.group.enter,
        )
        self.group.root_pid = self.process.pid
        wait_until(self._started, 20, "the start of Yizhan")

    def _started(self):
        if self.process.poll() is not None:
            raise RuntimeError("Yizhan ended: " + (self.dir / "log").read_text(errors="replace")[-2000:])
        return greets(self.port)

    def _json(self, *words):
        r = subprocess.run(
            [self.binary, *words, "-c", str(self.config), "--json"],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return json.loads(r.stdout)

    @classmethod
    def version(cls):
        return subprocess.run([cls.binary, "--version"], capture_output=True, text=True).stdout.strip()

    def queued(self):
        return self._json("queue", "summary")["messages"]

    def place(self):
        return self.dir

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.group.end()
        self.log.close()
        shutil.rmtree(self.dir, ignore_errors=True)
