"""Own the command `image tag`: its options, what it asks, and what it prints.

cli/image.py enters.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from typing import Final

from ecrdrag.cli.commands import Subcommand
from ecrdrag.cli.consent import add_consent_arguments, agreed
from ecrdrag.cli.names import image_or_latest, tag_of
from ecrdrag.cli.output import Field, Output, add_format_arguments
from ecrdrag.cli.planes import Planes, add_plane_arguments
from ecrdrag.cli.words import few
from ecrdrag.control.plane import Plane
from ecrdrag.control.retagging import NewTag, Tagged, new_tags, put
from ecrdrag.ecr_name import EcrName
from ecrdrag.registry.ecr_api import text_of

_DESCRIPTION: Final = """\
Give an image more tags in its repository. Its manifest is put again, byte for
byte: nothing is pulled, and the digest stays the same. A tag that stands for
another image now is moved, which is asked before.

JSON is {"image": ...} as put-image has it, of several tags {"images": [...]};
"existed" says that the image had the tag already.
"""

log = logging.getLogger(__name__)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image", metavar="REF", help="the image: REPO:TAG or REPO@DIGEST")
    parser.add_argument("tags", metavar="NEWTAG", nargs="+", help="a tag that it gets, such as 1.2")
    add_plane_arguments(parser)
    add_consent_arguments(parser)
    add_format_arguments(parser)


def _tag(arguments: argparse.Namespace) -> int:
    output, planes = Output(arguments), Planes(arguments)
    tags = [tag_of(text) for text in arguments.tags]
    name = image_or_latest(arguments.image)
    plane = planes.of(name)
    new = new_tags(plane, name, tags)
    host = planes.host(plane, text_of(new[0].image.answer, "registryId"))
    for each in new:
        if each.is_there:
            log.warning("%s has the tag %s already", _at(plane, name, each), each.tag)
    will = [_tag_line(plane, name, each) for each in new if not each.is_there]
    if will and not agreed(arguments, will, loses=any(each.leaves for each in new)):
        return 0
    done: list[Tagged] = []
    try:
        done.extend(put(plane, name.repository, new))
    finally:
        _say_tagged(output, f"{host}/{name.repository}", done, is_one=len(new) == 1)
    return 0


def _tag_line(plane: Plane, name: EcrName, new: NewTag) -> str:
    if new.leaves is None:
        return f"give {_at(plane, name, new)} the tag {new.tag}"
    others = [tag for tag in new.leaves.tags if tag != new.tag]
    left = f"keeps {few(others)}" if others else "has no tag then"
    where = plane.where(f"{name.repository}:{new.tag}")
    return f"move {where} from {new.leaves.digest}, which {left}, to {new.image.digest}"


def _at(plane: Plane, name: EcrName, new: NewTag) -> str:
    return plane.where(f"{name.repository}@{new.image.digest}")


def _say_tagged(output: Output, repository: str, done: Sequence[Tagged], *, is_one: bool) -> None:
    names = [f"{repository}:{one.tag}@{one.digest}" for one in done]
    if output.is_for_people:
        output.lines(names)
    elif done:
        entries = [{**one.answer, "existed": one.existed} for one in done]
        output.details([Field("Tagged", names)], {"image": entries[0]} if is_one else {"images": entries})


COMMAND: Final = Subcommand("give an image more tags", _add_arguments, _tag, _DESCRIPTION)
