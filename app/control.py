"""Control socket: lets scripts and tests call the actions of a running window by name.

One JSON object a line, `{"action": "machine.launch", "args": {…}}`, answered by `{"ok": true, "result": …}` or
`{"ok": false, "error": "…"}`. Requests are read in threads and run on the main thread, between two frames. Only this
user may connect; a line, a connection and their number are bounded.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.jobs import Job, JobState
from bridge.machine.directories import runtime_dir

SOCKET_NAME = "window.sock"
MAX_LINE_BYTES = 64 << 10
MAX_REPLY_BYTES = 16 << 20
MAX_CONNECTIONS = 8
IDLE_LIMIT_S = 60.0  # a client that says nothing this long is dropped
LEAVE_LIMIT_S = 3.0  # for replies that are under way when the window closes
ANSWER_LIMIT_S = 180.0  # the longest job (a cold boot without KVM) stays well below


class ControlError(Exception):
    """The window cannot be reached, or its answer cannot be understood; the message says what to do."""


@dataclass(slots=True)
class Request:
    """A call that waits for the main thread."""

    action: str
    args: Mapping[str, Any] | Sequence[Any]
    wait: bool  # for the end of a job that the action starts
    reply: dict[str, Any] | None = None
    answered: threading.Event = field(default_factory=threading.Event)

    def answer(self, reply: dict[str, Any]) -> None:
        self.reply = reply
        self.answered.set()


def parse_request(line: bytes) -> Request:
    """Return the request in a line from the socket. Raises ControlError for anything else."""
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        raise ControlError("a request is one JSON object on a line") from None
    if not isinstance(document, dict) or not isinstance(document.get("action"), str):
        raise ControlError('a request is {"action": NAME, "args": {…} or […]}')
    args = document.get("args", {})
    if not isinstance(args, dict | list):
        raise ControlError("“args” is an object or an array")
    return Request(document["action"], args, document.get("wait", True) is not False)


class ControlServer:
    """Listens on a socket; the main thread calls `pump()` once a frame."""

    def __init__(self, path: Path | None = None, *, wake: Callable[[], None] = lambda: None) -> None:
        self._wake = wake
        self._requests: queue.SimpleQueue[Request] = queue.SimpleQueue()
        self._waiting: list[tuple[Request, Job]] = []
        self._slots = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self._closing = threading.Event()
        self._open: set[socket.socket] = set()
        self._answering = 0
        """How many clients are being answered at this moment."""
        self._lock = threading.Lock()
        self.path = path or runtime_dir() / SOCKET_NAME
        self.taken = False  # another window listens under the usual name
        self._listener = self._listen()
        self._identity = self.path.stat().st_ino
        self._thread = threading.Thread(target=self._accept, name="control", daemon=True)
        self._thread.start()

    def _listen(self) -> socket.socket:
        if is_listening(self.path):
            self.taken = True
            self.path = self.path.with_name(f"{self.path.stem}-{os.getpid()}.sock")
        self.path.unlink(missing_ok=True)  # nobody answers there: left by a window that was killed
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            os.fchmod(listener.fileno(), 0o600)  # Linux: the file gets the socket's mode at bind, so it is never wider
            listener.bind(str(self.path))
            self.path.chmod(0o600)
            listener.listen(MAX_CONNECTIONS)
        except OSError:
            listener.close()
            raise
        return listener

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # closed
            if peer_uid(client) != os.getuid():
                client.close()
                continue
            if not self._slots.acquire(blocking=False):
                with contextlib.suppress(OSError):
                    client.sendall(_line({"ok": False, "error": f"{MAX_CONNECTIONS} connections are open already"}))
                client.close()
                continue
            with self._lock:
                self._open.add(client)
            threading.Thread(target=self._serve, args=(client,), name="control client", daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            client.settimeout(IDLE_LIMIT_S)
            for line in read_lines(client):
                with self._counted():
                    client.sendall(_line(self._answer(line)))
        except ControlError as error:
            with contextlib.suppress(OSError):
                client.sendall(_line({"ok": False, "error": str(error)}))
        except OSError:
            pass  # the client left or said nothing for long: its loss
        finally:
            with self._lock:
                self._open.discard(client)
            client.close()
            self._slots.release()

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        with self._lock:
            self._answering += 1
        try:
            yield
        finally:
            with self._lock:
                self._answering -= 1

    def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = parse_request(line)
        except ControlError as error:
            return {"ok": False, "error": str(error)}
        self._requests.put(request)
        self._wake()
        if self._closing.is_set() or not request.answered.wait(ANSWER_LIMIT_S):
            return {"ok": False, "error": "the window is closing" if self._closing.is_set() else "the window is busy"}
        return request.reply or {"ok": False, "error": "the window gave no reply"}

    def pump(
        self, run: Callable[[str, Mapping[str, Any] | Sequence[Any]], Any], *, describe: Callable[[Exception], str]
    ) -> int:
        """Run the waiting requests by `run(action, args)` on the calling thread; returns how many were run.

        `describe` words an error that an action raised. A request whose action starts a job is answered at its end.
        """
        count = 0
        while True:
            try:
                request = self._requests.get_nowait()
            except queue.Empty:
                break
            count += 1
            try:
                result = run(request.action, request.args)
            except Exception as error:  # noqa: BLE001 - a script's call must not end the window
                request.answer({"ok": False, "error": describe(error)})
                continue
            if isinstance(result, Job):
                if request.wait:
                    self._waiting.append((request, result))
                else:
                    request.answer({"ok": True, "result": {"job": result.number}})
            else:
                request.answer({"ok": True, "result": result})
        self._answer_ended_jobs(describe)
        return count

    def _answer_ended_jobs(self, describe: Callable[[Exception], str]) -> None:
        still: list[tuple[Request, Job]] = []
        for request, job in self._waiting:
            if not job.wait(0):
                still.append((request, job))
            elif job.state is JobState.DONE:
                request.answer({"ok": True, "result": job.result})
            elif job.state is JobState.CANCELLED:
                request.answer({"ok": False, "error": f"{job.title}: cancelled"})
            else:
                error = job.error if isinstance(job.error, Exception) else RuntimeError(repr(job.error))
                request.answer({"ok": False, "error": describe(error)})
        self._waiting = still

    def close(self) -> None:
        """Stop listening, answer who waits, and remove the socket file if it is still ours."""
        self._closing.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with contextlib.suppress(OSError):
            if self.path.stat().st_ino == self._identity:
                self.path.unlink()
        for request, _ in self._waiting:
            request.answer({"ok": False, "error": "the window is closing"})
        while not self._requests.empty():
            self._requests.get().answer({"ok": False, "error": "the window is closing"})
        deadline = time.monotonic() + LEAVE_LIMIT_S
        while time.monotonic() < deadline and self._is_answering():
            time.sleep(0.005)
        with self._lock:
            clients = list(self._open)
        for client in clients:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

    def _is_answering(self) -> bool:
        with self._lock:
            return self._answering > 0


def _line(document: object) -> bytes:
    data = json.dumps(document, default=str).encode() + b"\n"
    if len(data) > MAX_REPLY_BYTES:
        return _line({"ok": False, "error": f"the result is larger than {MAX_REPLY_BYTES >> 20} MiB"})
    return data


def read_lines(client: socket.socket, limit: int = MAX_LINE_BYTES) -> Any:
    """Yield the lines that arrive on `client` until it ends. A line longer than `limit` raises ControlError."""
    buffer = bytearray()
    while True:
        chunk = client.recv(min(limit, 1 << 16))
        if not chunk:
            return
        buffer += chunk
        while (end := buffer.find(b"\n")) >= 0:
            line = bytes(buffer[:end])
            del buffer[: end + 1]
            if len(line) > limit:
                raise ControlError(f"a line is at most {limit:,} bytes long")
            if line.strip():
                yield line
        if len(buffer) > limit:
            raise ControlError(f"a line is at most {limit:,} bytes long")


def peer_uid(client: socket.socket) -> int:
    """Return the user id of the process at the other end (SO_PEERCRED: pid, uid, gid)."""
    credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", credentials)[1])


def is_listening(path: Path) -> bool:
    """Return whether somebody answers at a socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def send_action(
    name: str,
    args: Mapping[str, Any] | Sequence[Any] = (),
    socket: Path | None = None,
    *,
    wait: bool = True,
    timeout_s: float = ANSWER_LIMIT_S + 5,
) -> dict[str, Any]:
    """Call an action of the running window and return its reply, `{"ok": …, "result" or "error": …}`.

    Raises ControlError when no window listens.
    """
    return _call(socket or runtime_dir() / SOCKET_NAME, {"action": name, "args": _plain(args), "wait": wait}, timeout_s)


def _plain(args: Mapping[str, Any] | Sequence[Any]) -> dict[str, Any] | list[Any]:
    return dict(args) if isinstance(args, Mapping) else list(args)


def _call(path: Path, document: dict[str, Any], timeout_s: float) -> dict[str, Any]:
    line = json.dumps(document).encode() + b"\n"
    if len(line) > MAX_LINE_BYTES:
        raise ControlError(f"a request is at most {MAX_LINE_BYTES:,} bytes long")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(timeout_s)
        try:
            client.connect(str(path))
            client.sendall(line)
            reply = next(iter(read_lines(client, MAX_REPLY_BYTES)), None)
        except (FileNotFoundError, ConnectionRefusedError):
            raise ControlError(f"No window listens at {path}: start one with ./glassbox.") from None
        except OSError as error:
            raise ControlError(f"The window at {path} does not answer ({error}).") from None
    try:
        parsed = json.loads(reply or b"")
    except ValueError:
        raise ControlError(f"The window at {path} closed the connection without an answer.") from None
    if not isinstance(parsed, dict):
        raise ControlError(f"The window at {path} answered with something that is no object.")
    return parsed
