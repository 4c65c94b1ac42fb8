"""Own a running local ECR: store, API, /v2/, downloads and HTTP put together, for a command or for tests.

The package's door; everybody who may enter the package enters here.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Final

from ecrdrag.errors import TransferError
from ecrdrag.localecr.api.door import Api
from ecrdrag.localecr.api.registry import Registry
from ecrdrag.localecr.api.upstream import Upstream, Upstreams
from ecrdrag.localecr.s3.downloads import Downloads
from ecrdrag.localecr.s3.links import Links
from ecrdrag.localecr.settings import Settings
from ecrdrag.localecr.stock import stock
from ecrdrag.localecr.storage.keys import Keys
from ecrdrag.localecr.storage.store import Store
from ecrdrag.localecr.storage.sweep import Collector, Sweeper
from ecrdrag.localecr.v2.routes import V2, is_ours
from ecrdrag.localecr.web.delivery import over_line
from ecrdrag.localecr.web.exchange import Answer, Handler, Request
from ecrdrag.localecr.web.server import HttpServer
from ecrdrag.shelf import Shelf

LOOPBACK: Final = ("127.0.0.1", 0)


def _reachable(host: str) -> str:
    """Return where this machine's clients find a server that listens on host: for "all addresses", loopback."""
    loopback = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - read here, bound only when asked for
    return loopback.get(host, host)


def _as_it_is(handler: Handler) -> Handler:
    return handler


class LocalEcr:
    """Serve a data folder from entering the context to leaving it, in threads of its own.

    wrap puts a layer around everything that answers; clock gives the seconds since 1970. Upstreams are the registries
    that rules pull through, by their upstreamRegistryUrl. A shelf is given out from an empty data folder, to read only
    if the settings say so.
    """

    def __init__(
        self,
        data: Path,
        listen: tuple[str, int] = LOOPBACK,
        settings: Settings | None = None,
        *,
        shelf: Shelf | None = None,
        wrap: Callable[[Handler], Handler] = _as_it_is,
        clock: Callable[[], float] = time.time,
        tls: ssl.SSLContext | None = None,
        upstreams: Mapping[str, Upstream] | None = None,
    ) -> None:
        self.data = data
        self.settings = settings or Settings()
        if tls is not None:
            self.settings = replace(self.settings, scheme="https")
        self._tls = tls
        self._upstreams = Upstreams(upstreams)
        self._listen = listen
        self._shelf = shelf
        self._wrap = wrap
        self._clock = clock
        self._resources = ExitStack()
        self._server: HttpServer | None = None
        self._keys: Keys | None = None

    def __enter__(self) -> LocalEcr:
        with ExitStack() as resources:
            store = resources.enter_context(Store(self.data, self.settings.accounts))
            if self._shelf:
                stock(store, self._shelf, self._clock())
            handler = self._wrap(self._handler(store))
            line = over_line(handler, latency=self.settings.latency, rate=self.settings.limit_rate)
            server = self._bind(line)
            resources.callback(server.stop)
            resources.callback(self._upstreams.abort)  # before the server waits for who waits for them
            server.start()
            if not self.settings.read_only:
                sweeper = Sweeper(store, self.settings, self._clock)
                resources.enter_context(Collector(sweeper, self.settings.sweep_interval))
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
        return f"{self.settings.scheme}://{f'[{host}]' if ':' in host else host}:{self._server.port}"

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
        """What an AWS client of the first account needs in its environment."""
        return self.environment_of(self.settings.account)

    def environment_of(self, account: str) -> dict[str, str]:
        """What one account's client needs; boto3 reads the second region variable, others the first."""
        key_id, secret = self.credentials_of(account)
        return {
            "AWS_ENDPOINT_URL_ECR": self.endpoint,
            "AWS_ENDPOINT_URL_ECR_PUBLIC": self.endpoint,
            "AWS_ENDPOINT_URL_SECRETS_MANAGER": self.endpoint,
            "AWS_ACCESS_KEY_ID": key_id,
            "AWS_SECRET_ACCESS_KEY": secret,
            "AWS_REGION": self.settings.region,
            "AWS_DEFAULT_REGION": self.settings.region,
        }

    def _handler(self, store: Store) -> Handler:
        links = Links(store.keys.link, self.settings.url_expiry, self.settings.scheme)
        registry = Registry(store, self.settings, links, self._clock, self._upstreams)
        api, v2 = Api(registry), V2(registry)
        downloads = Downloads(store.blobs, links, self._clock)

        def answer(request: Request) -> Answer:
            if request.method == "POST" and request.path == "/":
                return api(request)
            if is_ours(request.path):
                return v2(request)
            if request.method in ("GET", "HEAD") and request.path != "/":
                return downloads(request)
            return Answer(HTTPStatus.NOT_FOUND, {"Content-Type": "text/plain"}, b"Not Found\n", "nothing there")

        return answer

    def _bind(self, handler: Handler) -> HttpServer:
        try:
            return HttpServer(self._listen, handler, self.settings, tls=self._tls)
        except OSError as error:
            host, port = self._listen
            raise TransferError(
                f"can't listen on {host}:{port}: {error.strerror or error}",
                hint="name another port with --listen, or port 0 for any that is free",
            ) from error
