"""Times in answers of AWS: read at little cost, in UTC, and else as botocore reads them."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from pathlib import Path

import pytest
from botocore.utils import parse_timestamp
from hypothesis import given
from hypothesis import strategies as st

from ecrdrag.cli.aws import AwsSettings, moment_of
from ecrdrag.registry.ecr_api import structures_of, time_of
from tests.localecr import REGION, client, running

LATEST = 2 * 10**11  # seconds: in the year 8307; botocore knows the year 9999 only west of Greenwich


@given(st.floats(-LATEST / 20, LATEST) | st.integers(-LATEST // 20, LATEST))
def test_seconds_are_the_moment_that_botocore_makes_of_them_in_utc(value: float) -> None:
    found = moment_of(value)
    assert found.tzinfo is timezone.utc
    assert found == parse_timestamp(value)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["2026-11-21T15:27:53Z", "Sat, 21 Nov 2026 15:27:53 GMT", "1795274873"])
def test_texts_are_read_as_botocore_reads_them(text: str) -> None:
    assert moment_of(text) == parse_timestamp(text) == datetime(2026, 11, 21, 15, 27, 53, tzinfo=timezone.utc)


@pytest.mark.parametrize("value", [1e300, float("nan"), "soon"])
def test_what_is_no_time_is_refused_as_botocore_refuses_it(value: float | str) -> None:
    refusals = (ValueError, OverflowError, RuntimeError)
    with pytest.raises(refusals) as theirs:
        parse_timestamp(value)  # type: ignore[arg-type]
    with pytest.raises(refusals) as ours:
        moment_of(value)
    assert ours.type is theirs.type


def test_answers_of_the_api_have_times_in_utc_wherever_the_user_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(tmp_path) as ecr, client(ecr) as api:
        created = api.create_repository(repositoryName="app")["repository"]["createdAt"]
        for name, value in {**ecr.environment, "TZ": "Asia/Kathmandu"}.items():
            monkeypatch.setenv(name, value)
        time.tzset()
        try:
            operations = AwsSettings(None, None).operations(REGION)
            (found,) = structures_of(operations.call("DescribeRepositories", {}), "repositories")
        finally:
            monkeypatch.undo()
            time.tzset()
    moment = time_of(found, "createdAt")
    assert moment == created
    assert moment is not None
    assert moment.tzinfo is timezone.utc
