"""Own the options of a new repository, for the command that creates one and for those that may.

The commands that write to registries enter.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

from ecrdrag.errors import UsageError
from ecrdrag.registry.ends import RepositorySettings


def add_repository_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare them for a command that creates a repository where it is told to."""
    new = parser.add_argument_group("a repository in ECR that isn't there")
    new.add_argument("--create-repository", action="store_true", help="create it")
    add_settings_arguments(new.add_argument)


def add_settings_arguments(add: Callable[..., argparse.Action]) -> None:
    """Declare what a new repository is to be."""
    add("--immutable", action="store_true", help="its tags can't be moved")
    add("--scan-on-push", action="store_true", help="ECR scans each image")
    add("--kms-key", metavar="KEY", help="encrypt with this key: its id, ARN or alias")
    add("--tag", metavar="K=V", type=_tag, action="append", default=[], help="tag of the repository; repeatable")


def repository_settings(arguments: argparse.Namespace) -> RepositorySettings | None:
    """Read them; raise UsageError for settings of what isn't to be created."""
    if arguments.create_repository:
        return settings_of(arguments)
    if arguments.immutable or arguments.scan_on_push or arguments.kms_key or arguments.tag:
        raise UsageError("--immutable, --scan-on-push, --kms-key and --tag need --create-repository")
    return None


def settings_of(arguments: argparse.Namespace) -> RepositorySettings:
    """Read what a new repository is to be; raise UsageError for a tag that is given two values."""
    tags: dict[str, str] = {}
    for key, value in arguments.tag:
        if tags.setdefault(key, value) != value:
            raise UsageError(f"--tag gives {key} two values: {tags[key]} and {value}")
    return RepositorySettings(arguments.immutable, arguments.scan_on_push, arguments.kms_key or None, tags)


def _tag(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, value
