"""Events: what changed since a second ago, as server-sent events (HTML Living Standard, 9.2)."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict
from typing import Any

import anyio
from starlette.concurrency import run_in_threadpool

from bridge.kernel.errors import KernelError
from bridge.machine.discovery import summarise_machines
from bridge.machine.errors import MachineError
from bridge.memory.errors import GuestMemoryError
from bridge.semantic.access import Access
from bridge.semantic.scene import Scene, SceneError

PERIOD_S = 1.0
BEAT_S = 15.0
"""How often a stream without news says that it lives."""
MAX_STREAMS = 8
MAX_EVENTS = 1000
"""Of one second; what is more is summed up."""

Event = dict[str, Any]


class Streams:
    """Gives each client a stream of its own, a few at a time."""

    def __init__(self, access: Access, scene: Scene) -> None:
        self._access, self._scene = access, scene
        self._slots = threading.BoundedSemaphore(MAX_STREAMS)

    def check(self, machine: str) -> None:
        """Raise as Access does where a machine cannot be told about."""
        self._access.sighting(machine)

    async def stream(self, machine: str | None, limit_s: float) -> AsyncIterator[str]:
        """What changes for `limit_s`. Where there are too many streams, a problem is all that it tells."""
        if not self._slots.acquire(blocking=False):
            why = {"why": f"{MAX_STREAMS} clients are told of events already."}
            yield _event({"kind": "problem", "what": "refused", "machine": machine or "", "detail": why})
            return
        try:
            began_s = beat_s = time.monotonic()
            before = await run_in_threadpool(self._state, machine)
            yield _event({"kind": "begun", "what": "watching", "machine": machine or "", "detail": {}})
            while (left_s := began_s + limit_s - time.monotonic()) > 0:
                await anyio.sleep(min(PERIOD_S, left_s))
                now = await run_in_threadpool(self._state, machine)
                told = list(_changes(before, now))
                before = now
                for event in told[:MAX_EVENTS]:
                    yield _event(event)
                if len(told) > MAX_EVENTS:
                    more = {"events": len(told) - MAX_EVENTS}
                    yield _event({"kind": "problem", "what": "left out", "machine": machine or "", "detail": more})
                if told:
                    beat_s = time.monotonic()
                elif time.monotonic() - beat_s >= BEAT_S:
                    beat_s = time.monotonic()
                    yield ": nothing new\n\n"
        finally:
            self._slots.release()

    def _state(self, machine: str | None) -> dict[tuple[str, str, str], Event]:
        """All that events are about, by kind, machine and key."""
        found: dict[tuple[str, str, str], Event] = {}
        for one in summarise_machines():
            found["machine", one.name, ""] = {"state": one.state, "guest": one.guest}
        try:
            for lit in self._scene.highlights():
                found["highlight", lit.machine, lit.name] = asdict(lit)
        except SceneError as error:
            found["problem", "", "highlights"] = {"why": str(error)}
        if machine is not None:
            try:
                tasks = self._access.sighting(machine).processes
                assert tasks is not None
                for pid, start_ns, name in zip(tasks.pids.tolist(), tasks.start_ns.tolist(), tasks.names, strict=True):
                    found["process", machine, f"{pid} {start_ns}"] = {"pid": pid, "name": name}
            except (KernelError, GuestMemoryError, MachineError) as error:
                found["problem", machine, "kernel"] = {"why": str(error)}
        return found


def _changes(before: dict[tuple[str, str, str], Event], now: dict[tuple[str, str, str], Event]) -> Iterator[Event]:
    for key in now.keys() - before.keys():
        yield {"kind": key[0], "what": "begun", "machine": key[1], "detail": now[key]}
    for key in before.keys() - now.keys():
        yield {"kind": key[0], "what": "ended", "machine": key[1], "detail": before[key]}
    for key in now.keys() & before.keys():
        if now[key] != before[key]:
            yield {"kind": key[0], "what": "changed", "machine": key[1], "detail": now[key]}


def _event(event: Event) -> str:
    return f"event: {event['kind']}\ndata: {json.dumps(event)}\n\n"
