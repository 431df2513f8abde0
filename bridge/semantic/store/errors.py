"""What can go wrong with a store, each as a type of its own whose message says what to do."""

from __future__ import annotations

from pathlib import Path


class StoreError(Exception):
    """A store cannot do what it was asked to; the message is for people."""


class StoreUnusable(StoreError):
    """A database that cannot be opened, or holds something else."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"The database {path} cannot be used: {why}.")
        self.path = path


class StoreDamaged(StoreUnusable):
    """A database whose own structure is broken: somebody wrote into its file, or the disk did."""


class StoreFull(StoreError):
    """What is known now does not fit into the size that was set, or the disk is full."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"Nothing more can be written to {path}: {why}.")
        self.path = path


class BadQuery(StoreError):
    """A query that cannot be answered as it is written; the message says why."""


class QueryTooLong(StoreError):
    """A query that was ended because it took too long, or because the user wanted so."""
