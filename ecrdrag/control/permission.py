"""Own the difference between what a user may not do and all other failures, where the rest is worth having.

The stories of this room and the commands enter.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from ecrdrag.errors import AuthError

# By policies, that is: "Common Errors" of the ECR API reference. Credentials that don't hold refuse everything.
_DENIED: Final = "(AccessDeniedException)"

Result = TypeVar("Result")


def unless_denied(ask: Callable[[], Result]) -> Result | AuthError:
    """Give what a call brings, or the error by which policies deny it; all other errors are raised."""
    try:
        return ask()
    except AuthError as error:
        if _DENIED not in str(error):
            raise
        return error
