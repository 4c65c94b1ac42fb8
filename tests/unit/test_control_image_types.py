"""The words for what an image is, by what registries say of it."""

from __future__ import annotations

import pytest

from ecrdrag.control.image_types import type_words
from ecrdrag.manifest import DOCKER_CONFIG, DOCKER_LIST, DOCKER_MANIFEST, OCI_CONFIG, OCI_INDEX, OCI_MANIFEST
from ecrdrag.schema1 import SIGNED, UNSIGNED
from tests import kinds

HEX = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("media_type", "artifact_type", "word"),
    [
        (DOCKER_MANIFEST, DOCKER_CONFIG, "image"),
        (OCI_MANIFEST, OCI_CONFIG, "image"),
        (OCI_MANIFEST, "", "image"),
        (OCI_INDEX, "", "index"),
        (DOCKER_LIST, "", "index"),
        (SIGNED, "", "image (schema 1)"),
        (UNSIGNED, "", "image (schema 1)"),
        (OCI_MANIFEST, kinds.HELM_CONFIG, "helm chart"),
        (OCI_MANIFEST, kinds.SIGNATURE, "signature"),
        (OCI_MANIFEST, "application/vnd.dev.sigstore.bundle.v0.3+json", "signature"),
        (OCI_MANIFEST, "application/vnd.cncf.notary.signature", "signature"),
        (OCI_MANIFEST, kinds.IN_TOTO, "attestation"),
        (OCI_MANIFEST, kinds.SPDX, "SBOM"),
        (OCI_MANIFEST, "application/vnd.cyclonedx+json", "SBOM"),
        (OCI_MANIFEST, kinds.WASM_CONFIG, "wasm module"),
        (OCI_MANIFEST, "application/vnd.oci.empty.v1+json", "artifact"),
        (OCI_MANIFEST, "application/vnd.example+type", "example+type"),
        (OCI_MANIFEST, "text/plain", "text/plain"),
        (OCI_INDEX, kinds.SPDX, "SBOM"),
    ],
)
def test_an_image_is_called_what_people_call_it(media_type: str, artifact_type: str, word: str) -> None:
    assert type_words(media_type, artifact_type) == word
    assert type_words(media_type, artifact_type, ["1.2"]) == word


@pytest.mark.parametrize(("suffix", "word"), [("sig", "signature"), ("att", "attestation"), ("sbom", "SBOM")])
def test_what_cosign_stores_as_an_image_is_known_by_its_only_tag(suffix: str, word: str) -> None:
    assert type_words(OCI_MANIFEST, OCI_CONFIG, [f"sha256-{HEX}.{suffix}"]) == word
    assert type_words(OCI_MANIFEST, OCI_CONFIG, [f"sha256-{HEX}.{suffix}", "latest"]) == "image"
    assert type_words(OCI_MANIFEST, OCI_CONFIG, [f"sha256-{HEX[1:]}.{suffix}"]) == "image"
    assert type_words(OCI_MANIFEST, OCI_CONFIG, [f"sha256-{HEX}.else"]) == "image"
