"""A drgn program over a kernel that was found: its memory by arithmetic or through its tables, its types, its symbols.

drgn needs neither a core file nor debug information: it is given physical memory to read from, a few lines in the form
of VMCOREINFO so that it can walk the page tables by itself, and finders for all that has a name. Nothing that the guest
wrote reaches its parsers but types, which `bridge.kernel.btf` has checked.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import cached_property

import drgn
import numpy as np

from bridge.kernel.drgn_engine.types import TypeFinder
from bridge.kernel.errors import KernelError, MissingType
from bridge.kernel.kernel import Kernel
from bridge.kernel.lists import Peek, list_nodes

# What BTF has no variables for: it holds only per-cpu ones.
GLOBALS: dict[str, str] = {
    "init_task": "struct task_struct",
    "init_net": "struct net",
    "modules": "struct list_head",
    "prb": "struct printk_ringbuffer *",
    "slab_caches": "struct list_head",
    "slab_kset": "struct kset *",
}
_MAX_STRING = 4096
"""PATH_MAX; no name in the kernel is longer."""
_MAX_REGIONS = 64
_MAX_CPUS = 8192


class Unreadable(KernelError):
    """Guest memory does not hold what it must hold there: it is damaged, or it was changed while it was read."""


@contextlib.contextmanager
def reading(what: str) -> Iterator[None]:
    """Turn what drgn raises over guest memory into typed errors that name `what` was read."""
    try:
        yield
    except drgn.FaultError as error:
        raise Unreadable(f"{what} cannot be read: {error}.") from error
    except (LookupError, AttributeError, TypeError) as error:
        raise MissingType(f"form of {what} that is known ({error})") from error
    except (ValueError, OverflowError, drgn.ObjectAbsentError, drgn.OutOfBoundsError) as error:
        raise Unreadable(f"{what} makes no sense: {error}.") from error


class KernelProgram:
    """One kernel as drgn objects. Raises MissingType for a kernel without types."""

    def __init__(self, kernel: Kernel) -> None:
        if kernel.types is None:
            raise MissingType(f"type information: {kernel.types_problem}")
        self.kernel = kernel
        self.types = kernel.types
        self.peek = Peek(kernel.space)
        self.program = drgn.Program(drgn.Platform(drgn.Architecture.X86_64))
        self._pointers: dict[str, drgn.Type] = {}
        self._add_memory()
        finder = TypeFinder(self.program, kernel.types)
        self.program.register_type_finder("btf", finder.find)
        self.program.set_enabled_type_finders(["btf"])
        self.program.register_object_finder("kallsyms", self._find_object)
        self.program.set_enabled_object_finders(["kallsyms"])
        self.program.set_enabled_symbol_finders([])

    # ----- reading

    def at(self, struct: str, address: int) -> drgn.Object:
        """``struct STRUCT *`` of an address. Raises MissingType."""
        pointer = self._pointers.get(struct)
        if pointer is None:
            try:
                pointer = self._pointers[struct] = self.program.type(f"struct {struct} *")
            except LookupError as error:
                raise MissingType(f"struct {struct}") from error
        return drgn.Object(self.program, pointer, value=address)

    def entries(self, head: int, struct: str, member: str, limit: int) -> list[drgn.Object]:
        """``struct STRUCT *`` of everything on the `list_head` at `head`. Raises Torn, NotMapped, MissingType."""
        offset = self.types.offset(struct, member)
        return [self.at(struct, node - offset) for node in list_nodes(self.peek, head, limit)]

    def tree(self, root: int, limit: int) -> list[int]:
        """The addresses of all `rb_node`s under the one at `root`, in order. Raises Unreadable, NotMapped.

        It ends after `limit` nodes however the tree is damaged (include/linux/rbtree.h: a node is its parent and
        colour, its right and its left child).
        """
        found: list[int] = []
        above: list[int] = []
        node, steps = root, 0
        while node or above:
            steps += 1
            if steps > 2 * limit or node & 7:
                raise Unreadable(f"The tree at {root:#x} makes no sense after {len(found):,} nodes.")
            if node:
                above.append(node)
                node = self.peek(node + 16)
            else:
                node = above.pop()
                found.append(node)
                node = self.peek(node + 8)
        return found

    def string(self, address: int, limit: int = _MAX_STRING) -> str:
        """The string at an address; empty for NULL. Raises drgn.FaultError."""
        if not address:
            return ""
        raw: bytes = self.program.read_c_string(address, max_size=limit)
        return raw.decode("utf-8", "backslashreplace")

    @cached_property
    def cpu_offsets(self) -> list[int]:
        """What is added to a per-cpu pointer for each processor. Raises NotMapped."""
        table, count = (self.kernel.symbols.find(name) for name in ("__per_cpu_offset", "nr_cpu_ids"))
        if table is None or count is None:
            return [0]  # built for one processor
        n = min(int.from_bytes(self.kernel.space.read(count, 4), "little"), _MAX_CPUS)
        return sorted(set(np.frombuffer(self.kernel.space.read(table, 8 * n), "<u8").tolist()))

    # ----- what drgn asks

    def _add_memory(self) -> None:
        kernel = self.kernel
        data = memoryview(kernel.reader.bytes.data)
        pieces = [
            (region.paddr, data[region.offset : region.offset + region.size_bytes])
            for region in kernel.reader.ram.physical_map.regions[:_MAX_REGIONS]
        ]
        for paddr, held in pieces:
            self.program.add_memory_segment(paddr, len(held), _reader(held), physical=True)
        root = kernel.symbols.find("init_top_pgt") or kernel.symbols.address("swapper_pg_dir")
        note = {
            "OSRELEASE": "0",  # drgn asks members, not versions; and the guest's own would be the guest's word
            "PAGESIZE": "4096",
            "KERNELOFFSET": f"{kernel.kernel_offset:x}",
            "SYMBOL(swapper_pg_dir)": f"{root:x}",
            "SYMBOL(_stext)": f"{kernel.symbols.address('_stext'):x}",
            "SYMBOL(mem_section)": "0",
            "LENGTH(mem_section)": "0",
            "NUMBER(phys_base)": f"{kernel.space.phys_base}",
            "NUMBER(pgtable_l5_enabled)": f"{int(kernel.levels == 5)}",
        }
        # Not "live", though it may be: for drgn that means to be on the same machine, and to try a thousand times.
        self.program.set_linux_kernel_custom("".join(f"{key}={value}\n" for key, value in note.items()), False)
        if kernel.space.direct_map is not None:  # no walk for what lies in one piece
            for paddr, held in pieces:
                self.program.add_memory_segment(kernel.space.direct_map + paddr, len(held), _reader(held))

    def _find_object(
        self, program: drgn.Program, name: str, flags: drgn.FindObjectFlags, filename: str | None
    ) -> drgn.Object | None:
        if filename:
            return None
        if flags & drgn.FindObjectFlags.CONSTANT and (value := self.types.enumerator(name)) is not None:
            return drgn.Object(program, "long", value=value)
        address = self.kernel.symbols.find(name)
        if address is None or name not in GLOBALS or not flags & drgn.FindObjectFlags.VARIABLE:
            return None
        return drgn.Object(program, GLOBALS[name], address=address)


def _reader(held: memoryview) -> Callable[[int, int, int, bool], memoryview]:
    """What drgn calls to read a piece of memory."""

    def read(_address: int, count: int, offset: int, _physical: bool) -> memoryview:
        return held[offset : offset + count]

    return read
