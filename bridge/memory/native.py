"""What compiled loops need and numba lacks: ordered loads and stores, 128-bit sums, prefetch, and `lseek`.

Threads meet in plain arrays here. Without these, LLVM may move an ordinary store across the loop before it, and on
other processors than x86 the machine may as well. On x86, where loads are not reordered with loads nor stores with
stores (Intel SDM vol. 3A, "Memory ordering"), they cost nothing beyond holding the compiler.
"""
# ruff: noqa: ARG001 - numba calls these with typing and code generation contexts, and matches arguments by name

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

P = ParamSpec("P")
R = TypeVar("R")

_I32 = ir.IntType(32)
_I64 = ir.IntType(64)
_I128 = ir.IntType(128)
_types: Any = types


def compiled(*, nogil: bool) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Compiles with numba, and keeps the result between runs where there is a directory to keep it in."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        try:
            return cast(Callable[P, R], numba.njit(nogil=nogil, cache=True)(function))
        except RuntimeError:
            # Neither the source's directory nor the user's cache can be written to: compile anew in each run.
            return cast(Callable[P, R], numba.njit(nogil=nogil)(function))

    return decorate


def inlined(function: Callable[P, R]) -> Callable[P, R]:
    """Compiles a helper of compiled functions."""
    return cast(Callable[P, R], numba.njit(function))


def _load_acquire_u32(typing_context: Any, address: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load_atomic(builder.inttoptr(arguments[0], _I32.as_pointer()), "acquire", 4)

    return _types.uint32(_types.uintp), generate


def _store_release_u32(typing_context: Any, address: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.store_atomic(arguments[1], builder.inttoptr(arguments[0], _I32.as_pointer()), "release", 4)
        return context.get_dummy_value()

    return _types.void(_types.uintp, _types.uint32), generate


def _fence(typing_context: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.fence("acq_rel")
        return context.get_dummy_value()

    return _types.void(), generate


def _multiply_add_128(typing_context: Any, low: Any, high: Any, x: Any, y: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        low, high, x, y = (builder.zext(argument, _I128) for argument in arguments)
        total = builder.or_(low, builder.shl(high, _I128(64)))
        total = builder.add(total, builder.mul(x, y))
        halves = [builder.trunc(total, _I64), builder.trunc(builder.lshr(total, _I128(64)), _I64)]
        return context.make_tuple(builder, signature.return_type, halves)

    word = _types.uint64
    return _types.UniTuple(word, 2)(word, word, word, word), generate


def _prefetch(typing_context: Any, address: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [pointer, _I32, _I32, _I32])
        function = cast(Any, cgutils).get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        # For reading, into all cache levels, data.
        builder.call(function, [builder.inttoptr(arguments[0], pointer), _I32(0), _I32(3), _I32(1)])
        return context.get_dummy_value()

    return _types.void(_types.uintp), generate


# The uint32 at an address; nothing that follows is read before it.
load_acquire_u32: Callable[[np.uintp], np.uint32] = cast(Any, intrinsic)(_load_acquire_u32)

# Stores a uint32 at an address; all that precedes is visible before it.
store_release_u32: Callable[[np.uintp, np.uint32], None] = cast(Any, intrinsic)(_store_release_u32)

# Neither loads nor stores cross it, save that a store before it may become visible after a later load.
fence: Callable[[], None] = cast(Any, intrinsic)(_fence)

# (low, high, x, y) -> (low, high) + x * y modulo 2^128.
multiply_add_128: Callable[[np.uint64, np.uint64, np.uint64, np.uint64], tuple[np.uint64, np.uint64]] = cast(
    Any, intrinsic
)(_multiply_add_128)

# Asks for the cache line at an address; does nothing where no memory is.
prefetch: Callable[[np.uintp], None] = cast(Any, intrinsic)(_prefetch)

# The C library's, resolved when the compiled code is loaded: (fd, offset, whence) -> offset or -1.
lseek: Callable[[int, int, int], int] = cast(
    Any, _types.ExternalFunction("lseek", _types.int64(_types.int32, _types.int64, _types.int32))
)
