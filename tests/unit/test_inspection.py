"""What an image is made of, at a registry: parts, whose details are shown, and what isn't there."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ecrdrag.content import Platform
from ecrdrag.errors import IntegrityError, NotFoundError, TransientError, UnsupportedError
from ecrdrag.inspection.anatomy import Kind
from ecrdrag.manifest import OCI_CONFIG, OCI_INDEX, OCI_MANIFEST
from ecrdrag.resolve import MAX_CONFIG_SIZE
from tests import kinds
from tests.images import Blob
from tests.inspected import RICH, document, image_with, looked, only, source_of, windows_image
from tests.kinds import Parcel, buildx_index, document_of, greeter, index
from tests.schema1_images import hello_schema1

INDEX = buildx_index()
AMD64, ARM64 = INDEX.of("amd64"), INDEX.of("arm64")
NOT_JSON = b"\x1b[31mnot json"


def test_the_parts_of_an_index_are_told_apart() -> None:
    root = only(looked(source_of(INDEX))).root
    assert (root.kind, root.digest, root.media_type) == (Kind.INDEX, INDEX.digest, OCI_INDEX)
    images, attestations = root.parts[:2], root.parts[2:]
    assert [(part.kind, str(part.platform)) for part in images] == [
        (Kind.IMAGE, "linux/amd64"),
        (Kind.IMAGE, "linux/arm64"),
    ]
    assert [(part.kind, part.platform, part.attests) for part in attestations] == [
        (Kind.ATTESTATION, None, str(each.digest)) for each in (AMD64, ARM64)
    ]


@pytest.mark.parametrize("left", ["platform", "annotations"])
def test_an_attestation_is_known_by_its_platform_and_by_what_it_is_about(left: str) -> None:
    image_itself = greeter("amd64", "x")
    half = {left: kinds.attestation(image_itself).said[left]}
    parcel = index([replace(image_itself, said={**image_itself.said, **half}), image_itself])
    image = only(looked(source_of(parcel), "all"))
    assert [(part.kind, part.platform is None) for part in image.root.parts] == [
        (Kind.ATTESTATION, True),
        (Kind.IMAGE, False),
    ]
    assert image.chosen is image.root.parts[1]
    missing = only(looked(source_of(parcel, without=[image_itself.digest]))).root.parts
    assert [(part.kind, part.platform is None) for part in missing] == [
        (Kind.ATTESTATION, True),
        (Kind.IMAGE, False),
    ]


def test_sizes_are_those_of_distinct_blobs() -> None:
    parcel = index([greeter("amd64", "a", shared=b"s"), greeter("arm64", "b", shared=b"s")])
    image = only(looked(source_of(parcel)))
    sizes = {digest: len(blob.content) for digest, blob in parcel.blobs.items()}
    assert (image.blobs, image.total, image.root.total) == (5, sum(sizes.values()), sum(sizes.values()))
    for part in image.root.parts:
        own = {part.config.digest if part.config else None, *(layer.digest for layer in part.layers)}
        assert part.total == sum(size for digest, size in sizes.items() if digest in own)


def test_a_layer_that_comes_twice_counts_once() -> None:
    layer = Blob(b"twice", kinds.OCI_TAR)
    image = only(looked(source_of(image_with({}, [layer, layer]))))
    assert (image.blobs, image.total, len(image.root.layers)) == (2, len(b"{}twice"), 2)


def test_no_layer_is_read_and_no_other_config() -> None:
    source = source_of(INDEX)
    looked(source, "linux/arm64")
    (config,) = [blob.digest for blob in ARM64.blobs.values() if blob.media_type == OCI_CONFIG]
    assert [one for one in source.asked if one.startswith("blob")] == [f"blob {config} 0"]
    assert source.count("manifest") == 1 + 4
    assert source.count("measure") == source.count("referrers") == 0


@pytest.mark.parametrize(("platform", "chosen"), [("linux/arm64", ARM64), ("linux/amd64", AMD64)])
def test_details_are_those_of_the_platform_that_is_asked_for(platform: str, chosen: Parcel) -> None:
    image = only(looked(source_of(INDEX), platform))
    assert image.chosen is not None
    assert image.chosen.digest == chosen.digest
    assert [part.digest for part in image.detailed] == [chosen.digest]
    assert [bool(part.config and part.config.facts) for part in image.root.parts] == [
        part.digest == chosen.digest for part in image.root.parts
    ]


def test_what_stands_beside_the_tree_is_of_the_image_that_was_chosen() -> None:
    found = document(looked(source_of(INDEX), "linux/arm64"))
    child = found["manifests"][1]
    assert found["selected"] == {"digest": str(ARM64.digest), "platform": "linux/arm64", "osVersion": None}
    assert [found[name] for name in ("layers", "config", "history")] == [
        child[name] for name in ("layers", "config", "history")
    ]
    assert child["config"]["architecture"] == "arm64"


def test_details_of_all_are_shown_on_demand() -> None:
    image = only(looked(source_of(INDEX), "all"))
    assert [part.digest for part in image.detailed] == [AMD64.digest, ARM64.digest]
    found = document(looked(source_of(INDEX), "all"))
    assert [bool(part["history"]) for part in found["manifests"]] == [True, True, False, False]


def test_without_a_platform_of_this_machine_the_first_image_is_shown() -> None:
    parcel = index([kinds.helm_chart(), greeter("s390x", "x"), greeter("ppc64le", "x")])
    chosen = only(looked(source_of(parcel))).chosen
    assert chosen is not None
    assert str(chosen.platform) == "linux/s390x"


def test_a_platform_that_is_not_there_is_not_found_and_those_that_are_there_are_listed() -> None:
    with pytest.raises(NotFoundError, match="has no image for linux/riscv64; it has linux/amd64, linux/arm64") as info:
        looked(source_of(INDEX), "linux/riscv64")
    assert "--platform" in info.value.hint
    with pytest.raises(NotFoundError, match=r"it has linux/amd64$"):
        looked(source_of(greeter("amd64", "x")), "linux/arm64")
    with pytest.raises(NotFoundError, match="it has no image at all"):
        looked(source_of(kinds.helm_chart()), "linux/arm64")


def test_two_platforms_may_have_one_image() -> None:
    image = greeter("arm", "x")
    named = [
        {**image.root.json, "platform": {"os": "linux", "architecture": "arm", "variant": v}} for v in ("v6", "v7")
    ]
    parcel = Parcel((image.root, document_of(OCI_INDEX, manifests=named)), image.blobs)
    found = only(looked(source_of(parcel), "linux/arm/v7"))
    assert [str(part.platform) for part in found.root.parts] == ["linux/arm/v6", "linux/arm/v7"]
    assert found.chosen is not None
    assert found.chosen.platform == Platform("linux", "arm", "v7")
    assert len(only(looked(source_of(parcel), "all")).detailed) == 1


def test_configs_say_the_platforms_that_an_index_does_not() -> None:
    images = [replace(greeter(each, "x"), said={}) for each in ("amd64", "s390x")]
    found = only(looked(source_of(index(images)), "linux/s390x"))
    assert [str(part.platform) for part in found.root.parts] == ["linux/amd64", "linux/s390x"]
    assert found.chosen is not None
    assert found.chosen.digest == images[1].digest
    assert found.root.parts[0].config is not None
    assert found.root.parts[0].config.facts is None, "it was read for its platform alone"


def test_images_that_share_a_config_have_a_history_each() -> None:
    layers = [Blob(b"one", kinds.OCI_TAR), Blob(b"two", kinds.OCI_TAR)]
    images = [image_with(RICH, layers[:count]) for count in (2, 1)]
    found = only(looked(source_of(index(images)), "all")).root.parts
    steps = [part.config.facts.steps or () if part.config and part.config.facts else () for part in found]
    assert [[step.layer for step in each] for each in steps] == [[0, None, 1], [None, None, None]]


def test_a_config_that_says_no_platform_leaves_it_open() -> None:
    image = only(looked(source_of(image_with({"architecture": "amd64"}))))
    assert (image.root.platform, image.chosen) == (None, image.root)
    assert document(looked(source_of(image_with({}))))["platform"] is None


def test_annotations_are_those_that_are_texts() -> None:
    parcel = image_with({}, annotations={"a": "b", "c": 1})
    assert document(looked(source_of(parcel)))["annotations"] == {"a": "b"}
    assert document(looked(source_of(image_with({}, annotations=["a"]))))["annotations"] == {}


def test_an_index_may_have_a_platform_too() -> None:
    inner = replace(index([AMD64]), said={"platform": {"os": "linux", "architecture": "amd64"}})
    part = only(looked(source_of(index([inner])))).root.parts[0]
    assert (part.kind, str(part.platform)) == (Kind.INDEX, "linux/amd64")


def test_windows_images_are_told_apart_by_their_version() -> None:
    found = only(looked(source_of(index([windows_image()])), "windows/amd64")).root.parts[0]
    assert (str(found.platform), found.os_version) == ("windows/amd64", "10.0.20348.2762")
    alone = only(looked(source_of(windows_image()))).root
    assert alone.os_version == "10.0.20348.2762", "as its config says"


def test_a_registry_is_asked_for_foreign_layers_and_for_no_others() -> None:
    source = source_of(windows_image())
    layers = only(looked(source)).root.layers
    assert [layer.missing for layer in layers] == [True, False]
    assert [one for one in source.asked if one.startswith("measure")] == [f"measure {layers[0].digest}"]
    (base,) = windows_image().elsewhere.values()
    source.blobs[base.digest] = base.content
    assert not any(layer.missing for layer in only(looked(source)).root.layers)


def test_an_artifact_shows_its_type_and_files() -> None:
    image = only(looked(source_of(kinds.bare_artifact())))
    assert (image.root.kind, image.root.artifact_type) == (Kind.ARTIFACT, "application/vnd.example+type")
    assert image.chosen is image.root
    assert image.detailed == ()
    assert [dict(layer.annotations) for layer in image.root.layers] == [{"org.opencontainers.image.title": "a.txt"}]
    chart = document(looked(source_of(kinds.helm_chart())))
    assert (chart["kind"], chart["artifactType"]) == ("artifact", kinds.HELM_CONFIG)
    assert chart["annotations"] == {"org.opencontainers.image.title": "x"}
    assert (chart["config"]["mediaType"], chart["config"]["env"]) == (kinds.HELM_CONFIG, None)


def test_what_is_about_an_image_is_looked_for_on_demand() -> None:
    about = kinds.all_about(INDEX)
    source = source_of(INDEX, *about)
    assert only(looked(source)).referrers == ()
    assert source.count("referrers") == 0
    found = only(looked(source, referrers=True)).referrers
    assert {one.tree.root.digest for one in found} == {each.digest for each in about}
    types = {one["artifactType"]: one["tag"] for one in document(looked(source, referrers=True))["referrers"]}
    assert types[kinds.SPDX] is None
    assert types[OCI_CONFIG] == about[0].tag


def test_the_subject_of_a_document_is_said() -> None:
    assert only(looked(source_of(kinds.sbom(AMD64)))).root.about == AMD64.digest


# What isn't there, or is not what it should be


def test_what_an_index_names_and_is_not_there_is_missing() -> None:
    source = source_of(INDEX, without=[ARM64.digest])
    root = only(looked(source)).root
    assert [part.missing for part in root.parts] == [False, True, False, False]
    missing = root.parts[1]
    assert (missing.kind, str(missing.platform), missing.total) == (Kind.IMAGE, "linux/arm64", None)
    with pytest.raises(NotFoundError, match=r"it has linux/amd64$"):
        looked(source, "linux/arm64")


def test_an_index_that_is_missing_is_known_as_one() -> None:
    inner = index([ARM64])
    part = only(looked(source_of(index([AMD64, inner]), without=[inner.digest]))).root.parts[1]
    assert (part.kind, part.missing, part.parts) == (Kind.INDEX, True, ())


def test_a_config_that_fails_leaves_others_to_be_read() -> None:
    source = source_of(INDEX)
    first = next(digest for digest, blob in AMD64.blobs.items() if blob.media_type == OCI_CONFIG)

    def refuse(question: str) -> None:
        if question == f"blob {first} 0":
            raise NotFoundError("no such blob")

    source.before_each = refuse
    parts = only(looked(source, "all")).root.parts
    assert [bool(part.config and part.config.facts) for part in parts] == [False, True, False, False]
    assert not source.aborted.is_set()


def test_an_index_of_which_nothing_is_there_is_shown() -> None:
    source = source_of(INDEX, without=[each.digest for each in INDEX.documents[:-1]])
    image = only(looked(source))
    assert [part.kind.value for part in image.root.parts] == ["image", "image", "attestation", "attestation"]
    assert all(part.missing for part in image.root.parts)
    assert (image.chosen, image.blobs, image.total) == (None, 0, 0)


@pytest.mark.parametrize(
    "child", [Blob(b'{"any": "thing"}', "application/json"), Blob(b"not json", OCI_MANIFEST)], ids=["kind", "json"]
)
def test_what_an_index_names_and_is_no_manifest_can_not_be_read(child: Blob) -> None:
    source = source_of(index([AMD64, Parcel((child,))]), without=[child.digest])

    def refuse(question: str) -> None:
        if question == f"manifest {child.digest}":
            raise UnsupportedError("no manifest" * 1000)

    source.before_each = refuse
    part = only(looked(source)).root.parts[1]
    assert (part.kind, part.missing, part.media_type) == (Kind.UNKNOWN, False, child.media_type)
    assert part.problem.startswith("no manifest")
    assert len(part.problem) == 500


def test_an_image_before_2016_in_an_index_can_not_be_read() -> None:
    old = hello_schema1(keys=())
    source = source_of(index([AMD64, Parcel((Blob(old.raw, old.media_type),))]))
    assert "schema 1" in only(looked(source)).root.parts[1].problem


def test_a_child_of_another_size_than_its_index_says_is_an_error() -> None:
    entry = {**AMD64.root.json, "size": len(AMD64.root.content) + 1}
    parcel = Parcel((AMD64.root, document_of(OCI_INDEX, manifests=[entry])), AMD64.blobs)
    with pytest.raises(IntegrityError, match="its index says"):
        looked(source_of(parcel))


def test_a_config_that_is_not_json_is_said_to_be_unreadable() -> None:
    image = only(looked(source_of(image_with(NOT_JSON))))
    config = image.root.config
    assert config is not None
    assert (config.facts, config.missing, image.root.platform) == (None, False, None)
    assert "not JSON" in config.problem
    assert document(looked(source_of(image_with(NOT_JSON))))["config"]["problem"] == config.problem


def test_a_config_that_is_too_large_is_not_read() -> None:
    config = {"mediaType": OCI_CONFIG, "digest": f"sha256:{'0' * 64}", "size": MAX_CONFIG_SIZE + 1}
    parcel = Parcel((document_of(OCI_MANIFEST, config=config, layers=[]),))
    source = source_of(parcel)
    found = only(looked(source)).root.config
    assert found is not None
    assert "over the limit" in found.problem
    assert source.count("blob") == 0


def test_a_config_that_is_not_there_is_missing() -> None:
    source = source_of(greeter("amd64", "x"))

    def refuse(question: str) -> None:
        if question.startswith("blob"):
            raise NotFoundError("no such blob")

    source.before_each = refuse
    found = only(looked(source)).root.config
    assert found is not None
    assert (found.missing, found.problem) == (True, "")


def test_a_damaged_config_is_an_error() -> None:
    source = source_of(greeter("amd64", "x"))
    source.blobs = {digest: b"?" * len(content) for digest, content in source.blobs.items()}
    with pytest.raises(IntegrityError, match="arrived with digest"):
        looked(source)


def test_what_fails_once_is_asked_again() -> None:
    source = source_of(INDEX)
    failed: set[str] = set()

    def fail_once(question: str) -> None:
        if question not in failed:
            failed.add(question)
            raise TransientError("not now")

    source.before_each = fail_once
    assert len(only(looked(source)).root.parts) == 4
    assert len(failed) == 1 + 4 + 1 + 1, "the root, its children, a config and the first piece of it"
