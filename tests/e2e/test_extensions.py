"""The extensions of SMTP: what each listener offers, that each verb and parameter works where it was offered and nowhere
else, and what becomes of a message that asks for something. The table is docs/EXTENSIONS.md."""

import re
import socket
import struct
import time
import zlib

import pytest

from harness import Client, arrived, free_port, header_of, reports, wait_for
from outgoing import SENDER, arrival, bounce

ALL = ["BINARYMIME", "REQUIRETLS", "DELIVERBY", "MT-PRIORITY", "RRVS", "NO-SOLICITING", "VRFY", "EXPN", "HELP"]
USUAL = {"PIPELINING", "SIZE", "8BITMIME", "ENHANCEDSTATUSCODES", "DSN", "SMTPUTF8", "CHUNKING", "LIMITS"}
OPTIONAL = [
    *("PIPELINING", "SIZE", "8BITMIME", "DSN", "SMTPUTF8", "CHUNKING", "LIMITS", "STARTTLS", "REQUIRETLS"),
]


def keywords(hello):
    """The keywords of a reply to EHLO, with their arguments."""
    lines = hello.split("\n")[1:]
    return {line[4:].split()[0]: line[4:].split()[1:] for line in lines}


@pytest.fixture(scope="module")
def doors(shared):
    """One server with a listener of each role, one that withholds all it can, and one that offers all it can."""
    names = ("mx", "submission", "lmtp", "bare", "full")
    ports = {name: free_port("127.0.0.1") for name in names}

    def listener(name, role, **more):
        return {"address": f"127.0.0.1:{ports[name]}", "role": role, **more}

    server = shared.mx(
        port=ports["mx"],
        tls=shared.certificate(),
        dns={"reverse_lookup": False},
        domains={"example.org": {"deliver": "maildir:{dir}/mail/{domain}/{local}", "recipients": ["alice", "bob"]}},
        etrn={"domains": ["*.customer.example", "customer.example"], "clients": ["127.0.0.77"]},
        limits={"errors": 1000, "commands": 10000, "recipient_domains": 2, "hold": "1h", "recipients": 50, "messages": 70},
        listen=[
            listener("mx", "mx"),
            listener("submission", "submission"),
            listener("lmtp", "lmtp"),
            listener("bare", "mx", withhold=OPTIONAL),
            listener("full", "mx", offer=ALL, no_soliciting=["org.example:ADV", "net.example:ADLT"]),
        ],
    )
    server.ports = ports
    return server


@pytest.fixture
def at(doors):
    """at("mx"): a client of that listener, behind EHLO; .offered are the keywords."""
    open_clients = []

    def connect(name, hello="EHLO client.example", tls=False, **options):
        c = doors.client(port=doors.ports[name], **options)
        open_clients.append(c)
        c.expect(220)
        c.offered = keywords(c.expect(250, hello))
        if tls:
            c.starttls()
            c.offered = keywords(c.expect(250, hello))
        return c

    yield connect
    for c in open_clients:
        c.close()


# --- what is offered ---------------------------------------------------------------------------------------------------


def test_each_role_has_its_defaults(at):
    assert set(at("mx").offered) == USUAL | {"STARTTLS"}
    assert set(at("mx", tls=True).offered) == USUAL | {"REQUIRETLS"}
    own = {"DELIVERBY", "MT-PRIORITY", "FUTURERELEASE"}
    assert set(at("submission", trusted=True).offered) == USUAL | own | {"STARTTLS", "ETRN"}
    assert set(at("submission", tls=True).offered) == USUAL | own | {"REQUIRETLS"}
    assert set(at("lmtp", hello="LHLO client.example").offered) == USUAL | {"STARTTLS"}


def test_a_listener_withholds_and_offers_what_the_configuration_says(at):
    assert set(at("bare").offered) == {"ENHANCEDSTATUSCODES"}
    assert set(at("full", tls=True).offered) == (USUAL | set(ALL))


def test_the_arguments_say_the_limits(at):
    offered = at("submission", trusted=True).offered
    assert offered["LIMITS"] == ["MAILMAX=70", "RCPTMAX=50", "RCPTDOMAINMAX=2"]
    assert offered["FUTURERELEASE"][0] == "3600"
    until = time.strptime(offered["FUTURERELEASE"][1], "%Y-%m-%dT%H:%M:%SZ")
    assert 3590 < time.mktime(until) - time.mktime(time.gmtime()) <= 3601
    assert at("full").offered["NO-SOLICITING"] == ["org.example:ADV,net.example:ADLT"]


@pytest.mark.parametrize(
    "name, parameter",
    [
        ("bare", "SIZE=10"),
        ("bare", "BODY=8BITMIME"),
        ("bare", "BODY=7BIT"),
        ("bare", "SMTPUTF8"),
        ("bare", "RET=HDRS"),
        ("bare", "ENVID=x"),
        ("bare", "REQUIRETLS"),
        ("full", "REQUIRETLS"),  # there is no TLS yet
        ("mx", "AUTH=<>"),
        ("mx", "BY=100;R"),
        ("mx", "HOLDFOR=100"),
        ("full", "HOLDFOR=100"),
        ("mx", "HOLDUNTIL=2100-01-01T00:00:00Z"),
        ("mx", "MT-PRIORITY=3"),
        ("mx", "SOLICIT=org.example:ADV"),
        ("submission", "SOLICIT=org.example:ADV"),
    ],
)
def test_a_parameter_that_was_not_offered_is_unknown(at, name, parameter):
    c = at(name, trusted=True)
    text = c.expect(555, f"MAIL FROM:<a@client.example> {parameter}")
    assert " 5.5.4 " in text
    c.expect(250, "MAIL FROM:<a@client.example>")


def test_binary_content_is_no_known_body_where_it_was_not_offered(at):
    at("mx").expect(504, "MAIL FROM:<a@client.example> BODY=BINARYMIME")


@pytest.mark.parametrize(
    "name, parameter",
    [("bare", "NOTIFY=NEVER"), ("bare", "ORCPT=rfc822;x@y.example"), ("mx", "RRVS=2014-04-03T23:01:00Z")],
)
def test_a_parameter_of_rcpt_that_was_not_offered_is_unknown(at, name, parameter):
    c = at(name)
    c.expect(250, "MAIL FROM:<a@client.example>")
    c.expect(555, f"RCPT TO:<alice@example.org> {parameter}")
    c.expect(250, "RCPT TO:<alice@example.org>")


def test_behind_helo_there_are_no_parameters(at):
    c = at("full", hello="HELO client.example")
    for parameter in ("SIZE=10", "BODY=8BITMIME", "RET=HDRS", "BY=100;R", "MT-PRIORITY=1"):
        c.expect(555, f"MAIL FROM:<a@client.example> {parameter}")
    c.expect(502, "BDAT 0 LAST")


@pytest.mark.parametrize(
    "name, line",
    [
        ("bare", "STARTTLS"),
        ("bare", "BDAT 0 LAST"),
        ("mx", "ETRN customer.example"),
        ("mx", "EXPN staff"),
        ("mx", "XCLIENT NAME=x.example"),
        ("mx", "XFORWARD NAME=x.example"),
        ("mx", "AUTH PLAIN AGEAYg=="),
    ],
)
def test_a_verb_that_was_not_offered_is_refused(at, name, line):
    text = at(name).expect(502, line)
    assert " 5.5.1 " in text


def test_an_address_that_is_not_ascii_needs_the_offer(at):
    at("bare").expect(553, "MAIL FROM:<jörg@client.example>")
    at("mx").expect(250, "MAIL FROM:<jörg@client.example> SMTPUTF8")


def test_help_names_the_commands_of_this_session(at):
    assert "BDAT" in at("mx").expect(214, "HELP").split()
    bare = at("bare").expect(214, "HELP").split()
    assert "BDAT" not in bare and "STARTTLS" not in bare and "EHLO" in bare and "LHLO" not in bare
    lmtp = at("lmtp", hello="LHLO client.example").expect(214, "HELP").split()
    assert "LHLO" in lmtp and "EHLO" not in lmtp and "ETRN" not in lmtp


@pytest.mark.parametrize(
    "listener, words",
    [
        ({"offer": ["FUTURERELEASE"]}, "FUTURERELEASE can't stand here"),
        ({"offer": ["AUTH"]}, "AUTH can't stand here"),
        ({"offer": ["TELEPATHY"]}, '"TELEPATHY" is no EHLO keyword'),
        ({"withhold": ["ENHANCEDSTATUSCODES"]}, "ENHANCEDSTATUSCODES can't stand here"),
        ({"role": "lmtp", "withhold": ["PIPELINING"]}, "PIPELINING can't stand here"),
        ({"offer": ["DSN"], "withhold": ["DSN"]}, "both offered and withheld"),
        ({"no_soliciting": ["all of it"]}, "classes look like"),
    ],
)
def test_what_can_not_be_is_refused_with_the_configuration(place, listener, words):
    server = place.mx(start=False, listen=[{"address": "127.0.0.1:0", **listener}])
    answer = server.command("check", check=False)
    assert answer.returncode != 0 and words in answer.stdout + answer.stderr, answer


# --- LIMITS ------------------------------------------------------------------------------------------------------------


def test_domains_beyond_the_limit_are_for_another_message(at):
    c = at("mx", trusted=True)
    c.expect(250, "MAIL FROM:<a@client.example>")
    c.expect(250, "RCPT TO:<x@one.example>")
    c.expect(250, "RCPT TO:<x@two.example>")
    c.expect(250, "RCPT TO:<y@ONE.example>")
    text = c.expect(452, "RCPT TO:<x@three.example>")
    assert "4.5.3" in text
    c.expect(250, "RCPT TO:<z@two.example>")


# --- VRFY, EXPN --------------------------------------------------------------------------------------------------------


def test_addresses_are_verified_where_that_is_offered(at):
    c = at("full")
    assert "<alice@example.org>" in c.expect(250, "VRFY alice@example.org")
    c.expect(250, "VRFY <alice@example.org> SMTPUTF8")
    c.expect(550, "VRFY nobody@example.org")
    c.expect(252, "VRFY somebody@elsewhere.example")
    c.expect(252, "VRFY alice")
    c.expect(550, "EXPN alice@example.org")
    c.expect(501, "VRFY")
    assert at("mx").expect(252, "VRFY nobody@example.org")


# --- ETRN --------------------------------------------------------------------------------------------------------------


def test_etrn_answers_each_question(at):
    for c in (at("mx", trusted=True), at("mx", source="127.0.0.77")):
        c.expect(251, "ETRN customer.example")
        c.expect(251, "ETRN @customer.example")
        assert " 4.7.1 " in c.expect(459, "ETRN elsewhere.example")
        c.expect(501, "ETRN")
        c.expect(501, "ETRN not..a.domain")
        c.expect(501, "ETRN *")
        c.expect(250, "MAIL FROM:<a@client.example>")
        c.expect(503, "ETRN customer.example")


def test_etrn_sends_what_waits_for_a_domain(net):
    net.mx((10, 1), domain="customer.example")
    net.mx((10, 2), domain="other.example")
    peers = [net.host(n, answers={"RCPT": ["450 4.2.0 not now", True]}) for n in (1, 2)]
    server = net.server(queue={"retry": ["1h"]}, etrn={"domains": ["customer.example"]})
    for domain in ("customer.example", "other.example"):
        server.submit(SENDER, f"x@{domain}")
    wait_for(lambda: all(p.said("RCPT") for p in peers), what="both first tries")
    wait_for(lambda: server.summary()["deferred"] == 2, what="both to be deferred")
    with server.client(trusted=True) as c:
        c.hello()
        assert " 1 waiting" in c.expect(253, "ETRN customer.example")
    arrival(peers[0])
    assert len(peers[1].said("RCPT")) == 1


# --- NO-SOLICITING -----------------------------------------------------------------------------------------------------


def test_a_refused_class_of_advertisement_is_refused_and_named(at):
    c = at("full")
    text = c.expect(550, "MAIL FROM:<a@client.example> SOLICIT=com.example:X,ORG.example:adv")
    assert "5.7.1" in text and "SOLICIT=ORG.example:adv" in text
    c.expect(501, "MAIL FROM:<a@client.example> SOLICIT=,")
    c.expect(250, "MAIL FROM:<a@client.example>")


def test_a_refused_class_in_the_header_is_refused_as_well(at):
    c = at("full")
    c.begin()
    c.expect(354, "DATA")
    c.send("Subject: x\r\nSolicitation: com.example:X,\r\n net.example:ADLT\r\n\r\nbuy this\r\n.\r\n")
    assert "SOLICIT=net.example:ADLT" in c.expect(550).replace("net.example:ADLT ", "net.example:ADLT")


@pytest.mark.parametrize(
    "header",
    [
        b"Subject: x\r\nSolicitation: org.example:ADV\r\n",  # the message is a header and nothing else
        b"X-Long: x\r\n" * 10000 + b"Solicitation: org.example:ADV\r\n\r\nx\r\n",
    ],
    ids=["header alone", "long header"],
)
def test_a_refused_class_is_found_wherever_it_stands_in_the_header(at, header):
    c = at("full")
    c.begin()
    c.expect(354, "DATA")
    c.send(header + b".\r\n")
    assert "SOLICIT=org.example:ADV" in c.expect(550)


def test_other_classes_are_noted_in_the_trace(doors, at):
    c = at("full")
    c.send_message(
        "a@client.example", ["alice@example.org"], b"Subject: soliciting\r\n\r\nx\r\n", " SOLICIT=com.example:X,com.example:Y"
    )
    message = header_of(arrived(doors, "alice", b"Subject: soliciting"))
    assert re.search(r"with ESMTP\s+\(SOLICIT=com\.example:X,\s+com\.example:Y\)\s+id ", message["Received"])


# --- MT-PRIORITY -------------------------------------------------------------------------------------------------------


def test_strangers_get_no_higher_priority_and_are_told(doors, at):
    c = at("full")
    assert " 2.3.6 0 " in c.expect(250, "MAIL FROM:<a@client.example> MT-PRIORITY=4")
    c.expect(250, "RSET")
    assert " 2.1.0 " in c.expect(250, "MAIL FROM:<a@client.example> MT-PRIORITY=-4")
    c.expect(250, "RSET")
    for wrong in ("10", "-0", "+1", "x", "", "-"):
        c.expect(501, f"MAIL FROM:<a@client.example> MT-PRIORITY={wrong}")
    trusted = at("full", trusted=True)
    assert " 2.1.0 " in trusted.expect(250, "MAIL FROM:<a@client.example> MT-PRIORITY=9")


def test_the_priority_stands_in_received(doors, at):
    at("submission", trusted=True).send_message(
        "a@client.example", ["bob@example.org"], b"Subject: prior\r\n\r\nx\r\n", " MT-PRIORITY=-3"
    )
    assert re.search(r"for <bob@example.org>\s+PRIORITY -3;", header_of(arrived(doors, "bob", b"Subject: prior"))["Received"])


def test_the_priority_may_stand_in_the_header_of_those_who_are_trusted(doors, at):
    data = b"Subject: field\r\nMT-Priority: 7\r\n\r\nx\r\n"
    asked = []
    for c in (at("mx", trusted=True), at("mx")):
        text = c.send_message("a@client.example", ["bob@example.org"], data)
        identity = re.search(r"queued as (\S+)", text).group(1)
        asked.append(next(e for e in doors.events(identity) if e["event"] == "received").get("asks"))
    assert asked == ["priority 7", None]


def test_the_last_field_counts_when_nothing_follows_it(doors, at):
    text = at("mx", trusted=True).send_message("a@client.example", ["bob@example.org"], b"Subject: header only\r\nMT-Priority: 5\r\n")
    identity = re.search(r"queued as (\S+)", text).group(1)
    assert next(e for e in doors.events(identity) if e["event"] == "received")["asks"] == "priority 5"


# --- messages on their way ---------------------------------------------------------------------------------------------


@pytest.fixture
def way(net, place):
    """way(peer options): a submission server and the next hop of dest.example."""

    def make(deliver=(), queue=(), **peer):
        net.mx((10, 1))
        next_hop = net.host(1, **peer)
        port = free_port("127.0.0.1")
        server = net.server(
            port=port,
            tls=place.certificate(),
            deliver=dict(deliver),
            queue=dict(queue),
            listen=[
                {"address": f"127.0.0.1:{port}", "role": "submission", "offer": ["BINARYMIME", "RRVS", "NO-SOLICITING"]}
            ],
        )
        return server, next_hop

    return make


def hand_over(server, parameters="", rcpt_parameters="", data=b"Subject: test\r\n\r\nhello\r\n", tls=False, to="bob@dest.example"):
    with server.client(trusted=True) as c:
        c.hello()
        if tls:
            c.starttls()
            c.expect(250, "EHLO client.example")
        text = c.send_message(SENDER, [to], data, parameters, rcpt_parameters)
        return re.search(r"queued as (\S+)", text).group(1)


def extended(*words):
    from peer import Peer

    return [*Peer.EXTENSIONS, *words]


# --- BINARYMIME --------------------------------------------------------------------------------------------------------

BINARY = b"Subject: binary\r\nContent-Transfer-Encoding: binary\r\n\r\n\0\n\r\x01.\r\n.\r\n" + bytes(range(256)) * 5


def send_binary(server, content=BINARY, to="bob@dest.example"):
    with server.client(trusted=True) as c:
        c.hello()
        c.begin(SENDER, [to], " BODY=BINARYMIME")
        c.expect(503, "DATA")
        c.send(f"BDAT {len(content) - 100}\r\n".encode() + content[:-100])
        c.expect(250)
        c.send(b"BDAT 100 LAST\r\n" + content[-100:])
        c.expect(250)


def test_binary_content_passes_octet_for_octet(way):
    server, peer = way(extensions=extended("BINARYMIME"))
    send_binary(server)
    message = arrival(peer)
    assert message["data"].partition(b"\r\n\r\n")[2] == BINARY.partition(b"\r\n\r\n")[2]
    assert "BODY=BINARYMIME" in message["from"]


def test_binary_content_goes_back_from_a_server_that_can_not_take_it_where_nothing_is_converted(way):
    server, peer = way(deliver={"convert": "never"})
    send_binary(server)
    report = bounce(server)
    assert report.recipients[0]["Status"] == "5.6.3" and "BINARYMIME" in report.text
    assert not peer.said("MAIL")


def test_binary_content_that_is_lines_after_all_goes_as_lines(way):
    server, peer = way()
    send_binary(server, b"Subject: lines\r\n\r\n" + b"only text\r\n" * 30)
    assert "BODY=" not in arrival(peer)["from"]


def test_binary_content_is_not_put_into_a_mailbox_of_lines(way):
    server, _ = way()
    send_binary(server, to="carol@example.org")
    assert bounce(server).recipients[0]["Status"] == "5.6.3"
    assert not server.maildir("example.org", "carol")


# --- REQUIRETLS, TLS-Required ------------------------------------------------------------------------------------------


@pytest.fixture
def protected(way, net, place):
    """The same with a next hop whose certificate is known, and whose name is vouched for by DNSSEC."""

    def make(*words, tls=True, known=True, secure=True, **peer):
        if secure:
            net.secure()
        pair = place.certificate("mx1.dest.example")
        deliver = {"ca_file": str(pair[0] if known else place.certificate("else.example")[0])}
        return way(deliver=deliver, extensions=extended(*words), tls=pair if tls else None, **peer)

    return make


def test_requiretls_goes_over_verified_tls_and_is_passed_on(protected):
    server, peer = protected("REQUIRETLS")
    hand_over(server, " REQUIRETLS", tls=True)
    message = arrival(peer)
    assert message["secure"] and " REQUIRETLS" in message["from"]


@pytest.mark.parametrize(
    "words, options, status",
    [
        ([], {}, "5.7.30"),
        (["REQUIRETLS"], {"tls": False}, "5.7.10"),
        (["REQUIRETLS"], {"known": False}, "5.7.10"),
        (["REQUIRETLS"], {"secure": False}, "5.7.10"),
    ],
    ids=["not offered", "no TLS", "strange certificate", "a name that nobody vouches for"],
)
def test_requiretls_goes_back_where_it_can_not_be_kept(protected, words, options, status):
    server, peer = protected(*words, **options)
    hand_over(server, " REQUIRETLS RET=FULL", tls=True, data=b"Subject: secret\r\n\r\nthe text itself\r\n")
    report = bounce(server)
    assert report.recipients[0]["Status"] == status and "REQUIRETLS" in report.text
    assert report.original_type == "text/rfc822-headers" and b"the text itself" not in report.raw
    assert not peer.said("MAIL")
    # Nothing follows from it for others.
    hand_over(server)
    assert "REQUIRETLS" not in arrival(peer)["from"]


def test_a_server_that_refuses_starttls_for_now_is_asked_again_and_gets_other_mail(protected):
    server, peer = protected("REQUIRETLS", answers={"STARTTLS": "454 4.7.0 TLS not available"})
    hand_over(server, " REQUIRETLS", tls=True)
    wait_for(lambda: len(peer.said("STARTTLS")) >= 2, what="another try")
    assert server.summary()["messages"] == 1
    hand_over(server)
    assert "REQUIRETLS" not in arrival(peer)["from"]


def test_requiretls_tries_the_other_hosts(net, place):
    net.mx((10, 1), (20, 2))
    net.secure()
    pair = place.certificate("mx2.dest.example")
    first = net.host(1, tls=pair)
    second = net.host(2, tls=pair, extensions=extended("REQUIRETLS"))
    port = free_port("127.0.0.1")
    server = net.server(
        port=port,
        tls=place.certificate(),
        deliver={"ca_file": str(pair[0])},
        listen=[{"address": f"127.0.0.1:{port}", "role": "submission"}],
    )
    hand_over(server, " REQUIRETLS", tls=True)
    assert arrival(second)["secure"] and not first.said("MAIL")


def test_that_tls_is_not_required_is_noted(way):
    server, peer = way()
    identity = hand_over(server, data=b"Subject: x\r\nTLS-Required: No\r\n\r\nx\r\n")
    arrival(peer)
    event = next(e for e in server.events(identity) if e["event"] == "received")
    assert event["asks"] == "TLS-Required: No"


# --- DELIVERBY ---------------------------------------------------------------------------------------------------------


def test_what_is_late_is_returned_when_its_sender_wants_that(way):
    server, peer = way(answers={"RCPT": "450 4.2.1 not now"}, extensions=extended("DELIVERBY"))
    hand_over(server, " BY=2;R")
    report = bounce(server)
    assert report.recipients[0]["Status"] == "5.4.7" and report.recipients[0]["Action"] == "failed"
    assert report.message["Deliver-By-Date"] and report.message["Arrival-Date"]
    assert server.queue_is_empty()


def test_the_sender_is_told_of_what_is_late_and_it_goes_on(way):
    refused = []

    def answer(argument, number):
        refused.append(time.monotonic())
        return "450 4.2.1 not now" if refused[-1] - refused[0] < 4 else True

    server, peer = way(answers={"RCPT": answer}, extensions=extended("DELIVERBY"))
    hand_over(server, " BY=1;N")
    wait_for(lambda: reports(server.maildir("example.org", "alice")), what="the notification")
    report = reports(server.maildir("example.org", "alice"))[0]
    assert report.recipients[0]["Action"] == "delayed" and report.recipients[0]["Status"] == "4.4.7"
    arrival(peer)
    assert len(reports(server.maildir("example.org", "alice"))) == 1


def test_the_time_that_is_left_is_passed_on(way):
    server, peer = way(extensions=extended("DELIVERBY 10"))
    hand_over(server, " BY=1000;r")
    hand_over(server, " BY=-77;N")
    arrival(peer, 2)
    left = sorted(int(re.search(r"BY=(-?\d+);", m["from"]).group(1)) for m in peer.messages)
    assert -90 <= left[0] <= -77 and 900 < left[1] < 1000
    assert reports(server.maildir("example.org", "alice")) == []


@pytest.mark.parametrize("words, status", [([], "5.3.3"), (["DELIVERBY 5000"], "5.4.7")])
def test_what_is_to_be_returned_when_late_goes_only_where_that_is_kept(way, words, status):
    server, peer = way(extensions=extended(*words))
    hand_over(server, " BY=1000;R")
    assert bounce(server).recipients[0]["Status"] == status
    assert not peer.said("MAIL")


def test_the_sender_hears_where_the_time_is_not_known_any_more(way):
    server, peer = way()
    hand_over(server, " BY=1000;N")
    assert bounce(server).recipients[0]["Action"] == "relayed"
    assert "BY=" not in arrival(peer)["from"] and "NOTIFY=FAILURE,DELAY" in peer.messages[0]["to"][0]


def test_a_trace_is_told_at_each_step(way):
    server, peer = way(extensions=extended("DELIVERBY"))
    hand_over(server, " BY=1000;RT", " NOTIFY=FAILURE")
    assert bounce(server).recipients[0]["Action"] == "relayed"
    assert re.search(r"BY=\d+;RT", arrival(peer)["from"])


@pytest.mark.parametrize("wrong", ["0;R", "-5;R", "5", "5;", "5;X", "5;NX", "5;RTT", "1234567890;N", ";N", "x;N", ""])
def test_a_wrong_time_is_refused(doors, at, wrong):
    c = at("submission", trusted=True)
    assert " 5.5.4 " in c.expect(501, f"MAIL FROM:<a@client.example> BY={wrong}")


# --- FUTURERELEASE -----------------------------------------------------------------------------------------------------


def test_a_message_waits_for_its_time(way):
    server, peer = way()
    begin = time.monotonic()
    identity = hand_over(server, " HOLDFOR=4")
    row = next(r for r in server.rows() if r["id"] == identity)
    assert row["release"] and row["asks"].startswith("held until ")
    assert "release" in row["recipients"][0]["waits_for"] and row["recipients"][0]["attempts"] == 0
    text = server.command("queue", "show", identity).stdout
    assert "as its sender wants" in text and "next in" in text
    assert not peer.said("MAIL")
    arrival(peer)
    assert time.monotonic() - begin > 3.9
    assert reports(server.maildir("example.org", "alice")) == []


def test_a_time_of_day_is_understood(way):
    server, peer = way()
    begin = time.time()
    until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(begin + 3))
    hand_over(server, f" HOLDUNTIL={until}")
    arrival(peer)
    assert time.time() - begin >= 2


def test_a_message_waits_for_its_time_over_a_crash(way):
    server, peer = way()
    begin = time.monotonic()
    hand_over(server, " HOLDFOR=6")
    server.kill()
    server.start()
    assert server.rows()[0]["release"]
    assert not peer.said("MAIL")
    arrival(peer, timeout=15)
    assert time.monotonic() - begin > 5.9


def test_a_message_that_waits_for_its_time_is_released_by_order_only(way):
    server, peer = way()
    identity = hand_over(server, " HOLDFOR=1000")
    server.command("queue", "retry", "--all")
    time.sleep(0.5)
    assert not peer.said("MAIL")
    server.command("queue", "release", identity)
    arrival(peer)


@pytest.mark.parametrize(
    "wrong",
    [
        "HOLDFOR=0",
        "HOLDFOR=3601",
        "HOLDFOR=-1",
        "HOLDFOR=x",
        "HOLDUNTIL=2099-01-01T00:00:00Z",
        "HOLDUNTIL=tomorrow",
        "HOLDUNTIL=2026-02-30T00:00:00Z",
        "HOLDFOR=10 HOLDUNTIL=2026-01-01T00:00:00Z",
        "HOLDFOR=100 BY=50;N",
    ],
)
def test_a_hold_that_can_not_be_is_refused(at, wrong):
    assert " 5.5.4 " in at("submission", trusted=True).expect(501, f"MAIL FROM:<a@client.example> {wrong}")


# --- MT-PRIORITY on the way --------------------------------------------------------------------------------------------


def test_the_urgent_goes_first_and_the_priority_is_passed_on(way):
    """The only connection is busy with the first message while the others gather."""
    gathered = {"yes": False}

    def dot(message, number):
        wait_for(lambda: gathered["yes"], 20, "the others to gather")
        return True

    server, peer = way(
        queue={"site_connections": 1, "site_initial": 1}, answers={"DOT": dot}, extensions=extended("MT-PRIORITY MIXER")
    )
    hand_over(server)
    wait_for(lambda: peer.said("MAIL"), what="the first message to be under way")
    for priority in (-2, 0, 5, 9, 0, -9):
        hand_over(server, f" MT-PRIORITY={priority}")
    wait_for(lambda: server.summary()["messages"] == 7, what="all to wait")
    gathered["yes"] = True
    arrival(peer, 7)
    order = [int(re.search(r"MT-PRIORITY=(-?\d)", m["from"]).group(1)) for m in peer.messages]
    assert order == [0, 9, 5, 0, 0, -2, -9]


# --- RRVS --------------------------------------------------------------------------------------------------------------


def test_the_owner_since_is_passed_on(way):
    server, peer = way(extensions=extended("RRVS"))
    hand_over(server, "", " RRVS=2014-04-03T23:01:00Z")
    hand_over(server, "", " RRVS=2014-04-04T01:01:00+02:00;c")
    arrival(peer, 2)
    wishes = sorted(re.search(r"RRVS=(\S+)", m["to"][0]).group(1) for m in peer.messages)
    assert wishes == ["2014-04-03T23:01:00Z", "2014-04-03T23:01:00Z;C"]


def test_the_owner_since_stops_or_not_at_a_server_that_does_not_know_it(way):
    server, peer = way()
    hand_over(server, "", " RRVS=2014-04-03T23:01:00Z;C")
    assert "RRVS" not in arrival(peer)["to"][0]
    hand_over(server, "", " RRVS=2014-04-03T23:01:00Z;R")
    assert bounce(server).recipients[0]["Status"] == "5.7.19"
    assert len(peer.messages) == 1


def test_the_owner_since_is_noted_for_mailboxes_here(way):
    server, _ = way()
    identity = hand_over(server, "", " RRVS=2014-04-03T23:01:00Z", to="carol@example.org")
    wait_for(lambda: server.maildir("example.org", "carol"), what="the message")
    event = next(e for e in server.events(identity) if e["event"] == "received")
    assert event["asks"] == "recipient valid since 2014-04-03T23:01:00Z"


@pytest.mark.parametrize("wrong", ["x", "2014-04-03T23:01:00.5Z", "2014-04-03T23:01:00Z;X", "2014-04-03T23:01:00Z;", "2014-04-03"])
def test_a_wrong_owner_since_is_refused(at, wrong):
    c = at("full")
    c.expect(250, "MAIL FROM:<a@client.example>")
    c.expect(501, f"RCPT TO:<alice@example.org> RRVS={wrong}")


# --- XCLIENT, XFORWARD -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def filtered(shared):
    """A server in front of which 127.0.0.1 is a filter, and which trusts 192.0.2.0/24."""
    port = free_port("127.0.0.1")
    return shared.mx(
        port=port,
        dns={"reverse_lookup": False},
        trusted=["192.0.2.0/24"],
        limits={"connections_per_ip": 2, "errors": 1000},
        listen=[{"address": f"127.0.0.1:{port}", "role": "mx", "xclient": ["127.0.0.1", "127.0.0.5", "127.0.0.6"]}],
    )


def received_of(server, subject):
    return header_of(arrived(server, "alice", b"Subject: " + subject.encode()))["Received"]


def test_xclient_makes_another_client(filtered):
    with filtered.client() as c:
        assert {"XCLIENT", "XFORWARD"} <= set(keywords(c.hello()))
        c.expect(220, "XCLIENT NAME=mail.partner.example ADDR=192.0.2.7 PORT=4711 HELO=said.example PROTO=ESMTP")
        c.expect(250, "EHLO mail.partner.example")
        c.send_message("a@client.example", ["alice@example.org"], b"Subject: xclient\r\n\r\nx\r\n")
        c.expect(250, "MAIL FROM:<a@client.example>")
        c.expect(250, "RCPT TO:<x@elsewhere.example>")  # this client is trusted
    assert "from mail.partner.example (mail.partner.example [192.0.2.7])" in received_of(filtered, "xclient")


def test_xclient_takes_trust_away_and_forgets_the_greeting(filtered):
    with filtered.client() as c:
        c.hello()
        c.expect(220, "XCLIENT ADDR=192.0.2.7")
        c.expect(503, "MAIL FROM:<a@client.example>")
        c.expect(250, "EHLO client.example")
        c.expect(220, "XCLIENT NAME=[UNAVAILABLE] ADDR=IPV6:2001:db8::7")
        c.expect(250, "EHLO client.example")
        c.expect(250, "MAIL FROM:<a@client.example>")
        c.expect(550, "RCPT TO:<x@elsewhere.example>")
        c.expect(503, "XCLIENT ADDR=192.0.2.7")


def test_xclient_says_who_logged_in(filtered):
    with filtered.client() as c:
        c.hello()
        c.expect(220, "XCLIENT ADDR=203.0.113.5 LOGIN=carol")
        c.expect(250, "EHLO client.example")
        c.expect(250, "MAIL FROM:<a@client.example>")
        c.expect(250, "RCPT TO:<x@elsewhere.example>")


def test_another_client_has_not_logged_in_because_the_one_before_had(filtered):
    with filtered.client() as c:
        c.hello()
        c.expect(220, "XCLIENT ADDR=203.0.113.5 LOGIN=carol")
        c.expect(250, "EHLO client.example")
        c.expect(220, "XCLIENT NAME=client.example")  # the same client
        c.expect(250, "EHLO client.example")
        c.expect(250, "MAIL FROM:<a@client.example>")
        c.expect(250, "RCPT TO:<x@elsewhere.example>")
        c.expect(250, "RSET")
        c.expect(220, "XCLIENT ADDR=203.0.113.6")
        c.expect(250, "EHLO client.example")
        c.expect(250, "MAIL FROM:<a@client.example>")
        c.expect(550, "RCPT TO:<x@elsewhere.example>")


def test_xclient_counts_the_connections_of_the_client_that_it_names(filtered):
    clients = []

    def connect(code=220):
        clients.append(filtered.client(source="127.0.0.6"))
        clients[-1].expect(code)
        return clients[-1]

    try:
        first, second = connect(), connect()
        connect(421)
        for c in (first, second):
            c.expect(250, "EHLO client.example")
        first.expect(220, "XCLIENT ADDR=203.0.113.9")
        again = connect()  # its place was given back
        again.expect(250, "EHLO client.example")
        second.expect(220, "XCLIENT ADDR=203.0.113.9")
        assert "203.0.113.9" in again.expect(421, "XCLIENT ADDR=203.0.113.9")
        assert again.closed()
    finally:
        for c in clients:
            c.close()


@pytest.mark.parametrize(
    "wrong", ["", "X", "NAME", "NAME=", "ADDR=300.1.1.1", "PORT=70000", "PROTO=HTTP", "HELO=+0Aevil", "COLOR=red", "SOURCE=LOCAL"]
)
def test_wrong_attributes_are_refused(filtered, wrong):
    with filtered.client(source="127.0.0.5") as c:
        c.hello()
        c.expect(501, f"XCLIENT {wrong}")
        c.expect(250, "NOOP")


def test_what_stands_behind_xclient_is_not_run(filtered):
    with filtered.client() as c:
        c.hello()
        c.send("XCLIENT ADDR=192.0.2.7\r\nEHLO x.example\r\n")
        c.expect(554)
        assert c.closed()


def test_xforward_is_for_the_log_and_for_one_message(filtered):
    with filtered.client() as c:
        c.hello()
        c.expect(250, "XFORWARD NAME=far.example ADDR=192.0.2.7 PROTO=ESMTP")
        c.expect(250, "XFORWARD HELO=far+2Dhelo.example IDENT=ABC SOURCE=REMOTE")
        c.expect(250, "MAIL FROM:<a@client.example>")
        c.expect(550, "RCPT TO:<x@elsewhere.example>")  # not for access
        c.expect(503, "XFORWARD NAME=far.example")
        c.expect(250, "RCPT TO:<alice@example.org>")
        c.expect(354, "DATA")
        c.send("Subject: forwarded\r\n\r\nx\r\n.\r\n")
        first = re.search(r"queued as (\S+)", c.expect(250)).group(1)
        second = re.search(
            r"queued as (\S+)", c.send_message("a@client.example", ["alice@example.org"], b"Subject: own\r\n\r\nx\r\n")
        ).group(1)
    seen = [next(e for e in filtered.events(i) if e["event"] == "received") for i in (first, second)]
    assert [e["client"] for e in seen] == ["192.0.2.7", "127.0.0.1"]
    assert seen[0]["helo"] == "far-helo.example" and seen[0]["client_name"] == "far.example"
    assert "[127.0.0.1]" in received_of(filtered, "forwarded")


# --- the PROXY protocol ------------------------------------------------------------------------------------------------

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def v2(client="203.0.113.9", server="198.51.100.1", additions=b"", command=1, family=0x11):
    data = socket.inet_aton(client) + socket.inet_aton(server) + struct.pack(">HH", 40000, 25) + additions
    return SIGNATURE + bytes([0x20 | command, family]) + struct.pack(">H", len(data)) + data


def v2_ipv6(client):
    data = socket.inet_pton(socket.AF_INET6, client) + socket.inet_pton(socket.AF_INET6, "::1") + struct.pack(">HH", 40000, 25)
    return SIGNATURE + b"\x21\x21" + struct.pack(">H", len(data)) + data


def crc32c(data):
    crc = 0xFFFFFFFF
    for octet in data:
        crc ^= octet
        for _ in range(8):
            crc = crc >> 1 ^ 0x82F63B78 * (crc & 1)
    return crc ^ 0xFFFFFFFF


def with_checksum(header, spoil=0):
    at = len(header) - 4
    return header[:at] + struct.pack(">I", crc32c(header) ^ spoil)


@pytest.fixture(scope="module")
def behind(shared):
    """A server with a proxy at 127.0.0.1 in front, on a plain port and on one with TLS."""
    plain, tls = free_port("127.0.0.1"), free_port("127.0.0.1")
    server = shared.mx(
        port=plain,
        tls=shared.certificate(),
        dns={"reverse_lookup": False},
        trusted=["192.0.2.0/24", "127.0.0.1"],
        limits={"connections_per_ip": 2, "proxy_timeout": "700ms"},
        listen=[
            {"address": f"127.0.0.1:{plain}", "role": "mx", "proxies": ["127.0.0.1"]},
            {"address": f"127.0.0.1:{tls}", "role": "mx", "tls": "implicit", "proxies": ["127.0.0.1"]},
        ],
    )
    server.tls_port = tls
    return server


def subject_of(header):
    return f"proxied {zlib.crc32(header):08x}"


def send_through(server, header):
    """Sends a message behind this header; returns its Received field."""
    with server.client() as c:
        c.send(header)
        c.hello()
        c.send_message("a@client.example", ["alice@example.org"], f"Subject: {subject_of(header)}\r\n\r\nx\r\n".encode())
    return received_of(server, subject_of(header))


NOOP = b"\x04\0\x02ab"
CHECKSUM = b"\x03\0\x04\0\0\0\0"


@pytest.mark.parametrize(
    "header, client",
    [
        (b"PROXY TCP4 203.0.113.9 198.51.100.1 40000 25\r\n", "203.0.113.9"),
        (b"PROXY TCP6 2001:db8::9 2001:db8::1 40000 25\r\n", "IPv6:2001:db8::9"),
        (v2(), "203.0.113.9"),
        (v2(additions=NOOP + b"\x20\0\x05\0\0\0\0\0"), "203.0.113.9"),
        (with_checksum(v2(additions=NOOP + CHECKSUM)), "203.0.113.9"),
        (v2_ipv6("2001:db8::9"), "IPv6:2001:db8::9"),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
        (b"PROXY UNKNOWN whatever 1 2 3\r\n", "127.0.0.1"),
        (v2(command=0), "127.0.0.1"),
        (SIGNATURE + b"\x20\0\0\0", "127.0.0.1"),
        (SIGNATURE + b"\x21\0\0\0", "127.0.0.1"),
    ],
)
def test_the_client_is_whom_the_proxy_names(behind, header, client):
    assert f"[{client}]" in send_through(behind, header)


@pytest.mark.parametrize("header", [b"PROXY TCP4 203.0.113.8 198.51.100.1 40000 25\r\n", with_checksum(v2(additions=CHECKSUM))])
def test_a_header_may_come_in_single_octets(behind, header):
    with behind.client() as c:
        for octet in header:
            c.send(bytes([octet]))
            time.sleep(0.001)
        c.hello()


def test_trust_is_that_of_the_client_and_never_that_of_the_proxy(behind):
    for header, code in (
        (v2("192.0.2.9"), 250),
        (v2("203.0.113.9"), 550),
        (b"PROXY UNKNOWN\r\n", 550),
        (SIGNATURE + b"\x21\x31\0\xd8" + b"/run/x".ljust(108, b"\0") * 2, 550),
        (v2(command=0), 250),  # LOCAL: the proxy speaks for itself
    ):
        with behind.client() as c:
            c.send(header)
            c.hello()
            c.expect(250, "MAIL FROM:<a@client.example>")
            c.expect(code, "RCPT TO:<x@elsewhere.example>")


@pytest.fixture(scope="module")
def powerful(shared):
    """A server with a proxy at 127.0.0.1 in front that may do all that an address can allow."""
    port = free_port("127.0.0.1")
    return shared.mx(
        port=port,
        dns={"reverse_lookup": False},
        trusted=["127.0.0.1"],
        line_endings={"normalize": ["127.0.0.1", "203.0.113.7"]},
        etrn={"domains": ["example.org"], "clients": ["127.0.0.1"]},
        listen=[{"address": f"127.0.0.1:{port}", "role": "mx", "proxies": ["127.0.0.1"], "xclient": ["127.0.0.1"]}],
    )


@pytest.mark.parametrize("header", [b"PROXY UNKNOWN\r\n", SIGNATURE + b"\x21\0\0\0", v2(), v2_ipv6("2001:db8::9")])
def test_what_the_proxy_may_is_not_for_its_clients(powerful, header):
    with powerful.client() as c:
        c.send(header)
        assert not {"XCLIENT", "XFORWARD", "ETRN"} & set(keywords(c.hello()))
        c.expect(502, "XCLIENT NAME=client.example")
        c.expect(250, "MAIL FROM:<a@client.example>")
        c.expect(550, "RCPT TO:<x@elsewhere.example>")
        c.expect(250, "RCPT TO:<alice@example.org>")
        c.send(b"NOOP\n")
        c.expect(500)
        c.expect(354, "DATA")
        c.send(b"Subject: x\r\n\r\na\nb\r\n.\r\n")
        c.expect(550)


def test_what_the_client_may_is_for_it_behind_a_proxy_as_well(powerful):
    with powerful.client() as c:
        c.send(v2("203.0.113.7"))
        c.hello()
        c.send(b"NOOP\n")
        c.expect(250)


def test_a_name_makes_no_client_known_whose_address_is_not(filtered):
    with filtered.client() as c:
        c.hello()
        c.expect(220, "XCLIENT ADDR=[UNAVAILABLE]")
        c.expect(250, "EHLO client.example")
        c.expect(220, "XCLIENT NAME=mail.partner.example")
        c.expect(250, "EHLO client.example")
        c.expect(250, "MAIL FROM:<a@client.example>")
        c.expect(550, "RCPT TO:<x@elsewhere.example>")


@pytest.mark.parametrize(
    "header",
    [
        b"EHLO client.example\r\n",
        b"PROXY TCP4 203.0.113.9 198.51.100.1 40000 99999\r\n",
        b"PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
        b"PROXY TCP4 203.0.113.9 198.51.100.1 40000\r\n",
        b"PROXY TCP4 203.0.113.9 198.51.100.1 40000 25 1\r\n",
        b"PROXY TCP4 203.0.113.9 198.51.100.1 40000 25\n",
        b"PROXY " + b"x" * 200,
        SIGNATURE + b"\x31\x11\0\x0c" + b"\0" * 12,
        SIGNATURE + b"\x21\x11\0\x04" + b"\0" * 4,
        v2(additions=b"\x04\0\x09ab"),
        with_checksum(v2(additions=CHECKSUM), spoil=1),
        SIGNATURE + b"\x21\x11\xff\xff",
        b"\r\n\r\n\0\r\nQUIT\r\n\r\n\r\n",
    ],
)
def test_without_a_good_header_a_proxy_is_not_heard(behind, header):
    with behind.client() as c:
        c.send(header)
        assert c.closed() and c.buffer == b""


def test_a_header_that_does_not_come_is_not_waited_for(behind):
    for begin in (b"", b"PROXY TCP4", SIGNATURE, v2()[:-1]):
        with behind.client() as c:
            c.send(begin)
            assert c.silent(0.2)
            assert c.closed() and c.buffer == b""


def test_from_anybody_else_it_is_a_wrong_command(behind):
    with behind.client(source="127.0.0.9") as c:
        c.expect(220)
        c.expect(500, "PROXY TCP4 192.0.2.9 198.51.100.1 40000 25")
        c.expect(250, "EHLO client.example")
        c.expect(250, "MAIL FROM:<a@client.example>")
        c.expect(550, "RCPT TO:<x@elsewhere.example>")


def test_connections_are_counted_for_the_client_and_not_for_the_proxy(behind):
    clients = [behind.client() for _ in range(6)]
    try:
        for i, c in enumerate(clients):
            c.send(v2(f"203.0.113.{20 + i // 2}"))
            c.hello()
        with behind.client() as more:
            more.send(v2("203.0.113.20"))
            assert "203.0.113.20" in more.expect(421)
            assert more.closed()
    finally:
        for c in clients:
            c.close()


@pytest.mark.parametrize("header", [v2("203.0.113.40"), b"PROXY TCP4 203.0.113.41 198.51.100.1 40000 25\r\n"])
def test_tls_may_begin_right_behind_the_header(behind, header):
    """The header and the first octets of the handshake come in one packet."""
    import ssl

    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl._create_unverified_context()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="mx.example.org")
    with Client("127.0.0.1", behind.tls_port) as c:
        first = header
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                c.send(first + outgoing.read())
                first = b""
                incoming.write(c.socket.recv(65536))
        c.send(outgoing.read())
        greeting = b""
        while b"\r\n" not in greeting:
            try:
                greeting += tls.read()
            except ssl.SSLWantReadError:
                incoming.write(c.socket.recv(65536))
        assert greeting.startswith(b"220 ")


def test_after_a_reload_other_proxies_are_listed(place):
    port = free_port("127.0.0.1")
    server = place.mx(port=port, listen=[{"address": f"127.0.0.1:{port}", "role": "mx"}])
    with server.client() as c:
        c.hello()
    server.config.write_text(server.config.read_text().replace('"role": "mx"', '"role": "mx", "proxies": ["127.0.0.1"]'))
    server.hangup()

    def wants_a_header():
        with server.client() as c:
            return c.silent(0.2)

    wait_for(wants_a_header, what="the new listener")
    with server.client() as c:
        c.send(v2())
        c.hello()


# --- LMTP --------------------------------------------------------------------------------------------------------------


def test_lmtp_answers_for_each_recipient_and_knows_no_ehlo(at):
    c = at("lmtp", hello="LHLO client.example")
    c.expect(500, "EHLO client.example")
    c.expect(500, "HELO client.example")
    c.expect(250, "MAIL FROM:<a@client.example>")
    c.expect(250, "RCPT TO:<alice@example.org>")
    c.expect(550, "RCPT TO:<nobody@example.org>")
    c.expect(250, "RCPT TO:<bob@example.org>")
    c.expect(550, "RCPT TO:<x@elsewhere.example>")
    c.expect(354, "DATA")
    c.send("Subject: lmtp\r\n\r\nx\r\n.\r\n")
    c.expect(250)
    c.expect(250)
    assert c.silent()
    c.expect(250, "MAIL FROM:<a@client.example>")
    c.expect(503, "DATA")  # RFC 2033 section 4.2: no recipient, no DATA
    c.expect(502, "ETRN customer.example")


