"""Read guest descriptions: TOML files with one flat table, checked key by key, with errors that name the line.

title = "My kernel"          # what people read; the file's name is the guest's name
kernel = "build/bzImage"     # paths: relative to the file, or absolute, or from ~
initrd = "initrd.img"
append = "console=ttyS0"
disk = "root.img"            # and cdrom, floppy
ram = "512M"                 # and min_ram, max_ram; a number with K, M, G or T
machine = "q35"              # or pc, microvm
cpus = 2
network = false
ready_marker = "login:"      # what the serial console prints when the guest is up
keeps_state = false          # save the booted state and resume it next time
recipe = "demo"              # start from the files of a built-in guest; kernel, initrd… override its parts
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bridge.machine.guest import GIB, KIB, MIB, Guest, GuestDescriptionError, GuestFileNotFound, GuestOptionError
from bridge.machine.kernel_image import check_kernel
from bridge.machine.plain_files import home_or_plain

MACHINE_TYPES = ("pc", "q35", "microvm")
RECIPES = ("demo", "boot-sector")
MAX_RAM_BYTES = 1024 * GIB
MAX_CPUS = 64

_DESCRIPTION_CAP_BYTES = 64 * KIB
_TEXT_CAP = 4096  # the kernel's own limit of its command line is 2048
_DEFAULT_RAM_BYTES = 256 * MIB
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}")
_SIZE = re.compile(r"([0-9]{1,15})\s*([KMGT])(?:i?B)?", re.IGNORECASE)
_SIZE_UNITS = {"K": KIB, "M": MIB, "G": GIB, "T": 1024 * GIB}
_FILE_KEYS = ("kernel", "initrd", "disk", "cdrom", "floppy")
_TYPES: Mapping[str, type] = {
    "title": str,
    "kernel": str,
    "initrd": str,
    "append": str,
    "disk": str,
    "cdrom": str,
    "floppy": str,
    "ram": str,
    "min_ram": str,
    "max_ram": str,
    "machine": str,
    "cpus": int,
    "network": bool,
    "ready_marker": str,
    "keeps_state": bool,
    "recipe": str,
}
_TYPE_NAMES = {str: 'a string in quotes, like "…"', int: "a whole number", bool: "true or false"}


@dataclass(frozen=True, slots=True)
class Description:
    """A description that was read and found sound; files of its recipe are still to be put in."""

    path: Path
    guest: Guest
    recipe: str | None
    lines: Mapping[str, int]
    """The keys that are set, and where; a recipe provides the others."""


def is_guest_name(name: str) -> bool:
    """Whether ``name`` can be a guest's: lower case letters, digits, dot, dash, underscore; at most 32."""
    return _NAME.fullmatch(name) is not None


def parse_size(text: str) -> int:
    """Bytes of a size like ``128M`` or ``4 GiB``; raises `ValueError` that says what is allowed."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"'{text[:40]}' is no size; write a whole number with K, M, G or T, like 128M")
    return int(match[1]) * _SIZE_UNITS[match[2].upper()]


class _Table:
    """The keys of one description: each known, of its type, and of a sane length."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self.values = _parse(path, text)
        self.lines = {key: _line_of(key, text) for key in self.values}
        for key, value in self.values.items():
            self._check(key, value)

    def _check(self, key: str, value: object) -> None:
        expected = _TYPES.get(key)
        if expected is None:
            nearest = difflib.get_close_matches(key, _TYPES, n=1)
            hint = f"Did you mean '{nearest[0]}'?" if nearest else f"Known keys: {', '.join(_TYPES)}."
            raise self.wrong(key, f"There is no key '{key[:60]}'. {hint}")
        if type(value) is not expected:
            raise self.wrong(key, f"'{key}' must be {_TYPE_NAMES[expected]}.")
        if isinstance(value, str):
            if "\0" in value or len(value) > _TEXT_CAP:
                raise self.wrong(key, f"'{key}' must have at most {_TEXT_CAP} characters, and no NUL.")
            if not value and key not in ("append", "title"):
                raise self.wrong(key, f"'{key}' is empty; leave the line out instead.")

    def wrong(self, key: str, message: str) -> GuestDescriptionError:
        return GuestDescriptionError(self.path, self.lines.get(key, 0), message)

    def text(self, key: str) -> str | None:
        value = self.values.get(key)
        return value if isinstance(value, str) else None

    def choice(self, key: str, allowed: Sequence[str]) -> str | None:
        value = self.text(key)
        if value is not None and value not in allowed:
            raise self.wrong(key, f"'{key}' must be one of: {', '.join(allowed)}.")
        return value

    def flag(self, key: str) -> bool:
        return self.values.get(key) is True

    def number(self, key: str, default: int, maximum: int) -> int:
        value = self.values.get(key, default)
        if not isinstance(value, int) or not 1 <= value <= maximum:
            raise self.wrong(key, f"'{key}' must be from 1 to {maximum}.")
        return value

    def size(self, key: str) -> int | None:
        value = self.text(key)
        if value is None:
            return None
        try:
            size_bytes = parse_size(value)
        except ValueError as error:
            raise self.wrong(key, f"'{key}': {error}.") from None
        if size_bytes % MIB or not MIB <= size_bytes <= MAX_RAM_BYTES:
            raise self.wrong(key, f"'{key}' must be a whole number of MiB, from 1M to 1T.")
        return size_bytes

    def file(self, key: str) -> Path | None:
        value = self.text(key)
        return _resolved(self.path, value) if value is not None else None

    def ram(self) -> tuple[int, int, int]:
        """Default, least and most RAM in bytes."""
        least = self.size("min_ram") or MIB
        most = self.size("max_ram") or MAX_RAM_BYTES
        default = self.size("ram") or min(max(_DEFAULT_RAM_BYTES, least), most)
        if not least <= default <= most:
            key = "ram" if "ram" in self.values else "min_ram"
            raise self.wrong(key, "'ram' must lie between 'min_ram' and 'max_ram'.")
        return default, least, most


def read_description(path: Path) -> Description:
    """Read and check the description ``path``.

    Raises `GuestDescriptionError` with the line that is wrong, `GuestFileNotFound` when the file cannot be read.
    The files it names are not looked at yet: that is `check_files`.
    """
    if not is_guest_name(path.stem):
        raise GuestDescriptionError(
            path, 0, "The file's name is the guest's name: lower case letters, digits, '.', '_' and '-', at most 32."
        )
    table = _Table(path, _read(path))
    ram_bytes, min_ram_bytes, max_ram_bytes = table.ram()
    marker = table.text("ready_marker")
    guest = Guest(
        name=path.stem,
        title=table.text("title") or path.stem,
        ram_bytes=ram_bytes,
        min_ram_bytes=min_ram_bytes,
        max_ram_bytes=max_ram_bytes,
        machine_type=table.choice("machine", MACHINE_TYPES) or "pc",
        cpus=table.number("cpus", 1, MAX_CPUS),
        kernel=table.file("kernel"),
        initrd=table.file("initrd"),
        append=table.text("append") or "",
        disk=table.file("disk"),
        cdrom=table.file("cdrom"),
        floppy=table.file("floppy"),
        network=table.flag("network"),
        ready_marker=marker.encode() if marker else None,
        keeps_state=table.flag("keeps_state"),
    )
    recipe = table.choice("recipe", RECIPES)
    if recipe is None:
        try:
            check_parts(guest)
        except GuestOptionError as error:
            raise GuestDescriptionError(path, 0, str(error)) from None
    return Description(path, guest, recipe, table.lines)


def check_parts(guest: Guest) -> None:
    """Whether the parts of ``guest`` make a machine that can boot; raises `GuestOptionError`."""
    if not (guest.kernel or guest.disk or guest.cdrom or guest.floppy):
        raise GuestOptionError("There is nothing to boot: give at least one of kernel, disk, cdrom and floppy.")
    if guest.initrd and not guest.kernel:
        raise GuestOptionError("An initrd needs a kernel beside it.")
    if guest.append and not guest.kernel:
        raise GuestOptionError("Kernel arguments (append) need a kernel beside them.")
    if guest.machine_type == "microvm" and (guest.cdrom or guest.floppy or not guest.kernel):
        raise GuestOptionError("A microvm boots a kernel, and has neither CD-ROM nor floppy drive; use pc or q35.")
    if guest.ready_marker == b"":
        raise GuestOptionError("The ready marker is empty; leave it out instead.")


def check_files(guest: Guest) -> None:
    """Whether the files of ``guest`` can be read, and its kernel be started.

    Raises `GuestFileNotFound` or `GuestKernelInvalid`.
    """
    for role in _FILE_KEYS:
        path: Path | None = getattr(guest, role)
        if path is not None:
            _check_readable(path, role)
    if guest.kernel is not None:
        check_kernel(guest.kernel)


def _check_readable(path: Path, role: str) -> None:
    try:
        # A disk may be a block device; a directory or a FIFO is a slip.
        if not (path.is_file() or path.is_block_device()):
            reason = "is no file" if path.exists() else "does not exist"
            raise GuestFileNotFound(path, role, reason)
        with path.open("rb") as file:
            if not file.read(1):
                raise GuestFileNotFound(path, role, "is empty")
    except OSError as error:
        raise GuestFileNotFound(path, role, f"cannot be read ({error.strerror})") from error


def _read(path: Path) -> str:
    try:
        if not path.is_file():
            raise GuestFileNotFound(path, "description", "is no file" if path.exists() else "does not exist")
        with path.open("rb") as file:
            data = file.read(_DESCRIPTION_CAP_BYTES + 1)
    except OSError as error:
        raise GuestFileNotFound(path, "description", f"cannot be read ({error.strerror})") from error
    if len(data) > _DESCRIPTION_CAP_BYTES:
        raise GuestDescriptionError(path, 0, f"A description has at most {_DESCRIPTION_CAP_BYTES // KIB} KiB.")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise GuestDescriptionError(path, line, f"The byte 0x{data[error.start]:02x} is no UTF-8.") from None


def _parse(path: Path, text: str) -> dict[str, object]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        position = re.search(r" \(at line (\d+), column \d+\)$| \(at end of document\)$", str(error))
        message = str(error)[: position.start()] if position else str(error)
        line = int(position[1]) if position and position[1] else text.rstrip("\n").count("\n") + 1
        raise GuestDescriptionError(path, line, f"{message}.") from None
    except (RecursionError, ValueError) as error:
        # Nested too deep, or a number or date that Python cannot hold.
        raise GuestDescriptionError(path, 0, f"This cannot be read as TOML ({error}).") from None


def _line_of(key: str, text: str) -> int:
    """The line where ``key`` is first set, from 1; 0 when it is written in a way that hides it."""
    written = re.compile(rf"""\s*(?:\[+\s*)?["']?{re.escape(key)}["']?\s*[.=\]]""")
    lines = text.split("\n")
    for number, line in enumerate(lines, start=1):
        if written.match(line):
            try:
                # A look-alike within a string of many lines is cut off there, and what is cut off does not parse.
                tomllib.loads("\n".join(lines[: number - 1]))
            except (tomllib.TOMLDecodeError, RecursionError, ValueError):
                continue
            return number
    return 0


def _resolved(description: Path, value: str) -> Path:
    return (description.absolute().parent / home_or_plain(value)).resolve()
