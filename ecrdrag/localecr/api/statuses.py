"""Own what is said of an image where nothing scans, replicates or signs: the truth, in ECR's words.

The API may enter.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ecrdrag.localecr.api.call import Call, Operation
from ecrdrag.localecr.api.lookup import find_one
from ecrdrag.localecr.api.replication import destinations_of
from ecrdrag.localecr.api.setting_refusals import scan_not_found, signing_configuration_not_found
from ecrdrag.localecr.names import ImageName, RegistryKey
from ecrdrag.localecr.storage.records import Image


def describe_image_scan_findings(call: Call) -> Mapping[str, object]:
    """Say that an image was never scanned, which is so."""
    with call.store.metadata.read() as records:
        find_one(call, records)
    raise scan_not_found(call.key, call.image_name)


def describe_image_replication_status(call: Call) -> Mapping[str, object]:
    """Say where an image should be by the registry's rules, and that it isn't there.

    AWS replicates what is pushed after a rule was made; here a rule speaks of older images too.
    """
    with call.store.metadata.read() as records:
        image = find_one(call, records)
        destinations = destinations_of(records, call.key)
    statuses = [_not_replicated(one) for one in destinations]
    return {"repositoryName": call.key.name, "imageId": _found(call, image), "replicationStatuses": statuses}


def describe_image_signing_status(call: Call) -> Mapping[str, object]:
    """Say that no signing profile is meant for an image: there can be no signing rules."""
    with call.store.metadata.read() as records:
        image = find_one(call, records)
    named = {"registryId": call.account, "repositoryName": call.key.name}
    return {**named, "imageId": _found(call, image), "signingStatuses": []}


def no_signing_configuration(call: Call) -> Mapping[str, object]:
    """Say that the registry has no signing configuration, whether to get or to delete it."""
    raise signing_configuration_not_found(call.registry)


def _found(call: Call, image: Image) -> dict[str, object]:
    return ImageName(image.digest, call.image_name.tag).as_output()


def _not_replicated(destination: RegistryKey) -> dict[str, object]:
    # COMPLETE would be a lie, and who polls IN_PROGRESS would wait for ever. AWS's failure codes are not public.
    return {
        "region": destination.region,
        "registryId": destination.account,
        "status": "FAILED",
        "failureCode": "NotEmulated",
    }


OPERATIONS: Final[Mapping[str, Operation]] = {
    "DescribeImageScanFindings": describe_image_scan_findings,
    "DescribeImageReplicationStatus": describe_image_replication_status,
    "DescribeImageSigningStatus": describe_image_signing_status,
    "GetSigningConfiguration": no_signing_configuration,
    "DeleteSigningConfiguration": no_signing_configuration,
}
