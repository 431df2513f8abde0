"""Fetch packages of the distribution that runs here, without installing them, and read files out of them.

apt chooses the mirror and the version, and checks what it downloads; no address is written down here. Works for
ordinary users, keeps every complete package, and so goes on where an interrupted run stopped. What takes a ``config``
asks by that apt configuration instead of the system's (`apt_suites` makes such).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import tarfile
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bridge.machine.guest import GuestCancelled, GuestIngredientMissing

Progress = Callable[[str, float], None]
"""Called with a sentence and the share that is done, 0 to 1."""
Cancelled = Callable[[], bool]

ARCHITECTURE = "amd64"
_FILE_CAP_BYTES = 256 << 20
_LINK_DEPTH = 8
_URI_LINE = re.compile(r"'(?P<uri>[^']+)' (?P<file>[^/\s]+) (?P<size>\d+) (?P<algorithm>[A-Za-z0-9]+):(?P<digest>\S*)")
_FILE_LINE = re.compile(r"'[^']+' (?P<file>[^/\s]+) \d+( |$)")
_ALGORITHMS = ("sha256", "sha512")  # others are too weak to trust what an interrupted run left
_POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Package:
    """One package file as apt would fetch it now."""

    name: str
    file_name: str
    size_bytes: int
    algorithm: str
    digest: str

    @classmethod
    def from_record(cls, record: Mapping[str, object]) -> Package:
        """What `dataclasses.asdict` made of a package; raises `ValueError` when it is damaged."""
        package = cls(**record)  # type: ignore[arg-type]  # checked below
        texts = (package.name, package.file_name, package.algorithm, package.digest)
        if not all(isinstance(text, str) for text in texts) or not isinstance(package.size_bytes, int):
            raise ValueError("a package's record has a value of another type")
        if package.algorithm not in _ALGORITHMS or "/" in package.file_name:
            raise ValueError("a package's record has a value that cannot be")
        return package

    def is_intact(self, path: Path) -> bool:
        """Whether ``path`` is exactly this package."""
        try:
            if path.stat().st_size != self.size_bytes:
                return False
            with path.open("rb") as file:
                return hashlib.file_digest(file, self.algorithm).hexdigest() == self.digest
        except OSError:
            return False


def missing_tools() -> list[str]:
    """Which of apt's tools that this module runs are not there; empty where packages can be had."""
    return [tool for tool in ("apt-get", "apt-cache", "dpkg-deb") if shutil.which(tool) is None]


def require_apt() -> None:
    """Raises `GuestIngredientMissing` where there is no apt to fetch with."""
    missing = missing_tools()
    if missing:
        raise GuestIngredientMissing(
            missing,
            "The demo guest is made from Debian's or Ubuntu's packages, and this system has no such tool.",
            "Use an own guest instead: glassbox run --kernel FILE --initrd FILE.",
        )


def candidate_version(name: str, config: Path | None = None) -> str:
    """The version of package ``name`` that apt would install, like ``1:11.1.2+ds-3``; empty where it knows none."""
    wanted = f"{name}:{ARCHITECTURE}"
    for line in _apt("apt-cache", "show", "--no-all-versions", wanted, config=config).stdout.splitlines():
        if line.startswith("Version: "):
            return line.removeprefix("Version: ").strip()
    return ""


def depends(names: Iterable[str], config: Path | None = None) -> dict[str, tuple[str, ...]]:
    """The first choice of each dependency of each package in ``names`` that apt knows; one look-up for all."""
    wanted = [f"{name}:{ARCHITECTURE}" for name in names]
    if not wanted:
        return {}
    found: dict[str, tuple[str, ...]] = {}
    for stanza in _apt("apt-cache", "show", "--no-all-versions", *wanted, config=config).stdout.split("\n\n"):
        fields = dict(line.partition(": ")[::2] for line in stanza.splitlines() if not line.startswith(" "))
        if "Package" in fields:
            needs = ",".join(fields[key] for key in ("Pre-Depends", "Depends") if key in fields)
            firsts = (_first_choice(alternatives) for alternatives in needs.split(","))
            found[fields["Package"]] = tuple(dict.fromkeys(first for first in firsts if first))
    return found


def _first_choice(alternatives: str) -> str:
    return alternatives.split("|")[0].split("(")[0].split(":")[0].strip()


def locate(names: Sequence[str], config: Path | None = None) -> tuple[Package, ...]:
    """What apt would fetch for ``names``; raises `GuestIngredientMissing` when it cannot."""
    wanted = [f"{name}:{ARCHITECTURE}" for name in names]
    result = _apt("apt-get", "download", "--print-uris", *wanted, config=config)
    packages = _told(result.stdout)
    found = {package.name for package in packages}
    missing = [name for name in names if name not in found]
    if result.returncode != 0 or missing:
        raise GuestIngredientMissing(
            missing or names,
            f"apt does not know where to get them{_last_words(result.stderr)}.",
            "Update its lists: sudo apt-get update",
        )
    return packages


def locate_with_all_they_need(name: str, config: Path) -> tuple[Package, ...]:
    """What apt would fetch to install ``name`` under ``config``; raises `GuestIngredientMissing` when it cannot.

    With a configuration in which nothing is installed that is everything that the package depends on.
    """
    command = ("apt-get", "install", "--print-uris", "--yes", "--quiet", "--no-install-recommends")
    result = _apt(*command, f"{name}:{ARCHITECTURE}", config=config)
    told = map(_FILE_LINE.match, result.stdout.splitlines())
    names = [_name_of(match["file"]) for match in told if match is not None]
    if result.returncode != 0 or name not in names:
        raise GuestIngredientMissing(
            [name],
            f"apt cannot tell what it needs{_last_words(result.stderr)}.",
            "Update its lists: sudo apt-get update",
        )
    return locate(names, config)  # asked to install, apt tells weak digests, or none


def _name_of(file: str) -> str:
    return urllib.parse.unquote(file).split("_")[0]


def _told(printed: str) -> tuple[Package, ...]:
    """The packages in what apt prints for download --print-uris."""
    packages = []
    for line in printed.splitlines():
        match = _URI_LINE.match(line)
        if match is None:
            continue
        algorithm = match["algorithm"].lower()
        if algorithm not in _ALGORITHMS:
            continue
        packages.append(Package(_name_of(match["file"]), match["file"], int(match["size"]), algorithm, match["digest"]))
    return tuple(packages)


def fetch(
    packages: Sequence[Package],
    directory: Path,
    *,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
    config: Path | None = None,
    what: str = "the guest's packages",
) -> dict[str, Path]:
    """Have every one of ``packages`` in ``directory``, intact; the path of each by its name. ``what`` they are is told.

    Raises `GuestIngredientMissing` when the mirror cannot be reached or lacks one, `GuestCancelled` when asked to stop.
    """
    partial = directory / "partial"
    partial.mkdir(parents=True, exist_ok=True)
    paths = {package.name: directory / package.file_name for package in packages}
    missing = [package for package in packages if not package.is_intact(paths[package.name])]
    if missing:
        _download(missing, partial, progress or _silent, cancelled or _never, config, what)
    for package in missing:
        arrived = partial / package.file_name
        if not package.is_intact(arrived):
            arrived.unlink(missing_ok=True)
            raise GuestIngredientMissing(
                [package.name], "It arrived damaged.", "Start again; if it stays so: sudo apt-get update"
            )
        arrived.replace(paths[package.name])
    return paths


def _silent(_sentence: str, _share: float) -> None:
    pass


def _never() -> bool:
    return False


def _download(
    packages: Sequence[Package],
    directory: Path,
    progress: Progress,
    cancelled: Cancelled,
    config: Path | None,
    what: str,
) -> None:
    total_bytes = sum(package.size_bytes for package in packages)
    sentence = f"Downloading {what} ({total_bytes / 1e6:.1f} MB)"
    names = [f"{package.name}:{ARCHITECTURE}" for package in packages]
    log = directory / "apt.log"
    with log.open("w+") as output:
        process = subprocess.Popen(
            ["apt-get", "download", "-q", *_APT_OPTIONS, *names],
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=_environment(config),
        )
        try:
            while process.poll() is None:
                if cancelled():
                    raise GuestCancelled("The download was stopped; what is complete is kept for the next time.")
                arrived = sum(_size(directory / package.file_name) for package in packages)
                progress(sentence, min(arrived / total_bytes, 1.0))
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_POLL_S)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
        output.seek(0)
        words = output.read()
    log.unlink()
    if process.returncode != 0:
        raise GuestIngredientMissing(
            [package.name for package in packages if not package.is_intact(directory / package.file_name)],
            f"They could not be downloaded{_last_words(words)}.",
            "Check the network connection, then: sudo apt-get update. What has arrived is kept.",
        )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


_APT_OPTIONS = ("-o", "Acquire::Retries=2", "-o", "Acquire::http::Timeout=20", "-o", "Acquire::https::Timeout=20")


def _environment(config: Path | None) -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C"} | ({} if config is None else {"APT_CONFIG": str(config)})


def _apt(tool: str, *arguments: str, config: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [tool, *arguments],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        stdin=subprocess.DEVNULL,
        env=_environment(config),
    )


def _last_words(output: str) -> str:
    errors = [line.removeprefix("E: ").strip() for line in output.splitlines() if line.startswith("E: ")]
    return f" ({errors[-1].rstrip('.')})" if errors else ""


def read_files(package: Path, wanted: Callable[[str], bool]) -> dict[str, bytes]:
    """The regular files in ``package`` whose path (like ``usr/bin/x``) is ``wanted``, links among them followed.

    A symlink or hard link that is wanted gives the content of what it leads to, if that is in the package.
    Raises `GuestIngredientMissing` when the package cannot be read.
    """
    try:
        content = {path: data for path, data in _members(package) if isinstance(data, str) or wanted(path)}
        links = {path: data for path, data in content.items() if isinstance(data, str)}
        files = {path: data for path, data in content.items() if isinstance(data, bytes)}
        targets = {path: _follow(path, links) for path in links if wanted(path)}
        beyond = set(targets.values()) - files.keys()
        if beyond:
            files.update((path, data) for path, data in _members(package) if path in beyond and isinstance(data, bytes))
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        raise GuestIngredientMissing(
            [package.name], f"The package cannot be read ({error}).", "Remove it and start again."
        ) from error
    files.update((path, files[target]) for path, target in targets.items() if target in files)
    return {path: data for path, data in files.items() if wanted(path)}


def _follow(path: str, links: dict[str, str]) -> str:
    for _ in range(_LINK_DEPTH):
        if path not in links:
            break
        path = links[path]
    return path


def _members(package: Path) -> Iterator[tuple[str, bytes | str]]:
    """Path, and content of a file or target of a link, of each member, by way of dpkg-deb."""
    with subprocess.Popen(
        ["dpkg-deb", "--fsys-tarfile", str(package)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdout is not None
        try:
            with tarfile.open(fileobj=process.stdout, mode="r|") as archive:
                for member in archive:
                    path = member.name.removeprefix("./")
                    if member.issym():
                        yield path, _joined(path, member.linkname)
                    elif member.islnk():
                        yield path, member.linkname.removeprefix("./")
                    elif member.isfile() and member.size <= _FILE_CAP_BYTES:
                        file = archive.extractfile(member)
                        assert file is not None
                        yield path, file.read()
        finally:
            process.stdout.close()
            process.terminate()


def _joined(path: str, target: str) -> str:
    parts: list[str] = [] if target.startswith("/") else path.split("/")[:-1]
    for part in target.split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)
