"""Own the command `image rm`: its options, what it asks, and what it prints.

cli/image.py enters.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from ecrdrag.cli.commands import Subcommand
from ecrdrag.cli.consent import add_consent_arguments, agreed
from ecrdrag.cli.names import image_of, repository_of
from ecrdrag.cli.output import Answer, Field, Kind, Output, add_format_arguments
from ecrdrag.cli.planes import Planes, add_plane_arguments
from ecrdrag.cli.report import size_text
from ecrdrag.cli.words import count_text, few
from ecrdrag.control.images import Image, listing_hint
from ecrdrag.control.plane import Plane
from ecrdrag.control.removal import Doomed, Removed, Untagged, delete, delete_untagged, doomed, untagged
from ecrdrag.ecr_name import EcrName
from ecrdrag.errors import EcrdragError
from ecrdrag.reference import EcrHost
from ecrdrag.registry.ecr_api import text_of

_DESCRIPTION: Final = """\
Delete images, each by a tag or by its digest. By a tag only that tag is taken
away, unless it is the last one: the image goes with it. By its digest an image
goes with all its tags; REPO:TAG@DIGEST is the tag, if it stands for that image.
What an index leads to stays, mostly without a tag, and can't be deleted before
the index. An image whose tags are changed while you are asked stays as it is.

With --untagged, delete what has no tag in whole repositories, but for what an
index leads to, and what is about an image that stays, such as its signature.
What is just being pushed may have no tag yet: mind what else goes on.

JSON is {"imageIds": [], "failures": []} as batch-delete-image has it, and with
--untagged "kept", the digests of what stays.
"""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Place:
    """A repository where something is to go, and what became of it."""

    plane: Plane
    name: EcrName
    doomed: Sequence[Doomed] = ()
    untagged: Untagged | None = None
    removed: Removed = field(default_factory=Removed)
    kept: list[str] = field(default_factory=list)
    failures: list[EcrdragError] = field(default_factory=list)

    def look(self, names: Sequence[EcrName]) -> None:
        """Find out what is to go: what is named, without a name all that has no tag."""
        try:
            if names:
                self.doomed, self.removed.refused = doomed(self.plane, self.name.repository, names)
            else:
                self.untagged = untagged(self.plane, self.name.repository)
                self.kept = list(self.untagged.kept)
        except EcrdragError as error:
            self.failures.append(error)

    def clear(self) -> None:
        """Let it go."""
        try:
            if self.untagged:
                self.kept = delete_untagged(self.plane, self.name.repository, self.untagged, self.removed)
            delete(self.plane, self.name.repository, self.doomed, self.removed)
        except EcrdragError as error:
            self.failures.append(error)

    @property
    def errors(self) -> list[EcrdragError]:
        """All that went wrong here."""
        return [*(one.error(self.plane, self.name.repository) for one in self.removed.refused), *self.failures]

    def said(self, entries: Iterable[Answer]) -> list[Answer]:
        """Say of entries where they are, as several repositories may be named."""
        return [{**one, "repositoryName": self.name.repository, "region": self.plane.region} for one in entries]


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", metavar="REF", nargs="+", help="REPO:TAG or REPO@DIGEST; with --untagged a REPO")
    parser.add_argument("--untagged", action="store_true", help="delete what has no tag in these repositories")
    add_plane_arguments(parser)
    add_consent_arguments(parser)
    add_format_arguments(parser)


def _rm(arguments: argparse.Namespace) -> int:
    output = Output(arguments)
    places = list(_places(arguments))
    will = [line for place in places for line in _lines(place, each=arguments.dry_run)]
    if will and agreed(arguments, will):
        try:
            for place in places:
                place.clear()
        finally:
            _say_unanswered(places)
            _say(output, places, arguments)
    elif not (will or arguments.dry_run):
        _say(output, places, arguments)
    _raise_first([error for place in places for error in place.errors])
    return 0


def _places(arguments: argparse.Namespace) -> Iterator[_Place]:
    """Look into the repositories that are named, each once."""
    instead = "leave --untagged out to delete the image"
    read = (lambda text: repository_of(text, instead=instead)) if arguments.untagged else image_of
    asked: dict[EcrName, list[EcrName]] = {}
    for name in map(read, arguments.names):
        asked.setdefault(EcrName(name.repository, host=name.host), []).append(name)
    planes, known = Planes(arguments), dict[EcrHost | None, Plane]()
    for home, names in asked.items():
        if home.host not in known:
            known[home.host] = planes.of(home)
        place = _Place(known[home.host], home)
        place.look([] if arguments.untagged else names)
        yield place


def _raise_first(errors: Sequence[EcrdragError]) -> None:
    """Say all that went wrong, and end as the first of it does."""
    for error in errors[1:]:
        log.error("%s", error)
    if errors:
        raise errors[0]


def _lines(place: _Place, *, each: bool) -> Iterator[str]:
    """Say what will happen in a repository, and with each, of every image without a tag."""
    yield from (_line(place, one) for one in place.doomed)
    if place.untagged and place.untagged.images:
        found = place.untagged.images
        size = size_text(sum(image.size or 0 for image in found))
        what = f"{count_text(len(found), 'image')}, {size}"
        where = place.plane.where(place.name.repository)
        yield f"delete what has no tag in {where}: at most {what}; what an index leads to stays"
        if each:
            yield from (f"delete {_at(place, image)}, unless an index leads to it" for image in found)


def _line(place: _Place, one: Doomed) -> str:
    where = _at(place, one.image)
    if not one.goes:
        kept = [tag for tag in one.image.tags if tag not in one.tags]
        return f"take the {_tags(one.tags)} from {where}, which keeps {few(kept)}"
    line = f"delete {where}"
    if one.whole and one.image.tags:
        line += f", with its {_tags(one.image.tags)}"
    if not one.whole:
        line += f", which has no tag but {few(one.tags)}"
    if one.children:
        line += f"; the {count_text(one.children, 'image')} that it leads to stay"
    return line


def _at(place: _Place, image: Image) -> str:
    size = "" if image.size is None else f" ({image.type}, {size_text(image.size)})"
    return f"{place.plane.where(f'{place.name.repository}@{image.digest}')}{size}"


def _tags(tags: Sequence[str]) -> str:
    return f"tag{'' if len(tags) == 1 else 's'} {few(tags)}"


def _say(output: Output, places: Sequence[_Place], arguments: argparse.Namespace) -> None:
    deleted, freed = _names(places)
    kept = [entry for place in places for entry in place.said({"imageDigest": digest} for digest in place.kept)]
    if output.is_for_people:
        lines = [*(f"deleted {name}" for name in deleted), *(f"untagged {name}" for name in freed)]
        output.lines([*lines, *([f"kept {len(kept)} without a tag"] if kept else [])])
        return
    document: dict[str, object] = {
        "imageIds": [entry for place in places for entry in place.said(place.removed.image_ids)],
        "failures": [entry for place in places for entry in place.said(one.answer for one in place.removed.refused)],
        **({"kept": kept} if arguments.untagged else {}),
    }
    fields = [Field("Deleted", deleted), Field("Untagged", freed), Field("Kept", len(kept), Kind.COUNT)]
    output.details(fields, document)


def _say_unanswered(places: Sequence[_Place]) -> None:
    """Say what may be gone, after an interrupt or a failure."""
    for place in places:
        if names := sorted(place.removed.unanswered):
            repository = place.name.repository
            where, hint = place.plane.where(repository), listing_hint(place.plane, repository)
            log.warning("%s: no answer came about %s, which may be gone: %s", where, few(names), hint)


def _names(places: Sequence[_Place]) -> tuple[list[str], list[str]]:
    """Name what is gone, and what has only lost a tag."""
    gone, freed = dict[str, None](), list[str]()
    for place in places:
        taken = place.removed.has_taken(place.doomed)
        for entry in place.removed.image_ids:
            if text_of(entry, "imageDigest") in taken:
                gone[f"{place.name}@{text_of(entry, 'imageDigest')}"] = None
            else:
                freed.append(f"{place.name}:{text_of(entry, 'imageTag')}")
    return list(gone), freed


COMMAND: Final = Subcommand("delete images, or take tags away", _add_arguments, _rm, _DESCRIPTION)
