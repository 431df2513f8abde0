"""Shared test set-up: every test starts from the same seed, and numpy's floating-point warnings are errors."""

import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from bridge.machine.catalogue import find_guest
from bridge.machine.guest import Guest
from tests.bridge.machine.serial_guest import start_guest
from tests.measured import drop_damaged

# The user's own, before any test points it elsewhere: the demo guest's packages are downloaded once, not per run.
_USERS_CACHE = os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))

# What tests find is decoded each time, and what they make up is nothing to keep: those of the cache turn it on.
os.environ["GLASSBOX_SYMBOL_CACHE"] = "off"

# A time limit per example says more about a machine's other load than about the code; whole tests have their own limit.
# Examples are drawn anew in each run: what half as many as usual do not find, the next runs do.
settings.register_profile("glassbox", deadline=None, max_examples=50)
settings.load_profile("glassbox")


_IN_OWN_PROCESS = "GLASSBOX_TEST_OWN_PROCESS"


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> bool | None:
    """Run a test marked own_process in a child: pygfx keeps one device a process, and was not made to outlive it.

    A program with one window replaces device and views together. Here other tests' windows live in the same process:
    their renderers keep the device that was lost, while all else in pygfx is the new one's.
    """
    if item.get_closest_marker("own_process") is None or _IN_OWN_PROCESS in os.environ:
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    started = time.time()
    child = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", item.nodeid],
        cwd=item.config.rootpath,
        env={**os.environ, _IN_OWN_PROCESS: "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=880,
        check=False,
    )
    passed = child.returncode == 0 and "1 passed" in child.stdout
    report = pytest.TestReport(
        nodeid=item.nodeid,
        location=item.location,
        keywords={},
        outcome="passed" if passed else "failed",
        longrepr=None if passed else child.stdout,
        when="call",
        duration=time.time() - started,
        start=started,
        stop=time.time(),
    )
    item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    """Before pytest-cov adds up what was measured, take out what cannot be read: trylast is within its own wrapper."""
    result = yield
    if session.config.pluginmanager.hasplugin("_cov") and "PYTEST_XDIST_WORKER" not in os.environ:
        drop_damaged(session.config.rootpath)
    return result


@pytest.fixture(autouse=True)
def _reproducible() -> Iterator[None]:
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - libraries under test may draw from the legacy generator
    with np.errstate(all="raise", under="ignore"):
        yield


@pytest.fixture(scope="session", autouse=True)
def _own_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The log of what tests ask, and other traces of theirs, are not the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
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


@pytest.fixture(scope="session")
def demo_dump(demo_guest: Guest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """RAM of a demo guest that had come up, as a raw dump that holds still; the machine is gone."""
    folder = tmp_path_factory.mktemp("dump")
    with start_guest(demo_guest, folder) as shell:
        assert demo_guest.ready_marker
        shell.wait_for(demo_guest.ready_marker)
        shell.until_up()
        with shell.held():
            shutil.copyfile(shell.ram, folder / "guest.raw")
    return folder / "guest.raw"
