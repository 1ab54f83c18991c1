"""The way out: from a recipient to the hosts that are tried, over a DNS that is a zone file."""

import pytest

import harness
from outgoing import SENDER, arrival, bounce, is_waiting
from harness import wait_for


# --- where to --------------------------------------------------------------------------------------------------------


def test_the_lowest_preference_is_tried_first(net):
    first, second = net.host(1), net.host(2)
    net.mx((20, 2), (10, 1))
    server = net.server()
    server.submit(SENDER, "bob@dest.example")
    message = arrival(first)
    assert message["from"].startswith(f"FROM:<{SENDER}>") and message["to"][0].startswith("TO:<bob@dest.example>")
    assert second.connections == 0
    wait_for(server.queue_is_empty, what="an empty queue")


@pytest.mark.parametrize(
    "answers",
    [
        None,
        {"CONNECT": None},
        {"CONNECT": "554 5.3.2 not today"},
        {"CONNECT": "421 4.3.2 busy"},
        {"EHLO": "421 4.3.2 busy"},
        {"EHLO": None},
        {"CONNECT": "garbage"},
    ],
)
def test_the_next_exchanger_is_tried_when_the_first_does_not_work(net, answers):
    if answers is None:
        net.dead_host(1)
    else:
        net.host(1, answers=answers)
    second = net.host(2)
    net.mx((10, 1), (20, 2))
    net.server().submit(SENDER, "bob@dest.example")
    arrival(second)


def test_a_permanent_refusal_is_not_asked_again_elsewhere(net):
    first, second = net.host(1, answers={"RCPT": "550 5.1.1 no such user"}), net.host(2)
    net.mx((10, 1), (20, 2))
    server = net.server()
    server.submit(SENDER, "bob@dest.example")
    assert "5.1.1" in bounce(server).recipients[0]["Status"]
    assert second.connections == 0 and len(first.said("RCPT")) == 1


def test_equal_preferences_share_the_load(net):
    peers = [net.host(1), net.host(2)]
    net.mx((10, 1), (10, 2))
    server = net.server(queue={"messages_per_connection": 1})
    for i in range(40):
        server.submit(SENDER, f"bob{i}@dest.example")
    wait_for(lambda: sum(len(p.messages) for p in peers) == 40, what="40 messages")
    assert all(len(p.messages) >= 3 for p in peers), [len(p.messages) for p in peers]


def test_without_mx_the_address_of_the_domain_is_used(net):
    peer = net.host(1, name="dest.example")
    net.server().submit(SENDER, "bob@dest.example")
    arrival(peer)


def test_a_null_mx_bounces_at_once(net):
    net.record("dest.example.", "MX", "0 .")
    server = net.server()
    server.submit(SENDER, "bob@dest.example")
    assert bounce(server).recipients[0]["Status"] == "5.1.10"


def test_a_domain_that_does_not_exist_bounces_at_once(net):
    server = net.server()
    server.submit(SENDER, "bob@nowhere.example")
    assert bounce(server).recipients[0]["Status"] == "5.1.2"


def test_a_domain_with_neither_mx_nor_address_bounces(net):
    net.record("dest.example.", "TXT", '"just text"')
    server = net.server()
    server.submit(SENDER, "bob@dest.example")
    assert bounce(server).recipients[0]["Status"] in ("5.4.4", "5.1.2")


@pytest.mark.parametrize("trouble", ["; SERVFAIL dest.example", "; TIMEOUT dest.example"])
def test_dns_trouble_is_never_a_bounce(net, trouble):
    net.records.append(trouble)
    server = net.server(dns={"zone": "{dir}/zone", "timeout": "500ms"})
    server.submit(SENDER, "bob@dest.example")
    is_waiting(server)
    assert server.maildir("example.org", "alice") == []


def test_an_mx_whose_addresses_are_in_doubt_is_never_a_bounce(net):
    net.mx((10, 1))
    net.records.append("; SERVFAIL mx1.dest.example")
    server = net.server()
    server.submit(SENDER, "bob@dest.example")
    is_waiting(server)
    assert server.maildir("example.org", "alice") == []


def test_a_cname_of_the_domain_is_followed(net):
    peer = net.host(1)
    net.record("alias.example.", "CNAME", "dest.example.")
    net.mx((10, 1))
    net.server().submit(SENDER, "bob@alias.example")
    assert "bob@" in arrival(peer)["to"][0]


def test_an_mx_that_is_a_cname_is_tolerated(net):
    peer = net.host(1)
    net.record("dest.example.", "MX", "10 mail.dest.example.")
    net.record("mail.dest.example.", "CNAME", "mx1.dest.example.")
    net.server().submit(SENDER, "bob@dest.example")
    arrival(peer)


def test_a_cname_loop_ends(net):
    net.record("dest.example.", "CNAME", "two.example.")
    net.record("two.example.", "CNAME", "dest.example.")
    server = net.server()
    server.submit(SENDER, "bob@dest.example")
    wait_for(
        lambda: server.maildir("example.org", "alice")
        or any(r["attempts"] for row in server.rows() for r in row["recipients"])
    )


def test_an_address_literal_is_taken_as_it_is(net):
    peer = net.host(3)
    net.server().submit(SENDER, f"bob@[{net.addresses[2]}]")
    assert arrival(peer)["to"][0].startswith(f"TO:<bob@[{net.addresses[2]}]>")


def test_ipv4_is_tried_when_ipv6_does_not_answer(net):
    net.record("mx1.dest.example.", "AAAA", "::1")
    peer = net.host(1)
    net.mx((10, 1))
    net.server().submit(SENDER, "bob@dest.example")
    arrival(peer)


def test_ipv6_alone_works(net):
    net.record("mx1.dest.example.", "AAAA", "::1")
    net.mx((10, 1))
    peer = net.place.peer(address="::1", port=net.port)
    net.server().submit(SENDER, "bob@dest.example")
    arrival(peer)


def test_the_other_addresses_of_a_host_are_tried(net):
    net.record("mx1.dest.example.", "A", net.addresses[4])
    net.record("mx1.dest.example.", "A", net.addresses[5])
    peer = net.host(1)
    net.mx((10, 1))
    net.server().submit(SENDER, "bob@dest.example")
    arrival(peer)


# --- loops -------------------------------------------------------------------------------------------------------------


def test_our_own_name_as_the_best_exchanger_is_a_loop(net):
    net.record("dest.example.", "MX", "10 out.example.net.")
    net.record("out.example.net.", "A", "127.0.0.1")
    server = net.server()
    server.submit(SENDER, "bob@dest.example")
    assert bounce(server).recipients[0]["Status"] == "5.4.6"


def test_our_own_address_as_the_best_exchanger_is_a_loop(net):
    net.record("dest.example.", "MX", "10 pseudonym.example.")
    net.record("pseudonym.example.", "A", net.addresses[0])
    server = net.place.mx(
        hostname="out.example.net",
        zone="\n".join(net.records),
        address=net.addresses[0],
        port=net.port,
        deliver={"port": net.port},
    )
    server.submit(SENDER, "bob@dest.example")
    assert bounce(server).recipients[0]["Status"] == "5.4.6"


def test_a_backup_exchanger_sends_to_better_ones_only(net):
    """RFC 5321 section 5.1: our own entry and all that are no better are left out."""
    first, third = net.host(1), net.host(3)
    net.mx((10, 1), (30, 3))
    net.record("dest.example.", "MX", "20 out.example.net.")
    net.record("out.example.net.", "A", "127.0.0.1")
    server = net.server()
    server.submit(SENDER, "bob@dest.example")
    arrival(first)
    first.close()
    server.submit(SENDER, "carol@dest.example")
    is_waiting(server)
    assert third.connections == 0


def test_two_servers_that_point_at_each_other_end_it(place):
    ports = [harness.free_port(), harness.free_port()]
    servers = [
        place.mx(
            port=ports[i],
            hostname=f"loop{i}.example.net",
            trusted=["127.0.0.0/8"],
            limits={"received_hops": 8},
            domains=["example.org"] if i == 0 else [],
            routes=[
                {"to": "dest.example", "via": [{"host": f"127.0.0.1:{ports[1 - i]}"}]},
                {"to": "example.org", "via": [{"host": f"127.0.0.1:{ports[0]}"}]},
            ],
        )
        for i in (0, 1)
    ]
    servers[0].submit(SENDER, "bob@dest.example")
    assert bounce(servers[0]).recipients[0]["Status"] == "5.4.6"
    for s in servers:
        wait_for(s.queue_is_empty, what="an empty queue")
