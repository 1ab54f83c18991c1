"""The client's side of SASL, written for the tests from the RFCs: what a mail program says to log in."""

import base64
import hashlib
import hmac
import os
import stringprep
import unicodedata


def b64(data):
    return base64.b64encode(data.encode() if isinstance(data, str) else data).decode()


def plain(user, password, authorization=""):
    """RFC 4616"""
    return f"{authorization}\0{user}\0{password}".encode()


def saslprep(text):
    """RFC 4013, as far as the tests need it."""
    text = "".join(" " if stringprep.in_table_c12(c) else c for c in text if not stringprep.in_table_b1(c))
    return unicodedata.normalize("NFKC", text)


class Scram:
    """RFC 5802: first() and final(server_first) are what to send; verify(server_final) says whether the server knows us."""

    def __init__(
        self, user, password, hash="sha256", binding=None, kind="tls-unique", nonce=None, authorization="", flag=None
    ):
        self.hash, self.password = hash, saslprep(password)
        self.flag = flag or (f"p={kind}" if binding is not None else "n")
        who = f"a={authorization}" if authorization else ""
        self.header = f"{self.flag},{who},"
        self.binding = binding or b""
        self.nonce = nonce or base64.b64encode(os.urandom(18)).decode()
        name = saslprep(user).replace("=", "=3D").replace(",", "=2C")
        self.bare = f"n={name},r={self.nonce}"

    def first(self):
        return (self.header + self.bare).encode()

    def _hmac(self, key, text):
        return hmac.new(key, text, self.hash).digest()

    def final(self, server_first):
        text = server_first.decode()
        fields = dict(part.split("=", 1) for part in text.split(","))
        assert fields["r"].startswith(self.nonce) and len(fields["r"]) > len(self.nonce), text
        self.iterations, self.salt = int(fields["i"]), base64.b64decode(fields["s"])
        salted = hashlib.pbkdf2_hmac(self.hash, self.password.encode(), self.salt, self.iterations)
        client_key = self._hmac(salted, b"Client Key")
        stored = hashlib.new(self.hash, client_key).digest()
        without = f"c={b64(self.header.encode() + self.binding)},r={fields['r']}"
        message = f"{self.bare},{text},{without}".encode()
        proof = bytes(a ^ b for a, b in zip(client_key, self._hmac(stored, message)))
        self.signature = self._hmac(self._hmac(salted, b"Server Key"), message)
        return f"{without},p={b64(proof)}".encode()

    def verify(self, server_final):
        assert server_final == f"v={b64(self.signature)}".encode(), server_final


def oauthbearer(user, token, host="mx.example.org", port=587):
    """RFC 7628"""
    return f"n,a={user},\1host={host}\1port={port}\1auth=Bearer {token}\1\1".encode()


def xoauth2(user, token):
    return f"user={user}\1auth=Bearer {token}\1\1".encode()
