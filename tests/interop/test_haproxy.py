"""HAProxy in front, telling by the PROXY protocol who the clients are."""

import re
import shutil
import ssl
import subprocess
import time

import pytest

from harness import Client, arrived, free_port, header_of, wait_for

HAPROXY = shutil.which("haproxy") or shutil.which("/usr/sbin/haproxy")
pytestmark = pytest.mark.skipif(not HAPROXY, reason="haproxy is not installed")

PROXY = "127.0.0.1"  # HAProxy's own address, as the server sees it
CLIENT, TRUSTED_CLIENT = "127.0.0.42", "127.0.0.43"


class Front:
    """HAProxy with a port for each version of the protocol, and one whose server wants TLS from the first octet."""

    def __init__(self, place, server, tls_port):
        self.version1, self.version2, self.tls = (free_port(PROXY) for _ in range(3))
        self.file, self.log = place.tmp / "haproxy.cfg", place.tmp / "haproxy.log"

        def listen(name, port, to, how):
            return (
                f"listen {name}\n bind {PROXY}:{port}\n source {PROXY}\n"
                f" server s {PROXY}:{to} {how} check check-send-proxy inter 200ms\n"
            )

        self.file.write_text(
            "defaults\n mode tcp\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n"
            + listen("one", self.version1, server.port, "send-proxy")
            + listen("two", self.version2, server.port, "send-proxy-v2 proxy-v2-options crc32c,unique-id")
            + listen("tls", self.tls, tls_port, "send-proxy-v2")
        )
        self.process = subprocess.Popen([HAPROXY, "-db", "-f", self.file], stdout=open(self.log, "wb"), stderr=subprocess.STDOUT)
        wait_for(self.listens, what="the start of HAProxy")

    def listens(self):
        assert self.process.poll() is None, self.log.read_text()
        try:
            Client(PROXY, self.version1).close()
            return True
        except OSError:
            return False

    def close(self):
        self.process.terminate()
        self.process.wait(10)


@pytest.fixture(scope="module")
def mx(shared):
    plain, tls = free_port(PROXY), free_port(PROXY)
    server = shared.mx(
        port=plain,
        tls=shared.certificate(),
        dns={"reverse_lookup": False},
        trusted=[TRUSTED_CLIENT, PROXY],
        limits={"connections_per_ip": 3},
        listen=[
            {"address": f"{PROXY}:{plain}", "role": "mx", "proxies": [PROXY]},
            {"address": f"{PROXY}:{tls}", "role": "mx", "tls": "implicit", "proxies": [PROXY]},
        ],
    )
    server.front = Front(shared, server, tls)
    shared.things.append(server.front)
    return server


def send(client, subject):
    client.send_message("a@client.example", ["alice@example.org"], f"Subject: {subject}\r\n\r\nhello\r\n".encode())


@pytest.mark.parametrize("version", ["version1", "version2"])
def test_the_client_behind_haproxy_is_the_client(mx, version):
    with Client(PROXY, getattr(mx.front, version), source=CLIENT) as c:
        c.hello()
        send(c, f"through {version}")
        c.expect(250, "MAIL FROM:<a@client.example>")
        c.expect(550, "RCPT TO:<x@elsewhere.example>")  # although the proxy is trusted
    received = header_of(arrived(mx, "alice", f"through {version}".encode()))["Received"]
    assert f"[{CLIENT}]" in received
    with Client(PROXY, getattr(mx.front, version), source=TRUSTED_CLIENT) as c:
        c.hello()
        c.expect(250, "MAIL FROM:<a@client.example>")
        c.expect(250, "RCPT TO:<x@elsewhere.example>")


def test_starttls_goes_through(mx):
    with Client(PROXY, mx.front.version2, source=CLIENT) as c:
        c.hello()
        c.starttls()
        c.expect(250, "EHLO client.example")
        send(c, "starttls through haproxy")
    received = header_of(arrived(mx, "alice", b"starttls through haproxy"))["Received"]
    assert f"[{CLIENT}]" in received and "with ESMTPS" in received


def test_tls_from_the_first_octet_goes_through(mx):
    with Client(PROXY, mx.front.tls, source=CLIENT) as c:
        c.handshake()
        assert isinstance(c.socket, ssl.SSLSocket)
        c.hello()
        send(c, "tls through haproxy")
    assert f"[{CLIENT}]" in header_of(arrived(mx, "alice", b"tls through haproxy"))["Received"]


def test_the_limit_of_connections_is_for_each_client(mx):
    clients = []
    try:
        for source in [f"127.0.0.{50 + i}" for i in range(8)] + ["127.0.0.60"] * 3:
            clients.append(Client(PROXY, mx.front.version2, source=source))
            clients[-1].expect(220)  # one after the other: it is the fourth from an address that is refused
        clients.append(Client(PROXY, mx.front.version1, source="127.0.0.60"))
        assert "127.0.0.60" in clients[-1].expect(421)
    finally:
        for c in clients:
            c.close()


def test_its_health_checks_find_the_server_well_and_fill_no_log(mx):
    time.sleep(1)
    assert "DOWN" not in mx.front.log.read_text(), mx.front.log.read_text()
    assert not re.search(r"(?im)^.*(notice|warning|error).*proxy.*$", mx.log())
