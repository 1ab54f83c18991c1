"""The whole server against large receivers, as `yizhan simulate-provider` plays them: what it does when they block,
throttle, defer or break off, and what never leaves its way."""

import subprocess
import time

import pytest

import harness
from harness import PROGRAM, header_of, reports, wait_for
from outgoing import SENDER, arrival, bounce, is_waiting
from provider import HOSTS, Provider

EVERYBODY = "127.0.0.0/8"
PATH = ["unreachable", "blocked", "throttled", "tls"]


def letter(number=0, body="hello", sender=SENDER):
    return (
        f"From: {sender}\r\nMessage-ID: <{number}@out.example.net>\r\nSubject: {number}\r\n\r\n{body}\r\n"
    ).encode()


@pytest.fixture
def play(net):
    """play(name, ...): a simulated provider behind the MX of its domain, and a server that sends there."""
    used = []

    def start(name, **options):
        number = len(used)
        used.append(name)
        domain, host = HOSTS[name]
        net.record(f"{domain}.", "MX", f"10 {host}.")
        net.record(f"{host}.", "A", net.addresses[number])
        provider = Provider(name, address=net.addresses[number], port=net.port, **options)
        net.place.things.append(provider)
        return provider

    return start


def with_backup(net, when=PATH, **options):
    """A server whose second rung is a relay; returns both."""
    backup = net.place.peer()
    server = net.server(
        relays={"backup": {"hosts": [f"127.0.0.1:{backup.port}"]}},
        routes=[{"to": "*", "via": ["mx", {"relay": "backup", "when": when}]}],
        **options,
    )
    return server, backup


def attempts(server, identity):
    return [e for e in server.events(identity) if e["event"] == "attempt"]


# --- blocked: another way, at once --------------------------------------------------------------------------------------

BLOCKS = [
    ("gmail", "blocked"),
    ("gmail", "residential"),
    ("outlook", "blocked"),
    ("outlook", "listed"),
    ("outlook", "suspect"),
    ("yahoo", "listed"),
    ("yahoo", "blocked"),
    ("apple", "blocked"),
    ("apple", "listed"),
    ("apple", "refused"),
]


@pytest.mark.parametrize("name, rule", BLOCKS)
def test_who_blocks_our_address_gets_the_mail_by_the_relay_at_once(net, play, name, rule):
    provider = play(name, lists=[f"{rule}={EVERYBODY}"])
    server, backup = with_backup(net, ["blocked"])
    identity = server.submit(SENDER, f"bob@{provider.domain}", letter())
    arrival(backup)
    wait_for(server.queue_is_empty, what="an empty queue")
    assert [a["class"] for a in attempts(server, identity)][0] == "blocked"
    seen = provider.seen()
    assert seen["rules"][rule] == 1 and seen["messages"] == 0
    assert len(backup.messages) == 1 and server.maildir("example.org", "alice") == []


@pytest.mark.parametrize("seed", range(6))
def test_every_way_of_saying_blocked_is_understood(net, play, seed):
    provider = play("blocklister", words=["--seed", seed])
    server, backup = with_backup(net, ["blocked"])
    identity = server.submit(SENDER, f"bob@{provider.domain}", letter())
    arrival(backup)
    assert attempts(server, identity)[0]["class"] == "blocked"
    assert provider.seen()["messages"] == 0


def test_without_another_rung_a_block_bounces(net, play):
    provider = play("outlook", lists=[f"blocked={EVERYBODY}"])
    server = net.server()
    server.submit(SENDER, f"bob@{provider.domain}", letter())
    assert "block list" in bounce(server).recipients[0]["Diagnostic-Code"]


def test_a_block_at_one_provider_does_not_move_the_mail_of_another(net, play):
    blocking, fine = play("outlook", lists=[f"blocked={EVERYBODY}"]), play("gmail")
    server, backup = with_backup(net, ["blocked"])
    server.submit(SENDER, [f"bob@{blocking.domain}", f"carol@{fine.domain}"], letter())
    arrival(backup)
    wait_for(lambda: fine.seen()["messages"] == 1, what="the message at the other provider")
    wait_for(server.queue_is_empty, what="an empty queue")
    assert [t.split(">")[0] for t in backup.messages[0]["to"]] == [f"TO:<bob@{blocking.domain}"]


# --- the recipient's fault, the content's, the sender's: never another way ----------------------------------------------

REFUSALS = [
    ("gmail", "unknown", "unknown-user"),
    ("gmail", "inactive", "inactive-user"),
    ("outlook", "unknown", "unknown-user"),
    ("exchange2019", "unknown", "unknown-user"),
    ("exchange2019", "nobody", "unknown-user-late"),
    ("yahoo", "unknown", "unknown-user"),
    ("apple", "unknown", "unknown-user"),
    ("greylister", "unknown", "unknown-user"),
]


@pytest.mark.parametrize("name, user, rule", REFUSALS)
def test_a_user_who_does_not_exist_bounces_and_is_never_relayed(net, play, name, user, rule):
    provider = play(name)
    server, backup = with_backup(net)
    identity = server.submit(SENDER, f"{user}@{provider.domain}", letter())
    assert bounce(server, 20).recipients[0]["Final-Recipient"].endswith(f"{user}@{provider.domain}")
    assert [a["class"] for a in attempts(server, identity)] == ["no_such_user"]
    assert provider.answered(rule) == 1 and backup.connections == 0


@pytest.mark.parametrize("name", ["gmail", "exchange2019", "outlook", "apple"])
def test_a_full_mailbox_is_tried_again_and_never_relayed(net, play, name):
    provider = play(name)
    server, backup = with_backup(net)
    identity = server.submit(SENDER, f"full@{provider.domain}", letter())
    wait_for(lambda: provider.answered("over-quota") >= 2, 30, "a second attempt")
    assert {a["class"] for a in attempts(server, identity)} == {"mailbox_full"}
    assert backup.connections == 0 and server.maildir("example.org", "alice") == []


BULK = [
    ("gmail", "unauthenticated-bulk", "policy"),
    ("outlook", "unauthenticated-bulk", "policy"),
    ("yahoo", "unauthenticated-bulk", "policy"),
    ("apple", "unauthenticated-bulk", "policy"),
]


@pytest.mark.parametrize("name, rule, kind", BULK)
def test_missing_authentication_is_the_senders_fault_and_bounces(net, play, name, rule, kind):
    provider = play(name, lists=[f"bulk={EVERYBODY}"])
    server, backup = with_backup(net)
    identity = server.submit(SENDER, f"bob@{provider.domain}", letter())
    bounce(server)
    assert [a["class"] for a in attempts(server, identity)] == [kind]
    assert provider.answered(rule) == 1 and backup.connections == 0


def test_content_that_is_not_liked_bounces(net, play):
    provider = play("apple")
    server, backup = with_backup(net)
    gtube = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"
    identity = server.submit(SENDER, f"bob@{provider.domain}", letter(body=gtube))
    assert "[CS01]" in bounce(server).recipients[0]["Diagnostic-Code"]
    assert attempts(server, identity)[0]["fault"] == "content"
    assert attempts(server, identity)[0]["class"] == "spam_content" and backup.connections == 0


# --- throttled: fewer connections, and all arrive ------------------------------------------------------------------------


def submit_many(server, provider, n):
    """The provider stands still meanwhile, so that the server opens as many connections as it would to a slow one."""
    with provider.frozen(), server.client(trusted=True) as c:
        c.hello()
        for i in range(n):
            c.send_message(SENDER, [f"user{i}@{provider.domain}"], letter(i))
        time.sleep(0.3 * harness.SLOW)


def all_arrive(server, provider, n, timeout=90):
    wait_for(lambda: provider.seen()["messages"] >= n, timeout, f"{n} messages at {provider.name}", pause=0.2)
    wait_for(server.queue_is_empty, what="an empty queue")
    seen = provider.seen()
    assert seen["messages"] == seen["recipients"] == n
    assert server.maildir("example.org", "alice") == []
    return seen


@pytest.mark.parametrize("name", ["outlook", "yahoo", "exchange2019", "apple", "gmail"])
def test_too_many_connections_make_fewer(net, play, name):
    provider = play(name, sets=["connections.connections_above=2"])
    server = net.server()
    submit_many(server, provider, 30)
    seen = all_arrive(server, provider, 30)
    refused = seen["rules"]["connections"]
    assert refused >= 1, "it never had more than two connections"
    assert refused <= 15, "it goes on opening connections that are refused"


@pytest.mark.parametrize("name, per_connection", [("outlook", 50), ("yahoo", 20), ("apple", 5), ("gmail", 50)])
def test_messages_beyond_those_of_one_connection_arrive_by_others(net, play, name, per_connection):
    provider = play(name, sets=["messages-per-connection.messages_above=5"])
    server = net.server()
    submit_many(server, provider, 20)
    all_arrive(server, provider, 20)


@pytest.mark.parametrize(
    "name, rule", [("gmail", "unusual-rate"), ("outlook", "rate-limited"), ("yahoo", "deferred"), ("apple", "volume")]
)
def test_who_is_too_fast_gets_slower_and_all_arrive(net, play, name, rule):
    provider = play(name, sets=[f"{rule}.rate=15 per 1s by client"])
    server = net.server()
    submit_many(server, provider, 40)
    refused = all_arrive(server, provider, 40)["rules"][rule]
    assert 1 <= refused <= 4 * 40


# --- later -----------------------------------------------------------------------------------------------------------------


def test_a_greylister_gets_it_the_second_time(net, play):
    provider = play("greylister", sets=["greylisted.greylist=1s"])
    server, backup = with_backup(net)
    identity = server.submit(SENDER, f"bob@{provider.domain}", letter())
    seen = all_arrive(server, provider, 1, 20)
    assert seen["rules"]["greylisted"] >= 1 and backup.connections == 0
    kinds = [a["class"] for a in attempts(server, identity)]
    assert kinds and set(kinds) == {"greylisted"}


def test_back_pressure_is_waited_out(net, play):
    provider = play("exchange2019", sets=["back-pressure.in_progress_above=1"])
    server = net.server()
    submit_many(server, provider, 10)
    all_arrive(server, provider, 10)


def test_a_tar_pit_holds_its_own_mail_only(net, play):
    slow, fine = play("tarpit", sets=["slow-dot.delay=3s", "late-greeting.delay=2s", "dripping.drip=2ms"]), play("gmail")
    server = net.server()
    server.submit(SENDER, f"bob@{slow.domain}", letter(1))
    server.submit(SENDER, f"bob@{fine.domain}", letter(2))
    wait_for(lambda: fine.seen()["messages"] == 1, 5, "the message at the other provider")
    assert slow.seen()["messages"] == 0
    all_arrive(server, slow, 1, 30)


# --- broken ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_what_breaks_off_again_and_again_loses_nothing(net, play, tmp_path, seed):
    kept = tmp_path / "kept"
    provider = play("flaky", words=["--seed", seed, "--maildir", kept])
    server = net.server()
    submit_many(server, provider, 15)

    def numbers():
        return {header_of(p.read_bytes())["Subject"] for p in (kept / "new").iterdir()}

    wait_for(lambda: len(numbers()) == 15, 150, "all messages", pause=0.3)
    assert reports(server.maildir("example.org", "alice")) == []


QUIET = [
    "dropped-at-connect", "garbage-at-connect", "not-now", "no-ehlo", "dropped-after-ehlo", "dropped-at-mail", "local-error",
    "dropped-at-rcpt", "try-again", "dropped-at-data", "dropped-before-the-dot-is-answered", "short-of-space", "slow",
]  # fmt: skip


def test_tls_that_breaks_is_a_fault_of_the_path_where_tls_is_required(net, play):
    provider = play("flaky", sets=[f"{rule}.chance=1%" for rule in QUIET] + ["broken-tls.chance=100%", "no-tls-now.chance=1%"])
    backup = net.place.peer()
    server = net.server(
        relays={"backup": {"hosts": [f"127.0.0.1:{backup.port}"]}},
        routes=[{"to": "*", "via": [{"mx": True, "tls": "required"}, {"relay": "backup", "when": ["tls"]}]}],
    )
    server.submit(SENDER, f"bob@{provider.domain}", letter())
    arrival(backup)
    assert provider.seen()["messages"] == 0


def test_mail_that_needs_what_the_provider_lacks_is_returned(net, play):
    provider = play("yahoo")
    server, backup = with_backup(net)
    server.submit(SENDER, f"jörg@{provider.domain}", letter(), parameters=" SMTPUTF8")
    assert bounce(server).recipients[0]["Status"] == "5.6.7"
    assert backup.connections == 0


def test_several_domains_at_gmail_go_apart(net, play):
    provider = play("gmail")
    net.record("workspace.example.", "MX", f"10 {HOSTS['gmail'][1]}.")
    server = net.server()
    server.submit(SENDER, [f"bob@{provider.domain}", "carol@workspace.example"], letter())
    wait_for(lambda: provider.seen()["recipients"] == 2, 20, "both recipients")


# --- the simulator itself -----------------------------------------------------------------------------------------------------


def simulate(*words):
    return subprocess.run(
        [*PROGRAM, "simulate-provider", *map(str, words)], capture_output=True, text=True, timeout=20 * harness.SLOW
    )


@pytest.fixture
def gmail(place):
    p = Provider("gmail")
    place.things.append(p)
    return p


def test_help_lists_the_providers():
    r = simulate("--help")
    assert r.returncode == 0 and all(f"\n  {name} " in r.stdout for name in HOSTS)


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--as", "nobody"],
        ["--as", "gmail", "--listen", "here"],
        ["--as", "gmail", "--set", "moon.say=1"],
        ["--as", "gmail", "--set", "unusual-rate.rate=often"],
        ["--as", "gmail", "--list", "moon=127.0.0.1"],
        ["--as", "gmail", "--list", "blocked=everybody"],
        ["--as", "gmail", "--certificate", "x"],
        ["--as", "gmail", "--seed", "x"],
        ["--as", "gmail", "extra"],
    ],
)
def test_wrong_usage_is_said(words):
    r = simulate(*words)
    assert r.returncode == 2 and r.stderr and r.stdout == ""


def test_a_file_of_ones_own_is_read_and_its_mistakes_are_named(tmp_path, place):
    path = tmp_path / "mine.yaml"
    path.write_text("mine:\n  rules:\n    - {at: mail, sey: 550 no}\n")
    r = simulate("--file", path)
    assert r.returncode == 1 and f"{path}:3:18" in r.stderr and 'did you mean "say"' in r.stderr
    path.write_text("mine:\n  host: mx.mine.example\n  rules:\n    - {name: no, at: mail, from: '*@bad.example', say: '550 5.7.1 Not {sender}'}\n")
    p = Provider("mine", words=["--file", path])
    place.things.append(p)
    with p.client() as c:
        c.hello()
        assert "Not x@bad.example" in c.expect(550, "MAIL FROM:<x@bad.example>")
        c.expect(250, "MAIL FROM:<x@good.example>")
    assert p.answered("no") == 1


@pytest.mark.parametrize("name", sorted(set(HOSTS) - {"flaky", "tarpit", "blocklister"}))
def test_pipelined_commands_are_answered_in_order(place, name):
    p = Provider(name, sets=["greylisted.greylist=1ms"] if name == "greylister" else [])
    place.things.append(p)
    with p.client() as c:
        c.hello()
        c.send(f"MAIL FROM:<a@a.example>\r\nRCPT TO:<b@{p.domain}>\r\nNOOP\r\nRSET\r\n")
        assert [c.reply()[0] for _ in range(4)] == [250, 450 if name == "greylister" else 250, 250, 250]
        time.sleep(0.05)  # the second time a greylister lets it pass
        c.send(f"MAIL FROM:<a@a.example>\r\nRCPT TO:<b@{p.domain}>\r\nDATA\r\n")
        assert [c.reply()[0] for _ in range(3)] == [250, 250, 354]
        c.send(letter().replace(b"hello", b"..dot") + b".\r\nQUIT\r\n")
        assert [c.reply()[0] for _ in range(2)] == [250, 221]
    seen, _ = p.end()
    assert seen["messages"] == 1 and seen["errors"] == 0


@pytest.mark.parametrize("name", ["gmail", "outlook", "exchange2019"])
def test_chunks_are_taken_where_the_original_takes_them(place, tmp_path, name):
    p = Provider(name, words=["--maildir", tmp_path / "kept"])
    place.things.append(p)
    whole = letter(body="bare\nline feeds and \0 go through")
    with p.client() as c:
        assert "CHUNKING" in c.hello()
        binary = " BODY=BINARYMIME" if name != "gmail" else ""
        c.expect(250, f"MAIL FROM:<a@a.example>{binary}")
        c.expect(250, f"RCPT TO:<b@{p.domain}>")
        if binary:
            c.expect(503, "DATA")
        c.send(b"BDAT 10\r\n" + whole[:10] + b"BDAT 0\r\n" + b"BDAT %d LAST\r\n" % (len(whole) - 10) + whole[10:])
        assert [c.reply()[0] for _ in range(3)] == [250, 250, 250]
        # Unwanted chunks are read, not taken for commands.
        c.send(b"BDAT 6\r\nQUIT\r\nNOOP\r\n")
        assert [c.reply()[0] for _ in range(2)] == [503, 250]
    assert [f.read_bytes() for f in (tmp_path / "kept" / "new").iterdir()] == [whole]


def test_what_was_not_offered_is_unknown(place):
    p = Provider("yahoo")
    place.things.append(p)
    with p.client() as c:
        assert "CHUNKING" not in c.hello()
        c.expect(250, "MAIL FROM:<a@a.example>")
        c.expect(250, "RCPT TO:<b@yahoo.example>")
        c.send(b"BDAT 6\r\nQUIT\r\n")
        assert c.reply()[0] == 500
        c.expect(250, "RSET")
        c.expect(555, "MAIL FROM:<a@a.example> SMTPUTF8")
        c.expect(500, "AUTH PLAIN")


def test_starttls_forgets_what_came_before_it(gmail):
    with gmail.client() as c:
        assert "STARTTLS" in c.hello()
        c.send("STARTTLS\r\nMAIL FROM:<injected@a.example>\r\n")
        c.reply()
        c.handshake("mx.google.com")
        assert "STARTTLS" not in c.command("EHLO client.example")[1]
        c.expect(503, "STARTTLS")
        c.begin(recipients=["b@gmail.example"])
        c.expect(503, "MAIL FROM:<again@a.example>")
    assert gmail.seen()["tls"] == 1


def test_smuggled_ends_are_content(gmail):
    with gmail.client() as c:
        c.hello()
        c.begin(recipients=["b@gmail.example"])
        c.expect(354, "DATA")
        c.send(letter() + b"\n.\nMAIL FROM:<smuggled@a.example>\r\n.\r\n")
        c.expect(550)
        c.expect(250, "NOOP")
    assert gmail.seen()["messages"] == 0


def test_eight_bit_and_utf8_go_as_they_are(place, tmp_path):
    p = Provider("gmail", words=["--maildir", tmp_path / "kept"])
    place.things.append(p)
    whole = letter(body="grüße").replace(b"Subject: 0", "Subject: 信".encode())
    with p.client() as c:
        c.hello()
        c.send_message("jörg@a.example", ["бob@gmail.example"], whole, " BODY=8BITMIME SMTPUTF8")
    assert [f.read_bytes() for f in (tmp_path / "kept" / "new").iterdir()] == [whole]


def test_the_same_seed_plays_the_same_game(place):
    def game(seed):
        p = Provider("flaky", words=["--seed", seed])
        place.things.append(p)
        for _ in range(30):
            with p.client() as c:
                try:
                    c.hello()
                    c.begin(recipients=["b@flaky.example"])
                except (AssertionError, EOFError, ConnectionError, ValueError):
                    pass
            wait_for(lambda: p.seen()["open"] == 0, what="the end of the session")
        return p.seen()["rules"]

    assert game(7) == game(7) != game(8)


def test_a_certificate_of_ones_own_is_shown(place):
    certificate, key = place.certificate("mx.sim.example")
    p = Provider("apple", words=["--certificate", certificate, "--key", key])
    place.things.append(p)
    with p.client() as c:
        c.hello()
        c.starttls("mx.sim.example")
        shown = c.socket.getpeercert(True)
    pem = subprocess.run(["openssl", "x509", "-in", certificate, "-outform", "DER"], capture_output=True, check=True)
    assert shown == pem.stdout


def test_the_report_names_clients_and_rules(gmail):
    with gmail.client() as a, gmail.client() as b:
        a.hello()
        b.hello()
        a.begin(recipients=["b@gmail.example"])
        b.expect(250, "MAIL FROM:<a@a.example>")
        b.expect(550, "RCPT TO:<unknown@gmail.example>")
    seen, _ = gmail.end()
    assert seen["as"] == "gmail" and seen["connections"] == 2 and seen["rules"]["unknown-user"] == 1
    (client,) = seen["clients"]
    assert (client["address"], client["widest"], client["refusals"]) == ("127.0.0.1", 2, 1)
