"""What is about images is served beside them: listed as referrers, found by cosign's tags; and images of every kind."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path

import pytest

from ecrdrag.cli.serve_archives import listing, shelf_of
from ecrdrag.errors import ArchiveError, UsageError
from ecrdrag.localecr import LocalEcr
from tests import kinds
from tests.flow.offered import ask, blob, manifest, offering, repositories, tags
from tests.kinds import Parcel
from tests.localecr import client
from tests.packed import packed, without, write

IMAGE = kinds.buildx_index()
ABOUT = kinds.all_about(IMAGE)  # by cosign's tag, two by subject, an SBOM, and a signature of that
CHILD = IMAGE.of("arm64")
OTHER = kinds.greeter("amd64", "another\n")


def check_there(ecr: LocalEcr, repository: str, parcels: Sequence[Parcel]) -> None:
    """Hold all that a client would pull against what it is."""
    for parcel in parcels:
        for document in parcel.documents:
            assert manifest(ecr, repository, str(document.digest)).body == document.content
        for digest, content in parcel.blobs.items():
            assert blob(ecr, repository, digest).body == content.content
        if parcel.tag:
            assert manifest(ecr, repository, parcel.tag).body == parcel.root.content


def referrers(ecr: LocalEcr, repository: str, subject: Parcel, query: str = "") -> list[dict[str, object]]:
    answer = ask(f"{ecr.endpoint}/v2/{repository}/referrers/{subject.digest}{query}")
    found = json.loads(answer.body)["manifests"]
    assert isinstance(found, list)
    return found


def digests(found: Sequence[dict[str, object]]) -> list[str]:
    return sorted(str(one["digest"]) for one in found)


def test_what_is_about_an_image_is_beside_it_wherever_that_is(tmp_path: Path) -> None:
    about = [*ABOUT, kinds.sbom(CHILD)]
    archive = write(tmp_path / "app.tar", packed({"r.io/my/app:1": IMAGE, "r.io/your/app:2": IMAGE}, about))
    with offering(tmp_path / "data", archive) as ecr:
        assert repositories(ecr) == ["my/app", "your/app"]
        for name, tag in (("my/app", "1"), ("your/app", "2")):
            assert sorted(tags(ecr, name)) == sorted([tag, ABOUT[0].tag])
            check_there(ecr, name, [IMAGE, *about])
            assert digests(referrers(ecr, name, IMAGE)) == sorted(str(one.digest) for one in ABOUT[1:4])
            assert digests(referrers(ecr, name, ABOUT[3])) == [str(ABOUT[4].digest)]
            assert digests(referrers(ecr, name, CHILD)) == [str(about[5].digest)]


def test_referrers_are_listed_over_the_api_and_by_type(tmp_path: Path) -> None:
    _, signature, statement, sbom, _ = ABOUT
    archive = write(tmp_path / "app.tar", packed({"r.io/my/app:1": IMAGE}, ABOUT))
    with offering(tmp_path / "data", archive) as ecr:
        (found,) = referrers(ecr, "my/app", IMAGE, f"?artifactType={kinds.SPDX}".replace("+", "%2B"))
        with client(ecr) as api:
            all_of_them, one_of_them = (
                api.list_image_referrers(
                    repositoryName="my/app",
                    subjectId={"imageDigest": str(IMAGE.digest)},
                    filter={"artifactTypes": types},
                )["referrers"]
                for types in ([kinds.SPDX, kinds.SIGNATURE, kinds.IN_TOTO], [kinds.SPDX])
            )
    assert sorted(one["digest"] for one in all_of_them) == sorted(
        str(one.digest) for one in (signature, statement, sbom)
    )
    (one,) = one_of_them
    assert (one["digest"], one["artifactType"], one["size"]) == (str(sbom.digest), kinds.SPDX, len(sbom.root.content))
    assert (found["digest"], found["artifactType"]) == (str(sbom.digest), kinds.SPDX)
    assert found["annotations"] == one["annotations"] == json.loads(sbom.root.content)["annotations"]


def test_images_and_what_is_about_them_may_be_in_different_archives(tmp_path: Path) -> None:
    first = write(tmp_path / "first.tar", packed({"r.io/other:1": OTHER}, [*ABOUT[:4]]))
    second = write(tmp_path / "second.tar", packed({"r.io/my/app:1": IMAGE}, [ABOUT[4], ABOUT[1]]))
    with offering(tmp_path / "data", first, second, second) as ecr:
        assert repositories(ecr) == ["my/app", "other"]
        check_there(ecr, "my/app", [IMAGE, *ABOUT])


def test_what_is_about_nothing_here_is_in_a_repository_called_as_the_file(tmp_path: Path) -> None:
    archive = write(tmp_path / "signed.tar", packed({"r.io/other:1": OTHER}, ABOUT))
    with offering(tmp_path / "data", archive) as ecr:
        assert (repositories(ecr), tags(ecr, "signed")) == (["other", "signed"], [ABOUT[0].tag])
        check_there(ecr, "signed", ABOUT)


def test_images_come_first_where_it_says_what_there_is(tmp_path: Path) -> None:
    by_tag, signature = ABOUT[:2]
    archive = write(tmp_path / "app.tar", packed({"r.io/app:1": IMAGE, "r.io/app:2": OTHER}, [signature, by_tag]))
    with shelf_of([str(archive)], quiet=True) as shelf:
        assert shelf is not None
        lines = listing(shelf, "http://localhost:1").splitlines()
    assert lines[:2] == [f"localhost:1/app:1  {IMAGE.digest}", f"localhost:1/app:2  {OTHER.digest}"]
    assert sorted(lines[2:]) == sorted(
        [f"localhost:1/app:{by_tag.tag}  {by_tag.digest}", f"localhost:1/app@{signature.digest}  {signature.digest}"]
    )


def test_two_signatures_of_one_tag_are_refused(tmp_path: Path) -> None:
    first = kinds.cosign_signature(OTHER)
    second = Parcel(kinds.sbom(OTHER).documents, kinds.sbom(OTHER).blobs, tag=first.tag)
    one = write(tmp_path / "one.tar", packed({"r.io/app:1": OTHER}, [first]))
    two = write(tmp_path / "two.tar", packed({"r.io/app:1": OTHER}, [second]))
    with pytest.raises(UsageError) as caught, shelf_of([str(one), str(two)], quiet=True):
        pass
    said = str(caught.value)
    assert said.startswith(
        f"app:{first.tag} would be two images: the referrer {first.digest} of {OTHER.digest} in {one}"
    )
    assert said.endswith(f", and the referrer {second.digest} of {OTHER.digest} in {two}")


def test_a_signature_that_is_not_whole_is_said_to_be_one(tmp_path: Path) -> None:
    sbom = kinds.sbom(OTHER)
    files, layer = packed({"r.io/app:1": OTHER}, [sbom]), [*sbom.blobs][-1]
    archive = write(tmp_path / "app.tar", without(files, layer))
    with pytest.raises(ArchiveError) as caught, shelf_of([str(archive)], quiet=True):
        pass
    assert str(caught.value) == f"{archive}: blob {layer} of the referrer {sbom.digest} of {OTHER.digest} is missing"
    rest = write(tmp_path / "rest.tar", packed({"r.io/rest:1": sbom}))
    with offering(tmp_path / "data", archive, rest) as ecr:
        check_there(ecr, "app", [OTHER, sbom])


def test_an_archive_of_signatures_alone_gives_them_beside_what_they_are_about(tmp_path: Path) -> None:
    """Oras writes such a one; what is there alone is an image of that archive."""
    signature = ABOUT[1]
    files = packed({"": signature})
    signed = write(tmp_path / "signed.tar", files)
    image = write(tmp_path / "app.tar", packed({"r.io/app:1": IMAGE}))
    with offering(tmp_path / "data", signed, image) as ecr:
        assert (repositories(ecr), digests(referrers(ecr, "app", IMAGE))) == (["app"], [str(signature.digest)])


KINDS = {
    "chart": kinds.helm_chart(),
    "wasm": kinds.wasm(),
    "file": kinds.bare_artifact(),
    "attested": kinds.buildx_index(artifacts=True),
    "nested": kinds.nested_index(),
    "zstd": kinds.zstd_image(),
    "foreign": kinds.foreign_image(),
}


def test_images_of_every_kind_are_served(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    archive = write(tmp_path / "app.tar", packed({f"r.io/app:{tag}": parcel for tag, parcel in KINDS.items()}))
    with offering(tmp_path / "data", archive) as ecr:
        check_there(ecr, "app", [*KINDS.values()])
        assert sorted(tags(ecr, "app")) == sorted(KINDS)
        for tag, parcel in KINDS.items():
            assert manifest(ecr, "app", tag).body == parcel.root.content
    assert caplog.messages == []


def test_of_several_platforms_are_those_that_the_archive_has(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    image = kinds.buildx_index(["amd64", "arm64", "s390x"])
    gone = [image.documents[2].digest, image.documents[5].digest]
    about = kinds.sbom(image.of("amd64"))
    archive = write(tmp_path / "app.tar", without(packed({"r.io/app:1": image}, [about]), *gone))
    with caplog.at_level(logging.WARNING, "ecrdrag"), offering(tmp_path / "data", archive) as ecr:
        assert manifest(ecr, "app", "1").body == image.root.content
        check_there(ecr, "app", [image.of("amd64"), image.of("arm64"), about])
        assert manifest(ecr, "app", str(gone[0])).status == 404
    (said,) = caplog.messages
    assert said.endswith("is there for linux/amd64, linux/arm64, unknown/unknown only")
