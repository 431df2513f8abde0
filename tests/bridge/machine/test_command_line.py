"""QEMU's command line: confinement on it, values that cannot break out, and boards that QEMU really starts."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.machine.command_line import SocketFds, board_arguments, disk_format, escape, qemu_arguments
from bridge.machine.guest import MIB, Guest
from bridge.machine.manager import MachineManager
from bridge.machine.states import MachineState
from tests.bridge.machine.conftest import COUNTER_ADDRESS, counter_of, counting_guest, make_guest, state_of, wait_until


def options_of(value: str) -> list[str]:
    """Split as QEMU does: at single commas, with double ones for one."""
    options, current, position = [], "", 0
    while position < len(value):
        if value.startswith(",,", position):
            current += ","
            position += 2
        elif value[position] == ",":
            options.append(current)
            current = ""
            position += 1
        else:
            current += value[position]
            position += 1
    return [*options, current]


@given(st.text(st.characters(exclude_characters="\0"), min_size=1))
def test_no_value_breaks_out_of_its_option(value: str) -> None:
    assert options_of(f"a=1,file={escape(value)}") == ["a=1", f"file={value}"]
    assert options_of(f"file={escape(value)},b=2") == [f"file={value}", "b=2"]


def arguments_of(guest: Guest, **options: bool) -> list[str]:
    board = board_arguments(guest, ram_bytes=guest.ram_bytes, accelerator="tcg", network=options.get("network", False))
    return qemu_arguments(
        board,
        name="m",
        ram_path=Path("/dev/shm/x,y.ram"),
        ram_bytes=guest.ram_bytes,
        sockets=SocketFds(7, 8, 9),
        incoming=options.get("incoming", False),
    )


def test_confinement_and_no_network_by_default() -> None:
    arguments = arguments_of(make_guest())
    assert {"-nodefaults", "-no-user-config", "-S"} <= set(arguments)
    sandbox = arguments[arguments.index("-sandbox") + 1].split(",")
    assert sandbox[0] == "on"
    assert {"obsolete=deny", "elevateprivileges=deny", "spawn=deny", "resourcecontrol=deny"} == set(sandbox[1:])
    text = " ".join(arguments)
    assert "share=on,mem-path=/dev/shm/x,,y.ram" in text
    assert "memory-backend=ram" in text
    assert not any(word in text for word in ("-netdev", "-nic", "virtio-net", "-incoming", "vnc", "gdb"))
    network = " ".join(arguments_of(make_guest(), network=True))
    assert "user,id=net,hostfwd=tcp:127.0.0.1:" in network
    assert arguments_of(make_guest(), incoming=True)[-2:] == ["-incoming", "defer"]


def test_kernel_options_only_with_a_kernel(tmp_path: Path) -> None:
    assert not {"-kernel", "-initrd", "-append"} & set(arguments_of(make_guest(append="quiet", initrd=tmp_path)))
    arguments = arguments_of(make_guest(append="a,b -c", kernel=tmp_path / "k,1", initrd=tmp_path / "i"))
    assert arguments[arguments.index("-kernel") + 1] == str(tmp_path / "k,1"), "not a comma-separated option"
    assert arguments[arguments.index("-append") + 1] == "a,b -c"


def test_media_order(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(512))
    assert "order=adc" in " ".join(arguments_of(make_guest(disk=disk, cdrom=disk, floppy=disk)))
    assert "order=dc" in " ".join(arguments_of(make_guest(disk=disk, cdrom=disk)))
    assert "-boot" not in arguments_of(make_guest(disk=disk, kernel=disk))
    text = " ".join(arguments_of(make_guest(disk=disk, floppy=disk)))
    assert text.count("snapshot=on") == 2, "what the user named is never written to"
    assert text.count("format=raw") == 2


@pytest.mark.parametrize(
    ("head", "expected"),
    [(b"QFI\xfb\0\0\0\3", "qcow2"), (b"KDMV", "vmdk"), (b"vhdxfile", "vhdx"), (b"conectix", "vpc"), (b"", "raw")],
)
def test_disk_format_by_its_first_bytes(tmp_path: Path, head: bytes, expected: str) -> None:
    (tmp_path / "disk").write_bytes(head)
    assert disk_format(tmp_path / "disk") == expected


@pytest.mark.parametrize("machine_type", ["pc", "q35"])
@pytest.mark.parametrize("network", [False, True])
def test_boards_run_with_all_media(manager: MachineManager, tmp_path: Path, machine_type: str, network: bool) -> None:
    disk = tmp_path / "a,disk"
    disk.write_bytes(bytes(1 << 20))
    guest = counting_guest(tmp_path, machine_type=machine_type, disk=disk, cdrom=disk, floppy=disk, cpus=2)
    machine = manager.launch(guest, network=network)
    assert machine.wait_ready(60)
    wait_until(lambda: counter_of(machine) > 0)
    assert len(machine.qmp("query-cpus-fast")) == 2
    assert len([drive for drive in machine.qmp("query-block") if "inserted" in drive]) == 3
    described = machine.qmp("human-monitor-command", **{"command-line": "info network"})
    assert ("user" in described) == network
    if network:
        forwarded = machine.qmp("human-monitor-command", **{"command-line": "info usernet"})
        assert "127.0.0.1" in forwarded


def test_microvm_runs(manager: MachineManager, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(1 << 20))
    machine = manager.launch(make_guest(machine_type="microvm", disk=disk, cdrom=disk), network=True)
    assert state_of(machine) is MachineState.RUNNING
    assert len(machine.qmp("query-block")) == 2


def test_panic_stops_the_guest_where_it_is(manager: MachineManager, tmp_path: Path) -> None:
    # mov dx,0x505; mov al,1; out dx,al: what the kernel's pvpanic driver does.
    kernel = counting_guest(tmp_path).kernel
    assert kernel is not None
    image = kernel.read_bytes()
    kernel.write_bytes(image[:0x20] + bytes.fromhex("66ba0505b001eef4ebfd") + image[0x2A:])
    machine = manager.launch(make_guest(kernel=kernel))
    wait_until(lambda: "panicked" in machine.info.message)
    wait_until(lambda: state_of(machine) is MachineState.PAUSED)
    assert machine.ram is not None
    assert len(machine.ram.read_physical(COUNTER_ADDRESS, 4)) == 4


def test_sizes_on_both_sides_of_the_pci_hole(manager: MachineManager) -> None:
    machine = manager.launch(make_guest(ram_bytes=4096 * MIB))
    assert machine.ram is not None
    assert machine.ram.physical_map.offset_from_paddr(0x1_0000_0000) == 0xC000_0000
