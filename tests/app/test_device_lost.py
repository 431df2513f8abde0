"""A GPU that goes away: the window opens another device and shows the same again."""

import pytest

from tests.app.conftest import PATTERN, PATTERN_ADDRESS, Person


@pytest.mark.own_process
def test_a_lost_gpu_is_replaced(own_host: Person) -> None:
    host = own_host
    host.run("view.select", "0x20000")
    host.run("view.mode", "translucent")
    for _ in range(2):
        _lose_and_return(host)


def _lose_and_return(host: Person) -> None:
    camera, old = host.state.stage.camera, host.state.stage.device
    host.state.log.clear()
    old.destroy()
    host.until(lambda: host.state.stage.device is not old, "a new device should be opened")
    said = host.state.log.entries  # a toast may have gone before a slow first picture is there
    host.until(lambda: bool(said(needle="The GPU was lost and is back")), "that should be said")
    host.until(lambda: host.state.stage.feeds["tiny"].stats.uploaded_pages > 0, "memory should be shown again")
    assert host.state.stage.camera == camera
    assert host.state.stage.view.look.mode == "translucent"
    host.until(
        lambda: bytes(host.state.stage.feeds["tiny"].store.read_page(PATTERN_ADDRESS // 4096)) == PATTERN,
        "the pattern should be back",
    )
    host.frame(4)
    assert host.offscreen.picture()[..., :3].std() > 5
