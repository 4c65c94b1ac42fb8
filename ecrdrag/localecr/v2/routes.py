"""Own the paths of /v2/: which handler answers which method of which path, for whom, in which dialect.

The service may enter. Paths: OCI distribution spec, "Endpoints"; _catalog is distribution's, /token/ ECR Public's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final
from urllib.parse import parse_qsl, unquote

from ecrdrag.localecr.api.call import Caller
from ecrdrag.localecr.api.registry import Registry
from ecrdrag.localecr.hosts import Place, place_of
from ecrdrag.localecr.names import RegistryKey, RepositoryKey
from ecrdrag.localecr.settings import Dialect
from ecrdrag.localecr.v2 import answers, blobs, lists, manifests, uploads
from ecrdrag.localecr.v2.answers import Refused
from ecrdrag.localecr.v2.auth import Challenged, Gate
from ecrdrag.localecr.v2.dialects import MANNERS, Manner, settings_in
from ecrdrag.localecr.v2.visit import Act, Visit
from ecrdrag.localecr.web.exchange import Answer, Request

_TOKEN: Final = re.compile(r"/token/?")
_PATHS: Final = re.compile(r"/v2(/.*)?", re.DOTALL)


def is_ours(path: str) -> bool:
    """Tell whether a path is one of this door's."""
    return _PATHS.fullmatch(path) is not None or _TOKEN.fullmatch(path) is not None


def _hello(_visit: Visit) -> Answer:
    return answers.write_json({}, summary="hello")


def _routes() -> tuple[tuple[re.Pattern[str], Mapping[str, Act]], ...]:
    name, word = "(?P<name>.+)", "(?P<word>[^/]+)"
    table: Mapping[str, Mapping[str, Act]] = {
        "/v2/?": {"GET": _hello},
        "/v2/_catalog": {"GET": lists.catalog},
        f"/v2/{name}/tags/list": {"GET": lists.tags},
        f"/v2/{name}/referrers/{word}": {"GET": lists.referrers},
        f"/v2/{name}/blobs/uploads/?": {"POST": uploads.begin},
        f"/v2/{name}/blobs/uploads/{word}": {
            "GET": uploads.status,
            "PATCH": uploads.append,
            "PUT": uploads.finish,
            "DELETE": uploads.cancel,
        },
        f"/v2/{name}/blobs/{word}": {"GET": blobs.get, "HEAD": blobs.head, "DELETE": blobs.delete},
        f"/v2/{name}/manifests/{word}": {"GET": manifests.get, "PUT": manifests.put, "DELETE": manifests.delete},
    }
    return tuple(
        (re.compile(pattern), {"HEAD": acts["GET"], **acts} if "GET" in acts else acts)
        for pattern, acts in table.items()
    )


_ROUTES: Final = _routes()


class V2:
    """Answer requests for /v2/ and /token/; safe from many threads."""

    def __init__(self, registry: Registry) -> None:
        links = replace(registry.links, tolerant=True)
        self._settings = registry.settings
        self._registries = {
            dialect: replace(registry, settings=settings_in(dialect, registry.settings), links=links)
            for dialect in Dialect
        }

    def __call__(self, request: Request) -> Answer:
        """Answer one request, whatever it is."""
        place = place_of(request.host, self._settings)
        try:
            answer = self._answer(request, place)
        except (Refused, Challenged) as reason:
            answer = reason.answer
        return replace(answer, headers={**answers.VERSION, **answer.headers})

    def _answer(self, request: Request, place: Place) -> Answer:
        registry, manner = self._registries[place.dialect], MANNERS[place.dialect]
        base = f"{registry.settings.scheme}://{request.host}"
        gate = Gate(registry, manner, place, base)
        path = unquote(request.path)
        if _TOKEN.fullmatch(path):
            return gate.token(request) if manner.gives_tokens else answers.nowhere()
        guest = gate.enter(request)
        match, acts = _find(path)
        if match is None:
            return answers.nowhere()
        act = acts.get(request.method)
        if act is None:
            raise Refused(answers.UNSUPPORTED, "The operation is unsupported.", {"Allow": ", ".join(acts)})
        words = match.groupdict()
        name = words.get("name", "")
        key = self._key(guest.registry, manner, name)
        return act(
            Visit(
                request=request,
                registry=registry,
                manner=manner,
                caller=Caller(guest.account or key.account, guest.registry.region, request.host),
                name=name,
                key=key,
                word=words.get("word", ""),
                query=dict(parse_qsl(request.query, keep_blank_values=True)),
                is_anonymous=not guest.account,
            )
        )

    def _key(self, place: RegistryKey, manner: Manner, name: str) -> RepositoryKey:
        if not (manner.by_alias and name):
            return place.repository(name)
        alias, _, rest = name.partition("/")
        accounts = self._registries[Dialect.PUBLIC].store.keys.accounts
        for registry in (RegistryKey(account, place.region) for account in accounts):
            if registry.alias == alias and rest:
                return registry.repository(rest)
        message = f"The repository with name '{rest}' does not exist in the registry with id '{alias}'"
        raise Refused(answers.NAME_UNKNOWN, message)


def _find(path: str) -> tuple[re.Match[str] | None, Mapping[str, Act]]:
    for pattern, acts in _ROUTES:
        if match := pattern.fullmatch(path):
            return match, acts
    return None, {}
