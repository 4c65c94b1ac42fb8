"""Copies between accounts, regions, partitions and registries of two local ECRs, by the door of the ECR API."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ecrdrag.content import Platform
from ecrdrag.copy import CopyOptions, Fate
from ecrdrag.errors import ConflictError, NotFoundError, RepositoryNotFoundError
from ecrdrag.localecr import Settings
from ecrdrag.manifest import OCI_INDEX
from ecrdrag.reference import ImageReference
from ecrdrag.registry.ends import RepositorySettings
from ecrdrag.resolve import Wish
from tests.flow.conftest import BOTH, HELLO, MIB
from tests.flow.copies import Shown, Site, api_of, check_whole, copied, site, tags_at
from tests.images import Blob, Image, ImageIndex, hello_image, image_of, index_of, noise_image
from tests.putting import put_image, put_index

ACCOUNTS = ("123456789012", "210987654321")
HOME = f"{ACCOUNTS[0]}.dkr.ecr.us-west-2.amazonaws.com"
APP = f"{HOME}/my/app"
OTHER_ACCOUNT = f"{ACCOUNTS[1]}.dkr.ecr.us-west-2.amazonaws.com"
OTHER_REGION = f"{ACCOUNTS[0]}.dkr.ecr.eu-central-1.amazonaws.com"
CHINA = f"{ACCOUNTS[1]}.dkr.ecr.cn-north-1.amazonaws.com.cn"
PART = MIB // 4
NOISE = noise_image([MIB, 200_000, 3 * MIB // 2])
SETTINGS = Settings(accounts=ACCOUNTS, part_size=PART, min_part_size=PART)
CREATE = CopyOptions(create=RepositorySettings())


def attested() -> ImageIndex:
    """Build what buildx pushes: an index with an attestation beside each platform's image."""
    images = [hello_image("arm64"), hello_image("amd64")]
    notes = [image_of([f"provenance of {image.platform}".encode()], architecture="unknown") for image in images]
    entries: list[dict[str, object]] = []
    for image, note in zip(images, notes, strict=True):
        place = {"os": "linux", "architecture": image.platform.architecture}
        about = {"vnd.docker.reference.type": "attestation-manifest"}
        entries.append({**image.manifest.json, "platform": place})
        unknown = {"os": "unknown", "architecture": "unknown"}
        entries.append({**note.manifest.json, "platform": unknown, "annotations": about})
    raw = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}, indent=2).encode()
    return ImageIndex(Blob(raw, OCI_INDEX), (*images, *notes))


ATTESTED = attested()


@pytest.fixture(scope="module")
def stocked_here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("here"), SETTINGS) as made:
        with api_of(made, ImageReference.parse(APP)) as api:
            api.create_repository(repositoryName="my/app")
            put_image(api, "my/app", NOISE, "noise")
            put_index(api, "my/app", BOTH, "multi")
            put_index(api, "my/app", ATTESTED, "attested")
        yield made


@pytest.fixture
def here(stocked_here: Site) -> Site:
    """Give the registry that all is copied from, which others have written to before."""
    stocked_here.recorder.requests.clear()
    return stocked_here


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path / "there", SETTINGS) as made:
        yield made


@pytest.mark.parametrize("host", [HOME, OTHER_ACCOUNT, OTHER_REGION, CHINA])
def test_an_index_with_attestations_goes_to_every_account_and_region_of_one_registry_as_it_is(
    here: Site, host: str
) -> None:
    to = f"{host}/far/away:1"
    found = copied(here, f"{APP}:attested", here, to, CREATE)
    assert (found.tree.root.digest, set(found.fates.values())) == (ATTESTED.manifest.digest, {Fate.UPLOADED})
    check_whole(here, to, ATTESTED)
    children = {str(image.manifest.digest): str(image.manifest.digest) for image in ATTESTED.images}
    assert tags_at(here, to) == {"1": str(ATTESTED.manifest.digest), **children}


@pytest.mark.parametrize("host", [HOME, OTHER_ACCOUNT, OTHER_REGION, CHINA])
@pytest.mark.parametrize(("tag", "content"), [("noise", NOISE), ("multi", BOTH)])
def test_an_image_and_an_index_go_to_another_registry_and_come_back(
    here: Site, there: Site, host: str, tag: str, content: Image | ImageIndex
) -> None:
    copied(here, f"{APP}:{tag}", there, f"{host}/far/away:1", CREATE)
    check_whole(there, f"{host}/far/away:1", content)
    home = f"{OTHER_REGION}/back/{host.replace('.', '/')}:{tag}"
    back = copied(there, f"{host}/far/away@{content.manifest.digest}", here, home, CREATE)
    check_whole(here, home, content)
    assert back.tree.root.raw == content.manifest.content


def test_a_blob_of_many_parts_is_read_by_one_request(here: Site, there: Site) -> None:
    copied(here, f"{APP}:noise", there, f"{HOME}/far/away:1", CREATE)
    parts = sum(-(-len(blob.content) // PART) for blob in NOISE.blobs.values())
    assert there.asked("UploadLayerPart") == {"UploadLayerPart": parts}
    assert parts > 12
    assert here.asked("GET ", "GetDownloadUrlForLayer") == {"GET ": 4, "GetDownloadUrlForLayer": 4}


def test_what_the_destination_has_is_not_read(here: Site, there: Site) -> None:
    to = f"{HOME}/one:noise"
    with api_of(there, ImageReference.parse(to)) as api:
        api.create_repository(repositoryName="one")
        put_image(api, "one", noise_image([MIB]), "part")
    found = copied(here, f"{APP}:noise", there, to)
    assert [found.fates[layer.digest] for layer in NOISE.layers] == [Fate.EXISTED, Fate.UPLOADED, Fate.UPLOADED]
    assert here.asked("GET ", "GetDownloadUrlForLayer") == {"GET ": 3, "GetDownloadUrlForLayer": 3}
    here.recorder.requests.clear()
    again = copied(here, f"{APP}:noise", there, to)
    assert (again.existed, again.uploaded, set(again.fates.values())) == (True, 0, {Fate.EXISTED})
    assert here.recorder.requests == ["BatchGetImage"]


def test_a_second_tag_in_the_same_repository_reads_and_sends_no_blob(here: Site) -> None:
    found = copied(here, f"{APP}:attested", here, f"{APP}:again")
    assert (found.existed, tags_at(here, APP)["again"]) == (False, str(ATTESTED.manifest.digest))
    assert here.asked("GET ", "InitiateLayerUpload") == {"GET ": 0, "InitiateLayerUpload": 0}


def test_a_dry_run_says_what_is_missing_and_changes_nothing(here: Site, there: Site) -> None:
    absent = f"{HOME}/no/such:1"
    with pytest.raises(RepositoryNotFoundError, match=f"^{HOME}/no/such: "):
        copied(here, f"{APP}:multi", there, absent, CopyOptions(dry_run=True))
    found = copied(here, f"{APP}:multi", there, absent, CopyOptions(dry_run=True, create=RepositorySettings()))
    assert set(found.fates.values()) == {Fate.MISSING}
    assert found.uploaded == sum(len(blob.content) for image in BOTH.images for blob in image.blobs.values())
    assert set(there.recorder.requests) == {"BatchCheckLayerAvailability"}
    assert here.asked("GET ") == {"GET ": 0}


def test_a_repository_is_created_as_it_was_asked_for(here: Site, there: Site) -> None:
    wanted = RepositorySettings(immutable=True, tags={"team": "a"})
    copied(here, f"{APP}:multi", there, f"{HOME}/made/app:1", CopyOptions(create=wanted))
    with api_of(there, ImageReference.parse(APP)) as api:
        (found,) = api.describe_repositories(repositoryNames=["made/app"])["repositories"]
    assert found["imageTagMutability"] == "IMMUTABLE"
    assert copied(here, f"{APP}:multi", there, f"{HOME}/made/app:1").existed
    with pytest.raises(ConflictError, match=f"{HOME}/made/app:1 is immutable and holds {BOTH.manifest.digest}"):
        copied(here, f"{APP}:noise", there, f"{HOME}/made/app:1")


def test_a_wish_takes_one_platform_s_image_alone(here: Site, there: Site) -> None:
    options = CopyOptions(wish=Wish((Platform("linux", "amd64"),)), create=RepositorySettings())
    copied(here, f"{APP}:attested", there, f"{HOME}/one:1", options)
    assert tags_at(there, f"{HOME}/one") == {"1": str(HELLO.manifest.digest)}
    check_whole(there, f"{HOME}/one:1", HELLO)


def test_docker_s_own_formats_keep_their_digests(here: Site, there: Site) -> None:
    both = index_of([hello_image("arm64", oci=False), hello_image("amd64", oci=False)], oci=False)
    with api_of(here, ImageReference.parse(APP)) as api:
        put_index(api, "my/app", both, "docker")
    copied(here, f"{APP}:docker", there, f"{HOME}/one:1", CREATE)
    check_whole(there, f"{HOME}/one:1", both)


def test_without_a_tag_an_image_has_its_digest_alone(here: Site, there: Site) -> None:
    copied(here, f"{APP}:noise", there, f"{HOME}/one@{NOISE.manifest.digest}", CREATE)
    assert list(tags_at(there, f"{HOME}/one")) == [str(NOISE.manifest.digest)]


def test_progress_counts_what_goes_up(here: Site, there: Site) -> None:
    shown = Shown()
    found = copied(here, f"{APP}:noise", there, f"{HOME}/one:1", CREATE, shown=shown)
    (counter,) = shown.counters.values()
    assert counter.total == counter.landed == found.uploaded
    assert counter.done == 4


def test_what_is_missing_at_the_source_is_said_with_its_name(here: Site, there: Site) -> None:
    with pytest.raises(NotFoundError, match=f"{APP}:nope"):
        copied(here, f"{APP}:nope", there, f"{HOME}/one:1", CREATE)
    with pytest.raises(RepositoryNotFoundError, match=f"{HOME}/no/such"):
        copied(here, f"{HOME}/no/such:1", there, f"{HOME}/one:1", CREATE)
    assert there.recorder.requests == []
