"""`glassbox trace import`: a recording is checked, and what is in it is told."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from app.commands.argument_types import row_limit
from app.failures import UsageError
from app.output import format_bytes, format_duration, format_table, print_json, print_text, printable

if TYPE_CHECKING:
    from bridge.trace.recorded import Heat, Recording

_TOP = 5
_WRITTEN, _READ, _EXECUTED = ((240, 70, 50), (50, 200, 110), (90, 140, 255))


def configure(parser: argparse.ArgumentParser, _part: str) -> None:
    """Declare the options."""
    parser.add_argument("file", type=Path, metavar="FILE.parquet", help="the recording; its blocks lie beside it")
    parser.add_argument(
        "--top", type=row_limit, default=_TOP, metavar="N", help=f"so many of the hottest pages, {_TOP} by default"
    )
    parser.add_argument(
        "--heat",
        type=Path,
        metavar="FILE",
        help="save the heat of each page: .png, a picture (red written, green read, blue executed), or .npz, arrays",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> int:
    """Check and tell. Returns 0; UsageError, BadRecording."""
    from bridge.trace.recorded import Recording  # loads Parquet's library, which takes a while

    if options.heat is not None and options.heat.suffix not in (".png", ".npz"):
        raise UsageError(f"--heat {options.heat}: a .png or a .npz file is written")
    recording = Recording.open(options.file)
    kinds, span_ns = _counted(recording)
    heat = recording.heat()
    if options.heat is not None:
        _save(heat, options.heat)
    document = _document(recording, kinds, span_ns, heat, options.top)
    if options.json:
        print_json(document | ({} if options.heat is None else {"heat": str(options.heat.absolute())}))
    else:
        print_text(_told(document, options))
    return 0


def _counted(recording: Recording) -> tuple[dict[str, int], int]:
    """Rows by kind, and from the first to the last, in ns. All of each column is read: what is damaged shows."""
    from bridge.trace.record_columns import KINDS

    counts, first, last = np.zeros(len(KINDS), np.int64), None, 0
    for batch in recording.batches(tuple(name for name in recording.columns if name not in ("bytes", "registers"))):
        counts += np.bincount(batch["kind"], minlength=len(KINDS))
        if len(batch["ts"]):
            first = int(batch["ts"].min()) if first is None else min(first, int(batch["ts"].min()))
            last = max(last, int(batch["ts"].max()))
    return {kind: int(count) for kind, count in zip(KINDS, counts, strict=True)}, last - (first or 0)


def _document(recording: Recording, kinds: dict[str, int], span_ns: int, heat: Heat, top: int) -> dict[str, Any]:
    told = recording.metadata
    return {
        "ok": True,
        "file": str(recording.path.absolute()),
        "machine": told.get("machine"),
        "kernel": told.get("kernel"),
        "began": told.get("began"),
        "span_s": round(span_ns / 1e9, 6),
        "records": recording.rows,
        "by_kind": kinds,
        "row_groups": recording.row_groups,
        "blocks": int((recording.entered > 0).sum()),
        "lost": told.get("lost"),
        "pages": recording.pages,
        "elsewhere": heat.elsewhere,
        "hottest": {
            "executed": _hottest(heat.executed, top),
            "read": _hottest(heat.loads, top),
            "written": _hottest(heat.stores, top),
        },
    }


def _hottest(counts: NDArray[np.int64], top: int) -> list[dict[str, int]]:
    order = np.argsort(-counts, kind="stable")
    chosen = order[: top or len(order)]
    return [{"page": int(page), "count": int(counts[page])} for page in chosen[counts[chosen] > 0]]


def _told(document: dict[str, Any], options: argparse.Namespace) -> str:
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in document["by_kind"].items() if count)
    lost = document["lost"] if isinstance(document["lost"], dict) else {}
    missing = sum(sum(one) if isinstance(one, list) else one for one in lost.values() if isinstance(one, list | int))
    of = " ".join(str(document[name]) for name in ("machine", "kernel", "began") if document[name])
    lines = [
        f"{options.file}: {document['records']:,} records in {format_duration(document['span_s'])}",
        *([f"Of {printable(of)}."] if of else []),
        f"By kind: {kinds or 'none'}; {document['blocks']:,} blocks; {missing:,} records are missing.",
    ]
    rows = [
        (what, f"{4096 * one['page']:#x}", f"{one['count']:,}")
        for what, pages in document["hottest"].items()
        for one in pages
    ]
    if rows:
        lines += ["", format_table(("HOTTEST", "PAGE (RAM FILE)", "TIMES"), rows, right=frozenset({2}))]
    if options.heat is not None:
        lines += ["", f"saved {options.heat} ({format_bytes(options.heat.stat().st_size)})"]
    return "\n".join(lines)


def _save(heat: Heat, path: Path) -> None:
    """Raises UsageError where the directory is not there, OSError."""
    if not path.absolute().parent.is_dir():
        raise UsageError(f"{path.absolute().parent} is no directory")
    if path.suffix == ".npz":
        np.savez_compressed(path, executed=heat.executed, loads=heat.loads, stores=heat.stores)
        return
    from PIL import Image

    image = Image.fromarray(picture(heat))
    factor = max(1, 1024 // image.width)
    image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST).save(path)


def picture(heat: Heat) -> NDArray[np.uint8]:
    """Pages by row, from the left, (height, width, 3): red written, green read, blue executed, by their logarithms."""
    count = len(heat.executed)
    width = 1 << (max(count, 1).bit_length() // 2)
    height = -(-count // width)
    pixels = np.zeros((height * width, 3))
    for counts, colour in ((heat.stores, _WRITTEN), (heat.loads, _READ), (heat.executed, _EXECUTED)):
        lit = np.log1p(counts.astype(np.float64))
        if lit.any():
            # What happened once can be seen, and what happens always does not outshine it.
            pixels[:count] += np.where(counts > 0, 0.25 + 0.75 * lit / lit.max(), 0.0)[:, None] * colour
    return np.clip(pixels, 0, 255).astype(np.uint8).reshape(height, width, 3)
