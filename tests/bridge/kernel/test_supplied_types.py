"""Types from the user's files for a kernel that carries none: ISF, BTF, vmlinux with BTF or DWARF; and wrong ones."""

from __future__ import annotations

import bz2
import dataclasses
import gzip
import json
import lzma
import os
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.kernel.btf import Btf, Kind
from bridge.kernel.btf_builder import BtfBuilder
from bridge.kernel.dwarf_types import dwarf_types
from bridge.kernel.elf_sections import ElfFile
from bridge.kernel.errors import BadTypes, KernelError
from bridge.kernel.isf import isf_document
from bridge.kernel.isf_types import isf_types, read_isf
from bridge.kernel.kernel import Kernel, find_kernel
from bridge.kernel.snapshot import Introspector
from bridge.kernel.supplied_types import load_types, with_supplied_types
from bridge.memory.physical import PhysicalReader
from tests.bridge.kernel.conftest import HeldRam


def test_types_are_read_from_plain_files_only(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")  # opening it would wait for ever
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(BadTypes, match=r"no plain file|Is a directory"):
            load_types(path)


@pytest.fixture(scope="module")
def kernel(dump: np.ndarray) -> Kernel:
    return find_kernel(PhysicalReader(HeldRam(dump)))


@pytest.fixture(scope="module")
def bare(kernel: Kernel) -> Kernel:
    """The same kernel, as if it had been built without types."""
    return dataclasses.replace(kernel, types=None, types_problem="It was built without.")


@pytest.fixture(scope="module")
def document(kernel: Kernel) -> dict[str, Any]:
    return isf_document(kernel)


@pytest.fixture(scope="module")
def section(kernel: Kernel) -> bytes:
    """The kernel's own BTF, as bytes."""
    start, stop = (kernel.symbols.address(name) for name in ("__start_BTF", "__stop_BTF"))
    return kernel.space.read(start, stop - start)


def same_layouts(ours: Btf, theirs: Btf) -> int:
    """How many members were held against each other: all of all named structs."""
    checked = 0
    for type_id in range(1, len(theirs)):
        name = theirs.name(type_id)
        if theirs.kind(type_id) not in (Kind.STRUCT, Kind.UNION) or not name:
            continue
        if theirs.find(name, Kind.STRUCT, Kind.UNION) != type_id:
            continue
        other = ours.struct(name)
        assert ours.size(other) == theirs.size(type_id)
        layout = ours.layout(other)
        for member, truth in theirs.layout(type_id).items():
            found = layout[member]
            assert (found.bit_offset, found.bit_size) == (truth.bit_offset, truth.bit_size), (name, member)
            if not truth.bit_size:
                assert ours.size(found.type_id) == theirs.size(truth.type_id), (name, member)
            checked += 1
    return checked


def test_an_isf_gives_back_the_types_that_it_was_made_of(
    kernel: Kernel, bare: Kernel, document: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "kernel.json.xz").write_bytes(lzma.compress(json.dumps(document).encode(), preset=0))
    supplied = with_supplied_types(bare, tmp_path / "kernel.json.xz")
    assert supplied.types is not None
    assert kernel.types is not None
    assert same_layouts(supplied.types, kernel.types) > 40_000
    assert supplied.types.enumerator("PIDTYPE_PID") == kernel.types.enumerator("PIDTYPE_PID")
    ours, theirs = (Introspector(one).look() for one in (supplied, kernel))
    assert ours.processes.names == theirs.processes.names
    assert (ours.page_map.classes == theirs.page_map.classes).all()
    # The kernel's own types are right for sure: they are not replaced.
    assert with_supplied_types(kernel, tmp_path / "kernel.json.xz") is kernel
    assert with_supplied_types(bare, None) is bare


def elf(sections: dict[str, bytes]) -> bytes:
    """An ELF file with these sections."""
    names = b"\0" + b"".join(name.encode() + b"\0" for name in (*sections, ".shstrtab"))
    sections = {**sections, ".shstrtab": names}
    body, entries = b"", [struct.pack("<IIQQQQIIQQ", *[0] * 10)]
    for name, data in sections.items():
        entries.append(
            struct.pack(
                "<IIQQQQIIQQ",
                names.find(b"\0" + name.encode() + b"\0") + 1,
                1,
                0,
                0,
                64 + len(body),
                len(data),
                0,
                0,
                1,
                0,
            )
        )
        body += data
    kind = b"\x7fELF\x02\x01\x01"
    count, table = len(entries), 64 + len(body)
    head = struct.pack("<16sHHIQQQIHHHHHH", kind, 2, 62, 1, 0, 0, table, 0, 64, 0, 0, 64, count, count - 1)
    return head + body + b"".join(entries)


def note(build_id: str) -> bytes:
    value = bytes.fromhex(build_id)
    other = struct.pack("<III", 4, 8, 1) + b"Xen\0" + bytes(8)
    return other + struct.pack("<III", 4, len(value), 3) + b"GNU\0" + value


def test_bare_btf_and_a_vmlinux_with_it(kernel: Kernel, bare: Kernel, section: bytes, tmp_path: Path) -> None:
    (tmp_path / "btf").write_bytes(section)
    (tmp_path / "vmlinux").write_bytes(elf({".notes": note(kernel.build_id), ".BTF": section}))
    for name in ("btf", "vmlinux"):
        supplied = with_supplied_types(bare, tmp_path / name)
        assert supplied.types is not None
        assert kernel.types is not None
        assert supplied.types.struct_size("task_struct") == kernel.types.struct_size("task_struct")
        assert supplied.types_problem == ""
    assert load_types(tmp_path / "vmlinux")[1] == kernel.build_id


def test_types_of_another_kernel_are_refused(
    bare: Kernel, section: bytes, document: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "vmlinux").write_bytes(elf({".note.gnu.build-id": note("00" * 20), ".BTF": section}))
    with pytest.raises(BadTypes, match="another build"):
        with_supplied_types(bare, tmp_path / "vmlinux")
    other = dataclasses.replace(bare, release="5.4.0")
    (tmp_path / "k.json").write_bytes(json.dumps(document).encode())
    with pytest.raises(BadTypes, match=r"this one is 5\.4\.0"):
        with_supplied_types(other, tmp_path / "k.json")
    wrong = dict(document["user_types"]["task_struct"])
    wrong["fields"] = {**wrong["fields"], "comm": {**wrong["fields"]["comm"], "offset": 8}}
    (tmp_path / "k.json").write_bytes(
        json.dumps({**document, "user_types": {**document["user_types"], "task_struct": wrong}}).encode()
    )
    with pytest.raises(BadTypes, match="does not fit this kernel"):
        with_supplied_types(bare, tmp_path / "k.json")
    builder = BtfBuilder()
    builder.integer("int", 4)
    (tmp_path / "btf").write_bytes(builder.section())
    with pytest.raises(BadTypes, match="does not fit this kernel"):
        with_supplied_types(bare, tmp_path / "btf")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no ISF"),
        (b"{", "no ISF"),
        (b"[]", "lacks one of"),
        (b"[" * 100_000, "no ISF"),
        (b'{"base_types":{},"user_types":[],"enums":{},"symbols":{}}', "lacks one of"),
        (lzma.compress(b"{}")[:-8], "lacks one of|no ISF"),
        (b"\x1f\x8b" + bytes(30), "no ISF"),
        (b"BZh9" + bytes(30), "no ISF"),
        (b"\x7fELF", "ends in its header"),
        (b"\x7fELF\x01\x01" + bytes(80), "64-bit"),
        (elf({".text": b"x"}), "neither BTF nor DWARF"),
        (elf({".BTF": b"x"})[:-1], "beyond its end"),
        (elf({".debug_info": b"x", ".debug_abbrev": b"y"}), "could not be read|none of the types"),
    ],
)
def test_files_that_are_none(data: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(BadTypes, match=words):
        load_types(tmp_path / "file")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadTypes, match="could not be read"):
        load_types(tmp_path / "none")
    with pytest.raises(BadTypes, match="could not be read"):
        load_types(tmp_path)


def test_a_small_file_that_unpacks_to_a_large_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.kernel.isf_types._MAX_UNPACKED", 1 << 20)
    for pack in (lzma.compress, gzip.compress, bz2.compress):
        with pytest.raises(BadTypes, match="unpacks to more"):
            read_isf(pack(bytes(2 << 20)))


INT, BOOL = {"kind": "base", "name": "int"}, {"kind": "base", "name": "_Bool"}
SMALL: dict[str, Any] = {
    "metadata": {"format": "6.2.0"},
    "base_types": {
        "int": {"size": 4, "signed": True, "kind": "int", "endian": "little"},
        "double": {"size": 8, "signed": True, "kind": "float", "endian": "little"},
        "_Bool": {"size": 1, "signed": False, "kind": "bool", "endian": "little"},
        "void": {"size": 0, "signed": False, "kind": "void", "endian": "little"},
        "pointer": {"size": 8, "signed": False, "kind": "int", "endian": "little"},
    },
    "user_types": {
        "a": {
            "kind": "struct",
            "size": 64,
            "fields": {
                "p": {"offset": 0, "type": {"kind": "pointer", "subtype": {"kind": "struct", "name": "a"}}},
                "q": {"offset": 8, "type": {"kind": "pointer", "subtype": {"kind": "struct", "name": "elsewhere"}}},
                "f": {"offset": 16, "type": {"kind": "pointer", "subtype": {"kind": "function"}}},
                "n": {"offset": 24, "type": {"kind": "array", "count": 3, "subtype": {"kind": "base", "name": "int"}}},
                "d": {"offset": 40, "type": {"kind": "base", "name": "double"}},
                "e": {"offset": 48, "type": {"kind": "enum", "name": "e"}},
                "u": {"offset": 56, "type": {"kind": "union", "name": "unnamed_1"}, "anonymous": True},
                "b": {
                    "offset": 60,
                    "type": {
                        "kind": "bitfield",
                        "bit_position": 3,
                        "bit_length": 5,
                        "type": {"kind": "base", "name": "int"},
                    },
                },
            },
        },
        "unnamed_1": {
            "kind": "union",
            "size": 4,
            "fields": {"in": {"offset": 0, "type": {"kind": "base", "name": "_Bool"}}},
        },
    },
    "enums": {"e": {"size": 8, "base": "long int", "constants": {"BIG": 1 << 40, "LESS": -1}}},
    "symbols": {},
}


def test_every_kind_of_isf_type() -> None:
    types = isf_types(SMALL)
    layout = types.layout(types.struct("a"))
    places = {name: (member.bit_offset, member.bit_size, types.size(member.type_id)) for name, member in layout.items()}
    assert places == {
        "p": (0, 0, 8), "q": (64, 0, 8), "f": (128, 0, 8), "n": (192, 0, 12), "d": (320, 0, 8), "e": (384, 0, 8),
        "in": (448, 0, 1), "b": (483, 5, 4),
    }  # fmt: skip
    assert (types.enumerator("BIG"), types.enumerator("LESS")) == (1 << 40, -1)
    assert types.name(types.referred(layout["q"].type_id)) == "elsewhere"


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else ()
    return [path, *(found for key, inner in items for found in paths(inner, (*path, key)))]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(paths(SMALL)[1:]),
    st.sampled_from(
        [None, -1, 1 << 70, "x", "", [], {}, 3.5, {"kind": "pointer"}, {"kind": "struct", "name": "a"}, True]
    ),
)
def test_a_damaged_isf_gives_types_or_an_error(path: tuple[Any, ...], value: Any) -> None:
    document = json.loads(json.dumps(SMALL))
    at = document
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    try:
        types = isf_types(document)
        for type_id in range(len(types)):
            types.size(type_id)
            types.layout(type_id)
    except KernelError:
        pass


def test_the_builder_refuses_what_btf_cannot_hold() -> None:
    builder = BtfBuilder()
    builder.reserve()
    with pytest.raises(BadTypes, match="never described"):
        builder.section()
    builder = BtfBuilder()
    integer = builder.integer("int", 4)
    with pytest.raises(BadTypes, match="too far in"):
        builder.composite("s", 1 << 28, [("a", integer, 1 << 25, 0), ("b", integer, 0, 3)])
    with pytest.raises(BadTypes, match="members"):
        builder.composite("s", 8, [("a", integer, 0, 0)] * 70_000)
    builder.composite("s", 1 << 40, [])
    with pytest.raises(BadTypes, match="32 bits"):
        builder.section()


SOURCE = """
struct unknown;
enum pageflags { PG_locked, PG_slab = 9, PG_neg = -1 };
enum zone_type { FAR = 0x100000000ULL };
typedef struct { int counter; } atomic_t;
struct list_head { struct list_head *next, *prev; };
struct mm_struct { unsigned long pgd; union { int a; struct { char b[3]; long c; }; }; float f; };
struct task_struct {
    volatile long state; struct list_head tasks; const struct mm_struct *mm; char comm[16]; atomic_t usage;
    unsigned int x : 3, y : 7; _Bool z : 1; struct unknown *u; int (*fn)(void); enum pageflags pf;
    struct { short q; } inner; void *v; int rest[];
};
struct task_struct init_task; enum zone_type zone; _Bool flag;
"""


def test_dwarf(tmp_path: Path) -> None:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler here makes DWARF")
    (tmp_path / "t.c").write_text(SOURCE)
    command = [compiler, "-g", "-c", "-o", str(tmp_path / "vmlinux"), str(tmp_path / "t.c")]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    types, identity = load_types(tmp_path / "vmlinux")
    assert identity == ""
    layout = types.layout(types.struct("task_struct"))
    assert {name: (m.bit_offset, m.bit_size, types.size(m.type_id)) for name, m in layout.items()} == {
        "state": (0, 0, 8), "tasks": (64, 0, 16), "mm": (192, 0, 8), "comm": (256, 0, 16), "usage": (384, 0, 4),
        "x": (416, 3, 4), "y": (419, 7, 4), "z": (426, 1, 1), "u": (448, 0, 8), "fn": (512, 0, 8), "pf": (576, 0, 4),
        "inner": (608, 0, 2), "v": (640, 0, 8), "rest": (704, 0, 0),
    }  # fmt: skip
    inner = types.layout(types.struct("mm_struct"))
    assert {name: m.offset for name, m in inner.items()} == {"pgd": 0, "a": 8, "b": 8, "c": 16, "f": 24}
    assert [types.enumerator(name) for name in ("PG_slab", "PG_neg", "FAR")] == [9, -1, 1 << 32]
    assert types.struct_size("atomic_t") == 4
    with pytest.raises(BadTypes, match="none of the types"):
        dwarf_types(tmp_path / "vmlinux", ("struct nothing",))


def test_elf_sections() -> None:
    many = elf({".a": b"12", ".b": b"345"})
    file = ElfFile(many)
    assert file.section(".b") == b"345"
    assert file.section(".c") is None
    assert file.build_id() == ""
    assert not ElfFile(many[:40] + bytes(8) + many[48:]).has(".a")  # no table of sections
    broken = bytearray(many)
    broken[60:62] = b"\xff\xff"
    with pytest.raises(BadTypes, match=r"makes no sense|beyond"):
        ElfFile(bytes(broken))
