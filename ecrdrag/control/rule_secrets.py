"""Own the secrets of pull-through cache rules: which can be one, whether it is there, and the keeping of a new one.

The commands enter. What a secret holds is seen by registry/secrets_manager.py alone.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from functools import partial
from typing import Final
from uuid import uuid4

from ecrdrag.control.plane import Plane
from ecrdrag.errors import AuthError, ConflictError, UsageError
from ecrdrag.registry.auth import Login
from ecrdrag.registry.secrets_manager import FOLDER, Secret, Secrets

log = logging.getLogger(__name__)

# CredentialArn: ECR's model, botocore data/ecr/2015-09-21/service-2.json; Name: that of Secrets Manager, CreateSecret.
_ARN: Final = re.compile(
    r"arn:aws(?:-\w+)*:secretsmanager:(?P<region>[a-z0-9-]+):[0-9]{12}:secret:(?P<name>.+)", re.ASCII
)
_NAME: Final = re.compile(r"[a-zA-Z0-9/_+=.@-]+")
_MAX_NAME: Final = 512


@dataclass(frozen=True, slots=True)
class Place:
    """Where a login is to be kept: the name of a secret, which may be there already."""

    name: str
    there: Secret | None = None


def secret_name_of(text: str) -> str:
    """Give the whole name of a secret that ECR may read; raise UsageError."""
    name = FOLDER + text.removeprefix(FOLDER)
    if name == FOLDER or not _NAME.fullmatch(name) or len(name) > _MAX_NAME:
        hint = f"it has letters, digits and /_+=.@- behind {FOLDER}, and {_MAX_NAME} characters at most"
        raise UsageError(f"{text!a} can't be the name of a secret", hint=hint)
    return name


def check_secret_arn(arn: str, region: str) -> None:
    """Raise UsageError for what can't be the secret of a rule in a region."""
    match = _ARN.fullmatch(arn)
    if match is None:
        hint = f"it begins with arn:aws:secretsmanager:{region}:ACCOUNT:secret:{FOLDER}"
        raise UsageError(f"{arn!a} is not the ARN of a secret", hint=hint)
    if not match["name"].startswith(FOLDER) or not _NAME.fullmatch(match["name"]):
        raise UsageError(f"{match['name']!a} is no secret that ECR reads: its name must begin with {FOLDER}")
    if match["region"] != region:
        hint = "a rule and its secret are in one region and of one account"
        raise UsageError(f"the secret is in {match['region']}, and the rule would be in {region}", hint=hint)


def place_for(plane: Plane, secrets: Secrets, name: str) -> Place:
    """Look whether a secret is there; who may not look, finds out when it is created.

    Raises ConflictError for one that can't be used, and UsageError where it would be of another account than the rule.
    """
    if plane.account and (own := plane.own_account()) != plane.account:
        hint = "store it there, and give its ARN by --secret-arn"
        raise UsageError(f"the secret would be of account {own}, and the rule of {plane.account}", hint=hint)
    try:
        there = plane.retry.insist(partial(secrets.find, name), f"DescribeSecret of {secrets.where(name)}")
    except AuthError as error:
        log.info("%s", error)
        return Place(name)
    if there and there.is_going:
        hint = "restore it with `aws secretsmanager restore-secret`, or choose another name with --secret-name"
        raise ConflictError(f"{secrets.where(name)}: the secret is to be deleted, and can't be used", hint=hint)
    return Place(name, there)


def keep(plane: Plane, secrets: Secrets, place: Place, login: Login, *, description: str) -> str:
    """Store a login and return the secret's ARN; one that is there gets another value."""
    request = str(uuid4())  # the same for each try, so that one alone takes effect
    if place.there:
        attempt = partial(secrets.renew, place.there, login, request=request)
    else:
        attempt = partial(secrets.create, place.name, login, description=description, request=request)
    return plane.retry.insist(attempt, f"the keeping of {secrets.where(place.name)}")
