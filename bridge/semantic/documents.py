"""Documents: what the kernel of a machine says, as JSON values, the same in every interface.

Addresses are whole numbers of up to 64 bits. Guest strings are as they are: JSON escapes what a terminal would act on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import numpy as np

from bridge.kernel.page_classes import PageClass
from bridge.kernel.snapshot import Part, SemanticSnapshot
from bridge.kernel.tasks import Tasks
from bridge.kernel.where import Story

Document = dict[str, Any]
_FILES = (PageClass.FILE, PageClass.SHARED_MEMORY)


def process_documents(tasks: Tasks, command_lines: dict[int, str]) -> list[Document]:
    """One for each process or thread, in the order of the kernel's list."""
    return [
        {
            "pid": int(tasks.pids[i]),
            "tgid": int(tasks.tgids[i]),
            "ppid": int(tasks.ppids[i]),
            "name": tasks.names[i],
            "state": tasks.states[i],
            "uid": int(tasks.uids[i]),
            "cr3": int(tasks.roots[i]),
            "rss_bytes": int(tasks.rss_bytes[i]),
            "task": int(tasks.addresses[i]),
            "cmdline": command_lines.get(int(tasks.pids[i]), ""),
        }
        for i in range(len(tasks))
    ]


def story_document(story: Story) -> Document:
    """What is known of one byte."""
    document = asdict(story)
    document["symbol"] = None if story.symbol is None else str(story.symbol)
    return document


def pages_document(snapshot: SemanticSnapshot) -> Document:
    """How many pages are what, and whose."""
    details, classes = snapshot.details, snapshot.page_map.classes
    numbers = np.bincount(classes, minlength=len(PageClass))
    parts = np.bincount(snapshot.parts, minlength=len(Part))
    orders = np.bincount(details.places[classes == PageClass.FREE]).tolist()

    def named(kinds: tuple[PageClass, ...], names: Iterable[str]) -> list[Document]:
        known = list(names)
        found = details.counts(classes, kinds)
        return [{"name": known[index], "pages": pages} for index, pages in found.items() if index >= 0]

    files = [
        {"path": file.path, "inode": file.inode, "size_bytes": file.size_bytes, "pages": pages}
        for index, pages in details.counts(classes, _FILES).items()
        if index >= 0
        for file in (details.files[index],)
    ]
    names = dict(zip(snapshot.processes.pids.tolist(), snapshot.processes.names, strict=True)) | {0: "kernel"}
    tables = Counter[int]()
    for index, pages in details.counts(classes, (PageClass.PAGE_TABLE,)).items():
        if index >= 0:
            tables[details.tables[index]] += pages
    return {
        "consistency": snapshot.consistency,
        "pages": len(classes),
        "definite": snapshot.page_map.definite,
        "classes": {kind.name.lower(): int(numbers[kind]) for kind in PageClass},
        "parts": {part.name.lower(): int(parts[part]) for part in Part if part},
        "slabs": named((PageClass.SLAB,), details.caches),
        "files": files,
        "modules": named((PageClass.MODULE,), details.modules),
        "page_tables": [
            {"pid": pid, "name": names.get(pid, ""), "pages": pages} for pid, pages in tables.most_common()
        ],
        "free_blocks": [pages >> order for order, pages in enumerate(orders)],
    }
