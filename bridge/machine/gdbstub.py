"""Client of QEMU's gdbstub: registers, breakpoints, going on and stopping, over a unix socket; it trusts no answer.

The protocol is gdb's ("Debugging with GDB", appendix E). What QEMU makes of it, from 9.1 on, is this (gdbstub/ in its
source; tried with 10.0):

- who connects stops the guest; who hangs up changes nothing: a guest that stood stands, breakpoints stay;
- a breakpoint is of a virtual address, in every address space and on every processor; where one is met all stand;
- a stop is told once for each time that gdb let the guest go on. After QMP's `stop` and `cont` the next breakpoint is
  told to nobody: `resynchronise` then;
- each code page with a breakpoint is run instruction by instruction, slowly;
- `?` takes all breakpoints away; so does detaching, which lets the guest go on.

Every wait has an end, every packet a largest size. An answer that cannot be ends the connection.
"""

from __future__ import annotations

import re
import select
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from bridge.machine import sockets
from bridge.machine.errors import MachineError

ANSWER_LIMIT_S = 5.0
LARGEST_PACKET = 1 << 14
_LARGEST_DESCRIPTION = 1 << 18
_PIECE = 0x7FB
_MOST_REGISTERS = 512
_MOST_FILES = 16
_REPEAT, _ESCAPE, _ESCAPED_BY = ord("*"), ord("}"), 0x20
SIGINT, SIGTRAP = 2, 5
_STOP = re.compile(rb"T([0-9a-f]{2})(?:[^:;]+:[^:;]*;)*")
_THREAD = re.compile(rb"[T;0-9a-f]thread:([0-9a-fp.]{1,32});")
_INCLUDE = re.compile(r"<xi:include\s+href=\"([A-Za-z0-9._-]{1,64})\"\s*/>")
_REGISTER = re.compile(r"<reg\s([^<>]*?)/?>")
_ATTRIBUTE = re.compile(r"([a-z_]+)=\"([^\"]*)\"")
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)


class GdbError(MachineError):
    """The gdbstub did not do what it was asked to."""


class GdbGone(GdbError):
    """It has hung up, or nobody listens."""


class GdbTimeout(GdbError):
    """It gave no answer in time."""


class GdbGarbage(GdbError):
    """What it said is not gdb's protocol, or not what was asked for."""


class GdbRefused(GdbError):
    """It said that it would not."""


@dataclass(frozen=True, slots=True)
class Stop:
    """The guest stands."""

    signal: int
    """SIGTRAP: at a breakpoint, or after a step; SIGINT: QMP's `stop`, or `interrupt`."""
    thread: str
    """The processor, by gdb's name of it."""


@dataclass(frozen=True, slots=True)
class Register:
    """Where a register is in what `registers` returns."""

    number: int
    offset: int
    size: int
    """Bytes."""


class GdbStub:
    """A connection. For one thread; `close` it, or it ends with the object."""

    def __init__(self, connected: socket.socket, limit_s: float = ANSWER_LIMIT_S) -> None:
        """Takes `connected` over. Use `GdbStub.open` for a path."""
        self._socket = connected
        self._socket.setblocking(False)
        self._limit_s = limit_s
        self._received = bytearray()
        self._described: dict[str, Register] = {}
        self._bytes = 0

    @classmethod
    def open(cls, path: Path, limit_s: float = ANSWER_LIMIT_S) -> GdbStub:
        """Connect, which stops the guest, and learn which registers there are. Raises GdbError."""
        try:
            connected = sockets.connect(path, limit_s)
        except OSError as error:
            raise GdbGone(f"QEMU's gdbstub at {path} cannot be reached: {error}.") from error
        stub = cls(connected, limit_s)
        try:
            stub.describe()
        except BaseException:
            stub.close()
            raise
        return stub

    def close(self) -> None:
        """Hang up. The guest stays as it is, breakpoints too."""
        self._socket.close()

    def fileno(self) -> int:
        """To wait for a stop besides other things."""
        return self._socket.fileno()

    @property
    def has_more(self) -> bool:
        """Whether something was received already that nobody asked for yet: a stop, then."""
        return bool(self._received)

    @property
    def described(self) -> dict[str, Register]:
        """The registers, by their names."""
        return self._described

    def describe(self) -> None:
        """Ask which registers there are, and where. Raises GdbError."""
        self.ask("qSupported:xmlRegisters=i386")
        texts = [self._file("target.xml")]
        texts += [self._file(name) for name in _INCLUDE.findall(_COMMENT.sub("", texts[0]))[:_MOST_FILES]]
        self._described, self._bytes = registers_in(texts)

    def registers(self, thread: str) -> bytes:
        """All registers of a processor, as `described` says. Raises GdbError."""
        self._select(thread)
        answer = self.ask("g")
        try:
            content = bytes.fromhex(answer.decode("ascii"))
        except ValueError:
            raise GdbGarbage("QEMU's gdbstub told of registers that cannot be read.") from None
        if len(content) < self._bytes:
            raise GdbGarbage(f"QEMU's gdbstub told {len(content)} bytes of registers, not {self._bytes}.")
        return content

    def write_register(self, number: int, content: bytes) -> None:
        """Of the processor whose registers were read last. Raises GdbError."""
        self._agreed(f"P{number:x}={content.hex()}")

    def insert_breakpoint(self, address: int) -> None:
        """At a virtual address. Raises GdbError."""
        self._agreed(f"Z0,{address:x},1")

    def remove_breakpoint(self, address: int) -> None:
        """Raises GdbError; GdbRefused where there is none."""
        self._agreed(f"z0,{address:x},1")

    def go_on(self) -> None:
        """Let the guest run. When this returns it does; `wait_stop` tells when it no longer does."""
        self._put(b"c")
        self._acknowledged()

    def step(self, thread: str) -> Stop:
        """Have a processor run one instruction, and wait for the stop: another one may come to a breakpoint first."""
        self._agreed(f"Hc{thread}")
        self._put(b"s")
        return self._stop_in(self._packet(self._limit_s))

    def interrupt(self) -> None:
        """Stop the guest; nothing happens where it stands. `wait_stop` tells when it does."""
        self._send(b"\x03")

    def wait_stop(self, limit_s: float) -> Stop | None:
        """Wait for a stop that is told; None where there is none in time. Raises GdbError."""
        try:
            return self._stop_in(self._packet(limit_s))
        except GdbTimeout:
            return None

    def resynchronise(self) -> Stop:
        """Stop the guest, whatever it does, and take all breakpoints away. Raises GdbError."""
        # Stops may be on their way that nobody has read, and where one was not acknowledged the first bytes are passed
        # over. After the first time the guest stands, and nothing is on its way.
        self.interrupt()
        self._asked_for_stop()
        stops = self._asked_for_stop()
        if len(stops) != 1:
            raise GdbGarbage(f"QEMU's gdbstub told of {len(stops)} stops when it was asked for one.")
        return stops[0]

    def _asked_for_stop(self) -> list[Stop]:
        """The stops that it tells until it has answered all that was said."""
        self._put(b"?")
        self._put(b"qC")
        stops = []
        while not (packet := self._packet(self._limit_s)).startswith(b"QC"):
            stops.append(self._stop_in(packet))
        return stops

    def detach(self) -> None:
        """Take all breakpoints away, let the guest run, and hang up. Raises GdbError."""
        self._agreed("D")
        self.close()

    def ask(self, text: str) -> bytes:
        """What it answers to a packet, not empty. Raises GdbError."""
        self._put(text.encode("ascii"))
        answer = self._packet(self._limit_s)
        if not answer:
            raise GdbRefused(f"QEMU's gdbstub does not know “{text[:40]}”.")
        if len(answer) == 3 and answer[:1] == b"E":
            raise GdbRefused(f"QEMU's gdbstub refused “{text[:40]}” ({answer.decode('latin-1')}).")
        return answer

    def _agreed(self, text: str) -> None:
        if (answer := self.ask(text)) != b"OK":
            raise GdbGarbage(f"QEMU's gdbstub answered “{text[:40]}” with {answer[:40]!r}.")

    def _select(self, thread: str) -> None:
        self._agreed(f"Hg{thread}")

    def _file(self, name: str) -> str:
        content = bytearray()
        while True:
            piece = self.ask(f"qXfer:features:read:{name}:{len(content):x},{_PIECE:x}")
            content += piece[1:]
            if len(content) > _LARGEST_DESCRIPTION or piece[:1] not in (b"l", b"m") or piece == b"m":
                raise GdbGarbage("QEMU's gdbstub describes its registers without end, or not at all.")
            if piece[:1] == b"l":
                return content.decode("utf-8", "replace")

    @staticmethod
    def _stop_in(packet: bytes) -> Stop:
        matched, thread = _STOP.fullmatch(packet), _THREAD.search(packet)
        if matched is None or thread is None:
            raise GdbGarbage(f"QEMU's gdbstub told of a stop as {packet[:60]!r}.")
        return Stop(int(matched[1], 16), thread[1].decode("ascii"))

    def _put(self, content: bytes) -> None:
        self._send(b"$" + content + b"#%02x" % (sum(content) & 0xFF))

    def _send(self, data: bytes) -> None:
        deadline = time.monotonic() + self._limit_s
        view = memoryview(data)
        while view:
            try:
                view = view[self._socket.send(view) :]
            except BlockingIOError:
                if not select.select([], [self._socket], [], max(0.0, deadline - time.monotonic()))[1]:
                    raise GdbTimeout("QEMU's gdbstub takes nothing more.") from None
            except OSError as error:
                raise GdbGone(f"QEMU's gdbstub has hung up ({error.strerror}).") from error

    def _receive(self, deadline: float) -> None:
        if not select.select([self._socket], [], [], max(0.0, deadline - time.monotonic()))[0]:
            raise GdbTimeout("QEMU's gdbstub gave no answer in time.")
        try:
            data = self._socket.recv(1 << 16)
        except OSError as error:
            raise GdbGone(f"QEMU's gdbstub has hung up ({error.strerror}).") from error
        if not data:
            raise GdbGone("QEMU's gdbstub has hung up.")
        self._received += data

    def _acknowledged(self) -> None:
        """Wait for the plus sign of what was sent last: it was taken, and is being done."""
        deadline = time.monotonic() + self._limit_s
        while not self._received:
            self._receive(deadline)
        if self._received[0] != ord("+"):
            raise GdbGarbage(f"QEMU's gdbstub answered {bytes(self._received[:20])!r} where it should take a packet.")
        del self._received[0]

    def _packet(self, limit_s: float) -> bytes:
        deadline = time.monotonic() + limit_s
        while (found := self._cut()) is None:
            self._receive(deadline)
        self._send(b"+")
        return found

    def _cut(self) -> bytes | None:
        """The next packet of what was received; None where it is not whole yet. Raises GdbGarbage."""
        received = self._received
        while received[:1] == b"+":
            del received[0]
        if not received:
            return None
        if received[0] != ord("$"):
            raise GdbGarbage(f"QEMU's gdbstub said {bytes(received[:20])!r}, which begins no packet.")
        end = received.find(b"#")
        if (end if end >= 0 else len(received)) > LARGEST_PACKET:
            raise GdbGarbage("QEMU's gdbstub sent a packet that is too large.")
        if end < 0 or len(received) < end + 3:
            return None
        content, told = bytes(received[1:end]), bytes(received[end + 1 : end + 3])
        del received[: end + 3]
        if told != b"%02x" % (sum(content) & 0xFF):
            raise GdbGarbage("QEMU's gdbstub sent a packet whose checksum is wrong.")
        return _plain(content)


def _plain(content: bytes) -> bytes:
    """A packet's content without escapes. QEMU repeats no characters by number: that is refused."""
    if _REPEAT in content:
        raise GdbGarbage("QEMU's gdbstub sent a packet that is shortened, which it never does.")
    if _ESCAPE not in content:
        return content
    plain, escaped = bytearray(), False
    for byte in content:
        if escaped:
            plain.append(byte ^ _ESCAPED_BY)
            escaped = False
        elif byte == _ESCAPE:
            escaped = True
        else:
            plain.append(byte)
    if escaped:
        raise GdbGarbage("QEMU's gdbstub sent a packet that ends in the middle of a byte.")
    return bytes(plain)


def registers_in(texts: list[str]) -> tuple[dict[str, Register], int]:
    """Registers that target descriptions tell of, by name, and how many bytes all of them have. Raises GdbGarbage.

    They follow each other as their numbers do; one without a number has the next one ("Target Description Format").
    """
    found: dict[int, tuple[str, int]] = {}
    number = 0
    for text in texts:
        for declared in _REGISTER.findall(_COMMENT.sub("", text)):
            told = dict(_ATTRIBUTE.findall(declared))
            size, at = told.get("bitsize", ""), told.get("regnum", "")
            if not size.isdecimal() or len(size) > 5 or int(size) % 8 or not int(size) or len(at) > 5:
                raise GdbGarbage(f"QEMU's gdbstub describes a register as {declared[:80]!r}.")
            number = int(at) if at.isdecimal() else number
            if number in found or len(found) >= _MOST_REGISTERS:
                raise GdbGarbage("QEMU's gdbstub describes a register twice, or too many.")
            found[number] = told.get("name", ""), int(size) // 8
            number += 1
    described: dict[str, Register] = {}
    offset = 0
    for number in sorted(found):
        name, size_bytes = found[number]
        described.setdefault(name, Register(number, offset, size_bytes))
        offset += size_bytes
    return described, offset
