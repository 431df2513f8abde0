"""The table of the Pixel CPU's instructions: what each is called, takes, writes and costs. All else follows it.

An instruction is one RGBA8 pixel:

- R, the opcode: a row of this table, which is an operation at a width of 8, 16, 32 or 64 bits.
- G, bits 0-4: the destination register (a store's value). Bit 5: it writes its flags. Bit 6: A is an immediate.
  Bit 7: that immediate is in the pixels that follow, four bytes each, little-endian; the A field says how many, 1 or 2.
- B, the register B, or a condition's number where the row takes one.
- A, the register A, or a signed 8-bit immediate.

Fields that a row does not use are 0, and an immediate takes the shortest form that holds it: so a program has exactly
one picture.

There are 32 registers of 64 bits. A row of width w reads the low w bits of its registers. Its result goes into the low
w bits of the destination: 8 and 16 bits keep the rest of the register, 32 bits clear the upper half. That is x86's own
rule, so that a translation is direct and a high half that is kept needs no second instruction. Immediates are sign
extended to w bits. The flags are those of x86; a row writes all of its flags, and only where bit 5 says so.

What x86 leaves undefined is defined here, as QEMU computes it, where QEMU and Valgrind agree:

- Shift counts are taken modulo 32 (64 at 64 bits); a count of 0 keeps all flags. CF is the last bit that went out, as
  if the register went on for ever (so 0 after `shl` and `shr` by more than the width, the sign after `sar`). OF is the
  top bit's change in the last step, at every count: after `shl` (top bit of the result) xor CF. AF is 0.
- Rotates: a count of 0 keeps CF and OF. CF is the bit that came round. OF after `rol` is CF xor the result's top bit;
  after `ror` its two top bits' xor; after `rcl` and `rcr` the change of the top bit. At 8 and 16 bits the count modulo
  32 of `rcl` and `rcr` counts modulo 9 and 17, and 0 of that keeps the flags.
- Logic clears AF. A multiplication's SF, ZF and PF are those of the low half, AF is 0; CF and OF say that the product
  does not fit into the low half (signed for `mul` and `mulhs`, unsigned for `mulhu`).
- `popcnt`, `lzcnt` and `tzcnt` of 0 give 0 and the width; flags of theirs that x86 leaves undefined are 0.
- `bt` takes the bit's number modulo the width and writes CF alone.

Over many lanes a program's run gives memory and the registers and flags of the last lane. A lane starts with the
registers that the run was given and knows its number (`lane`). Lanes are independent: what one stores no other may load
or store, and who runs a program has proved that. A reduction folds A over all lanes, and gives each lane the result.

Sources: Intel SDM volume 2 (operation and flags of each instruction), volume 1 section 3.4.3 (flags).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

N_REGISTERS = 32
PIXEL_BYTES = 4
WRITES_FLAGS, IMMEDIATE, WIDE = 0x20, 0x40, 0x80
"""The bits of G above the register."""

FLAGS = "CPAZSO"
"""Each by its letter: carry, parity, auxiliary carry, zero, sign, overflow."""
FLAG_BITS = {"C": 0, "P": 2, "A": 4, "Z": 6, "S": 7, "O": 11}
"""Where they are in a word of flags: as in RFLAGS."""
FLAGS_MASK = sum(1 << bit for bit in FLAG_BITS.values())

CONDITIONS = ("o", "no", "b", "ae", "e", "ne", "be", "a", "s", "ns", "p", "np", "l", "ge", "le", "g")
"""In the order of their numbers, which are x86's."""


PACKED = frozenset({"padd", "psub", "pcmpeq", "pcmpgt", "pminu", "pmaxu", "pmins", "pmaxs"})
"""Operations on all 64 bits, part by part."""


class Shape(Enum):
    """What an instruction's operands are: G, then B, then A."""

    NONE = "d"
    """d: a destination alone."""
    UNARY = "d,a"
    BINARY = "d,b,a"
    COMPARE = "b,a"
    """No destination."""
    CONDITION = "d,c"
    """A condition's number in B."""
    CONDITIONAL = "d,c,a"
    """Also reads the destination, which stays as it is where the condition does not hold."""
    CHOICE = "d,b,a?"
    """The same by a register's value instead of a condition."""
    LOAD = "d,[b+a]"
    STORE = "[b+a],d"
    """G is the value to be stored."""
    LOAD_IF = "d,[b]?a"
    """Register A decides: 0 means no access, and the destination stays."""
    STORE_IF = "[b]?a,d"


class Kind(Enum):
    """Who carries a row out: the meaning in `semantics`, or each back end, which has the memory and the lanes."""

    PLAIN = "plain"
    LANE = "lane"
    LOAD = "load"
    STORE = "store"
    REDUCE = "reduce"


@dataclass(frozen=True, slots=True)
class Row:
    """An operation at a width."""

    opcode: int
    operation: str
    width: int
    shape: Shape
    writes: str
    """The flags that it writes if bit 5 is set; of `FLAGS`. None: bit 5 must be clear."""
    reads: str
    """The flags that it may read."""
    cost: int
    """Relative: about how many operations of 64 bits a vector unit needs, flags apart."""
    kind: Kind
    says: str
    """What it does, in words of arithmetic."""
    must_write: bool
    """It does nothing but write flags, so bit 5 must be set."""

    @property
    def name(self) -> str:
        """As in text: `add.32`."""
        return f"{self.operation}.{self.width}"

    @property
    def has_destination(self) -> bool:
        """G names a register that is written."""
        return self.shape not in (Shape.COMPARE, Shape.STORE, Shape.STORE_IF)

    @property
    def takes_a(self) -> bool:
        """The A field is used."""
        return self.shape not in (Shape.NONE, Shape.CONDITION)

    @property
    def takes_b(self) -> bool:
        """The B field is a register."""
        return self.shape not in (Shape.NONE, Shape.UNARY, Shape.CONDITION, Shape.CONDITIONAL)

    @property
    def takes_condition(self) -> bool:
        """The B field is a condition's number."""
        return self.shape in (Shape.CONDITION, Shape.CONDITIONAL)

    @property
    def may_be_immediate(self) -> bool:
        """A can be an immediate."""
        return self.takes_a and self.shape not in (Shape.LOAD_IF, Shape.STORE_IF)

    @property
    def word_width(self) -> int:
        """Bits of the words that it reads and writes: packed operations take all 64, part by part."""
        return 64 if self.operation in PACKED else self.width

    @property
    def immediate_width(self) -> int:
        """Bits of an immediate: addresses are 64 bits wide whatever is loaded."""
        return 64 if self.shape in (Shape.LOAD, Shape.STORE) else self.word_width

    @property
    def reads_destination(self) -> bool:
        """Its result depends on what the destination register held (8 and 16 bits always keep the rest)."""
        if not self.has_destination:
            return False
        return self.word_width < 32 or self.shape in (Shape.CONDITIONAL, Shape.CHOICE, Shape.LOAD_IF)


ALL, LOGIC, KEEP_CARRY = FLAGS, FLAGS, "PAZSO"
_EVERY, _SOME, _PACKED, _WIDE = (8, 16, 32, 64), (16, 32, 64), (8, 16, 32), (64,)
_D, _U, _B, _C = Shape.NONE, Shape.UNARY, Shape.BINARY, Shape.COMPARE

_FAMILIES: tuple[tuple[int, str, tuple[int, ...], Shape, str, str, int, str], ...] = (
    # first opcode, operation, widths, shape, writes, reads, cost, what it does
    (0x01, "pcmpeq", _PACKED, _B, "", "", 8, "each w-bit part of all 64 bits: ones where b = a, else zeros"),
    (0x04, "mov", _EVERY, _U, "", "", 1, "a"),
    (0x08, "add", _EVERY, _B, ALL, "", 1, "b + a"),
    (0x0C, "adc", _EVERY, _B, ALL, "C", 2, "b + a + CF"),
    (0x10, "sub", _EVERY, _B, ALL, "", 1, "b - a"),
    (0x14, "sbb", _EVERY, _B, ALL, "C", 2, "b - a - CF"),
    (0x18, "inc", _EVERY, _U, KEEP_CARRY, "", 1, "a + 1, CF kept"),
    (0x1C, "dec", _EVERY, _U, KEEP_CARRY, "", 1, "a - 1, CF kept"),
    (0x20, "neg", _EVERY, _U, ALL, "", 1, "0 - a"),
    (0x24, "cmp", _EVERY, _C, ALL, "", 1, "the flags of b - a"),
    (0x28, "and", _EVERY, _B, LOGIC, "", 1, "b and a"),
    (0x2C, "or", _EVERY, _B, LOGIC, "", 1, "b or a"),
    (0x30, "xor", _EVERY, _B, LOGIC, "", 1, "b xor a"),
    (0x34, "not", _EVERY, _U, "", "", 1, "not a"),
    (0x38, "test", _EVERY, _C, LOGIC, "", 1, "the flags of b and a"),
    (0x3C, "mul", _EVERY, _B, ALL, "", 3, "the low half of b * a"),
    (0x40, "mulhu", _EVERY, _B, ALL, "", 8, "the high half of b * a, unsigned"),
    (0x44, "mulhs", _EVERY, _B, ALL, "", 9, "the high half of b * a, signed"),
    (0x48, "shl", _EVERY, _B, ALL, FLAGS, 1, "b shifted left by a"),
    (0x4C, "shr", _EVERY, _B, ALL, FLAGS, 1, "b shifted right by a, zeros coming in"),
    (0x50, "sar", _EVERY, _B, ALL, FLAGS, 1, "b shifted right by a, the sign coming in"),
    (0x54, "rol", _EVERY, _B, "CO", "CO", 3, "b rotated left by a"),
    (0x58, "ror", _EVERY, _B, "CO", "CO", 3, "b rotated right by a"),
    (0x5C, "rcl", _EVERY, _B, "CO", "CO", 9, "CF:b rotated left by a"),
    (0x60, "rcr", _EVERY, _B, "CO", "CO", 9, "CF:b rotated right by a"),
    (0x64, "bswap", _SOME, _U, "", "", 4, "a's bytes in reverse order"),
    (0x68, "popcnt", _EVERY, _U, ALL, "", 4, "how many bits of a are set"),
    (0x6C, "lzcnt", _EVERY, _U, ALL, "", 5, "how many zeros lie above a's highest set bit"),
    (0x70, "tzcnt", _EVERY, _U, ALL, "", 4, "how many zeros lie below a's lowest set bit"),
    (0x74, "bt", _EVERY, _C, "C", "", 2, "CF = bit a of b"),
    (0x78, "zx8", _SOME, _U, "", "", 1, "a's low 8 bits, zero extended"),
    (0x7B, "zx16", (32, 64), _U, "", "", 1, "a's low 16 bits, zero extended"),
    (0x7D, "zx32", _WIDE, _U, "", "", 1, "a's low 32 bits, zero extended"),
    (0x7E, "sx8", _SOME, _U, "", "", 2, "a's low 8 bits, sign extended"),
    (0x81, "sx16", (32, 64), _U, "", "", 2, "a's low 16 bits, sign extended"),
    (0x83, "sx32", _WIDE, _U, "", "", 2, "a's low 32 bits, sign extended"),
    (0x84, "padd", _PACKED, _B, "", "", 5, "each w-bit part of all 64 bits: b + a"),
    (0x87, "psub", _PACKED, _B, "", "", 6, "each w-bit part of all 64 bits: b - a"),
    (0x8A, "rdf", _WIDE, _D, "", FLAGS, 6, "the flags as a word, where RFLAGS has them"),
    (0x8B, "wrf", _WIDE, _C, ALL, FLAGS, 6, "those flags whose bits in a are set come from b"),
    (0x8C, "set", _EVERY, Shape.CONDITION, "", FLAGS, 2, "1 if the condition holds, else 0"),
    (0x90, "cmov", _EVERY, Shape.CONDITIONAL, "", FLAGS, 2, "a if the condition holds, else what was there"),
    (0x94, "pick", _EVERY, Shape.CHOICE, "", "", 2, "a if b is not 0, else what was there"),
    (0x98, "eq", _EVERY, _B, "", "", 2, "1 if b = a, else 0"),
    (0x9C, "ne", _EVERY, _B, "", "", 2, "1 if b differs from a, else 0"),
    (0xA0, "ltu", _EVERY, _B, "", "", 2, "1 if b < a, unsigned, else 0"),
    (0xA4, "leu", _EVERY, _B, "", "", 2, "1 if b <= a, unsigned, else 0"),
    (0xA8, "lts", _EVERY, _B, "", "", 2, "1 if b < a, signed, else 0"),
    (0xAC, "les", _EVERY, _B, "", "", 2, "1 if b <= a, signed, else 0"),
    (0xB0, "minu", _EVERY, _B, "", "", 1, "the smaller of b and a, unsigned"),
    (0xB4, "maxu", _EVERY, _B, "", "", 1, "the larger of b and a, unsigned"),
    (0xB8, "mins", _EVERY, _B, "", "", 1, "the smaller of b and a, signed"),
    (0xBC, "maxs", _EVERY, _B, "", "", 1, "the larger of b and a, signed"),
    (0xC0, "load", _EVERY, Shape.LOAD, "", "", 6, "the bytes at b + a, little-endian"),
    (0xC4, "store", _EVERY, Shape.STORE, "", "", 6, "the bytes at b + a become d"),
    (0xC8, "loadif", _EVERY, Shape.LOAD_IF, "", "", 7, "the bytes at b if a (64 bits) is not 0, else what was there"),
    (0xCC, "storeif", _EVERY, Shape.STORE_IF, "", "", 7, "the bytes at b become d if a (64 bits) is not 0"),
    (0xD0, "lane", _WIDE, _D, "", "", 1, "the lane's number, from 0"),
    (0xD1, "pcmpgt", _PACKED, _B, "", "", 12, "each w-bit part of all 64 bits: ones where b > a, signed, else zeros"),
    (0xD4, "pminu", (8,), _B, "", "", 14, "each w-bit part of all 64 bits: the smaller of b and a, unsigned"),
    (0xD5, "pmaxu", (8,), _B, "", "", 14, "each w-bit part of all 64 bits: the larger of b and a, unsigned"),
    (0xD6, "pmins", (16,), _B, "", "", 16, "each w-bit part of all 64 bits: the smaller of b and a, signed"),
    (0xD7, "pmaxs", (16,), _B, "", "", 16, "each w-bit part of all 64 bits: the larger of b and a, signed"),
    (0xE0, "sumall", _EVERY, _U, "", "", 4, "the sum of a over all lanes"),
    (0xE4, "xorall", _EVERY, _U, "", "", 4, "the xor of a over all lanes"),
    (0xE8, "andall", _EVERY, _U, "", "", 4, "the and of a over all lanes"),
    (0xEC, "orall", _EVERY, _U, "", "", 4, "the or of a over all lanes"),
    (0xF0, "minuall", _EVERY, _U, "", "", 4, "the smallest a of all lanes, unsigned"),
    (0xF4, "maxuall", _EVERY, _U, "", "", 4, "the largest a of all lanes, unsigned"),
    (0xF8, "minsall", _EVERY, _U, "", "", 4, "the smallest a of all lanes, signed"),
    (0xFC, "maxsall", _EVERY, _U, "", "", 4, "the largest a of all lanes, signed"),
)
# Opcode 0 stays free, so that a black picture is no program. New operations take free opcodes; those that are taken
# never change, because programs are kept as pixels.

_KINDS = {"lane": Kind.LANE, "load": Kind.LOAD, "loadif": Kind.LOAD, "store": Kind.STORE, "storeif": Kind.STORE}


def _rows() -> tuple[Row, ...]:
    rows: list[Row] = []
    for first, operation, widths, shape, writes, reads, cost, says in _FAMILIES:
        kind = Kind.REDUCE if operation.endswith("all") else _KINDS.get(operation, Kind.PLAIN)
        must = shape is Shape.COMPARE
        rows += [
            Row(first + place, operation, width, shape, writes, reads, cost, kind, says, must)
            for place, width in enumerate(widths)
        ]
    return tuple(rows)


ROWS = _rows()
BY_OPCODE: dict[int, Row] = {row.opcode: row for row in ROWS}
BY_NAME: dict[str, Row] = {row.name: row for row in ROWS}
OPERATIONS = tuple(family[1] for family in _FAMILIES)
if not len(ROWS) == len(BY_OPCODE) == len(BY_NAME):
    raise AssertionError("two rows of the table share an opcode or a name")
