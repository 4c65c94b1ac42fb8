"""The layout of the tar: order, headers and offsets, read back with Python's own tarfile."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecrdrag.archive.plan import BLOCK, ArchivePlan, ImageName, Slot, blob_path, plan_image
from ecrdrag.content import Descriptor, Digest
from ecrdrag.manifest import DOCKER_MANIFEST, OCI_CONFIG, OCI_MANIFEST, Manifest, parse
from ecrdrag.reference import ImageReference
from tests.images import Image, hello_image

HOST_NAME = "123456789012.dkr.ecr.us-west-2.amazonaws.com/my/app"
NAME = ImageName(HOST_NAME, "1.2")
HEX = "c0ffee00" * 8
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"
EIGHT_GIB = 8 * 1024**3  # the first size that 11 octal digits can't hold


@dataclass(frozen=True)
class Sample:
    """An image of any bytes, its plan, and what every blob in it holds."""

    manifest: Manifest
    plan: ArchivePlan
    contents: Mapping[Digest, bytes]

    def __repr__(self) -> str:
        return f"sizes {self.manifest.config.size}, {[layer.size for layer in self.manifest.layers]}"

    @property
    def archive(self) -> bytes:
        """The whole file, put together without the writer."""
        return assemble(self.plan, self.contents)


def sample_of(layers: Sequence[bytes], config: bytes = b"{}", *, algorithm: str = "sha256") -> Sample:
    def entry(media_type: str, content: bytes) -> dict[str, object]:
        return {"mediaType": media_type, "digest": str(Digest.of(content, algorithm)), "size": len(content)}

    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": entry(OCI_CONFIG, config),
        "layers": [entry(LAYER_TYPE, layer) for layer in layers],
    }
    manifest = manifest_of(json.dumps(document, indent=1).encode())
    contents = {Digest.of(content, algorithm): content for content in (config, *layers)}
    return Sample(manifest, plan_image(manifest, config, NAME), contents)


def manifest_of(raw: bytes) -> Manifest:
    manifest = parse(raw)
    assert isinstance(manifest, Manifest)
    return manifest


def assemble(plan: ArchivePlan, contents: Mapping[Digest, bytes]) -> bytes:
    archive = bytearray(plan.total_size)
    for offset, piece in plan.known_pieces():
        archive[offset : offset + len(piece)] = piece
    for blob, offset in plan.blobs:
        archive[offset : offset + blob.size] = contents[blob.digest]
    assert len(archive) == plan.total_size, "a piece reaches beyond the end"
    return bytes(archive)


def sparse_archive(path: Path, sizes: Sequence[int]) -> Sample:
    """Write an archive whose layers are holes of these sizes; their digests are invented."""
    layers = [
        {"mediaType": LAYER_TYPE, "digest": f"sha256:{place:064x}", "size": size} for place, size in enumerate(sizes)
    ]
    config = {"mediaType": OCI_CONFIG, "digest": str(Digest.of(b"{}")), "size": 2}
    manifest = manifest_of(json.dumps({"schemaVersion": 2, "config": config, "layers": layers}).encode())
    plan = plan_image(manifest, b"{}", NAME)
    with path.open("wb") as file:
        file.truncate(plan.total_size)
        for offset, piece in plan.known_pieces():
            file.seek(offset)
            file.write(piece)
    return Sample(manifest, plan, {})


def read_back(archive: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as tar:
        members = tar.getmembers()
        contents = {member.name: content_of(tar, member) for member in members}
    assert len(contents) == len(members), "a name comes twice"
    return contents


def content_of(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    assert file is not None
    return file.read()


def json_of(sample: Sample, name: str) -> object:
    value: object = json.loads(read_back(sample.archive)[name])
    return value


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
        f"blobs/sha256/{sample.manifest.digest.hex}",
        *(f"blobs/sha256/{Digest.of(blob).hex}" for blob in (b"config", b"bottom", b"middle", b"top")),
    ]


def test_only_layers_have_to_be_downloaded() -> None:
    sample = sample_of([b"bottom", b"top"], b"config")
    assert [blob for blob, _ in sample.plan.blobs] == list(sample.manifest.layers)


def test_every_header_is_a_gnu_header_of_a_plain_file_that_belongs_to_nobody_and_has_no_time() -> None:
    for slot in sample_of([b"", b"a" * 1000]).plan.slots:
        header = slot.header
        assert len(header) == BLOCK
        assert header[:100].rstrip(b"\0") == slot.name.encode()
        assert header[100:108] == b"0000644\0", "mode"
        assert header[108:124] == b"0000000\0" * 2, "uid and gid"
        assert header[124:136] == b"%011o\0" % slot.size
        assert header[136:148] == b"00000000000\0", "mtime"
        assert header[156:157] == b"0", "regular file"
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
    """Draw an image whose layers repeat and may be the config."""
    pool = draw(st.lists(contents, min_size=1, max_size=5))
    return sample_of(draw(st.lists(st.sampled_from(pool), max_size=8)), draw(st.sampled_from(pool)))


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
    names = [slot.name for slot in sample.plan.slots[3:]]
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
        for name, content in read_back(sample.archive).items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        end = tar.offset
    assert sample.archive == buffer.getvalue()[: end + 2 * BLOCK]
    assert sample.archive.endswith(bytes(2 * BLOCK))


def test_two_plans_of_the_same_image_are_equal() -> None:
    assert plan_of(hello_image()) == plan_of(hello_image())


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
    assert str(Digest.of(archive)) == "sha256:c0962275e71a66181522a369b5e1f2f5d7109ed79f1c12555de9a74c35762914"


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
