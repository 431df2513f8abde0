"""The VTK peer: VTK's GPU volume mapper in a process of its own, so that no OpenGL trouble can end the benchmark."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt

from app.benchmarks.report import NotMeasured
from app.benchmarks.scene import Volume
from render.camera import FIELD_OF_VIEW_DEGREES, OrbitCamera

_CHILD = ("-P", str(Path(__file__).with_name("vtk_child.py")))
_END_LIMIT_S = 20.0
HOW_TO_GET = "VTK is not installed; ./glassbox bench render --peers installs it and measures"


class VtkPeer:
    """Draws a volume with VTK: composite blending, nearest voxel, one sample a voxel's length, no shading."""

    def __init__(
        self,
        volume: Volume,
        camera: OrbitCamera,
        size_px: tuple[int, int],
        opacities: npt.NDArray[np.float64],
    ) -> None:
        """`volume` (z, y, x) uint8; `opacities` (256,): of each byte over a voxel's length. Raises NotMeasured."""
        if importlib.util.find_spec("vtkmodules") is None:
            raise NotMeasured(HOW_TO_GET)
        basis = camera.basis
        request = {
            "shape": volume.shape,
            "size": size_px,
            "position": basis.position.tolist(),
            "target": (basis.position + basis.forward * camera.state.distance).tolist(),
            "up": basis.up.tolist(),
            "angle": FIELD_OF_VIEW_DEGREES,
            "opacities": opacities.tolist(),
        }
        self._words = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the peer
        self._size = size_px
        fd = os.memfd_create("glassbox bench volume")
        try:
            with os.fdopen(os.dup(fd), "wb") as file:
                volume.tofile(file)
            # Without a screen VTK looks for OpenGL by EGL, which is what draws off-screen everywhere.
            environment = {key: value for key, value in os.environ.items() if key not in ("DISPLAY", "WAYLAND_DISPLAY")}
            self._child = subprocess.Popen(
                [sys.executable, *_CHILD, str(fd)],
                env=environment,
                pass_fds=[fd],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._words,
                text=True,
            )
        finally:
            os.close(fd)
        try:
            self.driver = str(self._ask(json.dumps(request))["driver"])
        except BaseException:
            self.close()
            raise

    def frame(self) -> float:
        """Draw one frame, wait for the GPU, and return the seconds that both took. Raises NotMeasured."""
        seconds = self._ask("frame")["seconds"]
        assert isinstance(seconds, float)
        return seconds

    def coverage(self) -> npt.NDArray[np.float64]:
        """How much of the ground each pixel of the last frame hides, (height, width). Raises NotMeasured."""
        width, height = self._size
        with tempfile.NamedTemporaryFile(suffix=".alpha") as file:
            self._ask(f"coverage {file.name}")
            return np.fromfile(file.name, np.uint8).reshape(height, width)[::-1] / 255  # OpenGL's rows go upwards

    def _ask(self, line: str) -> dict[str, object]:
        """One line to the child, one JSON object back."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        try:
            self._child.stdin.write(line + "\n")
            self._child.stdin.flush()
            answer = self._child.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            raise NotMeasured(self._why())
        found: dict[str, object] = json.loads(answer)
        if "error" in found:
            raise NotMeasured(str(found["error"]))
        return found

    def _why(self) -> str:
        code = self._child.wait(_END_LIMIT_S)
        self._words.seek(0)
        words = [line.strip() for line in self._words.read().splitlines() if line.strip()]
        how = f"by signal {-code}" if code < 0 else f"with code {code}"
        return f"VTK's process ended {how}" + (f": {words[-1][:200]}" if words else "")

    def close(self) -> None:
        """End the child."""
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):  # it is gone already
                    pipe.close()
        try:
            self._child.wait(_END_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._words.close()

    def __enter__(self) -> VtkPeer:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _tb: TracebackType | None
    ) -> None:
        self.close()
