"""x86 machine code as instructions, forwards and, by agreement of many starts, backwards."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from bridge.trace.x86_engine import engine

Bits = Literal[16, 32, 64]
MODES: tuple[Bits, ...] = (16, 32, 64)
MAX_INSTRUCTION_BYTES = 15  # SDM volume 2, 2.3.11
SYNC_BYTES = 192  # read before an address to find where instructions begin
SYNC_MARGIN_BYTES = 48  # of those, the first have too few starts to agree: in /bin/sh errors end after 45 bytes

Kind = Literal["plain", "jump", "branch", "call", "return", "invalid", "unmapped"]

_IMMEDIATE = re.compile(r"0x[0-9a-f]+|\d+")
_RIP_RELATIVE = re.compile(r"\[rip (?:([+-]) (0x[0-9a-f]+|\d+))?\]|\[rip\]")
_RETURNS = frozenset({"ret", "retf", "retfq", "iret", "iretd", "iretq", "sysret", "sysretq", "sysexit", "sysexitq"})


@dataclass(frozen=True, slots=True)
class Instruction:
    """One line of a listing. `target` is where a direct jump leads, `refers` what a rip-relative operand names."""

    address: int
    data: bytes
    mnemonic: str
    operands: str
    kind: Kind = "plain"
    target: int | None = None
    refers: int | None = None
    size: int = 0  # of an unmapped stretch, which has no data

    @property
    def end(self) -> int:
        return self.address + (self.size or len(self.data))

    @property
    def text(self) -> str:
        return f"{self.mnemonic} {self.operands}".rstrip()


def _kind(mnemonic: str) -> Kind:
    name = mnemonic.rsplit(" ", 1)[-1]  # without prefixes such as `bnd` or `notrack`
    if name in ("jmp", "ljmp"):
        return "jump"
    if name in ("call", "lcall"):
        return "call"
    if name in _RETURNS:
        return "return"
    return "branch" if name.startswith(("j", "loop")) else "plain"


def invalid_byte(address: int, byte: int) -> Instruction:
    """Return a byte that is no instruction as the data that it is."""
    return Instruction(address, bytes([byte]), "db", f"0x{byte:02x}", "invalid")


def _instruction(address: int, data: bytes, mnemonic: str, operands: str, bits: Bits) -> Instruction:
    kind = _kind(mnemonic)
    target = refers = None
    if kind in ("jump", "branch", "call") and _IMMEDIATE.fullmatch(operands):
        # Capstone wraps at the width of the instruction pointer; the listing may lie above that.
        half = 1 << (bits - 1)
        distance = (int(operands, 0) - address + half) % (1 << bits) - half
        target = (address + distance) % (1 << 64)
        operands = f"{target:#x}"
    elif found := _RIP_RELATIVE.search(operands):
        offset = int(found[2], 0) if found[2] else 0
        refers = (address + len(data) + (-offset if found[1] == "-" else offset)) % (1 << 64)
    return Instruction(address, data, mnemonic, operands, kind, target, refers)


def decode(code: bytes, address: int, bits: Bits, *, limit: int, boundary: int | None = None) -> list[Instruction]:
    """Return at most `limit` instructions of `code`, which lies at `address`.

    What is no instruction becomes single bytes. An instruction that would run across `boundary`, an address known to
    begin one, becomes bytes too. The last instruction may be cut off by the end of `code`: then it is bytes as well.
    """
    decoder = engine(bits)
    found: list[Instruction] = []
    position = 0
    while position < len(code) and len(found) < limit:
        here = address + position
        stop = boundary - address if boundary is not None and here < boundary < address + len(code) else len(code)
        for at, size, mnemonic, operands in decoder.disasm_lite(code[position:stop], here, limit - len(found)):
            found.append(_instruction(at, code[at - address : at - address + size], mnemonic, operands, bits))
            position += size
        if position < stop and len(found) < limit:
            found.append(invalid_byte(address + position, code[position]))
            position += 1
    return found


def _lengths_and_votes(code: bytes, base: int, bits: Bits) -> tuple[list[int], list[int]]:
    """Return the length of the line at each offset (a byte that begins no instruction: 1) and the votes of each offset.

    x86 can be decoded from any byte, and decodings from wrong starts soon fall in step with the right one (Linn and
    Debray, "Obfuscation of executable code to improve resistance to static disassembly", 2003). So each byte is tried,
    and the votes of an offset are the starts that lead to it.
    """
    decoder = engine(bits)
    size = len(code)
    lengths = [
        next((found[1] for found in decoder.disasm_lite(code[at : at + MAX_INSTRUCTION_BYTES], base + at, 1)), 1)
        for at in range(size)
    ]
    votes = [1] * (size + 1)
    for at, length in enumerate(lengths):
        if at + length <= size:
            votes[at + length] += votes[at]
    return lengths, votes


@lru_cache(maxsize=64)
def boundaries_before(code: bytes, address: int, bits: Bits) -> tuple[int, ...]:
    """Return the offsets in `code` at which the instructions before `address` (its end) begin, last first.

    Of the chains of instructions that end exactly at `address`, the one that most starts lead to is taken.
    """
    lengths, votes = _lengths_and_votes(code, address - len(code), bits)
    chain: list[int] = []
    end = len(code)
    while end > 0:
        starts = [at for at in range(max(end - MAX_INSTRUCTION_BYTES, 0), end) if at + lengths[at] == end]
        end = max(starts, key=lambda at: (votes[at], at), default=end - 1)
        chain.append(end)
    return tuple(chain)


def instruction_start(code: bytes, offset: int, address: int, bits: Bits) -> int:
    """Return where in `code`, which lies at `address`, the instruction begins that holds the byte at `offset`.

    That is `offset` itself, unless an instruction that covers it has more than twice as many starts agreeing.
    """
    lengths, votes = _lengths_and_votes(code, address, bits)
    covering = [at for at in range(max(offset - MAX_INSTRUCTION_BYTES + 1, 0), offset) if at + lengths[at] > offset]
    best = max(covering, key=lambda at: votes[at], default=offset)
    return best if votes[best] > 2 * votes[offset] else offset
