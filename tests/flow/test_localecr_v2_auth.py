"""Who may enter /v2/, and what the others are told."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ecrdrag.localecr import LocalEcr, Settings
from ecrdrag.localecr.settings import Dialect
from tests.localecr import ACCOUNT, REGION, client, public_client, push_image, running
from tests.registry import Client, basic, password_of, visiting

OTHER = "210987654321"
HOUR = 3600


class Clock:
    """A clock that stands still until it is moved; boto3 signs with the real time, so that it starts there."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def ecr(tmp_path: Path) -> Iterator[LocalEcr]:
    with running(tmp_path, Settings((ACCOUNT, OTHER), region=REGION)) as ecr:
        yield ecr


@pytest.fixture
def v2(ecr: LocalEcr) -> Iterator[Client]:
    with visiting(ecr) as visitor:
        yield visitor


@contextmanager
def public(folder: Path, clock: Clock | None = None) -> Iterator[tuple[LocalEcr, str]]:
    """Run a public registry with one image in it; give its repository's name as docker has it."""
    settings = Settings(region=REGION, dialect=Dialect.PUBLIC)
    with running(folder, settings, clock=clock or Clock()) as ecr:
        with public_client(ecr) as api:
            uri = api.create_repository(repositoryName="team/app")["repository"]["repositoryUri"]
            push_image(api, "team/app", tag="1")
        yield ecr, uri.removeprefix("public.ecr.aws/")


def public_password(ecr: LocalEcr) -> str:
    with public_client(ecr) as api:
        token = api.get_authorization_token()["authorizationData"]["authorizationToken"]
    return base64.b64decode(token).decode().partition(":")[2]


@pytest.mark.parametrize("path", ["/v2/", "/v2/_catalog", "/v2/app/manifests/1", "/v2/nonsense"])
def test_nobody_in_particular_is_asked_to_log_in_with_ecrs_own_words(ecr: LocalEcr, path: str) -> None:
    host = f"{OTHER}.dkr.ecr.eu-west-1.localhost:5080"
    with visiting(ecr, "", host) as nobody:
        reply = nobody.get(path)
    assert (reply.status, reply.body) == (401, b"Not Authorized\n")
    assert reply.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert reply.headers["WWW-Authenticate"] == f'Basic realm="http://{host}/",service="ecr.amazonaws.com"'
    assert reply.headers["Docker-Distribution-Api-Version"] == "registry/2.0"


@pytest.mark.parametrize("path", ["/v2/", "/v2"])
def test_the_password_of_get_authorization_token_opens_v2(v2: Client, path: str) -> None:
    reply = v2.get(path)
    assert (reply.status, reply.document) == (200, {})
    assert reply.headers["Docker-Distribution-Api-Version"] == "registry/2.0"


def test_the_token_itself_is_a_basic_authorization(ecr: LocalEcr) -> None:
    with client(ecr) as api:
        token = api.get_authorization_token()["authorizationData"][0]["authorizationToken"]
    with visiting(ecr, f"Basic {token}") as visitor:
        assert visitor.get("/v2/").status == 200


def test_a_password_opens_every_accounts_registry_of_its_region_and_no_other_region(ecr: LocalEcr) -> None:
    with client(ecr, region="eu-west-1", keys=ecr.credentials_of(OTHER)) as api:
        api.create_repository(repositoryName="theirs")
        push_image(api, "theirs", tag="1")
    password = basic(password_of(ecr, region="eu-west-1"))
    with visiting(ecr, password, f"{OTHER}.dkr.ecr.eu-west-1.localhost") as visitor:
        assert visitor.get("/v2/theirs/manifests/1").status == 200
    with visiting(ecr, password, f"{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com") as visitor:
        assert visitor.get("/v2/theirs/manifests/1").code == "NAME_UNKNOWN"
    with visiting(ecr, password, f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com") as visitor:
        reply = visitor.get("/v2/")
    assert (reply.status, reply.code) == (400, "DENIED")


@pytest.mark.parametrize(
    "header",
    [
        basic("nonsense"),
        basic(base64.b64encode(b"{}" + bytes(32)).decode()),
        basic("", user="AWS"),
        basic("x", user="root"),
        "Basic",
        "Basic ????",
        "Basic " + base64.b64encode(b"\xff\xfe").decode(),
    ],
)
def test_a_password_that_was_never_given_is_denied_as_ecr_does(ecr: LocalEcr, header: str) -> None:
    with visiting(ecr, header) as visitor:
        reply = visitor.get("/v2/")
    assert (reply.status, reply.code) == (400, "DENIED")
    assert reply.message == "Your Authorization Token is invalid."


def test_a_password_with_one_letter_changed_is_none(ecr: LocalEcr) -> None:
    password = password_of(ecr)
    for place in (5, len(password) // 2, len(password) - 5):
        other = "A" if password[place] != "A" else "B"
        with visiting(ecr, basic(password[:place] + other + password[place + 1 :])) as visitor:
            assert visitor.get("/v2/").status == 400


def test_a_password_goes_with_the_user_aws_only(ecr: LocalEcr) -> None:
    with visiting(ecr, basic(password_of(ecr), user="root")) as visitor:
        assert visitor.get("/v2/").status == 400


def test_a_password_of_another_server_is_none(ecr: LocalEcr, tmp_path: Path) -> None:
    with running(tmp_path / "other") as stranger:
        password = password_of(stranger)
    with visiting(ecr, basic(password)) as visitor:
        assert visitor.get("/v2/").status == 400


def test_a_password_lasts_twelve_hours(tmp_path: Path) -> None:
    clock = Clock()
    with running(tmp_path, clock=clock) as ecr, visiting(ecr) as visitor:
        clock.now += 12 * HOUR - 2
        assert visitor.get("/v2/").status == 200
        clock.now += 2
        reply = visitor.get("/v2/")
    assert (reply.status, reply.code) == (403, "DENIED")
    assert reply.message == "Your authorization token has expired. Reauthenticate and try again."


def test_a_bearer_token_is_no_login_to_private_registries(ecr: LocalEcr) -> None:
    with visiting(ecr, f"Bearer {password_of(ecr)}") as visitor:
        assert visitor.get("/v2/").status == 401


def test_anonymous_pulls_are_let_in_where_that_is_set_and_pushes_are_not(tmp_path: Path) -> None:
    with running(tmp_path, Settings(region=REGION, anonymous_pull=True)) as ecr:
        with client(ecr) as api:
            api.create_repository(repositoryName="app")
            pushed = push_image(api, "app", tag="1")
        with visiting(ecr, "") as nobody:
            assert nobody.get("/v2/").status == 200
            assert nobody.get("/v2/app/manifests/1").body == pushed.raw.encode()
            assert nobody.follow(nobody.get(f"/v2/app/blobs/{pushed.config}")).status == 200
            assert nobody.ask("POST", "/v2/app/blobs/uploads/").status == 401
            assert nobody.ask("DELETE", "/v2/app/manifests/1").status == 401


def test_a_read_only_server_denies_what_would_change_it(tmp_path: Path) -> None:
    with running(tmp_path) as ecr, client(ecr) as api:
        api.create_repository(repositoryName="app")
        push_image(api, "app", tag="1")
    with running(tmp_path, Settings(region=REGION, read_only=True)) as ecr, visiting(ecr) as visitor:
        assert visitor.get("/v2/app/manifests/1").status == 200
        for method, path in (
            ("POST", "app/blobs/uploads/"),
            ("POST", "app/blobs/uploads/?mount=sha256:00&from=app"),
            ("DELETE", "app/manifests/1"),
            ("PUT", "app/manifests/2"),
        ):
            reply = visitor.ask(method, f"/v2/{path}", b"{}" if method == "PUT" else b"")
            assert (reply.status, reply.code) == (403, "DENIED")


def test_a_public_registry_asks_for_a_bearer_token_that_anybody_gets(tmp_path: Path) -> None:
    with public(tmp_path) as (ecr, uri), visiting(ecr, "") as nobody:
        asked = nobody.get("/v2/")
        assert asked.status == 401
        assert asked.headers["WWW-Authenticate"] == (
            f'Bearer realm="{ecr.endpoint}/token/",service="public.ecr.aws",scope="aws"'
        )
        nobody.authorization = f"Bearer {nobody.get('/token/?service=public.ecr.aws&scope=aws').document['token']}"
        assert nobody.get("/v2/").status == 200
        manifest = nobody.get(f"/v2/{uri}/manifests/1")
        assert manifest.status == 200
        blob = f"/v2/{uri}/blobs/{manifest.document['config']['digest']}"  # type: ignore[index]
        assert nobody.follow(nobody.get(blob)).status == 200
        assert nobody.ask("HEAD", blob).status == 401
        refused = nobody.ask("POST", f"/v2/{uri}/blobs/uploads/")
        assert (refused.status, refused.code) == (403, "DENIED")


def test_the_token_of_a_public_registrys_password_pushes_and_expires_with_400(tmp_path: Path) -> None:
    clock = Clock()
    with public(tmp_path, clock) as (ecr, uri), visiting(ecr, basic(public_password(ecr))) as pusher:
        pusher.authorization = f"Bearer {pusher.get('/token/').document['token']}"
        digest = pusher.push_blob(b"a new layer", uri)
        assert pusher.ask("HEAD", f"/v2/{uri}/blobs/{digest}").status == 200
        clock.now += 12 * HOUR
        reply = pusher.get("/v2/")
        assert (reply.status, reply.code) == (400, "DENIED")
        assert "WWW-Authenticate" not in reply.headers


def test_private_passwords_open_no_public_registry_and_the_other_way_round(tmp_path: Path) -> None:
    with public(tmp_path) as (ecr, _), visiting(ecr, basic(password_of(ecr))) as visitor:
        assert visitor.get("/token/").status == 400
        visitor.authorization = f"Bearer {password_of(ecr)}"
        assert visitor.get("/v2/").status == 400
        private = f"{ACCOUNT}.dkr.ecr.{REGION}.localhost"
        visitor.authorization, visitor.host = basic(public_password(ecr)), private
        assert visitor.get("/v2/").status == 400
        assert visitor.get("/token/").status == 404


def test_a_public_repository_is_found_by_its_registrys_alias_only(tmp_path: Path) -> None:
    with public(tmp_path) as (ecr, uri), visiting(ecr, basic(public_password(ecr))) as visitor:
        visitor.authorization = f"Bearer {visitor.get('/token/').document['token']}"
        name = uri.partition("/")[2]
        for other in (name, f"nobody/{name}", f"{ACCOUNT}/{name}", uri.partition("/")[0]):
            reply = visitor.get(f"/v2/{other}/tags/list")
            assert (reply.status, reply.code) == (404, "NAME_UNKNOWN")
        assert visitor.get(f"/v2/{uri}/tags/list").document == {"name": uri, "tags": ["1"]}
