"""One look at a machine or a dump as a store, for who asks without a window."""

from __future__ import annotations

import time
from pathlib import Path

from bridge.kernel.desk import Desk
from bridge.semantic.store.forgetting import Limits
from bridge.semantic.store.writer import Store

_LIMITS = Limits(max_bytes=4 << 30)
"""It is removed when the question is answered."""


def write_one_look(path: Path, name: str, desk: Desk, *, is_dump: bool) -> None:
    """Write all that is known now into a new database. Raises KernelError, StoreError."""
    store = Store.open(path, _LIMITS)
    try:
        ram_bytes = desk.introspector.kernel.reader.ram.size_bytes
        machine_id = store.machine(name, ram_bytes=ram_bytes, is_dump=is_dump, time_s=time.time())
        census = desk.census(0, whole=True)
        assert census is not None  # nothing is known before the first
        kernel_id = store.write(machine_id, census, time.time())
        symbols = desk.symbol_table(0)
        if symbols is not None:
            for _ in store.write_symbols(kernel_id, symbols):
                pass
    finally:
        store.close()
