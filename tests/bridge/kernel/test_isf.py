"""ISF: the stock `vol` command runs on what is written, and says what the guest says; every type has its layout."""

from __future__ import annotations

import base64
import gzip
import json
import lzma
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import volatility3.schemas

from bridge.kernel.btf import Btf, Kind
from bridge.kernel.errors import BadTypes, MissingSymbol
from bridge.kernel.isf import IsfTypes, banner, isf_document, isf_problem, linked_offset, save_isf
from bridge.kernel.kernel import Kernel, find_kernel
from bridge.kernel.space import KERNEL_MAP
from bridge.memory.physical import PhysicalReader
from tests.bridge.kernel.conftest import HeldRam, LiveGuest
from tests.bridge.kernel.test_btf import Section

PLUGINS = ("pslist", "lsmod", "mountinfo", "proc.Maps", "lsof", "psaux", "sockstat", "kthreads")
Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def dump(live: LiveGuest) -> np.ndarray:
    """Taken now: what other tests started in the guest since they took theirs is in it."""
    with live.shell.held():
        return live.ram.bytes.copy()


@pytest.fixture(scope="module")
def kernel(dump: np.ndarray) -> Kernel:
    return find_kernel(PhysicalReader(HeldRam(dump)))


@pytest.fixture(scope="module")
def document(kernel: Kernel) -> dict[str, Any]:
    return isf_document(kernel)


@pytest.fixture(scope="module")
def stock(kernel: Kernel, dump: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Rows]]:
    """What `vol`, as it comes from its makers, prints for each plugin on a dump with our ISF."""
    folder = tmp_path_factory.mktemp("vol")
    (folder / "symbols/linux").mkdir(parents=True)
    (folder / "cache").mkdir()
    dump.tofile(folder / "guest.raw")
    save_isf(kernel, folder / "symbols/linux/kernel.json.xz")
    # Without jsonschema, which it does not need but uses where it is there: it then checks each type for minutes.
    vol = (
        "import sys; sys.argv[0] = 'vol'; sys.modules['jsonschema'] = None;"
        " from volatility3.cli import main; sys.exit(main())"
    )
    # Nothing of ours runs in it: it is not measured, which would slow each of its calls.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    command = [sys.executable, "-c", vol, "-q", "-r", "json", "--offline"]
    command += ["--cache-path", str(folder / "cache"), "-s", str(folder / "symbols"), "-f", str(folder / "guest.raw")]

    def run(plugin: str) -> Rows:
        done = subprocess.run(
            [*command, f"linux.{plugin}"], env=environment, capture_output=True, text=True, timeout=800, check=False
        )
        assert done.returncode == 0, done.stderr
        rows: Rows = json.loads(done.stdout)
        return rows

    first = run(PLUGINS[0])  # by itself: it fills the cache that the others share
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield dict(zip(PLUGINS, [first, *pool.map(run, PLUGINS[1:])], strict=True))
    (folder / "guest.raw").unlink()


def test_stock_volatility_lists_the_processes(stock: dict[str, Rows], live: LiveGuest) -> None:
    theirs = {
        int(match[1]): match[2]
        for match in re.finditer(
            r"^(\d+) \((.*)\)", live.shell.run("cat /proc/[0-9]*/stat 2>/dev/null; true"), re.MULTILINE
        )
    }
    ours = {row["PID"]: row["COMM"] for row in stock["pslist"]}
    assert ours[1] == "init"
    # The guest goes on: what its kernel and its journal's archive do for the moment comes and goes.
    lasting = {pid for pid, name in theirs.items() if not name.startswith(("kworker", "cat", "sh", "gzip"))}
    assert len(lasting) > 20
    assert lasting <= set(ours)
    assert {ours[pid] for pid in lasting} == {theirs[pid][:15] for pid in lasting}
    arguments = {row["PID"]: row["ARGS"] for row in stock["psaux"]}
    assert arguments[1].strip() == live.shell.run("tr '\\0' ' ' </proc/1/cmdline").strip()
    assert {row["TID"] for row in stock["kthreads"]} <= {pid for pid in ours if pid > 1}
    assert any(row["Symbol"] == "rescuer_thread" for row in stock["kthreads"])


def test_stock_volatility_lists_mounts_maps_and_files(stock: dict[str, Rows], live: LiveGuest) -> None:
    theirs = [line.split() for line in live.shell.run("cat /proc/1/mountinfo").splitlines()]
    mounts = {(str(row["MOUNT ID"]), row["MOUNT_POINT"]) for row in stock["mountinfo"]}
    assert {(line[0], line[4]) for line in theirs} <= mounts
    maps = [line.split() for line in live.shell.run("cat /proc/1/maps").splitlines()]
    ours = {(row["Start"], row["End"], row["Flags"]) for row in stock["proc.Maps"] if row["PID"] == 1}
    for place, permissions, *_ in maps:
        start, end = (int(part, 16) for part in place.split("-"))
        if start < 1 << 47:  # vsyscall is no VMA
            assert (start, end, permissions[:3]) in ours
    assert [row["Path"] for row in stock["lsof"] if row["PID"] == 1 and row["FD"] == 0] == ["/dev/console"]
    listening = {
        int(row["Source Port"]) for row in stock["sockstat"] if row["State"] == "LISTEN" and row["Type"] == "STREAM"
    }
    text = live.shell.run("cat /proc/net/tcp")
    assert listening == {int(match[1], 16) for match in re.finditer(r":([0-9A-F]{4}) \S+ 0A ", text)}
    assert listening
    modules = {line.split()[0] for line in live.shell.run("cat /proc/modules; true").splitlines()}
    assert {row["Module Name"] for row in stock["lsmod"]} == modules


def test_layouts_equal_btf(kernel: Kernel, document: dict[str, Any]) -> None:
    """Every named member of every struct has its place; anonymous ones lead on."""
    assert kernel.types is not None
    checked = 0
    for type_id in range(1, len(kernel.types)):
        if kernel.types.kind(type_id) not in (Kind.STRUCT, Kind.UNION):
            continue
        name = kernel.types.name(type_id)
        if not name or kernel.types.find(name, Kind.STRUCT, Kind.UNION) != type_id:
            continue
        described = document["user_types"][name]
        assert described["size"] == kernel.types.size(type_id)
        flat = dict(flattened(document, described))
        for member, truth in kernel.types.layout(type_id).items():
            field, offset = flat[member]
            if truth.bit_size:
                kind = field["type"]
                assert kind["kind"] == "bitfield"
                assert 8 * offset + kind["bit_position"] == truth.bit_offset
                assert kind["bit_length"] == truth.bit_size
            else:
                assert offset == truth.offset
            checked += 1
    assert checked > 40_000


def flattened(document: dict[str, Any], described: dict[str, Any], base: int = 0) -> Iterator[tuple[str, Any]]:
    for name, field in described["fields"].items():
        if field.get("anonymous"):
            yield from flattened(document, document["user_types"][field["type"]["name"]], base + field["offset"])
        else:
            yield name, (field, base + field["offset"])


def conforms(schema: dict[str, Any], rule: dict[str, Any], value: Any, where: str = "") -> None:
    """Hold a value against the parts of JSON Schema that Volatility's schema uses."""
    if "$ref" in rule:
        conforms(schema, schema["definitions"][rule["$ref"].rpartition("/")[2]], value, where)
    if "oneOf" in rule:
        fits = 0
        for choice in rule["oneOf"]:
            try:
                conforms(schema, choice, value, where)
                fits += 1
            except AssertionError:
                pass
        assert fits == 1, f"{where}: {fits} choices fit {value}"
    kinds: dict[str, Any] = {"object": dict, "string": str, "integer": int, "boolean": bool, "array": list}
    if rule.get("type") in kinds:
        assert isinstance(value, kinds[rule["type"]]), where
    if "pattern" in rule:
        assert re.search(rule["pattern"], value), where
    if isinstance(value, dict):
        assert set(rule.get("required", ())) <= set(value), where
        for key, inner in value.items():
            if key in rule.get("properties", {}):
                conforms(schema, rule["properties"][key], inner, f"{where}.{key}")
            elif isinstance(extra := rule.get("additionalProperties"), dict):
                conforms(schema, extra, inner, f"{where}.{key}")
            else:
                assert extra is not False, f"{where}: {key!r}"


def test_it_conforms_to_volatilitys_own_schema(document: dict[str, Any]) -> None:
    schema = json.loads((Path(volatility3.schemas.__file__).parent / "schema-6.2.0.json").read_text())
    rng = np.random.default_rng(1)

    def some(table: dict[str, Any], keep: tuple[str, ...] = ()) -> dict[str, Any]:
        names = list(table)
        return {names[i]: table[names[i]] for i in rng.choice(len(names), min(len(names), 300), replace=False)} | {
            name: table[name] for name in keep
        }

    part = {
        **document,
        "user_types": some(document["user_types"], ("task_struct", "page", "sk_buff")),
        "symbols": some(document["symbols"], ("linux_banner", "init_task")),
    }
    conforms(schema, schema, part)
    with pytest.raises(AssertionError):
        conforms(schema, schema, {**part, "metadata": {"format": "7.0.0"}})


def test_every_name_leads_somewhere(document: dict[str, Any]) -> None:
    def check(kind: dict[str, Any]) -> None:
        while kind["kind"] in ("pointer", "array"):
            kind = kind["subtype"]
        if kind["kind"] == "bitfield":
            kind = kind["type"]
        tables = {"struct": "user_types", "union": "user_types", "enum": "enums", "base": "base_types"}
        if kind["kind"] in tables:
            assert kind["name"] in document[tables[kind["kind"]]]
        else:
            assert kind["kind"] == "function"

    for described in document["user_types"].values():
        for field in described["fields"].values():
            check(field["type"])
    for symbol in document["symbols"].values():
        check(symbol["type"])
    for enum in document["enums"].values():
        assert enum["base"] in document["base_types"]
    assert len(document["symbols"]) > 50_000


def test_symbols_are_where_they_were_linked(kernel: Kernel, document: dict[str, Any], live: LiveGuest) -> None:
    symbols = document["symbols"]
    text = kernel.symbols.address("_text")
    assert symbols["_text"]["address"] == 0xFFFF_FFFF_8100_0000 == text - linked_offset(kernel)
    assert base64.b64decode(symbols["linux_banner"]["constant_data"]).startswith(b"Linux version ")
    assert base64.b64decode(symbols["linux_banner"]["constant_data"]).endswith(b"\n\0")
    assert symbols["init_task"]["type"] == {"kind": "struct", "name": "task_struct"}
    assert symbols["modules"]["type"] == {"kind": "struct", "name": "list_head"}
    assert symbols["prb"]["type"] == {"kind": "pointer", "subtype": {"kind": "struct", "name": "printk_ringbuffer"}}
    assert symbols["idt_table"]["type"]["count"] == 256
    # A variable of a processor's area is an offset into it, which KASLR does not move.
    assert symbols["current_task" if "current_task" in symbols else "pcpu_hot"]["address"] < 1 << 32
    assert symbols["sys_call_table"]["type"]["count"] > 300
    # The clock's record holds the time of day: its seconds since 1970.
    clock = document["user_types"]["tk_core"]["fields"]["timekeeper"]
    assert kernel.types is not None
    place = symbols["tk_core"]["address"] + clock["offset"] + kernel.types.offset("timekeeper", "xtime_sec")
    before = live.kernel.space.word(place)
    now = int(live.shell.run("date +%s"))
    # The guest's clock goes on meanwhile, and its record of it follows by ticks.
    assert before - 2 <= now <= live.kernel.space.word(place) + 2


def test_a_kernel_that_kaslr_moved(kernel: Kernel, document: dict[str, Any]) -> None:
    """As if it had been moved: addresses in the file stay where it was linked."""
    moved = 0x1200_0000
    table = kernel.symbols.symbols
    shifted = replace(
        table, addresses=np.where(table.addresses >= KERNEL_MAP, table.addresses + np.uint64(moved), table.addresses)
    )
    assert kernel.info is not None
    noted = {name: at + moved if at >= KERNEL_MAP else at for name, at in kernel.info.symbols.items()}
    info = replace(kernel.info, symbols=noted, kernel_offset=moved)
    symbols = type(kernel.symbols)(shifted)
    other = replace(kernel, kernel_offset=moved, info=info, symbols=symbols, space=Shifted(kernel, moved))  # type: ignore[arg-type]
    found, expected = isf_document(other)["symbols"], document["symbols"]
    assert set(found) == set(expected)
    assert {name for name in found if found[name] != expected[name]} == set()
    assert linked_offset(replace(other, info=None)) == moved


class Shifted:
    """A space whose image lies elsewhere."""

    def __init__(self, kernel: Kernel, by: int) -> None:
        self.kernel, self.by = kernel, by

    def read(self, vaddr: int, length: int) -> bytes:
        return self.kernel.space.read(vaddr - self.by, length)


def test_awkward_types() -> None:
    """Tags that two types share, typedefs of nameless ones, bit fields of both kinds, circles."""
    s = Section()
    integer = s.add(Kind.INT, "int", 4, 1 << 24 | 32)  # 1
    boolean = s.add(Kind.INT, "_Bool", 1, 4 << 24 | 8)  # 2
    old_bits = s.add(Kind.INT, "u3", 4, 5 << 16 | 3)  # 3: three bits from the fifth on
    first = s.struct("twin", 4, ("a", integer, 0))  # 4
    s.struct("twin", 8, ("b", integer, 32))  # 5
    nameless = s.struct("", 4, ("inside", integer, 0))  # 6
    s.add(Kind.TYPEDEF, "named_t", nameless)  # 7
    forward = s.add(Kind.FORWARD, "unknown")  # 8
    pointer = s.add(Kind.POINTER, "", forward)  # 9
    signed = s.add(Kind.ENUM, "sign", 4, s.string("MINUS"), -1, s.string("PLUS"), 1, vlen=2, flag=True)  # 10
    s.struct("flagged", 8, ("x", boolean, 1 << 24 | 9), ("y", integer, 20 << 24 | 20), flag=True)  # 11
    s.struct("unflagged", 4, ("z", old_bits, 0), ("p", pointer, 64), ("e", signed, 128), ("n", nameless, 160))  # 12
    s.add(Kind.VARIABLE, "counter", first, 1)  # 13
    types = IsfTypes(Btf(s.bytes()))
    assert types.user_types["twin"]["fields"] == {"a": {"offset": 0, "type": {"kind": "base", "name": "int"}}}
    assert set(types.user_types["twin_5"]["fields"]) == {"b"}
    assert types.user_types["named_t"]["size"] == 4
    assert types.user_types["unknown"] == {"kind": "struct", "size": 0, "fields": {}}
    x, y = (types.user_types["flagged"]["fields"][name] for name in "xy")
    assert (x["offset"], x["type"]["bit_position"], x["type"]["type"]["name"]) == (1, 1, "unsigned char")
    assert (y["offset"], y["type"]["bit_position"], y["type"]["type"]["name"]) == (2, 4, "int")
    z = types.user_types["unflagged"]["fields"]["z"]
    assert (z["offset"], z["type"]["bit_position"], z["type"]["bit_length"]) == (0, 5, 3)
    assert types.enums["sign"] == {"size": 4, "base": "int", "constants": {"MINUS": -1, "PLUS": 1}}
    assert types.variables == {"counter": {"kind": "struct", "name": "twin"}}
    circle = Section()
    circle.add(Kind.POINTER, "", 2)
    circle.add(Kind.POINTER, "", 1)
    circle.struct("s", 8, ("p", 1, 0))
    with pytest.raises(BadTypes, match="circles"):
        IsfTypes(Btf(circle.bytes()))


@pytest.mark.parametrize(
    ("suffix", "unpack"),
    [(".json", bytes), (".json.xz", lzma.decompress), (".json.gz", gzip.decompress)],
)
def test_packed_as_the_name_says(
    kernel: Kernel, document: dict[str, Any], tmp_path: Path, suffix: str, unpack: Callable[[bytes], bytes]
) -> None:
    save_isf(kernel, tmp_path / f"k{suffix}")
    assert json.loads(unpack((tmp_path / f"k{suffix}").read_bytes())) == document
    assert [found.name for found in tmp_path.iterdir()] == [f"k{suffix}"]


def test_what_cannot_be_written_leaves_nothing(kernel: Kernel, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must end in one of .json"):
        save_isf(kernel, tmp_path / "kernel.txt")
    without = replace(kernel, types=None, types_problem="It has no types.")
    with pytest.raises(BadTypes, match="It has no types"):
        save_isf(without, tmp_path / "kernel.json")
    assert isf_problem(without) == "It has no types."
    assert isf_problem(kernel) == ""
    (tmp_path / "taken.json").mkdir()
    with pytest.raises(OSError, match="directory"):
        save_isf(kernel, tmp_path / "taken.json")
    assert [found.name for found in tmp_path.iterdir()] == ["taken.json"]


def test_a_kernel_without_a_banner(kernel: Kernel, dump: np.ndarray) -> None:
    data = dump.copy()
    data[kernel.space.image_paddr(kernel.symbols.address("linux_banner"))] = 0
    with pytest.raises(MissingSymbol):
        banner(find_kernel(PhysicalReader(HeldRam(data))))
