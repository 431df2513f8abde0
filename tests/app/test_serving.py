"""What programs ask through, as they meet it: `serve` over HTTP, `mcp` over standard input and output."""

import asyncio
import contextlib
import io
import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from mcp import Client, StdioServerParameters
from PIL import Image

from app.actions import BadArguments
from app.cli import main
from app.exit_codes import ExitCode
from app.failures import UsageError
from app.serving.dumps import named_dumps
from app.serving.http import MAX_CONNECTIONS
from app.serving.own_scene import MOST_HIGHLIGHTS, OwnScene
from app.serving.tokens import VARIABLE, issued_token
from bridge.semantic.access import Access
from bridge.semantic.asking import Asking
from bridge.semantic.audit import records, verify
from bridge.semantic.scene import NoSuchHighlight, SceneError
from tests.app.conftest import SIZE, Person, dump_window, own_homes

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 240


class Served:
    """A server in a process of its own."""

    def __init__(self, dump: Path) -> None:
        command = [sys.executable, "-m", "app", "serve", "--port", "0", "--dump", str(dump), "--json"]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        lines: list[str] = []
        while not lines or lines[-1] != "}\n":
            line = self.process.stdout.readline()
            assert line, self.process.communicate()[1]
            lines.append(line)
        told = json.loads("".join(lines))
        self.token_file = Path(told["token_file"])
        token = self.token_file.read_text().strip()
        headers = {"authorization": f"Bearer {token}"}
        self.client = httpx.Client(base_url=told["url"], headers=headers, timeout=LIMIT_S, trust_env=False)

    def end(self) -> int:
        self.client.close()
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=LIMIT_S)
        return self.process.returncode


@pytest.fixture(scope="module")
def served(demo_dump: Path) -> Iterator[Served]:
    with own_homes():
        server = Served(demo_dump)
        yield server
        if server.process.poll() is None:
            server.end()


def test_a_program_asks_lights_up_and_sees(served: Served) -> None:
    ask = served.client
    assert stat.S_IMODE(served.token_file.stat().st_mode) == 0o600
    assert ask.get("/machines", headers={"authorization": "Bearer wrong"}).status_code == 401
    assert [one["name"] for one in ask.get("/machines").json()] == ["guest"]
    before = ask.get("/shot", params={"width": 320, "height": 200})
    assert before.status_code == 200, before.text
    made = ask.post("/highlights", json={"machine": "guest", "query": "kernel stacks", "colour": "#ff0000"})
    assert made.status_code == 201, made.text
    after = ask.get("/shot", params={"width": 320, "height": 200})
    pictures = [np.asarray(Image.open(io.BytesIO(one.content))).astype(int) for one in (before, after)]
    assert pictures[0].shape == (200, 320, 3)
    red = [((one[..., 0] > 150) & (one[..., 1] < 90) & (one[..., 2] < 90)).sum() for one in pictures]
    assert red[1] > red[0] + 20
    name = made.json()["name"]
    assert ask.delete(f"/highlights/{name}").status_code == 204
    camera = ask.patch("/camera", json={"azimuth_degrees": 77.0}).json()
    assert camera["azimuth_degrees"] == 77.0
    moved = ask.get("/shot", params={"width": 320, "height": 200})
    assert np.abs(np.asarray(Image.open(io.BytesIO(moved.content))).astype(int) - pictures[0]).mean() > 1
    assert ask.get("/shot", params={"machine": "nobody"}).status_code == 404
    told = [one.what for one in records()]
    assert told[:2] == ["serve", "GET /machines"]
    assert verify().good


def test_who_connects_and_never_asks_keeps_nobody_out(served: Served) -> None:
    place = (str(served.client.base_url.host), served.client.base_url.port)
    idle = [socket.create_connection(place, timeout=LIMIT_S) for _ in range(3 * MAX_CONNECTIONS)]
    try:
        for one in idle:
            with contextlib.suppress(OSError):  # it was ended already
                one.sendall(b"GET /machines HTTP/1.1\r\nhost: 127.0.0.1\r\nx")
        assert served.client.get("/machines").status_code == 200
        with contextlib.suppress(ConnectionError):
            assert idle[-1].recv(100) == b""  # after a while the last one is ended too
    finally:
        for one in idle:
            one.close()


def test_it_ends_when_it_is_asked_to_and_takes_its_token_along(served: Served) -> None:
    assert served.end() == ExitCode.DONE
    assert not served.token_file.exists()
    assert records()[-1].result == "done"


def test_a_port_that_is_taken_and_dumps_of_one_name_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with own_homes():
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            assert main(["serve", "--port", str(taken.getsockname()[1])]) == ExitCode.FAILED
        assert "Choose another" in capsys.readouterr().err
        assert main(["serve", "--dump", str(tmp_path / "none.raw")]) == ExitCode.USAGE
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "gu est.raw").write_bytes(b"")
    assert list(named_dumps([tmp_path / "a" / "gu est.raw"])) == ["gu-est"]
    with pytest.raises(UsageError, match="two dumps"):
        named_dumps([tmp_path / "a" / "gu est.raw", tmp_path / "b" / "gu est.raw"])


def test_a_token_is_the_users_own_or_new_and_never_weak(monkeypatch: pytest.MonkeyPatch) -> None:
    with own_homes():
        monkeypatch.delenv(VARIABLE, raising=False)
        with issued_token(1) as (first, path):
            path.with_name("link").symlink_to(path)
        with issued_token(1) as (second, path):
            assert path.read_text() == second + "\n"
        assert first != second
        assert len(first) >= 40
        assert not path.exists()
        monkeypatch.setenv(VARIABLE, "x" * 20)
        with issued_token(1) as (own, _):
            assert own == "x" * 20
        for weak in ("short", "with spaces in it, though it is long", "ümlaut" * 5):
            monkeypatch.setenv(VARIABLE, weak)
            with pytest.raises(UsageError), issued_token(1):
                pass


def test_a_language_model_asks_over_standard_input_and_output(demo_dump: Path) -> None:
    async def converse() -> list[Any]:
        command = StdioServerParameters(
            command=sys.executable,
            args=["-m", "app", "mcp", "--dump", str(demo_dump)],
            env=dict(os.environ),
            cwd=str(ROOT),
        )
        async with Client(command, read_timeout_seconds=LIMIT_S) as client:
            tools = {tool.name for tool in (await client.list_tools()).tools}
            found = await client.call_tool("search", {"machine": "guest", "query": "the SSH daemon's heap"})
            lit = await client.call_tool("highlight", {"machine": "guest", "query": "heap of dropbear", "name": "ssh"})
            wrong = await client.call_tool("search", {"machine": "guest", "query": "stop the machine"})
            listed = await client.read_resource("glassbox://highlights")
            return [tools, found, lit, wrong, listed]

    with own_homes():
        tools, found, lit, wrong, listed = asyncio.run(converse())
        told = [(one.who, one.what) for one in records()]
    assert "control_machine" not in tools
    document = json.loads(found.content[0].text)
    assert document["guest_data"]["query"] == 'show heap of process "dropbear"'
    assert document["pages"] > 0
    assert not lit.is_error
    assert wrong.is_error
    assert json.loads(listed.contents[0].text)["guest_data"]["highlights"][0]["name"] == "ssh"
    assert told[:3] == [("cli", "mcp"), ("mcp", "search"), ("mcp", "highlight")]


def test_a_scene_of_its_own_keeps_highlights_apart(demo_dump: Path, tmp_path: Path) -> None:
    access = Access({"guest": demo_dump, "other": demo_dump})
    scene = OwnScene(access, Asking(access))
    first = scene.add("guest", "heap of init", name="a", colour=None)
    second = scene.add("guest", "heap of init", name="a", colour=None)
    assert (first.name, second.name) == ("a", "a 2")
    assert first.colour != second.colour
    assert scene.change("a", visible=False, colour="#010203", new_name="b").name == "b"
    assert [one.name for one in scene.highlights()] == ["b", "a 2"]
    with pytest.raises(SceneError, match="already"):
        scene.change("b", visible=None, colour=None, new_name="a 2")
    for wrong in (lambda: scene.remove("a"), lambda: scene.change("a", visible=True, colour=None, new_name=None)):
        with pytest.raises(NoSuchHighlight):
            wrong()
    with pytest.raises(SceneError, match="guest, other"):
        scene.shot(None, (64, 64))
    for _ in range(MOST_HIGHLIGHTS - 2):
        scene.add("guest", "0x1000", name=None, colour=None)
    with pytest.raises(SceneError, match="remove some"):
        scene.add("guest", "0x1000", name=None, colour=None)
    access.close()


def test_a_window_lets_programs_ask_and_takes_that_back(demo_dump: Path) -> None:
    with dump_window(demo_dump, SIZE) as person:
        assert person.state.actions.get("server.stop").why_not() == "Nothing is served"
        with pytest.raises(BadArguments, match="port"):
            person.run("server.start", 1 << 20)
        person.run("server.start")
        server = person.window.session.server
        person.until(lambda: server.serves, "programs should be let in")
        told = server.describe()
        headers = {"authorization": f"Bearer {Path(told['token_file']).read_text().strip()}"}
        with httpx.Client(base_url=told["url"], headers=headers, timeout=LIMIT_S, trust_env=False) as client:
            assert [one["name"] for one in client.get("/machines").json()] == ["guest"]
            assert client.get("/machines/guest/processes").status_code == 200
        assert person.state.actions.get("server.start").why_not() == "It is served already"
        person.run("server.stop")
        person.until(lambda: not server.serves and not Path(told["token_file"]).exists(), "it should end")
        assert person.run("server.describe") == {"url": "", "token_file": ""}
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            person.run("server.start", taken.getsockname()[1])
            person.until(lambda: any("cannot be listened at" in t for t in _said(person)), "why not")
        assert not server.serves


def _said(person: Person) -> list[str]:
    return [f"{toast.title} {toast.detail}" for toast in person.state.toasts.shown()]
