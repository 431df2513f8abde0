"""SSE2's integer instructions as microcode over the two 64-bit halves of each register."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from capstone import x86

from bridge.pixelcpu.emitter import Emitter
from bridge.pixelcpu.errors import Unsupported

Both = tuple[int, int]
"""The registers of the low and the high half."""


def _is_vector(one: Any, operand: Any) -> bool:
    return operand.type == x86.X86_OP_REG and str(one.reg_name(operand.reg)).startswith("xmm")


def _halves(emitter: Emitter, one: Any, operand: Any) -> Both:
    name = str(one.reg_name(operand.reg))
    return emitter.half(f"{name}.low"), emitter.half(f"{name}.high")


def _source(emitter: Emitter, one: Any, operand: Any) -> Both:
    """A source of 16 bytes."""
    if _is_vector(one, operand):
        return _halves(emitter, one, operand)
    if operand.type != x86.X86_OP_MEM or operand.size != 16:
        raise Unsupported("it computes with MMX registers")
    base, disp = emitter.address(one, operand)
    low = emitter.emit("load.64", emitter.temporary(), base, (disp,))
    return low, emitter.emit("load.64", emitter.temporary(), base, (disp + 8,))


def _move_whole(emitter: Emitter, one: Any) -> None:
    target, source = one.operands
    if _is_vector(one, target):
        for to, value in zip(_halves(emitter, one, target), _source(emitter, one, source), strict=True):
            emitter.emit("mov.64", to, a=value)
        return
    base, disp = emitter.address(one, target)
    for at, value in enumerate(_halves(emitter, one, source)):
        emitter.emit("store.64", value, base, (disp + 8 * at,))


def _move_low(emitter: Emitter, one: Any) -> None:
    """MOVD and MOVQ: what goes into a register from elsewhere clears what lies above it."""
    target, source = one.operands
    width = 64 if one.mnemonic == "movq" else 32
    if _is_vector(one, target):
        low, high = _halves(emitter, one, target)
        value: Any = _halves(emitter, one, source)[0] if _is_vector(one, source) else emitter.read(one, source)
        emitter.emit(f"mov.{width}", low, a=value)
        emitter.emit("mov.64", high, a=(0,))
        return
    if not _is_vector(one, source):
        raise Unsupported("it computes with MMX registers")
    place = emitter.place(one, target)
    emitter.emit(f"mov.{width}", place.register, a=_halves(emitter, one, source)[0])
    place.store()


def _bitwise(operation: str, *, inverted: bool = False) -> Callable[[Emitter, Any], None]:
    def emit(emitter: Emitter, one: Any) -> None:
        target, source = one.operands
        for to, by in zip(_halves(emitter, one, target), _source(emitter, one, source), strict=True):
            if inverted:
                other = emitter.emit("not.64", emitter.temporary(), a=to)
                emitter.emit("and.64", to, other, by, flags=False)
            else:
                emitter.emit(f"{operation}.64", to, to, by, flags=False)

    return emit


def _lanewise(operation: str) -> Callable[[Emitter, Any], None]:
    """Half by half with one of the Pixel CPU's own operations on lanes; of 64 bits a plain one."""

    def emit(emitter: Emitter, one: Any) -> None:
        target, source = one.operands
        for to, by in zip(_halves(emitter, one, target), _source(emitter, one, source), strict=True):
            if operation.endswith(".64"):
                emitter.emit(operation, to, to, by, flags=False)
            else:
                emitter.emit(operation, to, to, by)

    return emit


def _shift_lanes(operation: str, width: int) -> Callable[[Emitter, Any], None]:
    """By an immediate; more than a lane's width shifts everything out, or the sign in."""

    def emit(emitter: Emitter, one: Any) -> None:
        target, count = one.operands
        if count.type != x86.X86_OP_IMM:
            raise Unsupported("there is no microcode for shifts of lanes by a register")
        by, n_lanes = count.imm & 0xFF, 64 // width
        for half in _halves(emitter, one, target):
            if by >= width and operation != "sar":
                emitter.emit("mov.64", half, a=(0,))
            elif operation == "sar":
                _signed_shift(emitter, half, width, min(by, width - 1))
            elif by:
                lane = ((1 << width) - 1) >> by if operation == "shr" else ((1 << width) - 1) & ((1 << width) - 1) << by
                emitter.emit(f"{operation}.64", half, half, (by,), flags=False)
                if n_lanes > 1:
                    mask = sum(lane << (width * at) for at in range(n_lanes))
                    emitter.emit("and.64", half, half, (mask,), flags=False)

    return emit


def _signed_shift(emitter: Emitter, half: int, width: int, by: int) -> None:
    """A logical shift, whose result's sign is then spread: (x ^ m) - m lane by lane, m the place of the sign."""
    if not by:
        return
    n_lanes = 64 // width
    lane, sign = ((1 << width) - 1) >> by, 1 << (width - 1 - by)
    emitter.emit("shr.64", half, half, (by,), flags=False)
    emitter.emit("and.64", half, half, (sum(lane << (width * at) for at in range(n_lanes)),), flags=False)
    signs = emitter.const(sum(sign << (width * at) for at in range(n_lanes)))
    emitter.emit("xor.64", half, half, signs, flags=False)
    emitter.emit(f"psub.{width}", half, half, signs)


def _shift_bytes(*, left: bool) -> Callable[[Emitter, Any], None]:
    def emit(emitter: Emitter, one: Any) -> None:
        low, high = _halves(emitter, one, one.operands[0])
        by = 8 * min(one.operands[1].imm & 0xFF, 16)
        near, far = (low, high) if left else (high, low)
        """What is shifted goes from `near` to `far`."""
        towards, away = ("shl", "shr") if left else ("shr", "shl")
        if by >= 64:
            emitter.emit("mov.64", far, a=near)
            emitter.emit("mov.64", near, a=(0,))
            by -= 64
            if by >= 64:
                emitter.emit("mov.64", far, a=(0,))
            elif by:
                emitter.emit(f"{towards}.64", far, far, (by,), flags=False)
        elif by:
            carried = emitter.emit(f"{away}.64", emitter.temporary(), near, (64 - by,), flags=False)
            emitter.emit(f"{towards}.64", far, far, (by,), flags=False)
            emitter.emit("or.64", far, far, carried, flags=False)
            emitter.emit(f"{towards}.64", near, near, (by,), flags=False)

    return emit


def _unpack_quads(*, high: bool) -> Callable[[Emitter, Any], None]:
    def emit(emitter: Emitter, one: Any) -> None:
        target, source = one.operands
        low_to, high_to = _halves(emitter, one, target)
        value = _source(emitter, one, source)[1 if high else 0]
        kept = emitter.emit("mov.64", emitter.temporary(), a=value)
        if high:
            emitter.emit("mov.64", low_to, a=high_to)
        emitter.emit("mov.64", high_to, a=kept)

    return emit


def _pick_lane(emitter: Emitter, halves: Both, lane: int) -> int:
    """A temporary with one of four lanes of 32 bits."""
    if lane & 1:
        return emitter.emit("shr.64", emitter.temporary(), halves[lane >> 1], (32,), flags=False)
    return emitter.emit("zx32.64", emitter.temporary(), a=halves[lane >> 1])


def _joined(emitter: Emitter, low: int, high: int) -> int:
    """Two lanes of 32 bits in one register, that of the high one."""
    emitter.emit("shl.64", high, high, (32,), flags=False)
    return emitter.emit("or.64", high, high, low, flags=False)


def _shuffle(emitter: Emitter, one: Any) -> None:
    target, source, order = one.operands
    halves, lanes = _source(emitter, one, source), [order.imm >> at & 3 for at in (0, 2, 4, 6)]
    low = _joined(emitter, _pick_lane(emitter, halves, lanes[0]), _pick_lane(emitter, halves, lanes[1]))
    high = _joined(emitter, _pick_lane(emitter, halves, lanes[2]), _pick_lane(emitter, halves, lanes[3]))
    for to, value in zip(_halves(emitter, one, target), (low, high), strict=True):
        emitter.emit("mov.64", to, a=value)


def _unpack_doubles(*, high: bool) -> Callable[[Emitter, Any], None]:
    def emit(emitter: Emitter, one: Any) -> None:
        target, source = one.operands
        first, second = _halves(emitter, one, target), _source(emitter, one, source)
        at = 2 if high else 0
        low = _joined(emitter, _pick_lane(emitter, first, at), _pick_lane(emitter, second, at))
        top = _joined(emitter, _pick_lane(emitter, first, at + 1), _pick_lane(emitter, second, at + 1))
        emitter.emit("mov.64", first[0], a=low)
        emitter.emit("mov.64", first[1], a=top)

    return emit


def _average(width: int) -> Callable[[Emitter, Any], None]:
    """(a + b + 1) / 2 part by part: what either has, less half of what one has (Warren, Hacker's Delight, 2-5)."""

    def emit(emitter: Emitter, one: Any) -> None:
        target, source = one.operands
        halved = sum(((1 << width - 1) - 1) << at for at in range(0, 64, width))
        for to, by in zip(_halves(emitter, one, target), _source(emitter, one, source), strict=True):
            rest = emitter.emit("xor.64", emitter.temporary(), to, by, flags=False)
            emitter.emit("shr.64", rest, rest, (1,), flags=False)
            emitter.emit("and.64", rest, rest, (halved,), flags=False)
            emitter.emit("or.64", to, to, by, flags=False)
            emitter.emit(f"psub.{width}", to, to, rest)

    return emit


def _unpack_small(width: int, *, high: bool) -> Callable[[Emitter, Any], None]:
    """Lanes of 8 or 16 bits in turns, from the low or the high halves of both."""

    def emit(emitter: Emitter, one: Any) -> None:
        target, source = one.operands
        which = 1 if high else 0
        halves = _halves(emitter, one, target), _source(emitter, one, source)
        first, second = (
            (_spread(emitter, both[which], width, upper=False), _spread(emitter, both[which], width, upper=True))
            for both in halves
        )
        for to, even, odd in zip(halves[0], first, second, strict=True):
            emitter.emit("shl.64", odd, odd, (width,), flags=False)
            emitter.emit("or.64", to, even, odd, flags=False)

    return emit


def _spread(emitter: Emitter, half: int, width: int, *, upper: bool) -> int:
    """A temporary with the lanes of a half's lower or upper 32 bits, each in twice its room."""
    if upper:
        made = emitter.emit("shr.64", emitter.temporary(), half, (32,), flags=False)
    else:
        made = emitter.emit("zx32.64", emitter.temporary(), a=half)
    by = 16
    while by >= width:
        more = emitter.emit("shl.64", emitter.temporary(), made, (by,), flags=False)
        emitter.emit("or.64", made, made, more, flags=False)
        mask = sum(((1 << by) - 1) << at for at in range(0, 64, 2 * by))
        emitter.emit("and.64", made, made, (mask,), flags=False)
        by //= 2
    return made


def _multiply_doubles(emitter: Emitter, one: Any) -> None:
    """PMULUDQ: the even lanes of 32 bits, into 64."""
    target, source = one.operands
    for to, by in zip(_halves(emitter, one, target), _source(emitter, one, source), strict=True):
        left = emitter.emit("zx32.64", emitter.temporary(), a=to)
        right = emitter.emit("zx32.64", emitter.temporary(), a=by)
        emitter.emit("mul.64", to, left, right, flags=False)


def _sign_mask(emitter: Emitter, one: Any) -> None:
    """PMOVMSKB: a multiplication gathers the top bits of eight bytes into one (Warren, Hacker's Delight, 7-1)."""
    target, source = one.operands
    gathered = []
    for half in _halves(emitter, one, source):
        bits = emitter.emit("shr.64", emitter.temporary(), half, (7,), flags=False)
        emitter.emit("and.64", bits, bits, (0x0101010101010101,), flags=False)
        emitter.emit("mul.64", bits, bits, (0x0102040810204080,), flags=False)
        gathered.append(emitter.emit("shr.64", bits, bits, (56,), flags=False))
    low, high = gathered
    emitter.emit("shl.64", high, high, (8,), flags=False)
    emitter.emit("or.64", emitter.place(one, target).register, low, high, flags=False)


SSE: dict[str, Callable[[Emitter, Any], None]] = {
    **dict.fromkeys(("movdqa", "movdqu", "movaps", "movups", "movapd", "movupd", "lddqu"), _move_whole),
    **dict.fromkeys(("movntdq", "movntps", "movntpd"), _move_whole),
    **dict.fromkeys(("movd", "movq"), _move_low),
    **{name: _bitwise("and") for name in ("pand", "andps", "andpd")},
    **{name: _bitwise("or") for name in ("por", "orps", "orpd")},
    **{name: _bitwise("xor") for name in ("pxor", "xorps", "xorpd")},
    **{name: _bitwise("and", inverted=True) for name in ("pandn", "andnps", "andnpd")},
    **{f"padd{letter}": _lanewise(f"padd.{width}") for letter, width in (("b", 8), ("w", 16), ("d", 32))},
    **{f"psub{letter}": _lanewise(f"psub.{width}") for letter, width in (("b", 8), ("w", 16), ("d", 32))},
    **{f"pcmpeq{letter}": _lanewise(f"pcmpeq.{width}") for letter, width in (("b", 8), ("w", 16), ("d", 32))},
    **{f"pcmpgt{letter}": _lanewise(f"pcmpgt.{width}") for letter, width in (("b", 8), ("w", 16), ("d", 32))},
    "pminub": _lanewise("pminu.8"),
    "pmaxub": _lanewise("pmaxu.8"),
    "pminsw": _lanewise("pmins.16"),
    "pmaxsw": _lanewise("pmaxs.16"),
    "pavgb": _average(8),
    "pavgw": _average(16),
    "paddq": _lanewise("add.64"),
    "psubq": _lanewise("sub.64"),
    **{f"psll{letter}": _shift_lanes("shl", width) for letter, width in (("w", 16), ("d", 32), ("q", 64))},
    **{f"psrl{letter}": _shift_lanes("shr", width) for letter, width in (("w", 16), ("d", 32), ("q", 64))},
    **{f"psra{letter}": _shift_lanes("sar", width) for letter, width in (("w", 16), ("d", 32))},
    "pslldq": _shift_bytes(left=True),
    "psrldq": _shift_bytes(left=False),
    "punpcklqdq": _unpack_quads(high=False),
    "punpckhqdq": _unpack_quads(high=True),
    "punpcklbw": _unpack_small(8, high=False),
    "punpckhbw": _unpack_small(8, high=True),
    "punpcklwd": _unpack_small(16, high=False),
    "punpckhwd": _unpack_small(16, high=True),
    "punpckldq": _unpack_doubles(high=False),
    "punpckhdq": _unpack_doubles(high=True),
    "pshufd": _shuffle,
    "pmuludq": _multiply_doubles,
    "pmovmskb": _sign_mask,
}
