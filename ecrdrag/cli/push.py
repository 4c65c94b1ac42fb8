"""Own the command `push`, which docker_push.py is too: its options, and what it prints.

cli/main.py enters.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, partial
from typing import Final

from ecrdrag.archive.compress import Compression, require
from ecrdrag.archive.convert import FORMATS, Conversion
from ecrdrag.cli.archives import check_name, opened
from ecrdrag.cli.arguments import MAX_JOBS, add_aws_arguments, add_output_arguments
from ecrdrag.cli.arguments import jobs as jobs_of
from ecrdrag.cli.progress import display
from ecrdrag.cli.streams import print_result
from ecrdrag.content import Descriptor
from ecrdrag.errors import UsageError
from ecrdrag.push import Fate, Pushed, PushedImage, PushOptions, push
from ecrdrag.reference import EcrHost, ImageReference
from ecrdrag.registry.ends import Destination, RepositorySettings
from ecrdrag.transfer.pace import Paces
from ecrdrag.transfer.progress import Progress
from ecrdrag.transfer.upload import DEFAULT_UPLOAD_JOBS

DESCRIPTION: Final = """\
Push an archive to Amazon ECR: a tar that docker_pull.py, docker save, podman save, skopeo or crane wrote, also
compressed, or an OCI image layout in a tar or a folder.

ARCHIVE is a file, a folder, or - for standard input. REF is as for a pull; without it, every image goes to the
name that the archive has for it. Where the archive holds the registry's manifest, the digest stays as it was;
docker's own format holds none, so layers are compressed and a manifest is made, always the same one.
"""
EPILOG: Final = """\
exit codes: 0 all is in the registry, 2 usage, 3 credentials, 4 not found, 5 transfer given up, 6 integrity,
7 archive or disk, 8 unsupported kind of image, 9 the tag is immutable, 70 a bug, 130 interrupted, 141 closed pipe
"""
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")
_STEP: Final = 1024

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what a push takes."""
    add = parser.add_argument
    add("archive", metavar="ARCHIVE", help="a file, a folder, or - for standard input")
    add("reference", metavar="REF", nargs="?", help="where it goes (default: the names in the archive)")
    add("--image", metavar="NAME", help="which image of the archive, by name or digest (default: all)")
    add(
        "--compression",
        metavar="gzip[:LEVEL]|igzip[:LEVEL]|none",
        type=_compression,
        help="of docker's plain layers (default: gzip); igzip is far quicker, but the digest can differ "
        "with the version of ISA-L and the kind of CPU",
    )
    add("--format", choices=FORMATS, help="of the manifest made for docker's format (default: docker)")
    jobs = f"layers at once, 1 to {MAX_JOBS} (default: {DEFAULT_UPLOAD_JOBS})"
    add("-j", "--jobs", metavar="N", type=jobs_of, default=DEFAULT_UPLOAD_JOBS, help=jobs)
    add("--dry-run", action="store_true", help="say what would be uploaded, and change nothing")
    new = parser.add_argument_group("a repository that isn't there")
    new.add_argument("--create-repository", action="store_true", help="create it")
    new.add_argument("--immutable", action="store_true", help="its tags can't be moved")
    new.add_argument("--scan-on-push", action="store_true", help="ECR scans each image")
    new.add_argument("--kms-key", metavar="KEY", help="encrypt with this key: its id, ARN or alias")
    new.add_argument(
        "--tag", metavar="K=V", type=_tag, action="append", default=[], help="tag of the repository; repeatable"
    )
    add_aws_arguments(parser)
    add_output_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Push and print what is in the registry now."""
    check_name(arguments.archive)
    reference = _reference(arguments.reference)
    options = PushOptions(
        image=arguments.image, jobs=arguments.jobs, create=_settings(arguments), dry_run=arguments.dry_run
    )
    stage = partial(_stage, arguments)
    conversion = Conversion(arguments.compression or Compression(), arguments.format)
    require(conversion.compression)
    with opened(arguments.archive, conversion, stage) as archive:
        if not archive.is_converted and (arguments.compression or arguments.format):
            log.warning("%s: --compression and --format change nothing: its manifests are kept", archive.where)
        pushed = push(archive, reference, _destinations(arguments), options, stage)
    print_result(_as_json(pushed) if arguments.json else _as_text(pushed))
    return 0


@contextmanager
def _stage(arguments: argparse.Namespace, label: str) -> Iterator[Progress]:
    with display(arguments.progress, quiet=arguments.quiet, label=label) as progress:
        yield progress


def _destinations(arguments: argparse.Namespace) -> Callable[[ImageReference], Destination]:
    from ecrdrag.cli.aws import AwsSettings  # late, as all that loads boto3
    from ecrdrag.registry.ecr_api import EcrApi
    from ecrdrag.registry.ecr_destination import EcrDestination

    settings = AwsSettings(arguments.profile, arguments.endpoint_url)

    @cache  # one client, its connections and their pace for all repositories of a registry
    def client(host: EcrHost) -> tuple[EcrApi, Paces]:
        # All at once: few and long as the calls of a push are, to find out first what pays would double its time.
        return settings.ecr(host, connections=arguments.jobs), Paces(arguments.jobs, first=arguments.jobs)

    def open_destination(reference: ImageReference) -> Destination:
        api, turns = client(reference.ecr)
        return EcrDestination(api, reference, turns)

    return open_destination


def _reference(text: str | None) -> ImageReference | None:
    if text is None:
        return None
    reference = ImageReference.parse(text)
    if reference.tag is None and reference.digest is None:
        reference = reference.with_default_tag()
        log.warning("no tag and no digest given: taking :%s", reference.tag)
    return reference


def _settings(arguments: argparse.Namespace) -> RepositorySettings | None:
    if arguments.create_repository:
        return RepositorySettings(arguments.immutable, arguments.scan_on_push, arguments.kms_key, dict(arguments.tag))
    if arguments.immutable or arguments.scan_on_push or arguments.kms_key or arguments.tag:
        raise UsageError("--immutable, --scan-on-push, --kms-key and --tag need --create-repository")
    return None


def _as_text(pushed: Pushed) -> str:
    lines = [line for image in pushed.images for line in _lines(image, pushed.dry_run)]
    if pushed.dry_run:
        lines.append(f"would upload {_size(pushed.uploaded)}")
    return "\n".join(lines)


def _lines(image: PushedImage, dry_run: bool) -> Iterator[str]:
    for reference in image.references:
        yield _name(reference, image)
    if dry_run:
        for blob in image.tree.blobs:
            yield f"  {blob.digest}  {_size(blob.size):>11}  {_status(blob, image, dry_run)}"


def _name(reference: ImageReference, image: PushedImage) -> str:
    return str(replace(reference, digest=image.tree.root.digest))


def _status(blob: Descriptor, image: PushedImage, dry_run: bool) -> str:
    fate = image.fates[blob.digest]
    return "missing" if dry_run and fate is Fate.UPLOADED else fate.value


def _size(size: int) -> str:
    amount = float(size)
    place = 0
    while amount >= _STEP and place < len(_UNITS) - 1:
        amount, place = amount / _STEP, place + 1
    return f"{amount:.1f} {_UNITS[place]}" if place else f"{size} B"


def _as_json(pushed: Pushed) -> str:
    return json.dumps(
        {
            "images": [_image(image, pushed.dry_run) for image in pushed.images],
            "dryRun": pushed.dry_run,
            "bytes": pushed.uploaded,
            "seconds": round(pushed.seconds, 3),
        }
    )


def _image(image: PushedImage, dry_run: bool) -> dict[str, object]:
    root = image.tree.root
    configs = {manifest.config.digest: manifest.config for manifest in image.tree.manifests}
    layers = {layer.digest: layer for manifest in image.tree.manifests for layer in manifest.layers}
    return {
        "references": [_name(reference, image) for reference in image.references],
        "digest": str(root.digest),
        "mediaType": root.media_type,
        "manifests": [str(document.digest) for document in image.tree.documents],
        "configs": [_blob(blob, image, dry_run) for blob in configs.values()],
        "layers": [_blob(blob, image, dry_run) for blob in layers.values()],
    }


def _blob(blob: Descriptor, image: PushedImage, dry_run: bool) -> dict[str, object]:
    status = _status(blob, image, dry_run)
    return {"digest": str(blob.digest), "size": blob.size, "mediaType": blob.media_type, "status": status}


def _compression(text: str) -> Compression:
    try:
        return Compression.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _tag(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, value
