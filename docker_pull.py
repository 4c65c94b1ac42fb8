#!/usr/bin/env python3
"""Pull an image from Amazon ECR into a tar for `docker load`; see --help."""

import sys
from pathlib import Path

from ecrdrag.cli.main import main_of


def main() -> int:
    """Run `ecrdrag pull` under the name that it was called by."""
    return main_of("pull", sys.argv[1:], program=Path(sys.argv[0]).name)


if __name__ == "__main__":
    sys.exit(main())
