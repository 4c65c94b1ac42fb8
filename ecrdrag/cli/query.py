"""Own --query: a JMESPath expression over the JSON document, and what it picks as lines of tabs.

cli/output.py enters.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from ecrdrag.errors import UsageError

if TYPE_CHECKING:
    from jmespath.parser import ParsedResult

_SYNTAX: Final = "JMESPath is described at https://jmespath.org"
_SHOWN: Final = 60  # characters before and after the place of an error


class Query:
    """An expression that can be evaluated. Raises UsageError, which points at the place, for one that can't."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._parsed = self._compiled()
        for name, count in _calls(self._parsed.parsed):
            self._check_call(name, count)

    def search(self, document: object) -> object:
        """Give what the expression picks of a document. Raises UsageError for values that a function can't take."""
        from jmespath.exceptions import JMESPathTypeError
        from jmespath.functions import TYPES_MAP

        try:
            found: object = self._parsed.search(document)
        except JMESPathTypeError as error:  # which says the value too, however large
            wanted = " or ".join(error.expected_types)
            actual = TYPES_MAP.get(error.actual_type, error.actual_type)  # of items it says Python's word
            what = f"{error.function_name}() takes {wanted} here, and finds {actual}"
            raise UsageError(f"--query: {what}", hint=_SYNTAX) from error
        except (ValueError, TypeError, ArithmeticError, RecursionError) as error:
            raise UsageError(f"--query: {error}", hint=_SYNTAX) from error
        return found

    def _compiled(self) -> ParsedResult:
        import jmespath  # late: --help doesn't wait for it
        from jmespath.exceptions import JMESPathError, LexerError, ParseError

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", PendingDeprecationWarning)  # `text` for '"text"' is in wide use
                return jmespath.compile(self._text)
        except LexerError as error:
            raise self._refused(error.message, error.lexer_position) from error
        except ParseError as error:
            what = error.msg if error.token_value is not None else "the expression ends too early"
            raise self._refused(what, error.lex_position) from error
        except (JMESPathError, RecursionError) as error:
            what = "the expression is nested too deeply" if isinstance(error, RecursionError) else "it is empty"
            raise UsageError(f"--query: {what}", hint=_SYNTAX) from error

    def _check_call(self, name: str, count: int) -> None:
        """Find now what the library finds when it has a document."""
        from jmespath.functions import Functions

        table: Mapping[str, Mapping[str, Sequence[Mapping[str, object]]]] = Functions.FUNCTION_TABLE
        if name not in table:
            known = ", ".join(sorted(table))
            raise self._refused(f"there is no function {name}()", self._place_of(name), f"functions: {known}")
        signature = table[name]["signature"]
        is_open = bool(signature) and bool(signature[-1].get("variadic"))
        if count < len(signature) or (count > len(signature) and not is_open):
            wanted = f"{'at least ' if is_open else ''}{len(signature)}"
            what = f"{name}() takes {wanted} argument{'' if len(signature) == 1 else 's'}, not {count}"
            raise self._refused(what, self._place_of(name))

    def _place_of(self, name: str) -> int:
        found = re.search(rf"\b{name}\s*\(", self._text)
        return found.start() if found else 0

    def _refused(self, what: str, place: int, hint: str = _SYNTAX) -> UsageError:
        """Show the part of the line where it goes wrong, with a mark below the place."""
        begin = max(self._text.rfind("\n", 0, place) + 1, place - _SHOWN)
        line = self._text[begin : place + _SHOWN].partition("\n")[0].replace("\t", " ")
        return UsageError(f"--query: {what}", hint=f"{line}\n{' ' * (place - begin)}^\n{hint}")


def _calls(node: Mapping[str, object]) -> Iterator[tuple[str, int]]:
    """Find the functions that an expression calls, each with the number of its arguments."""
    children = node.get("children")
    inner = children if isinstance(children, list) else []
    if node.get("type") == "function_expression":
        yield str(node.get("value")), len(inner)
    for child in inner:
        if isinstance(child, dict):
            yield from _calls(child)


def text_lines(value: object, title: str | None = None, keys: Sequence[str] | None = None) -> Iterator[str]:
    """Write a value as the aws CLI's --output text does: scalars on a line, the rest in lines below.

    title is the member that the value is of, said in capitals; keys are the columns that entries of a list share.
    """
    if isinstance(value, dict):
        yield from _entry_lines(value, title, keys)
    elif isinstance(value, list):
        yield from _list_lines(value, title)
    else:
        yield str(value)


def _entry_lines(entry: dict[str, object], title: str | None, keys: Sequence[str] | None) -> Iterator[str]:
    own = _scalar_keys([entry]) if keys is None else keys
    if own:
        yield _row((str(entry.get(key, "")) for key in own), title)
    for key in sorted(entry.keys() - set(own)):
        yield from text_lines(entry[key], key)


def _list_lines(items: list[object], title: str | None) -> Iterator[str]:
    entries = [item for item in items if isinstance(item, dict)]
    if entries:
        keys = _scalar_keys(entries)
        for item in items:
            yield from text_lines(item, title, keys)
        return
    scalars = [str(item) for item in items if not isinstance(item, list)]
    if title is not None:
        yield from (_row((scalar,), title) for scalar in scalars)
    elif scalars:
        yield _row(scalars, None)
    for item in items:
        if isinstance(item, list):
            yield from text_lines(item, title)


def _row(cells: Iterable[str], title: str | None) -> str:
    return "\t".join((*([] if title is None else [title.upper()]), *cells))


def _scalar_keys(entries: Iterable[dict[str, object]]) -> list[str]:
    return sorted({key for entry in entries for key, value in entry.items() if not isinstance(value, dict | list)})
