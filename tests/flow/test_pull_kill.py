"""docker_pull.py killed at any instant: the run that isn't killed completes the same bytes, and asks for little twice.

python3 -m tests.flow.test_pull_kill [KILLS] [MIB]      as many kills and as large an image as you like
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ecrdrag.localecr import LocalEcr, Settings
from tests.flow.conftest import HOST
from tests.flow.scripts import command_of, environment_of
from tests.images import noise_image
from tests.localecr import REGION, client
from tests.putting import put_image
from tests.relay import Relay, relaying

MIB = 1024 * 1024
JOBS, CHUNK = 4, MIB
HEADERS = 64 * 1024  # bytes of a run that are none of the image's: headers, and what the API answers
SHARES = (0.45, 0.3, 0.15, 0.1)


@dataclass
class Outcome:
    """What a series of kills came to."""

    kills: int
    pulls: int
    fetched: int
    allowed: int


@contextmanager
def stocked(folder: Path, mib: int, *, rate: float | None) -> Iterator[tuple[Relay, dict[str, str]]]:
    """Run a local ECR behind a relay, with one image of noise; rate is in bytes per second for each connection."""
    with LocalEcr(folder / "data", settings=Settings(region=REGION, limit_rate=rate)) as ecr:
        with client(ecr) as api:
            api.create_repository(repositoryName="my/app")
            put_image(api, "my/app", noise_image([int(mib * MIB * share) for share in SHARES]), tag="1")
        with relaying(urlsplit(ecr.endpoint).port or 0) as relay:
            yield relay, environment_of(ecr, AWS_ENDPOINT_URL_ECR=relay.endpoint)


def pull_command(output: Path) -> list[str]:
    fixed = ("--platform", "linux/amd64", "-j", str(JOBS), "--chunk-size", str(CHUNK), "-o", str(output))
    return command_of("docker_pull.py", f"{HOST}/my/app:1", *fixed, "-q", "--progress", "none")


def strike(environment: dict[str, str], output: Path, seconds: float) -> bool:
    """Kill a pull after so many seconds; False when it had ended by itself, well."""
    with subprocess.Popen(pull_command(output), env=environment, stdout=subprocess.DEVNULL) as process:
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            return True
    assert code == 0
    return False


def kill_often(relay: Relay, environment: dict[str, str], folder: Path, kills: int, seed: int) -> Outcome:
    """Kill pulls until there were as many kills; each pull is taken up until it is done, and compared."""
    chance, whole, output = random.Random(seed), folder / "whole.tar", folder / "app.tar"
    begun = time.monotonic()
    assert not strike(environment, whole, 600)
    longest, size = time.monotonic() - begun, whole.stat().st_size
    killed = pulls = fetched = allowed = 0
    while killed < kills:
        relay.passed, strikes = 0, 0
        while killed + strikes < kills and strike(environment, output, chance.uniform(0, longest)):
            strikes += 1
        if not output.exists():
            assert not strike(environment, output, 600)
        assert output.read_bytes() == whole.read_bytes(), f"seed {seed}, pull {pulls}"
        assert [path.name for path in folder.glob("app.tar*")] == ["app.tar"]
        # One more than the kills: what was on its way when a request was cut in two at the end is fetched twice, too.
        limit = size + (strikes + 1) * (JOBS * CHUNK + HEADERS)
        assert relay.passed <= limit, f"seed {seed}: {relay.passed} bytes with {strikes} kills"
        fetched, allowed = fetched + relay.passed, allowed + size + strikes * JOBS * CHUNK
        killed, pulls = killed + strikes, pulls + 1
        output.unlink()
    return Outcome(killed, pulls, fetched, allowed)


def test_a_pull_killed_at_any_instant_is_resumed_with_little_fetched_twice(tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    with stocked(tmp_path, 24, rate=10.0 * MIB) as (relay, environment):
        outcome = kill_often(relay, environment, tmp_path, 15, seed)
    assert outcome.kills == 15


def main(arguments: list[str]) -> int:
    """Kill as often as asked for, and print what it came to."""
    kills, mib = (int(text) for text in (*arguments, *("300", "200")[len(arguments) :]))
    seed = random.randrange(2**32)
    print(f"{kills} kills of pulls of {mib} MiB, seed {seed}")
    with tempfile.TemporaryDirectory() as name, stocked(Path(name), mib, rate=None) as (relay, environment):
        outcome = kill_often(relay, environment, Path(name), kills, seed)
    print(f"{outcome.pulls} pulls completed, each of the same bytes as an undisturbed one, after {outcome.kills} kills")
    print(f"fetched: {outcome.fetched:,} bytes, headers too; images + kills x {JOBS} x {CHUNK:,}: {outcome.allowed:,}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
