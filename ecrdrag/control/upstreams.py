"""Own the registries that ECR pulls through from: what people and the API call each, and which credential it wants.

control/cache_rules.py and the commands may enter.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from ecrdrag.errors import UsageError
from ecrdrag.hostname import SCHEME
from ecrdrag.reference import DOCKER_HUB_NAMES, LIKE_ECR, PUBLIC_HOSTS, EcrHost


class Needs(Enum):
    """What ECR wants to be let in with: user guide, "Sync an upstream registry with an Amazon ECR private registry"."""

    NOTHING = "nothing"
    SECRET = "secret"  # noqa: S105 - a kind of credential
    ROLE = "role"  # and that only for a registry of another account
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Upstream:
    """A registry upstream; registry is UpstreamRegistry of the model, empty for one that this version doesn't know.

    example is a repository there, by which people are shown how names come together.
    """

    registry: str
    title: str
    url: str
    needs: Needs
    example: str
    note: str = ""

    @classmethod
    def parse(cls, text: str) -> Upstream:
        """Read one of the words for a registry, or its host name; raise UsageError.

        A host that isn't known is left for ECR to judge: it learns new ones.
        """
        host = _host_of(text)
        for known in _KNOWN:
            if host in (known.registry, known.url, *_WORDS.get(known.registry, ())):
                return known
        if host in _EACH_ITS_OWN:
            title, form = _EACH_ITS_OWN[host]
            raise UsageError(f"--upstream {host}: each registry of {title} has a host name of its own", hint=form)
        if LIKE_ECR.match(host):
            return _ecr(host)
        if _AZURE.fullmatch(host):
            return replace(_AZURES, url=host)
        if not _HOST.fullmatch(host):
            raise UsageError(f"--upstream {text!a} is no registry", hint=f"it is {', '.join(WORDS)}, or a host name")
        return cls("", host, host, Needs.UNKNOWN, "NAME")

    @classmethod
    def of_rule(cls, registry: str, url: str) -> Upstream:
        """Find what a rule speaks of, by what the API tells."""
        found = next((one for one in (*_KNOWN, _AZURES, _ECRS) if registry and one.registry == registry), None)
        found = found or next((one for one in _KNOWN if one.url == url), None)
        return replace(found, url=url) if found else cls(registry, registry or url, url, Needs.UNKNOWN, "NAME")

    @property
    def account(self) -> str:
        """The account of a registry of ECR's; empty for any other."""
        return self.url.partition(".")[0] if self.registry == _ECRS.registry else ""

    def __str__(self) -> str:
        return self.title if self.title == self.url else f"{self.title} ({self.url})"


# URLs are those of the model on upstreamRegistryUrl; Chainguard's is in the user guide, "Creating a pull through cache
# rule", and which wants what in "Sync an upstream registry with an Amazon ECR private registry".
_OFFICIAL: Final = "official images of Docker Hub are in library/, as library/nginx; all others are USER/NAME"
_KNOWN: Final = (
    Upstream("docker-hub", "Docker Hub", "registry-1.docker.io", Needs.SECRET, "library/nginx", _OFFICIAL),
    Upstream("quay", "Quay", "quay.io", Needs.NOTHING, "prometheus/prometheus"),
    Upstream("github-container-registry", "GitHub Container Registry", "ghcr.io", Needs.SECRET, "OWNER/NAME"),
    Upstream(
        "gitlab-container-registry", "GitLab Container Registry", "registry.gitlab.com", Needs.SECRET, "GROUP/NAME"
    ),
    Upstream("k8s", "Kubernetes", "registry.k8s.io", Needs.NOTHING, "pause"),
    Upstream("ecr-public", "Amazon ECR Public", PUBLIC_HOSTS[0], Needs.NOTHING, "nginx/nginx"),
    Upstream("chainguard", "Chainguard", "cgr.dev", Needs.SECRET, "OWNER/NAME"),
)
_AZURES: Final = Upstream("azure-container-registry", "Azure Container Registry", "", Needs.SECRET, "NAME")
_ECRS: Final = Upstream("ecr", "Amazon ECR", "", Needs.ROLE, "NAME")
WORDS: Final = ("docker-hub", "quay", "github", "gitlab", "k8s", "ecr-public", "chainguard")
"""What people call those that there is one of."""

# What else they are called.
_WORDS: Final = {
    "docker-hub": (*DOCKER_HUB_NAMES, "dockerhub", "docker", "hub.docker.com"),
    "github-container-registry": ("ghcr", "github"),
    "gitlab-container-registry": ("gitlab", "gitlab.com"),
    "k8s": ("kubernetes",),
    "ecr-public": ("public-ecr",),
    "quay": (),
    "chainguard": (),
}
_EACH_ITS_OWN: Final = {
    **dict.fromkeys(("azure", "acr", _AZURES.registry), ("Azure's", "give it as NAME.azurecr.io")),
    "ecr": ("ECR's", "give it as ACCOUNT.dkr.ecr.REGION.amazonaws.com"),
}
_AZURE: Final = re.compile(r"[a-z0-9-]+\.azurecr\.io")
# A host name with a dot, or with a port, as a local ECR may know one.
_HOST: Final = re.compile(r"(?=.*[.:])[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?")


def _host_of(text: str) -> str:
    """Take off what people leave on a host name: https:// and a slash at the end."""
    if "@" in text:  # not shown: a password may stand before it
        raise UsageError("--upstream holds no user name or password", hint="give --username")
    host, _, path = text.removeprefix((SCHEME.match(text) or [""])[0]).rstrip("/").partition("/")
    if path:
        hint = f"give --upstream {host} --upstream-prefix {path}, or pull PREFIX/{path}/NAME by a rule for all of it"
        raise UsageError(f"--upstream {text!a} names more than a registry", hint=hint)
    return host.lower()


def _ecr(host: str) -> Upstream:
    """Name a registry of ECR's as the API wants it: the plain host, which FIPS and dual-stack have others for."""
    return replace(_ECRS, url=str(replace(EcrHost.parse(host), fips=False, dual_stack=False)))
