"""QEMU's command line for a guest: confined, without defaults, with RAM that can be looked into."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bridge.machine.guest import Guest
from bridge.machine.states import Accelerator

BACKEND_ID = "ram"
# QEMU runs in the machine's directory, and names what is in it without a path: sockets' paths can be too long.
CONSOLE_LOG = "console.log"
_SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"


@dataclass(frozen=True, slots=True)
class SocketFds:
    """Listening sockets that QEMU inherits, by file descriptor."""

    qmp: int
    control: int
    console: int


@dataclass(frozen=True, slots=True)
class PluginFiles:
    """The plugin that watches the guest's execution, and the shared memory that it is to fill."""

    library: Path
    memory: Path


def board_arguments(guest: Guest, *, ram_bytes: int, accelerator: Accelerator, network: bool) -> list[str]:
    """All that makes the machine what it is for the guest: two machines with equal ones can share a saved state."""
    board = guest.machine_type
    arguments = ["-machine", f"{board},memory-backend={BACKEND_ID}", "-accel", _accelerator(accelerator)]
    arguments += ["-cpu", _processor(accelerator), "-smp", str(guest.cpus), "-m", f"{ram_bytes >> 20}M"]
    if board != "microvm":
        # A guest that panics says so and stops where it is, so that its RAM can be looked at.
        arguments += ["-device", "pvpanic", "-action", "panic=pause"]
    if guest.kernel is not None:
        arguments += ["-kernel", str(guest.kernel)]
        if guest.initrd is not None:
            arguments += ["-initrd", str(guest.initrd)]
        if guest.append:
            arguments += ["-append", guest.append]
    arguments += _media(guest)
    if network:
        device = "virtio-net-device" if board == "microvm" else "virtio-net-pci"
        # User-mode: the guest reaches out through the host, and is itself reached only by its SSH port, on loopback.
        arguments += ["-netdev", "user,id=net,hostfwd=tcp:127.0.0.1:0-:22", "-device", f"{device},netdev=net"]
    return arguments


def qemu_arguments(
    board: list[str],
    *,
    name: str,
    ram_path: Path,
    ram_bytes: int,
    sockets: SocketFds,
    incoming: bool,
    plugin: PluginFiles | None = None,
) -> list[str]:
    """All arguments: confinement, RAM, monitors and console around those of `board_arguments`.

    QEMU starts with the guest stopped (-S), so that nothing that it does can be missed.
    """
    arguments = ["-nodefaults", "-no-user-config", "-sandbox", _SANDBOX, "-display", "none", "-monitor", "none"]
    arguments += ["-name", f"guest={name},debug-threads=on", "-S", *board]
    arguments += [
        "-object",
        f"memory-backend-file,id={BACKEND_ID},size={ram_bytes},share=on,mem-path={escape(str(ram_path))}",
    ]
    for monitor, fd in (("qmp", sockets.qmp), ("control", sockets.control)):
        arguments += ["-chardev", f"socket,id={monitor},fd={fd},server=on,wait=off"]
        arguments += ["-mon", f"chardev={monitor},mode=control"]
    arguments += [
        "-chardev",
        f"socket,id=console,fd={sockets.console},server=on,wait=off,logfile={CONSOLE_LOG},logappend=on",
        "-serial",
        "chardev:console",
    ]
    if plugin is not None:
        arguments += [
            "-plugin",
            f"{escape(str(plugin.library))},shm={escape(str(plugin.memory))},ram={escape(str(ram_path))}",
        ]
    if incoming:
        arguments += ["-incoming", "defer"]
    return arguments


def escape(value: str) -> str:
    """A value for QEMU's comma-separated options, where a comma is written twice."""
    return value.replace(",", ",,")


def _accelerator(accelerator: Accelerator) -> str:
    return "kvm" if accelerator == "kvm" else "tcg,thread=multi"


def _processor(accelerator: Accelerator) -> str:
    # `max` is all that the accelerator offers; under KVM it is the host's processor. Emulated, a fifth level of page
    # tables costs a Linux boot about 15 % (2.9 s of processor time to the demo's shell, 2.4 s without).
    return "max" if accelerator == "kvm" else "max,la57=off"


def _media(guest: Guest) -> list[str]:
    # Every medium is opened as a snapshot: what the guest writes lasts as long as the machine does, and the file that
    # the user named stays as it is.
    arguments: list[str] = []
    order = ""
    if guest.floppy is not None:
        arguments += ["-drive", f"if=floppy,format=raw,snapshot=on,file={escape(str(guest.floppy))}"]
        order += "a"
    if guest.cdrom is not None:
        source = f"media=cdrom,format=raw,readonly=on,file={escape(str(guest.cdrom))}"
        arguments += _drive(guest, "cdrom", source)
        order += "d"
    if guest.disk is not None:
        source = f"format={disk_format(guest.disk)},snapshot=on,file={escape(str(guest.disk))}"
        arguments += _drive(guest, "disk", source)
        order += "c"
    if order and guest.kernel is None and guest.machine_type != "microvm":
        arguments += ["-boot", f"order={order}"]
    return arguments


def _drive(guest: Guest, name: str, source: str) -> list[str]:
    if guest.machine_type == "microvm":  # no IDE, no PCI
        return ["-drive", f"if=none,id={name},{source}", "-device", f"virtio-blk-device,drive={name}"]
    # IDE, as every system since the eighties knows it (AHCI on q35); a hobby system has no virtio driver.
    return ["-drive", f"if=ide,{source}"]


# First bytes of disk images. QEMU is told the format, since it would take a raw disk on which a guest has written
# another format's header for that format, and open the files that such a header names.
_DISK_FORMATS = ((b"QFI\xfb", "qcow2"), (b"KDMV", "vmdk"), (b"vhdxfile", "vhdx"), (b"conectix", "vpc"))


def disk_format(path: Path) -> str:
    """QEMU's name of a disk image's format; raw when its first bytes say nothing. Raises OSError."""
    with path.open("rb") as file:
        head = file.read(16)
    return next((name for magic, name in _DISK_FORMATS if head.startswith(magic)), "raw")
