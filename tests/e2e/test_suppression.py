"""Recipients that were refused for good: remembered for the tenant that sent to them, and refused when it submits for them
again."""

import sqlite3
import time

import pytest

import harness
from harness import wait_for
from outgoing import bounce, is_waiting

NEWS = "news@example.org"
GONE = "gone@dest.example"


@pytest.fixture
def peer(place):
    """A next hop that has no mailbox called gone, a full one called full, and does not like spam@."""

    def rcpt(argument, _):
        for word, reply in (
            ("gone", "550 5.1.1 No such user"),
            ("full", "552 5.2.2 Mailbox full"),
            ("spam", "550 5.7.1 This looks like spam"),
        ):
            if word in argument:
                return reply
        return True

    return place.peer(answers={"RCPT": rcpt})


def start(place, peer, **suppression):
    return place.mx(
        routes=[{"to": "*", "via": [{"host": f"127.0.0.1:{peer.port}"}]}],
        suppression={"enabled": True, **suppression},
    )


def listed(server):
    return server.json("suppress", "list")


def wait_until_listed(server, count=1):
    wait_for(lambda: len(listed(server)) == count, what=f"{count} recipients on the list")
    return listed(server)


def rcpt(server, sender, recipient, **options):
    with server.client(trusted=True, **options) as c:
        c.hello()
        c.expect(250, f"MAIL FROM:<{sender}>")
        return c.command(f"RCPT TO:<{recipient}>")


def test_it_is_off_without_a_word_about_it(place, peer):
    server = place.mx(routes=[{"to": "*", "via": [{"host": f"127.0.0.1:{peer.port}"}]}])
    server.submit("alice@example.org", GONE)
    bounce(server)
    assert rcpt(server, "alice@example.org", GONE)[0] == 250
    assert not (server.dir / "spool" / "suppression.db").exists()


def test_who_was_refused_for_good_is_refused_at_submission_with_the_date(place, peer):
    server = start(place, peer)
    server.submit(NEWS, GONE)
    (row,) = wait_until_listed(server)
    assert (row["tenant"], row["recipient"]) == ("example.org", GONE) and "No such user" in row["reason"]
    code, text = rcpt(server, NEWS, "GONE@Dest.Example")
    assert code == 550 and "5.1.1" in text and row["since"][:10] in text and "No such user" in text
    tried = len(peer.said("RCPT"))
    assert rcpt(server, NEWS, "fine@dest.example")[0] == 250
    assert len(peer.said("RCPT")) == tried


def test_what_one_tenant_learned_does_not_bind_another(place, peer):
    server = start(place, peer)
    server.submit(NEWS, GONE)
    wait_until_listed(server)
    assert rcpt(server, "carol@other.example", GONE)[0] == 250
    assert rcpt(server, "bob@example.org", GONE)[0] == 550
    assert rcpt(server, "", GONE)[0] == 250  # a bounce is nobody's campaign


def test_only_the_senders_that_are_named_count(place, peer):
    server = start(place, peer, senders=["news@*"])
    server.submit("alice@example.org", GONE)
    bounce(server)
    time.sleep(0.3)
    assert listed(server) == []
    server.submit(NEWS, GONE)
    wait_until_listed(server)
    assert rcpt(server, NEWS, GONE)[0] == 550
    assert rcpt(server, "alice@example.org", GONE)[0] == 250


def test_other_refusals_are_not_remembered(place, peer):
    server = start(place, peer)
    server.submit("alice@example.org", ["spam@dest.example"])
    bounce(server)
    server.submit("alice@example.org", ["full@dest.example"])
    is_waiting(server, "full")
    time.sleep(0.3)
    assert listed(server) == []


def test_a_restart_forgets_nothing_and_time_does(place, peer):
    server = start(place, peer, keep="30d")
    server.submit(NEWS, GONE)
    wait_until_listed(server)
    assert server.stop() == 0
    server.start()
    assert rcpt(server, NEWS, GONE)[0] == 550
    with sqlite3.connect(server.dir / "spool" / "suppression.db") as db:
        db.execute("UPDATE suppressed SET since = since - 31 * 86400")
    assert rcpt(server, NEWS, GONE)[0] == 250


def test_strangers_are_not_asked_about(place, peer):
    """Mail that comes in for a mailbox here is no submission."""
    server = start(place, peer)
    server.command("suppress", "add", "alice@example.org", "--tenant", "stranger.example")
    with server.client() as c:
        c.hello()
        c.expect(250, "MAIL FROM:<x@stranger.example>")
        c.expect(250, "RCPT TO:<alice@example.org>")


def test_administrators_add_list_and_remove(place, peer):
    server = start(place, peer)
    assert listed(server) == []
    server.command("suppress", "add", GONE, "--tenant", "Example.org", "--reason", "asked us to stop")
    (row,) = listed(server)
    assert (row["tenant"], row["reason"]) == ("example.org", "asked us to stop")
    code, text = rcpt(server, NEWS, GONE)
    assert code == 550 and "asked us to stop" in text
    assert GONE in server.command("suppress", "list").stdout
    assert server.json("suppress", "list", "--tenant", "other.example") == []
    r = server.command("suppress", "remove", GONE, "--tenant", "other.example", check=False)
    assert r.returncode == 1 and "not on the list" in r.stderr
    server.command("suppress", "remove", GONE)
    assert listed(server) == [] and rcpt(server, NEWS, GONE)[0] == 250


@pytest.mark.parametrize("words", [[], ["frob"], ["add"], ["add", GONE], ["remove"], ["list", GONE]])
def test_wrong_usage_is_said(place, words):
    server = place.mx(start=False)
    r = server.command("suppress", *words, check=False)
    assert r.returncode == 2 and r.stderr


def test_a_file_that_cannot_be_read_lets_mail_pass(place, peer, tmp_path):
    broken = tmp_path / "broken.db"
    broken.write_bytes(b"this is no database, " * 100)
    server = start(place, peer, path=str(broken))
    assert rcpt(server, NEWS, GONE)[0] == 250
    server.submit(NEWS, GONE)
    wait_for(lambda: "can't be noted" in server.log(), what="the warning")
    assert harness.wait_for(server.queue_is_empty, what="an empty queue")
