"""The conformance suite of the OCI distribution specification 1.1.1, where ECRDRAG_CONFORMANCE names its program.

In the dialect of the specification everything passes; what ECR's own dialect fails, and why, is FAILS.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.real.local import Local, open_local

pytestmark = pytest.mark.real

SPECS = 79
TITLE = "OCI Distribution Conformance Tests "
MOUNT = "Push Cross-Repository Blob Mount "
WORKFLOWS = ("PULL", "PUSH", "CONTENT_DISCOVERY", "CONTENT_MANAGEMENT")
SKIPPED = {
    # The suite's own: it pushes what it pulls and lists, and mounting without "from" is tested one way or the other.
    "Pull Setup Get tag name from environment",
    "Content Discovery Setup Populate registry with test tags (no push)",
    MOUNT + "Cross-mounting without from, and automatic content discovery enabled should return a 201",
}
# After a mount that answers 201, and after one that answers 202.
MOUNTED = {MOUNT + "Cross-mounting of nonexistent blob should yield session id"}
NOT_MOUNTED = {
    MOUNT + "GET request to test digest within cross-mount namespace should return 200",
    MOUNT + "Cross-mounting without from, and automatic content discovery disabled should return a 202",
}
PATCHED = "ECR answers 201 to PATCH"
UNREFERENCED = "ECR gives no blob out that no image refers to"
FAILS = {
    "Push Blob Upload Streamed PATCH request with blob in body should yield 202 response": PATCHED,
    "Push Blob Upload Streamed PUT request to session URL with digest should yield 201 response": (
        "the suite goes on with the answer before, which it didn't keep since that had 201"
    ),
    "Push Blob Upload Monolithic "
    "GET request to blob URL from prior request should yield 200 or 404 based on response code": UNREFERENCED,
    "Push Blob Upload Monolithic GET request to existing blob should yield 200 response": UNREFERENCED,
    "Push Blob Upload Monolithic GET request to existing layer should yield 200 response": UNREFERENCED,
    "Push Blob Upload Chunked PATCH request with first chunk should return 202": PATCHED,
    "Push Blob Upload Chunked PATCH request with second chunk should return 202": PATCHED,
    "Push Blob Upload Chunked PUT request with digest should return 201": (
        "parts before the last have at least 5 MiB, these have 22 bytes"
    ),
    "Content Discovery Test content discovery endpoints (listing tags) "
    "GET start of tag is set by `last` query parameter": "ECR's last is the API's nextToken, not a tag",
}
NOT_DELETED = {"Content Management Blob delete GET request to deleted blob URL should yield 404 response"}


@dataclass(frozen=True)
class Result:
    """Names of specs that didn't pass."""

    failed: set[str]
    skipped: set[str]


@pytest.fixture(scope="module")
def program() -> str:
    return os.environ.get("ECRDRAG_CONFORMANCE") or pytest.skip("ECRDRAG_CONFORMANCE names no conformance suite")


def _conform(program: str, local: Local, report: Path) -> Result:
    """Run all workflows against two repositories and read what the suite says of each spec."""
    environment = {
        "OCI_ROOT_URL": f"http://{local.host}",
        "OCI_NAMESPACE": "my/app/one",
        "OCI_CROSSMOUNT_NAMESPACE": "my/app/two",
        "OCI_AUTOMATIC_CROSSMOUNT": "0",
        "OCI_USERNAME": "AWS",
        "OCI_PASSWORD": local.login.read_text().strip(),
        "OCI_REPORT_DIR": str(report),
        **{f"OCI_TEST_{workflow}": "1" for workflow in WORKFLOWS},
    }
    done = subprocess.run([program], env=environment, cwd=report, capture_output=True, timeout=120, check=False)
    assert done.returncode in (0, 1), done.stderr
    cases = [case.attrib for case in ElementTree.parse(report / "junit.xml").iter("testcase")]
    specs = [(case["name"].removeprefix(TITLE), case["status"]) for case in cases if case["name"].startswith(TITLE)]
    assert len(specs) == SPECS
    assert {status for _, status in specs} <= {"passed", "failed", "skipped"}
    return Result(*({name for name, status in specs if status == each} for each in ("failed", "skipped")))


def test_the_dialect_of_the_specification_conforms_to_it(program: str, tmp_path: Path) -> None:
    with open_local(tmp_path, "--data", str(tmp_path / "data"), "--dialect", "oci") as local:
        result = _conform(program, local, tmp_path)
    assert result.failed == set()
    assert result.skipped == SKIPPED | MOUNTED


def test_ecr_s_dialect_fails_what_is_known_of_ecr_and_nothing_else(program: str, tmp_path: Path) -> None:
    with open_local(tmp_path, "--data", str(tmp_path / "data")) as local:
        for repository in "one", "two":
            local.create(repository)
        result = _conform(program, local, tmp_path)
    assert result.failed == set(FAILS)
    assert result.skipped == SKIPPED | NOT_MOUNTED | NOT_DELETED
