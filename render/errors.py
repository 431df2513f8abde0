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


class PageNotResident(BadPages):
    """A page whose bytes are not on the GPU at the moment, only what sums them up."""

    def __init__(self, page: int) -> None:
        super().__init__(
            f"Page {page:,} is too far from view to be kept on the GPU within its memory budget; only its cells are."
            " Move nearer to it, or allow more memory."
        )
        self.page = page


class BadAttribute(RenderError, ValueError):
    """An attribute of pages that cannot be shown."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"Attribute {name!r} cannot be shown: {problem}.")
        self.name = name


class BadHalfLife(RenderError, ValueError):
    """A half-life that is no time."""

    def __init__(self, half_life_s: object) -> None:
        super().__init__(f"Write heat cannot halve in {half_life_s!r} s; it must be a finite time above 0.")
