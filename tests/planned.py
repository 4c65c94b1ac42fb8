"""The plan of an archive with one image in it.

Tests that need no more enter.
"""

from __future__ import annotations

from ecrdrag.archive.plan import ArchivePlan, ImageName, PlannedImage, plan_archive
from ecrdrag.manifest import Manifest


def plan_image(manifest: Manifest, config: bytes, name: ImageName) -> ArchivePlan:
    """Lay out one image of one platform; config is the content of manifest.config."""
    return plan_archive([PlannedImage((name,), (manifest,), manifest)], known={manifest.config.digest: config})
