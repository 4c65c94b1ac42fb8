"""Own the keeping of upstream credentials in AWS Secrets Manager: looked for, created, replaced, and never shown.

control/cache_rules.py and the command line, which builds the client, may enter. The names are those of botocore's
model of Secrets Manager; a contract test holds the table complete.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from botocore import exceptions as boto

from ecrdrag.errors import (
    AuthError,
    BusyError,
    ConflictError,
    EcrdragError,
    NotFoundError,
    TransferError,
    UsageError,
)
from ecrdrag.registry.auth import Login
from ecrdrag.registry.ecr_api import text_of
from ecrdrag.registry.ecr_errors import COMMON_CODES, Translation, UnansweredError, client_failure, permission_hint
from ecrdrag.registry.ecr_operations import Answer, Operations

FOLDER: Final = "ecr-pullthroughcache/"
"""What the name of a secret begins with that ECR may read: user guide, "Creating a pull through cache rule"."""

# Secrets Manager adds it to the name in each ARN: CreateSecret in its model.
_SUFFIX: Final = re.compile(r"-[a-zA-Z0-9]{6}\Z")
_LATER_HINT: Final = "wait a little and run the same command again"
_KMS_HINT: Final = "the KMS key of the secret must be enabled, and its policy must allow you to use it"
_STATE_HINT: Final = (
    "a secret that is to be deleted can be restored first, and one of another service's stays that service's: "
    "choose another name with --secret-name"
)
_HERE_HINT: Final = "use it with --secret-arn, or choose another name with --secret-name"

# Modelled errors of every operation: botocore data/secretsmanager/2017-10-17/service-2.json.
ERROR_CODES: Final[Mapping[str, Translation]] = {
    "DecryptionFailure": (AuthError, _KMS_HINT),
    "EncryptionFailure": (AuthError, _KMS_HINT),
    "InternalServiceError": (UnansweredError, _LATER_HINT),
    "InvalidNextTokenException": (TransferError, ""),
    "InvalidParameterException": (UsageError, ""),
    "InvalidRequestException": (ConflictError, _STATE_HINT),
    "LimitExceededException": (TransferError, "a service quota of Secrets Manager is used up"),
    "MalformedPolicyDocumentException": (UsageError, ""),
    "PreconditionNotMetException": (ConflictError, ""),
    "PublicPolicyException": (AuthError, ""),
    "ResourceExistsException": (ConflictError, _HERE_HINT),
    "ResourceNotFoundException": (NotFoundError, ""),
}


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret that is there; is_going is one that waits for its deletion, and can't be used."""

    arn: str
    name: str
    is_going: bool = False


class Secrets:
    """Secrets Manager in one region; safe from many threads. What a login holds comes into no error's text."""

    def __init__(self, operations: Operations, region: str) -> None:
        self._operations, self._region = operations, region

    def where(self, name: str) -> str:
        """Say for messages which secret."""
        return f"{name} in {self._region}"

    def find(self, name: str) -> Secret | None:
        """Look whether a secret is there, by its whole name."""
        try:
            answer = self._call("DescribeSecret", name, {"SecretId": name})
        except NotFoundError:
            return None
        return Secret(text_of(answer, "ARN"), text_of(answer, "Name"), "DeletedDate" in answer)

    def create(self, name: str, login: Login, *, description: str, request: str) -> str:
        """Create a secret and return its ARN; of calls with the same request, 32 to 64 characters, one takes effect."""
        more = {"Name": name, "Description": description}
        return self._put("CreateSecret", name, more, login, request)

    def renew(self, secret: Secret, login: Login, *, request: str) -> str:
        """Replace a secret's value, as create() does; the one before it stays as a version for a while."""
        return self._put("PutSecretValue", secret.name, {"SecretId": secret.arn}, login, request)

    def _put(self, operation: str, name: str, more: Mapping[str, object], login: Login, request: str) -> str:
        # The form: ECR user guide, "Storing your upstream repository credentials in an AWS Secrets Manager secret".
        value = json.dumps({"username": login.username, "accessToken": login.password})
        parameters = {**more, "SecretString": value, "ClientRequestToken": request}
        arn = text_of(self._call(operation, name, parameters, login.password), "ARN")
        if not arn:
            raise TransferError(f"{self.where(name)}: {operation} was answered without an ARN")
        return arn

    def _call(self, operation: str, name: str, parameters: Mapping[str, object], hidden: str = "") -> Answer:
        with _translated(self.where(name), hidden):
            answer = self._operations.call(operation, parameters)
        if not isinstance(answer, Mapping):
            raise TransferError(f"{self.where(name)}: {operation} was answered with no structure")
        return answer


def name_in(arn: str) -> str:
    """Give the name of the secret that an ARN is of; empty for an empty one."""
    return _SUFFIX.sub("", arn.partition(":secret:")[2]) or arn


@contextmanager
def _translated(where: str, hidden: str) -> Iterator[None]:
    """Turn what botocore raises inside into our errors, without what is hidden."""
    try:
        yield
    except boto.ClientError as error:
        raise _refusal(error, where, hidden) from None
    except boto.ParamValidationError:  # its text may hold values
        raise UsageError(f"{where}: Secrets Manager can't be asked so: check the names") from None
    except boto.BotoCoreError as error:
        raise _unanswered(client_failure(error), where) from None
    except Exception as error:  # noqa: BLE001 - botocore's parsers meet a malformed answer with whatever Python raises
        kind = type(error).__name__
        raise TransferError(f"{where}: the answer of Secrets Manager can't be read: {kind}") from None


def _refusal(error: boto.ClientError, where: str, hidden: str) -> EcrdragError:
    answer = error.response.get("Error", {})
    code, message = answer.get("Code", "Unknown"), answer.get("Message", "")
    kind, hint = ERROR_CODES.get(code) or COMMON_CODES.get(code) or (_by_status(error), "")
    if code == "AccessDeniedException":
        hint = permission_hint("secretsmanager", error.operation_name, message)
    text = _without(hidden, message) or "no reason given"
    return kind(f"{where}: {error.operation_name} was refused: {text} ({code})", hint=hint)


def _by_status(error: boto.ClientError) -> type[EcrdragError]:
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    kinds: Mapping[int, type[EcrdragError]] = {401: AuthError, 403: AuthError, 429: BusyError}
    return kinds.get(status, UnansweredError if status >= 500 else TransferError)


def _unanswered(failure: EcrdragError, where: str) -> EcrdragError:
    """Name the service that it is about, and the setting that leads there."""
    text = str(failure).replace("the ECR API", "Secrets Manager")
    hint = failure.hint.replace("AWS_ENDPOINT_URL_ECR", "AWS_ENDPOINT_URL_SECRETS_MANAGER")
    return type(failure)(f"{where}: {text}", hint=hint)


def _without(hidden: str, text: str) -> str:
    """Blot out a password that a server sends back, also as it stands in JSON."""
    for form in {hidden, json.dumps(hidden)[1:-1]} - {""}:
        text = text.replace(form, "***")
    return text
