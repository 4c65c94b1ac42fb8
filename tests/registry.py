"""Talk to /v2/ as a registry client does, byte by byte over HTTP; knows nothing of pytest.

with running(tmp_path) as ecr, visiting(ecr) as v2:
    v2.push(b"...", "my/app", tag="1")
"""

from __future__ import annotations

import base64
import http.client
import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPMessage
from urllib.parse import urlsplit

from ecrdrag import manifest
from ecrdrag.localecr import LocalEcr
from tests.localecr import REGION, client, digest_of

Body = bytes | Iterator[bytes]


@dataclass(frozen=True)
class Reply:
    """What came back."""

    status: int
    headers: HTTPMessage
    body: bytes

    @property
    def code(self) -> str:
        """The code of the first error."""
        return str(self.error["code"])

    @property
    def message(self) -> str:
        """The text of the first error."""
        return str(self.error["message"])

    @property
    def error(self) -> dict[str, object]:
        """The first error, of a body that is an error's."""
        assert self.headers["Content-Type"] == "application/json; charset=utf-8", self.body
        (error,) = json.loads(self.body)["errors"]
        assert isinstance(error, dict)
        return error

    @property
    def document(self) -> dict[str, object]:
        """The body as JSON."""
        found = json.loads(self.body)
        assert isinstance(found, dict)
        return found

    @property
    def place(self) -> str:
        """The path and query of Location."""
        parts = urlsplit(self.headers["Location"])
        return f"{parts.path}?{parts.query}" if parts.query else parts.path


class Client:
    """One connection to /v2/, with what it logs in with."""

    def __init__(self, connection: http.client.HTTPConnection, authorization: str, host: str = "") -> None:
        self.connection = connection
        self.authorization = authorization
        self.host = host

    def ask(self, method: str, target: str, body: Body = b"", **headers: str) -> Reply:
        """Send a request and read its reply; names of headers have _ for -, an iterator is sent in chunks."""
        sent = {"Authorization": self.authorization} if self.authorization else {}
        if self.host:
            sent["Host"] = self.host
        sent.update({name.replace("_", "-"): value for name, value in headers.items()})
        self.connection.request(method, target, body=body, headers=sent)
        with self.connection.getresponse() as reply:
            return Reply(reply.status, reply.headers, reply.read())

    def get(self, target: str, **headers: str) -> Reply:
        """GET."""
        return self.ask("GET", target, b"", **headers)

    def follow(self, reply: Reply) -> Reply:
        """Go where a redirect leads, with the password, as clients do that stay on one host."""
        assert reply.status == 307, reply
        return self.get(reply.place)

    def begin(self, repository: str, query: str = "") -> str:
        """Begin an upload and return its path."""
        reply = self.ask("POST", f"/v2/{repository}/blobs/uploads/{query}")
        assert reply.status == 202, reply
        return reply.place

    def push_blob(self, data: bytes, repository: str) -> str:
        """Push a blob in one piece; return its digest."""
        digest = digest_of(data)
        reply = self.ask("PUT", f"{self.begin(repository)}?digest={digest}", data)
        assert reply.status == 201, reply
        return digest

    def push(self, raw: str, repository: str, tag: str = "", kind: str = manifest.OCI_MANIFEST) -> Reply:
        """Put a manifest under a tag or its digest."""
        reference = tag or digest_of(raw.encode())
        return self.ask("PUT", f"/v2/{repository}/manifests/{reference}", raw.encode(), Content_Type=kind)


def password_of(ecr: LocalEcr, *, region: str = REGION) -> str:
    """Return what get-login-password prints."""
    with client(ecr, region=region) as api:
        token = api.get_authorization_token()["authorizationData"][0]["authorizationToken"]
    return base64.b64decode(token).decode().partition(":")[2]


def basic(password: str, user: str = "AWS") -> str:
    """Return an Authorization header."""
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


@contextmanager
def visiting(ecr: LocalEcr, authorization: str | None = None, host: str = "") -> Iterator[Client]:
    """Give a client that is logged in as the first account, unless another header is given."""
    header = basic(password_of(ecr)) if authorization is None else authorization
    with closing(http.client.HTTPConnection(urlsplit(ecr.endpoint).netloc, timeout=10)) as connection:
        yield Client(connection, header, host)
