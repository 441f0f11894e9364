"""The same methods over HTTP with JSON, for clients in any language; `openapi` describes them."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from ..errors import ArgumentError, LDMError
from .openapi import METHODS, document
from .protocol import from_json, to_json
from .service import Message, Service, Session, describe


class UnknownStreamError(LDMError):
    """There is no stream of this id, or none any more."""


def reply(message: Message, status: int = 200) -> web.Response:
    """An answer in JSON."""
    return web.Response(body=to_json(message), status=status, content_type="application/json")


class Rest:
    """The routes of a server.

    Args:
        service: the methods.
    """

    def __init__(self, service: Service) -> None:
        self.service = service
        self._sessions: dict[str, Session] = {}

    def add_to(self, app: web.Application) -> None:
        """Adds the routes to an application."""
        app.router.add_get("/healthz", self._health)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/openapi.json", self._openapi)
        app.router.add_get("/v1/model", self._model)
        app.router.add_get("/v1/environments/{name}", self._environment)
        app.router.add_post("/v1/streams", self._open)
        app.router.add_get("/v1/streams/{id}", self._with(self._describe))
        app.router.add_delete("/v1/streams/{id}", self._close)
        app.router.add_get("/v1/streams/{id}/state", self._with(self._save))
        app.router.add_put("/v1/streams/{id}/state", self._with(self._restore))
        for method in METHODS:
            app.router.add_post(f"/v1/streams/{{id}}/{method}", self._with(self._method(method)))

    async def _health(self, request: web.Request) -> web.Response:
        return reply({"status": "ok", "model": self.service.name, "streams": len(self.service.sessions)})

    async def _metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=self.service.metrics.text(), content_type="text/plain", charset="utf-8")

    async def _openapi(self, request: web.Request) -> web.Response:
        return reply(document(self.service.about))

    async def _model(self, request: web.Request) -> web.Response:
        return reply(self.service.about | {"known": sorted(self.service.engine.processor.environments)})

    async def _environment(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        layout = self.service.engine.layout_of(name, None)
        return reply(describe(layout) | {"task": self.service.engine.processor.environments[name]["task"]})

    # --- streams ----------------------------------------------------------------------------------------------------

    async def _open(self, request: web.Request) -> web.Response:
        message = await _body(request)
        session = self.service.enter(request.remote or "?")
        try:
            told = await self.service.ask(session, "open", message)
        except BaseException:
            await self.service.leave(session)
            raise
        name = secrets.token_urlsafe(16)
        self._sessions[name] = session
        session.close = lambda reason: self._forget(name)
        return reply({"stream": name, **told}, 201)

    async def _forget(self, name: str) -> None:
        if session := self._sessions.pop(name, None):
            await self.service.leave(session)

    async def _close(self, request: web.Request) -> web.Response:
        async with self._session(request).lock:  # after what it was asked for before
            await self._forget(request.match_info["id"])
        return web.Response(status=204)

    def _session(self, request: web.Request) -> Session:
        session = self._sessions.get(request.match_info["id"])
        if session is None or session.stream is None:
            raise UnknownStreamError(
                f"there is no stream {request.match_info['id']!r:.40}; it was closed, or not used for "
                f"{self.service.limits.idle:g} seconds; open another (POST /v1/streams)"
            )
        return session

    def _with(
        self, handler: Callable[[web.Request, Session], Awaitable[web.Response]]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            return await handler(request, self._session(request))

        return handle

    def _method(self, method: str) -> Callable[[web.Request, Session], Awaitable[web.Response]]:
        async def handle(request: web.Request, session: Session) -> web.Response:
            return reply(await self.service.ask(session, method, await _body(request)))

        return handle

    async def _describe(self, request: web.Request, session: Session) -> web.Response:
        assert session.stream is not None
        return reply(self.service.describe(session.stream))

    async def _save(self, request: web.Request, session: Session) -> web.Response:
        saved = await self.service.ask(session, "save", {})
        return web.Response(body=saved["state"], content_type="application/octet-stream")

    async def _restore(self, request: web.Request, session: Session) -> web.Response:
        return reply(await self.service.ask(session, "restore", {"state": await request.read()}))


async def _body(request: web.Request) -> Any:
    message = from_json(await request.read())
    if not isinstance(message, dict):
        raise ArgumentError(f"the body is a JSON object of names, this is a {type(message).__name__}")
    return message
