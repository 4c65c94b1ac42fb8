"""Tars and folders as Members: all that honest ones hold is found, hostile ones only ever end in ArchiveError."""

from __future__ import annotations

import io
import os
import random
import sys
import tarfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ecrdrag.archive.folder import FolderMembers
from ecrdrag.archive.members import MAX_MEMBERS, Member, Members
from ecrdrag.archive.plan import BLOCK, blob_path
from ecrdrag.archive.tar import TarMembers
from ecrdrag.errors import ArchiveError
from tests.archives import sample_of

WHERE = "app.tar"
END = bytes(2 * BLOCK)
FORMATS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
MIB = 1024 * 1024
NEVER = 5  # seconds, far more than anything bounded takes
Open = Callable[[bytes], TarMembers]


def header(name: str, size: int = 0, kind: bytes = tarfile.REGTYPE, *, link: str = "") -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = size, kind, link
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


def file(name: str, content: bytes = b"") -> bytes:
    return header(name, len(content)) + padded(content)


def padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % BLOCK)


def symlink(name: str, target: str) -> bytes:
    return header(name, kind=tarfile.SYMTYPE, link=target)


def hardlink(name: str, target: str) -> bytes:
    return header(name, kind=tarfile.LNKTYPE, link=target)


def extension(payload: bytes, kind: bytes = tarfile.XHDTYPE, size: int | None = None) -> bytes:
    return header("extension", len(payload) if size is None else size, kind) + padded(payload)


def record(key: str, value: str) -> bytes:
    """One pax record, whose length counts its own digits."""
    rest = f" {key}={value}\n".encode()
    size = len(rest) + 1
    while len(str(size)) + len(rest) != size:
        size = len(str(size)) + len(rest)
    return str(size).encode() + rest


def with_size(block: bytes, field: bytes) -> bytes:
    """Put another size into a header, with the checksum that belongs to it."""
    return with_checksum(block[:124] + field.ljust(12, b"\0") + block[136:])


def with_checksum(block: bytes) -> bytes:
    blank = block[:148] + b" " * 8 + block[156:BLOCK]
    return blank[:148] + b"%06o\0 " % sum(blank) + blank[156:] + block[BLOCK:]


def content(members: Members, name: str) -> bytes:
    member = members.find(name)
    assert member is not None, f"{name!r} is not found"
    return read(members, member, 0, member.size)


def read(members: Members, member: Member, start: int, stop: int) -> bytes:
    data = b"".join([bytes(view) for view in members.read(member, start, stop)])
    assert len(data) == stop - start
    return data


def opened_file(path: Path, archive: bytes) -> TarMembers:
    path.write_bytes(archive)
    return TarMembers(os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0)), WHERE)


@pytest.fixture
def tar(tmp_path: Path) -> Iterator[Open]:
    """Open archives from their bytes, as a file on disk."""
    opened: list[TarMembers] = []

    def open_tar(archive: bytes) -> TarMembers:
        opened.append(opened_file(tmp_path / "app.tar", archive))
        return opened[-1]

    yield open_tar
    for each in opened:
        each.close()


@pytest.fixture
def eager_switches() -> Iterator[None]:
    """Let threads change as often as Python can, so that a race shows."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


# What honest archives hold


@dataclass(frozen=True)
class Wanted:
    contents: dict[str, bytes]
    links: dict[str, str]
    form: int

    @property
    def archive(self) -> bytes:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=self.form, encoding="utf-8") as tar:
            for name, data in self.contents.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
            for name, target in self.links.items():
                info = tarfile.TarInfo(name)
                info.type, info.linkname = tarfile.LNKTYPE, target
                tar.addfile(info)
        return buffer.getvalue()


@st.composite
def wanted(draw: st.DrawFn) -> Wanted:
    form = draw(st.sampled_from(FORMATS))
    letters = st.characters(exclude_categories=["C"], exclude_characters="/\\", max_codepoint=0x2FFF)
    longest = 20 if form == tarfile.USTAR_FORMAT else 150
    part = st.text(letters, min_size=1, max_size=longest).filter(lambda text: text not in (".", ".."))
    if form == tarfile.USTAR_FORMAT:
        part = part.filter(lambda text: len(text.encode()) <= 30)
    name = st.lists(part, min_size=1, max_size=3).map("/".join)
    contents = draw(st.dictionaries(name, st.binary(max_size=1200), max_size=5))
    targets = st.sampled_from(sorted(contents)) if contents else st.nothing()
    links = draw(st.dictionaries(name, targets, max_size=3)) if contents else {}
    return Wanted(contents, {name: to for name, to in links.items() if name not in contents}, form)


@settings(deadline=5000)
@given(wanted(), st.randoms(use_true_random=False))
def test_whatever_tarfile_writes_is_found_and_read_from_any_byte(
    tmp_path_factory: pytest.TempPathFactory, wanted: Wanted, chance: random.Random
) -> None:
    members = opened_file(tmp_path_factory.getbasetemp() / "any.tar", wanted.archive)
    try:
        assert members.names() == (*wanted.contents, *wanted.links)
        for name, data in {**wanted.contents, **{n: wanted.contents[to] for n, to in wanted.links.items()}}.items():
            member = members.find(name)
            assert member is not None
            assert member.size == len(data)
            start = chance.randint(0, len(data))
            stop = chance.randint(start, len(data))
            assert read(members, member, start, stop) == data[start:stop]
    finally:
        members.close()


def test_our_own_archives_are_read(tar: Open) -> None:
    sample = sample_of([b"bottom" * 300, b"top" * 300])
    members = tar(sample.archive)
    for digest, data in sample.contents.items():
        assert content(members, blob_path(digest)) == data
    assert members.names() == tuple(slot.name for slot in sample.plan.slots if not slot.name.endswith("/"))
    assert members.where == WHERE


def test_a_member_of_many_buffers_is_read_in_views_of_bounded_size(tar: Open) -> None:
    data = random.Random(1).randbytes(2 * MIB + 12_345)
    members = tar(file("before", b"x") + file("large", data) + END)
    assert content(members, "large") == data
    member = members.find("large")
    assert member is not None
    assert max(len(view) for view in members.read(member, 0, member.size)) <= MIB
    assert read(members, member, MIB - 1, MIB + 1) == data[MIB - 1 : MIB + 1]
    assert list(members.read(member, 7, 7)) == []


@pytest.mark.usefixtures("eager_switches")
def test_many_threads_read_many_members_at_once(tar: Open) -> None:
    chance = random.Random(2)
    contents = {f"blobs/{place}": chance.randbytes(100_000) for place in range(8)}
    members = tar(b"".join(file(name, data) for name, data in contents.items()) + END)

    def check(seed: int) -> None:
        own = random.Random(seed)
        for _ in range(50):
            name = own.choice(list(contents))
            start, stop = sorted(own.choices(range(100_001), k=2))
            member = members.find(name)
            assert member is not None
            assert read(members, member, start, stop) == contents[name][start:stop]

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(check, range(8)))


def test_two_reads_side_by_side_in_one_thread_dont_mix(tar: Open) -> None:
    members = tar(file("a", b"a" * 100) + file("b", b"b" * 100) + END)
    first, second = members.find("a"), members.find("b")
    assert first is not None
    assert second is not None
    reads = members.read(first, 0, 100), members.read(second, 0, 100)
    views = [next(each) for each in reads]
    assert [bytes(view) for view in views] == [b"a" * 100, b"b" * 100]


@pytest.mark.parametrize(("start", "stop"), [(-1, 2), (2, 1), (0, 4), (4, 4)])
def test_bytes_that_a_member_doesnt_have_are_a_bug_of_the_caller(tar: Open, start: int, stop: int) -> None:
    members = tar(file("a", b"abc") + file("b", b"secret") + END)
    member = members.find("a")
    assert member is not None
    with pytest.raises(ValueError, match="is not inside the 3 bytes of 'a'"):
        members.read(member, start, stop)


@pytest.mark.parametrize("name", ["./a/b", "a//b", "./a//./b", "a/b"])
def test_names_are_one_however_they_are_written(tar: Open, name: str) -> None:
    members = tar(header("./", kind=tarfile.DIRTYPE) + file(name, b"x") + END)
    assert members.names() == ("a/b",)
    for asked in ("a/b", "./a/b", "a//b/"):
        assert content(members, asked) == b"x"


@pytest.mark.parametrize("name", ["", ".", "nothing", "a", "a/b/c", "/a/b", "../a/b", "a/../a/b", "a\\b", "a/b\0"])
def test_other_names_are_not_found(tar: Open, name: str) -> None:
    assert tar(file("a/b", b"x") + END).find(name) is None


def test_names_that_are_no_utf_8_are_found_as_python_writes_them(tar: Open) -> None:
    name = b"caf\xe9".decode("utf-8", "surrogateescape")
    assert content(tar(file(name, b"x") + END), name) == b"x"


def test_folders_may_come_twice_and_are_not_listed(tar: Open) -> None:
    folder = header("a", kind=tarfile.DIRTYPE)
    old = header("old/", kind=tarfile.AREGTYPE) + extension(record("path", "long/")) + header("cut")
    members = tar(folder + file("a/b", b"x") + folder + old + folder + END)
    assert members.names() == ("a/b",)
    for name in ("a", "old", "long"):
        with pytest.raises(ArchiveError, match=f"^app.tar: '{name}' is a folder, not a regular file$"):
            members.find(name)


def test_pax_records_go_before_the_header(tar: Open) -> None:
    records = record("mtime", "1.5") + record("path", "real") + record("size", "3") + record("comment", "1" * 40)
    members = tar(extension(records) + header("other", 0) + padded(b"abc") + file("next", b"x") + END)
    assert members.names() == ("real", "next")
    assert content(members, "real") == b"abc"


def test_a_pax_record_without_a_value_says_nothing(tar: Open) -> None:
    records = record("path", "") + record("size", "") + record("linkpath", "")
    assert content(tar(extension(records) + file("own", b"abc") + END), "own") == b"abc"


def test_a_global_header_that_matters_to_no_member_is_passed_over(tar: Open) -> None:
    members = tar(extension(record("comment", "a commit"), tarfile.XGLTYPE) + file("a", b"x") + END)
    assert content(members, "a") == b"x"


def test_a_long_name_and_pax_records_add_up(tar: Open) -> None:
    long = extension(b"a" * 300 + b"\0", tarfile.GNUTYPE_LONGNAME)
    link = extension(b"b" * 300 + b"\0", tarfile.GNUTYPE_LONGLINK)
    target = extension(record("path", "b" * 300)) + file("x", b"data")
    assert content(tar(target + long + link + symlink("cut", "cut") + END), "a" * 300) == b"data"


@pytest.mark.parametrize("end", [b"", bytes(BLOCK), END, bytes(20 * BLOCK), bytes(700), END + b"garbage" * 100])
def test_two_zero_blocks_or_the_end_of_the_file_end_an_archive(tar: Open, end: bytes) -> None:
    assert content(tar(file("a", b"x" * 600) + end), "a") == b"x" * 600


def test_padding_may_be_missing_at_the_end_of_the_file(tar: Open) -> None:
    assert content(tar(header("a", 3) + b"abc"), "a") == b"abc"


def test_an_archive_without_members_is_one(tar: Open) -> None:
    assert tar(END).names() == ()


# Links


def test_links_are_followed_as_docker_saved_them_before_25(tar: Open) -> None:
    members = tar(
        file("aa/layer.tar", b"layer")
        + symlink("bb/layer.tar", "../aa/layer.tar")
        + symlink("bb/same", "layer.tar")
        + hardlink("cc/layer.tar", "./bb/layer.tar")
        + END
    )
    found = {name: members.find(name) for name in members.names()}
    assert set(found.values()) == {Member("aa/layer.tar", 5, BLOCK)}
    assert list(found) == ["aa/layer.tar", "bb/layer.tar", "bb/same", "cc/layer.tar"]


def chain(links: int) -> bytes:
    return b"".join(symlink(f"l{place}", f"l{place + 1}") for place in range(links)) + file(f"l{links}", b"x") + END


def test_a_chain_of_16_links_is_followed_and_no_longer_one(tar: Open) -> None:
    assert content(tar(chain(16)), "l0") == b"x"
    with pytest.raises(ArchiveError, match=r"^app.tar: 'l0' is a link through more than 16 links$"):
        tar(chain(17)).find("l0")


@pytest.mark.parametrize("make", [symlink, hardlink])
@pytest.mark.parametrize(
    ("target", "complaint"),
    [
        ("/etc/passwd", "leads out of the archive, to '/etc/passwd'"),
        ("../../x", "leads out of the archive"),
        ("../../a/there", "leads out of the archive"),
        ("nowhere", "is a link to 'nowhere', which is not in the archive"),
        ("", "which is not in the archive|through more than 16"),
        ("..\\there", "which is not in the archive"),
    ],
)
def test_a_link_out_of_the_archive_or_to_nowhere_is_refused(
    tar: Open, make: Callable[[str, str], bytes], target: str, complaint: str
) -> None:
    members = tar(make("a/link", target) + file("a/there") + END)
    with pytest.raises(ArchiveError, match=f"^app.tar: 'a/link' .*({complaint})"):
        members.find("a/link")
    assert content(members, "a/there") == b""


def test_a_hard_link_names_its_file_from_the_root(tar: Open) -> None:
    members = tar(file("there", b"root") + file("a/there", b"own") + hardlink("a/link", "there") + END)
    assert content(members, "a/link") == b"root"


def test_links_in_a_circle_are_refused(tar: Open) -> None:
    members = tar(symlink("a", "b") + hardlink("b", "a") + symlink("self", "self") + END)
    for name in ("a", "b", "self"):
        with pytest.raises(ArchiveError, match=f"'{name}' is a link through more than 16 links"):
            members.find(name)


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        (tarfile.DIRTYPE, "a folder"),
        (tarfile.FIFOTYPE, "a device, a pipe or another special file"),
        (tarfile.CHRTYPE, "a device, a pipe or another special file"),
        (tarfile.BLKTYPE, "a device, a pipe or another special file"),
        (b"Q", "a device, a pipe or another special file"),
        (tarfile.GNUTYPE_SPARSE, "a sparse file"),
    ],
)
def test_what_is_no_regular_file_is_refused_by_its_name_and_by_links_to_it(tar: Open, kind: bytes, word: str) -> None:
    members = tar(header("odd", 0, kind) + symlink("link", "odd") + file("a", b"x") + END)
    with pytest.raises(ArchiveError, match=f"^app.tar: 'odd' is {word}, not a regular file$"):
        members.find("odd")
    with pytest.raises(ArchiveError, match=f"^app.tar: 'link' leads to 'odd', which is {word}, not a regular file$"):
        members.find("link")
    assert content(members, "a") == b"x"
    if word.startswith(("a folder", "a device")):
        assert members.names() == ("link", "a")


# Sparse members


def old_sparse(name: str, blocks: int) -> bytes:
    """A sparse file as GNU tar writes it, with so many more blocks of its map."""
    own = bytearray(header(name, 5, tarfile.GNUTYPE_SPARSE))
    own[386:410] = b"%011o\0%011o\0" % (0, 5)
    own[482] = bool(blocks)
    own[483:495] = b"%011o\0" % 1_000_000
    more = [bytearray(BLOCK) for _ in range(blocks)]
    for block in more:
        block[:24] = b"%011o\0%011o\0" % (7, 0)
        block[504] = block is not more[-1]
    return with_checksum(bytes(own)) + b"".join(map(bytes, more)) + padded(b"01234")


@pytest.mark.parametrize(
    "sparse",
    [
        old_sparse("odd", 0),
        old_sparse("odd", 3),
        extension(record("GNU.sparse.size", "9") + record("GNU.sparse.offset", "0")) + file("odd", b"01234"),
        extension(record("GNU.sparse.map", "0,5") + record("GNU.sparse.name", "odd")) + file("x", b"01234"),
        extension(
            record("GNU.sparse.major", "1")
            + record("GNU.sparse.minor", "0")
            + record("GNU.sparse.name", "odd")
            + record("GNU.sparse.realsize", "99999999999")
        )
        + file("GNUSparseFile.0/odd", padded(b"1\n0\n5\n") + b"01234"),
    ],
    ids=["old", "old and long", "0.0", "0.1", "1.0"],
)
def test_a_sparse_member_is_refused_by_its_real_name_and_harms_no_other(tar: Open, sparse: bytes) -> None:
    members = tar(sparse + file("next", b"x") + END)
    assert members.names() == ("odd", "next")
    with pytest.raises(ArchiveError, match=r"^app.tar: 'odd' is a sparse file, not a regular file$"):
        members.find("odd")
    assert content(members, "next") == b"x"


@pytest.mark.parametrize("blocks", [1, 2])
def test_a_sparse_map_that_never_ends_is_refused(tar: Open, blocks: int) -> None:
    archive = old_sparse("odd", blocks)[: BLOCK * (1 + blocks)]
    with pytest.raises(ArchiveError, match="the map of a sparse file goes on at byte"):
        tar(archive[:-8] + b"\1" + archive[-7:])


# Hostile names


@pytest.mark.parametrize(
    "name",
    ["/a", "//a", "..", "../a", "a/..", "a/../b", "a/../../b", "./../a", "a\\b", "..\\a", "\\a", "C:\\a", "n" * 4097],
)
@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE])
def test_a_member_whose_name_leads_out_spoils_the_archive(tar: Open, name: str, kind: bytes) -> None:
    with pytest.raises(ArchiveError, match=r"^app.tar: the name of member '.*' ?.*is unsafe") as caught:
        tar(file("good") + header(name, 0, kind) + END)
    assert repr(name[:100]) in str(caught.value)
    assert len(str(caught.value)) < 250
    assert caught.value.exit_code == 7


def test_a_name_with_a_zero_byte_is_unsafe(tar: Open) -> None:
    with pytest.raises(ArchiveError, match=r"'a\\x00b' is unsafe"):
        tar(extension(record("path", "a\0b")) + file("a") + END)


def test_a_name_in_a_message_steers_no_terminal(tar: Open) -> None:
    with pytest.raises(ArchiveError) as caught:
        tar(file("/\x1b[2J\udcff" + "\n" * 50) + END)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", ["", ".", "./", "//"])
@pytest.mark.parametrize("make", [lambda _: header("", 0), lambda name: symlink(name, "a")])
def test_a_file_must_have_a_name(tar: Open, make: Callable[[str], bytes], name: str) -> None:
    with pytest.raises(ArchiveError, match=r"^app.tar: .*(has no name|is unsafe)"):
        tar(file("a") + make(name) + END)


@pytest.mark.parametrize(
    "second",
    [
        file("a/b", b"other"),
        file("./a//b", b"y"),
        symlink("a/b", "../a/b"),
        hardlink("a/b", "a/b"),
        header("a/b", kind=tarfile.FIFOTYPE),
        header("a/b", kind=tarfile.DIRTYPE),
    ],
)
def test_a_name_that_comes_twice_is_refused(tar: Open, second: bytes) -> None:
    for archive in (file("a/b", b"x") + second, second + file("a/b", b"x"), second + file("c") + file("a/b")):
        with pytest.raises(ArchiveError, match=r"^app.tar: member 'a/b' is there twice$"):
            tar(archive + END)


def test_a_small_file_that_comes_again_with_the_same_bytes_is_one(tar: Open) -> None:
    members = tar(file("a/b", b"x") + file("c") + file("./a/b", b"x") + END)  # crane, for a config of two names
    assert members.names() == ("a/b", "c")
    large = file("big", bytes(4 * 1024 * 1024 + 1))
    with pytest.raises(ArchiveError, match="is there twice"):
        tar(large + large + END)


def test_more_members_than_any_image_has_are_refused(tar: Open) -> None:
    folder = header("a", kind=tarfile.DIRTYPE)
    with pytest.raises(ArchiveError, match=r"^app.tar: has more than 100000 members$"):
        tar(folder * (MAX_MEMBERS + 1) + END)


# Hostile sizes


@pytest.mark.parametrize(
    ("field", "complaint"),
    [
        (b"77777777777", "cut short: member 'lie' needs 8589934591 bytes from byte 1536"),
        (b"\x80" + bytes(3) + b"\x7f" + b"\xff" * 7, "cut short: member 'lie' needs"),
        (b"\x80" + b"\xff" * 11, "cut short: member 'lie' needs"),
        (b"\xff" * 12, "the size of member 'lie' is no size"),
        (b"\xff" * 10 + b"\xfe\x00", "the size of member 'lie' is no size"),
        (b"notoctal", "what is at byte 1024 is no header"),
        (b"00000001001", "cut short: member 'lie' needs 513 bytes from byte 1536, and the end at byte 2048"),
    ],
)
def test_a_size_that_lies_is_refused(tar: Open, field: bytes, complaint: str) -> None:
    with pytest.raises(ArchiveError, match=f"^app.tar: .*{complaint}"):
        tar(file("good", b"x") + with_size(header("lie"), field) + bytes(BLOCK))


@pytest.mark.parametrize("size", ["-1", "-512", "x", "1.5", "1e3", "9" * 20, "9" * 21, "9" * 5000, "\u0663", "0x10"])
def test_a_size_that_lies_in_pax_records_is_refused(tar: Open, size: str) -> None:
    with pytest.raises(ArchiveError, match=r"^app.tar: .*(the size of member 'lie' is no size|member 'lie' needs)"):
        tar(extension(record("size", size)) + file("lie", b"x") + END)


def test_a_size_where_no_content_follows_moves_nothing(tar: Open) -> None:
    members = tar(
        header("d", 5000, tarfile.DIRTYPE) + header("l", 9, tarfile.LNKTYPE, link="a") + file("a", b"x") + END
    )
    assert content(members, "l") == b"x"


# Hostile extended headers


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK])
@pytest.mark.parametrize("size", [MIB + 1, 8**11 - 1])
def test_an_extended_header_over_1_mib_is_refused_unread(tar: Open, kind: bytes, size: int) -> None:
    with pytest.raises(ArchiveError, match=f"^app.tar: the extended header before byte 512 has {size} bytes$"):
        tar(extension(b"", kind, size) + END)


def test_an_extended_header_of_negative_size_is_refused(tar: Open) -> None:
    own = with_size(extension(b""), b"\xff" * 10 + b"\xfe\x00")  # -512: back to its own header, for ever
    with pytest.raises(ArchiveError, match="the extended header before byte 512 has -512 bytes"):
        tar(own + END)


@pytest.mark.parametrize(
    "payload",
    [
        b"garbage",
        b"\0" * 20,
        b"9999999 path=a\n",
        b"99999999999999999999 path=a\n",
        b"0 path=a\n",
        b"3 path=a\n",
        b"10 path=a\n" + b"rest",
        b"8 path=a\n",
        b"11 path=ab",
        b"10 path=ab9 path=b\n",
        b"7 path\n",
        b" 10 path=a\n",
        b"-1 path=a\n",
    ],
)
def test_broken_pax_records_are_refused(tar: Open, payload: bytes) -> None:
    with pytest.raises(ArchiveError, match=r"^app.tar: the tar is damaged: what is at byte 512 is no header$"):
        tar(extension(payload) + file("a") + END)


@pytest.mark.parametrize("payload", [b"2 " * 500_000 + b"=", b"1" * MIB, (b"20 comment=" + b"1" * 8 + b"\n") * 50_000])
def test_pax_records_made_to_cost_much_cost_little(tar: Open, payload: bytes) -> None:
    archive = extension(payload) + file("a", b"x") + END
    tracemalloc.start()
    started = time.monotonic()
    try:
        assert content(tar(archive), "a") == b"x"
    except ArchiveError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 10 * MIB
    assert time.monotonic() - started < NEVER


def test_any_number_of_extended_headers_may_stand_before_a_member(tar: Open) -> None:
    assert content(tar(extension(record("path", "b")) * 5000 + file("a", b"x") + END), "b") == b"x"


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_extended_headers_of_more_than_64_mib_in_all_are_refused(tmp_path: Path, kind: bytes) -> None:
    payload = b"" if kind == tarfile.GNUTYPE_LONGNAME else record("comment", "x" * (MIB - 17))
    path = tmp_path / "app.tar"
    with path.open("wb") as out:
        for _ in range(65):
            out.write(extension(payload, kind, MIB))
            out.truncate(out.tell() + MIB - len(padded(payload)))
            out.seek(0, os.SEEK_END)
    with pytest.raises(ArchiveError, match=r"^app.tar: has more than 67108864 bytes of extended headers$"):
        TarMembers(os.open(path, os.O_RDONLY), WHERE)


@pytest.mark.parametrize("end", [b"", END])
@pytest.mark.parametrize("last", [extension(b""), extension(b"n\0", tarfile.GNUTYPE_LONGNAME)])
def test_extended_headers_without_a_member_are_damage(tar: Open, last: bytes, end: bytes) -> None:
    with pytest.raises(
        ArchiveError, match=f"damaged: no member follows the extended header before byte {512 + len(last)}"
    ):
        tar(file("a") + last + end)


@pytest.mark.parametrize("key", ["path", "linkpath", "size", "GNU.sparse.map"])
def test_a_global_header_that_makes_all_members_one_is_refused(tar: Open, key: str) -> None:
    with pytest.raises(ArchiveError, match=f"^app.tar: a global header at byte 512 gives all members one '{key}'$"):
        tar(extension(record(key, "1"), tarfile.XGLTYPE) + file("a") + END)


def test_a_link_with_an_endless_target_is_refused(tar: Open) -> None:
    with pytest.raises(ArchiveError, match="the target of link 'a' has 4097 characters"):
        tar(symlink("a", "t" * 4097) + END)


# Damage


def test_damage_in_the_middle_is_named_with_its_place(tar: Open) -> None:
    archive = bytearray(file("a", b"x") + file("b", b"y") + file("c", b"z") + END)
    archive[1024 + 3] ^= 1
    with pytest.raises(ArchiveError, match=r"^app.tar: the tar is damaged: what is at byte 1024 is no header$"):
        tar(bytes(archive))


def test_a_lone_zero_block_in_the_middle_is_damage(tar: Open) -> None:
    with pytest.raises(ArchiveError, match="damaged: what is at byte 1024 is no header"):
        tar(file("a", b"x") + bytes(BLOCK) + file("b", b"y") + END)


@pytest.mark.parametrize("other", [b"text", b"\0" * 511 + b"x", b"PK\3\4" * 1000, b"\x7fELF" + bytes(2000), b"x" * 512])
def test_what_is_no_tar_is_refused_with_what_would_be_one(tar: Open, other: bytes) -> None:
    with pytest.raises(ArchiveError, match=r"^app.tar: is not a tar archive$") as caught:
        tar(other)
    assert "docker" in caught.value.hint


def test_an_empty_file_is_refused(tar: Open) -> None:
    with pytest.raises(ArchiveError, match=r"^app.tar: is empty$"):
        tar(b"")


def test_an_archive_cut_anywhere_is_refused_or_holds_whole_members_only(tar: Open) -> None:
    contents = {"a": b"x" * 700, "b" * 120: b"", "c": b"y" * 512}
    archive = Wanted(contents, {}, tarfile.PAX_FORMAT).archive
    for size in range(0, len(archive), 37):
        try:
            members = tar(archive[:size])
        except ArchiveError:
            continue
        for name in members.names():
            assert content(members, name) == contents[name]
    assert members.names() == tuple(contents)


def test_a_cut_last_member_is_named(tar: Open) -> None:
    with pytest.raises(
        ArchiveError, match=r"^app.tar: the tar is cut short: member 'b' needs 600 bytes from byte 1536"
    ):
        tar((file("a", b"x") + file("b", b"y" * 600))[:-500])


def test_half_a_header_at_the_end_is_named(tar: Open) -> None:
    with pytest.raises(ArchiveError, match=r"^app.tar: the tar is cut short: there is half a header at byte 1024"):
        tar(file("a", b"x") + header("b")[:300])


def test_half_an_extended_header_is_named(tar: Open) -> None:
    with pytest.raises(ArchiveError, match=r"cut short: there is half an extended header at byte 512"):
        tar(extension(record("path", "b" * 900))[:-600])


def test_a_file_that_is_cut_while_it_is_read_is_an_archive_error(tar: Open, tmp_path: Path) -> None:
    members = tar(file("a", b"x" * 1000) + END)
    member = members.find("a")
    assert member is not None
    os.truncate(tmp_path / "app.tar", BLOCK + 400)
    with pytest.raises(ArchiveError, match=r"^app.tar: 'a' ends 600 bytes early"):
        read(members, member, 0, 1000)


def test_what_the_disk_refuses_is_an_archive_error(tmp_path: Path) -> None:
    path = tmp_path / "app.tar"
    path.write_bytes(file("a", b"x") + END)
    with pytest.raises(ArchiveError, match=r"^app\.tar: can't be read: Bad file descriptor$"):
        TarMembers(os.open(path, os.O_WRONLY), WHERE)
    members = TarMembers(os.open(path, os.O_RDONLY), WHERE)
    member = members.find("a")
    assert member is not None
    members.close()
    with pytest.raises(ArchiveError, match=r"^app.tar: 'a' can't be read: Bad file descriptor"):
        list(members.read(member, 0, 1))


def test_the_descriptor_is_closed_once_and_by_a_failure_too(tmp_path: Path) -> None:
    path = tmp_path / "app.tar"
    path.write_bytes(END)
    descriptor = os.open(path, os.O_RDONLY)
    members = TarMembers(descriptor, WHERE)
    members.close()
    assert os.open(path, os.O_RDONLY) == descriptor, "it is free again"
    members.close()
    os.fstat(descriptor)
    path.write_bytes(b"no tar")
    with pytest.raises(ArchiveError):
        TarMembers(descriptor, WHERE)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


VALID = (
    Wanted(
        {"a": b"x" * 700, "b" * 150: b"y", "c/d": b"", "\u00e9" * 60: b"z" * 512}, {"l": "a"}, tarfile.PAX_FORMAT
    ).archive,
    Wanted({"a": b"x" * 700, "b" * 150: b"y", "c/d": b""}, {"l" * 150: "b" * 150}, tarfile.GNU_FORMAT).archive,
    old_sparse("odd", 2) + symlink("s", "l") + hardlink("l", "odd") + file("a", b"x") + END,
    extension(record("comment", "c"), tarfile.XGLTYPE)
    + extension(record("path", "p") + record("size", "9"))
    + file("q", b"123456789")
    + END,
)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    archive = bytearray(draw(st.sampled_from(VALID)))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(archive)))
        kind = draw(st.sampled_from(["flip", "cut", "insert", "digit", "type"]))
        start = place - place % BLOCK
        if kind == "cut":
            del archive[place : place + draw(st.sampled_from([1, 100, BLOCK, len(archive)]))]
        elif kind == "insert":
            archive[place:place] = draw(
                st.binary(max_size=BLOCK) | st.sampled_from([bytes(BLOCK), archive[start : start + BLOCK]])
            )
        elif place < len(archive) and kind == "flip":
            archive[place] ^= draw(st.integers(1, 255))
        elif start + BLOCK <= len(archive):  # a header that is right, but for what it says
            at, values = (
                (124 + place % 12, st.sampled_from(b"01234567\x80\xff\0 -"))
                if kind == "digit"
                else (156, st.sampled_from(b"01256LKSxgXVD\0"))
            )
            archive[start + at] = draw(values)
            archive[start : start + BLOCK] = with_checksum(bytes(archive[start : start + BLOCK]))
    return bytes(archive)


@settings(max_examples=500, deadline=5000)
@given(mutated())
@example(b"\0" * 511)
def test_a_mutated_tar_ends_in_a_result_or_an_archive_error(
    tmp_path_factory: pytest.TempPathFactory, archive: bytes
) -> None:
    with archive_errors():
        members = opened_file(tmp_path_factory.getbasetemp() / "mutated.tar", archive)
        for name in members.names():
            with archive_errors():
                assert content(members, name) is not None
        members.close()


@contextmanager
def archive_errors() -> Iterator[None]:
    """Let pass what users are told, and check that it says of which archive."""
    try:
        yield
    except ArchiveError as error:
        if not str(error).startswith(f"{WHERE}: "):
            raise


# Folders


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "layout"
    (root / "blobs" / "sha256").mkdir(parents=True)
    (root / "oci-layout").write_bytes(b"{}")
    (root / "blobs" / "sha256" / "aa").write_bytes(b"layer" * 1000)
    (tmp_path / "secret").write_bytes(b"secret")
    return root


def test_a_folders_files_are_found_and_read_from_any_byte(folder: Path) -> None:
    members: Members = FolderMembers(folder)
    assert members.names() == ("blobs/sha256/aa", "oci-layout")
    assert members.where == str(folder)
    member = members.find("./blobs//sha256/aa")
    assert member is not None
    assert (member.name, member.size) == ("blobs/sha256/aa", 5000)
    assert read(members, member, 4, 4999) == (b"layer" * 1000)[4:4999]
    members.close()


@pytest.mark.parametrize(
    "name",
    ["", "nothing", "oci-layout/x", "blobs/none/aa", "/etc/passwd", "../secret", "blobs/../oci-layout", "a\\b", "a\0"],
)
def test_a_folder_has_no_other_names(folder: Path, name: str) -> None:
    members = FolderMembers(folder)
    if name:
        assert members.find(name) is None
    else:
        with pytest.raises(ArchiveError, match="is not a regular file"):
            members.find(name)


def test_a_folder_may_be_named_by_a_link(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    members = FolderMembers(tmp_path / "link")
    assert members.where == str(tmp_path / "link")
    assert content(members, "oci-layout") == b"{}"


def test_links_inside_a_folder_are_followed(folder: Path) -> None:
    (folder / "by-name").symlink_to("blobs/sha256/aa")
    (folder / "again").symlink_to(folder / "by-name")
    (folder / "shelf").symlink_to("blobs")
    members = FolderMembers(folder)
    expected = members.find("blobs/sha256/aa")
    assert [members.find(name) for name in ("by-name", "again", "shelf/sha256/aa")] == [expected] * 3
    assert set(members.names()) == {"again", "blobs/sha256/aa", "by-name", "oci-layout", "shelf"}


@pytest.mark.parametrize(
    ("target", "complaint"),
    [
        ("../secret", "is a link that leads out of the archive"),
        ("/etc/passwd", "is a link that leads out of the archive"),
        ("../layout-beside/x", "is a link that leads out of the archive"),
        ("nowhere", "is a link to what is not in the archive"),
        ("oci-layout/x", "is a link to what is not in the archive"),
        ("link", "can't be read: .*symbolic links"),
        ("blobs", "is not a regular file"),
        ("/dev/null", "is a link that leads out of the archive"),
    ],
)
def test_links_out_of_a_folder_or_to_no_file_are_refused(folder: Path, target: str, complaint: str) -> None:
    (folder.parent / "layout-beside").mkdir()
    (folder.parent / "layout-beside" / "x").write_bytes(b"secret")
    (folder / "link").symlink_to(target)
    with pytest.raises(ArchiveError, match=f"^{folder}: 'link' {complaint}"):
        FolderMembers(folder).find("link")


def test_a_linked_folder_leads_out_as_little(folder: Path) -> None:
    (folder / "up").symlink_to("..")
    with pytest.raises(ArchiveError, match=f"^{folder}: 'up/secret' is a link that leads out of the archive$"):
        FolderMembers(folder).find("up/secret")
    assert "up/secret" not in FolderMembers(folder).names()


@pytest.mark.skipif(os.name == "nt", reason="this system has no such names")
def test_a_name_that_can_not_be_found_is_not_listed(folder: Path) -> None:
    (folder / "a\\b").touch()
    members = FolderMembers(folder)
    assert members.find("a\\b") is None
    assert "a\\b" not in members.names()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_neither_opened_nor_listed(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    members = FolderMembers(folder)
    with pytest.raises(ArchiveError, match="'pipe' is not a regular file"):
        members.find("pipe")
    assert "pipe" not in members.names()


def swap_for_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def swap_for_link(path: Path) -> None:
    path.rename(path.with_name("moved"))
    path.symlink_to("moved")


def swap_for_file_of_the_same_size(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(bytes(path.stat().st_size))
    other.rename(path)


def swap_for_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        pytest.param(
            swap_for_pipe, "was changed while", marks=pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes")
        ),
        (swap_for_link, "can't be read: .*symbolic links"),
        (swap_for_file_of_the_same_size, "was changed while the archive was read"),
        (swap_for_folder, "was changed while"),
        (Path.unlink, "can't be read: No such file"),
        (lambda path: os.truncate(path, 4999), "was changed while"),
        (lambda path: os.truncate(path, 5001), "was changed while"),
    ],
)
def test_a_file_that_changes_between_find_and_read_is_refused(
    folder: Path, change: Callable[[Path], None], complaint: str
) -> None:
    members = FolderMembers(folder)
    member = members.find("blobs/sha256/aa")
    assert member is not None
    change(folder / "blobs" / "sha256" / "aa")
    with pytest.raises(ArchiveError, match=f"^{folder}: 'blobs/sha256/aa' {complaint}"):
        read(members, member, 0, 10)


def test_no_file_of_a_folder_stays_open(folder: Path) -> None:
    members = FolderMembers(folder)
    free = os.open(folder / "oci-layout", os.O_RDONLY)
    os.close(free)
    for _ in range(3):
        assert content(members, "oci-layout") == b"{}"
    member = members.find("oci-layout")
    assert member is not None
    next(members.read(member, 0, 1))
    again = os.open(folder / "oci-layout", os.O_RDONLY)
    os.close(again)
    assert again == free


def test_bytes_that_a_file_doesnt_have_are_a_bug_of_the_caller(folder: Path) -> None:
    members = FolderMembers(folder)
    member = members.find("oci-layout")
    assert member is not None
    with pytest.raises(ValueError, match="is not inside the 2 bytes of 'oci-layout'"):
        members.read(member, 0, 3)


def test_a_folder_of_too_many_files_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ecrdrag.archive.folder.MAX_MEMBERS", 4)  # files and folders that are there
    assert len(FolderMembers(folder).names()) == 2
    (folder / "one more").touch()
    with pytest.raises(ArchiveError, match=f"^{folder}: has more than 4 files and folders$"):
        FolderMembers(folder).names()


def test_a_folder_that_isnt_there_is_an_archive_error(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match=f"^{tmp_path}/none: can't be read: No such file or directory$"):
        FolderMembers(tmp_path / "none")
