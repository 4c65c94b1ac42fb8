"""Own the translation of what ECR and botocore refuse into our errors, with a hint each.

The rooms of ECR in registry, and the command line, may enter. The names are those of botocore's ECR
model; a contract test holds the tables complete.
"""

from __future__ import annotations

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
_UPSTREAM_HINT: Final = "check the pull-through cache rule, its credentials and its upstream registry"
_KMS_HINT: Final = "the repository's KMS key must be enabled and its policy must allow you to use it"
_ARCHIVED_HINT: Final = "an archived image must be restored first: aws ecr update-image-storage-class"
_ACCOUNT_HINT: Final = "check account, region and name; `aws ecr describe-repositories` lists what there is"

# Modelled errors of every ECR operation: botocore data/ecr/2015-09-21/service-2.json.
ERROR_CODES: Final[Mapping[str, Translation]] = {
    "BlockedByOrganizationPolicyException": (AuthError, "a policy of your AWS organization forbids it"),
    "EmptyUploadException": (TransferError, "ECR takes no layer without bytes"),
    "ExclusionAlreadyExistsException": (ConflictError, ""),
    "ExclusionNotFoundException": (NotFoundError, ""),
    "ImageAlreadyExistsException": (AlreadyThereError, ""),
    "ImageArchivedException": (NotFoundError, _ARCHIVED_HINT),
    "ImageDigestDoesNotMatchException": (IntegrityError, "the manifest was changed on the way"),
    "ImageNotFoundException": (NotFoundError, "`aws ecr list-images` lists the tags and digests"),
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
    "PullThroughCacheRuleAlreadyExistsException": (ConflictError, ""),
    "PullThroughCacheRuleNotFoundException": (NotFoundError, ""),
    "ReferencedImagesNotFoundException": (TransientError, "the images of an index must be pushed before it"),
    "RegistryPolicyNotFoundException": (NotFoundError, ""),
    "ReplicationBackfillInProgressException": (ConflictError, _LATER_HINT),
    "ReplicationBackfillInvalidStatusException": (ConflictError, ""),
    "ReplicationBackfillNotFoundException": (NotFoundError, ""),
    "RepositoryAlreadyExistsException": (AlreadyThereError, ""),
    "RepositoryNotEmptyException": (ConflictError, "delete its images first, or force the deletion"),
    "RepositoryNotFoundException": (RepositoryNotFoundError, _ACCOUNT_HINT),
    "RepositoryPolicyNotFoundException": (NotFoundError, ""),
    "ScanNotFoundException": (NotFoundError, ""),
    "SecretNotFoundException": (NotFoundError, ""),
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
    "UnsupportedUpstreamRegistryException": (UnsupportedError, ""),
    "UploadNotFoundException": (UploadLostError, "the upload expired: start it again"),
    "ValidationException": (UsageError, ""),
}

# What another operation means by the same name: PutImage's view of what is there lags behind the uploads.
_OPERATION_CODES: Final[Mapping[tuple[str, str], Translation]] = {
    ("PutImage", "LayersNotFoundException"): (TransientError, "the layers of an image must be pushed before it"),
    ("PutImage", "InvalidParameterException"): (UnsupportedError, "ECR doesn't take such a manifest"),
}

# Errors of every AWS service: "Common Errors" in the ECR API reference.
COMMON_CODES: Final[Mapping[str, Translation]] = {
    "AccessDeniedException": (AuthError, "the identity needs the IAM action that the message names"),
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
    "ThrottleException": (BusyError, _LATER_HINT),
    "Throttling": (BusyError, _LATER_HINT),
    "ThrottlingException": (BusyError, _LATER_HINT),
    "ThrottledException": (BusyError, _LATER_HINT),
    "RequestThrottled": (BusyError, _LATER_HINT),
    "RequestThrottledException": (BusyError, _LATER_HINT),
    "RequestLimitExceeded": (BusyError, _LATER_HINT),
    "TooManyRequestsException": (BusyError, _LATER_HINT),
    "BandwidthLimitExceeded": (BusyError, _LATER_HINT),
    "SlowDown": (BusyError, _LATER_HINT),
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
    "ImageNotFound": (NotFoundError, "`aws ecr list-images` lists the tags and digests of a repository"),
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
    ((boto.ConnectTimeoutError,), UnansweredError, "connecting to the ECR API at {url} timed out", ""),
    ((boto.ReadTimeoutError,), UnansweredError, "the ECR API at {url} did not answer in time", _LATER_HINT),
    ((boto.ProxyConnectionError,), UnansweredError, "the proxy for the ECR API at {url} does not answer", ""),
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
        "check the network, the region and AWS_ENDPOINT_URL_ECR",
    ),
)


@contextmanager
def translated(where: str) -> Iterator[None]:
    """Turn what botocore raises inside into our errors; where is the repository spoken to."""
    try:
        yield
    except boto.ClientError as error:
        raise _refusal(error, where) from None
    except boto.BotoCoreError as error:
        raise client_failure(error) from None
    except Exception as error:  # botocore's parsers meet a malformed answer with whatever Python raises
        raise TransferError(f"{where}: the answer of the ECR API can't be read: {type(error).__name__}") from error


def failure(code: str, reason: str, where: str) -> EcrdragError:
    """Build the error for one of the failures inside an answer."""
    kind, hint = FAILURE_CODES.get(code, (TransferError, ""))
    return kind(f"{where}: {reason or code} ({code})", hint=hint)


def client_failure(error: boto.BotoCoreError) -> EcrdragError:
    """Build the error for what botocore raises without an answer from ECR."""
    for kinds, ours, text, hint in _CLIENT_ERRORS:
        if isinstance(error, kinds):
            return ours(text.format(error=error, url=_url_of(error)), hint=hint)
    return UsageError(f"the AWS settings can't be used: {error}")


def _url_of(error: boto.BotoCoreError) -> str:
    """Give scheme, host and port of the endpoint; user name, password and query stay out."""
    parts = urlsplit(str(error.kwargs.get("endpoint_url", "")))
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}" if host else "its endpoint"


def _refusal(error: boto.ClientError, where: str) -> EcrdragError:
    answer = error.response.get("Error", {})
    code, message = answer.get("Code", "Unknown"), answer.get("Message", "")
    text = f"{where}: {error.operation_name} was refused: {message or 'no reason given'} ({code})"
    last = number_of(error.response, "lastValidByteReceived")
    if code == "InvalidLayerPartException" and last is not None:
        return PartOffsetError(text, offset=last + 1)
    kind, hint = (
        _OPERATION_CODES.get((error.operation_name, code))
        or ERROR_CODES.get(code)
        or COMMON_CODES.get(code)
        or _by_status(error)
    )
    return kind(text, hint=hint)


def _by_status(error: boto.ClientError) -> Translation:
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return BusyError, _LATER_HINT
    return (AuthError, _CREDENTIALS_HINT) if status in (401, 403) else (TransferError, "")
