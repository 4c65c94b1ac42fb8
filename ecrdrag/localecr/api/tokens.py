"""Own the passwords that docker clients log in with: GetAuthorizationToken, and what /v2/ reads out of them.

The API and /v2/ may enter. A password says for which registry and until when, and is signed with the
server's own key, so that it can be checked without being kept.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final

from ecrdrag.localecr.api.call import Call, Operation
from ecrdrag.localecr.hosts import registry_host

_SEAL_SIZE: Final = hashlib.sha256().digest_size
# The user name that goes with every password: Amazon ECR user guide, registry authentication.
USER: Final = "AWS"


@dataclass(frozen=True, slots=True)
class Pass:
    """What a password says: whose it is (nobody's in public), where it opens /v2/, and until when since 1970."""

    account: str
    region: str
    expires: int

    def seal(self, secret: str) -> str:
        """Write the password."""
        claims = json.dumps(asdict(self)).encode()
        return base64.b64encode(claims + _seal(claims, secret)).decode()

    @classmethod
    def open(cls, password: str, secret: str) -> Pass:
        """Read a password, expired or not; raise ValueError for what this server never wrote."""
        raw = base64.b64decode(password, validate=True)
        claims, seal = raw[:-_SEAL_SIZE], raw[-_SEAL_SIZE:]
        if not hmac.compare_digest(seal, _seal(claims, secret)):
            raise ValueError("the password's seal is not this server's")
        return cls(**json.loads(claims))


def _seal(claims: bytes, secret: str) -> bytes:
    return hmac.new(secret.encode(), claims, hashlib.sha256).digest()


def get_authorization_token(call: Call) -> Mapping[str, object]:
    """Give a password for each registry that is asked for."""
    accounts = call.parameters.texts("registryIds") or (call.caller.account,)
    return {"authorizationData": [authorization(call, account) for account in accounts]}


def authorization(call: Call, account: str) -> dict[str, object]:
    """Give a password for an account's registry in the caller's region, or in public; it works in no other."""
    expires = call.now + call.settings.token_lifetime
    password = Pass(account, call.caller.region, int(expires)).seal(call.store.keys.token_secret)
    return {
        "authorizationToken": base64.b64encode(f"{USER}:{password}".encode()).decode(),
        "expiresAt": expires,
        "proxyEndpoint": f"{call.settings.scheme}://{registry_host(call.caller.host, account)}",
    }


OPERATIONS: Final[Mapping[str, Operation]] = {"GetAuthorizationToken": get_authorization_token}
