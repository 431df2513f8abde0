"""Native code of loops: its plan says what `Loop.rounds` says, and its image needs nothing but itself."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import random
import struct
from collections.abc import Mapping

import numpy as np
import pytest
import z3
from hypothesis import given
from hypothesis import strategies as st

from app.benchmarks.pixel_loops import LOOPS
from bridge.pixelcpu.errors import Unsupported
from bridge.pixelcpu.isa import N_REGISTERS
from bridge.pixelcpu.llvm import object_of
from bridge.pixelcpu.llvm_text import Text, Word
from bridge.pixelcpu.loop_kernel import kernel_of
from bridge.pixelcpu.loop_native import native_loop
from bridge.pixelcpu.loop_terms import value_of
from bridge.pixelcpu.loops import loop_of
from bridge.pixelcpu.native_loop import NativeLoop
from bridge.pixelcpu.object_image import image_of
from bridge.pixelcpu.prove_loop import prove_loop
from bridge.pixelcpu.term_llvm import TermWriter
from bridge.pixelcpu.translate import translate
from bridge.pixelcpu.x86_state import HALVES, REGISTERS
from tests.bridge.pixelcpu.test_loops import KNOWN

_EDGES = (
    0,
    1,
    2,
    7,
    8,
    9,
    100,
    4096,
    (1 << 31) - 1,
    1 << 31,
    (1 << 32) - 1,
    1 << 32,
    (1 << 63) - 1,
    1 << 63,
    (1 << 64) - 1,
)


class Loaded:
    """An image's functions, wherever it happens to lie."""

    def __init__(self, content: bytes) -> None:
        self._memory = mmap.mmap(-1, len(content), prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        self._memory.write(content)
        self._at = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))

    def call(self, entry: int, *arguments: int) -> int:
        kind = ctypes.CFUNCTYPE(ctypes.c_uint64, *[ctypes.c_uint64] * len(arguments))
        return int(kind(self._at + entry)(*arguments))


def planned(native: NativeLoop, loaded: Loaded, words: Mapping[str, int]) -> tuple[int, list[int]]:
    """Rounds, and where each stream begins."""
    state = np.zeros(N_REGISTERS + 1, np.uint64)
    for number, name in enumerate(REGISTERS):
        state[number] = words[name]
    for half, number in native.halves.items():
        state[number] = words[HALVES[half]]
    addresses = np.zeros(max(1, len(native.streams)), np.uint64)
    rounds = loaded.call(native.plan, state.ctypes.data, addresses.ctypes.data)
    return rounds, [int(one) for one in addresses[: len(native.streams)]]


@pytest.mark.parametrize("code", [*(code for code, *_ in KNOWN.values()), *(loop.code.hex() for loop in LOOPS)])
def test_a_plan_says_what_the_loop_says(code: str) -> None:
    native = prove_loop(bytes.fromhex(code)).native
    assert native is not None
    loop = loop_of(bytes.fromhex(code))
    loaded = Loaded(native.native)
    chance = random.Random(code)
    some = 0
    for _ in range(200):
        words = {
            name: chance.choice((chance.getrandbits(64), chance.getrandbits(20), chance.choice(_EDGES)))
            for name in (*REGISTERS, *HALVES)
        }
        rounds, addresses = planned(native, loaded, words)
        assert addresses == [one.address(words) for one in loop.streams]
        expected = loop.rounds(words)
        if any(one.is_store for one in native.streams):
            assert rounds >= expected, "that streams do not meet is looked at where they lie"
        else:
            assert rounds == expected
        some += rounds > 0
    assert some > 5
    assert native.writes >= {REGISTERS.index(name) for name in loop.inductions}
    assert len(native.access_streams) >= len(native.streams)
    assert {native.streams[n].is_store for n in native.access_streams} == {one.is_store for one in loop.streams}


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("ad01c3ffc975f9", "direction flag"),  # lodsd; add ebx,eax; dec ecx; jnz
        ("4883d00048ffc975f7", "reads CF, which"),  # adc rax,0; dec rcx; jnz
        # mov edx,0; setb dl; mov [rdi],dl; inc rdi; dec rcx; jnz
        ("ba000000000f92c2881748ffc748ffc975ee", "reads CF, which"),
        ("48ffc977fb", "reads CF, which"),  # dec rcx; ja: dec leaves CF alone
        # add rax,[rdi+16n], 17 times; add rdi,512; dec rcx; jnz
        (
            "".join(f"480387{(16 * n).to_bytes(4, 'little').hex()}" for n in range(17))
            + "4881c70002000048ffc90f8579ffffff",
            "streams",
        ),
        # movzx edx,byte [rdi+n]; add eax,edx, 33 times; add rdi,64; dec rcx; jnz
        ("".join(f"0fb657{n:02x}01d0" for n in range(33)) + "4883c74048ffc90f852dffffff", "loads and stores"),
    ],
)
def test_what_the_plugin_could_not_run_is_refused(code: str, reason: str) -> None:
    attempt = prove_loop(bytes.fromhex(code))
    assert attempt.native is None
    assert reason in attempt.reason


def test_a_kernel_of_another_loop_is_not_taken() -> None:
    first, second = (bytes.fromhex(KNOWN[name][0]) for name in list(KNOWN)[:2])
    translation = translate(second)
    with pytest.raises(Unsupported, match="could not be shown"):
        native_loop(loop_of(first), kernel_of(loop_of(second), translation), translation)


a, b = z3.BitVecs("a b", 64)
_TERMS = (
    a + b * 3 - 7,
    z3.If(z3.And(z3.ULT(a, b), a != 5, z3.Not(b == 9)), a & b, a | ~b),
    z3.ZeroExt(32, z3.Extract(39, 8, a)) ^ b,
    z3.SignExt(40, z3.Extract(23, 0, a)) + -b,
    z3.Concat(z3.Extract(15, 0, b), z3.Extract(47, 0, a)),
    z3.If(z3.Or(a <= b, z3.UGE(b, a + 3), z3.UGT(a, 7)), b - a, a - b),
    z3.If((a < b) == (z3.ULE(b, a)), a, b),
    z3.If(z3.If(a > b, a == 3, b >= 4), a * b, b),
    z3.If(z3.BoolVal(True), a, b),
    z3.If(z3.Distinct(a, b), z3.If(a == b + 1, a, b + 2), a - b),
)


@pytest.fixture(scope="module")
def terms() -> list[Loaded]:
    made = []
    for term in _TERMS:
        text = Text()
        word = TermWriter(text, {"a": Word("%a", 64), "b": Word("%b", 64)}).word(term)
        lines = "\n".join(text.lines)
        module = f"define i64 @f(i64 %a, i64 %b) {{\nentry:\n{lines}\n  ret {word.typed}\n}}\n"
        made.append(Loaded(image_of(object_of(module), ("f",)).content))
    return made


_WORDS = st.one_of(st.sampled_from(_EDGES), st.integers(0, (1 << 64) - 1))


@given(left=_WORDS, right=_WORDS)
def test_terms_mean_to_llvm_what_they_mean_to_z3(terms: list[Loaded], left: int, right: int) -> None:
    for term, loaded in zip(_TERMS, terms, strict=True):
        assert loaded.call(0, left, right) == value_of(term, {"a": left, "b": right})


@pytest.mark.parametrize("term", [z3.UDiv(a, b), z3.BitVec("c", 64), z3.If(z3.Bool("p"), a, b)])
def test_other_terms_are_refused(term: z3.BitVecRef) -> None:
    with pytest.raises(Unsupported, match="plan needs"):
        TermWriter(Text(), {"a": Word("%a", 64), "b": Word("%b", 64)}).word(term)


def test_an_image_that_needs_others_is_refused() -> None:
    for body, what in (
        ("declare i64 @other(i64)\ndefine i64 @f(i64 %a) {\n %r = call i64 @other(i64 %a)\n ret i64 %r\n}", "other"),
        (
            "@where = global ptr @f\ndefine i64 @f() {\n %p = load volatile i64, ptr @where\n ret i64 %p\n}",
            "where it lies",
        ),
    ):
        with pytest.raises(Unsupported, match=what):
            image_of(object_of(body), ("f",))
    with pytest.raises(Unsupported, match="no plan"):
        image_of(object_of("define i64 @f() {\n ret i64 1\n}"), ("plan",))


def test_constants_come_along() -> None:
    table = ", ".join(f"i64 {n * n}" for n in range(64))
    body = f"@table = private constant [64 x i64] [{table}]\ndefine i64 @f(i64 %n) {{\n"
    body += " %p = getelementptr [64 x i64], ptr @table, i64 0, i64 %n\n %r = load i64, ptr %p\n ret i64 %r\n}"
    image = image_of(object_of(body), ("f",))
    loaded = Loaded(image.content)
    assert [loaded.call(image.entries["f"], n) for n in range(64)] == [n * n for n in range(64)]


@given(st.binary(max_size=200), st.integers(0, 4000), st.integers(0, 255))
def test_damaged_object_files_are_refused_or_laid_out(data: bytes, at: int, byte: int) -> None:
    whole = bytearray(_GOOD)
    whole[at % len(whole)] = byte
    for content in (data, bytes(whole), _GOOD[:at], struct.pack("<Q", at) + data):
        try:
            image = image_of(content, ("f",))
        except Unsupported:
            continue
        assert len(image.content) <= 2 << 20


def test_each_byte_of_an_object_file_may_be_any_other() -> None:
    for at in range(len(_GOOD)):
        for byte in range(256):
            with contextlib.suppress(Unsupported):
                assert len(image_of(_GOOD[:at] + bytes([byte]) + _GOOD[at + 1 :], ("f",)).content) <= 2 << 20


_GOOD = object_of("define i64 @f(i64 %a) {\n %r = mul i64 %a, 77\n ret i64 %r\n}")
