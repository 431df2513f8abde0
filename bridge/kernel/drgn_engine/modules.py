"""Loaded modules, from the kernel's own list, in the order of /proc/modules."""

from __future__ import annotations

import drgn

from bridge.kernel.drgn_engine.program import KernelProgram, reading
from bridge.kernel.records import Module

_MAX_MODULES = 8192
_MAX_USES = 65_536
"""Of all modules together."""
_MODULE_REF_BASE = 1
"""What the count of references of a module that nobody uses is (kernel/module/main.c)."""
_STATES = {"MODULE_STATE_LIVE": "Live", "MODULE_STATE_COMING": "Loading", "MODULE_STATE_GOING": "Unloading"}
_NAME_BYTES = 64
"""MODULE_NAME_LEN is what remains of 64 bytes beside a pointer."""


class Modules:
    """Reads the modules of one kernel."""

    def __init__(self, program: KernelProgram) -> None:
        self._program = program
        values = {name: program.types.enumerator(name) for name in _STATES}
        self._states = {value: _STATES[name] for name, value in values.items()}

    def all(self) -> tuple[Module, ...]:
        """Every module, newest first, as /proc/modules lists them. Raises KernelError."""
        with reading("the list of modules"):
            found: list[Module] = []
            left = _MAX_USES
            for module in self.objects():
                found.append(self._module(module, left))
                left -= len(found[-1].used_by)
            return tuple(found)

    def objects(self) -> list[drgn.Object]:
        """``struct module *`` of every module; none where the kernel was built without modules."""
        head = self._program.kernel.symbols.find("modules")
        if head is None or not self._program.types.has("module", "list"):
            return []
        return self._program.entries(head, "module", "list", _MAX_MODULES)

    def _module(self, module: drgn.Object, most_uses: int) -> Module:
        ranges = self.ranges(module)
        types = self._program.types
        references, users = 0, []
        if types.has("module", "source_list"):  # CONFIG_MODULE_UNLOAD
            references = module.refcnt.counter.value_() - _MODULE_REF_BASE
            head = module.source_list.address_of_().value_()
            uses = self._program.entries(head, "module_use", "source_list", most_uses)
            users = [self.name(use.source) for use in uses]
        return Module(
            name=self.name(module),
            address=module.value_(),
            base=ranges[0][0] if ranges else 0,
            size_bytes=sum(size for _, size in ranges),
            state=self._states.get(module.state.value_(), "Unformed"),
            references=references,
            used_by=tuple(users),
        )

    def name(self, module: drgn.Object) -> str:
        """The name of a ``struct module *``."""
        return self._program.string(module.name.address_of_().value_(), _NAME_BYTES)

    def ranges(self, module: drgn.Object) -> list[tuple[int, int]]:
        """(start, bytes) of every piece of memory that a module has, its code first."""
        if hasattr(module, "mem"):
            # Linux commit ac3b43283923 ("module: replace module_layout with module_memory", in v6.4).
            pieces = [(piece.base.value_(), piece.size.value_()) for piece in module.mem]
        else:
            layouts = [name for name in ("core_layout", "data_layout", "init_layout") if hasattr(module, name)]
            pieces = [(getattr(module, name).base.value_(), getattr(module, name).size.value_()) for name in layouts]
        return [(start, size) for start, size in pieces if start and size]
