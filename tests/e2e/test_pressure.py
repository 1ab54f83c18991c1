"""The way in: what happens when connections, memory or the disk run short, and that slow senders cost no threads."""

import json
import re
import resource
import selectors
import socket
import time

import harness
from harness import wait_for


def with_http(place, **options):
    return place.mx(admin={"listen": f"127.0.0.1:{harness.free_port()}"}, **options)


def reload(server, **sections):
    """New sections in the configuration, and the wait until they are in force."""
    config = json.loads(server.config.read_text())
    before = server.log().count("the new configuration is in force")
    server.write_config(json.dumps({**config, **sections}))
    server.hangup()
    wait_for(lambda: server.log().count("the new configuration is in force") > before, what="the reload")


def lines(server, text):
    return server.log().count(text)


# --- connections -------------------------------------------------------------------------------------------------------


def test_connections_are_limited_per_network_with_a_way_back(place):
    server = with_http(place, limits={"connections_per_network": 10, "relief": 20})
    held = [server.client(source=f"127.0.7.{i}") for i in range(1, 11)]
    for c in held:
        c.hello()
    for i in range(20, 24):
        with server.client(source=f"127.0.7.{i}") as c:
            assert "network" in c.expect(421)
            assert c.closed()
    with server.client(source="127.0.8.1") as c:  # another network
        c.hello()
    assert server.json("status")["receive"]["limits"]["limited_networks"] == 1
    assert server.metric('connections_limited{by="network"}') == 1
    assert server.metric('connections_refused_total{by="network"}') == 4
    held.pop().close()
    wait_for(lambda: server.json("status")["receive"]["sessions"] == 9, what="the end of a session")
    with server.client(source="127.0.7.30") as c:
        c.expect(421)  # 9 of 10 are still too many
    held.pop().close()
    wait_for(lambda: server.json("status")["receive"]["sessions"] == 8, what="the end of a session")
    with server.client(source="127.0.7.30") as c:
        c.hello()
        assert server.metric('connections_limited{by="network"}') == 0
    assert lines(server, "too many connections from one network") == 1
    assert lines(server, "the network may connect again") == 1
    for c in held:
        c.close()


def test_the_size_of_a_network_is_configurable(place):
    server = place.mx(limits={"connections_per_network": 2, "network_prefix4": 16})
    held = [server.client(source=f"127.9.{i}.1") for i in (1, 2)]
    for c in held:
        c.hello()
    with server.client(source="127.9.3.1") as c:
        c.expect(421)
    with server.client(source="127.8.3.1") as c:
        c.hello()
    for c in held:
        c.close()


def test_connections_in_all_have_a_way_back_and_one_line_for_each_change(place):
    server = with_http(place, limits={"connections": 10, "relief": 30})
    held = [server.client(source=f"127.0.{i}.1") for i in range(10)]
    for c in held:
        c.hello()
    for _ in range(3):
        with server.client(source="127.1.1.1") as c:
            c.expect(421)
    assert server.json("status")["receive"]["limits"]["state"] == "all taken"
    assert server.metric('connections_limited{by="all"}') == 1
    for left in (9, 8):
        held.pop().close()
        wait_for(lambda: server.json("status")["receive"]["sessions"] == left, what="the end of a session")
        with server.client(source="127.1.1.1") as c:
            c.expect(421)
    held.pop().close()
    wait_for(lambda: server.json("status")["receive"]["sessions"] == 7, what="the end of a session")
    with server.client(source="127.1.1.1") as c:
        c.hello()
    assert server.json("status")["receive"]["limits"]["refused"] == 5
    assert lines(server, "limits.connections is reached") == 1
    assert lines(server, "there is room for connections again") == 1
    for c in held:
        c.close()


# --- memory and disk ---------------------------------------------------------------------------------------------------

ENOUGH = {"interval": "20ms"}
SHORT = {"memory_limit": "100M", "memory_high": 1, "memory_critical": 1000, "interval": "20ms"}


def settled(server, name, state):
    wait_for(lambda: server.json("status")["receive"]["pressure"][name]["state"] == state, what=f"{name}: {state}")


def test_short_of_memory_new_sessions_and_messages_wait(place):
    server = with_http(place, pressure=ENOUGH)
    with server.client() as inside:
        inside.hello()
        inside.begin()
        reload(server, pressure=SHORT)
        settled(server, "memory", "short")
        with server.client() as c:
            assert "4.3.2" in c.expect(421)
            assert c.closed()
        inside.expect(354, "DATA")  # what has begun is finished
        inside.send(b"Subject: under-pressure\r\n\r\nx\r\n.\r\n")
        inside.expect(250)
        assert "4.3.0" in inside.expect(452, "MAIL FROM:<a@client.example>")
        assert server.metric('pressure_level{of="memory"}') == 1
        assert server.metric('pressure_refusals_total{of="memory"}') >= 2
        assert server.metric('pressure_value{of="memory"}') > server.metric('pressure_mark{of="memory"}') > 0
        reload(server, pressure=ENOUGH)
        settled(server, "memory", "enough")
        inside.send_message("a@client.example", ["alice@example.org"])
    with server.client() as c:
        c.hello()
    assert lines(server, "memory is short") == 1
    assert lines(server, "there is memory enough again") == 1


def test_with_memory_nearly_used_up_nobody_is_accepted_until_there_is_some(place):
    server = place.mx(pressure=ENOUGH)
    reload(server, pressure={**SHORT, "memory_critical": 2})
    settled(server, "memory", "critical")
    time.sleep(0.3)
    held = [server.client()]
    while not held[-1].silent(0.3):  # each loop of the server lets one in that it was waiting for already
        held[-1].expect(421)
        assert len(held) < 32
        held.append(server.client())
    reload(server, pressure=ENOUGH)
    held[-1].hello()  # the kernel has kept it
    for c in held:
        c.close()
    assert lines(server, "memory is nearly used up") == 1


def test_a_full_disk_at_two_levels(place):
    server = with_http(place, pressure=ENOUGH)
    with server.client() as c:
        c.hello()
        reload(server, pressure={**ENOUGH, "disk_high": "1000T", "disk_critical": "1"})
        settled(server, "disk", "short")
        assert "4.3.1" in c.expect(452, "MAIL FROM:<a@client.example>")
        with server.client() as other:
            other.hello()  # whoever has something else to say may come in
            other.expect(452, "MAIL FROM:<a@client.example>")
        assert server.metric('pressure_level{of="disk"}') == 1
        reload(server, pressure={**ENOUGH, "disk_high": "1000T", "disk_critical": "900T"})
        settled(server, "disk", "critical")
        assert server.metric('pressure_level{of="disk"}') == 2
        reload(server, pressure=ENOUGH)
        settled(server, "disk", "enough")
        c.send_message("a@client.example", ["alice@example.org"])
    for text in ("disk of the spool is nearly full", "disk of the spool is full", "disk space enough again"):
        assert lines(server, text) == 1, text
    assert "disk: enough" in server.command("status").stdout


def test_without_inodes_new_messages_wait(place):
    server = place.mx(pressure=ENOUGH)
    if "files" not in server.json("status")["receive"]["pressure"]:
        return  # a file system that counts none
    reload(server, pressure={**ENOUGH, "files_high": "1000T"})
    settled(server, "files", "short")
    with server.client() as c:
        c.hello()
        c.expect(452, "MAIL FROM:<a@client.example>")
    assert lines(server, "nearly no inodes left") == 1


# --- many, and slow ones -----------------------------------------------------------------------------------------------


def threads(server):
    status = open(f"/proc/{server.process.pid}/status").read()
    return int(re.search(r"^Threads:\s+(\d+)", status, re.M).group(1))


def test_two_thousand_slow_senders_cost_no_thread_and_hold_up_nobody(place):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    n = min(2000, hard - 500)
    server = place.mx(limits={"connections_per_ip": 5000, "connections_per_network": 5000})
    with server.client() as c:
        c.hello()
        c.send_message("a@client.example", ["alice@example.org"])
    before = threads(server)
    letter = b"EHLO slow.example\r\nMAIL FROM:<a@client.example>\r\nRCPT TO:<bob@example.org>\r\n"
    selector = selectors.DefaultSelector()
    slow = []
    try:
        for i in range(n):
            s = socket.create_connection(("127.0.0.1", server.port), 10 * harness.SLOW, (f"127.0.{i % 200}.2", 0))
            s.setblocking(False)
            selector.register(s, selectors.EVENT_READ)
            slow.append(s)
        for at in range(0, 12):  # an octet at a time, everybody in turn
            for s in slow:
                s.send(letter[at : at + 1])
            while selector.select(0):
                for key, _ in selector.select(0):
                    key.fileobj.recv(4096)
        assert server.json("status")["receive"]["sessions"] == n
        assert threads(server) == before
        started = time.monotonic()
        with server.client(source="127.0.250.1") as c:
            c.hello()
            c.send_message("a@client.example", ["alice@example.org"], b"Subject: quick\r\n\r\nx\r\n")
        assert time.monotonic() - started < 2 * harness.SLOW
        for s in slow:
            s.send(letter[12:17] + b"\r\n")
        waiting = set(slow)
        end = time.monotonic() + 60 * harness.SLOW
        while waiting and time.monotonic() < end:
            for key, _ in selector.select(1):
                data = key.fileobj.recv(4096)
                assert data, "a slow session was closed"
                if b"250 " in data:
                    waiting.discard(key.fileobj)
        assert not waiting
    finally:
        for s in slow:
            s.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    wait_for(lambda: server.json("status")["receive"]["sessions"] == 0, 30, "the end of all sessions")
