"""Own the commands `repo policy` and `repo lifecycle`.

cli/repo.py enters.
"""

from __future__ import annotations

import argparse
from functools import partial
from typing import Final

from ecrdrag.cli.commands import Subcommand
from ecrdrag.cli.consent import add_consent_arguments, agreed
from ecrdrag.cli.output import Column, Field, Kind, Output, add_format_arguments
from ecrdrag.cli.planes import add_plane_arguments
from ecrdrag.cli.policy_files import policy_in
from ecrdrag.cli.repo_places import places, repository_name
from ecrdrag.cli.streams import tell
from ecrdrag.cli.words import count_text
from ecrdrag.control.images import ANY, images
from ecrdrag.control.permission import unless_denied
from ecrdrag.control.plane import Plane
from ecrdrag.control.policies import (
    ACCESS,
    LIFECYCLE,
    Policy,
    PolicyKind,
    PolicyText,
    policy_of,
    put_policy,
    remove_policy,
)
from ecrdrag.control.preview import Marked, preview
from ecrdrag.errors import NotFoundError

_OWN: Final = ""  # --preview without a file
# ECR user guide, "Automate the cleanup of images by using lifecycle policies".
_EFFECTS: Final = {
    ACCESS.name: "",
    LIFECYCLE.name: "; what it expires is deleted within 24 hours, and --preview lists it",
}
_POLICY: Final = """\
Print, set or remove the policy that says who may use a repository.

What is printed can be set again: > policy.json, then --set policy.json. With
--json it is the document that the aws CLI prints.
"""
_LIFECYCLE: Final = """\
Print, set, try out or remove the policy that says which images of a repository
expire, or go to the archive.

What is printed can be set again: > policy.json, then --set policy.json. With
--json it is the document that the aws CLI prints. --preview changes nothing:
it lists the images to which the policy would do something.
"""


def _add_policy_arguments(parser: argparse.ArgumentParser) -> None:
    _add_arguments(parser)


def _add_lifecycle_arguments(parser: argparse.ArgumentParser) -> None:
    _add_arguments(parser, has_preview=True)


def _add_arguments(parser: argparse.ArgumentParser, *, has_preview: bool = False) -> None:
    parser.add_argument("repository", metavar="REPO", type=repository_name, help="name, ARN or URI")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--set", metavar="FILE", help="set the policy in this JSON file, or - for standard input")
    if has_preview:
        trial = "list what the policy in FILE would do, or the repository's own"
        what.add_argument("--preview", metavar="FILE", nargs="?", const=_OWN, help=trial)
    what.add_argument("--remove", action="store_true", help="remove the policy")
    add_plane_arguments(parser)
    add_consent_arguments(parser)
    add_format_arguments(parser)


def _run(arguments: argparse.Namespace, kind: PolicyKind) -> int:
    output = Output(arguments)
    wanted = None if arguments.set is None else policy_in(arguments.set, kind)
    ((plane, name),) = places(arguments, [arguments.repository])
    if wanted:
        changed = _set(arguments, plane, name, wanted)
    elif arguments.remove:
        changed = _remove(arguments, plane, name, kind)
    else:
        _print(output, _present(plane, name, kind))
        return 0
    if changed and output.is_document:
        output.details([], changed.answer)
    elif changed:
        output.lines([name])
    return 0


def _print(output: Output, policy: Policy) -> None:
    """Print a policy alone, so that it can be kept in a file and set again."""
    if not output.is_for_people:
        output.details([Field("Policy", policy.document)], policy.answer)
    elif isinstance(policy.document, str):
        output.lines([policy.document])
    else:
        output.document(policy.document)


def _set(arguments: argparse.Namespace, plane: Plane, name: str, wanted: PolicyText) -> Policy | None:
    """Set a policy and give it as it is now; None for a dry run."""
    kind, where = wanted.kind, plane.where(name)
    present = unless_denied(partial(policy_of, plane, name, kind))
    if isinstance(present, Policy) and present.says(wanted):
        tell([f"{where} has this {kind.name} already: nothing is changed"], quiet=arguments.quiet)
        return present
    if present is None:
        will = f"give {where} a {kind.name}, as it has none"
    elif isinstance(present, Policy):
        will = f"replace the {kind.name} of {where}"
    else:
        will = f"replace the {kind.name} of {where}, if it has one: these credentials may not read it"
    loses = present is not None or (kind is LIFECYCLE and _may_hold_images(plane, name))
    if not agreed(arguments, [f"{will}{_EFFECTS[kind.name]}"], loses=loses):
        return None
    return put_policy(plane, name, wanted)


def _may_hold_images(plane: Plane, name: str) -> bool:
    """Whether there is something that a lifecycle policy could delete."""
    return unless_denied(lambda: next(images(plane, name, image_status=ANY), None)) is not None


def _remove(arguments: argparse.Namespace, plane: Plane, name: str, kind: PolicyKind) -> Policy | None:
    """Remove a policy and give it as it was; None for a dry run."""
    present = unless_denied(partial(_present, plane, name, kind))
    unread = "" if isinstance(present, Policy) else ", if it has one: these credentials may not read it"
    if not agreed(arguments, [f"remove the {kind.name} of {plane.where(name)}{unread}"]):
        return None
    return remove_policy(plane, name, kind)


def _present(plane: Plane, name: str, kind: PolicyKind) -> Policy:
    policy = policy_of(plane, name, kind)
    if policy is None:
        hint = f"`ecrdrag {kind.command} {plane.named(name)} --set FILE` gives it one"
        raise NotFoundError(f"{plane.where(name)} has no {kind.name}", hint=hint)
    return policy


def _policy(arguments: argparse.Namespace) -> int:
    return _run(arguments, ACCESS)


def _lifecycle(arguments: argparse.Namespace) -> int:
    return _run(arguments, LIFECYCLE) if arguments.preview is None else _preview(arguments)


def _preview(arguments: argparse.Namespace) -> int:
    output = Output(arguments)
    policy = None if arguments.preview == _OWN else policy_in(arguments.preview, LIFECYCLE)
    ((plane, name),) = places(arguments, [arguments.repository])
    if policy is None:
        _present(plane, name, LIFECYCLE)
    found = preview(plane, name, policy)
    if output.is_document:
        output.details([], {**found.document, "previewResults": [one.answer for one in found.images()]})
        return 0
    columns: list[Column[Marked]] = [
        Column("DIGEST", lambda one: one.digest, Kind.DIGEST),
        Column("TAGS", lambda one: one.tags, Kind.LIST),
        Column("ACTION", lambda one: one.action),
        Column("RULE", lambda one: one.rule, Kind.COUNT),
        Column("PUSHED", lambda one: one.pushed, Kind.AGE),
    ]
    output.listing("previewResults", columns, found.images(), lambda one: one.answer)
    archived = f", {count_text(found.archiving, 'image')} would go to the archive" if found.archiving else ""
    tell(
        [f"{plane.where(name)}: {count_text(found.expiring, 'image')} would expire{archived}"],
        quiet=arguments.quiet or arguments.tsv,
    )
    return 0


COMMANDS: Final = {
    "policy": Subcommand("print, set or remove the policy of a repository", _add_policy_arguments, _policy, _POLICY),
    "lifecycle": Subcommand(
        "print, set, try out or remove its lifecycle policy", _add_lifecycle_arguments, _lifecycle, _LIFECYCLE
    ),
}
