"""Mail delivered to programs: what they are given, what they may see, and what their end means."""

import getpass
import os
import shutil
import tempfile
import time
from pathlib import Path

import pytest

import harness
from harness import wait_for
from outgoing import SENDER, arrival, bounce, is_waiting

USER = "nobody" if os.getuid() == 0 else getpass.getuser()


@pytest.fixture
def box():
    """A directory in which the user of the programs may write."""
    path = Path(tempfile.mkdtemp(prefix="yizhan-pipe-"))
    path.chmod(0o777)
    yield path
    shutil.rmtree(path, ignore_errors=True)


def script(box, text, name="program"):
    path = box / name
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return str(path)


def pipe_server(place, box, text, *arguments, timeout=None, then=(), **sections):
    rung = {"pipe": [script(box, text), *arguments], "user": USER, **({"timeout": timeout} if timeout else {})}
    return place.mx(routes=[{"to": "*", "via": [rung, *then]}], **sections)


def written(box, name="out"):
    path = box / name
    wait_for(lambda: path.exists() and path.stat().st_size > 0, what=f"what the program writes to {name}")
    return path.read_bytes()


def test_a_program_reads_the_message(place, box):
    server = pipe_server(place, box, f"cat >{box}/part && mv {box}/part {box}/out\n")
    server.submit(SENDER, "bob+lists@dest.example", b"Subject: test\r\n\r\nhello\r\n..dot\r\n")
    wait_for(server.queue_is_empty, what="an empty queue")
    text = written(box)
    assert text.startswith(b"Return-Path: <alice@example.org>\nDelivered-To: bob+lists@dest.example\nReceived: ")
    assert text.endswith(b"\nSubject: test\n\nhello\n.dot\n") and b"\r" not in text


def test_arguments_and_environment_are_filled_in_without_a_shell(place, box):
    text = f"""cat >/dev/null
exec >{box}/part
for a in "$@"; do echo "arg $a"; done
env
id -un
pwd
ls /proc/self/fd | tr "\\n" ,
mv {box}/part {box}/out
"""
    words = ["{recipient}", "to={local}", "{detail}", "{domain}", "$(id) ; `id`", "{user}", "--from={sender}"]
    server = pipe_server(place, box, text, *words, start=False)
    server.env["SECRET"] = "sesame"
    server.start()
    server.submit(SENDER, '"Bob;id+L"@Dest.Example')
    lines = written(box).decode().splitlines()
    assert [line[4:] for line in lines if line.startswith("arg ")] == [
        '"Bob;id+L"@Dest.Example',
        "to=bob;id",
        "l",
        "dest.example",
        "$(id) ; `id`",
        "bob;id@dest.example",
        "--from=alice@example.org",
    ]
    assert f"SENDER={SENDER}" in lines and "DOMAIN=dest.example" in lines and USER in lines and "/" in lines
    assert not any(line.startswith(("HOME=", "USER=", "SECRET=")) for line in lines)
    assert lines[-1].strip(",").split(",") == ["0", "1", "2", "3"]  # 3 is what ls reads


@pytest.mark.parametrize(
    "status, expected, said",
    [(67, "5.1.1", "no such user"), (77, "5.7.0", "not permitted"), (1, "5.3.0", "failure"), (65, "5.6.0", "wrong data")],
)
def test_a_program_refuses_for_good(place, box, status, expected, said):
    server = pipe_server(place, box, f"cat >/dev/null; echo 'I will not'; exit {status}\n")
    server.submit(SENDER, "bob@dest.example")
    report = bounce(server)
    assert report.recipients[0]["Status"] == expected
    told = report.recipients[0]["Diagnostic-Code"].replace("\r\n", "\n").replace("\n", "")
    assert said in told and "I will not" in told


@pytest.mark.parametrize("how", ["exit 75", "kill -9 $$", "exit 127"])
def test_a_program_defers(place, box, how):
    server = pipe_server(place, box, f"cat >/dev/null; echo come again >&2; {how}\n")
    server.submit(SENDER, "bob@dest.example")
    is_waiting(server, "come again")
    script(box, f"cat >{box}/out\n")
    assert b"hello" in written(box)
    wait_for(server.queue_is_empty, what="an empty queue")
    assert server.maildir("example.org", "alice") == []


def test_a_program_that_is_not_there_defers(place, box):
    server = place.mx(routes=[{"to": "*", "via": [{"pipe": [str(box / "program")], "user": USER}]}])
    server.submit(SENDER, "bob@dest.example")
    is_waiting(server, "No such file")


def test_a_program_that_hangs_is_killed_with_all_that_it_started_and_others_do_not_wait(place, box):
    peer = place.peer()
    slow = {"pipe": [script(box, f"sleep 600 & echo $! >{box}/out; sleep 600\n")], "user": USER, "timeout": "2s"}
    server = place.mx(
        routes=[
            {"to": "slow.example", "via": [slow]},
            {"to": "*", "via": [{"host": f"127.0.0.1:{peer.port}"}]},
        ],
        threads=1,
    )
    server.submit(SENDER, "bob@slow.example")
    pid = int(written(box))
    begun = time.monotonic()
    server.submit(SENDER, "bob@dest.example")
    arrival(peer)
    assert time.monotonic() - begun < 1.5
    is_waiting(server, "did not end in time")
    wait_for(lambda: not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text(), what="its end")


def test_a_program_need_not_read_everything_nor_wait_for_what_it_leaves_behind(place, box):
    server = pipe_server(place, box, f"sleep 20 & echo $! >{box}/out; exit 0\n")
    server.submit(SENDER, "bob@dest.example", b"Subject: large\r\n\r\n" + b"0123456789\r\n" * 50000)
    wait_for(server.queue_is_empty, timeout=8, what="an empty queue")
    os.kill(int(written(box)), 9) if os.getuid() == 0 else None


def test_a_program_may_write_more_than_anybody_reads(place, box):
    server = pipe_server(place, box, "head -c 300000 /dev/zero; cat >/dev/null; head -c 300000 /dev/zero\n")
    server.submit(SENDER, "bob@dest.example", b"Subject: large\r\n\r\n" + b"0123456789\r\n" * 50000)
    wait_for(server.queue_is_empty, what="an empty queue")
    assert server.maildir("example.org", "alice") == []


def test_a_program_that_writes_without_end_is_killed(place, box):
    server = pipe_server(place, box, "cat >/dev/null; exec cat /dev/zero\n")
    server.submit(SENDER, "bob@dest.example")
    is_waiting(server, "wrote without end")


def test_an_address_is_never_an_option(place, box):
    server = pipe_server(place, box, f"cat >{box}/out\n", "{local}")
    server.submit(SENDER, "-rf@dest.example")
    assert bounce(server).recipients[0]["Status"] == "5.1.3"
    assert not (box / "out").exists()


def test_a_message_that_goes_round_is_stopped(place, box):
    server = pipe_server(place, box, f"cat >{box}/out\n")
    server.submit(SENDER, "bob@dest.example", b"Delivered-To: bob@dest.example\r\nSubject: x\r\n\r\nx\r\n")
    assert bounce(server).recipients[0]["Status"] == "5.4.6"


def test_a_domain_delivered_to_a_program(place, box):
    program = {"pipe": [script(box, f"cat >{box}/$1\n"), "{local}"], "user": USER}
    server = place.mx(domains={"lists.example": {"deliver": program}})
    server.submit(SENDER, ["one@lists.example", "two@lists.example"])
    wait_for(server.queue_is_empty, what="an empty queue")
    assert b"Delivered-To: one@lists.example" in written(box, "one")
    assert b"Delivered-To: two@lists.example" in written(box, "two")


def test_a_pipe_is_the_last_resort_of_a_ladder(place, box):
    dead = {"host": f"127.0.0.1:{harness.free_port()}"}
    rung = {"pipe": [script(box, f"cat >{box}/out\n")], "user": USER, "when": "unreachable"}
    server = place.mx(routes=[{"to": "*", "via": [dead, rung]}])
    server.submit(SENDER, "bob@dest.example")
    assert b"hello" in written(box)


@pytest.mark.skipif(os.getuid() != 0, reason="only root has what programs must not get")
def test_a_program_is_never_root(place, box):
    server = place.mx(routes=[{"to": "*", "via": [{"pipe": [script(box, f"cat >{box}/out\n")]}]}])
    server.submit(SENDER, "bob@dest.example")
    is_waiting(server, "names no user")
    assert not (box / "out").exists()
