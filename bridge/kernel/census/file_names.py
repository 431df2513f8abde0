"""File names: the paths of many ``struct file`` at once; each place in the tree is read once, and again later."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bridge.kernel.census.remembered import Budget, Remembered
from bridge.kernel.drgn_engine.paths import Paths
from bridge.kernel.drgn_engine.program import KernelProgram, reading
from bridge.kernel.errors import KernelError
from bridge.kernel.members import Members

U64 = npt.NDArray[np.uint64]


def no_name(error: KernelError) -> str:
    """What is said in place of a name that cannot be read."""
    return f"? ({error})"


class FileNames:
    """The names of one kernel's files."""

    def __init__(self, program: KernelProgram) -> None:
        types = program.types
        self._program = program
        self._places = Members({name: (types.offset("file", f"f_path.{name}"), 8) for name in ("mnt", "dentry")})
        self._paths = Paths(program)
        self._known = Remembered(self._read)
        self._told: dict[tuple[int, int], str] = {}

    @property
    def n_pending(self) -> int:
        """Names that there was no time for yet."""
        return self._known.n_pending

    def begin(self, files: U64, budget: Budget) -> None:
        """A census begins, in which these ``struct file *`` (n,) will be named."""
        self._paths = Paths(self._program)
        self._told = self._known.of(self._keys(files), budget)

    def paths(self, files: U64) -> list[str]:
        """The path of each of these ``struct file *`` (n,); empty where there was no time for it yet."""
        return [self._told.get(key, "") for key in self._keys(files)]

    def _keys(self, files: U64) -> list[tuple[int, int]]:
        told = self._places.read(self._program.kernel.space, files)
        return list(zip(told.u64("mnt").tolist(), told.u64("dentry").tolist(), strict=True))

    def _read(self, key: tuple[int, int]) -> str:
        mount, dentry = key
        program = self._program
        try:
            with reading("the path of a file"):
                return self._paths.of(program.at("vfsmount", mount), program.at("dentry", dentry))
        except KernelError as error:
            return no_name(error)
