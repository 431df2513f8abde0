"""What is asked and done in the window is in the audit log: by whom, with what, and what came of it."""

import logging
from pathlib import Path

import pytest

from app.actions import BadArguments
from app.auditing import AUDITED, SCRIPT, Auditor
from bridge.semantic.audit import AuditLog, records, verify
from tests.app.conftest import SIZE, dump_window


def test_each_audited_action_exists_and_is_recorded_with_who_asked(demo_dump: Path) -> None:
    with dump_window(demo_dump, SIZE) as person:
        actions = person.state.actions
        assert not AUDITED - {action.id for action in actions}
        person.run("choose.pages_of", "process", "1")
        actions.run("choose.pages_of", ["class", "slab"], who=SCRIPT)
        with pytest.raises(BadArguments):
            actions.run("choose.pages_of", ["class", "nonsense"])
        person.run("view.fit")
        person.until(lambda: len(records()) == 4, "what was done should be recorded")
        assert verify().good
        told = [(one.who, one.what, one.detail.get("key"), one.result.split(":")[0]) for one in records()]
    assert told == [
        ("window", "machine.open_dump", None, "begun"),
        ("window", "choose.pages_of", "1", "done"),
        (SCRIPT, "choose.pages_of", "slab", "done"),
        ("window", "choose.pages_of", "nonsense", "failed"),
    ]


def test_a_log_that_cannot_be_written_is_said_once_and_the_window_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    auditor = Auditor(AuditLog(tmp_path / "nowhere" / "audit.jsonl"))
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            auditor.tell("window", "machine.pause", {"machine": "demo"}, "done")
        auditor.close()
    assert sum("cannot be opened" in record.message for record in caplog.records) == 1


def test_nothing_waits_for_the_disk_and_nothing_is_lost_at_the_end(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.jsonl")
    auditor = Auditor(log)
    with log._held():  # another process writes, for longer than this test takes
        for i in range(50):
            auditor.tell("window", "machine.pause", {"number": i}, "done")
        auditor.tell("window", "view.fit", {}, "done")
    auditor.close()
    assert [one.detail["number"] for one in records(log.path)] == list(range(50))
    assert verify(log.path).good
