"""Lists and paths read by drgn from RAM equal what the guest's own /proc says over its console."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest

from bridge.kernel.desk import Answer, Desk, Question, answer
from bridge.kernel.details import Details, NoSuchProcess
from bridge.kernel.snapshot import Introspector
from tests.bridge.kernel.conftest import LiveGuest


@pytest.fixture(scope="module")
def introspector(live: LiveGuest) -> Introspector:
    return Introspector(live.kernel)


@pytest.fixture(scope="module")
def details(introspector: Introspector) -> Details:
    return Details(introspector)


def ask(introspector: Introspector, name: str, *arguments: object) -> Answer:
    return answer(Desk(introspector), Question(1, name, arguments), "")


@pytest.fixture(scope="module")
def holder(live: LiveGuest) -> Iterator[int]:
    """A process that holds files of every kind open and does nothing: its number."""
    live.shell.run(
        "mkdir -p /run/held && cd /run/held && echo hello >file && echo gone >deleted && ln -sf file link"
        " && mkfifo fifo && mkdir -p deep/er && mount -t tmpfs inner deep/er && echo x >deep/er/inside; cd /"
    )
    yield live.shell.start(
        "(exec 3</run/held/file 4>>/run/held/deleted 5<>/run/held/fifo 6</run/held/deep/er/inside 7</run/held"
        " 8</proc/self/ns/mnt 9</dev/zero; rm /run/held/deleted; head -c 3 <&3; exec sleep 5000)"
    )
    # Other tests compare this guest with what it was before.
    live.shell.run("kill $(grep -ls 500[01] /proc/[0-9]*/cmdline | tr -dc '0-9\\n'); sleep 1; true")
    live.shell.run("umount /run/jail/proc; umount /run/held/deep/er; rm -r /run/held /run/jail; true")


def test_open_files_equal_the_guests_own(live: LiveGuest, details: Details, holder: int) -> None:
    text = live.shell.run(
        f'for f in /proc/{holder}/fd/*; do echo "$(basename $f) $(grep -h pos: /proc/{holder}/fdinfo/$(basename $f))'
        f" $(stat -L -c '%i %s %F' $f) = $(readlink $f)\"; done"
    )
    theirs = {}
    for line in text.splitlines():
        match = re.fullmatch(r"(\d+) pos:\s*(\d+) (\d+) (\d+) (.*) = (.*)", line)
        assert match, line
        theirs[int(match[1])] = (int(match[2]), int(match[3]), int(match[4]), match[5], match[6])
    ours = {
        file.descriptor: (
            file.position,
            file.inode,
            file.size_bytes,
            file.kind.replace("character device", "character special file").replace("pipe", "fifo"),
            file.path,
        )
        for file in details.files(holder)
    }
    assert set(range(10)) <= set(theirs)
    for descriptor, (position, inode, size, kind, path) in theirs.items():
        assert ours[descriptor][:2] == (position, inode)
        assert ours[descriptor][4] == path
        assert ours[descriptor][3] == kind.removeprefix("regular empty ").removeprefix("regular ")
        if kind.startswith("regular") and not path.startswith("mnt:"):
            assert ours[descriptor][2] == size
    assert set(ours) == set(theirs)
    modes = {file.descriptor: file.mode for file in details.files(holder)}
    assert (modes[3], modes[4], modes[5]) == ("r", "w", "rw")
    assert ours[4][4] == "/run/held/deleted (deleted)"


def test_pipes_and_sockets_have_their_own_names(live: LiveGuest, details: Details) -> None:
    pid = int(live.shell.run("pidof dropbear").split()[0])
    text = live.shell.run(f'for f in /proc/{pid}/fd/*; do echo "$(basename $f) $(readlink $f)"; done')
    theirs = {int(line.split()[0]): line.split(maxsplit=1)[1] for line in text.splitlines()}
    assert {file.descriptor: file.path for file in details.files(pid)} == theirs
    assert any(path.startswith("socket:[") for path in theirs.values())


@pytest.mark.parametrize("who", ["1", "jailed"])
def test_mounts_equal_the_guests_own(live: LiveGuest, details: Details, holder: int, who: str) -> None:
    """mountinfo of init, and of a process that lives in a directory: it sees only what lies under that."""
    if who == "jailed":
        live.shell.run("mkdir -p /run/jail/bin /run/jail/proc && cp /bin/busybox /run/jail/bin/")
        live.shell.run("mount -t proc -o nosuid,nodev,noexec,ro jailproc /run/jail/proc")
        who = str(live.shell.start("(exec chroot /run/jail /bin/busybox sleep 5001)"))
        assert live.shell.run(f"readlink /proc/{who}/root") == "/run/jail\n"
    text = live.shell.run(f"cat /proc/{who}/mountinfo")
    theirs = []
    for line in text.splitlines():
        left, right = line.split(" - ")
        number, upper, device, _root, path, options = left.split()[:6]
        kind, source, super_options = right.split()
        theirs.append((int(number), int(upper), device, path, options, kind, source, super_options))
    found = details.mounts(int(who))
    ours = {mount.mount_id: mount for mount in found}
    assert len(theirs) >= (1 if who != "1" else 5)
    assert set(ours) == {entry[0] for entry in theirs}
    for mount_id, parent, device, path, options, kind, source, super_options in theirs:
        mount = ours[mount_id]
        assert (mount.parent_id, mount.device, mount.path) == (parent, device, path)
        assert (mount.file_system, mount.source) == (kind, source)
        assert set(mount.options.split(",")) - {"ro", "rw"} == set(options.split(",")) - {"ro", "rw"}
        read_only = "ro" in options.split(",") or "ro" in super_options.split(",")
        assert mount.options.split(",")[0] == ("ro" if read_only else "rw")


def test_maps_equal_the_guests_own(live: LiveGuest, details: Details, holder: int) -> None:
    for pid in (1, int(live.shell.run("pidof allocator").split()[0]), holder):
        text = live.shell.run(f"cat /proc/{pid}/smaps")
        theirs = [
            (int(match[1], 16), int(match[2], 16), match[3], int(match[4], 16), match[5], int(match[6]))
            for match in re.finditer(
                r"^(\w+)-(\w+) (\S{4}) (\w+) \S+ \d+ *(.*)\n(?:(?!Rss).*\n)*Rss: +(\d+) kB", text, re.MULTILINE
            )
            if int(match[1], 16) < 1 << 63
        ]  # the vsyscall page is the kernel's
        found = details.maps(pid)
        assert [(e.start, e.end, e.permissions, e.file_offset, e.path) for e in found] == [t[:5] for t in theirs]
        assert {"[heap]", "[stack]", "[vdso]"} <= {entry.path for entry in found}
        for entry, (*_, rss) in zip(found, theirs, strict=True):
            if entry.path not in ("[vdso]", "[vvar]"):  # special pages are mapped, and not counted
                assert entry.resident_bytes == rss * 1024, entry
    assert details.maps(2) == ()


def test_command_lines(live: LiveGuest, details: Details, holder: int) -> None:
    found = details.command_lines((holder, 2, 999_999))
    assert found == {holder: "sleep 5000", 2: ""}


def test_no_such_process(details: Details, introspector: Introspector) -> None:
    with pytest.raises(NoSuchProcess, match="no process 999999"):
        details.files(999_999)
    reply = ask(introspector, "files", 999_999)
    assert reply.value is None
    assert "no process 999999" in reply.problem
    started = time.monotonic()
    reply = ask(introspector, "files", 1)
    assert not reply.problem
    assert {file.descriptor for file in reply.value} >= {0, 1, 2}
    assert started <= reply.taken_s


def test_code_and_the_words_that_name_tasks_are_told(live: LiveGuest) -> None:
    introspector = Introspector(live.kernel)
    schedule = live.kernel.symbols.address("schedule")
    places = ask(introspector, "code_places", ((None, schedule), (None, schedule + 4), (None, 0x1000)))
    assert places.value == (("schedule", "kernel"), ("schedule + 0x4", "kernel"), ("", ""))
    (word,) = ask(introspector, "task_words", 1).value
    task = int.from_bytes(bytes(live.ram.bytes[word : word + 8]), "little")
    tasks = [int(address) for address in introspector.look().processes.addresses.tolist()]
    assert task in tasks or task == live.kernel.symbols.address("init_task")  # it idles, mostly
