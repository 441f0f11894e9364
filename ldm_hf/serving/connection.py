"""A connection to a server of a model."""

from __future__ import annotations

import logging
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Any

from .. import errors
from ..errors import ArgumentError, LDMError, MissingExtraError, ServerError
from .protocol import VERSION, from_json, pack, unpack

logger = logging.getLogger(__name__)


class RemoteStream:
    """One connection to a server, and the stream that it has there.

    Args:
        url: address of the server.
        hello: arguments of ``open``.
        token: what the server wants clients to know.
        certificate: file of the certificates to trust, in PEM; None trusts those that the system does.
        timeout: seconds to wait for an answer.

    Raises:
        ServerError: if the server cannot be reached, is full, or wants another token.
        LDMError: if it does not take the environment; as `LDMAgent` raises it.
    """

    def __init__(
        self, url: str, hello: dict[str, Any], token: str | None, certificate: str | Path | None, timeout: float
    ) -> None:
        try:
            from websockets.exceptions import InvalidStatus, WebSocketException
            from websockets.sync.client import connect
        except ImportError as error:
            raise MissingExtraError("websockets", "serve") from error
        self._closed: tuple[type[Exception], ...] = (WebSocketException, OSError, TimeoutError)
        self.url, self._timeout = url, timeout
        tls: dict[str, Any] = {}
        if certificate is not None:
            tls["ssl"] = ssl.create_default_context(cafile=str(certificate))
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        try:
            self._socket = connect(
                url,
                additional_headers=headers,
                compression=None,
                max_size=None,
                open_timeout=timeout,
                ping_interval=None,
                close_timeout=1,
                **tls,
            )
        except InvalidStatus as error:
            raise _refusal(url, error.response.status_code, bytes(error.response.body or b"")) from error
        except (WebSocketException, OSError, TimeoutError, ValueError) as error:
            raise ServerError(
                f"no server at {url} ({error}); start one: ldm serve --model PATH --port PORT"
            ) from error
        self.about = self._receive()
        if not isinstance(self.about, dict) or self.about.get("protocol") != VERSION:
            raise ServerError(f"{url} is no `ldm serve` of this version of ldm_hf")
        self.opened = self.ask("open", **hello)

    def ask(self, method: str, **message: Any) -> dict[str, Any]:
        """Asks for something and waits for the answer.

        Raises:
            LDMError: what the server says is wrong.
            ServerError: if the connection is lost.
        """
        data = pack({"method": method, **message})
        try:
            self._socket.send(data)
        except self._closed as error:
            raise self._lost(error) from error
        reply = self._receive()
        if "error" in reply:
            kind, told = reply["error"]["type"], reply["error"]["message"]
            raise _error(kind, told)
        if "warning" in reply:
            logger.warning(reply["warning"])
        return reply

    def _receive(self) -> dict[str, Any]:
        try:
            data = self._socket.recv(timeout=self._timeout)
        except self._closed as error:
            self.close()  # an answer that comes later would be taken for that of another question
            raise self._lost(error) from error
        if isinstance(data, str):
            raise ServerError(f"{self.url} says: {data:.500}")
        reply: dict[str, Any] = unpack(data)
        return reply

    def _lost(self, error: Exception) -> ServerError:
        reason = f"no answer in {self._timeout:g} seconds" if isinstance(error, TimeoutError) else error
        return ServerError(
            f"the connection to {self.url} is lost ({reason}), and with it the history there. reset() connects again "
            "and begins anew; load_state() connects again and goes on where save_state() was called"
        )

    def close(self) -> None:
        """Closes the connection; the server forgets the stream."""
        self._socket.close()

    def __del__(self) -> None:
        with suppress(Exception):  # it was never open, or the interpreter ends
            self._socket.close()


def _error(kind: str, told: str) -> LDMError:
    """An error of the server as the same error here."""
    cls = getattr(errors, str(kind), None)
    if not (isinstance(cls, type) and issubclass(cls, LDMError)):
        cls = ServerError
    made = cls.__new__(cls)  # some have arguments of their own
    Exception.__init__(made, told)
    return made


def _refusal(url: str, status: int, body: bytes) -> LDMError:
    try:
        told = dict(from_json(body)["error"])
        if status == 401:
            return ServerError(f"{url}: {told['message']} (RemoteAgent(..., token=...))")
        return _error(told["type"], f"{url}: {told['message']}")
    except (ArgumentError, LookupError, TypeError, ValueError):
        return ServerError(f"{url} answers with HTTP {status}; it is no `ldm serve`")


def address_of(url: str) -> str:
    """The address of a server as a WebSocket is opened.

    Raises:
        ArgumentError: if it is none.
    """
    if not isinstance(url, str):
        raise ArgumentError(f"the address of a server is a text such as 'ws://localhost:8000', not {url!r:.80}")
    scheme, found, rest = url.rpartition("://")
    scheme = {"": "ws", "http": "ws", "https": "wss"}.get(scheme, scheme)
    if scheme not in ("ws", "wss") or not rest or (not found and "/" in rest):
        raise ArgumentError(f"{url!r:.200} is no address of a server; one is 'ws://localhost:8000'")
    return f"{scheme}://{rest}"
