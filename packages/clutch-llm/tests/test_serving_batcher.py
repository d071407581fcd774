"""The batcher: what is alike is done together, one bad job spoils no other, streams take turns, queues are bounded."""

import threading

import pytest
from clutch_llm.serving.batcher import Batcher, QueueFullError, StoppedError


class Held:
    """A function for jobs that waits until it is let go, and remembers its batches."""

    def __init__(self) -> None:
        self.batches: list[list[object]] = []
        self.running, self.go = threading.Event(), threading.Event()

    def __call__(self, items):
        self.batches.append(list(items))
        self.running.set()
        assert self.go.wait(10)
        if "bad" in items:
            raise ValueError("a bad one")
        return [f"{item}!" for item in items]


@pytest.fixture
def held():
    return Held()


@pytest.fixture
def make():
    made = []

    def make(**how):
        made.append(Batcher(**{"gather_ms": 0, **how}))
        return made[-1]

    yield make
    for batcher in made:
        batcher.stop(5)


def busy(batcher, held):
    """Keep the worker busy with a job."""
    job = batcher.submit("first", held, "first")
    assert held.running.wait(10)
    return job


def test_jobs_of_a_key_that_wait_together_are_one_batch(make, held):
    batcher = make()
    busy(batcher, held)
    jobs = [batcher.submit(key, held, f"{key}{k}") for k, key in enumerate("abab")]
    held.go.set()
    assert [job.result(10) for job in jobs] == ["a0!", "b1!", "a2!", "b3!"]
    assert held.batches == [["first"], ["a0", "a2"], ["b1", "b3"]]


def test_a_batch_waits_for_others_for_the_time_of_gathering(make, held):
    batcher = make(gather_ms=500, batch_size=2)
    held.go.set()
    jobs = [batcher.submit("a", held, k) for k in range(2)]
    assert [job.result(10) for job in jobs] == ["0!", "1!"]
    assert held.batches == [[0, 1]]


def test_no_batch_is_larger_than_its_size(make, held):
    batcher = make(batch_size=3)
    busy(batcher, held)
    jobs = [batcher.submit("a", held, k, size=size) for k, size in enumerate((2, 1, 1, 7, 1))]
    held.go.set()
    for job in jobs:
        job.result(10)
    assert held.batches[1:] == [[0, 1], [2], [3], [4]]


def test_one_bad_job_spoils_no_other(make, held):
    batcher = make()
    busy(batcher, held)
    good, bad, other = (batcher.submit("a", held, item) for item in ("x", "bad", "y"))
    held.go.set()
    assert (good.result(10), other.result(10)) == ("x!", "y!")
    with pytest.raises(ValueError, match="a bad one"):
        bad.result(10)


def test_a_full_queue_says_when_to_come_again(make, held):
    batcher = make(max_queue=2)
    busy(batcher, held)
    jobs = [batcher.submit("a", held, k) for k in range(2)]
    with pytest.raises(QueueFullError, match="2 requests wait already") as caught:
        batcher.submit("a", held, 2)
    assert 1 <= caught.value.retry_after <= 60
    held.go.set()
    assert [job.result(10) for job in jobs] == ["0!", "1!"]


def test_a_job_that_nobody_waits_for_is_not_done(make, held):
    batcher = make()
    busy(batcher, held)
    given_up, kept = batcher.submit("a", held, "given up"), batcher.submit("a", held, "kept")
    assert given_up.cancel()
    held.go.set()
    assert kept.result(10) == "kept!"
    assert held.batches[1:] == [["kept"]]


def test_streams_and_batches_take_turns(make, held):
    batcher = make()
    held.go.set()
    came, over = [], threading.Event()

    def pieces():
        for k in range(3):
            came.append(batcher.submit("a", held, k))
            yield k

    def give(piece):
        if isinstance(piece, int):
            came.append(piece)
        else:
            over.set()

    batcher.stream(pieces, give)
    assert over.wait(10)
    assert [c if isinstance(c, int) else c.result(10) for c in came] == ["0!", 0, "1!", 1, "2!", 2]
    assert held.batches == [[0], [1], [2]]
    assert batcher.streaming == 0


def test_a_stream_that_fails_or_is_cancelled_ends_alone(make, held):
    batcher = make(max_streams=1)
    came, over = [], threading.Event()

    def broken():
        yield 1
        raise ValueError("broken")

    def give(piece):
        came.append(piece)
        if not isinstance(piece, int):
            over.set()

    batcher.stream(broken, give)
    assert over.wait(10)
    assert came[0] == 1
    assert str(came[1]) == "broken"
    job = busy(batcher, held)
    stream = batcher.stream(lambda: iter([1, 2]), came.append)
    with pytest.raises(QueueFullError, match="streamed already"):
        batcher.stream(lambda: iter([3]), came.append)
    stream.cancelled.set()
    held.go.set()
    assert job.result(10) == "first!"
    batcher.stop(10)
    assert len(came) == 2


def test_what_waits_is_done_before_the_end_and_nothing_is_taken_after_it(make, held):
    batcher = make()
    busy(batcher, held)
    job = batcher.submit("a", held, "last")
    stopper = threading.Thread(target=batcher.stop)
    stopper.start()
    held.go.set()
    stopper.join(10)
    assert job.result(0) == "last!"
    with pytest.raises(StoppedError):
        batcher.submit("a", held, 1)


def test_what_cannot_be_done_in_time_is_told_so(make, held):
    batcher = make()
    busy(batcher, held)
    job = batcher.submit("a", held, "late")
    batcher.stop(0.05)
    with pytest.raises(StoppedError):
        job.result(0)
    held.go.set()


def test_a_function_that_gives_too_few_results_does_not_end_the_thread(make, held):
    batcher = make()
    with pytest.raises(RuntimeError, match="Expected 1 results of a batch, got 0"):
        batcher.submit("a", lambda items: [], 1).result(10)
    held.go.set()
    assert batcher.submit("a", held, 1).result(10) == "1!"
