"""Relaying to many sites, all in one sink: as many domains, each at an address of its own, so that to a server they are
different destinations. Healthy ones are addresses of loopback; sick ones are addresses where no packet is ever answered
(a cable without a machine at its end, in the namespace), so that each attempt there ends with a time-out."""

import subprocess
import time

from measure import wait_until
from tools import Load, Shape, Sink

SITES, SICK = 1000, 200  # with sick ones, 800 are healthy
SHAPE = Shape(20, True)


def address(number, sick):
    return f"192.0.2.{number % 250 + 1}" if sick else f"127.1.{number // 250}.{number % 250 + 1}"


class Sites:
    """The first `healthy` of `total` domains d0000.sink.example... lead to the sink. A single one is called sink.example."""

    def __init__(self, total, healthy, port):
        self.total, self.healthy, self.port = total, healthy, port

    def names(self):
        for i in range(self.total):
            yield "sink.example" if self.total == 1 else f"d{i:04}.sink.example", address(i, i >= self.healthy)

    def __str__(self):
        sick = self.total - self.healthy
        return f"{self.healthy} site{'s' * (self.total > 1)}" + (f", and {sick} that time out" if sick else "")


def make_black_hole():
    """Where 192.0.2.0/24 goes: out, and never an answer."""
    words = "ip link add hole type veth peer name behind; ip link set hole arp off up; ip link set behind up; ip addr add 192.0.2.254/24 dev hole"
    subprocess.run(words, shell=True, check=True)


class SiteBench:
    """Two counts of messages to `total` sites; the healthy ones' share is waited for."""

    def __init__(self, run):
        self.run, self.load = run, Load()

    def one(self, cls, total, healthy):
        sink = Sink(everywhere=True)
        sites = Sites(total, healthy, sink.port)
        try:
            server = cls("sites", sink.port, sites=sites)
            try:
                count = self.count(cls, sites)
                wanted = count * healthy // total
                cpu, began = server.group.cpu_seconds(), time.monotonic()
                self.load.run(server.port, count, SHAPE, server, domains=total, recipient="sink@sink.example")
                took = sink.wait(wanted, 170) - began
                cpu = server.group.cpu_seconds() - cpu
                if healthy == total:
                    wait_until(lambda: server.queued() == 0, 60, "an empty queue", 0.02)
                if sink.count() != wanted:
                    raise RuntimeError(f"{sink.count()} messages at the next hop, {wanted} were meant for it")
                sink.check()
            finally:
                server.stop()
        finally:
            sink.close()
        self.run.remember("sites", cls.name, wanted / took)
        self.run.add("relay-sites", sites, cls.name, rate=wanted / took, cpu=cpu * 1000 / wanted, count=wanted)

    def count(self, cls, sites):
        """The same number for each healthy site, whether there are sick ones or not."""
        each = 3 if self.run.options.quick else 20 if cls.name == "Yizhan" else 5
        return each * sites.total if sites.total > 1 else each * SITES

    def all(self):
        make_black_hole()
        for _ in range(self.run.options.rounds):
            for cls in self.run.classes:
                if not cls.many_sites:
                    continue
                for total, healthy in ((1, 1), (SITES, SITES), (SITES - SICK, SITES - SICK), (SITES, SITES - SICK)):
                    self.run.cost(cls, f"relay-sites: {Sites(total, healthy, 0)}", lambda: self.one(cls, total, healthy))
