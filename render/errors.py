"""What can go wrong between arrays and picture, each with what to do about it."""

from __future__ import annotations


class RenderError(Exception):
    """Something in the picture's room failed."""


class NoAdapter(RenderError):
    """No usable Vulkan driver."""

    def __init__(self, found: str) -> None:
        super().__init__(
            f"No GPU adapter could be opened ({found}). Install a Vulkan driver; Mesa's software one "
            "is the package mesa-vulkan-drivers."
        )


class DeviceLost(RenderError):
    """The GPU device is gone (driver reset, unplugged, destroyed). Everything made on it is void; make it anew."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"The GPU device was lost while trying to {what}. The picture must be built anew on a new device."
        )
        self.what = what


class OutOfVideoMemory(RenderError):
    """The adapter cannot hold this volume."""

    def __init__(self, need_bytes: int, what: str) -> None:
        super().__init__(
            f"The GPU could not provide {need_bytes / 2**20:,.0f} MiB for {what}. Close other volumes,"
            " or choose a machine with less RAM."
        )
        self.need_bytes = need_bytes


class BadPages(RenderError):
    """Pages that do not fit the volume they were sent to."""


class BadLook(RenderError, ValueError):
    """A way of looking that cannot be meant."""


class BadTransfer(BadLook):
    """Points that make no transfer function."""


class BadPalette(BadLook):
    """Colours that make no palette."""


class BadCut(RenderError, ValueError):
    """Slice planes or a clip box that cannot be meant."""
