"""Loops that were learned as JSON values, for the command line and for those who drive the window."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bridge.pixelcpu.hybrid import Told
    from bridge.pixelcpu.learning import Entry


def kind_of(one: Entry) -> str:
    """What a loop's rounds do together; empty where that was not shown."""
    return one.learned.loop.kind if one.learned is not None and one.learned.loop is not None else ""


def loop_document(one: Entry, *, takes_over: bool) -> dict[str, Any]:
    """All that is known of a loop; `takes_over`: with what its kernel did."""
    from app.pixel_programs import pixel_words

    candidate, learned = one.candidate, one.learned
    found: dict[str, Any] = {
        "x86_hash": candidate.x86_hash,
        "address": candidate.address,
        "symbol": candidate.symbol or None,
        "process": candidate.process or None,
        "code": candidate.code.hex(),
        "disassembly": list(candidate.disassembly),
        "class": str(candidate.kind),
        "kind": kind_of(one),
        "entered": candidate.entered,
        "share": round(candidate.share, 6),
        "time_share": round(candidate.time_share, 6),
        "state": str(one.state),
        "reached": None if learned is None else str(learned.reached),
        "reason": one.reason or None,
        "loop": None if learned is None or learned.loop is None else asdict(learned.loop),
        "pixel_ops": [] if learned is None or learned.rounds is None else pixel_words(learned.rounds),
        "synthesis": None if learned is None or learned.synthesis is None else asdict(learned.synthesis),
        "proof": None,
        "tested_states": 0 if learned is None else learned.n_states,
        "native_test": None if learned is None or learned.native_test is None else asdict(learned.native_test),
        "gpu_test": None if learned is None or learned.gpu_test is None else asdict(learned.gpu_test),
        "figures": None if learned is None or learned.figures is None else asdict(learned.figures),
        "estimate": None if one.estimate is None else round(one.estimate, 3),
        "ms_learned": None if learned is None else round(learned.ms, 1),
    }
    if learned is not None and learned.query_hash:
        found["proof"] = {
            "solver": learned.solver,
            "query_hash": learned.query_hash,
            "ms": round(learned.ms_proof, 3),
        }
    if takes_over:
        found |= {
            "rounds": one.rounds,
            "taken_over": round(one.taken, 6),
            "back_end": one.back_end,
            "gpu_rounds": one.gpu_rounds,
            "no_gpu": one.no_gpu or None,
            "plugin": _plugin(one.told),
        }
    return found


def _plugin(told: Told | None) -> dict[str, Any] | None:
    if told is None:
        return None
    return {
        "state": str(told.state),
        "calls": told.calls,
        "rounds": told.rounds,
        "seconds": round(told.seconds, 6),
        "round_ns": round(told.round_ns, 4),
        "speed_up": round(told.speed_up, 3) if told.speed_up else None,
        "longest_ms": round(told.longest_ms, 3),
        "verified": told.verified,
        "verified_rounds": told.verified_rounds,
        "declined": {str(why): count for why, count in told.declined.items()},
        "gpu": None
        if told.gpu is None
        else {name: round(value, 6) if isinstance(value, float) else value for name, value in asdict(told.gpu).items()},
    }
