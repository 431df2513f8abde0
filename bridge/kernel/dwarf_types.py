"""Types out of a vmlinux with DWARF, as BTF: drgn reads it, and what the kernel's room asks for is gone through.

DWARF of a kernel describes more than a hundred thousand types. Wanted are those that can be reached from what this
program looks at: from the types named here, through members and pointers.
"""

from __future__ import annotations

import contextlib
from collections import deque
from pathlib import Path
from typing import Any

import drgn

from bridge.kernel.btf import Btf
from bridge.kernel.btf_builder import VOID, BtfBuilder
from bridge.kernel.errors import BadTypes

_MAX_TYPES = 1 << 18
ROOTS = (
    *("struct task_struct", "struct mm_struct", "struct vm_area_struct", "struct maple_node", "struct page"),
    *("struct folio", "struct slab", "struct kmem_cache", "struct kmem_cache_node", "struct pglist_data"),
    *("struct mem_section", "struct module", "struct mod_tree_root", "struct mount", "struct mnt_namespace"),
    *("struct file", "struct inode", "struct dentry", "struct super_block", "struct pipe_inode_info"),
    *("struct socket_alloc", "struct inet_sock", "struct tcp_sock", "struct udp_sock", "struct raw_sock"),
    *("struct unix_sock", "struct netlink_sock", "struct packet_sock", "struct inet_timewait_sock", "struct net"),
    *("struct request_sock", "struct printk_ringbuffer", "struct printk_info", "struct vmap_area", "struct vm_struct"),
    *("struct resource", "struct gate_struct", "struct pt_regs", "struct inactive_task_frame", "struct timekeeper"),
    *("struct tk_data", "struct kset", "struct module_kobject", "struct idr", "struct xarray", "struct xa_node"),
    *("struct bpf_prog", "struct taint_flag", "struct seq_operations", "struct tty_driver", "struct tty_struct"),
    *("struct atomic_notifier_head", "struct ftrace_ops", "struct tracepoint", "struct fb_info", "struct irqaction"),
    *("struct uts_namespace", "struct kernel_symbol", "struct latch_tree_root", "struct nf_hook_entries"),
    *("struct elf64_sym", "struct new_utsname", "struct block_device", "struct radix_tree_node", "struct cpuinfo_x86"),
    *("enum pageflags", "enum zone_type", "enum migratetype", "enum maple_type", "enum pid_type", "enum mod_mem_type"),
    *("enum sock_type", "enum pagetype", "enum pg_level", "enum system_states", "enum module_state"),
    *("seqcount_raw_spinlock_t", "seqcount_t", "tracepoint_ptr_t", "rwlock_t", "atomic_t", "atomic64_t"),
)


def dwarf_types(path: Path, roots: tuple[str, ...] = ROOTS) -> Btf:
    """The types in a file with DWARF that can be reached from `roots`. Raises BadTypes where it cannot be read or has
    none of them.
    """
    program = drgn.Program()
    try:
        module = program.extra_module(str(path), create=True)
        module.try_file(str(path), force=True)
    except (OSError, ValueError, LookupError) as error:
        raise BadTypes(f"The DWARF in {path} could not be read: {error}.") from error
    found = []
    for name in roots:
        with contextlib.suppress(LookupError):  # kernels differ in what they have
            found.append(program.type(name))
    if not found:
        raise BadTypes(f"The DWARF in {path} has none of the types that a kernel has.")
    return _Converter().convert(found)


class _Converter:
    """Goes from type to type; what was met but not described yet waits in a queue, as types refer to each other."""

    def __init__(self) -> None:
        self._builder = BtfBuilder()
        self._named: dict[tuple[Any, ...], int] = {}
        self._queue: deque[tuple[drgn.Type, int]] = deque()

    def convert(self, roots: list[drgn.Type]) -> Btf:
        for root in roots:
            self._number(root)
        while self._queue:
            found, number = self._queue.popleft()
            self._describe(found, number)
        return self._builder.btf()

    def _number(self, found: drgn.Type) -> int:
        """The type's number; qualifiers are left out."""
        found = found.unqualified()
        kind = found.kind
        builder = self._builder
        if kind == drgn.TypeKind.VOID:
            return VOID
        if kind == drgn.TypeKind.POINTER:
            return builder.pointer(self._number(found.type))
        if kind == drgn.TypeKind.ARRAY:
            return builder.array(self._number(found.type), found.length or 0)
        key = _key(found)
        if key not in self._named:
            if len(self._named) >= _MAX_TYPES:
                raise BadTypes(f"The DWARF leads to more than {_MAX_TYPES:,} types.")
            self._named[key] = self._simple(found) if key[0] == "simple" else builder.reserve()
            if key[0] != "simple":
                self._queue.append((found, self._named[key]))
        return self._named[key]

    def _simple(self, found: drgn.Type) -> int:
        """A type that refers to no other."""
        kind = found.kind
        if kind == drgn.TypeKind.FUNCTION:
            return self._builder.function()
        if kind == drgn.TypeKind.FLOAT:
            return self._builder.floating(found.name, found.size)
        if kind in (drgn.TypeKind.INT, drgn.TypeKind.BOOL):
            is_bool = kind == drgn.TypeKind.BOOL
            return self._builder.integer(
                found.name, found.size, signed=not is_bool and found.is_signed, boolean=is_bool
            )
        return self._builder.forward(found.tag or "")

    def _describe(self, found: drgn.Type, number: int) -> None:
        kind = found.kind
        if kind == drgn.TypeKind.TYPEDEF:
            self._builder.typedef(found.name, self._number(found.type), number)
        elif kind == drgn.TypeKind.ENUM:
            values = {one.name: one.value for one in found.enumerators}
            self._builder.enumeration(found.tag or "", drgn.sizeof(found), values, number)
        else:
            members = [
                (member.name or "", self._number(member.type), member.bit_offset, member.bit_field_size or 0)
                for member in found.members
            ]
            union = kind == drgn.TypeKind.UNION
            self._builder.composite(found.tag or "", found.size, members, union=union, number=number)


def _key(found: drgn.Type) -> tuple[Any, ...]:
    """What tells types apart that drgn hands out anew each time: the name where there is one, else what is in it."""
    kind = found.kind
    if kind == drgn.TypeKind.TYPEDEF:
        return ("typedef", found.name)
    if kind == drgn.TypeKind.ENUM and found.enumerators is not None:
        return ("enum", found.tag or tuple((one.name, one.value) for one in found.enumerators))
    if kind in (drgn.TypeKind.STRUCT, drgn.TypeKind.UNION) and found.members is not None:
        if found.tag:
            return (kind.name, found.tag)
        members = tuple((member.name, member.bit_offset, member.type.type_name()) for member in found.members)
        return (kind.name, None, found.size, members)
    if kind in (drgn.TypeKind.INT, drgn.TypeKind.BOOL, drgn.TypeKind.FLOAT):
        return ("simple", kind.name, found.name, found.size)
    if kind == drgn.TypeKind.FUNCTION:
        return ("simple", kind.name)
    return ("simple", kind.name, found.tag)
