"""Rounds: one damage, then everything is asked; what is neither an answer nor a typed error is a failure.

A round is made of its number and the campaign's seed alone, so that any of them can be run again by itself.
"""

from __future__ import annotations

import contextlib
import io
import json
import lzma
import re
import struct
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from app.cli import main
from bridge.kernel.btf import Btf
from bridge.kernel.desk import QUESTIONS, Desk
from bridge.kernel.errors import KernelError
from bridge.kernel.isf import isf_document
from bridge.kernel.isf_types import isf_types, read_isf
from bridge.kernel.kernel import Kernel, find_kernel
from bridge.kernel.page_sets import KINDS as PAGE_KINDS
from bridge.kernel.paging import walk
from bridge.kernel.snapshot import Introspector
from bridge.kernel.supplied_types import load_types
from bridge.kernel.symbol_cache import SymbolCache
from bridge.memory.dump import Dump
from bridge.memory.errors import GuestMemoryError
from bridge.memory.physical import HoldsRam, PhysicalReader
from tests.bridge.kernel.campaign.damage import (
    U8,
    Ram,
    change_layouts,
    change_notes,
    change_pages,
    change_span,
    change_text,
    change_to_copies,
    change_words,
    hide_notes,
    loop_tables,
)
from tests.bridge.kernel.campaign.places import Places
from tests.bridge.kernel.conftest import HeldRam

KNOWN = (
    "anywhere", "tasks", "address spaces", "regions", "maple trees", "page tables", "loops in page tables",
    "page records", "slabs", "slab caches", "modules", "names", "mounts", "files", "sockets", "log", "stacks",
    "unwinding", "data", "whole pages", "hostile text",
)  # fmt: skip
"""Damage under a kernel that is known already, as when a machine goes wrong while it is watched."""
COLD = (
    "notes",
    "symbols",
    "types",
    "layouts",
    "kernel tables",
    "cut short",
    "zeros",
    "noise",
    "text of notes",
    "copies",
)
"""Damage in which a kernel has to be found."""
FILES = ("ELF core", "LiME", "ISF", "vmlinux")
"""Damaged files that a user may open."""
KINDS = (*KNOWN, *COLD, *FILES)
_SCHEDULE = (*KNOWN, *KNOWN, *KNOWN, *COLD, *FILES)
_MAX_TEXT = 1 << 16
_MAX_ERROR = 4096


@dataclass
class Verdict:
    """What came of one round."""

    number: int
    kind: str
    outcomes: Counter[str] = field(default_factory=Counter)
    """How often what was asked was answered or refused."""
    failures: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    """CPU time of the question that took longest."""
    slowest: str = ""


def kind_of(number: int) -> str:
    """What is damaged in a round."""
    return _SCHEDULE[number % len(_SCHEDULE)]


class Campaign:
    """One dump, and rounds over it. `path`: where `data` is a file too, so that commands can be tried on it."""

    def __init__(self, data: U8, work: Path, *, path: Path | None = None, seed: int = 1, limit_s: float = 10.0) -> None:
        self.ram = Ram(data)
        self._work, self._path, self._seed, self._limit_s = work, path, seed, limit_s
        self._held = HeldRam(data)
        (work / "symbols").mkdir(mode=0o700, exist_ok=True)
        self._kernel = find_kernel(PhysicalReader(self._held), cache=SymbolCache(work / "symbols"))
        self._kept = {path.name: path.read_bytes() for path in (work / "symbols").iterdir()}
        desk = Desk(Introspector(self._kernel))
        self._pids = [int(pid) for pid in desk.snapshot.processes.pids]
        own = desk.snapshot.processes.pids[desk.snapshot.processes.mms != 0]
        self._users = [int(pid) for pid in own]
        self._names = [name.encode() for name in {*desk.snapshot.processes.names, *_names_of(desk)} if len(name) > 3]
        self.places = Places(desk).of
        self._signatures = _signatures(self._kernel)
        self._files: dict[str, bytes] = {}

    def run(self, number: int, kind: str = "") -> Verdict:
        """One round: damage, questions, and all is as it was."""
        rng = np.random.default_rng([self._seed, number])
        verdict = Verdict(number, kind or kind_of(number))
        try:
            with warnings.catch_warnings(), np.errstate(all="raise", under="ignore"):
                warnings.simplefilter("error", RuntimeWarning)
                if verdict.kind in FILES:
                    self._files_round(verdict, rng)
                elif verdict.kind in COLD:
                    self._cold_round(verdict, rng)
                else:
                    self._known_round(verdict, rng)
        finally:
            self.ram.heal()
        return verdict

    # ----- rounds

    def _known_round(self, verdict: Verdict, rng: np.random.Generator) -> None:
        introspector = Introspector(self._kernel)
        desk = Desk(introspector)
        if rng.random() < 0.5:  # what was read before the damage is known, and must not be believed after it
            _ = desk.snapshot
            if rng.random() < 0.5:
                self._ask_lists(Verdict(0, ""), desk, rng)
        self._damage(verdict.kind, rng)
        if self._try(verdict, "look", lambda: setattr(desk, "snapshot", introspector.look(frozen=rng.random() < 0.3))):
            snapshot = desk.snapshot
            if len(snapshot.page_map.classes) != len(self.ram.data) >> 12:
                verdict.failures.append("look: a page has no class")
            for root in np.unique(snapshot.processes.roots).tolist():
                self._try(verdict, "walk", lambda: walk(self._kernel.reader, root, self._kernel.levels))  # noqa: B023
        self._ask_lists(verdict, desk, rng)
        self._ask_places(verdict, desk, rng)
        if verdict.kind == "hostile text" or rng.random() < 0.04:
            self._command_round(verdict, rng)

    def _cold_round(self, verdict: Verdict, rng: np.random.Generator) -> None:
        held: HoldsRam = self._held
        if verdict.kind == "cut short":
            held = HeldRam(self.ram.data[: int(rng.integers(1, len(self.ram.data) >> 12)) << 12])
            if rng.random() < 0.3:
                self._damage("anywhere", rng)
        else:
            self._damage(verdict.kind, rng)
        self._find_and_ask(verdict, held, rng)
        if verdict.kind in ("notes", "text of notes", "symbols", "types") and rng.random() < 0.3:
            self._command_round(verdict, rng)

    def _find_and_ask(self, verdict: Verdict, held: HoldsRam, rng: np.random.Generator) -> None:
        found: list[Kernel] = []
        by_signature = bool(rng.random() < 0.25)
        # What is remembered of the undamaged kernel must not be believed of this one, nor this one's of others.
        cache = self._cache() if rng.random() < 0.5 else None
        reader = PhysicalReader(held)
        if not self._try(
            verdict, "find", lambda: found.append(find_kernel(reader, by_signature=by_signature, cache=cache))
        ):
            return
        kernel = found[0]
        self._try(verdict, "still there", kernel.still_there)
        desks: list[Desk] = []
        if verdict.kind in ("types", "symbols", "layouts") and rng.random() < 0.3:
            self._try(verdict, "ISF export", lambda: json.dumps(isf_document(kernel)).encode())
        if not self._try(verdict, "desk", lambda: desks.append(Desk(Introspector(kernel)))):
            return
        self._try(verdict, "look", lambda: desks[0].snapshot)
        self._ask_lists(verdict, desks[0], rng)
        self._ask_places(verdict, desks[0], rng)

    def _files_round(self, verdict: Verdict, rng: np.random.Generator) -> None:
        name = {"ELF core": "a.core", "LiME": "a.lime", "ISF": "a.json.xz", "vmlinux": "vmlinux"}[verdict.kind]
        content = bytearray(self._file(verdict.kind))
        reach = {"ELF core": 1024, "LiME": 64}.get(verdict.kind, len(content))
        for _ in range(int(rng.choice([1, 3, 30]))):
            at, odd = int(rng.integers(0, min(reach, len(content)))), rng.random()
            if verdict.kind == "LiME" and rng.random() < 0.5:
                at = _SECOND_LIME + at % 32
            if odd < 0.4:
                content[at] = int(rng.integers(256))
            elif odd < 0.7:
                content[at] ^= 1 << int(rng.integers(8))
            else:
                value = [0, 2**64 - 1, 2**63, 2**51, len(content), 4096, 2**32 - 1][int(rng.integers(7))]
                content[at & ~7 : (at & ~7) + 8] = value.to_bytes(8, "little")[: len(content) - (at & ~7)]
        if rng.random() < 0.2:
            del content[int(rng.integers(0, len(content))) :]
        path = self._work / name
        if verdict.kind == "ISF" and rng.random() < 0.7:
            self._try(verdict, "types of an ISF", lambda: _use_types(isf_types(read_isf(self._other_isf(rng)))))
            return
        path.write_bytes(content)
        if verdict.kind in ("ISF", "vmlinux"):
            self._try(verdict, "supplied types", lambda: _use_types(load_types(path)[0]))
            return
        opened: list[Dump] = []
        if self._try(verdict, "open", lambda: opened.append(Dump.open(path))):
            self._find_and_ask(verdict, opened[0], rng)
            opened[0].close()

    def _damage(self, kind: str, rng: np.random.Generator) -> None:
        direct = self._kernel.space.direct_map or 0
        n_words = len(self.ram.data) >> 3
        match kind:
            case "anywhere":
                change_words(self.ram, rng.integers(0, n_words, 4096) << 3, direct, rng)
            case "loops in page tables":
                loop_tables(self.ram, self.places["page tables"], rng)
            case "whole pages":
                change_pages(self.ram, rng)
            case "zeros" | "noise":
                change_span(self.ram, rng, noise=kind == "noise")
            case "hostile text":
                change_text(self.ram, self._names, self._place_of, rng)
            case "copies":
                change_to_copies(self.ram, self._signatures, rng)
                if rng.random() < 0.7:
                    hide_notes(self.ram, self.places["notes"])
            case "layouts":
                change_layouts(self.ram, self.places[kind], rng)
            case "text of notes":
                change_notes(self.ram, self.places["notes"], rng)
            case _:
                change_words(self.ram, self.places.get(kind, self.places["data"]), direct, rng)

    def _place_of(self, content: bytes, start: int) -> int:
        return _find(self.ram.data, content, start)

    # ----- questions

    def _ask_lists(self, verdict: Verdict, desk: Desk, rng: np.random.Generator) -> None:
        pids = [1, 2, int(rng.choice(self._pids)), *rng.choice(self._users, 2).tolist()]
        stacks = self._pids[:: 1 + len(self._pids) // 12] if verdict.kind in ("stacks", "unwinding") else pids
        asked: dict[str, list[tuple[object, ...]]] = {
            "modules": [()],
            "mounts": [(1,), (pids[3],)],
            "files": [(pid,) for pid in (1, *pids[3:])],
            "maps": [(pid,) for pid in (1, *pids[3:])],
            "sockets": [()],
            "slabs": [()],
            "log": [(1000,)],
            "stack": [(pid,) for pid in stacks],
            "command_lines": [(tuple(self._pids),)],
        }
        for name, many in asked.items():
            for arguments in many:
                self._question(verdict, desk, name, *arguments)

    def _ask_places(self, verdict: Verdict, desk: Desk, rng: np.random.Generator) -> None:
        reader = desk.introspector.kernel.reader
        direct = desk.introspector.kernel.space.direct_map or 0
        end = min(reader.end_paddr, 1 << 52)
        places = [*rng.integers(0, max(end, 1), 5).tolist(), 0, end, 2**64 - 1]
        with contextlib.suppress(Exception):  # the places that are of most interest: those that were damaged
            places += [int(at) for at in rng.choice(self.places["slabs"], 3)]
        for place in places:
            self._question(verdict, desk, "where", place)
            self._question(verdict, desk, "kernel_vaddr", place)
            self._question(verdict, desk, "slab_object", (direct + place) & (1 << 64) - 1)
            self._question(verdict, desk, "physical", (direct + place) & (1 << 64) - 1, None)
            self._question(verdict, desk, "physical", place, int(rng.choice(self._pids)))
        keys: dict[str, list[object]] = {
            "process": [1, 2, int(rng.choice(self._pids))],
            "region": [(1, 0, 2**47), (1, 2**63, 2**64 - 1)],
            "symbol": [(0xFFFFFFFF81000000, 4096), (0, 2**64)],
        }
        for kind in PAGE_KINDS:
            for key in keys.get(kind, [1, "dentry", "none"]):
                self._question(verdict, desk, "pages_of", kind, key)
        if verdict.kind not in KNOWN:  # there they are what they were
            self._question(verdict, desk, "symbols", "sched", 1000)
            self._question(verdict, desk, "symbol_table")
            self._question(verdict, desk, "find_symbol", "schedule")
        self._question(verdict, desk, "places", tuple(rng.integers(0, 2**64, 20, np.uint64).tolist()))

    def _question(self, verdict: Verdict, desk: Desk, name: str, *arguments: object) -> None:
        self._try(verdict, f"question {name}", lambda: QUESTIONS[name](desk, *arguments))

    def _command_round(self, verdict: Verdict, rng: np.random.Generator) -> None:
        """Commands over the damaged dump: what they print is clean, and they end as commands may."""
        if self._path is None:
            return
        pid = str(rng.choice(self._users))
        commands = [
            ["ps"], ["ps", "--threads"], ["maps", pid], ["files", pid], ["sockets"], ["mounts"], ["modules"], ["slabs"],
            ["log"], ["stack", pid], ["pages"], ["symbols"], ["where", hex(int(rng.integers(0, len(self.ram.data))))],
            ["where", "0x400000", "--pid", pid], ["ps", "--json"], ["pages", "--json"], ["log", "--json"],
        ]  # fmt: skip
        for at in rng.choice(len(commands), 3, replace=False).tolist():
            command = [*commands[at], "--dump", str(self._path)]
            out, err = io.StringIO(), io.StringIO()
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                self._try(verdict, f"command {command[0]}", lambda: main(command))  # noqa: B023 - called at once
            for text in (out.getvalue(), err.getvalue()):
                if (dirty := _dirt(text)) is not None:
                    verdict.failures.append(f"command {' '.join(command[:-2])}: prints {dirty!r}")

    def _try(self, verdict: Verdict, what: str, ask: Callable[[], object]) -> bool:
        """Ask; whether there was an answer."""
        started_s = time.process_time()
        answered = False
        try:
            answer = ask()
            answered = True
            _check(answer)
        except (KernelError, GuestMemoryError) as error:
            if len(str(error)) > _MAX_ERROR:
                verdict.failures.append(f"{what}: an error of {len(str(error)):,} characters: {str(error)[:200]!r}")
        except Exception:  # whatever it is, it is what we look for
            verdict.failures.append(f"{what}: {traceback.format_exc(limit=-12)}")
        took_s = time.process_time() - started_s
        verdict.outcomes[f"{what}: {'answered' if answered else 'refused'}"] += 1
        if took_s > verdict.slowest_s:
            verdict.slowest_s, verdict.slowest = took_s, what
        if took_s > self._limit_s:
            verdict.failures.append(f"{what}: took {took_s:.1f} s of a processor, more than {self._limit_s:g} s")
        return answered

    def _cache(self) -> SymbolCache:
        """A cache that knows the undamaged kernel."""
        directory = self._work / "symbols"
        cache = SymbolCache(directory)
        cache.clear()
        for name, content in self._kept.items():
            (directory / name).write_bytes(content)
        return cache

    # ----- files

    def _file(self, kind: str) -> bytes:
        """A whole one, made of the undamaged dump."""
        if kind not in self._files:
            self._files[kind] = {
                "ELF core": lambda: _elf_core(self.ram.data),
                "LiME": lambda: _lime(self.ram.data),
                "ISF": lambda: lzma.compress(json.dumps(_less(isf_document(self._kernel))).encode(), preset=0),
                "vmlinux": lambda: _vmlinux(self._section()),
            }[kind]()
        return self._files[kind]

    def _section(self) -> bytes:
        symbols = self._kernel.symbols
        start, stop = symbols.address("__start_BTF"), symbols.address("__stop_BTF")
        return self._kernel.space.read(start, stop - start)

    def _other_isf(self, rng: np.random.Generator) -> bytes:
        """An ISF whose numbers and words were changed, so that it is still JSON."""
        if "JSON" not in self._files:
            self._files["JSON"] = lzma.decompress(self._file("ISF"))
        content = bytearray(self._files["JSON"])
        new = [b"-1", b"1e999", b"null", b"[]", b"{}", b'"x"', b"99999999999999999999", b"true", b'"\\u0000\\ud800"']
        for _ in range(int(rng.choice([1, 5, 100]))):
            at = int(rng.integers(0, len(content)))
            match = _VALUE.search(content, at)
            if match is not None:
                content[match.start(1) : match.end(1)] = new[int(rng.integers(len(new)))]
        return bytes(content)


_VALUE = re.compile(rb': ("[^"]*"|\d+|true|false)')
_SECOND_LIME = 32 + (2 << 20)
_CORE_BYTES = 8 << 20


def _signatures(kernel: Kernel) -> list[bytes]:
    """What kernels are recognised by, and what leads on from there."""
    found = [
        b"OSRELEASE=6.1\n", b"OSRELEASE=6.1\nNUMBER(phys_base)=0\nKERNELOFFSET=0\n\0", b"Linux version 6.1.0 (",
        b"".join(b"%d\0" % digit for digit in range(10)), (4096).to_bytes(4, "little"), b"\1", b"\x81\1a",
    ]  # fmt: skip
    tokens = b"".join(b"%c\0" % max(code, 1) for code in range(256))
    index = np.arange(0, 512, 2).astype("<u2").tobytes()
    found.append((tokens + index).ljust(2048, b"\0"))
    found.append((1 << 16).to_bytes(8, "little") + b"\1a" * 2048 + bytes(8) + tokens + index)
    with contextlib.suppress(KernelError):
        found.append(kernel.space.read(kernel.symbols.address("linux_banner"), 256))
    if kernel.info is not None:
        found.append(kernel.info.text.encode().ljust(4096, b"\0"))
    return found


def _names_of(desk: Desk) -> list[str]:
    details = desk.details
    names = [name for mount in details.mounts(1) for name in (mount.source, mount.file_system, *mount.path.split("/"))]
    names += [cache.name for cache in details.slabs()] + [module.name for module in details.modules()]
    names += [part for pid in (1,) for file in details.files(pid) for part in file.path.split("/")]
    names += [part for record in details.log(50) for part in record.text.split(" ")]
    return [*names, "Linux version", "OSRELEASE=", "schedule"]


def _find(data: U8, content: bytes, start: int) -> int:
    for at in range(start, len(data), 8 << 20):
        place = data[at : at + (8 << 20) + len(content)].tobytes().find(content)
        if place >= 0:
            return at + place
    return -1


def _use_types(types: Btf) -> None:
    """What readers ask of types."""
    for struct_ in ("task_struct", "mm_struct", "page", "module", "no_such_struct"):
        if types.has(struct_):
            _check(types.struct_size(struct_))
            _check(tuple(types.layout(types.struct(struct_))))
    types.enumerator("PG_head")


def _check(answer: object, depth: int = 0) -> None:
    """Bounded, and text that can be written down."""
    if isinstance(answer, str):
        assert len(answer) <= _MAX_TEXT, f"a text of {len(answer):,} characters"
        answer.encode()
    elif isinstance(answer, tuple | list) and depth < 4:
        assert len(answer) <= 1 << 20, f"a list of {len(answer):,}"
        for one in answer:
            _check(one, depth + 1)
    elif isinstance(answer, dict):
        _check(tuple(answer.values()), depth + 1)
    elif hasattr(answer, "__dataclass_fields__") and depth < 4:
        for name in answer.__dataclass_fields__:
            _check(getattr(answer, name), depth + 1)


def _dirt(text: str) -> str | None:
    """The first line in which there is something that a terminal obeys."""
    return next((line[:200] for line in text.split("\n") if not line.isprintable()), None)


def _elf_core(data: U8) -> bytes:
    """The beginning of RAM as QEMU's dump-guest-memory writes it, in three segments."""
    size = min(_CORE_BYTES, len(data)) // 3 & ~4095
    head = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 4, 62, 1, 0, 64, 0, 0, 64, 56, 3, 0, 0, 0)
    table = b"".join(struct.pack("<IIQQQQQQ", 1, 7, 4096 + at * size, 0, at * size, size, size, 0) for at in range(3))
    return (head + table).ljust(4096, b"\0") + data[: 3 * size].tobytes()


def _lime(data: U8) -> bytes:
    half = 2 << 20
    pieces = [
        struct.pack("<4sIQQQ", b"EMiL", 1, at, at + half - 1, 0) + data[at : at + half].tobytes() for at in (0, half)
    ]
    return b"".join(pieces)


def _less(document: dict[str, Any]) -> dict[str, Any]:
    """An ISF that is soon read: every 8th type, and what readers ask for."""
    wanted = ("task_struct", "mm_struct", "page", "module", "list_head")
    users = document["user_types"]
    kept = {name: users[name] for at, name in enumerate(users) if not at % 8 or name in wanted}
    symbols = {name: document["symbols"][name] for name in list(document["symbols"])[:500]}
    enums = document["enums"]
    return {**document, "user_types": kept, "symbols": symbols, "enums": enums}


def _vmlinux(section: bytes) -> bytes:
    """An ELF file with a section .BTF."""
    names = b"\0.BTF\0.shstrtab\0"
    at = 64 + len(section)
    table = at + len(names)
    head = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 2, 62, 1, 0, 0, table, 0, 64, 0, 0, 64, 3, 2)
    sections = [(0,) * 10, (1, 1, 0, 0, 64, len(section), 0, 0, 1, 0), (6, 3, 0, 0, at, len(names), 0, 0, 1, 0)]
    return head + section + names + b"".join(struct.pack("<IIQQQQIIQQ", *entry) for entry in sections)
