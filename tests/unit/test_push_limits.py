"""Pushes of archives that would do harm: two things under one tag, and many that name the same large documents."""

from __future__ import annotations

import io
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

import ecrdrag.push as pushing
from ecrdrag.archive.intake import open_members
from ecrdrag.archive.reader import ArchiveReader
from ecrdrag.errors import UnsupportedError, UsageError
from ecrdrag.push import Pushed, PushOptions, push
from ecrdrag.reference import ImageReference
from ecrdrag.transfer.progress import Silence
from tests import kinds
from tests.fake_ends import MemoryDestination
from tests.packed import Files, packed, write

APP = kinds.greeter("amd64", "hello\n")
SIGNED = kinds.cosign_signature(APP)
OTHER = replace(kinds.attestation(APP), tag=SIGNED.tag)
HERE = "registry.example.com/my/app"


def pushed(folder: Path, files: Files, to: MemoryDestination, tag: str = "1") -> Pushed:
    archive = write(folder / "app.tar", files)
    reference = ImageReference.parse(f"{HERE}:{tag}")
    with ArchiveReader(open_members(archive, io.BytesIO(), lambda _: None)) as reader:
        return push(reader, reference, lambda _: to, PushOptions(), lambda _: nullcontext(Silence()))


def test_two_things_under_one_tag_are_refused_before_anything_goes_up(tmp_path: Path) -> None:
    to = MemoryDestination()
    with pytest.raises(UsageError, match=f"{HERE}:{SIGNED.tag} would be two things: sha256:.* and sha256:") as caught:
        pushed(tmp_path, packed({"1": APP}, [SIGNED, OTHER]), to)
    assert "an archive of its own" in caught.value.hint
    assert not to.count("put")
    assert not to.count("begin")


def test_an_image_does_not_take_the_tag_of_its_signature(tmp_path: Path) -> None:
    to = MemoryDestination()
    with pytest.raises(UsageError, match="would be two things"):
        pushed(tmp_path, packed({"1": APP}, [SIGNED]), to, tag=SIGNED.tag)
    assert not to.tags


def test_one_thing_that_is_listed_twice_goes_up(tmp_path: Path) -> None:
    to = MemoryDestination()
    pushed(tmp_path, packed({"1": APP}, [SIGNED, SIGNED]), to)
    assert to.tags == {"1": APP.digest, SIGNED.tag: SIGNED.digest}


def test_what_many_referrers_name_is_kept_once(tmp_path: Path) -> None:
    shared = kinds.bare_artifact()
    about = [kinds.index([shared], subject=APP.root.json, annotations={"place": str(place)}) for place in range(20)]
    (found,) = pushed(tmp_path, packed({"1": APP}, about), MemoryDestination()).images
    assert len(found.referrers) == len(about)
    assert len({id(one.tree.documents[0]) for one in found.referrers}) == 1


def test_the_documents_of_all_that_goes_up_have_a_size_that_memory_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = packed({"1": APP}, [SIGNED])
    size = len(APP.root.content) + len(SIGNED.root.content)
    monkeypatch.setattr(pushing, "_MAX_SIZE", size)
    pushed(tmp_path, files, MemoryDestination())
    monkeypatch.setattr(pushing, "_MAX_SIZE", size - 1)
    with pytest.raises(UnsupportedError, match=f"more than {size - 1} bytes"):
        pushed(tmp_path, files, MemoryDestination())
