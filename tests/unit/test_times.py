"""Moments as people and programs read them."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecrdrag.cli.times import age_text, iso_text, seconds_text

NOW = datetime(2026, 11, 21, 15, 27, 53, 57000, tzinfo=timezone.utc)
MINUTE, HOUR, DAY = 60, 3600, 86400


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "just now"),
        (59, "just now"),
        (-59, "just now"),
        (MINUTE, "1 minute ago"),
        (5 * MINUTE + 59, "5 minutes ago"),
        (HOUR - 1, "59 minutes ago"),
        (HOUR, "1 hour ago"),
        (2 * DAY - 1, "47 hours ago"),
        (2 * DAY, "2 days ago"),
        (14 * DAY - 1, "13 days ago"),
        (14 * DAY, "2 weeks ago"),
        (60 * DAY - 1, "8 weeks ago"),
        (60 * DAY, "2 months ago"),
        (125 * DAY, "4 months ago"),
        (730 * DAY - 1, "24 months ago"),
        (730 * DAY, "2 years ago"),
        (-5 * MINUTE, "in 5 minutes"),
        (-12 * HOUR, "in 12 hours"),
        (-HOUR, "in 1 hour"),
    ],
)
def test_ages_are_said_in_the_largest_unit_that_says_enough(seconds: int, said: str) -> None:
    assert age_text(NOW - timedelta(seconds=seconds), NOW) == said


@given(st.datetimes(timezones=st.just(timezone.utc)))
def test_every_moment_has_an_age(moment: datetime) -> None:
    assert age_text(moment, NOW)


def test_programs_get_utc_with_its_offset() -> None:
    berlin = timezone(timedelta(hours=1))
    assert iso_text(NOW) == "2026-11-21T15:27:53.057000+00:00"
    assert iso_text(NOW.astimezone(berlin)) == "2026-11-21T15:27:53.057000+00:00"
    assert iso_text(NOW.replace(tzinfo=None)) == "2026-11-21T15:27:53.057000+00:00"
    assert iso_text(NOW.replace(microsecond=0)) == "2026-11-21T15:27:53+00:00"


def test_people_get_it_to_the_second() -> None:
    assert seconds_text(NOW) == "2026-11-21T15:27:53+00:00"


def test_moments_without_a_zone_are_utc() -> None:
    assert age_text(NOW.replace(tzinfo=None) - timedelta(hours=3), NOW) == "3 hours ago"
