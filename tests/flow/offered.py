"""Serve archives in this process, and ask the server as docker does, without a login.

The flow tests enter.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ecrdrag.cli.serve_archives import shelf_of
from ecrdrag.localecr import LocalEcr, Settings
from tests.images import Image, ImageIndex
from tests.localecr import REGION

READ_ONLY = Settings(region=REGION, read_only=True, anonymous_pull=True)
ACCEPT = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)


@contextmanager
def offering(data: Path, *archives: Path) -> Iterator[LocalEcr]:
    """Serve archives from a data folder that is empty."""
    with ExitStack() as stack:
        shelf = stack.enter_context(shelf_of([str(archive) for archive in archives], quiet=True))
        yield stack.enter_context(LocalEcr(data, settings=READ_ONLY, shelf=shelf))


@dataclass(frozen=True)
class Reply:
    """What came back; whole says whether all of the body did that was announced."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes
    whole: bool = True


def ask(url: str, method: str = "GET", body: bytes | None = None, /, **headers: str) -> Reply:
    """Ask for a URL on a connection of its own; no redirect is followed."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=10)
    try:
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, target, body, sent)
        answer = connection.getresponse()
        try:
            return Reply(answer.status, answer.headers, answer.read())
        except http.client.IncompleteRead as broken:
            return Reply(answer.status, answer.headers, broken.partial, whole=False)
    finally:
        connection.close()


def manifest(ecr: LocalEcr, repository: str, reference: str) -> Reply:
    """Ask for a manifest by tag or digest."""
    return ask(f"{ecr.endpoint}/v2/{repository}/manifests/{reference}", Accept=ACCEPT)


def link(ecr: LocalEcr, repository: str, digest: object) -> str:
    """Give the URL that a blob of a repository is sent to."""
    sent = ask(f"{ecr.endpoint}/v2/{repository}/blobs/{digest}")
    assert sent.status == 307, sent.body
    return sent.headers["Location"]


def blob(ecr: LocalEcr, repository: str, digest: object, **headers: str) -> Reply:
    """Ask for a blob and go where it is."""
    return ask(link(ecr, repository, digest), **headers)


def check_image(ecr: LocalEcr, repository: str, reference: str, image: Image | ImageIndex) -> None:
    """Hold all that a client would pull of an image against what it is."""
    found = manifest(ecr, repository, reference)
    assert (found.status, found.body) == (200, image.manifest.content)
    assert found.headers["Content-Type"] == image.manifest.media_type
    for one in (image,) if isinstance(image, Image) else image.images:
        assert manifest(ecr, repository, str(one.manifest.digest)).body == one.manifest.content
        for digest, content in one.blobs.items():
            assert blob(ecr, repository, digest).body == content.content


def tags(ecr: LocalEcr, repository: str) -> list[str]:
    """List the tags of a repository; none where there is no repository."""
    answer = ask(f"{ecr.endpoint}/v2/{repository}/tags/list")
    found = json.loads(answer.body)["tags"] if answer.status == 200 else []
    return [str(tag) for tag in found or ()]


def repositories(ecr: LocalEcr) -> list[str]:
    """List the repositories."""
    return [str(name) for name in json.loads(ask(f"{ecr.endpoint}/v2/_catalog").body)["repositories"]]
