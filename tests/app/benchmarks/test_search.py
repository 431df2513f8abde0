"""The search benchmark, in small: every figure that was asked for is there, beside its bar, and is a measured one."""

from types import SimpleNamespace

import psutil
import pytest

from app.benchmarks.report import Report
from app.benchmarks.search import run


@pytest.fixture(scope="module")
def report() -> Report:
    return run(sizes_mib=(8,), seconds_each=0.1)


def test_every_figure_is_there_with_its_bar(report: Report) -> None:
    results = {result.name: result for result in report.results}
    assert {name: str(result.bar) for name, result in results.items() if result.bar is not None} == {
        "bytes_8mib": ">= 2",
        "bytes_8mib_processor": ">= 2",
        "bytes_8mib_cancelled_after_p99": "<= 50",
        "expression_8mib_cancelled_after_p99": "<= 50",
    }
    assert {
        "bytes_8mib_one_thread",
        "bytes_8mib_numpy_max",
        "bytes_8mib_mmap_find",
        "bytes_8mib_libc_memmem",
        "bytes_8mib_grep",
        "bytes_8mib_to_grep",
        "bytes_8mib_processor_to_numpy_max",
        "bytes_8mib_processor_to_mmap_find",
        "bytes_8mib_processor_to_libc_memmem",
        "bytes_with_wildcards_8mib",
        "text_ignoring_case_utf_8_and_16_8mib",
        "eight_alternatives_8mib",
        "bytes_in_every_other_page_8mib",
        "bytes_in_scattered_virtual_pages_8mib",
        "regex_with_literal_8mib",
        "regex_of_classes_8mib",
        "yara_8mib",
    } <= set(results)
    assert all(result.value is not None and result.value > 0 for result in report.results)


def test_ratios_are_of_the_figures_beside_them(report: Report) -> None:
    values = {result.name: result.value or 0.0 for result in report.results}
    assert values["bytes_8mib_to_grep"] == pytest.approx(values["bytes_8mib"] / values["bytes_8mib_grep"])


def test_what_does_not_fit_is_left_out_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1 << 20, total=1 << 30))
    report = run(sizes_mib=(128,))
    assert report.results == ()
    assert any("128 MiB left out: only 1 MiB" in note for note in report.notes)
