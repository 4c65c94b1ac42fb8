"""docker_push.py as a user runs it, against the local ECR."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zstandard

from ecrdrag.content import Digest
from ecrdrag.localecr import LocalEcr
from ecrdrag.localecr.web.exchange import Answer, Handler, Request
from ecrdrag.manifest import DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST
from tests.flow.conftest import BOTH, HELLO, HOST, MIB, NOISE, stock
from tests.flow.scripts import HOME, Run, command_of, environment_of, run
from tests.images import Blob, Image, ImageIndex, hello_image, image_of, index_of, noise_image
from tests.localecr import Recorder, client, running
from tests.saved import (
    LAYER_TARS,
    crane_archive,
    docker_archive,
    docker_save_new,
    docker_save_old,
    folder_with,
    oci_layout,
    tar_with,
)

APP = f"{HOST}/my/app"
AMD64 = ("--platform", "linux/amd64")
CREATE = "--create-repository"


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def ecr(tmp_path: Path, recorder: Recorder) -> Iterator[LocalEcr]:
    with running(tmp_path / "data", recorder=recorder) as server:
        stock(server)
        recorder.requests.clear()
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a folder for archives, apart from the server's."""
    made = tmp_path / "work"
    made.mkdir()
    return made


def push(ecr: LocalEcr, folder: Path, *arguments: str, **changes: str) -> Run:
    return run("docker_push.py", *arguments, cwd=folder, env=environment_of(ecr, **changes))


def pull(ecr: LocalEcr, folder: Path, *arguments: str) -> Run:
    return run("docker_pull.py", *arguments, cwd=folder, env=environment_of(ecr))


def pushed(ecr: LocalEcr, folder: Path, *arguments: str, **changes: str) -> dict[str, object]:
    """Push with --json and give the report of the one image that went up."""
    ended = push(ecr, folder, *arguments, "--json", **changes)
    assert ended.code == 0, ended.err
    (image,) = json.loads(ended.out)["images"]
    assert isinstance(image, dict)
    return image


def size_of(image: dict[str, object]) -> int:
    layers = image["layers"]
    assert isinstance(layers, list)
    return sum(layer["size"] for layer in layers)


def digest_of(ecr: LocalEcr, repository: str, tag: str) -> str:
    with client(ecr) as api:
        (image,) = api.batch_get_image(repositoryName=repository, imageIds=[{"imageTag": tag}])["images"]
    return image["imageId"]["imageDigest"]


def tags_of(ecr: LocalEcr, repository: str) -> list[str]:
    with client(ecr) as api:
        return sorted(
            one["imageTag"] for one in api.list_images(repositoryName=repository)["imageIds"] if "imageTag" in one
        )


def contents_of(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as archive:
        return {member.name: file.read() for member in archive if (file := archive.extractfile(member))}


def test_a_round_trip_gives_back_every_byte_but_the_name(ecr: LocalEcr, folder: Path) -> None:
    assert pull(ecr, folder, f"{APP}:noise", "-o", "one.tar", *AMD64).code == 0
    ended = push(ecr, folder, "one.tar", f"{HOST}/other/app:noise", CREATE)
    assert ended.out == f"{HOST}/other/app:noise@{NOISE.manifest.digest}\n", ended.err
    assert pull(ecr, folder, f"{HOST}/other/app:noise", "-o", "two.tar", *AMD64).code == 0
    one, two = contents_of(folder / "one.tar"), contents_of(folder / "two.tar")
    assert [*one] == [*two]
    assert {name for name in one if one[name] != two[name]} == {"index.json", "manifest.json"}
    for name in ("index.json", "manifest.json"):
        assert one[name].replace(b"/my/app:", b"/other/app:") == two[name]


def test_across_regions_and_accounts_the_digest_stays(ecr: LocalEcr, folder: Path) -> None:
    assert pull(ecr, folder, f"{APP}:1.2", *AMD64).code == 0
    other = "ecr.aws/arn:aws-cn:ecr:cn-north-1:123456789012:repository/far/away:1.2"
    image = pushed(ecr, folder, "app-1.2.tar", other, CREATE)
    host = "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn"
    assert image["references"] == [f"{host}/far/away:1.2@{HELLO.manifest.digest}"]


def test_without_a_reference_it_goes_to_the_name_in_the_archive(ecr: LocalEcr, folder: Path) -> None:
    assert pull(ecr, folder, f"{APP}:noise", "-o", "one.tar", *AMD64).code == 0
    with client(ecr) as api:
        api.batch_delete_image(repositoryName="my/app", imageIds=[{"imageTag": "noise"}])
    assert push(ecr, folder, "one.tar").out == f"{APP}:noise@{NOISE.manifest.digest}\n"
    assert digest_of(ecr, "my/app", "noise") == str(NOISE.manifest.digest)


def test_what_was_pulled_by_digest_goes_back_without_a_tag(ecr: LocalEcr, folder: Path) -> None:
    assert pull(ecr, folder, f"{APP}@{NOISE.manifest.digest}", "-o", "one.tar", *AMD64).code == 0
    before = tags_of(ecr, "my/app")
    assert push(ecr, folder, "one.tar").out == f"{APP}@{NOISE.manifest.digest}\n"
    assert tags_of(ecr, "my/app") == before


def test_what_was_pulled_by_the_digest_of_an_index_gets_no_tag_of_its_digits(ecr: LocalEcr, folder: Path) -> None:
    assert pull(ecr, folder, f"{APP}@{BOTH.manifest.digest}", "-o", "one.tar", *AMD64).code == 0
    before = tags_of(ecr, "my/app")
    assert push(ecr, folder, "one.tar").out == f"{APP}@{HELLO.manifest.digest}\n"
    assert tags_of(ecr, "my/app") == before


def test_two_images_of_one_name_are_refused(ecr: LocalEcr, recorder: Recorder, folder: Path) -> None:
    index = index_of([HELLO])
    files = oci_layout({f"{APP}:x": index, "y": HELLO})
    listing = json.loads(files["index.json"])  # type: ignore[arg-type]
    listing["manifests"][1]["annotations"] = listing["manifests"][0]["annotations"]
    (folder / "app.tar").write_bytes(tar_with({**files, "index.json": json.dumps(listing).encode()}))
    ended = push(ecr, folder, "app.tar")
    assert (ended.code, recorder.requests) == (2, [])
    assert f"two images are called {APP}:x: choose one by its digest with --image" in ended.err


def test_nothing_is_tagged_anywhere_when_one_of_several_images_is_damaged(ecr: LocalEcr, folder: Path) -> None:
    bad = hello_image("arm64")
    files = oci_layout({f"{HOST}/one/app:1": HELLO, f"{HOST}/two/app:1": bad})
    files[f"blobs/sha256/{bad.layers[0].digest.hex}"] = bytes(len(bad.layers[0].content))
    (folder / "app.tar").write_bytes(tar_with(files))
    assert push(ecr, folder, "app.tar", CREATE).code == 6
    assert tags_of(ecr, "one/app") == tags_of(ecr, "two/app") == []


def test_bytes_are_counted_over_all_repositories_and_children_have_no_tag(ecr: LocalEcr, folder: Path) -> None:
    arm = hello_image("arm64")
    names: dict[str, Image | ImageIndex] = {f"{HOST}/one/app:1": index_of([HELLO]), f"{HOST}/two/app:1": arm}
    (folder / "app.tar").write_bytes(tar_with(oci_layout(names)))
    with client(ecr) as api:
        api.create_repository(repositoryName="one/app")
    report = json.loads(push(ecr, folder, "app.tar", CREATE, "--json").out)
    assert report["bytes"] == sum(len(blob.content) for image in (HELLO, arm) for blob in image.blobs.values())
    with client(ecr) as api:
        found = api.list_images(repositoryName="one/app")["imageIds"]
    assert sorted(one.get("imageTag", "") for one in found) == ["", "1"]
    assert digest_of(ecr, "one/app", "1") == str(index_of([HELLO]).manifest.digest)


def test_a_dry_run_without_the_repository_is_not_found(ecr: LocalEcr, folder: Path) -> None:
    (folder / "app.tar").write_bytes(tar_with(oci_layout({"1": HELLO})))
    assert push(ecr, folder, "app.tar", f"{HOST}/no/such:1", "--dry-run").code == 4


def test_only_what_is_missing_goes_up_and_a_second_push_sends_nothing(
    ecr: LocalEcr, recorder: Recorder, folder: Path
) -> None:
    (folder / "app.tar").write_bytes(tar_with(oci_layout({"1": HELLO})))
    report = json.loads(push(ecr, folder, "app.tar", f"{APP}:again", "--json").out)
    assert (recorder.count("InitiateLayerUpload"), report["bytes"]) == (0, 0)
    assert {layer["status"] for layer in report["images"][0]["layers"]} == {"existed"}
    first = json.loads(push(ecr, folder, "app.tar", f"{HOST}/new/app:1", CREATE, "--json").out)
    assert {layer["status"] for layer in first["images"][0]["layers"]} == {"uploaded"}
    assert first["bytes"] == sum(len(blob.content) for blob in HELLO.blobs.values())
    recorder.requests.clear()
    second = json.loads(push(ecr, folder, "app.tar", f"{HOST}/new/app:1", "--json").out)
    assert {one["status"] for one in second["images"][0]["layers"] + second["images"][0]["configs"]} == {"existed"}
    assert recorder.count("InitiateLayerUpload") + recorder.count("UploadLayerPart") == 0


@pytest.mark.parametrize("kind", [docker_save_old, docker_save_new, docker_archive, crane_archive])
def test_every_kind_of_docker_s_archive_goes_up_and_comes_back(
    ecr: LocalEcr, folder: Path, kind: Callable[[], dict[str, bytes]]
) -> None:
    (folder / "app.tar").write_bytes(tar_with(kind()))
    image = pushed(ecr, folder, "app.tar", f"{APP}:docker")
    assert image["mediaType"] == DOCKER_MANIFEST
    assert pull(ecr, folder, f"{APP}:docker", "-o", "back.tar", *AMD64).code == 0
    back = contents_of(folder / "back.tar")
    layers = json.loads(back["manifest.json"])[0]["Layers"]
    assert [gzip.decompress(back[layer]) for layer in layers] == list(LAYER_TARS)


def test_format_and_compression_are_obeyed(ecr: LocalEcr, folder: Path) -> None:
    (folder / "app.tar").write_bytes(tar_with(docker_save_old()))
    oci = pushed(ecr, folder, "app.tar", f"{APP}:oci", "--format", "oci", "--compression", "none")
    assert oci["mediaType"] == OCI_MANIFEST
    layers = oci["layers"]
    assert isinstance(layers, list)
    assert [layer["digest"] for layer in layers] == [str(Digest.of(tar)) for tar in LAYER_TARS]
    large, small = (size_of(pushed(ecr, folder, "app.tar", f"{APP}:z", "--compression", f"gzip:{n}")) for n in (1, 9))
    assert small < large


def test_igzip_compresses_what_comes_back_right_and_the_same_each_time(ecr: LocalEcr, folder: Path) -> None:
    (folder / "app.tar").write_bytes(tar_with(docker_save_old()))
    image, again, other = (
        pushed(ecr, folder, "app.tar", f"{APP}:igzip", "--compression", text) for text in ("igzip", "igzip", "gzip")
    )
    assert image["digest"] == again["digest"] != other["digest"]
    assert pull(ecr, folder, f"{APP}@{image['digest']}", "-o", "back.tar", *AMD64).code == 0
    back = contents_of(folder / "back.tar")
    layers = json.loads(back["manifest.json"])[0]["Layers"]
    assert [gzip.decompress(back[layer]) for layer in layers] == list(LAYER_TARS)


def test_igzip_that_is_not_installed_is_said_before_the_archive_is_read(ecr: LocalEcr, folder: Path) -> None:
    code = (
        "import sys; sys.modules['isal.isal_zlib'] = None;"
        f"sys.argv[1:] = ['missing.tar', '{APP}:1', '--compression', 'igzip'];"
        "from docker_push import main; sys.exit(main())"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=environment_of(ecr, PYTHONPATH=str(HOME)),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, "missing.tar" in ended.stderr) == (8, False), ended.stderr
    assert "pip install isal" in ended.stderr


def test_format_and_compression_change_no_manifest_that_is_there(ecr: LocalEcr, folder: Path) -> None:
    (folder / "app.tar").write_bytes(tar_with(oci_layout({"1": image_of(LAYER_TARS, compressed=False)})))
    ended = push(ecr, folder, "app.tar", f"{APP}:kept", "--format", "docker", "--compression", "gzip")
    assert ended.out == f"{APP}:kept@{image_of(LAYER_TARS, compressed=False).manifest.digest}\n"
    assert "--compression and --format change nothing" in ended.err


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": zstandard.ZstdCompressor().compress,
}


@pytest.mark.parametrize("suffix", PACKERS)
def test_an_archive_may_be_compressed_as_a_whole(ecr: LocalEcr, folder: Path, suffix: str) -> None:
    (folder / f"app.tar.{suffix}").write_bytes(PACKERS[suffix](tar_with(oci_layout({"1": HELLO}))))
    assert push(ecr, folder, f"app.tar.{suffix}", f"{APP}:{suffix}").out.endswith(f"@{HELLO.manifest.digest}\n")


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_an_archive_may_come_through_a_pipe(ecr: LocalEcr, folder: Path, pack: Callable[[bytes], bytes]) -> None:
    ended = subprocess.run(
        command_of("docker_push.py", "-", f"{APP}:piped"),
        cwd=folder,
        env=environment_of(ecr, TMPDIR=str(folder)),
        input=pack(tar_with(oci_layout({"1": HELLO}))),
        capture_output=True,
        check=True,
    )
    assert ended.stdout.decode() == f"{APP}:piped@{HELLO.manifest.digest}\n"
    assert list(folder.iterdir()) == []


def test_a_folder_goes_up_whole_with_all_platforms(ecr: LocalEcr, folder: Path) -> None:
    folder_with(folder / "layout", oci_layout({"multi": BOTH}))
    image = pushed(ecr, folder, "layout", f"{HOST}/new/multi:1", CREATE)
    assert image["digest"] == str(BOTH.manifest.digest)
    assert image["manifests"] == [*(str(one.manifest.digest) for one in BOTH.images), str(BOTH.manifest.digest)]
    for platform, one in zip(("linux/arm64", "linux/amd64"), BOTH.images, strict=True):
        ended = pull(ecr, folder, f"{HOST}/new/multi:1", "--platform", platform, "-o", "one.tar", "--force")
        assert ended.out == f"one.tar {one.manifest.digest}\n", ended.err


def test_one_platform_of_an_index_can_be_chosen_by_its_digest(ecr: LocalEcr, folder: Path) -> None:
    folder_with(folder / "layout", oci_layout({"multi": BOTH}))
    arm = str(BOTH.images[0].manifest.digest)
    assert pushed(ecr, folder, "layout", f"{HOST}/new/arm:1", CREATE, "--image", arm)["digest"] == arm


def test_nested_indexes_go_up_inner_ones_first(ecr: LocalEcr, folder: Path) -> None:
    inner = index_of([HELLO])
    outer = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [inner.manifest.json]}).encode()
    root = ImageIndex(Blob(outer, OCI_INDEX), (HELLO,))
    files = oci_layout({"nested": root})
    files[f"blobs/sha256/{inner.manifest.digest.hex}"] = inner.manifest.content
    folder_with(folder / "layout", files)
    image = pushed(ecr, folder, "layout", f"{HOST}/new/nested:1", CREATE)
    assert image["manifests"] == [str(one.digest) for one in (HELLO.manifest, inner.manifest, root.manifest)]


def two_images(folder: Path, *, names: tuple[str, str] = (f"{APP}:a", f"{HOST}/your/app:b")) -> Path:
    path = folder / "two.tar"
    path.write_bytes(tar_with(oci_layout({names[0]: HELLO, names[1]: hello_image("arm64")})))
    return path


def test_all_images_go_to_their_own_names_and_repositories(ecr: LocalEcr, folder: Path) -> None:
    two_images(folder)
    ended = push(ecr, folder, "two.tar", CREATE)
    assert ended.out.splitlines() == [
        f"{APP}:a@{HELLO.manifest.digest}",
        f"{HOST}/your/app:b@{hello_image('arm64').manifest.digest}",
    ], ended.err
    assert digest_of(ecr, "your/app", "b") == str(hello_image("arm64").manifest.digest)


@pytest.mark.parametrize("wish", [f"{HOST}/your/app:b", str(hello_image("arm64").manifest.digest), "short"])
def test_one_of_several_images_is_chosen_by_name_or_digest(ecr: LocalEcr, folder: Path, wish: str) -> None:
    two_images(folder)
    arm = hello_image("arm64").manifest.digest
    wish = arm.hex[:12] if wish == "short" else wish
    assert pushed(ecr, folder, "two.tar", f"{APP}:chosen", "--image", wish)["digest"] == str(arm)


@pytest.mark.parametrize("wish", ["app", "app:latest", "docker.io/library/app", "docker.io/library/app:latest"])
def test_docker_s_short_names_are_known(ecr: LocalEcr, folder: Path, wish: str) -> None:
    two_images(folder, names=("docker.io/library/app:latest", "library/app:latest.old"))
    assert pushed(ecr, folder, "two.tar", f"{APP}:short", "--image", wish)["digest"] == str(HELLO.manifest.digest)


def test_several_names_of_one_image_are_several_tags(ecr: LocalEcr, folder: Path) -> None:
    names = (f"{APP}:x", f"{APP}:y", "app:1", "docker.io/me/app:2", "localhost/app:3")
    (folder / "app.tar").write_bytes(tar_with(docker_save_old(names)))
    ended = push(ecr, folder, "app.tar")
    assert [line.partition("@")[0] for line in ended.out.splitlines()] == [f"{APP}:x", f"{APP}:y"]
    left = "not pushed, as nothing says a registry to push to: app:1, docker.io/me/app:2, localhost/app:3\n"
    assert left in ended.err
    assert digest_of(ecr, "my/app", "x") == digest_of(ecr, "my/app", "y")


def test_a_dry_run_says_what_is_missing_and_changes_nothing(ecr: LocalEcr, recorder: Recorder, folder: Path) -> None:
    image = noise_image([5000, 7000])
    (folder / "app.tar").write_bytes(tar_with(oci_layout({"1": image})))
    ended = push(ecr, folder, "app.tar", f"{APP}:dry", "--dry-run")
    assert ended.code == 0, ended.err
    assert ended.out.splitlines()[0] == f"{APP}:dry@{image.manifest.digest}"
    assert ended.out.count("missing") == 3
    assert ended.out.splitlines()[-1] == "would upload 20.4 KiB"
    report = json.loads(push(ecr, folder, "app.tar", f"{APP}:dry", "--dry-run", "--json").out)
    assert (report["dryRun"], report["bytes"]) == (True, sum(len(blob.content) for blob in image.blobs.values()))
    assert {layer["status"] for layer in report["images"][0]["layers"]} == {"missing"}
    assert recorder.count("InitiateLayerUpload") + recorder.count("PutImage") == 0
    there = push(ecr, folder, "app.tar", f"{HOST}/no/such:1", "--dry-run", CREATE)
    assert (there.code, recorder.count("CreateRepository")) == (0, 0), there.err


def test_a_repository_is_created_as_it_was_asked_for(ecr: LocalEcr, folder: Path) -> None:
    (folder / "app.tar").write_bytes(tar_with(oci_layout({"1": HELLO})))
    settings = ("--immutable", "--scan-on-push", "--kms-key", "alias/mine", "--tag", "team=a", "--tag", "cost=b=c")
    ended = push(ecr, folder, "app.tar", f"{HOST}/made/app:1", CREATE, *settings)
    assert (ended.code, "created repository" in ended.err) == (0, True), ended.err
    with client(ecr) as api:
        (found,) = api.describe_repositories(repositoryNames=["made/app"])["repositories"]
    assert found["imageTagMutability"] == "IMMUTABLE"
    assert found["imageScanningConfiguration"] == {"scanOnPush": True}
    assert found["encryptionConfiguration"] == {"encryptionType": "KMS", "kmsKey": "alias/mine"}
    assert "created repository" not in push(ecr, folder, "app.tar", f"{HOST}/made/app:1", CREATE).err


def test_an_immutable_tag_is_said_to_hold_the_other_digest(ecr: LocalEcr, folder: Path) -> None:
    (folder / "one.tar").write_bytes(tar_with(oci_layout({"1": HELLO})))
    (folder / "two.tar").write_bytes(tar_with(oci_layout({"1": hello_image("arm64")})))
    reference = f"{HOST}/fixed/app:1"
    for _ in range(2):
        assert push(ecr, folder, "one.tar", reference, CREATE, "--immutable").code == 0
    ended = push(ecr, folder, "two.tar", reference)
    assert (ended.code, ended.out) == (9, "")
    other = hello_image("arm64").manifest.digest
    assert f"{reference} is immutable and holds {HELLO.manifest.digest}, not {other}" in ended.err


def test_a_reference_with_a_digest_holds_the_archive_to_it(ecr: LocalEcr, folder: Path) -> None:
    (folder / "app.tar").write_bytes(tar_with(oci_layout({"1": HELLO})))
    right, wrong = f"{APP}:held@{HELLO.manifest.digest}", f"{APP}:held@{NOISE.manifest.digest}"
    ended = push(ecr, folder, "app.tar", wrong)
    assert (ended.code, "held" in tags_of(ecr, "my/app")) == (6, False)
    assert f"the image has digest {HELLO.manifest.digest}, not {NOISE.manifest.digest}" in ended.err
    assert push(ecr, folder, "app.tar", right).out == f"{right}\n"


def test_no_tag_and_no_digest_means_latest_and_is_said(ecr: LocalEcr, folder: Path) -> None:
    (folder / "app.tar").write_bytes(tar_with(oci_layout({"1": HELLO})))
    ended = push(ecr, folder, "app.tar", APP)
    assert ended.out == f"{APP}:latest@{HELLO.manifest.digest}\n"
    assert "no tag and no digest given: taking :latest" in ended.err


def test_a_damaged_blob_is_found_before_anything_is_tagged(ecr: LocalEcr, recorder: Recorder, folder: Path) -> None:
    image = noise_image([6 * MIB, 6 * MIB])
    files = oci_layout({"1": image})
    name = f"blobs/sha256/{image.layers[1].digest.hex}"
    content = files[name]
    assert isinstance(content, bytes)
    files[name] = content[:-1] + bytes([content[-1] ^ 1])
    (folder / "app.tar").write_bytes(tar_with(files))
    ended = push(ecr, folder, "app.tar", f"{APP}:damaged")
    assert (ended.code, ended.out, recorder.count("PutImage")) == (6, "", 0), ended.err
    assert str(image.layers[1].digest) in ended.err
    assert "damaged" not in tags_of(ecr, "my/app")


def test_a_blob_that_only_the_registry_has_need_not_be_in_the_archive(ecr: LocalEcr, folder: Path) -> None:
    files = oci_layout({"1": NOISE})
    del files[f"blobs/sha256/{NOISE.layers[0].digest.hex}"]
    (folder / "app.tar").write_bytes(tar_with(files))
    assert push(ecr, folder, "app.tar", f"{APP}:delta").code == 0
    ended = push(ecr, folder, "app.tar", f"{HOST}/new/app:1", CREATE)
    assert ended.code == 7
    assert f"blob {NOISE.layers[0].digest} is missing, and the registry doesn't have it either" in ended.err


def test_blobs_are_asked_for_by_the_hundred(ecr: LocalEcr, recorder: Recorder, folder: Path) -> None:
    image = noise_image([place + 1 for place in range(220)])
    (folder / "app.tar").write_bytes(tar_with(oci_layout({"1": image})))
    assert push(ecr, folder, "app.tar", f"{APP}:many", "--api", "ecr").code == 0
    assert recorder.count("BatchCheckLayerAvailability") == 1 + 3  # is the repository there, then 221 blobs


def test_layers_that_the_validator_does_not_see_yet_are_waited_for(
    ecr: LocalEcr, recorder: Recorder, folder: Path
) -> None:
    refused = 0

    def lag(request: Request, handler: Handler) -> Answer:
        nonlocal refused
        if request.headers.get("X-Amz-Target", "").endswith("PutImage") and refused < 2:
            refused += 1
            body = json.dumps({"__type": "LayersNotFoundException", "message": "Layers with digests '[x]' required"})
            return Answer(400, {"Content-Type": "application/x-amz-json-1.1"}, body.encode())
        return handler(request)

    recorder.intercept = lag
    (folder / "app.tar").write_bytes(tar_with(oci_layout({"1": HELLO})))
    assert push(ecr, folder, "app.tar", f"{APP}:late", "--api", "ecr").code == 0
    assert recorder.count("PutImage") == 3


def test_foreign_layers_stay_where_they_are(ecr: LocalEcr, folder: Path) -> None:
    document = json.loads(HELLO.manifest.content)
    foreign = {
        "mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "digest": str(Digest.of(b"far")),
        "size": 3,
        "urls": ["https://example.com/far"],
    }
    document["layers"].append(foreign)
    raw = json.dumps(document).encode()
    image = Image(Blob(raw, OCI_MANIFEST), HELLO.config, HELLO.layers, HELLO.platform)
    (folder / "app.tar").write_bytes(tar_with(oci_layout({"1": image})))
    report = pushed(ecr, folder, "app.tar", f"{APP}:foreign")
    assert [layer["status"] for layer in report["layers"]] == ["existed", "left out"]  # type: ignore[attr-defined]


def test_an_artifact_goes_up_as_it_is(ecr: LocalEcr, folder: Path) -> None:
    config = Blob(b'{"name":"chart"}', "application/vnd.cncf.helm.config.v1+json")
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": config.json,
        "layers": [one.json for one in HELLO.layers],
    }
    raw = json.dumps(manifest).encode()
    chart = Image(Blob(raw, OCI_MANIFEST), config, HELLO.layers, HELLO.platform)
    folder_with(folder / "layout", oci_layout([chart]))
    assert pushed(ecr, folder, "layout", f"{APP}:chart")["digest"] == str(chart.manifest.digest)


def test_progress_tells_each_stage(ecr: LocalEcr, folder: Path) -> None:
    packed = gzip.compress(tar_with(docker_save_old()))
    (folder / "app.tar.gz").write_bytes(packed)
    ended = push(ecr, folder, "app.tar.gz", f"{APP}:seen", "--progress", "bar")
    assert all(label in ended.err for label in ("read", "compress", "upload")), ended.err
