"""VMCOREINFO: the note that a Linux kernel keeps for crash dumps, found in RAM without knowing where anything is.

Its text is a list of lines: OSRELEASE, BUILD-ID, PAGESIZE, SYMBOL(name)=hex, NUMBER(name)=decimal or hex,
OFFSET(struct.member)=, SIZE(struct)=, LENGTH(array)=, KERNELOFFSET=hex
(Documentation/admin-guide/kdump/vmcoreinfo.rst; kernel/vmcore_info.c, before v6.9 kernel/crash_core.c).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from bridge.kernel.errors import NoKernelFound
from bridge.memory.physical import PhysicalReader

_START = b"OSRELEASE="
_MAX_NOTE_BYTES = 16 << 10
"""The kernel's own limit is a page (VMCOREINFO_BYTES); a margin for kernels that raise it."""
_MAX_CANDIDATES = 256
_LINE = re.compile(
    r"^(?:(?P<kind>SYMBOL|NUMBER|OFFSET|SIZE|LENGTH)\((?P<name>[\w.]{1,200})\)|(?P<key>[A-Z-]{1,40}))"
    r"=(?P<value>.{0,300})$"
)
_CHUNK = 64 << 20


@dataclass(frozen=True, slots=True)
class VmCoreInfo:
    """One note. `text` is all of it; the dictionaries hold what could be understood."""

    text: str
    release: str
    build_id: str
    """Lower-case hex; empty where the kernel gives none (before v5.9)."""
    symbols: dict[str, int] = field(default_factory=dict)
    """Virtual addresses as they are in this boot."""
    numbers: dict[str, int] = field(default_factory=dict)
    kernel_offset: int = 0
    """How far KASLR moved the kernel in virtual memory, in bytes."""

    @property
    def phys_base(self) -> int:
        """Added to an address in the kernel image less __START_KERNEL_map, gives the physical address."""
        return self.numbers["phys_base"]

    @property
    def five_level(self) -> bool:
        """Whether the guest runs with five levels of page tables."""
        return bool(self.numbers.get("pgtable_l5_enabled", 0))


def parse_vmcoreinfo(text: str) -> VmCoreInfo:
    """Understand a note. Lines that make no sense are left out; a note without a release or phys_base raises
    NoKernelFound.
    """
    symbols: dict[str, int] = {}
    numbers: dict[str, int] = {}
    keys: dict[str, str] = {}
    for line in text.split("\n"):
        match = _LINE.match(line)
        if match is None:
            continue
        kind, value = match["kind"], match["value"]
        if kind is None:
            keys.setdefault(match["key"], value)
            continue
        number = _number(value, 16 if kind == "SYMBOL" else 10)
        if number is None:
            continue
        if kind == "SYMBOL":
            symbols[match["name"]] = number
        else:
            numbers[match["name"] if kind == "NUMBER" else f"{kind}({match['name']})"] = number
    if "OSRELEASE" not in keys or "phys_base" not in numbers:
        raise NoKernelFound("A note that looks like VMCOREINFO has no OSRELEASE or no NUMBER(phys_base).")
    build_id = keys.get("BUILD-ID", "").lower()
    if not re.fullmatch(r"[0-9a-f]{8,64}", build_id):
        build_id = ""
    return VmCoreInfo(
        text, keys["OSRELEASE"], build_id, symbols, numbers, _number(keys.get("KERNELOFFSET", "0"), 16) or 0
    )


def find_vmcoreinfo(reader: PhysicalReader) -> Iterator[VmCoreInfo]:
    """Every note in RAM that can be understood: copies and leftovers of an earlier boot are among them, so whoever
    takes one checks it against what it says.
    """
    found: set[str] = set()
    for note in _candidates(reader):
        if note in found:
            continue
        found.add(note)
        try:
            yield parse_vmcoreinfo(note)
        except NoKernelFound:
            continue


def note_texts(reader: PhysicalReader) -> frozenset[str]:
    """Everything in RAM that looks like a note, to tell later whether there is another one."""
    return frozenset(_candidates(reader))


def _candidates(reader: PhysicalReader) -> Iterator[str]:
    data = reader.bytes
    n_found = 0
    for start in range(0, len(data), _CHUNK):
        chunk = data[start : start + _CHUNK + _MAX_NOTE_BYTES].tobytes()
        at = chunk.find(_START)
        while 0 <= at < _CHUNK and n_found < _MAX_CANDIDATES:
            note = chunk[at : at + _MAX_NOTE_BYTES].split(b"\0", 1)[0]
            if b"NUMBER(phys_base)=" in note:
                n_found += 1
                yield note.decode("ascii", "replace")
            at = chunk.find(_START, at + 1)


def _number(text: str, base: int) -> int | None:
    try:
        return int(text, 16 if text.startswith("0x") else base)
    except ValueError:
        return None
