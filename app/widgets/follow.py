"""Tells an address chosen elsewhere from one's own choice coming back."""

from __future__ import annotations


class FollowedAddress:
    """A view emits what its user selects and is given the selection every frame: only news should move it."""

    def __init__(self) -> None:
        self._given: int | None = None
        self._emitted: int | None = None

    def emit(self, address: int) -> None:
        """Remember what the view itself selected."""
        self._emitted = address

    def news(self, address: int | None) -> int | None:
        """Return `address` when it is another than in the frame before and did not come from here."""
        if address == self._given:
            return None
        own = address == self._emitted
        self._given, self._emitted = address, None
        return None if own else address
