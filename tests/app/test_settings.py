"""Settings: they come back as they were saved, and no broken file stops the program."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.settings import (
    LAYOUT_FILE,
    MAX_FILE_BYTES,
    SETTINGS_FILE,
    BadSettings,
    Settings,
    forget_layout,
    load_layout,
    load_settings,
    save_layout,
    save_settings,
    settings_from_json,
    write_atomically,
)
from app.window_options import DEFAULT_SIZE, WindowOptions
from render.look import MODES, PYRAMIDS
from render.transfer import TRANSFERS

settings = st.builds(
    Settings,
    theme=st.sampled_from(["dark", "light"]),
    ui_scale=st.floats(0.75, 2.5),
    mode=st.sampled_from(MODES),
    channel=st.sampled_from(["content", "heat", "owner"]),
    palettes=st.dictionaries(st.sampled_from(["content", "heat"]), st.sampled_from(["magma", "mine"])),
    transfers=st.dictionaries(
        st.sampled_from(["content", "owner"]), st.sampled_from([preset.points for preset in TRANSFERS.values()])
    ),
    opacity=st.floats(0.001, 1),
    pyramid=st.sampled_from(PYRAMIDS),
    hidden_kinds=st.sampled_from([(), ("text",), ("data", "random")]),
    half_life_s=st.floats(0.1, 600),
    greeted=st.booleans(),
    window_width=st.integers(320, 16384),
    show_log=st.booleans(),
    show_kernel=st.booleans(),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(settings)
def test_every_setting_survives_the_round_trip(value: Settings) -> None:
    assert settings_from_json(json.loads(json.dumps(asdict(value)))) == value


@given(st.dictionaries(st.sampled_from([*asdict(Settings()), "unknown"]), json_values, max_size=4))
def test_any_json_gives_valid_settings_or_a_reason(document: dict[str, object]) -> None:
    try:
        found = settings_from_json(document)
    except BadSettings:
        found = None
    if found is not None:
        assert found.theme in ("dark", "light")
        assert 0.75 <= found.ui_scale <= 2.5


def test_what_an_earlier_version_kept_is_understood() -> None:
    """Files from before channels: one palette, and two modes by other words."""
    assert settings_from_json({"mode": "first hit", "palette": ""}) == Settings()
    assert settings_from_json({"mode": "translucent", "palette": "ember"}) == Settings(
        mode="translucent", palettes={"content": "ember"}
    )
    assert settings_from_json({"palette": "content"}) == Settings()  # the content's own: no choice was made
    assert settings_from_json({"palette": "ember", "palettes": {"heat": "ice"}}).palettes == {"heat": "ice"}
    with pytest.raises(BadSettings, match="palette"):
        settings_from_json({"palette": 3})


@pytest.mark.parametrize(
    "document",
    [
        {"mode": "sideways"},
        {"channel": ""},
        {"channel": "x" * 81},
        {"palettes": {"content": 1}},
        {"palettes": {"": "ember"}},
        {"transfers": {"content": [[0, 0]]}},
        {"transfers": {"content": [[1, 0], [0, 1]]}},
        {"transfers": {"content": [[0, float("nan")], [1, 1]]}},
        {"transfers": {"content": [[0, 10**400], [1, 1]]}},
        {"transfers": {"content": 7}},
        {"transfers": {str(n): [[0, 0], [1, 1]] for n in range(300)}},
        {"opacity": 0},
        {"opacity": float("nan")},
        {"opacity": 10**400},
        {"half_life_s": float("inf")},
        {"hidden_kinds": ["text", "data"]},
        {"hidden_kinds": ["no such kind"]},
        {"pyramid": "least"},
    ],
)
def test_a_look_that_cannot_be_meant_is_refused(document: dict[str, object]) -> None:
    with pytest.raises(BadSettings):
        settings_from_json(document)


def test_saved_and_loaded(tmp_path: Path) -> None:
    assert load_settings(tmp_path) == (Settings(), None)
    kept = Settings(theme="light", ui_scale=1.25, greeted=True)
    save_settings(tmp_path, kept)
    assert load_settings(tmp_path) == (kept, None)
    assert [p.name for p in tmp_path.iterdir()] == [SETTINGS_FILE]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "line 1 is no JSON from column 1 on"),
        (b'{\n "theme": }', "line 2 is no JSON from column 11 on"),
        (b"[]", "does not hold one JSON object"),
        (b'{"theme": "pink"}', "“theme” cannot be"),
        (b'{"ui_scale": true}', "“ui_scale” cannot be true"),
        (b'{"\xff\xfe', "byte 3 is no text in UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_a_broken_file_is_set_aside_and_said(tmp_path: Path, content: bytes, why: str) -> None:
    (tmp_path / SETTINGS_FILE).write_bytes(content)
    found, problem = load_settings(tmp_path)
    assert found == Settings()
    assert problem is not None
    assert why in problem
    assert "defaults are used" in problem
    assert (tmp_path / f"{SETTINGS_FILE}.broken").read_bytes() == content
    assert load_settings(tmp_path) == (Settings(), None)


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    (tmp_path / SETTINGS_FILE).write_bytes(b" " * (MAX_FILE_BYTES + 1))
    assert "larger than" in (load_settings(tmp_path)[1] or "")


def test_a_file_that_cannot_be_read_or_moved_is_said_too(tmp_path: Path) -> None:
    (tmp_path / SETTINGS_FILE).mkdir()
    (tmp_path / f"{SETTINGS_FILE}.broken").write_text("in the way")
    assert "could not be read: Is a directory." in (load_settings(tmp_path)[1] or "")


def test_layout_round_trip_and_checksum(tmp_path: Path) -> None:
    assert load_layout(tmp_path) == (None, None)
    ini = "[Window][Log]\nPos=1,2\n\n[Docking][Data]\nDockSpace ID=0x1\n"
    save_layout(tmp_path, ini)
    assert load_layout(tmp_path) == (ini, None)
    path = tmp_path / LAYOUT_FILE
    path.write_text(path.read_text().replace("Pos=1,2", "Pos=1,3"))
    layout, problem = load_layout(tmp_path)
    assert layout is None
    assert "checksum" in (problem or "")
    path.write_text("[Window][Log]\n")
    assert "not written by Glassbox" in (load_layout(tmp_path)[1] or "")
    save_layout(tmp_path, ini)
    forget_layout(tmp_path)
    forget_layout(tmp_path)
    assert load_layout(tmp_path) == (None, None)


def test_a_failed_write_leaves_the_old_file_and_no_part(tmp_path: Path) -> None:
    path = tmp_path / "kept"
    write_atomically(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "new \ud800")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_size_that_is_asked_for_beats_the_one_that_was_kept() -> None:
    assert WindowOptions().first_size((0, 0)) == DEFAULT_SIZE
    assert WindowOptions().first_size((1000, 700)) == (1000, 700)
    assert WindowOptions(size=(1280, 720), size_is_asked=True).first_size((1000, 700)) == (1280, 720)
