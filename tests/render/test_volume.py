"""The volume as pygfx draws it: what is bound follows what is shown."""

import numpy as np
import pytest
from pygfx.utils.trackable import PropTracker

from render.volume import MarchedImage, MemoryVolumeMaterial

SIZE = (8, 8)


def test_a_picture_made_where_another_was_is_another_to_pygfx(monkeypatch: pytest.MonkeyPatch) -> None:
    """pygfx tells objects by their place in memory: without numbers it would go on drawing destroyed textures.

    What is freed may be used again or not, as the allocator likes; here every picture looks to pygfx as if it stood in
    the same place.
    """
    monkeypatch.setattr(MarchedImage, "__hash__", lambda _: 1)
    first, second = MarchedImage(SIZE), MarchedImage(SIZE)
    material, tracker = MemoryVolumeMaterial(first, (16, 16, 16)), PropTracker()
    with tracker.track_usage("bindings"):
        assert material.image is first
        assert material.old is None
    material.show(second, SIZE)
    assert tracker.pop_changed() == {"bindings"}
    assert material.image is second


def test_an_old_picture_fades_and_is_let_go() -> None:
    old, new = MarchedImage(SIZE), MarchedImage(SIZE)
    material = MemoryVolumeMaterial(old, (16, 16, 16))
    material.show(new, SIZE, old)
    assert (material.image, material.old) == (new, old)
    steps = 0
    while material.fade(0.25):
        steps += 1
    assert steps == 4
    assert material.old is None
    assert np.all(material.uniform_buffer.data["mixed"] == 0)
