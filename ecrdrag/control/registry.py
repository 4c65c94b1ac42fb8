"""Own what is to be known of a registry itself: where it answers, its settings and policy, what rules it has.

The commands enter.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from ecrdrag.control.cache_rules import rules
from ecrdrag.control.permission import unless_denied
from ecrdrag.control.plane import Plane
from ecrdrag.errors import AuthError, NotFoundError, UnsupportedError, UsageError
from ecrdrag.registry.ecr_api import structure_of, structures_of, text_of
from ecrdrag.registry.ecr_endpoints import endpoints

log = logging.getLogger(__name__)

SETTINGS: Final = ("BASIC_SCAN_TYPE_VERSION", "BLOB_MOUNTING", "REGISTRY_POLICY_SCOPE")
"""The account settings that there are, as the model on GetAccountSetting names them."""

_DESCRIPTION: Final = "registry"
_TEMPLATES: Final = "repositoryCreationTemplates"

Part = object
"""What is known of one side of a registry: None where there is nothing, an AuthError where it may not be read."""


@dataclass(frozen=True, slots=True)
class Registry:
    """A registry: DescribeRegistry of the model, and more, each part under the name that it has in the document."""

    account: str
    region: str
    endpoints: Mapping[str, str]
    parts: Mapping[str, Part]

    @property
    def host(self) -> str:
        """Its host name, as references have it; empty where the account isn't known."""
        return self.endpoints.get("registry", "")

    @property
    def refusals(self) -> Mapping[str, AuthError]:
        """Say of each part that may not be read why."""
        settings = structure_of(self.parts, "accountSettings")
        both = {**self.parts, **settings}
        return {name: part for name, part in both.items() if isinstance(part, AuthError)}

    @property
    def document(self) -> dict[str, object]:
        """Describe it: what `aws ecr describe-registry` prints, and what other calls tell; refused parts are null."""
        settings = structure_of(self.parts, "accountSettings")
        return {
            "registryId": self.account or None,
            "region": self.region,
            "registryUri": self.host or None,
            "endpoints": dict(self.endpoints),
            **_allowed(self.parts),
            "accountSettings": _allowed(settings),
        }

    @property
    def destinations(self) -> list[str]:
        """Where images are copied to: REGION, or ACCOUNT in REGION where that is another's."""
        configured = structures_of(structure_of(self.parts, "replicationConfiguration"), "rules")
        found = [one for rule in configured for one in structures_of(rule, "destinations")]
        return list(dict.fromkeys(self._place(text_of(one, "registryId"), text_of(one, "region")) for one in found))

    @property
    def scanning(self) -> str:
        """Say which scanning it has."""
        return text_of(structure_of(self.parts, "scanningConfiguration"), "scanType")

    def _place(self, account: str, region: str) -> str:
        return region if account == self.account else f"{account} in {region}"


def registry(plane: Plane) -> Registry:
    """Find out all about one's own registry in a region, by calls side by side.

    Raises AuthError where another's was named, of which ECR tells nothing, and where nothing may be read.
    """

    def read(reader: Callable[[Plane], Part]) -> Part:
        return unless_denied(partial(reader, plane))

    found = dict(zip(_READERS, plane.side_by_side(_READERS.values(), read), strict=True))
    settings = {name: found.pop(name) for name in SETTINGS}
    refused = [part for part in (*found.values(), *settings.values()) if isinstance(part, AuthError)]
    if len(refused) == len(_READERS):
        raise refused[0]
    account = _account(plane, found)
    about = structure_of(found, _DESCRIPTION)
    described = found.pop(_DESCRIPTION)
    replication = described if isinstance(described, AuthError) else about.get("replicationConfiguration")
    parts = {"replicationConfiguration": replication, **found, "accountSettings": settings}
    return Registry(account, plane.region, endpoints(plane.region, account or None), parts)


def _account(plane: Plane, found: Mapping[str, Part]) -> str:
    """Say whose registry was described: none of these calls takes an account, so another's name is a mistake."""
    described = found[_DESCRIPTION]
    if plane.account and isinstance(described, AuthError):
        raise described
    own = text_of(structure_of(found, _DESCRIPTION), "registryId")
    if plane.account and own != plane.account:
        why = f"ECR describes one's own registry alone, and these credentials are of account {own}"
        raise AuthError(f"{plane.where()}: {why}", hint="leave --registry-id out, or use that account's credentials")
    return own


def _scanning(plane: Plane) -> Part:
    return plane.call("GetRegistryScanningConfiguration").get("scanningConfiguration")


def _policy(plane: Plane) -> Part:
    """Read the policy as the document that it is; as text where it is none."""
    try:
        text = text_of(plane.call("GetRegistryPolicy"), "policyText")
    except NotFoundError:
        return None
    try:
        document: object = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return document


def _setting(name: str, plane: Plane) -> Part:
    try:
        return text_of(plane.call("GetAccountSetting", name=name), "value") or None
    except (UsageError, UnsupportedError) as error:  # one that this region doesn't have
        log.info("%s", error)
        return None


def _rules(plane: Plane) -> Part:
    return sum(1 for _ in rules(plane))


def _templates(plane: Plane) -> Part:
    return sum(1 for _ in plane.pages("DescribeRepositoryCreationTemplates", _TEMPLATES))


def _allowed(parts: Mapping[str, Part]) -> dict[str, object]:
    return {name: None if isinstance(part, AuthError) else part for name, part in parts.items()}


_READERS: Final[Mapping[str, Callable[[Plane], Part]]] = {
    _DESCRIPTION: lambda plane: plane.call("DescribeRegistry"),
    "scanningConfiguration": _scanning,
    "policy": _policy,
    "pullThroughCacheRuleCount": _rules,
    "repositoryCreationTemplateCount": _templates,
    **{name: partial(_setting, name) for name in SETTINGS},
}
