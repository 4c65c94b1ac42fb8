"""What the local ECR doesn't emulate, asked for by real clients."""

from __future__ import annotations

from contextlib import AbstractContextManager

import pytest
from botocore import xform_name
from botocore.exceptions import ClientError
from botocore.model import ListShape, Shape, StringShape, StructureShape

from ecrdrag.localecr import LocalEcr
from ecrdrag.localecr.api.services import ECR, ECR_PUBLIC, SERVICES, Service
from tests.localecr import client, public_client
from tests.vaults import secrets_client

GAPS = [(service, name) for service in SERVICES for name in sorted(service.gaps)]


def least(shape: Shape | None) -> object:
    """Make a value that a client lets pass: members that are required, and nothing else."""
    if isinstance(shape, StructureShape):
        return {name: least(shape.members[name]) for name in shape.required_members}
    if isinstance(shape, ListShape):
        return [least(shape.member)] * shape.metadata.get("min", 0)
    if isinstance(shape, StringShape):
        return shape.enum[0] if shape.enum else "x" * shape.metadata.get("min", 1)
    return {None: {}, "boolean": False, "blob": b""}.get(shape.type_name if shape else None, 1)


def asking(service: Service, ecr: LocalEcr) -> AbstractContextManager[object]:
    if service is ECR:
        return client(ecr)
    return public_client(ecr) if service is ECR_PUBLIC else secrets_client(ecr)


@pytest.mark.parametrize(("service", "name"), GAPS, ids=lambda each: each if isinstance(each, str) else each.name)
def test_an_operation_that_is_not_emulated_says_so_and_why(ecr: LocalEcr, service: Service, name: str) -> None:
    arguments = least(service.operation_model(name).input_shape)
    assert isinstance(arguments, dict)
    with asking(service, ecr) as api, pytest.raises(ClientError) as caught:
        getattr(api, xform_name(name))(**arguments)
    assert caught.value.response["Error"] == {
        "Code": "UnsupportedOperationException",
        "Message": f"The local ECR doesn't emulate {name}: {service.gaps[name]}",
    }
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 501
