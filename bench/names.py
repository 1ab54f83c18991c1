"""The DNS that the gate's checks ask in `accept-gate`: dnsmasq from Debian's package, on 127.0.0.1 port 53 of the bench's own
network namespace. It knows two lists (with their test entries and nobody else in them), the client's name both ways, and
the sender's domain."""

import os
import socket
import struct
import subprocess

import debian_packages
from measure import wait_until
from servers import WORK

LISTS = ("bl1.bench.example", "bl2.bench.example")


class Names:
    @staticmethod
    def prepare():
        """Before the namespace closes."""
        return debian_packages.unpack("dnsmasq", ["dnsmasq-base"])

    def __init__(self, root):
        WORK.mkdir(parents=True, exist_ok=True)
        words = [str(root / "usr/sbin/dnsmasq"), "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts"]
        words += ["--listen-address=127.0.0.1", "--bind-interfaces", "--user=root", "--group=root", "--pid-file=", "--cache-size=0"]
        words += ["--local=/bench.example/", "--local=/source.example/", "--local=/in-addr.arpa/", "--local-ttl=300"]
        words += [f"--address=/2.0.0.127.{zone}/127.0.0.2" for zone in LISTS]
        words += ["--host-record=client.source.example,127.0.0.1,300", "--mx-host=source.example,client.source.example,10"]
        libraries = os.pathsep.join(str(p) for p in (root / "usr/lib").glob("*-linux-gnu"))
        self.log = open(WORK / "dnsmasq.log", "wb")
        self.process = subprocess.Popen(words, stdout=self.log, stderr=self.log, env={**os.environ, "LD_LIBRARY_PATH": libraries})
        wait_until(self._answers, 10, "the DNS of the bench", 0.05)

    def _answers(self):
        if self.process.poll() is not None:
            raise RuntimeError("dnsmasq ended: " + (WORK / "dnsmasq.log").read_text(errors="replace")[-1000:])
        name = b"".join(bytes([len(p)]) + p.encode() for p in f"2.0.0.127.{LISTS[0]}".split(".")) + b"\0"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(0.5)
            s.sendto(struct.pack(">HHHHHH", 7, 0x0100, 1, 0, 0, 0) + name + struct.pack(">HH", 1, 1), ("127.0.0.1", 53))
            try:
                return s.recv(512)[6:8] == b"\0\1"
            except OSError:
                return False

    def close(self):
        self.process.terminate()
        self.process.wait()
        self.log.close()
