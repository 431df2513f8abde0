"""Blocks are decoded to their instructions, what follows them, and what they mostly do."""

from collections.abc import Callable

import pytest

from bridge.trace import instructions
from bridge.trace.instructions import BlockClass, decode, ending


@pytest.mark.parametrize(
    ("code", "successors"),
    [
        ("90 eb 02", (5,)),  # jmp +2
        ("75 fe", (0, 2)),  # jnz itself
        ("e8 00 01 00 00", (0x105, 5)),  # call
        ("c3", ()),  # ret
        ("48 cf", ()),  # iretq
        ("ff e0", ()),  # jmp rax
        ("ff d0", (2,)),  # call rax
        ("90 90", (2,)),  # what QEMU cut in two
        ("06", ()),  # no instruction
    ],
)
def test_what_follows_a_block(code: str, successors: tuple[int, ...]) -> None:
    assert decode(bytes.fromhex(code), 0xFFFFFFFF81000000).successors == successors


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("48 01 d8 48 29 c3 48 ff c0", BlockClass.ALU),  # add, sub, inc
        ("48 8b 07 48 89 06 48 ff c0", BlockClass.MEMORY),  # mov rax,[rdi]; mov [rsi],rax; inc rax
        ("48 8d 04 07", BlockClass.ALU),  # lea touches nothing
        ("0f 1f 04 00", BlockClass.ALU),  # nor does a long nop
        ("85 c0 75 10", BlockClass.BRANCHY),  # test; jnz
        ("66 0f ef c0 f3 0f 6f 07", BlockClass.VECTOR),  # pxor; movdqu
        ("0f 22 d8", BlockClass.PRIVILEGED),  # mov cr3, rax
        ("f4", BlockClass.PRIVILEGED),  # hlt
        ("ec", BlockClass.IO),  # in al, dx
        ("f3 6e", BlockClass.IO),  # rep outsb
    ],
)
def test_what_a_block_mostly_does(code: str, kind: BlockClass) -> None:
    assert decode(bytes.fromhex(code), 0x401000).kind is kind


def test_code_of_16_bits_is_read_as_such() -> None:
    found = decode(bytes.fromhex("66ff06009066 49 75f7"), 0x7C17, 16)
    assert [one.text for one in found.instructions] == ["inc dword ptr [0x9000]", "dec ecx", "jne 0x7c17"]
    assert [one.offset for one in found.instructions] == [0, 5, 7]
    assert found.successors == (0, 9)


@pytest.mark.parametrize("read", [decode, ending])
@pytest.mark.parametrize("before", ["8ed8", "8ee0", "0f22c0", "0f23c0", "0fa1"])
def test_what_a_kernel_loads_says_nothing_of_other_moves(
    before: str, read: Callable[[bytes, int], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Boot code begins with `mov ds, ax`; what is known by a name is remembered, and `mov` is not privileged."""
    monkeypatch.setattr(instructions, "_TRAITS", {})
    read(bytes.fromhex(before), 0x400000)
    assert decode(bytes.fromhex("488b0765488b042500000000"), 0x400000).kind is BlockClass.MEMORY
    assert decode(bytes.fromhex("4889d84801d858"), 0x400000).kind is BlockClass.ALU
