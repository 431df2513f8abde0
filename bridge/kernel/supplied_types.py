"""Types that the user supplies for a kernel that carries none: an ISF, a vmlinux with BTF or DWARF, or bare BTF.

Whatever the file is, its types become BTF, which all of this room reads. They are taken only when they fit the kernel:
a layout of another kernel gives wrong answers, not errors.
"""

from __future__ import annotations

import mmap
from dataclasses import replace
from pathlib import Path

from bridge.kernel.btf import MAGIC, Btf
from bridge.kernel.elf_sections import ElfFile
from bridge.kernel.errors import BadTypes, KernelError
from bridge.kernel.isf_types import isf_banner, isf_types, read_isf
from bridge.kernel.kernel import Kernel
from bridge.machine.plain_files import open_plain

_MAX_ISF_BYTES = 256 << 20
_ELF_MAGIC = b"\x7fELF"


def with_supplied_types(kernel: Kernel, path: Path | None) -> Kernel:
    """The kernel, with the types of the file at `path` if it has none of its own. Raises BadTypes where the file cannot
    be read, is none that is known, or is of another kernel.
    """
    if path is None or kernel.types is not None:
        return kernel
    types, identity = load_types(path)
    supplied = replace(kernel, types=types, types_problem="")
    _check_identity(kernel, path, identity)
    _check_fit(supplied, path)
    return supplied


def load_types(path: Path) -> tuple[Btf, str]:
    """The types in a file, and what it says of the kernel that it is of: the beginning of its banner, or its BUILD-ID
    in hex, or nothing. Raises BadTypes.
    """
    try:
        with open_plain(path) as file:
            head = file.read(16)
            if head.startswith(_ELF_MAGIC):
                with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                    return _from_elf(path, ElfFile(data))
            file.seek(0)
            data_bytes = file.read(_MAX_ISF_BYTES + 1)
    except (OSError, ValueError) as error:
        raise BadTypes(f"The types in {path} could not be read: {error}.") from error
    if int.from_bytes(head[:2], "little") == MAGIC:
        return Btf(data_bytes), ""
    if len(data_bytes) > _MAX_ISF_BYTES:
        raise BadTypes(f"{path} is too large for an ISF: more than {_MAX_ISF_BYTES >> 20} MiB.")
    document = read_isf(data_bytes)
    return isf_types(document), isf_banner(document)


def _from_elf(path: Path, elf: ElfFile) -> tuple[Btf, str]:
    section = elf.section(".BTF")
    if section is not None:
        return Btf(section), elf.build_id()
    if elf.has(".debug_info") or elf.has(".zdebug_info"):
        from bridge.kernel.dwarf_types import dwarf_types

        return dwarf_types(path), elf.build_id()
    raise BadTypes(f"{path} has neither BTF nor DWARF: take the vmlinux of the kernel's debug package.")


def _check_identity(kernel: Kernel, path: Path, identity: str) -> None:
    if identity.startswith("Linux version "):
        release = identity.split(" ")[2]
        if release != kernel.release:
            raise BadTypes(f"{path} is of the kernel {release}; this one is {kernel.release}.")
    elif identity and kernel.build_id and identity != kernel.build_id:
        raise BadTypes(
            f"{path} is of another build (BUILD-ID {identity[:12]}…); this kernel has {kernel.build_id[:12]}…."
        )


def _check_fit(kernel: Kernel, path: Path) -> None:
    """The first task of all is called swapper: where the types put its name, that must be."""
    assert kernel.types is not None
    try:
        place = kernel.symbols.address("init_task") + kernel.types.offset("task_struct", "comm")
        name = kernel.space.string(place, 16)
    except KernelError as error:
        raise BadTypes(f"{path} does not fit this kernel: {error}") from error
    if not name.startswith("swapper"):
        raise BadTypes(f"{path} does not fit this kernel: by it, the first task would be called {name[:16]!r}.")
