"""Sockets that processes hold open: addresses and states of each family that the kernel's own types describe."""

from __future__ import annotations

import ipaddress
import stat

import drgn
import numpy as np
import numpy.typing as npt

from bridge.kernel.drgn_engine.files import descriptor_table
from bridge.kernel.drgn_engine.program import KernelProgram, Unreadable, reading
from bridge.kernel.errors import KernelError
from bridge.kernel.records import Socket
from bridge.kernel.tasks import Tasks

MAX_SOCKETS = 100_000
_MAX_FILES = 4 << 20
"""Slots of all tables of descriptors together."""
_UNIX, _INET, _INET6, _NETLINK, _PACKET = 1, 2, 10, 16, 17
_FAMILIES = {
    _UNIX: "unix",
    _INET: "inet",
    _INET6: "inet6",
    _NETLINK: "netlink",
    _PACKET: "packet",
    31: "bluetooth",
    38: "alg",
    40: "vsock",
    44: "xdp",
}
"""AF_… (include/linux/socket.h)."""
_KINDS = {1: "stream", 2: "dgram", 3: "raw", 4: "rdm", 5: "seqpacket", 6: "dccp", 10: "packet"}
"""SOCK_… (include/linux/net.h)."""
_STREAM, _SEQPACKET = 1, 5
_PROTOCOLS = {
    1: "icmp",
    2: "igmp",
    6: "tcp",
    17: "udp",
    33: "dccp",
    58: "icmpv6",
    132: "sctp",
    136: "udplite",
    255: "raw",
}
"""IPPROTO_… (include/uapi/linux/in.h)."""
_MPTCP = 262
_NETLINK_PROTOCOLS = (
    "route", "unused", "usersock", "firewall", "sock_diag", "nflog", "xfrm", "selinux", "iscsi", "audit",
    "fib_lookup", "connector", "netfilter", "ip6_fw", "dnrtmsg", "kobject_uevent", "generic",
)  # fmt: skip
"""NETLINK_… (include/uapi/linux/netlink.h)."""
_STATES = (
    "", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT", "CLOSE", "CLOSE_WAIT",
    "LAST_ACK", "LISTEN", "CLOSING", "NEW_SYN_RECV",
)  # fmt: skip
"""TCP_… (include/net/tcp_states.h); other families use some of them."""
_UNIX_PATH_BYTES = 108
_ADDRESS_HEAD_BYTES = 2
"""`sockaddr_un.sun_family`, before the path."""


def read_sockets(program: KernelProgram, tasks: Tasks) -> tuple[Socket, ...]:
    """The sockets that each of `tasks` holds open, by process and descriptor. Raises KernelError.

    A process that ends while it is read is left out.
    """
    found: list[Socket] = []
    for index, descriptor, file in _socket_files(program, tasks)[:MAX_SOCKETS]:
        pid, name = int(tasks.pids[index]), tasks.names[index]
        with reading(f"socket {descriptor} of process {pid}"):
            found.append(read_socket(program, program.at("file", file), pid, name, descriptor))
    return tuple(found)


def _socket_files(program: KernelProgram, tasks: Tasks) -> list[tuple[int, int, int]]:
    """(index into `tasks`, descriptor, address of the ``struct file``) of every open file that is a socket."""
    space, types = program.kernel.space, program.types
    owners: list[npt.NDArray[np.int64]] = []
    tables: list[npt.NDArray[np.uint64]] = []
    n_files = 0
    for index in np.flatnonzero(tasks.mms).tolist():
        pid = int(tasks.pids[index])
        task = program.at("task_struct", int(tasks.addresses[index]))
        try:
            with reading(f"the open files of process {pid}"):
                table = descriptor_table(program, task)
        except KernelError:
            if _is_gone(task, pid):
                continue
            raise
        if n_files + len(table) > _MAX_FILES:
            raise Unreadable(f"The processes would have more than {_MAX_FILES:,} files open.")
        n_files += len(table)
        owners.append(np.full(len(table), index, np.int64))
        tables.append(table)
    if not tables:
        return []
    owner, files = np.concatenate(owners), np.concatenate(tables)
    descriptor = np.concatenate([np.arange(len(table)) for table in tables])
    held = np.flatnonzero(files)
    inodes, _ = space.words(files[held] + np.uint64(types.offset("file", "f_inode")))
    modes, _ = space.rows(inodes + np.uint64(types.offset("inode", "i_mode")), 2)
    sockets = held[modes.view("<u2").reshape(-1) & np.uint16(0o170000) == np.uint16(stat.S_IFSOCK)]
    return list(zip(owner[sockets].tolist(), descriptor[sockets].tolist(), files[sockets].tolist(), strict=True))


def _is_gone(task: drgn.Object, pid: int) -> bool:
    """Whether a task is not what it was: it ended, and gave back its memory and files."""
    with reading(f"process {pid}"):
        return bool(task.pid.value_() != pid or not task.mm.value_() or not task.files.value_())


def read_socket(program: KernelProgram, file: drgn.Object, pid: int, process: str, descriptor: int) -> Socket:
    """The socket behind a ``struct file *``. Raises drgn.FaultError; call it within `reading`."""
    socket = program.at("socket", file.private_data.value_())
    inode = file.f_inode.i_ino.value_()
    sock = socket.sk.read_()
    if not sock.value_():
        return Socket(pid, process, descriptor, "", "", "", "CLOSE", "", "", inode, 0)
    common = sock.member_("__sk_common")
    family, kind, protocol = common.skc_family.value_(), sock.sk_type.value_(), sock.sk_protocol.value_()
    number = common.skc_state.value_()
    state = _STATES[number] if number < len(_STATES) else str(number)
    match family:
        case 2 | 10:
            local, remote = _internet(common, family)
            name = "mptcp" if protocol == _MPTCP else _PROTOCOLS.get(protocol, str(protocol))
        case 1:
            local, remote = _local(program, sock)
            name = ""
        case 16:
            local, remote = _netlink(program, sock)
            name = _NETLINK_PROTOCOLS[protocol] if protocol < len(_NETLINK_PROTOCOLS) else str(protocol)
        case _:
            local, remote, name = "", "", str(protocol) if protocol else ""
    if state == "CLOSE" and kind not in (_STREAM, _SEQPACKET):
        # A datagram socket that works is in the state that a stream socket is in when it is closed.
        state = "UNCONNECTED"
    return Socket(
        pid=pid,
        process=process,
        descriptor=descriptor,
        family=_FAMILIES.get(family, str(family)),
        kind=_KINDS.get(kind, str(kind)),
        protocol=name,
        state=state,
        local=local,
        remote=remote,
        inode=inode,
        address=sock.value_(),
    )


def _internet(common: drgn.Object, family: int) -> tuple[str, str]:
    """`127.0.0.1:22`, `[::1]:22`; the remote end is empty where there is none."""
    near, far = common.skc_num.value_(), int.from_bytes(common.skc_dport.value_().to_bytes(2, "little"), "big")
    if family == _INET:
        places = [
            str(ipaddress.IPv4Address(address.value_().to_bytes(4, "little")))
            for address in (common.skc_rcv_saddr, common.skc_daddr)
        ]
    else:
        places = [
            f"[{ipaddress.IPv6Address(address.to_bytes_())}]"
            for address in (common.skc_v6_rcv_saddr, common.skc_v6_daddr)
        ]
    nowhere = not far and places[1] in ("0.0.0.0", "[::]")  # noqa: S104 - an address that is read, not bound
    return f"{places[0]}:{near}", "" if nowhere else f"{places[1]}:{far}"


def _local(program: KernelProgram, sock: drgn.Object) -> tuple[str, str]:
    """The names of a unix socket and of its peer: a path, `@name` for one without a file, or nothing."""
    own = program.at("unix_sock", sock.value_())
    peer = own.peer.value_()
    return _unix_name(program, own), _unix_name(program, program.at("unix_sock", peer)) if peer else ""


def _unix_name(program: KernelProgram, socket: drgn.Object) -> str:
    address = socket.addr.value_()
    if not address:
        return ""
    length = program.at("unix_address", address).len.value_()
    if not _ADDRESS_HEAD_BYTES < length <= _ADDRESS_HEAD_BYTES + _UNIX_PATH_BYTES:
        return ""
    place = address + program.types.offset("unix_address", "name") + _ADDRESS_HEAD_BYTES
    raw: bytes = program.program.read(place, length - _ADDRESS_HEAD_BYTES)
    if raw[:1] == b"\0":  # the abstract name space; such names may hold NULs
        return "@" + raw[1:].rstrip(b"\0").replace(b"\0", b"@").decode("utf-8", "backslashreplace")
    return raw.split(b"\0", 1)[0].decode("utf-8", "backslashreplace")


def _netlink(program: KernelProgram, sock: drgn.Object) -> tuple[str, str]:
    """The port numbers of a netlink socket and of whom it is connected to; the kernel's is 0."""
    own = program.at("netlink_sock", sock.value_())
    return str(own.portid.value_()), str(own.dst_portid.value_())
