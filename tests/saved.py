"""Own archives as the tools write them, made from nothing, so that every test can change any byte of them.

The tests of the reader and of pushes enter. tests/real has archives that the tools themselves made.
"""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ecrdrag.content import Digest
from tests.images import Image, ImageIndex, hello_program, image_of, tar_of

NAME = "123456789012.dkr.ecr.us-west-2.amazonaws.com/my/app:1.2"
LAYER_TARS = (tar_of({"hello": hello_program("amd64")}), tar_of({"words": b"some words, " * 5000}))
CONFIG = image_of(LAYER_TARS, oci=False).config.content


@dataclass(frozen=True)
class Link:
    """A symbolic link in an archive."""

    target: str


Files = Mapping[str, bytes | Link]


def tar_with(files: Files, *, form: int = tarfile.GNU_FORMAT) -> bytes:
    """Pack files and links, in this order."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            if isinstance(content, Link):
                member.type, member.linkname = tarfile.SYMTYPE, content.target
                archive.addfile(member)
            else:
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def folder_with(folder: Path, files: Files) -> Path:
    """Write files and links into a folder."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Link):
            path.symlink_to(content.target)
        else:
            path.write_bytes(content)
    return folder


def docker_save_old(
    names: Sequence[str] | None = (NAME,), tars: Sequence[bytes] = LAYER_TARS
) -> dict[str, bytes | Link]:
    """What docker save wrote before 25: a folder for each layer; a layer that comes again is a link."""
    config = config_of(tars)
    files: dict[str, bytes | Link] = {}
    seen: dict[bytes, str] = {}
    paths = []
    for place, tar in enumerate(tars):
        folder = f"{place:064x}"
        files[f"{folder}/VERSION"] = b"1.0"
        files[f"{folder}/json"] = json.dumps({"id": folder}).encode()
        path = f"{folder}/layer.tar"
        files[path] = Link(f"../{seen[tar]}") if tar in seen else tar
        seen.setdefault(tar, path)
        paths.append(path)
    name = f"{Digest.of(config).hex}.json"
    files[name] = config
    files["manifest.json"] = _docker_manifest(name, names, paths)
    return files


def docker_save_new(
    names: Sequence[str] | None = (NAME,), tars: Sequence[bytes] = LAYER_TARS
) -> dict[str, bytes | Link]:
    """What docker save writes since 25 without containerd's store: an OCI layout of plain layers, and manifest.json."""
    config = config_of(tars)
    image = image_of(tars, compressed=False)
    blobs = {f"blobs/sha256/{Digest.of(one).hex}": one for one in (config, *tars)}
    layers = [
        {"mediaType": layer.media_type, "digest": str(layer.digest), "size": len(layer.content)}
        for layer in image.layers
    ]
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": image.config.media_type, "digest": str(Digest.of(config)), "size": len(config)},
            "layers": layers,
        }
    ).encode()
    entry = {"mediaType": image.manifest.media_type, "digest": str(Digest.of(manifest)), "size": len(manifest)}
    entries = [
        {
            **entry,
            "annotations": {
                "io.containerd.image.name": name,
                "org.opencontainers.image.ref.name": name.rpartition(":")[2],
            },
        }
        for name in names or ()
    ] or [entry]
    paths = [f"blobs/sha256/{Digest.of(tar).hex}" for tar in tars]
    sources = {str(Digest.of(tar)): layer for tar, layer in zip(tars, layers, strict=True)}
    return {
        **blobs,
        f"blobs/sha256/{Digest.of(manifest).hex}": manifest,
        "index.json": json.dumps({"schemaVersion": 2, "manifests": entries}).encode(),
        "manifest.json": _docker_manifest(f"blobs/sha256/{Digest.of(config).hex}", names, paths, LayerSources=sources),
        "oci-layout": b'{"imageLayoutVersion": "1.0.0"}',
    }


def docker_archive(
    names: Sequence[str] | None = (NAME,),
    tars: Sequence[bytes] = LAYER_TARS,
    *,
    pack: Callable[[bytes], bytes] = bytes,
    suffix: str = ".tar",
) -> dict[str, bytes | Link]:
    """What skopeo and podman write; crane too, with layers packed by gzip and .tar.gz as suffix."""
    config = config_of(tars)
    packed = {tar: pack(tar) for tar in tars}
    files: dict[str, bytes | Link] = {f"{Digest.of(content).hex}{suffix}": content for content in packed.values()}
    name = f"{Digest.of(config).hex}.json"
    files[name] = config
    files["manifest.json"] = _docker_manifest(name, names, [f"{Digest.of(packed[tar]).hex}{suffix}" for tar in tars])
    return files


def crane_archive(names: Sequence[str] | None = (NAME,), tars: Sequence[bytes] = LAYER_TARS) -> dict[str, bytes | Link]:
    """What crane pull writes: compressed layers, and a config whose name begins with sha256:."""
    files = docker_archive(names, tars, pack=lambda tar: gzip.compress(tar, mtime=0), suffix=".tar.gz")
    hexadecimal = Digest.of(config_of(tars)).hex
    files[f"sha256:{hexadecimal}"] = files.pop(f"{hexadecimal}.json")
    manifest = files["manifest.json"]
    assert isinstance(manifest, bytes)
    files["manifest.json"] = manifest.replace(f"{hexadecimal}.json".encode(), f"sha256:{hexadecimal}".encode())
    return files


def oci_layout(images: Mapping[str, Image | ImageIndex] | Sequence[Image | ImageIndex]) -> dict[str, bytes | Link]:
    """Write an OCI image layout: what skopeo, oras and regctl write as a folder or a tar."""
    named = images.items() if isinstance(images, Mapping) else [("", image) for image in images]
    files: dict[str, bytes | Link] = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}'}
    entries = []
    for name, image in named:
        for blob in _blobs(image):
            files[f"blobs/sha256/{blob.hex}"] = _content(image, blob)
        entries.append(
            {**image.manifest.json, **({"annotations": {"org.opencontainers.image.ref.name": name}} if name else {})}
        )
    files["index.json"] = json.dumps({"schemaVersion": 2, "manifests": entries}).encode()
    return files


def config_of(tars: Sequence[bytes]) -> bytes:
    """Write the config of an image of these layers."""
    return image_of(tars, oci=False).config.content


def _blobs(image: Image | ImageIndex) -> dict[Digest, bytes]:
    if isinstance(image, Image):
        return {
            image.manifest.digest: image.manifest.content,
            **{digest: one.content for digest, one in image.blobs.items()},
        }
    found = {image.manifest.digest: image.manifest.content}
    for one in image.images:
        found |= _blobs(one)
    return found


def _content(image: Image | ImageIndex, digest: Digest) -> bytes:
    return _blobs(image)[digest]


def _docker_manifest(config: str, names: Sequence[str] | None, layers: Sequence[str], **more: object) -> bytes:
    tags = None if names is None else list(names)
    return json.dumps([{"Config": config, "RepoTags": tags, "Layers": list(layers), **more}]).encode()
