"""Native loop: the window on a screen, from its opening to its end."""

from __future__ import annotations

import asyncio
import signal

from rendercanvas.glfw import loop

from app.control import ControlServer
from app.native_window import SystemClipboard, WindowCanvas
from app.window import Window
from app.window_options import WindowOptions

TICK_S = 1 / 60


def run_window(options: WindowOptions) -> None:
    """Open the window and stay until it is closed. Raises TooManyFailures, KeyboardInterrupt."""
    canvas = WindowCanvas(size=options.size, title="Glassbox")
    window = Window(canvas, options, clipboard=SystemClipboard())
    settings = window.state.settings
    canvas.set_logical_size(*options.first_size((settings.window_width, settings.window_height)))
    canvas.on_focus = window.host.focus
    canvas.on_drop = window.drop
    asked = False

    def leave(_signal: int, _frame: object) -> None:
        # Not in the middle of a frame: the next tick closes the window. A second one does not wait for it.
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = window.quit_requested = True

    async def ticker() -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # here, since a loop that starts sets its own
            signal.signal(number, leave)
        while not canvas.get_closed():
            if window.tick():
                canvas.request_draw()
            if window.quit_requested:
                canvas.close()
                return
            await asyncio.sleep(TICK_S)

    try:
        window.control = ControlServer()
        if window.control.taken:
            window.session.notices.warn(
                "Another window is open", f"`glassbox do` reaches that one; this one listens at {window.control.path}."
            )
        window.session.start()
        canvas.request_draw(window.frame)
        loop.add_task(ticker)
        loop.run()
    finally:
        if not canvas.get_closed():
            canvas.close()
        window.close()
    if asked:
        raise KeyboardInterrupt
    if window.failure is not None:  # rendercanvas logs what a draw function raises, and draws on
        raise window.failure
