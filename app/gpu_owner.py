"""Owner of the process that has the GPU for a machine's loops: starts it, hands it kernels, says why there is none."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from bridge.pixelcpu.child_frames import UNINTERRUPTED, read_frame_by, write_frame
from bridge.pixelcpu.errors import PixelError
from bridge.pixelcpu.gpu_back_end import NoGpu

if TYPE_CHECKING:
    from bridge.pixelcpu.gpu_kernel import GpuKernel
    from bridge.pixelcpu.gpu_trial import GpuCases
    from bridge.pixelcpu.native_loop import GpuRecord
    from bridge.trace.session import TraceSession

_ROOT = Path(__file__).resolve().parents[1]
_START_S, _TRY_S, _LOAD_S = 60.0, 60.0, 30.0
_MOST_STARTS = 3
_END_S = 5.0


class GpuOwner:
    """Of one machine; a `bridge.pixelcpu.gpu_back_end.Gpu`. Thread-safe: in turns. `close` it."""

    def __init__(self, trace: Path, ram: Path, *, software: bool = False) -> None:
        """Starts the process and does not wait. `trace`: the machine's shared memory; `ram`: its RAM.

        `software`: one that is drawn by the processor does as well, which the host's own code is quicker than.
        """
        self._trace, self._ram, self._software = trace, ram, software
        self._lock = threading.RLock()
        self._loaded: dict[int, tuple[int, GpuKernel]] = {}
        self._name = self._problem = ""
        self._starts = 0
        self._closed = False
        self._start()

    @classmethod
    def of(cls, session: TraceSession, *, software: bool = False) -> GpuOwner:
        """For the machine of a session. Raises MachineError."""
        from bridge.machine.discovery import find_record

        ram = session.ram_path or find_record(session.machine_name).ram_path
        return cls(session.memory.path, ram, software=software)

    @property
    def pid(self) -> int:
        """Of the process that has the GPU."""
        return self._process.pid

    @property
    def device(self) -> str:
        """The GPU's name; waits until it has begun. Raises NoGpu."""
        with self._lock:
            if not self._name:
                self._check_problem()
                found = self._answer(_START_S)
                if isinstance(found, Exception):
                    self._give_up(str(found))
                self._name = str(found)
            return self._name

    def try_out(self, kernel: GpuKernel, cases: tuple[GpuCases, ...]) -> GpuRecord:
        """Run a kernel beside Unicorn. Raises NoGpu."""
        from app.gpu_worker import Try

        record: GpuRecord = self._ask(Try(kernel, cases), _TRY_S)
        return record

    def load(self, slot: int, kernel_id: int, kernel: GpuKernel) -> None:
        """Have the plugin's kernel of this slot and number ready. Raises NoGpu, PixelError."""
        from app.gpu_worker import Load

        with self._lock:
            self._ask(Load(slot, kernel_id, kernel), _LOAD_S)
            self._loaded[slot] = kernel_id, kernel

    def drop(self, slot: int) -> None:
        """Have none ready for this slot. Raises NoGpu."""
        from app.gpu_worker import Drop

        with self._lock:
            if self._loaded.pop(slot, None) is not None:
                self._ask(Drop(slot), _LOAD_S)

    def check(self) -> None:
        """Begin anew, with the same kernels, where the process was lost. Raises NoGpu where that was in vain before."""
        with self._lock:
            if self._closed:
                return
            self._check_problem()
            if self._process.poll() is None:
                return
            code = self._process.returncode
            self._end()
            if self._starts >= _MOST_STARTS:
                self._give_up(f"The process that has the GPU ended with {code}; {self._starts} times now.")
            self._start()
            kernels, self._loaded = self._loaded, {}
            for slot, (kernel_id, kernel) in kernels.items():
                self.load(slot, kernel_id, kernel)

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._closed = True
            self._end()

    def __enter__(self) -> GpuOwner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> None:
        from app.gpu_worker import Begin

        self._starts, self._name = self._starts + 1, ""
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", f"{UNINTERRUPTED}; from app.gpu_worker import main; main()"],
            cwd=_ROOT,
            env={**os.environ, "PYTHONPATH": str(_ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # `device` tells that it has ended
            write_frame(self._process.stdin, Begin(str(self._trace), str(self._ram), self._software))

    def _check_problem(self) -> None:
        if self._problem or self._closed:
            raise NoGpu(self._problem or "The GPU was given back.")

    def _give_up(self, problem: str) -> None:
        self._problem = problem
        self._end()
        raise NoGpu(problem)

    def _ask(self, order: object, limit_s: float) -> Any:
        with self._lock:
            self._check_problem()
            assert self.device
            assert self._process.stdin is not None
            with contextlib.suppress(OSError):  # then there is no answer either
                write_frame(self._process.stdin, order)
            found = self._answer(limit_s)
        if isinstance(found, Exception):
            raise found if isinstance(found, PixelError) else PixelError(str(found))
        return found

    def _answer(self, limit_s: float) -> Any:
        assert self._process.stdout is not None
        try:
            return read_frame_by(self._process.stdout, monotonic() + limit_s)
        except TimeoutError:
            self._process.kill()
            self._process.wait()
            raise NoGpu(f"The process that has the GPU gave no answer in {limit_s:g} s and was ended.") from None
        except EOFError:
            self._process.wait()
            raise NoGpu(f"The process that has the GPU ended with {self._process.returncode}.") from None

    def _end(self) -> None:
        process = self._process
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        try:
            process.wait(_END_S if self._closed and self._name else 0)  # one that has not begun hears nothing yet
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
