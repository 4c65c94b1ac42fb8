"""What is about images goes up with them: signatures, attestations, SBOMs, by subject and by cosign's tags."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from mypy_boto3_ecr.type_defs import ImageIdentifierTypeDef

from ecrdrag.content import Digest
from ecrdrag.localecr import LocalEcr
from ecrdrag.localecr.web.exchange import Answer, Handler, Request
from ecrdrag.manifest import OCI_CONFIG, OCI_INDEX, OCI_MANIFEST
from tests import kinds
from tests.flow.conftest import HOST
from tests.flow.scripts import Run, environment_of, run
from tests.images import Blob
from tests.kinds import Parcel
from tests.localecr import Recorder, client, running
from tests.packed import Files, packed, without, write

APP = f"{HOST}/my/app"
CREATE = "--create-repository"
IMAGE = kinds.buildx_index()
ABOUT = kinds.all_about(IMAGE)  # by cosign's tag, two by subject, an SBOM, and a signature of that
CHILD = IMAGE.of("amd64")
OTHER = kinds.greeter("amd64", "another\n")


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def ecr(tmp_path: Path, recorder: Recorder) -> Iterator[LocalEcr]:
    with running(tmp_path / "data", recorder=recorder) as server:
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a folder for archives, apart from the server's."""
    made = tmp_path / "work"
    made.mkdir()
    return made


def push(ecr: LocalEcr, folder: Path, files: Files, *arguments: str) -> Run:
    write(folder / "app.tar", files)
    return run("docker_push.py", "app.tar", *arguments, cwd=folder, env=environment_of(ecr))


def there(ecr: LocalEcr, repository: str = "my/app") -> dict[str, tuple[str, list[str]]]:
    """Give every document of a repository, byte for byte, with its tags, by its digest."""
    with client(ecr) as api:
        details = api.describe_images(repositoryName=repository)["imageDetails"]
        digests: list[ImageIdentifierTypeDef] = [{"imageDigest": one["imageDigest"]} for one in details]
        images = api.batch_get_image(repositoryName=repository, imageIds=digests)["images"] if digests else []
    raws = {one["imageId"]["imageDigest"]: one["imageManifest"] for one in images}
    return {one["imageDigest"]: (raws[one["imageDigest"]], sorted(one.get("imageTags", []))) for one in details}


def expected(*parcels: tuple[Parcel, Sequence[str]]) -> dict[str, tuple[str, list[str]]]:
    """Say what there() gives where these are, the roots under these tags."""
    documents = [document for parcel, _ in parcels for document in parcel.documents]
    found: dict[str, tuple[str, list[str]]] = {str(one.digest): (one.content.decode(), []) for one in documents}
    for parcel, tags in parcels:
        found[str(parcel.digest)] = (parcel.root.content.decode(), sorted(tags))
    return found


def with_own_tags(parcels: Sequence[Parcel]) -> list[tuple[Parcel, Sequence[str]]]:
    return [(parcel, [parcel.tag] if parcel.tag else []) for parcel in parcels]


def referrers(ecr: LocalEcr, subject: Digest, repository: str = "my/app") -> list[str]:
    with client(ecr) as api:
        answer = api.list_image_referrers(repositoryName=repository, subjectId={"imageDigest": str(subject)})
    return sorted(one["digest"] for one in answer["referrers"])


@pytest.mark.parametrize("api", ["ecr", "registry"])
def test_all_that_is_about_an_image_goes_beside_it_byte_for_byte(ecr: LocalEcr, folder: Path, api: str) -> None:
    about = [*ABOUT, kinds.sbom(CHILD), kinds.cosign_signature(CHILD, suffix="att")]
    ended = push(ecr, folder, packed({"1": IMAGE}, about), f"{APP}:1", CREATE, "--api", api)
    assert ended.code == 0, ended.err
    assert there(ecr) == expected((IMAGE, ["1"]), *with_own_tags(about))
    _, signature, statement, sbom, signed = ABOUT
    assert referrers(ecr, IMAGE.digest) == sorted(str(one.digest) for one in (signature, statement, sbom))
    assert referrers(ecr, sbom.digest) == [str(signed.digest)]
    assert referrers(ecr, CHILD.digest) == [str(about[5].digest)]
    assert "WARNING" not in ended.err


def test_its_lines_name_the_image_first_then_what_is_about_it(ecr: LocalEcr, folder: Path) -> None:
    ended = push(ecr, folder, packed({"1": IMAGE}, ABOUT), f"{APP}:1", CREATE)
    by_tag = ABOUT[0]
    lines = ended.out.splitlines()
    assert lines[0] == f"{APP}:1@{IMAGE.digest}"
    assert sorted(lines[1:]) == sorted(
        [f"{APP}:{by_tag.tag}@{by_tag.digest}", *(f"{APP}@{one.digest}" for one in ABOUT[1:])]
    )


def test_its_json_says_what_each_is_and_what_became_of_its_blobs(ecr: LocalEcr, folder: Path) -> None:
    by_tag, _, _, sbom, _ = ABOUT
    ended = push(ecr, folder, packed({"1": IMAGE}, [by_tag, sbom]), f"{APP}:1", CREATE, "--json")
    report = json.loads(ended.out)
    (image,) = report["images"]
    assert (image["references"], image["digest"]) == ([f"{APP}:1@{IMAGE.digest}"], str(IMAGE.digest))
    assert image["manifests"] == [str(one.digest) for one in IMAGE.documents]
    common = {"mediaType": OCI_MANIFEST, "subject": str(IMAGE.digest)}
    assert image["referrers"] == [
        {**common, "digest": str(by_tag.digest), "artifactType": OCI_CONFIG, "tag": by_tag.tag},
        {**common, "digest": str(sbom.digest), "artifactType": kinds.SPDX, "tag": None},
    ]
    blobs = {digest: blob for one in (IMAGE, by_tag, sbom) for digest, blob in one.blobs.items()}
    listed = [*image["configs"], *image["layers"]]
    assert {one["digest"] for one in listed} == {str(digest) for digest in blobs}
    assert {one["status"] for one in listed} == {"uploaded"}
    assert report["bytes"] == sum(len(blob.content) for blob in blobs.values())


def test_a_dry_run_says_what_would_go_up_of_it_too(ecr: LocalEcr, recorder: Recorder, folder: Path) -> None:
    by_tag = ABOUT[0]
    plain, whole = (
        push(ecr, folder, packed({"1": OTHER}, about), f"{APP}:1", CREATE, "--dry-run")
        for about in ((), [kinds.cosign_signature(OTHER)])
    )
    signature = kinds.cosign_signature(OTHER)
    lines = whole.out.splitlines()
    assert lines[:3] == plain.out.splitlines()[:3]
    assert lines[3] == f"{APP}:{signature.tag}@{signature.digest}"
    assert [line.split()[0] for line in lines[4:-1]] == [str(digest) for digest in signature.blobs]
    assert (lines[-1] != plain.out.splitlines()[-1], by_tag.tag in whole.out) == (True, False)
    assert recorder.count("CreateRepository") + recorder.count("PutImage") + recorder.count("PUT") == 0


def test_a_second_push_sends_nothing(ecr: LocalEcr, recorder: Recorder, folder: Path) -> None:
    files = packed({"1": IMAGE}, ABOUT)
    assert push(ecr, folder, files, f"{APP}:1", CREATE).code == 0
    before = there(ecr)
    recorder.requests.clear()
    report = json.loads(push(ecr, folder, files, f"{APP}:1", "--json").out)
    assert (report["bytes"], recorder.count("InitiateLayerUpload") + recorder.count("PUT")) == (0, 0)
    assert there(ecr) == before


def test_nobody_sees_an_image_by_its_tag_before_what_is_about_it(
    ecr: LocalEcr, recorder: Recorder, folder: Path
) -> None:
    seen: list[str] = []

    def watch(request: Request, handler: Handler) -> Answer:
        answer = handler(request)
        if request.method == "PUT" and "/manifests/" in request.path and answer.status == 201:
            seen.append(request.path.rpartition("/")[2])
        return answer

    recorder.intercept = watch
    assert push(ecr, folder, packed({"1": IMAGE}, ABOUT), f"{APP}:1", CREATE, "--api", "registry").code == 0
    documents = [str(one.digest) for one in IMAGE.documents]
    assert (seen[: len(documents)], seen[-1]) == (documents, "1")
    assert sorted(seen[len(documents) : -1]) == sorted(one.tag or str(one.digest) for one in ABOUT)


def test_an_immutable_tag_of_a_signature_is_a_conflict_and_the_image_gets_no_tag(ecr: LocalEcr, folder: Path) -> None:
    signature = kinds.cosign_signature(OTHER)
    first = kinds.Parcel(kinds.sbom(OTHER).documents, kinds.sbom(OTHER).blobs, tag=signature.tag)
    assert push(ecr, folder, packed({"1": first}), f"{APP}:{signature.tag}", CREATE, "--immutable").code == 0
    ended = push(ecr, folder, packed({"1": OTHER}, [signature]), f"{APP}:1")
    assert (ended.code, ended.out) == (9, "")
    assert f"{APP}:{signature.tag} is immutable and holds {first.digest}, not {signature.digest}" in ended.err
    assert there(ecr)[str(OTHER.digest)][1] == []


def test_what_is_about_nothing_that_is_pushed_stays_and_is_counted_once(ecr: LocalEcr, folder: Path) -> None:
    lost = [kinds.sbom(OTHER), kinds.cosign_signature(OTHER)]
    files = packed({f"{APP}:1": IMAGE, f"{HOST}/your/app:1": IMAGE}, [ABOUT[1], *lost])
    ended = push(ecr, folder, files, CREATE)
    assert ended.err.count("app.tar: referrers of images that it doesn't hold are not pushed: 2\n") == 1
    assert there(ecr) == there(ecr, "your/app") == expected((IMAGE, ["1"]), (ABOUT[1], []))


def test_what_is_about_images_that_were_not_chosen_stays_without_a_warning(ecr: LocalEcr, folder: Path) -> None:
    files = packed({f"{APP}:1": IMAGE, f"{APP}:2": OTHER}, [*ABOUT, kinds.sbom(OTHER)])
    ended = push(ecr, folder, files, "--image", str(OTHER.digest), CREATE, "-v")
    assert there(ecr) == expected((OTHER, ["2"]), (kinds.sbom(OTHER), []))
    assert "app.tar: referrers of other images are not pushed: 5" in ended.err
    quiet = push(ecr, folder, files, "--image", str(OTHER.digest))
    assert (quiet.code, "referrers" in quiet.err) == (0, False)


def test_one_platform_of_an_index_takes_what_is_about_that_alone(ecr: LocalEcr, folder: Path) -> None:
    about = kinds.sbom(CHILD)
    files = packed({"1": IMAGE}, [*ABOUT, about])
    assert push(ecr, folder, files, f"{APP}:amd", CREATE, "--image", str(CHILD.digest)).code == 0
    assert there(ecr) == expected((CHILD, ["amd"]), (about, []))


def test_what_is_about_two_images_is_put_once_and_told_of_both(ecr: LocalEcr, recorder: Recorder, folder: Path) -> None:
    both = (kinds.index([CHILD]), kinds.index([CHILD, OTHER]))
    about = kinds.sbom(CHILD)
    files = packed({f"{APP}:1": both[0], f"{APP}:2": both[1]}, [about])
    ended = push(ecr, folder, files, CREATE, "--json", "--api", "ecr")
    assert there(ecr) == expected((both[0], ["1"]), (both[1], ["2"]), (about, []))
    assert [one["referrers"][0]["digest"] for one in json.loads(ended.out)["images"]] == [str(about.digest)] * 2
    # the child and its index, then the SBOM, then the index by its tag; both children and the other index
    assert recorder.count("PutImage") == 4 + 3
    assert push(ecr, folder, files).out.count(str(about.digest)) == 1


def test_an_sbom_in_an_index_of_its_own_goes_up_with_all_that_it_names(ecr: LocalEcr, folder: Path) -> None:
    inner = kinds.bare_artifact()
    bundle = kinds.index([inner], artifactType="application/vnd.example.bundle", subject=OTHER.root.json)
    assert push(ecr, folder, packed({"1": OTHER}, [bundle]), f"{APP}:1", CREATE).code == 0
    assert there(ecr) == expected((OTHER, ["1"]), (bundle, []))
    ended = push(ecr, folder, without(packed({"1": OTHER}, [bundle]), inner.digest), f"{APP}:2")
    assert ended.code == 7
    assert f"{inner.digest.hex} is missing: a part of the referrer {bundle.digest} of {OTHER.digest}" in ended.err


def test_an_sbom_of_another_size_than_the_index_around_it_says_is_refused(ecr: LocalEcr, folder: Path) -> None:
    inner = kinds.bare_artifact()
    entry = {**inner.root.json, "size": len(inner.root.content) + 1}
    bundle = kinds.document_of(OCI_INDEX, manifests=[entry], subject=OTHER.root.json)
    about = Parcel((*inner.documents, bundle), inner.blobs)
    ended = push(ecr, folder, packed({"1": OTHER}, [about]), f"{APP}:1", CREATE)
    assert (ended.code, f"app.tar: {inner.digest} has" in ended.err) == (6, True), ended.err


@pytest.mark.parametrize("is_about", [True, False])
def test_a_blob_that_is_said_to_have_no_bytes_and_has_is_found_out(ecr: LocalEcr, folder: Path, is_about: bool) -> None:
    lie = {**Blob(b"some bytes", "text/plain").json, "size": 0}
    members: dict[str, object] = {"config": kinds.EMPTY.json, "layers": [lie], "subject": OTHER.root.json}
    liar = Parcel((kinds.document_of(OCI_MANIFEST, **members),), {kinds.EMPTY.digest: kinds.EMPTY})
    files = packed({"1": OTHER}, [liar]) if is_about else packed({"1": liar})
    ended = push(ecr, folder, files, f"{APP}:1", CREATE)
    assert (ended.code, str(lie["digest"]) in ended.err) == (6, True), ended.err


@pytest.mark.parametrize("lacking", ["its tag", "its subject"])
def test_a_blob_that_nobody_has_is_said_to_be_one_of_what_is_about_an_image(
    ecr: LocalEcr, folder: Path, lacking: str
) -> None:
    about = {"its tag": kinds.cosign_signature(OTHER), "its subject": kinds.sbom(OTHER)}[lacking]
    layer = [*about.blobs][-1]
    files = without(packed({"1": OTHER}, [about]), layer)
    ended = push(ecr, folder, files, f"{APP}:1", CREATE)
    said = (
        f"app.tar: blob {layer} of the referrer {about.digest} of {OTHER.digest} is missing, and the registry doesn't"
    )
    assert (ended.code, said in ended.err, ended.out) == (7, True, ""), ended.err
    with client(ecr) as api:
        assert api.describe_repositories()["repositories"] == []
    assert push(ecr, folder, packed({"1": about}), f"{APP}:there", CREATE).code == 0
    assert push(ecr, folder, files, f"{APP}:1").code == 0


def test_a_damaged_signature_stops_all_before_anything_has_a_tag(ecr: LocalEcr, folder: Path) -> None:
    about = kinds.sbom(OTHER)
    layer = [*about.blobs.values()][-1]
    files = {**packed({"1": OTHER}, [about]), f"blobs/sha256/{layer.digest.hex}": bytes(len(layer.content))}
    ended = push(ecr, folder, files, f"{APP}:1", CREATE)
    assert (ended.code, str(layer.digest) in ended.err) == (6, True)
    assert there(ecr) == {}
    short = {**files, f"blobs/sha256/{layer.digest.hex}": layer.content[1:]}
    assert push(ecr, folder, short, f"{APP}:1").code == 6


def test_what_other_tools_wrote_among_the_images_goes_up_as_well(ecr: LocalEcr, folder: Path) -> None:
    """Oras lists a signature in index.json, without a name."""
    about = kinds.signature(OTHER)
    files = packed({"1": OTHER}, [about])
    index = json.loads(files["index.json"])
    index["manifests"] += json.loads(files.pop("referrers.json"))["manifests"]
    files["index.json"] = json.dumps(index).encode()
    ended = push(ecr, folder, files, f"{APP}:1", CREATE)
    assert ended.out.splitlines() == [f"{APP}:1@{OTHER.digest}", f"{APP}@{about.digest}"], ended.err
    assert there(ecr) == expected((OTHER, ["1"]), (about, []))
