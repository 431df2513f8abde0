"""DT_NEEDED as we read it, against what readelf says; and hostile ELF files."""

import contextlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.machine.shared_objects import NotAnElfProgram, needed_libraries

PROGRAM = Path(sys.executable).resolve().read_bytes()
SMALL = Path("/usr/bin/true").read_bytes()


def _by_readelf(path: Path) -> tuple[str, ...]:
    listing = subprocess.run(["readelf", "-dW", str(path)], capture_output=True, text=True, check=True).stdout
    return tuple(re.findall(r"\(NEEDED\).*\[(.*)\]", listing))


def test_equal_to_readelf() -> None:
    paths = [Path("/usr/bin/true"), Path("/usr/bin/gcc"), Path("/usr/bin/as"), Path(sys.executable).resolve()]
    paths += list(Path("/usr/lib/x86_64-linux-gnu").glob("lib[a-c]*.so.?"))[:30]
    assert len(paths) > 10
    for path in paths:
        assert needed_libraries(path.read_bytes()) == _by_readelf(path), path


def test_a_static_program_needs_none() -> None:
    assert needed_libraries(Path("/bin/busybox").read_bytes()) == ()


@pytest.mark.parametrize("data", [b"", b"\x7fELF", b"\x7fELF\x01\x01" + bytes(100), SMALL[:70], SMALL[:2000]])
def test_what_is_no_program(data: bytes) -> None:
    with pytest.raises(NotAnElfProgram):
        needed_libraries(data)


def test_names_without_their_table() -> None:
    data = bytearray(SMALL)
    entries = [at for at in range(0, len(data) - 16, 8) if data[at : at + 8] == (5).to_bytes(8, "little")]
    for at in entries:  # DT_STRTAB, and whatever else looks like it
        data[at] = 0x77
    with pytest.raises(NotAnElfProgram, match="no table"):
        needed_libraries(bytes(data))


@given(st.lists(st.tuples(st.integers(0, 1200), st.integers(0, 255)), max_size=8), st.integers(0, len(SMALL) - 1))
def test_damage_is_a_typed_error(changes: list[tuple[int, int]], cut: int) -> None:
    data = bytearray(SMALL)
    for position, value in changes:
        data[position] = value
    with contextlib.suppress(NotAnElfProgram):
        for name in needed_libraries(bytes(data[: len(data) - cut])):
            assert len(name) <= 256
