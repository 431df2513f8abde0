"""Actions on bookmarks and sessions: keep a question with how it was looked at, go there, share it, save them all."""

from __future__ import annotations

from typing import Any

from imgui_bundle import icons_fontawesome_6 as icons
from imgui_bundle import imgui

from app.actions import Action, Param
from app.session import Session
from app.session_file import bookmark_document

BOOKMARKS = "Bookmarks"


def bookmark_actions(session: Session) -> list[Action]:
    """Return the actions."""
    state, listed = session.state, session.bookmarks

    def needs_volume() -> str | None:
        return None if state.stage.feeds else "No machine's memory is shown"

    def needs_any() -> str | None:
        return None if state.bookmarks else "There are no bookmarks"

    def add(name: str | None = None) -> dict[str, Any]:
        made = listed.add(name or "")
        session.notices.tell("Bookmarked", made.name, good=True)
        return bookmark_document(made)

    def rename(name: str, to: str) -> str:
        return listed.rename(name, to).name

    def copy(name: str) -> str:
        text = listed.text(name)
        imgui.set_clipboard_text(text)
        session.notices.tell("The bookmark is in the clipboard", "Paste it into a search box, or a message")
        return text

    def paste(text: str) -> dict[str, Any]:
        made = listed.paste(text)
        session.notices.tell("A bookmark was taken in", made.name, good=True)
        return bookmark_document(made)

    def save(path: str) -> dict[str, Any]:
        written = listed.save(path)
        session.notices.tell("The session was saved", written["path"], good=True)
        return written

    which = Param("name", "choice", required=True, choices=lambda: [one.name for one in state.bookmarks])
    return [
        Action(
            id="bookmark.add",
            title="Bookmark this answer and view",
            category=BOOKMARKS,
            run=add,
            params=(Param("name", help="what to call it; the question unless it is said"),),
            shortcuts=("Ctrl+D",),
            why_not=needs_volume,
            icon=icons.ICON_FA_BOOKMARK,
            help="The question, the camera, the look and the highlights",
            keywords="keep pin remember favourite session",
        ),
        Action(
            id="bookmark.go",
            title="Go to the bookmark…",
            category=BOOKMARKS,
            run=listed.go,
            params=(which,),
            why_not=needs_any,
            icon=icons.ICON_FA_BOOKMARK,
            help="Everything is looked at as it was then, and the question is asked again",
        ),
        Action(
            id="bookmark.copy",
            title="Copy as text the bookmark…",
            category=BOOKMARKS,
            run=copy,
            params=(which,),
            why_not=needs_any,
            icon=icons.ICON_FA_SHARE_NODES,
            keywords="share send",
        ),
        Action(
            id="bookmark.paste",
            title="Take in a bookmark…",
            category=BOOKMARKS,
            run=paste,
            params=(Param("text", required=True, help="the line that somebody sent"),),
            icon=icons.ICON_FA_PASTE,
            help="Nothing of it is asked before you go there",
            keywords="paste share",
        ),
        Action(
            id="bookmark.rename",
            title="Rename a bookmark…",
            category=BOOKMARKS,
            run=rename,
            params=(which, Param("to", required=True)),
            why_not=needs_any,
            icon=icons.ICON_FA_PEN,
            in_palette=False,
        ),
        Action(
            id="bookmark.remove",
            title="Remove the bookmark…",
            category=BOOKMARKS,
            run=listed.remove,
            params=(which,),
            why_not=needs_any,
            icon=icons.ICON_FA_XMARK,
        ),
        Action(
            id="bookmark.list",
            title="Say which bookmarks there are",
            category=BOOKMARKS,
            run=lambda: [bookmark_document(one) for one in state.bookmarks],
            in_palette=False,
        ),
        Action(
            id="session.save",
            title="Save the session as…",
            category=BOOKMARKS,
            run=save,
            params=(Param("path", required=True, help="a file; it begins with / or ~"),),
            icon=icons.ICON_FA_FLOPPY_DISK,
            help="Machines by name, bookmarks, highlights, camera and look; no memory of any machine",
        ),
        Action(
            id="session.open",
            title="Open the session…",
            category=BOOKMARKS,
            run=listed.open,
            params=(Param("path", required=True, help="a file; it begins with / or ~"),),
            icon=icons.ICON_FA_FOLDER_OPEN,
            help="Nothing is started by it: it says what is missing",
        ),
    ]
