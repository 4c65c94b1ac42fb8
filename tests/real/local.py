"""Own a local ECR in a process of its own, as ``serve`` starts it, for clients that know nothing of ours.

conftest.py and the tests of this folder enter.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from mypy_boto3_ecr import ECRClient

from tests.images import Image, ImageIndex
from tests.localecr import clean_environment, client_for, serving
from tests.putting import put_image, put_index
from tests.real.shelf import ACCOUNT, NAME, REGION, REPOSITORY, Shelf

REGISTRY = NAME.removesuffix(f"/{REPOSITORY}")


@dataclass(frozen=True)
class Local:
    """A running local ECR; its repositories are called as the shelf's are, but for the host."""

    host: str
    """What names of images begin with, for clients of /v2/."""
    environment: Mapping[str, str]
    """All that AWS clients may know of AWS."""
    ecr: ECRClient
    shelf: Shelf
    """Our own two scripts, for which the names of images begin as they do at AWS."""
    folder: Path

    @property
    def login(self) -> Path:
        """A file with the password of the user AWS, as get-login-password prints it."""
        file = self.folder / "password"
        if not file.exists():
            (given,) = self.ecr.get_authorization_token()["authorizationData"]
            _, _, password = base64.b64decode(given["authorizationToken"]).decode().partition(":")
            file.touch(0o600)
            file.write_text(f"{password}\n")
        return file

    def name(self, repository: str) -> str:
        return f"{self.host}/{REPOSITORY}/{repository}"

    def create(self, repository: str) -> str:
        """Create a repository and give what clients of /v2/ call it."""
        self.ecr.create_repository(repositoryName=f"{REPOSITORY}/{repository}")
        return self.name(repository)

    def stock(self, repository: str, content: Image | ImageIndex, tag: str) -> str:
        """Put an image or an index into a new repository, and give what clients of /v2/ call that."""
        name = self.create(repository)
        self.put(repository, content, tag)
        return name

    def put(self, repository: str, content: Image | ImageIndex, tag: str) -> None:
        """Put an image or an index over the API."""
        if isinstance(content, Image):
            put_image(self.ecr, f"{REPOSITORY}/{repository}", content, tag)
        else:
            put_index(self.ecr, f"{REPOSITORY}/{repository}", content, tag)

    def tags(self, repository: str) -> dict[str, str]:
        """Ask the API for the tags of a repository, and the digest of each."""
        listed = self.ecr.list_images(repositoryName=f"{REPOSITORY}/{repository}", filter={"tagStatus": "TAGGED"})
        return {each["imageTag"]: each["imageDigest"] for each in listed["imageIds"]}


@contextmanager
def open_local(folder: Path, *arguments: str, host: str = "", authority: Path | None = None) -> Iterator[Local]:
    """Run ``serve`` until the block ends; host is what clients call it, authority who vouches for it under TLS."""
    (folder / "scripts").mkdir()
    with serving(*arguments, "--region", REGION, "--account", ACCOUNT) as server, pytest.MonkeyPatch.context() as patch:
        deaf = {name: value for name, value in clean_environment().items() if name.startswith("AWS_")}
        environment = {**deaf, **server.environment}
        if authority:
            environment["AWS_CA_BUNDLE"] = str(authority)
            patch.setenv("AWS_CA_BUNDLE", str(authority))
        with client_for(server.endpoint, server.credentials, region=REGION) as ecr:
            shelf = Shelf(folder / "scripts", ecr, environment)
            yield Local(host or urlsplit(server.endpoint).netloc, environment, ecr, shelf, folder)
