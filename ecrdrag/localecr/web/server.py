"""Own the HTTP server of the local ECR: who is connected, who may be, and how all of it ends.

The service may enter. What requests mean is a Handler's business.
"""

from __future__ import annotations

import logging
import selectors
import socket
import ssl
import threading
from contextlib import suppress
from time import monotonic, sleep
from typing import Final

from ecrdrag.localecr.settings import Settings
from ecrdrag.localecr.web.connection import Connection
from ecrdrag.localecr.web.delivery import Wait
from ecrdrag.localecr.web.exchange import Handler, TooSlow
from ecrdrag.localecr.web.tls import hang_up, shake_hands, wrap

try:
    import resource
except ModuleNotFoundError:  # Windows, which has no such limit
    resource = None  # type: ignore[assignment]

_log = logging.getLogger(__name__)

_BACKLOG: Final = 1024
# How long to wait when the system has no file or no thread for one more connection, or we have no room.
_PAUSE: Final = 0.1
# How long one that was told to go may take before another one must go too; its thread has only to wake up.
_LONG_PAUSE: Final = 2.0
# A connection has a socket and, while it sends, the file; the rest of the process needs some too.
_FILES_EACH: Final = 2
_OTHER_FILES: Final = 64
# Whoever connected or was answered less than so many seconds ago may be about to ask for something.
_FRESH: Final = 1.0


class HttpServer:
    """Listen, and answer each connection in a thread of its own until stop(); tests may do the waiting."""

    def __init__(
        self,
        address: tuple[str, int],
        handler: Handler,
        settings: Settings,
        *,
        tls: ssl.SSLContext | None = None,
        wait: Wait | None = None,
    ) -> None:
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.handler = handler
        self.settings = settings
        self._tls = tls
        self._stop = threading.Event()
        self._over = threading.Event()
        self.wait = wait or self._over.wait
        self._listener = socket.create_server(address, family=family, backlog=_BACKLOG)
        self._waker, self._wake = socket.socketpair()
        self._lock = threading.Lock()
        self._connections: dict[socket.socket, threading.Thread] = {}
        self._resting: dict[socket.socket, float] = {}  # since when, the longest first
        self._fresh = min(_FRESH, settings.idle_timeout / 60)
        self._room = threading.Semaphore(_affordable(settings.max_connections))
        self._thread = threading.Thread(target=self._accept, name="local ECR", daemon=True)

    @property
    def port(self) -> int:
        """The port that is listened on, also when any was asked for."""
        port: int = self._listener.getsockname()[1]
        return port

    @property
    def stopping(self) -> bool:
        """Whether stop() was called."""
        return self._stop.is_set()

    def start(self) -> None:
        """Begin to answer; the socket listens since construction."""
        self._thread.start()

    def stop(self) -> None:
        """Refuse new connections, end idle ones, let requests in progress finish for a while.

        An exception that comes from outside meanwhile, such as a KeyboardInterrupt, ends these at once.
        """
        self._stop.set()
        try:
            self._stop_listening()
            with self._lock:
                for client in list(self._resting):
                    self._dismiss(client)
            deadline = monotonic() + self.settings.grace
            for thread in self._threads():
                thread.join(max(0.0, deadline - monotonic()))
        finally:
            self._end()

    def rest(self, client: socket.socket) -> None:
        """Note that a connection waits for nothing but its client; when the server stops, that is its end."""
        with self._lock:
            self._resting[client] = monotonic()
            if self.stopping:
                self._dismiss(client)

    def resume(self, client: socket.socket) -> bool:
        """Note that it does so no more; tell whether it may go on."""
        with self._lock:
            return self._resting.pop(client, None) is not None

    def _dismiss(self, client: socket.socket) -> None:
        """End a connection that rests; for who has the lock, so that its socket is nobody else's yet."""
        del self._resting[client]
        hang_up(client)

    def _dismiss_oldest(self) -> bool:
        """End the connection that rests for the longest, if it does so for long enough; tell whether it did."""
        with self._lock:
            client, since = next(iter(self._resting.items()), (None, 0.0))
            if client is None or monotonic() - since < self._fresh:
                return False
            self._dismiss(client)
            return True

    def _stop_listening(self) -> None:
        self._wake.close()
        if self._thread.is_alive():
            self._thread.join()
        self._waker.close()
        self._listener.close()

    def _end(self) -> None:
        self._over.set()
        threads = self._threads()
        with self._lock:
            for client in self._connections:
                hang_up(client)
        for thread in threads:
            thread.join()

    def _threads(self) -> list[threading.Thread]:
        with self._lock:
            return list(self._connections.values())

    def _accept(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._waker, selectors.EVENT_READ)
            while not self.stopping:
                selector.select()
                if self._has_room():
                    self._try_to_take()

    def _has_room(self) -> bool:
        """Wait for room for one more connection; tell whether there is, or the server stops."""
        while not self.stopping:
            if self._room.acquire(blocking=False):
                return True
            if self._room.acquire(timeout=_LONG_PAUSE if self._dismiss_oldest() else _PAUSE):
                return True
        return False

    def _try_to_take(self) -> None:
        try:
            self._take()
        except Exception as error:  # noqa: BLE001 - out of memory, say: a server that goes deaf helps nobody
            _pause(error)

    def _take(self) -> None:
        try:
            client = self._listener.accept()[0]
            if self._tls is not None:
                client = wrap(client, self._tls)  # before others know the socket by which they end it
        except OSError as error:
            self._room.release()
            if not isinstance(error, ConnectionError):  # The process is out of files for a moment.
                _pause(error)
            return
        thread = threading.Thread(target=self._serve, args=(client,), name="local ECR client", daemon=True)
        with self._lock:
            self._connections[client] = thread
        try:
            thread.start()
        except RuntimeError as error:  # The process is out of threads for a moment.
            self._forget(client)
            _pause(error)

    def _serve(self, client: socket.socket) -> None:
        try:
            with suppress(ConnectionError, TimeoutError, TooSlow, ssl.SSLError):
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if shake_hands(client, self.settings.head_timeout):
                    Connection(client, self).serve()
        except Exception:  # noqa: BLE001 - one client's trouble is not the server's
            _log.exception("a connection ended with an error")
        finally:
            self._forget(client)

    def _forget(self, client: socket.socket) -> None:
        with self._lock:
            self._resting.pop(client, None)
            del self._connections[client]
        client.close()
        self._room.release()


def _affordable(wanted: int) -> int:
    """Return how many connections the process has files for, at most those that are wanted."""
    if resource is None:
        return wanted
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return wanted if files == resource.RLIM_INFINITY else max(1, min(wanted, (files - _OTHER_FILES) // _FILES_EACH))


def _pause(error: Exception) -> None:
    _log.warning("no connection accepted: %s", error)
    sleep(_PAUSE)
