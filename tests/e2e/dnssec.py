"""Real DNS with signed zones: ldns-signzone signs them, nsd serves them on loopback, below a root of our own whose key is
the trust anchor; unbound is there for a second opinion."""

import re
import subprocess

import dns.flags
import dns.message
import dns.query
import dns.rdatatype
import harness
from harness import wait_for

SOA = "@ IN SOA ns.nic.example. admin.nic.example. 1 3600 600 86400 60\n@ IN NS ns.nic.example.\n"


class Zones:
    """add(...) zones, then start(). `sign`: False leaves one unsigned, "broken" spoils a signed record afterwards."""

    def __init__(self, directory, address="127.0.2.53"):
        self.directory, self.address = directory, address
        self.port = harness.free_port(address)
        self.zones, self.anchors = {}, {}
        self.processes = []

    def add(self, name, records, sign=True):
        self.zones[name] = (records, sign)

    def _run(self, *command):
        return subprocess.run(command, cwd=self.directory, check=True, capture_output=True, text=True).stdout

    def _sign(self, name, text):
        """Writes <name>.zone.signed, and notes the DS record of the zone."""
        (self.directory / f"{name}.zone").write_text(text)
        key = self._run("ldns-keygen", "-k", "-a", "ECDSAP256SHA256", "-r", "/dev/urandom", f"{name}.").strip()
        self.anchors[name] = (self.directory / f"{key}.ds").read_text()
        self._run("ldns-signzone", "-f", f"{name}.zone.signed", "-o", f"{name}.", f"{name}.zone", key)
        return (self.directory / f"{name}.zone.signed"), (self.directory / f"{key}.key").read_text()

    def _write(self, name, extra=""):
        records, sign = self.zones.get(name, ("", True))
        text = f"$ORIGIN {name}.\n$TTL 60\n{SOA}{extra}{records}\n".replace("$ORIGIN ..", "$ORIGIN .")
        if not sign:
            path = self.directory / f"{name}.zone"
            path.write_text(text)
            return path, None
        path, key = self._sign(name, text)
        if sign == "broken":
            # One hexadecimal digit of each TLSA record: its signature does not hold any more.
            spoilt = re.sub(r"(\sTLSA\s+3 1 1 )(.)", lambda m: m[1] + ("0" if m[2] != "0" else "1"), path.read_text())
            assert spoilt != path.read_text()
            path.write_text(spoilt)
        return path, key

    def start(self):
        files = {name: self._write(name)[0] for name in self.zones}
        delegations = "ns.nic.example. IN A 127.0.2.53\n"
        for name, (_, sign) in self.zones.items():
            delegations += f"{name}. IN NS ns.nic.example.\n" + (self.anchors[name] if sign else "")
        (self.directory / "root.zone").write_text(f"$ORIGIN .\n$TTL 60\n{SOA}{delegations}")
        key = self._run("ldns-keygen", "-k", "-a", "ECDSAP256SHA256", "-r", "/dev/urandom", ".").strip()
        self._run("ldns-signzone", "-f", "root.zone.signed", "-o", ".", "root.zone", key)
        self.trust_anchor = self.directory / "root.key"
        self.trust_anchor.write_text((self.directory / f"{key}.ds").read_text())
        files["."] = self.directory / "root.zone.signed"
        self._serve(files)
        return self

    def _serve(self, files):
        config = self.directory / "nsd.conf"
        config.write_text(
            f'server:\n ip-address: {self.address}@{self.port}\n username: ""\n zonesdir: "{self.directory}"\n database: ""\n'
            f' pidfile: "{self.directory}/nsd.pid"\n zonelistfile: "{self.directory}/zone.list"\n'
            f' xfrdfile: "{self.directory}/xfrd.state"\n xfrdir: "{self.directory}"\n server-count: 1\n'
            "remote-control:\n control-enable: no\n"
            + "".join(f'zone:\n name: "{name}"\n zonefile: "{path}"\n' for name, path in files.items())
        )
        log = open(self.directory / "nsd.log", "wb")
        self.processes.append(subprocess.Popen(["nsd", "-d", "-c", str(config)], stdout=log, stderr=log))
        wait_for(lambda: self._answers(self.address, self.port), what="the start of nsd")

    def _answers(self, address, port):
        try:
            return self._ask(address, port, ".", "SOA").rcode() == 0
        except (dns.exception.Timeout, OSError):
            return False

    @staticmethod
    def _ask(address, port, name, kind):
        query = dns.message.make_query(name, kind, want_dnssec=True)
        return dns.query.udp(query, address, timeout=2 * harness.SLOW, port=port)

    def unbound(self):
        """Another resolver with the same trust anchor. Returns a function: name, type -> "secure", "insecure" or "bogus"."""
        port = harness.free_port(self.address)
        config = self.directory / "unbound.conf"
        config.write_text(
            f'server:\n interface: {self.address}@{port}\n username: ""\n chroot: ""\n directory: "{self.directory}"\n'
            f' pidfile: "{self.directory}/unbound.pid"\n use-syslog: no\n do-daemonize: no\n do-not-query-localhost: no\n'
            f' trust-anchor-file: "{self.trust_anchor}"\n access-control: 127.0.0.0/8 allow\n num-threads: 1\n'
            f'forward-zone:\n name: "."\n forward-addr: {self.address}@{self.port}\n'
        )
        log = open(self.directory / "unbound.log", "wb")
        self.processes.append(subprocess.Popen(["unbound", "-d", "-c", str(config)], stdout=log, stderr=log))
        wait_for(lambda: self._answers(self.address, port), what="the start of unbound")

        def judge(name, kind):
            answer = self._ask(self.address, port, name, kind)
            if answer.rcode() == 2:
                return "bogus"
            return "secure" if answer.flags & dns.flags.AD else "insecure"

        return judge

    def close(self):
        for p in self.processes:
            p.terminate()
            p.wait(10)
