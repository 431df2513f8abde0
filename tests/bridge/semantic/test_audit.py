"""The audit log: every record is chained to the one before, and whatever is done to the files shows."""

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.semantic import audit
from bridge.semantic.audit import START, TORN, AuditFailed, AuditLog, records, verify


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


def _filled(path: Path, count: int = 8) -> list[bytes]:
    log = AuditLog(path)
    for i in range(count):
        log.record("cli", "query", {"text": f"question {i}", "machine": "demo"}, f"{i} matches")
    return path.read_bytes().splitlines()


def test_records_follow_on_each_other_and_are_read_back(path: Path) -> None:
    lines = _filled(path, 3)
    kept = records(path)
    assert [json.loads(line) for line in lines] == [record.document() for record in kept]
    assert [record.number for record in kept] == [1, 2, 3]
    assert kept[0].previous == START
    assert [record.previous for record in kept[1:]] == [record.hash for record in kept[:-1]]
    verdict = verify(path)
    assert (verdict.good, verdict.n_records, verdict.head) == (True, 3, kept[-1].hash)
    assert path.stat().st_mode & 0o777 == 0o600
    assert records(path, last=2) == kept[1:]


def test_any_changed_byte_shows(path: Path) -> None:
    _filled(path, 3)
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert not verify(path).good, place
    path.write_bytes(whole)
    assert verify(path).good


@pytest.mark.parametrize("taken", range(8))
def test_a_record_that_was_taken_out_shows(path: Path, taken: int) -> None:
    lines = _filled(path)
    path.write_bytes(b"\n".join(lines[:taken] + lines[taken + 1 :]) + b"\n")
    verdict = verify(path)
    # Without the first the chain could be one whose earlier segment was put elsewhere: that is said, not hidden.
    assert (verdict.good, verdict.first) == ((True, 2) if taken == 0 else (False, 1))


def test_records_in_another_order_twice_or_of_another_log_show(path: Path, tmp_path: Path) -> None:
    lines = _filled(path)
    other = tmp_path / "other.jsonl"
    strange = _filled(other)
    for wrong in (
        [*lines[:3], lines[4], lines[3], *lines[5:]],
        [*lines, lines[-1]],
        [*lines[:7], strange[7]],
        lines[:-1],
        [],
        [b"{}", *lines],
    ):
        path.write_bytes(b"".join(line + b"\n" for line in wrong))
        assert not verify(path).good, wrong


def test_another_spelling_of_a_record_is_not_that_record(path: Path) -> None:
    lines = _filled(path, 2)
    path.write_bytes(lines[0].replace(b'":', b'": ') + b"\n" + lines[1] + b"\n")
    assert not verify(path).good


def test_a_lost_head_shows_and_one_that_is_a_record_behind_does_not(path: Path) -> None:
    _filled(path, 1)
    first = path.with_suffix(".head").read_bytes()
    _filled(path, 1)
    path.with_suffix(".head").write_bytes(first)  # killed between the two files
    assert verify(path).good
    assert AuditLog(path).record("cli", "query").number == 3
    path.with_suffix(".head").unlink()
    assert "gone" in verify(path).problem


def test_a_log_that_was_emptied_is_said_to_hold_nothing(path: Path) -> None:
    _filled(path, 3)
    path.write_bytes(b"")
    assert verify(path).problem == "No record is there, but record 3 was written."


@given(cut=st.data())
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_line_that_was_cut_off_is_kept_and_accounted_for(tmp_path: Path, cut: st.DataObject) -> None:
    path = tmp_path / f"{time.monotonic_ns()}.jsonl"
    _filled(path, 2)
    head = path.with_suffix(".head").read_bytes()
    whole = path.read_bytes()
    left = whole
    for _ in range(cut.draw(st.integers(1, 3))):
        # What another record would have added, as far as a full disk let it.
        AuditLog(path).record("cli", "query", {"text": "lost"})
        added = path.read_bytes()[len(left) :]
        left += added[: cut.draw(st.integers(1, len(added) - 1) | st.just(len(added) - 1))]
        path.write_bytes(left)
        path.with_suffix(".head").write_bytes(head)
    ends_whole = left.splitlines()[-1].endswith(b"}") and records(path)[-1].number > 2
    assert verify(path).good == ends_whole
    made = AuditLog(path).record("cli", "query", {"text": "after"})
    assert path.read_bytes().startswith(left)
    verdict = verify(path)
    assert verdict.good, verdict.problem
    assert records(path)[-1] == made
    if TORN in [record.what for record in records(path)]:  # it is bound to what it accounts for
        path.write_bytes(path.read_bytes()[: len(whole)] + b"#" + path.read_bytes()[len(whole) + 1 :])
        assert not verify(path).good
    else:
        assert ends_whole


def test_a_full_disk_is_said_and_the_next_record_goes_on(path: Path) -> None:
    _filled(path, 1)
    program = (
        "import resource, signal, sys; from pathlib import Path; from bridge.semantic.audit import *\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "size = Path(sys.argv[1]).stat().st_size + 50\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))\n"
        "try: AuditLog(Path(sys.argv[1])).record('cli', 'query')\n"
        "except AuditFailed as error: print(error)\n"
    )
    told = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=True).stdout
    assert "cannot be written" in told
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    AuditLog(path).record("cli", "query")
    assert verify(path).good


def test_writers_at_once_make_one_chain_and_a_killed_one_leaves_it_whole(path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from bridge.semantic.audit import AuditLog\n"
        "log = AuditLog(Path(sys.argv[1]))\n"
        "while True: log.record('rest:child', 'read', {'address': '0x1000', 'bytes': 4096})\n"
    )
    log = AuditLog(path)
    log.record("window", "query")
    children = [subprocess.Popen([sys.executable, "-c", program, path]) for _ in range(2)]
    threads = [threading.Thread(target=lambda: [log.record("window", "query") for _ in range(50)]) for _ in range(3)]
    for thread in threads:
        thread.start()
    for child in children:
        while not any(record.who == "rest:child" for record in records(path)):
            time.sleep(0.01)
        child.send_signal(signal.SIGKILL)
        child.wait()
    for thread in threads:
        thread.join()
    log.record("window", "query")
    verdict = verify(path)
    assert verdict.good, verdict.problem
    assert sum(record.who == "window" for record in records(path, last=10**6)) == 152


def test_a_long_log_is_put_aside_and_the_chain_goes_on(path: Path) -> None:
    log = AuditLog(path, segment_bytes=2000)
    made = [log.record("cli", "query", {"text": "x" * 100}) for _ in range(30)]
    segments = sorted(path.parent.glob("audit-*.jsonl"))
    assert len(segments) >= 3
    assert records(path) == made
    assert verify(path).good
    segments[0].rename(path.parent / "elsewhere")
    later = verify(path)
    assert later.good
    assert later.first > 1
    segments[2].write_bytes(b"")
    assert not verify(path).good


@given(
    detail=st.dictionaries(
        st.text(),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.binary(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
            max_leaves=30,
        ),
    ),
    who=st.text(st.characters()),
)
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_guests_and_clients_say_ends_as_one_clean_line(
    tmp_path: Path, detail: dict[str, object], who: str
) -> None:
    path = tmp_path / f"{time.monotonic_ns()}.jsonl"
    made = AuditLog(path).record(who, "query", detail)
    line = path.read_bytes()
    assert line.count(b"\n") == 1
    assert all(0x20 <= byte < 0x7F for byte in line[:-1])
    assert len(line) < audit.MAX_LINE_BYTES
    assert records(path) == [made]
    assert verify(path).good


def test_what_is_too_long_is_cut_and_said_to_be(path: Path) -> None:
    deep: object = "end"
    for _ in range(2000):
        deep = [deep]
    detail = {"text": "é" * 10_000, "many": list(range(1000)), "keys": {str(i): i for i in range(99)}, "deep": deep}
    made = AuditLog(path).record("cli", "query", {**detail, "nan": float("nan"), "huge": 1 << 5000})
    text, many, keys = made.detail["text"], made.detail["many"], made.detail["keys"]
    assert isinstance(text, str)
    assert text.endswith("(10,000 characters)")
    assert isinstance(many, list)
    assert many[-1] == "… 960 more"
    assert isinstance(keys, dict)
    assert keys["…"] == "59 more"
    assert made.detail["nan"] == "nan"
    assert path.stat().st_size < audit.MAX_LINE_BYTES
    much = {str(i): {str(k): "é" * 2000 for k in range(40)} for i in range(40)}
    assert "left out" in AuditLog(path).record("cli", "query", much).detail
    assert verify(path).good


def test_links_directories_and_missing_logs_are_refused(path: Path, tmp_path: Path) -> None:
    with pytest.raises(AuditFailed, match="no audit log"):
        verify(path)
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    path.symlink_to(victim)
    with pytest.raises(AuditFailed, match="cannot be written"):
        AuditLog(path).record("cli", "query")
    assert victim.read_bytes() == b"precious"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(AuditFailed, match="not a file"):
        AuditLog(path).record("cli", "query")
    with pytest.raises(AuditFailed, match="cannot be opened"):
        AuditLog(tmp_path / "nowhere" / "audit.jsonl").record("cli", "query")


def test_the_usual_place_is_the_users_state_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    AuditLog().record("cli", "query")
    assert (tmp_path / "glassbox" / "audit.jsonl").exists()
    assert verify().good
    assert len(records()) == 1


def test_an_end_that_was_cut_off_is_not_made_good_by_what_is_written_next(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    log = AuditLog(path)
    for number in range(5):
        log.record("cli", "find", {"number": number})
    whole = path.read_bytes()
    path.write_bytes(b"".join(whole.splitlines(keepends=True)[:3]))
    log.record("cli", "find", {"number": 5})
    log.record("cli", "find", {"number": 6})
    verdict = verify(path)
    assert not verdict.good
    assert verdict.n_records == 3
    assert "line 4: 2 records that were written before it are gone" in verdict.problem
    assert [one.what for one in records(path)] == ["find", "find", "find", "audit.cut", "find", "find"]
