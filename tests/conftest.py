"""Shared test set-up: every test starts from the same seed, and numpy's floating-point warnings are errors."""

import random
from collections.abc import Iterator

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def _reproducible() -> Iterator[None]:
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - libraries under test may draw from the legacy generator
    with np.errstate(all="raise", under="ignore"):
        yield
