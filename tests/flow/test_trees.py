"""Pulls of random trees: the right archive, read back by other eyes, or a clean error and no file.

    FUZZ_EXAMPLES=20000 python -m pytest tests/flow/test_trees.py

tries as many of each kind, other ones each time.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from hypothesis import HealthCheck, Phase, given, settings

from ecrdrag.archive.intake import open_members
from ecrdrag.archive.reader import ArchiveReader
from ecrdrag.content import Digest, Platform, Verifier
from ecrdrag.errors import EcrdragError
from ecrdrag.pull import Pulled, PullOptions, pull
from ecrdrag.reference import ImageReference
from ecrdrag.resolve import Wish
from ecrdrag.transfer.retry import RetryPolicy
from ecrdrag.tree import MAX_DEPTH, grow
from tests.flow.trees import FLAWS, World, wishes, worlds
from tests.kinds import SIGNATURE
from tests.unseen import unseen

EXAMPLES: Final = int(os.environ.get("FUZZ_EXAMPLES", "0"))
REFERENCE: Final = ImageReference.parse("one.example/team/app:1")
AMD64: Final = Platform("linux", "amd64")
ALL: Final = Wish((AMD64,), explicit=False, everything=True)
FUZZ: Final = settings(
    max_examples=EXAMPLES or 150,
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate, Phase.shrink],
)


class Contents:
    """What is in an archive, read by Python's tarfile alone."""

    def __init__(self, path: Path) -> None:
        with tarfile.open(path) as archive:
            members = archive.getmembers()
            self.files = {one.name: file.read() for one in members if (file := archive.extractfile(one)) is not None}
        assert len(self.files) == len([one for one in members if one.isfile()])
        self.blobs = {name.rpartition("/")[2]: data for name, data in self.files.items() if name.startswith("blobs/")}
        assert all(Digest.of(data).hex == name for name, data in self.blobs.items())

    def json(self, name: str) -> Any:
        return json.loads(self.files[name])

    def walk(self, entry: dict[str, Any], *, sparse: bool = False) -> Iterator[str]:
        """Give the digests of all that a descriptor leads to; fail for what isn't there, or has another size."""
        name = entry["digest"].removeprefix("sha256:")
        if sparse and name not in self.blobs:
            return
        assert len(self.blobs[name]) == entry["size"]
        yield name
        document = json.loads(self.blobs[name])
        for blob in (document["config"], *document["layers"]) if "config" in document else ():
            below = blob["digest"].removeprefix("sha256:")
            assert len(self.blobs[below]) == blob["size"]
            yield below
        for child in document.get("manifests", ()):
            yield from self.walk(child, sparse=sparse)


@contextmanager
def pulled(world: World, wish: Wish, **changes: Any) -> Iterator[tuple[Path, Pulled | EcrdragError]]:
    """Pull into a file that isn't there after the block; or give the error, after which there is none."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "app.tar")
        options = PullOptions(wish, path, jobs=2, resume=False, retry=RetryPolicy(tries=2, base=0.0))
        done: Pulled | EcrdragError
        try:
            done = pull([REFERENCE], lambda _: world.source, replace(options, **changes), unseen)
        except EcrdragError as error:
            done = error
        assert [each.name for each in path.parent.iterdir()] == ([path.name] if isinstance(done, Pulled) else [])
        yield path, done


def read_back(path: Path) -> Contents:
    """Read an archive as a push does, every byte; then with other eyes."""
    with ArchiveReader(open_members(path, io.BytesIO(), lambda _: None)) as reader:
        (image,) = reader.images
        tree = grow(reader.root(image), lambda one: reader.manifest(digest=one.digest) if reader.holds(one) else None)
        for blob in tree.blobs:
            verifier = Verifier(blob)
            for view in reader.read(blob, 0, blob.size):
                verifier.update(view)
            verifier.finish()
    return Contents(path)


def check_whole(world: World, path: Path) -> None:
    """Find the root under its name, all that it leads to, and nothing else."""
    contents = read_back(path)
    (entry,) = contents.json("index.json")["manifests"]
    assert entry["annotations"]["io.containerd.image.name"] == "one.example/team/app:1"
    assert contents.blobs[world.root.digest.hex] == world.root.root.content
    found = set(contents.walk(entry))
    for one in contents.json("referrers.json")["manifests"] if "referrers.json" in contents.files else ():
        found |= set(contents.walk(one))
    assert set(contents.blobs) == found
    check_loadable(contents, world)


def check_loadable(contents: Contents, world: World) -> None:
    """Find what docker load gets, if there is anything that it could."""
    assert ("manifest.json" in contents.files) == bool(world.platforms)
    for one in contents.json("manifest.json") if world.platforms else ():
        config = json.loads(contents.files[one["Config"]])
        assert config["architecture"] == ("amd64" if "amd64" in world.platforms else config["architecture"])
        assert set(one["Layers"]) <= set(contents.files)


def test_a_tree_without_a_flaw_is_pulled_whole() -> None:
    seen: Counter[str] = Counter()

    @FUZZ
    @given(worlds(flawed=False))
    def pull_one(world: World) -> None:
        with pulled(world, ALL) as (path, done):
            if isinstance(done, EcrdragError):
                assert (done.exit_code, world.depth > MAX_DEPTH) == (8, True), done
            else:
                assert not world.is_too_deep
                check_whole(world, path)
        seen["too deep"] += world.is_too_deep
        seen["deep"] += 3 < world.depth <= MAX_DEPTH
        seen["no image"] += not world.platforms

    pull_one()
    assert min(seen["too deep"], seen["deep"], seen["no image"]) > 2, seen


def test_a_tree_with_a_flaw_is_pulled_rightly_or_not_at_all() -> None:
    seen: dict[str, Counter[int]] = {flaw: Counter() for flaw in FLAWS}

    @settings(FUZZ, max_examples=EXAMPLES or 300)
    @given(worlds(flawed=True))
    def pull_one(world: World) -> None:
        with pulled(world, ALL) as (path, done):
            if isinstance(done, Pulled):
                check_whole(world, path)
                assert world.flaw in ("", "it has another type")
            elif world.depth <= MAX_DEPTH:
                assert done.exit_code in FLAWS[world.flaw], (world.flaw, done)
            seen[world.flaw][done.exit_code if isinstance(done, EcrdragError) else 0] += 1

    pull_one()
    assert all(any(codes[code] for code in FLAWS[flaw]) for flaw, codes in seen.items() if flaw), seen


def test_some_platforms_of_a_tree_come_with_the_index_as_it_is() -> None:
    seen: Counter[int] = Counter()

    @FUZZ
    @given(wishes(flawed=False) | wishes(flawed=True))
    def pull_some(wish: tuple[World, list[str]]) -> None:
        world, wanted = wish
        with pulled(world, wish_for(wanted)) as (path, done):
            is_there = set(wanted) <= world.platforms
            if isinstance(done, Pulled):
                assert is_there
                if world.flaw != "it is named by sha512":  # of one image it is kept, and a push will refuse it
                    check_part(world, path, wanted)
            else:
                assert world.flaw or not is_there or world.depth > MAX_DEPTH, done
            seen[done.exit_code if isinstance(done, EcrdragError) else 0] += 1

    pull_some()
    assert min(seen[0], seen[4], seen[8]) > 2, seen


def test_an_index_of_some_platforms_names_these_alone() -> None:
    seen: Counter[bool] = Counter()

    @FUZZ
    @given(wishes(flawed=False))
    def pull_some(wish: tuple[World, list[str]]) -> None:
        world, wanted = wish
        with pulled(world, wish_for(wanted), subset=True) as (path, done):
            is_there = set(wanted) <= world.platforms
            assert isinstance(done, Pulled) == is_there or world.depth > MAX_DEPTH, done
            if isinstance(done, Pulled):
                contents = read_back(path)
                (entry,) = contents.json("index.json")["manifests"]
                assert set(contents.walk(entry)) == set(contents.blobs)
        seen[is_there and len(wanted) > 1] += 1

    pull_some()
    assert seen[True] > 2, seen


def test_all_that_is_about_a_tree_comes_along() -> None:
    seen: Counter[int] = Counter()

    @FUZZ
    @given(worlds(flawed=False).filter(lambda world: world.depth <= MAX_DEPTH))
    def pull_one(world: World) -> None:
        with pulled(world, ALL, types=()) as (path, done):
            assert isinstance(done, Pulled), done
            check_whole(world, path)
            contents = Contents(path)
        listed = contents.json("referrers.json")["manifests"] if "referrers.json" in contents.files else []
        assert sorted(one["digest"] for one in listed) == sorted(str(one.digest) for one in world.referrers)
        assert {one["artifactType"] for one in listed} <= {SIGNATURE}
        seen[len(world.referrers)] += 1

    pull_one()
    assert min(seen[0], seen[2]) > 2, seen


def wish_for(architectures: list[str]) -> Wish:
    return Wish(tuple(Platform("linux", each) for each in architectures))


def check_part(world: World, path: Path, wanted: list[str]) -> None:
    """Find an image for each platform that was asked for, none for others, and every blob of these."""
    contents = read_back(path)
    (entry,) = contents.json("index.json")["manifests"]
    found = set(contents.walk(entry, sparse=True))
    assert found == set(contents.blobs)
    there = [document for document in world.root.documents if document.digest.hex in found]
    assert {world.source.architecture_of(document) for document in there} - {""} == set(wanted)
    assert (there[-1] == world.root.root) == (len(wanted) > 1)
    (loadable,) = contents.json("manifest.json")
    assert json.loads(contents.files[loadable["Config"]])["architecture"] == wanted[0]
