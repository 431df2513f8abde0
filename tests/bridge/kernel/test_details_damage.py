"""Details of damaged memory: one word at a time changed on purpose, then many by chance. Answers or typed errors."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import drgn
import numpy as np
import numpy.typing as npt
import pytest
from drgn.helpers.linux.list import list_for_each

from bridge.kernel.btf import Btf, Kind
from bridge.kernel.desk import QUESTIONS, Desk, Question, answer
from bridge.kernel.details import Details
from bridge.kernel.drgn_engine.program import KernelProgram, Unreadable, reading
from bridge.kernel.drgn_engine.sockets import read_sockets
from bridge.kernel.drgn_engine.stack import ThreadRuns
from bridge.kernel.drgn_engine.types import TypeFinder
from bridge.kernel.errors import BadTypes, KernelError, MissingType
from bridge.kernel.kernel import Kernel, find_kernel
from bridge.kernel.lists import RETRIES
from bridge.kernel.records import SlabCache, Socket
from bridge.kernel.snapshot import Introspector
from bridge.memory.physical import PhysicalReader
from tests.bridge.kernel.conftest import HeldRam, LiveGuest


class Patient:
    """A copy of the guest's RAM that may be damaged, and what is read from it."""

    def __init__(self, data: npt.NDArray[np.uint8]) -> None:
        self.data = data
        self.kernel: Kernel = find_kernel(PhysicalReader(HeldRam(data)))
        self.introspector = Introspector(self.kernel)
        self.details = Details(self.introspector)
        self.program = KernelProgram(self.kernel)
        self.changed: list[tuple[int, bytes]] = []

    def write(self, vaddr: int, value: int, size: int = 8) -> None:
        paddrs, mapped = self.kernel.space.translate(np.array([vaddr], np.uint64))
        assert mapped[0]
        place = int(paddrs[0])
        self.changed.append((place, self.data[place : place + size].tobytes()))
        self.data[place : place + size] = np.frombuffer(value.to_bytes(size, "little"), np.uint8)

    def set(self, member: drgn.Object, value: int) -> None:
        """Change what an object of the kernel has."""
        self.write(member.address_, value, drgn.sizeof(member))

    def heal(self) -> None:
        for place, was in reversed(self.changed):
            self.data[place : place + len(was)] = np.frombuffer(was, np.uint8)
        self.changed.clear()

    def task(self, pid: int) -> drgn.Object:
        tasks = self.introspector.tasks.threads()
        return self.program.at("task_struct", int(tasks.addresses[tasks.pids.tolist().index(pid)]))

    @property
    def daemon(self) -> int:
        """The SSH daemon: it has files and a socket, and sleeps."""
        tasks = self.introspector.tasks.processes()
        return int(tasks.pids[tasks.names.index("dropbear")])

    def file(self, pid: int, descriptor: int) -> drgn.Object:
        address = next(file.address for file in self.details.files(pid) if file.descriptor == descriptor)
        return self.program.at("file", address)


@pytest.fixture(scope="module")
def shared_patient(dump: npt.NDArray[np.uint8]) -> Patient:
    return Patient(dump.copy())


@pytest.fixture
def patient(shared_patient: Patient) -> Iterator[Patient]:
    yield shared_patient
    shared_patient.heal()


def test_a_table_of_descriptors_that_is_too_large(patient: Patient) -> None:
    patient.set(patient.task(patient.daemon).files.fdt.max_fds, 1 << 30)
    with pytest.raises(Unreadable, match="would have 1,073,741,824 entries"):
        patient.details.files(patient.daemon)
    with pytest.raises(Unreadable, match="would have 1,073,741,824 entries"):
        patient.details.sockets()
    assert patient.details.consistency == "retried"
    assert patient.details.attempts == RETRIES


def test_what_a_zombie_has_given_back(patient: Patient) -> None:
    daemon = patient.daemon
    assert {socket.pid for socket in patient.details.sockets()} >= {daemon}
    task = patient.task(daemon)
    for member in (task.files, task.fs, task.nsproxy, task.stack):
        patient.set(member, 0)
    assert patient.details.files(daemon) == ()
    assert patient.details.mounts(daemon) == ()
    assert patient.details.stack(daemon) == ()
    assert daemon not in {socket.pid for socket in patient.details.sockets()}


def test_a_process_that_ends_while_its_sockets_are_read(patient: Patient) -> None:
    daemon = patient.daemon
    task = patient.task(daemon)
    patient.set(task.files, 0x10)
    with pytest.raises(Unreadable):
        patient.details.sockets()
    before = patient.introspector.tasks.processes()
    patient.set(task.pid, 0x7FFF_0000)
    assert daemon not in {socket.pid for socket in read_sockets(patient.program, before)}


def test_a_path_in_circles_is_said_to_be_one(patient: Patient) -> None:
    dentry = patient.file(1, 0).f_path.dentry
    above = dentry.d_parent
    patient.set(above.d_parent, dentry.value_())
    started = time.process_time()
    files = patient.details.files(1)
    assert "does not end after 4,096 names" in files[0].path
    assert files[0].kind == "character device"
    assert time.process_time() - started < 30


def test_names_that_file_systems_make_up(patient: Patient) -> None:
    """The same dentry under every function of the kernel that names files; all that /proc would say of it."""
    daemon = patient.daemon
    socket = next(file for file in patient.details.files(daemon) if file.path.startswith("socket:"))
    dentry = patient.file(daemon, socket.descriptor).f_path.dentry
    name = patient.program.string(dentry.d_name.name.value_())
    expected = {
        "pipefs_dname": f"pipe:[{socket.inode}]",
        "sockfs_dname": f"socket:[{socket.inode}]",
        "anon_inodefs_dname": f"anon_inode:{name}",
        "simple_dname": f"/{name} (deleted)",
        "_stext": f"sockfs:[{socket.inode}]",  # one that is not known: its file system and its number
    }
    for function, path in expected.items():
        patient.set(dentry.d_op.d_dname, patient.kernel.symbols.address(function))
        files = {file.descriptor: file.path for file in patient.details.files(daemon)}
        assert files[socket.descriptor] == path


def test_the_cursor_of_a_reader_is_no_mount(patient: Patient) -> None:
    before = patient.details.mounts(1)
    mount = patient.program.at("mount", before[-1].address)
    patient.set(mount.mnt.mnt_sb, 0)
    assert patient.details.mounts(1) == before[:-1]


def test_a_mount_that_is_read_only_and_has_a_subtype(patient: Patient) -> None:
    last = patient.details.mounts(1)[-1]
    mount = patient.program.at("mount", last.address)
    block = mount.mnt.mnt_sb
    patient.set(mount.mnt.mnt_flags, mount.mnt.mnt_flags.value_() | 0x40 | 0x04)
    patient.set(block.s_flags, block.s_flags.value_() | 0x10)
    patient.set(block.s_subtype, patient.kernel.symbols.address("linux_banner"))
    found = patient.details.mounts(1)[-1]
    assert found.options.split(",")[:2] == ["ro", "sync"]
    assert "noexec" in found.options.split(",")
    assert found.file_system.startswith(f"{last.file_system}.Linux version ")


def test_a_log_that_makes_no_sense(patient: Patient) -> None:
    ring = patient.program.program["prb"]
    newest = patient.details.log(1)[0]
    assert newest.text
    patient.set(ring.text_data_ring.size_bits, 40)
    with pytest.raises(Unreadable, match="2\\^40 bytes of text"):
        patient.details.log(10)


def test_a_record_of_the_log_without_its_text(patient: Patient) -> None:
    """A block that holds another record's number was written over; one with two odd positions never was."""
    ring = patient.program.program["prb"]
    records = patient.details.log(3)
    number = ring.desc_ring.head_id.counter.value_()
    count = 1 << ring.desc_ring.count_bits.value_()
    descriptor = ring.desc_ring.descs[number % count]
    assert records[-1].text
    size = 1 << ring.text_data_ring.size_bits.value_()
    patient.write(ring.text_data_ring.data.value_() + descriptor.text_blk_lpos.begin.value_() % size, 0x1234, 8)
    assert patient.details.log(3)[-1].text == ""
    patient.heal()
    patient.set(descriptor.text_blk_lpos.begin, 1)
    patient.set(descriptor.text_blk_lpos.next, 1)
    assert patient.details.log(3)[-1].text == ""
    assert patient.details.log(3)[:-1] == records[:-1]
    patient.heal()
    state = descriptor.state_var.counter
    patient.set(state, state.value_() & (1 << 62) - 1)  # reserved: somebody writes it just now
    assert patient.details.log(2) == records[:-1]


def test_text_that_wraps_around_the_rings_end(patient: Patient) -> None:
    """The block begins where the ring does, though its position says the ring's last bytes."""
    ring = patient.program.program["prb"]
    number = ring.desc_ring.head_id.counter.value_()
    descriptor = ring.desc_ring.descs[number % (1 << ring.desc_ring.count_bits.value_())]
    info = ring.desc_ring.infos[number % (1 << ring.desc_ring.count_bits.value_())]
    size = 1 << ring.text_data_ring.size_bits.value_()
    data = ring.text_data_ring.data.value_()
    patient.set(descriptor.text_blk_lpos.begin, 3 * size - 16)
    patient.set(descriptor.text_blk_lpos.next, 3 * size + 32)
    patient.write(data, number & (1 << 62) - 1)
    patient.write(data + 8, int.from_bytes(b"at the start", "little"), 12)
    patient.set(info.text_len, 12)
    assert patient.details.log(1)[0].text == "at the start"
    patient.set(descriptor.text_blk_lpos.begin, 3 * size - 32)
    patient.set(descriptor.text_blk_lpos.next, 3 * size)
    patient.write(data + size - 32, number & (1 << 62) - 1)
    patient.write(data + size - 24, int.from_bytes(b"at the end", "little"), 10)
    patient.set(info.text_len, 10)
    assert patient.details.log(1)[0].text == "at the end"


def test_slab_caches_that_make_no_sense(patient: Patient) -> None:
    address = int(patient.introspector.tasks.processes().addresses[3])
    assert patient.details.slab_object(address) is not None
    cache = next(cache for cache in patient.details.slabs() if cache.name == "task_struct")
    patient.set(patient.program.at("kmem_cache", cache.address).size, 1)
    with pytest.raises(Unreadable, match="has slots of 1 bytes"):
        patient.details.slab_object(address)
    story = patient.details.story(patient.introspector.look(), address - (patient.kernel.space.direct_map or 0))
    assert story.cache == "task_struct"
    assert story.slab_object is None
    assert patient.details.slab_object(0x1000) is None


def test_lists_of_slabs_that_are_torn(patient: Patient) -> None:
    """A list that leads into other memory, into itself, or ends elsewhere than its head says."""
    before = {cache.name: cache for cache in patient.details.slabs()}
    row = max(before.values(), key=lambda cache: cache.objects - cache.active)
    partial = patient.program.at("kmem_cache", row.address).node[0].partial
    first = partial.next.value_()
    offset = patient.program.types.offset("slab", "slab_list")
    slabs = [patient.program.at("slab", node.value_() - offset) for node in list_for_each(partial.address_of_())]
    free = sum(slab.objects.value_() - slab.inuse.value_() for slab in slabs)
    assert row.objects - row.active == free > 0

    def torn() -> list[SlabCache]:
        return [cache for cache in patient.details.slabs() if not cache.complete]

    assert torn() == []
    patient.set(partial.next, patient.kernel.symbols.address("init_task"))
    assert torn() == [replace(row, active=row.objects, complete=False)]
    patient.heal()
    patient.write(first, first)
    assert [cache.name for cache in torn()] == [row.name]
    assert row.active <= torn()[0].active < row.objects  # what is free in the first slab is known
    patient.heal()
    patient.set(partial.prev, partial.address_ + 64)
    assert torn() == [replace(row, complete=False)]
    patient.heal()
    assert {cache.name: cache for cache in patient.details.slabs()} == before


def test_a_list_of_free_slots_in_circles_ends(patient: Patient) -> None:
    """A free slot that links to itself: found, and followed once."""
    direct = patient.kernel.space.direct_map
    assert direct is not None
    looked = patient.introspector.look()
    pages = np.flatnonzero(looked.page_map.classes == 11)
    for page in pages.tolist():
        found = patient.details.slab_object(direct + page * 4096)
        if found is not None and not found.allocated:
            break
    else:
        pytest.fail("no free slot at the start of any page of slabs")
    patient.write(found.address + found.size_bytes // 2 // 8 * 8, 0)
    again = patient.details.slab_object(found.address)
    assert again is not None
    assert not again.allocated


def test_stacks_that_make_no_sense(patient: Patient) -> None:
    daemon = patient.daemon
    task = patient.task(daemon)
    whole = patient.details.stack(daemon)
    assert len(whole) > 4
    place = task.thread.sp.value_()
    patient.set(task.thread.sp, place + (1 << 30))
    with pytest.raises(Unreadable, match="not where its record says"):
        patient.details.stack(daemon)
    patient.heal()
    # The return address of the second frame: what was found before stays.
    at = next(a for a in range(place + 56, place + 1024, 8) if patient.program.peek(a) == whole[1].address)
    patient.write(at, 0x1234)
    assert patient.details.stack(daemon) == whole[:1]
    patient.heal()
    if hasattr(task, "on_cpu"):
        patient.set(task.on_cpu, 1)
        with pytest.raises(ThreadRuns):
            patient.details.stack(daemon)


def test_modules_of_a_kernel_without_any(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Built without modules, a kernel has no list of them."""
    find = type(patient.kernel.symbols).find
    monkeypatch.setattr(
        type(patient.kernel.symbols), "find", lambda self, name: None if name == "modules" else find(self, name)
    )
    assert patient.details.modules() == ()


def test_a_tree_that_never_ends(patient: Patient) -> None:
    node = next(iter(patient.program.tree(_slab_directory(patient), 100_000)))
    patient.write(node + 8, node)
    with pytest.raises(Unreadable, match="makes no sense"):
        patient.program.tree(_slab_directory(patient), 1000)


def _slab_directory(patient: Patient) -> int:
    root: int = patient.program.program["slab_kset"].kobj.sd.dir.children.rb_node.value_()
    return root


def test_a_region_with_a_name_of_its_own(patient: Patient) -> None:
    """prctl(PR_SET_VMA_ANON_NAME) names anonymous memory, where the kernel was built for it."""
    assert patient.kernel.types is not None
    if not patient.kernel.types.has("vm_area_struct", "anon_name"):
        pytest.skip("this kernel was built without names for anonymous memory")
    daemon = patient.daemon
    index, entry = next(
        (i, entry)
        for i, entry in enumerate(patient.details.maps(daemon))
        if not entry.path and entry.permissions[1] == "w"
    )
    mm = patient.task(daemon).mm.value_()
    vmas = patient.introspector.maps.vmas(np.array([mm], np.uint64))
    place = patient.kernel.symbols.address("linux_banner") - patient.kernel.types.offset("anon_vma_name", "name")
    patient.set(patient.program.at("vm_area_struct", int(vmas.addresses[index])).anon_name, place)
    found = patient.details.maps(daemon)[index]
    assert found.start == entry.start
    assert found.path.startswith("[anon:Linux version ")


def test_a_region_whose_file_has_no_path(patient: Patient) -> None:
    daemon = patient.daemon
    mm = patient.task(daemon).mm.value_()
    vmas = patient.introspector.maps.vmas(np.array([mm], np.uint64))
    index = int(np.flatnonzero(vmas.files)[0])
    dentry = patient.program.at("file", int(vmas.files[index])).f_path.dentry
    patient.set(dentry.d_parent.d_parent, dentry.value_())
    found = patient.details.maps(daemon)[index]
    assert "does not end after 4,096 names" in found.path
    assert found.start == int(vmas.starts[index])


def test_sockets_of_families_that_are_not_known(patient: Patient) -> None:
    """A socket without a protocol under it, of an unknown family, with a name that no file has, of a stream's kind."""
    daemon = patient.daemon

    def ours() -> Socket:
        return next(socket for socket in patient.details.sockets() if socket.pid == daemon)

    before = ours()
    sock = patient.program.at("sock", before.address)
    common = sock.member_("__sk_common")
    patient.set(common.skc_family, 77)
    patient.set(sock.sk_protocol, 9)
    patient.set(common.skc_state, 200)
    assert (ours().family, ours().protocol, ours().state, ours().local) == ("77", "9", "200", "")
    patient.set(common.skc_family, 1)
    patient.set(common.skc_state, 1)
    unix = patient.program.at("unix_sock", before.address)
    free = patient.kernel.symbols.address("init_task")  # any memory that may be changed here
    offset = patient.program.types.offset("unix_address", "name") + 2
    patient.set(unix.addr, free)
    patient.set(unix.peer, before.address)
    patient.set(patient.program.at("unix_address", free).len, 2 + 8)
    patient.write(free + offset, int.from_bytes(b"\0ab\0cd\0\0", "little"))
    assert (ours().family, ours().local, ours().remote) == ("unix", "@ab@cd", "@ab@cd")
    patient.write(free + offset, int.from_bytes(b"/run/x\0z", "little"))
    assert ours().local == "/run/x"
    patient.set(patient.program.at("unix_address", free).len, 4000)
    assert ours().local == ""
    patient.heal()
    patient.set(patient.file(daemon, before.descriptor).private_data, 0x10)
    with pytest.raises(Unreadable, match=f"socket {before.descriptor} of process {daemon}"):
        patient.details.sockets()
    patient.heal()
    patient.set(patient.program.at("socket", patient.file(daemon, before.descriptor).private_data.value_()).sk, 0)
    assert (ours().state, ours().family, ours().inode) == ("CLOSE", "", before.inode)


def test_drgns_own_helpers_run_on_the_program_and_agree(patient: Patient) -> None:
    """They know nothing of how types, objects and memory came to be."""
    from drgn.helpers.linux.fs import d_path, for_each_file, for_each_mount, mount_dst, mount_src
    from drgn.helpers.linux.list import list_for_each_entry
    from drgn.helpers.linux.slab import for_each_slab_cache

    program = patient.program.program
    tasks = list(list_for_each_entry("struct task_struct", program["init_task"].tasks.address_of_(), "tasks"))
    ours = patient.introspector.tasks.processes()
    assert [(task.pid.value_(), task.comm.string_().decode()) for task in tasks] == list(
        zip(ours.pids.tolist(), ours.names, strict=True)
    )
    daemon = patient.task(patient.daemon)
    theirs = {fd: d_path(file.f_path).decode() for fd, file in for_each_file(daemon)}
    files = patient.details.files(patient.daemon)
    assert {file.descriptor: file.path for file in files if file.path.startswith("/")} == {
        fd: path for fd, path in theirs.items() if path.startswith("/")
    }
    assert set(theirs) == {file.descriptor for file in files}
    namespace = patient.task(1).nsproxy.mnt_ns
    mounts = [(mount_src(mount).decode(), mount_dst(mount).decode()) for mount in for_each_mount(namespace)]
    assert [(mount.source, mount.path) for mount in patient.details.mounts(1)] == mounts
    caches = {cache.name.string_().decode(): cache.value_() for cache in for_each_slab_cache(program)}
    assert {cache.name: cache.address for cache in patient.details.slabs()} == caches
    assert program.constant("PG_head").value_() == patient.program.types.enumerator("PG_head")
    with pytest.raises(LookupError):
        program.object("init_task", filename="init_task.c")
    with pytest.raises(LookupError):
        program["no_such_variable"]
    with pytest.raises(MissingType, match="struct no_such_struct"):
        patient.program.at("no_such_struct", 0x1000)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (LookupError("no type"), MissingType),
        (AttributeError("no member"), MissingType),
        (ValueError("too long"), Unreadable),
        (drgn.FaultError("no page", 16), Unreadable),
    ],
)
def test_what_drgn_says_becomes_an_error_of_ours(error: Exception, expected: type[KernelError]) -> None:
    with pytest.raises(expected, match="the thing"), reading("the thing"):
        raise error


def test_a_kernel_without_types_has_no_program(dump: npt.NDArray[np.uint8], live: LiveGuest) -> None:
    with pytest.raises(MissingType, match="there are none"):
        KernelProgram(replace(live.kernel, types=None, types_problem="there are none"))


def record(name: int, kind: Kind, count: int, size: int, *words: int, bit_fields: bool = False) -> list[int]:
    return [name, bit_fields << 31 | kind << 24 | count, size, *words]


def section(records: list[list[int]], strings: bytes) -> Btf:
    """A BTF section (Documentation/bpf/btf.rst)."""
    types = np.array([word for words in records for word in words], "<u4").tobytes()
    header = np.array([0, len(types), len(types), len(strings)], "<u4").tobytes()
    return Btf(b"\x9f\xeb\x01\x00" + (24).to_bytes(4, "little") + header + types + strings)


def test_every_kind_of_type() -> None:
    strings = b"\0int\0bool\0float\0s\0u\0e\0t\0m\0f\0A\0B\0huge\0"
    at = {
        name: strings.index(b"\0" + name.encode() + b"\0") + 1
        for name in ["int", "bool", "float", "s", "u", "e", "t", "m", "f", "A", "B", "huge"]
    }
    members = (at["m"], 1, 3 << 24 | 4, at["A"], 5, 32, at["B"], 2, 56)
    types = section(
        [
            record(at["int"], Kind.INT, 0, 4, 1 << 24 | 32),  # 1
            record(at["bool"], Kind.INT, 0, 1, 4 << 24 | 8),  # 2
            record(at["float"], Kind.FLOAT, 0, 4),  # 3
            record(0, Kind.POINTER, 0, 11),  # 4: int (*)(…)
            record(0, Kind.ARRAY, 0, 0, 1, 1, 5),  # 5: int [5]
            record(at["e"], Kind.ENUM, 2, 4, at["A"], 1, at["B"], 0xFFFF_FFFF, bit_fields=True),  # 6
            record(at["t"], Kind.TYPEDEF, 0, 8),  # 7
            record(0, Kind.CONST, 0, 9),  # 8
            record(0, Kind.VOLATILE, 0, 10),  # 9
            record(0, Kind.TYPE_TAG, 0, 1),  # 10
            record(0, Kind.FUNCTION_PROTOTYPE, 0, 1),  # 11
            record(at["f"], Kind.FORWARD, 0, 0),  # 12
            record(at["s"], Kind.STRUCT, 3, 8, *members, bit_fields=True),  # 13
            record(at["u"], Kind.UNION, 1, 8, at["m"], 4, 0),  # 14
            record(at["huge"], Kind.INT, 0, 99, 0),  # 15
            record(0, Kind.POINTER, 0, 17),  # 16 -> 17 -> 16
            record(0, Kind.POINTER, 0, 16),  # 17
            record(0, Kind.STRUCT, 1, 8, 0, 18, 0),  # 18: a struct that holds itself
        ],
        strings,
    )
    program = drgn.Program(drgn.Platform(drgn.Architecture.X86_64))
    finder = TypeFinder(program, types)
    program.register_type_finder("btf", finder.find, enable_index=0)
    whole = program.type("struct s")
    assert (drgn.sizeof(whole), program.type("union u").member("m").type.kind) == (8, drgn.TypeKind.POINTER)
    assert whole.member("m").bit_offset == 4
    assert whole.member("m").bit_field_size == 3
    assert whole.member("A").type.length == 5
    assert whole.member("B").type.kind == drgn.TypeKind.BOOL
    assert {e.name: e.value for e in program.type("enum e").enumerators or ()} == {"A": 1, "B": -1}
    typedef = program.type("t")
    assert typedef.type.qualifiers == drgn.Qualifiers.CONST | drgn.Qualifiers.VOLATILE
    assert program.type("float").kind == drgn.TypeKind.FLOAT
    assert finder.type(12).is_complete() is False
    assert finder.type(0).kind == drgn.TypeKind.VOID
    assert finder.type(11).kind == drgn.TypeKind.FUNCTION
    assert finder.find(program, drgn.TypeKindSet({drgn.TypeKind.STRUCT}), "s", "file.c") is None
    assert finder.find(program, drgn.TypeKindSet({drgn.TypeKind.UNION}), "s", None) is None
    with pytest.raises(BadTypes, match="has 99 bytes"):
        finder.type(15)
    with pytest.raises(BadTypes, match="goes in circles"):
        finder.type(16)
    with pytest.raises(BadTypes, match="go in circles"):
        finder.type(18)


def test_all_questions_of_damaged_memory_end(patient: Patient, dump: npt.NDArray[np.uint8]) -> None:
    """Words of all that the kernel keeps, changed by chance: an answer, or a reason; in bounded time."""
    first = patient.introspector.look()
    held = np.flatnonzero(np.isin(first.page_map.classes, (5, 6, 8, 9, 10, 11, 12)))
    words, whole = patient.data.view("<u8").reshape(-1, 512), dump.view("<u8").reshape(-1, 512)
    rng = np.random.default_rng(3)
    desk = Desk(patient.introspector)
    daemon = patient.daemon
    asked: dict[str, tuple[object, ...]] = {
        "modules": (), "mounts": (1,), "files": (daemon,), "maps": (daemon,), "sockets": (), "slabs": (),
        "slab_object": (int(patient.task(daemon).value_()),), "log": (1000,), "stack": (daemon,),
        "command_lines": ((1, daemon),),
    }  # fmt: skip
    assert set(asked) <= set(QUESTIONS)
    answered = refused = 0
    for round_ in range(30):
        for page in rng.choice(held, 60).tolist():
            at = rng.integers(0, 512, 8)
            if round_ % 2:
                words[page, at] = whole[int(rng.choice(held)), rng.integers(0, 512, 8)]
            else:
                words[page, at] ^= np.uint64(1) << rng.integers(0, 64, 8).astype(np.uint64)
        for name, arguments in asked.items():
            started = time.process_time()
            reply = answer(desk, Question(1, name, arguments), "")
            assert time.process_time() - started < 60
            assert not reply.problem.startswith("The question"), reply.problem  # which no typed error does
            answered, refused = answered + (not reply.problem), refused + bool(reply.problem)
        if round_ % 5 == 4:
            patient.data[:] = dump
    patient.data[:] = dump
    assert answered > 100
    assert refused > 0
