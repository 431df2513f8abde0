"""A QMP connection to servers that lie, flood, stall and hang up."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.machine import qmp as qmp_module
from bridge.machine.background import BackgroundLoop, acquire_loop, release_loop
from bridge.machine.errors import MachineError, MachineGone, NotQmp, QmpCommandFailed, QmpTimeout, SocketTaken
from bridge.machine.qmp import QmpConnection

GREETING = b'{"QMP": {"version": {"qemu": {"micro": 0, "minor": 0, "major": 10}, "package": ""}, "capabilities": []}}\n'
Talk = Callable[[socket.socket], None]


@pytest.fixture
def background() -> Iterator[BackgroundLoop]:
    loop = acquire_loop()
    yield loop
    release_loop(loop)


class Server:
    """Listens, and has `talk` speak with the first client."""

    def __init__(self, path: Path, talk: Talk) -> None:
        self.path = path
        self.listening = socket.socket(socket.AF_UNIX)
        self.listening.bind(str(path))
        self.listening.listen(1)
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._serve, args=(talk,))
        self.thread.start()

    def _serve(self, talk: Talk) -> None:
        client, _ = self.listening.accept()
        with client:
            try:
                talk(client)
                self.done.wait(120)
            except OSError:
                pass

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.thread.join()
        self.listening.close()
        self.path.unlink()


def read_command(client: socket.socket) -> dict[str, Any]:
    data = b""
    while not data.endswith(b"\n") and not data.endswith(b"}"):
        piece = client.recv(65536)
        if not piece:
            raise OSError("hung up")
        data += piece
    command = json.loads(data)
    assert isinstance(command, dict)
    return command


def greet(client: socket.socket) -> None:
    client.sendall(GREETING)
    command = read_command(client)
    client.sendall(json.dumps({"return": {}, "id": command.get("id")}).encode() + b"\n")


def answering(*answers: Any) -> Talk:
    def talk(client: socket.socket) -> None:
        greet(client)
        for answer in answers:
            command = read_command(client)
            if isinstance(answer, bytes):
                client.sendall(answer)
            else:
                client.sendall(json.dumps({**answer, "id": command["id"]}).encode() + b"\n")

    return talk


def opened(background: BackgroundLoop, path: Path, timeout_s: float = 60, **options: Any) -> QmpConnection:
    return background.run(QmpConnection.open("m", path, timeout_s=timeout_s, **options))


def closed(background: BackgroundLoop, connection: QmpConnection) -> None:
    background.run(connection.close())
    background.run(connection.close())
    assert not connection.is_open


def test_ordinary_conversation(background: BackgroundLoop, tmp_path: Path) -> None:
    with Server(tmp_path / "s", answering({"return": {"status": "running"}}, {"return": 7})) as server:
        connection = opened(background, server.path)
        assert background.run(connection.status()) == "running"
        assert background.run(connection.execute("x", {"a": 1})) == 7
        closed(background, connection)


@pytest.mark.parametrize(
    "greeting",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\xff\xfe\x00\n",
        b"{}\n",
        b"[]\n",
        b'{"QMP": 1}\n',
        b'{"QMP": {"version": 3, "capabilities": 4}}\n',
        b"[" * 100_000 + b"\n",
        b'{"QMP": ' * 50_000 + b"\n",
        b"\n",
    ],
)
def test_garbage_is_no_qmp(background: BackgroundLoop, tmp_path: Path, greeting: bytes) -> None:
    def talk(client: socket.socket) -> None:
        client.sendall(greeting)

    with Server(tmp_path / "s", talk) as server, pytest.raises(NotQmp, match="does not speak QMP"):
        opened(background, server.path)


@given(greeting=st.binary(max_size=200))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_give_a_typed_error(background: BackgroundLoop, tmp_path: Path, greeting: bytes) -> None:
    def talk(client: socket.socket) -> None:
        client.sendall(greeting + b"\n")
        client.shutdown(socket.SHUT_WR)

    with Server(tmp_path / "s", talk) as server, pytest.raises((NotQmp, SocketTaken)):
        opened(background, server.path, 0.5)


def test_endless_line_is_cut_off(background: BackgroundLoop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qmp_module, "LARGEST_MESSAGE", 1 << 20)
    sent = 0

    def flood(client: socket.socket) -> None:
        nonlocal sent
        while True:
            sent += client.send(b"x" * 65536)

    with Server(tmp_path / "s", flood) as server, pytest.raises(NotQmp):
        opened(background, server.path)
    assert sent < 8 << 20


def test_silence_is_a_taken_socket(background: BackgroundLoop, tmp_path: Path) -> None:
    with Server(tmp_path / "s", lambda client: None) as server:
        begin = time.monotonic()
        with pytest.raises(SocketTaken):
            opened(background, server.path, 0.5)
        assert time.monotonic() - begin < 30


def test_full_queue_is_a_taken_socket(background: BackgroundLoop, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        server.listen(0)
        waiting = []
        for _ in range(2):
            client = socket.socket(socket.AF_UNIX)
            client.setblocking(False)
            waiting.append(client)
            try:
                client.connect(str(tmp_path / "s"))
            except BlockingIOError:
                break
        with pytest.raises(SocketTaken):
            opened(background, tmp_path / "s", 0.5)
        for client in waiting:
            client.close()


def test_hanging_up_instead_of_greeting(background: BackgroundLoop, tmp_path: Path) -> None:
    with Server(tmp_path / "s", lambda client: client.shutdown(socket.SHUT_RDWR)) as server, pytest.raises(NotQmp):
        opened(background, server.path)


def test_refusal_of_capabilities(background: BackgroundLoop, tmp_path: Path) -> None:
    def talk(client: socket.socket) -> None:
        client.sendall(GREETING)
        client.recv(1000)
        client.sendall(b'{"error": {"class": "x", "desc": "no"}}\n')

    with Server(tmp_path / "s", talk) as server, pytest.raises(NotQmp):
        opened(background, server.path)


def test_events_before_the_first_answer_are_no_answer(background: BackgroundLoop, tmp_path: Path) -> None:
    """QEMU tells them there where a guest stops and goes on all the time."""
    event = b'{"event": "STOP", "timestamp": {"seconds": 1, "microseconds": 2}}\n'

    def talk(client: socket.socket) -> None:
        client.sendall(event + GREETING)
        command = read_command(client)
        client.sendall(50 * event + json.dumps({"return": {}, "id": command.get("id")}).encode() + b"\n")
        command = read_command(client)
        client.sendall(event + json.dumps({"return": 7, "id": command["id"]}).encode() + b"\n")

    with Server(tmp_path / "s", talk) as server:
        connection = opened(background, server.path)
        assert background.run(connection.execute("x")) == 7
        closed(background, connection)


def test_refused_command(background: BackgroundLoop, tmp_path: Path) -> None:
    refusal = {"error": {"class": "DeviceNotFound", "desc": "no such device"}}
    with Server(tmp_path / "s", answering(refusal, {"return": 1})) as server:
        connection = opened(background, server.path)
        with pytest.raises(QmpCommandFailed, match="refused 'x': no such device") as caught:
            background.run(connection.execute("x"))
        assert caught.value.error_class == "DeviceNotFound"
        assert background.run(connection.execute("x")) == 1
        closed(background, connection)


@pytest.mark.parametrize(
    "answer",
    [
        {"error": 5},
        {"error": {"class": 1}},
        {"nothing": 1},
        b"garbage\n",
        b'{"error": {"class": "GenericError", "desc": "JSON parse error"}}\n',
        b"[" * 100_000 + b"\n",
        b"[]\n",
    ],
)
def test_answers_that_make_no_sense(background: BackgroundLoop, tmp_path: Path, answer: Any) -> None:
    with Server(tmp_path / "s", answering(answer)) as server:
        connection = opened(background, server.path)
        with pytest.raises(MachineError) as caught:
            background.run(connection.execute("x", timeout_s=60))
        assert not isinstance(caught.value, QmpTimeout)
        closed(background, connection)


def test_no_answer_times_out_and_a_late_one_is_not_taken_for_the_next(
    background: BackgroundLoop, tmp_path: Path
) -> None:
    def talk(client: socket.socket) -> None:
        greet(client)
        first = read_command(client)
        second = read_command(client)
        for command, result in ((first, "late"), (second, "right")):
            client.sendall(json.dumps({"return": result, "id": command["id"]}).encode() + b"\n")

    with Server(tmp_path / "s", talk) as server:
        connection = opened(background, server.path)
        with pytest.raises(QmpTimeout, match=r"'x' within 0\.05 s"):
            background.run(connection.execute("x", timeout_s=0.05))
        assert background.run(connection.execute("y")) == "right"
        closed(background, connection)


def test_hanging_up_is_told_and_ends_what_waits(background: BackgroundLoop, tmp_path: Path) -> None:
    def talk(client: socket.socket) -> None:
        greet(client)
        read_command(client)
        client.shutdown(socket.SHUT_RDWR)

    lost = threading.Event()
    with Server(tmp_path / "s", talk) as server:
        connection = opened(background, server.path, on_lost=lost.set)
        with pytest.raises(MachineGone, match="hung up before it answered 'x'"):
            background.run(connection.execute("x"))
        assert lost.wait(60)
        background.run(connection.wait_closed(60))
        assert not connection.is_open
        with pytest.raises(MachineGone):
            background.run(connection.execute("y"))
        closed(background, connection)


def test_closing_does_not_count_as_lost(background: BackgroundLoop, tmp_path: Path) -> None:
    lost: list[bool] = []
    with Server(tmp_path / "s", greet) as server:
        connection = opened(background, server.path, on_lost=lambda: lost.append(True))
        closed(background, connection)
    background.run(asyncio.sleep(0.02))
    assert lost == []


def test_events_come_in_order_and_strange_ones_do_no_harm(background: BackgroundLoop, tmp_path: Path) -> None:
    events: list[tuple[str, Any]] = []

    def talk(client: socket.socket) -> None:
        greet(client)
        lines: list[Any] = [
            {"event": "STOP"},
            {"event": "RESET", "data": {"guest": True}},
            {"event": 5},
            {"event": "A" * 100},
            {"event": "\u00e9"},
            {"event": "SHUTDOWN", "data": [1]},
        ]
        client.sendall(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
        command = read_command(client)
        client.sendall(json.dumps({"return": {}, "id": command["id"]}).encode() + b"\n")

    with Server(tmp_path / "s", talk) as server:
        connection = opened(background, server.path, on_event=lambda kind, data: events.append((kind, dict(data))))
        background.run(connection.execute("x"))
        assert events == [("STOP", {}), ("RESET", {"guest": True}), ("SHUTDOWN", {})]
        closed(background, connection)


def test_flood_of_events_is_not_kept(background: BackgroundLoop, tmp_path: Path) -> None:
    def talk(client: socket.socket) -> None:
        greet(client)
        client.sendall(b'{"event": "RTC_CHANGE", "data": {"offset": 0}}\n' * 20_000)
        command = read_command(client)
        client.sendall(json.dumps({"return": {}, "id": command["id"]}).encode() + b"\n")

    count = 0

    def on_event(kind: str, data: Any) -> None:
        nonlocal count
        count += 1

    with Server(tmp_path / "s", talk) as server:
        connection = opened(background, server.path, on_event=on_event)
        background.run(connection.execute("x", timeout_s=300))  # how long that takes is the host's matter
        assert count == 20_000
        for listener in connection._client._listeners:
            assert listener.history == ()
            assert listener.empty()
        closed(background, connection)


def test_peer_that_reads_nothing_does_not_hold_us_up(background: BackgroundLoop, tmp_path: Path) -> None:
    with Server(tmp_path / "s", greet) as server:
        connection = opened(background, server.path)
        with pytest.raises(QmpTimeout):
            background.run(connection.execute("x", {"large": "x" * (4 << 20)}, timeout_s=0.1))
        begin = time.monotonic()
        closed(background, connection)
        assert time.monotonic() - begin < 30


def test_status_that_makes_no_sense(background: BackgroundLoop, tmp_path: Path) -> None:
    with Server(tmp_path / "s", answering({"return": []})) as server:
        connection = opened(background, server.path)
        assert background.run(connection.status()) == ""
        closed(background, connection)
