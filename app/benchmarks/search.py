"""`bench search`: how fast RAM is searched for bytes, texts, expressions and rules, and how soon a search stops.

The RAM file holds random bytes: no hole, no zero page, and nothing of what is looked for, so all of it is searched.
What is compared runs in turns in the same loop, since the speed of memory changes with what else the machine does.
"""

import ctypes
import mmap
import statistics
import subprocess
from collections.abc import Callable
from time import perf_counter, process_time

import numpy as np

from app.benchmarks.ram_sizes import MIB, random_ram, sizes_that_fit
from app.benchmarks.report import Report, Result, at_least, at_most
from app.benchmarks.turns import in_turns, percentile
from bridge.memory.ram import GuestRam
from bridge.semantic.search.pattern import Pattern, PatternKind, parse_pattern
from bridge.semantic.search.places import VirtualPages
from bridge.semantic.search.searcher import Searcher

_COPIES_NEEDED = 2.5
_SPEED_BAR = at_least(2.0)
_CANCEL_BAR = at_most(50.0)
_CANCELS = 20

_BYTES = parse_pattern("f3 0f 1e fa 55 48 89 e5 41 57")
_WILD = parse_pattern("f3 0f 1e fa ?? 48 8? e5 41 57")
_TEXT = Pattern(PatternKind.TEXT, "glassbox bench", ignore_case=True)
_EIGHT = Pattern(
    PatternKind.BYTES, _BYTES.value, alternatives=tuple(f"e8 {n:02x} 00 c0 ff ee {n:02x}" for n in range(7))
)
_EXPRESSION = Pattern(PatternKind.REGEX, r"glassbox=[^\0\n]{1,200}")
_CLASSES = Pattern(PatternKind.REGEX, r"[A-Z_]{3,}=[ -~]{20,}")
_RULES = Pattern(PatternKind.YARA, 'rule bench { strings: $a = "glassbox bench" wide ascii nocase condition: $a }')


def run(*, sizes_mib: tuple[int, ...] = (128, 1024), seconds_each: float = 6.0) -> Report:
    """Measures. `seconds_each` is how long each comparison goes on."""
    results: list[Result] = []
    notes = [
        "RAM is a file of random bytes in memory; figures are medians of turns taken in one loop.",
        "Those called processor are in processor seconds of all threads together: what one core can do, whatever else "
        "the machine does. The others are by the clock, with as many threads as there are cores, four at most.",
    ]
    for size_mib, label in sizes_that_fit(sizes_mib, _COPIES_NEEDED, notes):
        with random_ram(size_mib * MIB) as (ram, _):
            results += _peer_results(ram, label, seconds_each)
            results += _kind_results(ram, label, seconds_each)
            results += _cancel_results(ram, label)
            if size_mib == min(sizes_mib):
                results += _expression_results(ram, label, seconds_each)
    return Report("search", tuple(results), notes=tuple(notes))


def _peer_results(ram: GuestRam, label: str, seconds: float) -> list[Result]:
    """Bytes, one thread and all, against reading memory at all, and against what else finds bytes in a file."""
    searcher, single = Searcher(ram), Searcher(ram, threads=1)
    data, needle = ram.bytes, _BYTES.needles()[0].value
    fd = ram.duplicate_fd()
    libc = ctypes.CDLL(None)
    libc.memmem.restype = ctypes.c_void_p
    libc.memmem.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t]
    with mmap.mmap(fd, ram.size_bytes, prot=mmap.PROT_READ) as mapping:
        ways: dict[str, Callable[[], object]] = {
            "": lambda: searcher.search(_BYTES),
            "_one_thread": lambda: single.search(_BYTES),
            "_numpy_max": data.max,
            "_mmap_find": lambda: mapping.find(needle),
            "_libc_memmem": lambda: libc.memmem(data.ctypes.data, len(data), needle, len(needle)),
            "_grep": lambda: _grep(fd),
        }
        by_clock = dict(zip(ways, map(statistics.median, in_turns(perf_counter, seconds, *ways.values())), strict=True))
        ways.pop("_grep")  # its processor seconds are another process's
        by_processor = dict(
            zip(ways, map(statistics.median, in_turns(process_time, seconds, *ways.values())), strict=True)
        )
    name = f"bytes_{label}"
    results = [Result(name, ram.size_bytes / by_clock[""] / 1e9, "GB/s", _SPEED_BAR)]
    results += [Result(f"{name}{way}", ram.size_bytes / by_clock[way] / 1e9, "GB/s") for way in by_clock if way]
    results.append(Result(f"{name}_processor", ram.size_bytes / by_processor["_one_thread"] / 1e9, "GB/s", _SPEED_BAR))
    results += [
        Result(f"{name}_processor_to{way}", by_processor[way] / by_processor["_one_thread"], "ratio")
        for way in ("_numpy_max", "_mmap_find", "_libc_memmem")
    ]
    results.append(Result(f"{name}_to_grep", by_clock["_grep"] / by_clock[""], "ratio"))
    return results


def _grep(fd: int) -> None:
    """GNU grep, told that lines are nothing to it: the bytes alone."""
    subprocess.run(
        ["grep", "-c", "-a", "-P", r"\xf3\x0f\x1e\xfa\x55\x48\x89\xe5\x41\x57", f"/proc/self/fd/{fd}"],
        pass_fds=(fd,),
        env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"},
        stdout=subprocess.DEVNULL,
        check=False,
    )


def _kind_results(ram: GuestRam, label: str, seconds: float) -> list[Result]:
    """What else can be looked for, and where."""
    searcher = Searcher(ram)
    every_other = np.arange(ram.n_pages) % 2 == 0
    order = np.random.default_rng(0).permutation(ram.n_pages).astype(np.uint32)
    virtual = VirtualPages(0x7F0000000000 + 4096 * np.arange(ram.n_pages, dtype=np.uint64), order)
    ways: dict[str, Callable[[], object]] = {
        "bytes_with_wildcards": lambda: searcher.search(_WILD),
        "text_ignoring_case_utf_8_and_16": lambda: searcher.search(_TEXT),
        "eight_alternatives": lambda: searcher.search(_EIGHT),
        "bytes_in_every_other_page": lambda: searcher.search(_BYTES, every_other),
        "bytes_in_scattered_virtual_pages": lambda: searcher.search(_BYTES, virtual),
    }
    times = in_turns(perf_counter, seconds, *ways.values())
    results = []
    for name, taken in zip(ways, times, strict=True):
        size = ram.size_bytes // 2 if "other" in name else ram.size_bytes
        results.append(Result(f"{name}_{label}", size / statistics.median(taken) / 1e9, "GB/s"))
    return results


def _cancel_results(ram: GuestRam, label: str) -> list[Result]:
    """From the moment at which nobody waits any more to the return of the search, in its midst."""
    searcher = Searcher(ram)
    late_s: dict[str, list[float]] = {"bytes": [], "expression": []}
    for kind, pattern in (("bytes", _BYTES), ("expression", _CLASSES)):
        for _ in range(_CANCELS if kind == "bytes" else _CANCELS // 4):
            since: list[float] = []
            searcher.search(
                pattern,
                # From the first progress on: in its midst.
                progress=lambda _share, since=since: since.append(perf_counter()),  # type: ignore[misc]
                cancelled=lambda since=since: bool(since),  # type: ignore[misc]
            )
            late_s[kind].append(perf_counter() - since[0])
    return [
        Result(f"{kind}_{label}_cancelled_after_p99", percentile(late, 99) * 1e3, "ms", _CANCEL_BAR)
        for kind, late in late_s.items()
    ]


def _expression_results(ram: GuestRam, label: str, seconds: float) -> list[Result]:
    """Expressions and rules, the start of their processes included."""
    searcher = Searcher(ram)
    ways = {"regex_with_literal": _EXPRESSION, "regex_of_classes": _CLASSES, "yara": _RULES}
    times = in_turns(
        perf_counter, seconds, *(lambda pattern=pattern: searcher.search(pattern) for pattern in ways.values()), least=1
    )
    return [
        Result(f"{name}_{label}", ram.size_bytes / statistics.median(taken) / 1e6, "MB/s")
        for name, taken in zip(ways, times, strict=True)
    ]
