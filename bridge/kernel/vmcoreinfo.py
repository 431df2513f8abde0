"""VMCOREINFO: the note that a Linux kernel keeps for crash dumps, found in RAM without knowing where anything is.

Its text is a list of lines: OSRELEASE, BUILD-ID, PAGESIZE, SYMBOL(name)=hex, NUMBER(name)=decimal or hex,
OFFSET(struct.member)=, SIZE(struct)=, LENGTH(array)=, KERNELOFFSET=hex
(Documentation/admin-guide/kdump/vmcoreinfo.rst; kernel/vmcore_info.c, before v6.9 kernel/crash_core.c).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from bridge.kernel.errors import NoKernelFound
from bridge.memory.physical import PhysicalReader

_START = b"OSRELEASE="
_MAX_NOTE_BYTES = 16 << 10
"""The kernel's own limit is a page (VMCOREINFO_BYTES); a margin for kernels that raise it."""
_MAX_CANDIDATES = 256
_MAX_TRIED = 4096
"""Places that begin like a note: a guest may fill its memory with them."""
_PAGE = 4096
_PLACES = (0, 24)
"""Where in a page a note begins: at once, or behind Elf64_Nhdr and the name "VMCOREINFO", padded."""
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
    """Understand a note. Lines that make no sense are left out; a note without a release, phys_base or KERNELOFFSET
    raises NoKernelFound.
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
    # The kernel writes its note line by line while it boots, and this line after all that is read here
    # (arch_crash_save_vmcoreinfo, arch/x86/kernel/vmcore_info_64.c): without it, and its end, a kernel that was moved
    # would be taken for one that was not.
    kernel_offset = _number(keys.get("KERNELOFFSET", ""), 16)
    if kernel_offset is None or f"\nKERNELOFFSET={keys['KERNELOFFSET']}\n" not in text:
        raise NoKernelFound("A note that looks like VMCOREINFO is not whole: its KERNELOFFSET is missing.")
    build_id = keys.get("BUILD-ID", "").lower()
    if not re.fullmatch(r"[0-9a-f]{8,64}", build_id):
        build_id = ""
    return VmCoreInfo(text, keys["OSRELEASE"], build_id, symbols, numbers, kernel_offset)


def find_vmcoreinfo(reader: PhysicalReader, *, anywhere: bool = False) -> Iterator[VmCoreInfo]:
    """Every note in RAM that can be understood: leftovers of an earlier boot are among them, so whoever takes one
    checks it against what it says.

    A kernel keeps its note in a page of its own, at its start, and behind an ELF note's header in another
    (crash_save_vmcoreinfo_init, since v4.13). Only there it is looked for, which takes a hundredth of the time, unless
    `anywhere` is set.
    """
    found: set[str] = set()
    for note in _notes_anywhere(reader) if anywhere else _notes_of_pages(reader):
        if note in found:
            continue
        found.add(note)
        try:
            yield parse_vmcoreinfo(note)
        except NoKernelFound:
            continue


def note_texts(reader: PhysicalReader) -> frozenset[str]:
    """Every note that lies where kernels keep it, to tell later whether there is another one."""
    return frozenset(_notes_of_pages(reader))


def _notes_of_pages(reader: PhysicalReader) -> Iterator[str]:
    first_word = np.uint64(int.from_bytes(_START[:8], "little"))
    n_tried, n_found = 0, 0
    for offset, length in reader.extents():
        words = reader.bytes[offset : offset + length // _PAGE * _PAGE].view("<u8").reshape(-1, _PAGE // 8)
        begins = np.stack([words[:, at // 8] == first_word for at in _PLACES], axis=1)
        for page, place in np.argwhere(begins)[: _MAX_TRIED - n_tried].tolist():
            n_tried += 1
            at = offset + page * _PAGE + _PLACES[place]
            note = _note(reader.bytes[at : min(at + _MAX_NOTE_BYTES, offset + length)].tobytes())
            if note is not None and n_found < _MAX_CANDIDATES:
                n_found += 1
                yield note


def _notes_anywhere(reader: PhysicalReader) -> Iterator[str]:
    n_tried, n_found = 0, 0
    for offset, length in reader.extents():
        for start in range(offset, offset + length, _CHUNK):
            step = min(_CHUNK, offset + length - start)
            chunk = reader.bytes[start : min(start + step + _MAX_NOTE_BYTES, offset + length)].tobytes()
            at = chunk.find(_START)
            while 0 <= at < step and n_found < _MAX_CANDIDATES and n_tried < _MAX_TRIED:
                n_tried += 1
                note = _note(chunk[at : at + _MAX_NOTE_BYTES])
                if note is not None:
                    n_found += 1
                    yield note
                at = chunk.find(_START, at + 1)


def _note(data: bytes) -> str | None:
    """The text at the beginning of `data`, if it could be a note."""
    text = data.split(b"\0", 1)[0]
    return text.decode("ascii", "replace") if text.startswith(_START) and b"NUMBER(phys_base)=" in text else None


def _number(text: str, base: int) -> int | None:
    try:
        return int(text, 16 if text.startswith("0x") else base)
    except ValueError:
        return None
