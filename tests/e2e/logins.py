"""What the tests of logging in share: servers with users, and a client that logs in."""

import base64
import re
import ssl
import subprocess

import harness
import sasl
from harness import Client, wait_for
from sasl import b64

ALICE, PASSWORD = "alice@example.org", "correct horse, battery"


def add_user(directory, name, password, *options):
    subprocess.run(
        [*harness.PROGRAM, "user", "add", name, "--file", str(directory / "users"), *options],
        input=password + "\n",
        text=True,
        check=True,
        capture_output=True,
    )


def auth_server(place, auth=None, listen=None, users=True, **sections):
    """Three ports: submission with STARTTLS, submission with TLS from the first byte, and an MX without AUTH."""
    ports = []
    while len(ports) < 3:
        port = harness.free_port("127.0.0.1")
        if port not in ports:  # it is free until somebody has it
            ports.append(port)
    listeners = listen or [
        {"address": [f"127.0.0.1:{ports[0]}"], "role": "submission"},
        {"address": [f"127.0.0.1:{ports[1]}"], "role": "submission", "tls": "implicit"},
        {"address": [f"127.0.0.1:{ports[2]}"], "role": "mx"},
    ]
    for port, one in zip(ports, listeners):
        one.setdefault("address", [f"127.0.0.1:{port}"])
    section = {"backends": [{"file": "{dir}/users"}], "failure_delay": "0s", **(auth or {})}
    s = place.mx(
        port=ports[0],
        tls=place.certificate(),
        listen=listeners,
        dns={"reverse_lookup": False},
        auth=section,
        start=False,
        **sections,
    )
    s.implicit_port, s.mx_port = ports[1], ports[2]
    if users:
        add_user(s.dir, ALICE, PASSWORD)
    return s


def logged(server, text):
    """The log's lines are written by a thread of their own."""
    wait_for(lambda: text in server.log(), what=f"the line {text!r} in the log")


def offered(hello):
    """The mechanisms in a reply to EHLO."""
    found = re.search(r"^250[- ]AUTH (.*)$", hello, re.M)
    return found.group(1).split() if found else []


class User(Client):
    """A client behind STARTTLS and EHLO."""

    def __init__(self, server, tls=None, **options):
        super().__init__(server.address, server.port, **options)
        self.hello()
        if tls:
            self.expect(220, "STARTTLS")
            context = ssl._create_unverified_context()
            context.maximum_version = tls
            self.socket = context.wrap_socket(self.socket, server_hostname="mx.example.org")
        else:
            self.starttls()
        self.greeting = self.expect(250, "EHLO client.example")

    def challenge(self, line):
        text = self.expect(334, line)
        return base64.b64decode(text[4:])

    def plain(self, user=ALICE, password=PASSWORD, **options):
        return self.command("AUTH PLAIN " + b64(sasl.plain(user, password, **options)))

    def scram(self, mechanism, user=ALICE, password=PASSWORD, **options):
        """The last reply; when it is 235, the server has proved itself."""
        hash = "sha256" if "256" in mechanism else "sha1"
        client = sasl.Scram(user, password, hash, **options)
        code, text = self.command(f"AUTH {mechanism} {b64(client.first())}")
        if code != 334:
            return code, text
        code, text = self.command(b64(client.final(base64.b64decode(text[4:]))))
        if code != 334:
            return code, text
        client.verify(base64.b64decode(text[4:]))
        return self.command("")


def crypt_hash(prefix, password):
    """One of libxcrypt's forms, by the library itself."""
    import ctypes
    import ctypes.util

    library = ctypes.CDLL(ctypes.util.find_library("crypt"))
    library.crypt_gensalt.restype = library.crypt.restype = ctypes.c_char_p
    setting = library.crypt_gensalt(prefix.encode(), 0, None, 0)
    return library.crypt(password.encode(), setting).decode()
