"""Programs as text: a line an instruction, as people read and write them. Text and program say exactly the same.

`add.32! r1, r2, -5` adds at 32 bits and writes flags (`!`). `load.8 r1, [r2 + 16]`, `store.64 [r2 + r3], r1`,
`cmov.64 r1, ne, r4`, `loadif.32 r1, [r2] if r3`, `lane.64 r0`. `;` begins a comment. Registers may have names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from bridge.pixelcpu.errors import BadMicrocode
from bridge.pixelcpu.isa import BY_NAME, CONDITIONS, N_REGISTERS, Row, Shape
from bridge.pixelcpu.microcode import MOST_INSTRUCTIONS, Instruction, Program, signed

MOST_TEXT = 64 * MOST_INSTRUCTIONS
"""Characters; a line that says as much as it can has about 50."""

_LINE = re.compile(r"([a-z0-9]+\.[0-9]+)(!?)(?: +(.*))?", re.ASCII)
_ACCESS = r"\[ *(?P<b>[\w.]+) *(?P<sign>[+-]) *(?P<a>[\w.]+) *\]|\[ *(?P<only_b>[\w.]+) *\]"
_NUMBER = re.compile(r"-?(0x[0-9a-f]{1,16}|0|[1-9][0-9]{0,19})", re.ASCII)
_FORMS = {
    Shape.NONE: r"(?P<d>[\w.]+)",
    Shape.UNARY: r"(?P<d>[\w.]+) *, *(?P<a>-?[\w.]+)",
    Shape.BINARY: r"(?P<d>[\w.]+) *, *(?P<b>[\w.]+) *, *(?P<a>-?[\w.]+)",
    Shape.COMPARE: r"(?P<b>[\w.]+) *, *(?P<a>-?[\w.]+)",
    Shape.CONDITION: r"(?P<d>[\w.]+) *, *(?P<c>[\w.]+)",
    Shape.CONDITIONAL: r"(?P<d>[\w.]+) *, *(?P<c>[\w.]+) *, *(?P<a>-?[\w.]+)",
    Shape.CHOICE: r"(?P<d>[\w.]+) *, *(?P<b>[\w.]+) *, *(?P<a>-?[\w.]+)",
    Shape.LOAD: rf"(?P<d>[\w.]+) *, *(?:{_ACCESS})",
    Shape.STORE: rf"(?:{_ACCESS}) *, *(?P<d>[\w.]+)",
    Shape.LOAD_IF: r"(?P<d>[\w.]+) *, *\[ *(?P<b>[\w.]+) *\] +if +(?P<a>[\w.]+)",
    Shape.STORE_IF: r"\[ *(?P<b>[\w.]+) *\] *, *(?P<d>[\w.]+) +if +(?P<a>[\w.]+)",
}
_PATTERNS = {shape: re.compile(form, re.ASCII) for shape, form in _FORMS.items()}


def disassemble(program: Program, names: Sequence[str] = ()) -> str:
    """The program's text, a line an instruction; `names` of the first registers, the others are r0 to r31."""
    return "".join(line_of(instruction, names) + "\n" for instruction in program.instructions)


def line_of(instruction: Instruction, names: Sequence[str] = ()) -> str:
    """One instruction's line."""
    row = instruction.row

    def register(number: int) -> str:
        return names[number] if number < len(names) else f"r{number}"

    d, b = register(instruction.d), register(instruction.b)
    a = register(instruction.a) if instruction.immediate is None else str(instruction.immediate)
    if row.takes_condition:
        b = CONDITIONS[instruction.b]
    if instruction.immediate is None:
        place = f"[{b} + {a}]"
    elif instruction.immediate == 0:
        place = f"[{b}]"
    else:
        place = f"[{b} {'-' if instruction.immediate < 0 else '+'} {abs(instruction.immediate)}]"
    operands = {
        Shape.NONE: d,
        Shape.UNARY: f"{d}, {a}",
        Shape.BINARY: f"{d}, {b}, {a}",
        Shape.COMPARE: f"{b}, {a}",
        Shape.CONDITION: f"{d}, {b}",
        Shape.CONDITIONAL: f"{d}, {b}, {a}",
        Shape.CHOICE: f"{d}, {b}, {a}",
        Shape.LOAD: f"{d}, {place}",
        Shape.STORE: f"{place}, {d}",
        Shape.LOAD_IF: f"{d}, [{b}] if {a}",
        Shape.STORE_IF: f"[{b}], {d} if {a}",
    }[row.shape]
    return f"{row.name}{'!' if instruction.sets_flags else ''} {operands}"


def assemble(text: str, names: Sequence[str] = ()) -> Program:
    """The program that a text says. Raises BadMicrocode with the line that is wrong, counted from 0."""
    if len(text) > MOST_TEXT:
        raise BadMicrocode(f"{len(text):,} characters, and {MOST_TEXT:,} are the most")
    numbers = {f"r{number}": number for number in range(N_REGISTERS)}
    numbers.update((name, number) for number, name in enumerate(names))
    found: list[Instruction] = []
    for at, line in enumerate(text.splitlines()):
        said = line.partition(";")[0].strip()
        if said:
            try:
                found.append(_instruction(said, numbers))
            except BadMicrocode as bad:
                raise BadMicrocode(bad.problem, at) from None
    return Program.of(found)


def _instruction(line: str, numbers: Mapping[str, int]) -> Instruction:
    matched = _LINE.fullmatch(line)
    row = BY_NAME.get(matched[1]) if matched else None
    if matched is None or row is None:
        raise BadMicrocode(f"there is no operation {line.split()[0][:40]!r}")
    parts = _PATTERNS[row.shape].fullmatch(matched[3] or "")
    if parts is None:
        raise BadMicrocode(f"{row.name} is written {row.name} {row.shape.value}")
    found = parts.groupdict()
    b = found.get("b") or found.get("only_b")
    a = found.get("a")
    if row.shape in (Shape.LOAD, Shape.STORE):
        a = "0" if a is None else a if found["sign"] == "+" else f"-{a}"
    fields: dict[str, int] = {"d": _register(found["d"], numbers)} if found.get("d") else {}
    if row.takes_condition:
        if found["c"] not in CONDITIONS:
            raise BadMicrocode(f"there is no condition {found['c'][:40]!r}")
        fields["b"] = CONDITIONS.index(found["c"])
    elif b:
        fields["b"] = _register(b, numbers)
    immediate = None
    if a is not None and a in numbers:
        fields["a"] = numbers[a]
    elif a is not None:
        immediate = _immediate(a, row)
    return Instruction(row, **fields, immediate=immediate, sets_flags=bool(matched[2]))


def _register(name: str, numbers: Mapping[str, int]) -> int:
    if name not in numbers:
        raise BadMicrocode(f"there is no register {name[:40]!r}")
    return numbers[name]


def _immediate(said: str, row: Row) -> int:
    if not _NUMBER.fullmatch(said):
        raise BadMicrocode(f"{said[:40]!r} is neither a register nor a number")
    value, width = int(said, 0), row.immediate_width
    if not -(1 << (width - 1)) <= value < 1 << width:
        raise BadMicrocode(f"{row.name}: {said} does not fit into {width} bits")
    return signed(value, width)
