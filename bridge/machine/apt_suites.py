"""Other suites of the mirror that this machine's apt has its packages from, each by an apt configuration of its own.

No address is written down: where the machine's own suite comes from, the others are. Nothing of the system's apt is
changed, and an ordinary user may ask. To such a configuration nothing is installed, so that what a package needs is
told in full.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from bridge.machine.packages import ARCHITECTURE

_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_ORIGIN = "Debian "


class SuiteMissing(Exception):
    """The machine's mirror, if it has one, does not offer the suite; the message is a sentence that says why."""


def own_config(directory: Path) -> Path:
    """A configuration that knows what the system's apt knows, in which nothing is installed; kept in ``directory``."""
    directory.mkdir(parents=True, exist_ok=True)
    system = os.environ.get("APT_CONFIG", "")
    include = f'#include "{system}";\n' if system else ""
    return _written(directory, include)


def suite_config(suite: str, directory: Path) -> Path:
    """A configuration that knows ``suite`` (a release's name, or ``testing``) alone; its lists are in ``directory``.

    Takes some seconds and some 10 MB from the mirror. Raises `SuiteMissing`.
    """
    for name in ("lists/partial", "archives/partial"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    signed = f"[signed-by={_KEYRING}] " if _KEYRING.exists() else ""
    (directory / "sources.list").write_text(f"deb {signed}{_mirror()} {suite} main\n")
    config = _written(
        directory,
        f'Dir::Etc::SourceList "{directory}/sources.list";\nDir::Etc::SourceParts "/dev/null";\n'
        f'Dir::Etc::Preferences "/dev/null";\nDir::Etc::PreferencesParts "/dev/null";\n'
        f'Dir::State::lists "{directory}/lists";\n'
        f'Dir::Cache "{directory}";\nDir::Cache::archives "{directory}/archives";\n'
        'Acquire::Languages "none";\nAPT::Sandbox::User "root";\n'
        # Suites that get no updates any more have lists that say so.
        'Acquire::Check-Valid-Until "false";\nAcquire::Retries "2";\nAcquire::http::Timeout "20";\n',
    )
    updated = _run("apt-get", "update", "-q", config=config)
    if updated.returncode or "E: " in updated.stderr or "W: " in updated.stderr:
        said = (updated.stderr.strip().splitlines() or ["it did not say why"])[-1]
        raise SuiteMissing(f"The mirror does not offer {suite}: {said[-300:]}")
    return config


def _mirror() -> str:
    try:
        told = _run("apt-get", "indextargets", "--format", "$(ORIGIN) $(SITE)", "Created-By: Packages").stdout
    except FileNotFoundError:
        raise SuiteMissing("There is no apt here.") from None
    sites = [line.removeprefix(_ORIGIN) for line in told.splitlines() if line.startswith(_ORIGIN)]
    if not sites:
        raise SuiteMissing("apt knows no mirror of Debian; where it should: sudo apt-get update.")
    return min(sites, key=len)  # the others are its archives of updates


def _written(directory: Path, settings: str) -> Path:
    (directory / "status").touch()
    config = directory / "apt.conf"
    nothing_installed = f'Dir::State::status "{directory}/status";\nAPT::Architecture "{ARCHITECTURE}";\n'
    config.write_text(settings + nothing_installed)
    return config


def _run(*command: str, config: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LC_ALL": "C"} | ({} if config is None else {"APT_CONFIG": str(config)})
    return subprocess.run(
        command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, env=environment
    )
