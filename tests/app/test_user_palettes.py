"""The user's palettes: offered while their file is there, told of once where it is none, never believed unseen."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from app.user_palettes import MAX_BYTES, MAX_FILES, UserPalettes
from render.palettes import PALETTES, is_palette, palette_names, palette_table, remove_palette


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "palettes").mkdir()
    for name in palette_names():  # a window of an earlier test may have left some
        remove_palette(name)
    yield tmp_path / "palettes"
    for name in palette_names():
        remove_palette(name)
    assert palette_names() == PALETTES


def test_a_file_becomes_a_palette_changes_and_goes(folder: Path) -> None:
    palettes = UserPalettes(folder.parent)
    assert palettes.refresh() == (set(), [])
    path = folder / "Lava lamp.json"
    path.write_text('["#000000", "#ff0000"]')
    assert palettes.refresh() == (set(), [])
    assert palette_names() == (*PALETTES, "Lava lamp")
    assert palette_table("Lava lamp")[0, 255] == pytest.approx([1, 0, 0], abs=1e-3)
    path.write_text("0 0 0\n0 0 255\n// a remark\n")
    os.utime(path, ns=(1, 1))
    assert palettes.refresh() == ({"Lava lamp"}, [])
    assert palette_table("Lava lamp")[0, 255] == pytest.approx([0, 0, 1], abs=1e-3)
    assert palettes.refresh() == (set(), [])
    path.unlink()
    assert palettes.refresh() == ({"Lava lamp"}, [])
    assert not is_palette("Lava lamp")


def test_a_broken_file_is_told_of_once_with_its_line(folder: Path) -> None:
    (folder / "bad.txt").write_text("#000000\n#ffffff\n\nnan 0 red\n")
    (folder / "good.txt").write_text("#000\n#fff\n")
    palettes = UserPalettes(folder.parent)
    changed, problems = palettes.refresh()
    assert changed == set()
    assert len(problems) == 1
    assert f"{folder / 'bad.txt'}: Line 4" in problems[0]
    assert palettes.refresh() == (set(), [])
    assert palette_names() == (*PALETTES, "good")
    (folder / "bad.txt").write_text("nan 0 0\n1 1 1\n")
    assert "Colour 1" in palettes.refresh()[1][0]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("viridis.txt", b"#000\n#fff\n", "taken"),
        ("binary.txt", b"#000\n#fff\n\xff\xfe", "Line 3 is not UTF-8"),
        ("huge.txt", b" " * (MAX_BYTES + 1), "larger"),
        ("deep.json", b"[" * 60_000, "JSON"),
        ("empty.txt", b"", "list of colours"),
        ("x" * 81 + ".txt", b"#000\n#fff\n", "80 characters"),
    ],
)
def test_hostile_files_are_a_sentence(folder: Path, name: str, content: bytes, reason: str) -> None:
    (folder / name).write_bytes(content)
    changed, problems = UserPalettes(folder.parent).refresh()
    assert changed == set()
    assert [reason in problem for problem in problems] == [True]
    assert palette_names() == PALETTES


def test_two_files_of_one_name_hidden_files_and_pipes(folder: Path) -> None:
    (folder / "sea.txt").write_text("#000\n#00f\n")
    (folder / "sea.json").write_text('["#000", "#fff"]')
    (folder / ".hidden").write_text("#000\n#fff\n")
    os.mkfifo(folder / "pipe.txt")  # reading it would wait for ever
    _, problems = UserPalettes(folder.parent).refresh()
    assert len(problems) == 1
    assert "sea.json has the name" in problems[0]
    assert palette_names() == (*PALETTES, "sea")
    assert np.ptp(palette_table("sea")[0, 255]) < 1e-3  # the first by name: white at its end


def test_a_folder_that_is_none_or_holds_too_much_is_said_once(folder: Path) -> None:
    for number in range(MAX_FILES + 2):
        (folder / f"p{number:03}.txt").write_text("#000\n#fff\n")
    palettes = UserPalettes(folder.parent)
    assert f"the first {MAX_FILES}" in palettes.refresh()[1][0]
    assert palettes.refresh() == (set(), [])
    assert len(palette_names()) == len(PALETTES) + MAX_FILES
    elsewhere = folder.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "palettes").write_text("a file")
    broken = UserPalettes(elsewhere)
    assert "could not be read" in broken.refresh()[1][0]
    assert broken.refresh() == (set(), [])
    assert UserPalettes(folder.parent / "nowhere").refresh() == (set(), [])
