"""Notes, lists and maple trees: made by hand, torn, and damaged."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.kernel.errors import NoKernelFound, NotMapped
from bridge.kernel.lists import Peek, Torn, list_nodes, retried
from bridge.kernel.maple import entries_of_trees
from bridge.kernel.paging import LARGE, PRESENT, WRITABLE
from bridge.kernel.space import KernelSpace
from bridge.kernel.vmcoreinfo import find_vmcoreinfo, note_texts, parse_vmcoreinfo
from bridge.memory.physical import PhysicalReader
from tests.bridge.kernel.conftest import HeldRam, write_words

DIRECT = 0xFFFF_8880_0000_0000
MEMORY_BYTES = 1 << 21


def kernel_space(memory: np.ndarray) -> KernelSpace:
    """A space whose direct map is one large page; its tables take the first three pages."""
    slot = DIRECT >> 39 & 511
    write_words(memory, slot * 8, [0x1000 | PRESENT | WRITABLE])
    write_words(memory, 0x1000, [0x2000 | PRESENT | WRITABLE])
    write_words(memory, 0x2000, [LARGE | PRESENT | WRITABLE])
    space = KernelSpace(PhysicalReader(HeldRam(memory)), 0, 4, 0)
    assert space.confirm(DIRECT)
    return space


@pytest.fixture
def memory() -> np.ndarray:
    return np.zeros(MEMORY_BYTES, np.uint8)


def test_reads_by_virtual_address(memory: np.ndarray) -> None:
    space = kernel_space(memory)
    memory[0x5FFC:0x6004] = np.frombuffer(b"glassbox", np.uint8)
    at = DIRECT + 0x5FFC
    assert space.read(at, 8) == b"glassbox"
    assert space.string(at) == "glassbox"
    assert space.string(at, limit=3) == "gla"
    assert space.read(at, 0) == b""
    rows, mapped = space.rows(np.array([at, DIRECT + MEMORY_BYTES, 0x1000], np.uint64), 8)
    assert mapped.tolist() == [True, False, False]
    assert rows[0].tobytes() == b"glassbox"
    assert not rows[1:].any()
    rows, mapped = space.rows(np.array([DIRECT + MEMORY_BYTES - 4], np.uint64), 8)
    assert mapped.tolist() == [False], "half of the object lies beyond the RAM"
    for vaddr, length in ((0x1000, 8), (-1, 4), ((1 << 64) - 4, 8), (DIRECT, 1 << 30)):
        with pytest.raises(NotMapped):
            space.read(vaddr, length)
    assert not space.confirm(DIRECT + 0x1000)
    assert not space.confirm(DIRECT + 1)


def put_list(memory: np.ndarray, head: int, nodes: list[int]) -> None:
    ring = [head, *nodes]
    for before, node, after in zip([ring[-1], *ring[:-1]], ring, [*ring[1:], ring[0]], strict=True):
        write_words(memory, node, [DIRECT + after, DIRECT + before])


@given(st.lists(st.integers(0x1000, MEMORY_BYTES // 16 - 1), unique=True, max_size=50))
@settings(max_examples=30)
def test_lists_are_walked_in_order(places: list[int]) -> None:
    memory = np.zeros(MEMORY_BYTES, np.uint8)
    space = kernel_space(memory)
    nodes = [16 * place for place in places]
    put_list(memory, 0x8000, [node for node in nodes if node != 0x8000])
    expected = [DIRECT + node for node in nodes if node != 0x8000]
    if any(node < 0x3000 for node in nodes):
        return
    assert list_nodes(Peek(space), DIRECT + 0x8000, 100) == expected


def test_torn_lists_are_said_and_asked_again(memory: np.ndarray) -> None:
    space = kernel_space(memory)
    peek = Peek(space)
    put_list(memory, 0x8000, [0x9000, 0xA000, 0xB000])
    assert len(list_nodes(peek, DIRECT + 0x8000, 3)) == 3
    with pytest.raises(Torn, match="does not end after 2"):
        list_nodes(peek, DIRECT + 0x8000, 2)
    write_words(memory, 0xA008, [DIRECT + 0x8000])
    with pytest.raises(Torn, match="torn after 1"):
        list_nodes(peek, DIRECT + 0x8000, 9)
    write_words(memory, 0x9000, [0x123])
    with pytest.raises(Torn):
        list_nodes(peek, DIRECT + 0x8000, 9)
    write_words(memory, 0x9000, [0x120])
    with pytest.raises(NotMapped):
        list_nodes(peek, DIRECT + 0x8000, 9)
    answers: Iterator[Exception | list[int]] = iter([Torn("once"), NotMapped(1), [7]])

    def read() -> list[int]:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert retried(read) == ([7], 2)
    with pytest.raises(NotMapped):
        retried(lambda: list_nodes(peek, DIRECT + 0x8000, 9))


class Tree:
    """Writes maple trees into made-up RAM, by the layouts of the kernel's header."""

    def __init__(self, memory: np.ndarray) -> None:
        self.memory = memory
        self.next = 0x10000

    def node(self, kind: int, pivots: list[int], slots: list[int]) -> int:
        n_pivots = 9 if kind == 3 else 15
        at, self.next = self.next, self.next + 256
        assert self.next < 0x100000
        words = [0, *(pivots + [0] * n_pivots)[:n_pivots], *(slots + [0] * 16)[: n_pivots + 1]]
        write_words(self.memory, at, words)
        return DIRECT + at | kind << 3 | 4

    def root(self, node: int) -> int:
        return node | 2


def test_maple_trees_of_every_node_type(memory: np.ndarray) -> None:
    space, tree = kernel_space(memory), Tree(memory)
    top = 2**64 - 1
    values = [DIRECT + 0x100000 + 64 * i for i in range(40)]
    low = tree.node(1, [9, 19, 29], [values[0], 0, values[1]])
    full = tree.node(1, list(range(100, 115)), values[2:18])  # all sixteen slots: the last has no pivot
    stale = tree.node(1, [999, top], [values[18], values[19], values[30], values[31]])
    inner = tree.node(2, [50, 200], [low, full])
    root = tree.root(tree.node(3, [200, top], [inner, stale]))
    owners, entries, complete = entries_of_trees(space, np.array([root, 0, values[20], root], np.uint64), 1000)
    assert complete
    assert sorted(entries[owners == 0].tolist()) == values[:20], "what lies behind the node's end is left over"
    assert entries[owners == 2].tolist() == [values[20]]
    assert sorted(entries[owners == 3].tolist()) == values[:20]
    assert not (owners == 1).any()


def test_damaged_maple_trees_end(memory: np.ndarray) -> None:
    space, tree = kernel_space(memory), Tree(memory)
    loop = DIRECT + tree.next | 2 << 3 | 4
    tree.node(2, list(range(1, 16)), [loop] * 16)
    _, entries, complete = entries_of_trees(space, np.array([tree.root(loop)], np.uint64), 5000)
    assert not complete
    assert not len(entries)
    nowhere = tree.root(tree.node(2, [10, 2**64 - 1], [0x1234000C, 0x56780014]))
    assert entries_of_trees(space, np.array([nowhere], np.uint64), 5000)[2] is False
    rng = np.random.default_rng(3)
    for _ in range(50):
        memory[0x10000:0x14000] = rng.integers(0, 256, 0x4000, np.uint8)
        entries_of_trees(space, np.array([tree.root(DIRECT + 0x10000 | k << 3) for k in range(16)], np.uint64), 5000)


NOTE = """OSRELEASE=6.1.0-test
BUILD-ID=0123456789abcdef
SYMBOL(swapper_pg_dir)=ffffffff82a10000
NUMBER(phys_base)=-16777216
NUMBER(pgtable_l5_enabled)=1
NUMBER(VMALLOC_START)=0xffffc90000000000
OFFSET(page.flags)=0
SIZE(page)=64
KERNELOFFSET=1e000000
nonsense
SYMBOL(bad)=xyz
"""


def test_notes_are_understood() -> None:
    info = parse_vmcoreinfo(NOTE)
    assert (info.release, info.build_id, info.kernel_offset) == ("6.1.0-test", "0123456789abcdef", 0x1E000000)
    assert info.symbols == {"swapper_pg_dir": 0xFFFFFFFF82A10000}
    assert info.phys_base == -16777216
    assert info.five_level
    assert info.numbers["VMALLOC_START"] == 0xFFFFC90000000000
    assert info.numbers["SIZE(page)"] == 64
    assert parse_vmcoreinfo(NOTE.replace("0123456789abcdef", "../../etc")).build_id == ""
    for text in ("", "OSRELEASE=1", "NUMBER(phys_base)=0"):
        with pytest.raises(NoKernelFound):
            parse_vmcoreinfo(text)


def test_a_note_that_is_being_written_is_none_yet() -> None:
    """A kernel writes it line by line while it boots; where it was moved to stands near the end."""
    whole = NOTE.index("KERNELOFFSET=1e000000\n") + len("KERNELOFFSET=1e000000\n")
    for n in range(whole):
        with pytest.raises(NoKernelFound):
            parse_vmcoreinfo(NOTE[:n])
    for n in range(whole, len(NOTE)):
        assert parse_vmcoreinfo(NOTE[:n]).kernel_offset == 0x1E000000


def test_notes_are_found_once_each(memory: np.ndarray) -> None:
    reader = PhysicalReader(HeldRam(memory))

    def put(at: int, text: str) -> None:
        memory[at : at + len(text)] = np.frombuffer(text.encode(), np.uint8)

    for at in (0x100, MEMORY_BYTES - len(NOTE)):
        put(at, NOTE)
    put(0x9000, "OSRELEASE=1.2.3\0")
    assert list(find_vmcoreinfo(reader)) == [], "no kernel keeps its note there"
    assert [info.release for info in find_vmcoreinfo(reader, anywhere=True)] == ["6.1.0-test"]
    put(0x5000, NOTE)
    put(0x7018, NOTE)
    assert [info.release for info in find_vmcoreinfo(reader)] == ["6.1.0-test"]
    assert note_texts(reader) == {NOTE}
    put(0x7018, NOTE.replace("6.1.0", "6.2.0"))
    assert [info.release for info in find_vmcoreinfo(reader)] == ["6.1.0-test", "6.2.0-test"]


def test_memory_full_of_notes_takes_bounded_time(memory: np.ndarray) -> None:
    pages = memory.reshape(-1, 4096)
    for page in range(len(pages)):
        text = f"{NOTE}PAGE={page}\n"
        pages[page, : len(text)] = np.frombuffer(text.encode(), np.uint8)
    reader = PhysicalReader(HeldRam(memory))
    assert len(note_texts(reader)) == min(len(pages), 256)
    assert len(list(find_vmcoreinfo(reader, anywhere=True))) == min(len(pages), 256)


@given(st.text("OSRELEASE=BUILD-ID()NUMBERphys_base0123456789\nSYMBOL", max_size=400))
def test_any_text_is_a_note_or_none(text: str) -> None:
    with contextlib.suppress(NoKernelFound):
        parse_vmcoreinfo(text)


@pytest.mark.parametrize("compiled", [False, True])
def test_words_of_no_objects_are_none(compiled: bool) -> None:
    space = KernelSpace(PhysicalReader(HeldRam(np.zeros(8192, np.uint8))), 0, 4, 0)
    if compiled:
        space.remember()
    assert space.remembers is compiled
    for n_objects, n_offsets in ((0, 3), (2, 0), (0, 0)):
        values, mapped = space.words_of(np.zeros(n_objects, np.uint64), np.zeros(n_offsets, np.uint64))
        assert values.shape == mapped.shape == (n_objects, n_offsets)
