"""Ask a scripted registry for something that it refuses; knows nothing of pytest.

The tests of what refusals become enter.
"""

from __future__ import annotations

from ecrdrag.errors import EcrdragError
from ecrdrag.registry.client import RegistryClient
from tests.scripted_registry import Keys, Registry, Reply

REFUSED = "/v2/team/app/manifests/1"
WHAT = "team/app 1"


def refused(
    registry: Registry, reply: Reply | None = None, keys: Keys | None = None, method: str = "GET"
) -> EcrdragError:
    """Ask for a manifest and return the error; without a reply the registry has been told what to say."""
    if reply:
        registry.replies[REFUSED] = reply
    body = b"{}" if method == "PUT" else None
    with RegistryClient(registry.host, keyring=keys, plain_http=True) as client:
        try:
            with client.ask(method, "team/app/manifests/1", scope="", what=WHAT, body=body):
                raise AssertionError("it was not refused")
        except EcrdragError as error:
            return error
