"""Bookmarks: questions kept with how their answers were looked at; and sessions, which are files of them and more."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.actions import BadArguments
from app.chosen import printable
from app.highlights import QUERY, Highlight
from app.look_settings import look_from_settings, settings_with_look
from app.session_file import (
    MAX_NAME,
    MOST_BOOKMARKS,
    BadSession,
    Bookmark,
    Named,
    SessionFile,
    Stand,
    bookmark_document,
    bookmark_in,
    bookmarks_from,
    load_session,
    save_session,
    text_of,
)
from app.settings import Settings, read_bounded, set_aside, write_atomically
from app.user_paths import path_argument
from bridge.machine.opened_dump import OpenedDump
from render.camera import CameraState

if TYPE_CHECKING:
    from app.answers import Answers
    from app.highlight_list import HighlightList
    from app.keeping import Keeping
    from app.looks import Looks
    from app.notices import Notices
    from app.state import AppState

FILE = "bookmarks.json"


class BookmarkList:
    """Belongs to the main thread. What cannot be done raises BadArguments."""

    def __init__(
        self,
        state: AppState,
        kept: Keeping,
        looks: Looks,
        notices: Notices,
        highlights: HighlightList,
        answers: Answers,
    ) -> None:
        self._state, self._kept, self._looks, self._notices = state, kept, looks, notices
        self._highlights, self._answers = highlights, answers
        self._asked_for: dict[tuple[str, str], str] = {}

    def load(self) -> None:
        """Have the bookmarks of the last run."""
        if not self._kept.keeps:
            return
        path = self._kept.folder / FILE
        try:
            self._state.bookmarks = bookmarks_from(json.loads(read_bounded(path)))
        except FileNotFoundError:
            return
        except (OSError, ValueError, RecursionError) as error:
            self._notices.warn(
                "Your bookmarks were set aside", set_aside(path, "bookmarks", error, "There are none now")
            )

    # Bookmarks

    def add(self, name: str = "") -> Bookmark:
        """Keep the question whose answer is shown, and how things are looked at now."""
        state = self._state
        asked = state.queries.shown
        machine = asked.machine if asked is not None and asked.result is not None else state.current
        if machine is None or machine not in state.stage.feeds:
            raise BadArguments("no machine's memory is shown that could be kept a place in")
        query = asked.title if asked is not None and asked.result is not None else ""
        own = tuple(one for one in state.highlights if one.machine == machine)
        wanted = name or query.removeprefix("show ") or f"{machine}, {time.strftime('%H:%M:%S')}"
        made = Bookmark(self._free(wanted), machine, query, self._stand(), self._look(), own)
        return self._append(made)

    def paste(self, text: str) -> Bookmark:
        """Take in a bookmark that somebody sent; nothing of it is asked before the user goes there."""
        try:
            found = bookmark_in(text)
        except BadSession as error:
            raise BadArguments(str(error)) from None
        return self._append(replace(found, name=self._free(found.name)))

    def _append(self, made: Bookmark) -> Bookmark:
        if len(self._state.bookmarks) >= MOST_BOOKMARKS:
            raise BadArguments(f"there are {MOST_BOOKMARKS} bookmarks already; remove some")
        self._keep((*self._state.bookmarks, made))
        return made

    def named(self, name: str) -> Bookmark:
        """A bookmark by its name."""
        found = next((one for one in self._state.bookmarks if one.name == name), None)
        if found is None:
            names = ", ".join(one.name for one in self._state.bookmarks)
            raise BadArguments(f"{name[:80]!r} is none of the bookmarks: {names[:400] or 'there are none'}")
        return found

    def rename(self, name: str, to: str) -> Bookmark:
        """Call one otherwise."""
        old = self.named(name)
        new = replace(old, name=self._free(to, besides=old))
        self._keep(tuple(new if one is old else one for one in self._state.bookmarks))
        return new

    def remove(self, name: str) -> None:
        """Forget one."""
        gone = self.named(name)
        self._keep(tuple(one for one in self._state.bookmarks if one is not gone))

    def text(self, name: str) -> str:
        """One as a line of text."""
        try:
            return text_of(self.named(name))
        except BadSession as error:
            raise BadArguments(str(error)) from None

    def go(self, name: str) -> None:
        """Look at things as they were looked at then, and ask the question again."""
        state, found = self._state, self.named(name)
        if found.machine not in state.stage.feeds:
            raise BadArguments(f"{found.machine} is not shown: launch it, attach to it or open its dump first")
        state.remember()
        others = tuple(one for one in state.highlights if one.machine != found.machine)
        self._show(found.look, found.camera)
        self._highlights.restore((*others, *found.highlights), remember=False)
        state.current = found.machine
        if found.query:
            self._answers.ask(found.query, found.machine, fly=False)

    def _free(self, wanted: str, besides: Bookmark | None = None) -> str:
        taken = {one.name for one in self._state.bookmarks if one is not besides}
        base = printable(" ".join(wanted.split()))[:MAX_NAME].strip() or "Bookmark"
        name, count = base, 1
        while name in taken:
            count += 1
            ending = f" {count}"
            name = base[: MAX_NAME - len(ending)] + ending
        return name

    def _keep(self, bookmarks: Sequence[Bookmark]) -> None:
        self._state.bookmarks = tuple(bookmarks)
        if not self._kept.keeps:
            return
        document = {"version": 1, "bookmarks": [bookmark_document(one) for one in bookmarks]}
        try:
            write_atomically(self._kept.folder / FILE, json.dumps(document, indent=1) + "\n")
        except OSError as error:
            self._notices.report(error, "The bookmarks could not be saved")

    # How things are looked at

    def _stand(self) -> Stand:
        camera = self._state.stage.camera
        x, y, z = (float(part) for part in camera.target)
        return Stand((x, y, z), camera.azimuth_degrees, camera.elevation_degrees, camera.distance)

    def _look(self) -> Settings:
        return settings_with_look(Settings(), self._state.stage.view.look)

    def _show(self, look: Settings, camera: Stand | None) -> None:
        view = self._state.stage.view
        self._looks.show(look_from_settings(look, view), remember=False)
        if camera is not None:
            view.camera.skip()
            view.camera.state = replace(view.camera.state, **asdict(camera))
            assert isinstance(view.camera.state, CameraState)
            self._state.stage.panes.forget_rest()

    # Sessions

    def save(self, path: str) -> dict[str, Any]:
        """Write what there is into a file: machines by name, bookmarks, highlights, camera and look."""
        state, to = self._state, self._path(path)
        machines = tuple(
            Named(
                m.name,
                "" if m.info.dump else printable(m.info.guest)[:MAX_NAME],
                str(m.path) if isinstance(m, OpenedDump) else "",
            )
            for m in state.manager.machines()
        )
        session = SessionFile(
            machines, state.current or "", state.bookmarks, state.highlights, self._stand(), self._look()
        )
        try:
            save_session(to, session)
        except OSError as error:
            raise BadArguments(f"path: {to} cannot be written: {error.strerror}") from None
        return {"path": str(to), "bookmarks": len(session.bookmarks), "highlights": len(session.highlights)}

    def open(self, path: str) -> dict[str, Any]:
        """Have the bookmarks, highlights, camera and look of a file; say what of its machines is not there.

        Nothing is started or opened by it.
        """
        state, of = self._state, self._path(path)
        try:
            session = load_session(of)
        except BadSession as error:
            raise BadArguments(str(error)) from None
        except OSError as error:
            raise BadArguments(f"path: {of} cannot be read: {error.strerror}") from None
        state.remember()
        names = {one.name for one in session.bookmarks}
        self._keep((*(one for one in state.bookmarks if one.name not in names), *session.bookmarks)[-MOST_BOOKMARKS:])
        self._highlights.restore(session.highlights, remember=False)
        self._show(session.look, session.camera)
        there = {machine.name for machine in state.manager.machines()}
        if session.current in there:
            state.current = session.current
        missing = missing_of(session, there)
        if missing:
            self._notices.warn(f"{of.name} is open, but not all of it is there", missing)
        else:
            self._notices.tell(f"{of.name} is open", _counted(session), good=True)
        return {"bookmarks": len(session.bookmarks), "highlights": len(session.highlights), "missing": missing}

    @staticmethod
    def _path(path: str) -> Path:
        found = path_argument(path)
        if not found.is_absolute():
            raise BadArguments("path: it begins with / or ~, for the window has no working folder")
        return found

    # Highlights of questions

    def follow(self) -> bool:
        """Ask again for highlights whose pages nobody knows yet, once each; whether any was asked for."""
        state, wanted = self._state, {}
        for one in state.highlights:
            if one.kind == QUERY and one.pages is None:
                wanted[one.identity] = one.query
                if self._asked_for.get(one.identity) != one.query and self._can_ask(one.machine):
                    self._asked_for[one.identity] = one.query
                    self._ask_again(one)
                    return True
        self._asked_for = {key: query for key, query in self._asked_for.items() if wanted.get(key) == query}
        return False

    def _can_ask(self, machine: str) -> bool:
        sighting = self._state.kernels.sighting(machine)
        return machine in self._state.stage.feeds and sighting is not None and not sighting.problem

    def _ask_again(self, one: Highlight) -> None:
        state = self._state

        def known(asked: Any) -> None:
            still = any(other.identity == one.identity and other.query == one.query for other in state.highlights)
            if asked.result is not None and still and one.machine in state.stage.feeds:
                self._highlights.set_pages(one.name, asked.result.pages, one.machine)

        state.queries.find(one.query, one.machine, known)


def missing_of(session: SessionFile, there: set[str]) -> str:
    """Which machines of a session are not there, and how they could be, in a sentence; empty where all are."""
    told = []
    for one in session.machines:
        if one.name not in there:
            how = f"the dump {one.dump}" if one.dump else f"the guest {one.guest}" if one.guest else "no guest named"
            told.append(f"{one.name} ({printable(how)})")
    if not told:
        return ""
    more = f" and {len(told) - 4} more" if len(told) > 4 else ""
    verb = "is" if len(told) == 1 else "are"
    return f"{', '.join(told[:4])}{more} {verb} not shown: launch or open what you need, and go to a bookmark then."


def _counted(session: SessionFile) -> str:
    bookmarks, highlights = len(session.bookmarks), len(session.highlights)
    return f"{bookmarks} bookmark{'s' * (bookmarks != 1)}, {highlights} highlight{'s' * (highlights != 1)}"
