"""QEMU with a guest and nothing between: its serial line is a pipe, its RAM a file. Independent of the launcher."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from bridge.machine.guest import Guest


class SerialGuest:
    """A running guest; commands go to its shell, and their output comes back."""

    def __init__(self, process: subprocess.Popen[bytes], ram: Path, started_at_s: float) -> None:
        self.process = process
        self.ram = ram
        self.started_at_s = started_at_s
        self.seen = b""
        self._position = 0
        self._commands = 0

    def wait_for(self, wanted: bytes, timeout_s: float = 240) -> bytes:
        """What the guest prints up to and including ``wanted``."""
        assert self.process.stdout is not None
        deadline_s = time.monotonic() + timeout_s
        while (found := self.seen.find(wanted, self._position)) < 0:
            assert time.monotonic() < deadline_s, f"no {wanted!r} in {self.seen[self._position :]!r}"
            if select.select([self.process.stdout], [], [], 0.2)[0]:
                data = os.read(self.process.stdout.fileno(), 65536)
                assert data, f"QEMU has ended: {self.seen!r}"
                self.seen += data
        text = self.seen[self._position : found + len(wanted)]
        self._position = found + len(wanted)
        return text

    def run(self, command: str, timeout_s: float = 240) -> str:
        """The output of a shell command, when it is done; fails when it does."""
        assert self.process.stdin is not None
        self._commands += 1
        # The shell puts the two halves together, so that the echo of what is typed is not taken for the end.
        begin, end = f"begin-{self._commands}", f"end-{self._commands}"
        line = f"echo be''gin-{self._commands}; {command}; echo en''d-{self._commands}=$?\n"
        self.process.stdin.write(line.encode())
        self.process.stdin.flush()
        self.wait_for(begin.encode() + b"\r\n", timeout_s)
        output = self.wait_for(f"{end}=".encode(), timeout_s).decode()
        status = self.wait_for(b"\r\n", timeout_s).decode().strip()
        assert status == "0", f"{command}: exit status {status}, {output}"
        return output.removesuffix(f"{end}=").replace("\r\n", "\n")

    def start(self, command: str, until: str = "nanosleep") -> int:
        """Start a command in the background; its process, once the kernel's stack of it has a function named so.

        A shell has its prompt back before what it started has become another program, let alone done anything.
        """
        waits = f"until grep -qs {until} /proc/$!/stack; do sleep 0.1; done"
        return int(self.run(f"{command} & {waits}; echo started=$!").rpartition("started=")[2])

    def until_up(self) -> None:
        """Wait until the demo guest is whole: its SSH daemon, whose keys take a while on a busy machine, comes last."""
        listens = "grep -q ':0016 .* 0A ' /proc/net/tcp && grep -qs select /proc/$(pidof dropbear)/stack"
        self.run(f"until {listens}; do sleep 0.2; done")

    def rest(self) -> None:
        """Wait until the demo guest is whole, and stop its workloads.

        Not in the midst of packing the archive: what does that would go on, and end when it likes.
        """
        self.until_up()
        self.run("dmesg -n 1")  # what the kernel says of a host that has no time for it is no output of a command
        alone = '[ $p -gt 1 ] && ! grep -qs "^PPid:.$p\\$" /proc/[0-9]*/status'
        self.run(f"until p=$(pidof compressor); kill -STOP $p; {alone}; do kill -CONT $p; sleep 0.2; done")
        self.run("killall -STOP counter allocator journal")

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """The machine stands still meanwhile: its RAM can be copied as it is at one instant."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            tasks = Path(f"/proc/{self.process.pid}/task")
            while any((task / "stat").read_text().rpartition(")")[2].split()[0] != "T" for task in tasks.iterdir()):
                time.sleep(0.001)
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def cpu_s(self) -> float:
        """CPU time that QEMU has taken."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def read_ram(self, offset: int, size_bytes: int) -> bytes:
        """Bytes of the RAM file; below the PCI hole the offset is the physical address."""
        with self.ram.open("rb", buffering=0) as file:
            file.seek(offset)
            return file.read(size_bytes)


@contextlib.contextmanager
def start_guest(guest: Guest, directory: Path, *options: str, ram_bytes: int | None = None) -> Iterator[SerialGuest]:
    """A machine with ``guest``; it has ended afterwards, and its RAM file in ``directory`` is gone."""
    ram_bytes = ram_bytes or guest.ram_bytes
    ram = directory / f"{guest.name}.ram"
    command = ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio"]
    command += ["-accel", "tcg,thread=multi", "-machine", f"{guest.machine_type},memory-backend=ram"]
    command += ["-m", f"{ram_bytes >> 20}M"]
    command += ["-object", f"memory-backend-file,id=ram,size={ram_bytes},mem-path={ram},share=on"]
    if guest.kernel:
        command += ["-kernel", str(guest.kernel), "-append", guest.append]
    if guest.initrd:
        command += ["-initrd", str(guest.initrd)]
    if guest.floppy:
        command += ["-drive", f"if=floppy,format=raw,snapshot=on,file={guest.floppy}"]
    if guest.disk:
        command += ["-drive", f"if=ide,format=raw,snapshot=on,file={guest.disk}"]
    started_at_s = time.monotonic()
    process = subprocess.Popen([*command, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        yield SerialGuest(process, ram, started_at_s)
    finally:
        process.kill()
        process.communicate()
        ram.unlink(missing_ok=True)
