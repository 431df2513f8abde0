"""What is remembered of a kernel is what would be decoded anew, whatever guests claim and whatever befell the files."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import resource
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.kernel import kernel as kernel_module
from bridge.kernel import symbol_cache
from bridge.kernel.errors import BadCacheEntry, BadSymbolTable
from bridge.kernel.kallsyms import Names, RawNames, Tables, copy_names, decode_names, read_addresses
from bridge.kernel.kernel import Kernel, find_kernel
from bridge.kernel.snapshot import Introspector
from bridge.kernel.symbol_cache import MAX_ENTRY_BYTES, SWITCH, Entry, SymbolCache, decode_entry, encode_entry
from bridge.memory.physical import PhysicalReader
from tests.bridge.kernel.conftest import HeldRam
from tests.bridge.kernel.test_kallsyms import BASE, ORDERS, Image, many

Ram = npt.NDArray[np.uint8]
BUILD = "0123456789abcdef" * 2


@pytest.fixture
def cache(tmp_path: Path) -> SymbolCache:
    return SymbolCache(tmp_path / "symbols")


@pytest.fixture(scope="module")
def genuine(dump: Ram) -> Kernel:
    """What is decoded, without a cache."""
    return found(dump)


def entry_of(read: Callable[[int, int], bytes], tables: Tables) -> Entry:
    raw = copy_names(read, tables)
    names = decode_names(raw)
    return Entry(raw.digest(names.names_bytes), names, np.arange(7, dtype=np.int32))


def small_entry(n: int = 300) -> Entry:
    image = Image(many(n), "after")
    return entry_of(image.read, image.tables)


def same(ours: Entry | None, theirs: Entry) -> bool:
    return (
        ours is not None
        and (ours.digest, ours.names.text, ours.names.names_bytes)
        == (theirs.digest, theirs.names.text, theirs.names.names_bytes)
        and np.array_equal(ours.names.types, theirs.names.types)
        and np.array_equal(ours.starts, theirs.starts)
    )


def found(data: Ram, cache: SymbolCache | None = None) -> Kernel:
    return find_kernel(PhysicalReader(HeldRam(data)), cache=cache)


def assert_same_kernel(ours: Kernel, theirs: Kernel) -> None:
    assert ours.symbols.symbols.names == theirs.symbols.symbols.names
    assert np.array_equal(ours.symbols.symbols.addresses, theirs.symbols.symbols.addresses)
    assert np.array_equal(ours.symbols.symbols.types, theirs.symbols.symbols.types)
    assert (ours.release, ours.build_id, ours.space.root) == (theirs.release, theirs.build_id, theirs.space.root)
    assert (ours.types is None) == (theirs.types is None)
    if ours.types is not None and theirs.types is not None:
        assert np.array_equal(ours.types.starts, theirs.types.starts)
        assert ours.types.layout(ours.types.struct("task_struct")) == theirs.types.layout(
            theirs.types.struct("task_struct")
        )


@contextmanager
def nothing_is_decoded() -> Iterator[None]:
    """What comes out in here was remembered."""

    def refuse(raw: RawNames) -> Names:
        raise AssertionError("decoded anew")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel_module, "decode_names", refuse)
        yield


def files_of(cache: SymbolCache) -> list[Path]:
    return sorted(cache.directory.iterdir())


def note_of(data: Ram) -> int:
    """Where the kernel's own note is in RAM, at the beginning of a page."""
    pages = data.reshape(-1, 4096)[:, :10]
    (page,) = np.flatnonzero((pages == np.frombuffer(b"OSRELEASE=", np.uint8)).all(axis=1)).tolist()
    return int(page) << 12


def with_note(data: Ram, change: Callable[[str], str]) -> Ram:
    """A copy with another note, and no second copy of the old one."""
    data = data.copy()
    at = note_of(data)
    text = data[at : at + 4096].tobytes().split(b"\0", 1)[0]
    for place in np.flatnonzero(data.reshape(-1, 4096)[:, 24] == ord("O")).tolist():
        if data[(place << 12) + 24 :][: len(text)].tobytes() == text:
            data[place << 12 :][:4096] = 0
    changed = change(text.decode()).encode()
    data[at : at + 4096] = 0
    data[at : at + len(changed)] = np.frombuffer(changed, np.uint8)
    return data


# ----- whole kernels


def test_the_second_time_all_is_remembered(dump: Ram, genuine: Kernel, cache: SymbolCache) -> None:
    assert_same_kernel(found(dump, cache), genuine)
    usage = cache.usage()
    assert (usage.n_entries, usage.directory) == (1, cache.directory)
    assert 1 << 20 < usage.size_bytes < MAX_ENTRY_BYTES
    assert cache.directory.stat().st_mode & 0o777 == 0o700
    with nothing_is_decoded():
        again = found(dump, cache)
    assert_same_kernel(again, genuine)
    assert genuine.types is not None
    assert decode_entry(files_of(cache)[0].read_bytes()).starts.tolist() == genuine.types.starts.tolist()
    assert len(Introspector(again).look().processes) > 20


def test_two_kernels_that_claim_one_build_id_are_told_apart(dump: Ram, genuine: Kernel, cache: SymbolCache) -> None:
    """Another kernel under the same number: its names differ, its note does not."""
    assert genuine.info is not None
    other = dump.copy()
    tokens = genuine.space.image_paddr(genuine.info.symbols["kallsyms_token_table"])
    table = other[tokens : tokens + 4096]
    letters = np.flatnonzero(table == ord("s"))[:4]
    table[letters] = ord("z")
    theirs = found(other)
    assert theirs.build_id == genuine.build_id
    assert theirs.symbols.symbols.names != genuine.symbols.symbols.names
    for _ in range(2):
        assert_same_kernel(found(other, cache), theirs)
        assert_same_kernel(found(dump, cache), genuine)
    assert cache.usage().n_entries == 2
    with nothing_is_decoded():
        assert_same_kernel(found(other, cache), theirs)
        assert_same_kernel(found(dump, cache), genuine)


def test_what_is_kept_is_of_the_bytes_that_were_decoded(
    dump: Ram, genuine: Kernel, cache: SymbolCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A guest that shows other tables while they are decoded, and the true ones before and after."""
    assert genuine.info is not None
    tokens = genuine.space.image_paddr(genuine.info.symbols["kallsyms_token_table"])
    moving = dump.copy()
    letters = tokens + np.flatnonzero(moving[tokens : tokens + 4096] == ord("s"))[:4]
    moving[letters] = ord("z")

    def decode(raw: RawNames) -> Names:
        moving[letters] = ord("s")
        return decode_names(raw)

    monkeypatch.setattr(kernel_module, "decode_names", decode)
    attacker = found(moving, cache)
    assert attacker.symbols.symbols.names != genuine.symbols.symbols.names
    monkeypatch.undo()
    assert np.array_equal(moving, dump)
    assert_same_kernel(found(moving, cache), genuine)


def test_a_note_that_points_beside_the_tables_misleads_nobody_else(
    dump: Ram, genuine: Kernel, cache: SymbolCache
) -> None:
    """The offsets of every symbol's successor: some marks share an address, so that this could pass for right."""
    assert genuine.info is not None
    true_place = genuine.info.symbols["kallsyms_offsets"]

    def shifted(text: str) -> str:
        assert f"SYMBOL(kallsyms_offsets)={true_place:x}" in text
        return text.replace(f"SYMBOL(kallsyms_offsets)={true_place:x}", f"SYMBOL(kallsyms_offsets)={true_place - 4:x}")

    attacker = found(with_note(dump, shifted), cache)
    if attacker.info is None:  # where no two marks share one, it is found out
        assert_same_kernel(found(dump, cache), genuine)
        return
    assert not np.array_equal(attacker.symbols.symbols.addresses, genuine.symbols.symbols.addresses)
    assert cache.usage().n_entries == 1
    with nothing_is_decoded():
        assert_same_kernel(found(dump, cache), genuine)


def test_a_kernel_without_build_id_is_not_kept(dump: Ram, genuine: Kernel, cache: SymbolCache) -> None:
    data = with_note(dump, lambda text: "".join(line for line in text.splitlines(True) if "BUILD-ID" not in line))
    kernel = found(data, cache)
    assert kernel.info is not None
    assert kernel.build_id == ""
    assert_same_kernel(dataclasses.replace(kernel, build_id=genuine.build_id), genuine)
    assert not cache.directory.exists()


def test_a_kernel_without_types_is_kept_and_gains_them(dump: Ram, genuine: Kernel, cache: SymbolCache) -> None:
    data = dump.copy()
    paddr = genuine.space.image_paddr(genuine.symbols.address("__start_BTF"))
    data[paddr : paddr + 24] = 0
    bare = found(data, cache)
    assert bare.types is None
    with nothing_is_decoded():
        assert_same_kernel(found(data, cache), bare)
        assert_same_kernel(found(dump, cache), genuine)
    assert genuine.types is not None
    (path,) = files_of(cache)
    assert decode_entry(path.read_bytes()).starts.tolist() == genuine.types.starts.tolist()


def test_wrong_starts_of_types_do_no_harm(dump: Ram, genuine: Kernel, cache: SymbolCache) -> None:
    """An entry with a good checksum whose records begin elsewhere: it is found out and made anew."""
    found(dump, cache)
    (path,) = files_of(cache)
    kept = path.read_bytes()
    entry = decode_entry(kept)
    starts = entry.starts
    rng = np.random.default_rng(4)
    wrong = [
        starts[:-1],
        np.full_like(starts, 2**31 - 1),
        np.where(np.arange(len(starts)) == 500, starts + 1, starts),
        np.sort(rng.integers(0, 2**31 - 1, len(starts), np.int32)),
        np.zeros(0, np.int32),
    ]
    for each in wrong:
        path.write_bytes(encode_entry(dataclasses.replace(entry, starts=each.astype(np.int32))))
        with nothing_is_decoded():
            assert_same_kernel(found(dump, cache), genuine)
        assert path.read_bytes() == kept


def test_a_damaged_file_is_made_anew(dump: Ram, genuine: Kernel, cache: SymbolCache) -> None:
    found(dump, cache)
    (path,) = files_of(cache)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for damaged in (bytes(flipped), whole[: len(whole) // 3], b"GBXSYMS0" + whole[8:]):
        path.write_bytes(damaged)
        assert_same_kernel(found(dump, cache), genuine)
        assert path.read_bytes() == whole


# ----- one table


def test_names_move_with_the_kernel_and_absolute_addresses_stay() -> None:
    """The same tables at another base, as KASLR puts them: one entry, other addresses, per-cpu offsets as they were."""
    shift = 0x1C00_0000
    percpu = [(0, "A", "fixed_percpu_data"), (0x1F000, "A", "cpu_number")]
    here = Image([*percpu, *many(600)], "after", percpu=True)
    there = Image([*percpu, *((a + shift, k, n) for a, k, n in many(600))], "after", percpu=True)
    entry = entry_of(here.read, here.tables)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(symbol_cache, "_read", lambda path: encode_entry(entry))
        patch.setattr(SymbolCache, "_of_build", lambda self, build_id: [Path("only")])
        recalled = SymbolCache(Path("nowhere")).recall(BUILD, there.read, there.tables)
    assert recalled is not None
    assert same(recalled, entry)
    assert list(recalled.names.split()) == [name for _, _, name in [*percpu, *many(600)]]
    addresses = read_addresses(there.read, there.tables, 602).tolist()
    assert addresses == [0, 0x1F000, *(address + shift for address, _, _ in many(600))]


def test_names_of_any_table_come_back(cache: SymbolCache) -> None:
    images = [Image(many(700), order) for order in ORDERS]
    assert cache.recall(BUILD, images[0].read, images[0].tables) is None
    assert cache.keep(BUILD, entry_of(images[0].read, images[0].tables))
    for image in images:  # what they mean does not depend on where they lie, nor on how addresses are told
        assert same(cache.recall(BUILD, image.read, image.tables), entry_of(image.read, image.tables))
        assert cache.recall(BUILD[::-1], image.read, image.tables) is None
    assert cache.usage().n_entries == 1


def test_other_names_are_not_recalled(cache: SymbolCache) -> None:
    assert cache.keep(BUILD, small_entry())
    for other in (many(299), many(301), [(a, k, f"sys_func_{i}") for i, (a, k, _) in enumerate(many(300))]):
        image = Image(other, "after")
        assert cache.recall(BUILD, image.read, image.tables) is None
    image = Image(many(300), "after")
    assert cache.recall(BUILD, image.read, image.tables) is not None
    image.data[image.tables.num_syms - BASE : image.tables.num_syms - BASE + 4] = b"\xff" * 4
    with pytest.raises(BadSymbolTable):
        cache.recall(BUILD, image.read, image.tables)


@given(st.data())
@settings(max_examples=300)
def test_any_damage_to_a_file_is_noticed(data: st.DataObject) -> None:
    whole = encode_entry(small_entry(20))
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    damaged = damaged[: data.draw(st.integers(0, len(damaged)))] if data.draw(st.booleans()) else damaged
    damaged += data.draw(st.binary(max_size=8))
    if bytes(damaged) == whole:
        return
    with pytest.raises(BadCacheEntry, match="cannot be used"):
        decode_entry(bytes(damaged))


@given(st.binary(max_size=400), st.lists(st.integers(0, 2**32 - 1), min_size=4, max_size=4))
def test_any_bytes_with_a_good_checksum_are_an_entry_or_none(rest: bytes, numbers: list[int]) -> None:
    body = bytes(32) + b"".join(number.to_bytes(4, "little") for number in numbers) + rest
    with pytest.raises(BadCacheEntry):
        decode_entry(b"GBXSYMS1" + hashlib.sha256(body).digest() + body)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        (b"a\0b", 3),
        (b"a\0b\0c\0d", 3),
        (b"\0a\0b", 3),
        (b"a\0\0b", 3),
        (b"a\0b\0", 3),
        ("a\0ä\0c".encode(), 3),
        (b"", 1),
    ],
)
def test_names_that_no_table_has_are_refused(text: bytes, count: int) -> None:
    entry = Entry(bytes(32), Names(text, np.full(count, ord("t"), np.uint8), 10), np.zeros(0, np.int32))
    with pytest.raises(BadCacheEntry, match="name"):
        decode_entry(encode_entry(entry))


def test_no_symbols_are_no_entry() -> None:
    entry = Entry(bytes(32), Names(b"", np.zeros(0, np.uint8), 0), np.zeros(0, np.int32))
    with pytest.raises(BadCacheEntry):
        decode_entry(encode_entry(entry))


# ----- the directory


def test_what_is_no_plain_file_is_refused(cache: SymbolCache, tmp_path: Path) -> None:
    entry = small_entry()
    image = Image(many(300), "after")
    assert cache.keep(BUILD, entry)
    (path,) = files_of(cache)
    outside = tmp_path / "outside"
    path.rename(outside)

    def plant(how: str) -> None:
        if how == "fifo":
            os.mkfifo(path)
        elif how == "link":
            path.symlink_to(outside)
        elif how == "directory":
            path.mkdir()
        else:
            with path.open("wb") as file:
                file.truncate(1 << 40)

    for how in ("fifo", "link", "directory", "huge"):
        plant(how)
        assert cache.recall(BUILD, image.read, image.tables) is None
        if how == "directory":
            assert not cache.keep(BUILD, entry), "a directory is not replaced"
            path.rmdir()
        else:
            assert cache.keep(BUILD, entry)
            assert same(cache.recall(BUILD, image.read, image.tables), entry)
            path.unlink()
    assert outside.exists()
    assert files_of(cache) == [], "nothing unfinished is left"


def test_a_build_id_is_never_a_path(cache: SymbolCache) -> None:
    for build_id in ("", "../../../tmp/x", "/etc/passwd", "0123", "0123456789ABCDEF", "g" * 40, "0" * 65):
        assert not cache.keep(build_id, small_entry())
        image = Image(many(300), "after")
        assert cache.recall(build_id, image.read, image.tables) is None
    assert not cache.directory.exists()


def test_the_least_recently_used_goes_first(tmp_path: Path) -> None:
    images = [Image(many(300 + i), "after") for i in range(5)]
    entries = [entry_of(image.read, image.tables) for image in images]
    builds = [f"{i:x}" * 32 for i in range(5)]
    size = max(len(encode_entry(entry)) for entry in entries)
    cache = SymbolCache(tmp_path / "symbols", limit_bytes=3 * size + 64)

    def last_used(index: int, hours_ago: float) -> None:
        path = next(path for path in files_of(cache) if path.name.startswith(builds[index]))
        os.utime(path, (time.time() - 3600 * hours_ago,) * 2)

    def known(index: int) -> bool:
        return any(path.name.startswith(builds[index]) for path in files_of(cache))

    for index in range(3):
        assert cache.keep(builds[index], entries[index])
        last_used(index, 10 - index)
    assert same(cache.recall(builds[0], images[0].read, images[0].tables), entries[0])  # used just now
    assert cache.keep(builds[3], entries[3])
    assert [known(index) for index in range(4)] == [True, False, True, True]
    last_used(0, 5)
    last_used(2, 6)
    last_used(3, 7)
    assert cache.keep(builds[4], entries[4])
    assert [known(index) for index in range(5)] == [True, False, True, False, True]
    assert cache.usage().size_bytes <= 3 * size + 64
    tiny = SymbolCache(tmp_path / "tiny", limit_bytes=100)
    assert not tiny.keep(BUILD, entries[0]), "larger than all that there may be"


def test_one_build_id_has_a_few_entries_at_most(cache: SymbolCache) -> None:
    assert cache.keep(BUILD[::-1], small_entry())
    for n in range(300, 312):
        assert cache.keep(BUILD, small_entry(n))
        for path in files_of(cache):
            os.utime(path, (path.stat().st_mtime - 10,) * 2)
    names = [path.name for path in files_of(cache)]
    assert sum(name.startswith(BUILD + "-") for name in names) == 4
    assert sum(name.startswith(BUILD[::-1]) for name in names) == 1
    image = Image(many(311), "after")
    assert cache.recall(BUILD, image.read, image.tables) is not None, "the latest is among them"


def test_what_others_left_unfinished_is_removed_in_time(cache: SymbolCache) -> None:
    assert cache.keep(BUILD, small_entry())
    old, new = cache.directory / ".old.symbols", cache.directory / ".new.symbols"
    for path in (old, new):
        path.write_bytes(b"x")
    os.utime(old, (time.time() - 86400,) * 2)
    assert cache.keep(BUILD, small_entry(301))
    assert not old.exists()
    assert new.exists()
    assert cache.usage().n_entries == 2
    assert cache.clear().n_entries == 2
    assert files_of(cache) == []
    assert cache.clear().n_entries == 0


def test_a_directory_that_cannot_be_used_is_no_harm(dump: Ram, genuine: Kernel, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"")
    (tmp_path / "link").symlink_to(tmp_path)
    for directory in (file / "symbols", file, tmp_path / "link", Path("/proc/self/symbols")):
        cache = SymbolCache(directory)
        assert not cache.keep(BUILD, small_entry())
        assert cache.usage().n_entries == 0
        assert cache.clear().n_entries == 0
    assert_same_kernel(found(dump, SymbolCache(file / "symbols")), genuine)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "link"]


def test_a_full_disk_is_no_harm(cache: SymbolCache) -> None:
    assert cache.keep(BUILD, small_entry(301))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        assert not cache.keep(BUILD, small_entry())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert cache.usage().n_entries == 1
    assert len(files_of(cache)) == 1, "nothing half-written is left"


def test_writers_and_readers_at_once_see_whole_entries(cache: SymbolCache) -> None:
    images = [Image(many(300 + i), "after") for i in range(3)]
    entries = [entry_of(image.read, image.tables) for image in images]
    problems: list[str] = []
    start = threading.Barrier(6)

    def write(index: int) -> None:
        start.wait()
        for _ in range(40):
            problems.extend([] if cache.keep(BUILD, entries[index]) else ["not kept"])

    def read(index: int) -> None:
        start.wait()
        for _ in range(80):
            seen = cache.recall(BUILD, images[index].read, images[index].tables)
            if seen is not None and not same(seen, entries[index]):
                problems.append("not what was written")

    threads = [threading.Thread(target=work, args=(i,)) for work in (write, read) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert [len(files_of(cache)), cache.usage().n_entries] == [3, 3]
    for image, entry in zip(images, entries, strict=True):
        assert same(cache.recall(BUILD, image.read, image.tables), entry)


def test_the_users_own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv(SWITCH, "off")
    assert symbol_cache.users_cache() is None
    assert list(tmp_path.iterdir()) == []
    monkeypatch.delenv(SWITCH)
    cache = symbol_cache.users_cache()
    assert cache is not None
    assert cache.directory == tmp_path / "glassbox" / "symbols"
    assert cache.directory.stat().st_mode & 0o777 == 0o700
    cache.directory.rmdir()
    cache.directory.symlink_to(tmp_path)
    assert symbol_cache.users_cache() is None, "a link may lead anywhere"
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert symbol_cache.users_cache() is None
