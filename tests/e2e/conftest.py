"""Fixtures: `place` starts servers and peers and ends them after the test."""

import pytest

import harness
import outgoing
import peer


class Place:
    """Everything that a test starts, in order, so that it ends in the opposite one."""

    def __init__(self, tmp_path):
        self.tmp = tmp_path
        self.things = []

    def server(self, config, start=True, **options):
        s = harness.Server(config, **options)
        self.things.append(s)
        if start:
            s.start()
        return s

    def mx(self, port=None, address="127.0.0.1", zone="", start=True, **options):
        """A server with harness.configuration(): by default the last stop of example.org, with Maildirs."""
        port = port or harness.free_port(address)
        config = harness.configuration(port, address, **options)
        return self.server(config, start=start, zone=zone, port=port, address=address)

    def certificate(self, name="mx.example.org"):
        return harness.certificate(self.tmp, name)

    def peer(self, **options):
        p = peer.Peer(**options)
        self.things.append(p)
        return p

    def client(self, address, port, **options):
        c = harness.Client(address, port, **options)
        self.things.append(c)
        return c

    def close(self):
        errors = []
        for thing in reversed(self.things):
            try:
                thing.close()
            except (AssertionError, OSError) as e:
                errors.append(e)
        if errors:
            raise errors[0]


@pytest.fixture(autouse=True)
def no_reports():
    """A report of valgrind or of a sanitizer makes the test fail in which it came; comes last, after `place`."""
    yield
    text = harness.new_reports()
    assert not text, text


@pytest.fixture(scope="module", autouse=True)
def no_late_reports():
    """The same for what is shared by the tests of a file."""
    yield
    text = harness.new_reports()
    assert not text, text


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A place that lasts for all tests of a file."""
    p = Place(tmp_path_factory.mktemp("shared"))
    yield p
    p.close()


MAILBOXES = ["alice", "bob", "jörg", "Quoted Name"]


@pytest.fixture(scope="module")
def mx(shared):
    """A server with two domains: example.org with a few mailboxes, every.example with all there can be."""
    return shared.mx(
        tls=shared.certificate(),
        dns={"reverse_lookup": False},
        domains={
            "example.org": {"deliver": "maildir:{dir}/mail/{domain}/{local}", "recipients": MAILBOXES},
            "every.example": {"deliver": "maildir:{dir}/mail/{domain}/{local}"},
        },
        limits={"recipients": 110, "message_size": "200K", "errors": 1000, "commands": 10000},
    )


@pytest.fixture
def client(mx):
    """A stranger's session with mx, behind EHLO."""
    with mx.client() as c:
        c.hello()
        yield c


@pytest.fixture
def place(tmp_path):
    p = Place(tmp_path)
    yield p
    p.close()


@pytest.fixture
def net(place):
    """Hosts and zone records for a server that finds its way by the DNS."""
    return outgoing.Net(place)
