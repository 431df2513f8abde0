"""Every decoder against its own compressor, and against data that was never compressed by anybody."""

import bz2
import contextlib
import gzip
import lzma
import subprocess
import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bridge.machine import decompress as module
from bridge.machine.decompress import DecompressError, compression_of, decompress
from tests.bridge.machine.lz4_blocks import lz4_legacy


def _zstd(data: bytes) -> bytes:
    return subprocess.run(["zstd", "-qc", "-3"], input=data, capture_output=True, check=True).stdout


COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
    "lz4": lz4_legacy,
    "zstd": _zstd,
}
CAP = 1 << 20
_CONTENT = st.one_of(
    st.binary(min_size=1, max_size=3000),
    st.tuples(st.binary(min_size=1, max_size=20), st.integers(1, 3000)).map(lambda pair: pair[0] * pair[1]),
)


@pytest.mark.parametrize("name", COMPRESSORS)
def test_what_was_compressed_comes_back(name: str) -> None:
    compress = COMPRESSORS[name]
    for content in (b"x", b"glassbox" * 5000, bytes(range(256)) * 300):
        data = compress(content)
        assert compression_of(data) == name
        assert decompress(data, CAP) == content
        assert decompress(data, len(content)) == content
        with pytest.raises(DecompressError, match="more than"):
            decompress(data, len(content) - 1)


@given(_CONTENT)
def test_lz4_of_any_content(content: bytes) -> None:
    """The one decoder that is written here; with the size appended, as the kernel's build does."""
    data = lz4_legacy(content)
    assert decompress(data, CAP) == content
    assert decompress(data + len(content).to_bytes(4, "little"), CAP) == content


def test_lz4_of_several_blocks() -> None:
    content = bytes(range(256)) * (9 << 12)
    assert decompress(lz4_legacy(content), 16 << 20) == content


@pytest.mark.parametrize("name", [name for name in COMPRESSORS if name not in ("lzma", "lz4")])
def test_what_follows_the_end_is_ignored_and_what_is_cut_off_is_missed(name: str) -> None:
    data = COMPRESSORS[name](b"glassbox" * 999)
    assert decompress(data + b"tail", CAP) == b"glassbox" * 999
    for length in (len(data) - 1, len(data) // 2):
        with pytest.raises(DecompressError, match=r"cut short|damaged"):
            decompress(data[:length], CAP)


@pytest.mark.parametrize("name", COMPRESSORS)
def test_a_bomb_takes_no_more_memory_than_allowed(name: str) -> None:
    bomb = COMPRESSORS[name](bytes(64 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(DecompressError, match="more than"):
            decompress(bomb, CAP)
        assert tracemalloc.get_traced_memory()[1] < 24 << 20
    finally:
        tracemalloc.stop()


def test_an_lz4_match_that_claims_gigabytes_is_refused_before_it_is_made() -> None:
    block = b"\x1fA\x01\x00" + b"\xff" * 100_000 + b"\x00"
    with pytest.raises(DecompressError, match="more than"):
        decompress(b"\x02\x21\x4c\x18" + len(block).to_bytes(4, "little") + block, CAP)


@pytest.mark.parametrize(
    ("block", "reason"),
    [
        (b"\x10A\x00\x00", "starts before"),
        (b"\x10A\x02\x00", "starts before"),
        (b"\xf0", "middle of a sequence"),
        (b"\x20A", "middle of a sequence"),
        (b"\x10A\x01", "middle of a sequence"),
    ],
)
def test_damaged_lz4_blocks(block: bytes, reason: str) -> None:
    with pytest.raises(DecompressError, match=reason):
        decompress(b"\x02\x21\x4c\x18" + len(block).to_bytes(4, "little") + block, CAP)


def test_lz4_without_a_whole_block_is_cut_short() -> None:
    with pytest.raises(DecompressError, match="cut short"):
        decompress(b"\x02\x21\x4c\x18\x09\x00\x00\x00abc", CAP)


@given(
    st.sampled_from(sorted(COMPRESSORS)),
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=4),
    st.integers(0, 200),
)
@example("zstd", [(5, 255)], 0)
def test_no_damage_does_worse_than_a_typed_error(name: str, changes: list[tuple[int, int]], cut: int) -> None:
    data = bytearray(_PREPARED.setdefault(name, COMPRESSORS[name](b"the quick guest writes its journal\n" * 30)))
    for position, value in changes:
        data[position % len(data)] = value
    with contextlib.suppress(DecompressError):
        assert len(decompress(bytes(data[: len(data) - cut % len(data)]), CAP)) <= CAP


_PREPARED: dict[str, bytes] = {}


@given(
    st.sampled_from([b"\x1f\x8b\x08", b"BZh9", b"\xfd7zXZ\0", b"\x02\x21\x4c\x18", b"\x28\xb5\x2f\xfd", b""]),
    st.binary(),
)
def test_noise_behind_a_magic_number(magic: bytes, noise: bytes) -> None:
    with contextlib.suppress(DecompressError):
        assert len(decompress(magic + noise, 5000)) <= 5000


def test_unknown_data_is_named_by_its_first_bytes() -> None:
    with pytest.raises(DecompressError, match="starts with 50 4b 03 04"):
        decompress(b"PK\x03\x04", CAP)
    with pytest.raises(DecompressError, match="starts with nothing"):
        decompress(b"", CAP)


def test_where_python_has_zstd_itself_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """And both ways agree, where both are there."""
    zstd = pytest.importorskip("compression.zstd")
    data = zstd.compress(b"glassbox" * 100)
    assert module._decompress_zstd_by_library(data, CAP) == decompress(data, CAP) == b"glassbox" * 100
