"""Run `python3 -m ecrdrag COMMAND`; nobody enters."""

import sys

from ecrdrag.cli.main import main as run


def main() -> int:
    """Run the command named by the first argument."""
    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
