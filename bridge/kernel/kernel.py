"""Kernel: everything that is needed to read one running Linux, found from RAM alone.

VMCOREINFO leads to the page tables and to kallsyms, kallsyms to the type information. Each step is checked against the
one before, because RAM holds copies and leftovers of all of them. Where there is no VMCOREINFO (kernels without kexec),
kallsyms and the banner are found by what they must look like.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from bridge.kernel.btf import Btf
from bridge.kernel.errors import BadSymbolTable, BadTypes, KernelError, NoKernelFound, NotMapped
from bridge.kernel.kallsyms import Effort, Symbols, Tables, copy_names, decode_names, read_addresses, read_symbols
from bridge.kernel.paging import walk
from bridge.kernel.space import KERNEL_MAP, KERNEL_MAP_END, AddressSpace, KernelSpace
from bridge.kernel.symbol_cache import Entry, SymbolCache
from bridge.kernel.symbols import SymbolTable
from bridge.kernel.vmcoreinfo import VmCoreInfo, find_vmcoreinfo
from bridge.memory.errors import InvalidAddress
from bridge.memory.physical import PhysicalReader

_MAX_BTF_BYTES = 64 << 20
_IMAGE_WINDOW = 96 << 20
"""How much RAM around a find is taken for the kernel's image: larger than any distribution's."""
_MAX_NOTES = 32
"""Different ones that are followed: what is left of a few boots. Each may lead to symbols that have to be decoded."""
_MAX_BANNERS = 1024
"""That are tried. Logs hold a few; a guest may fill its memory with them."""
_BANNER_BYTES = 200
_BANNER = re.compile(rb"Linux version (\d+\.\d+[^ ]{0,60}) \(")


@dataclass(frozen=True)
class Kernel:
    """One kernel, as it was found. Its tables do not change while it runs."""

    release: str
    build_id: str
    kernel_offset: int
    space: KernelSpace
    symbols: SymbolTable
    types: Btf | None
    types_problem: str
    """Why there are no types, in a sentence; empty if there are."""
    info: VmCoreInfo | None

    @property
    def reader(self) -> PhysicalReader:
        """Physical memory."""
        return self.space.reader

    @property
    def levels(self) -> int:
        """Four or five levels of page tables."""
        return self.space.levels

    def still_there(self) -> bool:
        """Whether the same kernel is still in RAM: no reboot, no kexec. Cheap."""
        banner = self.symbols.find("linux_banner")
        if banner is None:
            return True
        if banner > (1 << 64) - 2 * _BANNER_BYTES:
            return False
        first = banner & ~7
        words, _ = self.space.words(np.arange(first, banner + _BANNER_BYTES, 8, dtype=np.uint64))
        text = words.tobytes()[banner - first :].split(b"\0", 1)[0]  # what is not mapped is zero
        return f"Linux version {self.release} ".encode() in text

    def root_space(self, root: int) -> AddressSpace:
        """The address space whose topmost table is at physical address `root`: a process's."""
        return AddressSpace(self.reader, root, self.levels)


def find_kernel(reader: PhysicalReader, *, by_signature: bool = True, cache: SymbolCache | None = None) -> Kernel:
    """The kernel that runs in this RAM. Raises NoKernelFound, saying what was tried.

    What ran before a reboot or kexec may still be there as a whole: the one whose clock is latest is taken. Without
    `by_signature` only kernels with a note at its usual place are found, in a hundredth of the time that it takes to
    find none. What is decoded is taken from `cache` where it knows the kernel, and kept there where it does not.
    """
    problems: list[str] = []
    effort = Effort()
    for anywhere in (False, True) if by_signature else (False,):
        found: list[_Found] = []
        for info in itertools.islice(find_vmcoreinfo(reader, anywhere=anywhere), _MAX_NOTES):
            try:
                found.append(_from_note(reader, info, cache, effort))
            except (KernelError, InvalidAddress, KeyError) as error:
                problems.append(f"the note of {info.release} leads nowhere ({error})")
        if found:
            latest = max(found, key=lambda each: wall_clock_s(each.kernel))
            if cache is not None and latest.to_keep is not None:
                cache.keep(latest.kernel.build_id, latest.to_keep)
            return latest.kernel
    try:
        for kernel in _by_signature(reader, effort) if by_signature else ():
            return kernel
    except (KernelError, InvalidAddress) as error:
        problems.append(str(error))
    why = "; ".join(list(dict.fromkeys(problems))[:3]) if problems else "there is no VMCOREINFO and no symbol table"
    raise NoKernelFound(f"No running Linux kernel was recognised in this RAM: {why}.")


def wall_clock_s(kernel: Kernel) -> int:
    """What time it is by the kernel's own clock, in seconds since 1970; 0 where that cannot be told."""
    # Since v6.17 it is the first of several.
    core, types = kernel.symbols.find("tk_core") or kernel.symbols.find("timekeeper_data"), kernel.types
    if core is None or types is None:
        return 0
    try:
        # Linux commit of v6.13 gave the struct around it a name; before, a sequence count came first.
        inside = types.offset("tk_data", "timekeeper") if types.has("tk_data", "timekeeper") else 8
        now = kernel.space.word(core + inside + types.offset("timekeeper", "xtime_sec"))
    except KernelError:
        return 0
    return now if now < 1 << 36 else 0


@dataclass(frozen=True, slots=True)
class _Found:
    """A kernel, and what the cache does not know of it yet."""

    kernel: Kernel
    to_keep: Entry | None


def _from_note(reader: PhysicalReader, info: VmCoreInfo, cache: SymbolCache | None, effort: Effort) -> _Found:
    root = info.symbols["swapper_pg_dir"] - KERNEL_MAP + info.phys_base
    space = KernelSpace(reader, root, 5 if info.five_level else 4, info.phys_base)
    _check_image(space, info.symbols["swapper_pg_dir"])
    if "kallsyms_names" in info.symbols:
        candidates: Iterable[Tables] = [
            Tables(
                num_syms=info.symbols["kallsyms_num_syms"],
                names=info.symbols["kallsyms_names"],
                token_table=info.symbols["kallsyms_token_table"],
                token_index=info.symbols["kallsyms_token_index"],
                offsets=info.symbols["kallsyms_offsets"],
                relative_base=info.symbols.get("kallsyms_relative_base"),
            )
        ]
    else:
        start = info.symbols["_stext"] & ~0xFFF
        candidates = _searched_tables(space, start, effort)
    cache = cache if info.build_id else None
    symbols, entry, recalled = _first_symbols(space, candidates, info, cache)
    kernel = _complete(space, symbols, info.release, info, entry.starts)
    starts = kernel.types.starts if kernel.types is not None else entry.starts[:0]
    if cache is None or (recalled and np.array_equal(starts, entry.starts)):
        return _Found(kernel, None)
    return _Found(kernel, replace(entry, starts=starts))


def _check_image(space: KernelSpace, vaddr: int) -> None:
    """Raise NotMapped unless the tables map an address of the image to where arithmetic puts it."""
    if not KERNEL_MAP <= vaddr < KERNEL_MAP_END:
        raise NotMapped(vaddr, "it is not in the kernel's image")
    paddrs, mapped = AddressSpace(space.reader, space.root, space.levels).translate(np.array([vaddr], np.uint64))
    if not mapped[0] or int(paddrs[0]) != space.image_paddr(vaddr):
        raise NotMapped(vaddr, "the page tables do not map the kernel where its note says")


def _searched_tables(space: KernelSpace, start: int, effort: Effort) -> Iterator[Tables]:
    """Where the symbols may be in the image that begins at `start`, for notes that do not say."""
    from bridge.kernel.kallsyms_search import find_tables  # brings a compiler along, which few kernels need

    offsets, ok = space.reader.offsets(np.array([space.image_paddr(start)], np.uint64))
    for window in (_IMAGE_WINDOW // 3, _IMAGE_WINDOW) if ok[0] else ():
        yield from find_tables(space.reader.copy(int(offsets[0]), window), start, effort)


def _first_symbols(
    space: KernelSpace, candidates: Iterable[Tables], info: VmCoreInfo, cache: SymbolCache | None
) -> tuple[SymbolTable, Entry, bool]:
    """The first tables whose `_stext` is where it must be; what the cache is to know of them, and whether it does."""
    problem = "they were not found"
    for tables in candidates:
        try:
            entry = cache.recall(info.build_id, space.read, tables) if cache is not None else None
            recalled = entry is not None
            if entry is None:
                raw = copy_names(space.read, tables)
                names = decode_names(raw)
                entry = Entry(raw.digest(names.names_bytes), names, np.zeros(0, np.int32))
            addresses = read_addresses(space.read, tables, len(entry.names.types))
            table = SymbolTable(Symbols(entry.names.split(), addresses, entry.names.types))
        except (BadSymbolTable, NotMapped) as error:
            problem = str(error)
            continue
        if table.find("_stext") == info.symbols["_stext"]:
            return table, entry, recalled
        problem = "they put _stext elsewhere than the kernel's note"
    raise BadSymbolTable(f"The symbol tables could not be read: {problem}.")


def _complete(
    space: KernelSpace,
    symbols: SymbolTable,
    release: str,
    info: VmCoreInfo | None,
    starts: npt.NDArray[np.int32] | None = None,
) -> Kernel:
    space.image_end = min(symbols.find("_end") or KERNEL_MAP, KERNEL_MAP_END)
    base = symbols.find("page_offset_base")
    if base is not None:
        space.confirm(space.word(base))
    else:  # a kernel without CONFIG_DYNAMIC_MEMORY_LAYOUT
        space.confirm(0xFFFF_8880_0000_0000 if space.levels == 4 else 0xFF11_0000_0000_0000)
    types, problem = None, ""
    try:
        start, stop = symbols.address("__start_BTF"), symbols.address("__stop_BTF")
        if not 0 < stop - start <= _MAX_BTF_BYTES:
            raise BadTypes(f"its BTF section would have {stop - start:,} bytes")
        types = Btf(space.read(start, stop - start), starts)
    except KernelError as error:
        problem = f"The kernel {release} carries no usable type information (BTF): {error}"
    return Kernel(
        release=release,
        build_id=info.build_id if info else "",
        kernel_offset=info.kernel_offset if info else 0,
        space=space,
        symbols=symbols,
        types=types,
        types_problem=problem,
        info=info,
    )


def _by_signature(reader: PhysicalReader, effort: Effort) -> Iterator[Kernel]:
    """Kernels without VMCOREINFO: their symbol tables by signature, where they lie by the banner."""
    from bridge.kernel.kallsyms_search import find_tables

    size = len(reader.bytes)
    banners = [
        (start + match.start(), match[1].decode("ascii", "replace"))
        for start in range(0, size, _IMAGE_WINDOW)
        for match in itertools.islice(_BANNER.finditer(reader.copy(start, _IMAGE_WINDOW + 4096)), _MAX_BANNERS)
    ][:_MAX_BANNERS]
    offsets = _PhysicalIdentity(reader)
    for start in range(0, size, _IMAGE_WINDOW // 2):
        image = reader.copy(start, _IMAGE_WINDOW)
        for tables in find_tables(image, start, effort):
            try:
                symbols = SymbolTable(read_symbols(offsets.read, tables))
                if tables.relative_base is None:
                    yield from _by_places(reader, tables, symbols, banners)
                else:
                    yield from _by_addresses(reader, symbols, banners)
            except KernelError:
                continue


def _by_addresses(reader: PhysicalReader, symbols: SymbolTable, banners: list[tuple[int, str]]) -> Iterator[Kernel]:
    """Symbols that say where the kernel is in virtual memory: the banner says where that is in RAM."""
    banner, root = symbols.address("linux_banner"), symbols.address("init_top_pgt")
    for place, release in banners:
        phys_base = place - (banner - KERNEL_MAP)
        for levels in (4, 5):
            space = KernelSpace(reader, root - KERNEL_MAP + phys_base, levels, phys_base)
            try:
                _check_image(space, root)
            except KernelError:
                continue
            yield _complete(space, symbols, release, None)


def _by_places(
    reader: PhysicalReader, tables: Tables, symbols: SymbolTable, banners: list[tuple[int, str]]
) -> Iterator[Kernel]:
    """Symbols that are told relative to their own table, so that `symbols` have places in RAM for addresses: the page
    tables say where in virtual memory the banner is, and all else moves along.
    """
    banner, root = symbols.address("linux_banner"), symbols.address("init_top_pgt")
    releases = [release for place, release in banners if place == banner]
    for release in releases[:1]:
        for levels in (4, 5):
            mapped = walk(reader, root, levels, half="kernel")
            holds = (mapped.paddrs <= banner) & (np.uint64(banner) - mapped.paddrs < mapped.sizes)
            holds &= (mapped.vaddrs >= np.uint64(KERNEL_MAP)) & (mapped.vaddrs < np.uint64(KERNEL_MAP_END))
            for index in np.flatnonzero(holds)[:1].tolist():
                shift = int(mapped.vaddrs[index]) - int(mapped.paddrs[index])
                space = KernelSpace(reader, root, levels, KERNEL_MAP - shift)
                moved = SymbolTable(read_symbols(space.read, tables.moved(shift)))
                _check_image(space, moved.address("init_top_pgt"))
                yield _complete(space, moved, release, None)


class _PhysicalIdentity:
    """Reads offsets of the RAM file as if they were virtual addresses: before the real ones are known."""

    def __init__(self, reader: PhysicalReader) -> None:
        self._bytes = reader.bytes

    def read(self, offset: int, length: int) -> bytes:
        if offset < 0 or offset + length > len(self._bytes):
            raise NotMapped(max(offset, 0), "the table would reach beyond the RAM")
        return self._bytes[offset : offset + length].tobytes()
