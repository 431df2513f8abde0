"""`./glassbox doctor`: looks at every ingredient and says whether it is good enough, and how to get it if not.

It is needed most where things are broken. So nothing but the standard library is imported up here, every check stands
alone, and what could crash or hang (drivers, QEMU, the screen) is asked in a child process with a time limit.
"""

import importlib.metadata
import json as json_format
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from app.exit_codes import ExitCode
from app.output import format_bytes, print_json, print_text

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - the kernel's shared memory, which holds the guests' RAM
MIN_PYTHON = (3, 11)
MIN_QEMU = (9, 1)
"""The first QEMU whose plugins can count inline and a vCPU at a time (plugin API 3 and 4)."""
MIN_SHARED_MEMORY_BYTES = 256 << 20
"""The demo guest's RAM and as much again for a second machine."""
CHILD_LIMIT_S = 30
_SHOWN_PACKAGES = ("wgpu", "pygfx", "imgui-bundle", "numpy", "numba", "qemu-qmp")
_REBUILD = "remove the directory .venv and start ./glassbox: it is made again"
_ASK_ADAPTER = """
import dataclasses, json
from render.device import request_device
print(json.dumps(dataclasses.asdict(request_device()[1])))
"""


@dataclass(frozen=True, slots=True)
class Check:
    """What was found of one ingredient. `fix` is empty when it is good enough."""

    name: str
    ok: bool
    detail: str
    fix: str


def run_checks() -> list[Check]:
    """Look at everything, side by side, and report in a fixed order. Never raises for what it finds."""
    with ThreadPoolExecutor(max_workers=len(_CHECKS)) as pool:
        return list(pool.map(_guarded, _CHECKS.items()))


def main(*, json: bool) -> int:
    """Print what was found. Returns 0, or 4 when something is missing or not good enough."""
    checks = run_checks()
    ok = all(check.ok for check in checks)
    if json:
        print_json({"ok": ok, "checks": [asdict(check) for check in checks]})
    else:
        print_text(format_report(checks))
    return ExitCode.DONE if ok else ExitCode.COMPONENT_MISSING


def format_report(checks: list[Check]) -> str:
    """Return the checks as a table, each fix on a line of its own under what it mends."""
    width = max(len(check.name) for check in checks)
    lines = []
    for check in checks:
        lines.append(f"{'ok' if check.ok else 'MISSING':<8} {check.name:<{width}}  {check.detail}".rstrip())
        if check.fix:
            lines.append(f"{'':<8} {'':<{width}}  fix: {check.fix}")
    n_bad = sum(not check.ok for check in checks)
    lines.append("")
    lines.append(
        "Everything is here." if n_bad == 0 else f"{n_bad} of {len(checks)} not good enough; the fixes are above."
    )
    return "\n".join(lines)


def check_python() -> Check:
    """The interpreter that runs this."""
    version = ".".join(map(str, sys.version_info[:3]))
    wanted = ".".join(map(str, MIN_PYTHON))
    ok = sys.version_info[:2] >= MIN_PYTHON
    return Check("python", ok, f"{version} in {sys.prefix}", "" if ok else f"install Python {wanted}, then {_REBUILD}")


def check_packages() -> Check:
    """The installed packages against the lock file."""
    try:
        locked = read_lock(LOCK)
    except OSError as error:
        return Check("packages", False, f"{LOCK.name} cannot be read: {error.strerror}", "restore it: git checkout")
    wrong = []
    for name, (version, conditional) in locked.items():
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            if not conditional:
                wrong.append(f"{name} is missing")
        else:
            if found != version:
                wrong.append(f"{name} is {found}, not {version}")
    if wrong:
        return Check("packages", False, "; ".join(wrong), _REBUILD)
    shown = ", ".join(f"{name} {locked[name][0]}" for name in _SHOWN_PACKAGES if name in locked)
    return Check("packages", True, f"{len(locked)} as locked: {shown}, …", "")


def read_lock(path: Path) -> dict[str, tuple[str, bool]]:
    """Return of each locked package its version, and whether it is for some systems only."""
    pins = re.finditer(r"^([a-z0-9][a-z0-9._-]*)==([^\s;\\]+)( *;)?", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {pin[1]: (pin[2], pin[3] is not None) for pin in pins}


def check_qemu() -> Check:
    """QEMU's version, and whether it was built with TCG plugins."""
    from bridge.machine.qemu_binary import fetched_program

    fetched = fetched_program()
    path = shutil.which(os.environ.get("GLASSBOX_QEMU", "") or (fetched if fetched.exists() else "qemu-system-x86_64"))
    fix = f"install qemu-system-x86 {'.'.join(map(str, MIN_QEMU))} or newer"
    if path is None:
        return Check("qemu", False, "no qemu-system-x86_64 in PATH", fix)
    said = _ask(path, "--version")
    match = re.search(r"version (\d+)\.(\d+)(\.\d+)?", said)
    if match is None:
        return Check("qemu", False, f"{path} does not tell its version: {_first_line(said)}", fix)
    version = match[0].removeprefix("version ")
    if (int(match[1]), int(match[2])) < MIN_QEMU:
        return Check("qemu", False, f"{version} is too old ({path})", fix)
    if not re.search(r"^-plugin\b", _ask(path, "-help"), re.MULTILINE):
        return Check("qemu", False, f"{version} was built without TCG plugins ({path})", fix)
    return Check("qemu", True, f"{version} with TCG plugins ({path})", "")


def check_accelerator() -> Check:
    """Whether KVM really runs guests here; without it they are emulated, which is slower and good enough."""
    from bridge.machine.accelerator import probe_kvm
    from bridge.machine.errors import QemuMissing

    try:
        found = probe_kvm()
    except QemuMissing:
        return Check("accelerator", False, "cannot be tried without QEMU", "mend QEMU first")
    return Check("accelerator", True, f"{'KVM' if found.usable else 'TCG'}: {found.reason}", "")


def check_adapter() -> Check:
    """The Vulkan adapter that would draw, opened just as the window opens it."""
    fix = "install libvulkan1 and mesa-vulkan-drivers (software), or your graphics card's Vulkan driver"
    child = _child([sys.executable, "-c", _ASK_ADAPTER])
    if child.returncode < 0:
        return Check("vulkan", False, f"the driver crashed ({signal.Signals(-child.returncode).name})", fix)
    if child.returncode != 0:
        return Check("vulkan", False, _last_line(child.stderr), fix)
    adapter = json_format.loads(_last_line(child.stdout))
    kind = "software" if adapter["is_software"] else "hardware"
    detail = f"{adapter['name']}, {kind}, {adapter['backend']} by {adapter['driver']}"
    ok = adapter["backend"] == "Vulkan"
    return Check("vulkan", ok, detail, "" if ok else fix)


def check_compiler() -> Check:
    """The C compiler, for QEMU's plugin."""
    return _tool("compiler", "cc", "gcc and libc6-dev")


def check_assembler() -> Check:
    """The assembler, for the boot sector."""
    return _tool("assembler", "as", "binutils")


def check_guests() -> Check:
    """Whether the built-in guests are there, or everything is that they are made of. Downloads nothing."""
    from bridge.machine.catalogue import find_guest
    from bridge.machine.descriptions import RECIPES
    from bridge.machine.guest import GuestCancelled, GuestError, GuestIngredientMissing

    found, problems, fix = [], [], ""
    for name in RECIPES:
        try:
            find_guest(name, cancelled=lambda: True)
            found.append(f"{name} is ready")
        except GuestCancelled:
            found.append(f"{name} is assembled when it is first launched")
        except GuestIngredientMissing as error:
            problems.append(f"{name}: {', '.join(error.packages)} missing")
            fix = error.fix
        except GuestError as error:
            problems.append(f"{name}: {error}")
            fix = "./glassbox guests --prepare"
    return Check("guests", not problems, "; ".join(problems or found), fix)


def check_fonts() -> Check:
    """The faces that the window draws text with."""
    from app.theme import BUNDLED_FONTS, MONO_FONTS, find_font

    if not BUNDLED_FONTS.is_dir():
        return Check("fonts", False, f"imgui-bundle's own fonts are not in {BUNDLED_FONTS}", _REBUILD)
    mono = find_font(*MONO_FONTS)
    return Check("fonts", True, f"Roboto, Font Awesome, {mono.stem if mono else 'Inconsolata'}", "")


def check_screen() -> Check:
    """Whether a window can be opened. None is fine: pictures are then drawn off-screen."""
    from app.screen import screen_problem

    problem = screen_problem()
    if problem is not None:
        return Check("screen", True, f"{problem}; pictures are drawn off-screen", "")
    return Check("screen", True, os.environ.get("WAYLAND_DISPLAY") or os.environ.get("DISPLAY") or "", "")


def check_shared_memory() -> Check:
    """Room for the guests' RAM."""
    fix = f"make room in {SHARED_MEMORY}, or mount it bigger: mount -o remount,size=2G {SHARED_MEMORY}"
    try:
        usage = shutil.disk_usage(SHARED_MEMORY)
        tempfile.TemporaryFile(dir=SHARED_MEMORY).close()
    except OSError as error:
        return Check("shared memory", False, f"{SHARED_MEMORY} cannot be used: {error.strerror}", fix)
    detail = f"{format_bytes(usage.free)} free of {format_bytes(usage.total)} in {SHARED_MEMORY}"
    ok = usage.free >= MIN_SHARED_MEMORY_BYTES
    return Check("shared memory", ok, detail, "" if ok else fix)


def check_directories() -> Check:
    """The private directory of running machines, and the cache."""
    from bridge.machine.directories import cache_dir, runtime_dir
    from bridge.machine.errors import UnsafeDirectory

    try:
        places = runtime_dir(), cache_dir()
    except UnsafeDirectory as error:
        fix = "remove it, or set XDG_RUNTIME_DIR to a private directory"
        return Check("directories", False, f"{error.path}: {error.found}", fix)
    except OSError as error:
        return Check("directories", False, f"{error.filename}: {error.strerror}", "make it writable for you")
    closed = [str(place) for place in places if not os.access(place, os.W_OK)]
    if closed:
        return Check("directories", False, f"not writable: {', '.join(closed)}", "make it writable for you")
    return Check("directories", True, f"{places[0]}, {places[1]}", "")


def check_symbol_cache() -> Check:
    """What was decoded of kernels before. Good enough in any state: without it they are decoded each time."""
    from app.symbol_cache import describe_symbol_cache

    return Check("symbol cache", True, describe_symbol_cache(), "")


_CHECKS: dict[str, Callable[[], Check]] = {
    "python": check_python,
    "packages": check_packages,
    "qemu": check_qemu,
    "accelerator": check_accelerator,
    "vulkan": check_adapter,
    "compiler": check_compiler,
    "assembler": check_assembler,
    "guests": check_guests,
    "fonts": check_fonts,
    "screen": check_screen,
    "shared memory": check_shared_memory,
    "directories": check_directories,
    "symbol cache": check_symbol_cache,
}


def _guarded(named: tuple[str, Callable[[], Check]]) -> Check:
    name, check = named
    try:
        return check()
    except subprocess.TimeoutExpired as error:
        program = Path(error.cmd[0]).name
        return Check(name, False, f"{program} did not answer within {error.timeout:.0f} s", "run it by hand to see why")
    except ImportError as error:
        return Check(name, False, f"{type(error).__name__}: {error}", _REBUILD)
    except Exception as error:  # noqa: BLE001 - whatever is broken, the other checks are to be seen
        return Check(name, False, f"the check itself failed: {type(error).__name__}: {error}", "please report this")


def _tool(name: str, program: str, packages: str) -> Check:
    path = shutil.which(program)
    if path is None:
        return Check(name, False, f"no {program} in PATH", f"install {packages}")
    child = _child([path, "--version"])
    if child.returncode != 0:
        return Check(name, False, f"{path} does not run: {_last_line(child.stderr)}", f"install {packages}")
    return Check(name, True, _first_line(child.stdout), "")


def _child(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=CHILD_LIMIT_S,
        check=False,
    )


def _ask(*command: str) -> str:
    child = _child(list(command))
    return child.stdout or child.stderr


def _first_line(text: str) -> str:
    return next(iter(text.strip().splitlines()), "no answer")


def _last_line(text: str) -> str:
    return next(reversed(text.strip().splitlines()), "no answer")
