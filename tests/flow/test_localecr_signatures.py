"""The local ECR checks who calls: Signature Version 4, as AWS answers when it isn't right."""

from __future__ import annotations

import http.client
import json
import time
import tracemalloc
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from ecrdrag.localecr import LocalEcr, Settings
from ecrdrag.localecr.settings import MEBIBYTE
from tests.localecr import ACCOUNT, REGION, client, running

TARGET = "AmazonEC2ContainerRegistry_V20150921.DescribeRepositories"
PUBLIC_TARGET = "SpencerFrontendService.DescribeRegistries"


@dataclass
class Reply:
    status: int
    type: str
    message: str


def signed(
    ecr: LocalEcr, *, target: str = TARGET, service: str = "ecr", region: str = REGION, body: bytes = b"{}"
) -> dict[str, str]:
    """Sign a DescribeRepositories as an AWS client does and return its headers."""
    headers = {"X-Amz-Target": target, "Content-Type": "application/x-amz-json-1.1"}
    request = AWSRequest("POST", ecr.endpoint + "/", headers=headers, data=body)
    SigV4Auth(Credentials(*ecr.credentials), service, region).add_auth(request)
    return dict(request.headers.items())


def post(ecr: LocalEcr, headers: dict[str, str], body: bytes = b"{}") -> Reply:
    connection = http.client.HTTPConnection(urlsplit(ecr.endpoint).netloc, timeout=10)
    try:
        connection.request("POST", "/", body, headers)
        answer = connection.getresponse()
        found = json.loads(answer.read())
        assert answer.headers["x-amzn-RequestId"]
        return Reply(answer.status, found.get("__type", ""), found.get("message", ""))
    finally:
        connection.close()


def test_a_signed_call_is_answered(ecr: LocalEcr) -> None:
    assert post(ecr, signed(ecr)) == Reply(200, "", "")


def test_a_wrong_secret_does_not_match(ecr: LocalEcr) -> None:
    with client(ecr, keys=(ecr.credentials[0], "wrong")) as api, pytest.raises(ClientError) as caught:
        api.describe_repositories()
    assert caught.value.response["Error"] == {
        "Code": "InvalidSignatureException",
        "Message": "The request signature we calculated does not match the signature you provided. "
        "Check your AWS Secret Access Key and signing method. Consult the service documentation for details.",
    }
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400


def test_an_unknown_key_is_not_recognized(ecr: LocalEcr) -> None:
    with client(ecr, keys=("AKIAUNKNOWN", ecr.credentials[1])) as api, pytest.raises(ClientError) as caught:
        api.describe_repositories()
    assert caught.value.response["Error"] == {
        "Code": "UnrecognizedClientException",
        "Message": "The security token included in the request is invalid.",
    }


def test_no_signature_is_a_missing_token(ecr: LocalEcr) -> None:
    assert post(ecr, {"X-Amz-Target": TARGET}) == Reply(
        400, "MissingAuthenticationTokenException", "Missing Authentication Token"
    )


@pytest.mark.parametrize("key", ["", "AKIAUNKNOWN"])
def test_a_strangers_body_is_not_kept_in_memory(ecr: LocalEcr, key: str) -> None:
    credential = signed(ecr)["Authorization"].replace(ecr.credentials[0], key)
    headers = signed(ecr) | {"Authorization": credential if key else ""}
    body = bytes(16 * MEBIBYTE)
    tracemalloc.start()
    try:
        assert post(ecr, headers, body).type in ("MissingAuthenticationTokenException", "UnrecognizedClientException")
        assert tracemalloc.get_traced_memory()[1] < MEBIBYTE
    finally:
        tracemalloc.stop()


def test_a_changed_body_does_not_match(ecr: LocalEcr) -> None:
    assert post(ecr, signed(ecr), b'{"maxResults":1}').type == "InvalidSignatureException"


def test_a_claimed_payload_hash_is_not_believed(ecr: LocalEcr) -> None:
    headers = {"X-Amz-Target": TARGET, "X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"}
    request = AWSRequest("POST", ecr.endpoint + "/", headers=headers, data=b"{}")
    SigV4Auth(Credentials(*ecr.credentials), "ecr", REGION).add_auth(request)
    assert post(ecr, dict(request.headers.items())).type == "InvalidSignatureException"


def test_a_changed_header_does_not_match(ecr: LocalEcr) -> None:
    headers = signed(ecr) | {"X-Amz-Target": TARGET.replace("Describe", "Delete")}
    assert post(ecr, headers).type == "InvalidSignatureException"


@pytest.mark.parametrize("name", ["host", "x-amz-target"])
def test_host_and_amz_headers_must_be_signed(ecr: LocalEcr, name: str) -> None:
    headers = signed(ecr)
    start, _, rest = headers["Authorization"].partition("SignedHeaders=")
    names, _, end = rest.partition(", ")
    fewer = ";".join(one for one in names.split(";") if one != name)
    reply = post(ecr, headers | {"Authorization": f"{start}SignedHeaders={fewer}, {end}"})
    assert reply.type == "InvalidSignatureException"
    assert name in reply.message


def test_a_signature_for_another_service_is_refused(ecr: LocalEcr) -> None:
    reply = post(ecr, signed(ecr, service="s3"))
    assert reply == Reply(400, "InvalidSignatureException", "Credential should be scoped to correct service: 'ecr'.")


@pytest.mark.parametrize(("target", "service"), [(TARGET, "ecr"), (PUBLIC_TARGET, "ecr-public")])
def test_each_service_takes_signatures_for_itself_alone(ecr: LocalEcr, target: str, service: str) -> None:
    own = post(ecr, signed(ecr, target=target, service=service, region="us-east-1"))
    assert own == Reply(200, "", "")
    other = {"ecr": "ecr-public", "ecr-public": "ecr"}[service]
    assert post(ecr, signed(ecr, target=target, service=other, region="us-east-1")) == Reply(
        400, "InvalidSignatureException", f"Credential should be scoped to correct service: '{service}'."
    )


def test_the_key_says_whose_secret_it_is(tmp_path: Path) -> None:
    with running(tmp_path / "other", Settings(accounts=(ACCOUNT, "210987654321"))) as ecr:
        key_id, secret = ecr.credentials_of("210987654321")
        with client(ecr, keys=(key_id, secret)) as api:
            assert api.create_repository(repositoryName="app")["repository"]["registryId"] == "210987654321"
        for keys in ((ecr.credentials[0], secret), (key_id, ecr.credentials[1])):
            with client(ecr, keys=keys) as api, pytest.raises(ClientError, match="InvalidSignatureException"):
                api.describe_repositories()


def test_a_scope_of_another_day_is_refused(ecr: LocalEcr) -> None:
    headers = signed(ecr)
    day = headers["X-Amz-Date"][:8]
    reply = post(ecr, headers | {"Authorization": headers["Authorization"].replace(f"/{day}/", "/20200101/")})
    assert reply.type == "InvalidSignatureException"
    assert reply.message.startswith("Date in Credential scope does not match YYYYMMDD")


@pytest.mark.parametrize("region", ["../..", "public"])
def test_a_region_that_is_no_region_is_refused(ecr: LocalEcr, region: str) -> None:
    assert post(ecr, signed(ecr, region=region)).type in ("InvalidSignatureException", "IncompleteSignatureException")


@pytest.mark.parametrize(
    ("ahead", "text"), [(301, "Signature expired: "), (-301, "Signature not yet current: "), (290, ""), (-290, "")]
)
def test_a_clock_may_be_off_by_five_minutes(tmp_path: Path, ahead: float, text: str) -> None:
    with running(tmp_path / "other", clock=lambda: time.time() + ahead) as ecr:
        reply = post(ecr, signed(ecr))
    assert reply.message.startswith(text)
    assert reply.status == (400 if text else 200)
    if text:
        assert reply.type == "InvalidSignatureException"
        assert reply.message.endswith("5 min.)")


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("Authorization", "Basic QVdTOng="),
        ("Authorization", "AWS4-HMAC-SHA256 nonsense"),
        ("Authorization", "AWS4-HMAC-SHA256 Credential=a/b/c, SignedHeaders=host, Signature=0"),
        ("X-Amz-Date", "today"),
        ("X-Amz-Date", ""),
    ],
)
def test_a_malformed_signature_is_refused_politely(ecr: LocalEcr, header: str, value: str) -> None:
    reply = post(ecr, signed(ecr) | {header: value})
    assert reply.status == 400
    assert reply.type in ("IncompleteSignatureException", "InvalidSignatureException")


def test_a_signature_that_is_no_ascii_is_refused_politely(ecr: LocalEcr) -> None:
    headers = signed(ecr)
    headers["Authorization"] = headers["Authorization"][:-1] + "é"
    assert post(ecr, headers).type == "InvalidSignatureException"


@pytest.mark.parametrize("target", ["", "NoSuchService.DescribeRepositories", f"{TARGET}X", "DescribeRepositories"])
def test_an_unknown_operation_is_said_to_be_unknown(ecr: LocalEcr, target: str) -> None:
    request = AWSRequest("POST", ecr.endpoint + "/", headers={"X-Amz-Target": target}, data=b"{}")
    SigV4Auth(Credentials(*ecr.credentials), "ecr", REGION).add_auth(request)
    assert post(ecr, dict(request.headers.items())).type == "UnknownOperationException"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"{", "SerializationException"),
        (b"[]", "SerializationException"),
        (b"[" * 100_000, "SerializationException"),
        (b"\xff", "SerializationException"),
        (b'{"maxResults":"1"}', "SerializationException"),
        (b'{"maxResults":true}', "SerializationException"),
        (b'{"repositoryNames":"app"}', "SerializationException"),
        (b'{"repositoryNames":["\\ud800"]}', "SerializationException"),
        (b'{"maxResults":1001}', "InvalidParameterException"),
        (b'{"maxResults":0}', "InvalidParameterException"),
        (b'{"registryId":"12"}', "InvalidParameterException"),
        (b'{"registryId":null,"unheardOf":1}', ""),
        (b"", ""),
    ],
)
def test_bodies_are_read_strictly(ecr: LocalEcr, body: bytes, kind: str) -> None:
    reply = post(ecr, signed(ecr, body=body), body)
    assert reply.type == kind
    assert reply.status == (400 if kind else 200)
