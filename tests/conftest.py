"""Shared test set-up: every test starts from the same seed, and numpy's floating-point warnings are errors."""

import random
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import settings

# A time limit per example says more about a machine's other load than about the code; whole tests have their own limit.
settings.register_profile("glassbox", deadline=None)
settings.load_profile("glassbox")


@pytest.fixture(autouse=True)
def _reproducible() -> Iterator[None]:
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - libraries under test may draw from the legacy generator
    with np.errstate(all="raise", under="ignore"):
        yield
