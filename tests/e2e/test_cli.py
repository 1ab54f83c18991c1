"""What administrators type, and the file that they write."""

import json
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import time
import urllib.request

import pytest

import harness
from harness import PROGRAM, wait_for

COMMANDS = ["serve", "check", "sandbox", "queue", "trace", "route", "verify", "doctor", "dkim", "dmarc", "tlsrpt", "explain", "classify", "simulate-provider", "suppress", "sites", "status", "user"]


def run(*words, **options):
    return subprocess.run(
        [*PROGRAM, *map(str, words)], capture_output=True, text=True, timeout=60 * harness.SLOW, **options
    )


def check(tmp_path, text):
    """`yizhan check` on a file with this text: (status, lines without the directory)."""
    path = tmp_path / "yizhan.yaml"
    path.write_text(text)
    r = run("check", "-c", path)
    return r.returncode, (r.stdout + r.stderr).replace(str(tmp_path) + "/", "").splitlines()


# --- the program itself ------------------------------------------------------------------------------------------------


def test_version():
    r = run("--version")
    assert r.returncode == 0 and re.match(r"^yizhan \d+\.\d+\.\d+", r.stdout)


@pytest.mark.parametrize("words", [[]] + [[c] for c in COMMANDS])
def test_help(words):
    r = run(*words, "--help")
    assert r.returncode == 0 and "yizhan" in r.stdout and r.stderr == ""
    assert all(len(line) <= 110 for line in r.stdout.splitlines())


@pytest.mark.parametrize(
    "words",
    [
        ["frobnicate"],
        ["serve", "--frobnicate"],
        ["queue"],
        ["queue", "frobnicate"],
        ["trace"],
        ["route"],
        ["verify"],
        ["verify", "--client-ip", "1.2.3"],
        ["verify", "a", "b"],
        ["verify", "--time", "now", "a"],
        ["check", "a", "b", "c"],
        [],
    ],
)
def test_wrong_usage_is_status_2_with_a_hint(words):
    r = run(*words)
    assert r.returncode == 2 and "help" in r.stdout + r.stderr


def test_a_mistyped_command_gets_a_suggestion():
    r = run("quueue")
    assert r.returncode == 2 and "queue" in r.stderr


@pytest.mark.parametrize("words", [["status"], ["sites"], ["queue", "list"], ["queue", "summary"], ["queue", "retry", "--all"]])
def test_without_a_server_the_message_says_so(place, words):
    server = place.mx(start=False)
    (server.dir / "spool").mkdir()
    r = server.command(*words, check=False)
    assert r.returncode == 1 and "not running" in r.stderr.lower() or "no server" in r.stderr.lower(), r.stderr


def test_a_missing_configuration_file_is_named(tmp_path):
    for command in ("serve", "check", "status"):
        r = run(command, "-c", tmp_path / "missing.yaml")
        assert r.returncode in (1, 2) and "missing.yaml" in r.stdout + r.stderr


# --- the configuration ---------------------------------------------------------------------------------------------------

MANUAL = """\
hostname: mx1.example.org
spool: {dir}/spool
trusted: [127.0.0.0/8, "::1/128"]        # may relay without logging in

listen:
  - address: ["0.0.0.0:25", "[::]:25"]
    role: mx
  - address: ["0.0.0.0:587"]
    role: submission                     # AUTH required, STARTTLS first
  - address: ["0.0.0.0:465"]
    role: submission
    tls: implicit

tls: {certificate: {cert}, key: {key}}

domains:                                 # what this server is the final stop for
  example.org:
    deliver: maildir:/var/mail/{domain}/{local}     # or lmtp:unix:/run/dovecot/lmtp
    recipients: [alice, bob, postmaster]            # absent: every local part

relays:
  backup: {hosts: ["smtp.provider.example:587"], tls: required,
           login: {user: us, password_file: {dir}/provider.secret}}

routes:                                  # first match wins; `to` and `from` take patterns
  - {to: "*.lan.example", via: [{host: "10.0.0.7:25"}]}
  - {to: "*", via: [mx, {relay: backup, when: [unreachable, blocked]}]}

dns: {servers: ["127.0.0.1:5353"], trust_anchor: {dir}/root.key}   # default: the system's

deliver: {port: 25}                      # the port of MX hosts (tests use another)

queue: {retry: [5m, 15m, 30m, 1h, 2h, 4h], expire: 5d, warn: 4h}
limits: {message_size: 50M, recipients: 1000, connections: 10000}
admin: {listen: "127.0.0.1:8025"}
log: {format: json, level: info}
"""


def test_the_configuration_of_the_manual(place):
    cert, key = place.certificate()
    (place.tmp / "provider.secret").write_text("secret\n")
    (place.tmp / "root.key").write_text(
        ". IN DS 20326 8 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D\n"
    )
    text = MANUAL.replace("{dir}", str(place.tmp)).replace("{cert}", str(cert)).replace("{key}", str(key))
    status, lines = check(place.tmp, text)
    assert status == 0, lines


def test_the_smallest_configuration_is_a_hostname(tmp_path):
    status, lines = check(tmp_path, f"hostname: mx.example.org\nspool: {tmp_path}/spool\n")
    assert status == 0, lines


@pytest.mark.parametrize(
    "text,place_,words",
    [
        ("hostnam: mx.example.org\n", "1:1", ["hostnam", "hostname"]),
        ("hostname: mx.example.org\nqueue:\n  retyr: [5m]\n", "3:3", ["retyr", "retry"]),
        ("hostname: mx.example.org\nqueue: {retry: [5 parsecs]}\n", "2:17", ["parsecs"]),
        ("hostname: mx.example.org\nlimits: {message_size: lots}\n", "2:24", ["lots"]),
        ("hostname: mx.example.org\nlimits: {recipients: -1}\n", "2:22", ["-1"]),
        ("hostname: -bad-.example\n", "1:11", ["bad"]),
        ("hostname: mx.example.org\nlisten:\n  - {address: ['0.0.0.0:99999']}\n", "3:16", ["99999"]),
        ("hostname: mx.example.org\nlisten:\n  - {address: ['127.0.0.1:25'], role: mxx}\n", "3:39", ["mxx", "mx"]),
        ("hostname: mx.example.org\nroutes:\n  - {to: '*', via: [{relay: backup}]}\n", "3:29", ["backup"]),
        (
            "hostname: mx.example.org\nroutes:\n  - {to: '*', via: [mx, {host: 'a.example:25', when: [unreachble]}]}\n",
            "3:55",
            ["unreachble", "unreachable"],
        ),
        ("hostname: mx.example.org\ntrusted: [10.0.0.0/33]\n", "2:11", ["10.0.0.0/33"]),
        ("hostname: mx.example.org\ndomains:\n  example.org: {deliver: 'mailbox:/x'}\n", "3:26", ["mailbox"]),
        ("hostname: [a, b]\n", "1:11", ["hostname"]),
        ("hostname: mx.example.org\nlog: {level: loud}\n", "2:14", ["loud"]),
        ("hostname: mx.example.org\nhostname: mx2.example.org\n", "2:1", ["hostname"]),
        ("hostname: mx.example.org\nqueue: {retry: [5m}\n", "2:", []),
        ('hostname: "unclosed\n', "", []),
        ("\t- x\n", "1:", []),
    ],
)
def test_errors_are_said_with_their_place(tmp_path, text, place_, words):
    status, lines = check(tmp_path, text)
    assert status == 1
    wanted = [line for line in lines if line.startswith(f"yizhan.yaml:{place_}")]
    assert wanted, lines
    for word in words:
        assert any(word in line for line in wanted), lines


def test_all_errors_are_said_at_once_and_one_line_each(tmp_path):
    status, lines = check(
        tmp_path, "hostnam: x\nspool: /nowhere\nqueue: {retyr: 1}\nlimits: {recipients: many}\nlog: {format: xml}\n"
    )
    places = [line for line in lines if re.match(r"yizhan\.yaml:\d+:\d+: ", line)]
    assert status == 1 and len(places) >= 4, lines


def test_missing_files_are_errors_of_check(tmp_path):
    status, lines = check(
        tmp_path,
        f"hostname: mx.example.org\nspool: {tmp_path}/spool\ntls: {{certificate: /missing.crt, key: /missing.key}}\n",
    )
    assert status == 1 and any("missing.crt" in line for line in lines)


def test_a_condition_that_cannot_be_sent_is_not_dropped(tmp_path):
    (tmp_path / "yizhan.yaml").write_text(f"hostname: mx.example.org\nspool: {tmp_path}/spool\n")
    r = run("queue", "list", "--site", "mx:x", "--sender", b"\xff".decode(errors="surrogateescape"), "-c", tmp_path / "yizhan.yaml")
    assert r.returncode == 1 and "sender" in r.stderr, r


def test_missing_files_are_told_beside_mistakes_in_the_file(tmp_path):
    status, lines = check(
        tmp_path,
        "hostname: mx.example.org\nqueue: {retyr: [1m], reply_classes: /missing.yaml}\ndns: {zone: /missing.zone}\n"
        "tls: {certificate: /missing.crt, key: /missing.key}\n",
    )
    assert status == 1 and any("retyr" in line for line in lines), lines
    for missing in ("/missing.crt", "/missing.zone", "/missing.yaml"):
        assert sum(missing in line for line in lines) == 1, lines
    assert not any("spool" in line for line in lines), "nothing that the file did not say"


def test_a_key_that_does_not_belong_to_the_certificate_is_an_error(place):
    one, two = place.certificate("one.example"), place.certificate("two.example")
    status, lines = check(
        place.tmp,
        f"hostname: mx.example.org\nspool: {place.tmp}/spool\ntls: {{certificate: {one[0]}, key: {two[1]}}}\n",
    )
    assert status == 1 and any("two.example.key" in line or "one.example.crt" in line for line in lines)


def test_includes(tmp_path):
    (tmp_path / "more.yaml").write_text("queue: {retyr: [1m]}\n")
    status, lines = check(tmp_path, f"hostname: mx.example.org\nspool: {tmp_path}/spool\ninclude: more.yaml\n")
    assert status == 1 and any(line.startswith("more.yaml:1:9") for line in lines), lines
    (tmp_path / "more.yaml").write_text("include: yizhan.yaml\n")
    status, lines = check(tmp_path, f"hostname: mx.example.org\nspool: {tmp_path}/spool\ninclude: more.yaml\n")
    assert status == 1, "a file that includes itself"


def test_hostile_yaml_ends_quickly(tmp_path):
    bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 10)}]\n" for i in range(12)
    )
    for text in (bomb, "[" * 100000, "x: " * 1000 + "1\n", "\0\1\2", "%YAML 9.9\n---\n", "a: *missing\n"):
        began = time.monotonic()
        status, _ = check(tmp_path, text)
        assert status == 1 and time.monotonic() - began < 10 * harness.SLOW


def test_serve_refuses_a_bad_file_with_the_same_words(tmp_path):
    path = tmp_path / "yizhan.yaml"
    path.write_text("hostname: mx.example.org\nquue: {}\n")
    r = run("serve", "-c", path)
    assert r.returncode == 1 and f"{path}:2:1" in r.stderr and "queue" in r.stderr


# --- serve -----------------------------------------------------------------------------------------------------------------


def test_two_servers_can_not_open_one_spool(place):
    server = place.mx()
    other = place.server(server.config.read_text().replace(str(server.port), str(harness.free_port())), start=False)
    r = run("serve", "-c", other.config)
    assert r.returncode == 1 and str(server.dir / "spool") in r.stderr and "another" in r.stderr.lower(), r.stderr
    with server.client() as c:
        c.hello()


def test_a_port_in_use_is_named(place):
    server = place.mx()
    text = harness.configuration(server.port).replace("{dir}", str(place.tmp))
    (place.tmp / "zone").write_text("\n")
    path = place.tmp / "second.yaml"
    path.write_text(text)
    r = run("serve", "-c", path)
    assert r.returncode == 1 and f"127.0.0.1:{server.port}" in r.stderr


def test_the_log_is_json_when_asked_for(place):
    server = place.mx(log={"format": "json", "level": "info"})
    server.submit("a@example.org", "bob@example.org")
    wait_for(lambda: server.maildir("example.org", "bob"))
    server.stop()
    lines = [line for line in server.log().splitlines() if line]
    assert lines
    for line in lines:
        json.loads(line)


def test_hostile_text_can_not_forge_log_lines(place):
    server = place.mx(log={"format": "text", "level": "debug"})
    with server.client() as c:
        c.hello()
        c.command("MAIL FROM:<a\x1b[31m@x.example>")
        c.command("XYZ\x1b]0;title\x07")
    server.stop()
    assert "\x1b" not in server.log() and "\x07" not in server.log()


def test_a_reload_takes_a_good_file_and_keeps_sessions(place):
    server = place.mx(limits={"message_size": "100K"})
    with server.client() as old:
        assert "SIZE 102400" in old.hello()
        server.write_config(server.config.read_text().replace("100K", "200K"))
        server.hangup()

        def new_size():
            with server.client() as c:
                return "SIZE 204800" in c.hello()

        wait_for(new_size, what="the new limit")
        old.send_message("a@client.example", ["bob@example.org"])
    wait_for(lambda: server.maildir("example.org", "bob"))


def test_a_reload_refuses_a_bad_file_and_says_why(place):
    server = place.mx()
    good = server.config.read_text()
    server.write_config(good.replace('"hostname"', '"hostnam"'))
    server.hangup()
    wait_for(lambda: "hostnam" in server.log(), what="the error in the log")
    with server.client() as c:
        assert "mx.example.org" in c.hello()
    server.write_config(good.replace("mx.example.org", "new.example.org"))
    server.hangup()

    def new_name():
        with server.client() as c:
            return "new.example.org" in c.expect(220)

    wait_for(new_name, what="the new name")


def test_a_reload_opens_and_closes_listeners(place):
    server = place.mx()
    other = harness.free_port()
    server.write_config(server.config.read_text().replace(f"127.0.0.1:{server.port}", f"127.0.0.1:{other}"))
    server.hangup()

    def moved():
        try:
            with place.client("127.0.0.1", other) as c:
                c.hello()
        except OSError:
            return False
        try:
            place.client("127.0.0.1", server.port).close()
        except ConnectionRefusedError:
            return True
        return False

    wait_for(moved, what="the new listener instead of the old one")


def test_a_reload_takes_a_new_certificate(place):
    one, two = place.certificate("one.example"), place.certificate("two.example")
    server = place.mx(tls=one)

    def shown():
        with server.client() as c:
            c.hello()
            c.starttls()
            return c.socket.getpeercert(binary_form=True)

    first = shown()
    shutil.copy(two[0], one[0])
    shutil.copy(two[1], one[1])
    server.hangup()
    wait_for(lambda: shown() != first, what="the new certificate")


def test_a_stop_is_quick_and_clean(place):
    server = place.mx()
    began = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - began < 5 * harness.SLOW
    assert not (server.dir / "spool" / "control.sock").exists()


def test_the_spool_is_private(place):
    server = place.mx()
    assert (server.dir / "spool").stat().st_mode & 0o077 == 0


# --- looking -----------------------------------------------------------------------------------------------------------------


def test_trace_tells_the_life_of_a_message(place):
    peer = place.peer(answers={"RCPT": ["451 4.3.0 come back later", True]})
    server = place.mx(routes=[{"to": "*", "via": [{"host": f"127.0.0.1:{peer.port}"}]}])
    identity = server.submit("alice@example.org", "bob@dest.example")
    wait_for(server.queue_is_empty, what="an empty queue")

    def told():
        text = server.command("trace", identity).stdout
        return text if "taken" in text else None

    text = wait_for(told, what="the whole life")
    assert text.index("451 4.3.0 come back later") < text.index("2.0.0 taken")
    for word in ("alice@example.org", "bob@dest.example", harness.TRUSTED, "127.0.0.1"):
        assert word in text, text
    events = server.events(identity)
    assert [e["event"] for e in events][0] == "received" and all(e["id"] == identity and e["time"] for e in events)
    assert len(events) >= 3
    server.stop()
    assert "2.0.0 taken" in server.command("trace", identity).stdout, "without a running server"


def test_a_bounce_is_linked_to_its_original_in_the_trace(place):
    server = place.mx()
    identity = server.submit("alice@example.org", "bob@nowhere.example")
    wait_for(lambda: server.maildir("example.org", "alice"))
    assert wait_for(lambda: "bounce" in server.command("trace", identity).stdout.lower())


def test_refused_commands_are_in_the_trace_of_events_or_the_log(place):
    server = place.mx(
        domains={"example.org": {"deliver": "maildir:{dir}/mail/{domain}/{local}", "recipients": ["bob"]}}
    )
    with server.client() as c:
        c.hello()
        c.expect(250, "MAIL FROM:<a@client.example>")
        c.expect(550, "RCPT TO:<nobody@example.org>")
    wait_for(
        lambda: any("nobody@example.org" in p.read_text() for p in (server.dir / "spool" / "journal").glob("*")),
        what="the refusal in the journal",
    )


def test_route_explains_where_mail_would_go(place):
    zone = """\
dest.example. 60 IN MX 10 mx1.dest.example.
dest.example. 60 IN MX 20 mx2.dest.example.
mx1.dest.example. 60 IN A 192.0.2.1
mx2.dest.example. 60 IN A 192.0.2.2
mx2.dest.example. 60 IN AAAA 2001:db8::2
null.example. 60 IN MX 0 ."""
    server = place.mx(
        zone=zone,
        relays={"backup": {"hosts": ["smtp.provider.example:587"], "tls": "required"}},
        routes=[
            {"to": "*.lan.example", "via": [{"host": "10.0.0.7:25"}]},
            {"to": "*", "via": ["mx", {"relay": "backup", "when": ["unreachable", "blocked"]}]},
        ],
    )

    def look():
        texts = {
            a: server.command("route", a, check=False)
            for a in (
                "bob@dest.example",
                "bob@x.lan.example",
                "bob@example.org",
                "bob@null.example",
                "bob@missing.example",
            )
        }
        mx = texts["bob@dest.example"]
        assert mx.returncode == 0
        assert (
            mx.stdout.index("mx1.dest.example") < mx.stdout.index("mx2.dest.example")
            and "192.0.2.1" in mx.stdout
            and "2001:db8::2" in mx.stdout
        )
        assert "backup" in mx.stdout and "unreachable" in mx.stdout and "blocked" in mx.stdout
        assert "10.0.0.7:25" in texts["bob@x.lan.example"].stdout
        assert "maildir" in texts["bob@example.org"].stdout
        assert "5.1.10" in texts["bob@null.example"].stdout or "null MX" in texts["bob@null.example"].stdout
        assert (
            texts["bob@missing.example"].returncode == 1
            or "5.1.2" in texts["bob@missing.example"].stdout
            or "does not exist" in texts["bob@missing.example"].stdout
        )
        assert server.json("route", "bob@dest.example")

    look()
    server.stop()
    look()
    assert server.command("route", "not an address", check=False).returncode in (1, 2)


def test_status_shows_what_goes_on(place):
    server = place.mx()
    server.submit("alice@example.org", "bob@example.org")
    wait_for(lambda: server.maildir("example.org", "bob"))
    text = server.command("status").stdout
    assert "mx.example.org" in text
    status = server.json("status")
    assert status["hostname"] == "mx.example.org" and json.dumps(status).count("version") >= 1


def test_json_everywhere(place):
    server = place.mx(routes=[{"to": "*", "via": ["hold"]}])
    identity = server.submit("alice@example.org", "bob@dest.example")
    for words in (
        ["queue", "list"],
        ["queue", "summary"],
        ["queue", "show", identity],
        ["status"],
        ["trace", identity],
        ["route", "bob@dest.example"],
    ):
        json.loads(server.command(*words, "--json").stdout)


def test_options_may_stand_anywhere(place):
    server = place.mx()
    for words in (
        ["queue", "summary", "-c", server.config, "--json"],
        ["queue", "-c", server.config, "summary", "--json"],
        ["queue", "summary", "--json", "-c", server.config],
    ):
        assert json.loads(run(*words).stdout)["messages"] == 0


def test_the_http_api_answers_when_it_is_configured(place):
    port = harness.free_port()
    server = place.mx(admin={"listen": f"127.0.0.1:{port}"})
    server.submit("alice@example.org", "bob@example.org")
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as r:
        assert "yizhan" in r.read().decode()


def test_a_closed_output_is_no_crash(place):
    server = place.mx()
    r = subprocess.run(f"{shlex.join(PROGRAM)} --help | head -c 1", shell=True, capture_output=True, text=True)
    assert "ignal" not in r.stderr
    r = subprocess.run(f"{shlex.join(PROGRAM)} status -c {server.config} >/dev/full", shell=True, capture_output=True, text=True)
    assert r.returncode in (0, 1)


# --- the sandbox -------------------------------------------------------------------------------------------------------------


def test_sandbox_once(tmp_path):
    r = run("sandbox", "--once", env={**os.environ, "TMPDIR": str(tmp_path)})
    assert "signed     by alpha.example (s1)" in r.stdout
    assert r.returncode == 0, r.stdout + r.stderr
    for word in ("received", "delivered"):
        assert word in r.stdout.lower(), r.stdout
    assert "swaks" in r.stdout or "smtp" in r.stdout.lower()


def test_two_sandboxes_side_by_side():
    both = [
        subprocess.Popen(
            [*PROGRAM, "sandbox", "--once"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for _ in range(2)
    ]
    for p in both:
        out, _ = p.communicate(timeout=60 * harness.SLOW)
        assert p.returncode == 0, out


def test_a_sandbox_whose_server_ends_says_which_one_and_shows_why():
    with tempfile.TemporaryDirectory(prefix="yizhan-long-", suffix="x" * 45, dir="/tmp") as directory:
        r = run("sandbox", "--once", env={**os.environ, "TMPDIR": directory})
        assert r.returncode != 0
        assert "alpha ended while it started" in r.stderr
        assert "the path of the control socket is longer" in r.stderr
        assert not os.listdir(directory)
