"""The disassembly: compared with what GNU as and objdump say of the same code; live, and right from wrong starts."""

import platform
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from imgui_bundle import imgui

from app.widgets.annotations import Annotation, CodeNames, annotate
from app.widgets.byte_source import ByteSource
from app.widgets.disassembly import DisassemblyEvent, DisassemblyView, operand_runs, shown_operands
from app.widgets.disassembly_model import DisassemblyModel
from app.widgets.jump_lanes import MAX_LANES, jump_lanes
from app.widgets.x86_decode import MODES, SYNC_BYTES, Bits, Instruction, boundaries_before, decode, instruction_start
from tests.app.widgets.harness import Harness

Key = imgui.Key
pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="as and objdump of this machine know no x86")

SOURCE = """
    push %rbp
    mov %rsp, %rbp
    xor %eax, %eax
1:  add (%rdi,%rax,8), %rdx
    inc %rax
    cmp $0x1000, %rax
    jne 1b
    call 2f
    lea 2f(%rip), %rcx
    mov -4(%rip), %ecx
    lock cmpxchg %rcx, (%rdx)
    rep movsb
    jmp *%rax
    jmp 2f
    bnd jmp 2f
    loop 1b
2:  pop %rbp
    ret
    iretq
    .byte 0x06
    nop
"""


@pytest.fixture(scope="session")
def assembled(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, list[int]]:
    """SOURCE eight times, as bytes, and where GNU as put each instruction."""
    folder = tmp_path_factory.mktemp("as")
    source, obj, binary = folder / "a.s", folder / "a.o", folder / "a.bin"
    source.write_text(SOURCE * 8)
    assembler = ["as", "-march=generic64+mpx", "-al"]  # mpx: newer assemblers know `bnd` only when asked
    listing = subprocess.run([*assembler, "-o", obj, source], check=True, capture_output=True, text=True).stdout
    subprocess.run(["objcopy", "-O", "binary", "-j", ".text", obj, binary], check=True)
    starts = {
        int(row.split()[1], 16) for row in listing.splitlines() if len(row.split()) > 2 and row[:4].strip().isdigit()
    }
    return binary.read_bytes(), sorted(starts)


def test_instructions_begin_where_the_assembler_put_them(assembled: tuple[bytes, list[int]]) -> None:
    code, starts = assembled
    found = decode(code, 0x1000, 64, limit=1000)
    assert [line.address - 0x1000 for line in found] == starts
    assert b"".join(line.data for line in found) == code
    assert [(line.text, line.kind) for line in found if line.kind == "invalid"] == [("db 0x06", "invalid")] * 8
    by_text = {line.text: line for line in found[: len(found) // 8]}
    end = next(line.address for line in found if line.mnemonic == "pop")
    assert by_text["jne 0x1006"].kind == "branch"
    assert by_text["jne 0x1006"].target == 0x1006
    assert by_text["jmp rax"].target is None
    assert {line.target for line in found[: len(found) // 8] if line.kind == "call"} == {end}
    assert by_text["bnd jmp " + hex(end)].kind == "jump"
    assert by_text["loop 0x1006"].kind == "branch"
    assert {line.kind for line in found if line.mnemonic in ("ret", "iretq")} == {"return"}
    lea = next(line for line in found if line.mnemonic == "lea")
    assert lea.refers == end
    back = next(line for line in found if line.mnemonic == "mov" and "ecx" in line.operands)
    assert back.refers == back.end - 4


def test_instructions_before_an_address_are_found(assembled: tuple[bytes, list[int]]) -> None:
    code, starts = assembled
    for start in starts[len(starts) // 2 :]:
        window = code[max(start - SYNC_BYTES, 0) : start]
        base = start - len(window)
        chain = [base + at for at in boundaries_before(window, start, 64)]
        wanted = [at for at in reversed(starts) if at < start][:8]
        assert chain[:8] == wanted


def test_a_byte_inside_an_instruction_leads_to_its_start(assembled: tuple[bytes, list[int]]) -> None:
    code, starts = assembled
    for offset in range(len(code) // 2, len(code) - 16):
        window = code[offset - SYNC_BYTES if offset > SYNC_BYTES else 0 : offset + 15]
        before = min(offset, SYNC_BYTES)
        begin = offset - before + instruction_start(window, before, offset - before, 64)
        assert begin == max(start for start in starts if start <= offset)


@given(st.binary(max_size=120), st.integers(0, (1 << 64) - 200), st.sampled_from(MODES), st.integers(0, 130))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_listed_without_gap(code: bytes, address: int, bits: Bits, cut: int) -> None:
    boundary = address + cut
    found = decode(code, address, bits, limit=500, boundary=boundary)
    assert b"".join(line.data for line in found) == code
    position = address
    for line in found:
        assert line.address == position
        position = line.end
    if cut < len(code):
        assert boundary in {line.address for line in found}
    chain = boundaries_before(code, address, bits) if address >= len(code) else ()
    assert list(chain) == sorted(set(chain), reverse=True)
    if chain:
        assert chain[-1] == 0
    assert len(decode(code, address, bits, limit=3)) <= 3


def test_targets_keep_the_upper_address_bits() -> None:
    jump_back = bytes.fromhex("ebfe")
    assert decode(jump_back, 0x1_2345, 16, limit=1)[0].target == 0x1_2345
    assert decode(jump_back, 0x5_0000_0000, 32, limit=1)[0].operands == "0x500000000"
    assert decode(jump_back, (1 << 64) - 2, 64, limit=1)[0].target == (1 << 64) - 2


def test_operands_are_coloured_by_what_they_are() -> None:
    runs = dict(operand_runs("qword ptr [rax + rcx*8 - 0x10], xmm0"))
    assert {kind: text.split() for kind, text in runs.items()} == {
        0: ["rax", "rcx", "xmm0"],
        1: ["8", "0x10"],
        2: ["qword", "ptr"],
        3: ["[", "+", "*", "-", "],"],
    }


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=12))
def test_lanes_do_not_cross_until_they_run_out(jumps: list[tuple[int, int]]) -> None:
    targets = dict(jumps)
    lines = [
        Instruction(row, b"\x90", "jmp", "", "jump" if row in targets else "plain", targets.get(row))
        for row in range(30)
    ]
    lanes = jump_lanes(lines)
    assert {(lane.source, lane.target) for lane in lanes} == {
        (source, target) for source, target in targets.items() if source < 30 and target < 30
    }
    for a in lanes:
        for b in lanes:
            if a != b and a.lane == b.lane < MAX_LANES - 1:
                assert max(a.source, a.target) < min(b.source, b.target) or max(b.source, b.target) < min(
                    a.source, a.target
                )


RAM, HOLE = range(0x1000, 0x9000), range(0x4000, 0x5000)


class _Stage:
    """A view over assembled code at 0x1000, with a hole, in a 1 MiB space."""

    def __init__(self, stage: Callable[..., Harness], code: bytes, **options: object) -> None:
        filler = random.Random(5).randbytes(len(RAM))
        self.memory = bytearray((code + filler)[: len(RAM)])
        self.view = DisassemblyView(64, (KeyError,))
        self.events: list[DisassemblyEvent] = []
        self.address = 0x1000
        self.names: CodeNames | None = None
        self.reads = 0
        self.harness = stage(self._draw, **{"width": 700, "height": 500, **options})
        self.harness.frame(3)

    def read(self, address: int, length: int) -> bytes:
        self.reads += 1
        last = address + length - 1
        if address not in RAM or last not in RAM or (address < HOLE.stop and last >= HOLE.start):
            raise KeyError(address)
        return bytes(self.memory[address - 0x1000 : address - 0x1000 + length])

    def _draw(self, stage: Harness) -> None:
        event = self.view.draw(stage.theme, self.read, self.address, base=0, size_bytes=1 << 20, names=self.names)
        if event is not None:
            self.events.append(event)
            self.address = event.address

    def row(self, index: int) -> tuple[float, float]:
        return 350, 12 + 24 + (index + 0.5) * 20

    @property
    def lines(self) -> list[Instruction]:
        return self.view.model._lines


def test_click_selects_and_double_click_follows(
    stage: Callable[..., Harness], assembled: tuple[bytes, list[int]]
) -> None:
    at = _Stage(stage, assembled[0])
    at.address = 0x1000 + assembled[1][20]
    at.harness.frame(2)
    rows = list(at.lines)
    branch = next(index for index, line in enumerate(rows) if line.kind == "branch")
    at.harness.click(*at.row(branch))
    assert at.events == [DisassemblyEvent("select", rows[branch].address, len(rows[branch].data))]
    assert at.lines == rows
    at.harness.frame(40)
    at.harness.click(*at.row(branch), times=2)
    assert at.events[-1] == DisassemblyEvent("go", rows[branch].target or 0)
    at.harness.frame(40)
    plain = next(index for index, line in enumerate(at.lines) if line.kind == "plain" and line.refers is None)
    at.harness.click(*at.row(plain), times=2)
    assert at.events[-1].kind == "go"


def test_keys_step_through_the_code(stage: Callable[..., Harness], assembled: tuple[bytes, list[int]]) -> None:
    code, starts = assembled
    at = _Stage(stage, code)
    at.harness.click(*at.row(0))
    at.address = 0x1000 + starts[30]
    at.harness.frame(2)
    at.harness.click(*at.row(at.lines.index(next(x for x in at.lines if x.address == at.address))))
    for key, index in ((Key.down_arrow, 31), (Key.down_arrow, 32), (Key.up_arrow, 31)):
        at.harness.key(key)
        assert at.events[-1].address == 0x1000 + starts[index]
    at.harness.key(Key.page_down)
    page = at.view.model.rows - 1
    assert at.events[-1].address == 0x1000 + starts[31 + page]
    assert any(line.address == at.address for line in at.lines[: at.view.model.rows])
    at.harness.key(Key.page_up)
    assert at.events[-1].address == 0x1000 + starts[31]
    at.harness.key(Key.c, ctrl=True)
    assert at.harness.clipboard.startswith(f"0x{0x1000 + starts[31]:x}  ")
    at.harness.key(Key.enter)
    assert at.events[-1].kind == "go"


def test_wheel_and_scroll_bar(stage: Callable[..., Harness], assembled: tuple[bytes, list[int]]) -> None:
    code, starts = assembled
    at = _Stage(stage, code)
    at.address = 0x1000 + starts[30]
    at.harness.frame(2)
    top = at.view.model.top
    at.harness.move(*at.row(5))
    at.harness.wheel(-1)
    index = starts.index(top - 0x1000)
    assert at.view.model.top == 0x1000 + starts[index + 3]
    at.harness.wheel(1)
    assert at.view.model.top == top
    at.harness.drag((700 - 12 - 5, 37), (680, 2000))
    assert at.view.model.top > 0xF0000
    assert [line.kind for line in at.lines] == ["unmapped"]
    at.harness.wheel(2)


def test_what_is_not_mapped_is_one_line(stage: Callable[..., Harness], assembled: tuple[bytes, list[int]]) -> None:
    at = _Stage(stage, assembled[0])
    at.address = 0x3FF8
    at.harness.frame(2)
    hole = next(line for line in at.lines if line.kind == "unmapped")
    assert hole.address == 0x4000
    assert sum(line.kind == "unmapped" for line in at.lines) == 1
    at.harness.click(*at.row(at.lines.index(hole)))
    assert not at.events
    at.address = 0x5000
    at.harness.frame(2)
    assert any(line.address == 0x5000 and line.kind != "unmapped" for line in at.lines)


def test_changed_code_glows_and_selected_stays_a_boundary(
    stage: Callable[..., Harness], assembled: tuple[bytes, list[int]]
) -> None:
    code, starts = assembled
    at = _Stage(stage, code)
    at.address = 0x1000 + starts[12]
    at.harness.frame(2)
    lines = at.lines
    at.harness.frame(5)
    assert at.lines is lines  # equal bytes are not decoded again
    victim = next(line for line in lines if line.address == 0x1000 + starts[10])
    at.memory[starts[10]] = 0x48
    at.harness.frame()
    assert at.view.animating
    assert at.view.model.heat(victim, imgui.get_time()) > 0.9
    assert at.view.model.heat(lines[0], imgui.get_time()) == 0
    assert any(line.address == at.address for line in at.lines)
    at.harness.frame(100)
    assert not at.view.animating


def test_the_header_chooses_the_width(stage: Callable[..., Harness]) -> None:
    at = _Stage(stage, bytes.fromhex("48 31 c0"))
    first = next(index for index, line in enumerate(at.lines) if line.address == 0x1000)
    assert at.lines[first].text == "xor rax, rax"
    chosen: list[int] = []
    for x in range(700 - 12 - 120, 700 - 12, 8):  # along the header, as a finger would
        at.harness.click(x, 20)
        if not chosen or chosen[-1] != at.view.bits:
            chosen.append(at.view.bits)
    assert chosen == [64, 16, 32, 64]
    at.view.bits = 32
    at.harness.frame()
    assert at.lines[first].data == b"\x48"  # dec eax


def test_the_menu_copies(stage: Callable[..., Harness]) -> None:
    at = _Stage(stage, bytes.fromhex("ebfe 90"))
    copied = set()
    first = next(index for index, line in enumerate(at.lines) if line.address == 0x1000)
    for item in range(4):
        at.harness.click(*at.row(first), button=1)
        at.harness.frame(2)
        x, y = at.row(first)
        at.harness.click(x + 40, y + 16 + item * 23)
        copied.add(at.harness.clipboard)
        at.harness.frame(2)
    assert copied == {"0x1000", "jmp 0x1000", "eb fe"}


@pytest.mark.parametrize("width", [300, 520, 900])
def test_every_width_draws(stage: Callable[..., Harness], assembled: tuple[bytes, list[int]], width: int) -> None:
    at = _Stage(stage, assembled[0], width=width)
    at.harness.move(*at.row(3))
    assert at.view._byte_cells(width // 7) in (0, 16, 25)


def test_the_model_at_the_ends_of_the_space() -> None:
    source = ByteSource(lambda address, length: bytes(length))
    model = DisassemblyModel()
    model.set_view(0, 64, 64, 10)
    model.show(source, 1 << 70)
    assert model.selected == 63
    assert model.step(source, 5) is not None
    model.show(source, 0)
    model.scroll(source, -5)
    assert model.top == 0
    assert model.step(source, -3) == model._decode(source, 0, 1)[0]
    model.scroll(source, 500)
    assert model.top < 64
    empty = DisassemblyModel()
    empty.set_view(0, 0, 64, 10)
    assert empty.lines(source, 0.0) == []
    assert empty.step(source, 1) is None
    assert empty.current() is None
    assert empty.shown_bytes > 0


def test_real_programs_agree_with_objdump() -> None:
    """Backwards over /bin/sh: the chain meets objdump's boundaries nearly always."""
    program = Path("/bin/sh").resolve()
    listing = subprocess.run(
        ["objdump", "-d", "--no-show-raw-insn", "-j", ".text", program], check=True, capture_output=True, text=True
    ).stdout
    starts = [int(row.split(":")[0], 16) for row in listing.splitlines() if row.startswith("  ") and ":\t" in row]
    headers = subprocess.run(
        ["objdump", "-h", "-j", ".text", program], check=True, capture_output=True, text=True
    ).stdout
    _, _, size, vma, _, offset, *_ = next(row for row in headers.splitlines() if ".text" in row).split()
    code = program.read_bytes()[int(offset, 16) : int(offset, 16) + int(size, 16)]
    base, known = int(vma, 16), set(starts)
    chosen = random.Random(7).sample(starts[200:], 60)
    right = total = 0
    for address in chosen:
        window = code[address - base - SYNC_BYTES : address - base]
        chain = boundaries_before(window, address, 64)[:12]
        right += sum(address - SYNC_BYTES + at in known for at in chain)
        total += len(chain)
    assert right / total > 0.97


class Names:
    """Code that lies at its virtual address less 0xffff_0000; what begins at 0x1000 there is called helper."""

    def virtual(self, address: int) -> int | None:
        return address + 0xFFFF_0000 if address < 0x2000 else None

    def name(self, vaddr: int) -> str:
        start = 0xFFFF_1000
        if not 0 <= vaddr - start < 0x1000:
            return ""
        return f"helper + {vaddr - start:#x}" if vaddr > start else "helper"


def test_instructions_are_annotated_with_where_they_run_and_lead() -> None:
    code = bytes.fromhex(
        "e8fbffffff 488b0df9ffffff 90 ebfe".replace(" ", "")
    )  # call 0x1000; mov rcx, [rip - 7]; nop; jmp
    call, load, nop, jump = decode(code, 0x1000, 64, limit=4)
    assert annotate(call, None) is None
    assert annotate(call, Names()) == Annotation(0xFFFF_1000, 0xFFFF_1000, "helper", "helper")
    assert annotate(load, Names()) == Annotation(0xFFFF_1005, 0xFFFF_1005, "helper + 0x5", "")
    assert annotate(nop, Names()) == Annotation(0xFFFF_100C, None, "", "")
    assert annotate(jump, Names()) == Annotation(0xFFFF_100D, 0xFFFF_100D, "helper + 0xd", "")
    assert annotate(decode(b"\x90", 0x3000, 64, limit=1)[0], Names()) is None, "nobody knows where that runs"
    assert shown_operands(call, annotate(call, Names())) == "helper"
    assert shown_operands(load, annotate(load, Names())) == "rcx, qword ptr [helper + 0x5]"
    assert shown_operands(load, None) == load.operands
    away = decode(bytes.fromhex("e900100000"), 0x1000, 64, limit=1)[0]
    assert shown_operands(away, annotate(away, Names())) == "0xffff2005", "without a name by where it runs"
    beyond = decode(bytes.fromhex("488b0d00100000"), 0x1000, 64, limit=1)[0]
    assert shown_operands(beyond, annotate(beyond, Names())) == beyond.operands


def test_the_listing_shows_names_and_goes_by_virtual_addresses(
    stage: Callable[..., Harness], assembled: tuple[bytes, list[int]]
) -> None:
    at = _Stage(stage, assembled[0], width=900)
    before = at.view._byte_cells(80)
    at.names = Names()
    at.address = 0x1000 + assembled[1][20]
    at.harness.frame(2)
    branch = next(index for index, line in enumerate(at.lines) if line.target is not None)
    line = at.lines[branch]
    at.harness.move(*at.row(branch))
    at.harness.frame(60)
    tips = [w for w in imgui.get_current_context().windows if w.active and w.name.startswith("##Tooltip")]
    assert tips, "what it leads to is told in full"
    at.harness.click(*at.row(branch), times=2)
    assert line.target is not None
    assert at.events[-1] == DisassemblyEvent("go", line.target, 1, line.target + 0xFFFF_0000)
    assert at.view._shows_virtual
    assert before == at.view._byte_cells(80)
    copied = set()
    for item in range(5):
        at.harness.frame(40)
        at.harness.click(*at.row(branch), button=1)
        at.harness.frame(2)
        x, y = at.row(branch)
        at.harness.click(x + 40, y + 16 + item * 23)
        copied.add(at.harness.clipboard)
        at.harness.frame(2)
    assert f"{line.address + 0xFFFF_0000:#x}" in copied
    assert f"{line.target + 0xFFFF_0000:#x}" in copied
