"""Own the lists of /v2/: tags, repositories, and what refers to an image.

The routes of /v2/ may enter. The next page is named by a Link header (RFC 8288).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final
from urllib.parse import urlencode

from ecrdrag.localecr.api.wire import Parameters
from ecrdrag.localecr.v2 import answers
from ecrdrag.localecr.v2.answers import Refused, write_json
from ecrdrag.localecr.v2.visit import Visit
from ecrdrag.localecr.web.exchange import Answer
from ecrdrag.manifest import OCI_INDEX

_COUNT: Final = re.compile(r"[0-9]{1,9}")
# As many as ECR's API gives at once: MaxResults in its model.
_MAX_PAGE: Final = 1000
# How many pages of ListImageReferrers, of 50 each, make one of ours; their number is not public.
_REFERRER_PAGE: Final = 50
_REFERRER_PAGES: Final = 20


def tags(visit: Visit) -> Answer:
    """List the tags of a repository."""
    if visit.manner.lists_by_name:
        names, link = _by_name(visit, _tag_names)
    else:
        output = visit.run("ListImages", {"filter": {"tagStatus": "TAGGED"}, **_page(visit)})
        names = [one.text("imageTag") for one in output.structures("imageIds")]
        link = _link(visit, output.text("nextToken"))
    return write_json({"name": visit.name, "tags": names}, kind=visit.manner.list_type, headers=link, summary="tags")


def catalog(visit: Visit) -> Answer:
    """List the repositories of a registry."""
    if visit.manner.lists_by_name:
        names, link = _by_name(visit, _repository_names)
    else:
        output = visit.run("DescribeRepositories", _page(visit))
        names = [one.text("repositoryName") for one in output.structures("repositories")]
        link = _link(visit, output.text("nextToken"))
    return write_json({"repositories": names}, kind=visit.manner.list_type, headers=link, summary="catalog")


def referrers(visit: Visit) -> Answer:
    """List what refers to an image, as an index."""
    kind = visit.query.get("artifactType", "")
    found, token = _referrers(visit, kind, visit.query.get("last", ""))
    headers = {**_link(visit, token), **({"OCI-Filters-Applied": "artifactType"} if kind else {})}
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [_descriptor(one) for one in found]}
    return write_json(index, kind=OCI_INDEX, headers=headers, summary="referrers")


def _referrers(visit: Visit, kind: str, token: str) -> tuple[list[Parameters], str]:
    """Return what several pages of the API hold, and where the next one begins."""
    fine = "RepositoryNotFoundException" if visit.manner.empty_referrers else ""
    wanted: dict[str, object] = {"subjectId": {"imageDigest": visit.word}, "maxResults": _REFERRER_PAGE}
    if kind:
        wanted["filter"] = {"artifactTypes": [kind]}
    found: list[Parameters] = []
    for _ in range(_REFERRER_PAGES):
        output = visit.run("ListImageReferrers", wanted | ({"nextToken": token} if token else {}), fine=fine)
        found.extend(output.structures("referrers"))
        token = output.text("nextToken")
        if not token:
            break
    return found, token


def _descriptor(referrer: Parameters) -> dict[str, object]:
    """Return a descriptor: OCI distribution spec, "Listing Referrers"; the API's members have its names."""
    members = referrer.raw()
    names = ("mediaType", "digest", "size", "artifactType", "annotations")
    return {name: members[name] for name in names if name in members}


def _page(visit: Visit) -> dict[str, object]:
    """Return the API's words for n and last."""
    count, last = _count(visit), visit.query.get("last", "")
    return {**({"maxResults": count} if count is not None else {}), **({"nextToken": last} if last else {})}


def _count(visit: Visit) -> int | None:
    text = visit.query.get("n")
    if text is None:
        return None
    if not _COUNT.fullmatch(text):
        raise Refused(answers.PAGE_INVALID, "invalid number of results requested")
    return int(text)


def _by_name(visit: Visit, read: Callable[[Visit, str, int], list[str]]) -> tuple[list[str], dict[str, str]]:
    count = _count(visit)
    limit = _MAX_PAGE if count is None else min(count, _MAX_PAGE)
    found = read(visit, visit.query.get("last", ""), limit + 1)
    page = found[:limit]
    return page, _link(visit, page[-1]) if page and len(found) > len(page) else {}


def _tag_names(visit: Visit, after: str, limit: int) -> list[str]:
    with visit.calling("ListImages") as call, call.store.metadata.read() as records:
        found = records.tags_by_name(call.repository(records).id, after=after, limit=limit)
    return [tag.name for tag in found]


def _repository_names(visit: Visit, after: str, limit: int) -> list[str]:
    with visit.calling("DescribeRepositories") as call, call.store.metadata.read() as records:
        return [found.key.name for found in records.repositories(call.registry, after=after, limit=limit)]


def _link(visit: Visit, last: str) -> dict[str, str]:
    """Name the next page: the same question, with where this one ended."""
    if not last:
        return {}
    query = urlencode({**visit.query, "last": last})
    return {"Link": f'<{visit.base}{visit.request.path}?{query}>; rel="next"'}
