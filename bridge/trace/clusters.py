"""Clusters: sequences of instructions that do the same with other registers and constants, and what they take."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bridge.trace.program import Program

MOST_BLOCKS = 20_000
"""That are looked at, the heaviest first."""
_WIDE = re.compile(r"(?:xmm|ymm|zmm|mm|st|k)\(?\d*\)?")


@dataclass(frozen=True, slots=True)
class Cluster:
    """Blocks of one form."""

    form: tuple[str, ...]
    """Their instructions: `r1` … are registers in the order in which they appear, `v1` … vectors, `n` is a number."""
    blocks: tuple[int, ...]
    """Numbers, the heaviest first."""
    share: float
    """Of the time, of all of them."""
    entered: int


def clusters(program: Program, values: NDArray[np.float64], top: int) -> tuple[Cluster, ...]:
    """The `top` clusters by time. `values`: (n,) each block's share of it."""
    order = np.argsort(-values, kind="stable")[:MOST_BLOCKS]
    groups: dict[tuple[str, ...], list[int]] = {}
    for number in order[values[order] > 0].tolist():
        form = abstract(insn.text for insn in program.decoded(number).instructions)
        groups.setdefault(form, []).append(number)
    found = [
        Cluster(form, tuple(numbers), float(values[numbers].sum()), int(program.entered[numbers].sum()))
        for form, numbers in groups.items()
        if form
    ]
    found.sort(key=lambda one: -one.share)
    return tuple(found[:top])


def abstract(texts: Iterable[str]) -> tuple[str, ...]:
    """The form of a block: each register by its place in the order of appearance, constants and addresses left out.

    `mov rax, [rbx + 8]; add rax, rcx` and `mov rdx, [rsi + 16]; add rdx, rdi` are of one form. The stack pointer, the
    instruction pointer and segments stay: they say what is done.
    """
    names: dict[str, str] = {}
    numbers = {"r": 0, "v": 0}

    def named(match: re.Match[str]) -> str:
        word = match[0]
        if word[0].isdigit():
            return "n"
        family = _family(word)
        if family is None:
            return word
        called = names.get(family)
        if called is None:
            kind = "v" if _WIDE.fullmatch(word) else "r"
            numbers[kind] += 1
            called = names[family] = f"{kind}{numbers[kind]}"
        return called + _width(word)

    found: list[str] = []
    for text in texts:
        if text[0] == "j" and not text.startswith("jmp"):
            found.append("jcc")  # which condition, and where to, says little of what is done
        else:
            found.append(_WORDS.sub(named, _SIZES.sub("", text)).replace(" - n", " + n"))
    return tuple(found)


_WORDS = re.compile(r"(?<![\w*])(?:0x[0-9a-f]+|\d+|[a-z]\w*(?:\(\d\))?)")
_SIZES = re.compile(r"\b(?:[a-z]+word|byte) ptr ")


@functools.cache
def _width(name: str) -> str:
    """What tells a part of a register from the whole."""
    if _WIDE.fullmatch(name):
        return ""
    if re.fullmatch(r"r\d+", name) or (len(name) == 3 and name[0] == "r"):
        return ""
    if name[0] == "e" or name[-1] == "d":
        return ".32"
    return ".8" if name[-1] in "lhb" else ".16"


@functools.cache
def _family(name: str) -> str | None:
    """What al, ax, eax and rax have in common; None for registers that are known by their own names."""
    if _WIDE.fullmatch(name):
        return re.sub(r"^[xyz]mm", "v", name)
    if re.fullmatch(r"r\d+[dwb]?", name):
        return name.rstrip("dwb")
    short = name.lstrip("er") if len(name) == 3 else name
    if re.fullmatch(r"[abcd][hlx]", short):
        return short[0] + "x"
    if short.removesuffix("l") in ("si", "di", "bp"):
        return short.removesuffix("l")
    return None
