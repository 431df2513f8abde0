"""The compiled loops: the hash is the one that is defined, exactness does not rest on it, and hand-over never tears."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba.core.dispatcher import Dispatcher

from bridge.memory import native, scan
from bridge.memory.physical_map import PAGE_BYTES
from bridge.memory.ram import GuestRam
from bridge.memory.shadow import CHUNK_PAGES, WORDS_A_PAGE, Shadow, create_shadow, hash_of_page
from tests.bridge.memory.ram_file import RamFile, ram_file


class Bench:
    """RAM with a shadow, and the loops called by hand."""

    def __init__(self, file: RamFile, *, n_hot: int = 16) -> None:
        self.file = file
        self.ram = GuestRam.open(file.path)
        self.words = self.ram.bytes.view(np.uint64)
        self.shadow: Shadow = create_shadow(self.ram)
        self.hot = np.zeros(n_hot, np.uint32)
        self.state = np.zeros(scan.N_STATE, np.int64)
        self.next_page = 0

    def sweep(self, budget: int = 1 << 30, *, cycle: int = 0, now_s: float = 0.0) -> bool:
        if self.state[scan.POSITION] >= self.ram.n_pages:
            self.state[scan.POSITION] = 0
        self.state[[scan.CHECKED, scan.CHANGED, scan.FRESH]] = 0
        return scan.sweep(self.file.fd, self.words, self.shadow, self.hot, self.state, budget, cycle, now_s)

    def look_at_hot(self, budget: int) -> bool:
        self.state[[scan.CHECKED, scan.CHANGED, scan.FRESH]] = 0
        return scan.look_at_hot(self.file.fd, self.words, self.shadow, self.hot, self.state, budget, 0.0)

    def take(self, limit: int) -> tuple[list[int], np.ndarray[Any, np.dtype[np.uint8]], float]:
        pages, words = np.zeros(limit, np.uint32), np.zeros(limit * WORDS_A_PAGE, np.uint64)
        count, self.next_page, oldest_s = scan.take_pending(self.shadow, pages, words, self.next_page)
        return pages[:count].tolist(), words.view(np.uint8).reshape(-1, PAGE_BYTES)[:count], oldest_s

    def shadow_pages(self) -> np.ndarray[Any, np.dtype[np.uint8]]:
        return self.shadow.words.view(np.uint8).reshape(-1, PAGE_BYTES)


_hash: Callable[..., Any] = cast(Any, scan)._page_hash
_store_page: Callable[..., Any] = cast(Any, scan)._store_page


@settings(deadline=None)  # the first call compiles
@given(st.integers(0, 2**32), st.sampled_from([0, 1, 2**32 - 1, 2**63, 2**64 - 1]), st.integers(0, WORDS_A_PAGE))
def test_the_hash_is_nh(seed: int, extreme: int, n_extreme: int) -> None:
    rng = np.random.default_rng(seed)
    words = rng.integers(0, 2**64, 2 * WORDS_A_PAGE, np.uint64)  # and a page ahead, as in RAM
    words[rng.permutation(WORDS_A_PAGE)[:n_extreme]] = extreme
    key = rng.integers(0, 2**64, WORDS_A_PAGE, np.uint64)
    assert tuple(map(int, _hash(words, key, 0))) == hash_of_page(words[:WORDS_A_PAGE], key)


def test_the_hash_sees_every_single_bit() -> None:
    with ram_file(1) as file:
        shadow = Bench(file).shadow
    words = np.random.default_rng(1).integers(0, 2**64, 2 * WORDS_A_PAGE, np.uint64)
    seen = {_hash(words, shadow.key, 0)}
    for bit in range(PAGE_BYTES * 8):
        words[bit // 64] ^= np.uint64(1 << bit % 64)
        seen.add(_hash(words, shadow.key, 0))
        words[bit // 64] ^= np.uint64(1 << bit % 64)
    assert len(seen) == PAGE_BYTES * 8 + 1


def test_every_shadow_has_a_key_of_its_own() -> None:
    with ram_file(1) as file:
        assert not np.array_equal(Bench(file).shadow.key, Bench(file).shadow.key)


def test_a_sweep_makes_the_shadow_equal_to_ram() -> None:
    with ram_file(200) as file:
        bench = Bench(file)
        rng = np.random.default_rng(2)
        for _ in range(20):
            for page in rng.integers(0, 200, 30):
                if rng.random() < 0.3:
                    file.punch_hole(int(page))
                else:
                    file.pages[page, rng.integers(PAGE_BYTES)] = rng.integers(256)
            allocated = file.allocated_bytes
            bench.state[scan.POSITION] = 0
            assert bench.sweep()
            assert np.array_equal(bench.shadow_pages(), file.content())
            assert file.allocated_bytes == allocated
            zero = ~file.content().any(axis=1)
            assert np.array_equal(bench.shadow.is_zero.astype(bool), zero)
            for page in (0, 77, 199):
                words = bench.shadow.words[page * WORDS_A_PAGE : (page + 1) * WORDS_A_PAGE]
                assert tuple(bench.shadow.hashes[page].tolist()) == hash_of_page(words, bench.shadow.key)


def test_what_the_hash_cannot_see_is_found_by_comparing() -> None:
    """A forged collision: the page's new content has the very hash that is known of its old content."""
    with ram_file(CHUNK_PAGES) as file:
        bench = Bench(file)
        for start in (0, 1):
            file.pages[5] = start  # once from a page that was zero, once from one that was not
            bench.sweep()
            file.pages[5, 100] = 200
            words = file.pages[5].view(np.uint64)
            bench.shadow.hashes[5] = hash_of_page(words, bench.shadow.key)
            found = []
            for cycle in range(scan.EXACT_EVERY):
                bench.sweep(cycle=cycle)
                found.append(int(bench.state[scan.CHANGED]))
            assert sum(found) == 1, "found once, in the one exact sweep of eight"
            assert bench.shadow_pages()[5, 100] == 200


def test_a_budget_ends_a_slice_at_a_chunk_and_the_next_goes_on_there() -> None:
    with ram_file(10 * CHUNK_PAGES + 7) as file:
        file.pages[:] = 1
        bench = Bench(file)
        positions = []
        while bench.state[scan.POSITION] < bench.ram.n_pages:
            bench.sweep(100)
            positions.append(int(bench.state[scan.POSITION]))
            assert bench.state[scan.CHECKED] == bench.state[scan.CHANGED] <= 2 * CHUNK_PAGES
        assert positions == [128, 256, 384, 512, 640, 647]
        assert np.array_equal(bench.shadow_pages(), file.content())


def test_holes_cost_no_budget_but_end_no_slice_within_a_chunk() -> None:
    with ram_file(1000) as file:
        file.pages[[10, 500, 510, 640]] = 1
        bench = Bench(file)
        assert bench.sweep(1)
        # On from 10, which used the budget, to the first border of a chunk that is reached: 640.
        assert (bench.state[scan.POSITION], bench.state[scan.CHECKED]) == (640, 3)
        while bench.state[scan.POSITION] < 1000:
            bench.sweep(1)
            assert bench.state[scan.POSITION] % CHUNK_PAGES == 0 or bench.state[scan.POSITION] == 1000
        assert np.array_equal(bench.shadow_pages(), file.content())


@pytest.mark.parametrize("left", [0, 3, 60])
def test_a_shrunken_file_is_not_read(left: int) -> None:
    with ram_file(64) as file:
        file.pages[:4] = 3
        bench = Bench(file)
        bench.sweep()
        os.ftruncate(file.fd, left * PAGE_BYTES)
        assert not bench.sweep()
        assert bench.state[scan.CHANGED] == 0, "what cannot be read is not taken for zero"
        # The hot pages are 0 to 3; all that is left of them comes first.
        assert bench.look_at_hot(4) == (left > 3)
        assert bench.state[scan.CHANGED] == 0


def test_a_hot_page_that_is_given_back_is_zero_and_not_allocated_again() -> None:
    with ram_file(64) as file:
        file.pages[:8] = 3
        bench = Bench(file)
        bench.sweep()
        file.punch_hole(2, 3)
        file.pages[20:40] = 1  # more than was given back: the file as a whole has grown
        allocated = file.allocated_bytes
        assert bench.look_at_hot(8)
        assert file.allocated_bytes == allocated
        assert bench.state[scan.CHANGED] == 3
        assert not bench.shadow_pages()[2:5].any()
        assert bench.look_at_hot(8)
        assert bench.state[scan.CHANGED] == 0


def test_data_that_is_not_in_memory_is_no_hole(tmp_path: Path) -> None:
    """A file on a disk, forgotten by the page cache, stands for RAM that was swapped out."""
    path = tmp_path / "ram"
    content = np.random.default_rng(4).integers(0, 256, (100, PAGE_BYTES), np.uint8)
    content[40:60] = 0
    path.write_bytes(content.tobytes())
    with path.open("rb+") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        ram = GuestRam.open(path)
        shadow, state, hot = create_shadow(ram), np.zeros(scan.N_STATE, np.int64), np.zeros(100, np.uint32)
        words = ram.bytes.view(np.uint64)
        assert scan.sweep(file.fileno(), words, shadow, hot, state, 1000, 0, 0.0)
        assert np.array_equal(shadow.words.view(np.uint8).reshape(-1, PAGE_BYTES), content)
        del words  # what is mapped stays in memory
        ram.close()
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        words = GuestRam.open(path).bytes.view(np.uint64)
        assert scan.look_at_hot(file.fileno(), words, shadow, hot, state, 1000, 0.0)
        assert state[scan.CHANGED] == 80, "no change since the sweep"


def test_changed_pages_are_hot_until_they_cool_down() -> None:
    with ram_file(256) as file:
        file.pages[:] = 1
        bench = Bench(file, n_hot=3)
        bench.sweep()
        assert bench.state[scan.FRESH] == 256
        assert bench.hot[: bench.state[scan.N_HOT]].tolist() == [0, 1, 2], "the list is bounded"
        file.pages[1] = 2
        bench.look_at_hot(10)
        assert (bench.state[scan.CHECKED], bench.state[scan.CHANGED]) == (3, 1)
        for _ in range(scan.HOT_PATIENCE - 1):
            bench.look_at_hot(10)
        assert bench.hot[: bench.state[scan.N_HOT]].tolist() == [1], "this one changed once more"
        assert bench.shadow.heat[[0, 1, 2]].tolist() == [0, 1, 0]
        file.pages[[1, 200]] = 3
        bench.sweep()
        assert bench.state[scan.FRESH] == 1, "a hot page is no news"
        assert sorted(bench.hot[: bench.state[scan.N_HOT]].tolist()) == [1, 200]
        assert bench.shadow.heat[1] == scan.HOT_PATIENCE


def test_a_small_budget_goes_round_the_hot_pages() -> None:
    with ram_file(64) as file:
        file.pages[:10] = 1
        bench = Bench(file)
        bench.sweep()
        file.pages[:10] = 2
        for looks in range(1, 6):
            bench.look_at_hot(2)
            assert bench.state[scan.CHANGED] == 2
            assert (bench.shadow_pages()[:10, 0] == 2).sum() == 2 * looks


def test_take_gives_each_pending_page_once_and_in_turn() -> None:
    with ram_file(3 * CHUNK_PAGES + 5) as file:
        bench = Bench(file)
        assert bench.take(10)[0] == []
        file.pages[:] = np.arange(bench.ram.n_pages, dtype=np.uint8)[:, None] | 1
        bench.sweep(now_s=12.5)
        assert bench.shadow.n_pending() == bench.ram.n_pages
        seen: list[int] = []
        while bench.shadow.n_pending():
            # A page that keeps changing must not keep the others from their turn.
            file.pages[0, 1] += 1
            bench.sweep(now_s=99.0)
            pages, data, oldest_s = bench.take(50)
            assert np.array_equal(data, bench.shadow_pages()[pages])
            assert oldest_s == 12.5 or 0 in seen
            seen += pages
        assert sorted(set(seen)) == list(range(bench.ram.n_pages))
        assert len(seen) <= bench.ram.n_pages + 2
        assert bench.take(50)[0] == []
        assert np.array_equal(bench.shadow.chunk_taken, bench.shadow.chunk_version)


def test_a_page_that_is_being_written_stays_pending() -> None:
    with ram_file(4) as file:
        bench = Bench(file)
        file.pages[:3] = 1
        bench.sweep()
        bench.shadow.version[1] -= 1  # odd: the scanner is at it
        assert bench.take(10)[0] == [0, 2]
        assert bench.take(10)[0] == []
        bench.shadow.version[1] += 1
        assert bench.take(10)[0] == [1]


def test_first_seen_is_the_first_change_that_was_not_taken() -> None:
    with ram_file(4) as file:
        bench = Bench(file)
        for now_s in (10.0, 11.0, 12.0):
            file.pages[2, 0] += 1
            bench.sweep(now_s=now_s)
        assert bench.take(4)[2] == 10.0
        file.pages[2, 0] += 1
        bench.sweep(now_s=13.0)
        assert bench.take(4)[2] == 13.0
        assert bench.take(4)[2] == np.inf


@numba.njit(nogil=True)
def _rewrite(shadow: Shadow, words: Any, stop: Any) -> int:  # pragma: no cover - compiled
    """A scanner in front of which each page holds one value all over, and always another."""
    value = 0
    while not stop[0]:
        value += 1
        for i in range(len(words)):
            words[i] = value
        for page in range(len(shadow.version)):
            _store_page(shadow, words, page, False, 0.0)
    return value


def test_no_page_tears_between_the_threads() -> None:
    """The scanner writes as fast as it can: what is taken is always one value all over, and at last the last one."""
    n_pages = 3
    with ram_file(n_pages) as file:
        bench = Bench(file)
        words, stop = np.zeros((n_pages + 1) * WORDS_A_PAGE, np.uint64), np.ones(1, np.uint8)
        _rewrite(bench.shadow, words, stop)  # compiles
        stop[0] = 0
        last_value: list[int] = []
        thread = threading.Thread(target=lambda: last_value.append(_rewrite(bench.shadow, words, stop)))
        thread.start()
        latest = np.zeros(n_pages, np.uint64)
        n_taken = 0
        began_s = time.monotonic()
        try:
            while time.monotonic() < began_s + 1.5 or n_taken <= 20:
                assert time.monotonic() < began_s + 240, f"{n_taken} pages were taken"
                pages, data, _ = bench.take(n_pages)
                values = data.view(np.uint64)
                assert (values == values[:, :1]).all(), "torn"
                assert (values[:, 0] > latest[pages]).all(), "no page goes back in time, or comes for nothing"
                latest[pages] = values[:, 0]
                n_taken += len(pages)
        finally:
            stop[0] = 1
            thread.join()
        pages, data, _ = bench.take(n_pages)
        latest[pages] = data.view(np.uint64)[:, 0]
        assert latest.tolist() == last_value * n_pages


def test_memory_that_is_zero_costs_the_shadow_none() -> None:
    with ram_file(CHUNK_PAGES) as file:
        file.pages[:] = 0  # allocated, and zero
        bench = Bench(file)
        for cycle in range(scan.EXACT_EVERY):
            bench.sweep(cycle=cycle)
        assert bench.state[scan.CHECKED] == CHUNK_PAGES
        assert _n_touched(bench.shadow) == 0
        file.pages[7] = 1
        bench.sweep()
        assert _n_touched(bench.shadow) == 1


def _n_touched(shadow: Shadow) -> int:
    """Pages of the shadow that have a page table entry (bit 63 in /proc/self/pagemap)."""
    with Path("/proc/self/pagemap").open("rb", buffering=0) as pagemap:
        pagemap.seek(shadow.words.ctypes.data // PAGE_BYTES * 8)
        entries = np.frombuffer(pagemap.read(len(shadow.version) * 8), np.uint64)
    return int(np.count_nonzero(entries >> np.uint64(63)))


def test_copy_changed_copies_what_differs() -> None:
    rng = np.random.default_rng(3)
    ram = rng.integers(0, 2**64, 20 * WORDS_A_PAGE, np.uint64)
    copy, changed = ram.copy(), np.zeros(20, np.uint8)
    differing = [3, 4, 9, 19]
    copy.reshape(20, -1)[differing, rng.integers(WORDS_A_PAGE, size=4)] ^= np.uint64(1)
    assert scan.copy_changed(ram, copy, 4, 20, changed) == 3
    assert np.flatnonzero(changed).tolist() == [4, 9, 19]
    assert np.flatnonzero((ram != copy).reshape(20, -1).any(axis=1)).tolist() == [3]


def test_ordered_loads_and_stores_compile_to_what_they_say() -> None:
    """Compiled here and now, since the kept code of the loops would hide what is generated."""

    @numba.njit
    def move(source: Any, target: Any) -> int:  # pragma: no cover - compiled
        native.prefetch(source.ctypes.data)
        value = native.load_acquire_u32(source.ctypes.data)
        native.fence()
        native.store_release_u32(target.ctypes.data, value)
        return native.lseek(-1, 0, 0)

    source, target = np.array([123], np.uint32), np.zeros(1, np.uint32)
    assert move(source, target) == -1
    assert target[0] == 123
    (code,) = cast(Any, move).inspect_llvm().values()
    assert "load atomic i32" in code
    assert "acquire" in code
    assert "store atomic i32" in code
    assert "release" in code
    assert "fence acq_rel" in code
    assert "prefetch" in code


@numba.njit
def _add_products(low: Any, high: Any, words: Any, key: Any) -> Any:  # pragma: no cover - compiled
    return native.add_products(low, high, words.ctypes.data, key.ctypes.data)


@numba.njit
def _bits(words: Any, others: Any) -> Any:  # pragma: no cover - compiled
    return native.any_bits(words.ctypes.data), native.differing_bits(words.ctypes.data, others.ctypes.data)


word = st.integers(0, 2**64 - 1) | st.sampled_from([0, 1, 2**63, 2**64 - 1])


@settings(deadline=None)  # the first call compiles
@given(word, word, *[st.lists(word, min_size=native.PRODUCT_WORDS, max_size=native.PRODUCT_WORDS)] * 2)
def test_sums_of_products_of_128_bits(low: int, high: int, words: list[int], key: list[int]) -> None:
    result = _add_products(np.uint64(low), np.uint64(high), np.array(words, np.uint64), np.array(key, np.uint64))
    keyed = [(left + right) % 2**64 for left, right in zip(words, key, strict=True)]
    total = (high << 64 | low) + sum(keyed[i] * keyed[i + 1] for i in range(0, native.PRODUCT_WORDS, 2))
    assert int(result[0]) | int(result[1]) << 64 == total % 2**128


@settings(deadline=None)
@given(st.integers(0, native.VECTOR_WORDS - 1), st.integers(0, 63), st.integers(0, 2**32))
def test_every_bit_of_a_vector_counts(at: int, bit: int, seed: int) -> None:
    words = np.random.default_rng(seed).integers(0, 2**64, native.VECTOR_WORDS + 1, np.uint64)
    others = words.copy()
    others[-1] ^= np.uint64(1)  # past the end, and none of its business
    assert _bits(words, others) == (np.bitwise_or.reduce(words[:-1]), 0)
    others[at] ^= np.uint64(1 << bit)
    assert _bits(words, others)[1] == 1 << bit
    nothing = np.zeros(native.VECTOR_WORDS, np.uint64)
    assert _bits(nothing, nothing) == (0, 0)
    nothing[at] = 1 << bit
    assert _bits(nothing, nothing) == (1 << bit, 0)


def test_kept_code_belongs_to_the_sources_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = Path(native.__file__).parent
    for name in native._SOURCES:
        (tmp_path / f"{name}.py").write_bytes((here / f"{name}.py").read_bytes())
    monkeypatch.setattr(native, "__file__", str(tmp_path / "native.py"))
    names = {native.kept_code_dir().name}
    assert native.kept_code_dir().parent == tmp_path / "__pycache__"
    assert names == {native.kept_code_dir().name}
    for name in native._SOURCES:
        with (tmp_path / f"{name}.py").open("a") as source:
            source.write("# changed\n")
        names.add(native.kept_code_dir().name)
    assert len(names) == 1 + len(native._SOURCES)

    old, other = tmp_path / "__pycache__" / "loops-0123", tmp_path / "__pycache__" / "scan.py311.pyc"
    for path in (old, native.kept_code_dir()):
        path.mkdir(parents=True)
        (path / "file").touch()
    other.touch()
    native.forget_old_code()
    assert not old.exists()
    assert native.kept_code_dir().exists()
    assert other.exists()


def test_code_is_kept_in_the_cache_when_the_source_cannot_be_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert native.kept_code_dir().parent == tmp_path / "glassbox" / "compiled"


def test_loops_compile_where_nothing_can_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def enable_caching(_: Any) -> None:
        assert str(native.kept_code_dir()) == cast(Any, numba.config).CACHE_DIR
        raise RuntimeError("cannot cache function: no locator available")

    monkeypatch.setattr(Dispatcher, "enable_caching", enable_caching)

    @native.compiled(nogil=True)
    def double(x: int) -> int:  # pragma: no cover - compiled
        return 2 * x

    assert double(21) == 42
    assert str(native.kept_code_dir()) != cast(Any, numba.config).CACHE_DIR, "others keep their setting"


def test_loops_of_two_rooms_load_at_once_and_are_kept_in_their_places() -> None:
    """The window's picture and its scanner both begin by loading compiled code, each in a thread: neither may hold what
    the other waits for, nor take the other's directory for its own.
    """
    code = """
import subprocess
import sys
import threading
from pathlib import Path
go = threading.Barrier(2)
def scanner():
    go.wait()
    from bridge.memory import native, scan
    assert Path(scan.sweep._cache.cache_path).parent == native.kept_code_dir(), scan.sweep._cache.cache_path
def picture():
    go.wait()
    from render import classify, compiled
    kept = classify.classify._cache.cache_path
    assert Path(kept).parent == compiled.kept_code_dir(), kept
threads = [threading.Thread(target=work, daemon=True) for work in (scanner, picture)]
[thread.start() for thread in threads]
[thread.join(300) for thread in threads]
print([thread.is_alive() for thread in threads])
"""
    root = Path(__file__).resolve().parents[3]
    for _ in range(4):
        ended = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=700, cwd=root
        )
        assert ended.stdout.strip() == "[False, False]", ended.stderr
        assert not ended.stderr
