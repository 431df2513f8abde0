"""Kernel stacks of sleeping threads: from the frame that the scheduler left, up to where the thread came in."""

from __future__ import annotations

from functools import cached_property

import drgn
import numpy as np

from bridge.kernel.drgn_engine.modules import Modules
from bridge.kernel.drgn_engine.program import KernelProgram, Unreadable, reading
from bridge.kernel.errors import KernelError, NotMapped
from bridge.kernel.orc import Frame, OrcLayout, OrcTable
from bridge.kernel.records import StackFrame
from bridge.kernel.symbols import Place

MAX_FRAMES = 256
_STACK_BYTES = 64 << 10
"""No configuration of x86-64 gives a thread more (THREAD_SIZE: 16 KiB, 32 KiB with KASAN)."""
_MAX_SYMBOLS = 1 << 17
_SYMBOL_BYTES = 24
"""Elf64_Sym: name u32, info u8, other u8, section u16, value u64, size u64."""
_NAME_BYTES = 512


class ThreadRuns(KernelError):
    """A thread whose registers are in a processor, not in memory."""

    def __init__(self, tid: int) -> None:
        super().__init__(f"Thread {tid} runs on a processor now, so its stack cannot be followed; ask again.")
        self.tid = tid


class Stacks:
    """Unwinds stacks of one kernel. Its tables are read once: they do not change. Raises MissingType without ORC."""

    def __init__(self, program: KernelProgram, modules: Modules) -> None:
        self._program = program
        self._modules = modules
        self._layout = OrcLayout.of(program.types)

    def of(self, task: drgn.Object, tid: int) -> tuple[StackFrame, ...]:
        """Return addresses of a ``struct task_struct *``, the innermost first. Raises KernelError.

        Empty for a thread that has ended and is only still listed. Ends early where memory does not go on as the tables
        say: what was found until there is right.
        """
        with reading(f"the stack of thread {tid}"):
            if hasattr(task, "on_cpu") and task.on_cpu.value_():
                raise ThreadRuns(tid)
            lowest = task.stack.value_()
            if not lowest:
                return ()  # a zombie has given it back
            place = task.thread.sp.value_()
            if not lowest <= place < lowest + _STACK_BYTES:
                raise Unreadable(f"The stack of thread {tid} is not where its record says.")
            first = self._program.at("inactive_task_frame", place)
            top = place + self._program.types.struct_size("inactive_task_frame")
            frame: Frame | None = Frame(first.ret_addr.value_(), top, first.bp.value_(), False)
            loaded = _Loaded(self._program, self._modules)
            peek = self._program.peek

            def word(vaddr: int) -> int:
                if not lowest <= vaddr <= lowest + _STACK_BYTES - 8:
                    raise NotMapped(vaddr & (1 << 64) - 1, "it is not on the stack")
                return peek(vaddr)

            found: list[StackFrame] = []
            while frame is not None and len(found) < MAX_FRAMES:
                module = loaded.at(frame.ip)
                if module is None and not self._in_image(frame.ip):
                    break
                # As the kernel's %pB: the call belongs to the function even where nothing follows it there.
                back = 0 if frame.interrupted else 1
                found.append(StackFrame(frame.ip, self._symbol(frame.ip - back, module, back)))
                table = self._image if module is None else loaded.orc(module, self._image.layout)
                if table is None:
                    break
                try:
                    above = table.above(frame, word)
                except NotMapped:
                    break
                if above is not None and above.sp <= frame.sp and not above.interrupted:
                    break
                frame = above
            return tuple(found)

    def _in_image(self, vaddr: int) -> bool:
        symbols = self._program.kernel.symbols
        start, end = symbols.find("_stext"), symbols.find("_etext")
        return start is not None and end is not None and start <= vaddr < end

    @cached_property
    def _image(self) -> OrcTable:
        symbols, space = self._program.kernel.symbols, self._program.kernel.space
        start, stop, ips, ips_stop = (
            symbols.address(f"__{name}")
            for name in ("start_orc_unwind", "stop_orc_unwind", "start_orc_unwind_ip", "stop_orc_unwind_ip")
        )
        entries = space.read(start, stop - start)
        return OrcTable(self._layout.for_table(entries), ips, space.read(ips, ips_stop - ips), entries)

    def _symbol(self, vaddr: int, module: drgn.Object | None, back: int) -> str:
        """`name + 0x1c`, of an address `back` bytes before the one that is said."""
        if module is None:
            place = self._program.kernel.symbols.place(vaddr)
            return "" if place is None else str(Place(place.name, place.offset + back))
        place = self._module_place(vaddr, module)
        name = f"[{self._modules.name(module)}]"
        return name if place is None else f"{Place(place.name, place.offset + back)} {name}"

    def _module_place(self, vaddr: int, module: drgn.Object) -> Place | None:
        """The nearest symbol of a module at or before an address; None where it brought none."""
        if not hasattr(module, "kallsyms") or not module.kallsyms.value_():
            return None  # built without CONFIG_KALLSYMS
        table = module.kallsyms
        count = table.num_symtab.value_()
        if count > _MAX_SYMBOLS:
            raise Unreadable(f"The module at {module.value_():#x} would have {count:,} symbols.")
        raw = np.frombuffer(self._program.kernel.space.read(table.symtab.value_(), count * _SYMBOL_BYTES), np.uint8)
        rows = raw.reshape(count, _SYMBOL_BYTES)
        names, sections = rows[:, :4].copy().view("<u4").reshape(-1), rows[:, 6:8].copy().view("<u2").reshape(-1)
        values = rows[:, 8:16].copy().view("<u8").reshape(-1)
        usable = (sections != 0) & (names != 0) & (values <= np.uint64(vaddr)) & (values != 0)
        if not usable.any():
            return None
        best = int(np.flatnonzero(usable)[np.argmax(values[usable])])
        name = self._program.string(table.strtab.value_() + int(names[best]), _NAME_BYTES)
        return Place(name, vaddr - int(values[best]))


class _Loaded:
    """Modules by where they lie, and their tables, for one walk."""

    def __init__(self, program: KernelProgram, modules: Modules) -> None:
        self._program = program
        self._tables: dict[int, OrcTable | None] = {}
        self._pieces = [
            (start, start + size, module) for module in modules.objects() for start, size in modules.ranges(module)
        ]

    def at(self, vaddr: int) -> drgn.Object | None:
        """``struct module *`` that holds an address."""
        return next((module for start, end, module in self._pieces if start <= vaddr < end), None)

    def orc(self, module: drgn.Object, layout: OrcLayout) -> OrcTable | None:
        """The module's own tables; None if it brought none."""
        if module.value_() not in self._tables:
            self._tables[module.value_()] = self._read(module, layout)
        return self._tables[module.value_()]

    def _read(self, module: drgn.Object, layout: OrcLayout) -> OrcTable | None:
        arch, space = module.arch, self._program.kernel.space
        count = arch.num_orcs.value_()
        if not count:
            return None
        place, entries = arch.orc_unwind_ip.value_(), arch.orc_unwind.value_()
        return OrcTable(layout, place, space.read(place, 4 * count), space.read(entries, layout.entry_bytes * count))
