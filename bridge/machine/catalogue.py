"""Find guests by name: the built-in ones, assembled in the cache when first asked for, and the user's own."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridge.machine import boot_sector, demo_guest, guest_cache
from bridge.machine.demo_ingredients import fetch_ingredients
from bridge.machine.descriptions import (
    MACHINE_TYPES,
    MAX_CPUS,
    MAX_RAM_BYTES,
    Description,
    check_files,
    check_parts,
    is_guest_name,
    read_description,
)
from bridge.machine.directories import cache_dir, config_dir
from bridge.machine.guest import (
    MIB,
    Guest,
    GuestCancelled,
    GuestDescriptionError,
    GuestError,
    GuestOptionError,
    UnknownGuest,
)
from bridge.machine.plain_files import home_or_plain

BUILT_IN = Path(__file__).resolve().parents[2] / "assets" / "guests"

Progress = Callable[[str, float], None]
Cancelled = Callable[[], bool]

# Which key of a description sets which field of a guest.
_FIELD_BY_KEY: Mapping[str, str] = {
    "title": "title",
    "ram": "ram_bytes",
    "min_ram": "min_ram_bytes",
    "max_ram": "max_ram_bytes",
    "machine": "machine_type",
    "cpus": "cpus",
    "kernel": "kernel",
    "initrd": "initrd",
    "append": "append",
    "disk": "disk",
    "cdrom": "cdrom",
    "floppy": "floppy",
    "network": "network",
    "ready_marker": "ready_marker",
    "keeps_state": "keeps_state",
}


def user_guests_dir() -> Path:
    """Where the user's own descriptions lie."""
    return config_dir() / "guests"


def guest_names() -> tuple[str, ...]:
    """All guests that can be asked for: the built-in ones, then the user's, each sorted."""
    return (*_names_in(BUILT_IN), *(name for name in _names_in(user_guests_dir()) if name not in _names_in(BUILT_IN)))


def _names_in(directory: Path) -> tuple[str, ...]:
    try:
        return tuple(sorted(path.stem for path in directory.iterdir() if path.suffix == ".toml"))
    except OSError:
        return ()


def find_guest(name: str, *, progress: Progress | None = None, cancelled: Cancelled | None = None) -> Guest:
    """The guest ``name``, ready to be launched: all its files are there and can be read.

    A built-in guest that is not in the cache yet, or is damaged, is assembled; ``progress`` hears about it, and
    ``cancelled`` can end it with `GuestCancelled`. Raises `UnknownGuest`, `GuestDescriptionError`,
    `GuestFileNotFound`, `GuestKernelInvalid` and `GuestIngredientMissing`.
    """
    description = describe_guest(name)
    guest = description.guest
    if description.recipe is not None:
        recipe = _RECIPES[description.recipe]
        _make(recipe, progress or _silent, cancelled or _never)
        guest = _with_recipe(description, recipe.files())
    check_files(guest)
    return guest


def describe_guest(name: str) -> Description:
    """The description of guest ``name``, without assembling anything. Raises as `find_guest` does."""
    names = guest_names()
    if name not in names:
        nearest = difflib.get_close_matches(name, names, n=1)
        raise UnknownGuest(name, names, nearest[0] if nearest else None)
    own = user_guests_dir() / f"{name}.toml"
    if name in _names_in(BUILT_IN):
        if own.exists():
            raise GuestDescriptionError(own, 0, f"'{name}' is the name of a built-in guest; rename the file.")
        return read_description(BUILT_IN / f"{name}.toml")
    return read_description(own)


@dataclass(frozen=True, slots=True)
class GuestSummary:
    """One line of the catalogue."""

    name: str
    title: str
    ram_bytes: int
    built_in: bool
    problem: str
    """Why it cannot be launched right now; empty when it can."""


def describe_guests() -> tuple[GuestSummary, ...]:
    """Every guest of the catalogue, without assembling anything; a bad description is a problem of that guest alone."""
    return tuple(_summary(name) for name in guest_names())


def _summary(name: str) -> GuestSummary:
    built_in = name in _names_in(BUILT_IN)
    try:
        description = describe_guest(name)
        if description.recipe is None:
            check_files(description.guest)
            guest, problem = description.guest, ""
        else:
            recipe = _RECIPES[description.recipe]
            guest = _with_recipe(description, recipe.files())
            problem = "" if guest_cache.is_intact(recipe.directory()) else "It is assembled when it is first launched."
    except GuestError as error:
        return GuestSummary(name, name, 0, built_in, str(error))
    return GuestSummary(name, guest.title, guest.ram_bytes, built_in, problem)


def _silent(_sentence: str, _share: float) -> None:
    pass


def _never() -> bool:
    return False


def _with_recipe(description: Description, made: Mapping[str, Path]) -> Guest:
    """The built-in guest of the recipe with what was ``made`` for it, overridden by what the description sets."""
    assert description.recipe is not None
    base = read_description(BUILT_IN / f"{description.recipe}.toml").guest
    fields: dict[str, Any] = {"name": description.guest.name, **made}
    for key in description.lines.keys() - {"recipe"}:
        field = _FIELD_BY_KEY[key]
        fields[field] = getattr(description.guest, field)
    guest = dataclasses.replace(base, **fields)
    if not guest.min_ram_bytes <= guest.ram_bytes <= guest.max_ram_bytes:
        line = max(description.lines.get(key, 0) for key in ("ram", "min_ram", "max_ram"))
        raise GuestDescriptionError(
            description.path,
            line,
            f"The recipe '{description.recipe}' needs 'ram' from {guest.min_ram_bytes // MIB}M to "
            f"{guest.max_ram_bytes // MIB}M.",
        )
    try:
        check_parts(guest)
    except GuestOptionError as error:
        raise GuestDescriptionError(description.path, 0, str(error)) from None
    return guest


@dataclass(frozen=True, slots=True)
class _Recipe:
    """How a built-in guest's files come to be, and where they lie then."""

    name: str
    sources: tuple[Path, ...]
    file_names: Mapping[str, str]
    """The file of each field of the guest."""
    make: Callable[[Path, Progress, Cancelled], Mapping[str, bytes]]
    """The content of each file; the path is an empty directory to work in."""

    def directory(self) -> Path:
        # The name says what it was made from: another version of the sources looks elsewhere, and makes its own.
        return _made_dir() / f"{self.name}-{guest_cache.key_of(*self.sources)}"

    def files(self) -> dict[str, Path]:
        directory = self.directory()
        return {field: directory / name for field, name in self.file_names.items()}


def _made_dir() -> Path:
    return cache_dir() / "guests"


def _make(recipe: _Recipe, progress: Progress, cancelled: Cancelled) -> None:
    """Have the files of ``recipe`` in the cache."""
    parent, directory = _made_dir(), recipe.directory()
    if guest_cache.is_intact(directory):
        return
    with guest_cache.lock(parent, cancelled), guest_cache.work_directory(parent) as work:
        if guest_cache.is_intact(directory):
            return  # another process made it while this one waited
        guest_cache.put(directory, recipe.make(work, progress, cancelled))
        guest_cache.remove_old(parent, f"{recipe.name}-", directory)
        progress("The guest is assembled", 1.0)


def _make_demo(work: Path, progress: Progress, cancelled: Cancelled) -> Mapping[str, bytes]:
    ingredients = fetch_ingredients(
        cache_dir() / "packages",
        progress=lambda sentence, share: progress(sentence, share * 0.7),
        cancelled=cancelled,
    )
    progress("Unpacking the guest's kernel", 0.7)
    kernel = demo_guest.make_kernel(ingredients)
    _stop_if(cancelled)
    progress("Making the guest's file system", 0.9)
    initramfs = demo_guest.make_initramfs(ingredients, work)
    _stop_if(cancelled)
    return {"vmlinux": kernel, "initrd.cpio": initramfs}


def _make_boot_sector(work: Path, progress: Progress, _cancelled: Cancelled) -> Mapping[str, bytes]:
    progress("Assembling the boot sector", 0.0)
    return {"boot_sector.img": boot_sector.assemble(boot_sector.SOURCE, work)}


def _stop_if(cancelled: Cancelled) -> None:
    if cancelled():
        raise GuestCancelled("Assembling the guest was stopped; what was downloaded is kept for the next time.")


_RECIPES: Mapping[str, _Recipe] = {
    recipe.name: recipe
    for recipe in (
        _Recipe("demo", demo_guest.SOURCES, {"kernel": "vmlinux", "initrd": "initrd.cpio"}, _make_demo),
        _Recipe("boot-sector", boot_sector.SOURCES, {"floppy": "boot_sector.img"}, _make_boot_sector),
    )
}


def own_guest(
    *,
    name: str = "own",
    kernel: Path | None = None,
    initrd: Path | None = None,
    append: str = "",
    disk: Path | None = None,
    cdrom: Path | None = None,
    floppy: Path | None = None,
    ram_bytes: int = 256 * MIB,
    machine_type: str = "pc",
    cpus: int = 1,
    network: bool = False,
    ready_marker: bytes | None = None,
    keeps_state: bool = False,
) -> Guest:
    """A guest from options instead of a description; paths are relative to the working directory, ``~`` is expanded.

    Raises `GuestOptionError`, `GuestFileNotFound` and `GuestKernelInvalid`.
    """
    if not is_guest_name(name):
        raise GuestOptionError(f"'{name}' is no name: lower case letters, digits, '.', '_' and '-', at most 32.")
    if machine_type not in MACHINE_TYPES:
        raise GuestOptionError(f"There is no machine type '{machine_type}'; use one of: {', '.join(MACHINE_TYPES)}.")
    if not 1 <= cpus <= MAX_CPUS:
        raise GuestOptionError(f"A guest has from 1 to {MAX_CPUS} CPUs, not {cpus}.")
    if ram_bytes % MIB or not MIB <= ram_bytes <= MAX_RAM_BYTES:
        raise GuestOptionError(f"RAM must be a whole number of MiB, from 1M to 1T, not {ram_bytes:,} bytes.")
    if "\0" in append:
        raise GuestOptionError("Kernel arguments hold no NUL.")
    parts = {"kernel": kernel, "initrd": initrd, "disk": disk, "cdrom": cdrom, "floppy": floppy}
    paths = {role: _absolute(path) if path is not None else None for role, path in parts.items()}
    guest = Guest(
        name=name,
        title=", ".join(path.name for path in paths.values() if path is not None) or name,
        ram_bytes=ram_bytes,
        min_ram_bytes=MIB,
        max_ram_bytes=MAX_RAM_BYTES,
        machine_type=machine_type,
        cpus=cpus,
        append=append,
        network=network,
        ready_marker=ready_marker,
        keeps_state=keeps_state,
        **paths,
    )
    check_parts(guest)
    check_files(guest)
    return guest


def _absolute(path: Path) -> Path:
    return Path.cwd() / home_or_plain(path)
