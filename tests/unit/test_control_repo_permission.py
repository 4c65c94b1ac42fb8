"""What a user may not do, beside all other failures."""

from __future__ import annotations

import pytest

from ecrdrag.control.permission import unless_denied
from ecrdrag.errors import AuthError, EcrdragError, NotFoundError


def failing(error: EcrdragError) -> None:
    raise error


def test_what_policies_deny_is_given_as_the_error_and_a_result_as_it_is() -> None:
    denied = AuthError("app in r: DescribeImages was refused: no (AccessDeniedException)")
    assert unless_denied(lambda: failing(denied)) is denied
    assert unless_denied(lambda: 7) == 7


@pytest.mark.parametrize(
    "error",
    [
        AuthError("app in r: DescribeImages was refused: old (ExpiredTokenException)"),
        NotFoundError("app in r: no (AccessDeniedException)"),
    ],
)
def test_all_other_errors_are_raised(error: EcrdragError) -> None:
    with pytest.raises(EcrdragError) as caught:
        unless_denied(lambda: failing(error))
    assert caught.value is error
