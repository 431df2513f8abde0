"""Compiles programs for the host's processor and runs them in place over memory that is mapped here.

Import this only where programs are run: LLVM takes a while to come up.
"""

from __future__ import annotations

import ctypes
import platform
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import count
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from numpy.typing import NDArray

from bridge.pixelcpu.errors import PixelError
from bridge.pixelcpu.interpreter import States
from bridge.pixelcpu.isa import FLAGS_MASK, N_REGISTERS, Kind
from bridge.pixelcpu.llvm_kernel import kernel_text
from bridge.pixelcpu.microcode import Program

_numbers = count()
_Function = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint64)


@dataclass(frozen=True, slots=True)
class Window:
    """Memory that a load or store may reach: bytes (n,) uint8, in place, whose first has the address `origin`.

    Stores to one that is not writable are outside of it.
    """

    content: NDArray[np.uint8]
    origin: int = 0


@dataclass(frozen=True, slots=True)
class Run:
    """What a run did."""

    lanes: int
    """How many were completed: fewer than wanted where the next one's load or store is outside its window."""
    registers: NDArray[np.uint64]
    """(32,) after the last lane that was completed; those that the run was given where none was."""
    flags: int


class CompiledKernel:
    """A program as machine code. For one thread at a time; `close` gives the code's memory back."""

    def __init__(self, program: Program, *, carried: bool = False) -> None:
        """`carried`: a lane goes on with the registers and flags of the lane before, as a loop's iterations do.

        Raises Unsupported where lanes would have to meet more than once.
        """
        self.program, self.carried = program, carried
        self._stores = [i.row.kind is Kind.STORE for i in program.accesses]
        self._lock = threading.Lock()
        self._code: Any = _compiled(kernel_text(program, carried=frozenset(range(N_REGISTERS)) if carried else None))
        self._kernel, self._states = _Function(self._code["kernel"]), _Function(self._code["states"])

    def __enter__(self) -> CompiledKernel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the code back, once no run is under way. Runs after that raise PixelError."""
        with self._lock:
            self._code = None

    def run(
        self, lanes: int, registers: NDArray[np.uint64], flags: int = 0, windows: Window | Sequence[Window] = ()
    ) -> Run:
        """Run over lanes from registers (32,). `windows`: one for each load and store in order, or one for all."""
        if not 1 <= lanes < 1 << 63:
            raise PixelError(f"A program runs over at least one lane, not {lanes}.")
        if registers.shape != (N_REGISTERS,) or registers.dtype != np.uint64:
            raise ValueError(f"registers are (32,) uint64, not {registers.shape} {registers.dtype}")
        state = np.append(registers, np.uint64(flags & FLAGS_MASK))
        done = self._called(self._kernel, state, lanes, windows)
        return Run(done, state[:N_REGISTERS], int(state[N_REGISTERS]))

    def run_states(self, states: States, windows: Window | Sequence[Window] = ()) -> States:
        """Run one lane for each state, in order. Raises PixelError where a load or store is outside its window."""
        together = np.column_stack([states.registers, states.flags & np.uint64(FLAGS_MASK)])
        done = self._called(self._states, together, len(together), windows)
        if done != len(together):
            raise PixelError(f"State {done:,} made a load or store outside its window.")
        return States(together[:, :N_REGISTERS].copy(), together[:, N_REGISTERS].copy())

    def _called(self, function: Any, state: NDArray[np.uint64], lanes: int, windows: Window | Sequence[Window]) -> int:
        each = [windows] * len(self._stores) if isinstance(windows, Window) else list(windows)
        if len(each) != len(self._stores):
            raise ValueError(f"{len(each)} windows for {len(self._stores)} loads and stores")
        table = np.array(
            [_words(window, is_store) for window, is_store in zip(each, self._stores, strict=True)], np.uint64
        )
        with self._lock:
            if self._code is None:
                raise PixelError("The kernel was closed; compile it again.")
            return int(function(state.ctypes.data, table.ctypes.data, lanes))


def _words(window: Window, is_store: bool) -> tuple[int, int, int]:
    content = window.content
    if content.dtype != np.uint8 or content.ndim != 1 or not content.flags.c_contiguous:
        raise ValueError(f"a window is contiguous (n,) uint8, not {content.shape} {content.dtype}")
    size = 0 if is_store and not content.flags.writeable else len(content)
    return window.origin & ((1 << 64) - 1), size, content.ctypes.data


_SLOW = ",+prefer-no-gather,+prefer-no-scatter"
"""Else the words of a round, which lie side by side, would be gathered and scattered for several rounds at a time."""


@cache
def _compiler() -> tuple[Any, Any]:
    """The process's compiler and the machine that it compiles for. Their code outlives neither."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(),
        features=llvm.get_host_cpu_features().flatten() + (_SLOW if platform.machine() == "x86_64" else ""),
        opt=3,
        reloc="pic",
        codemodel="small",
        jit=True,
    )
    return llvm.create_lljit_compiler(), machine


def object_of(text: str) -> bytes:
    """LLVM's text -> an object file with code for this processor."""
    _, machine = _compiler()
    module = llvm.parse_assembly(text)
    module.verify()
    tuning = llvm.create_pipeline_tuning_options(speed_level=3)
    tuning.loop_vectorization = tuning.slp_vectorization = True
    tuning.loop_interleaving = tuning.loop_unrolling = True
    builder = llvm.create_pass_builder(machine, tuning)
    builder.getModulePassManager().run(module, builder)
    written: bytes = machine.emit_object(module)
    return written


def _compiled(text: str) -> Any:
    """LLVM's text -> code that lives as long as what is returned, which tells the functions' addresses by name."""
    compiler, _ = _compiler()
    library = llvm.JITLibraryBuilder().add_object_img(object_of(text))
    return library.export_symbol("kernel").export_symbol("states").link(compiler, f"kernel{next(_numbers)}")
