"""`glassbox do`: words on the command line become an action's arguments, and its result or refusal is printed."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.actions import Action, ActionRegistry, Param
from app.cli import main
from app.commands.do import parse_arguments
from app.control import ControlServer
from app.exit_codes import ExitCode
from app.failures import UsageError

Do = Callable[..., tuple[int, str, str]]


def test_words_in_order_are_a_list_with_json_scalars_as_such() -> None:
    assert parse_arguments(["demo", "42", "1.5", "true", "null", "0x7c00", "[1]"]) == [
        "demo",
        42,
        1.5,
        True,
        None,
        "0x7c00",
        "[1]",
    ]


def test_named_words_are_a_mapping() -> None:
    assert parse_arguments(["guest=demo", "ram=96M", "cold=true"]) == {"guest": "demo", "ram": "96M", "cold": True}


def test_an_equals_sign_in_plain_text_is_text() -> None:
    assert parse_arguments(["echo a=b"]) == ["echo a=b"]


def test_mixing_both_forms_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="not mixed"):
        parse_arguments(["demo", "ram=96M"])


@pytest.fixture
def do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Do]:
    """Call actions of a registry that listens, as a window's does."""
    actions = ActionRegistry()
    number = Param("number", "integer", required=True)
    actions.add(
        Action(id="test.double", title="Double it", category="Test", run=lambda number: 2 * number, params=(number,)),
        Action(id="test.word", title="Say a word", category="Test", run=lambda: "a word"),
        Action(id="test.nothing", title="Do nothing", category="Test", run=lambda: None),
        Action(id="actions.list", title="List", category="Test", run=lambda: [a.describe() for a in actions]),
    )
    server, ended = ControlServer(tmp_path / "window.sock"), threading.Event()

    def listen() -> None:
        while not ended.is_set():
            server.pump(actions.run, describe=str)
            time.sleep(0.002)

    def call(*words: str) -> tuple[int, str, str]:
        code = main(["do", "--socket", str(server.path), *words])
        said = capsys.readouterr()
        return code, said.out.strip(), said.err.strip()

    thread = threading.Thread(target=listen)
    thread.start()
    try:
        yield call
    finally:
        ended.set()
        thread.join()
        server.close()


def test_results_are_printed(do: Do) -> None:
    assert do("test.double", "21") == (ExitCode.DONE, "42", "")
    assert do("test.double", "number=21") == (ExitCode.DONE, "42", "")
    assert do("test.word") == (ExitCode.DONE, "a word", "")
    assert do("test.nothing") == (ExitCode.DONE, "", "")
    code, out, _ = do("--json", "test.double", "4")
    assert code == ExitCode.DONE
    assert json.loads(out)["result"] == 8


def test_without_an_action_all_are_listed(do: Do) -> None:
    code, out, _ = do()
    assert code == ExitCode.DONE
    assert [line.split(maxsplit=1) for line in out.splitlines()][:2] == [
        ["test.double", "Double it"],
        ["test.word", "Say a word"],
    ]


def test_a_refusal_is_said_in_the_windows_words(do: Do, tmp_path: Path) -> None:
    code, out, err = do("test.double", "x")
    assert (code, out) == (ExitCode.FAILED, "")
    assert "number" in err
    assert do("test.tripple", "1")[0] == ExitCode.FAILED
    code, _, err = do("--socket", str(tmp_path / "nobody.sock"), "test.word")
    assert code == ExitCode.FAILED
    assert "No window listens" in err
