"""The library of proved kernels: one JSON file for each piece of x86 code, named by its hash, kept between runs.

An entry is only taken as proved where it bears this user's seal: an HMAC over all of it, by a key that lies beside the
library. An entry without it (tampered with, or from elsewhere) is worth what its microcode is: it is proved again, and
sealed anew or refused. Nothing in a file is trusted for its shape either.

Code is normalised before it is hashed: what is taken over neither knows nor reads where it lies, so its bytes are all.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bridge.pixelcpu.errors import BadMicrocode, PixelError
from bridge.pixelcpu.isa import N_REGISTERS, PIXEL_BYTES
from bridge.pixelcpu.microcode import decode
from bridge.pixelcpu.prover import Prover
from bridge.pixelcpu.sealed import BadEntry, SealedFolder
from bridge.pixelcpu.translation import Translation
from bridge.pixelcpu.x86_state import HALVES, REGISTERS

VERSION = 1
_ARCHITECTURE = "x86-64"
_MOST_ENTRIES = 4096


@dataclass(frozen=True, slots=True)
class Kernel:
    """Proved microcode for a piece of code."""

    code: bytes
    translation: Translation
    solver: str
    query_hash: str
    ms_synthesis: float
    ms_proof: float
    n_states: int
    """On how many random states it was compared with Unicorn; none differed."""

    @property
    def x86_hash(self) -> str:
        """What it is kept under."""
        return hash_of(self.code)


def hash_of(code: bytes) -> str:
    """The hash that code is known by: SHA-256 of the architecture and the bytes."""
    return hashlib.sha256(_ARCHITECTURE.encode() + b"\0" + code).hexdigest()


class Library:
    """The kernels of one folder, which is made when the first is kept."""

    def __init__(self, folder: Path) -> None:
        self._files = SealedFolder(folder, folder / "key")

    def find(self, code: bytes, prover: Prover) -> Kernel | None:
        """The kernel of `code`; what was tampered with is proved again, and forgotten where that fails.

        Raises PixelError as `Prover` does.
        """
        name = f"{hash_of(code)}.json"
        try:
            kernel, sealed = self._read(name)
        except FileNotFoundError:
            return None
        except BadEntry:
            self._files.forget(name)
            return None
        if kernel.code != code:
            self._files.forget(name)
            return None
        if sealed:
            return kernel
        proof = prover.prove_equal(code, kernel.translation)
        if proof.status != "proved":
            self._files.forget(name)
            return None
        record = prover.run(code, kernel.translation)
        if record.n_mismatches:
            self._files.forget(name)
            return None
        kernel = replace(
            kernel, solver=proof.solver, query_hash=proof.query_hash, ms_proof=proof.ms, n_states=record.n_states
        )
        self.keep(kernel)
        return kernel

    def learn(self, code: bytes, prover: Prover) -> Kernel:
        """The kernel of `code`, from the library or made, proved, run on random states, and kept.

        Raises NotProved with the reason, and PixelError as `Prover` does.
        """
        found = self.find(code, prover)
        if found is not None:
            return found
        attempt = prover.prove(code)
        proof, translation = attempt.proof, attempt.translation
        if proof.status != "proved" or translation is None:
            raise NotProved(proof.reason)
        record = prover.run(code, translation)
        if record.n_mismatches or not record.n_states:
            raise NotProved(
                f"Run beside Unicorn, {record.n_mismatches:,} of {record.n_states:,} states differ: {record.first}."
                if record.n_states
                else "No random state could be run beside Unicorn: its accesses leave the memory that a state has."
            )
        kernel = Kernel(
            code, translation, proof.solver, proof.query_hash, attempt.ms_synthesis, proof.ms, record.n_states
        )
        self.keep(kernel)
        return kernel

    def keep(self, kernel: Kernel) -> None:
        """Write a kernel, sealed and whole or not at all. Raises OSError."""
        self._files.write(f"{kernel.x86_hash}.json", _document(kernel))

    def kernels(self) -> list[tuple[Kernel, bool]]:
        """All that can be read, and whether each bears the seal; by hash, and 4,096 at most."""
        found = []
        for file in self._files.files()[:_MOST_ENTRIES]:
            with contextlib.suppress(BadEntry, FileNotFoundError):
                kernel, sealed = self._read(file.name)
                if file.stem == kernel.x86_hash:
                    found.append((kernel, sealed))
        return found

    def _read(self, name: str) -> tuple[Kernel, bool]:
        """An entry, and whether its seal is right. Raises BadEntry, FileNotFoundError."""
        content, sealed = self._files.read(name)
        return _kernel(content, name), sealed


class NotProved(PixelError):
    """There is no kernel for the code; the text says why."""


def _document(kernel: Kernel) -> dict[str, Any]:
    translation = kernel.translation
    return {
        "version": VERSION,
        "arch": _ARCHITECTURE,
        "x86_hash": kernel.x86_hash,
        "code": kernel.code.hex(),
        "pixel_ops": [bytes(pixel).hex() for pixel in translation.program.pixels],
        "halves": dict(translation.halves),
        "taken": translation.taken,
        "goes_on": translation.goes_on,
        "target": translation.target,
        "others": list(translation.others),
        "elsewhere": translation.elsewhere,
        "proof": {"status": "proved", "solver": kernel.solver, "query_hash": kernel.query_hash, "ms": kernel.ms_proof},
        "test": {"states": kernel.n_states, "mismatches": 0},
        "ms_synthesis": kernel.ms_synthesis,
    }


def _kernel(content: Mapping[str, Any], name: str) -> Kernel:
    """An entry's content as a kernel. Raises BadEntry."""
    try:
        if content["version"] != VERSION or content["arch"] != _ARCHITECTURE:
            raise BadEntry(f"{name} is of another version.")
        pixels = np.frombuffer(bytes.fromhex("".join(content["pixel_ops"])), np.uint8).reshape(-1, PIXEL_BYTES)
        halves = {str(half): _register(number) for half, number in content["halves"].items()}
        taken = content["taken"]
        translation = Translation(
            decode(pixels),
            halves,
            None if taken is None else _register(taken),
            _address(content["goes_on"]),
            _address(content["target"]),
            tuple(_address(one) for one in content.get("others", ())),
            None if content.get("elsewhere") is None else _register(content["elsewhere"]),
        )
        proof, test = content["proof"], content["test"]
        kernel = Kernel(
            bytes.fromhex(content["code"]),
            translation,
            str(proof["solver"])[:100],
            str(proof["query_hash"])[:100],
            float(content["ms_synthesis"]),
            float(proof["ms"]),
            int(test["states"]),
        )
    except BadMicrocode as error:
        raise BadEntry(f"{name} has no microcode: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise BadEntry(f"{name} is no kernel: {error}.") from error
    if not set(halves) <= set(HALVES) or len(set(halves.values())) != len(halves):
        raise BadEntry(f"{name} names SSE registers that are none, or one Pixel CPU register twice.")
    if any(number < len(REGISTERS) for number in halves.values()):
        raise BadEntry(f"{name} holds SSE registers where general ones lie.")
    return kernel


def _register(number: Any) -> int:
    if not isinstance(number, int) or not 0 <= number < N_REGISTERS:
        raise ValueError(f"there is no register {number!r}")
    return number


def _address(value: Any) -> int:
    if not isinstance(value, int) or not 0 <= value < 1 << 64:
        raise ValueError(f"{value!r} is no address")
    return value
