"""Mail that waits for somebody's word: sites that an administrator holds."""

import pytest

import outgoing
from harness import wait_for
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
