"""Into mailboxes: Maildirs, and mailbox servers by LMTP."""

import os
import re
import socket
import stat
import threading

import pytest

import harness
from harness import reports, wait_for

SENDER = "sender@client.example"


def folder(server, local, domain="example.org"):
    return server.dir / "mail" / domain / local


def files(server, local, sub="new", domain="example.org"):
    path = folder(server, local, domain) / sub
    return sorted(path.iterdir()) if path.is_dir() else []


# --- Maildir -------------------------------------------------------------------------------------------------------------


def test_a_message_in_a_maildir(place):
    server = place.mx()
    server.submit(
        SENDER,
        "bob@example.org",
        b"Subject: hello\r\n\r\nline one\r\n..dot\r\nlast\r\n",
    )
    wait_for(lambda: files(server, "bob"), what="a file in new")
    wait_for(server.queue_is_empty, what="an empty queue")
    (path,) = files(server, "bob")
    lines = path.read_bytes().split(b"\n")
    assert lines[0] == f"Return-Path: <{SENDER}>".encode() and lines[1] == b"Delivered-To: bob@example.org"
    assert lines[2].startswith(b"Received: ") and b"\r" not in path.read_bytes()
    assert path.read_bytes().endswith(b"\n\nline one\n.dot\nlast\n")
    assert files(server, "bob", "tmp") == [] and files(server, "bob", "cur") == []
    assert (folder(server, "bob") / "cur").is_dir() and (folder(server, "bob") / "tmp").is_dir()


def test_names_and_permissions(place):
    server = place.mx()
    server.submit(SENDER, "bob@example.org")
    wait_for(lambda: files(server, "bob"), what="a file in new")
    (path,) = files(server, "bob")
    assert re.match(r"^\d{10}\.[^./:]+\.[^/:]*mx\.example\.org", path.name), path.name
    assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0
    assert stat.S_IMODE(folder(server, "bob").stat().st_mode) & 0o077 == 0


def test_two_hundred_at_once_get_two_hundred_names(place):
    server = place.mx()

    def send(number):
        server.submit(SENDER, ["bob@example.org"], f"Subject: n-{number}-{os.urandom(4).hex()}\r\n\r\nx\r\n".encode())

    threads = [threading.Thread(target=send, args=(i,)) for i in range(200)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    wait_for(lambda: len(files(server, "bob")) == 200, 30, "200 files")
    assert len({re.search(rb"Subject: (\S+)", p.read_bytes()).group(1) for p in files(server, "bob")}) == 200
    wait_for(lambda: files(server, "bob", "tmp") == [], what="an empty tmp")


def test_case_and_subaddresses_lead_to_one_mailbox(place):
    server = place.mx(domains={"example.org": {"deliver": "maildir:{dir}/mail/{domain}/{local}", "recipients": ["bob"]}})
    for recipient in ("bob@example.org", "BOB@Example.ORG", "bob+lists@example.org", "Bob+Other@EXAMPLE.org"):
        server.submit(SENDER, recipient)
    wait_for(lambda: len(files(server, "bob")) == 4, what="four files")
    assert os.listdir(server.dir / "mail" / "example.org") == ["bob"]


@pytest.mark.parametrize(
    "local",
    [
        '"../../../evil"',
        '"/evil"',
        '".."',
        '"."',
        '"a/b"',
        '"a/../../../evil"',
        ".hidden",
        '".hidden"',
        '"a\\/b"',
        "a/b",
        "..",
        '"evil/new"',
        '" "',
        '"a\\"b"',
        "{domain}",
        "%2e%2e%2fevil",
        "~root",
        "-rf",
        "$HOME",
        "a|b",
        '"a b"',
        "new",
        "tmp",
    ],
)
def test_no_local_part_leads_out_of_the_directory(place, local):
    server = place.mx(routes=[{"to": "*", "via": ["discard"]}])
    before = tree(server.dir.parent, server.dir.name)
    with server.client(trusted=True) as c:
        c.hello()
        c.expect(250, f"MAIL FROM:<{SENDER}>")
        code, _ = c.command(f"RCPT TO:<{local}@example.org>")
        if code == 250:
            c.expect(354, "DATA")
            c.send(b"Subject: x\r\n\r\nx\r\n.\r\n")
            c.expect(250)
            wait_for(server.queue_is_empty, what="an empty queue")
        else:
            assert 500 <= code < 560
    base = server.dir / "mail" / "example.org"
    for path in (server.dir / "mail").rglob("*"):
        assert path.is_relative_to(base) or path == base, path
        if path.is_file():
            assert path.parent.name == "new" and path.parent.parent.parent == base, path
    assert tree(server.dir.parent, server.dir.name) == before
    assert {p.name for p in server.dir.iterdir()} <= {"mail", "spool", "zone", "log", "yizhan.yaml"}


def tree(path, own):
    return {name for name in os.listdir(path) if "evil" in name and name != own}


def test_a_maildir_that_can_not_be_written_only_delays(place):
    server = place.mx(queue={"retry": ["300ms"]})
    blocker = server.dir / "mail"
    blocker.write_text("a file where a directory should be")
    server.submit(SENDER, "bob@example.org")
    wait_for(lambda: server.rows() and server.rows()[0]["recipients"][0]["attempts"] >= 2, what="two attempts")
    blocker.unlink()
    wait_for(lambda: files(server, "bob"), what="the delivery")


def test_a_mailbox_that_had_the_message_already_is_a_loop(place):
    server = place.mx()
    server.submit(
        "alice@example.org", "bob@example.org", b"Delivered-To: bob@example.org\r\nSubject: again\r\n\r\nx\r\n"
    )
    wait_for(lambda: reports(server.maildir("example.org", "alice")), what="the bounce")
    assert reports(server.maildir("example.org", "alice"))[0].recipients[0]["Status"] == "5.4.6"
    assert files(server, "bob") == []


def test_several_recipients_each_get_their_own_file(place):
    server = place.mx(domains=["example.org", "other.example"])
    server.submit(SENDER, ["bob@example.org", "carol@example.org", "bob@other.example"])
    for local, domain in (("bob", "example.org"), ("carol", "example.org"), ("bob", "other.example")):
        (message,) = wait_for(lambda: server.maildir(domain, local), what=f"the message for {local}")
        assert f"Delivered-To: {local}@{domain}\n".encode() in message


# --- LMTP ----------------------------------------------------------------------------------------------------------------


def mailbox_server(place, peer_target, **sections):
    return place.mx(
        domains={
            "box.example": {"deliver": peer_target},
            "example.org": {"deliver": "maildir:{dir}/mail/{domain}/{local}"},
        },
        **sections,
    )


@pytest.fixture(params=["tcp", "unix"])
def lmtp(request, place):
    """lmtp(answers) gives a peer and a server whose domain box.example ends there."""

    def make(answers=None, **options):
        if request.param == "unix":
            path = place.tmp / "lmtp"
            peer = place.peer(unix=path, lmtp=True, answers=answers, **options)
            return peer, mailbox_server(place, f"lmtp:unix:{path}")
        peer = place.peer(lmtp=True, answers=answers, **options)
        return peer, mailbox_server(place, f"lmtp:127.0.0.1:{peer.port}")

    return make


def test_lmtp_replies_count_for_each_recipient(lmtp):
    seen = {}

    def dot(recipient, _):
        seen[recipient] = seen.get(recipient, 0) + 1
        if "later" in recipient and seen[recipient] < 3:
            return "452 4.2.2 mailbox full"
        return "550 5.2.1 mailbox disabled" if "gone" in recipient else True

    peer, server = lmtp({"DOT": dot})
    server.submit(
        "alice@example.org", [f"{n}@box.example" for n in ("good", "later", "gone")], b"Subject: l\r\n\r\n..\r\n"
    )
    wait_for(server.queue_is_empty, what="an empty queue")
    assert sorted(m["to"][0].split("@")[0] for m in peer.messages) == ["TO:<good", "TO:<later"]
    assert all(m["data"].endswith(b"\r\n\r\n.\r\n") for m in peer.messages)
    (report,) = reports(server.maildir("example.org", "alice"))
    assert "gone@box.example" in report.recipients[0]["Final-Recipient"] and report.recipients[0]["Status"] == "5.2.1"
    assert sum(seen.values()) == 5


def test_lmtp_refusals_at_rcpt(lmtp):
    peer, server = lmtp({"RCPT": lambda argument, _: "550 5.1.1 no such mailbox" if "gone" in argument else True})
    server.submit("alice@example.org", ["gone@box.example", "good@box.example"])
    wait_for(server.queue_is_empty, what="an empty queue")
    assert len(peer.messages) == 1 and len(reports(server.maildir("example.org", "alice"))) == 1


def test_lmtp_lost_between_two_replies_repeats_only_the_unanswered(lmtp):
    state = {"broken": False}

    def dot(recipient, _):
        if "second" in recipient and not state["broken"]:
            state["broken"] = True
            return None
        return True

    peer, server = lmtp({"DOT": dot})
    server.submit(SENDER, ["first@box.example", "second@box.example"])
    wait_for(server.queue_is_empty, what="an empty queue")
    got = [m["to"][0].split("@")[0] for m in peer.messages]
    assert sorted(got) == ["TO:<first", "TO:<second"]


def test_lmtp_with_bdat_and_without(lmtp):
    peer, server = lmtp(extensions=["PIPELINING", "8BITMIME"])
    server.submit(SENDER, "bob@box.example", b"Subject: l\r\n\r\n..\r\n...x\r\n")
    wait_for(lambda: peer.messages, what="the delivery")
    assert peer.messages[0]["data"].endswith(b"\r\n\r\n.\r\n..x\r\n") and not peer.messages[0]["bdat"]
    assert peer.said("EHLO") == ["mx.example.org"]


def test_an_lmtp_server_that_is_away_only_delays(place):
    path = place.tmp / "socket"
    server = mailbox_server(place, f"lmtp:unix:{path}")
    server.submit(SENDER, "bob@box.example")
    wait_for(lambda: server.rows() and server.rows()[0]["recipients"][0]["attempts"] >= 2, what="two attempts")
    peer = place.peer(unix=path, lmtp=True)
    wait_for(lambda: peer.messages, what="the delivery")


def test_taking_mail_by_lmtp_replies_for_each_recipient(place):
    port, lmtp_port = harness.free_port(), harness.free_port()
    server = place.mx(
        port=port,
        domains={"example.org": {"deliver": "maildir:{dir}/mail/{domain}/{local}", "recipients": ["bob", "carol"]}},
        listen=[
            {"address": [f"127.0.0.1:{port}"], "role": "mx"},
            {"address": [f"127.0.0.1:{lmtp_port}"], "role": "lmtp"},
        ],
    )
    with server.client(port=lmtp_port) as c:
        c.expect(220)
        assert c.command("EHLO client.example")[0] in (500, 502, 503)
        c.expect(250, "LHLO client.example")
        c.expect(250, f"MAIL FROM:<{SENDER}>")
        c.expect(250, "RCPT TO:<bob@example.org>")
        c.expect(550, "RCPT TO:<nobody@example.org>")
        c.expect(250, "RCPT TO:<carol@example.org>")
        c.expect(354, "DATA")
        c.send(b"Subject: by lmtp\r\n\r\nx\r\n.\r\n")
        c.expect(250)
        c.expect(250)
        c.expect(503, "DATA")
        c.expect(221, "QUIT")
    for local in ("bob", "carol"):
        (message,) = wait_for(lambda: server.maildir("example.org", local), what="the delivery")
        assert b"with LMTP" in message


def test_a_socket_file_of_a_dead_server_is_not_in_the_way(place):
    path = place.tmp / "stale"
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(path))
    server = mailbox_server(place, f"lmtp:unix:{path}")
    server.submit(SENDER, "bob@box.example")
    wait_for(lambda: server.rows() and server.rows()[0]["recipients"][0]["attempts"], what="an attempt")
