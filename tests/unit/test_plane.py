"""One registry as the everyday commands see it: what is asked, asked again, put together, and said of failures."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, ParamValidationError

from ecrdrag import errors
from ecrdrag.control.plane import SILENT_TRIES, TRIES, Plane
from ecrdrag.registry.ecr_operations import Answer, EcrOperations
from ecrdrag.transfer.pace import Paces
from ecrdrag.transfer.retry import RetryPolicy

ACCOUNT = "123456789012"
OTHER = "210987654321"
NOTHING: Mapping[str, object] = {}
Reply = Answer | Exception


class Script:
    """Operations that answer by a script, and note what they were asked."""

    def __init__(self, replies: Iterable[Reply] | Callable[[str], Reply], without: tuple[str, ...] = ()) -> None:
        self._replies = replies if callable(replies) else iter(replies)
        self._without = without
        self.asked: list[tuple[str, Mapping[str, object]]] = []

    def call(self, operation: str, parameters: Mapping[str, object]) -> Answer:
        self.asked.append((operation, dict(parameters)))
        reply = self._replies(operation) if callable(self._replies) else next(self._replies)
        if isinstance(reply, Exception):
            raise reply
        return reply

    def accepts(self, operation: str, member: str) -> bool:
        return operation not in self._without and member == "registryId"


def refused(code: str, message: str = "no", status: int = 400, operation: str = "Any") -> ClientError:
    return ClientError(
        {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}},  # type: ignore[typeddict-item]
        operation,
    )


BUSY = refused("ThrottlingException", "Rate exceeded")
SILENT = EndpointConnectionError(endpoint_url="https://api.ecr.us-wst-2.amazonaws.com/")


def plane_of(script: Script, *, waits: list[float] | None = None, account: str | None = None, **more: object) -> Plane:
    retry = RetryPolicy(TRIES, random=random.Random(8), sleep=(waits if waits is not None else []).append)
    return Plane(EcrOperations(script, account, Paces(4)), "us-west-2", account, retry=retry, **more)  # type: ignore[arg-type]


def test_parameters_that_are_none_are_left_out_and_the_account_goes_where_it_may() -> None:
    script = Script([NOTHING, NOTHING], without=("DescribeRegistry",))
    plane = plane_of(script, account=ACCOUNT)
    plane.call("DeleteRepository", repositoryName="app", force=None)
    plane.call("DescribeRegistry")
    assert script.asked == [
        ("DeleteRepository", {"repositoryName": "app", "registryId": ACCOUNT}),
        ("DescribeRegistry", {}),
    ]


def test_without_an_account_the_caller_s_own_is_meant() -> None:
    script = Script([NOTHING])
    plane_of(script).call("DescribeRepositories", maxResults=5)
    assert script.asked == [("DescribeRepositories", {"maxResults": 5})]


def page(names: Iterable[str], token: str = "") -> Answer:
    more = {"nextToken": token} if token else {}
    return {"repositories": [{"repositoryName": name} for name in names], **more}


def names_of(plane: Plane) -> list[object]:
    return [one["repositoryName"] for one in plane.pages("DescribeRepositories", "repositories")]


def test_a_list_goes_on_to_its_last_page_also_over_empty_ones() -> None:
    script = Script([page(["a", "b"], "1"), page([], "2"), page([], "3"), page(["c"])])
    assert names_of(plane_of(script)) == ["a", "b", "c"]
    assert [asked.get("nextToken") for _, asked in script.asked] == [None, "1", "2", "3"]
    assert {asked["maxResults"] for _, asked in script.asked} == {1000}


def test_a_page_is_asked_for_when_it_is_needed() -> None:
    script = Script([page(["a", "b"], "1"), page(["c"])])
    found = plane_of(script).pages("DescribeRepositories", "repositories")
    next(found)
    next(found)
    assert len(script.asked) == 1
    assert next(found)["repositoryName"] == "c"


@pytest.mark.parametrize("tokens", [["1", "1"], ["1", "2", "1"], ["1", "2", "3", "2"]])
def test_pages_that_come_round_again_are_an_error_and_no_endless_list(tokens: list[str]) -> None:
    script = Script(page(["a"], token) for token in tokens)
    with pytest.raises(
        errors.TransferError, match=r"^ECR in us-west-2: the pages of DescribeRepositories have no end$"
    ):
        names_of(plane_of(script))


def test_a_page_without_its_list_is_asked_for_again() -> None:
    script = Script([page(["a"], "1"), {"registryId": ACCOUNT}, page(["b"])])
    assert names_of(plane_of(script)) == ["a", "b"]
    assert [asked.get("nextToken") for _, asked in script.asked] == [None, "1", "1"]


def test_a_list_that_never_comes_is_given_up_rather_than_taken_for_empty() -> None:
    with pytest.raises(errors.TransferError, match="the answer of the ECR API to DescribeRepositories can't be used"):
        names_of(plane_of(Script(lambda _: {"registryId": ACCOUNT})))


@pytest.mark.parametrize("entries", [None, "text", 3, {"repositoryName": "a"}])
def test_a_list_that_is_none_is_read_as_empty(entries: object) -> None:
    assert names_of(plane_of(Script([{"repositories": entries}]))) == []


def test_what_is_no_structure_in_a_list_is_passed_over() -> None:
    assert names_of(plane_of(Script([{"repositories": [None, {"repositoryName": "a"}, 3]}]))) == ["a"]


@pytest.mark.parametrize("answer", [None, "text", []])
def test_an_answer_that_is_no_structure_is_no_yes(answer: object) -> None:
    with pytest.raises(errors.TransferError) as caught:
        plane_of(Script([answer])).call("DeleteRepository", repositoryName="app")  # type: ignore[list-item]
    assert str(caught.value) == "app in us-west-2: DeleteRepository was answered with no structure"


@pytest.mark.parametrize("status", [200, 302, 403, 404, 407, 413])
def test_what_is_not_of_aws_is_neither_a_yes_nor_a_matter_of_credentials(status: int) -> None:
    script = Script([refused(str(status), "<html>page</html>", status)])
    with pytest.raises(errors.TransferError) as caught:
        plane_of(script).call("DeleteRepository", repositoryName="app")
    assert (
        str(caught.value) == f"app in us-west-2: Any was answered with HTTP status {status} by something that isn't ECR"
    )
    assert "HTTPS_PROXY" in caught.value.hint


def test_an_answer_without_members_is_fine_where_the_operation_has_none() -> None:
    assert plane_of(Script([NOTHING])).call("TagResource") == NOTHING


def test_throttled_calls_are_made_again_with_longer_and_longer_waits() -> None:
    waits: list[float] = []
    script = Script([BUSY, BUSY, BUSY, page(["a"])])
    assert names_of(plane_of(script, waits=waits)) == ["a"]
    assert len(waits) == 3
    assert waits == sorted(waits)


def test_throttled_throughout_is_said_with_what_to_do_after_half_a_minute_of_waits(
    caplog: pytest.LogCaptureFixture,
) -> None:
    waits: list[float] = []
    script = Script(lambda _: BUSY)
    with pytest.raises(errors.TransferError) as caught:
        plane_of(script, waits=waits).call("DescribeImages", repositoryName="my/app")
    assert not isinstance(caught.value, errors.TransientError)
    assert str(caught.value) == (
        "gave up on DescribeImages after 8 tries: my/app in us-west-2: "
        "Any was refused: Rate exceeded (ThrottlingException)"
    )
    assert "-j" in caught.value.hint
    assert len(script.asked) == TRIES
    assert 10 < sum(waits) < 40
    warnings = [record for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 1


def test_many_throttled_repositories_are_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    plane = plane_of(Script(lambda _: BUSY))
    for name in "abc":
        with pytest.raises(errors.TransferError):
            plane.call("DescribeImages", repositoryName=name)
    assert sum(record.levelname == "WARNING" for record in caplog.records) == 1


def test_a_call_that_nobody_answers_is_given_up_sooner_than_one_that_is_refused() -> None:
    waits: list[float] = []
    script = Script(lambda _: SILENT)
    with pytest.raises(errors.TransferError) as caught:
        plane_of(script, waits=waits).call("DescribeRegistry")
    assert len(script.asked) == SILENT_TRIES
    assert sum(waits) < 2
    assert "no connection to the ECR API at https://api.ecr.us-wst-2.amazonaws.com" in str(caught.value)
    assert "check the network, the region" in caught.value.hint


def test_who_wants_one_try_of_what_nobody_answers_gets_it_said_plainly() -> None:
    script = Script(lambda _: SILENT)
    with pytest.raises(errors.TransferError, match=r"^no connection to the ECR API"):
        plane_of(script, silent_tries=1).call("DescribeRegistry")
    assert len(script.asked) == 1


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_service_that_is_out_of_order_is_asked_again(status: int) -> None:
    script = Script([refused(str(status), status=status), refused("InternalFailure", status=500), page(["a"])])
    assert names_of(plane_of(script)) == ["a"]


@pytest.mark.parametrize(
    ("operation", "code", "is_told"),
    [
        ("CreateRepository", "RepositoryAlreadyExistsException", True),
        ("DeleteRepository", "RepositoryNotFoundException", True),
        ("DescribeImages", "RepositoryNotFoundException", False),
        ("DeleteRepository", "AccessDeniedException", False),
    ],
)
def test_what_was_done_by_a_try_whose_answer_was_lost_is_not_said_to_be_somebody_elses(
    operation: str, code: str, is_told: bool
) -> None:
    for first, told in ((SILENT, is_told), (BUSY, False)):
        with pytest.raises(errors.EcrdragError) as caught:
            plane_of(Script([first, refused(code)])).call(operation, repositoryName="app")
        assert code in str(caught.value)
        assert ("an earlier try was left without an answer" in caught.value.hint) == told


@pytest.mark.parametrize("error", [refused("RepositoryNotFoundException"), refused("AccessDeniedException")])
def test_a_refusal_that_stays_one_is_not_asked_again(error: ClientError) -> None:
    script = Script([error])
    with pytest.raises(errors.EcrdragError):
        plane_of(script).call("DescribeImages", repositoryName="app")
    assert len(script.asked) == 1


def test_a_value_that_botocore_refuses_is_a_usage_error_that_names_it() -> None:
    error = ParamValidationError(report="Invalid length for parameter kmsKey, value: 0\nand more")
    with pytest.raises(errors.UsageError) as caught:
        plane_of(Script([error])).call("CreateRepository", repositoryName="app")
    assert str(caught.value) == (
        "app in us-west-2: the ECR API takes no such request: Invalid length for parameter kmsKey, value: 0; and more"
    )


@pytest.mark.parametrize("code", ["RepositoryNotFoundException", "AccessDeniedException"])
def test_at_another_account_s_registry_it_is_said_whose_credentials_these_are(code: str) -> None:
    script = Script(lambda operation: {"registryId": OTHER} if operation == "DescribeRegistry" else refused(code))
    with pytest.raises((errors.AuthError, errors.NotFoundError)) as caught:
        plane_of(script, account=ACCOUNT).call("DescribeImages", repositoryName="app")
    first, *others = caught.value.hint.splitlines()
    assert first == f"these credentials are of account {OTHER}, and {ACCOUNT} was named"
    assert others
    assert str(caught.value).startswith(f"app in {ACCOUNT} in us-west-2: ")


@pytest.mark.parametrize("own", [{"registryId": ACCOUNT}, {"registryId": None}, refused("AccessDeniedException")])
def test_at_one_s_own_registry_or_where_ecr_does_not_tell_nothing_is_said_of_accounts(own: Reply) -> None:
    script = Script(
        lambda operation: own if operation == "DescribeRegistry" else refused("RepositoryNotFoundException")
    )
    with pytest.raises(errors.NotFoundError) as caught:
        plane_of(script, account=ACCOUNT).call("DescribeImages", repositoryName="app")
    assert "these credentials" not in caught.value.hint


def test_who_may_not_even_ask_whose_credentials_they_have_gets_the_refusal_itself() -> None:
    script = Script(lambda _: refused("AccessDeniedException"))
    with pytest.raises(errors.AuthError):
        plane_of(script, account=ACCOUNT).call("DescribeRegistry")
    assert len(script.asked) == 2


def test_without_a_named_account_nobody_is_asked_whose_credentials_they_are() -> None:
    script = Script([refused("RepositoryNotFoundException")])
    with pytest.raises(errors.NotFoundError):
        plane_of(script).call("DescribeImages", repositoryName="app")


def test_one_s_own_account_is_asked_for() -> None:
    assert plane_of(Script([BUSY, {"registryId": OTHER}])).own_account() == OTHER


@pytest.mark.parametrize(
    ("account", "registry", "repository", "said"),
    [
        (None, "", "", "ECR in us-west-2"),
        (None, "", "my/app", "my/app in us-west-2"),
        (ACCOUNT, "", "", f"ECR in {ACCOUNT} in us-west-2"),
        (ACCOUNT, "", "my/app", f"my/app in {ACCOUNT} in us-west-2"),
        (ACCOUNT, "host", "", "host"),
        (ACCOUNT, "host", "my/app", "host/my/app"),
    ],
)
def test_messages_say_where_in_the_user_s_words(account: str | None, registry: str, repository: str, said: str) -> None:
    assert plane_of(Script([]), account=account, registry=registry).where(repository) == said


@pytest.mark.parametrize(
    ("account", "registry", "named", "options"),
    [
        (None, "", "my/app --region us-west-2", " --region us-west-2"),
        (ACCOUNT, "", f"my/app --region us-west-2 --registry-id {ACCOUNT}", None),
        (ACCOUNT, "host", "host/my/app", None),
    ],
)
def test_commands_in_hints_lead_to_the_same_registry(
    account: str | None, registry: str, named: str, options: str | None
) -> None:
    plane = plane_of(Script([]), account=account, registry=registry)
    assert plane.named("my/app") == named
    assert plane.options == (options or f" --region us-west-2 --registry-id {ACCOUNT}")


def test_calls_side_by_side_come_in_order_and_at_the_pace_of_their_operation() -> None:
    script = Script(lambda _: NOTHING)
    plane = plane_of(script, jobs=4)
    assert [name for name, _ in plane.side_by_side(range(50), lambda n: (n, plane.call("DescribeImages")))] == list(
        range(50)
    )
    assert len(script.asked) == 50
