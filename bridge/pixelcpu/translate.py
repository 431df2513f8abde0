"""x86 code -> microcode, instruction by instruction; what comes out is worth nothing until it is proved.

The decoder is capstone, the meaning it is held against is VEX's (`vex`), and what runs is compared with Unicorn: three
sources that share no code.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from capstone import x86

from bridge.pixelcpu.decode import decode, has_branches, is_jump, is_string, refuse, target_of
from bridge.pixelcpu.emitter import RAX, RBP, RCX, RDI, RDX, RSI, RSP, Emitter, Place
from bridge.pixelcpu.errors import Unsupported
from bridge.pixelcpu.if_conversion import Jump, Step, in_a_row
from bridge.pixelcpu.microcode import Program
from bridge.pixelcpu.translate_sse import SSE
from bridge.pixelcpu.translation import Translation
from bridge.pixelcpu.undefined import condition_number, shift_count

CARRY, OVERFLOW = 0x001, 0x800


def translate(code: bytes) -> Translation:
    """Microcode that should do what `code` does. Raises BadCode, Unsupported."""
    emitter, instructions = Emitter(), decode(code)
    if has_branches(instructions):
        return _of_branches(emitter, instructions)
    last = instructions[-1]
    goes_on = target = last.address + last.size
    for one in instructions:
        emitter.next_instruction()
        with _told_of(one):
            if is_jump(one):
                target = target_of(one)
                goes_on = target if _jump(emitter, one) else goes_on
            elif one.mnemonic.startswith("rep"):
                target = _repeat(emitter, one)
            else:
                _emit(emitter, one)
    return Translation(Program.of(emitter.instructions), dict(emitter.halves), emitter.taken, goes_on, target)


def _of_branches(emitter: Emitter, instructions: list[Any]) -> Translation:
    """Of several basic blocks: each instruction as ever, and then all of them in a row (`if_conversion`)."""
    steps = []
    for one in instructions:
        emitter.next_instruction()
        before, jump = len(emitter.instructions), None
        with _told_of(one):
            if is_jump(one):
                jump = Jump(target_of(one), condition_number(one.mnemonic))
            else:
                _emit(emitter, one)
        steps.append(Step(one.address, one.address + one.size, tuple(emitter.instructions[before:]), jump))
    return in_a_row(steps, emitter.halves)


@contextlib.contextmanager
def _told_of(one: Any) -> Iterator[None]:
    """Have what is unsupported say which instruction it is."""
    try:
        yield
    except Unsupported as error:
        text = str(error).rstrip(".")
        raise (error if text.startswith("“") else refuse(one, text)) from None


def _emit(emitter: Emitter, one: Any) -> None:
    name = one.mnemonic
    number = condition_number(name)
    if name in _INTEGER:
        _INTEGER[name](emitter, one)
    elif number is not None and name.startswith("set"):
        place = emitter.place(one, one.operands[0])
        emitter.emit("set.8", place.register, number)
        place.store()
    elif number is not None and name.startswith("cmov"):
        target, source = one.operands
        place = emitter.place(one, target)
        emitter.emit(f"cmov.{place.width}", place.register, number, emitter.read(one, source))
    elif name in SSE:
        SSE[name](emitter, one)
    else:
        raise Unsupported("there is no microcode for it")


def _jump(emitter: Emitter, one: Any) -> bool:
    """Returns whether it is taken always."""
    name = one.mnemonic
    number = condition_number(name)
    if name == "jmp":
        return True
    if number is not None:
        emitter.emit("set.64", emitter.take_jump(), number)
    elif name in ("jrcxz", "jecxz"):
        emitter.emit("eq.64" if name == "jrcxz" else "eq.32", emitter.take_jump(), RCX, (0,))
    elif name == "loop" and one.addr_size == 8:
        emitter.emit("sub.64", RCX, RCX, (1,), flags=False)
        emitter.emit("ne.64", emitter.take_jump(), RCX, (0,))
    else:
        raise Unsupported("there is no microcode for it")
    return False


def _binary(operation: str, *, writes: bool = True, flags: bool = True) -> Callable[[Emitter, Any], None]:
    def emit(emitter: Emitter, one: Any) -> None:
        place = emitter.place(one, one.operands[0])
        source = emitter.read(one, one.operands[1])
        name = f"{operation}.{place.width}"
        value = place.load()
        if writes:
            emitter.emit(name, value, value, source, flags=flags)
            place.store()
        else:
            emitter.emit(name, 0, value, source)

    return emit


def _unary(operation: str, *, flags: bool = True) -> Callable[[Emitter, Any], None]:
    def emit(emitter: Emitter, one: Any) -> None:
        place = emitter.place(one, one.operands[0])
        value = place.load()
        emitter.emit(f"{operation}.{place.width}", value, a=value, flags=flags)
        place.store()

    return emit


def _convert(operation: str) -> Callable[[Emitter, Any], None]:
    """A source that is a register or in memory, of its own width, into a register."""

    def emit(emitter: Emitter, one: Any) -> None:
        target, source = one.operands
        width = 8 * target.size
        name = f"mov.{width}" if target.size == source.size else f"{operation}{8 * source.size}.{width}"
        emitter.emit(name, emitter.place(one, target).register, a=emitter.read(one, source))

    return emit


def _mov(emitter: Emitter, one: Any) -> None:
    target, source = one.operands
    place = emitter.place(one, target)
    if place.is_plain and source.type == x86.X86_OP_MEM:
        base, disp = emitter.address(one, source)
        emitter.emit(f"load.{place.width}", place.register, base, (disp,))
        return
    value = emitter.read(one, source)
    if place.is_memory and not isinstance(value, tuple):
        place.register = value
    else:
        emitter.emit(f"mov.{place.width}", place.register, a=value)
    place.store()


def _lea(emitter: Emitter, one: Any) -> None:
    target, source = one.operands
    register, width = emitter.place(one, target).register, 8 * target.size
    base, disp = emitter.address(one, source)
    if disp:
        emitter.emit(f"add.{width}", register, base, (disp,), flags=False)
    elif width != 64 or register != base:
        emitter.emit(f"mov.{width}", register, a=base)


def _shift(operation: str) -> Callable[[Emitter, Any], None]:
    def emit(emitter: Emitter, one: Any) -> None:
        place = emitter.place(one, one.operands[0])
        count = shift_count(one, None) if len(one.operands) < 2 or one.operands[1].type == x86.X86_OP_IMM else None
        by: Any = RCX if count is None else (count,)
        value = place.load()
        emitter.emit(f"{operation}.{place.width}", value, value, by, flags=True)
        place.store()

    return emit


def _double_shift(*, left: bool) -> Callable[[Emitter, Any], None]:
    def emit(emitter: Emitter, one: Any) -> None:
        place = emitter.place(one, one.operands[0])
        other = emitter.in_register(emitter.read(one, one.operands[1]))
        width, value = place.width, place.load()
        towards, away = ("shl", "shr") if left else ("shr", "shl")
        by_count = one.operands[2].type != x86.X86_OP_IMM
        count = emitter.temporary()
        if by_count:
            emitter.emit("and.64", count, RCX, (63 if width == 64 else 31,))
        else:
            emitter.emit("mov.64", count, a=(shift_count(one, None),))
        filled, rest, flags = emitter.temporary(), emitter.temporary(), emitter.temporary()
        before = emitter.emit("mov.64", emitter.temporary(), a=value)
        # By width - count, in two steps: a count of 0 shifts everything out.
        emitter.emit(f"{away}.{width}", filled, other, (1,), flags=False)
        emitter.emit("sub.64", rest, emitter.const(width - 1), count, flags=False)
        emitter.emit(f"{away}.{width}", filled, filled, rest, flags=False)
        emitter.emit(f"{towards}.{width}", value, value, count, flags=True)
        emitter.emit("rdf.64", flags)
        emitter.emit(f"or.{width}", value, value, filled, flags=True)
        place.store()
        if not left:  # the shift alone brings in zeros: whether the sign changed is seen after the rest came in
            emitter.emit(f"xor.{width}", before, before, value, flags=False)
            emitter.emit(f"shr.{width}", before, before, (width - 1,), flags=False)
            emitter.emit("shl.64", before, before, (11,), flags=False)
            emitter.emit("and.64", rest, flags, (CARRY,), flags=False)
            emitter.emit("or.64", rest, rest, before, flags=False)
            emitter.emit("pick.64", flags, count, rest)
        # Carry and overflow are the shift's, the rest the result's; after a count of 0 all are as they were.
        kept = emitter.const(CARRY | OVERFLOW)
        if by_count:
            every = emitter.const(-1)
            emitter.emit("pick.64", every, count, kept)
            kept = every
        emitter.emit("wrf.64", 0, flags, kept)

    return emit


def _multiply(*, signed: bool) -> Callable[[Emitter, Any], None]:
    """The forms of one operand: into rdx:rax, or ax."""

    def emit(emitter: Emitter, one: Any) -> None:
        width = 8 * one.operands[0].size
        source = emitter.in_register(emitter.read(one, one.operands[0]))
        high, low = emitter.temporary(), emitter.temporary()
        emitter.emit(f"{'mulhs' if signed else 'mulhu'}.{width}", high, RAX, source, flags=True)
        emitter.emit(f"mul.{width}", low, RAX, source, flags=False)
        if width == 8:
            emitter.emit("zx8.32", low, a=low)
            emitter.emit("shl.32", high, high, (8,), flags=False)
            emitter.emit("or.32", low, low, high, flags=False)
            emitter.emit("mov.16", RAX, a=low)
        else:
            emitter.emit(f"mov.{width}", RAX, a=low)
            emitter.emit(f"mov.{width}", RDX, a=high)

    return emit


def _imul(emitter: Emitter, one: Any) -> None:
    operands = list(one.operands)
    if len(operands) == 1:
        _multiply(signed=True)(emitter, one)
        return
    place = emitter.place(one, operands[0])
    left = emitter.in_register(emitter.read(one, operands[-2]))
    emitter.emit(f"mul.{place.width}", place.register, left, emitter.read(one, operands[-1]), flags=True)


def _mulx(emitter: Emitter, one: Any) -> None:
    high, low, source = one.operands
    width = 8 * high.size
    by = emitter.read(one, source)
    top = emitter.emit(f"mulhu.{width}", emitter.temporary(), RDX, by, flags=False)
    emitter.emit(f"mul.{width}", emitter.place(one, low).register, RDX, by, flags=False)
    emitter.emit(f"mov.{width}", emitter.place(one, high).register, a=top)


def _bit_test(operation: str) -> Callable[[Emitter, Any], None]:
    def emit(emitter: Emitter, one: Any) -> None:
        target, source = one.operands
        if target.type == x86.X86_OP_MEM and source.type != x86.X86_OP_IMM:
            raise Unsupported("it reaches memory far from its operand")
        place = emitter.place(one, target)
        width = place.width
        by = emitter.read(one, source)
        number: Any = (by[0] & (width - 1),) if isinstance(by, tuple) else by
        mask = emitter.temporary()
        if operation != "bt":
            if isinstance(number, tuple):
                emitter.emit(f"mov.{width}", mask, a=(1 << number[0],))
            else:
                masked = emitter.emit(f"and.{width}", emitter.temporary(), number, (width - 1,), flags=False)
                emitter.emit(f"shl.{width}", mask, emitter.const(1), masked, flags=False)
        value = place.load()
        emitter.emit(f"bt.{width}", 0, value, number)
        if operation == "bt":
            return
        if operation == "btr":
            emitter.emit(f"not.{width}", mask, a=mask)
        how = {"bts": "or", "btr": "and", "btc": "xor"}[operation]
        emitter.emit(f"{how}.{width}", value, value, mask, flags=False)
        place.store()

    return emit


def _bit_scan(*, forward: bool) -> Callable[[Emitter, Any], None]:
    def emit(emitter: Emitter, one: Any) -> None:
        place = emitter.place(one, one.operands[0])
        source = emitter.in_register(emitter.read(one, one.operands[1]))
        found = emitter.temporary()
        emitter.emit(f"{'tzcnt' if forward else 'lzcnt'}.{place.width}", found, a=source, flags=False)
        if not forward:
            emitter.emit(f"xor.{place.width}", found, found, (place.width - 1,), flags=False)
        emitter.emit(f"test.{place.width}", 0, source, source)
        emitter.emit(f"cmov.{place.width}", place.register, condition_number("cmovne") or 0, found)

    return emit


def _count(operation: str) -> Callable[[Emitter, Any], None]:
    def emit(emitter: Emitter, one: Any) -> None:
        place = emitter.place(one, one.operands[0])
        source = emitter.read(one, one.operands[1])
        emitter.emit(f"{operation}.{place.width}", place.register, a=source, flags=True)

    return emit


def _xchg(emitter: Emitter, one: Any) -> None:
    first, second = (emitter.place(one, operand) for operand in one.operands)
    before = emitter.emit("mov.64", emitter.temporary(), a=first.load())
    after = emitter.emit("mov.64", emitter.temporary(), a=second.load())
    for place, value in ((first, after), (second, before)):
        emitter.emit(f"mov.{place.width}", place.register, a=value)
        place.store()


def _xadd(emitter: Emitter, one: Any) -> None:
    target, source = (emitter.place(one, operand) for operand in one.operands)
    width = target.width
    before = emitter.emit("mov.64", emitter.temporary(), a=target.load())
    total = emitter.emit(f"add.{width}", emitter.temporary(), before, source.load(), flags=True)
    emitter.emit(f"mov.{width}", source.register, a=before)
    source.store()
    emitter.emit(f"mov.{width}", target.register, a=total)
    target.store()


def _cmpxchg(emitter: Emitter, one: Any) -> None:
    target, source = one.operands
    place = emitter.place(one, target)
    width = place.width
    new = emitter.in_register(emitter.read(one, source))
    before = emitter.emit("mov.64", emitter.temporary(), a=place.load())
    emitter.emit(f"cmp.{width}", 0, RAX, before)
    value = emitter.emit("mov.64", emitter.temporary(), a=before)
    equal, differs = condition_number("cmove") or 0, condition_number("cmovne") or 0
    emitter.emit(f"cmov.{width}", value, equal, new)
    emitter.emit(f"mov.{width}", place.register, a=value)
    place.store()
    emitter.emit(f"cmov.{width}", RAX, differs, before)


def _sign_extend_a(width: int) -> Callable[[Emitter, Any], None]:
    return lambda emitter, _one: (emitter.emit(f"sx{width // 2}.{width}", RAX, a=RAX), None)[1]


def _sign_into_d(width: int) -> Callable[[Emitter, Any], None]:
    return lambda emitter, _one: (emitter.emit(f"sar.{width}", RDX, RAX, (width - 1,), flags=False), None)[1]


def _lahf(emitter: Emitter, _one: Any) -> None:
    word = emitter.emit("rdf.64", emitter.temporary())
    emitter.emit("or.64", word, word, (2,), flags=False)
    emitter.emit("ror.64", RAX, RAX, (8,), flags=False)
    emitter.emit("mov.8", RAX, a=word)
    emitter.emit("rol.64", RAX, RAX, (8,), flags=False)


def _sahf(emitter: Emitter, _one: Any) -> None:
    word = emitter.emit("shr.64", emitter.temporary(), RAX, (8,), flags=False)
    emitter.emit("wrf.64", 0, word, (0xD5,))


def _set_carry(value: int) -> Callable[[Emitter, Any], None]:
    return lambda emitter, _one: (emitter.emit("wrf.64", 0, emitter.const(value), (CARRY,)), None)[1]


def _cmc(emitter: Emitter, _one: Any) -> None:
    word = emitter.emit("rdf.64", emitter.temporary())
    emitter.emit("not.64", word, a=word)
    emitter.emit("wrf.64", 0, word, (CARRY,))


def _push(emitter: Emitter, one: Any) -> None:
    operand = one.operands[0]
    width = 8 * operand.size
    value = emitter.emit("mov.64", emitter.temporary(), a=emitter.read(one, operand))
    emitter.emit(f"store.{width}", value, RSP, (-operand.size,))
    emitter.emit("sub.64", RSP, RSP, (operand.size,), flags=False)


def _pop(emitter: Emitter, one: Any) -> None:
    operand = one.operands[0]
    if operand.type != x86.X86_OP_REG:
        raise Unsupported("there is no microcode for it")
    place = emitter.place(one, operand)
    value = emitter.emit(f"load.{place.width}", emitter.temporary(), RSP, (0,))
    emitter.emit("add.64", RSP, RSP, (operand.size,), flags=False)
    emitter.emit(f"mov.{place.width}", place.register, a=value)


def _leave(emitter: Emitter, one: Any) -> None:
    if one.operands or one.prefix[2]:
        raise Unsupported("there is no microcode for it")
    value = emitter.emit("load.64", emitter.temporary(), RBP, (0,))
    emitter.emit("add.64", RSP, RBP, (8,), flags=False)
    emitter.emit("mov.64", RBP, a=value)


def _string(one: Any) -> tuple[str, int]:
    """What a string instruction does and how many bytes at a time. Raises Unsupported."""
    name = one.mnemonic.split()[-1]
    size = {"b": 1, "w": 2, "d": 4, "q": 8}.get(name[4:])
    if size is None or one.addr_size != 8 or not is_string(one):
        raise Unsupported("there is no microcode for it")
    return name[:4], size


def _string_step(emitter: Emitter, one: Any) -> None:
    """One step of a string instruction, upwards."""
    operation, size = _string(one)
    width, value = 8 * size, emitter.temporary()
    if operation == "movs":
        emitter.emit(f"load.{width}", value, RSI, (0,))
        emitter.emit(f"store.{width}", value, RDI, (0,))
    elif operation == "stos":
        emitter.emit(f"store.{width}", RAX, RDI, (0,))
    elif operation == "lods":
        emitter.emit(f"load.{width}", value, RSI, (0,))
        emitter.emit(f"mov.{width}", RAX, a=value)
    elif operation == "scas":
        emitter.emit(f"load.{width}", value, RDI, (0,))
        emitter.emit(f"cmp.{width}", 0, RAX, value)
    else:
        emitter.emit(f"load.{width}", value, RSI, (0,))
        other = emitter.emit(f"load.{width}", emitter.temporary(), RDI, (0,))
        emitter.emit(f"cmp.{width}", 0, value, other)
    for register, moves in ((RSI, ("movs", "lods", "cmps")), (RDI, ("movs", "stos", "scas", "cmps"))):
        if operation in moves:
            emitter.emit("add.64", register, register, (size,), flags=False)


def _repeat(emitter: Emitter, one: Any) -> int:
    """One turn of REP MOVS or REP STOS: nothing where rcx is 0. Returns where it goes on after a turn: at itself."""
    operation, size = _string(one)
    if operation not in ("movs", "stos") or one.mnemonic.split()[0] != "rep":
        raise Unsupported("there is no microcode for it")
    width, value = 8 * size, RAX
    if operation == "movs":
        value = emitter.emit(f"loadif.{width}", emitter.temporary(), RSI, RCX)
    emitter.emit(f"storeif.{width}", value, RDI, RCX)
    turned = emitter.emit("ne.64", emitter.take_jump(), RCX, (0,))
    emitter.emit("sub.64", RCX, RCX, turned, flags=False)
    by = turned
    if size > 1:
        by = emitter.emit("shl.64", emitter.temporary(), turned, (size.bit_length() - 1,), flags=False)
    for register in (RSI, RDI) if operation == "movs" else (RDI,):
        emitter.emit("add.64", register, register, by, flags=False)
    return int(one.address)


def _three(emitter: Emitter, one: Any) -> tuple[Place, int, Any]:
    """Destination and two sources of a VEX-encoded instruction."""
    target, first, second = one.operands
    return emitter.place(one, target), emitter.in_register(emitter.read(one, first)), emitter.read(one, second)


def _andn(emitter: Emitter, one: Any) -> None:
    place, first, second = _three(emitter, one)
    inverse = emitter.emit(f"not.{place.width}", emitter.temporary(), a=first)
    emitter.emit(f"and.{place.width}", place.register, inverse, second, flags=True)


def _shift_by(operation: str) -> Callable[[Emitter, Any], None]:
    """SHLX, SHRX, SARX and RORX, which leave the flags alone."""

    def emit(emitter: Emitter, one: Any) -> None:
        place, value, by = _three(emitter, one)
        emitter.emit(f"{operation}.{place.width}", place.register, value, by, flags=False)

    return emit


def _lowest_bit(how: str) -> Callable[[Emitter, Any], None]:
    """BLSR, BLSI and BLSMSK; CF says whether the source is zero, or of BLSI whether it is not."""

    def emit(emitter: Emitter, one: Any) -> None:
        place = emitter.place(one, one.operands[0])
        width, source = place.width, emitter.in_register(emitter.read(one, one.operands[1]))
        other, carry = emitter.temporary(), emitter.temporary()
        emitter.emit(f"{'eq' if how != 'blsi' else 'ne'}.{width}", carry, source, (0,))
        if how == "blsi":
            emitter.emit(f"neg.{width}", other, a=source, flags=False)
        else:
            emitter.emit(f"sub.{width}", other, source, (1,), flags=False)
        operation = "xor" if how == "blsmsk" else "and"
        emitter.emit(f"{operation}.{width}", place.register, other, source, flags=True)
        emitter.emit("wrf.64", 0, carry, (CARRY,))

    return emit


def _add_with(flag: int) -> Callable[[Emitter, Any], None]:
    """ADCX and ADOX: the carry comes from one flag and goes there, the others stay."""

    def emit(emitter: Emitter, one: Any) -> None:
        place = emitter.place(one, one.operands[0])
        source = emitter.read(one, one.operands[1])
        before, after = emitter.temporary(), emitter.temporary()
        emitter.emit("rdf.64", before)
        if flag == OVERFLOW:
            emitter.emit("shr.64", after, before, (11,), flags=False)
            emitter.emit("wrf.64", 0, after, (CARRY,))
        emitter.emit(f"adc.{place.width}", place.register, place.register, source, flags=True)
        emitter.emit("rdf.64", after)
        if flag == OVERFLOW:
            emitter.emit("shl.64", after, after, (11,), flags=False)
        emitter.emit("wrf.64", 0, before, (-1,))
        emitter.emit("wrf.64", 0, after, (flag,))

    return emit


def _movbe(emitter: Emitter, one: Any) -> None:
    place = emitter.place(one, one.operands[0])
    emitter.emit(f"bswap.{place.width}", place.register, a=emitter.read(one, one.operands[1]))
    place.store()


def _nothing(_emitter: Emitter, _one: Any) -> None:
    pass


_INTEGER: dict[str, Callable[[Emitter, Any], None]] = {
    **{name: _binary(name) for name in ("add", "adc", "sub", "sbb", "and", "or", "xor")},
    **{name: _binary(name, writes=False) for name in ("cmp", "test")},
    **{name: _unary(name) for name in ("inc", "dec", "neg")},
    "not": _unary("not", flags=False),
    **dict.fromkeys(("mov", "movabs", "movnti"), _mov),
    "movzx": _convert("zx"),
    "movsx": _convert("sx"),
    "movsxd": _convert("sx"),
    "lea": _lea,
    **{name: _shift(name.replace("sal", "shl")) for name in ("shl", "sal", "shr", "sar", "rol", "ror", "rcl", "rcr")},
    "shld": _double_shift(left=True),
    "shrd": _double_shift(left=False),
    "mul": _multiply(signed=False),
    "imul": _imul,
    "mulx": _mulx,
    **{name: _bit_test(name) for name in ("bt", "bts", "btr", "btc")},
    "bsf": _bit_scan(forward=True),
    "bsr": _bit_scan(forward=False),
    **{name: _count(name) for name in ("popcnt", "lzcnt", "tzcnt")},
    "bswap": _unary("bswap", flags=False),
    "xchg": _xchg,
    "xadd": _xadd,
    "cmpxchg": _cmpxchg,
    "cbw": _sign_extend_a(16),
    "cwde": _sign_extend_a(32),
    "cdqe": _sign_extend_a(64),
    "cwd": _sign_into_d(16),
    "cdq": _sign_into_d(32),
    "cqo": _sign_into_d(64),
    "lahf": _lahf,
    "sahf": _sahf,
    "clc": _set_carry(0),
    "stc": _set_carry(1),
    "cmc": _cmc,
    "push": _push,
    "pop": _pop,
    "leave": _leave,
    **{f"{name}{size}": _string_step for name in ("movs", "stos", "lods", "scas", "cmps") for size in "bwdq"},
    "andn": _andn,
    **{f"{name}x": _shift_by(name) for name in ("shl", "shr", "sar", "ror")},
    **{name: _lowest_bit(name) for name in ("blsr", "blsi", "blsmsk")},
    "adcx": _add_with(CARRY),
    "adox": _add_with(OVERFLOW),
    "movbe": _movbe,
    **dict.fromkeys(("nop", "endbr64", "cld"), _nothing),
    **{f"prefetch{what}": _nothing for what in ("nta", "t0", "t1", "t2", "w")},
}
