"""A WebSocket is a client with one stream: MessagePack in binary frames, as `openpi-client` speaks it, or JSON in text
frames."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Any

from aiohttp import WebSocketError, WSCloseCode, WSMessage, WSMsgType, web

from ..errors import ArgumentError, LDMError
from .protocol import from_json, pack, to_json, unpack
from .service import Message, Service, Session

QUERY = ("environment", "task", "temperature", "seed", "deterministic", "lanes", "autoreset")


class Connection:
    """One WebSocket.

    Args:
        service: the methods.
        session: the client's session.
        frames: the open WebSocket.
    """

    def __init__(self, service: Service, session: Session, frames: web.WebSocketResponse) -> None:
        self.service, self.session, self.frames = service, session, frames

    async def answer_all(self, about: Message) -> None:
        """Tells about the server, and answers requests one after another until the client goes.

        The next request is read when the answer to the last one is on its way, so a client that does not read its
        answers cannot send more.
        """
        await self._send(pack(about))
        while True:
            frame = await self.frames.receive()
            if frame.type is WSMsgType.BINARY:
                await self._answer(frame.data, False)
            elif frame.type is WSMsgType.TEXT:
                await self._answer(frame.data, True)
            else:
                self._explain(frame)
                return

    def _explain(self, frame: WSMessage) -> None:
        """Says in the log why a connection ends that was not closed by the client."""
        if isinstance(frame.data, WebSocketError):
            limit = self.service.limits.message
            told = str(frame.data)
            if frame.data.code == WSCloseCode.MESSAGE_TOO_BIG:
                told = f"a message had more than {limit:,} bytes (--max-message)"
            self.service.fail(self.session.client, "message", ArgumentError(told))

    async def _answer(self, data: Any, as_json: bool) -> None:
        method = "message"
        try:
            message = from_json(data) if as_json else unpack(data)
            if not isinstance(message, dict):
                raise ArgumentError(f"a message is a map of names, this is a {type(message).__name__}")
            method = str(message.pop("method", "infer"))
            told = await self.service.ask(self.session, method, message)
            reply = to_json(told).decode() if as_json else pack(told)
        except LDMError as error:
            self.service.fail(self.session.client, method, error)
            told = {"error": {"type": type(error).__name__, "message": str(error)}}
            reply = to_json(told).decode() if as_json else pack(told)
            if method == "infer" and not as_json:  # openpi's clients take a text for an error
                reply = str(error)
        await self._send(reply)

    async def _send(self, reply: str | bytes) -> None:
        self.session.writing = time.monotonic()
        await (self.frames.send_str(reply) if isinstance(reply, str) else self.frames.send_bytes(reply))
        self.session.writing = None


async def serve_websocket(service: Service, request: web.Request) -> web.StreamResponse:
    """Upgrades a request and answers the client until it goes.

    Raises:
        LDMError: if the client is not let in, or what its address asks for cannot be.
    """
    session = service.enter(request.remote or "?")
    try:
        about = service.about
        if wanted := _wanted(request.query):
            about |= await service.ask(session, "open", wanted)
        frames = web.WebSocketResponse(max_msg_size=service.limits.message, compress=False, autoping=True)
        session.close = lambda reason: frames.close(code=WSCloseCode.GOING_AWAY, message=reason.encode())
        session.abort = request.transport.abort if isinstance(request.transport, asyncio.WriteTransport) else None
        with suppress(ConnectionError):  # the client has gone while it was written to
            await frames.prepare(request)
            await Connection(service, session, frames).answer_all(about)
        return frames
    finally:
        await service.leave(session)


def _wanted(query: Any) -> Message:
    """What an address asks for: the arguments of ``open`` as text."""
    if unknown := sorted(set(query) - {*QUERY}):
        raise ArgumentError(f"the address asks for {unknown[0]!r:.40}; it may ask for {', '.join(QUERY)}")
    wanted: Message = dict(query)
    for name, kind in (("temperature", float), ("seed", int), ("lanes", int), ("deterministic", int)):
        if name in wanted:
            try:
                wanted[name] = kind(wanted[name])
            except ValueError as error:
                raise ArgumentError(f"the address asks for {name}={wanted[name]!r:.40}, which is no number") from error
    return wanted
