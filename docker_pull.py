#!/usr/bin/env python3
"""Pull an image from Amazon ECR into a tar for `docker load`; see --help."""

import sys

from ecrdrag.cli.main import main_of


def main() -> int:
    """Run `ecrdrag pull` under this script's name."""
    return main_of("pull", sys.argv[1:], program="docker_pull.py")


if __name__ == "__main__":
    sys.exit(main())
