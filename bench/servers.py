"""The servers that are measured, each started fresh for a scenario: accept (durable, nothing delivered), relay
(everything to one next hop) and idle (sessions that say nothing)."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "interop"))
import postfix_tools  # noqa: E402
from measure import wait_until  # noqa: E402

WORK = ROOT / "build" / "bench"  # on the disk that is measured, not in a tmpfs


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def certificate():
    WORK.mkdir(parents=True, exist_ok=True)
    cert, key = WORK / "bench.crt", WORK / "bench.key"
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
                "3650",
                "-subj",
                "/CN=mx.bench.example",
                "-keyout",
                str(key),
                "-out",
                str(cert),
            ],
            check=True,
            capture_output=True,
        )
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
    binary = os.environ.get("YIZHAN_BINARY", str(ROOT / "build" / "yizhan"))

    def __init__(self, scenario, sink_port=0, sessions=0):
        WORK.mkdir(parents=True, exist_ok=True)
        self.dir = Path(tempfile.mkdtemp(prefix="yizhan-", dir=WORK))
        self.port = free_port()
        self.config = self.dir / "yizhan.yaml"
        cert, key = certificate()
        (self.dir / "zone").write_text("bench.example. 60 IN A 127.0.0.1\n")
        via = f'{{host: "127.0.0.1:{sink_port}"}}' if scenario == "relay" else "hold"
        self.config.write_text(
            f"""\
hostname: mx.bench.example
spool: {self.dir}/spool
trusted: [127.0.0.0/8]
listen:
  - {{address: ["127.0.0.1:{self.port}"], role: mx}}
tls: {{certificate: {cert}, key: {key}}}
dns: {{zone: {self.dir}/zone}}
routes:
  - {{to: "*", via: [{via}]}}
log: {{format: json, level: info}}
"""
        )
        self.log = open(self.dir / "log", "wb")
        self.process = subprocess.Popen(
            [self.binary, "serve", "-c", str(self.config)], stdout=self.log, stderr=self.log
        )
        self.root_pid = self.process.pid
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
        self.log.close()
        shutil.rmtree(self.dir, ignore_errors=True)


MAIN_CF = """\
compatibility_level = 3.6
myhostname = mx.bench.example
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
queue_directory = {dir}/spool
data_directory = {dir}/data
mail_owner = postfix
setgid_group = postdrop
alias_maps =
alias_database =
local_recipient_maps =
smtp_dns_support_level = disabled
smtp_host_lookup = native
relayhost = {relayhost}
default_process_limit = {processes}
default_destination_concurrency_limit = 100
initial_destination_concurrency = 20
smtp_connection_cache_on_demand = yes
in_flow_delay = 0
qmgr_message_active_limit = 20000
smtpd_peername_lookup = no
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
smtpd_timeout = 600s
smtpd_tls_security_level = may
smtpd_tls_cert_file = {cert}
smtpd_tls_key_file = {key}
{extra}
"""

MASTER_CF = """\
127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
"""

POSTFIX_UID = 64210  # users of Postfix's own, seen only inside our mount namespace


def prepare_postfix():
    """Lays Debian's package over /usr and gives it its users, in this process's private mount namespace."""
    if os.getuid() != 0:
        raise postfix_tools.Unavailable("Postfix needs root to run (its daemons change user)")
    root = postfix_tools.unpack()
    files = postfix_tools.PLACE / "files"
    files.mkdir(exist_ok=True)
    (files / "passwd").write_text(
        Path("/etc/passwd").read_text() + f"postfix:x:{POSTFIX_UID}:{POSTFIX_UID}::/nonexistent:/usr/sbin/nologin\n"
    )
    (files / "group").write_text(
        Path("/etc/group").read_text() + f"postfix:x:{POSTFIX_UID}:\npostdrop:x:{POSTFIX_UID + 1}:\n"
    )
    steps = [
        ["mount", "-t", "overlay", "overlay", "-o", f"lowerdir={root}/usr:/usr", "/usr"],
        ["mount", "--bind", str(files / "passwd"), "/etc/passwd"],
        ["mount", "--bind", str(files / "group"), "/etc/group"],
        ["chown", "-R", "root:root", str(root / "etc"), str(root / "usr")],
        ["chgrp", "postdrop", str(root / "usr/sbin/postdrop"), str(root / "usr/sbin/postqueue")],
        ["chmod", "g+s", str(root / "usr/sbin/postdrop"), str(root / "usr/sbin/postqueue")],
    ]
    for step in steps:
        r = subprocess.run(step, capture_output=True, text=True)
        if r.returncode != 0:
            raise postfix_tools.Unavailable(f"{' '.join(step[:3])}: {r.stderr.strip()}")


class Postfix:
    """As an administrator would tune it: limits raised, connection cache on, no look-ups that the load doesn't need."""

    name = "Postfix"
    processes = {
        "cleanup",
        "qmgr",
        "smtp",
        "smtpd",
        "bounce",
        "pickup",
        "master",
        "flush",
        "trivial-rewrite",
    }  # some end early

    def __init__(self, scenario, sink_port=0, sessions=0):
        WORK.mkdir(parents=True, exist_ok=True)
        self.dir = Path(tempfile.mkdtemp(prefix="postfix-", dir=WORK))
        os.chmod(self.dir, 0o755)
        self.port = free_port()
        config = self.dir / "etc"
        config.mkdir()
        (self.dir / "spool").mkdir()
        (self.dir / "data").mkdir()
        os.chown(self.dir / "data", POSTFIX_UID, POSTFIX_UID)
        cert, key = certificate()
        (config / "main.cf").write_text(
            MAIN_CF.format(
                dir=self.dir,
                cert=cert,
                key=key,
                processes=max(200, sessions + 200),
                relayhost=f"[127.0.0.1]:{sink_port}" if scenario == "relay" else "",
                extra="meta_directory = "
                + str(postfix_tools.PLACE / "root/etc/postfix")
                + ("\nsmtpd_data_restrictions = check_client_access static:HOLD" if scenario == "accept" else ""),
            )
        )
        (config / "master.cf").write_text(MASTER_CF.format(port=self.port))
        r = subprocess.run(
            ["/usr/sbin/postfix", "-c", str(config), "start"], capture_output=True, text=True, timeout=60
        )
        if r.returncode != 0:
            raise RuntimeError("Postfix did not start: " + r.stdout + r.stderr)
        self.root_pid = int((self.dir / "spool/pid/master.pid").read_text())
        wait_until(lambda: greets(self.port), 20, "the start of Postfix")

    @classmethod
    def version(cls):
        return (
            "Postfix "
            + subprocess.run(
                ["/usr/sbin/postconf", "-d", "-h", "mail_version"], capture_output=True, text=True
            ).stdout.strip()
        )

    def queued(self):
        return sum(
            len(files)
            for queue in ("hold", "incoming", "active", "deferred", "maildrop")
            for _, _, files in os.walk(self.dir / "spool" / queue)
        )

    def place(self):
        return self.dir

    def stop(self):
        config = str(self.dir / "etc")
        subprocess.run(["/usr/sbin/postfix", "-c", config, "abort"], capture_output=True, timeout=60)
        try:
            os.kill(self.root_pid, signal.SIGTERM)
            for _ in range(100):
                os.kill(self.root_pid, 0)
                time.sleep(0.05)
        except ProcessLookupError:
            pass
        shutil.rmtree(self.dir, ignore_errors=True)
