"""The layout of any archive as a property: random trees, shared blobs, names and referrers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from ecrdrag.archive.plan import (
    BLOCK,
    ImageName,
    PlannedImage,
    PlannedReferrer,
    blob_path,
    plan_archive,
)
from ecrdrag.content import Digest
from ecrdrag.manifest import Manifest
from tests.archives import assemble, contents_of, documents_of, planned_referrer, read_back
from tests.kinds import Parcel, all_about, helm_chart, image, index


@dataclass(frozen=True)
class Cargo:
    """What an archive is to hold, and the content of every blob."""

    images: list[PlannedImage]
    referrers: list[PlannedReferrer]
    contents: Mapping[Digest, bytes]

    def __repr__(self) -> str:
        return f"{len(self.referrers)} referrers, {[(len(one.documents), *one.names) for one in self.images]}"


def small_image(number: int) -> Parcel:
    return image([bytes([number]) * 600, b"shared" * (number % 3)], pack=bytes)


@st.composite
def parcels(draw: st.DrawFn, depth: int = 2) -> Parcel:
    """Draw images, artifacts and indexes of such, which share blobs and children."""
    kinds = ["image", "chart", "index"] if depth else ["image", "chart"]
    kind = draw(st.sampled_from(kinds))
    if kind == "index":
        return index(draw(st.lists(parcels(depth=depth - 1), max_size=3)))
    return helm_chart() if kind == "chart" else small_image(draw(st.integers(1, 5)))


@st.composite
def cargos(draw: st.DrawFn) -> Cargo:
    """Draw what an archive may hold."""
    images = draw(st.lists(parcels(), min_size=1, max_size=4))
    tags = iter(draw(st.lists(st.from_regex(r"[a-z]{1,2}", fullmatch=True), min_size=8, max_size=8, unique=True)))
    repositories = st.sampled_from(["r.example.com/a", "r.example.com/b"])
    plans = []
    for parcel in images:
        names = [ImageName(draw(repositories), next(tags)) for _ in range(draw(st.integers(1, 2)))]
        loadable = [one for one in documents_of(parcel) if isinstance(one, Manifest) and one.is_image]
        plans.append(PlannedImage(tuple(names), documents_of(parcel), loadable[0] if loadable else None))
    about = [one for parcel in draw(st.lists(st.sampled_from(images), max_size=2)) for one in all_about(parcel)]
    return Cargo(plans, [planned_referrer(one) for one in about], contents_of(*images, *about))


@given(cargos(), st.randoms(use_true_random=False))
def test_the_order_of_references_and_referrers_is_of_no_account(cargo: Cargo, chance: Random) -> None:
    plan = plan_archive(cargo.images, cargo.referrers)
    mixed = [replace(one, names=tuple(chance.sample(one.names, len(one.names)))) for one in cargo.images]
    chance.shuffle(mixed)
    assert plan_archive(mixed, chance.sample(cargo.referrers, len(cargo.referrers))) == plan


@given(cargos())
def test_every_distinct_blob_has_one_place_and_nothing_lies_between(cargo: Cargo) -> None:
    plan = plan_archive(cargo.images, cargo.referrers)
    position = 0
    for slot in plan.slots:
        assert slot.offset - len(slot.header) == position
        assert slot.offset % BLOCK == 0
        position = slot.stop
    assert len({slot.name for slot in plan.slots}) == len(plan.slots)
    members = read_back(assemble(plan, cargo.contents))
    documents = [*(one.documents for one in cargo.images), *(one.documents for one in cargo.referrers)]
    expected = {**cargo.contents, **{one.digest: one.raw for found in documents for one in found}}
    blobs = {name: content for name, content in members.items() if name.startswith("blobs/")}
    assert blobs == {blob_path(digest): content for digest, content in expected.items()}


@given(cargos())
def test_whatever_is_listed_is_there_and_has_the_size_and_type_that_are_said(cargo: Cargo) -> None:
    members = read_back(assemble(plan_archive(cargo.images, cargo.referrers), cargo.contents))
    lists = [json.loads(members[name]) for name in ("index.json", "referrers.json") if name in members]
    for entry in (entry for one in lists for entry in one["manifests"]):
        content = members[blob_path(Digest.parse(entry["digest"]))]
        assert (entry["size"], entry["mediaType"]) == (len(content), json.loads(content)["mediaType"])
    assert len(lists[0]["manifests"]) == sum(len(one.names) for one in cargo.images)
    assert ("referrers.json" in members) == bool(cargo.referrers)
    assert ("manifest.json" in members) == any(one.loadable for one in cargo.images)
