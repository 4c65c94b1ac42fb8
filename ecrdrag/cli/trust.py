"""Own which certificates the environment says to trust.

The commands may enter.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from ecrdrag.errors import UsageError

# What boto3 looks at, and after it requests.
CA_VARIABLES: Final = ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


def bundle_of(environ: Mapping[str, str], setting: str | None = None) -> str | bool:
    """Give the file or folder that a setting names, else a variable, or True for the usual ones.

    Raises UsageError for one that can't be used.
    """
    bundle = setting or next((value for name in CA_VARIABLES if (value := environ.get(name))), None)
    if bundle is None:
        return True
    folder = bundle if Path(bundle).is_dir() else None
    try:
        ssl.create_default_context(cafile=None if folder else bundle, capath=folder)
    except OSError as error:
        raise UsageError(
            f"the CA bundle {bundle} can't be used: {error.strerror or error}",
            hint=f"check ca_bundle in the profile, {', '.join(CA_VARIABLES)}",
        ) from error
    return bundle
