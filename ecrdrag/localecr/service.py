"""Own a running local ECR: store, API, downloads and HTTP put together, for a command or for tests.

The package's door; everybody who may enter the package enters here.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Final

from ecrdrag.errors import TransferError
from ecrdrag.localecr.api.door import Api
from ecrdrag.localecr.api.registry import Registry
from ecrdrag.localecr.s3.downloads import Downloads
from ecrdrag.localecr.s3.links import Links
from ecrdrag.localecr.settings import Settings
from ecrdrag.localecr.storage.keys import Keys
from ecrdrag.localecr.storage.store import Store
from ecrdrag.localecr.web.delivery import over_line
from ecrdrag.localecr.web.exchange import Answer, Handler, Request
from ecrdrag.localecr.web.server import HttpServer

LOOPBACK: Final = ("127.0.0.1", 0)


def _reachable(host: str) -> str:
    """Return where this machine's clients find a server that listens on host: for "all addresses", loopback."""
    loopback = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - read here, bound only when asked for
    return loopback.get(host, host)


def _as_it_is(handler: Handler) -> Handler:
    return handler


class LocalEcr:
    """Serve a data folder from entering the context to leaving it, in threads of its own.

    wrap puts a layer around everything that answers; clock gives the seconds since 1970.
    """

    def __init__(
        self,
        data: Path,
        listen: tuple[str, int] = LOOPBACK,
        settings: Settings | None = None,
        *,
        wrap: Callable[[Handler], Handler] = _as_it_is,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.data = data
        self.settings = settings or Settings()
        self._listen = listen
        self._wrap = wrap
        self._clock = clock
        self._resources = ExitStack()
        self._server: HttpServer | None = None
        self._keys: Keys | None = None

    def __enter__(self) -> LocalEcr:
        with ExitStack() as resources:
            store = resources.enter_context(Store(self.data, self.settings.accounts))
            handler = self._wrap(self._handler(store))
            line = over_line(handler, latency=self.settings.latency, rate=self.settings.limit_rate)
            server = self._bind(line)
            resources.callback(server.stop)
            server.start()
            self._keys, self._server = store.keys, server
            self._resources = resources.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._resources.close()

    @property
    def endpoint(self) -> str:
        """The URL that clients are given."""
        if self._server is None:
            raise RuntimeError("the local ECR isn't running")
        host = _reachable(self._listen[0])
        return f"http://{f'[{host}]' if ':' in host else host}:{self._server.port}"

    @property
    def credentials(self) -> tuple[str, str]:
        """The key id and the secret that clients of the first account sign with."""
        return self.credentials_of(self.settings.account)

    def credentials_of(self, account: str) -> tuple[str, str]:
        """The key id and the secret of one of the accounts."""
        if self._keys is None:
            raise RuntimeError("the local ECR isn't running")
        pair = self._keys.accounts[account]
        return pair.key_id, pair.secret

    @property
    def environment(self) -> dict[str, str]:
        """What an AWS client needs in its environment; boto3 reads the second region variable, others the first."""
        key_id, secret = self.credentials
        return {
            "AWS_ENDPOINT_URL_ECR": self.endpoint,
            "AWS_ACCESS_KEY_ID": key_id,
            "AWS_SECRET_ACCESS_KEY": secret,
            "AWS_REGION": self.settings.region,
            "AWS_DEFAULT_REGION": self.settings.region,
        }

    def _handler(self, store: Store) -> Handler:
        links = Links(store.keys.link, self.settings.url_expiry, self.settings.scheme)
        api = Api(Registry(store, self.settings, links, self._clock))
        downloads = Downloads(store.blobs, links, self._clock)

        def answer(request: Request) -> Answer:
            if request.method == "POST" and request.path == "/":
                return api(request)
            if request.method in ("GET", "HEAD") and request.path != "/":
                return downloads(request)
            return Answer(HTTPStatus.NOT_FOUND, {"Content-Type": "text/plain"}, b"Not Found\n", "nothing there")

        return answer

    def _bind(self, handler: Handler) -> HttpServer:
        try:
            return HttpServer(self._listen, handler, idle_timeout=self.settings.idle_timeout)
        except OSError as error:
            host, port = self._listen
            raise TransferError(
                f"can't listen on {host}:{port}: {error.strerror or error}",
                hint="name another port with --listen, or port 0 for any that is free",
            ) from error
