"""Own what a secret is: its versions and their staging labels, how it is stored, and how it is found.

The operations on secrets enter, and who reads the secret of a pull-through cache rule. Values are in no repr.
"""

from __future__ import annotations

import re
import secrets
import string
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

from ecrdrag.localecr.names import RegistryKey, partition
from ecrdrag.localecr.storage.records import Records, Setting

KIND: Final = "secret"
CURRENT: Final = "AWSCURRENT"
PREVIOUS: Final = "AWSPREVIOUS"
_ARN: Final = re.compile(r"arn:[^:]+:secretsmanager:[^:]+:[^:]+:secret:(?P<rest>.+)")
# The model on CreateSecret's ARN: the name "followed by six random characters".
_SUFFIX_LENGTH: Final = 6
_SUFFIX: Final = re.compile(rf"-[A-Za-z0-9]{{{_SUFFIX_LENGTH}}}\Z")
# The model on PutSecretValue: "Secrets Manager keeps 100 of the most recent versions".
_MAX_VERSIONS: Final = 100


@dataclass(frozen=True, slots=True)
class Version:
    """One value of a secret, a text or base64 of bytes, and the labels that are on it."""

    id: str
    created: float
    stages: tuple[str, ...]
    text: str | None = field(default=None, repr=False)
    binary: str | None = field(default=None, repr=False)

    def is_like(self, other: Version) -> bool:
        """Tell whether another one has the same value."""
        return (self.text, self.binary) == (other.text, other.binary)

    def without(self, stages: set[str]) -> Version:
        """Take labels away."""
        return replace(self, stages=tuple(stage for stage in self.stages if stage not in stages))


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret, its newest version last. A time of 0 is never."""

    arn: str
    name: str
    created: float
    changed: float
    description: str = ""
    key: str = ""
    """The KMS key that was named for it."""
    tags: tuple[tuple[str, str], ...] = ()
    deleted: float = 0.0
    """From when on it is gone for good; until then it is marked for that."""
    accessed: float = 0.0
    versions: tuple[Version, ...] = ()

    @classmethod
    def read(cls, stored: Setting) -> Secret:
        """Read what is stored."""
        value: dict[str, Any] = dict(stored.value)
        tags = tuple((key, text) for key, text in value.pop("tags"))
        versions = tuple(Version(**{**one, "stages": tuple(one["stages"])}) for one in value.pop("versions"))
        return cls(name=stored.name, created=stored.created, tags=tags, versions=versions, **value)

    def keep(self, records: Records, registry: RegistryKey, now: float) -> None:
        """Store it."""
        value = {name: member for name, member in asdict(self).items() if name not in ("name", "created")}
        records.put_registry_setting(registry, KIND, value, now, self.name)

    @property
    def stages(self) -> dict[str, list[str]]:
        """The labels by version; what has none is not mentioned."""
        return {one.id: list(one.stages) for one in self.versions if one.stages}

    def by_id(self, version: str) -> Version | None:
        """Find a version."""
        return next((one for one in self.versions if one.id == version), None)

    def at(self, stage: str) -> Version | None:
        """Find the version that a label is on."""
        return next((one for one in self.versions if stage in one.stages), None)

    def with_version(self, added: Version) -> Secret:
        """Add a version, which takes its labels from the others; the first is current, whatever its labels.

        What was current until then becomes the previous one: the model on PutSecretValue.
        """
        current = self.at(CURRENT)
        if current is None and CURRENT not in added.stages:
            added = replace(added, stages=(CURRENT, *added.stages))
        taken = {*added.stages}
        follows = current if CURRENT in taken and PREVIOUS not in taken else None
        kept = [one.without({*taken, PREVIOUS} if follows else taken) for one in self.versions]
        kept = [replace(one, stages=(*one.stages, PREVIOUS)) if one.id == _id(follows) else one for one in kept]
        return replace(self, versions=(*_newest(kept), added))


def find(records: Records, registry: RegistryKey, wanted: str, now: float) -> Secret | None:
    """Find a secret of an account in a region by its name, its ARN, or its ARN without the last seven characters.

    What looks like a whole ARN is taken for one, so that a name which ends so isn't found by a partial ARN: Secrets
    Manager user guide, "Finding a secret from a partial ARN"; localstack's recordings at AWS show it too.
    """
    match = _ARN.fullmatch(wanted)
    if match is None:
        return _named(records, registry, wanted, now)
    if _SUFFIX.search(match["rest"]):
        found = _named(records, registry, _SUFFIX.sub("", match["rest"]), now)
        return found if found and found.arn == wanted else None
    found = _named(records, registry, match["rest"], now)
    return found if found and _SUFFIX.sub("", found.arn) == wanted else None


def find_all(records: Records, registry: RegistryKey, now: float) -> list[Secret]:
    """List the secrets of an account in a region by name, with those that are marked for deletion."""
    found = map(Secret.read, records.registry_settings(registry, KIND))
    return [one for one in found if not _is_gone(one, now)]


def forget(records: Records, registry: RegistryKey, name: str) -> None:
    """Delete a secret for good, if it is there."""
    records.delete_registry_setting(registry, KIND, name)


def is_arn(text: str) -> bool:
    """Tell the ARN of a secret, whole or in part, from a name."""
    return _ARN.fullmatch(text) is not None


def name_in(arn: str) -> str:
    """Read the name in the ARN of a secret, whole or in part."""
    match = _ARN.fullmatch(arn)
    return _SUFFIX.sub("", match["rest"]) if match else ""


def new_arn(registry: RegistryKey, name: str) -> str:
    """Make the ARN of a new secret; another one of the same name has another."""
    letters = string.ascii_letters + string.digits
    suffix = "".join(secrets.choice(letters) for _ in range(_SUFFIX_LENGTH))
    owner = f"{registry.region}:{registry.account}"
    return f"arn:{partition(registry.region)[0]}:secretsmanager:{owner}:secret:{name}-{suffix}"


def _named(records: Records, registry: RegistryKey, name: str, now: float) -> Secret | None:
    stored = records.registry_setting(registry, KIND, name)
    found = Secret.read(stored) if stored else None
    return None if found is None or _is_gone(found, now) else found


def _is_gone(secret: Secret, now: float) -> bool:
    return 0 < secret.deleted <= now


def _id(version: Version | None) -> str | None:
    return version.id if version else None


def _newest(versions: list[Version]) -> list[Version]:
    """Forget the oldest versions without labels, where there are too many for another one."""
    unlabelled = [one.id for one in versions if not one.stages]
    forgotten = unlabelled[: max(0, len(versions) - _MAX_VERSIONS + 1)]
    return [one for one in versions if one.id not in forgotten]
