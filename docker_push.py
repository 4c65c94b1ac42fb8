#!/usr/bin/env python3
"""Push an archive to Amazon ECR; see --help."""

import sys
from pathlib import Path

from ecrdrag.cli.main import main_of


def main() -> int:
    """Run `ecrdrag push` under the name that it was called by."""
    return main_of("push", sys.argv[1:], program=Path(sys.argv[0]).name)


if __name__ == "__main__":
    sys.exit(main())
