"""The gdbstub's client: what it says to QEMU's own, and that no answer, however damaged, is more than a typed error."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.benchmarks.loop_guest import loop_guest
from bridge.machine.gdb_recovery import end_server, start_server
from bridge.machine.gdbstub import (
    LARGEST_PACKET,
    SIGINT,
    SIGTRAP,
    GdbError,
    GdbGarbage,
    GdbGone,
    GdbRefused,
    GdbStub,
    GdbTimeout,
    Stop,
    registers_in,
)
from bridge.pixelcpu.gdb_frame import Frame, check_description
from tests.bridge.machine.conftest import private_directories, shared_memory, wait_until  # noqa: F401


def packet(content: bytes) -> bytes:
    return b"$" + content + b"#%02x" % (sum(content) & 0xFF)


@contextlib.contextmanager
def answering(*answers: bytes, limit_s: float = 5.0) -> Iterator[GdbStub]:
    """A stub whose other end sends these, whatever it is told, and then hangs up."""
    ours, theirs = socket.socketpair()
    stub = GdbStub(ours, limit_s)

    def answer() -> None:
        with contextlib.suppress(OSError):
            for one in answers:
                theirs.sendall(one)
            theirs.shutdown(socket.SHUT_WR)

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        yield stub
    finally:
        stub.close()
        theirs.close()
        thread.join()


@given(st.binary(max_size=200))
@settings(deadline=None)
def test_whatever_is_answered_is_an_answer_or_a_typed_error(said: bytes) -> None:
    calls: tuple[Callable[[GdbStub], object], ...] = (
        lambda stub: stub.describe(),
        lambda stub: stub.registers("01"),
        lambda stub: stub.insert_breakpoint(1),
        lambda stub: stub.go_on(),
        lambda stub: stub.step("01"),
        lambda stub: stub.wait_stop(5.0),
        lambda stub: stub.resynchronise(),
        lambda stub: stub.detach(),
    )
    for call in calls:
        with answering(said) as stub, contextlib.suppress(GdbError):
            call(stub)


@given(st.lists(st.binary(max_size=60).filter(lambda one: not set(one) & set(b"#$*}")), max_size=6), st.data())
@settings(deadline=None)
def test_packets_come_however_they_are_cut(contents: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(data.draw(st.sampled_from((b"", b"+"))) + packet(one) for one in contents)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(whole)), max_size=6)) | {0, len(whole)})
    pieces = [whole[start:end] for start, end in itertools.pairwise(cuts)]
    with answering(*pieces) as stub:
        for one in contents:
            if len(one) == 0:
                with pytest.raises(GdbRefused, match="does not know"):
                    stub.ask("g")
            elif len(one) == 3 and one[:1] == b"E":
                with pytest.raises(GdbRefused, match="refused"):
                    stub.ask("g")
            else:
                assert stub.ask("g") == one
        with pytest.raises(GdbGone):
            stub.ask("g")


@pytest.mark.parametrize(
    ("said", "kind", "text"),
    [
        (b"+$OK#00", GdbGarbage, "checksum"),
        (b"+$0*\x22#7c", GdbGarbage, "shortened"),
        (packet(b"a}"), GdbGarbage, "middle of a byte"),
        (b"+?", GdbGarbage, "begins no packet"),
        (b"$" + b"0" * (LARGEST_PACKET + 1), GdbGarbage, "too large"),
        (packet(b"E22"), GdbRefused, "refused"),
        (packet(b""), GdbRefused, "does not know"),
        (packet(b"no"), GdbGarbage, "answered"),
    ],
)
def test_what_cannot_be_is_said(said: bytes, kind: type[GdbError], text: str) -> None:
    with answering(said) as stub, pytest.raises(kind, match=text):
        stub.insert_breakpoint(0x1000)


def test_escapes_are_taken_back() -> None:
    with answering(packet(b"a}\x03}\x5db")) as stub:
        assert stub.ask("x") == b"a#}b"


def test_who_does_not_answer_is_not_waited_for() -> None:
    ours, theirs = socket.socketpair()
    with contextlib.closing(theirs):
        stub = GdbStub(ours, 0.05)
        with pytest.raises(GdbTimeout):
            stub.ask("g")
        assert stub.wait_stop(0.01) is None
        stub.close()


def test_stops_are_read() -> None:
    with answering(packet(b"T05thread:p01.02;"), packet(b"T02watch:12;thread:03;")) as stub:
        assert stub.wait_stop(5) == Stop(SIGTRAP, "p01.02")
        assert stub.wait_stop(5) == Stop(SIGINT, "03")


def test_stops_that_nobody_read_are_passed_over() -> None:
    unread = packet(b"T05thread:01;") + packet(b"T02thread:01;")
    asked = packet(b"T05thread:02;") + packet(b"QC02")
    with answering(unread + asked + asked) as stub:
        assert stub.resynchronise() == Stop(SIGTRAP, "02")
    with answering(packet(b"QC01") + asked) as stub:  # the first “?” was passed over
        assert stub.resynchronise() == Stop(SIGTRAP, "02")
    with answering(asked + unread + asked) as stub, pytest.raises(GdbGarbage, match="3 stops"):
        stub.resynchronise()


def test_descriptions_are_laid_out_by_number() -> None:
    core = '<!-- <reg name="no" bitsize="8"/> --><reg name="a" bitsize="64" regnum="1"/><reg name="b" bitsize="32"/>'
    more = '<reg name="c" bitsize="128" regnum="0" type="vec"/>'
    found, size = registers_in([core, more])
    assert {name: (one.number, one.offset, one.size) for name, one in found.items()} == {
        "c": (0, 0, 16),
        "a": (1, 16, 8),
        "b": (2, 24, 4),
    }
    assert size == 28
    for wrong in ('<reg name="a" bitsize="7"/>', '<reg name="a"/>', core + core, '<reg bitsize="99999999" name="a"/>'):
        with pytest.raises(GdbGarbage):
            registers_in([wrong])


@given(st.text(max_size=200))
def test_descriptions_are_read_or_refused(text: str) -> None:
    with contextlib.suppress(GdbGarbage):
        registers_in([text, f"<reg {text}/>"])


def test_qemu_is_stopped_looked_at_and_let_go_on(private_directories: Path, tmp_path: Path) -> None:  # noqa: F811
    with loop_guest(tmp_path) as guest:
        name, waits_at = guest.machine.name, 0x7C5E  # cmpb $0,GO; je; behind a pause
        with contextlib.closing(GdbStub.open(start_server(name))) as stub:
            assert not guest.machine.qmp("query-status")["running"]
            check_description(stub)
            first = stub.resynchronise()
            frame = Frame(stub, first.thread)
            assert (frame.vcpu, frame.stack, frame.space.root, frame.is_stepped) == (0, 0x7000, 0x1000, False)
            assert waits_at - 2 <= frame.pc < waits_at + 16
            stub.write_register(stub.described["r9"].number, (77).to_bytes(8, "little"))
            assert Frame(stub, first.thread).get("r9") == 77
            stub.insert_breakpoint(waits_at)
            stub.go_on()
            for _ in range(3):
                stop = stub.wait_stop(60)
                assert stop is not None
                assert stop.signal == SIGTRAP
                assert Frame(stub, stop.thread).pc == waits_at
                assert stub.step(stop.thread) == stop
                assert Frame(stub, stop.thread).pc == waits_at + 8
                stub.go_on()
            assert stub.wait_stop(60) is not None
            stub.remove_breakpoint(waits_at)
            with pytest.raises(GdbRefused):
                stub.remove_breakpoint(waits_at)
            stub.go_on()
            stub.interrupt()
            stopped = stub.wait_stop(60)
            assert stopped is not None
            assert stopped.signal == SIGINT
            # Who is gone leaves breakpoints, and a guest that stands. The next one takes them away.
            stub.insert_breakpoint(waits_at)
            stub.go_on()
            assert stub.wait_stop(60) is not None
        guest.machine.qmp("cont")
        wait_until(lambda: guest.machine.qmp("query-status")["status"] == "debug")
        with contextlib.closing(GdbStub.open(start_server(name))) as stub:
            stub.resynchronise()
            stub.detach()
        end_server(name)
        assert guest.machine.qmp("query-status")["running"]
        outcome = guest.run(b"\x90", 0x20000, [5] * 16)
        assert int(outcome.registers[9]) == 5
