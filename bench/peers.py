"""The other mail servers, from Debian's packages, side by side.

The packages exclude each other, so each is unpacked into a root of its own (build/peers/NAME/root) and laid over /usr,
/etc and /var in a mount namespace that only its own processes see. Nothing is installed, and a mail server of this
machine isn't touched. Each is set up as an administrator would who wants it fast and safe: limits lifted, durability
as the packages have it by default."""

import os
import re
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import debian_packages
from debian_packages import Unavailable
from group import Group
from measure import wait_until
from servers import WORK, certificate, free_port, greets
from site_tables import transport_table  # noqa: E402

# $1: the unpacked packages, $2: a directory with etc/, var/ (read-only additions), run/ and a list of mounts
WITHIN = """
set -e
root=$1 dir=$2; shift 2
mount -t overlay overlay -o "lowerdir=$root/usr:/usr" /usr
mount -t overlay overlay -o "lowerdir=$dir/etc:$root/etc:/etc" /etc
mount -t overlay overlay -o "lowerdir=$dir/var:$root/var:/var" /var
mount --bind "$dir/run" /run
while read -r from to; do mount --bind "$from" "$to"; done <"$dir/mounts"
exec "$@"
"""


def processes_per_session(count):
    return max(200, count + 200)


class Peer:
    name = package_name = None
    packages = []
    users = {}          # name: uid; a group of the same name and number goes with it
    mounts = {}         # directory of ours: where it appears
    processes = set()   # names of processes that may end before anybody asks for them
    durability = ""     # what is on stable storage before the 250
    settings = ""       # what was changed
    half_close = False  # the client must half-close behind QUIT, or wait
    gap_ms = 0          # between the starts of two sessions
    crowd = 1 << 30     # connections that may be opened at once
    tls = True
    relay_messages = 40  # at least, in one measurement
    idle, idle_tls = 500, 200

    @classmethod
    def prepare(cls):
        if os.getuid() != 0:
            raise Unavailable("it needs root to run (its daemons change user)")
        cls.root = debian_packages.unpack(cls.name.lower(), cls.packages)
        cls.adjust()

    @classmethod
    def adjust(cls):
        """What the package's installation would do to the unpacked files."""
        for folder in ("usr", "etc", "var"):
            subprocess.run(["chown", "-R", "root:root", str(cls.root / folder)], check=True)

    @classmethod
    def give_group(cls, program, group):
        path = str(cls.root / "usr/sbin" / program)
        subprocess.run(["chgrp", str(cls.users[group]), path], check=True)
        subprocess.run(["chmod", "g+s", path], check=True)

    many_sites = False

    def __init__(self, scenario, sink_port=0, sessions=0, sites=None):
        self.sites = sites
        WORK.mkdir(parents=True, exist_ok=True)
        self.dir = Path(tempfile.mkdtemp(prefix=f"{self.name.lower()}-", dir=WORK))
        os.chmod(self.dir, 0o755)
        self.scenario, self.sink_port, self.sessions = scenario, sink_port, sessions
        self.port = free_port()
        self.cert, self.key = certificate()
        for folder in ("etc", "var", "run"):
            (self.dir / folder).mkdir()
        self.write_users()
        for source, target in self.mounts.items():
            (self.dir / source).mkdir()
            (self.dir / target.lstrip("/")).mkdir(parents=True)
        self.mount_list = self.dir / "mounts"
        self.mount_list.write_text("".join(f"{self.dir / source} {target}\n" for source, target in self.mounts.items()))
        self.log = open(self.dir / "log.txt", "wb")
        self.group = Group(self.name)
        try:
            self.configure()
            self.start()
            wait_until(self.started, 30, f"the start of {self.name}", 0.05)
            self.after_start()
        except BaseException:
            self.stop()
            raise

    def write_users(self):
        passwd, group = Path("/etc/passwd").read_text(), Path("/etc/group").read_text()
        for user, uid in self.users.items():
            passwd += f"{user}:x:{uid}:{uid}::/nonexistent:/usr/sbin/nologin\n"
            group += f"{user}:x:{uid}:\n"
        (self.dir / "etc/passwd").write_text(passwd)
        (self.dir / "etc/group").write_text(group)
        (self.dir / "etc/hosts").write_text("127.0.0.1 localhost mx.bench.example\n")

    @classmethod
    def within_words(cls, directory, words):
        namespace = ["unshare", "--mount", "--propagation", "private"]
        return [*namespace, "sh", "-c", WITHIN, "sh", str(cls.root), str(directory), *words]

    def run(self, *words, check=True, timeout=60, text=None):
        r = subprocess.run(
            self.within_words(self.dir, words),
            capture_output=True,
            text=True,
            timeout=timeout,
            preexec_fn=self.group.enter,
            input=text,
        )
        if check and r.returncode != 0:
            raise RuntimeError(f"{self.name}: {' '.join(words)}: {r.stdout}{r.stderr}")
        return r

    def daemon(self, *words):
        self.process = subprocess.Popen(
            self.within_words(self.dir, words),
            stdout=self.log,
            stderr=self.log,
            stdin=subprocess.DEVNULL,
            preexec_fn=self.group.enter,
        )
        self.group.root_pid = self.process.pid

    def started(self):
        if self.process and self.process.poll() is not None:
            raise RuntimeError(f"{self.name} ended: " + (self.dir / "log.txt").read_text(errors="replace")[-2000:])
        return greets(self.port)

    process = None

    def configure(self):
        raise NotImplementedError

    def start(self):
        raise NotImplementedError

    def after_start(self):
        pass

    def queued(self):
        raise NotImplementedError

    def place(self):
        return self.dir

    def end(self):
        if self.process:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()

    def stop(self):
        self.end()
        self.group.end()
        if self.process:
            self.process.wait()
        self.log.close()
        shutil.rmtree(self.dir, ignore_errors=True)

    @classmethod
    def version(cls):
        """Of Debian's package."""
        for copyright in (cls.root / "usr/share/doc" / cls.packages[0]).glob("changelog*.gz"):
            text = subprocess.run(["zcat", str(copyright)], capture_output=True, text=True).stdout
            m = re.match(r"\S+ \(([^)]*)\)", text)
            if m:
                return f"{cls.name} {m.group(1)}"
        return cls.name


def count_files(directory, wanted):
    return sum(1 for _, _, files in os.walk(directory) for f in files if wanted(f))


class Postfix(Peer):
    name = "Postfix"
    many_sites = True
    packages = ["postfix"]
    users = {"postfix": 64210, "postdrop": 64211}
    processes = {"cleanup", "qmgr", "smtp", "smtpd", "bounce", "pickup", "master", "flush", "trivial-rewrite"}
    durability = "the message's file (`fsync`)"
    settings = (
        "process limit 200, destination concurrency 100 (initially 20), connection cache, no `in_flow_delay`, "
        "20,000 active messages; accept only: HOLD"
    )
    MAIN = """\
compatibility_level = 3.6
myhostname = mx.bench.example
mydestination =
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
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
smtpd_timeout = 600s
smtpd_tls_security_level = may
smtpd_tls_cert_file = {cert}
smtpd_tls_key_file = {key}
meta_directory = /etc/postfix
{extra}
"""
    OPEN = """\
mynetworks = 127.0.0.0/8
smtpd_peername_lookup = no
"""
    # The same checks as Yizhan's GATE; the namespace's resolver is the bench's own.
    GATE = """\
mynetworks = 192.0.2.1
relay_domains = sink.example
smtpd_client_restrictions = reject_unknown_client_hostname
smtpd_helo_required = yes
smtpd_helo_restrictions = reject_invalid_helo_hostname, reject_non_fqdn_helo_hostname
smtpd_sender_restrictions = reject_unknown_sender_domain
smtpd_recipient_restrictions = reject_unauth_destination, reject_rbl_client bl1.bench.example, reject_rbl_client bl2.bench.example
"""
    MASTER = """\
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

    @classmethod
    def adjust(cls):
        super().adjust()
        for program in ("postdrop", "postqueue"):
            cls.give_group(program, "postdrop")

    def configure(self):
        self.config = self.dir / "config"
        for folder in (self.config, self.dir / "spool", self.dir / "data"):
            folder.mkdir()
        os.chown(self.dir / "data", self.users["postfix"], self.users["postfix"])
        (self.config / "main.cf").write_text(
            self.MAIN.format(
                dir=self.dir,
                cert=self.cert,
                key=self.key,
                processes=processes_per_session(self.sessions),
                relayhost=f"[127.0.0.1]:{self.sink_port}" if self.scenario == "relay" else "",
                extra=(self.GATE if self.scenario == "gate" else self.OPEN)
                + (f"transport_maps = texthash:{self.dir}/transport\n" if self.sites else "")
                + ("smtpd_data_restrictions = check_client_access static:HOLD" if self.scenario in ("accept", "gate") else ""),
            )
        )
        (self.dir / "etc/resolv.conf").write_text("nameserver 127.0.0.1\n")
        if self.sites:
            transport_table(self.sites, self.dir / "transport")
        (self.config / "master.cf").write_text(self.MASTER.format(port=self.port))

    def start(self):
        self.run("/usr/sbin/postfix", "-c", str(self.config), "start")
        self.group.root_pid = int((self.dir / "spool/pid/master.pid").read_text())

    def queued(self):
        return sum(
            count_files(self.dir / "spool" / queue, lambda f: True)
            for queue in ("hold", "incoming", "active", "deferred", "maildrop")
        )

    def end(self):
        self.run("/usr/sbin/postfix", "-c", str(self.config), "abort", check=False)


class Exim(Peer):
    name = "Exim"
    packages = ["exim4-daemon-light", "exim4-base"]
    users = {"Debian-exim": 64220}
    mounts = {"spool": "/var/spool/exim4", "logs": "/var/log/exim4"}
    processes = {"exim4", "exim"}
    durability = "the message's two files and their directory (`fsync` each)"
    settings = "limits lifted, backlog 2048, split spool directory, `remote_max_parallel` 20; accept only: `queue_only`"
    half_close = True
    CONFIG = """\
primary_hostname = mx.bench.example
local_interfaces = 127.0.0.1.{port}
daemon_smtp_ports = {port}
keep_environment =
smtp_accept_max = 0
smtp_accept_queue_per_connection = 0
smtp_accept_max_per_connection = 0
smtp_connect_backlog = 2048
recipients_max = 0
remote_max_parallel = 20
split_spool_directory = true
host_lookup =
rfc1413_query_timeout = 0s
tls_advertise_hosts = *
tls_certificate = {cert}
tls_privatekey = /etc/exim4/bench.key
acl_smtp_rcpt = accept
acl_smtp_data = accept
{extra}
begin acl
accept:
  accept
begin routers
sink:
  driver = manualroute
  transport = smtp
  route_list = * 127.0.0.1 byname
  self = send
begin transports
smtp:
  driver = smtp
  port = {sink}
  hosts_avoid_tls = *
begin retry
* * F,1h,1s
"""

    def configure(self):
        folder = self.dir / "etc/exim4"
        folder.mkdir()
        shutil.copy(self.key, folder / "bench.key")
        (folder / "exim4.conf").write_text(
            self.CONFIG.format(
                port=self.port,
                cert=self.cert,
                sink=self.sink_port or 25,
                extra="queue_only = true" if self.scenario == "accept" else "",
            )
        )
        uid = self.users["Debian-exim"]
        for path in (folder / "bench.key", self.dir / "spool", self.dir / "logs"):
            os.chown(path, uid, uid)

    def start(self):
        self.daemon("/usr/sbin/exim4", "-bdf", *(["-q1m"] if self.scenario == "relay" else []))

    def queued(self):
        return count_files(self.dir / "spool/input", lambda f: f.endswith("-H"))


class OpenSMTPD(Peer):
    name = "OpenSMTPD"
    packages = ["opensmtpd"]
    users = {"opensmtpd": 64230, "opensmtpq": 64231}
    mounts = {"spool": "/var/spool/smtpd"}
    processes = {"smtpd"}
    durability = "nothing: it makes no sync call"
    settings = "limits of mails, connections and messages in flight lifted, no delays; accept only: `smtpctl pause mta`"
    gap_ms = 2  # its listen backlog of 5 is compiled in: who connects sixth at once waits for seconds
    crowd = 5
    tls = False  # as Debian has it, its handshake fails: the process with the key can't sign as OpenSSL 3 asks
    relay_messages = 600  # it relays in bursts with ten seconds of waiting between them
    idle = 1000
    CONFIG = """\
pki bench cert "{cert}"
pki bench key "/etc/smtpd.key"
smtp limit max-mails 1000000
smtp limit max-rcpt 100000
mta limit max-conn-per-host 100
mta limit max-conn-per-route 100
mta limit max-conn-per-source 100
mta limit max-conn-per-connector 100
mta limit max-conn-per-relay 100
mta limit max-conn-per-domain 100
mta limit conn-delay-host 0
mta limit conn-delay-route 0
mta limit reconn-delay-route 0
mta limit conn-delay-source 0
mta limit conn-delay-connector 0
mta limit conn-delay-relay 0
mta limit conn-delay-domain 0
mta limit session-mail-max 10000
mta limit session-transaction-delay 0
scheduler limit max-inflight 20000
listen on 127.0.0.1 port {port} tls pki bench hostname mx.bench.example
action "relay" relay host "smtp://127.0.0.1:{sink}"
match from any for any action "relay"
"""

    @classmethod
    def adjust(cls):
        super().adjust()
        (cls.root / "var/lib/opensmtpd/empty").mkdir(parents=True, exist_ok=True)
        cls.give_group("smtpctl", "opensmtpq")

    def configure(self):
        shutil.copy(self.key, self.dir / "etc/smtpd.key")
        os.chmod(self.dir / "etc/smtpd.key", 0o600)
        os.chmod(self.dir / "spool", 0o711)
        (self.dir / "etc/smtpd.conf").write_text(
            self.CONFIG.format(port=self.port, cert=self.cert, sink=self.sink_port or 25)
        )

    def start(self):
        self.daemon("/usr/sbin/smtpd", "-d", "-f", "/etc/smtpd.conf")

    def after_start(self):
        if self.scenario == "accept":
            self.run("/usr/sbin/smtpctl", "pause", "mta")

    def queued(self):
        return count_files(self.dir / "spool/queue", lambda f: f == "message")


class Sendmail(Peer):
    name = "Sendmail"
    packages = ["sendmail-bin", "sendmail-cf", "sendmail-base", "m4"]
    users = {"smmta": 64240, "smmsp": 64241}
    mounts = {"spool": "/var/spool/mqueue"}
    processes = {"sendmail", "sendmail-mta"}
    durability = "the message's files (`SuperSafe` True)"
    settings = "`SuperSafe` True, delivery in the background, load limits lifted; accept only: `queueonly`"
    PROGRAM = "/usr/libexec/sendmail/sendmail"
    CONFIG = """\
OSTYPE(`linux')dnl
FEATURE(`nocanonify')dnl
FEATURE(`accept_unresolvable_domains')dnl
FEATURE(`promiscuous_relay')dnl
FEATURE(`no_default_msa')dnl
define(`confDOMAIN_NAME', `mx.bench.example')dnl
define(`confPID_FILE', `/run/sendmail.pid')dnl
define(`STATUS_FILE', `/run/statistics')dnl
define(`ALIAS_FILE', `')dnl
define(`confSAFE_QUEUE', `True')dnl
define(`confDELIVERY_MODE', `{mode}')dnl
define(`confQUEUE_LA', `10000')dnl
define(`confREFUSE_LA', `10000')dnl
define(`confDELAY_LA', `0')dnl
define(`confMAX_DAEMON_CHILDREN', `0')dnl
define(`confMAX_QUEUE_CHILDREN', `0')dnl
define(`confCONNECTION_RATE_THROTTLE', `0')dnl
define(`confTO_IDENT', `0')dnl
define(`confDONT_PROBE_INTERFACES', `True')dnl
define(`confSERVER_CERT', `/etc/mail/bench.crt')dnl
define(`confSERVER_KEY', `/etc/mail/bench.key')dnl
define(`confCACERT', `/etc/mail/bench.crt')dnl
define(`confCACERT_PATH', `/etc/mail')dnl
define(`confDONT_BLAME_SENDMAIL', `GroupReadableKeyFile')dnl
define(`RELAY_MAILER_ARGS', `TCP $h {sink}')dnl
define(`SMART_HOST', `relay:[127.0.0.1]')dnl
DAEMON_OPTIONS(`Name=MTA, Addr=127.0.0.1, Port={port}, Listen=2000')dnl
MAILER(`smtp')dnl
"""

    def configure(self):
        folder = self.dir / "etc/mail"
        folder.mkdir()
        shutil.copy(self.key, folder / "bench.key")
        shutil.copy(self.cert, folder / "bench.crt")
        os.chmod(folder / "bench.key", 0o600)
        os.chmod(self.dir / "spool", 0o700)
        (folder / "local-host-names").write_text("")
        cf = "/usr/share/sendmail/cf"
        mc = self.CONFIG.format(
            mode="background" if self.scenario == "relay" else "queueonly",
            port=self.port,
            sink=self.sink_port or 25,
        )
        r = self.run("m4", f"-D_CF_DIR_={cf}/", f"{cf}/m4/cf.m4", "-", text=mc)
        (folder / "sendmail.cf").write_text(r.stdout)

    def start(self):
        self.daemon(self.PROGRAM, "-bD", *(["-q1m"] if self.scenario == "relay" else []))

    def queued(self):
        return count_files(self.dir / "spool", lambda f: f.startswith("qf"))


ALL = [Postfix, Exim, OpenSMTPD, Sendmail]
