"""The control socket: private, bounded, and every request is answered once, with a result or a reason."""

import json
import os
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.control import (
    MAX_CONNECTIONS,
    MAX_LINE_BYTES,
    ControlError,
    ControlServer,
    is_listening,
    parse_request,
    read_lines,
    send_action,
)
from app.jobs import Job, Jobs


def _until_cancelled(job: Job) -> None:
    while not job.cancelled():
        time.sleep(0.001)
    job.check()


class Window:
    """A main thread for the server: pumps until it is told to stop."""

    def __init__(self, path: Path) -> None:
        self.jobs = Jobs()
        self.server = ControlServer(path)
        self.ran_on: set[threading.Thread] = set()
        self._stop = threading.Event()
        self.thread = threading.Thread(target=self._loop)
        self.thread.start()

    def _loop(self) -> None:
        while not self._stop.is_set():
            self.jobs.pump()
            self.server.pump(self._run, describe=str)
            time.sleep(0.002)

    def _run(self, action: str, args: Any) -> Any:
        self.ran_on.add(threading.current_thread())
        if action == "echo":
            return args
        if action == "fail":
            raise ValueError("it failed")
        if action == "big":
            return "x" * (17 << 20)
        work: Callable[[Job], Any] = {
            "job": lambda _job: "done",
            "badjob": lambda _job: 1 // 0,
            "endless": _until_cancelled,
        }[action]
        return self.jobs.start(action, work)

    def close(self) -> None:
        self.server.close()
        self._stop.set()
        self.thread.join()
        self.jobs.close()


@pytest.fixture
def window(tmp_path: Path) -> Iterator[Window]:
    made = Window(tmp_path / "window.sock")
    yield made
    made.close()


def _raw(path: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.settimeout(60)
    client.connect(str(path))
    return client


def _reply(client: socket.socket) -> dict[str, Any]:
    found = json.loads(next(iter(read_lines(client, 1 << 20))))
    assert isinstance(found, dict)
    return found


def test_actions_run_on_the_pumping_thread_and_answer(window: Window) -> None:
    path = window.server.path
    assert send_action("echo", {"a": 1}, path) == {"ok": True, "result": {"a": 1}}
    assert send_action("echo", ["x"], path) == {"ok": True, "result": ["x"]}
    assert send_action("fail", {}, path) == {"ok": False, "error": "it failed"}
    assert window.ran_on == {window.thread}


def test_jobs_answer_at_their_end(window: Window) -> None:
    path = window.server.path
    assert send_action("job", {}, path) == {"ok": True, "result": "done"}
    assert "zero" in send_action("badjob", {}, path)["error"]
    assert send_action("job", {}, path, wait=False)["result"].keys() == {"job"}
    started = send_action("endless", {}, path, wait=False)["result"]["job"]
    answers: list[dict[str, Any]] = []
    waiter = threading.Thread(target=lambda: answers.append(send_action("endless", {}, path)))
    waiter.start()
    while len(window.jobs.running()) < 2:
        time.sleep(0.002)
    for job in window.jobs.running():
        job.cancel()
    waiter.join()
    assert answers == [{"ok": False, "error": "endless: cancelled"}]
    assert started


def test_the_socket_is_private(window: Window) -> None:
    assert stat.S_IMODE(window.server.path.stat().st_mode) == 0o600
    assert window.server.path.stat().st_uid == os.getuid()


@pytest.mark.parametrize(
    "line", [b"", b"no json", b"[]", b'{"action": 3}', b'{"action": "echo", "args": "x"}', b"[" * 60_000, b"\xff\xff"]
)
def test_nonsense_is_answered_and_the_line_stays_open(window: Window, line: bytes) -> None:
    with _raw(window.server.path) as client:
        client.sendall(line + b"\n")
        if line:
            assert _reply(client)["ok"] is False
        client.sendall(b'{"action": "ec')
        time.sleep(0.02)  # a request may arrive in pieces
        client.sendall(b'ho"}\n')
        assert _reply(client) == {"ok": True, "result": {}}


def test_an_oversized_line_ends_the_connection(window: Window) -> None:
    with _raw(window.server.path) as client:
        client.sendall(b"x" * (MAX_LINE_BYTES + 2))
        assert "at most" in _reply(client)["error"]
        assert client.recv(1) == b""
    with _raw(window.server.path) as client:
        client.sendall(b" " * (MAX_LINE_BYTES - 1) + b"xx\n")
        assert "at most" in _reply(client)["error"]
    assert send_action("echo", {}, window.server.path)["ok"]
    with pytest.raises(ControlError, match="at most"):
        send_action("echo", {"x": "y" * MAX_LINE_BYTES}, window.server.path)


def test_an_oversized_result_is_refused(window: Window) -> None:
    assert "larger than" in send_action("big", {}, window.server.path)["error"]


def test_the_number_of_connections_is_bounded(window: Window) -> None:
    clients = [_raw(window.server.path) for _ in range(MAX_CONNECTIONS)]
    for client in clients:
        client.sendall(b'{"action": "echo"}\n')
        assert _reply(client)["ok"]
    with _raw(window.server.path) as extra:
        assert "are open already" in _reply(extra)["error"]
    for client in clients:
        client.close()
    deadline = time.monotonic() + 60
    while not send_action("echo", {}, window.server.path)["ok"]:
        assert time.monotonic() < deadline


def test_an_abandoned_request_harms_nobody(window: Window) -> None:
    client = _raw(window.server.path)
    client.sendall(b'{"action": "endless"}\n')
    client.close()
    assert send_action("echo", {}, window.server.path)["ok"]


def test_a_second_window_listens_beside_the_first(tmp_path: Path, window: Window) -> None:
    second = ControlServer(window.server.path)
    assert second.taken
    assert second.path != window.server.path
    second.close()
    assert not second.path.exists()
    assert is_listening(window.server.path)


def test_a_dead_windows_socket_is_replaced_and_ours_removed(tmp_path: Path) -> None:
    path = tmp_path / "window.sock"
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.close()
    with pytest.raises(ControlError, match="No window listens"):
        send_action("echo", {}, path)
    server = ControlServer(path)
    assert not server.taken
    server.close()
    assert not path.exists()


def test_closing_answers_who_waits(tmp_path: Path) -> None:
    server = ControlServer(tmp_path / "window.sock")
    answers: list[dict[str, Any]] = []
    waiters = [threading.Thread(target=lambda: answers.append(send_action("x", {}, server.path))) for _ in range(2)]
    for waiter in waiters:
        waiter.start()
    jobs = Jobs()
    job = jobs.start("held", _until_cancelled)
    deadline = time.monotonic() + 60
    taken = 0
    while taken < 2 and time.monotonic() < deadline:
        taken += server.pump(lambda _a, _b: job, describe=str)
        time.sleep(0.002)
    server.close()
    for waiter in waiters:
        waiter.join()
    jobs.close()
    assert [a["ok"] for a in answers] == [False, False]


def test_no_window_and_no_answer_are_said(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match="start one"):
        send_action("echo", {}, tmp_path / "none.sock")
    for reply, says in ((b"", "without an answer"), (b"[]\n", "no object"), (b"nonsense\n", "without an answer")):
        path = tmp_path / "rude.sock"
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as rude:
            rude.bind(str(path))
            rude.listen(1)

            def serve(listener: socket.socket = rude, data: bytes = reply) -> None:
                client, _ = listener.accept()
                client.recv(1000)
                client.sendall(data)
                client.close()

            thread = threading.Thread(target=serve)
            thread.start()
            with pytest.raises(ControlError, match=says):
                send_action("echo", {}, path)
            thread.join()
    with socket.socket(socket.AF_UNIX) as silent:
        path = tmp_path / "silent.sock"
        silent.bind(str(path))
        silent.listen(1)
        with pytest.raises(ControlError, match="does not answer"):
            send_action("echo", {}, path, timeout_s=0.05)


@given(st.binary(max_size=80))
def test_any_bytes_are_a_request_or_an_error(line: bytes) -> None:
    try:
        request = parse_request(line)
    except ControlError:
        return
    assert isinstance(request.action, str)
