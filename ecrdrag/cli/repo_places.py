"""Own how the commands `repo` read which repositories are meant, and print what was done to them.

The commands `repo` enter.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from ecrdrag.cli.names import repository_of
from ecrdrag.cli.output import Output
from ecrdrag.cli.planes import Planes
from ecrdrag.cli.report import size_text
from ecrdrag.cli.words import count_text, few
from ecrdrag.control.plane import Plane
from ecrdrag.control.repositories import Repository
from ecrdrag.control.usage import Usage
from ecrdrag.ecr_name import EcrName
from ecrdrag.errors import EcrdragError

_SHOWN: Final = 10  # names in a hint


@dataclass(frozen=True, slots=True)
class Step:
    """What is to be done to one repository, and how messages name it."""

    where: str
    take: Callable[[], Repository]


def repository_name(text: str) -> EcrName:
    """Read a REPO argument; raise UsageError for the name of an image."""
    return repository_of(text, instead="name the repository alone; `ecrdrag image` is for what is in it")


def places(arguments: argparse.Namespace, names: Sequence[EcrName]) -> list[tuple[Plane, str]]:
    """Give each repository that is named, once, with the plane of its registry, of which there is one for each host."""
    planes, known = Planes(arguments), dict[str, Plane]()
    found = []
    for name in dict.fromkeys(names):
        host = str(name.host or "")
        if host not in known:
            known[host] = planes.of(name)
        found.append((known[host], name.repository))
    return found


def one_by_one(
    arguments: argparse.Namespace, output: Output, todo: Sequence[Step], line: Callable[[Repository], str]
) -> None:
    """Take the steps in their order, and print a line for each as it is done; an error names those not taken.

    As JSON they are one document, which is printed at the end, also where an error ends it too early; that error is
    then the one to be told, whatever comes of the printing.
    """
    done: list[Repository] = []
    position = 0
    try:
        for position, step in enumerate(todo, 1):  # noqa: B007 - an error tells where it was
            done.append(step.take())
            if not output.is_document:
                output.lines([line(done[-1])])
    except (EcrdragError, KeyboardInterrupt) as error:
        if isinstance(error, EcrdragError):
            error.hint = "\n".join(filter(None, (error.hint, _left_alone(todo[position:]))))
        with suppress(EcrdragError, OSError):
            _print_document(arguments, output, done)
        raise
    _print_document(arguments, output, done)


def usage_text(usage: Usage) -> str:
    """Say what is in a repository, in the archive too."""
    archived = f", {usage.archived:,} of them in the archive" if usage.archived else ""
    return f"{count_text(usage.everything, 'image')} of {size_text(usage.size + usage.archived_size)}{archived}"


def _left_alone(steps: Sequence[Step]) -> str:
    if not steps:
        return ""
    return f"left alone: {few([step.where for step in steps], _SHOWN)}"


def _print_document(arguments: argparse.Namespace, output: Output, done: Sequence[Repository]) -> None:
    if output.is_document and done:
        output.details([], _document(done, several=len(arguments.repositories) > 1))


def _document(finished: Sequence[Repository], *, several: bool) -> dict[str, object]:
    """One repository is what the API answers with; several are a list as DescribeRepositories has it."""
    if several:
        return {"repositories": [one.document for one in finished]}
    return {"repository": finished[0].answer}
