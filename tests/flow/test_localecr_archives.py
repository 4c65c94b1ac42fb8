"""Archives served as they lie: what is found in them, by which name, through the API and over /v2/."""

from __future__ import annotations

import bz2
import gzip
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from ecrdrag.cli.serve_archives import shelf_of
from ecrdrag.content import Digest
from ecrdrag.errors import ArchiveError, IntegrityError, UnsupportedError, UsageError
from ecrdrag.localecr import LocalEcr
from ecrdrag.manifest import DOCKER_MANIFEST, OCI_MANIFEST
from tests.flow.conftest import BOTH, HELLO, HOST, NOISE
from tests.flow.offered import ask, blob, check_image, manifest, offering, repositories, tags
from tests.flow.scripts import environment_of, run
from tests.images import Blob, Image, hello_image, image_of, index_of
from tests.localecr import client
from tests.saved import (
    LAYER_TARS,
    NAME,
    Files,
    Link,
    config_of,
    crane_archive,
    docker_archive,
    docker_save_new,
    docker_save_old,
    folder_with,
    oci_layout,
    tar_with,
)

PLAIN = image_of(LAYER_TARS, oci=False, compressed=False)
DOCKER_KINDS: Mapping[str, Callable[[], Files]] = {
    "save before 25": docker_save_old,
    "save since 25": docker_save_new,
    "podman and skopeo": docker_archive,
    "layers in bzip2": lambda: docker_archive(pack=bz2.compress),
}


def tar(path: Path, files: Files) -> Path:
    path.write_bytes(tar_with(files))
    return path


def without(files: Files, digest: object) -> Files:
    return {name: content for name, content in files.items() if str(digest).partition(":")[2] not in name}


def about(subject: Image, word: str) -> Image:
    """Make a signature of an image, or of a signature."""
    config, layer = Blob(b"{}", "application/vnd.oci.empty.v1+json"), Blob(word.encode(), "text/plain")
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": "application/vnd.example.signature",
        "config": config.json,
        "layers": [layer.json],
        "subject": subject.manifest.json,
    }
    return Image(Blob(json.dumps(document).encode(), OCI_MANIFEST), config, (layer,), subject.platform)


def pull(ecr: LocalEcr, folder: Path, reference: str, file: str) -> Path:
    ended = run("docker_pull.py", reference, "-o", file, cwd=folder, env=environment_of(ecr))
    assert ended.code == 0, ended.err
    return folder / file


@pytest.mark.parametrize("name", ["my/app:1.2", "my/app:noise"])
def test_what_docker_pull_wrote_is_pulled_again_to_the_same_bytes(stocked: LocalEcr, tmp_path: Path, name: str) -> None:
    first = pull(stocked, tmp_path, f"{HOST}/{name}", "first.tar")
    with offering(tmp_path / "data", first) as ecr:
        second = pull(ecr, tmp_path, f"{HOST}/{name}", "second.tar")
    assert second.read_bytes() == first.read_bytes()


@pytest.mark.parametrize("host", ["999999999999.dkr.ecr.eu-central-1.amazonaws.com", HOST])
def test_it_is_found_in_every_account_and_region(tmp_path: Path, host: str) -> None:
    with offering(tmp_path / "data", tar(tmp_path / "app.tar", oci_layout({NAME: NOISE}))) as ecr:
        pull(ecr, tmp_path, f"{host}/my/app:1.2", "pulled.tar")
        found = ask(f"{ecr.endpoint}/v2/my/app/manifests/1.2", Host=host.replace("amazonaws.com", "localhost"))
        assert found.body == NOISE.manifest.content
        with client(ecr, region="ap-south-1") as api:
            (described,) = api.describe_repositories(registryId="777777777777")["repositories"]
    assert described["repositoryArn"] == "arn:aws:ecr:ap-south-1:777777777777:repository/my/app"


@pytest.mark.parametrize("files", DOCKER_KINDS.values(), ids=list(DOCKER_KINDS))
def test_plain_layers_of_dockers_format_are_served_as_they_are(tmp_path: Path, files: Callable[[], Files]) -> None:
    with offering(tmp_path / "data", tar(tmp_path / "app.tar", files())) as ecr:
        layers = json.loads(manifest(ecr, "my/app", "1.2").body)["layers"]
        assert [layer["digest"] for layer in layers] == [str(Digest.of(layer)) for layer in LAYER_TARS]
        assert {layer["mediaType"] for layer in layers} == {"application/vnd.docker.image.rootfs.diff.tar"}
        assert [blob(ecr, "my/app", Digest.of(layer)).body for layer in LAYER_TARS] == list(LAYER_TARS)
        assert blob(ecr, "my/app", PLAIN.config.digest).body == config_of(LAYER_TARS)
        pull(ecr, tmp_path, NAME, "pulled.tar")


def test_the_digest_is_that_of_a_push_without_compression(tmp_path: Path) -> None:
    archive = tar(tmp_path / "app.tar", docker_save_new())
    with LocalEcr(tmp_path / "registry") as registry:
        pushed = run(
            "docker_push.py",
            *(str(archive), f"{HOST}/my/app:1.2", "--create-repository", "--compression", "none"),
            cwd=tmp_path,
            env=environment_of(registry),
        )
    with offering(tmp_path / "data", archive) as ecr:
        assert pushed.out.strip() == f"{HOST}/my/app:1.2@{Digest.of(manifest(ecr, 'my/app', '1.2').body)}"


def test_gzipped_layers_of_cranes_stay_as_they_are(tmp_path: Path) -> None:
    with offering(tmp_path / "data", tar(tmp_path / "app.tar", crane_archive())) as ecr:
        packed = gzip.compress(LAYER_TARS[1], mtime=0)
        assert blob(ecr, "my/app", Digest.of(packed)).body == packed


@pytest.mark.parametrize("kind", ["tar", "folder", "gzip"])
def test_a_layout_gives_all_of_an_index(tmp_path: Path, kind: str) -> None:
    files = oci_layout({"example.org/my/app:1": BOTH})
    archive = folder_with(tmp_path / "app", files) if kind == "folder" else tmp_path / "app.tar"
    if kind != "folder":
        archive.write_bytes(gzip.compress(tar_with(files)) if kind == "gzip" else tar_with(files))
    with offering(tmp_path / "data", archive) as ecr:
        check_image(ecr, "my/app", "1", BOTH)
        with client(ecr) as api:
            details = api.describe_images(repositoryName="my/app")["imageDetails"]
        assert {one["imageDigest"]: one.get("imageTags") for one in details} == {
            str(BOTH.manifest.digest): ["1"],
            **{str(image.manifest.digest): None for image in BOTH.images},
        }
        assert all(one["imageSizeInBytes"] > 100 for one in details)


def test_nothing_is_copied(tmp_path: Path) -> None:
    archive = tar(tmp_path / "app.tar", oci_layout({NAME: NOISE}))
    with offering(tmp_path / "data", archive) as ecr:
        check_image(ecr, "my/app", "1.2", NOISE)
        kept = sum(file.stat().st_size for file in (tmp_path / "data").rglob("*") if file.is_file())
    assert archive.stat().st_size > 6_000_000
    assert kept < 1_000_000


def test_ranges_and_heads_are_answered_from_inside_the_tar(tmp_path: Path) -> None:
    layer = NOISE.layers[0]
    with offering(tmp_path / "data", tar(tmp_path / "app.tar", oci_layout({NAME: NOISE}))) as ecr:
        part = blob(ecr, "my/app", layer.digest, Range="bytes=1000-1999")
        assert (part.status, part.body) == (206, layer.content[1000:2000])
        assert part.headers["Content-Range"] == f"bytes 1000-1999/{len(layer.content)}"
        end = blob(ecr, "my/app", layer.digest, Range="bytes=-5")
        assert (end.status, end.body) == (206, layer.content[-5:])
        assert blob(ecr, "my/app", layer.digest, Range=f"bytes={len(layer.content)}-").status == 416
        head = ask(f"{ecr.endpoint}/v2/my/app/blobs/{layer.digest}", "HEAD")
        assert int(head.headers["Content-Length"]) == len(layer.content)


def test_the_images_of_docker_hub_have_both_names(tmp_path: Path) -> None:
    archive = tar(tmp_path / "app.tar", oci_layout({"docker.io/library/alpine:3": HELLO, "me/tool:1": NOISE}))
    with offering(tmp_path / "data", archive) as ecr:
        assert repositories(ecr) == ["alpine", "library/alpine", "me/tool"]
        check_image(ecr, "alpine", "3", HELLO)
        check_image(ecr, "library/alpine", "3", HELLO)


def test_without_a_name_it_is_found_by_digest_in_a_repository_called_as_the_file(tmp_path: Path) -> None:
    with offering(tmp_path / "data", tar(tmp_path / "My App_1.tar", oci_layout([HELLO]))) as ecr:
        assert repositories(ecr) == ["my-app_1"]
        assert tags(ecr, "my-app_1") == []
        check_image(ecr, "my-app_1", str(HELLO.manifest.digest), HELLO)


def test_a_tag_alone_is_one_of_the_repository_called_as_the_file(tmp_path: Path) -> None:
    with offering(tmp_path / "data", tar(tmp_path / "tool.tar", oci_layout({"1.2": HELLO}))) as ecr:
        check_image(ecr, "tool", "1.2", HELLO)


def test_the_name_of_a_pull_by_digest_is_no_tag(stocked: LocalEcr, tmp_path: Path) -> None:
    reference = f"{HOST}/my/app@{HELLO.manifest.digest}"
    with offering(tmp_path / "data", pull(stocked, tmp_path, reference, "app.tar")) as ecr:
        assert tags(ecr, "my/app") == []
        check_image(ecr, "my/app", str(HELLO.manifest.digest), HELLO)
        pull(ecr, tmp_path, reference, "again.tar")


def test_of_an_index_may_be_some_images_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    arm, amd = BOTH.images
    archive = tar(tmp_path / "app.tar", without(oci_layout({"r.io/app:1": BOTH}), arm.manifest.digest))
    with caplog.at_level(logging.WARNING, "ecrdrag"), offering(tmp_path / "data", archive) as ecr:
        assert manifest(ecr, "app", "1").body == BOTH.manifest.content
        check_image(ecr, "app", str(amd.manifest.digest), amd)
        assert manifest(ecr, "app", str(arm.manifest.digest)).status == 404
    assert "is there for linux/amd64 only" in caplog.text


def test_an_image_of_an_index_that_lacks_a_layer_is_as_good_as_not_there(tmp_path: Path) -> None:
    arm, amd = BOTH.images
    archive = tar(tmp_path / "app.tar", without(oci_layout({"r.io/app:1": BOTH}), arm.layers[0].digest))
    with offering(tmp_path / "data", archive) as ecr:
        check_image(ecr, "app", str(amd.manifest.digest), amd)
        assert manifest(ecr, "app", str(arm.manifest.digest)).status == 404


def test_what_one_archive_lacks_may_be_in_another(tmp_path: Path) -> None:
    files, digest = oci_layout({"r.io/app:1": BOTH}), BOTH.images[0].layers[0].digest
    first = tar(tmp_path / "first.tar", without(files, digest))
    second = tar(tmp_path / "second.tar", oci_layout({"r.io/other:1": BOTH.images[0]}))
    with offering(tmp_path / "data", first, second, first) as ecr:
        check_image(ecr, "app", "1", BOTH)
        check_image(ecr, "other", "1", BOTH.images[0])


def test_foreign_layers_are_given_by_who_has_them(tmp_path: Path) -> None:
    kind = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
    here, away = (Blob(word, kind) for word in (b"a layer of windows", b"another"))
    layers = [here.json, {**away.json, "urls": ["https://example.com/layer"]}]
    document = {"schemaVersion": 2, "mediaType": DOCKER_MANIFEST, "config": HELLO.config.json, "layers": layers}
    raw = Blob(json.dumps(document).encode(), DOCKER_MANIFEST)
    files = oci_layout({NAME: Image(raw, HELLO.config, (here, away), HELLO.platform)})
    with offering(tmp_path / "data", tar(tmp_path / "app.tar", without(files, away.digest))) as ecr:
        assert manifest(ecr, "my/app", "1.2").body == raw.content
        assert blob(ecr, "my/app", here.digest).body == here.content
        assert ask(f"{ecr.endpoint}/v2/my/app/blobs/{away.digest}").status == 404


def test_signatures_are_beside_what_they_are_about(tmp_path: Path) -> None:
    signed = about(HELLO, "a signature")
    again, lost = about(signed, "of the signature"), about(NOISE, "of nothing that is here")
    first = tar(tmp_path / "signed.tar", oci_layout([again, signed, lost]))
    second = tar(tmp_path / "app.tar", oci_layout({"r.io/my/app:1": HELLO}))
    with offering(tmp_path / "data", first, second) as ecr:
        assert repositories(ecr) == ["my/app", "signed"]
        found = json.loads(ask(f"{ecr.endpoint}/v2/my/app/referrers/{HELLO.manifest.digest}").body)["manifests"]
        assert [one["digest"] for one in found] == [str(signed.manifest.digest)]
        check_image(ecr, "my/app", str(again.manifest.digest), again)
        check_image(ecr, "signed", str(lost.manifest.digest), lost)


def test_two_images_of_one_name_are_refused(tmp_path: Path) -> None:
    first = tar(tmp_path / "first.tar", oci_layout({"one.example/app:1": HELLO}))
    second = tar(tmp_path / "second.tar", oci_layout({"two.example/app:1": NOISE}))
    with pytest.raises(UsageError) as caught, shelf_of([str(first), str(second)], quiet=True):
        pass
    for part in ("app:1 would be", "one.example/app:1", str(first), "two.example/app:1", str(second)):
        assert part in str(caught.value)


def test_nothing_can_be_changed(tmp_path: Path) -> None:
    with offering(tmp_path / "data", tar(tmp_path / "app.tar", oci_layout({NAME: HELLO}))) as ecr, client(ecr) as api:
        calls: list[Callable[[], object]] = [
            lambda: api.create_repository(repositoryName="new"),
            lambda: api.delete_repository(repositoryName="my/app", force=True),
            lambda: api.batch_delete_image(repositoryName="my/app", imageIds=[{"imageTag": "1.2"}]),
            lambda: api.initiate_layer_upload(repositoryName="my/app"),
            lambda: api.put_image(repositoryName="my/app", imageManifest="{}", imageTag="2"),
        ]
        for call in calls:
            with pytest.raises(ClientError, match=r"AccessDenied.*read-only"):
                call()
        token = api.get_authorization_token()["authorizationData"][0]["authorizationToken"]
        uploads = f"{ecr.endpoint}/v2/my/app/blobs/uploads/"
        assert ask(uploads, "POST").status == 403, "a login would not help"
        assert ask(uploads, "POST", Authorization=f"Basic {token}").status == 403
        put = f"{ecr.endpoint}/v2/my/app/manifests/2"
        assert ask(put, "PUT", HELLO.manifest.content, Authorization=f"Basic {token}").status == 403
        assert ask(put.replace("/2", "/1.2"), "DELETE", Authorization=f"Basic {token}").status == 403
        check_image(ecr, "my/app", "1.2", HELLO)
        assert ask(put.replace("/2", "/1.2"), Authorization=f"Basic {token}").status == 200


@pytest.mark.parametrize(
    ("files", "error", "said"),
    [
        (without(oci_layout({NAME: HELLO}), HELLO.layers[0].digest), ArchiveError, f"blob {HELLO.layers[0].digest}"),
        (
            {
                name: content
                for name, content in oci_layout({NAME: BOTH}).items()
                if not any(image.manifest.digest.hex in name for image in BOTH.images)
            },
            ArchiveError,
            "no image is whole",
        ),
        (
            {**docker_save_old(), f"{0:064x}/layer.tar": LAYER_TARS[1]},
            IntegrityError,
            "is damaged: its tar has digest",
        ),
        (
            {**oci_layout({NAME: HELLO}), f"blobs/sha256/{HELLO.layers[0].digest.hex}": Link("../../../secret")},
            ArchiveError,
            "that leads out of the archive",
        ),
        (
            {**oci_layout({NAME: HELLO}), f"blobs/sha256/{HELLO.layers[0].digest.hex}": b"another size"},
            IntegrityError,
            "its descriptor says",
        ),
    ],
    ids=["without a layer", "without any image", "damaged", "a way out", "another size"],
)
def test_an_archive_that_is_not_sound_is_refused(tmp_path: Path, files: Files, error: type, said: str) -> None:
    (tmp_path / "secret").write_bytes(HELLO.layers[0].content)
    for archive in (tar(tmp_path / "app.tar", files), folder_with(tmp_path / "app", files)):
        if archive.is_dir() and "oci-layout" not in files:
            continue
        with pytest.raises(error, match=said), shelf_of([str(archive)], quiet=True):
            pass


def test_a_manifest_that_no_registry_would_take_is_refused(tmp_path: Path) -> None:
    raw = HELLO.manifest.content.decode().encode("utf-16")  # JSON, as Python reads it
    odd = Image(Blob(raw, OCI_MANIFEST), HELLO.config, HELLO.layers, HELLO.platform)
    archive = tar(tmp_path / "app.tar", oci_layout({NAME: odd}))
    with pytest.raises(UnsupportedError, match="no registry would take"), offering(tmp_path / "data", archive):
        pass


def test_several_images_share_their_layers(tmp_path: Path) -> None:
    arm, amd = hello_image("arm64"), hello_image("amd64")
    files = oci_layout({"r.io/app:arm": arm, "r.io/app:amd": amd, "r.io/app:both": index_of([arm, amd])})
    with offering(tmp_path / "data", tar(tmp_path / "app.tar", files)) as ecr:
        assert sorted(tags(ecr, "app")) == ["amd", "arm", "both"]
        check_image(ecr, "app", "both", index_of([arm, amd]))


def test_a_layer_without_bytes_is_served(tmp_path: Path) -> None:
    hollow = about(HELLO, "")
    with offering(tmp_path / "data", tar(tmp_path / "app.tar", oci_layout({NAME: hollow}))) as ecr:
        check_image(ecr, "my/app", "1.2", hollow)
