"""Members of many objects at once, against one by one; and the other short cuts to a kernel's words."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bridge.kernel.kernel import Kernel
from bridge.kernel.lists import Peek
from bridge.kernel.members import Members
from bridge.kernel.paging import walk
from bridge.memory.physical import PhysicalReader
from tests.bridge.kernel.conftest import HeldRam, LiveGuest
from tests.bridge.kernel.test_structures import DIRECT, MEMORY_BYTES, kernel_space

RANDOM = np.random.default_rng(5).integers(0, 256, MEMORY_BYTES, dtype=np.uint8)
sizes = st.sampled_from([1, 2, 4, 8])


@given(
    places=st.lists(st.tuples(st.integers(0, 500), sizes), min_size=1, max_size=6),
    objects=st.lists(st.integers(0x3000, MEMORY_BYTES // 8 + 200), max_size=20),
    text=st.tuples(st.integers(0, 300), st.integers(1, 40)),
)
def test_members_of_many_objects_are_as_those_of_each(
    places: list[tuple[int, int]], objects: list[int], text: tuple[int, int]
) -> None:
    memory = RANDOM.copy()
    memory[:0x3000] = 0
    space = kernel_space(memory)
    # A member of a struct lies at a multiple of its size.
    named = {f"m{i}": (offset * size, size) for i, (offset, size) in enumerate(places)} | {"text": text}
    addresses = [DIRECT + 8 * place for place in objects]
    told = Members(named).read(space, np.array(addresses, np.uint64))
    for row, address in enumerate(addresses):
        end = max(offset + size for offset, size in named.values())
        inside = address - DIRECT + -(-end // 8) * 8 <= MEMORY_BYTES
        assert bool(told.ok[row]) == inside
        if not inside:
            continue
        for name, (offset, size) in named.items():
            raw = memory[address - DIRECT + offset : address - DIRECT + offset + size].tobytes()
            if name == "text":
                assert told.raw(name)[row] == raw
                assert told.text(name)[row] == raw.split(b"\0")[0].decode("utf-8", "backslashreplace")
            else:
                assert int(told.u64(name)[row]) == int.from_bytes(raw, "little")
                assert int(told.i64(name)[row]) == int.from_bytes(raw, "little", signed=True)


def test_a_search_of_mappings_finds_what_a_walk_finds(live: LiveGuest) -> None:
    with live.shell.held():  # stacks of threads come and go among them
        search_finds_what_a_walk_finds(live.kernel)


def search_finds_what_a_walk_finds(kernel: Kernel) -> None:
    mappings = walk(kernel.reader, kernel.space.root, kernel.levels, half="kernel")
    rng = np.random.default_rng(7)
    some = rng.integers(0, len(mappings.vaddrs), 500)
    inside = mappings.vaddrs[some] + rng.integers(0, 4096, 500).astype(np.uint64)
    beside = rng.integers(1 << 63, 1 << 64, 500, dtype=np.uint64)
    ends = mappings.vaddrs[some] + mappings.sizes[some]
    for vaddrs in (inside, beside, ends, np.zeros(1, np.uint64)):
        paddrs, mapped = mappings.translate(vaddrs)
        expected, expected_mapped = super(type(kernel.space), kernel.space).translate(vaddrs)
        assert mapped.tolist() == expected_mapped.tolist()
        assert paddrs[mapped].tolist() == expected[mapped].tolist()
    nothing = walk(PhysicalReader(HeldRam(np.zeros(8192, np.uint8))), 0, 4).translate(inside)
    assert not nothing[1].any()


def test_words_of_the_image_are_read_as_they_are_now(live: LiveGuest) -> None:
    kernel, peek = live.kernel, Peek(live.kernel.space)
    with live.shell.held():  # the first word of `init_task` says whether it idles
        for name in ("init_task", "modules", "linux_banner"):
            at = kernel.symbols.address(name) & ~7
            assert peek(at) == peek(at) == kernel.space.word(at)
    assert peek(kernel.symbols.address("linux_banner") + 1) == kernel.space.word(
        kernel.symbols.address("linux_banner") + 1
    )
    jiffies = kernel.symbols.address("jiffies")
    before = peek(jiffies)
    live.shell.run("sleep 1")
    assert peek(jiffies) > before, "it is not remembered"
