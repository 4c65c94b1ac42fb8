"""Own the options of a repository that a command may create.

The commands that write to registries enter.
"""

from __future__ import annotations

import argparse

from ecrdrag.errors import UsageError
from ecrdrag.registry.ends import RepositorySettings


def add_repository_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare them."""
    new = parser.add_argument_group("a repository in ECR that isn't there")
    new.add_argument("--create-repository", action="store_true", help="create it")
    new.add_argument("--immutable", action="store_true", help="its tags can't be moved")
    new.add_argument("--scan-on-push", action="store_true", help="ECR scans each image")
    new.add_argument("--kms-key", metavar="KEY", help="encrypt with this key: its id, ARN or alias")
    new.add_argument(
        "--tag", metavar="K=V", type=_tag, action="append", default=[], help="tag of the repository; repeatable"
    )


def repository_settings(arguments: argparse.Namespace) -> RepositorySettings | None:
    """Read them; raise UsageError for settings of what isn't to be created."""
    if arguments.create_repository:
        return RepositorySettings(arguments.immutable, arguments.scan_on_push, arguments.kms_key, dict(arguments.tag))
    if arguments.immutable or arguments.scan_on_push or arguments.kms_key or arguments.tag:
        raise UsageError("--immutable, --scan-on-push, --kms-key and --tag need --create-repository")
    return None


def _tag(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, value
