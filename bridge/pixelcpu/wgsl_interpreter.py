"""Writes the Pixel CPU itself as a compute shader: it reads microcode from a buffer and carries it out.

One shader runs any program without reductions, many of them at once, each on many states: a lane is one program on one
state. It is slower than a kernel that was written for its program, and needs no compiling.

Buffers, in the order of their bindings: the memory, what the run is given, the states (66 words a lane: registers and
flags, low halves first), the pixels of all programs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bridge.pixelcpu.errors import PixelError, Unsupported
from bridge.pixelcpu.interpreter import States
from bridge.pixelcpu.isa import FLAG_BITS, FLAGS, FLAGS_MASK, N_REGISTERS, ROWS, Kind, Row, Shape
from bridge.pixelcpu.microcode import MOST_PIXELS, Program
from bridge.pixelcpu.semantics import Inputs, flags_of_word, holds, meaning_of, merged, word_of_flags
from bridge.pixelcpu.wgsl import GROUP, MEMORY, WRITABLE, Region
from bridge.pixelcpu.wgsl_text import WORDS, WgslAlgebra, Word, type_of

STATE_WORDS = 2 * (N_REGISTERS + 1)
_LANES_AT, _EACH_AT, _WINDOW_AT, _STARTS_AT = 0, 1, 2, 6


@dataclass(frozen=True, slots=True)
class Task:
    """What the interpreter's buffers hold for some programs, each on the same number of states."""

    given: NDArray[np.uint32]
    states: NDArray[np.uint32]
    pixels: NDArray[np.uint32]
    lanes: int

    @property
    def workgroups(self) -> int:
        """How many there must be: a lane is an invocation."""
        return -(-self.lanes // GROUP)


def task(programs: Sequence[Program], states: States, region: Region) -> Task:
    """Every program is run on its share of the states, in order. Raises Unsupported where one has reductions.

    The memory is one `region` for all loads and stores.
    """
    lanes = len(states.flags)
    if not programs or not lanes or lanes % len(programs):
        raise PixelError(f"{lanes:,} states cannot be shared out among {len(programs):,} programs.")
    if any(program.has_reductions for program in programs):
        raise Unsupported("The interpreter on the GPU runs lanes that never meet, and a reduction makes them")
    starts = np.cumsum([0, *(len(program.pixels) for program in programs)])
    origin = region.origin & ((1 << 64) - 1)
    head = [lanes, lanes // len(programs), origin & 0xFFFFFFFF, origin >> 32, region.size, region.offset]
    words = np.column_stack([states.registers, states.flags & np.uint64(FLAGS_MASK)])
    pixels = np.concatenate([*(program.pixels for program in programs), np.zeros((1, 4), np.uint8)])
    return Task(
        np.array([*head, *starts.tolist()], np.uint32),
        np.ascontiguousarray(words).view(np.uint32).ravel(),
        pixels.view(np.uint32).ravel(),
        lanes,
    )


def finish(done: NDArray[np.uint32]) -> States:
    """The states after, from the third buffer. Raises PixelError where a lane's load or store was outside."""
    words = done.copy().view(np.uint64).reshape(-1, N_REGISTERS + 1)
    faulted = np.flatnonzero(words[:, N_REGISTERS] >> np.uint64(32))
    if len(faulted):
        raise PixelError(f"Lane {int(faulted[0]):,} made a load or store outside its memory.")
    return States(words[:, :N_REGISTERS].copy(), words[:, N_REGISTERS].copy())


def interpreter_text(rows: Iterable[Row] = ROWS) -> str:
    """The shader; its entry point is `main`. `rows` are those that it knows: the fewer, the sooner it is compiled.

    Software Vulkan takes about 5 s for all of them.
    """
    cases = "\n".join(_case(row) for row in rows if row.kind is not Kind.REDUCE)
    conditions = WgslAlgebra(" " * 4)
    flags = flags_of_word(conditions, Word("flags", 64))
    found = [holds(conditions, flags, number) for number in range(0, 16, 2)]
    chosen = "\n".join(f"        case {place}u: {{ found = {truth}; }}" for place, truth in enumerate(found))
    wheres = "\n".join(conditions.lines)
    return f"""{WORDS}{WRITABLE}{MEMORY}
@group(0) @binding(1) var<storage, read> given: array<u32>;
@group(0) @binding(2) var<storage, read_write> states: array<u32>;
@group(0) @binding(3) var<storage, read> microcode: array<u32>;

fn place_of(address: vec2<u32>, size: u32) -> u32 {{
    let offset = sub64(address, vec2<u32>(given[{_WINDOW_AT}], given[{_WINDOW_AT + 1}]));
    let room = given[{_WINDOW_AT + 2}];
    if offset.y != 0u || room < size || offset.x > room - size {{
        return 0xffffffffu;
    }}
    return offset.x + given[{_WINDOW_AT + 3}];
}}
// A lane's registers stay in their buffer: an array of the invocation's own takes software Vulkan seconds to compile.
fn held(base: u32, number: u32) -> vec2<u32> {{
    return vec2<u32>(states[base + 2u * number], states[base + 2u * number + 1u]);
}}
fn condition(flags: vec2<u32>, number: u32) -> bool {{
{wheres}
    var found = false;
    switch number >> 1u {{
{chosen}
        default: {{}}
    }}
    return found != ((number & 1u) == 1u);
}}

@compute @workgroup_size({GROUP})
fn main(@builtin(global_invocation_id) id: vec3<u32>) {{
    let lane = id.x;
    if lane >= given[{_LANES_AT}] {{
        return;
    }}
    let base = lane * {STATE_WORDS}u;
    var flags = vec2<u32>(states[base + {2 * N_REGISTERS}u], 0u);
    let mine = {_STARTS_AT}u + lane / given[{_EACH_AT}];
    var at = given[mine];
    let end = given[mine + 1u];
    var wrong = false;
    for (var step = 0u; step < {MOST_PIXELS}u && at < end && !wrong; step++) {{
        let pixel = microcode[at];
        let d = (pixel >> 8u) & 31u;
        let number = (pixel >> 16u) & 31u;
        let sets = (pixel & 0x2000u) != 0u;
        let last = pixel >> 24u;
        let is_immediate = (pixel & 0x4000u) != 0u;
        let more = select(0u, last, (pixel & 0x8000u) != 0u);
        let low = select(bitcast<u32>(bitcast<i32>(pixel) >> 24u), microcode[at + 1u], more > 0u);
        let sign = bitcast<u32>(bitcast<i32>(low) >> 31u);
        let high = select(sign, microcode[at + more], more > 1u);
        let a = select(held(base, last & 31u), vec2<u32>(low, high), is_immediate);
        let b = held(base, number);
        let old = held(base, d);
        at += 1u + more;
        var out = old;
        switch pixel & 0xffu {{
{cases}
            default: {{}}
        }}
        states[base + 2u * d] = out.x;
        states[base + 2u * d + 1u] = out.y;
    }}
    states[base + {2 * N_REGISTERS}u] = flags.x;
    states[base + {2 * N_REGISTERS + 1}u] = select(0u, 1u, wrong);
}}
"""


def _case(row: Row) -> str:
    algebra = WgslAlgebra(" " * 16)
    width = row.word_width

    def word(name: str, bits: int = width) -> Word:
        return algebra.truncate(Word(name, 64), bits)

    def write(value: Word) -> None:
        algebra.put(f"out = {merged(algebra, Word('old', 64), value).text};")

    if row.kind is Kind.LANE:
        write(Word("vec2<u32>(lane, 0u)", 64))
    elif row.kind in (Kind.LOAD, Kind.STORE):
        _access(row, algebra, write)
    elif row.shape is Shape.CONDITION:
        write(algebra.bit(algebra.let("condition(flags, number)"), width))
    elif row.shape is Shape.CONDITIONAL:
        write(algebra.choose(algebra.let("condition(flags, number)"), word("a"), word("old")))
    else:
        _plain(row, algebra, word("b"), word("a"), word("old"), write)
    body = "\n".join(algebra.lines)
    return f"            case {row.opcode:#x}u: {{ // {row.name}\n{body}\n            }}"


def _plain(row: Row, algebra: WgslAlgebra, b: Word, a: Word, old: Word, write: Callable[[Word], None]) -> None:
    flags = flags_of_word(algebra, Word("flags", 64)) if row.reads else {}
    outcome = meaning_of(row)(Inputs(algebra, row.width, b, a, old, flags, 0))
    if outcome.value is not None:
        write(outcome.value)
    if row.writes:
        algebra.put("if sets {")
        new = outcome.flags()
        kept = Word(f"flags & {algebra.const(64, ~sum(1 << FLAG_BITS[flag] for flag in new)).text}", 64)
        none = algebra.truth(False)
        written = word_of_flags(algebra, {flag: new.get(flag, none) for flag in FLAGS})
        algebra.put(f"flags = ({kept.text}) | {written.text};")
        algebra.put("}")


def _access(row: Row, algebra: WgslAlgebra, write: Callable[[Word], None]) -> None:
    if row.shape in (Shape.LOAD_IF, Shape.STORE_IF):
        algebra.put("if any(a != vec2<u32>()) {")
        place = f"place_of(b, {row.width // 8}u)"
    else:
        algebra.put("{")
        place = f"place_of(add64(b, a), {row.width // 8}u)"
    algebra.put(f"let place = {place};")
    algebra.put("if place == 0xffffffffu { wrong = true; } else {")
    if row.kind is Kind.LOAD:
        algebra.put(f"let loaded: {type_of(row.width)} = load{row.width}(place);")
        write(Word("loaded", row.width))
    else:
        algebra.put(f"store{row.width}(place, {algebra.truncate(Word('old', 64), row.width).text});")
    algebra.put("}")
    algebra.put("}")
