"""The C types of global variables, which BTF leaves out (all but per-cpu ones before pahole 1.30).

Written down here for the variables that tools start from; taken only where the kernel has both the symbol and the type.
Each line can be read off the variable's declaration in the kernel's source.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from bridge.kernel.btf import Btf, Kind
from bridge.kernel.kernel import Kernel

Descriptor = dict[str, Any]

# `[]` is as many as fit before the next symbol.
_DECLARATIONS: dict[str, str] = {
    # tasks, memory
    "init_task": "struct task_struct",
    "init_mm": "struct mm_struct",
    "init_files": "struct files_struct",
    "init_fs": "struct fs_struct",
    "init_cred": "struct cred",
    "init_nsproxy": "struct nsproxy",
    "init_pid_ns": "struct pid_namespace",
    "init_uts_ns": "struct uts_namespace",
    "init_ipc_ns": "struct ipc_namespace",
    "init_user_ns": "struct user_namespace",
    "init_net": "struct net",
    "pid_hash": "struct hlist_head *",
    "pidhash_shift": "unsigned int",
    "cap_last_cap": "int",
    "page_offset_base": "unsigned long",
    "vmalloc_base": "unsigned long",
    "vmemmap_base": "unsigned long",
    "phys_base": "unsigned long",
    "mem_map": "struct page *",
    "high_memory": "void *",
    "max_pfn": "unsigned long",
    "max_low_pfn": "unsigned long",
    "__per_cpu_offset": "unsigned long []",
    "nr_cpu_ids": "unsigned int",
    "slab_caches": "struct list_head",
    "vmap_area_list": "struct list_head",
    "iomem_resource": "struct resource",
    "ioport_resource": "struct resource",
    "init_top_pgt": "unsigned long [512]",
    "saved_command_line": "char *",
    "system_state": "enum system_states",
    # modules, symbols, tracing
    "modules": "struct list_head",
    "module_kset": "struct kset *",
    "mod_tree": "struct mod_tree_root",
    "module_addr_min": "unsigned long",
    "module_addr_max": "unsigned long",
    "taint_flags": "struct taint_flag []",
    "kallsyms_num_syms": "unsigned int",
    "kallsyms_markers": "unsigned int []",
    "kallsyms_offsets": "int []",
    "kallsyms_relative_base": "unsigned long",
    "kallsyms_token_index": "unsigned short [256]",
    "kallsyms_token_table": "char []",
    "kallsyms_names": "unsigned char []",
    "ftrace_ops_list": "struct ftrace_ops *",
    "ftrace_list_end": "struct ftrace_ops",
    "ftrace_mod_maps": "struct list_head",
    "ftrace_ops_trampoline_list": "struct list_head",
    "__start___tracepoints_ptrs": "tracepoint_ptr_t []",
    "__stop___tracepoints_ptrs": "tracepoint_ptr_t []",
    "bpf_kallsyms": "struct list_head",
    "bpf_tree": "struct latch_tree_root",
    "prog_idr": "struct idr",
    "map_idr": "struct idr",
    "link_idr": "struct idr",
    # the kernel's log and clocks
    "prb": "struct printk_ringbuffer *",
    "log_buf": "char *",
    "log_buf_len": "unsigned int",
    "log_first_idx": "unsigned int",
    "log_next_idx": "unsigned int",
    "jiffies": "unsigned long",
    "jiffies_64": "unsigned long",
    # files
    "super_blocks": "struct list_head",
    "file_systems": "struct file_system_type *",
    "mount_hashtable": "struct hlist_head *",
    "dentry_hashtable": "struct hlist_bl_head *",
    "inode_hashtable": "struct hlist_head *",
    "socket_file_ops": "struct file_operations",
    "sockfs_dentry_operations": "struct dentry_operations",
    # network
    "net_namespace_list": "struct list_head",
    "dev_base_lock": "rwlock_t",
    "tcp_hashinfo": "struct inet_hashinfo",
    "unix_socket_table": "struct hlist_head []",
    "tcp4_seq_afinfo": "struct tcp_seq_afinfo",
    "tcp6_seq_afinfo": "struct tcp_seq_afinfo",
    "udp4_seq_afinfo": "struct udp_seq_afinfo",
    "udp6_seq_afinfo": "struct udp_seq_afinfo",
    "udplite4_seq_afinfo": "struct udp_seq_afinfo",
    "udplite6_seq_afinfo": "struct udp_seq_afinfo",
    **dict.fromkeys(
        (
            *("raw_seq_ops", "udp_seq_ops", "arp_seq_ops", "unix_seq_ops", "udp6_seq_ops", "raw6_seq_ops"),
            *("tcp_seq_ops", "tcp4_seq_ops", "tcp6_seq_ops", "packet_seq_ops"),
        ),
        "struct seq_operations",
    ),
    # devices and entries
    "idt_table": "struct gate_struct [256]",
    "sys_call_table": "void * []",
    "ia32_sys_call_table": "void * []",
    "keyboard_notifier_list": "struct atomic_notifier_head",
    "tty_drivers": "struct list_head",
    "num_registered_fb": "int",
    "registered_fb": "struct fb_info * [32]",
    "boot_cpu_data": "struct cpuinfo_x86",
    "smp_num_siblings": "int",
}
_WORDS = {
    "char": "char",
    "unsigned char": "unsigned char",
    "unsigned short": "short unsigned int",
    "int": "int",
    "unsigned int": "unsigned int",
    "long": "long int",
    "unsigned long": "long unsigned int",
    "void": "void",
}
_SIZES = {
    "char": 1,
    "unsigned char": 1,
    "short unsigned int": 2,
    "int": 4,
    "unsigned int": 4,
    "long int": 8,
    "long unsigned int": 8,
    "void": 1,
}
_DECLARATION = re.compile(r"(?P<base>[\w ]*\w) ?(?P<stars>\**)(?: ?\[(?P<count>\d*)\])?")
_MAX_ELEMENTS = 1 << 20


Describe = Callable[[int], Descriptor]
"""How ISF refers to a type of the section, by its number."""


def symbol_types(kernel: Kernel, describe: Describe) -> dict[str, Descriptor]:
    """The ISF type of each variable that is written down here, where this kernel has both."""
    btf = kernel.types
    if btf is None:
        return {}
    room = _Room(kernel)
    found: dict[str, Descriptor] = {}
    for name, declaration in _DECLARATIONS.items():
        address = kernel.symbols.find(name)
        if address is None and kernel.info is not None:
            address = kernel.info.symbols.get(name)
        if address is not None and (described := _parse(btf, describe, declaration, room, address)) is not None:
            found[name] = described
    return found


def timekeeper(kernel: Kernel, describe: Describe) -> tuple[int, Descriptor] | None:
    """Where the clock is that `tk_core` stands for, and the user type of that name; None where it cannot be said.

    `tk_core` is of an anonymous struct that BTF leaves out: a sequence count and a `struct timekeeper`. Linux commit
    7e9dc5c5dd04 names it `struct tk_data`, and later ones keep it in an array `timekeeper_data`, as the first element.
    """
    btf = kernel.types
    if btf is None:
        return None
    place = kernel.symbols.find("tk_core") or kernel.symbols.find("timekeeper_data")
    if place is None or not btf.has("timekeeper"):
        return None
    inner = describe(btf.struct("timekeeper"))
    if btf.has("tk_data", "timekeeper"):
        offset, size = btf.offset("tk_data", "timekeeper"), btf.struct_size("tk_data")
    else:
        counts = [name for name in ("seqcount_raw_spinlock_t", "seqcount_t") if btf.has(name)]
        if not counts:
            return None
        offset = -(-btf.struct_size(counts[0]) // 8) * 8
        size = offset + btf.struct_size("timekeeper")
    return place, {"kind": "struct", "size": size, "fields": {"timekeeper": {"offset": offset, "type": inner}}}


def _parse(btf: Btf, describe: Describe, declaration: str, room: _Room, address: int) -> Descriptor | None:
    """A declaration as an ISF type; None where the kernel has no such type."""
    match = _DECLARATION.fullmatch(declaration)
    assert match is not None, declaration
    word, _, tag = match["base"].partition(" ")
    size = 1
    described: Descriptor
    if match["base"] in _WORDS:
        name = _WORDS[match["base"]]
        described, size = {"kind": "base", "name": name}, _SIZES[name]
    else:
        kinds = {"struct": (Kind.STRUCT, Kind.UNION), "enum": (Kind.ENUM, Kind.ENUM64)}.get(word, (Kind.TYPEDEF,))
        type_id = btf.find(tag or word, *kinds)
        if type_id is None:
            return None
        described, size = describe(type_id), btf.size(type_id)
    for _ in match["stars"]:
        described, size = {"kind": "pointer", "subtype": described}, 8
    if match["count"] is not None:
        count = int(match["count"]) if match["count"] else room.after(address) // max(size, 1)
        described = {"kind": "array", "count": min(count, _MAX_ELEMENTS), "subtype": described}
    return described


class _Room:
    """How far it is from a symbol to the next: a variable is no larger."""

    def __init__(self, kernel: Kernel) -> None:
        self._addresses = np.unique(kernel.symbols.symbols.addresses)

    def after(self, address: int) -> int:
        """Bytes."""
        index = int(np.searchsorted(self._addresses, np.uint64(address), side="right"))
        return int(self._addresses[index]) - address if index < len(self._addresses) else 0
