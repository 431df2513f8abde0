"""The overlay benchmark: it lights what it says, and measures whole frames with each."""

from __future__ import annotations

import numpy as np
import pytest

from app.benchmarks.overlay import lit_regions, run
from app.highlights import COLOURS


@pytest.mark.parametrize(("n_pages", "regions"), [(32768, 10_000), (32768, 1), (256, 60), (100, 100)])
def test_there_are_as_many_regions_as_are_asked_for(n_pages: int, regions: int) -> None:
    index = lit_regions(n_pages, regions)
    assert index.shape == (n_pages,)
    begins = index[(index > 0) & (np.append(0, index[:-1]) != index)]
    assert len(begins) == regions, "none runs into the next of its own colour"
    assert index.max() == min(regions, len(COLOURS))


def test_it_measures_each_mode() -> None:
    report = run(size_mib=1, regions=60, seconds_each=0.2, size_px=(96, 64))
    found = {result.name: result for result in report.results}
    for mode in ("solid", "translucent", "mip"):
        values = [found[f"overlay.{mode}.{what}_ms"].value for what in ("none", "one", "many")]
        assert all(value is not None and value > 0 for value in values)
        for of, name in enumerate(("none", "one")):
            ratio = found[f"overlay.{mode}.many_over_{name}"]
            assert ratio.value == pytest.approx(values[2] / values[of])  # type: ignore[operator]
        assert found[f"overlay.{mode}.many_over_none"].bar is not None, "what is lit is to cost no frame rate"
        for name in ("none", "many"):
            assert (found[f"overlay.{mode}.{name}_moving_p95"].value or 0) > 0
            assert found[f"overlay.{mode}.{name}_moving_p95"].bar is not None
            assert 0 < (found[f"overlay.{mode}.{name}_moving_scale"].value or 0) <= 1
    assert "60 regions" in report.as_text()
