"""What clients can ask a server for, whatever they speak: the methods of a stream, by name."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode

from .. import __version__
from ..demonstrations_ldm import pieces, read_episodes
from ..errors import ArgumentError, LDMError, ServerError
from ..interfaces_ldm import Interface, read_flags
from ..layout_ldm import EnvironmentLayout
from ..spaces import Space, space_from_json, space_to_json
from .batching import Batcher
from .engine import Engine, unexpected
from .limits import Limits
from .metrics import Metrics
from .protocol import VERSION
from .rooms import Stream

logger = logging.getLogger(__name__)
Message = dict[str, Any]
MODES = {mode.value: mode for mode in AutoresetMode}


@dataclass(eq=False)
class Session:
    """A client's stream on the server.

    Args:
        client: address of the client, for the log.
        stream: the stream, once it is open.
        used: when it was used last, by the event loop's clock.
        writing: since when an answer is being written, by the same clock; None: there is none.
        close: closes the client's connection and says why.
        abort: cuts the client's connection off.
        lock: held while a request of the session is answered.
    """

    client: str
    stream: Stream | None = None
    used: float = 0.0
    writing: float | None = None
    close: Callable[[str], Awaitable[object]] | None = None
    abort: Callable[[], None] | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Service:
    """The methods of a server.

    Args:
        engine: the streams.
        limits: what is taken at most.
        name: name of the model, for clients.
    """

    def __init__(self, engine: Engine, limits: Limits, name: str) -> None:
        self.engine, self.limits, self.name, self.metrics = engine, limits, name, Metrics()
        self.batcher = Batcher(engine, limits.wait, self.metrics)
        self.sessions: set[Session] = set()
        self._closing: set[asyncio.Future[object]] = set()
        self._loop = asyncio.get_running_loop()
        self._methods: dict[str, Callable[[Stream, Message], Awaitable[Message]]] = {
            "act": self._act,
            "watch": self._watch,
            "show": self._show,
            "executed": self._executed,
            "clear": self._clear,
            "reset": self._reset,
            "save": self._save,
            "restore": self._restore,
            "infer": self._infer,
        }

    @property
    def about(self) -> Message:
        """What a client is told at first."""
        limits = {"message": self.limits.message, "idle": self.limits.idle, "lanes": self.limits.lanes}
        return {
            "server": f"ldm_hf {__version__}",
            "protocol": VERSION,
            "model": self.name,
            "environments": len(self.engine.processor.environments),
            "limits": limits,
        }

    def enter(self, client: str) -> Session:
        """Lets a client in.

        Raises:
            ServerError: if there are too many.
        """
        if len(self.sessions) >= self.limits.clients:
            self.metrics.refused.labels("clients").inc()
            raise ServerError(
                f"{self.limits.clients} clients are connected, which is all that this server takes; try again later, "
                "or start it with more (--max-clients)"
            )
        session = Session(client, used=self._loop.time())
        self.sessions.add(session)
        return session

    async def leave(self, session: Session) -> None:
        """Forgets a client and its stream."""
        if session in self.sessions:
            self.sessions.remove(session)
            stream, session.stream = session.stream, None
            if stream is not None:
                await self.batcher.call(self.engine.close, stream)
                self._count()

    def _count(self) -> None:
        self.metrics.streams.set(self.engine.streams)
        self.metrics.lanes.set(self.engine.lanes)

    async def ask(self, session: Session, method: str, message: Message) -> Message:
        """Answers a request; one at a time for each session.

        Raises:
            LDMError: if it cannot be done; the stream goes on as before.
        """
        async with session.lock:
            session.used = self._loop.time()
            try:
                if method == "open":
                    return await self._open(session, message)
                return await self._method(session, method)(message)
            except LDMError:
                raise
            except Exception as error:  # a mistake of ours is the matter of this client alone
                raise unexpected(error) from error

    def _method(self, session: Session, method: str) -> Callable[[Message], Awaitable[Message]]:
        call = self._methods.get(method)
        if call is None:
            known = ", ".join(self._methods)
            raise ArgumentError(f"there is no method {method!r:.40}; there are open, {known}")
        if session.stream is None:
            raise ArgumentError(
                "no environment yet: call open with its name or its spaces, or name it in the address: "
                "ws://host:port/?environment=CartPole-v1"
            )
        return partial(call, session.stream)

    def fail(self, client: str, doing: str, error: LDMError) -> None:
        """Counts and logs what a client is told."""
        self.metrics.errors.labels(type(error).__name__).inc()
        told = f"{error!s:.1000}".replace("\n", " ")
        logger.warning("%s: %s: %s", client, ascii(doing)[1:-1][:100], told)

    async def watch(self) -> None:
        """Sees to it, until it is cancelled, that clients that have gone silent do not stay."""
        limits = self.limits
        while True:
            await asyncio.sleep(min(1.0, limits.idle / 4, limits.stalled / 4))
            now = self._loop.time()
            for session in [*self.sessions]:
                if session.writing is not None:
                    if now - session.writing > limits.stalled and session.abort is not None:
                        self._dismiss(session, "stalled", f"it has not read its answer for {limits.stalled:g} seconds")
                        session.abort()
                elif now - session.used > limits.idle and session.close is not None and not session.lock.locked():
                    reason = f"not used for {limits.idle:g} seconds"
                    self._dismiss(session, "idle", reason)
                    session.used = now  # once
                    closing = asyncio.ensure_future(session.close(reason))
                    self._closing.add(closing)  # the loop itself holds tasks weakly
                    closing.add_done_callback(self._closing.discard)

    def _dismiss(self, session: Session, kind: str, reason: str) -> None:
        self.metrics.refused.labels(kind).inc()
        logger.warning("%s is dismissed: %s", session.client, reason)

    async def stop(self) -> None:
        """Says goodbye to all clients, after what they have asked for is answered."""
        await asyncio.gather(*(self._end(session) for session in [*self.sessions]))
        await self.batcher.stop()

    async def _end(self, session: Session) -> None:
        async with session.lock:
            if session.close is not None:
                await session.close("the server stops")

    # --- the methods ------------------------------------------------------------------------------------------------

    async def _open(self, session: Session, message: Message) -> Message:
        if session.stream is not None:
            raise ArgumentError("this stream is open already; a client that needs another connects again")
        environment, task = _text(message, "environment"), _text(message, "task")
        temperature, lanes = _temperature(message.get("temperature", 1.0)), _count(message, "lanes", 1)
        seed, mode = _count(message, "seed", 0), _text(message, "autoreset")
        if mode is not None and mode not in MODES:
            raise ArgumentError(f"autoreset is {mode!r:.40}; expected one of {', '.join(MODES)}")
        pair = await asyncio.to_thread(_spaces, message)
        layout = await asyncio.to_thread(self.engine.layout_of, environment, pair, _text(message, "env_id"))
        autoreset = AutoresetMode.SAME_STEP if mode is None else MODES[mode]
        interface = Interface(layout.observation_space, layout.action_space, lanes, autoreset)
        deterministic = _flag(message, "deterministic", True)
        session.stream = await self.batcher.call(
            self.engine.open, layout, interface, task, deterministic, temperature, seed
        )
        self._count()
        logger.info("%s plays %s in %d lane(s)", session.client, layout.name, session.stream.lanes)
        return self.describe(session.stream)

    def describe(self, stream: Stream) -> Message:
        """What a client is told of its stream."""
        layout = stream.room.layout
        return describe(layout) | {
            "lanes": stream.interface.lanes,
            "deterministic": stream.deterministic,
            "temperature": stream.temperature,
            "steps": stream.steps,
        }

    async def _act(self, stream: Stream, message: Message) -> Message:
        started = self._loop.time()
        if "deterministic" in message:
            stream.deterministic = _flag(message, "deterministic", True)
        if "temperature" in message:
            stream.temperature = _temperature(message["temperature"])
        ask = stream.room.read(stream, message)
        reply = {"action": await self.batcher.act(ask)}
        if ask.warning is not None:
            reply["warning"] = ask.warning
            logger.warning(ask.warning)
        if not ask.active.all():
            reply["active"] = ask.active
        self.metrics.steps.inc(stream.lanes)
        self.metrics.latency.observe(self._loop.time() - started)
        return reply

    async def _watch(self, stream: Stream, message: Message) -> Message:
        """A step that somebody else has decided: the history takes it in, and the model's own proposal is told."""
        if "action" not in message:
            raise ArgumentError("watch takes the action that was done (action), beside the observation")
        stream.room.read_action(stream, message["action"])  # before the history takes in the step
        reply = await self._act(stream, message)
        await self.batcher.call(stream.room.executed, stream, message["action"])
        return reply

    async def _show(self, stream: Stream, message: Message) -> Message:
        """Whole episodes of somebody else, which the history takes in."""
        if "episodes" not in message:
            raise ArgumentError("show takes whole episodes (episodes); watch takes one step")
        layout, lanes = stream.room.layout, message.get("lanes")
        stream.pick(lanes)  # before the history takes in anything
        spaces = layout.observation_space, layout.action_space
        read = await asyncio.to_thread(read_episodes, *spaces, message["episodes"])
        for shown in pieces(read):  # others get their turn in between
            await self.batcher.call(self.engine.show, stream, shown, lanes)
        return {"steps": sum(len(shown["reward"]) for shown in read)}

    async def _executed(self, stream: Stream, message: Message) -> Message:
        if "action" not in message:
            raise ArgumentError("executed takes the action that was done (action)")
        await self.batcher.call(stream.room.executed, stream, message["action"], message.get("lanes"))
        return {}

    async def _clear(self, stream: Stream, message: Message) -> Message:
        await self.batcher.call(self.engine.clear, stream, message.get("lanes"))
        return {}

    async def _reset(self, stream: Stream, message: Message) -> Message:
        await self.batcher.call(self.engine.clear, stream)
        return {}

    async def _save(self, stream: Stream, message: Message) -> Message:
        return {"state": await self.batcher.call(self.engine.save, stream)}

    async def _restore(self, stream: Stream, message: Message) -> Message:
        if not isinstance(message.get("state"), bytes):
            raise ArgumentError("restore takes what save gave (state), bytes")
        await self.batcher.call(self.engine.restore, stream, message["state"])
        return {}

    # --- openpi -----------------------------------------------------------------------------------------------------

    async def _infer(self, stream: Stream, message: Message) -> Message:
        """Answers openpi's ``infer``: an observation in, ``actions`` with an axis of steps (one) out.

        Where the client passes no reward, the model acts without, as with Stable-Baselines3's `predict`.
        """
        if "observation" not in message:
            raise ArgumentError(
                f"the message has no observation, but {', '.join(map(str, message))[:200] or 'nothing'}; send "
                "{'observation': what env.reset or env.step returned}, and reward, terminated, truncated if you can"
            )
        prompt = _text(message, "prompt")
        if prompt not in (None, stream.prompt):
            stream.prompt = prompt
            stream.task = stream.room.layout.encode_task(stream.prompt)
        reply = await self._act(stream, message if "reward" in message else {"episode_start": False, **message})
        return {"actions": _with_horizon(reply.pop("action")), **reply}


def _with_horizon(action: Any) -> Any:
    """An action as the first and only one of a row of actions."""
    if isinstance(action, dict):
        return {key: _with_horizon(part) for key, part in action.items()}
    if isinstance(action, tuple):
        return [_with_horizon(part) for part in action]
    return action if isinstance(action, str) else np.asarray(action)[None]


def describe(layout: EnvironmentLayout) -> Message:
    """An environment as a client is told of it."""
    return {
        "environment": layout.name,
        "observation_space": space_to_json(layout.observation_space),
        "action_space": space_to_json(layout.action_space),
        "known_statistics": layout.mean is not None,
    }


def _spaces(message: Message) -> tuple[Space, Space] | None:
    told: list[Any] = [message.get(name) for name in ("observation_space", "action_space")]
    absent = [space is None for space in told]
    if all(absent):
        return None
    if any(absent):
        raise ArgumentError("observation_space and action_space go together; one is missing")
    first, second = (space_from_json(space) for space in told)
    return first, second


def _text(message: Message, name: str) -> str | None:
    value = message.get(name)
    if value is not None and not isinstance(value, str):
        raise ArgumentError(f"{name} is {value!r:.80}; it must be a text")
    return value


def _count(message: Message, name: str, least: int) -> int | None:
    value = message.get(name)
    if value is not None and (type(value) is not int or value < least):
        raise ArgumentError(f"{name} is {value!r:.80}; it must be a whole number from {least} on")
    return value


def _flag(message: Message, name: str, default: bool) -> bool:
    value = message.get(name)
    return default if value is None else bool(read_flags(name, value, 1)[0])


def _temperature(value: Any) -> float:
    number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if not number or not 0 < value < math.inf:
        raise ArgumentError(f"temperature is {value!r:.80}; it must be a number above 0")
    return float(value)
