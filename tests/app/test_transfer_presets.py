"""Presets of transfer functions: kept by name, whole or not at all, and no broken file stops the program."""

import json
from pathlib import Path

import pytest

from app.actions import BadArguments
from app.transfer_presets import FILE, MAX_PRESETS, TransferPresets
from render.transfer import TRANSFERS, Transfer

STEEP = Transfer(((0.0, 0.0), (0.25, 0.0), (0.25, 1.0), (1.0, 0.125)))


def loaded(folder: Path) -> TransferPresets:
    presets = TransferPresets(folder)
    assert presets.load() is None
    return presets


def test_a_saved_preset_comes_back_exactly_and_can_be_deleted(tmp_path: Path) -> None:
    presets = loaded(tmp_path)
    assert presets.names() == tuple(TRANSFERS)
    assert presets.save("  Only   steep ", STEEP) == "Only steep"
    presets.save("a first", TRANSFERS["High"])
    again = loaded(tmp_path)
    assert again.names() == (*TRANSFERS, "a first", "Only steep")
    assert again.get("Only steep") == STEEP
    assert again.name_of(STEEP) == "Only steep"
    assert again.name_of(TRANSFERS["High"]) == "High"  # a built-in name goes first
    assert again.name_of(Transfer(((0.0, 0.5), (1.0, 0.25)))) is None
    again.save("Only steep", TRANSFERS["Low"])
    assert loaded(tmp_path).get("Only steep") == TRANSFERS["Low"]
    again.delete("Only steep")
    assert loaded(tmp_path).names() == (*TRANSFERS, "a first")
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    with pytest.raises(KeyError):
        again.get("Only steep")


@pytest.mark.parametrize("name", ["", "   ", "x" * 81, "a\x07b", "High", "hIGH"])
def test_names_that_cannot_be_are_refused(tmp_path: Path, name: str) -> None:
    presets = loaded(tmp_path)
    with pytest.raises(BadArguments, match="name"):
        presets.save(name, STEEP)
    assert not list(tmp_path.iterdir())


def test_there_is_a_most_and_built_in_ones_stay(tmp_path: Path) -> None:
    presets = loaded(tmp_path)
    presets.own = {f"n{number}": STEEP for number in range(MAX_PRESETS)}
    with pytest.raises(BadArguments, match="delete one"):
        presets.save("one more", STEEP)
    presets.save("n7", TRANSFERS["Low"])  # to replace one is no more
    with pytest.raises(BadArguments, match="built-in"):
        presets.delete("High")
    with pytest.raises(BadArguments, match="none of yours"):
        presets.delete("nobody")


def test_a_disk_that_refuses_leaves_all_as_it_was(tmp_path: Path) -> None:
    presets = loaded(tmp_path / "no folder")
    (tmp_path / "no folder").write_text("")
    with pytest.raises(OSError, match="no folder"):
        presets.save("mine", STEEP)
    assert presets.own == {}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "no JSON"),
        ("[]", "one JSON object"),
        ('{"High": [[0, 0], [1, 1]]}', "name"),
        ('{"": [[0, 0], [1, 1]]}', "name"),
        ('{"mine": [[0, 0]]}', "“mine”: A transfer function has 2"),
        ('{"mine": [[0, NaN], [1, 1]]}', "“mine”"),
        ('{"mine": [[1, 0], [0, 1]]}', "ascend"),
        ('{"mine": [[0, 0], [1]]}', "pairs"),
        ('{"mine": 4}', "pairs"),
        ('{"mine": [[0, "much"], [1, 1]]}', "pairs"),
        (json.dumps({"mine": [[0, 10**400], [1, 1]]}), "pairs"),
        (json.dumps({str(n): [[0, 0], [1, 1]] for n in range(MAX_PRESETS + 1)}), "the most"),
    ],
)
def test_a_broken_file_is_set_aside_and_said(tmp_path: Path, content: str, reason: str) -> None:
    (tmp_path / FILE).write_text(content)
    presets = TransferPresets(tmp_path)
    problem = presets.load()
    assert problem is not None
    assert reason in problem
    assert presets.own == {}
    assert (tmp_path / f"{FILE}.broken").read_text() == content
    assert presets.load() is None
