"""RAM to measure on: what a Linux guest's memory is made of, in runs, made from a seed and so the same everywhere.

Shares and runs follow a small Linux guest that has done some work (128 MiB, 2 s after its start): nearly half of it was
never used, most runs are a few pages long, and most pages are in long runs. Every page is put together from what its
kind is made of, so that summaries, colours and skipping have to do what they have to do on real memory.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from render.curves import PAGE_SIZE

_PATTERNS = 512  # different pages of a kind; after this many they repeat
_RUN_PAGES = {"zero": 74.0, "code": 26.0}  # the mean; other kinds:
_OTHER_RUN_PAGES = 10.0
_RUN_SPREAD = 1.8  # of a run's logarithm: the median is a fifth of the mean, the longest a hundred times it
_WORDS = (
    b"the of and to in is for on that with as are at be this from by not or an it error file open read write close "
    b"device driver kernel module page memory process thread signal socket buffer node /usr/lib/x86_64-linux-gnu/ "
    b"/proc/sys/kernel [    0.000000] systemd[1]: Started localhost 127.0.0.1 <div class= return static int const "
    b"struct { } ( ) ; = 0x00 0 1 2 10 255 4096 true false null root:x:0:0:\n \n"
).split(b" ")
_OPCODES = (  # instructions that compilers emit all the time; ? is any byte
    "48 89 ??", "48 8b ?? ??", "48 8d 05 ?? ?? ?? 00", "e8 ?? ?? ?? ff", "0f 84 ?? ?? 00 00", "74 ??", "75 ??", "31 c0",
    "c3", "55 48 89 e5", "41 54 53", "48 83 ec ??", "5b 41 5c 5d", "83 f8 ??", "89 ??", "85 c0", "0f b6 ?? ??",
    "48 c7 ?? ?? ?? 00 00 00", "ff 25 ?? ?? ?? 00", "66 90", "cc cc cc cc", "0f 1f 44 00 00",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Mixture:
    """Which share of the pages each kind has."""

    zero: float = 0.45
    code: float = 0.13
    pointers: float = 0.13
    data: float = 0.10
    text: float = 0.08
    random: float = 0.07
    sparse: float = 0.04

    def __str__(self) -> str:
        return ", ".join(f"{getattr(self, kind):.0%} {kind}" for kind in self.__slots__)


MIXTURE = Mixture()


def guest_like_ram(n_pages: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """(n_pages, 4096) uint8."""
    rng = np.random.default_rng(seed)
    kinds = Mixture.__slots__
    patterns = np.stack([_MAKERS[kind](np.random.default_rng([seed, i])) for i, kind in enumerate(kinds)])
    runs: list[tuple[int, int]] = []
    for kind, name in enumerate(kinds):
        mean = _RUN_PAGES.get(name, _OTHER_RUN_PAGES)
        left = round(n_pages * getattr(MIXTURE, name))
        while left > 0:
            length = min(left, 1 + int(rng.lognormal(np.log(mean) - _RUN_SPREAD**2 / 2, _RUN_SPREAD)))
            runs.append((kind, length))
            left -= length
    order = rng.permutation(len(runs))
    of_page = np.repeat(*np.array(runs)[order].T)
    of_page = np.resize(of_page, n_pages)  # rounding may have made it a page or two longer or shorter
    which = rng.integers(0, _PATTERNS, n_pages)
    return patterns.reshape(-1, PAGE_SIZE)[of_page * _PATTERNS + which]


def _zero(_rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    return np.zeros((_PATTERNS, PAGE_SIZE), np.uint8)


def _random(rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    return rng.integers(0, 256, (_PATTERNS, PAGE_SIZE), np.uint8)


def _text(rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    # Words as often as their rank says (Zipf): language and logs are so.
    shares = 1 / np.arange(1, len(_WORDS) + 1)
    chosen = rng.choice(len(_WORDS), _PATTERNS * PAGE_SIZE // 2, p=shares / shares.sum())
    text = b" ".join([_WORDS[i] for i in chosen])
    return np.frombuffer(text, np.uint8)[: _PATTERNS * PAGE_SIZE].reshape(_PATTERNS, PAGE_SIZE)


def _code(rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    chosen = rng.integers(0, len(_OPCODES), _PATTERNS * PAGE_SIZE // 2)
    any_byte = iter(rng.integers(0, 256, 4 * len(chosen)).tolist())
    code = bytearray()
    for i in chosen:
        code.extend(next(any_byte) if part == "??" else int(part, 16) for part in _OPCODES[i].split())
        if len(code) >= _PATTERNS * PAGE_SIZE:
            break
    return np.frombuffer(code, np.uint8)[: _PATTERNS * PAGE_SIZE].reshape(_PATTERNS, PAGE_SIZE)


def _pointers(rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Objects of a kernel: pointers into its direct map, small numbers, flags and nothing."""
    shape = (_PATTERNS, PAGE_SIZE // 8)
    words = np.uint64(0xFFFF_8880_0000_0000) + rng.integers(0, 1 << 27, shape).astype(np.uint64) * np.uint64(8)
    what = rng.random(shape)
    words[what > 0.45] = 0
    small = what > 0.75
    words[small] = rng.integers(0, 4096, int(small.sum()))
    return words.astype("<u8").view(np.uint8)


def _data(rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Records of a program: counters, lengths, time stamps, a few floating-point numbers."""
    words = rng.lognormal(5.0, 3.0, (_PATTERNS, PAGE_SIZE // 4)).astype(np.uint32)
    floats = rng.random(words.shape) < 0.1
    words[floats] = rng.normal(size=int(floats.sum())).astype(np.float32).view(np.uint32)
    return words.astype("<u4").view(np.uint8)


def _sparse(rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Page tables and the like: hardly anything in them."""
    words = np.zeros((_PATTERNS, PAGE_SIZE // 8), np.uint64)
    for page in words:
        count, first = rng.integers(1, 24), rng.integers(0, 480)
        page[first : first + count] = rng.integers(1, 1 << 22, count) << 12 | 0x67
    return words.astype("<u8").view(np.uint8)


_MAKERS = {
    "zero": _zero,
    "code": _code,
    "pointers": _pointers,
    "data": _data,
    "text": _text,
    "sparse": _sparse,
    "random": _random,
}
