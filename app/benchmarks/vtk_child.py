"""The VTK peer's process: `python vtk_child.py FD` draws the volume behind a file descriptor.

The first line of standard input is a JSON object that says how; the answer names the OpenGL driver. Then each line asks
for something: "frame" draws one and answers how long it took, "coverage FILE" writes the last one's alpha.
"""

import json
import mmap
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np


class Drawing:
    """A VTK render window off-screen with one volume in it."""

    def __init__(self, fd: int, wanted: dict[str, Any]) -> None:
        # The factories of the OpenGL classes register themselves when these are imported.
        import vtkmodules.vtkRenderingOpenGL2  # noqa: F401
        from vtkmodules.util.numpy_support import numpy_to_vtk
        from vtkmodules.vtkCommonDataModel import vtkImageData, vtkPiecewiseFunction
        from vtkmodules.vtkRenderingCore import (
            vtkColorTransferFunction,
            vtkRenderer,
            vtkRenderWindow,
            vtkVolume,
            vtkVolumeProperty,
        )
        from vtkmodules.vtkRenderingVolume import vtkGPUVolumeRayCastMapper
        from vtkmodules.vtkRenderingVolumeOpenGL2 import vtkOpenGLGPUVolumeRayCastMapper

        z, y, x = wanted["shape"]
        self._bytes = np.frombuffer(mmap.mmap(fd, x * y * z, access=mmap.ACCESS_READ), np.uint8)
        image = vtkImageData()
        image.SetDimensions(x + 1, y + 1, z + 1)
        image.GetCellData().SetScalars(numpy_to_vtk(self._bytes, deep=False))

        mapper: vtkGPUVolumeRayCastMapper = vtkOpenGLGPUVolumeRayCastMapper()
        mapper.SetInputData(image)
        mapper.SetScalarModeToUseCellData()  # a byte fills its cell, as it does with us
        mapper.SetBlendModeToComposite()
        mapper.SetAutoAdjustSampleDistances(False)  # this is its own level of detail
        mapper.SetSampleDistance(1.0)
        mapper.SetUseJittering(False)
        mapper.SetMaxMemoryInBytes(8 << 30)
        mapper.SetMaxMemoryFraction(1.0)

        opacity, color = vtkPiecewiseFunction(), vtkColorTransferFunction()
        for byte, value in enumerate(wanted["opacities"]):
            opacity.AddPoint(byte, value)
        color.AddRGBPoint(0, 0.0, 0.0, 0.0)
        color.AddRGBPoint(255, 1.0, 1.0, 1.0)
        looks = vtkVolumeProperty()
        looks.SetScalarOpacity(opacity)
        looks.SetScalarOpacityUnitDistance(1.0)
        looks.SetColor(color)
        looks.SetInterpolationTypeToNearest()
        looks.ShadeOff()
        volume = vtkVolume()
        volume.SetMapper(mapper)
        volume.SetProperty(looks)

        self._window = vtkRenderWindow()
        self._window.SetOffScreenRendering(True)
        self._window.SetMultiSamples(0)
        self._window.SetAlphaBitPlanes(True)
        self._window.SetSize(*wanted["size"])
        renderer = vtkRenderer()
        renderer.SetBackground(0.0, 0.0, 0.0)
        renderer.SetBackgroundAlpha(0.0)
        renderer.AddVolume(volume)
        self._window.AddRenderer(renderer)
        camera = renderer.GetActiveCamera()
        camera.SetPosition(*wanted["position"])
        camera.SetFocalPoint(*wanted["target"])
        camera.SetViewUp(*wanted["up"])
        camera.SetViewAngle(wanted["angle"])
        renderer.ResetCameraClippingRange()

    def frame(self) -> float:
        """Draw one and wait for it; the seconds that it took."""
        started = perf_counter()
        self._window.Render()
        self._window.WaitForCompletion()
        return perf_counter() - started

    def driver(self) -> str:
        """Who draws: "Mesa, llvmpipe (…), 4.5 …". Raises RuntimeError when nobody can."""
        words = dict(
            line.removeprefix("OpenGL ").split(" string:", 1)
            for line in (self._window.ReportCapabilities() or "").splitlines()
            if line.startswith("OpenGL ") and " string:" in line
        )
        if "renderer" not in words:
            raise RuntimeError(f"VTK found no OpenGL to draw off-screen with ({self._window.GetClassName()})")
        return ", ".join(words[key].strip() for key in ("renderer", "version") if key in words)

    def coverage(self) -> bytes:
        """The alpha of the last frame, a byte a pixel, rows from the bottom."""
        from vtkmodules.util.numpy_support import vtk_to_numpy
        from vtkmodules.vtkCommonCore import vtkUnsignedCharArray

        width, height = self._window.GetSize()
        pixels = vtkUnsignedCharArray()
        self._window.GetRGBACharPixelData(0, 0, width - 1, height - 1, 1, pixels)
        return bytes(vtk_to_numpy(pixels)[:, 3].tobytes())


def main() -> None:
    """Answer line by line until standard input ends."""
    wanted = json.loads(sys.stdin.readline())
    try:
        drawing = Drawing(int(sys.argv[1]), wanted)
        drawing.frame()
        _answer(driver=drawing.driver())
    except (ImportError, RuntimeError) as error:
        _answer(error=f"VTK cannot draw here: {error}")
        return
    for line in sys.stdin:
        what, _, rest = line.strip().partition(" ")
        if what == "frame":
            _answer(seconds=drawing.frame())
        else:
            Path(rest).write_bytes(drawing.coverage())
            _answer(written=rest)


def _answer(**found: object) -> None:
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
