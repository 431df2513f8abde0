"""Coverage's data of children that were killed: what cannot be read is taken out, and the rest adds up."""

from pathlib import Path

from coverage import CoverageData
from coverage.data import combine_parallel_data

from tests.measured import drop_damaged

PAGE = 4096


def measured(path: Path, n_files: int) -> bytes:
    data = CoverageData(str(path))
    data.add_lines({f"/program/file{i}.py": range(1, 2000, 2) for i in range(n_files)})
    data.write()
    return path.read_bytes()


def with_a_hole(content: bytes) -> bytes:
    """All is there but three pages near the end: coverage finds out in the middle of adding it up."""
    return content[: -4 * PAGE] + bytes(3 * PAGE) + content[-PAGE:]


def test_damaged_files_are_removed_and_the_others_add_up(tmp_path: Path) -> None:
    whole = measured(tmp_path / ".coverage.whole", 300)
    damaged = {".coverage.hole": with_a_hole(whole), ".coverage.short": whole[:PAGE], ".coverage.other": b"no database"}
    for name, content in damaged.items():
        (tmp_path / name).write_bytes(content)
    assert sorted(path.name for path in drop_damaged(tmp_path)) == sorted(damaged)

    total = CoverageData(str(tmp_path / ".coverage"))
    combine_parallel_data(total)
    assert len(total.measured_files()) == 300
    assert drop_damaged(tmp_path) == []
