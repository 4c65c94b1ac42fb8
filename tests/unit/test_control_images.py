"""The images of a repository from scripted answers: pages, order, and answers that say too little."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from itertools import islice

import pytest
from botocore.exceptions import ClientError

from ecrdrag.control.images import Image, Order, compact, find, images, ordered, tags_in_order
from ecrdrag.control.plane import Plane
from ecrdrag.control.retagging import NewTag, put
from ecrdrag.control.stored import Stored, stored
from ecrdrag.errors import AuthError, ConflictError, IntegrityError, NotFoundError, TransferError
from ecrdrag.manifest import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, parse
from ecrdrag.registry.ecr_operations import Answer, EcrOperations
from ecrdrag.schema1 import SIGNED, UNSIGNED
from ecrdrag.transfer.pace import Paces
from ecrdrag.transfer.retry import RetryPolicy
from tests import kinds

NOW = datetime(2026, 11, 21, 15, tzinfo=timezone(timedelta(hours=2)))
DIGEST = "sha256:" + 64 * "a"


class Scripted:
    """Operations that answer as a function says, and note what they were asked."""

    def __init__(self, answer: Callable[[Mapping[str, object]], Answer]) -> None:
        self.answer = answer
        self.asked: list[tuple[str, Mapping[str, object]]] = []

    def call(self, operation: str, parameters: Mapping[str, object]) -> Answer:
        self.asked.append((operation, parameters))
        return self.answer(parameters)

    def accepts(self, operation: str, member: str) -> bool:
        return True


def plane_over(answer: Callable[[Mapping[str, object]], Answer]) -> tuple[Plane, Scripted]:
    script = Scripted(answer)
    retry = RetryPolicy(1, sleep=lambda _seconds: None)
    return Plane(EcrOperations(script, None, Paces(4)), "us-west-2", retry=retry, silent_tries=1), script


def entry(number: int, *tags: str, age: int = 0, size: int = 1) -> dict[str, object]:
    found = {"imageDigest": f"sha256:{number:064}", "imageSizeInBytes": size, "imagePushedAt": NOW - timedelta(age)}
    return {**found, **({"imageTags": list(tags)} if tags else {})}


def of(*entries: dict[str, object]) -> list[Image]:
    shuffled = random.Random(8).sample(entries, len(entries))
    return [Image(one, "us-west-2") for one in shuffled]


def numbers(found: object) -> list[int]:
    assert isinstance(found, list)
    return [int(image.digest.removeprefix("sha256:")) for image in found]


def test_a_list_asks_for_pages_of_a_thousand_and_for_no_more_than_is_read() -> None:
    def answer(parameters: Mapping[str, object]) -> Answer:
        start = int(str(parameters.get("nextToken", "0")))
        details = [entry(start + number) for number in range(1000)]
        return {"imageDetails": details, "nextToken": str(start + 1000)}

    plane, script = plane_over(answer)
    found = list(islice(ordered(images(plane, "app", tag_status="TAGGED", image_status="ANY"), Order.NONE), 1001))
    assert numbers(found) == list(range(1001))
    wanted = {"repositoryName": "app", "filter": {"tagStatus": "TAGGED", "imageStatus": "ANY"}, "maxResults": 1000}
    assert script.asked == [("DescribeImages", wanted), ("DescribeImages", {**wanted, "nextToken": "1000"})]


def test_without_a_filter_none_is_sent_as_older_servers_know_none() -> None:
    plane, script = plane_over(lambda _: {"imageDetails": []})
    assert list(images(plane, "app")) == []
    assert script.asked == [("DescribeImages", {"repositoryName": "app", "maxResults": 1000})]


def test_the_newest_come_first_and_those_without_a_time_last() -> None:
    without: dict[str, object] = {"imageDigest": f"sha256:{4:064}"}
    found = of(entry(2, age=5), entry(1, age=1), entry(3, age=700), without)
    assert numbers(ordered(found, Order.PUSHED)) == [1, 2, 3, 4]


def test_the_largest_come_first() -> None:
    assert numbers(ordered(of(entry(2, size=10), entry(1, size=11), entry(3, size=9)), Order.SIZE)) == [1, 2, 3]


def test_by_name_an_image_stands_where_its_highest_tag_does_and_once() -> None:
    found = of(entry(1, "latest", "1.10"), entry(2, "1.9", "1"), entry(3, "main"), entry(5), entry(4))
    assert numbers(ordered(found, Order.NAME)) == [1, 2, 3, 4, 5]


def test_what_is_held_says_the_same_in_less_room() -> None:
    raw = [{**entry(number, "1"), "registryId": "".join(["12345678", "9012"])} for number in range(2)]
    held = compact(Image(one, "us-west-2") for one in raw)
    assert [one.answer for one in held] == raw
    assert held[0].answer["registryId"] is held[1].answer["registryId"]
    assert held[0].pushed is not None
    assert held[0].pushed.tzinfo is timezone.utc


def test_tags_come_by_the_age_of_their_images_and_then_as_versions() -> None:
    found = of(entry(1, "1.9", "latest", "1.10", age=3), entry(2, "0.1", age=1), entry(3, "2.0", age=3), entry(4))
    assert [tag for tag, _ in tags_in_order(found)] == ["0.1", "2.0", "1.10", "1.9", "latest"]
    assert {image.digest[-1] for tag, image in tags_in_order(found) if tag in ("1.9", "latest")} == {"1"}


def test_members_of_other_kinds_than_the_model_s_are_none() -> None:
    image = Image({"imageTags": "latest", "imageSizeInBytes": "1", "imagePushedAt": 1.5, "imageDigest": None}, "r")
    assert (image.tags, image.size, image.pushed, image.digest, image.status) == ((), None, None, "", "")


def test_one_image_that_is_described_as_several_is_no_answer() -> None:
    plane, _ = plane_over(lambda _: {"imageDetails": [entry(1), entry(2)]})
    with pytest.raises(TransferError, match=r"app in us-west-2: .* described 2 images where one was named"):
        find(plane, "app", {"imageTag": "1"})


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("ImageNotFound", NotFoundError),
        ("ImageTagDoesNotMatchDigest", NotFoundError),
        ("ImageReferencedByManifestList", ConflictError),
        ("UpstreamAccessDenied", AuthError),
        ("Odd", TransferError),
    ],
)
def test_a_failure_inside_an_answer_says_which_image(code: str, kind: type[Exception]) -> None:
    plane, _ = plane_over(lambda _: {"images": [], "failures": [{"failureCode": code}]})
    with pytest.raises(kind, match=r"app in us-west-2: .*1\.2"):
        stored(plane, "app", {"imageTag": "1.2"})


@pytest.mark.parametrize("answer", [{}, {"images": [{"imageId": {"imageDigest": DIGEST}}]}])
def test_an_answer_without_a_manifest_is_no_answer(answer: Answer) -> None:
    plane, _ = plane_over(lambda _: answer)
    with pytest.raises(TransferError, match="neither an image nor a failure"):
        stored(plane, "app", {"imageTag": "1.2"})


@pytest.mark.parametrize("digest", ["", "sha256:zz", DIGEST])
@pytest.mark.parametrize("image_id", [{"imageTag": "1"}, {"imageDigest": DIGEST}])
def test_bytes_of_another_digest_are_refused_also_when_asked_for_again(digest: str, image_id: dict[str, str]) -> None:
    image = {"imageId": {"imageDigest": digest}, "imageManifest": "{}"}
    plane, script = plane_over(lambda _: {"images": [image], "failures": []})
    with pytest.raises(IntegrityError):
        stored(plane, "app", image_id)
    again = digest == DIGEST and "imageTag" in image_id
    assert [asked["imageIds"] for _, asked in script.asked] == [
        [image_id],
        *([[{"imageDigest": DIGEST}]] if again else []),
    ]


def test_a_manifest_that_was_translated_by_tag_is_asked_for_again_by_its_digest() -> None:
    kept, other = kinds.greeter("amd64", "hello").root, kinds.greeter("amd64", "hello", oci=False).root

    def answer(parameters: Mapping[str, object]) -> Answer:
        by_tag = parameters["imageIds"] == [{"imageTag": "1"}]
        found = other if by_tag else kept
        image_id = {"imageDigest": str(kept.digest), **({"imageTag": "1"} if by_tag else {})}
        image = {"imageManifest": found.content.decode(), "imageManifestMediaType": found.media_type}
        return {"images": [{**image, "imageId": image_id}], "failures": []}

    plane, script = plane_over(answer)
    found = stored(plane, "app", {"imageTag": "1"})
    assert (found.digest, found.document.raw, found.text) == (kept.digest, kept.content, kept.content.decode())
    assert len(script.asked) == 2
    accepted = script.asked[0][1]["acceptedMediaTypes"]
    assert isinstance(accepted, list)
    assert {OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST, SIGNED, UNSIGNED} == set(accepted)


def test_a_new_tag_is_put_with_all_that_ecr_can_check() -> None:
    kept = kinds.greeter("amd64", "hello").root
    answer = {"imageId": {"imageDigest": str(kept.digest)}, "imageManifest": kept.content.decode()}

    def reply(parameters: Mapping[str, object]) -> Answer:
        if "imageTag" not in parameters:
            raise ClientError({"Error": {"Code": "ImageNotFoundException", "Message": "no"}}, "DescribeImages")
        return {"image": answer}

    plane, script = plane_over(reply)
    image = Stored(answer, kept.digest, parse(kept.content))
    (done,) = put(plane, "app", [NewTag("new", image, None)])
    assert (done.digest, done.existed) == (str(kept.digest), False)
    wanted = {"imageDigest": str(kept.digest), "imageTag": "new", "imageManifestMediaType": kept.media_type}
    wanted |= {"repositoryName": "app", "imageManifest": kept.content.decode()}
    looked = {"repositoryName": "app", "imageIds": [{"imageTag": "new"}]}
    assert script.asked == [("DescribeImages", looked), ("PutImage", wanted)]
