"""Own what a host name says: which registry is meant, and which dialect /v2/ speaks there.

Every room of the local ECR may enter. A server of one address is many registries, told apart by the Host header.

    ACCOUNT.dkr.ecr.REGION.localhost[:PORT]         as AWS names them too: ...amazonaws.com and the like
    public.ecr.localhost[:PORT], public.ecr.aws     the public registries; the alias in a name says whose
    any other                                       the server's dialect, and whose the password is that comes along;
                                                    nobody's is of the first account in the server's region
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from ecrdrag.localecr.names import PUBLIC, RegistryKey
from ecrdrag.localecr.settings import Dialect, Settings

# The hosts that amazon-ecr-credential-helper takes for ECR's, ecr-login/api/client.go, and localhost beside them.
_PRIVATE: Final = re.compile(
    rf"(?P<account>[0-9]{{12}})\.dkr[.-]ecr(-fips)?\.(?!{PUBLIC}\.)(?P<region>[a-z0-9][a-z0-9-]*)\."
    r"(localhost|amazonaws\.(com(\.cn)?|eu)|on\.(aws|amazonwebservices\.com\.cn)"
    r"|sc2s\.sgov\.gov|c2s\.ic\.gov|cloud\.adc-e\.uk|csp\.hci\.ic\.gov)"
)
_PUBLIC: Final = ("public.ecr.localhost", "public.ecr.aws", "ecr-public.aws.com")
_PORT: Final = re.compile(r":[0-9]*\Z")
# A region's API, from botocore's endpoint rules; its registries are called alike, with dkr for api.
_API: Final = re.compile(r"api\.(?P<rest>ecr(-fips)?\.[a-z0-9.-]+(:[0-9]+)?)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a client thinks that it is; named says that its host name told whose registry that is."""

    registry: RegistryKey
    dialect: Dialect
    named: bool = True


def place_of(host: str, settings: Settings) -> Place:
    """Read a Host header."""
    name = _PORT.sub("", host).lower()
    if name in _PUBLIC:
        return Place(RegistryKey(settings.account, PUBLIC), Dialect.PUBLIC)
    match = _PRIVATE.fullmatch(name)
    if match is None:
        region = PUBLIC if settings.dialect is Dialect.PUBLIC else settings.region
        return Place(RegistryKey(settings.account, region), settings.dialect, named=False)
    dialect = Dialect.ECR if settings.dialect is Dialect.PUBLIC else settings.dialect
    return Place(RegistryKey(match["account"], match["region"]), dialect)


def registry_host(host: str, account: str) -> str:
    """Return where an account's registry is for docker clients whose Host header at the API was this."""
    match = _API.fullmatch(host)
    return f"{account}.dkr.{match['rest'].lower()}" if match else host
