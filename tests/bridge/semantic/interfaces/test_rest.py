"""REST: who may ask, what is answered, and what of it the audit log says. Over ASGI, as a server would call it."""

import asyncio
import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from bridge.semantic import access as access_module
from bridge.semantic.access import MOST_WAITING, Access, Busy
from bridge.semantic.asking import Asking
from bridge.semantic.audit import AuditLog, records, verify
from bridge.semantic.rest.guard import Bucket
from bridge.semantic.rest.service import make_service
from tests.bridge.semantic.interfaces.conftest import NAME, PlainScene

TOKEN = "a secret"
Ask = Callable[..., httpx.Response]


@pytest.fixture
def ask(access: Access, scene: PlainScene, audit: AuditLog) -> Ask:
    return _client(_service(access, scene, audit))


def _service(access: Access, scene: PlainScene, audit: AuditLog, **limits: Any) -> Any:
    return make_service(access, Asking(access), scene, audit, {TOKEN: "tester"}, **limits)


def _client(service: Any) -> Ask:
    def send(method: str, path: str, **options: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {TOKEN}", **options.pop("headers", {})}
        return asyncio.run(_send(service, method, path, headers, options))

    return send


async def _send(service: Any, method: str, path: str, headers: dict[str, str], options: Any) -> httpx.Response:
    transport = httpx.ASGITransport(service)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8787") as client:
        return await client.request(method, path, headers=headers, **options)


def test_what_it_tells_is_what_the_kernel_says(ask: Ask, access: Access) -> None:
    tasks = access.sighting(NAME).processes
    assert tasks is not None
    listed = ask("GET", f"/machines/{NAME}/processes").json()
    assert [(one["pid"], one["name"]) for one in listed] == list(zip(tasks.pids.tolist(), tasks.names, strict=True))
    assert listed[0]["task"] == int(tasks.addresses[0])
    assert listed[0]["cmdline"].startswith("init")
    dropbear = next(one["pid"] for one in listed if one["name"] == "dropbear")
    regions = ask("GET", f"/machines/{NAME}/processes/{dropbear}/regions").json()
    assert any(region["path"].endswith("dropbear") and "x" in region["permissions"] for region in regions)
    files = ask("GET", f"/machines/{NAME}/processes/{dropbear}/files").json()
    assert {file["descriptor"] for file in files} >= {0, 1, 2}
    assert [one["name"] for one in ask("GET", "/machines").json()] == [NAME]
    for kind, least in (("slabs", 50), ("mounts", 3), ("log", 100), ("sockets", 1), ("modules", 0)):
        assert len(ask("GET", f"/machines/{NAME}/{kind}").json()) >= least, kind
    assert len(ask("GET", f"/machines/{NAME}/log?last=3").json()) == 3
    threads = ask("GET", f"/machines/{NAME}/processes?threads=true").json()
    assert len(threads) >= len(listed)
    frames = ask("GET", f"/machines/{NAME}/processes/{dropbear}/stack").json()
    assert any("schedule" in frame["symbol"] for frame in frames)


def test_memory_pages_symbols_and_places_agree_with_each_other(ask: Ask, access: Access) -> None:
    symbol = next(one for one in ask("GET", f"/machines/{NAME}/symbols?text=linux_banner").json())
    told = ask("GET", f"/machines/{NAME}/where/{symbol['address']:#x}?kernel=true").json()
    assert told["symbol"].startswith("linux_banner")
    data = bytes.fromhex(ask("GET", f"/machines/{NAME}/memory?address={told['paddr']}&length=13").json()["hex"])
    assert data == b"Linux version"
    assert ask("GET", f"/machines/{NAME}/where/{told['paddr']}").json() == told
    pages = ask("GET", f"/machines/{NAME}/pages").json()
    runs = ask("GET", f"/machines/{NAME}/pages/runs?limit=100000").json()
    assert sum(run["pages"] for run in runs) == pages["pages"]
    slabs = [run for run in runs if run["page_class"] == "slab"]
    assert sum(run["pages"] for run in slabs) == pages["classes"]["slab"]
    assert ask("GET", f"/machines/{NAME}/pages/runs?page_class=Slab&limit=100000").json() == slabs
    owned = ask("GET", f"/machines/{NAME}/pages/runs?pid=1&limit=100000").json()
    assert owned
    assert all(run["pid"] == 1 for run in owned)
    assert len(ask("GET", f"/machines/{NAME}/pages/runs?limit=2").json()) == 2
    assert "slab" in ask("GET", f"/machines/{NAME}/pages/runs?page_class=nonsense").json()["detail"]


def test_questions_are_answered_as_find_answers_them(ask: Ask, demo_dump: Path, audit: AuditLog) -> None:
    answer = ask("POST", f"/machines/{NAME}/query", json={"text": "show me the SSH daemon's heap"})
    assert answer.status_code == 200
    told = answer.json()
    assert told["query"] == 'show heap of process "dropbear"'
    assert told["pages"] > 0
    assert told["matches"][0]["class"]
    found = subprocess.run(
        [sys.executable, "-m", "app", "find", "show me the SSH daemon's heap", "--dump", demo_dump, "--json"],
        capture_output=True,
        check=True,
    )
    assert json.loads(found.stdout)["matches"] == told["matches"]
    assert records(audit.path)[-1].detail["asked"] == "show me the SSH daemon's heap"
    for text in ("", "DROP TABLE processes", 'text "unclosed', 'yara "/etc/passwd"', "regex /(/"):
        refused = ask("POST", f"/machines/{NAME}/query", json={"text": text})
        assert refused.status_code == 422, text
        assert isinstance(refused.json()["detail"], str)
    assert ask("POST", f"/machines/{NAME}/query", json={"text": "x" * 10_001}).status_code == 422
    assert (
        ask("POST", f"/machines/{NAME}/query", json={"text": "everything written in the last hour"}).status_code == 409
    )


def test_the_picture_can_be_asked_for_and_changed(ask: Ask, scene: PlainScene) -> None:
    made = ask("POST", "/highlights", json={"machine": NAME, "query": "heap of dropbear", "name": "ssh"})
    assert made.status_code == 201
    assert ask("GET", "/highlights").json() == [made.json()]
    changed = ask("PATCH", "/highlights/ssh", json={"visible": False, "colour": "#00ff00"})
    assert (changed.json()["visible"], changed.json()["colour"]) == (False, "#00ff00")
    assert ask("DELETE", "/highlights/ssh").status_code == 204
    assert ask("DELETE", "/highlights/ssh").status_code == 404
    assert ask("PATCH", "/camera", json={"elevation_degrees": 45}).json()["elevation_degrees"] == 45
    assert scene.camera().azimuth_degrees == ask("GET", "/camera").json()["azimuth_degrees"]
    picture = ask("GET", "/shot?width=640&height=360")
    assert picture.headers["content-type"] == "image/png"
    assert picture.content.startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("method", "path", "options", "status"),
    [
        ("GET", "/machines/nobody/processes", {}, 404),
        ("GET", f"/machines/{NAME}/processes/x/regions", {}, 422),
        ("GET", f"/machines/{NAME}/processes/{1 << 40}/regions", {}, 422),
        *(("GET", f"/machines/{NAME}/processes/999999/{page}", {}, 404) for page in ("regions", "files", "stack")),
        ("GET", f"/machines/{NAME}/memory?address=0x{'f' * 15}", {}, 409),
        ("GET", f"/machines/{NAME}/memory?address=zz", {}, 422),
        ("GET", f"/machines/{NAME}/memory?address=0&length=99999999", {}, 422),
        ("GET", f"/machines/{NAME}/where/9999999999999999999", {}, 409),
        ("GET", f"/machines/{NAME}/where/0xffff000000000000?kernel=true", {}, 409),
        ("GET", f"/machines/{'x' * 100}/pages", {}, 422),
        ("GET", f"/machines/{NAME}/symbols?text={'x' * 300}", {}, 422),
        ("POST", "/highlights", {"content": b"{", "headers": {"content-type": "application/json"}}, 422),
        ("POST", "/highlights", {"json": {"machine": NAME, "query": "x", "evil": 1}}, 422),
        ("POST", "/highlights", {"json": {"machine": NAME, "query": "x", "colour": "red"}}, 422),
        ("PATCH", "/camera", {"json": {"distance": -1}}, 422),
        ("PATCH", "/highlights/none", {"json": {"visible": True}}, 404),
        ("GET", "/shot?width=100000", {}, 422),
        ("GET", "/nothing", {}, 404),
        ("DELETE", "/machines", {}, 405),
        ("GET", "/events?machine=nobody", {}, 404),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(
    ask: Ask, method: str, path: str, options: dict[str, Any], status: int
) -> None:
    answer = ask(method, path, **options)
    assert answer.status_code == status
    assert isinstance(answer.json()["detail"], str)


def test_nobody_else_comes_in(ask: Ask, audit: AuditLog) -> None:
    for headers in (
        {"authorization": ""},
        {"authorization": "Bearer wrong"},
        {"authorization": f"Basic {TOKEN}"},
        {"authorization": "Bearer " + "x" * 5000},
    ):
        refused = ask("GET", "/machines", headers=headers)
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"] == "Bearer"
    for host in ("evil.example", "127.0.0.1.evil.example", "evil.example:8787", "", "127.0.0.1:99999999"):
        assert ask("GET", "/machines", headers={"host": host}).status_code == 421
    for host in ("localhost", "LOCALHOST:1", "[::1]:8787", "127.0.0.1"):
        assert ask("GET", "/openapi.json", headers={"host": host}).status_code == 200
    assert all(one.what == "GET /openapi.json" for one in records(audit.path))


def test_too_much_and_too_often_is_refused(access: Access, scene: PlainScene, audit: AuditLog) -> None:
    ask = _client(
        make_service(
            access, Asking(access), scene, audit, {TOKEN: "tester"}, max_body_bytes=1000, rate_per_s=0.001, burst=6
        )
    )
    assert ask("POST", "/highlights", content=b"x" * 1001).status_code == 413
    assert ask("POST", "/highlights", content=b"x", headers={"content-length": "x"}).status_code == 413

    async def pieces() -> Any:
        for _ in range(20):
            yield b"x" * 100

    assert ask("POST", "/highlights", content=pieces()).status_code == 413
    assert [ask("GET", "/highlights").status_code for _ in range(4)] == [200, 200, 200, 429]
    slow = ask("GET", "/highlights")
    assert int(slow.headers["retry-after"]) > 60
    # Strangers have a bucket of their own: who guesses cannot lock the owner out.
    assert ask("GET", "/highlights", headers={"authorization": "Bearer x"}).status_code == 401


def test_a_request_that_does_not_arrive_is_not_waited_for(access: Access, scene: PlainScene, audit: AuditLog) -> None:
    ask = _client(_service(access, scene, audit, body_limit_s=0.01))

    async def never() -> Any:
        yield b"{"
        await asyncio.Event().wait()

    slow = ask("POST", "/highlights", content=never())
    assert slow.status_code == 408
    assert "did not arrive" in slow.json()["detail"]
    assert ask("GET", "/highlights").status_code == 200


def test_a_search_ends_when_its_client_has_gone(access: Access, scene: PlainScene, audit: AuditLog) -> None:
    body = json.dumps({"text": 'text "a"'}).encode()
    scope = _scope("POST", f"/machines/{NAME}/query")
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Any:
        if messages:
            return messages.pop()
        while not gone.is_set():
            await asyncio.sleep(0.01)
        return {"type": "http.disconnect"}

    async def send(_message: Any) -> None: ...

    asked: list[bool] = []

    def reply(machine: str, text: str, *, cancelled: Callable[[], bool]) -> dict[str, Any]:
        gone.set()  # as soon as it is asked
        while not cancelled():
            time.sleep(0.01)
        asked.append(True)
        return Asking(access).answer(machine, text, cancelled=cancelled)

    gone = threading.Event()
    service = make_service(access, _Answering(reply), scene, audit, {TOKEN: "tester"})
    asyncio.run(service(scope, receive, send))
    assert asked == [True]
    told = Asking(access).answer(NAME, 'text "a"', cancelled=lambda: True)
    assert not told["complete"]
    # The machine is free: nothing of it goes on.
    assert access.read(NAME, 0, 1)


def _scope(method: str, path: str, query: str = "") -> dict[str, Any]:
    """What a server tells of a request."""
    fields = {"host": "127.0.0.1", "authorization": f"Bearer {TOKEN}", "content-type": "application/json"}
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in fields.items()],
    }


class _Listener:
    """A client that is told of events until it goes."""

    def __init__(self, service: Any, query: str = "") -> None:
        self.headers: dict[str, str] = {}
        self.text = ""
        self._told, self._gone = asyncio.Condition(), asyncio.Event()
        self._asks = [{"type": "http.request", "body": b"", "more_body": False}]
        scope = _scope("GET", "/events", f"limit_s=600&{query}")
        self._running = asyncio.create_task(service(scope, self._receive, self._send))

    async def _receive(self) -> Any:
        if self._asks:
            return self._asks.pop()
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        self.headers |= {name.decode(): value.decode() for name, value in message.get("headers", ())}
        async with self._told:
            self.text += message.get("body", b"").decode()
            self._told.notify_all()

    async def until(self, *words: str) -> None:
        """Wait until one of these was told."""
        async with asyncio.timeout(240), self._told:
            await self._told.wait_for(lambda: any(word in self.text for word in words))

    async def leave(self) -> None:
        self._gone.set()
        await self._running


class _Answering:
    def __init__(self, reply: Callable[..., dict[str, Any]]) -> None:
        self.answer = reply


def test_who_asks_while_many_wait_is_told_so_at_once(access: Access, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_module, "WAIT_S", 600.0)
    with access.ram(NAME):
        gone = threading.Event()

        def wait() -> None:
            with contextlib.suppress(Busy), access.asked(NAME, cancelled=gone.is_set):
                pass

        threads = [threading.Thread(target=wait) for _ in range(MOST_WAITING)]
        for thread in threads:
            thread.start()
        while access._opened[NAME].waiting < MOST_WAITING:
            time.sleep(0.01)
        with pytest.raises(Busy, match="too many"):
            access.read(NAME, 0, 1)
        gone.set()  # who is gone waits no more
        for thread in threads:
            thread.join()
    assert access.read(NAME, 0, 1)


def test_a_highlight_that_a_question_named_can_be_removed_and_no_name_is_an_order_to_a_terminal(ask: Ask) -> None:
    made = ask("POST", "/highlights", json={"machine": NAME, "query": 'file "/etc/passwd"'}).json()
    assert "/" in made["name"]
    place = "/highlights/" + quote(made["name"], safe="")
    assert ask("PATCH", place, json={"visible": False}).json()["visible"] is False
    assert ask("DELETE", place).status_code == 204
    for name in ("\x1b[31mred", "two\nlines", "\u202eturned", "\x9b"):
        refused = ask("POST", "/highlights", json={"machine": NAME, "query": "init", "name": name})
        assert refused.status_code == 422
    named = ask("POST", "/highlights", json={"machine": NAME, "query": "init", "name": "Schlüssel ##1 %s"}).json()
    assert named["name"] == "Schlüssel ##1 %s"


def test_a_bucket_fills_again() -> None:
    bucket = Bucket(rate_per_s=1e6, burst=2)
    assert [bucket.take() for _ in range(50)].count(0.0) >= 2
    slow = Bucket(rate_per_s=0.5, burst=1)
    began_s = time.monotonic()
    assert slow.take() == 0
    waits_s = slow.take()
    assert 2.0 - (time.monotonic() - began_s) <= waits_s <= 2.0


def test_each_request_is_in_the_audit_log(ask: Ask, audit: AuditLog) -> None:
    ask("GET", f"/machines/{NAME}/memory?address=0x1000&length=16")
    ask("POST", "/highlights", json={"machine": NAME, "query": "heap of init"})
    ask("GET", "/machines/nobody/pages")
    told = [(one.who, one.what, one.result) for one in records(audit.path)]
    assert told == [
        ("rest:tester", f"GET /machines/{NAME}/memory", "status 200"),
        ("rest:tester", "POST /highlights", "status 201"),
        ("rest:tester", "GET /machines/nobody/pages", "status 404"),
    ]
    assert records(audit.path)[0].detail["query"] == "address=0x1000&length=16"
    assert records(audit.path)[1].detail["asked"] == {"machine": NAME, "query": "heap of init"}
    assert verify(audit.path).good


def test_what_cannot_be_recorded_is_not_given(access: Access, scene: PlainScene, tmp_path: Path) -> None:
    ask = _client(
        make_service(access, Asking(access), scene, AuditLog(tmp_path / "nowhere" / "audit.jsonl"), {TOKEN: "tester"})
    )
    refused = ask("GET", f"/machines/{NAME}/memory?address=0x1000")
    assert refused.status_code == 409
    assert "hex" not in refused.text


def test_events_tell_what_changes(access: Access, scene: PlainScene, audit: AuditLog) -> None:
    service = _service(access, scene, audit)

    async def listen_and_change() -> _Listener:
        told = _Listener(service, f"machine={NAME}")
        await told.until("watching")
        body = {"json": {"machine": NAME, "query": "heap", "name": "new"}}
        made = await _send(service, "POST", "/highlights", {"authorization": f"Bearer {TOKEN}"}, body)
        assert made.status_code == 201
        await told.until("highlight")
        await told.leave()
        return told

    told = asyncio.run(listen_and_change())
    assert told.headers["content-type"].startswith("text/event-stream")
    events = [json.loads(line[6:]) for line in told.text.splitlines() if line.startswith("data: ")]
    assert events[0]["what"] == "watching"
    assert [(one["kind"], one["what"], one["detail"]["name"]) for one in events[1:]] == [("highlight", "begun", "new")]


def test_only_so_many_are_told_of_events(access: Access, scene: PlainScene, audit: AuditLog) -> None:
    service = _service(access, scene, audit)

    async def many() -> list[str]:
        clients = [_Listener(service) for _ in range(10)]
        for client in clients:
            await client.until("watching", "are told of events already")
        for client in clients:
            await client.leave()
        return [client.text for client in clients]

    for _ in range(2):  # who leaves makes room
        told = asyncio.run(many())
        assert sum("are told of events already" in text for text in told) == 2
        assert sum("watching" in text for text in told) == 8


def test_a_stream_of_events_ends_in_time(access: Access, scene: PlainScene, audit: AuditLog) -> None:
    told = _client(_service(access, scene, audit))("GET", "/events?limit_s=1")
    assert "watching" in told.text
