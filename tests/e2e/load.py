"""Clients that keep a server busy while something happens to it, and remember what they were promised."""

import os
import random
import re
import threading
import time
from collections import Counter

import harness

SESSIONS = 6


class Load:
    """Sessions that send messages with unique names. A message whose reply did not come is sent once more under its name
    when `again` is true, as real clients do.

    acknowledged: the recipients of each name that got its 250. dots: how often a name was sent whole."""

    def __init__(self, server, recipients, timeout=5, again=False, sessions=SESSIONS):
        self.server, self.recipients, self.timeout, self.again = server, recipients, timeout, again
        self.acknowledged, self.attempted, self.dots, self.codes = {}, 0, Counter(), Counter()
        self.lock, self.enough = threading.Lock(), threading.Event()
        self.threads = [threading.Thread(target=self._work, args=(i,), daemon=True) for i in range(sessions)]
        for t in self.threads:
            t.start()

    def _new(self):
        with self.lock:
            self.attempted += 1
            to = random.sample(self.recipients, min(len(self.recipients), random.choice((1, 1, 1, 2, 3))))
            return f"m{self.attempted}", to, b"x" * 70 + b"\r\n" * random.randrange(1, 400)

    def _work(self, number):
        message = None
        while not self.enough.is_set():
            try:
                with self.server.client(trusted=True, timeout=self.timeout) as c:
                    c.hello()
                    while not self.enough.is_set():
                        message = message or self._new()
                        self._send(c, number, *message)
                        message = None
            except (OSError, EOFError, AssertionError, ValueError):
                message = message if self.again else None
                time.sleep(0.02)  # the server is down or full: try again soon

    def _reply(self, c, what):
        code, _ = c.reply()
        self.codes[code] += 1
        if code != what:
            raise ValueError(code)

    def _send(self, c, number, name, to, filler):
        body = f"Subject: {name}\r\n\r\n".encode() + filler + b"\r\n"
        c.send(f"MAIL FROM:<{SENDER}>\r\n")
        self._reply(c, 250)
        for r in to:
            c.send(f"RCPT TO:<{r}>\r\n")
            self._reply(c, 250)
        if number % 2:
            c.send(b"BDAT %d LAST\r\n%s" % (len(body), body))
        else:
            c.send("DATA\r\n")
            self._reply(c, 354)
            c.send(body + b".\r\n")
        with self.lock:
            self.dots[name] += 1
        self._reply(c, 250)
        with self.lock:
            self.acknowledged[name] = to

    def stop(self):
        self.enough.set()
        for t in self.threads:
            t.join(20 * harness.SLOW)


SENDER = "load@client.example"


def name_of(message):
    return re.search(rb"^Subject: (m\d+)\r?$", message, re.M).group(1).decode()


def at_peer(peer):
    """How often each recipient got each message: {(name, recipient): times} of a Peer."""
    return Counter(
        (name_of(m["data"]), re.search("<(.*?)>", to).group(1)) for m in list(peer.messages) for to in m["to"]
    )


def in_maildirs(directory):
    """The same of the Maildirs at or below a directory. A message there has to be whole."""
    seen = Counter()
    for folder, _, files in os.walk(directory):
        for file in files if os.path.basename(folder) == "new" else []:
            with open(os.path.join(folder, file), "rb") as f:
                data = f.read()
            assert data.endswith(b"x\n") or data.endswith(b"\n\n"), f"a part of a message in {folder}: {data[-50:]}"
            seen[name_of(data), re.search(rb"^Delivered-To: (.*)$", data, re.M).group(1).decode()] += 1
    return seen


def lost(load, seen):
    return [(name, r) for name, to in load.acknowledged.items() for r in to if not seen[name, r]]
