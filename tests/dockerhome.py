"""Lay out a home folder as docker's users have one: its configuration, and credential helpers in PATH.

The tests of credentials enter.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from ecrdrag.credentials.docker_config import encode_auth
from ecrdrag.registry.auth import Login

HUB_KEY = "https://index.docker.io/v1/"


def auth(login: Login) -> dict[str, object]:
    """Write an entry of auths."""
    return {"auth": encode_auth(login)}


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Give an environment whose home is a folder, and whose PATH is bin in it alone."""
    return {"HOME": str(folder), "PATH": str(folder / "bin"), **more}


def configure(folder: Path, document: object, name: str = ".docker/config.json") -> Path:
    """Write a configuration, as JSON unless it is a text."""
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(document if isinstance(document, str) else json.dumps(document), encoding="utf-8")
    return file


def program(folder: Path, name: str, script: str) -> Path:
    """Put a shell script into PATH; it finds no other programs there."""
    file = folder / "bin" / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    file.chmod(0o755)
    return file


def helper(folder: Path, name: str, answer: Mapping[str, str]) -> Path:
    """Put a credential helper into PATH that has one answer; it notes what it is asked, and give that file."""
    asked = folder / "asked"
    text = json.dumps({"ServerURL": "", **answer})
    note = f"{{ printf '%s ' \"$*\"; /bin/cat; echo; }} >>'{asked}'"
    program(folder, f"docker-credential-{name}", f"{note}\n[ \"$1\" = get ] && echo '{text}'\nexit 0")
    return asked
