"""Own a push that is watched: what it opens and changes on disk, what it leaves behind, what the registry has then.

test_push_fuzz.py enters. The push runs in this process and the server in another, so that all that is seen
is the push's doing.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Final

from mypy_boto3_ecr import ECRClient

from ecrdrag.archive.decompress import SNIFFED, decompressed, sniff
from ecrdrag.cli.main import main_of
from tests.flow.conftest import HOST
from tests.flow.hostile import Mutant

TAG: Final = "1"
CPU_SECONDS: Final = 5  # of one push, whatever else this machine does
_WRITING: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# What Python's audit table has of changes on disk, and how many paths each begins with.
_CHANGES: Final = {
    **dict.fromkeys(("os.link", "os.rename", "os.symlink"), 2),
    **dict.fromkeys(("os.chmod", "os.chown", "os.mkdir", "os.remove", "os.rmdir", "os.truncate", "os.utime"), 1),
    **dict.fromkeys(("os.removexattr", "os.setxattr", "shutil.chown", "shutil.move", "shutil.rmtree"), 1),
}
_PROCESSES: Final = ("os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system", "subprocess.Popen")
_OPEN_FILES: Final = Path("/proc/self/fd")
# As archive/convert.py writes manifests, and as neither the images of tests nor json.dumps() here do.
_CONVERTED: Final = b'{"schemaVersion":2,"mediaType":"'


class Watch:
    """Note what is opened and changed while it is on. There should be one: an audit hook stays for good."""

    def __init__(self) -> None:
        self.opened: list[str] = []
        self.changed: list[tuple[str, str]] = []
        self._is_on = False
        sys.addaudithook(self._hear)

    @contextmanager
    def on(self) -> Iterator[None]:
        """Watch what happens inside, in any thread, and forget what was before."""
        self.opened, self.changed, self._is_on = [], [], True
        try:
            yield
        finally:
            self._is_on = False

    def _hear(self, event: str, arguments: tuple[object, ...]) -> None:
        if not self._is_on:
            return
        if event == "open":
            path, _, flags = arguments
            self.opened.append(_text(path))
            if isinstance(flags, int) and flags & _WRITING and not isinstance(path, int):
                self.changed.append((event, _text(path)))
        elif event in _PROCESSES:
            self.changed.append((event, str(arguments)))
        else:
            self.changed += [(event, _text(path)) for path in arguments[: _CHANGES.get(event, 0)]]


def _text(path: object) -> str:
    return os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else str(path)


@dataclass(frozen=True)
class Ending:
    """How one push ended; seconds are of this process's CPU."""

    code: int
    out: str
    err: str
    repository: str
    seconds: float

    @property
    def digest(self) -> str:
        """The digest that was printed."""
        if self.out.startswith("{"):
            return str(json.loads(self.out)["images"][0]["digest"])
        return self.out.split("\n")[0].rpartition("@")[2]


@dataclass(frozen=True)
class Ground:
    """Where pushes take place: a registry, and a folder with one for temporary files and one that nobody must enter."""

    api: ECRClient
    folder: Path
    watch: Watch
    numbers: Iterator[int] = field(default_factory=count)

    def __post_init__(self) -> None:
        self.temporary.mkdir(parents=True)
        self.outside.parent.mkdir()
        self.outside.write_text("{}")

    @property
    def temporary(self) -> Path:
        """For temporary files."""
        return self.folder / "tmp"

    @property
    def outside(self) -> Path:
        """A file that hostile links lead to."""
        return self.folder / "outside" / "secret"

    def push(self, mutant: Mutant, repository: str = "") -> Ending:
        """Push to a repository, else to a new one, and hold what comes of it against all that is promised."""
        threads = threading.active_count()
        ended = self._push(mutant, repository or self.new_repository())
        self._check_streams(ended)
        self._check_disk()
        self._check_registry(ended, "--dry-run" in mutant.options)
        assert _settles(threads)
        assert ended.seconds < CPU_SECONDS, ended
        return ended

    def new_repository(self) -> str:
        """Create a repository of a name that the server doesn't know yet, whoever had it before."""
        name = f"mutants/{time.time_ns()}"
        self.api.create_repository(repositoryName=name)
        return name

    def _push(self, mutant: Mutant, repository: str) -> Ending:
        """Run the command with streams as strict as they come."""
        path = self.folder / f"mutant-{next(self.numbers)}"
        mutant.write(path, self.outside)
        arguments = ["-" if mutant.is_piped else str(path), f"{HOST}/{repository}:{TAG}", *mutant.options]
        out, err = (io.TextIOWrapper(io.BytesIO(), "ascii", errors) for errors in ("strict", "backslashreplace"))
        streams = sys.stdin, sys.stdout, sys.stderr
        sys.stdin, sys.stdout, sys.stderr = io.TextIOWrapper(io.BytesIO(mutant.content)), out, err
        begun = time.process_time()
        try:
            with self.watch.on():
                code = main_of("push", arguments, program="docker_push.py")
        finally:
            sys.stdin, sys.stdout, sys.stderr = streams
            if not path.is_dir():
                path.unlink()
        return Ending(code, _all_of(out), _all_of(err), repository, time.process_time() - begun)

    def _check_streams(self, ended: Ending) -> None:
        for word in ("Traceback", "this is a bug", "Exception"):
            assert f"{word} " not in f"{ended.err} ", ended
        assert all(line.isprintable() for line in ended.err.split("\n")), ended
        assert bool(ended.out) == (ended.code == 0), ended
        assert ended.code == 0 or f"\n{ended.err}".count("\ndocker_push.py: "), ended

    def _check_disk(self) -> None:
        """Nothing was changed elsewhere, or read out of the archive; nothing stayed open or lies about."""
        temporary, hidden = str(self.temporary), str(self.outside.parent)
        assert [change for change in self.watch.changed if not change[1].startswith(temporary)] == []
        assert [path for path in self.watch.opened if path.startswith((hidden, "/dev/zero", "/proc/"))] == []
        assert list(self.temporary.iterdir()) == []
        assert list(self.outside.parent.iterdir()) == [self.outside]
        assert [path for path in _open_files() if path.startswith(str(self.folder))] == []

    def _check_registry(self, ended: Ending, dry_run: bool) -> None:
        tags = self.api.list_images(repositoryName=ended.repository, filter={"tagStatus": "TAGGED"})["imageIds"]
        if ended.code or dry_run:
            assert tags == [], ended
        else:
            assert tags == [{"imageDigest": ended.digest, "imageTag": TAG}], ended
            self._check_image(ended)

    def _check_image(self, ended: Ending) -> None:
        """The tag stands for what was printed; a manifest that was made fits its config, layer by layer."""
        (image,) = self.api.batch_get_image(repositoryName=ended.repository, imageIds=[{"imageTag": TAG}])["images"]
        raw = image["imageManifest"].encode()
        assert f"sha256:{hashlib.sha256(raw).hexdigest()}" == ended.digest
        if not raw.startswith(_CONVERTED):
            return
        document = json.loads(raw)
        config = json.loads(self._blob(ended, document["config"]["digest"]))
        for layer, diff_id in zip(document["layers"], config["rootfs"]["diff_ids"] or (), strict=True):
            content = self._blob(ended, layer["digest"])
            assert len(content) == layer["size"]
            plain = b"".join(decompressed(sniff(content[:SNIFFED]), [content]))
            algorithm, _, digits = diff_id.partition(":")
            assert hashlib.new(algorithm, plain).hexdigest() == digits, f"{layer} is not what its config says: {ended}"

    def _blob(self, ended: Ending, digest: str) -> bytes:
        answer = self.api.get_download_url_for_layer(repositoryName=ended.repository, layerDigest=digest)
        with urllib.request.urlopen(answer["downloadUrl"]) as body:
            content: bytes = body.read()
        return content


def _all_of(stream: io.TextIOWrapper) -> str:
    stream.seek(0)
    return stream.read()


def _open_files() -> Iterator[str]:
    for link in _OPEN_FILES.iterdir():
        with suppress(OSError):  # the one of the iteration itself
            yield str(link.readlink())


def _settles(threads: int) -> bool:
    """Wait a moment for threads that have nothing to do any more but end."""
    deadline = time.monotonic() + 5
    while threading.active_count() > threads and time.monotonic() < deadline:
        time.sleep(0.001)
    return threading.active_count() <= threads
