"""Layout of the shared memory between plugin and reader, taken from the plugin's own header: there is no second one."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cffi
import numpy as np

HEADER = Path(__file__).parents[2] / "tcg_plugin" / "trace_format.h"
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_NOT_FOR_CFFI = re.compile(r"^#(?:include|ifndef|endif|define GLASSBOX_TRACE_FORMAT_H).*$", re.MULTILINE)
_CONSTANT = re.compile(r"^#define (GB_\w+) \S+$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Layout:
    """The header's structures as numpy types, by their names without `gb_`, and its constants without `GB_`."""

    types: dict[str, np.dtype[Any]]
    constants: dict[str, int]

    def __getitem__(self, name: str) -> np.dtype[Any]:
        return self.types[name]


@functools.cache
def layout() -> Layout:
    """What tcg_plugin/trace_format.h says. Raises OSError where that file is not there."""
    return layout_of(HEADER.read_text())


def layout_of(text: str) -> Layout:
    """What such a header says. Raises cffi's CDefError where it is not C of fixed widths."""
    declarations = _NOT_FOR_CFFI.sub("", _COMMENT.sub("", text))
    ffi = cffi.FFI()
    ffi.cdef("\n".join(line.rstrip() for line in declarations.splitlines()))
    names = re.findall(r"^struct (gb_\w+) \{", declarations, re.MULTILINE)
    library: Any = ffi.dlopen(None)
    constants = {name.removeprefix("GB_"): int(getattr(library, name)) for name in _constants_in(declarations)}
    types = {name.removeprefix("gb_"): _dtype(ffi, ffi.typeof(f"struct {name}")) for name in names}
    return Layout(types, constants)


def _constants_in(declarations: str) -> list[str]:
    return _CONSTANT.findall("\n".join(line.rstrip() for line in declarations.splitlines()))


def _dtype(ffi: cffi.FFI, kind: Any) -> np.dtype[Any]:
    """A structure, array or number of C as numpy's: same offsets, same size."""
    if kind.kind == "array":
        return np.dtype((_dtype(ffi, kind.item), (kind.length,)))
    if kind.kind == "struct":
        fields = kind.fields
        return np.dtype(
            {
                "names": [name for name, _ in fields],
                "formats": [_dtype(ffi, field.type) for _, field in fields],
                "offsets": [field.offset for _, field in fields],
                "itemsize": ffi.sizeof(kind),
            }
        )
    return np.dtype(f"<u{ffi.sizeof(kind)}")
