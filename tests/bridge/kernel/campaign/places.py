"""Places: where in a dump the things lie that a campaign damages, as the undamaged dump itself tells."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

import drgn
import numpy as np
import numpy.typing as npt

from bridge.kernel.desk import Desk
from bridge.kernel.drgn_engine.modules import Modules
from bridge.kernel.drgn_engine.program import KernelProgram
from bridge.kernel.errors import KernelError
from bridge.kernel.page_classes import PageClass
from bridge.memory.errors import GuestMemoryError

I64 = npt.NDArray[np.int64]


_STRUCTS = (
    "task_struct", "mm_struct", "vm_area_struct", "page", "slab", "kmem_cache", "kmem_cache_node", "kmem_cache_cpu",
    "module", "mount", "vfsmount", "dentry", "inode", "file", "files_struct", "fdtable", "super_block", "socket",
    "sock", "printk_ringbuffer", "prb_desc", "printk_info", "list_head", "signal_struct", "cred", "orc_entry",
    "maple_node", "inactive_task_frame", "kernfs_node", "percpu_counter", "mnt_namespace", "nsproxy", "folio",
    "address_space",
)  # fmt: skip


class Places:
    """What is damaged -> offsets in RAM of its words, (n,) int64, multiples of eight."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._kernel = kernel = desk.introspector.kernel
        assert kernel.types is not None
        self._types = kernel.types
        self._program = KernelProgram(kernel)
        self._found: dict[str, list[I64]] = {}
        for add in (self._tasks, self._pages, self._image, self._files, self._caches, self._modules, self._log):
            with contextlib.suppress(KernelError, GuestMemoryError, LookupError, AttributeError, drgn.FaultError):
                add()  # a kernel that lacks one of these is damaged elsewhere
        self.of = {what: np.unique(np.concatenate(found)) for what, found in self._found.items()}

    def _put(self, what: str, places: I64) -> None:
        places = places & ~7
        places = places[(places >= 0) & (places + 8 <= len(self._kernel.reader.bytes))]
        if len(places):
            self._found.setdefault(what, []).append(places)

    def objects(self, what: str, vaddrs: Iterable[int], size: int) -> None:
        """All words of objects of `size` bytes at virtual addresses."""
        starts = np.array([vaddr for vaddr in vaddrs if 0 < vaddr < 1 << 64], np.uint64)
        steps = np.arange(0, min(size, 1 << 20), 8, dtype=np.uint64)
        for part in np.array_split(starts, max(1, len(starts) * len(steps) >> 20)):
            words = (part[:, None] + steps[None, :]).ravel()
            paddrs, mapped = self._kernel.space.translate(words)
            offsets, ok = self._kernel.reader.offsets(paddrs, 8)
            self._put(what, offsets[mapped & ok].astype(np.int64))

    def _structs(self, what: str, vaddrs: Iterable[int], *structs: str) -> None:
        sizes = [self._types.struct_size(struct) for struct in structs if self._types.has(struct)]
        self.objects(what, vaddrs, max(sizes))

    def _span(self, what: str, start: str, stop: str) -> None:
        symbols = self._kernel.symbols
        if (first := symbols.find(start)) is not None and (last := symbols.find(stop)) is not None:
            size = min(last - first, 64 << 20)
            for at in range(0, size, 1 << 20):
                self.objects(what, [first + at], min(size - at, 1 << 20))

    def _tasks(self) -> None:
        seen, types, space = self._desk.snapshot, self._types, self._kernel.space
        threads = seen.threads.addresses
        own = seen.processes.mms[seen.processes.mms != 0]
        self._structs("tasks", threads.tolist(), "task_struct")
        for member, struct in (("signal", "signal_struct"), ("cred", "cred")):
            found, _ = space.words(threads + np.uint64(types.offset("task_struct", member)))
            self._structs("tasks", found.tolist(), struct)
        self._structs("address spaces", own.tolist(), "mm_struct")
        self._structs("regions", seen.vmas.addresses.tolist(), "vm_area_struct")
        if types.has("mm_struct", "mm_mt.ma_root"):
            roots, _ = space.words(own + np.uint64(types.offset("mm_struct", "mm_mt.ma_root")))
            self.objects("maple trees", (roots & ~np.uint64(0xFF)).tolist(), 256)

    def _pages(self) -> None:
        classes = self._desk.snapshot.page_map.classes
        for what, *kinds in (
            ("page tables", PageClass.PAGE_TABLE),
            ("page records", PageClass.VMEMMAP),
            ("slabs", PageClass.SLAB),
            ("stacks", PageClass.KERNEL_STACK),
            ("data", PageClass.KERNEL_DATA, PageClass.KERNEL_BSS, PageClass.PER_CPU),
        ):
            pages = np.flatnonzero(np.isin(classes, kinds)) << 12
            self._put(what, (pages[:, None] + np.arange(0, 4096, 8)[None, :]).ravel())

    def _image(self) -> None:
        kernel = self._kernel
        self._span("types", "__start_BTF", "__stop_BTF")
        self._span("unwinding", "__start_orc_unwind", "__stop_orc_unwind")
        self._span("unwinding", "__start_orc_unwind_ip", "__stop_orc_unwind_ip")
        for name in ("kallsyms_num_syms", "kallsyms_token_table", "kallsyms_token_index", "kallsyms_relative_base"):
            if kernel.info is not None and name in kernel.info.symbols:
                self.objects("symbols", [kernel.info.symbols[name]], 1024)
        if "symbols" not in self._found:
            self._span("symbols", "__start_rodata", "__end_rodata")
        self._layouts()
        raw, at, notes = kernel.reader.bytes.tobytes(), -1, []
        while (at := raw.find(b"OSRELEASE=", at + 1)) >= 0:
            notes.append(at & ~7)
        if notes:
            self._put("notes", (np.array(notes)[:, None] + np.arange(0, 4096, 8)[None, :]).ravel())
        root = np.array([kernel.space.root], np.int64)
        self._put("kernel tables", (root[:, None] + np.arange(0, 4096, 8)[None, :]).ravel())
        tables = self._desk.snapshot.page_map.kernel_mappings.tables.astype(np.int64)[:512]
        self._put("kernel tables", (tables[:, None] + np.arange(0, 4096, 8)[None, :]).ravel())

    def _layouts(self) -> None:
        """The records of the types that readers ask for: sizes, members' types and places."""
        types, space = self._types, self._kernel.space
        start = self._kernel.symbols.address("__start_BTF")
        header, type_offset = (int.from_bytes(space.read(start + at, 4), "little") for at in (4, 8))
        for name in _STRUCTS:
            if not types.has(name):
                continue
            number = types.struct(name)
            members = list(types.members(number))
            for type_id in {number, *(member.type_id for member in members[:40])} - {0}:
                words = 3 + (3 * len(members) if type_id == number else 1)
                self.objects("layouts", [start + header + type_offset + 4 * int(types.starts[type_id])], 4 * words)

    def _files(self) -> None:
        seen, details, program = self._desk.snapshot, self._desk.details, self._program
        files, tables, paths = [], [], []
        for index in np.flatnonzero(seen.processes.mms).tolist():
            opened = details.files(int(seen.processes.pids[index]))
            files += [file.address for file in opened]
            held = program.at("task_struct", int(seen.processes.addresses[index])).files
            tables += [held.value_(), held.fdt.value_(), held.fdt.fd.value_()]
        for address in {*files, *seen.vmas.files.tolist()} - {0}:
            entry = program.at("file", address).f_path.dentry
            paths.append(program.at("file", address).f_path.mnt.value_() - self._types.offset("mount", "mnt"))
            for _ in range(64):
                self._structs("names", [entry.value_()], "dentry")
                self._structs("names", [entry.d_inode.value_()], "inode")
                self.objects("names", [entry.d_name.name.value_()], 32)
                if entry.d_parent.value_() == entry.value_():
                    break
                entry = entry.d_parent
        self._structs("files", files, "file")
        self.objects("files", tables, 512)
        mounts = [mount.address for mount in details.mounts(1)] + paths
        self._structs("mounts", mounts, "mount")
        blocks = [program.at("mount", address).mnt.mnt_sb.value_() for address in mounts]
        self._structs("mounts", blocks, "super_block")
        sockets = details.sockets()
        self._structs("sockets", [socket.address for socket in sockets], "tcp_sock", "unix_sock", "netlink_sock")
        wanted = {(socket.pid, socket.descriptor) for socket in sockets}
        for pid in {pid for pid, _ in wanted}:
            for file in details.files(pid):
                if (pid, file.descriptor) in wanted:
                    self._structs("sockets", [program.at("file", file.address).private_data.value_()], "socket")

    def _caches(self) -> None:
        program, caches = self._program, self._desk.details.slabs()
        self._structs("slab caches", [cache.address for cache in caches], "kmem_cache")
        for cache in caches:
            held = program.at("kmem_cache", cache.address)
            if hasattr(held, "node"):
                self._structs("slab caches", [held.node[0].value_()], "kmem_cache_node")
            if hasattr(held, "cpu_slab"):
                per_cpu = [(held.cpu_slab.value_() + at) & (1 << 64) - 1 for at in program.cpu_offsets]
                self._structs("slab caches", per_cpu, "kmem_cache_cpu")

    def _modules(self) -> None:
        modules = Modules(self._program)
        for module in modules.objects():
            self._structs("modules", [module.value_()], "module")
            self.objects("modules", [module.kallsyms.symtab.value_()], 24 * 64)
            self.objects("modules", [module.arch.orc_unwind.value_(), module.arch.orc_unwind_ip.value_()], 2048)
            for start, size in modules.ranges(module):
                self.objects("modules", [start], min(size, 4096))

    def _log(self) -> None:
        ring = self._program.program["prb"].read_()
        self._structs("log", [ring.value_()], "printk_ringbuffer")
        heads, count = ring.desc_ring, 1 << min(ring.desc_ring.count_bits.value_(), 12)
        self.objects("log", [heads.descs.value_()], count * self._types.struct_size("prb_desc"))
        self.objects("log", [heads.infos.value_()], count * self._types.struct_size("printk_info"))
        self.objects("log", [ring.text_data_ring.data.value_()], 1 << 16)
