"""Several accounts and regions in one local ECR: the account comes from the key pair, the region from the signature."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import product
from pathlib import Path

import pytest
from mypy_boto3_ecr import ECRClient

from ecrdrag.localecr import LocalEcr, Settings
from ecrdrag.localecr.settings import Dialect
from tests.localecr import client, manifest_of, public_client, push_image, running
from tests.registry import Client, visiting

ACCOUNTS = ("123456789012", "210987654321")
# One of each partition that users have accounts in.
REGIONS = {"eu-west-1": "aws", "cn-north-1": "aws-cn", "us-gov-west-1": "aws-us-gov"}
PLACES = list(product(ACCOUNTS, REGIONS))
LAYER = b"one layer for everybody"
CONFIG = b'{"architecture":"amd64","os":"linux"}'

Clients = dict[tuple[str, str], ECRClient]


@pytest.fixture
def ecr(tmp_path: Path) -> Iterator[LocalEcr]:
    with running(tmp_path / "data", Settings(accounts=ACCOUNTS)) as server:
        yield server


@pytest.fixture
def clients(ecr: LocalEcr) -> Iterator[Clients]:
    """Give a client for each account in each region."""
    with ExitStack() as stack:
        yield {
            (account, region): stack.enter_context(client(ecr, region=region, keys=ecr.credentials_of(account)))
            for account, region in PLACES
        }


def names(api: ECRClient, registry: str = "") -> list[str]:
    answer = api.describe_repositories(registryId=registry) if registry else api.describe_repositories()
    return [one["repositoryName"] for one in answer["repositories"]]


def test_the_first_account_is_the_default_one(ecr: LocalEcr) -> None:
    assert ecr.credentials == ecr.credentials_of(ACCOUNTS[0]) != ecr.credentials_of(ACCOUNTS[1])
    assert ecr.environment == ecr.environment_of(ACCOUNTS[0])
    assert ecr.environment_of(ACCOUNTS[1])["AWS_ACCESS_KEY_ID"] == ecr.credentials_of(ACCOUNTS[1])[0]


def test_everybody_sees_the_own_repositories_and_others_by_registry_id(clients: Clients) -> None:
    for (account, region), api in clients.items():
        api.create_repository(repositoryName=f"{region}/{account}")
    for (account, region), api in clients.items():
        assert names(api) == [f"{region}/{account}"]
        for other in ACCOUNTS:
            assert names(api, other) == [f"{region}/{other}"]
        assert names(api, "999999999999") == []


def test_repositories_of_one_name_have_an_arn_and_an_uri_of_their_own(clients: Clients) -> None:
    created = {place: api.create_repository(repositoryName="app")["repository"] for place, api in clients.items()}
    for (account, region), repository in created.items():
        suffix = "amazonaws.com.cn" if region == "cn-north-1" else "amazonaws.com"
        assert repository["repositoryArn"] == f"arn:{REGIONS[region]}:ecr:{region}:{account}:repository/app"
        assert repository["repositoryUri"] == f"{account}.dkr.ecr.{region}.{suffix}/app"
        assert repository["registryId"] == account


def test_a_caller_works_in_anothers_registry_by_its_id(clients: Clients) -> None:
    mine, other = clients[ACCOUNTS[0], "eu-west-1"], clients[ACCOUNTS[1], "eu-west-1"]
    assert (
        other.create_repository(repositoryName="app", registryId=ACCOUNTS[0])["repository"]["registryId"]
        == (ACCOUNTS[0])
    )
    pushed = push_image(mine, "app", tag="1")
    found = other.batch_get_image(registryId=ACCOUNTS[0], repositoryName="app", imageIds=[{"imageTag": "1"}])
    assert [image["registryId"] for image in found["images"]] == [ACCOUNTS[0]]
    assert [image["imageId"]["imageDigest"] for image in found["images"]] == [pushed.digest]
    with pytest.raises(other.exceptions.RepositoryNotFoundException, match=f"id '{ACCOUNTS[1]}'"):
        other.describe_images(repositoryName="app")


def test_the_same_bytes_are_on_disk_once_and_known_to_each_repository_for_itself(
    ecr: LocalEcr, clients: Clients
) -> None:
    for place, api in clients.items():
        api.create_repository(repositoryName="app")
        if place != PLACES[-1]:
            push_image(api, "app", tag="1", layers=[LAYER])
    blobs = [path for path in (ecr.data / "blobs").rglob("*") if path.is_file()]
    assert len(blobs) == 2
    last = clients[PLACES[-1]]
    pushed = push_image(last, "app", tag="1", layers=[LAYER])
    assert [path for path in (ecr.data / "blobs").rglob("*") if path.is_file()] == blobs
    for api in clients.values():
        assert api.get_download_url_for_layer(repositoryName="app", layerDigest=pushed.layers[0])["downloadUrl"]


def test_a_layer_of_one_repository_is_missing_in_the_others(clients: Clients) -> None:
    for api in clients.values():
        api.create_repository(repositoryName="app")
    first, *others = clients.values()
    layer = push_image(first, "app", tag="1", layers=[LAYER]).layers[0]
    for api in others:
        (found,) = api.batch_check_layer_availability(repositoryName="app", layerDigests=[layer])["layers"]
        assert found["layerAvailability"] == "UNAVAILABLE"


@pytest.mark.parametrize("gone", PLACES, ids="-".join)
def test_a_repository_deleted_in_one_place_leaves_the_others(clients: Clients, gone: tuple[str, str]) -> None:
    for api in clients.values():
        api.create_repository(repositoryName="app")
        push_image(api, "app", tag="1", layers=[LAYER])
    clients[gone].delete_repository(repositoryName="app", force=True)
    assert [place for place, api in clients.items() if names(api)] == [place for place in PLACES if place != gone]
    for place, api in clients.items():
        if place != gone:
            assert [one["imageTags"] for one in api.describe_images(repositoryName="app")["imageDetails"]] == [["1"]]


def test_a_password_is_for_one_account_in_one_region(clients: Clients) -> None:
    for (account, region), api in clients.items():
        (given,) = api.get_authorization_token()["authorizationData"]
        assert claims(given["authorizationToken"]) == (account, region)
    api = clients[PLACES[0]]
    both = api.get_authorization_token(registryIds=[*ACCOUNTS])["authorizationData"]
    assert [claims(one["authorizationToken"]) for one in both] == [(account, "eu-west-1") for account in ACCOUNTS]


def claims(token: str) -> tuple[str, str]:
    password = base64.b64decode(token).decode().removeprefix("AWS:")
    found, _ = json.JSONDecoder().raw_decode(base64.b64decode(password).decode("latin-1"))
    return found["account"], found["region"]


def test_key_pairs_stay_when_an_account_comes_or_goes(tmp_path: Path) -> None:
    with running(tmp_path, Settings(accounts=ACCOUNTS[:1])) as ecr:
        first = ecr.credentials
    with (
        running(tmp_path, Settings(accounts=ACCOUNTS)) as ecr,
        client(ecr, keys=ecr.credentials_of(ACCOUNTS[1])) as api,
    ):
        second = ecr.credentials_of(ACCOUNTS[1])
        assert ecr.credentials_of(ACCOUNTS[0]) == first
        api.create_repository(repositoryName="app")
    with running(tmp_path, Settings(accounts=ACCOUNTS[::-1])) as ecr, client(ecr) as api:
        assert ecr.credentials == second
        assert names(api) == ["app"]


@contextmanager
def following(ecr: LocalEcr, account: str, region: str, *, asked_by: str = "") -> Iterator[Client]:
    """Give a client of /v2/ that goes where GetAuthorizationToken sends it, as the one whose password it gave."""
    with client(ecr, region=region, keys=ecr.credentials_of(asked_by or account)) as api:
        (given,) = api.get_authorization_token(registryIds=[account])["authorizationData"]
    assert given["proxyEndpoint"] == ecr.endpoint
    with visiting(ecr, f"Basic {given['authorizationToken']}") as visitor:
        yield visitor


@pytest.fixture(params=[Dialect.ECR, Dialect.OCI])
def either(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[LocalEcr]:
    with running(tmp_path / "either", Settings(accounts=ACCOUNTS, dialect=request.param)) as server:
        yield server


def test_who_follows_a_proxy_endpoint_finds_the_registry_that_the_password_is_for(either: LocalEcr) -> None:
    for account, region in PLACES:
        with client(either, region=region, keys=either.credentials_of(account)) as api:
            api.create_repository(repositoryName=f"{region}/app")
            pushed = push_image(api, f"{region}/app", tag=account)
        for asker in ACCOUNTS:
            with following(either, account, region, asked_by=asker) as visitor:
                assert visitor.get("/v2/_catalog").document == {"repositories": [f"{region}/app"]}
                assert visitor.get(f"/v2/{region}/app/tags/list").document["tags"] == [account]
                assert visitor.get(f"/v2/{region}/app/manifests/{account}").body == pushed.raw.encode()
                assert visitor.get(f"/v2/{region}/app/referrers/{pushed.digest}").document["manifests"] == []
                assert visitor.follow(visitor.get(f"/v2/{region}/app/blobs/{pushed.config}")).status == 200


def test_what_is_pushed_at_a_proxy_endpoint_is_the_passwords(either: LocalEcr) -> None:
    account, region = PLACES[-1]
    with client(either, region=region, keys=either.credentials_of(account)) as api:
        for name in ("one", "two"):
            api.create_repository(repositoryName=name)
        api.put_account_setting(name="BLOB_MOUNTING", value="ENABLED")
        with following(either, account, region) as visitor:
            layer, config = visitor.push_blob(LAYER, "one"), visitor.push_blob(CONFIG, "one")
            assert visitor.push(manifest_of(CONFIG, [LAYER]), "one", "1").status == 201
            for digest in (layer, config):
                mounted = visitor.ask("POST", f"/v2/two/blobs/uploads/?mount={digest}&from=one")
                assert mounted.status == 201
                assert mounted.place == f"/v2/two/blobs/{digest}"
            assert visitor.push(manifest_of(CONFIG, [LAYER]), "two", "2").status == 201
        assert {image["imageTag"] for image in api.list_images(repositoryName="two")["imageIds"]} == {"2"}
    with client(either, region=region, keys=either.credentials) as api:
        assert names(api) == []


def test_nobody_in_particular_is_at_the_first_account_and_the_servers_region(tmp_path: Path) -> None:
    settings = Settings(accounts=ACCOUNTS, region="eu-west-1", anonymous_pull=True)
    with running(tmp_path, settings) as ecr:
        for account, region in PLACES:
            with client(ecr, region=region, keys=ecr.credentials_of(account)) as api:
                api.create_repository(repositoryName=f"{region}/{account}")
        with visiting(ecr, "") as nobody:
            assert nobody.get("/v2/_catalog").document == {"repositories": [f"eu-west-1/{ACCOUNTS[0]}"]}


def test_a_name_that_tells_whose_registry_it_is_is_believed_whatever_the_password(ecr: LocalEcr) -> None:
    (account, region), other = PLACES[-1], ACCOUNTS[0]
    with client(ecr, region=region, keys=ecr.credentials_of(other)) as api:
        api.create_repository(repositoryName="theirs")
    with following(ecr, account, region) as visitor:
        visitor.host = f"{other}.dkr.ecr.{region}.localhost"
        assert visitor.get("/v2/_catalog").document == {"repositories": ["theirs"]}
        visitor.host = f"{account}.dkr.ecr.eu-west-1.localhost"
        assert visitor.get("/v2/_catalog").status == 400


def test_a_password_of_ecr_public_opens_no_private_registry_at_any_name(either: LocalEcr) -> None:
    with public_client(either) as api:
        token = api.get_authorization_token()["authorizationData"]["authorizationToken"]
    with visiting(either, f"Basic {token}") as visitor:
        assert visitor.get("/v2/").status in (400, 401)
