"""Every instruction form: the microcode does what Unicorn does, and one of each operation is proved."""

from __future__ import annotations

import pytest

from app.benchmarks import pixel_forms as forms
from bridge.pixelcpu.decode import decode
from bridge.pixelcpu.differential import run
from bridge.pixelcpu.prove import prove
from bridge.pixelcpu.translate import translate

N_STATES = 300
GROUPS = {
    name: tuple(getattr(forms, name).split())
    for name in ("ARITHMETIC", "MOVES", "SHIFTS", "PRODUCTS", "BITS", "EXCHANGES", "STRINGS", "VECTORS", "JUMPS")
}


def test_there_are_many_forms() -> None:
    names = {decode(bytes.fromhex(form))[-1].mnemonic for form in forms.FORMS}
    assert len(forms.FORMS) >= 250
    assert len(names) >= 130


@pytest.mark.parametrize("group", GROUPS)
def test_microcode_does_what_unicorn_does(group: str) -> None:
    for form in GROUPS[group]:
        code = bytes.fromhex(form)
        record = run(code, translate(code), N_STATES)
        assert record.n_mismatches == 0, f"{form}: {record.first}"
        assert record.n_states >= 0.9 * N_STATES, f"{form}: only {record.n_states} states reached their memory"


def one_of_each_operation() -> list[str]:
    found: dict[str, str] = {}
    for form in forms.FORMS:
        found.setdefault(decode(bytes.fromhex(form))[0].mnemonic, form)
    return list(found.values())


def test_one_form_of_each_operation_is_proved() -> None:
    for form in one_of_each_operation():
        attempt = prove(bytes.fromhex(form))
        assert attempt.proof.status == "proved", f"{form}: {attempt.proof.reason}"
        assert attempt.proof.query_hash
        assert attempt.proof.counterexample is None


@pytest.mark.parametrize("form", forms.SEQUENCES)
def test_sequences_are_proved_and_tried_out(form: str) -> None:
    code = bytes.fromhex(form)
    attempt = prove(code)
    assert attempt.proof.status == "proved", attempt.proof.reason
    assert attempt.translation is not None
    assert run(code, attempt.translation, N_STATES).n_mismatches == 0
