"""Own what to do next when a registry lets somebody not in: how to log in there, which permission is missing.

distribution_errors.py enters.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ecrdrag.errors import UsageError
from ecrdrag.reference import DOCKER_HUB, PUBLIC_HOSTS, EcrHost, ImageReference

# OCI distribution spec, "Endpoints", and distribution's _catalog; the last part of a path may be called anything.
_DOORS: Final = re.compile(
    r"/v2/(?:(?P<catalog>_catalog)|.+/(?:(?P<tags>tags)/list|(?P<uploads>blobs/uploads)(?:/[^/]*)?"
    r"|(?P<kind>manifests|blobs|referrers)/[^/]+))"
)
_READING: Final = ("GET", "HEAD")
# Which operation of the API /v2/ stands for, and so which action IAM asks about: Amazon ECR user guide, "Pushing a
# Docker image", and service authorization reference.
ACTIONS: Final[Mapping[tuple[str, str], str]] = {
    ("GET", "manifests"): "BatchGetImage",
    ("HEAD", "manifests"): "BatchGetImage",
    ("GET", "blobs"): "GetDownloadUrlForLayer",
    ("HEAD", "blobs"): "BatchCheckLayerAvailability",
    ("GET", "tags"): "ListImages",
    ("GET", "_catalog"): "DescribeRepositories",
    ("GET", "referrers"): "BatchGetImage",  # ListImageReferrers has no action of its own
    ("POST", "blobs/uploads"): "InitiateLayerUpload",
    ("PATCH", "blobs/uploads"): "UploadLayerPart",
    ("PUT", "blobs/uploads"): "CompleteLayerUpload",
    ("PUT", "manifests"): "PutImage",
    ("DELETE", "manifests"): "BatchDeleteImage",
}
_OLD: Final = re.compile(r"expired|token is invalid", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Deed:
    """What a request was: its method, path and server (HOST or HOST:PORT), and the scheme of its Authorization."""

    method: str = "GET"
    path: str = ""
    server: str = ""
    login: str = ""

    @property
    def is_writing(self) -> bool:
        """Whether anything was to change."""
        return self.method not in _READING

    @property
    def door(self) -> str:
        """Which part of the API was asked; empty where it is none, such as a token server."""
        match = _DOORS.fullmatch(self.path)
        return next((found for found in match.groups() if found), "") if match else ""

    @property
    def action(self) -> str:
        """The action of ECR's that was to be allowed, without its service; empty where none is known."""
        return ACTIONS.get((self.method, self.door), "")


def refused_hint(deed: Deed, said: str) -> str:
    """Say what helps who was not let in; said is the registry's text."""
    if deed.server.partition(":")[0] in PUBLIC_HOSTS:
        return _public(deed)
    if not deed.path.startswith("/v2/"):
        return _token_server(deed)
    if _is_ecr(deed.server):
        return _private(deed, said)
    way = _way_in(deed.server)
    if _OLD.search(said):
        return f"log in again, with {way}"
    return _elsewhere(deed, way)


def _elsewhere(deed: Deed, way: str) -> str:
    if not deed.login:
        return f"log in with {way}"
    may = {"DELETE": "delete there"}.get(deed.method, "push there" if deed.is_writing else "pull from there")
    if deed.login == "basic":
        return f"check the user name and the password, and that this user may {may}; log in again with {way}"
    return f"log in with {way}, as a user who may {may}"


def _private(deed: Deed, said: str) -> str:
    if not deed.login or _OLD.search(said):
        return f"a password is good for 12 hours: log in with `ecrdrag login {deed.server}`, which gets one from AWS"
    action = f"ecr:{deed.action}" if deed.action else "the IAM actions for this"
    return (
        f"the identity needs {action} on the repository, as well as ecr:GetAuthorizationToken;"
        " in another account's registry the repository's policy has to allow it too"
    )


def _public(deed: Deed) -> str:
    host = deed.server.partition(":")[0]
    if not deed.is_writing:
        return f"anybody may pull: forget a login that has expired with `docker logout {host}`, or log in again"
    action = f"ecr-public:{deed.action}, " if deed.action else ""
    return (
        f"log in with `ecrdrag login {host}`; the identity needs {action}"
        "ecr-public:GetAuthorizationToken and sts:GetServiceBearerToken"
    )


def _token_server(deed: Deed) -> str:
    if deed.login == "basic":
        return "check the user name and the password: log in to the registry again, with `ecrdrag login` or docker's"
    return "log in to the registry with `ecrdrag login` or `docker login`, or give --username and --password-stdin"


def _way_in(server: str) -> str:
    name = _name(server)
    return f"`ecrdrag login {name}` or `docker login {name}`, or give --username and --password-stdin"


def _name(server: str) -> str:
    """Call a registry as a reference does."""
    try:
        found = ImageReference.parse(f"https://{server}/any/name").registry
    except UsageError:
        return server
    return DOCKER_HUB if found == DOCKER_HUB else server


def _is_ecr(server: str) -> bool:
    try:
        EcrHost.parse(server.partition(":")[0])
    except UsageError:
        return False
    return True
