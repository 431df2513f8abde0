"""Annotations: what a listing's addresses are called — where its code runs, and what its operands lead to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from app.widgets.x86_decode import Instruction

_MASK = (1 << 64) - 1


class CodeNames(Protocol):
    """Knows where code that lies at shown addresses runs, and what places there are called."""

    def virtual(self, address: int) -> int | None:
        """The virtual address of a shown one; None where it is not known."""
        ...

    def name(self, vaddr: int) -> str:
        """What a virtual address is called; empty where nothing is known."""
        ...


@dataclass(frozen=True, slots=True)
class Annotation:
    """What is known of one instruction."""

    vaddr: int
    """Where it runs."""
    leads: int | None = None
    """The virtual address that it jumps to or refers to."""
    name: str = ""
    """What that is called."""
    starts: str = ""
    """The symbol that begins at the instruction itself."""


def annotate(line: Instruction, names: CodeNames | None) -> Annotation | None:
    """Return what is known of an instruction; None where its virtual address is not."""
    vaddr = None if names is None else names.virtual(line.address)
    if names is None or vaddr is None or line.kind == "unmapped":
        return None
    here = names.name(vaddr)
    starts = here if here and "+" not in here else ""
    led = line.target if line.target is not None else line.refers
    if led is None:
        return Annotation(vaddr, starts=starts)
    leads = (vaddr + led - line.address) & _MASK  # operands are relative: they move along with their instruction
    return Annotation(vaddr, leads, names.name(leads), starts)
