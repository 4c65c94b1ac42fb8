"""People see what an image is made of, whatever the screen, and nothing that images could do to it."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from ecrdrag.cli.inspect_json import LINE_COLUMNS, inspection_document, lines_of
from ecrdrag.cli.inspect_text import MAX_ROWS, inspection_lines
from ecrdrag.cli.terminal import Screen
from ecrdrag.inspection.anatomy import Inspection
from ecrdrag.manifest import DOCKER_CONFIG, DOCKER_MANIFEST, OCI_MANIFEST
from tests import kinds
from tests.images import Blob
from tests.inspected import FOREIGN, GZIP, RICH, image_with, looked, looked_into, source_of, windows_image
from tests.kinds import OCI_TAR, buildx_index, document_of, greeter, index
from tests.packed import packed, without
from tests.saved import docker_archive
from tests.schema1_images import hello_schema1

INDEX = buildx_index()
NARROW, WIDE = Screen(80, is_terminal=True), Screen(200, is_terminal=True)
# U+202E turns what follows around; the second is the C1 form of ESC [.
HOSTILE = "a\x1b[2Jb\x07c\rd\ne\u202ef\x9bg"


def shown(inspection: Inspection, screen: Screen = NARROW, *, is_cut: bool = True) -> str:
    return "\n".join(inspection_lines(inspection, screen, is_cut=is_cut))


def config_with(**members: object) -> dict[str, object]:
    return {"os": "linux", "architecture": "amd64", "config": members}


def test_the_tree_is_drawn_with_what_is_an_attestation_of_which() -> None:
    lines = shown(looked(source_of(INDEX), "linux/amd64"), WIDE).splitlines()
    start = next(place for place, line in enumerate(lines) if line.startswith("PART"))
    assert [line.split("  ")[0] for line in lines[start + 1 : start + 6]] == [
        "index",
        "├─ linux/amd64",
        "├─ linux/arm64",
        "├─ attestation of linux/amd64",
        "└─ attestation of linux/arm64",
    ]
    assert str(INDEX.of("arm64").digest) in lines[start + 3]


def test_a_tree_in_a_tree_is_indented() -> None:
    text = shown(looked(source_of(kinds.nested_index())), WIDE)
    assert "│  └─ index" in text
    assert "│     ├─ linux/amd64" in text
    assert "└─ application/vnd.cncf.helm.config.v1+json" in text


def test_a_screen_of_few_characters_gets_a_tree_too() -> None:
    text = shown(looked(source_of(kinds.nested_index())), Screen(80, is_terminal=True, encoding="ascii"))
    assert text.isascii()
    assert "|     |- linux/amd64" in text


@pytest.mark.parametrize("width", [80, 120, 200])
def test_no_table_is_wider_than_the_screen(width: int) -> None:
    screen = Screen(width, is_terminal=True)
    about = kinds.all_about(INDEX)
    inspections = [
        looked(source_of(INDEX, *about), referrers=True),
        looked(source_of(index([windows_image()])), "windows/amd64"),
        looked(source_of(kinds.helm_chart())),
    ]
    for inspection in inspections:
        assert max(map(len, shown(inspection, screen).splitlines())) <= width


def test_nothing_is_shortened_where_that_is_not_wanted() -> None:
    text = shown(looked(source_of(INDEX)), is_cut=False)
    assert "…" not in text
    assert all(str(document.digest) in text for document in INDEX.documents)


def test_what_is_missing_or_unreadable_is_said() -> None:
    files = without(packed({"a:1": INDEX}), INDEX.of("arm64").digest)
    assert "linux/arm64 (missing)" in shown(looked_into(files))
    old = hello_schema1(keys=())
    parcel = index([greeter("amd64", "x"), kinds.Parcel((Blob(old.raw, old.media_type),))])
    text = shown(looked(source_of(parcel)))
    assert "└─ unknown (can't be read)" in text
    assert f"{parcel.documents[1].digest} can't be read: a schema 1 manifest" in text


def test_an_index_that_comes_again_leads_to_where_it_came_first() -> None:
    below = index([greeter("amd64", "x")])
    text = shown(looked(source_of(index([below, below]))))
    assert text.count("index (see above)") == 1


def test_a_config_is_shown_field_by_field() -> None:
    text = shown(looked(source_of(windows_image())), WIDE)
    for line in (
        "Platform:    windows/amd64 10.0.20348.2762",
        "User:         ContainerUser",
        "Working dir:  C:\\app",
        'Entrypoint:   ["cmd", "/S", "/C"]',
        'Cmd:          ["app.exe"]',
        "  PATH=C:\\Windows;C:\\app",
        "Ports:        80/tcp, 443/tcp",
        "Volumes:      c:/data",
        "  org.opencontainers.image.source=https://example.com/app",
        "Stop signal:  SIGTERM",
        'Healthcheck:  ["CMD-SHELL", "app.exe /health"], interval 30 s, retries 3',
    ):
        assert line in text.splitlines()


def test_layers_stand_beside_the_lines_that_made_them() -> None:
    lines = shown(looked(source_of(windows_image())), WIDE).splitlines()
    start = next(place for place, line in enumerate(lines) if line.startswith("#"))
    first, empty, second, note = lines[start + 1 :]
    assert first.startswith("1  15 B  sha256:")
    assert first.endswith("  foreign (missing)  Apply image 10.0.20348.2762")
    assert empty.split() == ["-", "-", "-", "empty", "CMD", '["app.exe"]']
    assert second.endswith("  tar+gzip           RUN cmd /S /C echo hello && app.exe /install")
    assert note == "foreign layers need not be in a registry; they lie at mcr.microsoft.com"


def test_no_secret_of_a_url_is_shown() -> None:
    inspection = looked(source_of(windows_image()))
    text = shown(inspection) + json.dumps(inspection_document(inspection))
    assert "s3cret" not in text
    assert "https://mcr.microsoft.com/base" in text


def test_the_hosts_of_foreign_layers_are_named_up_to_a_number() -> None:
    base = Blob(b"base", FOREIGN)
    urls = [f"https://{name}/x" for name in ["a\x1b2Jb", "[bad", "", *(f"host-{place}.example" for place in range(20))]]
    config = Blob(b"{}", DOCKER_CONFIG)
    root = document_of(DOCKER_MANIFEST, config=config.json, layers=[{**base.json, "urls": urls}])
    text = shown(looked(source_of(kinds.Parcel((root,), {config.digest: config}))))
    assert text.endswith("they lie at a\\x1b2jb, nowhere, " + ", ".join(f"host-{place}.example" for place in range(8)))


def test_what_a_document_says_of_itself_stands_at_its_head() -> None:
    about = INDEX.of("amd64")
    lines = shown(looked(source_of(kinds.sbom(about)))).splitlines()
    assert lines[2] == f"about {about.digest}"
    assert "Artifact type:  application/spdx+json" in lines
    assert "Annotations:    org.opencontainers.image.created=2024-05-06T07:08:09Z" in lines


def test_a_history_that_does_not_add_up_is_shown_beneath() -> None:
    lines = shown(looked(source_of(image_with(RICH, [Blob(b"x", GZIP)], oci=False)))).splitlines()
    assert lines[-1].startswith("the history has another number of layers than these 1")
    assert [line.split()[0] for line in lines[-5:-1]] == ["1", "-", "-", "-"]


@pytest.mark.parametrize(
    "config",
    [
        config_with(
            Env=[f"A={HOSTILE}"], Labels={HOSTILE: HOSTILE}, User=HOSTILE, Cmd=[HOSTILE], Volumes={HOSTILE: {}}
        ),
        {**config_with(), "created": HOSTILE, "os.version": HOSTILE, "variant": HOSTILE},
        {**config_with(), "history": [{"created_by": HOSTILE}, {"comment": HOSTILE, "empty_layer": True}]},
        {**config_with(Healthcheck={"Test": [HOSTILE]}, ExposedPorts={HOSTILE: {}}, StopSignal=HOSTILE), "os": HOSTILE},
    ],
)
def test_nothing_in_a_config_steers_the_terminal(config: dict[str, object]) -> None:
    layer = Blob(b"x", HOSTILE)
    parcel = image_with(config, [layer, Blob(b"y", OCI_TAR)], annotations={HOSTILE: HOSTILE}, artifactType="")
    text = shown(looked(source_of(index([parcel]))), is_cut=False) + shown(looked(source_of(parcel)), is_cut=False)
    assert all(each.isprintable() for each in text if each != "\n")
    assert "\\x1b[2J" in text
    assert not any(line.strip().startswith("e\\u202e") for line in text.splitlines())


def test_nothing_in_an_index_or_an_archive_steers_the_terminal() -> None:
    parcel = greeter("amd64", "x")
    said = {"platform": {"os": HOSTILE, "architecture": HOSTILE, "os.version": HOSTILE}}
    attested = {**kinds.attestation(parcel).said, "annotations": {"vnd.docker.reference.digest": HOSTILE}}
    parts = [
        kinds.Parcel(parcel.documents, parcel.blobs, said),
        kinds.Parcel(parcel.documents, parcel.blobs, attested),
        kinds.artifact([(Blob(b"f", HOSTILE), {"org.opencontainers.image.title": HOSTILE})], artifact_type=HOSTILE),
    ]
    text = shown(looked_into(packed({HOSTILE: index(parts), "x": parts[2]})), is_cut=False)
    assert all(each.isprintable() for each in text if each != "\n")


def test_long_lists_and_long_lines_are_cut() -> None:
    env = [f"A{place}=b" for place in range(5000)]
    layers = [Blob(b"%d" % place, OCI_TAR) for place in range(300)]
    history = [{"created_by": "x" * 5_000} for _ in layers]
    config = {**config_with(Env=env, Labels={"a": "y" * 100_000}), "history": history}
    text = shown(looked(source_of(image_with(config, layers))), is_cut=False)
    assert "and 4800 more: --json shows all" in text
    assert "and 100 more: --json shows all" in text
    assert max(map(len, text.splitlines())) < 2200


def test_an_index_of_very_many_parts_is_cut() -> None:
    parcel = greeter("amd64", "x")
    text = shown(looked(source_of(index([parcel] * (MAX_ROWS + 5)))))
    assert "and more: --json shows all" in text
    assert text.count("├─ ") == MAX_ROWS - 1
    assert "and more" not in shown(looked(source_of(index([parcel] * (MAX_ROWS - 1)))))


def test_dockers_format_is_shown_by_the_digests_of_its_tars() -> None:
    text = shown(looked_into(docker_archive()), WIDE)
    assert "none, as docker's format has no manifest" in text
    assert "DIGEST OF TAR" in text
    assert "sha256:53e10c935bc61d1d24e084e8c1e8325900f1fee53aef3188c90972a02c610883" in text


def test_images_of_an_archive_are_a_line_apart() -> None:
    text = shown(looked_into(packed({"a:1": greeter("amd64", "x"), "b:1": kinds.wasm()})))
    assert "\n\nb:1\n" in text
    nameless = shown(looked_into(packed({"": greeter("amd64", "x")})))
    assert nameless.startswith("(no name) in app.tar\n")


def test_a_line_for_programs_says_what_names_each_thing() -> None:
    lines = list(lines_of(looked(source_of(INDEX))))
    assert [(line.kind, line.platform) for line in lines[:5]] == [
        ("index", ""),
        ("image", "linux/amd64"),
        ("config", "linux/amd64"),
        ("layer", "linux/amd64"),
        ("image", "linux/arm64"),
    ]
    assert [line.parent for line in lines[:4]] == [
        None,
        INDEX.digest,
        INDEX.of("amd64").digest,
        INDEX.of("amd64").digest,
    ]
    values: Sequence[object] = [column.value(lines[1]) for column in LINE_COLUMNS]
    root = INDEX.of("amd64").root
    assert values == ["image", "linux/amd64", root.digest, len(root.content), OCI_MANIFEST, INDEX.digest]
