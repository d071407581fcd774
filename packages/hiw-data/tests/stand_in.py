"""A stand-in for a model's endpoint: a real HTTP server on loopback that answers by schema, and can be flaky."""

from __future__ import annotations

import hashlib
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import takewhile
from typing import Any

FAULTS = (
    "hang", "trickle", "drop", "half", "429", "500", "503-html", "broken-json", "no-choices", "wrong-schema",
    "no-json", "echo-key",
)  # fmt: skip
TEXTS = {
    "action": "pick up", "left": "rests", "right": "holds the cup", "sentence": "The person picks up a cup.",
    "reason": "It is seen.",
}  # fmt: skip


def answer_of(schema: dict[str, Any], name: str = "") -> Any:
    """The first answer that a schema allows."""
    if "enum" in schema:
        return schema["enum"][0]
    if schema["type"] == "object":
        return {key: answer_of(part, key) for key, part in schema["properties"].items()}
    if schema["type"] == "array":
        return ["cup"]
    return TEXTS.get(name, f"the {name}")


class StandIn:
    """The server's memory.

    Attributes:
        url: Its base_url.
        asked: Question -> requests for it. Questions are told apart by model, schema and first messages.
        answered: Question -> valid answers sent for it.
        busiest: Most requests under way at once.
        keys: Authorization headers that came.
        bodies: Every request.
        faults: Called with the question and how often it was asked before; says the fault, or "".
        change: Called with the schema's name and the answer; returns the answer to send.
    """

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.keys: set[str] = set()
        self.bodies: list[dict[str, Any]] = []
        self.busiest = self._busy = 0
        self.delay = 0.0
        self.retry_after = "0.05"
        self.faults: Callable[[str, int], str] = lambda question, before: ""
        self.change: Callable[[str, Any], Any] = lambda name, answer: answer
        self.lock, self.closing = threading.Lock(), threading.Event()
        self.url = ""

    def flaky(self, share: float, seed: int, kinds: tuple[str, ...] = FAULTS) -> None:
        """So large a share of requests fails, the kinds in turn, the order drawn by seed."""
        rng = random.Random(seed)
        order = [kind for _ in range(400) for kind in rng.sample(kinds, len(kinds))]
        turn = iter(order)

        def faults(question: str, before: int) -> str:
            with self.lock:
                return next(turn) if rng.random() < share else ""

        self.faults = faults

    @contextmanager
    def under_way(self) -> Iterator[None]:
        with self.lock:
            self._busy += 1
            self.busiest = max(self.busiest, self._busy)
        try:
            yield
        finally:
            with self.lock:
                self._busy -= 1


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *args: object) -> None:
        pass

    def do_POST(self) -> None:
        with self.server.memory.under_way():
            try:
                self._answer(self.server.memory)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

    def _answer(self, memory: StandIn) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        format_ = body["response_format"]["json_schema"]
        asked = list(takewhile(lambda message: message["role"] != "assistant", body["messages"]))
        first = json.dumps([body["model"], format_, asked])  # asked again after an invalid answer, it is the same one
        question = format_["name"] + ":" + hashlib.sha256(first.encode()).hexdigest()[:16]
        with memory.lock:
            before = memory.asked[question]
            memory.asked[question] += 1
            memory.keys.add(self.headers.get("Authorization", ""))
            memory.bodies.append(body)
        time.sleep(memory.delay)
        fault = memory.faults(question, before)
        answer = memory.change(format_["name"], answer_of(format_["schema"]))
        if fault:
            self._fail(fault, memory, answer)
            return
        with memory.lock:
            memory.answered[question] += 1
        self._complete(json.dumps(answer))

    def _fail(self, fault: str, memory: StandIn, answer: Any) -> None:
        whole = json.dumps(_completion(json.dumps(answer))).encode()
        if fault == "hang":
            memory.closing.wait(10)
            self.close_connection = True
        elif fault == "trickle":
            self._start(200, 10_000)
            for _ in range(300):
                self.wfile.write(b" ")
                self.wfile.flush()
                if memory.closing.wait(0.05):
                    break
            self.close_connection = True
        elif fault == "drop":
            self.close_connection = True
        elif fault == "half":
            self._start(200, len(whole))
            self.wfile.write(whole[:40])
            self.close_connection = True
        elif fault == "429":
            self._send(429, b'{"error": {"message": "slow down"}}', {"Retry-After": memory.retry_after})
        elif fault == "500":
            self._send(500, b'{"error": {"message": "oh no"}}')
        elif fault == "503-html":
            self._send(503, b"<html>busy</html>", {}, "text/html")
        elif fault == "echo-key":
            said = f"this key failed: {self.headers.get('Authorization')}"
            self._send(500, json.dumps({"error": {"message": said}}).encode())
        elif fault == "broken-json":
            self._send(200, whole[:-30])
        elif fault == "no-choices":
            self._send(200, b'{"id": "x", "choices": []}')
        elif fault == "wrong-schema":
            self._complete(json.dumps({"unasked": 1}))
        elif fault == "no-json":
            self._complete("I would say that the hand rests.")
        else:
            self._send(int(fault), b'{"error": {"message": "' + fault.encode() + b'"}}')

    def _complete(self, text: str) -> None:
        self._send(200, json.dumps(_completion(text)).encode())

    def _start(self, status: int, length: int, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def _send(
        self, status: int, body: bytes, headers: dict[str, str] | None = None, kind: str = "application/json"
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def _completion(text: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    return {
        "id": "made", "object": "chat.completion", "created": 1, "model": "stand-in",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
    }  # fmt: skip


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64
    memory: StandIn

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that went away are what some tests are about."""


@contextmanager
def stand_in() -> Iterator[StandIn]:
    """A running stand-in."""
    memory = StandIn()
    server = _Server(("127.0.0.1", 0), _Handler)
    server.memory = memory
    memory.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield memory
    finally:
        memory.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()
