"""The page about the instructions says what the table says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from bridge.pixelcpu.isa import ROWS
from bridge.pixelcpu.reference import page

_PAGE = Path(__file__).resolve().parents[3] / "docs" / "pixel-isa.md"


def test_the_page_is_that_of_the_table() -> None:
    said = subprocess.run(
        [sys.executable, "-m", "bridge.pixelcpu.reference"],
        cwd=_PAGE.parents[1],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert said == page() == _PAGE.read_text(), "write it anew: python -m bridge.pixelcpu.reference > docs/pixel-isa.md"
    for row in ROWS:
        assert f"| `{row.operation}` |" in said
