"""Make the guest "demo" out of the distribution's packages: an unpacked cloud kernel and an initramfs.

The initramfs holds busybox as init and shell, dropbear as SSH daemon, the C library, the workloads that are
compiled here from assets/guests/demo/workloads.c, and the files under assets/guests/demo/root.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath

from bridge.machine import cpio
from bridge.machine.decompress import DecoderMissing, DecompressError, compression_of, decompress
from bridge.machine.demo_ingredients import Ingredients
from bridge.machine.guest import GuestIngredientMissing, GuestKernelInvalid
from bridge.machine.kernel_image import has_pvh_entry, unpack_kernel
from bridge.machine.packages import read_files
from bridge.machine.shared_objects import needed_libraries

ASSETS = Path(__file__).resolve().parents[2] / "assets" / "guests" / "demo"

SOURCES = (ASSETS, Path(__file__), Path(cpio.__file__))
"""What the guest is made from besides packages: when one changes, it is made anew."""

_KERNEL_PATH = re.compile(r"(usr/lib/modules/[^/]+/vmlinuz|boot/vmlinuz-.*)")
_BUSYBOX_PATH = re.compile(r"(usr/)?bin/busybox")
_SSH_PROGRAMS = {"dropbear": "usr/sbin/dropbear", "dropbearkey": "usr/bin/dropbearkey", "ssh": "usr/bin/dbclient"}
_LOADER = "ld-linux-x86-64.so.2"
_LIBRARY_DIRECTORY = "lib/x86_64-linux-gnu"
_LIBRARY_PATH = re.compile(r"(usr/)?lib(64)?/(x86_64-linux-gnu/)?[^/]+\.so(\.[0-9.]+)?")
_WORKLOADS = ("counter", "allocator", "journal", "compressor", "pattern")

# The network card's driver and what Debian 12's needs; what another kernel's needs beyond that is found by itself.
_NETWORK_DRIVERS = ("virtio_pci", "virtio_net")
_NETWORK_PARTS = frozenset(
    (*_NETWORK_DRIVERS, "virtio", "virtio_ring", "virtio_pci_modern_dev", "virtio_pci_legacy_dev")
) | {"failover", "net_failover"}
_MODULE_PATH = re.compile(r"(usr/)?lib/modules/.*/(?P<name>[^/]+)\.ko(\.xz|\.zst|\.gz)?")
_MODULE_DEPENDS = re.compile(rb"(?:\A|\0)depends=([^\0]*)\0")
_MODULE_CAP_BYTES = 32 << 20


def make_kernel(ingredients: Ingredients) -> bytes:
    """The kernel, unpacked to an ELF file where QEMU can start that; else as it is packaged."""
    return unpack_if_possible(*read_kernel_image(ingredients))


def read_kernel_image(ingredients: Ingredients) -> tuple[Path, bytes]:
    """The kernel as it is packaged, and the package that holds it."""
    for package in ingredients.kernel:
        for image in read_files(package, lambda path: _KERNEL_PATH.fullmatch(path) is not None).values():
            return package, image
    raise GuestIngredientMissing(
        [package.name for package in ingredients.kernel], "There is no kernel in them.", "Please report this."
    )


def unpack_if_possible(package: Path, image: bytes) -> bytes:
    """The ELF kernel in ``image``, or ``image`` itself where QEMU could not start that."""
    try:
        kernel = unpack_kernel(package, image)
    except GuestKernelInvalid as error:
        if isinstance(error.__cause__, DecoderMissing):
            name = error.__cause__.package
            raise GuestIngredientMissing([name], f"{error}.", f"Install it: sudo apt-get install {name}") from error
        return image  # slower to start than its ELF kernel, but QEMU takes it
    return kernel if has_pvh_entry(kernel) else image


def make_initramfs(ingredients: Ingredients, work: Path) -> bytes:
    """The initramfs; ``work`` is an empty directory to compile in."""
    libraries = _libraries(ingredients.libraries)
    ssh = _only(ingredients.ssh, _SSH_PROGRAMS.values())
    workloads = _compile_workloads(libraries, work)
    busybox = _busybox(ingredients.shell)
    modules = _network_modules(ingredients.kernel)

    entries = [cpio.directory(path) for path in ("proc", "sys", "dev", "run", "var/log")]
    entries += [cpio.directory(path, 0o700) for path in ("root", "root/.ssh", "etc/dropbear")]
    entries.append(cpio.directory("tmp", 0o1777))
    entries.append(cpio.character_device("dev/console", 5, 1))
    entries.append(cpio.file("bin/busybox", busybox, 0o755))
    entries.append(cpio.symlink("init", "bin/busybox"))
    entries += [cpio.symlink(f"bin/{name}", "busybox") for name in _applets(busybox, work) if name != "busybox"]
    entries += [cpio.file(f"usr/bin/{name}", ssh[path], 0o755) for name, path in _SSH_PROGRAMS.items()]
    needed = _closure([workloads, *ssh.values()], libraries)
    entries.append(cpio.file(f"lib64/{_LOADER}", libraries[_LOADER], 0o755))
    entries += [cpio.file(f"{_LIBRARY_DIRECTORY}/{name}", libraries[name], 0o755) for name in needed]
    entries.append(cpio.file("usr/bin/glassbox-workloads", workloads, 0o755))
    entries += [cpio.symlink(f"usr/bin/{name}", "glassbox-workloads") for name in _WORKLOADS]
    entries += [cpio.file(f"lib/modules/{name}.ko", data) for name, data in modules.items()]
    entries.append(cpio.file("etc/network-modules", "".join(f"/lib/modules/{name}.ko\n" for name in modules).encode()))
    entries += _own_files()
    return cpio.write_archive(entries)


def _own_files() -> Iterable[cpio.Entry]:
    root = ASSETS / "root"
    for path in sorted(root.rglob("*")):
        if path.is_file():
            data = path.read_bytes()
            yield cpio.file(path.relative_to(root).as_posix(), data, 0o755 if data.startswith(b"#!") else 0o644)


def _only(package: Path, paths: Iterable[str]) -> dict[str, bytes]:
    wanted = frozenset(paths)
    found = read_files(package, wanted.__contains__)
    if len(found) < len(wanted):
        raise GuestIngredientMissing(
            sorted(wanted - found.keys()), f"They are not in {package.name}.", "Please report this."
        )
    return found


def _busybox(package: Path) -> bytes:
    for program in read_files(package, lambda path: _BUSYBOX_PATH.fullmatch(path) is not None).values():
        return program
    raise GuestIngredientMissing(["busybox-static"], f"busybox is not in {package.name}.", "Please report this.")


def _libraries(packages: Iterable[Path]) -> dict[str, bytes]:
    """Every shared library in ``packages``, by its file's name."""
    found: dict[str, bytes] = {}
    for package in packages:
        files = read_files(package, lambda path: _LIBRARY_PATH.fullmatch(path) is not None)
        found.update((PurePosixPath(path).name, data) for path, data in files.items())
    missing = [name for name in (_LOADER, "libc.so.6") if name not in found]
    if missing:
        raise GuestIngredientMissing(
            missing, "They are in no package that the SSH daemon needs.", "Please report this."
        )
    return found


def _closure(programs: Iterable[bytes], libraries: Mapping[str, bytes]) -> tuple[str, ...]:
    """The names of the libraries that ``programs`` need, directly or through each other."""
    needed: dict[str, None] = {}
    waiting = list(programs)
    while waiting:
        for name in needed_libraries(waiting.pop()):
            if name in needed or name == _LOADER:
                continue
            if name not in libraries:
                raise GuestIngredientMissing([name], "The SSH daemon needs it.", "Please report this.")
            needed[name] = None
            waiting.append(libraries[name])
    return tuple(sorted(needed))


def _compile_workloads(libraries: Mapping[str, bytes], work: Path) -> bytes:
    # Linked with the guest's own C library, whose version decides which symbols there are.
    library = work / "libc.so.6"
    loader = work / _LOADER
    program = work / "workloads"
    library.write_bytes(libraries["libc.so.6"])
    loader.write_bytes(libraries[_LOADER])
    command = ["gcc", "-m64", "-O2", "-s", "-fPIE", "-pie", "-ffreestanding", "-fno-stack-protector", "-nostdlib"]
    command += ["-nostartfiles", f"-Wl,--dynamic-linker=/lib64/{_LOADER},--build-id=none", "-o", str(program)]
    command += [str(ASSETS / "workloads.c"), str(library), str(loader)]
    _run(command, "gcc", "The guest's workloads could not be compiled")
    return program.read_bytes()


def _applets(busybox: bytes, work: Path) -> list[str]:
    program = work / "busybox"
    program.write_bytes(busybox)
    program.chmod(0o700)
    return _run([str(program), "--list"], "busybox-static", "Its programs could not be listed").split()


def _run(command: list[str], package: str, failure: str) -> str:
    fix = f"Install it: sudo apt-get install {package}"
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, errors="replace", check=False, stdin=subprocess.DEVNULL
        )
    except OSError as error:
        raise GuestIngredientMissing([package], f"{failure} ({error.strerror}).", fix) from error
    if result.returncode != 0:
        raise GuestIngredientMissing([package], f"{failure}: {result.stderr.strip()[-400:]}.", fix)
    return result.stdout


def _network_modules(packages: Iterable[Path]) -> dict[str, bytes]:
    """The drivers of the network card, each after what it needs; what is not there is built into the kernel."""
    found: dict[str, bytes] = {}
    wanted = set(_NETWORK_PARTS)
    packages = tuple(packages)
    while wanted:
        for package in packages:
            found.update(_read_modules(package, wanted.__contains__))
        # A second round happens only when a kernel's driver needs more than is known above.
        wanted = (
            {need for data in found.values() for need in _module_needs(data)} - found.keys() - _NETWORK_PARTS - wanted
        )
    ordered: dict[str, bytes] = {}

    def put(name: str) -> None:
        if name in found and name not in ordered:
            for need in _module_needs(found[name]):
                put(need)
            ordered[name] = found[name]

    for name in _NETWORK_DRIVERS:
        put(name)
    return ordered


def _read_modules(package: Path, wanted: Callable[[str], bool]) -> dict[str, bytes]:
    def is_wanted(path: str) -> bool:
        match = _MODULE_PATH.fullmatch(path)
        return match is not None and wanted(match["name"].replace("-", "_"))

    modules = {}
    for path, data in read_files(package, is_wanted).items():
        name = PurePosixPath(path).name.split(".")[0].replace("-", "_")
        try:
            modules[name] = decompress(data, _MODULE_CAP_BYTES) if compression_of(data) else data
        except DecompressError as error:
            raise GuestIngredientMissing(
                [package.name], f"Its module {path}: {error}.", "Please report this."
            ) from error
    return modules


def _module_needs(module: bytes) -> tuple[str, ...]:
    match = _MODULE_DEPENDS.search(module)
    return (
        tuple(name.decode("ascii", "replace").replace("-", "_") for name in match[1].split(b",") if name)
        if match
        else ()
    )
