"""Writes a program as LLVM text: a loop over lanes, in place over memory, that faults between lanes, never within one.

`kernel(state, windows, lanes)` returns how many lanes were completed. `state` is 33 words, the registers and the flags
as in RFLAGS, before and after; `windows` are three words for each load and store of the program: the address of the
first byte, the bytes' number, and where they are in this process.

A lane whose load or store is outside its window ends the run: what it had stored is undone, and the state is that
after the lane before. So whoever called goes on from there, one instruction at a time if need be.

Where all addresses are affine in the lane's number, first and last are looked at once, and all lanes but the last run
without a look, which LLVM turns into vector code. The last one, and all where an address is not affine, look each time.

Lanes that are not independent run in their order, and may find out by themselves which of them is the last: one that
says that none should have followed the lane before it is undone like one whose load or store is outside.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from bridge.pixelcpu.errors import Unsupported
from bridge.pixelcpu.executor import State, execute
from bridge.pixelcpu.isa import FLAGS, N_REGISTERS, Kind
from bridge.pixelcpu.lanes import Parts, live_in, parts, strides
from bridge.pixelcpu.llvm_leaps import Leaps
from bridge.pixelcpu.llvm_text import LlvmAlgebra, Text, Word
from bridge.pixelcpu.microcode import Instruction, Program
from bridge.pixelcpu.semantics import flags_of_word, word_of_flags

STATE_WORDS = N_REGISTERS + 1
WINDOW_WORDS = 3

_State = State[Word, str]
_IDENTITY = {"sumall": 0, "xorall": 0, "orall": 0, "andall": -1, "minuall": -1, "maxuall": 0}


@dataclass(frozen=True, slots=True)
class _Window:
    """What is known of an access's window before the loop."""

    origin: str
    limit: str
    """The last offset at which an access may begin."""
    has_room: str
    """Whether there is one."""
    host: str


@dataclass(frozen=True, slots=True)
class _Way:
    """One of the ways to a block."""

    block: str
    """From there."""
    lanes: str
    """That are completed then."""
    state: _State
    sums: list[Word]
    """The reductions of these lanes."""


def _merged(name: str, kind: str, ways: Sequence[_Way], values: Sequence[str]) -> str:
    """What has the value of the way that was taken."""
    pairs = ", ".join(f"[ {value}, %{way.block} ]" for value, way in zip(values, ways, strict=True))
    return f"  {name} = phi {kind} {pairs}"


@dataclass(frozen=True, slots=True)
class _Fast:
    """How an access goes without a look: where lane 0's is in this process, and the bytes to the next."""

    first: str
    stride: int


def kernel_text(
    program: Program,
    *,
    carried: AbstractSet[int] | None,
    alone: bool = False,
    until: int | None = None,
    last_alone: bool = False,
    leaps: Leaps | None = None,
) -> str:
    """LLVM's text of `kernel`, and of `states(states, windows, n)` that runs it over one lane for each of n states.

    `carried`: lanes run in order, and each goes on with these registers, and with the flags, of the lane before, as a
    loop's iterations do; None: lanes are independent, each begins with those that the run was given. `alone`: it calls
    nothing, not even what fills and copies memory. `until`: lanes end before the one that leaves 0 in this register.
    `last_alone`: only the last lane is run; its state is what the others would leave anyhow. `leaps`: so it is of lanes
    that are carried on, and this takes what is carried to the last one. Raises Unsupported.
    """
    return _Writer(program, carried, alone, until, last_alone, leaps).written()


class _Writer:
    def __init__(
        self,
        program: Program,
        carried: AbstractSet[int] | None,
        alone: bool,
        until: int | None,
        last_alone: bool,
        leaps: Leaps | None,
    ) -> None:
        if carried is not None and program.has_reductions:
            raise Unsupported("A reduction has no meaning where a lane goes on from the lane before")
        if carried is None and until is not None:
            raise Unsupported("Lanes that run side by side cannot find out which is the last")
        if last_alone and (carried is not None or program.has_reductions or program.accesses):
            raise Unsupported("The last lane alone does not do what the others do")
        if leaps is not None and (carried != set(leaps.registers) or until is not None or program.accesses):
            raise Unsupported("Leaps over rounds do not do what the rounds do")
        self._last_alone, self._leaps = last_alone, leaps
        self.text = Text()
        self.algebra = LlvmAlgebra(self.text)
        self.ordered, self.carried, self.until = carried is not None, carried or frozenset(), until
        self._attributes = " #0" if alone else ""
        self.cut: Parts = parts(program)
        self.accesses = [i for i in self.cut.body if i.row.kind in (Kind.LOAD, Kind.STORE)]
        self.reductions = [i for i in self.cut.tail if i.row.kind is Kind.REDUCE]
        self.registers = sorted({i.d for i in self.cut.body if i.row.has_destination})
        self.flags = [f for f in FLAGS if any(i.sets_flags and f in i.row.writes for i in self.cut.body)]
        self.initial: _State = State([], {})
        self.windows: list[_Window] = []
        self.ends: list[_Way] = []
        """To `finish`."""

    def written(self) -> str:
        """The whole text."""
        self._entry()
        self._finish()
        body = "\n".join(self.text.lines)
        declared = "\n".join(sorted(self.text.intrinsics))
        table = "" if self._leaps is None else self._leaps.table
        return (
            f"{table}define i64 @kernel(ptr noalias %state, ptr noalias %windows, i64 %lanes){self._attributes} {{\n"
            f"entry:\n{body}\n}}\n"
            f"{_STATES}\n{declared}\n"
            'attributes #0 = { nounwind "no-builtins" }\n'
            "!0 = distinct !{!0, !1}\n"
            '!1 = !{!"llvm.loop.parallel_accesses", !2}\n'
            "!2 = distinct !{}\n"
        )

    # Before the loops.

    def _entry(self) -> None:
        text, algebra = self.text, self.algebra
        for number in range(N_REGISTERS):
            self.initial.registers.append(self._word("state", number))
        self.initial.flags = flags_of_word(algebra, self._word("state", N_REGISTERS))
        for number, access in enumerate(self.accesses):
            origin, size, host = (self._word("windows", WINDOW_WORDS * number + n).text for n in range(WINDOW_WORDS))
            n_bytes = access.row.width // 8
            limit = text.let(f"sub i64 {size}, {n_bytes}")
            has_room = text.let(f"icmp uge i64 {size}, {n_bytes}")
            pointer = text.let(f"inttoptr i64 {host} to ptr")
            self.windows.append(_Window(origin, limit, has_room, pointer))
        fast, ready = self._fast()
        before_last = text.let("sub i64 %lanes, 1")
        none = [self._identity(i) for i in self.reductions]
        if self._last_alone:
            text.put("br label %check")
            self._checked_loop([_Way("entry", before_last, self.initial, none)])
            return
        if self._leaps is not None:
            before = self._leaps.write(text, self.initial, before_last)
            begins = text.block
            text.put("br label %check")
            self._checked_loop([_Way(begins, before_last, before, none)])
            return
        many = text.let("icmp ugt i64 %lanes, 1")
        go = algebra.both(many, ready)
        text.put(f"br i1 {go}, label %fast.start, label %check")
        text.begin("fast.start")
        self._checked_loop([_Way("entry", "0", self.initial, none), self._fast_loop(fast, before_last)])

    def _word(self, array: str, number: int) -> Word:
        place = self.text.let(f"getelementptr inbounds i64, ptr %{array}, i64 {number}")
        return Word(self.text.let(f"load i64, ptr {place}"), 64)

    def _fast(self) -> tuple[list[_Fast | None], str]:
        """How each access goes without a look, and whether all may.

        Where an address is not affine that access looks each time, None, if lanes run in order; otherwise none may.
        """
        known = strides(self.cut.body, self.carried)
        if None in known and not self.ordered:
            return [], "false"
        firsts = _FirstAddresses(self)
        state = self.initial.copy()
        execute(self.cut.body, self.algebra, state, firsts)
        text, ready = self.text, "true"
        last = text.let("sub i64 %lanes, 1")
        found: list[_Fast | None] = []
        for window, address, stride in zip(self.windows, firsts.addresses, known, strict=True):
            if stride is None:
                found.append(None)
                continue
            offset = text.let(f"sub i64 {address.text}, {window.origin}")
            inside = text.let(f"icmp ule i64 {offset}, {window.limit}")
            ready = self.algebra.both(self.algebra.both(ready, window.has_room), inside)
            if stride:
                room = offset if stride < 0 else text.let(f"sub i64 {window.limit}, {offset}")
                steps = text.let(f"udiv i64 {room}, {abs(stride)}")
                ready = self.algebra.both(ready, text.let(f"icmp ule i64 {last}, {steps}"))
            found.append(_Fast(text.let(f"getelementptr i8, ptr {window.host}, i64 {offset}"), stride))
        return found, ready

    # The loops.

    def _fast_loop(self, fast: Sequence[_Fast | None], end: str) -> _Way:
        """Lanes 0 to `end` - 1, and the way on from them."""
        text = self.text
        text.put("br label %fast")
        text.begin("fast")
        at = len(text.lines)
        lane, sums = "%fast.lane", [f"%fast.sum{n}" for n in range(len(self.reductions))]
        read, flags_read = live_in(self.cut.body)
        # What has to be known of the lane before: what is carried on, and everything where a lane may be undone.
        undoes = self.until is not None or None in fast
        held = [n for n in self.registers if undoes or (n in self.carried and n in read)]
        flags_held = [f for f in self.flags if self.ordered and (undoes or f in flags_read)]
        was = self.initial.copy()
        for number in held:
            was.registers[number] = Word(f"%fast.r{number}", 64)
        for flag in flags_held:
            was.flags[flag] = f"%fast.{flag}"
        if self.accesses and not fast:
            # Never entered; what LLVM is told of it must still be text that it takes.
            after, new_sums = was, [Word(name, i.row.width) for name, i in zip(sums, self.reductions, strict=True)]
            unchecked = None
        else:
            after = self._begun(was)
            unchecked = _Unchecked(self, fast, lane)
            execute(self.cut.body, self.algebra, after, unchecked)
            new_sums = self._summed(after, sums)
            unchecked.look_whether_last(after)
        following = text.let(f"add nuw i64 {lane}, 1")
        done = text.let(f"icmp eq i64 {following}, {end}")
        latch = text.block
        metadata = "" if self.ordered else ", !llvm.loop !0"
        text.put(f"br i1 {done}, label %check, label %fast{metadata}")
        phis = [
            f"  {lane} = phi i64 [ 0, %fast.start ], [ {following}, %{latch} ]",
            *[self._phi(f"%fast.r{n}", self.initial.registers[n], after.registers[n], latch) for n in held],
        ]
        for flag in flags_held:
            before, then = self.initial.flags[flag], after.flags[flag]
            phis.append(f"  %fast.{flag} = phi i1 [ {before}, %fast.start ], [ {then}, %{latch} ]")
        for name, instruction, new in zip(sums, self.reductions, new_sums, strict=True):
            phis.append(self._phi(name, self._identity(instruction), new, latch))
        text.lines[at:at] = phis
        if unchecked is not None:
            self._leave(unchecked, lane, was, sums)
        kept = self.initial.copy()
        for number in held:
            kept.registers[number] = after.registers[number]
        for flag in flags_held:
            kept.flags[flag] = after.flags[flag]
        return _Way(latch, end, kept, new_sums)

    def _begun(self, was: _State) -> _State:
        """The state with which a lane begins, by that after the lane before."""
        state = self.initial.copy()
        for number in self.carried & set(self.registers):
            state.registers[number] = was.registers[number]
        if self.ordered:
            state.flags.update({flag: was.flags[flag] for flag in self.flags})
        return state

    def _leave(self, accesses: _Accesses, lane: str, was: _State, sums: Sequence[str]) -> None:
        """The blocks to which a lane goes that is to be undone: the run ends with the lane before."""
        if not accesses.faults:
            return
        text, prefix = self.text, accesses.prefix
        accesses.write_undoing()
        # Where nothing was completed the state is what it was, and nothing is to be written.
        text.begin(f"{prefix}fault")
        none = text.let(f"icmp eq i64 {lane}, 0")
        text.put(f"br i1 {none}, label %{prefix}nothing, label %finish")
        text.begin(f"{prefix}nothing")
        text.put("ret i64 0")
        was_sums = [Word(name, i.row.width) for name, i in zip(sums, self.reductions, strict=True)]
        self.ends.append(_Way(f"{prefix}fault", lane, was, was_sums))

    @staticmethod
    def _phi(name: str, first: Word, then: Word, latch: str) -> str:
        return f"  {name} = phi i{first.width} [ {first.text}, %fast.start ], [ {then.text}, %{latch} ]"

    def _checked_loop(self, ways: list[_Way]) -> None:
        text = self.text
        text.begin("check")
        at = len(text.lines)
        names = {number: Word(f"%was.r{number}", 64) for number in self.registers}
        flag_names = {flag: f"%was.{flag}" for flag in self.flags}
        sums = [f"%was.sum{n}" for n in range(len(self.reductions))]
        was = self.initial.copy()
        for number, word in names.items():
            was.registers[number] = word
        was.flags.update(flag_names)
        after = self._begun(was)
        checked = _Checked(self, "%lane")
        execute(self.cut.body, self.algebra, after, checked)
        new_sums = self._summed(after, sums)
        checked.look_whether_last(after)
        following = text.let("add nuw i64 %lane, 1")
        done = text.let(f"icmp eq i64 {following}, %lanes")
        latch = text.block
        text.put(f"br i1 {done}, label %finish, label %check")
        ways = [*ways, _Way(latch, following, after, new_sums)]
        phis = [_merged("%lane", "i64", ways, [way.lanes for way in ways])]
        for number, word in names.items():
            phis.append(_merged(word.text, "i64", ways, [way.state.registers[number].text for way in ways]))
        for flag, name in flag_names.items():
            phis.append(_merged(name, "i1", ways, [way.state.flags[flag] for way in ways]))
        for n, (name, i) in enumerate(zip(sums, self.reductions, strict=True)):
            phis.append(_merged(name, f"i{i.row.width}", ways, [way.sums[n].text for way in ways]))
        text.lines[at:at] = phis
        self.ends.append(ways[-1])
        self._leave(checked, "%lane", was, sums)

    def _summed(self, state: _State, sums: Sequence[str]) -> list[Word]:
        """The reductions with one lane more."""
        found = []
        for name, i in zip(sums, self.reductions, strict=True):
            width, so_far = i.row.width, Word(name, i.row.width)
            if i.immediate is None:
                value = self.algebra.truncate(state.registers[i.a], width)
            else:
                value = self.algebra.const(width, i.immediate)
            found.append(self._fold(i.row.operation, so_far, value))
        return found

    def _fold(self, operation: str, left: Word, right: Word) -> Word:
        algebra = self.algebra
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

    def _identity(self, i: Instruction) -> Word:
        width, operation = i.row.width, i.row.operation
        top = 1 << (width - 1)
        value = {"minsall": top - 1, "maxsall": top}.get(operation)
        return self.algebra.const(width, _IDENTITY[operation] if value is None else value)

    # After the loops.

    def _finish(self) -> None:
        text, algebra = self.text, self.algebra
        text.begin("finish")

        def merged(kind: str, values: Sequence[str]) -> str:
            name = text.name("end")
            text.put(_merged(name, kind, self.ends, values).strip())
            return name

        lanes = merged("i64", [way.lanes for way in self.ends])
        state = self.initial.copy()
        for number in self.registers:
            state.registers[number] = Word(merged("i64", [way.state.registers[number].text for way in self.ends]), 64)
        for flag in self.flags:
            state.flags[flag] = merged("i1", [way.state.flags[flag] for way in self.ends])
        sums = [
            Word(merged(f"i{i.row.width}", [way.sums[n].text for way in self.ends]), i.row.width)
            for n, i in enumerate(self.reductions)
        ]
        last = Word(text.let(f"sub i64 {lanes}, 1"), 64)
        execute(self.cut.tail, algebra, state, _Tail(last, sums))
        for number in sorted({*self.registers, *(i.d for i in self.cut.tail if i.row.has_destination)}):
            self._store(number, state.registers[number])
        if self.flags or any(i.sets_flags for i in self.cut.tail):
            self._store(N_REGISTERS, word_of_flags(algebra, state.flags))
        text.put(f"ret i64 {lanes}")

    def _store(self, number: int, word: Word) -> None:
        place = self.text.let(f"getelementptr inbounds i64, ptr %state, i64 {number}")
        self.text.put(f"store {word.typed}, ptr {place}")


class _FirstAddresses:
    """Lane 0's addresses, where none depends on what is loaded."""

    def __init__(self, writer: _Writer) -> None:
        self._algebra = writer.algebra
        self.addresses: list[Word] = []

    def load(self, address: Word, width: int, _only_if: str | None) -> Word:
        self.addresses.append(address)
        return self._algebra.const(width, 0)

    def store(self, address: Word, _value: Word, _only_if: str | None) -> None:
        self.addresses.append(address)

    def lane(self) -> Word:
        return self._algebra.const(64, 0)

    def reduce(self, operation: str, _value: Word) -> Word:
        raise AssertionError(f"{operation} in a body")


@dataclass(frozen=True, slots=True)
class _Undo:
    """A store that was made, and what was there before."""

    pointer: str
    old: Word
    made: str
    """Whether it was."""


class _Accesses:
    """Loads and stores of a lane, made only where a condition holds; what ends the run undoes what the lane stored."""

    def __init__(self, writer: _Writer, lane: str, note: str, prefix: str) -> None:
        self._writer, self._text, self._lane, self._note = writer, writer.text, lane, note
        self._at = 0
        self._undo: list[_Undo] = []
        self.prefix = prefix
        """Of the names of blocks."""
        self.faults: list[tuple[str, int]] = []
        """Blocks to which a lane goes that ends the run, and how many stores there are to undo."""

    def lane(self) -> Word:
        return Word(self._lane, 64)

    def reduce(self, operation: str, _value: Word) -> Word:
        raise AssertionError(f"{operation} in a body")

    def _pointer(self, address: Word) -> str:
        """Where it is; the run ends here if that may not be touched."""
        raise NotImplementedError

    def _may_fault(self) -> bool:
        """Whether anything after the access at hand can end the run."""
        raise NotImplementedError

    def load(self, address: Word, width: int, only_if: str | None) -> Word:
        if only_if is None:
            return Word(self._load(self._pointer(address), width), width)
        before, _, after = self._begin_if(only_if)
        value = self._load(self._pointer(address), width)
        last = self._end_if(after)
        return Word(self._text.let(f"phi i{width} [ 0, %{before} ], [ {value}, %{last} ]"), width)

    def store(self, address: Word, value: Word, only_if: str | None) -> None:
        text = self._text
        if only_if is None:
            pointer = self._pointer(address)
            if self._may_fault():
                self._undo.append(_Undo(pointer, Word(self._load(pointer, value.width), value.width), "true"))
            self._store(pointer, value)
            return
        before, _, after = self._begin_if(only_if)
        pointer = self._pointer(address)
        more = self._may_fault()
        old = self._load(pointer, value.width) if more else "0"
        self._store(pointer, value)
        last = self._end_if(after)
        if more:
            place = text.let(f"phi ptr [ null, %{before} ], [ {pointer}, %{last} ]")
            was = text.let(f"phi i{value.width} [ 0, %{before} ], [ {old}, %{last} ]")
            self._undo.append(_Undo(place, Word(was, value.width), only_if))

    def look_whether_last(self, after: _State) -> None:
        """End the run before this lane where it says that it should not have been."""
        until = self._writer.until
        if until is not None:
            self._only_if(self._text.let(f"icmp ne i64 {after.registers[until].text}, 0"))

    def write_undoing(self) -> None:
        """The blocks that end the run; the undoing of each store goes on to that of the store before."""
        for name, stores in self.faults:
            self._text.begin(name)
            self._text.put(f"br label %{self._undoing(stores)}")
        for number in range(self.faults[-1][1], 0, -1):
            store = self._undo[number - 1]
            self._text.begin(self._undoing(number))
            _, _, after = self._begin_if(store.made)
            self._store(store.pointer, store.old)
            self._end_if(after)
            self._text.put(f"br label %{self._undoing(number - 1)}")

    def _looked_at(self, address: Word) -> str:
        text, window = self._text, self._writer.windows[self._at]
        self._at += 1
        offset = text.let(f"sub i64 {address.text}, {window.origin}")
        inside = text.let(f"icmp ule i64 {offset}, {window.limit}")
        self._only_if(self._writer.algebra.both(inside, window.has_room))
        return text.let(f"getelementptr i8, ptr {window.host}, i64 {offset}")

    def _undoing(self, stores: int) -> str:
        """The block that undoes so many stores."""
        return f"{self.prefix}undo{stores}" if stores else f"{self.prefix}fault"

    def _only_if(self, condition: str) -> None:
        """Go on only if; otherwise the run ends here."""
        name = self._text.name("in").removeprefix("%")
        self._text.put(f"br i1 {condition}, label %{name}, label %{name}.not")
        self.faults.append((f"{name}.not", len(self._undo)))
        self._text.begin(name)

    def _load(self, pointer: str, width: int) -> str:
        return self._text.let(f"load i{width}, ptr {pointer}, align 1{self._note}")

    def _store(self, pointer: str, value: Word) -> None:
        self._text.put(f"store {value.typed}, ptr {pointer}, align 1{self._note}")

    def _begin_if(self, only_if: str) -> tuple[str, str, str]:
        """Begin what is done only if; the block before, and the names of this one and the next."""
        name = self._text.name("if").removeprefix("%")
        before = self._text.block
        self._text.put(f"br i1 {only_if}, label %{name}, label %{name}.end")
        self._text.begin(name)
        return before, name, f"{name}.end"

    def _end_if(self, after: str) -> str:
        """Go on after it; the block that ends it."""
        last = self._text.block
        self._text.put(f"br label %{after}")
        self._text.begin(after)
        return last


class _Unchecked(_Accesses):
    """Where all lanes' affine addresses are known to be inside."""

    def __init__(self, writer: _Writer, fast: Sequence[_Fast | None], lane: str) -> None:
        super().__init__(writer, lane, "" if writer.ordered else ", !llvm.access.group !2", "fast.")
        self._fast = fast

    def _pointer(self, address: Word) -> str:
        access = self._fast[self._at]
        if access is None:
            return self._looked_at(address)
        self._at += 1
        if not access.stride:
            return access.first
        offset = self._text.let(f"mul nsw i64 {self._lane}, {access.stride}") if access.stride != 1 else self._lane
        return self._text.let(f"getelementptr inbounds i8, ptr {access.first}, i64 {offset}")

    def _may_fault(self) -> bool:
        return self._writer.until is not None or None in self._fast[self._at :]


class _Checked(_Accesses):
    """Each access looks first; one that is outside ends the run."""

    def __init__(self, writer: _Writer, lane: str) -> None:
        super().__init__(writer, lane, "", "")

    def _pointer(self, address: Word) -> str:
        return self._looked_at(address)

    def _may_fault(self) -> bool:
        return self._writer.until is not None or self._at < len(self._writer.accesses)


class _Tail:
    """What comes after the lanes have met: reductions are there already."""

    def __init__(self, last: Word, sums: Sequence[Word]) -> None:
        self._last, self._sums = last, list(sums)

    def load(self, _address: Word, _width: int, _only_if: str | None) -> Word:
        raise AssertionError("a load in a tail")

    def store(self, _address: Word, _value: Word, _only_if: str | None) -> None:
        raise AssertionError("a store in a tail")

    def lane(self) -> Word:
        return self._last

    def reduce(self, _operation: str, _value: Word) -> Word:
        return self._sums.pop(0)


_STATES = f"""
define i64 @states(ptr noalias %states, ptr noalias %windows, i64 %n) {{
entry:
  br label %loop
loop:
  %at = phi i64 [ 0, %entry ], [ %next, %one ]
  %state = getelementptr [{STATE_WORDS} x i64], ptr %states, i64 %at
  %done = call i64 @kernel(ptr %state, ptr %windows, i64 1)
  %well = icmp eq i64 %done, 1
  br i1 %well, label %one, label %end
one:
  %next = add i64 %at, 1
  %more = icmp ult i64 %next, %n
  br i1 %more, label %loop, label %end
end:
  %count = phi i64 [ %at, %loop ], [ %next, %one ]
  ret i64 %count
}}
"""
