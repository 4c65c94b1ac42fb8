"""The wait for the head of a reply: what comes of it, how it ends early, what becomes of a reply that nobody wants."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from unittest import mock

import pytest
import requests

from ecrdrag.errors import StalledError, TransferError
from ecrdrag.registry.heads import Heads


class Late:
    """A reply that comes when a test says so."""

    def __init__(self) -> None:
        self.asked, self.due, self.closed = threading.Event(), threading.Event(), threading.Event()
        self.response = mock.Mock(spec=requests.Response)
        self.response.close = self.closed.set

    def send(self) -> requests.Response:
        self.asked.set()
        assert self.due.wait(20)
        assert isinstance(self.response, requests.Response)
        return self.response


def test_what_comes_is_given_and_what_goes_wrong_is_raised() -> None:
    response = requests.Response()
    assert Heads(20).ask(lambda: response, "host") is response
    broken = mock.Mock(side_effect=requests.ConnectionError("broken"))
    with pytest.raises(requests.ConnectionError, match="broken"):
        Heads(20).ask(broken, "host")


def test_what_takes_too_long_is_given_up_and_closed_when_it_comes() -> None:
    late = Late()
    with pytest.raises(StalledError, match="far did not answer"):
        Heads(0.01).ask(late.send, "far")
    assert not late.closed.is_set()
    late.due.set()
    assert late.closed.wait(20)


def test_a_timeout_of_the_request_is_its_own() -> None:
    def send() -> requests.Response:
        raise TimeoutError("of the socket")

    with pytest.raises(TimeoutError, match="of the socket"):
        Heads(20).ask(send, "host")


def test_an_abort_ends_every_wait() -> None:
    heads, lates = Heads(20), [Late(), Late()]
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(heads.ask, late.send, "host") for late in lates]
        for late in lates:
            assert late.asked.wait(20)
        heads.abort()
        for one in waiting:
            with pytest.raises(TransferError, match="stopped"):
                one.result(20)
    for late in lates:
        late.due.set()
        assert late.closed.wait(20)
