"""The local ECR against botocore's models of ECR, ECR Public and Secrets Manager: operations, gaps, errors."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import typing
from collections.abc import Iterable, Iterator

import pytest
from botocore.model import StructureShape

from ecrdrag.localecr import api
from ecrdrag.localecr.api.refusals import Refusal
from ecrdrag.localecr.api.services import ECR, ECR_PUBLIC, SECRETS_MANAGER, SERVICES, Service
from ecrdrag.localecr.api.wire import write_refusal
from ecrdrag.localecr.names import ImageName, RegistryKey, RepositoryKey
from tests.contract.reach import errors_within_reach

# What comes before an operation raises errors that every AWS service has, outside the model.
BEFORE_OPERATIONS = ("wire", "signature", "door")
ANYTHING: dict[object, object] = {
    str: "x",
    int: 1,
    Iterable[str]: ["x"],
    ImageName: ImageName("x", "y"),
    RegistryKey: RegistryKey("1" * 12, "us-west-2"),
    RepositoryKey: RepositoryKey("1" * 12, "us-west-2", "app"),
}
OPERATIONS = [(service, name) for service in SERVICES for name in sorted(service.operations)]


def label(value: object) -> str:
    return value.name if isinstance(value, Service) else str(value)


def every_refusal() -> Iterator[Refusal]:
    """Make each error that a function of api/ makes, with any arguments."""
    for found in pkgutil.iter_modules(api.__path__):
        if found.name not in BEFORE_OPERATIONS:
            yield from refusals_of(f"{api.__name__}.{found.name}")


def refusals_of(module: str) -> Iterator[Refusal]:
    for _, function in inspect.getmembers(importlib.import_module(module), inspect.isfunction):
        hints = typing.get_type_hints(function)
        if function.__module__ == module and hints.pop("return", None) is Refusal:
            made = function(**{name: ANYTHING[hint] for name, hint in hints.items()})
            assert isinstance(made, Refusal)
            yield made


@pytest.mark.parametrize("service", SERVICES, ids=label)
def test_every_operation_is_emulated_or_a_named_gap_and_never_both(service: Service) -> None:
    names = set(service.model.operation_names)
    assert {*service.operations, *service.gaps} == names
    assert not set(service.operations) & set(service.gaps)


@pytest.mark.parametrize("service", SERVICES, ids=label)
def test_a_gap_has_a_reason_of_one_line(service: Service) -> None:
    for reason in service.gaps.values():
        assert reason.strip()
        assert len(reason.splitlines()) == 1


def test_services_differ_in_what_a_client_addresses() -> None:
    assert len({service.target_prefix for service in SERVICES}) == len(SERVICES)
    assert len({service.signing_name for service in SERVICES}) == len(SERVICES)


@pytest.mark.parametrize(("service", "name"), OPERATIONS, ids=label)
def test_an_operation_raises_only_what_the_model_lets_it(service: Service, name: str) -> None:
    modelled = {shape.name for shape in service.operation_model(name).error_shapes}
    assert service.errors_of(name) == modelled | service.common
    assert errors_within_reach(service.operations[name]) <= modelled | service.common


def test_only_secrets_manager_has_an_error_that_its_model_does_not_name_with_each_operation() -> None:
    assert {service.name: service.common for service in SERVICES if service.common} == {
        "secretsmanager": {"ValidationException"}
    }


@pytest.mark.parametrize("service", SERVICES, ids=label)
def test_a_fault_of_the_server_has_a_name_of_the_model(service: Service) -> None:
    assert all(service.failure in service.errors_of(name) for name in service.operations)


@pytest.mark.parametrize(("service", "name"), OPERATIONS, ids=label)
def test_an_operation_on_a_repository_can_miss_it(service: Service, name: str) -> None:
    """Also shows that the walk finds its way: through rooms, wrappers, and what is asked of the Call."""
    operation = service.operation_model(name)
    missing = "RepositoryNotFoundException"
    members = operation.input_shape.members if operation.input_shape else ()
    if "repositoryName" in members and missing in {one.name for one in operation.error_shapes}:
        assert missing in errors_within_reach(service.operations[name])


@pytest.mark.parametrize(
    ("service", "name", "error"),
    [
        (ECR, "PutImage", "ReferencedImagesNotFoundException"),
        (ECR, "CompleteLayerUpload", "UploadNotFoundException"),
        (ECR, "DescribeRepositories", "InvalidParameterException"),
        (ECR, "CreateRepository", "KmsException"),
        (ECR, "CreateRepository", "TooManyTagsException"),
        (ECR_PUBLIC, "PutImage", "RegistryNotFoundException"),
        (ECR, "UpdatePullThroughCacheRule", "UnableToDecryptSecretValueException"),
        (ECR_PUBLIC, "UploadLayerPart", "InvalidLayerPartException"),
        (SECRETS_MANAGER, "PutSecretValue", "ResourceExistsException"),
        (SECRETS_MANAGER, "UntagResource", "ResourceNotFoundException"),
    ],
    ids=label,
)
def test_the_walk_reaches_errors_that_are_far_away(service: Service, name: str, error: str) -> None:
    assert error in errors_within_reach(service.operations[name])


@pytest.mark.parametrize(("service", "name"), OPERATIONS, ids=label)
def test_bad_input_has_a_modelled_error_wherever_there_is_input(service: Service, name: str) -> None:
    operation = service.operation_model(name)
    if operation.input_shape and operation.input_shape.members:
        assert "InvalidParameterException" in {shape.name for shape in operation.error_shapes}


@pytest.mark.parametrize("refusal", list(every_refusal()), ids=lambda refusal: refusal.shape)
def test_an_error_has_the_name_and_members_of_its_shape(refusal: Refusal) -> None:
    shapes = {
        service.name: shape
        for service in SERVICES
        for shape in service.model.error_shapes
        if shape.name == refusal.shape
    }
    assert shapes
    for service, shape in shapes.items():
        assert isinstance(shape, StructureShape)
        assert set(json.loads(write_refusal(refusal, service))) - {"__type"} == set(shape.members)
    assert refusal.status == 400
