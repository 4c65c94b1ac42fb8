"""Own the two doors of a registry as a cheap client has them: raw HTTP, one connection, each request timed.

The crowd enters. botocore would cost more than the server that is to be measured.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from time import monotonic
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from ecrdrag.manifest import OCI_MANIFEST
from tests.bench.population import NUMBER, Content, Made

REGION = "us-east-1"
_BLOCK = 256 * 1024
_PART = 10 * 1024 * 1024
_TIMEOUT = 60.0
GONE = (ConnectionError, http.client.HTTPException, TimeoutError)
"""What a request ends with when the server has gone."""


Reply = tuple[int, http.client.HTTPMessage, bytes]
"""Status, headers and body of an answer."""


class Wrong(Exception):  # noqa: N818 - the server's fault, and the benchmark's finding
    """An answer that should not be."""


@dataclass
class Wire:
    """One connection to the server; notes how long each kind of request took."""

    port: int
    note: Callable[[str, float], None]
    _connection: http.client.HTTPConnection | None = None

    def ask(self, kind: str, method: str, target: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        """Send a request and read its answer."""
        with self._asked(kind, method, target, body, headers) as answer:
            return answer.status, answer.headers, answer.read()

    def check_blob(self, target: str, digest: str) -> None:
        """Read a blob, and raise Wrong unless it is what its digest says."""
        found = hashlib.sha256()
        with self._asked("blob GET", "GET", target, b"", {}) as answer:
            while block := answer.read(_BLOCK):
                found.update(block)
            if answer.length:  # of the bytes that were announced, those that never came
                self.close()
                raise http.client.IncompleteRead(b"", answer.length)
        if answer.status != 200 or f"sha256:{found.hexdigest()}" != digest:
            raise Wrong(f"blob {digest}: {answer.status}, sha256:{found.hexdigest()}")

    def close(self) -> None:
        """Hang up."""
        if self._connection:
            self._connection.close()
        self._connection = None

    @contextmanager
    def _asked(
        self, kind: str, method: str, target: str, body: bytes, headers: Mapping[str, str]
    ) -> Iterator[http.client.HTTPResponse]:
        if self._connection is None:
            self._connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_TIMEOUT)
        began = monotonic()
        try:
            self._connection.request(method, target, body or None, dict(headers))
            yield self._connection.getresponse()
        except GONE:
            self.close()
            raise
        self.note(kind, monotonic() - began)


@dataclass
class Api:
    """Push and pull by the ECR API, signed by hand: AWS general reference, "Signature Version 4"."""

    wire: Wire
    key_id: str
    secret: str = field(repr=False)

    def push(self, image: Made) -> None:
        """Upload what is missing, and put the image."""
        wanted = {"repositoryName": image.repository, "layerDigests": [blob.digest for blob in image.blobs]}
        known = self.call("BatchCheckLayerAvailability", wanted)["layers"]
        there = {one["layerDigest"] for one in known if one["layerAvailability"] == "AVAILABLE"}
        for blob in image.blobs:
            if blob.digest not in there:
                self._upload(image.repository, blob)
        put = {"imageManifest": image.manifest.decode(), "imageManifestMediaType": OCI_MANIFEST, "imageTag": image.tag}
        self.call("PutImage", {"repositoryName": image.repository, **put}, fine="ImageAlreadyExistsException")

    def pull(self, repository: str, tag: str, number: int) -> None:
        """Get an image and all its blobs."""
        answer = self.call("BatchGetImage", {"repositoryName": repository, "imageIds": [{"imageTag": tag}]})
        if answer["failures"]:
            raise Wrong(f"{repository}:{tag}: {answer['failures']}")
        (image,) = answer["images"]
        for digest in blobs_of(image["imageManifest"].encode(), image["imageId"]["imageDigest"], number):
            found = self.call("GetDownloadUrlForLayer", {"repositoryName": repository, "layerDigest": digest})
            self.wire.check_blob(_target(found["downloadUrl"]), digest)

    def password(self) -> str:
        """Get what docker clients log in with, as the Basic scheme has it."""
        found: str = self.call("GetAuthorizationToken", {})["authorizationData"][0]["authorizationToken"]
        return found

    def call(self, operation: str, members: Mapping[str, object], fine: str = "") -> dict[str, Any]:
        """Call an operation; a fine error is an answer too."""
        body = json.dumps(members).encode()
        moment = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        headers = {
            "content-type": "application/x-amz-json-1.1",
            "host": f"127.0.0.1:{self.wire.port}",
            "x-amz-date": moment,
            "x-amz-target": f"AmazonEC2ContainerRegistry_V20150921.{operation}",
        }
        headers["Authorization"] = self._authorization(headers, body, moment)
        status, _, raw = self.wire.ask(f"API {operation}", "POST", "/", body, headers)
        answer: dict[str, Any] = json.loads(raw)
        if status != 200 and not (fine and answer.get("__type") == fine):
            raise Wrong(f"API {operation}: {status} {raw[:300]!r}")
        return answer

    def _upload(self, repository: str, blob: Content) -> None:
        upload = self.call("InitiateLayerUpload", {"repositoryName": repository})["uploadId"]
        named = {"repositoryName": repository, "uploadId": upload}
        for start in range(0, len(blob.data), _PART):
            part = blob.data[start : start + _PART]
            members = {"partFirstByte": start, "partLastByte": start + len(part) - 1}
            self.call("UploadLayerPart", {**named, **members, "layerPartBlob": base64.b64encode(part).decode()})
        wanted = {**named, "layerDigests": [blob.digest]}
        self.call("CompleteLayerUpload", wanted, fine="LayerAlreadyExistsException")

    def _authorization(self, headers: Mapping[str, str], body: bytes, moment: str) -> str:
        names = ";".join(headers)
        canonical = "\n".join(
            ("POST", "/", "", *(f"{name}:{value}" for name, value in headers.items()), "", names, _sha256(body))
        )
        scope = f"{moment[:8]}/{REGION}/ecr/aws4_request"
        text = "\n".join(("AWS4-HMAC-SHA256", moment, scope, _sha256(canonical.encode())))
        key = f"AWS4{self.secret}".encode()
        for word in scope.split("/"):
            key = hmac.digest(key, word.encode(), "sha256")
        signature = hmac.digest(key, text.encode(), "sha256").hex()
        return f"AWS4-HMAC-SHA256 Credential={self.key_id}/{scope}, SignedHeaders={names}, Signature={signature}"


@dataclass
class Docker:
    """Push and pull over /v2/, as docker does."""

    wire: Wire
    token: str = field(repr=False)

    def push(self, image: Made) -> None:
        """Upload what is missing, and put the manifest."""
        for blob in image.blobs:
            target = f"/v2/{image.repository}/blobs/{blob.digest}"
            if self._ask("HEAD blob", "HEAD", target, fine=(200, 404))[0] == 404:
                self._upload(image.repository, blob)
        target = f"/v2/{image.repository}/manifests/{image.tag}"
        self._ask("PUT manifest", "PUT", target, image.manifest, {"Content-Type": OCI_MANIFEST}, fine=(201,))

    def pull(self, repository: str, tag: str, number: int) -> None:
        """Get an image and all its blobs."""
        target = f"/v2/{repository}/manifests/{tag}"
        _, headers, raw = self._ask("GET manifest", "GET", target, headers={"Accept": OCI_MANIFEST})
        for digest in blobs_of(raw, headers.get("Docker-Content-Digest"), number):
            _, found, _ = self._ask("GET blob", "GET", f"/v2/{repository}/blobs/{digest}", fine=(307,))
            self.wire.check_blob(_target(found["Location"]), digest)

    def _upload(self, repository: str, blob: Content) -> None:
        _, found, _ = self._ask("POST upload", "POST", f"/v2/{repository}/blobs/uploads/", fine=(202,))
        target = f"{_target(found['Location'])}?digest={blob.digest}"
        self._ask("PUT blob", "PUT", target, blob.data, {"Content-Type": "application/octet-stream"}, fine=(201,))

    def _ask(
        self,
        kind: str,
        method: str,
        target: str,
        body: bytes = b"",
        headers: Mapping[str, str] = MappingProxyType({}),
        fine: tuple[int, ...] = (200,),
    ) -> Reply:
        reply = self.wire.ask(f"/v2/ {kind}", method, target, body, {"Authorization": f"Basic {self.token}", **headers})
        if reply[0] not in fine:
            raise Wrong(f"/v2/ {kind}: {reply[0]} {reply[2][:300]!r}")
        return reply


def blobs_of(manifest: bytes, digest: str | None, number: int) -> list[str]:
    """Return the digests of an image's blobs; raise Wrong when it isn't the image that was asked for."""
    found = f"sha256:{_sha256(manifest)}"
    document = json.loads(manifest)
    if digest not in (None, found) or document["annotations"][NUMBER] != str(number):
        raise Wrong(f"image {number}: {digest} is {found} of {document.get('annotations')}")
    return [blob["digest"] for blob in (*document["layers"], document["config"])]


def _target(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
