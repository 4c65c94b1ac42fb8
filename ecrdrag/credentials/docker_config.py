"""Own docker's configuration: which credential it has for a registry, and changes that keep all else in the file.

The command line may enter, as may all of credentials.

What it says goes in this order: DOCKER_AUTH_CONFIG, then credHelpers, credsStore and auths of one file: docker's, or
where there is none podman's, which is written alike (containers-auth.json(5)). Facts without another source are
docker/cli's: cli/config/configfile/file.go, cli/config/credentials/.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Final, NoReturn, TypeVar, cast

from ecrdrag.credentials import folders
from ecrdrag.credentials.drafts import draft_beside
from ecrdrag.credentials.programs import Program
from ecrdrag.errors import ArchiveError, AuthError, UsageError
from ecrdrag.reference import DOCKER_HUB, DOCKER_HUB_NAMES
from ecrdrag.registry.auth import Credential, IdentityToken, Login

ENVIRONMENT: Final = "DOCKER_AUTH_CONFIG"
_HUB_KEY: Final = "https://index.docker.io/v1/"  # Docker Hub's; other tools write its names
# Paths in a key that has no scheme and still means the whole host; any other is a namespace's, which podman knows.
_HOST_PATHS: Final = ("", "v1", "v2")

log = logging.getLogger(__name__)
Value = TypeVar("Value")
Document = dict[str, object]


@dataclass(frozen=True, slots=True)
class DockerConfig:
    """What a configuration says about credentials; where it stands, for messages."""

    where: str
    auths: Mapping[str, object] = field(default_factory=dict, repr=False)
    helpers: Mapping[str, str] = field(default_factory=dict)
    store: str = ""

    @classmethod
    def of(cls, where: str, document: Mapping[str, object]) -> DockerConfig:
        """Read a document; raise ValueError for one that docker wouldn't read."""
        helpers = _members(document.get("credHelpers"))
        named = {host: _text(helpers, host) for host in helpers}
        return cls(where, _members(document.get("auths")), named, _text(document, "credsStore"))

    def program(self, registry: str, environ: Mapping[str, str]) -> Program | None:
        """Give the credential helper that is in charge of a registry; an empty name in credHelpers means none."""
        own = _entry(self.helpers, registry)
        name, member = (self.store, "credsStore") if own is None else (own, "credHelpers")
        return Program(name, f"{member} in {self.where}", environ) if name else None

    def credential(self, registry: str) -> Credential | None:
        """Look a registry up in auths; raise AuthError for an entry that can't be read."""
        entry = _entry(self.auths, registry)
        try:
            return None if entry is None else self._read(registry, _members(entry))
        except ValueError:
            raise AuthError(
                f"the entry for {registry} in {self.where} can't be read", hint=f"run `docker login {registry}` again"
            ) from None

    def _read(self, registry: str, entry: Mapping[str, object]) -> Credential | None:
        if token := _text(entry, "identitytoken"):
            return IdentityToken(token)
        auth = _text(entry, "auth")
        user, password = decode_auth(auth) if auth else (_text(entry, "username"), _text(entry, "password"))
        if user and password:
            return Login(user, password)
        if _text(entry, "registrytoken"):
            log.warning("%s: its registrytoken in %s is passed over: only logins are used", registry, self.where)
        return None


class DockerKeyring:
    """Find credentials where docker would, each registry's once until it is refused."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._lock = Lock()  # of a program that asks the user something, one is enough
        self._found: dict[str, Credential | None] = {}
        self._variable = _from_variable(environ)

    def find(self, registry: str, *, renew: bool = False) -> Credential | None:
        """Look a registry up; raise AuthError for a configuration or a program that can't be used."""
        with self._lock:
            if renew or registry not in self._found:
                self._found[registry] = self._look_up(registry)
            return self._found[registry]

    def _look_up(self, registry: str) -> Credential | None:
        if found := self._variable.credential(registry):
            log.debug("%s: the login is that of %s", registry, self._variable.where)
            return found
        config = read(self._environ)
        if program := config.program(registry, self._environ):
            return program.get(key_of(registry))
        if found := config.credential(registry):
            log.debug("%s: the login is that in %s", registry, config.where)
        return found


def read(environ: Mapping[str, str]) -> DockerConfig:
    """Read docker's configuration file, or podman's; raise AuthError for one that can't be read."""
    path = login_file(environ)
    try:
        return DockerConfig.of(str(path), _load(path))
    except OSError as error:
        hint = "mend its permissions, or let DOCKER_CONFIG name another folder"
        raise AuthError(f"{path} can't be read: {error.strerror}", hint=hint) from None
    except ValueError:
        raise AuthError(f"{path} is not a configuration of docker's", hint="mend it, or move it away") from None


def login_file(environ: Mapping[str, str]) -> Path:
    """Say which file logins are in: docker's, or podman's where it alone is there."""
    docker = docker_file(environ)
    return next((path for path in (docker, *_podman_files(environ)) if os.path.lexists(path)), docker)


def docker_file(environ: Mapping[str, str]) -> Path:
    """Say where docker has its configuration, or would."""
    folder = environ.get("DOCKER_CONFIG")
    return (Path(folder) if folder else folders.home(environ) / ".docker") / "config.json"


def key_of(registry: str) -> str:
    """Say what a registry is called in docker's configuration, and to credential helpers."""
    return _HUB_KEY if registry in DOCKER_HUB_NAMES else registry


def install(environ: Mapping[str, str], hosts: Sequence[str], helper: str) -> Path:
    """Put a credential helper in charge of hosts; return docker's configuration file.

    Raises UsageError for a file that is none of docker's, which stays as it is, and ArchiveError for the disk's.
    """

    def add(document: Document) -> None:
        _table(document, "credHelpers").update(dict.fromkeys(map(key_of, hosts), helper))

    return _edit(docker_file(environ), add)


def write_auth(environ: Mapping[str, str], registry: str, login: Login | None) -> Path:
    """Write a login into the file that logins are in, or that it is kept elsewhere; return the file.

    Raises as install() does.
    """

    def add(document: Document) -> None:
        _table(document, "auths")[key_of(registry)] = {"auth": encode_auth(login)} if login else {}

    return _edit(login_file(environ), add)


def encode_auth(login: Login) -> str:
    """Write what stands as auth."""
    return base64.b64encode(f"{login.username}:{login.password}".encode()).decode()


def decode_auth(auth: str) -> tuple[str, str]:
    """Read user and password; raise ValueError for what is none."""
    plain = base64.b64decode("".join(auth.split()), validate=True).decode()
    user, colon, password = plain.partition(":")
    if not colon or not user:
        raise ValueError("no user, no colon")
    return user, password.strip("\0")


def _from_variable(environ: Mapping[str, str]) -> DockerConfig:
    """Read DOCKER_AUTH_CONFIG; what docker doesn't take there it warns of and passes over, and so do we."""
    text = environ.get(ENVIRONMENT, "")
    try:
        document = _parse(text)
        auths = _members(document.pop("auths", None))
        if document or any(set(_members(entry)) != {"auth"} for entry in auths.values()):
            raise ValueError("docker knows no other member here")
        for entry in auths.values():
            decode_auth(_text(_members(entry), "auth"))
        return DockerConfig(ENVIRONMENT, auths)
    except ValueError:
        log.warning("%s is passed over: it takes auths with an auth each, and nothing else", ENVIRONMENT)
        return DockerConfig(ENVIRONMENT)


def _podman_files(environ: Mapping[str, str]) -> Iterator[Path]:
    if chosen := environ.get("REGISTRY_AUTH_FILE"):
        yield Path(chosen)
        return
    if run := environ.get("XDG_RUNTIME_DIR"):
        yield Path(run, "containers", "auth.json")
    config = environ.get("XDG_CONFIG_HOME")
    yield (Path(config) if config else folders.home(environ) / ".config") / "containers" / "auth.json"


def _entry(table: Mapping[str, Value], registry: str) -> Value | None:
    """Look a registry up by docker's key, by its name, or by a URL or another spelling that means it."""
    name = _registry_of(registry)
    for key in (key_of(name), name):
        if key in table:
            return table[key]
    return next((value for key, value in table.items() if _registry_of(key) == name), None)


def _registry_of(key: str) -> str:
    """Read a key of auths: HOST[:PORT] or a URL; empty for one that is a namespace's."""
    _, divider, rest = key.lower().rpartition("://")
    host, _, path = rest.partition("/")
    if not divider and path.strip("/") not in _HOST_PATHS:
        return ""
    return DOCKER_HUB if host in DOCKER_HUB_NAMES else host


def _load(path: Path) -> Document:
    """Read a file, an empty or missing one too; raise OSError, and ValueError for what isn't a JSON object."""
    try:
        return _parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}


def _parse(text: str) -> Document:
    if not text.strip():
        return {}
    try:
        return dict(_members(json.loads(text, parse_constant=_not_json)))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _not_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is Python's, not JSON")


def _members(value: object) -> Mapping[str, object]:
    """Take an object or null, which Go reads as an empty one."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return cast(Document, value)


def _text(members: Mapping[str, object], name: str) -> str:
    """Take a text, or null or nothing, which Go reads as an empty one."""
    value = members.get(name, "")
    if not isinstance(value, (str, type(None))):
        raise ValueError("not a text")
    return value or ""


def _table(document: Document, name: str) -> Document:
    """Give a member that is an object, or null, and there from now on."""
    table = dict(_members(document.get(name)))
    document[name] = table
    return table


def _edit(path: Path, change: Callable[[Document], None]) -> Path:
    """Change a configuration; one that is a link stays one, and one that says so already isn't touched."""
    target = Path(os.path.realpath(path))
    try:
        document = _load(target)
        DockerConfig.of(str(path), document)
        before = json.dumps(document)
        change(document)
        if json.dumps(document) != before:
            _replace(target, json.dumps(document, indent="\t", ensure_ascii=False))
    except OSError as error:
        raise ArchiveError(f"{path} can't be changed: {error.strerror}") from error
    except ValueError:
        raise UsageError(
            f"{path} is not a configuration of docker's, and stays as it is", hint="mend it, or move it away"
        ) from None
    return path


def _replace(target: Path, text: str) -> None:
    """Put a file in place at once, with the owner and mode of the one before; a new one is the user's alone."""
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with draft_beside(target) as (descriptor, draft):
        with os.fdopen(descriptor, "wb") as file:
            # A lone surrogate, which JSON can spell and UTF-8 can't, becomes the escape that JSON has for it.
            file.write(text.encode("utf-8", "backslashreplace"))
            file.flush()
            os.fsync(file.fileno())
        _take_after(draft, target)


def _take_after(draft: Path, target: Path) -> None:
    """Give a draft the owner and mode of what it replaces: with sudo, the file stays the user's."""
    with suppress(FileNotFoundError):
        found = target.stat()
        if hasattr(os, "chown"):
            with suppress(PermissionError):
                os.chown(draft, found.st_uid, found.st_gid)
        draft.chmod(stat.S_IMODE(found.st_mode))
