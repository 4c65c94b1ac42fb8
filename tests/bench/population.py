"""Own a population of images as a company has them: families on one base, teams on one runtime, much of it shared.

The crowd enters. Everything follows from a number and the seed, so that any process can make any image, any time.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
from dataclasses import dataclass

from ecrdrag.manifest import OCI_CONFIG, OCI_MANIFEST

KIB, MIB = 1024, 1024 * 1024
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
NUMBER = "example.crowd.number"  # the annotation by which a pulled image is known again
_FAMILIES, _FAMILY_LAYERS = 20, 8
_TEAMS, _TEAM_LAYERS = 100, 5
_OWN_LAYERS = 7
_REPOSITORIES = 50
_BIG_EVERY, _BIG = 50, 24 * MIB  # each so many'th image has one big layer: three parts over the API
_SMALLEST, _LARGEST = KIB, MIB


@dataclass(frozen=True)
class Content:
    """A blob's bytes and their digest."""

    data: bytes
    digest: str

    @classmethod
    def of(cls, data: bytes) -> Content:
        return cls(data, f"sha256:{hashlib.sha256(data).hexdigest()}")

    def described(self, media_type: str) -> dict[str, object]:
        return {"mediaType": media_type, "digest": self.digest, "size": len(self.data)}


@dataclass(frozen=True)
class Made:
    """One image: where it belongs, its blobs, the config last, and its manifest."""

    repository: str
    tag: str
    blobs: tuple[Content, ...]
    manifest: bytes


def repositories() -> list[str]:
    """Name every repository."""
    return [f"crowd/team-{number:02}" for number in range(_REPOSITORIES)]


def place(number: int) -> tuple[str, str]:
    """Say to which repository and tag an image belongs."""
    return f"crowd/team-{number % _REPOSITORIES:02}", f"n{number}"


def make(number: int, seed: int) -> Made:
    """Make an image of twenty layers."""
    names = [
        *(f"family {number % _FAMILIES} {layer}" for layer in range(_FAMILY_LAYERS)),
        *(f"team {number % _TEAMS} {layer}" for layer in range(_TEAM_LAYERS)),
        *(f"own {number} {layer}" for layer in range(_OWN_LAYERS)),
    ]
    layers = [_layer(f"{seed} {name}", big=name == f"own {number} 0" and not number % _BIG_EVERY) for name in names]
    config = Content.of(json.dumps({"architecture": "amd64", "os": "linux", "number": number}).encode())
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": config.described(OCI_CONFIG),
        "layers": [layer.described(LAYER) for layer in layers],
        "annotations": {NUMBER: str(number)},
    }
    return Made(*place(number), (*layers, config), json.dumps(document).encode())


def _layer(name: str, *, big: bool) -> Content:
    chance = random.Random(name)
    size = _BIG if big else int(math.exp(chance.uniform(math.log(_SMALLEST), math.log(_LARGEST))))
    return Content.of(chance.randbytes(size))
