"""Own the commands `cache-rule`: their options, and what they print.

cli/main.py enters.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from functools import partial
from typing import Final

from ecrdrag.cli.commands import EXIT_CODES, Subcommand
from ecrdrag.cli.consent import add_consent_arguments, agreed
from ecrdrag.cli.output import Column, Field, Kind, Output, add_format_arguments
from ecrdrag.cli.planes import Planes, add_plane_arguments, reads_several
from ecrdrag.cli.way import login_of
from ecrdrag.cli.words import few
from ecrdrag.control.cache_rules import (
    ROOT,
    RULES,
    NewRule,
    Rule,
    check_possible,
    create,
    delete,
    example_of,
    prefix_of,
    repositories_below,
    rule,
    rules,
    validate,
)
from ecrdrag.control.permission import unless_denied
from ecrdrag.control.plane import Plane
from ecrdrag.control.rule_secrets import Place, check_secret_arn, keep, place_for, secret_name_of
from ecrdrag.control.upstreams import Upstream
from ecrdrag.errors import AuthError, EcrdragError, TransferError, UsageError
from ecrdrag.registry.ecr_api import text_of, time_of
from ecrdrag.registry.secrets_manager import FOLDER, Secrets

DESCRIPTION: Final = """\
List, show, create, validate and delete pull-through cache rules of ECR.

By a rule ECR fetches what is missing below a PREFIX from another registry,
upstream, when it is pulled by its tag. With one for Docker Hub under the PREFIX
docker-hub, HOST/docker-hub/library/nginx:1.27 is Docker Hub's nginx:1.27.
"""
EPILOG: Final = EXIT_CODES
_CREATE: Final = f"""\
Create a pull-through cache rule, and store the credential that ECR needs upstream.

UPSTREAM is docker-hub, quay, github, gitlab, k8s, ecr-public or chainguard; or a
host: NAME.azurecr.io, or another registry in ECR. Docker Hub, GitHub, GitLab,
Azure and Chainguard want a credential, ECR in another account wants a role.

With --username a token is read, from standard input or typed, and kept by AWS
Secrets Manager in the rule's region, under {FOLDER}. Secrets
Manager is found by the AWS settings, such as AWS_ENDPOINT_URL_SECRETS_MANAGER;
--endpoint-url says nothing about it.

The result is the rule, and how to pull through it; --json prints what
`aws ecr create-pull-through-cache-rule` prints.
"""
_VALIDATE: Final = """\
Let ECR ask the registry upstream whether it lets the rule's credential in.

Exit code 3 says that it doesn't, or that ECR can't read the secret; 5 says that a
rule without a credential isn't valid. The result is printed all the same, with
--json as `aws ecr validate-pull-through-cache-rule` prints it.
"""
_DELETE: Final = "Delete a pull-through cache rule. The repositories that came of it stay, and its secret does."


def _add_ls_arguments(parser: argparse.ArgumentParser) -> None:
    add_plane_arguments(parser, several=True)
    add_format_arguments(parser)


def _add_prefix(parser: argparse.ArgumentParser) -> None:
    about = f"what the repositories begin with, such as docker-hub; {ROOT} for all that have no other rule"
    parser.add_argument("prefix", metavar="PREFIX", type=prefix_of, help=about)


def _add_one_arguments(parser: argparse.ArgumentParser) -> None:
    _add_prefix(parser)
    add_plane_arguments(parser)
    add_format_arguments(parser)


def _add_delete_arguments(parser: argparse.ArgumentParser) -> None:
    _add_prefix(parser)
    add_plane_arguments(parser)
    add_consent_arguments(parser)
    add_format_arguments(parser)


def _add_create_arguments(parser: argparse.ArgumentParser) -> None:
    _add_prefix(parser)
    add = parser.add_argument
    add(
        "--upstream",
        metavar="UPSTREAM",
        type=Upstream.parse,
        required=True,
        help="the registry to pull through from, by word or by host",
    )
    about = "what the repositories begin with there (default: nothing)"
    add("--upstream-prefix", metavar="PREFIX", type=prefix_of, default=ROOT, help=about)
    group = parser.add_argument_group("how ECR is let in upstream")
    add = group.add_argument
    add("-u", "--username", metavar="NAME", help="keep this user's access token as a secret")
    add("--password-stdin", action="store_true", help="read the token from standard input")
    add(
        "--secret-name",
        metavar="NAME",
        type=secret_name_of,
        help=f"name of that secret, behind {FOLDER} (default: PREFIX)",
    )
    add("--secret-arn", metavar="ARN", help="use a secret that is there, with members username and accessToken")
    add("--role-arn", metavar="ARN", help="role that ECR takes on at a registry in ECR")
    add_plane_arguments(parser)
    add_consent_arguments(parser)
    add_format_arguments(parser)


def _ls(arguments: argparse.Namespace) -> int:
    columns: list[Column[Rule]] = [
        Column("PREFIX", lambda one: one.prefix, Kind.NAME),
        Column("UPSTREAM", lambda one: one.upstream.title),
        Column("FROM", lambda one: one.source, Kind.NAME),
        Column("CREDENTIAL", lambda one: one.credential or "none", Kind.NAME),
        Column("UPDATED", lambda one: one.updated, Kind.AGE),
    ]
    if reads_several(arguments):
        columns.insert(0, Column("REGION", lambda one: one.region))
    output = Output(arguments)
    output.listing(RULES, columns, Planes(arguments).across(rules), lambda one: one.document)
    return 0


def _show(arguments: argparse.Namespace) -> int:
    prefix, output = arguments.prefix, Output(arguments)
    plane = Planes(arguments).of()
    found = rule(plane, prefix)
    output.details([*_about(found), *_how_to_pull(plane, found)], {RULES: [found.document]})
    return 0


def _create(arguments: argparse.Namespace) -> int:
    output, new = Output(arguments), _wanted(arguments)
    planes = Planes(arguments)
    plane = planes.of()
    if new.secret_arn:
        check_secret_arn(new.secret_arn, plane.region)
    check_possible(plane, new)
    if arguments.username is None:
        made = create(plane, new) if agreed(arguments, [_creation(plane, new)], loses=False) else None
    else:
        made = _create_with_login(arguments, plane, new, Secrets(planes.secrets(plane), plane.region))
    if made:
        output.details([*_about(made), *_how_to_pull(plane, made)], made.answer)
    return 0


def _create_with_login(arguments: argparse.Namespace, plane: Plane, new: NewRule, secrets: Secrets) -> Rule | None:
    """Keep a login, and create the rule with it; None for a dry run."""
    place = place_for(plane, secrets, arguments.secret_name or secret_name_of(new.prefix))
    # On a terminal the token is asked for once it is clear what for.
    login = None if arguments.dry_run or sys.stdin.isatty() else login_of(arguments)
    will = [_keeping(arguments.username, secrets, place), _creation(plane, new)]
    if not agreed(arguments, will, loses=place.there is not None):
        return None
    login = login or login_of(arguments)
    if login is None:
        raise UsageError("there is no login to keep", hint="give --username")
    arn = keep(plane, secrets, place, login, description=f"for ECR's pull-through cache of {new.upstream}")
    return _create_with_secret(plane, new.with_secret(arn), arn)


def _create_with_secret(plane: Plane, new: NewRule, arn: str) -> Rule:
    """Create a rule; where that fails, let the error say that the secret is there, and how to go on with it."""
    try:
        return create(plane, new, has_new_secret=True)
    except EcrdragError as error:
        folder = "" if new.upstream_prefix == ROOT else f" --upstream-prefix {new.upstream_prefix}"
        go_on = f"ecrdrag cache-rule create {new.prefix} --upstream {new.upstream.url}{folder} --region {plane.region}"
        said = f"the secret is stored all the same; go on with it: {go_on} --secret-arn {arn}"
        error.hint = f"{error.hint}\n{said}" if error.hint else said
        raise


def _wanted(arguments: argparse.Namespace) -> NewRule:
    """Read what rule is wanted; raise UsageError for one that can't be, before anything is asked."""
    has_login = arguments.username is not None
    if not has_login:
        login_of(arguments)  # which knows half a login
    if has_login and arguments.secret_arn:
        raise UsageError("--username keeps a new secret, --secret-arn uses one that is there", hint="give one of them")
    if arguments.secret_name and not has_login:
        raise UsageError("--secret-name is for a secret that is to be kept", hint="give --username as well")
    new = NewRule(
        arguments.prefix,
        arguments.upstream,
        arguments.upstream_prefix,
        arguments.secret_arn,
        arguments.role_arn,
    )
    new.check(has_login=has_login)
    return new


def _keeping(username: str, secrets: Secrets, place: Place) -> str:
    where = secrets.where(place.name)
    if place.there:
        return f"replace what the secret {where} holds, for every rule that uses it, by the token of {username}"
    return f"keep the token of {username} as the secret {where}"


def _creation(plane: Plane, new: NewRule) -> str:
    return f"create the pull-through cache rule {plane.where(new.prefix)}, from {new.upstream}"


def _validate(arguments: argparse.Namespace) -> int:
    prefix, output = arguments.prefix, Output(arguments)
    plane = Planes(arguments).of()
    found = validate(plane, prefix)
    fields = [*_about(found), Field("Valid", not found.failure), Field("Failure", found.failure or None)]
    output.details(fields if found.failure else fields[:-1], found.answer)
    if found.failure:
        kind = AuthError if found.credential else TransferError
        raise kind(f"{plane.where(prefix)}: the rule is not valid: {found.failure}")
    return 0


def _delete(arguments: argparse.Namespace) -> int:
    prefix, output = arguments.prefix, Output(arguments)
    plane = Planes(arguments).of()
    found = rule(plane, prefix)
    will = [f"delete the pull-through cache rule {plane.where(prefix)}, from {found.upstream}"]
    if agreed(arguments, [*will, *_staying(plane, found)]):
        output.details(_about(found), delete(plane, prefix).answer)
    return 0


def _staying(plane: Plane, found: Rule) -> Iterator[str]:
    """Say what a rule leaves behind."""
    names = unless_denied(partial(repositories_below, plane, found.prefix))
    if isinstance(names, AuthError) or found.prefix == ROOT:
        yield "leave the repositories that came of it as they are"
    elif names:
        yield f"leave its repositories as they are: {few(names)}"
    if found.secret:
        yield f"leave the secret {found.secret} as it is"


def _about(found: Rule) -> list[Field]:
    fields = [
        Field("Prefix", found.prefix),
        Field("Region", found.region),
        Field("Account", text_of(found.answer, "registryId") or None),
        Field("Upstream", str(found.upstream)),
        Field("Upstream prefix", found.upstream_prefix),
        Field("Secret", text_of(found.answer, "credentialArn") or None),
        Field("Role", text_of(found.answer, "customRoleArn") or None),
        Field("Created", time_of(found.answer, "createdAt"), Kind.AGE),
        Field("Updated", time_of(found.answer, "updatedAt"), Kind.AGE),
    ]
    return [one for one in fields if one.value is not None]


def _how_to_pull(plane: Plane, found: Rule) -> list[Field]:
    here, upstream = example_of(plane, found)
    fields = [Field("To pull", f"ecrdrag pull {here}"), Field("Fetches", upstream)]
    note = found.upstream.note if found.upstream_prefix == ROOT else ""
    return [*fields, Field("Note", note)] if note else fields


COMMANDS: Final = {
    "ls": Subcommand("list pull-through cache rules", _add_ls_arguments, _ls),
    "show": Subcommand("show a rule, and how to pull through it", _add_one_arguments, _show),
    "create": Subcommand("create a rule, and the secret that it needs", _add_create_arguments, _create, _CREATE),
    "validate": Subcommand("let ECR try a rule's credential upstream", _add_one_arguments, _validate, _VALIDATE),
    "delete": Subcommand("delete a rule; its repositories stay", _add_delete_arguments, _delete, _DELETE),
}
