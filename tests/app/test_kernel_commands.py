"""`ps`, `maps`, `pages`, `symbols`, `where` on a real guest's dump, as text and as JSON."""

from __future__ import annotations

import argparse
import contextlib
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app.cli import main
from app.exit_codes import ExitCode
from app.failures import UsageError
from app.kernel_source import KernelSource, settle_source
from app.symbol_cache import describe_symbol_cache
from bridge.kernel.kernel import find_kernel
from bridge.kernel.symbol_cache import SWITCH
from bridge.machine.catalogue import find_guest
from bridge.machine.manager import MachineManager
from bridge.memory.dump import Dump
from bridge.memory.physical import PhysicalReader


@pytest.fixture
def dump_file(demo_dump: Path) -> str:
    """RAM of a demo guest that had come up; the machine is gone."""
    return str(demo_dump)


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


def rows_of(capsys: pytest.CaptureFixture[str], dump_file: str, *arguments: str) -> list[dict[str, Any]]:
    """The records that a command prints as JSON."""
    document = run_json(capsys, *arguments, "--dump", dump_file)
    assert document["consistency"] == "frozen"
    found = document[arguments[0]]
    assert isinstance(found, list)
    return found


def text_of(capsys: pytest.CaptureFixture[str], dump_file: str, *arguments: str) -> list[str]:
    """The lines that it prints for people."""
    assert main([*arguments, "--dump", dump_file]) == ExitCode.DONE
    return capsys.readouterr().out.splitlines()


def test_files_mounts_and_stacks_of_processes(capsys: pytest.CaptureFixture[str], dump_file: str) -> None:
    pid = str(next(row["pid"] for row in rows_of_processes(capsys, dump_file) if row["name"] == "journal"))
    files = rows_of(capsys, dump_file, "files", pid)
    journal = next(row for row in files if row["path"] == "/tmp/journal.log")
    assert (journal["kind"], journal["mode"], journal["pid"]) == ("file", "rw", int(pid))
    assert journal["position"] == journal["size_bytes"] > 0
    lines = text_of(capsys, dump_file, "files", pid)
    assert lines[0].split() == ["FD", "MODE", "KIND", "POSITION", "SIZE", "PATH"]
    assert any(line.endswith("/tmp/journal.log") for line in lines)
    mounts = rows_of(capsys, dump_file, "mounts", "--pid", pid)
    assert {"/", "/proc", "/tmp"} <= {row["path"] for row in mounts}
    assert any("tmpfs" in line and line.endswith("rw,relatime") for line in text_of(capsys, dump_file, "mounts"))
    regions = rows_of(capsys, dump_file, "maps", pid)
    assert {"[heap]", "[stack]", "[vdso]"} & {row["path"] for row in regions}
    assert any(row["path"].startswith("/") and row["resident_bytes"] for row in regions)
    frames = rows_of(capsys, dump_file, "stack", "1")
    assert frames[0]["symbol"].startswith("__schedule + ")
    lines = text_of(capsys, dump_file, "stack", "1")
    assert lines[1].split() == [f"{frames[0]['address']:016x}", *frames[0]["symbol"].split()]


def rows_of_processes(capsys: pytest.CaptureFixture[str], dump_file: str) -> list[dict[str, Any]]:
    found = run_json(capsys, "ps", "--dump", dump_file)["processes"]
    assert isinstance(found, list)
    return found


def test_lists_of_the_kernel(capsys: pytest.CaptureFixture[str], dump_file: str) -> None:
    assert rows_of(capsys, dump_file, "modules") == []
    assert text_of(capsys, dump_file, "modules") == ["no modules"]
    caches = {row["name"]: row for row in rows_of(capsys, dump_file, "slabs")}
    assert 0 < caches["task_struct"]["active"] <= caches["task_struct"]["objects"]
    assert any(line.startswith("task_struct ") for line in text_of(capsys, dump_file, "slabs"))
    log = rows_of(capsys, dump_file, "log")
    assert "Linux version" in log[0]["text"]
    lines = text_of(capsys, dump_file, "log", "--last", "3")
    assert len(lines) == 3
    assert lines[-1].endswith(log[-1]["text"])
    assert lines[-1].startswith(f"[{log[-1]['time_s']:12.6f}] ")
    sockets = rows_of(capsys, dump_file, "sockets")
    lines = text_of(capsys, dump_file, "sockets")
    assert len(lines) == len(sockets) + 1 if sockets else lines == ["no sockets"]


def test_whose_a_byte_is(capsys: pytest.CaptureFixture[str], dump_file: str) -> None:
    init = next(row for row in rows_of_processes(capsys, dump_file) if row["pid"] == 1)
    lines = text_of(capsys, dump_file, "where", hex(init["task"] + 8), "--pid", "0")
    assert any(
        re.fullmatch(rf"Object +task_struct {init['task']:#x} \+ 0x8, [\d,]+ bytes, in use", line) for line in lines
    )
    document = run_json(capsys, "where", hex(init["task"] + 8), "--pid", "0", "--dump", dump_file)
    assert isinstance(document["slab_object"], dict)
    assert document["slab_object"]["address"] == init["task"]
    lines = text_of(capsys, dump_file, "where", hex(init["cr3"]))
    assert any(re.fullmatch(r"Table of +init \(1\), level 3", line) for line in lines)
    code = next(row for row in rows_of(capsys, dump_file, "maps", "1") if row["permissions"] == "r-xp")
    lines = text_of(capsys, dump_file, "where", hex(code["start"] + 5), "--pid", "1")
    assert any(line.startswith("File") and line.split()[1] == code["path"] for line in lines)


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
        (["files", "999999"], ExitCode.FAILED, "no process 999999"),
        (["files", "x"], ExitCode.USAGE, "no process number"),
        (["mounts", "--pid", "999999"], ExitCode.FAILED, "no process 999999"),
        (["stack", "999999"], ExitCode.FAILED, "no thread 999999"),
        (["log", "--last", "0"], ExitCode.USAGE, "at least 1"),
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


def test_the_only_machine_needs_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def settled(*running: str, name: str | None = None, dump: Path | None = None) -> str | None:
        records = [SimpleNamespace(name=one) for one in running]
        monkeypatch.setattr("app.kernel_source.discover", lambda: records)
        options = argparse.Namespace(name=name, dump=dump)
        settle_source(options)
        return options.name  # type: ignore[no-any-return]

    assert settled("demo") == "demo"
    assert settled("demo", name="other") == "other"  # which is then said not to run
    assert settled("demo", dump=Path("x")) is None
    with pytest.raises(UsageError, match="there are: demo, demo-2"):
        settled("demo", "demo-2")
    with pytest.raises(UsageError, match="name a machine"):
        settled("demo", name="demo", dump=Path("x"))


def test_nothing_to_read_from(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["ps"]) == ExitCode.USAGE
    assert "name a machine, or a dump" in capsys.readouterr().err
    (tmp_path / "zeros").write_bytes(bytes(1 << 20))
    assert main(["ps", "--dump", str(tmp_path / "zeros")]) == ExitCode.FAILED
    assert "No running Linux kernel" in capsys.readouterr().err
    assert main(["ps", "no-such-machine"]) == ExitCode.NO_SUCH_MACHINE


def test_guest_text_cannot_command_the_terminal() -> None:
    from app.output import printable

    assert printable("a\x1b[2Jb\nc") == "a\\u001b[2Jb\\nc"


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


def test_pages_by_class_cache_file_and_process(capsys: pytest.CaptureFixture[str], dump_file: str) -> None:
    document: dict[str, Any] = run_json(capsys, "pages", "--dump", dump_file)
    assert document["consistency"] == "frozen", "a dump stands still"
    classes = document["classes"]
    assert sum(row["pages"] for row in document["slabs"]) == classes["slab"]
    files = document["files"]
    assert sum(row["pages"] for row in files) == classes["file"] + classes["shared_memory"]
    assert [row["pages"] for row in files] == sorted((row["pages"] for row in files), reverse=True)
    busybox = next(row for row in files if row["path"] == "/bin/busybox")
    assert busybox["pages"] == -(-busybox["size_bytes"] // 4096), "it was unpacked into memory, whole"
    assert sum(n << order for order, n in enumerate(document["free_blocks"])) == classes["free"]
    tables = {row["name"]: row["pages"] for row in document["page_tables"]}
    assert tables["kernel"] > 50
    assert 0 < tables["init"] < 30
    assert sum(tables.values()) <= classes["page_table"]
    assert document["parts"]["heap"] > 0
    capsys.readouterr()
    assert main(["pages", "--dump", dump_file, "--top", "3"]) == ExitCode.DONE
    short = capsys.readouterr().out
    assert "SLAB CACHE" in short
    assert f"{len(files) - 3:,} more" in short
    assert main(["pages", "--dump", dump_file, "--top", "0"]) == ExitCode.DONE
    assert " more " not in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["pages", "--dump", dump_file, "--top", "some"])


def test_what_was_decoded_is_kept_and_forgotten(
    capsys: pytest.CaptureFixture[str], dump_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv(SWITCH)
    arguments = ("symbols", "--find", "sched", "--dump", dump_file)
    first = run_json(capsys, *arguments)
    kept = list((tmp_path / "glassbox" / "symbols").iterdir())
    assert [path.name.startswith(str(first["build_id"])) for path in kept] == [True]
    assert describe_symbol_cache().startswith("1 kernel, ")
    assert run_json(capsys, *arguments) == first
    assert run_json(capsys, "ps", "--dump", dump_file)["processes"]
    monkeypatch.setenv(SWITCH, "off")
    assert describe_symbol_cache().startswith(f"turned off by {SWITCH}; 1 kernel, ")
    assert run_json(capsys, *arguments) == first
    size = kept[0].stat().st_size
    document = run_json(capsys, "symbols", "--clear-cache")
    assert document == {"directory": str(kept[0].parent), "removed": 1, "size_bytes": size}
    assert list(kept[0].parent.iterdir()) == []
    assert main(["symbols", "--clear-cache"]) == ExitCode.DONE
    assert capsys.readouterr().out == f"{kept[0].parent}: 0 kernels, 0 B forgotten\n"
    assert main(["symbols", "--clear-cache", "--dump", dump_file]) == ExitCode.USAGE
    assert "stands alone" in capsys.readouterr().err
    kept[0].parent.rmdir()
    kept[0].parent.symlink_to(tmp_path)
    assert main(["symbols", "--clear-cache"]) == ExitCode.FAILED
    assert "symbolic link" in capsys.readouterr().err
    assert describe_symbol_cache().startswith("none, symbols are decoded each time: ")
    occupied = tmp_path / "file"
    occupied.touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(occupied))
    assert describe_symbol_cache() == f"none, symbols are decoded each time: {occupied}/glassbox: Not a directory"


def test_a_paused_machine_is_read_as_it_stands(
    demo_dump: Path, homes: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two truths that are put together: a machine's run state, and a kernel to read while it is in it."""
    assert homes.is_dir()
    with MachineManager() as manager, contextlib.closing(Dump.open(demo_dump)) as dump:
        machine = manager.launch(find_guest("boot-sector"), name="stands")
        assert machine.wait_ready(240), machine.info.message
        source = KernelSource("stands", find_kernel(PhysicalReader(dump)))
        assert not source.stands()
        assert source.look().consistency in ("live", "retried")
        machine.pause()
        assert source.stands()
        seen = source.look()
        assert seen.consistency == seen.processes.consistency == "frozen"
        monkeypatch.setattr("app.commands.kernel.kernel_source", lambda _: contextlib.nullcontext(source))
        monkeypatch.setattr("app.commands.kernel_lists.kernel_source", lambda _: contextlib.nullcontext(source))
        for command in (("ps", "stands"), ("mounts", "stands"), ("maps", "1", "stands")):
            assert main([*command, "--json"]) == 0
            assert json.loads(capsys.readouterr().out)["consistency"] == "frozen", command
        machine.resume()
        assert not source.stands()
    assert not source.stands(), "a machine that is gone claims nothing"


@pytest.mark.parametrize("command", [("mounts",), ("maps", "1"), ("files", "1"), ("modules",), ("ps",), ("pages",)])
def test_a_dump_is_of_one_moment(capsys: pytest.CaptureFixture[str], dump_file: str, command: tuple[str, ...]) -> None:
    assert main([*command, "--dump", dump_file, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["consistency"] == "frozen"
