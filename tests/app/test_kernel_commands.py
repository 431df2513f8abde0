"""`ps`, `maps`, `pages`, `symbols`, `where` on a real guest's dump, as text and as JSON."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from app.cli import main
from app.exit_codes import ExitCode
from bridge.machine.guest import Guest
from tests.bridge.machine.serial_guest import start_guest


@pytest.fixture(scope="module")
def dump_file(demo_guest: Guest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """RAM of a demo guest that had come up; the machine is gone."""
    folder = tmp_path_factory.mktemp("dump")
    with start_guest(demo_guest, folder) as shell:
        assert demo_guest.ready_marker
        shell.wait_for(demo_guest.ready_marker)
        shell.run("sleep 1")
        shutil.copyfile(shell.ram, folder / "guest.raw")
    return str(folder / "guest.raw")


def run_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, object]:
    assert main([*arguments, "--json"]) == ExitCode.DONE
    document: dict[str, object] = json.loads(capsys.readouterr().out)
    return document


def test_processes(capsys: pytest.CaptureFixture[str], dump_file: str) -> None:
    found = run_json(capsys, "ps", "--dump", dump_file)["processes"]
    assert isinstance(found, list)
    init = next(row for row in found if row["pid"] == 1)
    assert set(init) == {"pid", "tgid", "ppid", "name", "state", "uid", "cr3", "rss_bytes", "task", "cmdline"}
    assert init["cr3"] % 4096 == 0
    threads = run_json(capsys, "ps", "--threads", "--dump", dump_file)["processes"]
    assert isinstance(threads, list)
    assert len(threads) >= len(found)
    assert main(["ps", "--dump", dump_file]) == ExitCode.DONE
    text = capsys.readouterr().out
    assert "[kthreadd]" in text
    assert text.splitlines()[0].split() == ["PID", "PPID", "UID", "S", "RSS", "TASK", "COMMAND"]


def test_maps_and_places(capsys: pytest.CaptureFixture[str], dump_file: str) -> None:
    found = run_json(capsys, "ps", "--dump", dump_file)["processes"]
    assert isinstance(found, list)
    pid = str(next(row["pid"] for row in found if row["name"] == "counter"))
    maps = run_json(capsys, "maps", pid, "--dump", dump_file)["maps"]
    assert isinstance(maps, list)
    code = next(row for row in maps if row["permissions"] == "r-xp")
    story = run_json(capsys, "where", hex(code["start"] + 5), "--pid", pid, "--dump", dump_file)
    assert story["part"] == "Program code"
    assert any(mapping["vaddr"] == code["start"] + 5 for mapping in story["mappings"])  # type: ignore[attr-defined]
    again = run_json(capsys, "where", hex(story["paddr"]), "--dump", dump_file)  # type: ignore[arg-type]
    assert again["mappings"] == story["mappings"]
    assert main(["maps", pid, "--dump", dump_file]) == ExitCode.DONE
    assert "r-xp" in capsys.readouterr().out
    assert main(["where", hex(code["start"]), "--pid", pid, "--dump", dump_file]) == ExitCode.DONE
    assert "Mapped by" in capsys.readouterr().out


def test_symbols_pages_and_kernel_places(capsys: pytest.CaptureFixture[str], dump_file: str) -> None:
    found = run_json(capsys, "symbols", "--find", "linux_banner", "--dump", dump_file)["symbols"]
    assert isinstance(found, list)
    banner = next(row for row in found if row["name"] == "linux_banner")
    story = run_json(capsys, "where", hex(banner["address"]), "--pid", "0", "--dump", dump_file)
    assert story["symbol"] == "linux_banner"
    assert story["kernel_vaddr"] == banner["address"]
    pages = run_json(capsys, "pages", "--dump", dump_file)
    assert sum(pages["classes"].values()) == pages["pages"]  # type: ignore[attr-defined]
    assert main(["pages", "--dump", dump_file]) == ExitCode.DONE
    assert "are known for certain" in capsys.readouterr().out
    assert main(["symbols", "--find", "linux_banner", "--dump", dump_file]) == ExitCode.DONE
    assert f"{banner['address']:016x}" in capsys.readouterr().out
    assert main(["where", hex(banner["address"]), "--pid", "0", "--dump", dump_file]) == ExitCode.DONE
    assert "linux_banner" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["maps", "2"], ExitCode.FAILED, "thread of the kernel"),
        (["maps", "999999"], ExitCode.FAILED, "no process 999999"),
        (["maps", "x"], ExitCode.USAGE, "no process number"),
        (["where", "0x10", "--pid", "1"], ExitCode.FAILED, "cannot be read"),
        (["where", "0x10", "--pid", "2"], ExitCode.FAILED, "no address space of its own"),
        (["where", "0x10", "--pid", "999999"], ExitCode.FAILED, "no process 999999"),
        (["where", "0xfffffffff000"], ExitCode.FAILED, "no RAM at that physical address"),
    ],
)
def test_wrong_questions(
    capsys: pytest.CaptureFixture[str], dump_file: str, arguments: list[str], code: ExitCode, words: str
) -> None:
    assert main([*arguments, "--dump", dump_file]) == code
    assert words in capsys.readouterr().err


def test_nothing_to_read_from(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["ps"]) == ExitCode.USAGE
    assert "name a machine, or a dump" in capsys.readouterr().err
    (tmp_path / "zeros").write_bytes(bytes(1 << 20))
    assert main(["ps", "--dump", str(tmp_path / "zeros")]) == ExitCode.FAILED
    assert "No running Linux kernel" in capsys.readouterr().err
    assert main(["ps", "no-such-machine"]) == ExitCode.NO_SUCH_MACHINE


def test_guest_text_cannot_command_the_terminal() -> None:
    from app.commands.kernel import _printable

    assert _printable("a\x1b[2Jb\nc") == "a\\u001b[2Jb\\nc"


def test_types_for_volatility(capsys: pytest.CaptureFixture[str], dump_file: str, tmp_path: Path) -> None:
    path = tmp_path / "kernel.json.gz"
    document = run_json(capsys, "symbols", "--isf", str(path), "--dump", dump_file)
    assert document["size_bytes"] == path.stat().st_size
    assert document["levels"] == 4
    assert main(["symbols", "--isf", str(path), "--dump", dump_file]) == ExitCode.DONE
    assert f"vol -s {tmp_path} -f DUMP linux.pslist" in capsys.readouterr().out
    assert main(["symbols", "--isf", str(tmp_path / "kernel.txt"), "--dump", dump_file]) == ExitCode.USAGE
    assert "must end in one of" in capsys.readouterr().err
    assert main(["symbols", "--isf", str(tmp_path / "no" / "k.json"), "--dump", dump_file]) == ExitCode.FAILED
