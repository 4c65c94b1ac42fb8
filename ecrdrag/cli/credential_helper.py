"""Own the program docker-credential-ecrdrag: what docker runs for a password, and --install, which tells docker so.

The console script enters; `python3 -m ecrdrag.cli.credential_helper` does the same. Exit codes are docker's: 0 and 1.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Final

from ecrdrag import __version__
from ecrdrag.cli.streams import complain, log_to_stderr, mend_streams, print_result
from ecrdrag.credentials.cache import TokenCache
from ecrdrag.credentials.helper import PROGRAM, USAGE, EcrLogins, Registry, answer
from ecrdrag.credentials.identities import Identity
from ecrdrag.errors import EcrdragError
from ecrdrag.registry.auth import EcrToken

_INSTALL: Final = "--install"
_SHORT_NAME: Final = PROGRAM.removeprefix("docker-credential-")


def main() -> int:
    """Do what docker asks for on the command line and stdin."""
    mend_streams()
    log_to_stderr(PROGRAM, verbose=0, quiet=False)
    try:
        return _run(sys.argv[1:], os.environ)
    except EcrdragError as error:
        complain(PROGRAM, str(error), error.hint, verbose=False)
    except (KeyboardInterrupt, BrokenPipeError):
        pass  # whoever asked doesn't want to know
    except Exception as error:  # noqa: BLE001 - the last line of defence
        complain(PROGRAM, f"this is a bug in ecrdrag: {type(error).__name__}: {error}", "", verbose=False)
    return 1


def _run(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    if arguments and arguments[0] == _INSTALL:
        return _install(arguments[1:], environ)
    logins = EcrLogins(TokenCache.of(environ), _fetch, environ)
    given = answer(arguments, sys.stdin.buffer, logins, version=__version__)
    if given.text:
        more = f"\n       {PROGRAM} {_INSTALL} HOST..." if given.text == USAGE else ""
        print_result(given.text + more)
    return given.code


def _fetch(registry: Registry, identity: Identity) -> EcrToken:
    from ecrdrag.cli.aws import AwsSettings  # late: docker doesn't wait for boto3 when the password is on disk
    from ecrdrag.registry.ecr_token import fetch_public_token, fetch_token

    settings = AwsSettings(identity.profile, None, identity.role_arn)
    if registry.ecr is None:
        return fetch_public_token(settings.public(), registry.host)
    return fetch_token(settings.tokens(registry.ecr), registry.ecr.account, registry.host)


def _install(servers: Sequence[str], environ: Mapping[str, str]) -> int:
    """Write into docker's configuration that we are to be asked for these registries' passwords."""
    from ecrdrag.credentials.docker_config import install

    if not servers:
        print_result(f"Usage: {PROGRAM} {_INSTALL} HOST...")
        return 1
    hosts = [Registry.parse(each).host for each in servers]
    file = install(environ, hosts, _SHORT_NAME)
    if not shutil.which(PROGRAM, path=environ.get("PATH")):
        hint = "install ecrdrag with pip, or link to its program from a folder that is"
        complain(PROGRAM, f"docker won't find {PROGRAM}: it is in no folder of PATH", hint, verbose=False)
    print_result(f"{file}: docker asks {PROGRAM} for {', '.join(hosts)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
