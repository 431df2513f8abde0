"""Compiles the loops ahead of time: `python -m render.warm_up`, for the set-up to run once."""

from __future__ import annotations

from render.brick_upload import loops
from render.compiled import forget_old_code


def warm_up() -> None:
    """Compile and keep every loop that a window needs; does nothing when that was done before."""
    forget_old_code()
    loops.wait()


if __name__ == "__main__":
    warm_up()
