"""Own the translation of what ECR and botocore refuse into our errors, with a hint each.

The rooms of ECR in registry, and the command line, may enter. The names are those of botocore's ECR
model; a contract test holds the tables complete.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from botocore import exceptions as boto

from ecrdrag.errors import (
    AuthError,
    BusyError,
    ConflictError,
    EcrdragError,
    IntegrityError,
    NotFoundError,
    PartOffsetError,
    RepositoryNotFoundError,
    TransferError,
    TransientError,
    UnsupportedError,
    UploadLostError,
    UsageError,
)
from ecrdrag.registry.ecr_api import number_of
from ecrdrag.registry.ends import MOVED_HINT

Translation = tuple[type[EcrdragError], str]


class UnansweredError(TransferError):
    """The API can't be reached or is out of order, and botocore has tried as often as it may."""


class AlreadyThereError(ConflictError):
    """What was to be made is there already, and the same: to a push that is success."""


class TagTakenError(ConflictError):
    """An immutable tag stands for another image."""


_CREDENTIALS_HINT: Final = "run `aws sts get-caller-identity` with the same profile to see which credentials are in use"
_LATER_HINT: Final = "wait a little and run the same command again"
_BUSY_HINT: Final = "AWS throttles this account's calls: wait a little, or make fewer at once with a smaller -j"
_NETWORK_HINT: Final = "check the network, the region and AWS_ENDPOINT_URL_ECR"
_PROXY_HINT: Final = "a proxy, perhaps, or another server: check HTTPS_PROXY and AWS_ENDPOINT_URL_ECR"
_UPSTREAM_HINT: Final = "check the pull-through cache rule, by `ecrdrag cache-rule validate`, and the registry upstream"
_KMS_HINT: Final = "the repository's KMS key must be enabled and its policy must allow you to use it"
_ARCHIVED_HINT: Final = "an archived image must be restored first: aws ecr update-image-storage-class"
_ACCOUNT_HINT: Final = "check account, region and name; `ecrdrag repo ls` lists what there is"
_IMAGES_HINT: Final = "`ecrdrag image ls REPO` lists the tags and digests of a repository"
_RULES_HINT: Final = "`ecrdrag cache-rule ls` lists what there is"

# Modelled errors of every ECR operation: botocore data/ecr/2015-09-21/service-2.json.
ERROR_CODES: Final[Mapping[str, Translation]] = {
    "BlockedByOrganizationPolicyException": (AuthError, "a policy of your AWS organization forbids it"),
    "EmptyUploadException": (TransferError, "ECR takes no layer without bytes"),
    "ExclusionAlreadyExistsException": (ConflictError, ""),
    "ExclusionNotFoundException": (NotFoundError, ""),
    "ImageAlreadyExistsException": (AlreadyThereError, ""),
    "ImageArchivedException": (NotFoundError, _ARCHIVED_HINT),
    "ImageDigestDoesNotMatchException": (IntegrityError, "the manifest was changed on the way"),
    "ImageNotFoundException": (NotFoundError, _IMAGES_HINT),
    "ImageStorageClassUpdateNotSupportedException": (UnsupportedError, ""),
    "ImageTagAlreadyExistsException": (TagTakenError, "the repository's tags are immutable: choose another tag"),
    "InvalidLayerException": (IntegrityError, "the layer was changed on the way, or its file while it was read"),
    "InvalidLayerPartException": (TransferError, "the parts of a layer must follow each other"),
    "InvalidParameterException": (UsageError, ""),
    "InvalidTagParameterException": (UsageError, ""),
    "KmsException": (AuthError, _KMS_HINT),
    "LayerAlreadyExistsException": (AlreadyThereError, ""),
    "LayerInaccessibleException": (NotFoundError, "the image was deleted meanwhile, or its layer is archived"),
    "LayerPartTooSmallException": (TransferError, "every part but the last needs 5 MiB"),
    "LayersNotFoundException": (NotFoundError, "the image in the registry is damaged, or its layers were never pushed"),
    "LifecyclePolicyNotFoundException": (NotFoundError, ""),
    "LifecyclePolicyPreviewInProgressException": (ConflictError, _LATER_HINT),
    "LifecyclePolicyPreviewNotFoundException": (NotFoundError, ""),
    "LimitExceededException": (TransferError, "a service quota of the account is used up: Service Quotas shows which"),
    "PullThroughCacheRuleAlreadyExistsException": (ConflictError, _RULES_HINT),
    "PullThroughCacheRuleNotFoundException": (NotFoundError, _RULES_HINT),
    "ReferencedImagesNotFoundException": (TransientError, "the images of an index must be pushed before it"),
    "RegistryPolicyNotFoundException": (NotFoundError, ""),
    "ReplicationBackfillInProgressException": (ConflictError, _LATER_HINT),
    "ReplicationBackfillInvalidStatusException": (ConflictError, ""),
    "ReplicationBackfillNotFoundException": (NotFoundError, ""),
    "RepositoryAlreadyExistsException": (AlreadyThereError, ""),
    "RepositoryNotEmptyException": (ConflictError, "its images go with it by --force"),
    "RepositoryNotFoundException": (RepositoryNotFoundError, _ACCOUNT_HINT),
    "RepositoryPolicyNotFoundException": (NotFoundError, ""),
    "ScanNotFoundException": (NotFoundError, ""),
    "SecretNotFoundException": (NotFoundError, "a rule and its secret are in one region and of one account"),
    "ServerException": (UnansweredError, _LATER_HINT),
    "SigningConfigurationNotFoundException": (NotFoundError, ""),
    "TemplateAlreadyExistsException": (ConflictError, ""),
    "TemplateNotFoundException": (NotFoundError, ""),
    "TooManyTagsException": (UsageError, ""),
    "UnableToAccessSecretException": (AuthError, _UPSTREAM_HINT),
    "UnableToDecryptSecretValueException": (AuthError, _UPSTREAM_HINT),
    "UnableToGetUpstreamImageException": (TransferError, _UPSTREAM_HINT),
    "UnableToGetUpstreamLayerException": (TransferError, _UPSTREAM_HINT),
    "UnableToListUpstreamImageReferrersException": (TransferError, _UPSTREAM_HINT),
    "UnsupportedImageTypeException": (UnsupportedError, ""),
    "UnsupportedUpstreamRegistryException": (UnsupportedError, "`ecrdrag cache-rule create --help` lists them"),
    "UploadNotFoundException": (UploadLostError, "the upload expired: start it again"),
    "ValidationException": (UsageError, ""),
}

# What another operation means by the same name: PutImage's view of what is there lags behind the uploads.
_OPERATION_CODES: Final[Mapping[tuple[str, str], Translation]] = {
    ("PutImage", "LayersNotFoundException"): (TransientError, "the layers of an image must be pushed before it"),
    ("PutImage", "InvalidParameterException"): (UnsupportedError, "ECR doesn't take such a manifest"),
}

_DENIED: Final = "AccessDeniedException"

# Errors of every AWS service: "Common Errors" in the ECR API reference.
COMMON_CODES: Final[Mapping[str, Translation]] = {
    _DENIED: (AuthError, "the identity needs the IAM action that the message names"),
    "ExpiredToken": (AuthError, "renew the credentials, such as with `aws sso login`"),
    "ExpiredTokenException": (AuthError, "renew the credentials, such as with `aws sso login`"),
    "IncompleteSignature": (AuthError, _CREDENTIALS_HINT),
    "IncompleteSignatureException": (AuthError, _CREDENTIALS_HINT),
    "InvalidClientTokenId": (AuthError, _CREDENTIALS_HINT),
    "InvalidSignatureException": (AuthError, "check the secret access key and this machine's clock"),
    "MissingAuthenticationToken": (AuthError, _CREDENTIALS_HINT),
    "MissingAuthenticationTokenException": (AuthError, _CREDENTIALS_HINT),
    "NotAuthorized": (AuthError, _CREDENTIALS_HINT),
    "OptInRequired": (AuthError, "the account has not enabled this region"),
    "RequestExpired": (AuthError, "check this machine's clock"),
    "SignatureDoesNotMatch": (AuthError, "check the secret access key and this machine's clock"),
    "UnrecognizedClientException": (AuthError, _CREDENTIALS_HINT),
    "InternalFailure": (UnansweredError, _LATER_HINT),
    "ServiceUnavailable": (UnansweredError, _LATER_HINT),
    "UnknownOperationException": (UnsupportedError, "the endpoint does not offer this operation"),
    # Too many requests: botocore has tried again after all of these (retries/standard.py) but the first.
    "ThrottleException": (BusyError, _BUSY_HINT),
    "Throttling": (BusyError, _BUSY_HINT),
    "ThrottlingException": (BusyError, _BUSY_HINT),
    "ThrottledException": (BusyError, _BUSY_HINT),
    "RequestThrottled": (BusyError, _BUSY_HINT),
    "RequestThrottledException": (BusyError, _BUSY_HINT),
    "RequestLimitExceeded": (BusyError, _BUSY_HINT),
    "TooManyRequestsException": (BusyError, _BUSY_HINT),
    "BandwidthLimitExceeded": (BusyError, _BUSY_HINT),
    "SlowDown": (BusyError, _BUSY_HINT),
}

# ImageFailureCode and LayerFailureCode of the model: what BatchGetImage and BatchCheckLayerAvailability
# report inside a 200.
FAILURE_CODES: Final[Mapping[str, Translation]] = {
    "InvalidImageDigest": (UsageError, ""),
    "InvalidImageTag": (UsageError, ""),
    "ImageTagDoesNotMatchDigest": (
        NotFoundError,
        MOVED_HINT,
    ),
    "ImageNotFound": (NotFoundError, _IMAGES_HINT),
    "MissingDigestAndTag": (UsageError, "give a tag or a digest"),
    "ImageReferencedByManifestList": (ConflictError, ""),
    "KmsError": (AuthError, _KMS_HINT),
    "UpstreamAccessDenied": (AuthError, _UPSTREAM_HINT),
    "UpstreamTooManyRequests": (TransferError, _LATER_HINT),
    "UpstreamUnavailable": (TransferError, _UPSTREAM_HINT),
    "ImageInaccessible": (NotFoundError, _ARCHIVED_HINT),
    "InvalidLayerDigest": (TransferError, "ECR takes no such digest"),
    "MissingLayerDigest": (TransferError, "ECR takes no such digest"),
}

# What botocore raises before or instead of an answer; the first kind that fits is taken.
_CLIENT_ERRORS: Final[tuple[tuple[tuple[type[Exception], ...], type[EcrdragError], str, str], ...]] = (
    (
        (boto.NoCredentialsError, boto.NoAuthTokenError),
        AuthError,
        "no AWS credentials found",
        "set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a profile, also in config.toml",
    ),
    (
        (boto.SSOError, boto.TokenRetrievalError, boto.LoginError),
        AuthError,
        "the AWS sign-in has expired",
        "run `aws sso login` or `aws login` with the same profile",
    ),
    (
        (boto.PartialCredentialsError, boto.CredentialRetrievalError, boto.MetadataRetrievalError),
        AuthError,
        "the AWS credentials can't be read: {error}",
        _CREDENTIALS_HINT,
    ),
    ((boto.ProfileNotFound,), UsageError, "{error}", "`aws configure list-profiles` lists what there is"),
    ((boto.ConnectTimeoutError,), UnansweredError, "connecting to the ECR API at {url} timed out", _NETWORK_HINT),
    ((boto.ReadTimeoutError,), UnansweredError, "the ECR API at {url} did not answer in time", _LATER_HINT),
    (
        (boto.ProxyConnectionError,),
        UnansweredError,
        "the proxy {url} for the ECR API does not answer",
        "check HTTPS_PROXY and NO_PROXY",
    ),
    (
        (boto.SSLError,),
        TransferError,
        "no TLS connection to the ECR API at {url}",
        "set AWS_CA_BUNDLE if your organisation has certificates of its own",
    ),
    (
        (boto.EndpointConnectionError, boto.ConnectionClosedError, boto.HTTPClientError),
        UnansweredError,
        "no connection to the ECR API at {url}",
        _NETWORK_HINT,
    ),
)


# Operations whose IAM action has another name: their documentation in the model. All others: service authorization
# reference, "Actions defined by Amazon Elastic Container Registry".
IAM_ACTIONS: Final[Mapping[str, str]] = {"ListImageReferrers": "BatchGetImage"}
# IAM user guide, "Troubleshoot access denied error messages".
_ACTION: Final = re.compile(r"\b(?:perform:?|allows the) ([a-z0-9-]+:[A-Za-z]+)")
_EXPLICIT: Final = "explicit deny"


@contextmanager
def translated(where: str, service: str = "ecr") -> Iterator[None]:
    """Turn what botocore raises inside into our errors; where is the repository spoken to, service as IAM says it."""
    try:
        yield
    except boto.ClientError as error:
        raise _refusal(error, where, service) from None
    except boto.ParamValidationError as error:
        report = "; ".join(str(error.kwargs.get("report", "")).splitlines())
        raise UsageError(f"{where}: the ECR API takes no such request: {report}") from None
    except boto.BotoCoreError as error:
        raise client_failure(error) from None
    except Exception as error:  # botocore's parsers meet a malformed answer with whatever Python raises
        raise TransferError(f"{where}: the answer of the ECR API can't be read: {type(error).__name__}") from error


def failure(code: str, reason: str, where: str) -> EcrdragError:
    """Build the error for one of the failures inside an answer."""
    kind, hint = FAILURE_CODES.get(code, (TransferError, ""))
    return kind(f"{where}: {reason or code} ({code})", hint=hint)


def permission_hint(service: str, operation: str, message: str) -> str:
    """Say which IAM action is missing, as far as AWS's message tells, else by the operation's name."""
    named = _ACTION.search(message)
    action = named[1] if named else f"{service}:{IAM_ACTIONS.get(operation, operation)}"
    if _EXPLICIT in message:
        return f"a policy denies the IAM action {action} explicitly, so that no other can allow it"
    return f"the identity needs the IAM action {action}"


def client_failure(error: boto.BotoCoreError) -> EcrdragError:
    """Build the error for what botocore raises without an answer from ECR."""
    for kinds, ours, text, hint in _CLIENT_ERRORS:
        if isinstance(error, kinds):
            return ours(text.format(error=error, url=_url_of(error)), hint=hint)
    return UsageError(f"the AWS settings can't be used: {error}")


def _url_of(error: boto.BotoCoreError) -> str:
    """Give scheme, host and port of the endpoint or the proxy; user name, password and query stay out."""
    parts = urlsplit(str(error.kwargs.get("endpoint_url") or error.kwargs.get("proxy_url") or ""))
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}" if host else "its endpoint"


def _refusal(error: boto.ClientError, where: str, service: str) -> EcrdragError:
    answer = error.response.get("Error", {})
    code, message = answer.get("Code", "Unknown"), answer.get("Message", "")
    if code.isdecimal():  # the HTTP status, where botocore finds no error of AWS's
        return _foreign(int(code), f"{where}: {error.operation_name}")
    text = f"{where}: {error.operation_name} was refused: {message or 'no reason given'} ({code})"
    last = number_of(error.response, "lastValidByteReceived")
    if code == "InvalidLayerPartException" and last is not None:
        return PartOffsetError(text, offset=last + 1)
    kind, hint = (
        _OPERATION_CODES.get((error.operation_name, code))
        or ERROR_CODES.get(code)
        or COMMON_CODES.get(code)
        or _by_status(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    )
    denied = code == _DENIED
    return kind(text, hint=permission_hint(service, error.operation_name, message) if denied else hint)


def _foreign(status: int, where: str) -> EcrdragError:
    """Build the error for an answer that isn't ECR's; its text may be a whole page."""
    kind, _ = _by_status(status)
    kind = TransferError if kind is AuthError else kind
    return kind(f"{where} was answered with HTTP status {status} by something that isn't ECR", hint=_PROXY_HINT)


def _by_status(status: int) -> Translation:
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return BusyError, _BUSY_HINT
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return UnansweredError, _LATER_HINT
    return (AuthError, _CREDENTIALS_HINT) if status in (401, 403) else (TransferError, "")
