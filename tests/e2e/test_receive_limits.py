"""The way in: limits, time, stopping, and many clients at once."""

import re
import socket
import threading
import time

import harness
from harness import arrived, wait_for


# --- limits and time ---------------------------------------------------------------------------------------------------


def test_too_many_errors_end_the_session(place):
    with place.mx(limits={"errors": 5}).client() as c:
        c.hello()
        codes = [c.command("WHAT")[0] for _ in range(5)]
        assert codes == [500] * 5
        assert "4.7.0" in c.expect(421)
        assert c.closed()


def test_too_many_idle_commands_end_the_session(place):
    with place.mx(limits={"commands": 5}).client() as c:
        c.hello()
        codes = [c.command("NOOP")[0] for _ in range(4)]
        assert codes == [250] * 4
        c.send("NOOP\r\nNOOP\r\n")
        assert c.closed() and b"\n421 4.7.0" in b"\n" + c.buffer


def test_too_many_messages_in_a_session_get_421(place):
    with place.mx(limits={"messages": 2}).client() as c:
        c.hello()
        for _ in range(2):
            c.send_message("a@client.example", ["alice@example.org"])
        c.expect(421, "MAIL FROM:<a@client.example>")


def test_refusals_without_end_do_not_fill_the_journal(place):
    server = place.mx(limits={"recipients": 1})
    with server.client() as c:
        c.hello()
        c.begin()
        c.send(b"RCPT TO:<bob@example.org>\r\n" * 500)
        assert {c.reply()[0] for _ in range(500)} == {452}
        c.expect(354, "DATA")  # nothing is lost by it
        c.send(b"Subject: one of many\r\n\r\nx\r\n.\r\n")
        identity = re.search(r"queued as (\S+)", c.expect(250)).group(1)
        c.begin()
        c.expect(452, "RCPT TO:<bob@example.org>")
    arrived(server, "alice", b"one of many")
    assert [e["event"] for e in server.events(identity)].count("refused") == 100


def test_connections_are_limited_per_address_but_not_for_trusted_clients(place):
    server = place.mx(limits={"connections_per_ip": 3})
    held = [server.client() for _ in range(3)]
    for c in held:
        c.hello()
    with server.client() as c:
        assert "127.0.0.1" in c.expect(421)
        assert c.closed()
    with server.client(source="127.0.0.7") as c:
        c.hello()
    trusted = [server.client(trusted=True) for _ in range(6)]
    for c in trusted:
        c.hello()
    held.pop().close()

    def free():
        with server.client() as c:
            return c.reply()[0] == 220

    wait_for(free, what="a free place")
    for c in held + trusted:
        c.close()


def test_connections_are_limited_in_all(place):
    server = place.mx(limits={"connections": 4})
    held = [server.client(source=f"127.0.1.{i}") for i in range(4)]
    for c in held:
        c.hello()
    with server.client() as c:
        c.expect(421)
    for c in held:
        c.close()


def test_a_silent_client_gets_421(place):
    with place.mx(limits={"command_timeout": "500ms"}).client() as c:
        c.hello()
        assert "4.4.2" in c.expect(421)
        assert c.closed()


def test_a_client_that_stops_inside_of_the_data_gets_421(place):
    server = place.mx(limits={"data_timeout": "500ms"})
    with server.client() as c:
        c.hello()
        c.begin()
        c.expect(354, "DATA")
        c.send(b"Subject: never-ends\r\n\r\nabc\r\n")
        c.expect(421)
        assert c.closed()
    assert server.maildir("example.org", "alice") == []


def test_a_client_that_trickles_is_ended_by_the_time_of_the_session(place):
    server = place.mx(limits={"session_timeout": "1s"})
    with server.client() as c:
        c.hello()

        def ended():
            try:
                return c.command("NOOP")[0] == 421
            except (EOFError, ConnectionError):
                return True

        wait_for(ended, what="the end of the session")


def test_a_large_header_is_refused(place):
    with place.mx(limits={"header_size": "8K"}).client() as c:
        c.hello()
        c.begin()
        c.expect(354, "DATA")
        c.send(b"Subject: x\r\n" + b"X-Filler: " + b"y" * 70 + b"\r\n" + b"X-More: z\r\n" * 1000 + b"\r\nbody\r\n.\r\n")
        c.expect(552)
        c.send_message("a@client.example", ["alice@example.org"], b"Subject: x\r\n\r\n" + b"X-More: z\r\n" * 1000)


def test_too_many_received_fields_are_a_loop(place):
    server = place.mx(limits={"received_hops": 10})
    for fields, code in ((10, 250), (11, 554)):
        with server.client() as c:
            c.hello()
            c.begin()
            c.expect(354, "DATA")
            c.send(
                b"Received: from a by b; Mon, 1 Jan 2024 00:00:00 +0000\r\n" * fields
                + b"Subject: hops\r\n\r\nx\r\n.\r\n"
            )
            text = c.expect(code)
            assert code == 250 or "5.4.6" in text


def test_a_reload_while_a_connection_comes_in_changes_nothing_for_it(place):
    """The pressure is looked at meanwhile, which takes a moment."""
    server = place.mx(pressure={"interval": "10ms"})
    over = threading.Event()

    def reload():
        while not over.wait(0.002):
            server.hangup()

    thread = threading.Thread(target=reload)
    thread.start()
    try:
        end = time.monotonic() + 3
        while time.monotonic() < end:
            with server.client() as c:
                c.expect(220)
    finally:
        over.set()
        thread.join()


def test_a_stop_says_421_to_idle_sessions(place):
    server = place.mx()
    with server.client() as c:
        c.hello()
        server.process.terminate()
        c.expect(421)
        assert c.closed()
    assert server.ended() == 0


def test_a_stop_lets_a_message_that_is_under_way_finish(place):
    server = place.mx()
    with server.client() as c:
        c.hello()
        c.begin()
        c.expect(354, "DATA")
        c.send(b"Subject: under-way\r\n\r\n")
        c.was_read()
        server.process.terminate()
        wait_for(lambda: refused("127.0.0.1", server.port), what="closed listeners")
        c.send(b"x\r\n.\r\n")
        c.expect(250)
    assert server.ended() == 0
    server.start()
    wait_for(lambda: server.maildir("example.org", "alice"), what="the message after the next start")


def refused(address, port):
    try:
        with socket.create_connection((address, port), 1):
            return False
    except ConnectionRefusedError:
        return True


# --- many at once ------------------------------------------------------------------------------------------------------


def test_hundreds_of_sessions_side_by_side(mx):
    clients = [mx.client(trusted=True) for _ in range(300)]
    try:
        for c in clients:
            c.hello()
        for c in clients:
            c.send("MAIL FROM:<a@client.example>\r\nRCPT TO:<crowd@every.example>\r\nDATA\r\n")
        for c in clients:
            assert [c.reply()[0] for _ in range(3)] == [250, 250, 354]
        for i, c in enumerate(clients):
            c.send(f"Subject: crowd-{i}\r\n\r\nx\r\n.\r\n")
        for c in clients:
            c.expect(250)
    finally:
        for c in clients:
            c.close()
    wait_for(lambda: len(mx.maildir("every.example", "crowd")) == 300, 30, "300 messages in the Maildir")
    subjects = {re.search(rb"^Subject: (.*)$", m, re.M).group(1) for m in mx.maildir("every.example", "crowd")}
    assert len(subjects) == 300


def test_ipv6_listener(place):
    port = harness.free_port("::1")
    server = place.mx(port=port, address="::1", listen=[{"address": [f"[::1]:{port}"], "role": "mx"}])
    with place.client("::1", port) as c:
        c.hello()
        c.send_message("a@client.example", ["alice@example.org"], b"Subject: six\r\n\r\nx\r\n")
    assert b"[IPv6:::1]" in arrived(server, "alice", b"Subject: six")
