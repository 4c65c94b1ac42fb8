"""Own the giving of more tags to an image that is there: its document is put again, byte for byte, no layer moves.

The commands enter.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from ecrdrag.control.images import Image, find_if_there
from ecrdrag.control.plane import Plane
from ecrdrag.control.stored import Stored, stored
from ecrdrag.ecr_name import EcrName
from ecrdrag.errors import ConflictError
from ecrdrag.registry.ecr_api import structure_of, text_of
from ecrdrag.registry.ecr_errors import AlreadyThereError
from ecrdrag.registry.ecr_operations import Answer

_AGAIN: Final = "run the same command again to see what it would move now"


@dataclass(frozen=True, slots=True)
class NewTag:
    """A tag that an image is to have; holder is what has it now."""

    tag: str
    image: Stored
    holder: Image | None

    @property
    def is_there(self) -> bool:
        """Whether the image has it already."""
        return self.holder is not None and self.holder.digest == str(self.image.digest)

    @property
    def leaves(self) -> Image | None:
        """The other image that loses it."""
        return None if self.is_there else self.holder


@dataclass(frozen=True, slots=True)
class Tagged:
    """What became of a new tag: Image of the model; existed where the image had it before."""

    answer: Answer
    existed: bool

    @property
    def tag(self) -> str:
        """The tag."""
        return text_of(structure_of(self.answer, "imageId"), "imageTag")

    @property
    def digest(self) -> str:
        """What the tag stands for now."""
        return text_of(structure_of(self.answer, "imageId"), "imageDigest")


def new_tags(plane: Plane, name: EcrName, tags: Iterable[str]) -> list[NewTag]:
    """Read an image, and say of each new tag what it stands for now; raises as stored() does."""
    image = stored(plane, name.repository, name.image_id)
    wanted = list(dict.fromkeys(tags))
    holders = plane.side_by_side(wanted, lambda tag: _holder(plane, name.repository, tag))
    return [NewTag(tag, image, holder) for tag, holder in zip(wanted, holders, strict=True)]


def put(plane: Plane, repository: str, new: Iterable[NewTag]) -> Iterator[Tagged]:
    """Give the image its tags, one after the other.

    Raises ConflictError where tags can't be moved, and for one that another image than was said has by now.
    """
    for each in new:
        now = each if each.is_there else _looked_at_again(plane, repository, each)
        yield _existing(now) if now.is_there else _put(plane, repository, now)


def _looked_at_again(plane: Plane, repository: str, new: NewTag) -> NewTag:
    """Find out who has a tag now, as somebody may have pushed while the user was asked."""
    now = replace(new, holder=_holder(plane, repository, new.tag))
    if now.leaves and not (new.leaves and new.leaves.digest == now.leaves.digest):
        where = plane.where(f"{repository}:{new.tag}")
        raise ConflictError(f"{where} was given to {now.leaves.digest} meanwhile", hint=_AGAIN)
    return now


def _put(plane: Plane, repository: str, new: NewTag) -> Tagged:
    try:
        answer = plane.call(
            "PutImage",
            repositoryName=repository,
            imageManifest=new.image.text,
            imageManifestMediaType=new.image.document.media_type,
            imageDigest=str(new.image.digest),
            imageTag=new.tag,
        )
    except AlreadyThereError:  # somebody else was faster
        return _existing(new)
    return Tagged(structure_of(answer, "image"), existed=False)


def _existing(new: NewTag) -> Tagged:
    """Say what PutImage would have answered."""
    image_id = {"imageDigest": str(new.image.digest), "imageTag": new.tag}
    return Tagged({**new.image.answer, "imageId": image_id}, existed=True)


def _holder(plane: Plane, repository: str, tag: str) -> Image | None:
    return find_if_there(plane, repository, {"imageTag": tag})
