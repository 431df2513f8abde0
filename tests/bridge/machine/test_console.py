"""The console's history against a plain model, and typing to guests that listen and guests that do not."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.machine.background import acquire_loop, release_loop
from bridge.machine.console import HISTORY_BYTES, Console
from bridge.machine.errors import MachineError, MachineGone
from bridge.machine.manager import MachineManager
from bridge.machine.readiness import Readiness
from tests.bridge.machine.conftest import counting_guest, wait_until


@given(pieces=st.lists(st.binary(max_size=50)), positions=st.lists(st.integers(-5, 2000)))
def test_reader_gets_exactly_what_came_since(pieces: list[bytes], positions: list[int]) -> None:
    console = Console("m")
    everything = b""
    reader = 0
    got = b""
    for piece in pieces:
        console.append(piece)
        everything += piece
        reader, data = console.read_since(reader)
        got += data
        assert reader == len(everything) == console.position
    assert got == everything
    for position in positions:
        assert console.read_since(position) == (len(everything), everything[max(0, position) :])


@settings(max_examples=20, deadline=None)
@given(lengths=st.lists(st.integers(0, HISTORY_BYTES), max_size=8), position=st.integers(0, 8 * HISTORY_BYTES))
def test_history_is_bounded_and_its_end_is_right(lengths: list[int], position: int) -> None:
    console = Console("m")
    everything = b""
    for number, length in enumerate(lengths):
        piece = bytes([number + 1]) * length
        console.append(piece)
        everything += piece
    end, data = console.read_since(position)
    assert end == len(everything)
    assert len(console._history) <= 2 * HISTORY_BYTES
    assert data == everything[position:][-HISTORY_BYTES:]


@given(
    text=st.binary(max_size=60), marker=st.binary(min_size=1, max_size=4), cuts=st.lists(st.integers(0, 60), max_size=8)
)
def test_ready_marker_is_found_however_the_output_is_cut(text: bytes, marker: bytes, cuts: list[int]) -> None:
    readiness = Readiness(marker)
    edges = [0, *sorted(cut for cut in cuts if cut <= len(text)), len(text)]
    found_at = None
    for begin, end in itertools.pairwise(edges):
        if readiness.seen_in(text[begin:end]):
            found_at = end
            readiness.reach()
    where = text.find(marker)
    if where < 0:
        assert found_at is None
        assert not readiness.wait(0)
    else:
        assert found_at == min(edge for edge in edges if edge >= where + len(marker))
        assert readiness.wait(0)
        assert not readiness.seen_in(marker), "told once"


def test_history_is_cut_in_the_long_run() -> None:
    console = Console("m")
    for number in range(5):
        console.append(bytes([number]) * HISTORY_BYTES)
        assert len(console._history) <= 2 * HISTORY_BYTES
    console.append(b"end")
    end, data = console.read_since(0)
    assert end == 5 * HISTORY_BYTES + 3
    assert data == bytes([4]) * (HISTORY_BYTES - 3) + b"end"


def test_line_that_does_not_close_is_hung_up(private_directories: Path) -> None:
    background = acquire_loop()
    console = Console("m")
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    background.run(console.connect(ours, background))
    theirs.sendall(b"last words")
    background.run(console.drain(0.05))
    assert console.read_since(0) == (10, b"last words")
    assert theirs.recv(1) == b""
    with pytest.raises(MachineGone):
        console.write(b"x")
    background.run(console.drain(0.05))
    theirs.close()
    release_loop(background)


def test_writing_before_connecting(private_directories: Path) -> None:
    with pytest.raises(MachineGone):
        Console("m").write(b"x")


def test_guest_that_does_not_read_is_told_of_not_waited_for(manager: MachineManager, tmp_path: Path) -> None:
    machine = manager.launch(counting_guest(tmp_path, keeps_state=False))
    assert machine.wait_ready(60)
    start = machine.console.position
    assert machine.info.pid is not None
    os.kill(machine.info.pid, signal.SIGSTOP)
    written = 0

    def flood() -> None:
        nonlocal written
        while written < 16 << 20:
            machine.console.write(b"a" * 4096)
            written += 4096

    with pytest.raises(MachineError, match="does not read its console"):
        flood()
    assert written >= 200 << 10
    os.kill(machine.info.pid, signal.SIGCONT)
    # Nothing that was accepted is lost, once the guest reads again.
    wait_until(lambda: machine.console.position - start >= 8_000)
    _, data = machine.console.read_since(start)
    assert set(data) == {ord("a")}


def test_many_readers_and_writers(manager: MachineManager, tmp_path: Path) -> None:
    machine = manager.launch(counting_guest(tmp_path, keeps_state=False))
    assert machine.wait_ready(60)
    start = machine.console.position

    def write(letter: str) -> None:
        for _ in range(100):
            machine.console.write(letter.encode())

    threads = [threading.Thread(target=write, args=(letter,)) for letter in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # QEMU hands over a byte at a time, each way through its global lock, for which the guest's polling and QEMU's own
    # loop compete: 16 ms for all on a quiet machine, 0.6 s beside four busy programs on two cores, more beside more.
    wait_until(lambda: machine.console.position == start + 400)
    _, data = machine.console.read_since(start)
    assert sorted(data) == sorted(b"abcd" * 100)
