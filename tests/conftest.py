"""Shared test set-up: every test starts from the same seed, and numpy's floating-point warnings are errors."""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from bridge.machine.catalogue import find_guest
from bridge.machine.guest import Guest

# The user's own, before any test points it elsewhere: the demo guest's packages are downloaded once, not per run.
_USERS_CACHE = os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))

# A time limit per example says more about a machine's other load than about the code; whole tests have their own limit.
settings.register_profile("glassbox", deadline=None)
settings.load_profile("glassbox")


@pytest.fixture(autouse=True)
def _reproducible() -> Iterator[None]:
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - libraries under test may draw from the legacy generator
    with np.errstate(all="raise", under="ignore"):
        yield


@pytest.fixture(scope="session")
def guest_cache() -> Path:
    """The cache directory (as XDG_CACHE_HOME) in which assembled guests outlive a test run."""
    return Path(_USERS_CACHE)


@pytest.fixture(scope="session")
def demo_guest(guest_cache: Path) -> Guest:
    """The built-in guest "demo", assembled in the user's cache; what tests keep of it goes into their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(guest_cache))
        return find_guest("demo")
