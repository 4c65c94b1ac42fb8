"""Own how the name that an archive has for an image becomes what clients ask a registry for.

The stories may enter. The host in a name is left out, as the registry that serves the archive stands for any:
``docker pull quay.io/my/app:1`` asks quay.io, and a mirror of it, for ``my/app`` and ``1``.
"""

from __future__ import annotations

import os
import re
from typing import Final

from ecrdrag.naming import MAX_REPOSITORY_LENGTH, MAX_TAG_LENGTH, MIN_REPOSITORY_LENGTH, REPOSITORY, TAG
from ecrdrag.shelf import Label

# What stands for docker.io, and where it keeps names of one word: distribution/reference, normalize.go.
_DOCKER_HUB: Final = ("", "docker.io", "index.docker.io")
# distribution/reference, regexp.go: domainAndPort.
_HOST: Final = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:]+\])(?::[0-9]+)?")
_LIBRARY: Final = "library/"
_ENDINGS: Final = re.compile(r"(?:\.(?:tar|tgz|tbz2?|txz|tzst|gz|bz2|xz|zst))+\Z")
_WORDS: Final = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")
_HOME_LENGTH: Final = 100  # characters; file names can be longer
_NAMELESS: Final = "archive"


def labels_of(name: str, home: str) -> tuple[Label, ...]:
    """Say by what an image is found that an archive calls so; by nothing, where no registry can have the name.

    A name of docker.io's own images has two: clients ask docker.io, and a mirror of it, for library/alpine, any
    other registry for alpine. An OCI layout may have a tag alone, which is taken for one in the repository home.
    """
    whole, at, _ = name.partition("@")
    if not at and "/" not in whole and ":" not in whole:
        return _valid((home,), whole)
    path, colon, tag = whole.rpartition(":")
    if colon and "/" not in tag:
        return _valid(_repositories(path), tag)
    return _valid(_repositories(whole), None if at else "latest")  # a colon is the host's


def home_of(where: str) -> str:
    """Name a repository after an archive: ``My App_1.2.tar.gz`` becomes ``my-app_1.2``."""
    stem = _ENDINGS.sub("", os.path.basename(os.path.abspath(where)).lower())  # noqa: PTH100, PTH119 - a text, no file
    words = "-".join(_WORDS.findall(stem[:_HOME_LENGTH]))
    return words if len(words) >= MIN_REPOSITORY_LENGTH else "-".join(filter(None, (_NAMELESS, words)))


def _repositories(path: str) -> tuple[str, ...]:
    host, slash, rest = path.partition("/")
    if not slash or not _is_host(host):
        host, rest = "", path
    if host not in _DOCKER_HUB:
        return (rest,)
    bare = rest.removeprefix(_LIBRARY)
    return (rest,) if "/" in bare else (bare, _LIBRARY + bare)


def _is_host(word: str) -> bool:
    """Tell a host from a folder of docker.io, as splitDockerDomain does in normalize.go."""
    return bool(_HOST.fullmatch(word)) and (bool(set(word) & set(".:")) or word == "localhost" or word != word.lower())


def _valid(repositories: tuple[str, ...], tag: str | None) -> tuple[Label, ...]:
    if tag is not None and not (TAG.fullmatch(tag) and len(tag) <= MAX_TAG_LENGTH):
        return ()
    return tuple(Label(one, tag) for one in repositories if _is_repository(one))


def _is_repository(name: str) -> bool:
    return MIN_REPOSITORY_LENGTH <= len(name) <= MAX_REPOSITORY_LENGTH and bool(REPOSITORY.fullmatch(name))
