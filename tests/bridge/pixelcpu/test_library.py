"""The library: what was proved is found again, and what was tampered with is proved anew or refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bridge.pixelcpu.errors import PixelError
from bridge.pixelcpu.library import Library, NotProved, hash_of
from bridge.pixelcpu.prover import Prover

CODE = bytes.fromhex("4801d84831c8")


class NoProver(Prover):
    """Says that it was asked."""

    def _ask(self, time_limit_s: float, name: str, *arguments: object) -> Any:
        raise AssertionError(f"{name} was asked for")


@pytest.fixture(scope="module")
def prover() -> Iterator[Prover]:
    with Prover() as one:
        yield one


def changed(file: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def test_a_kernel_is_made_once(tmp_path: Path, prover: Prover) -> None:
    library = Library(tmp_path / "pixel")
    assert library.find(CODE, NoProver()) is None
    assert library.kernels() == []
    kernel = library.learn(CODE, prover)
    assert kernel.n_states == 10_000
    assert library.learn(CODE, NoProver()) == kernel
    assert Library(tmp_path / "pixel").find(CODE, NoProver()) == kernel
    assert library.kernels() == [(kernel, True)]
    assert [file.name for file in (tmp_path / "pixel").glob("*.json")] == [f"{hash_of(CODE)}.json"]
    assert (tmp_path / "pixel" / "key").stat().st_mode & 0o777 == 0o600
    vector = library.learn(bytes.fromhex("660fefc175f0"), prover)
    assert library.find(vector.code, NoProver()) == vector


def test_what_was_tampered_with_is_proved_again_or_refused(tmp_path: Path, prover: Prover) -> None:
    library = Library(tmp_path)
    kernel = library.learn(CODE, prover)
    file = tmp_path / f"{kernel.x86_hash}.json"
    # Equal microcode by another hand: without a seal, but it can be proved.
    changed(file, lambda content: content["proof"].update(ms=0.25))
    assert library.kernels()[0][1] is False
    with pytest.raises(AssertionError, match="prove_equal"):
        library.find(CODE, NoProver())
    again = library.find(CODE, prover)
    assert again is not None
    assert again.translation == kernel.translation
    assert library.kernels()[0][1] is True
    # Microcode that does something else is refused, whatever the entry claims.
    changed(file, lambda content: content["pixel_ops"].__setitem__(0, content["pixel_ops"][1]))
    assert library.find(CODE, prover) is None
    assert not file.exists()
    assert library.learn(CODE, prover).translation == kernel.translation
    # A key that was lost: everything is proved again.
    (tmp_path / "key").write_bytes(b"short")
    assert library.find(CODE, prover) is not None
    assert library.find(CODE, NoProver()) is not None


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.update(version=2),
        lambda content: content.update(arch="riscv"),
        lambda content: content.update(pixel_ops=["zz"]),
        lambda content: content.update(pixel_ops=["00000000"]),
        lambda content: content.update(pixel_ops=7),
        lambda content: content.update(halves={"xmm0.low": 3}),
        lambda content: content.update(halves={"ymm0": 31}),
        lambda content: content.update(halves={"xmm0.low": 31, "xmm0.high": 31}),
        lambda content: content.update(halves=[]),
        lambda content: content.update(taken=99),
        lambda content: content.update(target=-1),
        lambda content: content.update(code="90"),
        lambda content: content.pop("proof"),
    ],
)
def test_what_is_no_entry_is_forgotten(
    change: Callable[[dict[str, Any]], None], tmp_path: Path, kept: dict[str, Any]
) -> None:
    file = tmp_path / f"{hash_of(CODE)}.json"
    content = json.loads(json.dumps(kept))
    change(content)
    file.write_text(json.dumps(content))
    library = Library(tmp_path)
    assert [kernel.code for kernel, _ in library.kernels()] == []
    assert library.find(CODE, NoProver()) is None
    assert not file.exists()


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory, prover: Prover) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("library")
    Library(folder).learn(CODE, prover)
    content: dict[str, Any] = json.loads((folder / f"{hash_of(CODE)}.json").read_text())
    return content


@pytest.mark.parametrize("content", [b"", b"[]", b"{" * 50_000, b"\xff", b"0" * (1 << 19)])
def test_files_that_hold_anything_hurt_nothing(content: bytes, tmp_path: Path) -> None:
    (tmp_path / f"{hash_of(CODE)}.json").write_bytes(content)
    library = Library(tmp_path)
    assert library.kernels() == []
    assert library.find(CODE, NoProver()) is None


def test_what_is_not_proved_is_not_kept(tmp_path: Path, prover: Prover) -> None:
    library = Library(tmp_path)
    with pytest.raises(NotProved, match="cpuid"):
        library.learn(bytes.fromhex("0fa2"), prover)
    with pytest.raises(PixelError):
        library.learn(b"\x06", prover)
    assert library.kernels() == []
