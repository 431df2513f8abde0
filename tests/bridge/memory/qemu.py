"""A QEMU for tests of the memory map: its own few lines of QMP, so that nothing of what is tested is used to test."""

import json
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class Qemu:
    """A QEMU that talks QMP over its standard input and output."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self.process = subprocess.Popen(
            ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-qmp", "stdio", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._line()
        self.qmp("qmp_capabilities")

    def qmp(self, command: str, **arguments: Any) -> Any:
        """Runs a command and returns its result."""
        assert self.process.stdin
        self.process.stdin.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self.process.stdin.flush()
        while True:
            answer = self._line()
            if "return" in answer:
                return answer["return"]
            assert "event" in answer, answer

    def monitor(self, command: str) -> str:
        """Runs a command of the human monitor."""
        return str(self.qmp("human-monitor-command", **{"command-line": command}))

    def physical_bytes(self, paddr: int, length: int) -> bytes:
        """What QEMU itself finds at a physical address."""
        with tempfile.NamedTemporaryFile() as file:
            self.qmp("pmemsave", val=paddr, size=length, filename=file.name)
            return Path(file.name).read_bytes()

    def _line(self) -> dict[str, Any]:
        assert self.process.stdout
        line = self.process.stdout.readline()
        try:
            answer: dict[str, Any] = json.loads(line)
        except ValueError:
            raise AssertionError(line + self.process.stdout.read()) from None
        return answer


@contextmanager
def qemu(ram_path: Path, ram: str, machine: str, *more: str) -> Iterator[Qemu]:
    """A stopped machine with its RAM in a file."""
    machine_qemu = Qemu(
        [
            "-S",
            *("-object", f"memory-backend-file,id=ram,share=on,mem-path={ram_path},size={ram}"),
            *("-machine", f"{machine},memory-backend=ram"),
            *("-m", ram),
            *more,
        ]
    )
    try:
        yield machine_qemu
    finally:
        machine_qemu.process.kill()
        machine_qemu.process.communicate()
        ram_path.unlink(missing_ok=True)
