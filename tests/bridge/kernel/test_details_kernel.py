"""What the kernel keeps for itself, read by drgn from RAM: modules, slabs, sockets, log, stacks, as the guest says."""

from __future__ import annotations

import ipaddress
import re
import time
from collections.abc import Iterator

import numpy as np
import pytest

from bridge.kernel.desk import Desk, Question, answer
from bridge.kernel.details import Details, NoSuchProcess
from bridge.kernel.drgn_engine.modules import Modules
from bridge.kernel.drgn_engine.program import KernelProgram
from bridge.kernel.drgn_engine.stack import Stacks, ThreadRuns, _Loaded
from bridge.kernel.errors import NotMapped
from bridge.kernel.orc import Frame, OrcLayout
from bridge.kernel.page_classes import PageClass
from bridge.kernel.page_sets import pages_of
from bridge.kernel.snapshot import Introspector
from tests.bridge.kernel.conftest import LiveGuest


@pytest.fixture(scope="module")
def introspector(live: LiveGuest) -> Introspector:
    return Introspector(live.kernel)


@pytest.fixture(scope="module")
def details(introspector: Introspector) -> Details:
    return Details(introspector)


@pytest.fixture(scope="module")
def program(live: LiveGuest) -> KernelProgram:
    return KernelProgram(live.kernel)


@pytest.fixture(scope="module")
def loaded(live: LiveGuest) -> Iterator[str]:
    """/proc/modules, once the network card's drivers are in."""
    live.shell.run("while read -r module; do insmod $module || break; done </etc/network-modules; true")
    yield live.shell.run("cat /proc/modules")
    live.shell.run("for i in 1 2 3 4; do rmmod $(cut -d ' ' -f 1 /proc/modules) 2>/dev/null; done; true")


def test_modules_equal_the_guests_own(loaded: str, details: Details) -> None:
    ours = []
    for m in details.modules():
        users = "".join(f"{name}," for name in m.used_by) or "-"
        ours.append(f"{m.name} {m.size_bytes} {m.references} {users} {m.state} {m.base:#018x}")
    theirs = [" ".join(line.split()[:6]) for line in loaded.splitlines()]
    assert len(theirs) >= 3  # how much of virtio is in the image differs
    assert ours == theirs
    assert any(module.used_by for module in details.modules())


def test_module_symbols_equal_the_guests_own(
    live: LiveGuest, loaded: str, program: KernelProgram, introspector: Introspector
) -> None:
    """The nearest symbol of each module's functions is what /proc/kallsyms says lies there."""
    assert loaded
    modules = Modules(program)
    stacks, pieces = Stacks(program, modules), _Loaded(program, modules)
    text = live.shell.run("grep ' [tT] .*\\[virtio' /proc/kallsyms")
    names: dict[int, set[str]] = {}
    for line in text.splitlines():
        address, _, name, brought_by = line.split()
        names.setdefault(int(address, 16), set()).add(f"{name} {brought_by}")
    checked = 0
    for place, known in names.items():
        module = pieces.at(place)
        if module is None:
            continue  # what ran once, when it was loaded, and is gone
        assert stacks._symbol(place, module, 0) in known
        checked += 1
    assert checked > 50
    assert pieces.at(live.kernel.symbols.address("_stext")) is None


def test_orc_knows_every_functions_entry(loaded: str, live: LiveGuest, program: KernelProgram) -> None:
    """At its first instruction a function's return address is on top of the stack: in the image and in modules."""
    assert loaded
    modules = Modules(program)
    layout = OrcLayout.of(program.types)
    stack = {0x1000: 0xAAAA, 0x1008: 0xBBBB}
    table = Stacks(program, modules)._image
    symbols = live.kernel.symbols
    for name in ("schedule", "do_sys_poll", "kmem_cache_free", "vfs_read", "__x64_sys_poll"):
        found = table.above(Frame(symbols.address(name), 0x1000, 7, True), stack.__getitem__)
        assert found == Frame(0xAAAA, 0x1008, 7, False), name
    assert table.above(Frame(0x1000, 0x1000, 7, True), stack.__getitem__) is None
    pieces = _Loaded(program, modules)
    text = live.shell.run("grep ' t .*\\[virtio_net\\]' /proc/kallsyms")
    checked = 0
    for line in text.splitlines():
        address = int(line.split()[0], 16)
        module = pieces.at(address)
        if module is None or "." in line.split()[2] or line.split()[2].startswith("__"):
            continue
        orc = pieces.orc(module, layout)
        assert orc is not None
        assert orc.above(Frame(address, 0x1000, 7, True), stack.__getitem__) == Frame(0xAAAA, 0x1008, 7, False), line
        checked += 1
    assert checked > 10


def test_stacks_equal_the_guests_own(live: LiveGuest, details: Details) -> None:
    """Every sleeping thread's stack, but for the scheduler's functions, which /proc leaves out."""
    text = live.shell.run('for p in /proc/[0-9]*; do echo "== ${p#/proc/}"; cat $p/stack; done 2>/dev/null; true')
    symbols = live.kernel.symbols
    scheduler = range(symbols.address("__sched_text_start"), symbols.address("__sched_text_end"))
    compared = deep = 0
    for part in text.split("== ")[1:]:
        tid, *lines = part.splitlines()
        theirs = [re.sub(r"^\[<0>\] (\S+?)\+(0x\w+)/.*", r"\1 + \2", line) for line in lines]
        try:
            found = details.stack(int(tid))
        except (NoSuchProcess, ThreadRuns):
            continue  # cat itself, or the shell
        ours = [frame.symbol for frame in found]
        while found and found[0].address in scheduler:
            found, ours = found[1:], ours[1:]
        if not theirs or ours[:2] != theirs[:2]:
            continue  # it went on between the question and the look
        assert [name.split(" + ")[1] for name in ours] == [name.split(" + ")[1] for name in theirs], tid
        assert sum(a == b for a, b in zip(ours, theirs, strict=True)) >= len(theirs) - 1, tid  # one may have two names
        compared += 1
        deep += len(theirs) > 3
    assert compared >= 20
    assert deep >= 5


def test_a_thread_that_runs_has_no_stack_to_show(live: LiveGuest, details: Details, introspector: Introspector) -> None:
    pid = int(live.shell.run("(while :; do :; done) & echo started=$!").rpartition("started=")[2])
    deadline_s = time.monotonic() + 120
    while True:
        try:
            details.stack(pid)
        except ThreadRuns as error:
            assert error.tid == pid  # noqa: PT017 - whether it runs just now is the guest's affair
            break
        assert time.monotonic() < deadline_s, "a loop was never seen running"
        time.sleep(0.01)
    live.shell.run(f"kill {pid}")
    with pytest.raises(NoSuchProcess, match="no thread 999999"):
        details.stack(999_999)


def test_the_log_equals_the_guests_own(live: LiveGuest, details: Details) -> None:
    live.shell.run("echo '<3>an error of ours' >/dev/kmsg; echo '<30>two words' >/dev/kmsg")

    def all_of_it() -> list[tuple[int, int, int, int, str]]:
        # What reads it waits for more, for ever: until it has read this.
        read = "echo '<30>the last' >/dev/kmsg; cat /dev/kmsg >/run/kmsg & until grep -q 'the last' /run/kmsg"
        text = live.shell.run(f"rm -f /run/kmsg; {read}; do sleep 0.1; done; kill $!; cat /run/kmsg")
        said = [
            (int(m[2]), int(m[1]) & 7, int(m[1]) >> 3, int(m[3]), m[4])
            for m in re.finditer(r"^(\d+),(\d+),(\d+),[^;]*;(.*)$", text, re.MULTILINE)
        ]
        return said[: 1 + max(at for at, record in enumerate(said) if record[4] == "the last")]

    for _ in range(20):  # until the kernel had nothing to say meanwhile
        theirs = all_of_it()
        with live.shell.held():
            ours = [(r.sequence, r.level, r.facility, int(r.time_s * 1e6 + 1e-3), r.text) for r in details.log(100_000)]
            newest = details.log(3)
        if ours[-1][0] == theirs[-1][0]:
            break
    assert len(theirs) > 200
    assert [own for own in ours if own[0] not in {their[0] for their in theirs}] == []
    assert len(ours) == len(theirs)
    for own, their in zip(ours, theirs, strict=True):
        assert own[:3] == their[:3]
        assert abs(own[3] - their[3]) <= 1
        assert own[4] == re.sub(r"\\x(..)", lambda m: chr(int(m[1], 16)), their[4])
    assert {own[1:3] for own in ours if own[4] == "an error of ours"} == {(3, 1)}
    assert {own[1:3] for own in ours if own[4] == "two words"} == {(6, 3)}
    assert [record.text for record in newest] == [their[4] for their in theirs[-3:]]
    assert re.fullmatch(r"T\d+", newest[-1].caller)
    assert details.log(0) == ()
    # A line that may still be continued is in memory, though the guest shows it to nobody yet.
    live.shell.run("printf '<30>half a' >/dev/kmsg")
    assert "half a" in [record.text for record in details.log(10)]


def test_slab_caches_equal_the_guests_own(live: LiveGuest, details: Details) -> None:
    text = live.shell.run("cat /proc/slabinfo")
    theirs = {}
    for line in text.splitlines()[2:]:
        words = line.split()
        theirs[words[0]] = tuple(int(word) for word in [*words[1:5], words[14]])
    found = details.slabs()
    assert [cache.name for cache in found] == sorted(cache.name for cache in found)
    ours = {c.name: (c.active, c.objects, c.slot_bytes, c.objects_a_slab, c.slabs) for c in found}
    assert set(ours) == set(theirs)
    assert len(theirs) > 100
    assert {name: values[2:4] for name, values in ours.items()} == {name: v[2:4] for name, v in theirs.items()}
    # Two readings of a machine that runs: what nobody uses meanwhile is the same.
    same = sum(ours[name] == theirs[name] for name in theirs)
    assert same >= 0.9 * len(theirs)
    assert all(cache.object_bytes <= cache.slot_bytes for cache in found)
    text = live.shell.run('cd /sys/kernel/slab; for n in *; do echo "$n $(readlink $n)"; done; cd /')
    links = dict(line.split() for line in text.splitlines() if len(line.split()) == 2)
    by_target: dict[str, set[str]] = {}
    for name, target in links.items():
        by_target.setdefault(target, set()).add(name)
    merged = {frozenset(names) for names in by_target.values() if len(names) > 1}
    assert {frozenset((cache.name, *cache.aliases)) for cache in found if cache.aliases} == merged


def test_slab_objects(live: LiveGuest, details: Details, introspector: Introspector) -> None:
    """Every thread is an object in use of its cache, and every object in use of that cache is a thread (or was)."""
    for _ in range(20):  # a moment ago many may have ended
        with live.shell.held():
            if slab_objects_are_threads(live, details, introspector):
                return
    pytest.fail("many more threads are in use than there are")


def slab_objects_are_threads(live: LiveGuest, details: Details, introspector: Introspector) -> bool:
    threads = introspector.tasks.threads()
    cache = details.slab_object(int(threads.addresses[3]) + 17)
    assert cache is not None
    assert (cache.cache, cache.address, cache.allocated) == ("task_struct", int(threads.addresses[3]), True)
    row = next(row for row in details.slabs() if row.name == "task_struct")
    assert cache.size_bytes == row.object_bytes
    looked = introspector.look(frozen=True)
    pages = pages_of(live.kernel, looked, "slab", "task_struct")
    direct = live.kernel.space.direct_map
    assert direct is not None
    found = {}
    for page in pages.tolist():
        for offset in range(0, 4096, 64):
            item = details.slab_object(direct + page * 4096 + offset)
            if item is not None and item.cache == "task_struct":
                found[item.address] = item.allocated
    in_use = {address for address, allocated in found.items() if allocated}
    now = {int(address) for address in threads.addresses}
    image = live.kernel.symbols.address("init_task")
    assert {address for address in now if address != image} <= in_use | {0}
    assert len(found) == row.objects
    assert len(found) > len(in_use)
    assert details.slab_object(live.kernel.symbols.address("_stext")) is None
    story = details.story(looked, int(threads.addresses[3]) + 17 - direct)
    assert story.slab_object == cache
    assert details.story(looked, 0x1000).slab_object is None
    free = int(np.flatnonzero(looked.page_map.classes == PageClass.FREE)[-1])
    assert details.slab_object(direct + free * 4096) is None
    return len(in_use) - len(now) <= 8  # idle threads of processors, and the ended whose grace period has not


@pytest.fixture(scope="module")
def talkers(live: LiveGuest) -> Iterator[None]:
    """Sockets of each family: TCP in conversation, a unix socket with a name, netlink."""
    live.shell.run("ip link set lo up; (sleep 6000 | nc -l -p 5000 >/dev/null &)")
    live.shell.run("until grep -q ':1388 .* 0A ' /proc/net/tcp /proc/net/tcp6; do sleep 0.1; done")
    live.shell.run("(sleep 6000 | nc 127.0.0.1 5000 >/dev/null &); (syslogd -n &); (uevent >/dev/null &)")
    # They are connected, and wait to be told something.
    for name, count, where in (("nc", 2, "poll"), ("syslogd", 1, "recvmsg"), ("uevent", 1, "recvmsg")):
        waiting = f"$(for p in $(pidof {name}); do grep -qs {where} /proc/$p/stack && echo; done | wc -l)"
        live.shell.run(f"until [ {waiting} = {count} ]; do sleep 0.1; done")
    yield
    live.shell.run(
        "kill $(pidof nc syslogd uevent) $(grep -ls 6000 /proc/[0-9]*/cmdline | tr -dc '0-9\\n'); sleep 1; true"
    )


def internet(text: str) -> tuple[str, int]:
    """An address and port of /proc/net/tcp or tcp6: words of four bytes as this processor keeps them."""
    address, port = text.split(":")
    raw = b"".join(bytes.fromhex(address[at : at + 8])[::-1] for at in range(0, len(address), 8))
    return str(ipaddress.ip_address(raw)), int(port, 16)


def test_sockets_equal_the_guests_own(live: LiveGuest, talkers: None, details: Details) -> None:
    text = live.shell.run("ls -l /proc/[0-9]*/fd 2>/dev/null | grep -o 'socket:.*' | tr -dc '0-9\\n' | sort -n; true")
    held = {int(line) for line in text.split()}
    ours = {socket.inode: socket for socket in details.sockets()}
    assert set(ours) == held
    states = {0x01: "ESTABLISHED", 0x0A: "LISTEN", 0x07: "UNCONNECTED"}
    seen = []
    for name in ("tcp", "tcp6", "udp"):
        for line in live.shell.run(f"cat /proc/net/{name}").splitlines()[1:]:
            words = line.split()
            if int(words[9]) not in held:
                continue
            socket = ours[int(words[9])]
            (near, near_port), (far, far_port) = internet(words[1]), internet(words[2])
            assert socket.family == ("inet6" if name == "tcp6" else "inet")
            assert socket.protocol == name.removesuffix("6")
            assert socket.state == states[int(words[3], 16)]
            assert socket.local.replace("[", "").replace("]", "") == f"{near}:{near_port}"
            expected = "" if not far_port else f"{far}:{far_port}"
            assert socket.remote.replace("[", "").replace("]", "") == expected
            seen.append((name, socket.state))
    assert ("tcp", "LISTEN") in seen
    assert ("tcp", "ESTABLISHED") in seen
    assert ("tcp6", "ESTABLISHED") in seen
    unix = [socket for socket in ours.values() if socket.family == "unix"]
    assert [(socket.local, socket.kind, socket.process) for socket in unix] == [("/dev/log", "dgram", "syslogd")]
    netlink = [socket for socket in ours.values() if socket.family == "netlink"]
    assert [(s.protocol, s.local == str(s.pid), s.process) for s in netlink] == [("kobject_uevent", True, "uevent")]


def test_reads_beside_memory_are_refused(program: KernelProgram) -> None:
    with pytest.raises(NotMapped):
        program.tree(0x10, 100)


def test_details_of_a_guest_that_forks(live: LiveGuest, details: Details, introspector: Introspector) -> None:
    """Processes come and go while they are asked for: answers that make sense, or that they are gone."""
    forks = "(while :; do (true | cat) & (cat /proc/self/maps >/dev/null); done) >/dev/null 2>&1"
    pid = int(live.shell.run(f"{forks} & echo started=$!").rpartition("started=")[2])
    desk = Desk(introspector)
    answered = rounds = 0
    deadline_s = time.monotonic() + 240
    try:
        while rounds < 12 or answered < 30:
            assert time.monotonic() < deadline_s, f"{answered} answers in {rounds} rounds"
            rounds += 1
            tasks = introspector.tasks.processes()
            newest = int(tasks.pids[-1])
            for name, arguments in (
                ("files", (newest,)),
                ("maps", (newest,)),
                ("mounts", (newest,)),
                ("stack", (newest,)),
                ("sockets", ()),
                ("slabs", ()),
            ):
                reply = answer(desk, Question(1, name, arguments), "")
                assert not reply.problem.startswith("The question"), reply.problem  # which no typed error does
                if reply.problem:
                    continue
                answered += 1
                for row in reply.value:
                    if name == "files":
                        assert re.match(r"/|pipe:\[|socket:\[|anon_inode:|\? \(", row.path), row
                        assert row.kind != "other"
                    elif name == "maps":
                        assert 0 <= row.start < row.end <= 1 << 47
                        assert row.resident_bytes <= row.end - row.start
                    elif name == "mounts":
                        assert row.path.startswith("/")
                    elif name == "slabs":
                        assert 0 <= row.active <= row.objects
    finally:
        live.shell.run(f"kill {pid}; wait {pid}; true")
