"""Through microsocks, a SOCKS 5 proxy of Debian."""

import shutil
import subprocess

import pytest

import harness
from harness import wait_for
from outgoing import SENDER, arrival, is_waiting

MICROSOCKS = shutil.which("microsocks")
pytestmark = pytest.mark.skipif(not MICROSOCKS, reason="microsocks is not installed")


class Proxy:
    def __init__(self, *login):
        self.port = harness.free_port("127.0.0.1")
        words = ["-u", login[0], "-P", login[1]] if login else []
        self.process = subprocess.Popen(
            [MICROSOCKS, "-i", "127.0.0.1", "-p", str(self.port), *words], stderr=subprocess.DEVNULL
        )
        wait_for(self.listens, what="the start of microsocks")

    def listens(self):
        try:
            harness.Client("127.0.0.1", self.port).close()
            return True
        except OSError:
            return False

    def close(self):
        self.process.terminate()
        self.process.wait(10)


def start(place, proxy, host, port, **extra):
    return place.mx(
        sources={"far": [{"proxy": f"socks5h://127.0.0.1:{proxy.port}", "ehlo": "far.example.net", **extra}]},
        routes=[{"to": "*", "via": [{"host": f"{host}:{port}", "source": "far"}]}],
    )


def secret(place, text):
    path = place.tmp / "secret"
    path.write_text(text + "\n")
    path.chmod(0o600)
    return str(path)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_mail_goes_through_microsocks(place, host):
    proxy = Proxy()
    place.things.append(proxy)
    peer = place.peer()
    server = start(place, proxy, host, peer.port)
    server.submit(SENDER, "bob@dest.example", b"Subject: big\r\n\r\n" + b"x" * 70 + b"\r\n" * 3000)
    arrival(peer)
    assert peer.said("EHLO") == ["far.example.net"]


def test_microsocks_wants_the_right_password(place):
    proxy = Proxy("us", "secret")
    place.things.append(proxy)
    peer = place.peer()
    good = start(place, proxy, "127.0.0.1", peer.port, proxy_user="us", proxy_password_file=secret(place, "secret"))
    good.submit(SENDER, "bob@dest.example")
    arrival(peer)
    bad = start(place, proxy, "127.0.0.1", peer.port, proxy_user="us", proxy_password_file=secret(place, "wrong"))
    bad.submit(SENDER, "bob@dest.example")
    is_waiting(bad, "does not take our name and password")


def test_a_refusal_behind_microsocks_is_trouble_of_the_path(place):
    proxy = Proxy()
    place.things.append(proxy)
    server = start(place, proxy, "127.0.0.1", harness.free_port("127.0.0.1"))
    server.submit(SENDER, "bob@dest.example")
    is_waiting(server, "could not connect")
