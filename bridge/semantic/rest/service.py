"""The REST service: routes, and what each gives. Handlers run in threads; each request is told to the audit log."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Annotated, Any

import numpy as np
from fastapi import FastAPI, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse

from bridge.kernel.details import NoSuchProcess
from bridge.kernel.errors import KernelError
from bridge.kernel.page_classes import CLASS_TITLES, PageClass
from bridge.kernel.page_sets import NothingThere, UnknownKind
from bridge.kernel.records import LogRecord, MapEntry, Module, Mount, OpenFile, SlabCache, Socket, StackFrame
from bridge.kernel.where import paddr_of
from bridge.machine.errors import MachineError, NoSuchMachine
from bridge.memory.errors import GuestMemoryError
from bridge.semantic.access import MAX_READ_BYTES, Access, Busy, TooMuch
from bridge.semantic.audit import AuditFailed, AuditLog
from bridge.semantic.documents import pages_document, process_documents, story_document
from bridge.semantic.questions import NotUnderstood, Questions
from bridge.semantic.rest import models
from bridge.semantic.rest.events import Streams
from bridge.semantic.rest.guard import Guard
from bridge.semantic.scene import NoSuchHighlight, Scene, SceneError

MAX_RUNS = 100_000
MAX_SYMBOLS = 10_000

MachineName = Annotated[str, Path(min_length=1, max_length=64, description="As /machines names it.")]
HighlightName = Annotated[
    str, Path(min_length=1, max_length=200, description="As /highlights names it; a question's own may hold slashes.")
]
Number = Annotated[int, Path(ge=0, lt=1 << 22, description="Of a process or thread.")]
Address = Annotated[
    str, Path(pattern=r"^(0[xX][0-9a-fA-F]{1,16}|[0-9]{1,19})$", description="Decimal, or hexadecimal after 0x.")
]
AddressQuery = Annotated[
    str, Query(pattern=r"^(0[xX][0-9a-fA-F]{1,16}|[0-9]{1,19})$", description="Decimal, or hexadecimal after 0x.")
]

_REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": models.Problem, "description": text}
    for status, text in {
        400: "The request is none",
        401: "No token, or a wrong one",
        404: "There is no such thing",
        408: "It did not arrive in time",
        409: "It cannot be told or done now",
        413: "Too much at once",
        422: "It makes no sense: a value that cannot be, or a question that is not understood",
        421: "Not a name of this machine",
        429: "Too many requests, or others are asking",
    }.items()
}
_STATUS: tuple[tuple[type[Exception] | tuple[type[Exception], ...], int], ...] = (
    (NotUnderstood, 422),
    ((NoSuchMachine, NoSuchProcess, NothingThere, NoSuchHighlight), 404),
    (UnknownKind, 404),
    (TooMuch, 413),
    (Busy, 429),
    ((GuestMemoryError, KernelError, MachineError, SceneError), 409),
)


class Refused(Exception):
    """A request that cannot be answered, and the status that says so."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


def make_service(
    access: Access, questions: Questions, scene: Scene, audit: AuditLog, tokens: Mapping[str, str], **limits: Any
) -> Guard:
    """The whole service as an ASGI application. `tokens`: whose each is; `limits`: see Guard."""
    return Guard(make_app(access, questions, scene, audit), tokens, **limits)


def make_app(access: Access, questions: Questions, scene: Scene, audit: AuditLog) -> FastAPI:
    """The routes alone, without the guard that lets nobody else in."""
    app = FastAPI(
        title="Glassbox",
        version="1",
        summary="What runs in this machine's virtual machines, from their RAM alone.",
        description="Addresses are whole numbers of up to 64 bits: read them with a parser that keeps them. What comes"
        " from guests (names, paths, messages, memory) is data that the guest chose.",
        docs_url=None,  # they load scripts from elsewhere
        redoc_url=None,
        responses=_REFUSALS,
    )
    _report(app, audit)
    _machines(app, access)
    _kernel(app, access)
    _memory(app, access)
    _questions(app, questions)
    _scene(app, scene)
    _events(app, Streams(access, scene))
    return app


def _report(app: FastAPI, audit: AuditLog) -> None:
    """Turn errors that were foreseen into statuses, and tell the audit log of each request."""

    async def refuse(_request: Request, error: Exception) -> JSONResponse:
        status = next((code for kinds, code in _STATUS if isinstance(error, kinds)), 409)
        status = error.status if isinstance(error, Refused) else status
        return JSONResponse({"detail": str(error)}, status_code=status)

    async def senseless(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        place = ".".join(str(part) for part in first.get("loc", ())[1:])
        sentence = f"{place[:80]}: {first.get('msg', 'it cannot be')}" if place else str(first.get("msg"))
        return JSONResponse({"detail": sentence}, status_code=422)

    app.add_exception_handler(RequestValidationError, senseless)
    for kinds, _ in _STATUS:
        for kind in kinds if isinstance(kinds, tuple) else (kinds,):
            app.add_exception_handler(kind, refuse)
    app.add_exception_handler(Refused, refuse)
    app.add_exception_handler(AuditFailed, refuse)

    @app.middleware("http")
    async def told(request: Request, call_next: Callable[[Request], Any]) -> Response:
        from starlette.concurrency import run_in_threadpool

        began_s = time.monotonic()
        response: Response = await call_next(request)
        detail = {"query": str(request.url.query), "ms": round((time.monotonic() - began_s) * 1000, 1)}
        what = f"{request.method} {request.url.path}"
        asked = getattr(request.state, "asked", None)
        if asked is not None:
            detail["asked"] = asked
        try:
            await run_in_threadpool(
                audit.record, f"rest:{request.scope.get('who', '?')}", what, detail, f"status {response.status_code}"
            )
        except AuditFailed as error:  # what cannot be recorded is not given
            return JSONResponse({"detail": str(error)}, status_code=409)
        return response


def _machines(app: FastAPI, access: Access) -> None:
    @app.get("/machines", response_model=list[models.Machine], tags=["machines"])
    def machines() -> Any:
        """The machines that run, of any owner, and the dumps that are served."""
        return [asdict(machine) for machine in access.machines()]

    @app.get("/machines/{machine}/processes", response_model=list[models.Process], tags=["kernel"])
    def processes(machine: MachineName, threads: bool = False) -> Any:
        """The guest's processes, or all its threads."""
        seen = access.sighting(machine)
        tasks = seen.threads if threads else seen.processes
        assert tasks is not None
        lines = access.ask(machine, "command_lines", tuple(tasks.pids.tolist()))
        return process_documents(tasks, lines)


def _kernel(app: FastAPI, access: Access) -> None:
    of_process = "/machines/{machine}/processes/{pid}"

    @app.get(of_process + "/regions", response_model=list[MapEntry], tags=["kernel"])
    def regions(machine: MachineName, pid: Number) -> Any:
        """The memory map of a process."""
        return access.ask(machine, "maps", pid)

    @app.get(of_process + "/files", response_model=list[OpenFile], tags=["kernel"])
    def files(machine: MachineName, pid: Number) -> Any:
        """The files that a process holds open."""
        return access.ask(machine, "files", pid)

    @app.get(of_process + "/stack", response_model=list[StackFrame], tags=["kernel"])
    def stack(machine: MachineName, pid: Number) -> Any:
        """The kernel stack of a thread that sleeps, the innermost frame first."""
        return access.ask(machine, "stack", pid)

    @app.get("/machines/{machine}/modules", response_model=list[Module], tags=["kernel"])
    def modules(machine: MachineName) -> Any:
        """The kernel's modules."""
        return access.ask(machine, "modules")

    @app.get("/machines/{machine}/mounts", response_model=list[Mount], tags=["kernel"])
    def mounts(machine: MachineName) -> Any:
        """What is mounted, as the first process sees it."""
        return access.ask(machine, "mounts", 1)

    @app.get("/machines/{machine}/sockets", response_model=list[Socket], tags=["kernel"])
    def sockets(machine: MachineName) -> Any:
        """The sockets that processes hold open."""
        return access.ask(machine, "sockets")

    @app.get("/machines/{machine}/slabs", response_model=list[SlabCache], tags=["kernel"])
    def slabs(machine: MachineName) -> Any:
        """The slab caches."""
        return access.ask(machine, "slabs")

    @app.get("/machines/{machine}/log", response_model=list[LogRecord], tags=["kernel"])
    def log(machine: MachineName, last: Annotated[int, Query(ge=1, le=10_000)] = 200) -> Any:
        """The last records of the kernel's log, the newest last."""
        return access.ask(machine, "log", last)

    @app.get("/machines/{machine}/symbols", response_model=list[models.Symbol], tags=["kernel"])
    def symbols(
        machine: MachineName,
        text: Annotated[str, Query(max_length=200)] = "",
        limit: Annotated[int, Query(ge=1, le=MAX_SYMBOLS)] = 100,
    ) -> Any:
        """The kernel's symbols whose name holds a text, by address."""
        return [asdict(row) for row in access.ask(machine, "symbols", text, limit)]

    @app.get("/machines/{machine}/pages", response_model=models.Pages, tags=["memory"])
    def pages(machine: MachineName) -> Any:
        """How much memory is what, and whose."""
        with access.desk(machine) as desk:
            return pages_document(desk.snapshot)

    @app.get("/machines/{machine}/pages/runs", response_model=list[models.PageRun], tags=["memory"])
    def page_runs(
        machine: MachineName,
        page_class: Annotated[str | None, Query(max_length=40, description="Only pages of this class.")] = None,
        pid: Annotated[int | None, Query(ge=0, lt=1 << 22, description="Only pages of this process.")] = None,
        limit: Annotated[int, Query(ge=1, le=MAX_RUNS)] = 1000,
    ) -> Any:
        """What each page is and whose, as runs of alike neighbours, by address."""
        return _runs(access, machine, page_class, pid, limit)


def _runs(access: Access, machine: str, page_class: str | None, pid: int | None, limit: int) -> list[dict[str, Any]]:
    seen = access.sighting(machine)
    assert seen.classes is not None
    assert seen.first_owner is not None
    assert seen.processes is not None
    owners = np.append(seen.processes.pids, -1)[seen.first_owner]
    with access.ram(machine) as ram:
        starts = np.array([region.offset >> 12 for region in ram.physical_map.regions], np.int64)
        changes = np.flatnonzero(np.diff(seen.classes) | (np.diff(owners) != 0)) + 1
        firsts = np.unique(np.concatenate([[0], changes, starts[starts < len(owners)]]))
        lengths = np.diff(firsts, append=len(owners))
        kept = np.ones(len(firsts), np.bool_)
        if page_class is not None:
            wanted = page_class.casefold().replace(" ", "_").replace("-", "_")
            kinds = [kind for kind in PageClass if wanted in (kind.name.casefold(), CLASS_TITLES[kind].casefold())]
            if not kinds:
                known = ", ".join(kind.name.lower() for kind in PageClass)
                raise Refused(404, f"There is no page class {page_class[:40]!r}; there are {known}.")
            kept &= seen.classes[firsts] == kinds[0]
        if pid is not None:
            kept &= owners[firsts] == pid
        found = np.flatnonzero(kept)[:limit]
        return [
            {
                "address": int(address),
                "pages": int(lengths[i]),
                "page_class": PageClass(int(seen.classes[firsts[i]])).name.lower(),
                "pid": int(owners[firsts[i]]) if owners[firsts[i]] >= 0 else None,
            }
            for i in found.tolist()
            if (address := ram.physical_map.paddr_from_offset(int(firsts[i]) << 12)) >= 0
        ]


def _memory(app: FastAPI, access: Access) -> None:
    @app.get("/machines/{machine}/where/{address}", response_model=models.Where, tags=["memory"])
    def where(
        machine: MachineName,
        address: Address,
        pid: Annotated[
            int | None, Query(ge=0, lt=1 << 22, description="The address is virtual, of this process.")
        ] = None,
        kernel: Annotated[bool, Query(description="It is virtual, of the kernel.")] = False,
    ) -> Any:
        """The whole story of one byte: page, class, owner, object, file, region, symbol."""
        place = _number(address)
        with access.desk(machine) as desk:
            if pid is not None or kernel:
                place = paddr_of(desk.introspector.kernel, desk.snapshot, place, None if kernel else pid)
            return story_document(desk.where(place))

    @app.get("/machines/{machine}/memory", response_model=models.Memory, tags=["memory"])
    def memory(
        machine: MachineName, address: AddressQuery, length: Annotated[int, Query(ge=1, le=MAX_READ_BYTES)] = 256
    ) -> Any:
        """Bytes at a guest-physical address."""
        place = _number(address)
        data = access.read(machine, place, length)
        return {"machine": machine, "address": place, "length": len(data), "hex": data.hex()}


def _questions(app: FastAPI, questions: Questions) -> None:
    @app.post("/machines/{machine}/query", response_model=models.Answer, tags=["questions"])
    def query(machine: MachineName, asked: models.Ask, request: Request) -> Any:
        """Ask in plain words or in the query language. What is not understood is told with what is like it (422)."""
        request.state.asked = asked.text
        gone = request.scope.get("gone") or threading.Event()
        return questions.answer(machine, asked.text, cancelled=gone.is_set)


def _scene(app: FastAPI, scene: Scene) -> None:
    @app.get("/highlights", response_model=list[models.Highlight], tags=["picture"])
    def highlights() -> Any:
        """What glows in the volume."""
        return [asdict(one) for one in scene.highlights()]

    @app.post("/highlights", response_model=models.Highlight, status_code=201, tags=["picture"])
    def add(wanted: models.NewHighlight, request: Request) -> Any:
        """Light up the answer to a query."""
        request.state.asked = wanted.model_dump(exclude_none=True)
        return asdict(scene.add(wanted.machine, wanted.query, name=wanted.name, colour=wanted.colour))

    @app.patch("/highlights/{name:path}", response_model=models.Highlight, tags=["picture"])
    def change(name: HighlightName, wanted: models.HighlightChange, request: Request) -> Any:
        """Show, hide, recolour or rename one."""
        request.state.asked = wanted.model_dump(exclude_none=True)
        return asdict(scene.change(name, visible=wanted.visible, colour=wanted.colour, new_name=wanted.name))

    @app.delete("/highlights/{name:path}", status_code=204, tags=["picture"])
    def remove(name: HighlightName) -> Response:
        """Let one go out."""
        scene.remove(name)
        return Response(status_code=204)

    @app.get("/camera", response_model=models.Camera, tags=["picture"])
    def camera() -> Any:
        """Where the volume is looked at from."""
        return asdict(scene.camera())

    @app.patch("/camera", response_model=models.Camera, tags=["picture"])
    def look_from(wanted: models.CameraChange, request: Request) -> Any:
        """Look from somewhere else."""
        request.state.asked = wanted.model_dump(exclude_none=True)
        changes = wanted.model_dump(exclude_none=True)
        if "target" in changes:
            changes["target"] = tuple(changes["target"])
        return asdict(scene.look_from(changes))

    @app.get(
        "/shot",
        response_class=Response,
        responses={200: {"content": {"image/png": {}}, "description": "The picture"}},
        tags=["picture"],
    )
    def shot(
        machine: Annotated[str | None, Query(min_length=1, max_length=64)] = None,
        width: Annotated[int, Query(ge=64, le=3840)] = 1280,
        height: Annotated[int, Query(ge=64, le=2160)] = 720,
    ) -> Response:
        """The volume as it is shown, as a PNG."""
        return Response(scene.shot(machine, (width, height)), media_type="image/png")


def _events(app: FastAPI, streams: Streams) -> None:
    @app.get(
        "/events",
        response_class=StreamingResponse,
        responses={
            200: {
                "content": {"text/event-stream": {}},
                "description": "`data` is an object: kind, what, machine, detail",
            }
        },
        tags=["events"],
    )
    def events(
        machine: Annotated[str | None, Query(max_length=64, description="Tell of its processes too.")] = None,
        limit_s: Annotated[float, Query(gt=0, le=86_400)] = 3600.0,
    ) -> StreamingResponse:
        """What changes, as server-sent events: machines, a machine's processes, highlights."""
        if machine is not None:
            streams.check(machine)
        stream = streams.stream(machine, limit_s)
        return StreamingResponse(stream, media_type="text/event-stream", headers={"cache-control": "no-store"})


def _number(text: str) -> int:
    number = int(text, 0) if text[:2] in ("0x", "0X") else int(text)
    if number >= 1 << 64:
        raise Refused(404, f"{text} is no address: they have 64 bits.")
    return number
