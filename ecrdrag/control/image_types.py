"""Own the words for what an image is: an image, an index, or which kind of artifact.

The other rooms of control enter.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from ecrdrag.manifest import IMAGE_CONFIG_TYPES, INDEX_TYPES
from ecrdrag.schema1 import SCHEMA1_TYPES

_IMAGE: Final = "image"
_INDEX: Final = "index"
_ARTIFACT: Final = "artifact"
# What cosign calls what it stores beside an image, pkg/oci/remote: sha256-HEX and one of these.
_BESIDE: Final = {"sig": "signature", "att": "attestation", "sbom": "SBOM"}
_COSIGN_TAG: Final = re.compile(rf"sha256-[0-9a-f]{{64}}\.(?P<what>{'|'.join(_BESIDE)})")
# Types of artifacts by what they begin with. Helm: helm.sh/docs/topics/registries; notation: notaryproject
# specifications, signature-specification.md; sigstore: cosign, specs/BUNDLE_SPEC.md and pkg/oci; in-toto and caches:
# BuildKit, docs/attestations/attestation-storage.md and cache/remotecache/v1; the others: IANA, tag-runtime.cncf.io.
_WORDS: Final = (
    ("application/vnd.cncf.helm.config.", "helm chart"),
    ("application/vnd.cncf.notary.signature", "signature"),
    ("application/vnd.dev.cosign.artifact.sig.", "signature"),
    ("application/vnd.dev.sigstore.bundle", "signature"),
    ("application/vnd.in-toto", "attestation"),
    ("application/vnd.docker.attestation.manifest.", "attestation"),
    ("application/spdx", "SBOM"),
    ("text/spdx", "SBOM"),
    ("application/vnd.cyclonedx", "SBOM"),
    ("application/vnd.wasm.config.", "wasm module"),
    ("application/vnd.buildkit.cacheconfig.", "build cache"),
)
_EMPTY: Final = "application/vnd.oci.empty.v1+json"  # OCI image spec, manifest.md: a config that says nothing


def type_words(media_type: str, artifact_type: str, tags: Sequence[str] = ()) -> str:
    """Say for people what a document is, by what registries say of it; an unknown artifact by its own type in short."""
    if len(tags) == 1 and (match := _COSIGN_TAG.fullmatch(tags[0])):
        return _BESIDE[match["what"]]
    if word := next((word for start, word in _WORDS if artifact_type.startswith(start)), ""):
        return word
    if media_type in INDEX_TYPES:
        return _INDEX
    if artifact_type in IMAGE_CONFIG_TYPES:
        return f"{_IMAGE} (schema 1)" if media_type in SCHEMA1_TYPES else _IMAGE
    return _ARTIFACT if artifact_type == _EMPTY else artifact_type.removeprefix("application/").removeprefix("vnd.")
