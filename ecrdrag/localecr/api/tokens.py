"""Own the passwords that docker clients log in with: GetAuthorizationToken.

The API may enter. A password says for which registry and until when, and is signed with the server's
own key, so that it can be checked without being kept.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Final

from ecrdrag.localecr.api.call import Call, Operation

# The user name that goes with every password: Amazon ECR user guide, registry authentication.
USER: Final = "AWS"


def get_authorization_token(call: Call) -> Mapping[str, object]:
    """Give a password for each registry that is asked for."""
    accounts = call.parameters.texts("registryIds") or (call.caller.account,)
    return {"authorizationData": [_authorization(call, account) for account in accounts]}


def _authorization(call: Call, account: str) -> dict[str, object]:
    expires = call.now + call.settings.token_lifetime
    claims = json.dumps({"account": account, "region": call.caller.region, "expires": int(expires)}).encode()
    seal = hmac.new(call.store.keys.token_secret.encode(), claims, hashlib.sha256).digest()
    password = base64.b64encode(claims + seal).decode()
    return {
        "authorizationToken": base64.b64encode(f"{USER}:{password}".encode()).decode(),
        "expiresAt": expires,
        "proxyEndpoint": call.settings.proxy_endpoint or f"{call.settings.scheme}://{call.caller.host}",
    }


OPERATIONS: Final[Mapping[str, Operation]] = {"GetAuthorizationToken": get_authorization_token}
