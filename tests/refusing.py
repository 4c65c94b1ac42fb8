"""Let a local ECR refuse calls as AWS does to those who may not, or ask too often; knows nothing of pytest.

    recorder = Recorder()
    with running(tmp_path, recorder=recorder) as ecr, client(ecr) as api:
        denying(recorder, "DescribeImages", "BatchGetImage")
        throttling(recorder, "DescribeRepositories", times=3)

Each is a layer over what the recorder did before; allowing(recorder) takes all of them away.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Mapping
from typing import Final

from ecrdrag.localecr.web.exchange import Answer, Handler, Request
from tests.localecr import ACCOUNT, Recorder

USER: Final = f"arn:aws:iam::{ACCOUNT}:user/dev"
_LIMIT: Final = 64 * 1024 * 1024
_SCOPE: Final = re.compile(r"Credential=[^/]+/[0-9]+/([a-z0-9-]+)/([a-z0-9-]+)/aws4_request")

Refuse = Callable[[Request, str], Answer]
"""Answers a call of an operation; its body is unread."""


def denying(recorder: Recorder, *operations: str) -> None:
    """Answer these operations as AWS does to a user whose policies allow none of them; none named is all."""
    _refusing(recorder, operations, _denied)


def throttling(recorder: Recorder, *operations: str, times: int | None = None) -> None:
    """Answer these operations "Rate exceeded", always or so often in all; none named is all."""
    left = _Left(times)
    _refusing(recorder, operations, _throttled, left.take)


def missing(recorder: Recorder, operation: str, shape: str, *, times: int | None = None) -> None:
    """Answer an operation as if something weren't there, by the name of an error of the model."""

    def refuse(request: Request, operation: str) -> Answer:
        request.body.read_all(_LIMIT)
        return _refusal(shape, "it is not there", operation)

    _refusing(recorder, (operation,), refuse, _Left(times).take)


def allowing(recorder: Recorder) -> None:
    """Let everything through again."""
    recorder.intercept = lambda request, handler: handler(request)


class _Left:
    """Count what is left of a number of times; None is without an end."""

    def __init__(self, times: int | None) -> None:
        self._times = times
        self._lock = threading.Lock()

    def take(self) -> bool:
        with self._lock:
            if self._times is None:
                return True
            self._times -= 1
            return self._times >= 0


def _refusing(
    recorder: Recorder, operations: tuple[str, ...], refuse: Refuse, wanted: Callable[[], bool] = lambda: True
) -> None:
    before = recorder.intercept

    def answer(request: Request, handler: Handler) -> Answer:
        operation = request.headers.get("X-Amz-Target", "").rpartition(".")[2]
        if operation and operation in (operations or (operation,)) and wanted():
            return refuse(request, operation)
        return before(request, handler)

    recorder.intercept = answer


def _denied(request: Request, operation: str) -> Answer:
    """The text is of AWS's IAM user guide, "Troubleshoot access denied error messages"."""
    scope = _SCOPE.search(request.headers.get("Authorization", ""))
    region, service = scope.groups() if scope else ("us-east-1", "ecr")
    parameters = json.loads(request.body.read_all(_LIMIT) or b"{}")
    action, resource = f"{service}:{operation}", _resource(service, region, operation, parameters)
    return _refusal(
        "AccessDeniedException",
        f"User: {USER} is not authorized to perform: {action} on resource: {resource} "
        f"because no identity-based policy allows the {action} action",
        operation,
    )


def _resource(service: str, region: str, operation: str, parameters: Mapping[str, object]) -> str:
    """Name what a call is about: the service authorization reference, "Resource types defined by Amazon ECR"."""
    if service == "secretsmanager":
        return str(parameters.get("SecretId") or parameters.get("Name") or "*")
    owner = f"arn:aws:ecr-public::{ACCOUNT}" if service == "ecr-public" else f"arn:aws:ecr:{region}:{ACCOUNT}"
    if "resourceArn" in parameters:
        return str(parameters["resourceArn"])
    names = parameters.get("repositoryNames")
    if "repositoryName" in parameters or (isinstance(names, list) and names):
        name = parameters.get("repositoryName") or (names[0] if isinstance(names, list) else "")
        return f"{owner}:repository/{name}"
    return f"{owner}:repository/*" if operation == "DescribeRepositories" else "*"


def _throttled(request: Request, operation: str) -> Answer:
    request.body.read_all(_LIMIT)
    return _refusal("ThrottlingException", "Rate exceeded", operation)


def _refusal(shape: str, message: str, operation: str) -> Answer:
    headers = {"Content-Type": "application/x-amz-json-1.1", "x-amzn-RequestId": "00000000-0000-4000-8000-000000000000"}
    return Answer(400, headers, json.dumps({"__type": shape, "message": message}).encode(), f"{operation} {shape}")
