"""What to do next when a registry doesn't let somebody in: how to log in there, which permission is missing."""

from __future__ import annotations

import pytest

from ecrdrag.content import Digest
from ecrdrag.errors import AuthError
from ecrdrag.registry.distribution_errors import Refusal
from ecrdrag.registry.registry_hints import Deed

MANIFEST = "/v2/team/app/manifests/1"
ECR = "123456789012.dkr.ecr.us-west-2.amazonaws.com"
DIGEST = Digest.of(b"any")


def hint_of(status: int, deed: Deed, text: str = "", code: str = "DENIED") -> str:
    error = Refusal(status, code, text, deed).error("registry", "team/app 1")
    assert type(error) is AuthError
    return error.hint


def test_who_is_not_logged_in_is_told_how_to_and_where() -> None:
    for server, name in (
        ("registry.test:5000", "registry.test:5000"),
        ("registry", "registry"),
        ("registry-1.docker.io", "docker.io"),
    ):
        hint = hint_of(401, Deed("GET", MANIFEST, server))
        assert (
            hint
            == f"log in with `ecrdrag login {name}` or `docker login {name}`, or give --username and --password-stdin"
        )


@pytest.mark.parametrize(
    ("method", "may"), [("GET", "pull from there"), ("PUT", "push there"), ("POST", "push there"), ("DELETE", "delete")]
)
def test_who_is_logged_in_is_told_which_permission_is_missing(method: str, may: str) -> None:
    for login in ("basic", "bearer"):
        hint = hint_of(403, Deed(method, MANIFEST, "registry.test", login))
        assert f"who may {may}" in hint or f"user may {may}" in hint
    assert "password" in hint_of(401, Deed("GET", MANIFEST, "registry.test", "basic"))


def test_a_token_that_has_expired_is_to_be_fetched_again() -> None:
    text = "Your authorization token has expired. Reauthenticate and try again."
    deed = Deed("GET", MANIFEST, "registry.test", "basic")
    assert hint_of(403, deed, text).startswith("log in again")
    ecr = Deed("GET", MANIFEST, ECR, "basic")
    assert f"`ecrdrag login {ECR}`" in hint_of(401, Deed("GET", MANIFEST, ECR), "Not Authorized")
    for status, said in ((403, text), (400, "Your Authorization Token is invalid.")):
        assert f"`ecrdrag login {ECR}`" in hint_of(status, ecr, said)


@pytest.mark.parametrize(
    ("method", "path", "action"),
    [
        ("GET", "team/app/manifests/1", "BatchGetImage"),
        ("HEAD", "team/app/manifests/blobs", "BatchGetImage"),
        ("GET", f"team/app/blobs/{DIGEST}", "GetDownloadUrlForLayer"),
        ("HEAD", f"a/manifests/b/blobs/{DIGEST}", "BatchCheckLayerAvailability"),
        ("GET", "app/tags/list", "ListImages"),
        ("GET", f"app/referrers/{DIGEST}", "BatchGetImage"),
        ("GET", "_catalog", "DescribeRepositories"),
        ("POST", "app/blobs/uploads/", "InitiateLayerUpload"),
        ("PATCH", "app/blobs/uploads/manifests", "UploadLayerPart"),
        ("PUT", "app/blobs/uploads/12-34", "CompleteLayerUpload"),
        ("PUT", "app/manifests/1", "PutImage"),
        ("DELETE", "app/manifests/1", "BatchDeleteImage"),
    ],
)
def test_at_ecr_the_missing_iam_action_is_named(method: str, path: str, action: str) -> None:
    for host in (ECR, "123456789012.dkr-ecr-fips.us-west-2.on.aws:443"):
        hint = hint_of(403, Deed(method, f"/v2/{path}", host, "basic"))
        assert f"ecr:{action} on the repository" in hint
        assert "ecr:GetAuthorizationToken" in hint
    assert "IAM actions" in hint_of(403, Deed("GET", "/v2/", ECR, "basic"))


def test_at_ecr_public_pulls_need_no_login_and_pushes_actions_of_their_own() -> None:
    for host in ("public.ecr.aws", "ecr-public.aws.com"):
        assert f"docker logout {host}" in hint_of(403, Deed("GET", MANIFEST, host, "bearer"))
        hint = hint_of(403, Deed("PUT", MANIFEST, host, "bearer"))
        assert "ecr-public:PutImage" in hint
        assert "sts:GetServiceBearerToken" in hint


def test_at_a_token_server_the_login_is_the_registrys() -> None:
    assert "check the user name" in hint_of(401, Deed("GET", "/token", "auth.docker.io", "basic"))
    assert "ecrdrag login" in hint_of(401, Deed("POST", "/token", "auth.docker.io"))
    assert "auth.docker.io" not in hint_of(401, Deed("GET", "/token", "auth.docker.io"))
    assert "registry" in hint_of(400, Deed("POST", "/token", "auth.docker.io"), code="invalid_grant")
