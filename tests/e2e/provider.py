"""Provider: a `yizhan simulate-provider` under the name that the real one's hosts have."""

import contextlib
import json
import signal
import subprocess

import harness
from harness import PROGRAM

HOSTS = {
    "gmail": ("gmail.example", "gmail-smtp-in.l.google.com"),
    "outlook": ("outlook.example", "outlook-com.olc.protection.outlook.com"),
    "exchange2019": ("corp.example", "mail.corp.example"),
    "yahoo": ("yahoo.example", "mta7.am0.yahoodns.net"),
    "apple": ("icloud.example", "mx01.mail.icloud.com"),
    "greylister": ("grey.example", "mx.grey.example"),
    "tarpit": ("slow.example", "mx.slow.example"),
    "blocklister": ("blocks.example", "mx.blocks.example"),
    "flaky": ("flaky.example", "mx.flaky.example"),
}


class Provider:
    """One of HOSTS (or of a file), listening; changes are RULE__KEY="VALUE", lists NAME=NETWORK as in --list."""

    def __init__(self, name, address="127.0.0.1", port=None, lists=(), sets=(), words=()):
        self.name, self.address = name, address
        self.port = port or harness.free_port(address)
        command = [*PROGRAM, "simulate-provider", "--as", name, "--listen", f"{address}:{self.port}", "--json"]
        for text in lists:
            command += ["--list", text]
        for text in sets:
            command += ["--set", text]
        self.process = subprocess.Popen(
            [*command, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.first_line = self.process.stderr.readline()
        assert "listens on" in self.first_line, self.first_line + self.process.stderr.read()

    @property
    def domain(self):
        return HOSTS[self.name][0]

    def seen(self):
        """Its report, at this moment."""
        self.process.send_signal(signal.SIGUSR1)
        return json.loads(self.process.stdout.readline())

    def answered(self, rule):
        """How many times a rule did."""
        return self.seen()["rules"][rule]

    @contextlib.contextmanager
    def frozen(self):
        """It does nothing meanwhile; the kernel takes connections for it."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def client(self, **options):
        return harness.Client(self.address, self.port, **options)

    def end(self):
        """SIGTERM; returns (last report, what it had said on standard error)."""
        self.process.terminate()
        out, err = self.process.communicate(timeout=20 * harness.SLOW)
        assert self.process.returncode == 0 and "Sanitizer" not in err and "runtime error" not in err, err
        return json.loads(out.splitlines()[-1]), err

    def close(self):
        if self.process.poll() is None:
            self.end()
        self.process.stdout.close()
        self.process.stderr.close()
