"""The doors: which command, what --help says, what an ending becomes."""

from __future__ import annotations

import argparse
import io
import logging
import re
import subprocess
import sys
import threading
from contextlib import ExitStack

import pytest

from ecrdrag import errors
from ecrdrag.cli import main as cli
from ecrdrag.cli import pull as pull_command
from ecrdrag.cli.progress import Bar, Plain, display
from ecrdrag.content import Descriptor, Digest

BLOB = Descriptor("application/octet-stream", Digest.of(b""), 0)


@pytest.fixture(autouse=True)
def no_handlers_left() -> object:
    yield
    logging.getLogger("ecrdrag").handlers.clear()


def end_with(monkeypatch: pytest.MonkeyPatch, ending: BaseException | int, *options: str) -> int:
    def run(arguments: argparse.Namespace) -> int:
        if isinstance(ending, BaseException):
            raise ending
        return ending

    monkeypatch.setattr(pull_command, "run", run)
    return cli.main_of("pull", ["REF", *options], program="docker_pull.py")


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.UsageError, 2),
        (errors.AuthError, 3),
        (errors.NotFoundError, 4),
        (errors.TransferError, 5),
        (errors.TransientError, 5),
        (errors.IntegrityError, 6),
        (errors.ArchiveError, 7),
        (errors.UnsupportedError, 8),
        (errors.ConflictError, 9),
        (errors.EcrdragError, 70),
    ],
)
def test_every_error_has_its_exit_code_and_shows_message_and_hint(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kind: type[errors.EcrdragError], code: int
) -> None:
    assert end_with(monkeypatch, kind("it broke", hint="mend it\nsoon")) == code
    assert capsys.readouterr().err == "docker_pull.py: it broke\n  mend it\n  soon\n"


def test_what_a_server_says_can_not_steer_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(arguments: argparse.Namespace) -> int:
        logging.getLogger("ecrdrag.any").warning("logged \x1b[2J\u202e")
        raise errors.TransferError("said \x1b]0;title\x07é", hint="hint \x9b")

    monkeypatch.setattr(pull_command, "run", run)
    assert cli.main_of("pull", ["REF"], program="docker_pull.py") == 5
    assert capsys.readouterr().err == (
        "docker_pull.py: logged \\x1b[2J\\u202e\ndocker_pull.py: said \\x1b]0;title\\x07é\n  hint \\x9b\n"
    )


def test_a_bug_is_said_without_a_traceback_and_shown_with_v(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert end_with(monkeypatch, ValueError("odd")) == 70
    assert capsys.readouterr().err == ("docker_pull.py: this is a bug in ecrdrag: ValueError: odd\n  -v shows where\n")
    assert end_with(monkeypatch, ValueError("odd"), "-v") == 70
    assert "Traceback" in capsys.readouterr().err


def test_ctrl_c_is_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert end_with(monkeypatch, KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == "docker_pull.py: interrupted\n"


def test_a_second_ctrl_c_is_130_too(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted(io.StringIO):
        def write(self, _text: str) -> int:
            raise KeyboardInterrupt

    monkeypatch.setattr(sys, "stderr", Interrupted())
    assert end_with(monkeypatch, KeyboardInterrupt()) == 130


@pytest.mark.parametrize("arguments", [[], ["fetch"], ["--verbose"]])
def test_an_unknown_command_is_a_usage_error(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == 2
    assert "ecrdrag --help lists the options" in capsys.readouterr().err


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_help_and_so_has_each_of_a_group(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([name, "--help"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"usage: ecrdrag {name} ")
    group = re.findall(r"^    ([a-z]+)(?:  .*)?$", out.partition("\n  COMMAND\n")[2].partition("\n\n")[0], re.MULTILINE)
    for command in group:
        assert f"\n    {command}" in out
        assert cli.main([name, command, "--help"]) == 0
        help_of = capsys.readouterr().out
        assert help_of.startswith(f"usage: ecrdrag {name} {command} ")
        assert "--verbose" in help_of
    assert bool(group) != ("--verbose" in out)


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"\n    {name}" in out for name in cli.COMMANDS)


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from ecrdrag.cli.main import main; main(['pull', '--help']); "
        "print({'boto3', 'botocore', 'requests', 'tqdm', 'urllib3', 'werkzeug'} & set(sys.modules))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == "set()"


@pytest.mark.parametrize(
    ("text", "size"), [("1048576", 2**20), ("1MiB", 2**20), ("8m", 2**23), ("20MB", 20 * 2**20), ("2048k", 2**21)]
)
def test_chunk_sizes_are_read_in_bytes_kib_and_mib(text: str, size: int) -> None:
    parser = argparse.ArgumentParser()
    pull_command.add_arguments(parser)
    assert parser.parse_args(["REF", "--chunk-size", text]).chunk_size == size


def test_plain_progress_prints_a_line_each_interval(capsys: pytest.CaptureFixture[str]) -> None:
    printed = threading.Event()

    class Told(Plain):
        def line(self) -> str:
            printed.set()
            return super().line()

    with ExitStack() as stack:
        progress = Told(stack, 0.001)
        progress.begin(4 * 1024 * 1024, 2)
        progress.advance(1024 * 1024)
        progress.blob_done(BLOB)
        printed.clear()
        assert printed.wait(10)
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("1.0 of 4.0 MiB (25 %), ")
    assert last.endswith("layers 1/2")


def test_a_plain_line_says_what_moves_and_does_without_a_total_and_layers() -> None:
    with ExitStack() as stack:
        progress = Plain(stack, 60, "read")
        progress.begin(None, 0)
        progress.advance(12 * 1024 * 1024)
        assert re.fullmatch(r"read: 12\.0 MiB, [\d,.]+ MiB/s", progress.line())


def test_a_plain_line_of_nothing_to_move_is_complete() -> None:
    with ExitStack() as stack:
        progress = Plain(stack, 60)
        progress.begin(0, 1)
        assert progress.line() == "0.0 of 0.0 MiB (100 %), 0.0 MiB/s, layers 0/1"


def test_the_bar_says_what_moves_and_does_without_a_total_and_layers(capsys: pytest.CaptureFixture[str]) -> None:
    with display("bar", quiet=False, label="read") as progress:
        progress.begin(None, 0)
        progress.advance(2048)
        progress.blob_done(BLOB)
    err = capsys.readouterr().err
    assert "read: 2.00kB [" in err
    assert "layers" not in err


def test_display_hands_the_label_to_the_plain_line() -> None:
    with display("plain", quiet=False, label="upload") as progress:
        assert isinstance(progress, Plain)
        progress.begin(1024 * 1024, 2)
        assert progress.line().startswith("upload: 0.0 of 1.0 MiB (0 %), ")


def test_the_bar_shows_bytes_and_layers_and_ends_with_its_context(capsys: pytest.CaptureFixture[str]) -> None:
    with display("bar", quiet=False) as progress:
        assert isinstance(progress, Bar)
        progress.begin(2048, 2)
        progress.advance(2048)
        progress.advance(-1024)
        progress.blob_done(BLOB)
        logging.getLogger("ecrdrag").warning("beside the bar")
    err = capsys.readouterr().err
    assert "1.00k/2.00k" in err
    assert "layers 1/2" in err


@pytest.mark.parametrize("quiet", [True, False])
def test_without_a_terminal_there_is_no_bar(quiet: bool) -> None:
    with display("auto", quiet=quiet) as progress:
        assert isinstance(progress, Plain) is not quiet
