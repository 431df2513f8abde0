"""The library of learned loops: a sealed JSON file for each piece of x86 code, of kernels and of refusals alike.

A kernel is machine code, so that a file is only taken where it bears this user's seal, and was made by this very
translator, prover and compiler on a processor like this one. Anything else is forgotten: the loop is learned again.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from bridge.pixelcpu.errors import BadMicrocode
from bridge.pixelcpu.isa import N_REGISTERS, PIXEL_BYTES
from bridge.pixelcpu.learned import Learned, State, Synthesis
from bridge.pixelcpu.library import hash_of
from bridge.pixelcpu.loop_text import LoopText, StreamText
from bridge.pixelcpu.microcode import Program, decode
from bridge.pixelcpu.native_loop import Figures, GpuRecord, NativeLoop, NativeRecord, NativeStream
from bridge.pixelcpu.sealed import BadEntry, SealedFolder
from bridge.pixelcpu.translation import Translation

VERSION = 6
Made = TypeVar("Made")
MOST_ENTRIES = 4096
LEAST_RUNS = 10_000
"""Of a kernel's round, and of its native code, beside Unicorn."""
_LIBRARIES = ("z3-solver", "pyvex", "capstone", "unicorn", "llvmlite")
_SYNTHESIS = tuple(field.name for field in fields(Synthesis))
_PROCESSOR = ("vendor_id", "cpu family", "model", "flags")


class LoopLibrary:
    """The loops of one folder, which is made when the first is kept. The latest 4,096 are."""

    def __init__(self, folder: Path, key_file: Path) -> None:
        """`key_file`: of the seal; a `Library` may have the same one."""
        self._files = SealedFolder(folder, key_file)

    def find(self, code: bytes) -> Learned | None:
        """What is known of a loop; None where nothing is that can be relied on."""
        name = f"{hash_of(code)}.json"
        learned = None
        try:
            content, sealed = self._files.read(name)
            if sealed and content.get("made_by") == made_by():
                learned = _learned(content, name)
        except FileNotFoundError:
            return None
        except BadEntry:
            pass
        if learned is None or learned.code != code:
            self._files.forget(name)
            return None
        return learned

    def keep(self, learned: Learned) -> None:
        """Write what was learned, whole or not at all; the oldest makes room. Raises OSError."""
        files = self._files.files()
        if len(files) >= MOST_ENTRIES:
            with contextlib.suppress(OSError):
                self._files.forget(min(files, key=lambda file: file.stat().st_mtime_ns).name)
        self._files.write(f"{learned.x86_hash}.json", _document(learned))


@cache
def made_by() -> str:
    """A hash of all that a kernel's code depends on besides x86 code: this program, its libraries, the processor."""
    found = hashlib.sha256()
    for file in sorted(Path(__file__).parent.glob("*.py")):
        found.update(file.read_bytes())
    for name in _LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found.update(f"{name} {importlib.metadata.version(name)}\n".encode())
    with contextlib.suppress(OSError):
        first = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").partition("\n\n")[0]
        found.update("\n".join(line for line in first.splitlines() if line.startswith(_PROCESSOR)).encode())
    return found.hexdigest()


def _document(learned: Learned) -> dict[str, Any]:
    translation, native = learned.translation, learned.native
    return {
        "version": VERSION,
        "arch": "x86-64",
        "made_by": made_by(),
        "x86_hash": learned.x86_hash,
        "code": learned.code.hex(),
        "reached": str(learned.reached),
        "reason": learned.reason,
        "loop": None if learned.loop is None else asdict(learned.loop),
        "round": None
        if translation is None
        else {
            "pixel_ops": _pixels(translation.program),
            "halves": dict(translation.halves),
            "taken": translation.taken,
            "goes_on": translation.goes_on,
            "target": translation.target,
            "others": list(translation.others),
            "elsewhere": translation.elsewhere,
        },
        "pixel_ops": None if learned.rounds is None else _pixels(learned.rounds),
        "native": None
        if native is None
        else {
            "n_instructions": native.n_instructions,
            "kind": native.kind,
            "native": native.native.hex(),
            "plan": native.plan,
            "run": native.run,
            "streams": [asdict(stream) for stream in native.streams],
            "access_streams": list(native.access_streams),
            "reads": sorted(native.reads),
            "writes": sorted(native.writes),
            "halves": [[half, word] for half, word in native.halves.items()],
            "ordered": native.ordered,
            "ends_itself": native.ends_itself,
        },
        "synthesis": None if learned.synthesis is None else asdict(learned.synthesis),
        "proof": {"solver": learned.solver, "query_hash": learned.query_hash, "ms": learned.ms_proof},
        "test": {
            "states": learned.n_states,
            "mismatches": 0,
            "native": None if learned.native_test is None else asdict(learned.native_test),
            "gpu": None if learned.gpu_test is None else asdict(learned.gpu_test),
        },
        "figures": None if learned.figures is None else asdict(learned.figures),
        "ms": learned.ms,
    }


def _pixels(program: Program) -> list[str]:
    return [bytes(pixel).hex() for pixel in program.pixels]


def _learned(content: Mapping[str, Any], name: str) -> Learned:
    """An entry's content. Raises BadEntry; a seal says who wrote it, not that it was written well."""
    try:
        if content["version"] != VERSION or content["arch"] != "x86-64":
            raise BadEntry(f"{name} is of another version.")
        code = bytes.fromhex(content["code"])
        proof = content["proof"]
        learned = Learned(
            code,
            State(content["reached"]),
            str(content["reason"]),
            _or_none(content["loop"], _loop_text),
            _or_none(content["round"], _translation),
            _or_none(content["pixel_ops"], _program),
            _or_none(content["native"], lambda found: _native(found, code)),
            _or_none(content["synthesis"], _synthesis),
            str(proof["solver"]),
            str(proof["query_hash"]),
            float(proof["ms"]),
            int(content["test"]["states"]),
            _or_none(content["test"]["native"], _record),
            _or_none(content["figures"], _figures),
            _or_none(content["test"]["gpu"], _gpu_record),
            float(content["ms"]),
        )
    except BadMicrocode as error:
        raise BadEntry(f"{name} has no microcode: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise BadEntry(f"{name} is no loop: {error}.") from error
    if not learned.reason and (learned.reached is not State.TESTED or learned.native is None):
        raise BadEntry(f"{name} has neither a kernel nor a reason.")
    test = learned.native_test
    if not learned.reason and (test is None or min(learned.n_states, test.n_runs) < LEAST_RUNS or test.n_mismatches):
        raise BadEntry(f"{name} has a kernel that was not tested.")
    return learned


def _synthesis(found: Mapping[str, Any]) -> Synthesis:
    counts = {name: _within(found[name], 1 << 63) for name in _SYNTHESIS if name != "ms"}
    return Synthesis(**counts, ms=float(found["ms"]))


def _record(found: Mapping[str, Any]) -> NativeRecord:
    counts = {name: _within(found[name], 1 << 63) for name in ("n_runs", "n_put_aside", "n_mismatches", "n_rounds")}
    return NativeRecord(**counts, first=str(found["first"]))


def _gpu_record(found: Mapping[str, Any]) -> GpuRecord:
    counts = {name: _within(found[name], 1 << 63) for name in ("n_runs", "n_rounds", "n_mismatches")}
    return GpuRecord(device=str(found["device"]), **counts, first=str(found["first"]))


def _figures(found: Mapping[str, Any]) -> Figures:
    values = [float(found[name]) for name in ("round_ns", "far_round_ns", "call_ns")]
    if not all(0 <= value < math.inf for value in values):
        raise ValueError(f"{values} are no nanoseconds")
    return Figures(*values)


def _or_none(found: Any, make: Callable[[Any], Made]) -> Made | None:
    return None if found is None else make(found)


def _loop_text(found: Mapping[str, Any]) -> LoopText:
    return LoopText(
        str(found["kind"]),
        {str(name): int(step) for name, step in found["counting"].items()},
        {str(name): str(fold) for name, fold in found["folds"].items()},
        tuple(map(str, found["fresh"])),
        tuple(
            StreamText(
                str(one["address"]), int(one["size"]), int(one["stride"]), bool(one["is_store"]), bool(one["is_table"])
            )
            for one in found["streams"]
        ),
        tuple((int(one), int(other)) for one, other in found["apart"]),
        str(found["distance"]),
        int(found["step"]),
        bool(found["ordered"]),
        tuple(map(str, found["carried"])),
        tuple(map(str, found["aligned"])),
        bool(found["closed"]),
        bool(found["leaps"]),
    )


def _program(pixels: list[str]) -> Program:
    return decode(np.frombuffer(bytes.fromhex("".join(pixels)), np.uint8).reshape(-1, PIXEL_BYTES))


def _translation(found: Mapping[str, Any]) -> Translation:
    taken = found["taken"]
    return Translation(
        _program(found["pixel_ops"]),
        {str(half): _within(number, N_REGISTERS) for half, number in found["halves"].items()},
        None if taken is None else _within(taken, N_REGISTERS),
        _within(found["goes_on"], 1 << 64),
        _within(found["target"], 1 << 64),
        tuple(_within(one, 1 << 64) for one in found["others"]),
        _or_none(found["elsewhere"], lambda number: _within(number, N_REGISTERS)),
    )


def _native(found: Mapping[str, Any], code: bytes) -> NativeLoop:
    native = bytes.fromhex(found["native"])
    streams = tuple(
        NativeStream(_within(one["size"], 4097), int(one["stride"]), bool(one["is_store"]), _within(one["group"], 256))
        for one in found["streams"]
    )
    return NativeLoop(
        code,
        _within(found["n_instructions"], 513),
        str(found["kind"]),
        native,
        _within(found["plan"], len(native)),
        _within(found["run"], len(native)),
        streams,
        tuple(_within(one, len(streams)) for one in found["access_streams"]),
        frozenset(_within(one, N_REGISTERS) for one in found["reads"]),
        frozenset(_within(one, N_REGISTERS) for one in found["writes"]),
        {_within(half, 32): _within(word, N_REGISTERS) for half, word in found["halves"]},
        bool(found["ordered"]),
        bool(found["ends_itself"]),
    )


def _within(number: Any, limit: int) -> int:
    if not isinstance(number, int) or not 0 <= number < limit:
        raise ValueError(f"{number!r} is not below {limit}")
    return number
