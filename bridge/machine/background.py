"""One asyncio loop in one background thread, shared by all machines, alive while somebody holds it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from bridge.machine.errors import MachineError, WrongThread

T = TypeVar("T")

_ENDING = "Glassbox lets go of its machines; this came too late."

_lock = threading.Lock()
_shared: BackgroundLoop | None = None
_holders = 0


class BackgroundLoop:
    """The loop and its thread. Get it by `acquire_loop`, give it back by `release_loop`."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._gate = threading.Lock()
        self._closing = False
        self._outstanding: set[concurrent.futures.Future[Any]] = set()
        self._thread = threading.Thread(target=self._run, name="glassbox-qmp", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def spawn(self, work: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Start `work` on the loop, from any thread. Raises MachineError when the loop has been given back."""
        with self._gate:
            if self._closing:
                work.close()
                raise MachineError(_ENDING)
            future = asyncio.run_coroutine_threadsafe(work, self.loop)
            self._outstanding.add(future)
        future.add_done_callback(self._forget)
        return future

    def _forget(self, future: concurrent.futures.Future[Any]) -> None:
        with self._gate:
            self._outstanding.discard(future)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` on the loop and wait for it. `work` must bound its own time.

        Raises `WrongThread` on the loop's own thread, where waiting would wait for ever.
        """
        if self.on_loop_thread():
            work.close()
            raise WrongThread
        future = self.spawn(work)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise MachineError(_ENDING) from None
        except BaseException:
            # An interrupt (Ctrl+C) here must not leave the work running for nobody.
            future.cancel()
            raise

    def call_soon(self, function: Callable[..., object], *arguments: Any) -> None:
        """Call `function` on the loop soon, from any thread; not at all when the loop has been given back."""
        with self._gate:
            if not self._closing:
                self.loop.call_soon_threadsafe(function, *arguments)

    def on_loop_thread(self) -> bool:
        """Say whether the caller runs on the loop's thread."""
        return threading.current_thread() is self._thread

    def _stop(self) -> None:
        with self._gate:
            self._closing = True
        asyncio.run_coroutine_threadsafe(self._finish(), self.loop).result()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        with self._gate:
            late = list(self._outstanding)
        for future in late:  # so that nobody waits for what will never run
            future.cancel()
        self.loop.close()

    async def _finish(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.loop.shutdown_default_executor()


def acquire_loop() -> BackgroundLoop:
    """Hold the shared loop; the first holder starts it."""
    global _shared, _holders
    with _lock:
        if _shared is None:
            _shared = BackgroundLoop()
        _holders += 1
        return _shared


def release_loop(held: BackgroundLoop) -> None:
    """Give the loop back; the last holder ends its thread. Raises `WrongThread` on that very thread."""
    global _shared, _holders
    if held.on_loop_thread():
        raise WrongThread
    with _lock:
        assert held is _shared, "released a loop that is not held"
        _holders -= 1
        if _holders == 0:
            _shared = None
            held._stop()
