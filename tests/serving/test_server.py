"""A server among clients that die, send garbage, read slowly or know no token: everyone else plays on."""

import asyncio
import json
import logging
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

import msgpack
import numpy as np
import pytest
from gymnasium import spaces
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from ldm_hf import LDMAgent, LDMProcessor, RemoteAgent
from ldm_hf.errors import ArgumentError, ServerError
from ldm_hf.serving import protocol
from ldm_hf.serving.limits import Limits
from ldm_hf.serving.server import Address, running
from ldm_hf.spaces import space_to_json

from .. import fork_server
from .live import serving
from .test_engine import assert_same, play

PAIR = spaces.Box(-10, 10, (5,)), spaces.Box(-1, 1, (2,))


@pytest.fixture(scope="module")
def parts(tiny):
    processor = LDMProcessor.from_config(tiny[0].config)
    statistics = {"observation": {"": {"mean": [0.0] * 5, "std": [5.0] * 5}}, "reward": {"mean": 0.0, "std": 1.0}}
    processor.add_environment("Five-v0", *PAIR, statistics, "count to five")
    return tiny[0], processor


@pytest.fixture(scope="module")
def server(parts):
    with serving(*parts, Limits(message=20_000, stalled=0.5)) as live:
        yield live


class Watched:
    """A client that plays in a thread meanwhile, and an agent of its own that it has to equal."""

    def __init__(self, server, parts):
        self.remote, self.local = RemoteAgent(server.url, PAIR), LDMAgent(*parts, PAIR)
        self.stop, self.steps, self.error = threading.Event(), 0, None
        self.thread = threading.Thread(target=self._play)

    def _play(self):
        try:
            for step in play(PAIR[0], 10_000, 0):
                if self.stop.is_set():
                    return
                assert_same(PAIR[1], self.local.act(*step), self.remote.act(*step))
                self.steps += 1
        except BaseException as error:
            self.error = error

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *error):
        before = self.steps
        while self.steps < before + 3 and self.error is None:
            time.sleep(0.01)
        self.stop.set()
        self.thread.join()
        self.remote.close()
        assert self.error is None, self.error


def raw(server, query="?environment=Five-v0", **kwargs):
    """A plain WebSocket."""
    socket = connect(server.url + "/" + query, compression=None, close_timeout=1, **kwargs)
    return socket, protocol.unpack(socket.recv(timeout=5))


def answer(socket, data):
    socket.send(data)
    found = socket.recv(timeout=5)
    return found if isinstance(found, str) else protocol.unpack(found)


# --- HTTP ------------------------------------------------------------------------------------------------------------


def test_all_methods_over_http(server, parts):
    local = LDMAgent(*parts, PAIR, environment="Five-v0", deterministic=False, seed=3)
    status, told = server.request("POST", "/v1/streams", {"environment": "Five-v0", "deterministic": False, "seed": 3})
    assert status == 201 and told["observation_space"] == space_to_json(PAIR[0]) and told["known_statistics"]
    path = f"/v1/streams/{told['stream']}"
    done = [0.5, -0.5]
    for number, step in enumerate(play(PAIR[0], 8, 1)):
        body = dict(zip(("observation", "reward", "terminated", "truncated"), step, strict=False))
        body = {name: np.asarray(value).tolist() for name, value in body.items()}
        method = "watch" if number == 3 else "act"
        status, found = server.request("POST", f"{path}/{method}", body | ({"action": done} if number == 3 else {}))
        assert status == 200
        np.testing.assert_allclose(found["action"], local.act(*step), atol=1e-4)
        if number in (3, 5):
            local.executed(np.array(done, np.float32))
        if number == 5:
            assert server.request("POST", f"{path}/executed", {"action": done}) == (200, {})
    assert server.request("GET", path)[1]["steps"] == 8
    status, state = server.request("GET", f"{path}/state", raw=True)
    assert server.request("POST", f"{path}/clear", {"lanes": [0]})[0] == 200
    assert server.request("POST", f"{path}/reset", {})[0] == 200
    assert server.request("PUT", f"{path}/state", state) == (200, {})
    np.testing.assert_allclose(server.request("POST", f"{path}/act", body)[1]["action"], local.act(*step), atol=1e-4)
    assert server.request("DELETE", path)[0] == 204
    status, found = server.request("POST", f"{path}/act", body)
    assert status == 404 and "POST /v1/streams" in found["error"]["message"]


def test_openapi_describes_all_routes(server):
    status, told = server.request("GET", "/openapi.json")
    assert status == 200 and told["openapi"].startswith("3.1")
    _, stream = server.request("POST", "/v1/streams", {"environment": "Five-v0"})
    for path, item in told["paths"].items():
        real = path.replace("{id}", stream["stream"]).replace("{name}", "Five-v0")
        for method in sorted(set(item) - {"parameters", "delete"}):
            status, _ = server.request(method.upper(), real, None if method == "get" else b"{}", raw=True)
            assert status in (200, 201, 400), path  # 400: there is the route, and {} is not enough
    server.request("DELETE", f"/v1/streams/{stream['stream']}")
    status, model = server.request("GET", "/v1/model")
    assert model["known"] == ["Five-v0"] and model["limits"]["message"] == 20_000


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "told"),
    [
        ("POST", "/v1/streams", {}, 400, "name an environment"),
        ("POST", "/v1/streams", {"environment": "Six-v0"}, 404, "knows no environment 'Six-v0'"),
        ("POST", "/v1/streams", b"{", 400, "no JSON"),
        ("POST", "/v1/streams", b"[]", 400, "object"),
        ("POST", "/v1/streams", {"environment": 3}, 400, "must be a text"),
        ("POST", "/v1/streams", {"environment": "Five-v0", "lanes": 0}, 400, "from 1 on"),
        ("POST", "/v1/streams", {"environment": "Five-v0", "lanes": 10_000}, 503, "--max-lanes"),
        ("POST", "/v1/streams", {"environment": "Five-v0", "temperature": "hot"}, 400, "above 0"),
        ("POST", "/v1/streams", {"environment": "Five-v0", "autoreset": "never"}, 400, "SameStep"),
        ("POST", "/v1/streams", {"observation_space": {"type": "Box"}}, 400, "go together"),
        ("POST", "/v1/streams", {"observation_space": {"type": "X"}, "action_space": {}}, 400, "space"),
        ("POST", "/v1/streams", b" " * 30_000, 413, "--max-message"),
        ("GET", "/v1/streams/nothing", None, 404, "no stream"),
        ("GET", "/v1/environments/Six-v0", None, 404, "Five-v0"),
        ("GET", "/else", None, 404, "/openapi.json"),
        ("PUT", "/v1/model", None, 405, "/openapi.json"),
    ],
)
def test_each_mistake_is_one_message_and_one_line_in_the_log(server, caplog, method, path, body, status, told):
    with caplog.at_level(logging.WARNING, logger="ldm_hf.serving"):
        found, answered = server.request(method, path, body)
    assert found == status and told in answered["error"]["message"]
    assert len(caplog.records) == (path not in ("/else", "/v1/model"))
    assert server.engine.streams == 0


def test_metrics_and_health(server):
    remote = RemoteAgent(server.url, PAIR)
    before = read_metrics(server)
    for step in play(PAIR[0], 5, 0):
        remote.act(*step)
    with pytest.raises(ArgumentError):
        remote.executed("x", lanes=[5])
    after = read_metrics(server)
    assert after["ldm_steps_total"] == before.get("ldm_steps_total", 0) + 5
    assert after["ldm_streams"] == 1 and after["ldm_act_seconds_count"] - before["ldm_act_seconds_count"] == 5
    assert after['ldm_errors_total{kind="ArgumentError"}'] >= 1
    assert server.request("GET", "/healthz")[1] == {"status": "ok", "model": "tiny", "streams": 1}
    remote.close()


def read_metrics(server):
    lines = server.request("GET", "/metrics", raw=True)[1].decode().splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}


# --- openpi ----------------------------------------------------------------------------------------------------------


def test_the_published_client_of_openpi_speaks_it_unchanged(server, parts):
    openpi = pytest.importorskip("openpi_client.websocket_client_policy", reason="openpi-client is not installed")
    policy = openpi.WebsocketClientPolicy(server.url + "/?environment=Five-v0")
    metadata = policy.get_server_metadata()
    assert metadata["environment"] == "Five-v0" and metadata["model"] == "tiny"
    local, state = LDMAgent(*parts, PAIR, environment="Five-v0"), None
    for observation, *_ in play(PAIR[0], 12, 3):
        reply = policy.infer({"observation": observation, "prompt": "count to five"})
        expected, state = local.predict(observation, state, np.zeros(1, bool), deterministic=True)
        np.testing.assert_allclose(reply["actions"], expected[None], atol=1e-4)
    with pytest.raises(RuntimeError, match="has no observation, but state"):
        policy.infer({"state": np.zeros(5)})
    with pytest.raises(RuntimeError, match="shape"):
        policy.infer({"observation": np.zeros(4)})
    assert policy.infer({"observation": np.zeros(5, np.float32)})["actions"].shape == (1, 2)
    policy._ws.close()  # it has no method for this
    with pytest.raises(InvalidStatus, match="404"):
        openpi.WebsocketClientPolicy(server.url + "/?environment=Six-v0")


def test_what_openpi_writes_is_read(server):
    socket, about = raw(server)
    array = np.arange(5, dtype=">f8")
    written = {b"__ndarray__": True, b"data": array.tobytes(), b"dtype": array.dtype.str, b"shape": array.shape}
    generic = {b"__npgeneric__": True, b"data": 0.5, b"dtype": "<f8"}
    message = {"observation": written, "reward": generic, "terminated": False, "truncated": False}
    found = answer(socket, msgpack.packb(message))
    assert about["environment"] == "Five-v0" and found["actions"].shape == (1, 2)
    socket.close()


def test_text_frames_are_json(server):
    socket, _ = raw(server)
    found = json.loads(answer(socket, json.dumps({"method": "act", "observation": [0, 1, 2, 3, 4]})))
    assert len(found["action"]) == 2
    for wrong in ("{", "[]", '{"method": "save"}', '{"method": "a\\u001b[2Jb"}'):
        assert json.loads(answer(socket, wrong))["error"]["type"] == "ArgumentError"
    socket.close()


# --- clients that misbehave ------------------------------------------------------------------------------------------

ARRAY = {b"__ndarray__": True, b"data": b"\0" * 20, b"dtype": "<f4", b"shape": [5]}
HOSTILE = {
    "no MessagePack": b"\xc1garbage",
    "a list": msgpack.packb([1, 2]),
    "objects": msgpack.packb({"observation": ARRAY | {b"dtype": "|O"}}),
    "records": msgpack.packb({"observation": ARRAY | {b"dtype": "<f4,<f4"}}),
    "texts": msgpack.packb({"observation": ARRAY | {b"dtype": "<U5"}}),
    "a dtype that is none": msgpack.packb({"observation": ARRAY | {b"dtype": "(((" * 99}}),
    "a huge shape": msgpack.packb({"observation": ARRAY | {b"shape": [2**40, 2**40]}}),
    "a negative shape": msgpack.packb({"observation": ARRAY | {b"shape": [-5, -1]}}),
    "many axes": msgpack.packb({"observation": ARRAY | {b"shape": [1] * 90}}),
    "no data": msgpack.packb({"observation": {b"__ndarray__": True}}),
    "a number that is none": msgpack.packb({"reward": {b"__npgeneric__": True, b"data": 300, b"dtype": "|i1"}}),
    "deep": b"\x91" * 5_000 + b"\xc0",
    "a pickle": b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x07os.path\x94.",
    "a reward that is none": msgpack.packb({"observation": ARRAY, "reward": "much", "terminated": 0, "truncated": 0}),
    "a mask of another space": msgpack.packb({"observation": ARRAY, "info": {"action_mask": [1]}}),
    "an info that is none": msgpack.packb({"observation": ARRAY, "info": 3}),
    "flags of five": msgpack.packb({"observation": ARRAY, "reward": 1, "terminated": [0] * 5, "truncated": 0}),
    "no method": msgpack.packb({"method": "__class__"}),
    "opens again": msgpack.packb({"method": "open", "environment": "Five-v0"}),
    "restores nothing": msgpack.packb({"method": "restore"}),
    "restores garbage": msgpack.packb({"method": "restore", "state": b"\xff" * 100}),
}


def test_garbage_is_answered_and_the_stream_goes_on(server, parts, caplog):
    with Watched(server, parts), caplog.at_level(logging.WARNING, logger="ldm_hf.serving"):
        socket, _ = raw(server)
        for what, data in HOSTILE.items():
            caplog.clear()
            found = answer(socket, data)
            assert isinstance(found, str) or "error" in found, what
            assert len(caplog.records) == 1 and not caplog.records[0].exc_info, what
        assert answer(socket, msgpack.packb({"observation": ARRAY}))["actions"].shape == (1, 2)
        socket.close()


def test_a_frame_that_is_too_large_ends_its_connection_only(server, parts, caplog):
    with Watched(server, parts), caplog.at_level(logging.WARNING, logger="ldm_hf.serving"):
        socket, _ = raw(server)
        with pytest.raises(ConnectionClosed, match="1009"):
            answer(socket, b"\0" * 30_000)
        remote = RemoteAgent(server.url, PAIR)
        with pytest.raises(ServerError, match=r"1009.*reset\(\)"):
            remote.act(np.zeros(10_000))
        wait_until(lambda: [r.getMessage().count("--max-message") for r in caplog.records] == [1, 1])


def test_clients_that_die_leave_nothing(server, parts, caplog):
    with Watched(server, parts) as watched:
        for number in range(12):
            client = upgraded(server, "?environment=Five-v0")
            if number % 4:  # otherwise even before the server has let it in
                client.recv(1)
            if number % 3 == 0:  # in the middle of a step
                client.sendall(frame_of(msgpack.packb({"observation": ARRAY})))
            if number % 3 == 1:  # in the middle of a frame
                client.sendall(frame_of(b"\0" * 100)[:20])
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # no goodbye
            client.close()
        wait_until(lambda: server.engine.streams == 1)
    assert watched.steps > 3 and not caplog.records


def test_a_client_that_does_not_read_is_dismissed_and_takes_no_memory(server, parts, caplog):
    with Watched(server, parts), caplog.at_level(logging.WARNING, logger="ldm_hf.serving"):
        client = upgraded(server, "?environment=Five-v0&lanes=100")
        client.settimeout(0.2)
        with pytest.raises(OSError):  # it cannot send more, or is thrown out
            for _ in range(100_000):
                client.sendall(frame_of(msgpack.packb({"method": "save"})) * 100)
        wait_until(lambda: "has not read its answer" in caplog.text)
        client.close()


def wait_until(condition):
    until = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def upgraded(server, query):
    """A bare socket that has become a WebSocket."""
    client = socket.create_connection(("127.0.0.1", server.port))
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    headers = ["Host: x", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"]
    headers.append("Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==")
    client.sendall("\r\n".join([f"GET /{query} HTTP/1.1", *headers, "", ""]).encode())
    return client


def frame_of(body):
    """A binary frame, masked by zeros."""
    size = bytes([0x80 | len(body)]) if len(body) < 126 else b"\xfe" + struct.pack(">H", len(body))
    return b"\x82" + size + b"\0\0\0\0" + body


def test_wrong_tokens_are_turned_away(parts):
    with serving(*parts, token="secret") as live:
        assert live.request("GET", "/healthz", token="wrong")[0] == 200
        for token in ("wrong", "secre", "secrets"):
            assert live.request("GET", "/metrics", token=token)[0] == 401
        for scheme in ("Bearer", "Api-Key"):  # the second is openpi's
            headers = {"Authorization": f"{scheme} secret"}
            raw(live, additional_headers=headers)[0].close()
        with pytest.raises(InvalidStatus, match="401"):
            raw(live, additional_headers={"Authorization": "Basic secret"})


def test_tls(parts, tmp_path):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    made = subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
        ],
        capture_output=True,
    )
    if made.returncode:
        pytest.skip("no openssl to make a certificate with")
    with serving(*parts, certificate=certificate, key=key) as live:
        url = f"wss://127.0.0.1:{live.port}"
        with RemoteAgent(url, PAIR, certificate=certificate) as agent:
            assert PAIR[1].contains(agent.act(np.zeros(5, np.float32)))
        with pytest.raises(ServerError, match="certificate"):
            RemoteAgent(url, PAIR)
    with pytest.raises(ArgumentError, match=r"key\.pem"):
        Address(certificate=key).context()
    with pytest.raises(ArgumentError, match="--certificate"):
        Address(key=key).context()


def test_what_is_under_way_is_answered_when_the_server_stops(parts, monkeypatch):
    with serving(*parts) as live:
        socket, _ = raw(live)
        step, began = live.engine.step, threading.Event()

        def slow(asks):
            began.set()
            time.sleep(0.3)
            return step(asks)

        live.engine.step = slow
        socket.send(msgpack.packb({"observation": ARRAY}))
        assert began.wait(5)
        live.stop()
        assert protocol.unpack(socket.recv(timeout=5))["actions"].shape == (1, 2)
        with pytest.raises(ConnectionClosed, match="the server stops"):
            socket.recv(timeout=5)


def test_a_port_that_is_taken_is_told(server, parts):
    async def again():
        async with running(server.engine, Limits(), Address(port=server.port), "tiny"):
            pass

    with pytest.raises(ServerError, match=f"{server.port}.*--port"):
        asyncio.run(again())


@pytest.mark.parametrize("limit", [{"clients": 0}, {"wait": -1}, {"idle": 0}])
def test_limits_are_above_zero(limit):
    with pytest.raises(ArgumentError, match=next(iter(limit))):
        Limits(**limit)


def test_a_stream_that_is_closed_while_it_acts(parts):
    with serving(*parts) as live:
        path = f"/v1/streams/{live.request('POST', '/v1/streams', {'environment': 'Five-v0'})[1]['stream']}"
        step, began, found = live.engine.step, threading.Event(), []

        def slow(asks):
            began.set()
            time.sleep(0.2)
            return step(asks)

        live.engine.step = slow
        body = {"observation": [0] * 5}
        acting = threading.Thread(target=lambda: found.append(live.request("POST", f"{path}/act", body)[0]))
        acting.start()
        assert began.wait(5) and live.request("DELETE", path)[0] == 204
        acting.join()
        assert found == [200] and live.engine.streams == 0


# --- the command -----------------------------------------------------------------------------------------------------


COMMAND = (sys.executable, "-c", "from ldm_hf.cli import main; main()", "serve")


def start(folder, *arguments):
    """``ldm serve`` as a process, and the address that it prints."""
    log = (folder / "log").open("w+")
    process = fork_server.Process([*COMMAND, *arguments], files=(log, log))
    until = time.monotonic() + 60
    while not (found := re.search(r"ws://\S+", (folder / "log").read_text())):
        assert process.poll() is None and time.monotonic() < until, (folder / "log").read_text()
        time.sleep(0.02)
    return process, found[0]


def test_the_command_is_killed_and_its_clients_go_on_with_another(parts, tmp_path):
    for part in parts:
        part.save_pretrained(tmp_path / "model")
    arguments = ("--model", tmp_path / "model", "--port", 0, "--token", "secret")
    process, url = start(tmp_path, *arguments)
    remote, local = RemoteAgent(url, PAIR, token="secret"), LDMAgent(*parts, PAIR)
    steps = [*play(PAIR[0], 20, 4)]
    for step in steps[:10]:
        assert_same(PAIR[1], local.act(*step), remote.act(*step))
    remote.save_state(tmp_path / "state")
    process.kill()
    process.wait(20)
    with pytest.raises(ServerError, match=r"lost.*load_state\(\)"):
        remote.act(*steps[10])
    process, remote.url = start(tmp_path, *arguments)
    remote.load_state(tmp_path / "state")
    for step in steps[10:]:
        assert_same(PAIR[1], local.act(*step), remote.act(*step))
    taken = remote.url.rpartition(":")[2]
    again = fork_server.run([*COMMAND, "--model", tmp_path / "model", "--port", taken])
    assert again.returncode == 1 and f"127.0.0.1:{taken}" in again.stderr and "Traceback" not in again.stderr
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(20) == 0
    with pytest.raises(ServerError, match="the server stops"):
        remote.act(*steps[0])


def test_a_model_that_is_none_is_one_line(tmp_path):
    result = fork_server.run([*COMMAND, "--model", tmp_path])
    assert result.returncode == 1 and "no usable LDM" in result.stderr and "Traceback" not in result.stderr


@pytest.mark.soak
def test_a_million_steps_take_no_memory(parts):
    import psutil

    with serving(*parts) as live:
        socket, _ = raw(live, "?environment=Five-v0&lanes=500")
        array = ARRAY | {b"shape": [500, 5], b"data": b"\0" * 10_000}
        feedback = {name: [0] * 500 for name in ("reward", "terminated", "truncated")}
        data = msgpack.packb({"observation": array, **feedback})
        sizes = []
        for number in range(2_000):
            assert answer(socket, data)["actions"].shape == (1, 500, 2)
            if number % 200 == 199:
                sizes.append(psutil.Process().memory_info().rss)
        socket.close()
    assert sizes[-1] - sizes[1] < 2**20 * 8
