"""Own how a moment reads: to people by its age, to programs by ISO 8601.

The rooms that print results may enter.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Final

_MINUTE: Final = 60
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR
_WEEK: Final = 7 * _DAY
_MONTH: Final = 30 * _DAY
_YEAR: Final = 365 * _DAY
# A unit is used below so many seconds; what is said has one or two digits, as docker's words for ages do.
_UNITS: Final = (
    (_HOUR, _MINUTE, "minute"),
    (2 * _DAY, _HOUR, "hour"),
    (2 * _WEEK, _DAY, "day"),
    (2 * _MONTH, _WEEK, "week"),
    (2 * _YEAR, _MONTH, "month"),
)


def age_text(moment: datetime, now: datetime) -> str:
    """Say how long ago a moment was, or how far ahead it is, rounded down."""
    seconds = int((_aware(now) - _aware(moment)).total_seconds())
    if abs(seconds) < _MINUTE:
        return "just now"
    said = _duration(abs(seconds))
    return f"{said} ago" if seconds > 0 else f"in {said}"


def iso_text(moment: datetime) -> str:
    """Write a moment in UTC with its offset, as the aws CLI does where the machine's zone is UTC."""
    return _aware(moment).astimezone(timezone.utc).isoformat()


def seconds_text(moment: datetime) -> str:
    """Write a moment in UTC to the second, for people."""
    return _aware(moment).astimezone(timezone.utc).isoformat(timespec="seconds")


def _duration(seconds: int) -> str:
    length, unit = next(((length, unit) for below, length, unit in _UNITS if seconds < below), (_YEAR, "year"))
    count = seconds // length
    return f"{count} {unit}" if count == 1 else f"{count} {unit}s"


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
