"""Faults as text and in their order; answers that go out late, slowly and in part."""

from __future__ import annotations

import argparse
import http.client
import io
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.datastructures import Headers

from ecrdrag.cli import serve
from ecrdrag.errors import UsageError
from ecrdrag.localecr.faults import API_FAULTS, BLOB_FAULTS, NUMBERED, Fault, FaultLayer, FaultScript
from ecrdrag.localecr.settings import Settings
from ecrdrag.localecr.web.delivery import deliver, over_line, paced
from ecrdrag.localecr.web.exchange import Answer, Body, ClientGone, Delivery, End, Handler, Request
from ecrdrag.localecr.web.files import FileSlice
from ecrdrag.localecr.web.line import Outgoing
from ecrdrag.localecr.web.server import HttpServer

BLOB_PATH = f"/prod-us-west-2-starport-layer-bucket/123456789012/{'0' * 64}"
README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


@dataclass
class Time:
    """A clock that goes on by what is waited, and by the seconds that every wait takes too long."""

    late: float = 0.0
    now: float = 100.0
    waits: list[float] = field(default_factory=list)

    def clock(self) -> float:
        return self.now

    def wait(self, seconds: float) -> bool:
        self.waits.append(seconds)
        self.now += seconds + self.late
        return False


def request(method: str = "GET", path: str = BLOB_PATH, operation: str = "", body: bytes = b"") -> Request:
    headers = Headers({"X-Amz-Target": f"AmazonEC2ContainerRegistry_V20150921.{operation}"} if operation else {})
    return Request(method, path, headers, Body(io.BytesIO(body), len(body), lambda: None))


def call(operation: str) -> Request:
    return request("POST", "/", operation, b"{}")


def whole(asked: Request) -> Answer:
    return Answer(200, {}, b"0123456789", "whole")


def faults_of(names: tuple[str, ...]) -> st.SearchStrategy[tuple[Fault, ...]]:
    def of(name: str) -> st.SearchStrategy[Fault]:
        return (
            st.integers(NUMBERED[name], 9999).map(lambda n: Fault(name, n))
            if name in NUMBERED
            else st.just(Fault(name))
        )

    return st.lists(st.sampled_from(names).flatmap(of), max_size=5).map(tuple)


@given(faults_of(BLOB_FAULTS), faults_of(API_FAULTS), faults_of(API_FAULTS))
def test_a_script_is_read_back_from_its_own_text(
    blob: tuple[Fault, ...], api: tuple[Fault, ...], images: tuple[Fault, ...]
) -> None:
    script = FaultScript(blob, api, {"BatchGetImage": images} if images else {})
    assert FaultScript.parse(str(script)) == script


def test_a_scripts_text_has_comments_counts_and_blank_lines() -> None:
    text = "# how\n\nblob 2x cut 5 # twice\n\tGetDownloadUrlForLayer   throttle\nblob honest\napi 3x drop"
    cut, drop = Fault("cut", 5), Fault("drop")
    assert FaultScript.parse(text) == FaultScript(
        (cut, cut, Fault("honest")), (drop,) * 3, {"GetDownloadUrlForLayer": (Fault("throttle"),)}
    )


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("blob", "it takes KIND"),
        ("blob cut 5 6", "it takes KIND"),
        ("blob 0x cut 5", "it takes KIND"),
        ("blob cut -5", "it takes KIND"),
        ("blob cut", "cut takes a number"),
        ("blob expired 5", "expired takes no number"),
        ("blob shift 0", "shift takes a number from 1 on"),
        ("blob throttle", "blob has no fault 'throttle'; it has honest, drop, "),
        ("api cut 5", "api has no fault 'cut'; it has honest, drop, "),
        ("BatchGetImages throttle", "'BatchGetImages' is neither blob nor api nor an operation of ECR"),
    ],
)
def test_a_line_that_is_no_fault_is_named(line: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        FaultScript.parse(f"# faults\nblob whole\n{line}\n", "bad.faults")
    assert str(caught.value).startswith(f"bad.faults, line 3: {said}")


def test_a_script_with_a_fault_of_another_kind_can_not_be_made() -> None:
    with pytest.raises(ValueError, match="api has no fault 'slowdown'"):
        FaultScript(api=(Fault("slowdown"),))


def test_readme_names_every_fault() -> None:
    section = README.partition("## A local ECR\n")[2].partition("\n## ")[0]
    rows = "".join(line for line in section.splitlines() if line.startswith("| "))
    for name in (*BLOB_FAULTS, *API_FAULTS):
        assert f"`{name}{' N' if name in NUMBERED else ''}`" in rows


def summaries(handler: Handler, *requests: Request) -> list[str]:
    return [handler(one).summary for one in requests]


def test_each_kind_of_request_takes_its_own_faults_in_order_and_then_none() -> None:
    script = FaultScript(blob=(Fault("slowdown"), Fault("honest"), Fault("cut", 3)))
    layer = FaultLayer(script)
    handler = layer.wrap(whole)
    assert summaries(handler, request(), call("BatchGetImage"), request(), request("HEAD"), request()) == [
        "SlowDown (fault: slowdown)",
        "whole",
        "whole (fault: honest)",
        "whole",
        "whole (fault: cut 3)",
    ]
    assert layer.left == 0
    assert summaries(handler, request()) == ["whole"]


def test_a_get_of_v2_is_no_download_of_a_blob() -> None:
    layer = FaultLayer(FaultScript(blob=(Fault("cut", 3),)))
    blob = request(path=f"/v2/app/blobs/sha256:{'0' * 64}")
    assert summaries(layer.wrap(whole), request(path="/v2/"), blob) == ["whole", "whole"]
    assert layer.left == 1


def test_a_call_takes_from_its_own_operation_before_any_other() -> None:
    script = FaultScript(api=(Fault("error"),), operations={"BatchGetImage": (Fault("throttle"),)})
    handler = FaultLayer(script).wrap(whole)
    assert summaries(handler, *[call("BatchGetImage")] * 3) == [
        "BatchGetImage ThrottlingException (fault: throttle)",
        "BatchGetImage ServerException (fault: error)",
        "whole",
    ]


def test_a_new_script_takes_the_place_of_the_old_one() -> None:
    layer = FaultLayer(FaultScript(blob=(Fault("slowdown"),) * 5))
    layer.play(FaultScript(blob=(Fault("expired"),)))
    assert summaries(layer.wrap(whole), request(), request()) == ["AccessDenied (fault: expired)", "whole"]


def test_many_threads_take_every_fault_once() -> None:
    faults = tuple(Fault("cut", number) for number in range(400))
    handler = FaultLayer(FaultScript(blob=faults)).wrap(whole)
    with ThreadPoolExecutor(16) as pool:
        taken = list(pool.map(lambda _: handler(request()).delivery.cut, range(500)))
    assert sorted(cut for cut in taken if cut is not None) == list(range(400))
    assert taken.count(None) == 100


def test_a_refused_call_is_read_to_its_end_and_not_run() -> None:
    asked = call("PutImage")
    ran: list[Request] = []

    def run(one: Request) -> Answer:
        ran.append(one)
        return whole(one)

    handler = FaultLayer(FaultScript(api=(Fault("throttle"), Fault("drop")))).wrap(run)
    assert (handler(asked).status, asked.body.finished, ran) == (400, True, [])
    lost = handler(asked)
    assert (lost.delivery, len(ran)) == (Delivery(head=False, end=End.RESET), 1)


def test_refusals_stay_as_they_are_where_a_body_would_be_spoilt() -> None:
    def refuse(asked: Request) -> Answer:
        return Answer(403, {}, b"no", "no")

    handler = FaultLayer(FaultScript(blob=(Fault("cut", 1), Fault("flip", 0)))).wrap(refuse)
    assert [handler(request()) for _ in range(2)] == [
        Answer(403, {}, b"no", "no (fault: cut 1)"),
        Answer(403, {}, b"no", "no (fault: flip 0)"),
    ]


def test_pieces_go_when_the_rate_lets_their_last_byte_go() -> None:
    time = Time()
    went = [(start, stop, time.now - 100) for start, stop in paced(1000, 4000, wait=time.wait, clock=time.clock)]
    edges = [*range(0, 1000, 80), 1000]
    assert [(start, stop) for start, stop, _ in went] == list(pairwise(edges))
    assert [moment for _, _, moment in went] == pytest.approx([stop / 4000 for stop in edges[1:]])


def test_waits_that_are_too_long_do_not_add_up() -> None:
    time = Time(late=0.005)
    moments = [time.now - 100 - stop / 4000 for _, stop in paced(1000, 4000, wait=time.wait, clock=time.clock)]
    assert moments == pytest.approx([0.005] * 13)
    late = Time(late=0.05)  # longer than a piece lasts
    assert len(list(paced(1000, 4000, wait=late.wait, clock=late.clock))) == 13
    assert min(late.waits) == 0.0


def test_a_slow_line_gives_byte_by_byte() -> None:
    time = Time()
    assert list(paced(3, 2, wait=time.wait, clock=time.clock)) == [(0, 1), (1, 2), (2, 3)]
    assert time.waits == pytest.approx([0.5] * 3)


@contextmanager
def received(body: bytes | FileSlice, delivery: Delivery, wait: Callable[[float], bool]) -> Iterator[tuple[int, bytes]]:
    ours, theirs = socket.socketpair()
    with closing(ours), closing(theirs):
        sent = deliver(Outgoing(ours, idle=10, rate=1), b"head ", body, delivery, wait=wait)
        ours.shutdown(socket.SHUT_WR)
        yield sent, b"".join(iter(lambda: theirs.recv(65536), b""))


@pytest.mark.parametrize("as_file", [False, True])
@pytest.mark.parametrize(
    ("delivery", "wanted"),
    [
        (Delivery(), b"head 23456789"),
        (Delivery(cut=3), b"head 234"),
        (Delivery(cut=0), b"head "),
        (Delivery(cut=99), b"head 23456789"),
        (Delivery(head=False), b""),
        (Delivery(rate=100), b"head 23456789"),
        (Delivery(rate=100, cut=5), b"head 23456"),
        (Delivery(rate=100, head=False), b""),
    ],
)
def test_a_delivery_lets_out_what_it_says_of_bytes_and_of_files(
    tmp_path: Path, delivery: Delivery, wanted: bytes, as_file: bool
) -> None:
    (tmp_path / "blob").write_bytes(b"0123456789ab")
    body = FileSlice(tmp_path / "blob", 2, 10) if as_file else b"23456789"
    time = Time()
    with received(body, delivery, time.wait) as (sent, arrived):
        assert (sent, arrived) == (max(0, len(wanted) - 5), wanted)
    assert bool(time.waits) == (delivery.rate is not None and delivery.head)
    assert delivery.breaks(8) == (len(wanted) < 13)


def test_a_stop_ends_what_goes_out_slowly() -> None:
    with pytest.raises(ClientGone), received(b"0123456789", Delivery(rate=1), lambda seconds: True):
        raise AssertionError("it went on")


def test_a_line_is_late_for_all_and_slow_for_blobs_alone() -> None:
    def at(delivery: Delivery, status: int = 200) -> Handler:
        return over_line(lambda asked: Answer(status, {}, b"", "", delivery), latency=0.5, rate=1000)

    assert at(Delivery())(request()).delivery == Delivery(delay=0.5, rate=1000)
    assert at(Delivery())(call("BatchGetImage")).delivery == Delivery(delay=0.5)
    assert at(Delivery(), 503)(request()).delivery == Delivery(delay=0.5)
    assert at(Delivery(delay=1, rate=20, cut=5))(request()).delivery == Delivery(delay=1.5, rate=20, cut=5)
    assert at(Delivery(rate=5000))(request()).delivery == Delivery(delay=0.5, rate=1000)


def test_latency_comes_before_the_answer_and_holds_up_no_other_connection() -> None:
    waits: list[float] = []
    first_waits, others_are_done = threading.Event(), threading.Event()

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        if len(waits) == 1:
            first_waits.set()
            assert others_are_done.wait(10)
        return False

    handler = over_line(whole, latency=0.25, rate=None)
    server = HttpServer(("127.0.0.1", 0), handler, Settings(), wait=wait)
    server.start()
    clients = [http.client.HTTPConnection(f"127.0.0.1:{server.port}", timeout=10) for _ in range(3)]
    try:
        clients[0].request("GET", "/blob")
        assert first_waits.wait(10)
        for client in clients[1:]:
            client.request("GET", "/blob")
            assert client.getresponse().read() == b"0123456789"
        clients[0].sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            clients[0].sock.recv(1)
        clients[0].sock.settimeout(10)
        others_are_done.set()
        assert clients[0].getresponse().read() == b"0123456789"
    finally:
        for client in clients:
            client.close()
        server.stop()
    assert waits == [0.25] * 3


def options(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    serve.add_arguments(parser)
    return parser.parse_args(["--data", "x", *arguments])


@pytest.mark.parametrize(
    ("text", "rate"),
    [("1", 1), ("5000", 5000), ("500k", 512_000), ("500K", 512_000), ("1.5M", 1_572_864), ("2g", 2 * 1024**3)],
)
def test_rates_are_read_as_curl_reads_them(text: str, rate: float) -> None:
    assert options("--limit-rate", text).limit_rate == rate


@pytest.mark.parametrize(("text", "seconds"), [("50", 0.05), ("50ms", 0.05), ("0.5", 0.0005), ("0", 0.0)])
def test_latency_is_read_in_milliseconds(text: str, seconds: float) -> None:
    assert options("--latency", text).latency == seconds


def test_a_line_is_good_unless_something_else_is_asked_for() -> None:
    assert (options().limit_rate, options().latency, options().faults) == (None, 0.0, None)
