"""`yizhan doctor`: a domain in order is green; each single fault is seen, and what it says to publish mends it."""

import json
import os
import pty
import socket
import subprocess
import time

import harness
import pytest
from authority import DAY, Authority, tlsa
from harness import PROGRAM
from test_mta_sts import WEB, Web, policy

IP, IP6 = "192.0.2.1", "2001:db8::1"
REVERSE = "1.2.0.192.in-addr.arpa"
REVERSE6 = "1" + ".0" * 23 + ".8.b.d.0.1.0.0.2.ip6.arpa"


class Domain:
    """example.org in order: change what is to be wrong, then ask."""

    def __init__(self, here):
        self.here = here
        self.authority = Authority(here)
        self.certificate = self.authority.issue("mx.example.org")
        self.web = Web(harness.free_port(WEB))
        self.web.show("example.org", self.authority.issue("mta-sts.example.org").pair)
        self.web.answers["example.org"] = policy("enforce", "mx.example.org")
        made = self.run("dkim", "keygen", "example.org", "--type", "ed25519", "--selector", "s1", "--output", "s1.pem", "--json")
        self.records = {
            "secure": "; SECURE example.org.",
            "mx": "example.org. MX 10 mx.example.org.",
            "a": f"mx.example.org. A {IP}",
            "aaaa": f"mx.example.org. AAAA {IP6}",
            "spf": f'example.org. TXT "v=spf1 ip4:{IP} ip6:{IP6} -all"',
            "dkim": json.loads(made.stdout)["zone"],
            "dmarc": '_dmarc.example.org. TXT "v=DMARC1; p=reject; rua=mailto:dmarc@example.org"',
            "sts": '_mta-sts.example.org. TXT "v=STSv1; id=1"',
            "web": f"mta-sts.example.org. A {WEB}",
            "tlsrpt": '_smtp._tls.example.org. TXT "v=TLSRPTv1; rua=mailto:tls@example.org"',
            "tlsa": f"_25._tcp.mx.example.org. TLSA {tlsa(self.certificate.certificate)}",
            "ptr": f"{REVERSE}. PTR mx.example.org.",
            "ptr6": f"{REVERSE6}. PTR mx.example.org.",
            "list": "2.0.0.127.bl.example. A 127.0.0.2",
        }
        self.config = {
            "hostname": "mx.example.org",
            "spool": {"path": str(here / "spool")},
            "domains": {"example.org": {"deliver": f"maildir:{here}/mail"}},
            "listen": [{"address": [f"{IP}:25", f"[{IP6}]:25"], "role": "mx"}],
            "tls": dict(zip(("certificate", "key"), map(str, self.certificate.pair))),
            "identity": {"sign": [{"domain": "example.org", "keys": [{"selector": "s1", "file": str(here / "s1.pem")}]}]},
            "checks": {"lists": ["bl.example"]},
            "mta_sts": {"port": self.web.port, "ca_file": str(self.authority.file)},
        }

    def run(self, *words):
        env = {**os.environ, "SSL_CERT_FILE": str(self.authority.file)}
        return subprocess.run(
            [*PROGRAM, *map(str, words)], capture_output=True, text=True, cwd=self.here, timeout=60 * harness.SLOW, env=env
        )

    def files(self):
        (self.here / "zone").write_text("\n".join(self.records.values()) + "\n")
        (self.here / "y.yaml").write_text(json.dumps(self.config))

    def ask(self, *words, domain="example.org", config=True):
        """Exit status and the rows that are not green."""
        self.files()
        where = ["-c", "y.yaml"] if config else ["--no-config"]
        self.last = self.run("doctor", domain, *where, "--zone", "zone", "--json", *words)
        assert self.last.returncode in (0, 1) and self.last.stdout, self.last.stderr
        self.all = json.loads(self.last.stdout)
        return self.last.returncode, [r for r in self.all["checks"] if r["state"] != "green"]


@pytest.fixture
def domain(tmp_path):
    d = Domain(tmp_path)
    yield d
    d.web.close()


def test_a_domain_in_order_is_green(domain):
    status, faults = domain.ask()
    assert (status, faults, domain.all["result"]) == (0, [], "green")
    assert {r["check"] for r in domain.all["checks"]} == {
        *("mx", "spf", "dkim", "dmarc", "mta-sts", "tlsrpt", "dane", "reverse", "ehlo", "certificate", "lists")
    }
    for row in domain.all["checks"]:
        assert list(row) == ["check", "subject", "state", "found", "advice", "publish"]
        assert row["found"] and row["advice"] is None and row["publish"] is None
    # Each address is looked at.
    for check in ("spf", "reverse", "ehlo", "lists"):
        assert [r["subject"] for r in domain.all["checks"] if r["check"] == check] == [IP, IP6], check


def change(key, text):
    return lambda d: d.records.update({key: text})


def drop(*keys):
    return lambda d: [d.records.pop(k) for k in keys]


# What is wrong, and what is found: {(check, subject): state}; and whether publishing what is said mends all of it.
FAULTS = {
    "no exchanger": (
        drop("mx"),
        {
            ("mx", "example.org"): "red",
            ("mta-sts", "example.org"): "green",
            ("dmarc", "mailto:dmarc@example.org"): "red",
            ("tlsrpt", "mailto:tls@example.org"): "red",
            ("dane", "example.org"): "skipped",
        },
        True,
    ),
    "another exchanger": (
        lambda d: d.records.update(
            {"mx": "example.org. MX 10 in.example.net.\nin.example.net. A 192.0.2.9", "s": "; SECURE example.net."}
        ),
        {("mx", "example.org"): "yellow", ("mta-sts", "in.example.net"): "red", ("dane", "in.example.net"): "yellow"},
        False,
    ),
    "an exchanger that is an alias": (
        lambda d: d.records.update({"mx": "example.org. MX 10 m.example.org.\nm.example.org. CNAME mx.example.org."}),
        {("mx", "m.example.org"): "red", ("mta-sts", "m.example.org"): "red", ("certificate", "m.example.org"): "red"},
        False,
    ),
    "an exchanger without an address": (
        change("mx", "example.org. MX 10 mx.example.org.\nexample.org. MX 20 mx2.example.org."),
        {("mx", "mx2.example.org"): "red", ("mta-sts", "mx2.example.org"): "red", ("dane", "mx2.example.org"): "yellow"},
        False,
    ),
    "an exchanger that is an address": (
        change("mx", "example.org. MX 10 mx.example.org.\nexample.org. MX 20 192.0.2.1."),
        {("mx", "example.org"): "red"},
        False,
    ),
    "only private addresses": (
        lambda d: (
            d.records.update({"mx": "example.org. MX 10 mx.example.org.\nexample.org. MX 20 in.example.org.\nin.example.org. A 10.0.0.1"}),
            d.web.answers.update({"example.org": policy("enforce", "*.example.org")}),
        ),
        {("mx", "in.example.org"): "red", ("dane", "in.example.org"): "yellow"},
        False,
    ),
    "no SPF": (drop("spf"), {("spf", "example.org"): "red"}, True),
    "two SPF records": (change("spf", 'example.org. TXT "v=spf1 -all"\nexample.org. TXT "v=spf1 mx"'), {("spf", "example.org"): "red"}, False),
    "SPF lacks an address": (change("spf", f'example.org. TXT "v=spf1 ip4:{IP} -all"'), {("spf", IP6): "red"}, "spf"),
    "SPF lacks both": (change("spf", 'example.org. TXT "v=spf1 ~all"'), {("spf", IP): "red", ("spf", IP6): "red"}, "spf"),
    "SPF doesn't say": (
        change("spf", 'example.org. TXT "v=spf1 ?all"'),
        {("spf", IP): "yellow", ("spf", IP6): "yellow"},
        "spf",
    ),
    "SPF lets all pass": (change("spf", 'example.org. TXT "v=spf1 +all"'), {("spf", "example.org"): "red"}, "spf"),
    "SPF is broken": (change("spf", 'example.org. TXT "v=spf1 ipv4:192.0.2.1"'), {("spf", IP): "red", ("spf", IP6): "red"}, False),
    "SPF of the name in EHLO": (
        change("helo", 'mx.example.org. TXT "v=spf1 -all"'),
        {("spf", "mx.example.org"): "red"},
        "helo",
    ),
    "no key record": (drop("dkim"), {("dkim", "s1._domainkey.example.org"): "red"}, True),
    "another key": (
        change("dkim", 's1._domainkey.example.org. TXT "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="'),
        {("dkim", "s1._domainkey.example.org"): "red"},
        "dkim",
    ),
    "no keys": (lambda d: d.config.pop("identity"), {("dkim", "example.org"): "yellow"}, False),
    "no DMARC": (drop("dmarc"), {("dmarc", "example.org"): "red"}, "with p=none"),
    "p=none": (change("dmarc", '_dmarc.example.org. TXT "v=DMARC1; p=none; rua=mailto:d@example.org"'), {("dmarc", "example.org"): "yellow"}, False),
    "DMARC in test": (
        change("dmarc", '_dmarc.example.org. TXT "v=DMARC1; p=reject; t=y; rua=mailto:d@example.org"'),
        {("dmarc", "example.org"): "yellow"},
        False,
    ),
    "no policy in DMARC": (change("dmarc", '_dmarc.example.org. TXT "v=DMARC1; p=all"'), {("dmarc", "example.org"): "red"}, False),
    "two DMARC records": (
        change("dmarc", '_dmarc.example.org. TXT "v=DMARC1; p=reject"\n_dmarc.example.org. TXT "v=DMARC1; p=none"'),
        {("dmarc", "example.org"): "red"},
        False,
    ),
    "no reports": (change("dmarc", '_dmarc.example.org. TXT "v=DMARC1; p=reject;"'), {("dmarc", "example.org"): "yellow"}, "dmarc"),
    "reports to one who never agreed": (
        lambda d: d.records.update(
            {
                "dmarc": '_dmarc.example.org. TXT "v=DMARC1; p=reject; rua=mailto:us@reports.example"',
                "r": "reports.example. MX 10 mx.reports.example.\nmx.reports.example. A 192.0.2.7",
            }
        ),
        {("dmarc", "mailto:us@reports.example"): "red"},
        True,
    ),
    "reports to nowhere": (
        change("dmarc", '_dmarc.example.org. TXT "v=DMARC1; p=reject; rua=mailto:us@gone.example.org"'),
        {("dmarc", "mailto:us@gone.example.org"): "red"},
        False,
    ),
    "reports to nobody": (
        change("dmarc", '_dmarc.example.org. TXT "v=DMARC1; p=reject; rua=ftp://example.org"'),
        {("dmarc", "example.org"): "red"},
        False,
    ),
    "no MTA-STS": (drop("sts"), {("mta-sts", "example.org"): "yellow"}, True),
    "a broken MTA-STS record": (change("sts", '_mta-sts.example.org. TXT "v=STSv1; id=a-b"'), {("mta-sts", "example.org"): "red"}, "sts"),
    "no policy host": (drop("web"), {("mta-sts", "mta-sts.example.org"): "red"}, False),
    "no policy": (lambda d: d.web.answers.clear(), {("mta-sts", "example.org"): "red"}, False),
    "a broken policy": (lambda d: d.web.answers.update({"example.org": "mode: enforce\r\n"}), {("mta-sts", "example.org"): "red"}, False),
    "a policy in test": (
        lambda d: d.web.answers.update({"example.org": policy("testing", "mx.example.org")}),
        {("mta-sts", "example.org"): "yellow"},
        False,
    ),
    "a policy for minutes": (
        lambda d: d.web.answers.update({"example.org": policy("enforce", "mx.example.org", max_age=600)}),
        {("mta-sts", "example.org"): "yellow"},
        False,
    ),
    "a policy for others": (
        lambda d: d.web.answers.update({"example.org": policy("enforce", "*.example.net")}),
        {("mta-sts", "mx.example.org"): "red"},
        False,
    ),
    "no TLSRPT": (drop("tlsrpt"), {("tlsrpt", "example.org"): "yellow"}, True),
    "TLSRPT without rua": (change("tlsrpt", '_smtp._tls.example.org. TXT "v=TLSRPTv1;"'), {("tlsrpt", "example.org"): "red"}, "tlsrpt"),
    "TLSRPT to nowhere": (
        change("tlsrpt", '_smtp._tls.example.org. TXT "v=TLSRPTv1; rua=https://gone.example.org/r"'),
        {("tlsrpt", "https://gone.example.org/r"): "red"},
        False,
    ),
    "no TLSA": (drop("tlsa"), {("dane", "mx.example.org"): "yellow"}, True),
    "the TLSA of another": (
        change("tlsa", f"_25._tcp.mx.example.org. TLSA 3 1 1 {'ab' * 32}"),
        {("dane", "mx.example.org"): "red"},
        True,
    ),
    "a TLSA that nobody can use": (
        change("tlsa", f"_25._tcp.mx.example.org. TLSA 1 1 1 {'ab' * 32}"),
        {("dane", "mx.example.org"): "red"},
        True,
    ),
    "no DNSSEC": (drop("secure"), {("dane", "example.org"): "yellow", ("dane", "mx.example.org"): "yellow"}, False),
    "an address without a name": (drop("ptr"), {("reverse", IP): "red"}, True),
    "a v6 address without a name": (drop("ptr6"), {("reverse", IP6): "red"}, True),
    "a name with another address": (
        change("ptr", f"{REVERSE}. PTR other.example.org.\nother.example.org. A 192.0.2.77"),
        {("reverse", IP): "red"},
        True,
    ),
    "a source whose name has another address": (
        lambda d: (
            d.config.update({"sources": {"out": [{"address": "192.0.2.20", "ehlo": "out.example.org"}]}}),
            d.records.update(
                {
                    "spf": f'example.org. TXT "v=spf1 ip4:192.0.2.0/24 ip6:{IP6} -all"',
                    "out": "20.2.0.192.in-addr.arpa. PTR o.example.org.\no.example.org. A 192.0.2.20",
                }
            ),
        ),
        {("ehlo", "192.0.2.20"): "red"},
        True,
    ),
    "listed": (
        change("hit", '1.2.0.192.bl.example. A 127.0.0.2\n1.2.0.192.bl.example. TXT "sends spam"'),
        {("lists", IP): "red"},
        False,
    ),
    "a list that is gone": (drop("list"), {("lists", "example.org"): "unknown"}, False),
    "no certificate": (
        lambda d: d.config.pop("tls"),
        {("certificate", "mx.example.org"): "red"},
        False,
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_single_fault_is_seen(domain, name):
    spoil, expected, mends = FAULTS[name]
    spoil(domain)
    status, faults = domain.ask()
    found = {(r["check"], r["subject"]): r["state"] for r in faults}
    expected = {k: v for k, v in expected.items() if v != "green"}
    assert found == expected, faults
    assert status == (1 if {"red", "unknown"} & set(expected.values()) else 0)
    for row in faults:
        assert (row["advice"] is None) == (row["state"] == "skipped")
    lines = {r["publish"] for r in faults if r["publish"]}
    if not mends:
        return
    assert len(lines) == 1, faults
    if mends in domain.records:
        domain.records[mends] = lines.pop()
    else:
        domain.records["new"] = lines.pop()
    _, faults = domain.ask()
    if mends == "with p=none":
        assert [r["found"] for r in faults] == ["the policy of example.org is none: forged mail is let in"]
    else:
        assert faults == []


def test_the_days_and_the_names_of_certificates(domain):
    for left, state in ((40 * DAY, "green"), (10 * DAY, "yellow"), (-DAY / 2, "red"), (-2.5 * DAY, "red")):
        pair = domain.authority.issue("mx.example.org", left=left)
        domain.config["tls"] = dict(zip(("certificate", "key"), map(str, pair.pair)))
        domain.records["tlsa"] = f"_25._tcp.mx.example.org. TLSA {tlsa(pair.certificate)}"
        _, faults = domain.ask()
        assert [(r["check"], r["state"]) for r in faults] == ([] if state == "green" else [("certificate", state)])
    assert "ended 2 days ago" in faults[0]["found"]
    other = domain.authority.issue("www.example.org")
    domain.config["tls"] = dict(zip(("certificate", "key"), map(str, other.pair)))
    domain.records["tlsa"] = f"_25._tcp.mx.example.org. TLSA {tlsa(other.certificate)}"
    _, faults = domain.ask()
    assert [(r["subject"], r["state"]) for r in faults] == [("mx.example.org", "red")]


def test_a_chain_that_leads_nowhere(domain):
    stranger = Authority(domain.here, "Stranger").issue("mx.example.org")
    domain.config["tls"] = dict(zip(("certificate", "key"), map(str, stranger.pair)))
    # The CA of a chain may be what is published.
    domain.records["tlsa"] = f"_25._tcp.mx.example.org. TLSA {tlsa(stranger.certificate, 3, 0, 2)}"
    status, faults = domain.ask()
    assert status == 0 and [(r["check"], r["state"]) for r in faults] == [("certificate", "yellow")]


@pytest.mark.parametrize("usage, selector, matching", [(3, 1, 1), (3, 0, 0), (3, 1, 2), (2, 0, 1), (2, 1, 0)])
def test_a_tlsa_record_of_any_form_is_compared(domain, usage, selector, matching):
    whose = domain.certificate if usage == 3 else domain.authority
    domain.records["tlsa"] = f"_25._tcp.mx.example.org. TLSA {tlsa(whose.certificate, usage, selector, matching)}"
    assert domain.ask() == (0, [])
    stranger = Authority(domain.here, "Stranger")
    domain.records["tlsa"] = f"_25._tcp.mx.example.org. TLSA {tlsa(stranger.certificate, usage, selector, matching)}"
    status, faults = domain.ask()
    assert status == 1 and [(r["check"], r["state"]) for r in faults] == [("dane", "red")]


FAILING = {
    "mx": (["mx"], "example.org", {"mx", "mta-sts", "dane", "dmarc", "tlsrpt", "spf", "certificate"}),
    "dkim": (["dkim"], "s1._domainkey.example.org", {"dkim"}),
    "dmarc": (["dmarc"], "_dmarc.example.org", {"dmarc"}),
    "mta-sts": (["sts"], "_mta-sts.example.org", {"mta-sts"}),
    "policy host": (["web"], "mta-sts.example.org", {"mta-sts"}),
    "tlsrpt": (["tlsrpt"], "_smtp._tls.example.org", {"tlsrpt"}),
    "tlsa": (["tlsa"], "_25._tcp.mx.example.org", {"dane"}),
    "reverse": (["ptr"], REVERSE, {"reverse"}),
    "host": (["a", "aaaa"], "mx.example.org", {"mx", "dane", "reverse", "ehlo"}),
    "lists": ([], "1.2.0.192.bl.example", {"lists"}),
}


@pytest.mark.parametrize("name", FAILING)
@pytest.mark.parametrize("how", ["SERVFAIL", "TIMEOUT"])
def test_trouble_with_the_dns_is_unknown_and_never_missing(domain, name, how):
    without, where, checks = FAILING[name]
    for key in without:
        del domain.records[key]
    if name == "mx":
        del domain.records["spf"]
    domain.records["trouble"] = f"; {how} {where}."
    begin = time.monotonic()
    status, faults = domain.ask("--timeout", "2s")
    assert time.monotonic() - begin < 4 * harness.SLOW
    assert status == 1
    assert {r["check"] for r in faults} == checks
    assert {r["state"] for r in faults} == {"unknown"}, faults
    assert all(r["publish"] is None for r in faults)


def test_a_web_server_that_says_nothing_doesnt_hold_up_the_rest(domain):
    with socket.socket() as silent:
        silent.bind((WEB, 0))
        silent.listen()
        domain.config["mta_sts"]["port"] = silent.getsockname()[1]
        begin = time.monotonic()
        status, faults = domain.ask("--timeout", "1s")
        assert time.monotonic() - begin < 3 * harness.SLOW
    assert status == 1 and [(r["check"], r["state"]) for r in faults] == [("mta-sts", "unknown")]


def test_a_domain_alone_without_a_configuration(domain):
    for key in ("ptr6", "aaaa"):
        del domain.records[key]
    domain.records["hit"] = "1.2.0.192.bl.example. A 127.0.0.2"
    del domain.records["sts"]  # the policy's server is on a port of its own
    status, faults = domain.ask(config=False)
    found = {r["check"]: r["state"] for r in faults}
    skipped = ("dkim", "reverse", "ehlo", "certificate", "lists")
    assert status == 0 and found == {"mta-sts": "yellow", **dict.fromkeys(skipped, "skipped")}
    status, faults = domain.ask("--address", IP, "--list", "bl.example", config=False)
    found = {r["check"]: r["state"] for r in faults}
    assert status == 1 and found == {"mta-sts": "yellow", "lists": "red", "dkim": "skipped", "ehlo": "skipped", "certificate": "skipped"}
    assert [r["state"] for r in domain.all["checks"] if r["check"] in ("spf", "reverse")] == ["green", "green"]
    # Names outside of ASCII are the same as their A-labels.
    domain.ask(domain="Bücher.Example", config=False)
    assert domain.all["domain"] == "xn--bcher-kva.example"


def test_private_addresses_are_nothing_that_the_world_sees(domain):
    domain.config["listen"] = [{"address": "10.0.0.1:25", "role": "mx"}]
    domain.config["sources"] = {"out": [{"address": "192.168.0.1"}]}
    status, faults = domain.ask()
    assert status == 0 and {(r["check"], r["state"]) for r in faults} == {(c, "skipped") for c in ("reverse", "ehlo", "lists")}
    assert domain.ask("--address", IP) == (0, [])


def test_a_table_for_people_with_words_and_on_a_terminal_with_colours(domain):
    del domain.records["tlsrpt"]
    del domain.records["dkim"]
    domain.files()
    r = domain.run("doctor", "example.org", "-c", "y.yaml", "--zone", "zone")
    assert r.returncode == 1 and "\033" not in r.stdout
    lines = r.stdout.splitlines()
    assert lines[0].split() == ["CHECK", "SUBJECT", "STATE", "FOUND"]
    assert any(line.split()[:3] == ["tlsrpt", "example.org", "yellow"] for line in lines)
    assert '    _smtp._tls.example.org. IN TXT "v=TLSRPTv1; rua=mailto:postmaster@example.org"' in lines
    # Red comes first among the remedies.
    text = r.stdout
    assert text.index("dkim, s1._domainkey.example.org (red): ") < text.index("tlsrpt, example.org (yellow): ")
    master, slave = pty.openpty()
    env = {k: v for k, v in os.environ.items() if k != "NO_COLOR"}
    subprocess.run([*PROGRAM, "doctor", "example.org", "-c", "y.yaml", "--zone", "zone"], stdout=slave, cwd=domain.here, env=env)
    os.close(slave)
    shown = b""
    while True:
        try:
            piece = os.read(master, 65536)
        except OSError:
            break
        if not piece:
            break
        shown += piece
    os.close(master)
    assert b"\033[1;31mred    \033[0m" in shown and b"\033[32mgreen  \033[0m" in shown


def test_what_comes_from_the_network_is_harmless_in_terminal_and_json(domain):
    domain.records["hit"] = '1.2.0.192.bl.example. A 127.0.0.2\n1.2.0.192.bl.example. TXT "a\\027[31m\\255\\"b"'
    domain.records["spf"] = 'example.org. TXT "v=spf1 exp=\\"\\\\x ?all"'
    domain.ask()
    domain.files()
    r = domain.run("doctor", "example.org", "-c", "y.yaml", "--zone", "zone")
    assert "\033" not in r.stdout and "listed by bl.example: a?[31m?\"b" in r.stdout


def test_one_remedy_for_several_faults_stands_there_once(domain):
    domain.records = {"trouble": "; SERVFAIL example.org.\n; SERVFAIL _smtp._tls.example.org."}
    domain.files()
    r = domain.run("doctor", "example.org", "--no-config", "--zone", "zone")
    ask_again = [line for line in r.stdout.splitlines() if "(unknown): Ask again; if it stays so" in line]
    assert len(ask_again) == 1 and ask_again[0].startswith("mx, example.org; spf, example.org; "), r.stdout
    assert "; tlsrpt, example.org" in ask_again[0]


def test_no_list_that_works_makes_nothing_green(domain):
    status, faults = domain.ask("--list", "gone.example")
    assert status == 1 and [(r["subject"], r["state"]) for r in faults] == [("example.org", "unknown")]
    assert "gone.example" in faults[0]["found"]
    del domain.records["list"]
    domain.ask("--list", "gone.example")
    assert [r["state"] for r in domain.all["checks"] if r["check"] == "lists"] == ["unknown", "unknown"]


def test_a_domain_that_takes_no_mail_and_one_without_mx(domain):
    """RFC 7505; RFC 5321 section 5.1."""
    domain.records = {"mx": "none.example. MX 0 .", "a": f"plain.example. A {IP}"}
    domain.ask(domain="none.example", config=False)
    rows = {r["check"]: r for r in domain.all["checks"]}
    assert rows["mx"]["state"] == "green" and "null MX" in rows["mx"]["found"]
    assert rows["mta-sts"]["state"] == rows["dane"]["state"] == "skipped"
    domain.config["domains"]["none.example"] = domain.config["domains"]["example.org"]
    domain.ask(domain="none.example")
    row = next(r for r in domain.all["checks"] if r["check"] == "mx")
    assert (row["state"], row["publish"]) == ("red", "none.example. IN MX 10 mx.example.org.\n")
    domain.ask(domain="plain.example", config=False)
    rows = [r for r in domain.all["checks"] if r["check"] == "mx"]
    assert [(r["subject"], r["state"]) for r in rows] == [("plain.example", "yellow"), ("plain.example", "green")]
    assert rows[0]["publish"] == "plain.example. IN MX 10 plain.example.\n"


def test_usage(domain):
    domain.files()
    for words in ((), ("a", "b"), ("a..b",), ("example.org", "--address", "x"), ("example.org", "--timeout", "x"), ("example.org", "--list", "a b")):
        r = domain.run("doctor", "--no-config", *words)
        assert r.returncode == 2 and "yizhan doctor" in r.stderr, words
    r = domain.run("doctor", "example.org", "-c", "none.yaml")
    assert r.returncode == 1 and "none.yaml" in r.stderr


def test_the_dns_of_the_configuration_is_asked(domain):
    domain.config["dns"] = {"zone": str(domain.here / "zone")}
    domain.files()
    r = domain.run("doctor", "example.org", "-c", "y.yaml")
    assert r.returncode == 0 and r.stdout.endswith("\nNothing is wrong with example.org.\n"), r.stdout + r.stderr
    # --zone stands above it.
    (domain.here / "empty").write_text("\n")
    r = domain.run("doctor", "example.org", "-c", "y.yaml", "--zone", "empty")
    assert r.returncode == 1 and "example.org does not exist" in r.stdout
