"""QEMU's memory map, asked for from the background loop."""

from __future__ import annotations

import asyncio
from typing import Any

from bridge.machine.background import BackgroundLoop
from bridge.machine.qmp import QmpConnection
from bridge.memory.physical_map import PhysicalMap, query_physical_map


async def physical_map_of(background: BackgroundLoop, qmp: QmpConnection, backend: str) -> PhysicalMap:
    """The memory map of a backend. Its query blocks, so it has a thread of its own; raises what it raises."""

    def blocking_qmp(command: str, **arguments: Any) -> Any:
        return background.run(qmp.execute(command, arguments))

    return await asyncio.to_thread(query_physical_map, blocking_qmp, backend)
