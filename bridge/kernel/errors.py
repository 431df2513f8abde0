"""What can go wrong when a kernel is read from RAM, each with what was tried and found."""

from __future__ import annotations


class KernelError(Exception):
    """Something in the kernel's room failed."""


class NoKernelFound(KernelError):
    """The RAM holds no Linux kernel that can be recognised; the message says what was looked for."""


class NotMapped(KernelError):
    """A virtual address that has no page, or whose tables cannot be read."""

    def __init__(self, vaddr: int, why: str = "no page is mapped there") -> None:
        super().__init__(f"The virtual address {vaddr:#x} cannot be read: {why}.")
        self.vaddr = vaddr


class BadSymbolTable(KernelError):
    """The kernel's own symbol table (kallsyms) does not hold together."""


class BadTypes(KernelError):
    """The kernel's type information (BTF) is missing or does not hold together."""


class BadCacheEntry(KernelError):
    """A file of the symbol cache is not as it was written."""

    def __init__(self, found: str) -> None:
        super().__init__(f"A file of the symbol cache cannot be used: {found}.")


class MissingSymbol(KernelError):
    """A symbol that this kernel does not have."""

    def __init__(self, name: str) -> None:
        super().__init__(f"This kernel has no symbol {name!r}.")
        self.name = name


class MissingType(KernelError):
    """A type, or a member of one, that this kernel does not have."""

    def __init__(self, what: str) -> None:
        super().__init__(f"This kernel has no {what}.")
        self.what = what
