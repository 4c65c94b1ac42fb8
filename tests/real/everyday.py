"""Own the comparison of `ecrdrag` with the aws CLI: both ask one local ECR, and what they print is to be equal.

The tests of the everyday commands enter. ADDED says which members are ours alone; any other difference is an error.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from tests.localecr import ROOT
from tests.real.cell import NOTHING, Cell
from tests.real.conftest import Tool
from tests.real.local import Local, open_local
from tests.real.tools import missing, need

# The first ones that read AWS_ENDPOINT_URL_ECR: the CLI's change logs, "service-specific endpoints".
OLDEST: Final = {1: (1, 29), 2: (2, 13)}
# What all of it goes by: times as ISO 8601, as the aws CLI 2 has them without being told.
SETTINGS: Final = "[default]\noutput = json\ncli_timestamp_format = iso8601\n"
COUNTS: Final = (
    *("imageCount", "taggedImageCount", "untaggedImageCount", "tagCount", "sizeInBytes", "lastPushedAt"),
    *("archivedImageCount", "archivedSizeInBytes"),
)
ADDED: Final[Mapping[str, Sequence[str]]] = {
    "registry show": (
        *("region", "registryUri", "endpoints", "scanningConfiguration", "policy", "accountSettings"),
        *("pullThroughCacheRuleCount", "repositoryCreationTemplateCount"),
    ),
    "repo ls": ("repositories[].region",),
    "repo ls --count": ("repositories[].region", *(f"repositories[].{count}" for count in COUNTS)),
    "repo show": (
        *(f"repository.{count}" for count in COUNTS),
        *("repository.tags", "repository.policy", "repository.lifecyclePolicy"),
    ),
    "repo create": (),
    "repo delete": (),
    "repo policy": (),
    "repo lifecycle": (),
    "image ls": ("imageDetails[].region",),
    "image show": ("imageDetails[].region", "imageDetails[].layers|platforms", "imageDetails[].referrers"),
    "image tag": ("image.existed",),
    "image rm": (
        *("imageIds[].repositoryName", "imageIds[].region"),
        *("failures[].repositoryName", "failures[].region"),
    ),
    "image rm --untagged": (
        *("imageIds[].repositoryName", "imageIds[].region", "kept"),
        *("failures[].repositoryName", "failures[].region"),
    ),
    "cache-rule ls": ("pullThroughCacheRules[].region",),
    "cache-rule show": ("pullThroughCacheRules[].region",),
    "cache-rule create": (),
    "cache-rule validate": (),
    "cache-rule delete": (),
}
"""Members that we add, by command: list[] stands for each entry, a|b for either of two. All have to be there."""
AS_IT_IS: Final[Mapping[str, str]] = MappingProxyType({})
Words = Sequence[str | Path]


@dataclass(frozen=True)
class Both:
    """The aws CLI and `ecrdrag`, with equal settings."""

    local: Local
    aws: Tool
    ours: Tool

    def same(self, theirs: Words, ours: Words, *, names: Mapping[str, str] = AS_IT_IS, within: float = 0) -> Any:
        """Run both at once, hold what they print to be equal but for ADDED, and give it as the aws CLI has it.

        names say what to call by one name that has two, as patterns; within is how many seconds times may differ by.
        """
        expected, found = self.printed(theirs, ours)
        return held(json.loads(expected), json.loads(found), ours, names=names, within=within)

    def printed(self, theirs: Words, ours: Words) -> tuple[str, str]:
        """Run both at once and give what they print."""
        with ThreadPoolExecutor(1) as aside:
            expected = aside.submit(self.aws, *theirs)
            found = self.ours(*ours)
            return expected.result(), found

    def asked(self, words: Words) -> Any:
        """Read what the aws CLI answers."""
        return json.loads(self.aws(*words) or "null")

    def told(self, words: Words, stdin: Path = NOTHING) -> Any:
        """Read what ours answers."""
        return json.loads(self.ours(*words, stdin=stdin))

    def failing(self, words: Words) -> Any:
        """Read what ours answers before it says that not all went well."""
        document, _ = json.JSONDecoder().raw_decode(self.ours.refusal(*words))
        return document

    def shell(self, line: str) -> str:
        """Give what a line of a shell prints, in which `ecrdrag` is ours."""
        ours = " ".join(map(shlex.quote, map(str, self.ours.words)))
        return self.ours.cell.run(need("bash"), "-euo", "pipefail", "-c", f'ecrdrag() {{ {ours} "$@"; }}\n{line}')


def held(expected: Any, found: Any, words: Words, *, names: Mapping[str, str] = AS_IT_IS, within: float = 0) -> Any:
    """Hold our document to be the other one, but for what is ours alone and a name; give the other one."""
    if "--query" not in words:  # which picks out of what is ours as well
        for path in added_by(words):
            take_out(found, path)
    wrong = list(differences(renamed(expected, names), renamed(found, names), within))
    assert not wrong, "\n".join((" ".join(map(str, words)), *wrong))
    return expected


def added_by(words: Words) -> Sequence[str]:
    """Say what a command adds, with an option that adds more if it has one."""
    command = " ".join(map(str, words[:2]))
    return next((ADDED[more] for more in (f"{command} {word}" for word in words) if more in ADDED), ADDED[command])


def take_out(document: Any, path: str) -> None:
    """Take a member out of each structure that has to have it."""
    *way, members = path.split(".")
    for place in _places(document, way):
        (there,) = (member for member in members.split("|") if member in place)
        del place[there]


def renamed(document: Any, names: Mapping[str, str]) -> Any:
    """Give a document with other names, wherever a pattern is in it."""
    text = json.dumps(document)
    for name, other in names.items():
        text = re.sub(name, other, text)
    return json.loads(text)


def differences(expected: Any, found: Any, within: float = 0, path: str = "") -> Iterator[str]:
    """Say where two documents differ; times may by some seconds."""
    if isinstance(expected, dict) and isinstance(found, dict):
        yield from (f"{path}.{name}: is in one alone" for name in expected.keys() ^ found.keys())
        for name in expected.keys() & found.keys():
            yield from differences(expected[name], found[name], within, f"{path}.{name}")
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        for place, (one, other) in enumerate(zip(expected, found, strict=True)):
            yield from differences(one, other, within, f"{path}[{place}]")
    elif type(expected) is not type(found) or not (expected == found or _is_near(expected, found, within)):
        yield f"{path}: {expected!r} and {found!r}"


@contextmanager
def both(folder: Path, *options: str) -> Iterator[Both]:
    """Run a local ECR and give the two that ask it; options are of its command line."""
    tool = need("aws")
    (folder / "config").write_text(SETTINGS)
    with open_local(folder, "--data", str(folder / "data"), *options) as local:
        settings = {"AWS_CONFIG_FILE": str(folder / "config"), "TZ": "UTC", "AWS_PAGER": "", "PAGER": ""}
        environment = {**local.environment, **settings, "PYTHONPATH": str(ROOT)}
        (folder / "cell").mkdir()
        with Cell(folder / "cell", walls=False, environment=environment) as cell:
            _check_age(cell.run(tool, "--version"))
            strict = ("env", "PYTHONWARNINGS=error", sys.executable, "-m", "ecrdrag")
            yield Both(local, Tool(cell, (tool,)), Tool(cell, strict))


def put_file(folder: Path, name: str, content: object) -> Path:
    """Write a document that both can read, and give its path."""
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def _check_age(said: str) -> None:
    version = tuple(map(int, re.findall(r"[0-9]+", said)[:2]))
    if version < OLDEST.get(version[0], (3, 0)):
        missing(f"{said.split()[0]} doesn't know AWS_ENDPOINT_URL_ECR")


def _places(document: Any, way: Sequence[str]) -> list[Any]:
    if not way:
        return [document]
    name, *rest = way
    below = document[name.removesuffix("[]")]
    return [place for one in (below if name.endswith("[]") else [below]) for place in _places(one, rest)]


def _is_near(expected: Any, found: Any, within: float) -> bool:
    """Compare texts as times, if that is what they are."""
    try:
        between = datetime.fromisoformat(expected) - datetime.fromisoformat(found)
    except (TypeError, ValueError):
        return False
    return abs(between.total_seconds()) <= within
