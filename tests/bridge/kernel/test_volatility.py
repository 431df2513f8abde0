"""Volatility over our own layers: in a worker process on a live guest, and in this process for what a plugin meets."""

from __future__ import annotations

import contextlib
import datetime
import os
import resource
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from volatility3.framework import exceptions, renderers
from volatility3.framework.renderers import format_hints

from bridge.kernel.desk import Desk
from bridge.kernel.isf import isf_document
from bridge.kernel.kernel import Kernel, find_kernel
from bridge.kernel.snapshot import Introspector
from bridge.kernel.volatility_engine import session as volatility_session
from bridge.kernel.volatility_engine.layers import LinuxIntel57, RamLayer
from bridge.kernel.volatility_engine.plugins import NoSuchPlugin, checked, described, find_plugin, list_plugins
from bridge.kernel.volatility_engine.records import Columns, Finished, Job, Option, Plugin, Rows, Target
from bridge.kernel.volatility_engine.service import Run, Volatility
from bridge.kernel.volatility_engine.session import Session, _cell, _file_handler, _kind, _NoFolder
from bridge.memory.physical import PhysicalReader
from bridge.memory.physical_map import PhysicalMap, RamRegion
from tests.bridge.kernel.conftest import HeldRam, LiveGuest, write_words


@pytest.fixture(scope="module")
def volatility() -> Iterator[Volatility]:
    started = Volatility()
    yield started
    started.close()


@pytest.fixture(scope="module")
def target(live: LiveGuest) -> Target:
    return Target(live.ram.path, live.ram.physical_map)


@pytest.fixture(scope="module")
def kernel(dump: np.ndarray) -> Kernel:
    return find_kernel(PhysicalReader(HeldRam(dump)))


@pytest.fixture(autouse=True)
def types_once(kernel: Kernel, document: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions in this process are of one kernel: its types are put together once."""
    monkeypatch.setattr(volatility_session, "isf_document", lambda _: {**document, "metadata": {"format": "6.2.0"}})


@pytest.fixture(scope="module")
def document(kernel: Kernel) -> dict[str, Any]:
    return isf_document(kernel)


def finished(run: Run, timeout_s: float = 120) -> Finished:
    assert run.done.wait(timeout_s), run.progress
    assert run.finished is not None
    return run.finished


def column(run: Run, name: str) -> list[Any]:
    index = [column.name for column in run.columns].index(name)
    return [row[index] for row in run.rows]


def in_process(kernel: Kernel, plugin: str, **job: Any) -> Run:
    """A plugin's run in this process, so that coverage sees it."""
    run = Run(Job(1, Target(Path("none")), plugin, **job))
    Session(kernel).run(run.job, run.take)  # type: ignore[arg-type]
    return run


# ----- a live guest


def test_three_engines_agree(volatility: Volatility, target: Target, live: LiveGuest) -> None:
    """Our walker, drgn and Volatility name the same processes, mounts and open files."""
    with live.shell.held():
        engines_agree(volatility, target, Introspector(live.kernel))


def engines_agree(volatility: Volatility, target: Target, introspector: Introspector) -> None:
    desk = Desk(introspector)
    tasks = introspector.tasks.processes()
    listed = volatility.run(target, "linux.pslist")
    assert finished(listed).problem == ""
    theirs = dict(zip(column(listed, "PID"), column(listed, "COMM"), strict=True))
    assert {int(pid): tasks.names[index] for index, pid in enumerate(tasks.pids)} == theirs
    addresses = dict(zip(column(listed, "PID"), column(listed, "OFFSET (V)"), strict=True))
    mask = (1 << 48) - 1  # Volatility leaves out the bits that repeat the highest
    assert addresses[1] == int(tasks.addresses[list(tasks.pids).index(1)]) & mask
    mounted = volatility.run(target, "linux.mountinfo", {"pids": (1,)})
    assert finished(mounted).problem == ""
    assert {(mount.mount_id, mount.path) for mount in desk.mounts(1)} == set(
        zip(column(mounted, "MOUNT ID"), column(mounted, "MOUNT_POINT"), strict=True)
    )
    opened = volatility.run(target, "linux.lsof", {"pid": (1,)})
    assert finished(opened).problem == ""
    assert [(file.descriptor, file.path) for file in desk.files(1)] == list(
        zip(column(opened, "FD"), column(opened, "Path"), strict=True)
    )


def test_a_guest_that_changes_is_read_anew(volatility: Volatility, target: Target, live: LiveGuest) -> None:
    before = volatility.run(target, "pslist")
    assert finished(before).problem == ""
    pid = live.shell.start("sleep 1000")
    after = volatility.run(target, "pslist")
    assert finished(after).problem == ""
    assert column(after, "COMM").count("sleep") == column(before, "COMM").count("sleep") + 1
    live.shell.run(f"kill {pid}; true")


def test_limits_and_what_is_wrong_are_said(volatility: Volatility, target: Target, tmp_path: Path) -> None:
    few = volatility.run(target, "pslist", row_limit=3)
    assert "first 3 rows" in finished(few).problem
    assert finished(few).truncated
    assert len(few.rows) == 3
    by_itself: list[float] = []
    for _ in range(6):  # one quiet try of a few counts
        slow = volatility.run(target, "linux.kallsyms", time_limit_s=0.5)
        assert finished(slow).truncated
        if "0 s, its time limit" in finished(slow).problem:
            by_itself.append(finished(slow).took_s)
            if min(by_itself) < 5:
                break
        else:  # on a busy host the plugin may not come to look at its limit: its process is ended then
            assert "did not end within 0 s, and was stopped" in finished(slow).problem
    assert by_itself
    assert min(by_itself) < 5
    missing = volatility.run(target, "linux.nothing")
    assert "no plugin 'linux.nothing'" in finished(missing).problem
    (tmp_path / "zeros").write_bytes(bytes(1 << 20))
    empty = volatility.run(Target(tmp_path / "zeros"), "pslist")
    assert "No running Linux kernel" in finished(empty).problem
    gone = volatility.run(Target(tmp_path / "gone"), "pslist")
    assert "gone" in finished(gone).problem


def test_a_run_can_be_cancelled(volatility: Volatility, target: Target) -> None:
    run = volatility.run(target, "linux.kallsyms")
    waiting = volatility.run(target, "pslist")
    until(lambda: len(run.rows) > 0)
    volatility.cancel(run)
    volatility.cancel(run)
    assert finished(run).problem == "Cancelled."
    count = len(run.rows)
    assert finished(waiting).problem == ""  # the next one's turn comes
    assert len(run.rows) == count
    long = volatility.run(target, "linux.kallsyms")
    never = volatility.run(target, "pslist")
    first = volatility.run(target, "pslist")
    volatility.cancel(never)  # before its turn
    volatility.cancel(long)
    assert finished(first).problem == ""
    assert finished(never).truncated


def until(what: Callable[[], bool], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_worker_that_dies_is_told_of_and_replaced(target: Target) -> None:
    woken: list[int] = []
    volatility = Volatility(lambda: woken.append(1))
    try:
        assert volatility.wait_installed().version
        run = volatility.run(target, "linux.kallsyms")
        until(lambda: len(run.rows) > 0)
        assert volatility._process is not None
        children = Path(f"/proc/{volatility._process.pid}/task/{volatility._process.pid}/children").read_text().split()
        assert len(children) == 1
        os.kill(volatility._process.pid, signal.SIGKILL)
        assert "has ended" in finished(run).problem
        until(lambda: not Path(f"/proc/{children[0]}").exists())  # what it forked ends with it
        again = volatility.run(target, "pslist")
        assert finished(again).problem == ""
        assert woken
    finally:
        volatility.close()
        volatility.close()
    after = volatility.run(target, "pslist")
    assert after.running  # nothing takes it any more, and nothing breaks


def test_a_plugin_that_crashes_takes_nothing_with_it(volatility: Volatility, target: Target) -> None:
    run = volatility.run(target, "linux.kallsyms")
    until(lambda: len(run.rows) > 0)
    assert volatility._process is not None
    worker = volatility._process.pid
    (child,) = Path(f"/proc/{worker}/task/{worker}/children").read_text().split()
    os.kill(int(child), signal.SIGSEGV)
    assert "ended all at once" in finished(run).problem
    assert finished(run).truncated
    assert finished(volatility.run(target, "pslist")).problem == ""
    assert volatility._process.pid == worker


# ----- what is installed


def test_the_catalogue() -> None:
    installed = list_plugins()
    names = [plugin.name for plugin in installed.plugins]
    assert names == sorted(names)
    assert {"linux.pslist", "linux.lsof", "linux.proc.Maps", "linux.pagecache.Files"} <= set(names)
    assert not [plugin for plugin in installed.plugins if "deprecated" in plugin.description]
    (pslist,) = (plugin for plugin in installed.plugins if plugin.name == "linux.pslist")
    assert pslist.options[0] == Option("pid", "ints", "Filter on specific process IDs", None, True)
    assert find_plugin("pslist")[0] == find_plugin("linux.pslist.PsList")[0].removesuffix(".PsList") == "linux.pslist"
    assert find_plugin("linux.proc")[0] == find_plugin("proc.Maps")[0] == "linux.proc.Maps"
    assert find_plugin("check_idt")[1].__module__.endswith("check_idt")
    assert find_plugin("CheckFtrace")[0] == "linux.tracing.ftrace.CheckFtrace"
    with pytest.raises(NoSuchPlugin, match="vol --list"):
        find_plugin("linux.pagecache")  # which of its three?
    choices = [o for p in installed.plugins for o in p.options if o.kind == "choice"]
    assert choices
    assert all(option.choices for option in choices)


def test_options_are_held_against_what_the_plugin_takes() -> None:
    plugin = Plugin(
        "linux.some",
        "",
        (
            Option("many", "ints", ""),
            Option("flag", "bool", ""),
            Option("one", "int", ""),
            Option("form", "choice", "", choices=("gz", "xz")),
            Option("must", "text", "what to find", optional=False),
        ),
    )
    good = {"many": (1, 2), "flag": True, "one": 3, "form": "xz", "must": "x"}
    assert checked(plugin, good) == {"many": [1, 2], "flag": True, "one": 3, "form": "xz", "must": "x"}
    assert checked(plugin, {"must": "x", "one": None, "many": ()}) == {"must": "x"}
    for wrong in (
        {"many": 1}, {"many": ("1",)}, {"many": (True,)}, {"flag": 1}, {"one": True}, {"one": "1"}, {"form": "zip"},
        {"must": 5}, {"must": ("x",)}, {"other": 1}, {"must": ""},
    ):  # fmt: skip
        with pytest.raises(NoSuchPlugin, match=r"takes|has no option|needs its option"):
            checked(plugin, {"must": "x", **wrong})
    assert described("linux.pslist").options


# ----- in this process


def test_columns_rows_progress_and_the_end(kernel: Kernel) -> None:
    said: list[object] = []
    Session(kernel).run(Job(7, Target(Path("none")), "linux.pslist", {"pid": (1,)}), said.append)
    assert {message.number for message in said} == {7}  # type: ignore[attr-defined]
    columns, rows, end = said
    assert isinstance(columns, Columns)
    assert isinstance(rows, Rows)
    assert isinstance(end, Finished)
    assert [(c.name, c.kind) for c in columns.columns[:2]] == [("OFFSET (V)", "hex"), ("PID", "int")]
    assert rows.depths == (0,)
    assert rows.rows[0][1] == 1
    assert (end.problem, end.truncated) == ("", False)
    tree = in_process(kernel, "linux.pstree")
    assert set(tree.depths) >= {0, 1}
    scanned = in_process(kernel, "linux.psscan", row_limit=5)
    assert scanned.progress is None or 0 <= scanned.progress.fraction <= 1
    assert scanned.finished is not None
    assert "first 5 rows" in scanned.finished.problem


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_files_go_where_they_may(kernel: Kernel, tmp_path: Path) -> None:
    refused = in_process(kernel, "linux.elfs", options={"pid": (1,), "dump": True})
    assert refused.finished is not None
    assert "--output FOLDER" in refused.finished.problem
    written = in_process(kernel, "linux.elfs", options={"pid": (1,), "dump": True}, folder=tmp_path)
    assert written.finished is not None
    assert sorted(written.finished.files) == sorted(path.name for path in tmp_path.iterdir())
    assert any(path.read_bytes().startswith(b"\x7fELF") for path in tmp_path.iterdir())


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_names_of_files_are_made_harmless(tmp_path: Path) -> None:
    files: list[str] = []
    handler = _file_handler(tmp_path, files)
    for name in ("..hidden", "a\n\x1b[2Jb", "same", "same", "." * 300):
        with handler(name) as file:
            file.write(b"data")
    assert files[2:4] == ["same", "same-1"]
    assert all(path.parent == tmp_path and path.name.isprintable() for path in tmp_path.iterdir())
    assert sorted(files) == sorted(path.name for path in tmp_path.iterdir())
    assert not any(name.startswith(".") for name in files)
    with pytest.raises(ValueError, match="separators"):
        handler("../up")
    with pytest.raises(_NoFolder):
        _file_handler(None, [])("x")


def test_notes_and_problems_of_plugins(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    noted = in_process(kernel, "linux.pagecache.InodePages")
    assert noted.finished is not None
    assert noted.finished.notes == ("You must use either --inode or --find",)
    assert in_process(kernel, "linux.vmcoreinfo").rows
    _, pslist = find_plugin("linux.pslist")
    for error, words in (
        (MemoryError(), "more memory"),
        (KeyError("secret"), "KeyError"),
        (exceptions.InvalidAddressException("layer", 5, "no page"), "not there"),
        (SystemExit(), None),
    ):

        def fail(self: object, error: BaseException = error) -> None:
            raise error

        monkeypatch.setattr(pslist, "run", fail)
        if words is None:
            with pytest.raises(SystemExit):
                in_process(kernel, "linux.pslist")
            continue
        failed = in_process(kernel, "linux.pslist").finished
        assert failed is not None
        assert words in failed.problem
        assert failed.truncated


def test_every_kind_of_value(kernel: Kernel) -> None:
    when = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.timezone(datetime.timedelta(hours=1)))
    code = renderers.Disassembly(b"\x48\x89\xe5\xc3", 0x1000, "intel64")
    layer = Session(kernel)._context.layers["ram"]
    data = renderers.LayerData(Session(kernel)._context, layer.name, 0x1000, 4)
    for value, cell, kind in (
        (format_hints.Hex(255), 255, "hex"),
        (5, 5, "int"),
        (True, True, "bool"),
        (1.5, 1.5, "float"),
        ("text", "text", "text"),
        (when, "2026-01-02 02:04:05", "time"),
        (when.replace(tzinfo=None), "2026-01-02 03:04:05", "time"),
        (format_hints.HexBytes(b"\x01\xff"), "01 ff", "bytes"),
        (format_hints.MultiTypeData(b"a\0b\0\0\0c\0", encoding="utf-16-le"), "ab", "text"),
        (code, "mov rbp, rsp; ret", "code"),
        (data, layer.read(0x1000, 4).hex(" "), "bytes"),
    ):
        assert _cell(value) == cell
        assert _kind(type(value)) == kind
    assert _cell(renderers.NotAvailableValue()) is None
    assert type(_cell(format_hints.Hex(5))) is int
    assert len(str(_cell("x" * 100_000))) < 10_000


# ----- layers


def test_ram_with_holes() -> None:
    data = np.arange(4 * 4096, dtype=np.uint32).astype(np.uint8)
    regions = (RamRegion(0, 0, 2 * 4096, "low"), RamRegion(4 * 4096, 2 * 4096, 2 * 4096, "high"))
    layer = layer_of(data, PhysicalMap(len(data), regions))
    assert (layer.minimum_address, layer.maximum_address) == (0, 6 * 4096 - 1)
    assert layer.read(4096, 8) == data[4096:4104].tobytes()
    assert layer.read(4 * 4096, 8192) == data[2 * 4096 :].tobytes()
    assert layer.read(4096, 4 * 4096, pad=True) == data[4096:8192].tobytes() + bytes(8192) + data[8192:12288].tobytes()
    inside = ((0, 1, True), (4 * 4096, 8192, True), (5 * 4096 - 2, 4, True))
    outside = ((8190, 4, False), (2 * 4096, 1, False), (6 * 4096, 1, False), (-1, 1, False), (0, 1 << 62, False))
    for offset, length, valid in (*inside, *outside):
        assert layer.is_valid(offset, length) == valid
        if not valid:
            with pytest.raises(exceptions.InvalidAddressException):
                layer.read(offset, length)
    with pytest.raises(exceptions.InvalidAddressException):
        layer.read(0, 1 << 62, pad=True)
    with pytest.raises(NotImplementedError):
        layer.write(0, b"x")


def layer_of(data: np.ndarray, physical_map: PhysicalMap | None = None) -> RamLayer:
    from volatility3.framework import contexts

    context = contexts.Context()
    layer = RamLayer(context, "ram", "ram", PhysicalReader(HeldRam(data, physical_map)))
    context.add_layer(layer)
    return layer


def test_five_levels_lead_where_four_do(kernel: Kernel, dump: np.ndarray) -> None:
    """One more table on top, whose first and last entry lead to the old one: all addresses stay what they are."""
    data = np.concatenate([dump, np.zeros(4096, np.uint8)])
    top = len(dump)
    write_words(data, top, [kernel.space.root | 0x67, *[0] * 510, kernel.space.root | 0x67])
    layer = layer_of(data)
    context = layer.context
    context.config["five.memory_layer"] = "ram"
    context.config["five.page_map_offset"] = top
    five = LinuxIntel57(context, "five", "five")
    context.config["four.memory_layer"] = "ram"
    context.config["four.page_map_offset"] = kernel.space.root
    from volatility3.framework.layers.intel import LinuxIntel32e

    four = LinuxIntel32e(context, "four", "four")
    names = ("_text", "init_task", "linux_banner", "idt_table")
    places = [kernel.symbols.address(name) for name in names]
    assert kernel.space.direct_map is not None
    places += [kernel.space.direct_map + paddr for paddr in (0x1000, 0x123456)]
    for place in places:
        expected = kernel.space.read(place, 64)
        assert five.read(place & (1 << 57) - 1, 64) == four.read(place & (1 << 48) - 1, 64) == expected
    assert five.canonicalize(places[0] & (1 << 57) - 1) == places[0]
    assert not five.is_valid(0x00AB_0000_0000_0000)
    with contextlib.suppress(exceptions.InvalidAddressException):
        five.read((1 << 57) - 8, 16)


def test_a_kernel_with_five_levels(kernel: Kernel, dump: np.ndarray) -> None:
    import dataclasses

    from bridge.kernel.space import KernelSpace

    data = np.concatenate([dump, np.zeros(4096, np.uint8)])
    write_words(data, len(dump), [kernel.space.root | 0x67, *[0] * 510, kernel.space.root | 0x67])
    space = KernelSpace(PhysicalReader(HeldRam(data)), len(dump), 5, kernel.space.phys_base)
    five = in_process(dataclasses.replace(kernel, space=space), "linux.lsmod")
    listed = in_process(dataclasses.replace(kernel, space=space), "linux.pslist")
    assert five.finished is not None
    assert five.finished.problem == ""
    assert column(listed, "COMM") == column(in_process(kernel, "linux.pslist"), "COMM")
    assert len(listed.rows) > 20


def test_memory_is_limited(target: Target, volatility: Volatility) -> None:
    """The plugin's process may take some GiB more than the worker has, not all there is."""
    run = volatility.run(target, "linux.kallsyms")
    until(lambda: len(run.rows) > 0)
    assert volatility._process is not None
    worker = volatility._process.pid
    (child,) = Path(f"/proc/{worker}/task/{worker}/children").read_text().split()
    soft, _ = resource.prlimit(int(child), resource.RLIMIT_DATA)
    assert 4 << 30 < soft < 8 << 30
    volatility.cancel(run)
