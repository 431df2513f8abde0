"""README tells the truth about the keys, the commands and the exit codes: each is compared with the program's own."""

import re
from pathlib import Path

import pytest

from app.cli import _COMMANDS
from app.exit_codes import ExitCode
from app.offscreen import OffscreenWindow
from app.panels.help_overlays import MOUSE
from app.window_options import WindowOptions

README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
ARROWS = {"Left", "Right", "Up", "Down"}


def table(header: str) -> list[list[str]]:
    """The rows of the table whose header begins with `header`."""
    _, _, rest = README.partition(f"\n| {header} |")
    lines = rest.partition("\n\n")[0].splitlines()[2:]
    assert lines, f"README has no table that begins with {header!r}"
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))] for line in lines]


@pytest.fixture
def _own_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("XDG_RUNTIME_DIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        (tmp_path / name).mkdir(mode=0o700)
        monkeypatch.setenv(name, str(tmp_path / name))


@pytest.mark.usefixtures("_own_directories")
def test_the_keys_are_those_of_the_actions() -> None:
    with OffscreenWindow(WindowOptions(guest_name=None, size=(320, 200))) as offscreen:
        real = {key for action in offscreen.window.state.actions for key in action.shortcuts}
    named = {key for row in table("key") for key in re.findall(r"`([^`]+)`", row[0])}
    assert "`1` … `6`" in README
    assert "arrows" in README
    assert named | ARROWS | set("2345") == real


def test_the_mouse_does_what_the_help_says() -> None:
    gestures = [gesture.strip().lower() for row in table("on the volume") for gesture in row[0].split("·")]
    assert gestures == [gesture.lower() for gesture, _ in MOUSE]


def test_the_commands_and_exit_codes_are_those_of_the_command_line() -> None:
    named = {word for row in table("command") for code in re.findall(r"`([^`]+)`", row[0]) for word in code.split()[:1]}
    assert named - {"./glassbox"} == set(_COMMANDS) - {"window"}
    told = re.search(r"Exit codes: (.*)\.", README)
    assert told is not None
    assert [int(code) for code in re.findall(r"\d+", told[1])] == [int(code) for code in ExitCode]


def test_every_link_leads_somewhere() -> None:
    root = Path(__file__).resolve().parents[2]
    for document in [root / "README.md", *root.joinpath("docs").glob("*.md"), root / "CHANGELOG.md"]:
        for link in re.findall(r"\]\(([^)#:]+)\)", document.read_text(encoding="utf-8")):
            assert (document.parent / link).exists(), f"{document.name} links to {link}, which is not there"
