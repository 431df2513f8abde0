"""Answering: a query and a machine make a result."""

from __future__ import annotations

from bridge.semantic.query.results import Comparison, Match, Result
from bridge.semantic.query.world import Hits, NotWatched, World

__all__ = ["Comparison", "Hits", "Match", "NotWatched", "Result", "World"]
