#!/usr/bin/env python3
"""Push an archive to Amazon ECR; see --help."""

import sys

from ecrdrag.cli.main import main_of


def main() -> int:
    """Run `ecrdrag push` under this script's name."""
    return main_of("push", sys.argv[1:], program="docker_push.py")


if __name__ == "__main__":
    sys.exit(main())
