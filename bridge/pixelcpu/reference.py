"""The table of instructions as a page for people: `docs/pixel-isa.md` is what this writes, and a test holds it so."""

from __future__ import annotations

from bridge.pixelcpu.isa import CONDITIONS, OPERATIONS, ROWS

_HEAD = """# The Pixel CPU's instructions

Written by `python -m bridge.pixelcpu.reference` from the table in `bridge/pixelcpu/isa.py`, which also says how
instructions are encoded, which flags are defined where x86 leaves them open, and what lanes are. `d`, `b` and `a` are
registers; `a` can be an immediate except after `if`. A `!` after the name lets an instruction write its flags.

| operation | opcodes | bits | written | flags | cost | does |
|---|---|---|---|---|---|---|
"""


def page() -> str:
    """The page, in Markdown."""
    lines = []
    for operation in OPERATIONS:
        rows = [row for row in ROWS if row.operation == operation]
        first, last = rows[0], rows[-1]
        opcodes = f"{first.opcode:02x}" if first is last else f"{first.opcode:02x}-{last.opcode:02x}"
        widths = ", ".join(str(row.width) for row in rows)
        written = _FORMS.get(first.shape.value, first.shape.value)
        flags = " ".join(f"{flag}F" for flag in first.writes) or "none"
        lines.append(
            f"| `{operation}` | {opcodes} | {widths} | `{written}` | {flags} | {first.cost} | {first.says} |\n"
        )
    conditions = ", ".join(f"`{name}`" for name in CONDITIONS)
    return f"{_HEAD}{''.join(lines)}\nThe conditions `c`, by their numbers from 0: {conditions}.\n"


_FORMS = {
    "d,b,a?": "d, b, a",
    "d,[b]?a": "d, [b] if a",
    "[b]?a,d": "[b], d if a",
    "d,[b+a]": "d, [b + a]",
    "[b+a],d": "[b + a], d",
    "d,a": "d, a",
    "d,b,a": "d, b, a",
    "b,a": "b, a",
    "d,c": "d, c",
    "d,c,a": "d, c, a",
}

if __name__ == "__main__":
    print(page(), end="")  # noqa: T201 - it is what it is for
