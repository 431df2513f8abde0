"""Writes a program as a compute shader over lanes, and says what its buffers hold; to run it takes text and arrays.

The shader works on a copy of memory. If any lane's load or store is outside its window it says so, and the copy is
to be thrown away: what a GPU has done to it is in no order.

Buffers, in the order of their bindings: the memory (words of 4 bytes), what the run is given, what it found. Lanes are
dealt out over all invocations; each folds its own for every reduction, and `finish` does the rest, and the program's
tail, here: barriers would take software Vulkan twenty times as long to compile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bridge.pixelcpu.errors import PixelError
from bridge.pixelcpu.executor import State, execute
from bridge.pixelcpu.isa import FLAG_BITS, FLAGS, FLAGS_MASK, N_REGISTERS, Kind
from bridge.pixelcpu.lanes import Parts, parts
from bridge.pixelcpu.microcode import Program
from bridge.pixelcpu.numpy_algebra import UNSIGNED, NumpyAlgebra, Truth, fold
from bridge.pixelcpu.numpy_algebra import Word as Array
from bridge.pixelcpu.semantics import flags_of_word, word_of_flags
from bridge.pixelcpu.wgsl_text import WORDS, WgslAlgebra, Word, type_of

GROUP = 64
"""Invocations of a workgroup."""
MOST_LANES = 1 << 31
_STATE_WORDS = 2 * (N_REGISTERS + 1)
_LANES_AT, _WINDOWS_AT = _STATE_WORDS, _STATE_WORDS + 2
_WINDOW_WORDS = 4
_FAULT_AT, _LAST_AT, _SUMS_AT = 0, 1, 1 + _STATE_WORDS

MEMORY = """
fn load8(at: u32) -> u32 {
    return (word_at(at >> 2u) >> ((at & 3u) * 8u)) & 0xffu;
}
fn load16(at: u32) -> u32 {
    return load8(at) | (load8(at + 1u) << 8u);
}
fn load32(at: u32) -> u32 {
    let shift = (at & 3u) * 8u;
    let low = word_at(at >> 2u);
    if shift == 0u {
        return low;
    }
    return (low >> shift) | (word_at((at >> 2u) + 1u) << (32u - shift));
}
fn load64(at: u32) -> vec2<u32> {
    return vec2<u32>(load32(at), load32(at + 4u));
}
"""
_READ_ONLY = """
@group(0) @binding(0) var<storage, read> memory: array<u32>;
fn word_at(place: u32) -> u32 {
    return memory[place];
}
"""
# Other lanes may store to the rest of a word at the same time: exclusive or with what is to change leaves that alone.
WRITABLE = """
@group(0) @binding(0) var<storage, read_write> memory: array<atomic<u32>>;
fn word_at(place: u32) -> u32 {
    return atomicLoad(&memory[place]);
}
fn put(place: u32, mask: u32, value: u32) {
    atomicXor(&memory[place], (atomicLoad(&memory[place]) ^ value) & mask);
}
fn store8(at: u32, value: u32) {
    let shift = (at & 3u) * 8u;
    put(at >> 2u, 0xffu << shift, value << shift);
}
fn store16(at: u32, value: u32) {
    store8(at, value & 0xffu);
    store8(at + 1u, value >> 8u);
}
fn store32(at: u32, value: u32) {
    let shift = (at & 3u) * 8u;
    if shift == 0u {
        atomicStore(&memory[at >> 2u], value);
        return;
    }
    put(at >> 2u, 0xffffffffu << shift, value << shift);
    put((at >> 2u) + 1u, 0xffffffffu >> (32u - shift), value >> (32u - shift));
}
fn store64(at: u32, value: vec2<u32>) {
    store32(at, value.x);
    store32(at + 4u, value.y);
}
"""


@dataclass(frozen=True, slots=True)
class Region:
    """Memory that a load or store may reach: `size` bytes at `offset` of the memory's buffer, the first at `origin`."""

    origin: int
    size: int
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Shader:
    """A program as a compute shader with the entry point `main`. It needs no GPU to exist."""

    program: Program
    code: str
    stores: bool
    """Whether the memory's buffer is written to."""

    def given(
        self, lanes: int, registers: NDArray[np.uint64], flags: int, regions: Region | Sequence[Region]
    ) -> NDArray[np.uint32]:
        """The second buffer. `regions`: one for each load and store in order, or one for all."""
        if not 1 <= lanes <= MOST_LANES:
            raise PixelError(f"A shader runs over 1 to {MOST_LANES:,} lanes, not {lanes}.")
        if registers.shape != (N_REGISTERS,) or registers.dtype != np.uint64:
            raise ValueError(f"registers are (32,) uint64, not {registers.shape} {registers.dtype}")
        accesses = self.program.accesses
        each = [regions] * len(accesses) if isinstance(regions, Region) else list(regions)
        if len(each) != len(accesses):
            raise ValueError(f"{len(each)} regions for {len(accesses)} loads and stores")
        state = np.append(registers, np.uint64(flags & FLAGS_MASK)).view(np.uint32)
        words = [lanes, 0]
        for region in each:
            origin = region.origin & ((1 << 64) - 1)
            words += [origin & 0xFFFFFFFF, origin >> 32, region.size, region.offset]
        return np.concatenate([state, np.array(words, np.uint32)])

    def room(self, workgroups: int) -> NDArray[np.uint32]:
        """The third buffer, empty."""
        n_sums = sum(i.row.kind is Kind.REDUCE for i in self.program.instructions)
        found = np.zeros(_SUMS_AT + 2 * n_sums * GROUP * workgroups, np.uint32)
        found[_FAULT_AT] = 0xFFFFFFFF
        return found

    def finish(self, lanes: int, found: NDArray[np.uint32]) -> tuple[NDArray[np.uint64], int]:
        """The registers (32,) and flags after the last lane, from the third buffer as the shader left it.

        Raises PixelError where a lane's load or store was outside; memory is then not to be used.
        """
        if found[_FAULT_AT] != 0xFFFFFFFF:
            raise PixelError(f"Lane {int(found[_FAULT_AT]):,} made a load or store outside its memory.")
        words = found[_LAST_AT : _LAST_AT + _STATE_WORDS].copy().view(np.uint64)
        registers = [words[number : number + 1] for number in range(N_REGISTERS)]
        algebra = NumpyAlgebra()
        state = State(registers, flags_of_word(algebra, words[N_REGISTERS:]))
        tail = parts(self.program).tail
        reducing = [i.row for i in tail if i.row.kind is Kind.REDUCE]
        sums: list[Array] = []
        if reducing:
            folded = found[_SUMS_AT:].copy().view(np.uint64).reshape(-1, len(reducing))
            for place, row in enumerate(reducing):
                column = folded[:lanes, place].astype(UNSIGNED[row.width])  # later invocations had no lane
                sums.append(fold(row.operation, column, len(column)))
        execute(tail, algebra, state, _Tail(lanes, sums))
        after = np.concatenate([np.broadcast_to(word, (1,)) for word in state.registers])
        return after, int(word_of_flags(algebra, state.flags)[0])


def shader(program: Program) -> Shader:
    """Write the shader. Raises Unsupported where lanes would have to meet more than once."""
    return _Writer(program).written()


class _Writer:
    def __init__(self, program: Program) -> None:
        self.program, self.cut = program, parts(program)
        self.algebra = WgslAlgebra(" " * 8)
        self.stores = any(i.row.kind is Kind.STORE for i in program.accesses)

    def written(self) -> Shader:
        """The whole text."""
        cut: Parts = self.cut
        algebra = self.algebra
        state = State(
            [Word(f"r{number}", 64) for number in range(N_REGISTERS)], {flag: f"flag{flag}" for flag in FLAGS}
        )
        execute(cut.body, algebra, state, _Accesses(algebra))
        reducing = [i for i in cut.tail if i.row.kind is Kind.REDUCE]
        for place, i in enumerate(reducing):
            if i.immediate is None:
                value = algebra.truncate(state.registers[i.a], i.row.width)
            else:
                value = algebra.const(i.row.width, i.immediate)
            folded = _fold(algebra, i.row.operation, Word(f"sum{place}", i.row.width), value)
            algebra.put(f"sum{place} = {folded.text};")
        algebra.put("if lane + 1u == lanes {")
        for number in range(N_REGISTERS):
            for half, part in enumerate("xy"):
                place = _LAST_AT + 2 * number + half
                algebra.put(f"    atomicStore(&found[{place}], ({state.registers[number].text}).{part});")
        bits = " | ".join(f"select(0u, {1 << FLAG_BITS[flag]}u, {state.flags[flag]})" for flag in FLAGS)
        algebra.put(f"    atomicStore(&found[{_LAST_AT + 2 * N_REGISTERS}], {bits});")
        algebra.put("}")
        body = "\n".join(algebra.lines)
        start = "\n".join(f"    let r{n} = vec2<u32>(given[{2 * n}], given[{2 * n + 1}]);" for n in range(N_REGISTERS))
        flags = "\n".join(
            f"    let flag{flag} = (given[{2 * N_REGISTERS}] & {1 << FLAG_BITS[flag]}u) != 0u;" for flag in FLAGS
        )
        sums = "\n".join(
            f"    var sum{place}: {type_of(i.row.width)} = {_identity(algebra, i.row.operation, i.row.width)};"
            for place, i in enumerate(reducing)
        )
        kept = []
        for place, i in enumerate(reducing):
            at = f"{_SUMS_AT}u + 2u * (id.x * {len(reducing)}u + {place}u)"
            low, high = (f"sum{place}.x", f"sum{place}.y") if i.row.width == 64 else (f"sum{place}", "0u")
            kept += [f"    atomicStore(&found[{at}], {low});", f"    atomicStore(&found[{at} + 1u], {high});"]
        sums_kept = "\n".join(kept)
        code = f"""{WORDS}{WRITABLE if self.stores else _READ_ONLY}{MEMORY}
@group(0) @binding(1) var<storage, read> given: array<u32>;
@group(0) @binding(2) var<storage, read_write> found: array<atomic<u32>>;
fn place_of(address: vec2<u32>, access: u32, size: u32, lane: u32) -> u32 {{
    let window = {_WINDOWS_AT}u + {_WINDOW_WORDS}u * access;
    let offset = sub64(address, vec2<u32>(given[window], given[window + 1u]));
    if offset.y != 0u || given[window + 2u] < size || offset.x > given[window + 2u] - size {{
        atomicMin(&found[{_FAULT_AT}], lane);
        return 0xffffffffu;
    }}
    return offset.x + given[window + 3u];
}}

@compute @workgroup_size({GROUP})
fn main(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {{
{start}
{flags}
{sums}
    let lanes = given[{_LANES_AT}];
    for (var lane = id.x; lane < lanes; lane += groups.x * {GROUP}u) {{
{body}
    }}
{sums_kept}
}}
"""
        return Shader(self.program, code, self.stores)


class _Accesses:
    """The executor's hooks: memory, and the lane's number."""

    def __init__(self, algebra: WgslAlgebra) -> None:
        self._algebra = algebra
        self._at = 0

    def _place(self, address: Word, width: int) -> str:
        place = f"place_of({address.text}, {self._at}u, {width // 8}u, lane)"
        self._at += 1
        return place

    def load(self, address: Word, width: int, only_if: str | None) -> Word:
        name = self._algebra.let("0u").replace("v", "w")
        self._algebra.put(f"var {name} = {self._algebra.const(width, 0).text};")
        self._algebra.put(f"if {only_if or 'true'} {{")
        self._algebra.put(f"    let place = {self._place(address, width)};")
        self._algebra.put(f"    if place != 0xffffffffu {{ {name} = load{width}(place); }}")
        self._algebra.put("}")
        return Word(name, width)

    def store(self, address: Word, value: Word, only_if: str | None) -> None:
        self._algebra.put(f"if {only_if or 'true'} {{")
        self._algebra.put(f"    let place = {self._place(address, value.width)};")
        self._algebra.put(f"    if place != 0xffffffffu {{ store{value.width}(place, {value.text}); }}")
        self._algebra.put("}")

    def lane(self) -> Word:
        return Word("vec2<u32>(lane, 0u)", 64)

    def reduce(self, operation: str, _value: Word) -> Word:
        raise AssertionError(f"{operation} in a body")


class _Tail:
    """The executor's hooks for what comes after the lanes have met, on one lane here."""

    def __init__(self, lanes: int, sums: Sequence[Array]) -> None:
        self._lanes, self._sums = lanes, list(sums)

    def load(self, _address: Array, _width: int, _only_if: Truth | None) -> Array:
        raise AssertionError("a load in a tail")

    def store(self, _address: Array, _value: Array, _only_if: Truth | None) -> None:
        raise AssertionError("a store in a tail")

    def lane(self) -> Array:
        return np.array([self._lanes - 1], np.uint64)

    def reduce(self, _operation: str, _value: Array) -> Array:
        return self._sums.pop(0)


def _fold(algebra: WgslAlgebra, operation: str, left: Word, right: Word) -> Word:
    return {
        "sumall": algebra.add,
        "xorall": algebra.xor,
        "andall": algebra.and_,
        "orall": algebra.or_,
        "minuall": algebra.min_unsigned,
        "maxuall": algebra.max_unsigned,
        "minsall": algebra.min_signed,
        "maxsall": algebra.max_signed,
    }[operation](left, right)


def _identity(algebra: WgslAlgebra, operation: str, width: int) -> str:
    top = 1 << (width - 1)
    value = {"andall": -1, "minuall": -1, "minsall": top - 1, "maxsall": top}.get(operation, 0)
    return algebra.const(width, value).text
