"""Pushes to Debian's docker-registry: open, with a login, under TLS, over lines that break; skopeo reads what came."""

from __future__ import annotations

import io
import random
import socket
import socketserver
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import pytest

from ecrdrag.archive.intake import open_members
from ecrdrag.archive.plan import ImageName
from ecrdrag.archive.reader import ArchiveReader
from ecrdrag.content import Descriptor, Digest
from ecrdrag.errors import AuthError
from ecrdrag.manifest import Manifest, parse
from ecrdrag.push import Fate, PushedImage, PushOptions, push
from ecrdrag.reference import ImageReference
from ecrdrag.registry.client import RegistryClient
from ecrdrag.registry.distribution_destination import DistributionDestination
from ecrdrag.registry.http import Trust
from ecrdrag.transfer.progress import Silence
from ecrdrag.transfer.retry import RetryPolicy
from tests.archives import assemble
from tests.images import Image, noise_image
from tests.planned import plan_image
from tests.real.registry_servers import RegistryServer, docker_registry
from tests.real.tools import need

MIB = 1024 * 1024
PART = MIB
NOISE = noise_image([3 * MIB + 5, 700_000, MIB, 5 * MIB])
SEED = 5
FAST = RetryPolicy(tries=40, base=0.0)
BLOCK = 64 * 1024

pytestmark = pytest.mark.real


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "app.tar"
    name = ImageName.of(ImageReference.parse("registry.example/my/app:1"))
    contents = {digest: blob.content for digest, blob in NOISE.blobs.items()}
    path.write_bytes(assemble(plan_image(document_of(NOISE), NOISE.config.content, name), contents))
    return path


def document_of(image: Image) -> Manifest:
    document = parse(image.manifest.content, image.manifest.media_type)
    assert isinstance(document, Manifest)
    return document


@contextmanager
def destination_at(
    registry: RegistryServer, repository: str = "my/app", *, server: str = ""
) -> Iterator[DistributionDestination]:
    """Open a repository, under TLS where the registry speaks it, or at a server that leads there."""
    reference = ImageReference.parse(f"{registry.host}/{repository}:1")
    trust = Trust(more=registry.ca_file)
    with RegistryClient(server or reference.server, registry=registry.host, keyring=registry, trust=trust) as client:
        yield DistributionDestination(client, reference, part_size=PART)


def pushed(archive: Path, destination: DistributionDestination) -> PushedImage:
    reference = ImageReference.parse("registry.example/my/app:1")
    options = PushOptions(jobs=3, retry=FAST)
    with ArchiveReader(open_members(archive, io.BytesIO(), lambda _: None)) as reader:
        result = push(reader, reference, lambda _: destination, options, lambda _: nullcontext(Silence()))
    (image,) = result.images
    return image


def read_back(registry: RegistryServer, folder: Path) -> dict[str, bytes]:
    """Let skopeo copy the image to a folder, and give what is in its files by their digests."""
    options = registry.skopeo_options("src")
    image = f"docker://{registry.host}/my/app:1"
    command = [need("skopeo"), "--insecure-policy", "copy", "--quiet", *options, image, f"dir:{folder}"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    contents = [path.read_bytes() for path in folder.iterdir()]
    return {str(Digest.of(content)): content for content in contents}


def expected() -> dict[str, bytes]:
    blobs = [NOISE.manifest, *NOISE.blobs.values()]
    return {str(blob.digest): blob.content for blob in blobs}


@pytest.mark.parametrize(
    ("htpasswd", "tls", "relative"),
    [(False, False, False), (True, False, False), (False, True, False), (True, True, False), (False, False, True)],
    ids=["open", "login", "tls", "login under tls", "relative places"],
)
def test_an_image_arrives_whole_and_goes_once(
    archive: Path, tmp_path: Path, htpasswd: bool, tls: bool, relative: bool
) -> None:
    with docker_registry(tmp_path / "registry", htpasswd=htpasswd, tls=tls, relative=relative) as registry:
        with destination_at(registry) as destination:
            assert set(pushed(archive, destination).fates.values()) == {Fate.UPLOADED}
            assert set(pushed(archive, destination).fates.values()) == {Fate.EXISTED}
            assert destination.put_manifest(document_of(NOISE), "1") is False
        assert expected().items() <= read_back(registry, tmp_path / "copy").items()


def test_who_may_not_push_is_told_so_before_anything_is_sent(archive: Path, tmp_path: Path) -> None:
    with docker_registry(tmp_path / "registry", htpasswd=True) as registry:
        stranger = RegistryServer(registry.host, registry.url, None, None)
        with destination_at(stranger) as destination, pytest.raises(AuthError, match="UNAUTHORIZED"):
            pushed(archive, destination)


def test_a_blob_without_bytes_is_taken(tmp_path: Path) -> None:
    empty = Descriptor("application/octet-stream", Digest.of(b""), 0)
    with docker_registry(tmp_path / "registry") as registry, destination_at(registry) as destination:
        assert destination.missing([empty]) == {empty.digest}
        destination.begin(empty).complete()
        assert destination.missing([empty]) == set()


def test_a_blob_is_mounted_from_another_repository(archive: Path, tmp_path: Path) -> None:
    layer = document_of(NOISE).layers[0]
    with docker_registry(tmp_path / "registry", htpasswd=True) as registry:
        with destination_at(registry) as destination:
            pushed(archive, destination)
        with destination_at(registry, "other/app") as destination:
            assert destination.mount(layer, "not/there") is False
            assert destination.missing([layer]) == {layer.digest}
            assert destination.mount(layer, "my/app") is True
            assert destination.missing([layer]) == set()


class Breaking(socketserver.ThreadingTCPServer):
    """Pass bytes on to a server, and break every connection at random somewhere in what is sent."""

    daemon_threads = True

    def __init__(self, registry: RegistryServer) -> None:
        super().__init__(("127.0.0.1", 0), _Line)
        self.target = ("127.0.0.1", int(registry.host.rpartition(":")[2]))
        self._chance, self._lock = random.Random(SEED), threading.Lock()
        self.broken = 0

    def limit(self) -> int:
        """Say how many bytes the next connection brings: few while few have broken."""
        with self._lock:
            return self._chance.randrange(8 * MIB if self.broken > 3 else 2 * MIB)

    @contextmanager
    def running(self) -> Iterator[str]:
        thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"127.0.0.1:{self.server_address[1]}"
        finally:
            self.shutdown()
            thread.join()
            self.server_close()


class _Line(socketserver.BaseRequestHandler):
    server: Breaking

    def handle(self) -> None:
        left = self.server.limit()
        with socket.create_connection(self.server.target) as registry:
            back = threading.Thread(target=_pass_back, args=(registry, self.request), daemon=True)
            back.start()
            with suppress(OSError):
                while data := self.request.recv(BLOCK):
                    registry.sendall(data[:left])
                    left -= len(data)
                    if left < 0:
                        self.server.broken += 1
                        break
            _hang_up(registry)
            _hang_up(self.request)
            back.join()


def _pass_back(registry: socket.socket, client: socket.socket) -> None:
    with suppress(OSError):
        while data := registry.recv(BLOCK):
            client.sendall(data)
    _hang_up(client)


def _hang_up(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def test_an_image_arrives_whole_over_a_line_that_breaks(archive: Path, tmp_path: Path) -> None:
    print(f"seed {SEED}")
    with docker_registry(tmp_path / "registry", relative=True) as registry:
        with Breaking(registry) as line, line.running() as server, destination_at(registry, server=server) as made:
            pushed(archive, made)
            assert line.broken > 3
        assert expected().items() <= read_back(registry, tmp_path / "copy").items()
