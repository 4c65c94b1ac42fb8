"""Schema 1 images on their way: what is measured and brought, what of it is kept, and in which form it ends."""

from __future__ import annotations

import bz2
import gzip
import json

import pytest

from ecrdrag.archive.compress import Compression
from ecrdrag.content import Digest, Platform
from ecrdrag.errors import IntegrityError, NotFoundError, TransferError, TransientError
from ecrdrag.manifest import DOCKER_MANIFEST, Manifest
from ecrdrag.schema1 import Schema1
from tests.converting import (
    FAST,
    GZIP,
    OPEN_FILES,
    PLAIN,
    WHERE,
    Far,
    content_of,
    converting,
    found,
    tars_of,
    temporary_files,
    type_of,
)
from tests.images import tar_of
from tests.kinds import gzipped, image, zstded
from tests.schema1_images import EMPTY_GZIP, Step, hello_schema1, hello_steps, old_image

HELLO = hello_schema1()
NOT_EMPTY = {Digest.of(step.blob): step.blob for place, step in enumerate(hello_steps()) if place in (0, 2, 6)}
TARS = [gzip.decompress(step.blob) if step.blob[:2] == b"\x1f\x8b" else step.blob for step in hello_steps()]


@pytest.mark.parametrize("wish", [None, GZIP, PLAIN], ids=["as they are", "gzip", "plain"])
def test_a_schema_1_image_becomes_one_of_today_in_the_wanted_form(wish: Compression | None) -> None:
    far = Far(HELLO)
    with converting(wish) as convert:
        converted = convert(far)
        made = converted.image
        assert isinstance(made.root, Manifest)
        assert (made.root.media_type, made.tree.documents, made.manifest) == (DOCKER_MANIFEST, (made.root,), made.root)
        assert made.platform == Platform("linux", "amd64")
        assert {blob.digest for blob in made.root.blobs} == set(converted.blobs), "all of it lies here"
        assert tars_of(converted, far, made.root) == [TARS[0], TARS[2], TARS[2], TARS[6]]
        config = content_of(converted, far, made.root.config)
    assert made.configs == {made.root.config.digest: config}
    diff_ids = [str(Digest.of(TARS[place])) for place in (0, 2, 2, 6)]
    assert json.loads(config)["rootfs"] == {"type": "layers", "diff_ids": diff_ids}
    forms = {None: ["gzip", "gzip", "gzip", ""], GZIP: ["gzip"] * 4, PLAIN: [""] * 4}[wish]
    assert [layer.media_type for layer in made.root.layers] == [type_of(form, oci=False) for form in forms]
    far.check_nothing_twice()


def test_layers_that_stay_are_offered_byte_for_byte_and_those_known_to_be_empty_never_asked_for() -> None:
    far = Far(HELLO)
    with converting(None) as convert:
        converted = convert(far)
        assert isinstance(converted.image.root, Manifest)
        for layer in converted.image.root.layers:
            assert content_of(converted, far, layer) == NOT_EMPTY[layer.digest]
    assert Digest.of(EMPTY_GZIP) not in far.given.keys() | far.measured.keys()
    assert set(far.given) == set(far.measured)


def test_layers_of_other_compressions_come_as_registries_take_them() -> None:
    tars = [tar_of({f"{place}": bytes([place] * 5000)}) for place in range(3)]
    packed = [bz2.compress(tars[0]), zstded(tars[1]), gzipped(tars[2])]
    far = Far(old_image([Step("RUN x", blob) for blob in packed]))
    with converting(None) as convert:
        converted = convert(far)
        assert isinstance(converted.image.root, Manifest)
        kinds = [layer.media_type for layer in converted.image.root.layers]
        assert kinds == [type_of(form, oci=False) for form in ("gzip", "gzip", "gzip")]
        assert tars_of(converted, far, converted.image.root) == tars
        assert content_of(converted, far, converted.image.root.layers[2]) == packed[2]


def test_a_layer_that_a_modern_image_shares_is_not_brought_again() -> None:
    step = hello_steps()[0]
    modern = image([gzip.decompress(step.blob)], pack=lambda tar: step.blob)
    for wish in (GZIP, PLAIN):
        old, new = Far(HELLO), Far(modern)
        with converting(wish) as convert:
            convert(old)
            converted = convert(new)
            assert isinstance(converted.image.root, Manifest)
            assert set(converted.blobs) >= {converted.image.root.layers[0].digest}
            assert tars_of(converted, new, converted.image.root) == [TARS[0]]
        assert Digest.of(step.blob) not in new.given


@pytest.mark.skipif(not OPEN_FILES.is_dir(), reason="this system doesn't list open files")
def test_many_images_share_one_temporary_file_as_a_process_may_have_few() -> None:
    tars = [tar_of({f"{place}": b"x"}) for place in range(5)]
    with converting(None) as convert:
        opened = []
        made = []
        for tar in tars:
            far = Far(old_image([Step("RUN x", gzipped(tar))]))
            made.append((far, convert(far)))
            opened.append(len(temporary_files()))
        assert max(opened) == opened[0]  # those of earlier tests may be closed meanwhile
        for tar, (far, converted) in zip(tars, made, strict=True):
            assert isinstance(converted.image.root, Manifest)
            assert tars_of(converted, far, converted.image.root) == [tar]


def test_the_same_image_is_made_with_any_number_of_jobs_signed_or_not() -> None:
    made = set()
    for jobs, source in ((1, HELLO), (5, HELLO), (2, hello_schema1(keys=()))):
        with converting(PLAIN, jobs=jobs) as convert:
            made.add(convert(Far(source)).image.root.raw)
    assert len(made) == 1


def test_a_blob_that_is_not_what_its_sum_says_is_refused() -> None:
    far = Far(HELLO)
    digest = next(iter(NOT_EMPTY))
    far.blobs[digest] = far.blobs[digest][:-1] + b"x"
    with converting(None) as convert, pytest.raises(IntegrityError, match=f"^{WHERE}: blob {digest} arrived with"):
        convert(far)


def test_a_size_that_is_waited_for_is_not_when_another_is_not_to_be_had() -> None:
    far = Far(hello_schema1())
    missing = next(iter(NOT_EMPTY))
    del far.blobs[missing]
    measure = far.measure

    def waiting(digest: Digest) -> int:
        if digest != missing:
            assert far.aborted.wait(10)
            raise TransferError("stopped")
        return measure(digest)

    far.measure = waiting  # type: ignore[method-assign]
    with converting() as convert, pytest.raises(NotFoundError, match=f"there is no {missing}"):
        convert(far)
    assert far.aborted.is_set()


def test_a_blob_that_is_not_there_is_named_before_anything_is_brought() -> None:
    far = Far(HELLO)
    digest = list(NOT_EMPTY)[-1]
    del far.blobs[digest]
    with converting(None) as convert, pytest.raises(NotFoundError, match=f"^{WHERE}: there is no {digest}"):
        convert(far)
    assert not far.given


def test_a_size_is_asked_for_again_until_it_is_no_use() -> None:
    class Moody(Far):
        asked, failures = 0, 2

        def measure(self, digest: Digest) -> int:
            self.asked += 1
            if self.asked <= self.failures:
                raise TransientError("not now")
            return super().measure(digest)

    image = old_image(hello_steps()[:1])
    with converting(None) as convert:
        convert(Moody(image))
    never = Moody(image)
    never.failures = 99
    with (
        converting(None) as convert,
        pytest.raises(TransferError, match=r"gave up on the size of layer sha256:") as caught,
    ):
        convert(never)
    assert str(caught.value).startswith(f"{WHERE}: ")
    assert never.asked == FAST.tries


def test_resolving_gives_schema_1_as_it_is() -> None:
    assert isinstance(found(Far(HELLO)), Schema1)
