"""A byte's story becomes lines that say what the records say, and lead where they should."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from app.chosen import parse_key
from app.code_names import GuestCode
from app.kernel_channels import CLASS_LABELS, shown_classes
from app.kernel_symbols import KernelSymbols
from app.story_facts import Fact, facts_of, region_at, swatch_of
from bridge.kernel.kallsyms import Symbols
from bridge.kernel.packed_symbols import pack
from bridge.kernel.page_classes import CLASS_TITLES, PageClass
from bridge.kernel.records import MapEntry, Module, SlabObject, SymbolRow
from bridge.kernel.snapshot import PART_TITLES, Part
from bridge.kernel.symbols import Place
from bridge.kernel.where import Mapping, Story
from bridge.kernel.worker import Sighting

NOTHING = Story(0x5123, 0x5123, CLASS_TITLES[PageClass.UNKNOWN], PART_TITLES[Part.NONE], (), 0, None, None)
SSHD = Mapping(412, "sshd", 0x5581_0000_0123, 0x5581_0000_0000, 0x5581_0002_1000)


def story(kind: PageClass, part: Part = Part.NONE, **rest: Any) -> Story:
    return dataclasses.replace(NOTHING, page_class=CLASS_TITLES[kind], part=PART_TITLES[part], **rest)


def by_label(facts: tuple[Fact, ...]) -> dict[str, Fact]:
    found = {fact.label: fact for fact in facts}
    assert len(found) == len(facts)
    return found


@pytest.mark.parametrize("kind", list(PageClass))
@pytest.mark.parametrize("part", list(Part))
def test_every_class_is_coloured_as_in_the_volume_and_can_be_lit_up(kind: PageClass, part: Part) -> None:
    told = story(kind, part)
    sighting = Sighting(0.0, 0.0, "", classes=np.array([kind], np.uint8), parts=np.array([part], np.uint8))
    shown = CLASS_LABELS[shown_classes(sighting)[0]]
    assert swatch_of(told) == shown
    fact = facts_of(told)[0]
    assert fact.swatch == shown
    assert parse_key(fact.kind, fact.key) == kind


def test_a_free_page_tells_its_block() -> None:
    assert facts_of(story(PageClass.FREE, order=3))[0].note == "in a block of 8 pages, 32 KiB"
    assert facts_of(story(PageClass.FREE, order=0))[0].note == "in a block of 1 page, 4 KiB"


def test_a_symbol_lights_up_from_its_first_byte() -> None:
    told = story(PageClass.KERNEL_DATA, symbol=Place("init_task", 0x40), kernel_vaddr=0xFFFF_FFFF_8240_0040)
    facts = by_label(facts_of(told, size_of_symbol=0x2080))
    assert facts["Symbol"].value == "init_task + 0x40"
    assert facts["Symbol"].note == "of 8.1 KiB"
    assert parse_key("symbol", facts["Symbol"].key) == (0xFFFF_FFFF_8240_0000, 0x2080)
    assert facts["Virtual"].value == "0xffffffff82400040"
    unsized = by_label(facts_of(told))["Symbol"]
    assert parse_key("symbol", unsized.key) == (0xFFFF_FFFF_8240_0000, 0x41), "as far as the byte that was asked for"
    assert not unsized.note


def test_a_slab_object_says_where_in_it_the_byte_is() -> None:
    told = story(PageClass.SLAB, cache="kmalloc-256", kernel_vaddr=0xFFFF_8880_0000_5123)
    assert list(by_label(facts_of(told))) == ["Page of", "Cache", "Virtual"]
    for used, word in ((True, "in use"), (False, "free")):
        held = SlabObject("kmalloc-256", 0xFFFF_8880_0000_5100, 256, used)
        facts = by_label(facts_of(told, held))
        assert (facts["Cache"].kind, facts["Cache"].key) == ("slab", "kmalloc-256")
        assert facts["Object"].goes == 0xFFFF_8880_0000_5100
        assert facts["Object"].note == f"+ 0x23, {word}"


def test_a_processs_page_tells_region_and_who_else() -> None:
    others = tuple(dataclasses.replace(SSHD, pid=pid, name="sh") for pid in (5, 6))
    told = story(PageClass.ANONYMOUS, Part.HEAP, mappings=(SSHD, *others), n_mappings=3)
    facts = by_label(facts_of(told))
    assert facts["Page of"].note == "heap"
    assert facts["Process"].value == "sshd (412)"
    assert facts["Process"].note == "and 2 more"
    assert facts["Process"].others == (("sh (5)", "5"), ("sh (6)", "6"))
    assert parse_key("region", facts["Region"].key) == (412, SSHD.vma_start, SSHD.vma_end)
    assert facts["Virtual"].note == "in sshd"
    heap = MapEntry(SSHD.vma_start, SSHD.vma_end, "rw-p", 0, "[heap]", 4096)
    named = by_label(facts_of(told, None, heap))["Region"]
    assert (named.value, named.note) == ("[heap]", "rw-p  132 KiB")
    assert parse_key("region", named.key) == (412, SSHD.vma_start, SSHD.vma_end)
    assert (
        by_label(facts_of(story(PageClass.ANONYMOUS, mappings=(SSHD,), n_mappings=2)))["Process"].note == "and 1 more"
    )
    elsewhere = dataclasses.replace(heap, start=0x1000, end=0x2000)
    assert by_label(facts_of(told, None, elsewhere))["Region"].value == "0x558100000000"


def test_files_stacks_modules_and_tables_lead_to_themselves() -> None:
    file = by_label(facts_of(story(PageClass.FILE, file_path="/usr/sbin/sshd", file_offset=0x1123)))["File"]
    assert (file.value, file.note, file.kind, file.key) == ("/usr/sbin/sshd", "+ 0x1123", "file", "/usr/sbin/sshd")
    stack = by_label(facts_of(story(PageClass.KERNEL_STACK, stack_task=(17, "kworker/0:1"))))["Stack of"]
    assert (stack.value, parse_key(stack.kind, stack.key)) == ("kworker/0:1 (17)", 17)
    module = by_label(facts_of(story(PageClass.MODULE, module="virtio_net"), own_vaddr=0xFFFF_FFFF_C000_1123))
    assert (module["Module"].kind, module["Module"].key) == ("module", "virtio_net")
    assert module["Virtual"].value == "0xffffffffc0001123"
    table = by_label(facts_of(story(PageClass.PAGE_TABLE, table_owner=(412, "sshd"), table_level=1)))["Table of"]
    assert (table.value, table.note, parse_key(table.kind, table.key)) == ("sshd (412)", "entries of 2 MiB", 412)
    kernels = by_label(facts_of(story(PageClass.PAGE_TABLE, table_owner=(0, "kernel"), table_level=9)))["Table of"]
    assert (kernels.value, kernels.note) == ("the kernel", "")
    gone = by_label(facts_of(story(PageClass.PAGE_TABLE, table_owner=(9, ""), table_level=None)))["Table of"]
    assert gone.value == "process 9"


def test_what_a_guest_named_is_one_line() -> None:
    evil = "a\n\x1b[2J" + "b" * 5000
    mapping = dataclasses.replace(SSHD, name=evil)
    told = story(PageClass.FILE, file_path=evil, module=evil, stack_task=(1, evil), mappings=(mapping,))
    for fact in facts_of(dataclasses.replace(told, cache=evil, n_mappings=1)):
        assert len(fact.value) < 400
        assert fact.value.isprintable()


# Where code runs and what its places are called

NAMES = ("_text", "schedule", "helper", "_end")
ADDRESSES = [0xFFFF_FFFF_8100_0000, 0xFFFF_FFFF_8100_0100, 0xFFFF_FFFF_8100_0180, 0xFFFF_FFFF_8200_0000]


def made(names: tuple[str, ...] = NAMES) -> KernelSymbols:
    types = np.frombuffer(b"TtTB", np.uint8)
    return KernelSymbols(pack(Symbols(names, np.array(ADDRESSES, np.uint64), types)))


def test_code_of_the_image_is_named_by_symbols() -> None:
    code = GuestCode(0x100_0000, 0x200_0000, ADDRESSES[0], None, made())
    assert code.virtual(0x100_0104) == ADDRESSES[1] + 4
    assert code.virtual(0x200_0000) is None
    assert code.physical(ADDRESSES[1]) == 0x100_0100
    assert code.physical(0x1000) is None
    assert code.name(ADDRESSES[1] + 4) == "schedule + 0x4"
    assert code.name(ADDRESSES[2]) == "helper"
    assert code.name(0xFFFF_8880_0000_0000) == ""
    assert dataclasses.replace(code, symbols=None).name(ADDRESSES[1]) == ""


def test_code_of_modules_and_of_programs_is_named_by_where_it_came_from() -> None:
    base = 0xFFFF_FFFF_C000_0000
    module = Module("virtio_net", 0, base, 0x8000, "Live", 0, ())
    code = GuestCode(0x5000, 0x6000, base, None, made(), (module,))
    assert code.name(base + 0x123) == "virtio_net + 0x123"
    assert code.name(ADDRESSES[1]) == "schedule", "it calls the kernel's own"
    regions = (
        MapEntry(0x401000, 0x585000, "r-xp", 0x1000, "/bin/busybox", 0),
        MapEntry(0x600000, 0x601000, "rw-p", 0, "", 0),
    )
    user = GuestCode(0x5000, 0x6000, 0x402000, 7, made(), (), regions)
    assert user.name(0x402345) == "busybox + 0x2345"
    assert user.name(0x600010) == ""
    assert user.name(0x100) == ""
    assert region_at(regions, 0x600FFF) is regions[1]
    assert region_at(regions, 0x601000) is None


def test_symbols_are_rows_sizes_and_ranks() -> None:
    symbols = made()
    assert len(symbols) == 4
    assert symbols[1] == SymbolRow("schedule", ADDRESSES[1], "t")
    assert [row.name for row in symbols[2:]] == ["helper", "_end"]
    assert symbols.find("helper") == ADDRESSES[2]
    assert symbols.find("nothing") is None
    assert symbols.size_of(ADDRESSES[1]) == 0x80
    assert symbols.size_of(ADDRESSES[2]) == 0xFF_FE80
    assert symbols.size_of(ADDRESSES[3]) == 0, "nothing follows"
    assert symbols.haystacks[1] == "schedule 0xffffffff81000100"
    assert [NAMES[at] for at in np.argsort(symbols.name_ranks)] == sorted(NAMES)
    far = np.array([*ADDRESSES[:3], ADDRESSES[2] + (1 << 30)], np.uint64)
    assert KernelSymbols(pack(Symbols(NAMES, far, symbols.symbols.types))).size_of(ADDRESSES[2]) == 0
