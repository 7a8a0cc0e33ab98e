"""Jobs end, or are ended; what they say is told."""

from __future__ import annotations

import pytest

from adapters.errors import SourceConflict, SourceInvalid, SourceNotFound, SourceUnavailable
from adapters.hyperv.calls import Calls
from adapters.hyperv.facts import Started
from adapters.hyperv.jobs import JobFailed, JobWaiter
from tests.support.hyperv.faults import FAILED
from tests.support.hyperv.runner import WorldRunner
from tests.support.hyperv.world import MIB, HypervWorld


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def time() -> Time:
    """No time passes but by sleeping."""
    return Time()


@pytest.fixture
def calls(world: HypervWorld) -> Calls:
    """The calls to the host."""
    return Calls(WorldRunner(world, "hv1"))


@pytest.fixture
def waiter(time: Time) -> JobWaiter:
    """A waiter on that clock."""
    return JobWaiter(clock=time.clock, sleep=time.sleep)


def begun(world: HypervWorld, calls: Calls) -> Started:
    """A checkpoint in the making."""
    return calls.create_checkpoint(world.add_machine("web", MIB), "application", leave_out=False)


def test_a_job_is_waited_for_until_it_is_done(world: HypervWorld, calls: Calls, waiter: JobWaiter, time: Time) -> None:
    """4096 is a start, not an end: what was made is known when the job says so."""
    (made,) = waiter.wait(calls, begun(world, calls), "none", seconds=60)
    (machine,) = world.machines.values()
    assert [checkpoint.id for checkpoint in machine.checkpoints] == [made]
    assert time.slept


def test_a_method_that_ends_at_once_needs_no_wait(world: HypervWorld, calls: Calls, waiter: JobWaiter) -> None:
    """Return value 0 has no job."""
    assert waiter.wait(calls, Started(None, ("made",)), "none", seconds=60) == ("made",)
    assert not world.calls


def test_a_failed_job_tells_all_that_the_host_says(world: HypervWorld, calls: Calls, waiter: JobWaiter) -> None:
    """Pitfall: a method answers 4096 and its job fails. The texts of GetErrorEx are in the error, outermost first."""
    world.jobs.failing["create-checkpoint"] = [
        (FAILED, ["Checkpoint operation failed.", "Writer timed out (0x800423F2)."])
    ]
    with pytest.raises(JobFailed) as raised:
        waiter.wait(calls, begun(world, calls), "No checkpoint was made", seconds=60)
    assert isinstance(raised.value.error, SourceInvalid)
    assert str(raised.value.error) == (
        "No checkpoint was made: Checkpoint operation failed. Writer timed out (0x800423F2)."
    )


def test_a_failed_job_without_a_word_tells_its_number(world: HypervWorld, calls: Calls, waiter: JobWaiter) -> None:
    """The number decides the kind, too: invalid state is a conflict."""
    world.jobs.failing["create-checkpoint"] = [(32775, [])]
    with pytest.raises(SourceConflict, match="32775") as raised:
        waiter.finish(calls, begun(world, calls), "none", seconds=60)
    assert raised.value.code == "machine-busy"


def test_a_hung_job_is_cancelled_at_its_deadline(
    world: HypervWorld, calls: Calls, waiter: JobWaiter, time: Time
) -> None:
    """Pitfall: a job that never ends. We stop waiting, ask the host to stop, and say how far it was."""
    world.jobs.hanging["create-checkpoint"] = 1
    started = begun(world, calls)
    with pytest.raises(SourceUnavailable, match="50 percent") as raised:
        waiter.wait(calls, started, "none", seconds=120)
    assert raised.value.code == "job-timeout"
    assert world.jobs.cancelled == [started.job]
    assert time.now == pytest.approx(120)


def test_looks_become_rarer(world: HypervWorld, calls: Calls, waiter: JobWaiter, time: Time) -> None:
    """Each look is a process at the host."""
    world.jobs.hanging["create-checkpoint"] = 1
    with pytest.raises(SourceUnavailable):
        waiter.wait(calls, begun(world, calls), "none", seconds=600)
    assert len(time.slept) < 320


def test_stopping_us_cancels_the_job(world: HypervWorld, calls: Calls, time: Time) -> None:
    """What nobody waits for is not left running."""
    world.jobs.hanging["create-checkpoint"] = 1
    started = begun(world, calls)
    with pytest.raises(SourceUnavailable) as raised:
        JobWaiter(clock=time.clock, sleep=time.sleep, stopped=lambda: True).wait(calls, started, "none", seconds=60)
    assert raised.value.code == "job-stopped"
    assert world.jobs.cancelled == [started.job]


def test_a_job_that_somebody_cancelled_is_a_conflict(world: HypervWorld, calls: Calls, waiter: JobWaiter) -> None:
    """It is over, and nothing was made."""
    world.jobs.hanging["create-checkpoint"] = 1
    started = begun(world, calls)
    assert started.job is not None
    calls.cancel_job(started.job)
    with pytest.raises(SourceConflict) as raised:
        waiter.finish(calls, started, "none", seconds=60)
    assert raised.value.code == "job-cancelled"


def test_a_job_that_the_host_forgot_is_not_taken_for_done(world: HypervWorld, calls: Calls, waiter: JobWaiter) -> None:
    """How it ended is not known: the caller looks at the machine."""
    started = begun(world, calls)
    world.jobs.jobs.clear()
    with pytest.raises(SourceNotFound) as raised:
        waiter.wait(calls, started, "none", seconds=60)
    assert raised.value.code == "job-missing"
