"""Palette and transfer function of a look as one texture, and which scalars it shows."""

from __future__ import annotations

import numpy as np
import wgpu
from numpy.typing import NDArray

from render.channels import BY_VOXEL
from render.look import Look
from render.palettes import N_KINDS

_MOST = 0.999
"""An opacity of one would take an infinite extinction; of this, nothing is seen behind three voxels."""


def opacities_of(look: Look) -> NDArray[np.float32]:
    """How opaque each scalar is, (256,) float32; zero bytes never are."""
    opacities = look.transfer.opacities()
    if look.channel in BY_VOXEL:
        opacities[0] = 0.0
    return opacities


def extinctions_of(look: Look) -> NDArray[np.float32]:
    """What takes the light away over a voxel's length, (256,) float32: exp(-extinction * length) of it is kept.

    The opacity of a length is corrected so: 1 - (1 - opacity) ** length, however long the steps of a ray are.
    """
    result: NDArray[np.float32] = -np.log1p(-np.minimum(look.opacity * opacities_of(look), _MOST)).astype(np.float32)
    return result


class LookTable:
    """Colours (8, 256, 3) and opacities for the shaders, one row a kind of content, 256 scalars across."""

    def __init__(self, device: wgpu.GPUDevice) -> None:
        self._device = device
        usage = wgpu.TextureUsage
        self.texture = device.create_texture(
            size=(256, N_KINDS, 1), format="rgba32float", usage=usage.TEXTURE_BINDING | usage.COPY_DST
        )
        self.look = Look()
        """What it was written from."""
        self.visible = np.zeros(8, np.uint32)
        """A bit a scalar: whether it is shown."""
        self.top = -1
        """The highest scalar that is shown, or -1."""
        self.hides = True
        """Whether any scalar that can occur is not shown."""
        self.revision = 0
        """Grows whenever it is written."""

    def write(self, look: Look, colors: NDArray[np.float32]) -> None:
        """Have the look's opacities with `colors`, (8, 256, 3) linear light: a few kilobytes, whatever the volume."""
        self.look = look
        self.revision += 1
        opacities = opacities_of(look)
        shown = opacities > 0
        self.visible = np.packbits(shown, bitorder="little").view("<u4").astype(np.uint32)
        self.top = int(np.flatnonzero(shown).max(initial=-1))
        self.hides = not bool(shown[look.channel in BY_VOXEL :].all())
        data = np.empty((N_KINDS, 256, 4), np.float32)
        data[..., :3] = colors
        data[..., 3] = extinctions_of(look) if look.mode == "translucent" else opacities
        self._device.queue.write_texture(
            {"texture": self.texture}, data, {"bytes_per_row": 4096, "rows_per_image": N_KINDS}, (256, N_KINDS, 1)
        )

    def destroy(self) -> None:
        """Give the video memory back."""
        self.texture.destroy()
