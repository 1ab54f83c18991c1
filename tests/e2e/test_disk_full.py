"""A file system that fills up: new mail is put off with 452 4.3.1, what is there is delivered, and then it goes on."""

import os
import subprocess

import pytest

from harness import wait_for


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 160 MB of its own, for root only."""
    if os.getuid() != 0:
        pytest.skip("mounting a small file system needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=160M", "tmpfs", str(disk)], capture_output=True, text=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"no small file system: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def fill(disk, leave):
    """Takes all space but this many octets."""
    s = os.statvfs(disk)
    ballast = disk / "ballast"
    with open(ballast, "wb") as f:
        os.posix_fallocate(f.fileno(), 0, s.f_bavail * s.f_frsize - leave)
    return ballast


def server_on(place, disk, peer, **sections):
    return place.mx(
        spool={"path": str(disk / "spool"), "segment_size": "4M", **sections},
        admin={"socket": "{dir}/spool/control.sock"},
        routes=[{"to": "*", "via": [{"host": f"127.0.0.1:{peer.port}"}]}],
        start=False,
    )


def try_message(server, size=1000):
    """The reply to a whole message, or to the command that was refused."""
    with server.client(trusted=True) as c:
        c.hello()
        for line in ("MAIL FROM:<alice@example.org>", "RCPT TO:<bob@dest.example>", "DATA"):
            code, text = c.command(line)
            if code >= 400:
                return code, text
        c.send(b"Subject: x\r\n\r\n" + (b"y" * 78 + b"\r\n") * (size // 80 + 1) + b".\r\n")
        return c.reply()


def test_a_full_disk_puts_off_and_recovers(place, small_disk):
    peer = place.peer(answers={"RCPT": "451 4.3.0 later"})
    server = server_on(place, small_disk, peer)
    (server.dir / "spool").mkdir()
    server.start()
    codes = [try_message(server)[0] for _ in range(10)]
    assert codes == [250] * 10
    ballast = fill(small_disk, 1 << 20)
    wait_for(lambda: codes.append(try_message(server)[0]) or codes[-1] == 452, what="a refusal for lack of space")
    taken = codes.count(250)
    code, text = try_message(server)
    assert code == 452 and "4.3.1" in text
    peer.answers.clear()
    server.command("queue", "retry", "--all")
    wait_for(lambda: len(peer.messages) == taken, 20, "the delivery of what was there")
    wait_for(server.queue_is_empty, what="an empty queue")
    ballast.unlink()
    wait_for(lambda: try_message(server)[0] == 250, what="accepting again")
    wait_for(lambda: len(peer.messages) == taken + 1, what="the new message")


def test_a_disk_that_fills_up_inside_of_a_message(place, small_disk):
    """Without a reserve to warn it, the server meets the full disk in the middle of its writes."""
    peer = place.peer(answers={"RCPT": "451 4.3.0 later"})
    server = server_on(place, small_disk, peer, reserve="1")
    (server.dir / "spool").mkdir()
    server.start()
    assert try_message(server)[0] == 250
    ballast = fill(small_disk, 6 << 20)
    code, text = 250, ""
    taken = 1
    for _ in range(60):
        code, text = try_message(server, 1 << 20)
        if code != 250:
            break
        taken += 1
    assert code in (452, 451), text
    ballast.unlink()
    wait_for(lambda: try_message(server)[0] == 250, what="accepting again")
    taken += 1
    peer.answers.clear()
    server.command("queue", "retry", "--all")
    wait_for(lambda: len(peer.messages) >= taken and server.queue_is_empty(), 30, f"all {taken} messages")
    assert len(peer.messages) == taken


def test_a_restart_on_a_full_disk_delivers_what_is_there(place, small_disk):
    peer = place.peer(answers={"RCPT": "451 4.3.0 later"})
    server = server_on(place, small_disk, peer)
    (server.dir / "spool").mkdir()
    server.start()
    for _ in range(5):
        assert try_message(server)[0] == 250
    server.kill()
    ballast = fill(small_disk, 0)
    peer.answers.clear()
    server.start()
    wait_for(lambda: len(peer.messages) == 5, 20, "the delivery")
    assert try_message(server)[0] == 452
    ballast.unlink()
    wait_for(lambda: try_message(server)[0] == 250, what="accepting again")
