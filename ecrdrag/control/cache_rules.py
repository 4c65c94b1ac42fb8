"""Own what is done with pull-through cache rules: list, show, create, validate and delete them, and their credentials.

The commands enter.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from ecrdrag.control.plane import Plane
from ecrdrag.control.upstreams import Needs, Upstream
from ecrdrag.errors import AuthError, ConflictError, EcrdragError, NotFoundError, TransientError, UsageError
from ecrdrag.naming import REPOSITORY
from ecrdrag.registry.ecr_api import structures_of, text_of, time_of
from ecrdrag.registry.ecr_endpoints import registry_host
from ecrdrag.registry.ecr_operations import Answer
from ecrdrag.registry.secrets_manager import FOLDER, name_in

RULES: Final = "pullThroughCacheRules"
ROOT: Final = "ROOT"
"""The prefix of all repositories that no other rule's covers: user guide, "Customizing repository prefixes"."""

# PullThroughCacheRuleRepositoryPrefix: ECR's model, botocore data/ecr/2015-09-21/service-2.json.
_LENGTHS: Final = range(2, 31)
_UNSEEN: Final = "SecretNotFoundException"


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule as ECR describes it: PullThroughCacheRule of the model, or what an operation on one answers."""

    answer: Answer
    region: str

    @property
    def prefix(self) -> str:
        """What repositories here begin with."""
        return text_of(self.answer, "ecrRepositoryPrefix")

    @property
    def upstream(self) -> Upstream:
        """Where they come from."""
        return Upstream.of_rule(text_of(self.answer, "upstreamRegistry"), text_of(self.answer, "upstreamRegistryUrl"))

    @property
    def upstream_prefix(self) -> str:
        """What they begin with upstream; ROOT where with nothing."""
        return text_of(self.answer, "upstreamRepositoryPrefix") or ROOT

    @property
    def secret(self) -> str:
        """The name of the secret with the credential; empty without one."""
        return name_in(text_of(self.answer, "credentialArn"))

    @property
    def role(self) -> str:
        """The name of the role that ECR takes on upstream; empty without one."""
        return text_of(self.answer, "customRoleArn").rpartition("role/")[2]

    @property
    def credential(self) -> str:
        """Say in words what lets ECR in upstream; empty where it needs nothing."""
        if self.secret:
            return f"secret {self.secret.removeprefix(FOLDER)}"
        return f"role {self.role}" if self.role else ""

    @property
    def source(self) -> str:
        """Where its repositories are upstream, by host and folder."""
        return self.upstream.url if self.upstream_prefix == ROOT else f"{self.upstream.url}/{self.upstream_prefix}"

    @property
    def document(self) -> dict[str, object]:
        """Describe it as an entry of a list."""
        return {**self.answer, "region": self.region}

    @property
    def updated(self) -> datetime | None:
        """When it was changed last, or created."""
        return time_of(self.answer, "updatedAt") or time_of(self.answer, "createdAt")

    @property
    def failure(self) -> str:
        """Why it can't pull, where that was asked; empty where it can."""
        return "" if self.answer.get("isValid", True) else text_of(self.answer, "failure") or "no reason given"


@dataclass(frozen=True, slots=True)
class NewRule:
    """A rule that is wanted; secret_arn is that of a secret which is there."""

    prefix: str
    upstream: Upstream
    upstream_prefix: str = ROOT
    secret_arn: str | None = None
    role_arn: str | None = None

    def check(self, *, has_login: bool) -> None:
        """Raise UsageError for what ECR would refuse, before a secret is stored for nothing."""
        title, needs = self.upstream.title, self.upstream.needs
        if self.prefix == ROOT and self.upstream_prefix != ROOT:
            raise UsageError("--upstream-prefix needs a PREFIX of the rule's own: there is none with ROOT")
        if needs is Needs.SECRET and not (has_login or self.secret_arn):
            hint = "give --username, and its token on standard input with --password-stdin; or a secret by --secret-arn"
            raise UsageError(f"ECR pulls from {title} with a credential only", hint=hint)
        if needs is Needs.NOTHING and has_login:
            hint = "leave --username out; should that have changed, --secret-arn takes a secret that is there"
            raise UsageError(f"ECR pulls from {title} without a credential", hint=hint)
        if needs is Needs.ROLE and (has_login or self.secret_arn):
            raise UsageError("ECR is let into its own registries by a role, not by a secret", hint="give --role-arn")
        if needs in (Needs.NOTHING, Needs.SECRET) and self.role_arn:
            raise UsageError(f"ECR can't take on a role at {title}", hint="--role-arn is for registries of ECR's")

    def with_secret(self, arn: str) -> NewRule:
        """Give it the secret that it needs."""
        return replace(self, secret_arn=arn)

    @property
    def parameters(self) -> dict[str, object]:
        """What CreatePullThroughCacheRule takes."""
        return {
            "ecrRepositoryPrefix": self.prefix,
            "upstreamRegistryUrl": self.upstream.url,
            "upstreamRegistry": self.upstream.registry or None,
            "upstreamRepositoryPrefix": None if self.upstream_prefix == ROOT else self.upstream_prefix,
            "credentialArn": self.secret_arn,
            "customRoleArn": self.role_arn,
        }


def prefix_of(text: str) -> str:
    """Read the prefix of a rule; a slash at its end says nothing. Raises UsageError."""
    prefix = text.removesuffix("/")
    if prefix == ROOT or (len(prefix) in _LENGTHS and REPOSITORY.fullmatch(prefix)):
        return prefix
    hint = (
        f"it has 2 to {_LENGTHS[-1]} characters and is part of a repository's name, such as docker-hub; or it is ROOT"
    )
    raise UsageError(f"{text!a} can't be the prefix of a pull-through cache rule", hint=hint)


def rules(plane: Plane) -> Iterator[Rule]:
    """List a registry's rules."""
    for answer in plane.pages("DescribePullThroughCacheRules", RULES):
        yield Rule(answer, plane.region)


def rule(plane: Plane, prefix: str) -> Rule:
    """Describe the rule of a prefix; raises NotFoundError."""
    answer = plane.call("DescribePullThroughCacheRules", ecrRepositoryPrefixes=[prefix])
    found = structures_of(answer, RULES)
    if not found:
        raise NotFoundError(f"{plane.where(prefix)}: there is no such pull-through cache rule")
    return Rule(found[0], plane.region)


def check_possible(plane: Plane, new: NewRule) -> None:
    """Raise what would come of creating a rule, as far as that can be found out; who may not look, is let through."""
    try:
        found = rule(plane, new.prefix)
    except (NotFoundError, AuthError):
        _check_role(plane, new)
        return
    hint = f"`ecrdrag cache-rule delete {new.prefix}{plane.options}` makes room for another"
    raise ConflictError(f"{plane.where(new.prefix)}: there is a rule already, for {found.upstream}", hint=hint)


def create(plane: Plane, new: NewRule, *, has_new_secret: bool = False) -> Rule:
    """Create a rule.

    ECR may see a secret only some seconds after it was stored (entigolabs/entigo-infralib#1645), which is waited for.
    """

    def attempt() -> Rule:
        try:
            return Rule(plane.call("CreatePullThroughCacheRule", **new.parameters), plane.region)
        except NotFoundError as error:
            if has_new_secret and _UNSEEN in str(error):
                raise TransientError(str(error), hint=error.hint) from error
            raise

    return plane.retry.insist(attempt, f"the rule {plane.where(new.prefix)}")


def validate(plane: Plane, prefix: str) -> Rule:
    """Let ECR ask the registry upstream; the rule that is returned knows its failure."""
    return Rule(plane.call("ValidatePullThroughCacheRule", ecrRepositoryPrefix=prefix), plane.region)


def delete(plane: Plane, prefix: str) -> Rule:
    """Delete a rule; the repositories that came of it stay, and its secret."""
    return Rule(plane.call("DeletePullThroughCacheRule", ecrRepositoryPrefix=prefix), plane.region)


def repositories_below(plane: Plane, prefix: str) -> list[str]:
    """Name the repositories that a rule's prefix covers, which may have been pushed to as well.

    None for ROOT, which covers what other rules don't.
    """
    if prefix == ROOT:
        return []
    names = (text_of(one, "repositoryName") for one in plane.pages("DescribeRepositories", "repositories"))
    return [name for name in names if name.startswith(f"{prefix}/")]


def example_of(plane: Plane, rule: Rule) -> tuple[str, str]:
    """Name an image to pull through a rule, and what it is upstream; TAG stands for its tag."""
    account = text_of(rule.answer, "registryId") or plane.account or ""
    host = plane.registry or (str(registry_host(account, plane.region)) if account else "REGISTRY")
    name, folder = rule.upstream.example, "" if rule.upstream_prefix == ROOT else f"{rule.upstream_prefix}/"
    name = name.removeprefix(folder) if name.startswith(folder) else "NAME"
    here = name if rule.prefix == ROOT else f"{rule.prefix}/{name}"
    return f"{host}/{here}:TAG", f"{rule.upstream.url}/{folder}{name}:TAG"


def _check_role(plane: Plane, new: NewRule) -> None:
    """ECR lets itself in where both registries are of one account: user guide, as named at Needs."""
    if new.upstream.needs is not Needs.ROLE or new.role_arn:
        return
    try:
        own = plane.account or plane.own_account()
    except EcrdragError:
        return
    if own != new.upstream.account:
        hint = f"give --role-arn, a role of account {own} that may pull from there"
        raise UsageError(f"ECR pulls from {new.upstream.url}, another account's, with a role only", hint=hint)
