"""Own what an operation is given: who calls, with which parameters, on which store.

The API and the operations may enter. An operation is a function from a Call to its output structure.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from ecrdrag.localecr.api.refusals import invalid_parameter, repository_not_found
from ecrdrag.localecr.api.upstream import Upstreams
from ecrdrag.localecr.api.wire import Parameters
from ecrdrag.localecr.names import ImageName, RegistryKey, RepositoryKey
from ecrdrag.localecr.s3.links import Links
from ecrdrag.localecr.settings import Settings
from ecrdrag.localecr.storage.records import Records, Repository
from ecrdrag.localecr.storage.store import Store

# DescribeImages, DescribeRepositories and ListImages: "up to 100 results", the model's documentation of maxResults.
DEFAULT_PAGE: Final = 100


_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: an account whose credentials were checked, in which region, and at which host name of this server.

    Region is that of the registries that are meant: PUBLIC when ECR Public is called, wherever that is.
    """

    account: str
    region: str
    host: str


@dataclass(frozen=True, slots=True)
class Call:
    """One API call, its caller and parameters checked."""

    parameters: Parameters
    caller: Caller
    now: float
    store: Store
    settings: Settings
    links: Links
    upstreams: Upstreams

    @property
    def registry(self) -> RegistryKey:
        """The registry that is meant: registryId, which in public may be an alias, else the caller's own."""
        meant = RegistryKey(self.parameters.text("registryId") or self.caller.account, self.caller.region)
        if not meant.is_public:
            return meant
        registries = (RegistryKey(account, meant.region) for account in self.store.keys.accounts)
        return next((one for one in registries if one.alias == meant.account), meant)

    @property
    def account(self) -> str:
        """The account whose registry is meant."""
        return self.registry.account

    @property
    def key(self) -> RepositoryKey:
        """The repository that is meant."""
        return self.registry.repository(self.parameters.text("repositoryName"))

    @property
    def image_names(self) -> tuple[ImageName, ...]:
        """The images that imageIds names."""
        return tuple(
            ImageName(one.text("imageDigest"), one.text("imageTag")) for one in self.parameters.structures("imageIds")
        )

    @property
    def image_name(self) -> ImageName:
        """The image that imageId names."""
        one = self.parameters.structure("imageId")
        return ImageName(one.text("imageDigest"), one.text("imageTag"))

    def repository(self, records: Records) -> Repository:
        """Find the repository that is meant; raise RepositoryNotFoundException."""
        found = records.repository(self.key)
        if found is None:
            # By the alias when the call did so: aws-samples/amazon-eks-cdk-blue-green-cicd#24.
            raise repository_not_found(replace(self.key, account=self.parameters.text("registryId", self.account)))
        return found

    @property
    def page_size(self) -> int:
        """How many results are wanted at once."""
        return self.parameters.number("maxResults", DEFAULT_PAGE)

    @property
    def page_limit(self) -> int:
        """How many results to ask for: one more than is wanted tells whether there is another page."""
        return self.page_size + 1

    def page(
        self, found: Sequence[_Result], words: Callable[[_Result], Sequence[str]]
    ) -> tuple[Sequence[_Result], str | None]:
        """Cut what was found by page_limit to a page; return it with nextToken, which carries the last one's words."""
        page = found[: self.page_size]
        return page, next_token(words(page[-1])) if len(found) > len(page) else None

    def page_start(self, words: int) -> list[str]:
        """Return the words that nextToken carries, empty ones at the start; raise InvalidParameterException."""
        token = self.parameters.text("nextToken")
        if not token:
            return [""] * words
        try:
            start = json.loads(base64.urlsafe_b64decode(token))
            "".join(start).encode()  # words, and no half of a surrogate pair, which the database refuses
        except (ValueError, TypeError, RecursionError):
            start = None
        if not isinstance(start, list) or len(start) != words:
            raise invalid_parameter("nextToken", "Invalid token")
        return start

    def check_page(self, list_name: str) -> None:
        """Refuse paging of a list that is given by name, as the model documents nextToken and maxResults."""
        for name in ("nextToken", "maxResults"):
            if list_name in self.parameters and name in self.parameters:
                raise invalid_parameter(name, f"must not be set together with {list_name}")


def next_token(last: Sequence[str]) -> str:
    """Carry where a page ended to the call that asks for the next one."""
    return base64.urlsafe_b64encode(json.dumps(list(last)).encode()).decode()


Operation = Callable[[Call], Mapping[str, object]]
