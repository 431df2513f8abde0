"""Loops whose rounds have an order: what is known of them, and that native code does what they do and ends there."""

from __future__ import annotations

import random
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bridge.pixelcpu.errors import Unsupported
from bridge.pixelcpu.isa import N_REGISTERS
from bridge.pixelcpu.loop_kernel import kernel_of
from bridge.pixelcpu.loops import loop_of
from bridge.pixelcpu.memory import ArrayMemory
from bridge.pixelcpu.native_code import NativeCode
from bridge.pixelcpu.native_loop import NativeLoop
from bridge.pixelcpu.native_runs import run
from bridge.pixelcpu.native_windows import windows
from bridge.pixelcpu.prove_loop import prove_loop
from bridge.pixelcpu.translate import translate
from bridge.pixelcpu.x86_state import REGISTERS

# name: code, what it is called, what it carries on, whether it is found only on the way where it ends
ORDERED = {
    "imul eax,eax,31; movzx edx,byte [rdi]; add eax,edx; inc rdi; dec rcx; jnz": (
        "6bc01f0fb61701d048ffc748ffc975f0",
        "hash",
        "rax",
        False,
    ),
    "movzx edx,byte [rdi]; xor rax,rdx; imul rax,rax,435; inc rdi; dec rcx; jnz": (
        "0fb6174831d04869c0b301000048ffc748ffc975eb",
        "hash",
        "rax",
        False,
    ),
    "movzx edx,byte [rdi]; inc rdi; add eax,edx; add ebx,eax; cmp rdi,rsi; jne": (
        "0fb61748ffc701d001c34839f775f1",
        "hash",
        "rax rbx",
        False,
    ),
    "mov rdx,rax; add rax,rbx; mov rbx,rdx; dec rcx; jnz": (
        "4889c24801d84889d348ffc975f2",
        "recurrence",
        "rax rbx",
        False,
    ),
    "mov rdx,rax; shl rdx,13; xor rax,rdx; …; dec rcx; jnz": (
        "4889c248c1e20d4831d04889c248c1ea074831d048ffc975e7",
        "recurrence",
        "rax",
        False,
    ),
    "shr rax,1; inc ecx; test rax,rax; jnz": ("48d1e8ffc14885c075f6", "search", "rax", True),
    "mov rax,[rdi-8]; add [rdi],rax; add rdi,8; dec rcx; jnz": (
        "488b47f84801074883c70848ffc975f0",
        "sequence",
        "",
        False,
    ),
    "add rax,[rdi]; mov [rdi+8],rax; add rdi,8; cmp rax,rsi; jb": (
        "480307488947084883c7084839f072f0",
        "sequence",
        "rax",
        True,
    ),
    "mov rdx,[rdi]; mov [rdi],rax; mov rax,rdx; add rdi,8; dec rcx; jnz": (
        "488b174889074889d04883c70848ffc975ee",
        "sequence",
        "rax",
        False,
    ),
    "mov [rdi],rax; mov rbx,[rsi]; mov [rdi+8],rbx; add rdi,16; …": (
        "488907488b1e48895f084883c71048ffc975ed",
        "sequence",
        "",
        False,
    ),
    "inc dword [rbx]; dec ecx; jnz": ("ff03ffc975fa", "sequence", "", False),
    "mov [rdi],rax; add rdi,4; …": ("4889074883c70448ffc975f4", "sequence", "", False),
    "inc rdi; cmp byte [rdi],0; jne": ("48ffc7803f0075f8", "search", "", True),
    "mov al,[rdi]; inc rdi; inc rsi; cmp al,[rsi-1]; je": ("8a0748ffc748ffc63a46ff74f3", "search", "rax", True),
    "mov al,[rsi]; mov [rdi],al; inc rsi; inc rdi; test al,al; jnz": (
        "8a06880748ffc648ffc784c075f2",
        "sequence",
        "rax",
        True,
    ),
    "mov [rdi],al; inc rdi; test dil,15; jne": ("88074883c70140f6c70f75f4", "sequence", "", True),
    "mov rdx,[rdi]; … add rax,rdx of the round before": ("4801d0488b174883c70848ffc975f1", "hash", "rax rdx", False),
    "movzx eax,byte [rdi]; inc rdi; test al,al; je out; cmp al,cl; jne": (
        "0fb60748ffc784c0740438c875f2",
        "search",
        "",
        True,
    ),
    "mov eax,[rdi]; add rdi,4; test eax,eax; je over; imul edx,edx,31; add edx,eax; over: dec rcx; jnz": (
        "8b074883c70485c074056bd21f01c248ffc975ec",
        "hash",
        "rdx",
        False,
    ),
    "movzx ebx,byte [rdi]; inc rdi; movzx edx,al; xor edx,ebx; shr eax,8; xor eax,[rsi+rdx*4]; dec rcx; jnz": (
        "0fb61f48ffc70fb6d031dac1e80833049648ffc975ea",
        "hash",
        "rax",
        False,
    ),
    "movzx eax,byte [rdi]; movzx eax,byte [rsi+rax]; mov [rdi],al; inc rdi; dec rcx; jnz": (
        "0fb6070fb60406880748ffc748ffc975ef",
        "sequence",
        "",
        False,
    ),
    "movzx eax,byte [rdi]; inc rdi; inc dword [rsi+rax*4]; dec rcx; jnz": (
        "0fb60748ffc7ff048648ffc975f2",
        "sequence",
        "",
        False,
    ),
    "movzx eax,byte [rdi]; cmp byte [rsi+rax],0; lea rdi,[rdi+1]; jne": (
        "0fb607803c0600488d7f0175f3",
        "search",
        "",
        True,
    ),
}
TABLES = {
    # code: tables as base, bytes and whether they are stored to
    "0fb61f48ffc70fb6d031dac1e80833049648ffc975ea": [("rsi", 1024, False)],
    "0fb60748ffc7480314c648ffc975f1": [("rsi", 2048, False)],  # add rdx,[rsi+rax*8]
    "0fb60748ffc7ff048648ffc975f2": [("rsi", 1024, False), ("rsi", 1024, True)],
}
NO_TABLE = {
    "488b3f48ffc975f8": "depends on rdi, which does not count",  # mov rdi,[rdi]
    "0fb6040748ffc975f7": "depends on rax, which does not count",  # movzx eax,byte [rdi+rax]: at first it is any number
    "0fb7074883c702480314c648ffc975f0": "loads addresses from memory",  # add rdx,[rsi+rax*8] with 16 bits of index
}
WAITS = {
    "cmp dword [rdi],0; jne": "833f0075fb",
    "mov eax,[rdi]; test eax,eax; jne": "8b0785c075fa",
}
RAX, RSI, RDI = REGISTERS.index("rax"), REGISTERS.index("rsi"), REGISTERS.index("rdi")
AT = 0x7000_1000
LENGTH, STRING_COPY = "48ffc7803f0075f8", "8a06880748ffc648ffc784c075f2"


@cache
def native_of(code: str) -> NativeLoop:
    found = prove_loop(bytes.fromhex(code))
    assert found.native is not None, found.reason
    return found.native


@pytest.mark.parametrize("name", ORDERED)
def test_what_has_an_order_is_done_in_it(name: str) -> None:
    """Beside Unicorn: all registers and all of memory, after any number of rounds, in windows that may end too soon."""
    code, kind, carried, ends_itself = ORDERED[name]
    loop, native = loop_of(bytes.fromhex(code)), native_of(code)
    assert (loop.kind, " ".join(sorted(loop.carried)), loop.ordered) == (kind, carried, True)
    assert (native.ordered, native.ends_itself) == (True, ends_itself)
    assert (loop.trips is None) == ends_itself
    assert not loop.folds
    assert not loop.apart
    record = run(native, 3000)
    assert record.first == ""
    assert record.n_mismatches == 0
    assert record.n_runs >= 3000
    assert record.n_rounds > 2 * record.n_runs


@pytest.mark.parametrize("code", TABLES)
def test_a_small_index_makes_a_table(code: str) -> None:
    streams = loop_of(bytes.fromhex(code)).streams
    assert [(str(one.base), one.size, one.is_store) for one in streams if one.is_table] == TABLES[code]
    assert all(not one.stride for one in streams if one.is_table)


@pytest.mark.parametrize("code", NO_TABLE)
def test_an_index_without_bounds_makes_none(code: str) -> None:
    with pytest.raises(Unsupported, match=NO_TABLE[code]):
        loop_of(bytes.fromhex(code))


@pytest.mark.parametrize("name", WAITS)
def test_what_waits_for_others_is_left_to_qemu(name: str) -> None:
    with pytest.raises(Unsupported, match="waits for memory"):
        loop_of(bytes.fromhex(WAITS[name]))


def test_a_kernel_of_the_interpreter_goes_on_from_round_to_round() -> None:
    code = bytes.fromhex(ORDERED["movzx edx,byte [rdi]; xor rax,rdx; imul rax,rax,435; inc rdi; dec rcx; jnz"][0])
    kernel = kernel_of(loop_of(code), translate(code))
    content = np.frombuffer(random.Random(1).randbytes(64), np.uint8).copy()
    registers = np.zeros(N_REGISTERS, np.uint64)
    registers[[RAX, RDI]] = 0x1234, AT
    expected = 0x1234
    for byte in content[:50].tolist():
        expected = (expected ^ byte) * 435 % (1 << 64)
    done = kernel.run(50, registers, 0, ArrayMemory(content, AT))
    assert (int(done.registers[RAX]), int(done.registers[RDI])) == (expected, AT + 50)


def called(
    native: NativeLoop, registers: dict[int, int], content: NDArray[np.uint8], ends: list[int], rounds: int
) -> tuple[int, list[int]]:
    """How many rounds were done, and the state after; each stream's window reaches from AT to one of `ends`."""
    words = np.zeros(N_REGISTERS + 1, np.uint64)
    for number, value in registers.items():
        words[number] = value
    first = np.full((1, len(native.streams)), AT, np.uint64)
    given = windows(native, first, np.array([ends], np.uint64), AT - content.ctypes.data)
    code = NativeCode(native)  # it lives as long as this
    done = code.run(words.ctypes.data, given.ctypes.data, rounds)
    return done, words.tolist()


@settings(max_examples=200, deadline=None)
@given(
    length=st.integers(0, 300),
    begin=st.integers(1, 40),
    window=st.integers(0, 400),
    rounds=st.integers(1, 500),
)
def test_it_ends_at_the_round_that_does_not_go_back(length: int, begin: int, window: int, rounds: int) -> None:
    """A search of a 0: rounds before the one that finds it, fewer where the window or the wanted rounds end."""
    content = np.full(1024, 7, np.uint8)
    content[begin + length] = 0
    end = min(begin + window, 1024)
    before = content.copy()
    done, words = called(native_of(LENGTH), {RDI: AT + begin - 1}, content, [AT + end], rounds)
    assert done == min(length, rounds, max(0, end - begin))
    assert words[RDI] == AT + begin - 1 + done
    assert (content == before).all()


@settings(max_examples=200, deadline=None)
@given(
    text=st.binary(max_size=200).map(lambda data: data.replace(b"\0", b"x")),
    to=st.integers(-100, 300),
    window=st.integers(0, 700),
    rounds=st.integers(1, 400),
)
def test_what_its_last_round_stored_is_undone(text: bytes, to: int, window: int, rounds: int) -> None:
    """A copy to and including the 0, its own text perhaps: that round is QEMU's, which finds everything as it was."""
    begin = 200
    content = np.arange(1024, dtype=np.uint64).astype(np.uint8) | np.uint8(1)
    content[begin : begin + len(text) + 1] = np.frombuffer(text + b"\0", np.uint8)
    expected, done = content.copy(), 0
    while done < min(rounds, 1023 - begin - max(0, to)) and begin + to + done < window:
        byte = expected[begin + done]
        if byte == 0:
            break
        expected[begin + to + done] = byte
        done += 1
    native = native_of(STRING_COPY)
    ends = [AT + (window if one.is_store else 1023) for one in native.streams]
    found, words = called(native, {RSI: AT + begin, RDI: AT + begin + to, RAX: 0x5500}, content, ends, rounds)
    if begin + to + done < 1023 and begin + done < 1023:
        assert found == done
        assert (content == expected).all()
        assert (words[RSI], words[RDI]) == (AT + begin + done, AT + begin + to + done)
        assert words[RAX] == (0x5500 | (int(expected[begin + done - 1]) if done else 0))
