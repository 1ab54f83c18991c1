"""Mail that waits for somebody's word: sites that an administrator holds, and customers who pick up their mail by ATRN."""

import threading

import pytest

import outgoing
from harness import wait_for
from logins import PASSWORD, User, add_user, auth_server
from outgoing import SENDER, arrival


@pytest.fixture
def net(place):
    return outgoing.Net(place)


# --- held sites --------------------------------------------------------------------------------------------------------


def test_a_held_site_is_held_over_a_restart_and_shown_everywhere(net):
    peer = net.host(1)
    net.mx((10, 1))
    server = net.server()
    assert "yizhan sites release dest.example" in server.command("sites", "hold", "dest.example").stdout
    server.submit(SENDER, "bob@dest.example")
    wait_for(lambda: server.rows()[0]["recipients"][0].get("waits_for") == "somebody to release its site", what="the hold")
    server.stop()
    server.start()
    server.submit(SENDER, "eve@dest.example")
    wait_for(
        lambda: [r["recipients"][0].get("waits_for") for r in server.rows()] == ["somebody to release its site"] * 2,
        what="both held",
    )
    assert "held until `yizhan sites release`: dest.example" in server.command("sites").stdout
    assert "state: held" in server.command("route", "bob@dest.example").stdout
    assert not peer.messages and peer.connections == 0
    assert "is held already" in server.command("sites", "hold", "dest.example", check=False).stderr
    assert "is not held" in server.command("sites", "release", "*.example", check=False).stderr
    assert "released" in server.command("sites", "release", "dest.example").stdout
    arrival(peer, 2)
    wait_for(server.queue_is_empty, what="the end")
    assert "held until" not in server.command("sites").stdout


# --- ATRN (RFC 2645) ---------------------------------------------------------------------------------------------------


class Customer:
    """Logs in, says ATRN, and becomes a server on the same connection."""

    def __init__(self, server, user="office", hello=("customer.example", "PIPELINING", "DSN")):
        self.c = User(server)
        assert self.c.plain(user)[0] == 235
        self.hello, self.said, self.messages = hello, [], []

    def atrn(self, *domains, code=250):
        return self.c.expect(code, "ATRN " + ",".join(domains) if domains else "ATRN")

    def serve(self, answers=None, until=None):
        """Answers commands until QUIT or the end; until: the verb before whose answer the connection is cut."""
        answers = dict(answers or {})
        c = self.c
        c.send("220 customer.example ready\r\n")
        while line := c.line():
            self.said.append(line)
            verb = line.split()[0].upper()
            if verb == until:
                c.close()
                return self
            if verb == "EHLO":
                c.send("".join(f"250{'-' if i + 1 < len(self.hello) else ' '}{w}\r\n" for i, w in enumerate(self.hello)))
            elif verb == "DATA" and verb not in answers:
                c.send("354 go on\r\n")
                data = []
                while (text := c.line()) != ".":
                    data.append(text)
                self.messages.append("\n".join(data))
                if until == "DOT":
                    c.close()
                    return self
                c.send(answers.get("DOT", "250 2.0.0 taken") + "\r\n")
            elif verb == "QUIT":
                c.send("221 goodbye\r\n")
                return self
            else:
                c.send(answers.get(verb, "250 2.0.0 OK") + "\r\n")
        return self


@pytest.fixture
def relay(place):
    s = auth_server(
        place,
        listen=[{"role": "submission", "offer": ["ATRN"]}, {"role": "mx", "offer": ["ATRN"]}, {"role": "mx"}],
        users=False,
        atrn=[{"user": "office", "domains": ["customer.example", "second.example"]}, {"user": "other", "domains": ["other.example"]}],
        routes=[{"to": ["customer.example", "second.example", "other.example"], "via": ["atrn"]}],
    )
    for name in ("office", "other", "nobody"):
        add_user(s.dir, name, PASSWORD, "--addresses", f"{name}@example.org")
    s.start()
    return s


def wait_parked(server, count):
    def look():
        rows = [r for m in server.rows() for r in m["recipients"]]
        return len(rows) == count and all(r["status"] == "waiting" and r.get("site", "").startswith("atrn:") for r in rows)

    wait_for(look, what=f"{count} parked recipients")


def test_a_customer_gets_what_waits_for_all_of_his_domains(relay):
    for to in ("a@customer.example", "b@customer.example", "c@second.example", "d@other.example"):
        relay.submit(SENDER, to)
    wait_parked(relay, 4)
    customer = Customer(relay)
    assert "250" in customer.atrn()
    customer.serve()
    assert len(customer.messages) == 3 and customer.said[0].startswith("EHLO ") and customer.said[-1] == "QUIT"
    assert sorted(x.split("<")[1].split(">")[0] for x in customer.said if x.startswith("RCPT")) == [
        "a@customer.example",
        "b@customer.example",
        "c@second.example",
    ]
    wait_for(lambda: len(relay.rows()) == 1, what="the end of the three")
    wait_parked(relay, 1)
    assert "4.3.0" in Customer(relay).atrn(code=453)


def test_one_domain_of_several_and_a_message_for_two(relay):
    relay.submit(SENDER, ["a@customer.example", "c@second.example"])
    wait_for(lambda: relay.rows(), what="the message")
    customer = Customer(relay)
    customer.atrn("SECOND.example")
    customer.serve()
    assert [x for x in customer.said if x.startswith("RCPT")] == ["RCPT TO:<c@second.example>"]
    again = Customer(relay)
    again.atrn("customer.example", "second.example")
    again.serve()
    assert [x for x in again.said if x.startswith("RCPT")] == ["RCPT TO:<a@customer.example>"]
    wait_for(relay.queue_is_empty, what="the end")


def test_domains_of_others_are_refused_as_a_whole(relay):
    relay.submit(SENDER, "a@customer.example")
    relay.submit(SENDER, "d@other.example")
    wait_parked(relay, 2)
    customer = Customer(relay)
    assert "other.example" in customer.atrn("customer.example", "other.example", code=450)
    customer.atrn("not..a.name", code=501)
    customer.atrn("customer.example", "", code=501)
    c = customer.c
    c.expect(250, "MAIL FROM:<office@example.org>")
    c.expect(503, "ATRN")
    c.expect(250, "RSET")
    customer.atrn("customer.example")
    assert len(customer.serve().messages) == 1
    wait_parked(relay, 1)


def test_it_is_offered_beside_auth_and_refused_without_a_login(relay):
    with relay.client() as c:
        assert "ATRN" not in c.hello()  # AUTH comes with TLS only
        c.expect(502, "ATRN")
    user = User(relay)
    assert "ATRN" in user.greeting and "AUTH" in user.greeting
    assert "5.7.0" in user.expect(530, "ATRN customer.example")
    for port in (relay.implicit_port, relay.mx_port):
        with relay.client(port=port) as c:
            assert "ATRN" not in c.hello()
    nobody = Customer(relay, "nobody")
    nobody.atrn(code=450)
    nobody.atrn("customer.example", code=450)


@pytest.mark.parametrize("verb", ["EHLO", "MAIL", "RCPT", "DATA"])
def test_a_connection_that_dies_early_loses_nothing_and_sends_nothing_twice(relay, verb):
    for n in range(5):
        relay.submit(SENDER, f"a{n}@customer.example")
    wait_parked(relay, 5)
    first = Customer(relay)
    first.atrn()
    first.serve(until=verb)
    assert not first.messages
    wait_for(lambda: "a customer has picked up mail" in relay.log() or "did not become a server" in relay.log(), what="the end")
    second = Customer(relay)
    second.atrn()
    second.serve()
    assert len(second.messages) == 5
    wait_for(relay.queue_is_empty, what="the end")


def test_only_the_message_whose_answer_is_lost_may_come_twice(relay):
    for n in range(5):
        relay.submit(SENDER, f"a{n}@customer.example")
    wait_parked(relay, 5)
    first = Customer(relay)
    first.atrn()
    first.serve(until="DOT")
    assert len(first.messages) == 1
    wait_for(lambda: "a customer has picked up mail" in relay.log(), what="the end")
    second = Customer(relay)
    second.atrn()
    second.serve()
    assert len(second.messages) == 5 and first.messages[0].split("\n\n")[-1] == second.messages[0].split("\n\n")[-1]
    wait_for(relay.queue_is_empty, what="the end")


def test_refusals_of_the_customer_are_told_to_senders(relay):
    relay.submit(SENDER, "a@customer.example")
    wait_parked(relay, 1)
    customer = Customer(relay)
    customer.atrn()
    customer.serve({"RCPT": "550 5.1.1 no such user"})
    report = outgoing.bounce(relay)
    assert report.recipients[0]["Action"] == "failed" and "customer.example" in report.recipients[0]["Remote-MTA"]


def test_only_one_picks_up_at_a_time(relay):
    relay.submit(SENDER, "a@customer.example")
    wait_parked(relay, 1)
    first, second = Customer(relay), Customer(relay)
    first.atrn("customer.example")
    assert "4.3.2" in second.atrn(code=450)
    first.serve()
    # Its end is noticed a moment later.
    wait_for(lambda: second.c.command("ATRN")[0] == 453, what="the end of the first")


def test_what_comes_while_the_customer_is_there_goes_at_once(relay):
    relay.submit(SENDER, "a@customer.example")
    wait_parked(relay, 1)
    customer = Customer(relay)
    customer.atrn()
    thread = threading.Thread(target=customer.serve)
    thread.start()
    wait_for(lambda: customer.messages, what="the first")
    relay.submit(SENDER, "b@customer.example")
    wait_for(lambda: len(customer.messages) == 2, what="the second")
    thread.join(20)
    assert customer.said[-1] == "QUIT"


def test_a_stop_ends_it_after_the_message(relay):
    for n in range(3):
        relay.submit(SENDER, f"a{n}@customer.example")
    wait_parked(relay, 3)
    customer = Customer(relay)
    customer.atrn()
    thread = threading.Thread(target=customer.serve)
    thread.start()
    wait_for(lambda: customer.messages, what="the first")
    relay.stop()
    thread.join(20)
    relay.start()
    again = Customer(relay)
    left = 3 - len(customer.messages)
    again.atrn(code=250 if left else 453)
    if left:
        again.serve()
    assert len(customer.messages) + len(again.messages) == 3


def test_the_customer_must_not_send_ahead(relay):
    relay.submit(SENDER, "a@customer.example")
    wait_parked(relay, 1)
    c = Customer(relay).c
    c.send("ATRN\r\n220 hello\r\n")
    assert c.reply()[0] == 554
    wait_parked(relay, 1)


def test_route_says_who_has_to_come(relay):
    text = relay.command("route", "a@customer.example", check=False).stdout
    assert "until the customer picks it up (ATRN)" in text, text
