"""Jobs: work runs beside the main thread, its end comes back to it, and cancelling ends it."""

import threading
import time

import pytest

from app.jobs import Job, JobCancelled, Jobs, JobState


def _pump_until(jobs: Jobs, job: Job, limit_s: float = 60) -> None:
    deadline = time.monotonic() + limit_s
    while not job.wait(0.005):
        jobs.pump()
        assert time.monotonic() < deadline, "the job did not end"


def test_result_comes_back_on_the_pumping_thread() -> None:
    woken = threading.Event()
    jobs, seen = Jobs(woken.set), []

    def work(job: Job) -> int:
        job.report("counting", 0.5)
        assert threading.current_thread() is not threading.main_thread()
        return 42

    job = jobs.start("Count", work, on_end=lambda j: seen.append((j.result, threading.current_thread())))
    assert woken.wait(60)
    assert seen == []  # not before the main thread asks
    _pump_until(jobs, job)
    assert seen == [(42, threading.main_thread())]
    assert (job.state, job.note, job.fraction) == (JobState.DONE, "counting", 0.5)
    assert jobs.get(job.number) is job
    assert jobs.running() == []


def test_failure_keeps_the_error() -> None:
    jobs = Jobs()

    def work(_job: Job) -> None:
        raise OSError("no space")

    job = jobs.start("Write", work)
    _pump_until(jobs, job)
    assert job.state is JobState.FAILED
    assert str(job.error) == "no space"


@pytest.mark.parametrize("raises", [JobCancelled, RuntimeError])
def test_cancelled_work_is_no_failure(raises: type[Exception]) -> None:
    jobs = Jobs()

    def work(job: Job) -> None:
        while not job.cancelled():
            time.sleep(0.001)
        if raises is JobCancelled:
            job.check()
        raise RuntimeError("interrupted half-way")

    job = jobs.start("Wait", work)
    job.check()
    assert job.cancel()
    _pump_until(jobs, job)
    assert job.state is JobState.CANCELLED


def test_progress_is_clamped_and_uncancellable_stays() -> None:
    jobs = Jobs()
    release = threading.Event()

    def work(job: Job) -> None:
        job.report("x", 7.0)
        release.wait(60)

    job = jobs.start("Hold", work, can_cancel=False)
    assert not job.cancel()
    assert not job.cancelled()
    release.set()
    _pump_until(jobs, job)
    assert job.fraction == 1.0


def test_close_cancels_waits_and_refuses_new_work() -> None:
    jobs = Jobs()
    ended: list[Job] = []

    def work(job: Job) -> None:
        while not job.cancelled():
            time.sleep(0.001)
        job.check()

    job = jobs.start("Endless", work, on_end=ended.append)
    assert jobs.close() == []
    assert ended == [job]
    late = jobs.start("Late", lambda _job: 1)
    assert late.state is JobState.CANCELLED
    assert late.wait(0)


def test_a_job_that_will_not_end_is_reported() -> None:
    jobs = Jobs()
    release = threading.Event()
    job = jobs.start("Stuck", lambda _job: release.wait(60))
    assert jobs.close(timeout_s=0.05) == [job]
    release.set()


def test_an_end_that_raises_still_lets_waiters_go() -> None:
    queued = threading.Event()
    jobs = Jobs(queued.set)

    def fail(_job: Job) -> None:
        raise ValueError("handler")

    job = jobs.start("x", lambda _job: 1, on_end=fail)
    assert queued.wait(60)
    assert job.state is JobState.DONE
    with pytest.raises(ValueError, match="handler"):
        jobs.pump()
    assert job.wait(0)


def test_finished_jobs_leave_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.jobs.KEPT_FINISHED_S", 3600.0)
    jobs = Jobs()
    job = jobs.start("Quick", lambda _job: 1)
    _pump_until(jobs, job)
    assert jobs.shown() == [job]
    monkeypatch.setattr("app.jobs.KEPT_FINISHED_S", 0.0)
    jobs.pump()
    assert jobs.shown() == []
    assert jobs.get(job.number) is None
