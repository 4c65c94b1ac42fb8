"""The layout of the tar: order, headers and offsets, read back with Python's own tarfile."""

from __future__ import annotations

import io
import json
import os
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecrdrag.archive.plan import BLOCK, ArchivePlan, ImageName, Slot, blob_path
from ecrdrag.content import Descriptor, Digest
from ecrdrag.manifest import DOCKER_MANIFEST, OCI_MANIFEST, Manifest
from ecrdrag.reference import ImageReference
from tests.archives import (
    EIGHT_GIB,
    HEX,
    HOST_NAME,
    LAYER_TYPE,
    NAME,
    Sample,
    assemble,
    content_of,
    manifest_of,
    read_back,
    sample_of,
    sparse_archive,
)
from tests.images import Image, hello_image
from tests.planned import plan_image


def slot_named(plan: ArchivePlan, name: str) -> Slot:
    (slot,) = [slot for slot in plan.slots if slot.name == name]
    return slot


def plan_of(image: Image) -> ArchivePlan:
    return plan_image(manifest_of(image.manifest.content), image.config.content, NAME)


# --- order, names, headers ---------------------------------------------------------------------


def test_the_members_are_layout_index_and_docker_manifest_then_manifest_config_and_layers_bottom_first() -> None:
    sample = sample_of([b"bottom", b"middle", b"top"], b"config")
    assert [slot.name for slot in sample.plan.slots] == [
        "oci-layout",
        "index.json",
        "manifest.json",
        "blobs/",
        "blobs/sha256/",
        f"blobs/sha256/{sample.manifest.digest.hex}",
        *(f"blobs/sha256/{Digest.of(blob).hex}" for blob in (b"config", b"bottom", b"middle", b"top")),
    ]


def test_only_layers_have_to_be_downloaded() -> None:
    sample = sample_of([b"bottom", b"top"], b"config")
    assert [blob for blob, _ in sample.plan.blobs] == list(sample.manifest.layers)


def test_every_header_is_a_gnu_header_of_a_file_or_folder_that_belongs_to_nobody_and_has_no_time() -> None:
    for slot in sample_of([b"", b"a" * 1000]).plan.slots:
        header, is_folder = slot.header, slot.name.endswith("/")
        assert len(header) == BLOCK
        assert header[:100].rstrip(b"\0") == slot.name.encode()
        assert header[100:108] == (b"0000755\0" if is_folder else b"0000644\0"), "mode"
        assert header[108:124] == b"0000000\0" * 2, "uid and gid"
        assert header[124:136] == b"%011o\0" % slot.size
        assert header[136:148] == b"00000000000\0", "mtime"
        assert header[156:157] == (b"5" if is_folder else b"0"), "folder or regular file"
        assert header[157:257] == bytes(100), "no link"
        assert header[257:265] == b"ustar  \0", "GNU magic"
        assert header[265:] == bytes(BLOCK - 265), "no owner names, no devices, nothing after them"


@pytest.mark.parametrize("size", [EIGHT_GIB - 1, EIGHT_GIB, 52_000 * 1024**2, 2**63 - 1])
def test_a_header_is_one_block_at_any_size(tmp_path: Path, size: int) -> None:
    layer = Descriptor(LAYER_TYPE, Digest("sha256", HEX), size)
    manifest = sample_of([]).manifest
    plan = plan_image(Manifest(manifest.raw, OCI_MANIFEST, manifest.digest, manifest.config, (layer,)), b"{}", NAME)
    header = plan.slots[-1].header
    assert len(header) == BLOCK
    assert tarfile.TarInfo.frombuf(header, "utf-8", "strict").size == size
    assert plan.total_size >= plan.slots[-1].offset + size


def test_a_name_over_100_characters_reads_back() -> None:
    sample = sample_of([b"layer"], algorithm="sha512")
    long = f"blobs/sha512/{Digest.of(b'layer', 'sha512').hex}"
    assert read_back(sample.archive)[long] == b"layer"


def test_a_member_over_8_gib_and_one_behind_it_read_back(tmp_path: Path) -> None:
    path = tmp_path / "sparse.tar"
    sample = sparse_archive(path, [EIGHT_GIB + 12345, 1000])
    with path.open("r+b") as file:
        file.seek(sample.plan.slots[-1].offset)
        file.write(b"b" * 1000)
    with tarfile.open(path, mode="r:") as tar:
        sizes = [member.size for member in tar.getmembers()]
        last = content_of(tar, tar.getmembers()[-1])
    assert sizes[-2:] == [EIGHT_GIB + 12345, 1000]
    assert last == b"b" * 1000
    assert path.stat().st_size == sample.plan.total_size
    assert os.name == "nt" or path.stat().st_blocks * 512 < EIGHT_GIB, "the test must not fill the disk"


# --- layout as a property ----------------------------------------------------------------------

contents = st.builds(
    lambda size, fill: bytes([fill]) * size,
    st.sampled_from([0, 1, 511, 512, 513]) | st.integers(0, 2000),
    st.integers(1, 255),
)


@st.composite
def samples(draw: st.DrawFn) -> Sample:
    """Draw an image whose layers repeat and may be the config, with names short and long."""
    blobs = st.sampled_from(draw(st.lists(contents, min_size=1, max_size=5)))
    algorithm = draw(st.sampled_from(["sha256", "sha512"]))
    return sample_of(draw(st.lists(blobs, max_size=8)), draw(blobs), algorithm=algorithm)


@given(samples())
def test_slots_follow_each_other_in_whole_blocks_without_gap_or_overlap(sample: Sample) -> None:
    position = 0
    for slot in sample.plan.slots:
        assert slot.offset - len(slot.header) == position
        assert slot.offset % BLOCK == 0
        assert slot.stop % BLOCK == 0
        assert 0 <= slot.stop - (slot.offset + slot.size) < BLOCK
        position = slot.stop
    assert sample.plan.total_size == position + 2 * BLOCK


@given(samples())
def test_there_is_one_slot_for_each_distinct_blob(sample: Sample) -> None:
    names = [slot.name for slot in sample.plan.slots[3:] if not slot.name.endswith("/")]
    assert sorted(names) == sorted(blob_path(digest) for digest in {sample.manifest.digest, *sample.contents})


@given(samples())
def test_known_pieces_and_blobs_cover_every_byte_once(sample: Sample) -> None:
    spans = [(offset, len(piece)) for offset, piece in sample.plan.known_pieces()]
    spans += [(offset, blob.size) for blob, offset in sample.plan.blobs]
    position = 0
    for offset, size in sorted(spans):
        assert offset == position
        position += size
    assert position == sample.plan.total_size


@given(samples())
def test_every_member_reads_back_as_it_was(sample: Sample) -> None:
    members = read_back(sample.archive)
    assert members.pop(blob_path(sample.manifest.digest)) == sample.manifest.raw
    blobs = {name: content for name, content in members.items() if name.startswith("blobs/")}
    assert blobs == {blob_path(digest): content for digest, content in sample.contents.items()}


@given(samples())
def test_the_file_is_what_tarfile_writes_up_to_two_zero_blocks(sample: Sample) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        members = read_back(sample.archive)
        for slot in sample.plan.slots:
            member = tarfile.TarInfo(slot.name)
            member.size = slot.size
            if slot.name.endswith("/"):
                member.type, member.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(member, io.BytesIO(members.get(slot.name, b"")))
        end = tar.offset
    assert sample.archive == buffer.getvalue()[: end + 2 * BLOCK]
    assert sample.archive.endswith(bytes(2 * BLOCK))


def test_every_folder_comes_once_and_before_what_lies_in_it() -> None:
    names = [slot.name for slot in sample_of([b"layer"], algorithm="sha512").plan.slots]
    assert [name for name in names if name.endswith("/")] == ["blobs/", "blobs/sha256/", "blobs/sha512/"]
    for name in names:
        folder, _, _ = name.rstrip("/").rpartition("/")
        assert not folder or names.index(f"{folder}/") < names.index(name)


def test_two_plans_of_the_same_image_are_equal() -> None:
    assert plan_of(hello_image()) == plan_of(hello_image())
    assert plan_of(hello_image()).digest == plan_of(hello_image()).digest


@given(samples(), samples())
def test_plans_have_one_digest_if_their_files_have_the_same_bytes_and_else_not(one: Sample, other: Sample) -> None:
    assert (one.plan.digest == other.plan.digest) == (one.archive == other.archive)


def test_whatever_fixes_a_byte_of_the_file_changes_the_digest() -> None:
    slot = Slot("name", b"head", 512, 4, b"text")
    blob = Descriptor("type", Digest.of(b"text"), 4)
    others = [
        replace(slot, header=b"heap"),
        replace(slot, offset=513),
        replace(slot, size=5),
        replace(slot, content=b"test"),
        replace(slot, content=blob),
        replace(slot, content=replace(blob, digest=Digest.of(b"test"))),
        replace(slot, content=str(blob.digest).encode()),
        replace(slot, header=b"headt", content=b"ext"),
    ]
    plans = [ArchivePlan(slots) for slots in ((), (slot,), (slot, slot), *((other,) for other in others))]
    assert len({plan.digest for plan in plans}) == len(plans)


# --- bytes that others read --------------------------------------------------------------------

RAW = (
    b'{ "schemaVersion": 2,\n  "mediaType": "application/vnd.docker.distribution.manifest.v2+json",\n'
    b'  "config": {"mediaType": "application/vnd.docker.container.image.v1+json", "size": 2,\n'
    b'    "digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"},\n'
    b'  "layers": [{"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", "size": 5,\n'
    b'    "digest": "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"}] }\n'
)


def test_the_archive_of_a_fixed_image_has_these_bytes() -> None:
    plan = plan_image(manifest_of(RAW), b"{}", NAME)
    archive = assemble(plan, {Digest.of(b"hello"): b"hello"})
    members = read_back(archive)
    assert members["oci-layout"] == b'{"imageLayoutVersion":"1.0.0"}'
    assert members["index.json"] == (
        b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":['
        b'{"mediaType":"application/vnd.docker.distribution.manifest.v2+json",'
        b'"digest":"sha256:720ff61523bd69c66eed683e7c3dff2adebedca19f7c679182517b8a86597203",'
        b'"size":453,'
        b'"annotations":{'
        b'"io.containerd.image.name":"123456789012.dkr.ecr.us-west-2.amazonaws.com/my/app:1.2",'
        b'"org.opencontainers.image.ref.name":"1.2"}}]}'
    )
    assert members["manifest.json"] == (
        b'[{"Config":"blobs/sha256/44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",'
        b'"RepoTags":["123456789012.dkr.ecr.us-west-2.amazonaws.com/my/app:1.2"],'
        b'"Layers":["blobs/sha256/2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"]}]'
    )
    assert str(Digest.of(archive)) == "sha256:75f741a5c1b93bb8f01f75bd8a56e7e5581d57d61d5a0539b420e670e35baceb"


def test_the_index_has_one_manifest_as_the_registry_knows_it() -> None:
    image = hello_image(oci=False)
    index = json.loads(bytes_of(plan_of(image), "index.json"))
    (entry,) = index["manifests"]
    assert (entry["digest"], entry["size"]) == (str(image.manifest.digest), len(image.manifest.content))
    assert entry["mediaType"] == DOCKER_MANIFEST
    assert bytes_of(plan_of(image), blob_path(image.manifest.digest)) == image.manifest.content


def bytes_of(plan: ArchivePlan, name: str) -> bytes:
    content = slot_named(plan, name).content
    assert isinstance(content, bytes)
    return content


def test_docker_gets_every_layer_in_order_even_where_one_comes_twice() -> None:
    sample = sample_of([b"a", b"b", b"a"])
    (entry,) = json.loads(bytes_of(sample.plan, "manifest.json"))
    assert entry["Layers"] == [blob_path(Digest.of(layer)) for layer in (b"a", b"b", b"a")]


@pytest.mark.parametrize(
    ("version", "tag"),
    [(":1.2", "1.2"), (f"@sha256:{HEX}", HEX), (f":1.2@sha256:{HEX}", "1.2"), ("", "latest")],
    ids=["tag", "digest", "tag and digest", "neither"],
)
def test_an_image_is_named_by_its_host_form_and_a_tag(version: str, tag: str) -> None:
    arn = "ecr.aws/arn:aws:ecr:us-west-2:123456789012:repository/my/app"
    for reference in (arn + version, HOST_NAME + version):
        name = ImageName.of(ImageReference.parse(reference))
        assert (name.tag, str(name)) == (tag, f"{HOST_NAME}:{tag}")


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("alpine:3.20", "docker.io/library/alpine:3.20"),
        ("docker.io/alpine", "docker.io/library/alpine:latest"),
        ("registry-1.docker.io/me/app:1", "docker.io/me/app:1"),
        (f"alpine@sha256:{HEX}", f"docker.io/library/alpine:{HEX}"),
        ("public.ecr.aws/docker/library/alpine:3.20", "public.ecr.aws/docker/library/alpine:3.20"),
        ("https://registry/app:1", "registry:443/app:1"),
        ("[::1]:5000/app:1", "[::1]:5000/app:1"),
    ],
)
def test_an_image_of_any_registry_has_the_whole_name_that_docker_and_containerd_know(reference: str, name: str) -> None:
    assert str(ImageName.of(ImageReference.parse(reference))) == name


def test_the_name_stands_in_both_annotations_and_in_repo_tags() -> None:
    image = hello_image()
    name = ImageName(HOST_NAME, HEX)
    plan = plan_image(manifest_of(image.manifest.content), image.config.content, name)
    (entry,) = json.loads(bytes_of(plan, "index.json"))["manifests"]
    assert entry["annotations"] == {
        "io.containerd.image.name": f"{HOST_NAME}:{HEX}",
        "org.opencontainers.image.ref.name": HEX,
    }
    assert json.loads(bytes_of(plan, "manifest.json"))[0]["RepoTags"] == [f"{HOST_NAME}:{HEX}"]
