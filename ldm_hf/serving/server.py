"""One port for WebSocket and HTTP: who is let in, what errors look like, start and stop."""

from __future__ import annotations

import asyncio
import hmac
import logging
import signal
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from ..errors import ArgumentError, LDMError, ServerError, UnknownEnvironmentError
from .engine import Engine
from .limits import Limits
from .rest import Rest, UnknownStreamError, reply
from .service import Service
from .websocket import serve_websocket

logger = logging.getLogger(__name__)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
OPEN_TO_ALL = ("/healthz",)
SCHEMES = ("bearer", "api-key")  # the second is openpi's
STATUS: tuple[tuple[type[LDMError], int], ...] = (
    (UnknownStreamError, 404),
    (UnknownEnvironmentError, 404),
    (ServerError, 503),
    (LDMError, 400),
)


@dataclass(frozen=True)
class Address:
    """Where a server listens, and who may come.

    Args:
        host: address of the network interface; ``"0.0.0.0"`` is all of them.
        port: port; 0 takes any that is free.
        token: what clients have to know; None lets everybody in.
        certificate: file of the TLS certificate, in PEM; None serves without TLS.
        key: file of its private key; None where the certificate's file has it.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = None
    certificate: Path | None = None
    key: Path | None = None

    def context(self) -> ssl.SSLContext | None:
        """The TLS settings.

        Raises:
            ArgumentError: if a file is missing, or no certificate or key.
        """
        if self.certificate is None:
            if self.key is not None:
                raise ArgumentError("a key without a certificate; name its file, too (--certificate)")
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            context.load_cert_chain(self.certificate, self.key)
        except (OSError, ssl.SSLError) as error:
            names = " and ".join(str(path) for path in (self.certificate, self.key) if path is not None)
            raise ArgumentError(f"{names}: no certificate and key in PEM that belong together ({error})") from error
        return context


def application(service: Service, address: Address) -> web.Application:
    """The routes, behind the token."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            if request.path not in OPEN_TO_ALL and not _knows(request.headers.get("Authorization", ""), address.token):
                service.metrics.refused.labels("token").inc()
                logger.warning("%s: wrong token or none", request.remote)
                told = "wrong token or none; send the header Authorization: Bearer TOKEN"
                return _refusal(401, "Unauthorized", told, {"WWW-Authenticate": "Bearer"})
            return await handler(request)
        except LDMError as error:
            service.fail(request.remote or "?", request.path[:100], error)
            status = next(status for kind, status in STATUS if isinstance(error, kind))
            return _refusal(status, type(error).__name__, str(error))
        except web.HTTPRequestEntityTooLarge:
            told = f"a message had more than {service.limits.message:,} bytes (--max-message)"
            service.fail(request.remote or "?", request.path[:100], ArgumentError(told))
            return _refusal(413, "ArgumentError", told)
        except web.HTTPException as error:
            return _refusal(error.status, "HTTP", f"{error.reason}; /openapi.json lists what there is")

    async def root(request: web.Request) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await serve_websocket(service, request)
        return reply(service.about | {"documentation": "/openapi.json"})

    app = web.Application(middlewares=[guard], client_max_size=service.limits.message)
    app.router.add_get("/", root)
    Rest(service).add_to(app)
    return app


def _knows(header: str, token: str | None) -> bool:
    if token is None:
        return True
    scheme, _, given = header.partition(" ")
    return scheme.lower() in SCHEMES and hmac.compare_digest(given.strip().encode(), token.encode())


def _refusal(status: int, kind: str, message: str, headers: dict[str, str] | None = None) -> web.Response:
    answer = reply({"error": {"type": kind, "message": message}}, status)
    answer.headers.update(headers or {})
    return answer


@asynccontextmanager
async def running(engine: Engine, limits: Limits, address: Address, name: str) -> AsyncIterator[int]:
    """A server that listens while the context lasts; gives its port. Clients are told when it stops.

    Raises:
        ArgumentError: if the certificate is none.
        ServerError: if the port is taken, or may not be used.
    """
    context = address.context()
    service = Service(engine, limits, name)
    runner = web.AppRunner(application(service, address), access_log=None, shutdown_timeout=5)
    await runner.setup()
    watch = asyncio.ensure_future(service.watch())
    try:
        site = web.TCPSite(runner, address.host, address.port, ssl_context=context, backlog=1024)
        try:
            await site.start()
        except OSError as error:
            raise ServerError(
                f"cannot listen at {address.host}:{address.port} ({error.strerror or error}); choose another port "
                "(--port), or stop what uses this one"
            ) from error
        yield runner.addresses[0][1]
        await site.stop()
    finally:
        watch.cancel()
        with suppress(asyncio.CancelledError):
            await watch
        await service.stop()
        await runner.cleanup()


async def serve(engine: Engine, limits: Limits, address: Address, name: str, ready: Callable[[int], None]) -> None:
    """Serves until the process gets SIGINT or SIGTERM.

    Args:
        engine: the streams.
        limits: what is taken at most.
        address: where to listen, and who may come.
        name: name of the model, for clients.
        ready: called with the port once clients can come.

    Raises:
        ArgumentError: if the certificate is none.
        ServerError: if the port is taken, or may not be used.
    """
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with suppress(NotImplementedError):  # on Windows, Ctrl-C cancels this task
            loop.add_signal_handler(number, stopped.set)
    async with running(engine, limits, address, name) as port:
        ready(port)
        await stopped.wait()
        logger.info("stopping")
