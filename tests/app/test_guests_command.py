"""`glassbox guests`: what can be started, the user's own among it, and why one of them cannot."""

import json
from pathlib import Path

import pytest

from app.cli import main
from app.exit_codes import ExitCode


def test_guests_are_listed_with_what_is_wrong_with_them(homes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = homes / "config" / "glassbox" / "guests"
    folder.mkdir(parents=True)
    (homes / "floppy.img").write_bytes(bytes(512))
    (folder / "mine.toml").write_text(f'title = "My own"\nfloppy = "{homes / "floppy.img"}"\nram = "16M"\n')
    (folder / "wrong.toml").write_text('rma = "16M"\n')
    assert main(["guests"]) == ExitCode.DONE
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert {"NAME", "demo", "boot-sector", "mine", "wrong"} <= lines.keys()
    assert "16 MiB" in lines["mine"]
    assert lines["mine"].endswith("My own")
    assert "rma" in lines["wrong"]
    assert main(["guests", "--json"]) == ExitCode.DONE
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["guests"]}
    assert rows["demo"]["built_in"]
    assert (rows["mine"]["ram_bytes"], rows["mine"]["problem"], rows["mine"]["built_in"]) == (16 << 20, "", False)
    assert rows["wrong"]["ram_bytes"] is None
    assert "rma" in rows["wrong"]["problem"]


def test_a_guest_is_prepared_before_it_is_needed(homes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["guests", "--prepare", "boot-sector"]) == ExitCode.DONE
    assert capsys.readouterr().out == "", "nothing to say: it is there"
    assert main(["guests", "--prepare", "no-such-guest"]) != ExitCode.DONE
    assert "no-such-guest" in capsys.readouterr().err
