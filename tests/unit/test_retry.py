"""What is worth another try, how long the wait is, and when it ends."""

from __future__ import annotations

import random

import pytest

from ecrdrag.errors import NotFoundError, TransferError, TransientError
from ecrdrag.transfer.retry import RetryPolicy, Tries


class Attempts:
    """Fail with one error after the other, then give the answer."""

    def __init__(self, *errors: Exception) -> None:
        self._errors = list(errors)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self._errors:
            raise self._errors.pop(0)
        return "put"


def policy(waits: list[float], tries: int = 3) -> RetryPolicy:
    return RetryPolicy(tries, base=1.0, cap=1.5, random=random.Random(3), sleep=waits.append)


def test_insist_gives_what_the_first_good_attempt_gives() -> None:
    waits: list[float] = []
    attempt = Attempts(TransientError("slow down"), TransientError("slow down"))
    assert policy(waits).insist(attempt, "the image") == "put"
    assert attempt.calls == 3


def test_insist_waits_between_the_tries_as_delay_says_and_never_after_the_last() -> None:
    waits: list[float] = []
    with pytest.raises(TransferError):
        policy(waits, tries=5).insist(Attempts(*[TransientError("no")] * 5), "the image")
    same = policy([], tries=5)
    assert waits == [same.delay(failures) for failures in (1, 2, 3, 4)]


def test_insist_gives_up_with_the_number_of_tries_the_last_cause_and_its_hint() -> None:
    last = TransientError("still no", hint="ask again tomorrow")
    attempt = Attempts(TransientError("no"), TransientError("no"), last)
    with pytest.raises(TransferError, match=r"^gave up on the image after 3 tries: still no$") as caught:
        policy([]).insist(attempt, "the image")
    assert type(caught.value) is TransferError
    assert (caught.value.hint, caught.value.__cause__) == ("ask again tomorrow", last)


def test_insist_lets_any_other_error_through_at_once() -> None:
    attempt = Attempts(NotFoundError("no repository"))
    with pytest.raises(NotFoundError):
        policy([]).insist(attempt, "the image")
    assert attempt.calls == 1


def test_tries_are_forgiven_by_progress_only() -> None:
    tries = Tries(RetryPolicy(tries=3, base=0.0), "blob X")
    tries.failed(TransientError("1"))
    tries.failed(TransientError("2"))
    tries.reached(10)
    tries.failed(TransientError("1"))
    tries.reached(10)
    tries.reached(9)
    tries.failed(TransientError("2"))
    with pytest.raises(TransferError, match=r"^gave up on blob X after 3 tries without progress: 3$") as caught:
        tries.failed(TransientError("3"))
    assert caught.value.hint == "run the same command again when the line is better"


def test_a_wait_doubles_up_to_its_cap_and_chance_takes_half_at_most() -> None:
    patient = RetryPolicy(base=1.0, cap=6.0, random=random.Random(5))
    for failures, longest in ((1, 1.0), (2, 2.0), (3, 4.0), (4, 6.0), (9, 6.0)):
        waits = [patient.delay(failures) for _ in range(200)]
        assert longest / 2 <= min(waits) < longest * 0.55
        assert longest * 0.95 < max(waits) <= longest


def test_the_third_failure_in_a_row_is_told_once_for_each_thing(caplog: pytest.LogCaptureFixture) -> None:
    policy = RetryPolicy(tries=10, base=0.0)
    for what in ("blob one", "blob one", "blob two"):  # two chunks of one blob fail alike
        tries = Tries(policy, what)
        for _ in range(5):
            tries.failed(TransientError("the line is dead"))
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert told == [
        "blob one: the line is dead; trying again in 0.0 s (try 4 of 10)",
        "blob two: the line is dead; trying again in 0.0 s (try 4 of 10)",
    ]
