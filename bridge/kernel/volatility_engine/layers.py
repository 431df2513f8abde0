"""Layers for Volatility 3: a machine's RAM as it is mapped here, and page tables of five levels, which it lacks.

Import only in the worker: loading Volatility takes most of a second.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from volatility3.framework import exceptions, interfaces
from volatility3.framework.layers.intel import LinuxIntel32e

from bridge.memory.errors import InvalidAddress
from bridge.memory.physical import PhysicalReader

_PAGE = 4096


class RamLayer(interfaces.layers.DataLayerInterface):  # type: ignore[misc]
    """Physical memory. It is read as it is at that moment, and never written."""

    def __init__(self, context: Any, config_path: str, name: str, reader: PhysicalReader) -> None:
        super().__init__(context, config_path, name, {"os": "Linux", "architecture": "Intel64"})
        self._reader = reader

    @property
    def minimum_address(self) -> int:
        """Zero: what is below the first region is not valid."""
        return 0

    @property
    def maximum_address(self) -> int:
        """The last byte of the highest region."""
        return max(self._reader.end_paddr - 1, 1)

    def is_valid(self, offset: int, length: int = 1) -> bool:
        """Whether all of it is RAM."""
        if offset < 0 or length < 0 or offset + length > self._reader.end_paddr:
            return False
        if offset % _PAGE + length <= _PAGE:
            return bool(self._reader.offsets(np.array([offset], np.uint64), max(length, 1))[1][0])
        try:
            self._reader.read(offset, length)
        except InvalidAddress:
            return False
        return True

    def read(self, offset: int, length: int, pad: bool = False) -> bytes:
        """As Volatility's layers do: raises its InvalidAddressException, or with `pad` puts zeros for what is none."""
        try:
            return self._reader.read(offset, length)
        except InvalidAddress as error:
            if not pad:
                raise exceptions.InvalidAddressException(self.name, offset, str(error)) from error
        if length > self._reader.ram.size_bytes:
            raise exceptions.InvalidAddressException(self.name, offset, "more than the machine has")
        pieces = []
        for start in range(offset, offset + length, _PAGE):
            part = min(_PAGE, offset + length - start)
            try:
                pieces.append(self._reader.read(start, part))
            except InvalidAddress:
                pieces.append(bytes(part))
        return b"".join(pieces)

    def write(self, offset: int, data: bytes) -> None:
        """Nothing is written to a machine from here."""
        raise NotImplementedError("A machine's RAM is only read.")


class LinuxIntel57(LinuxIntel32e):  # type: ignore[misc]
    """Linux on x86-64 with five levels of page tables (Intel SDM vol. 3A, 4.5.4): 57 bits of virtual address."""

    _maxvirtaddr = 57
    _structure = [("page map layer 5", 9, False), *LinuxIntel32e._structure]  # noqa: RUF012 - Volatility's own form
    _maxphyaddr = 52
