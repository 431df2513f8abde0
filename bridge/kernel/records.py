"""Records: what a kernel's lists hold, as plain values that cross processes and end in tables."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Module:
    """A loaded module, as /proc/modules has it."""

    name: str
    address: int
    """`struct module *`."""
    base: int
    """Where its code lies."""
    size_bytes: int
    state: str
    """Live, Loading, Unloading or Unformed."""
    references: int
    used_by: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Mount:
    """A mounted file system, as /proc/PID/mountinfo has it."""

    mount_id: int
    parent_id: int
    device: str
    """Major and minor number, `8:1`."""
    path: str
    source: str
    """What is mounted: a block device, or what was said in its place."""
    file_system: str
    options: str
    address: int
    """`struct mount *`."""


@dataclass(frozen=True, slots=True)
class OpenFile:
    """One descriptor of a process, as /proc/PID/fd and fdinfo have it."""

    pid: int
    descriptor: int
    path: str
    """`/var/log/syslog`, `pipe:[123]`, `socket:[456]`, `anon_inode:[eventpoll]`."""
    kind: str
    """file, directory, socket, pipe, character device, block device, link or other."""
    mode: str
    """r, w or rw."""
    position: int
    inode: int
    size_bytes: int
    address: int
    """`struct file *`."""


@dataclass(frozen=True, slots=True)
class Socket:
    """A socket that a process holds open."""

    pid: int
    process: str
    descriptor: int
    family: str
    """inet, inet6, unix, netlink, packet, or the number."""
    kind: str
    """stream, dgram, raw, seqpacket, or the number."""
    protocol: str
    state: str
    local: str
    remote: str
    inode: int
    address: int
    """`struct sock *`."""


@dataclass(frozen=True, slots=True)
class SlabCache:
    """A slab cache, as /proc/slabinfo has it."""

    name: str
    address: int
    """`struct kmem_cache *`."""
    object_bytes: int
    slot_bytes: int
    """With padding and debugging marks: from one object to the next."""
    objects_a_slab: int
    slabs: int
    objects: int
    """In use and free, in all slabs."""
    active: int
    """In use."""
    aliases: tuple[str, ...]
    """Names that were merged into it."""
    complete: bool = True
    """Whether its slabs could all be followed; where not, `active` is too high."""


@dataclass(frozen=True, slots=True)
class SlabObject:
    """The object of a slab cache that holds an address."""

    cache: str
    address: int
    size_bytes: int
    allocated: bool


@dataclass(frozen=True, slots=True)
class LogRecord:
    """A line of the kernel's log, as dmesg has it."""

    sequence: int
    time_s: float
    """Since boot."""
    level: int
    """0 (emergency) to 7 (debug)."""
    facility: int
    caller: str
    """`T123` for a task, `C0` for a processor; empty where the kernel does not keep it."""
    text: str


@dataclass(frozen=True, slots=True)
class StackFrame:
    """A return address on a kernel stack."""

    address: int
    symbol: str


@dataclass(frozen=True, slots=True)
class MapEntry:
    """A region of a process's memory map, as /proc/PID/maps has it."""

    start: int
    end: int
    permissions: str
    """`r-xp`."""
    file_offset: int
    path: str
    """A file's path, `[heap]`, `[stack]`, `[vdso]`, or empty."""
    resident_bytes: int


@dataclass(frozen=True, slots=True)
class SymbolRow:
    """A symbol of the kernel."""

    name: str
    address: int
    type_letter: str
    """As nm prints it."""
