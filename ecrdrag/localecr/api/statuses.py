"""Own what is said of an image where nothing scans, replicates or signs: the truth, in ECR's words.

The API may enter.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ecrdrag.localecr.api.call import Call, Operation
from ecrdrag.localecr.api.lookup import MISMATCH, NOT_FOUND, Failure, find
from ecrdrag.localecr.api.refusals import image_not_found, invalid_parameter
from ecrdrag.localecr.api.replication import destinations_of
from ecrdrag.localecr.api.setting_refusals import scan_not_found, signing_configuration_not_found
from ecrdrag.localecr.names import ImageName, RegistryKey
from ecrdrag.localecr.storage.records import Image, Records


def describe_image_scan_findings(call: Call) -> Mapping[str, object]:
    """Say that an image was never scanned, which is so."""
    with call.store.metadata.read() as records:
        _image(call, records)
    raise scan_not_found(call.key, _name(call))


def describe_image_replication_status(call: Call) -> Mapping[str, object]:
    """Say where an image should be by the registry's rules, and that it isn't there.

    AWS replicates what is pushed after a rule was made; here a rule speaks of older images too.
    """
    with call.store.metadata.read() as records:
        image = _image(call, records)
        destinations = destinations_of(records, call.key)
    statuses = [_not_replicated(one) for one in destinations]
    return {"repositoryName": call.key.name, "imageId": _found(call, image), "replicationStatuses": statuses}


def describe_image_signing_status(call: Call) -> Mapping[str, object]:
    """Say that no signing profile is meant for an image: there can be no signing rules."""
    with call.store.metadata.read() as records:
        image = _image(call, records)
    named = {"registryId": call.account, "repositoryName": call.key.name}
    return {**named, "imageId": _found(call, image), "signingStatuses": []}


def no_signing_configuration(call: Call) -> Mapping[str, object]:
    """Say that the registry has no signing configuration, whether to get or to delete it."""
    raise signing_configuration_not_found(call.registry)


def _name(call: Call) -> ImageName:
    name = call.parameters.structure("imageId")
    return ImageName(name.text("imageDigest"), name.text("imageTag"))


def _image(call: Call, records: Records) -> Image:
    name = _name(call)
    found = find(records, call.repository(records).id, name)
    if found in (NOT_FOUND, MISMATCH):
        raise image_not_found(call.key, name)
    if isinstance(found, Failure):
        raise invalid_parameter("imageId", found.reason)
    return found


def _found(call: Call, image: Image) -> dict[str, object]:
    return ImageName(image.digest, _name(call).tag).as_output()


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
