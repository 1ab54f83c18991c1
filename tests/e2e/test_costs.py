"""What a command and a message cost the real process in calls, counted by the shim of test_faults.py, in which nothing
fails here. The figures are those of docs/PERFORMANCE.md; a run with -s prints them."""

import pytest

import test_faults

pytestmark = test_faults.pytestmark
ROUNDS = 50
SLACK = 10  # allocations in all that are none of the session's: a table that grows, the log's threads


class Counter:
    """A server under the shim that keeps what it takes."""

    def __init__(self, place, **options):
        self.faults = test_faults.Faults(place.tmp)
        # The system's list of authorities is 200,000 allocations long.
        self.server = place.mx(start=False, deliver={"ca_file": str(place.certificate()[0])}, trusted=["127.0.0.0/8"], **options)
        self.server.env.update(test_faults.preloaded(self.faults))
        self.server.start()

    def of(self, kind, work):
        """Calls for each of ROUNDS rounds of work, which is done a few times before."""
        for _ in range(5):
            work()
        before = self.faults.calls(kind)
        for _ in range(ROUNDS):
            work()
        calls = self.faults.calls(kind) - before
        print(f"{work.__name__}: {calls / ROUNDS:.2f} of {kind}")
        return calls


@pytest.fixture
def counter(place):
    return Counter(place, routes=[{"to": "held.example", "via": ["hold"]}], limits={"commands": 10000})


@test_faults.allocations
def test_a_command_allocates_nothing(counter):
    with counter.server.client() as c:
        c.hello()

        def nothing():
            c.expect(250, "NOOP")
            c.expect(252, "VRFY somebody")
            c.expect(250, "RSET")

        def mail():
            c.expect(250, "MAIL FROM:<a@client.example> SIZE=1000 BODY=8BITMIME")
            c.expect(250, "RSET")

        def mail_and_recipients():
            c.expect(250, "MAIL FROM:<a@client.example>")
            for i in range(4):
                c.expect(250, f"RCPT TO:<r{i}@held.example>")
            c.expect(250, "RSET")

        assert counter.of("allocate", nothing) <= SLACK
        # The writer of the message that begins, which is the committer's in the end.
        assert counter.of("allocate", mail) <= ROUNDS + SLACK
        assert counter.of("allocate", mail_and_recipients) <= ROUNDS + SLACK


@test_faults.allocations
def test_a_message_takes_three_allocations(counter):
    with counter.server.client() as c:
        c.hello()

        def message():
            c.send_message("a@client.example", ["r@held.example"], b"Subject: x\r\n\r\n" + 50 * b"some words on a line\r\n")

        # The writer, the envelope that the queue keeps, the note of what became of it; and between the messages, which
        # come slowly here, the journal's writer and the tables grow now and then.
        assert counter.of("allocate", message) < 4 * ROUNDS


def test_a_connection_is_one_call_of_accept(counter):
    def connection():
        with counter.server.client() as c:
            c.hello()
            c.expect(221, "QUIT")

    assert counter.of("accept", connection) <= ROUNDS + SLACK


def test_a_reply_is_one_call_of_send(counter):
    def session():
        with counter.server.client() as c:
            c.hello()
            c.send_message("a@client.example", ["r@held.example"], b"Subject: x\r\n\r\nhello\r\n")
            c.expect(221, "QUIT")

    # The greeting, EHLO, MAIL, RCPT, DATA, the content, QUIT.
    assert counter.of("send", session) <= 7 * ROUNDS + SLACK
