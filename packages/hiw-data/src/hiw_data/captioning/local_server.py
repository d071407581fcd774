"""The package's own OpenAI-compatible server: one small language model, on this machine, for text alone."""

from __future__ import annotations

import threading
import time
import uuid
from typing import Any

from hiw_data.captioning.local_model import LocalModel
from hiw_data.captioning.problems import require
from hiw_data.errors import OptionError


def make_app(model: LocalModel) -> Any:
    """A FastAPI application with ``/v1/models`` and ``/v1/chat/completions``.

    It takes ``messages`` of text, ``response_format`` (``json_schema`` or none) and ``max_tokens``, decodes greedily
    whatever the temperature, and answers one request after the other.
    """
    fastapi = require("fastapi", "llm")
    app, turn = fastapi.FastAPI(title="hiw serve-llm"), threading.Lock()

    @app.get("/v1/models")
    def models() -> dict[str, Any]:
        return {"object": "list", "data": [{"id": model.name, "object": "model", "owned_by": "hiw-data"}]}

    def complete(body: dict[str, Any]) -> Any:
        try:
            messages, schema, most = _request(body)
            with turn:
                made = model.answer(messages, schema, most)
        except (OptionError, KeyError, TypeError, AttributeError) as error:
            said = {"error": {"message": f"{type(error).__name__}: {error}", "type": "invalid_request_error"}}
            return fastapi.responses.JSONResponse(said, status_code=400)
        return {
            "id": f"chatcmpl-{uuid.uuid4().hex}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": model.name,
            "choices": [{"index": 0, "message": {"role": "assistant", "content": made.text}, "finish_reason": "stop"}],
            "usage": {
                "prompt_tokens": made.tokens_in,
                "completion_tokens": made.tokens_out,
                "total_tokens": made.tokens_in + made.tokens_out,
            },
        }

    complete.__annotations__ = {"body": dict[str, Any], "return": Any}  # evaluated: FastAPI reads them
    app.post("/v1/chat/completions", response_model=None)(complete)
    return app


def _request(body: dict[str, Any]) -> tuple[list[dict[str, str]], dict[str, Any] | None, int]:
    messages = [{"role": str(message["role"]), "content": _text(message["content"])} for message in body["messages"]]
    if not messages:
        raise OptionError("Expected at least one message, got none.")
    format_ = body.get("response_format") or {"type": "text"}
    if format_["type"] not in ("text", "json_schema"):
        raise OptionError(f"Expected response_format of json_schema or text, got {format_['type']!r}.")
    schema = format_["json_schema"]["schema"] if format_["type"] == "json_schema" else None
    most = body.get("max_tokens") or 256
    if not isinstance(most, int) or most < 1:
        raise OptionError(f"Expected max_tokens as a number of at least 1, got {most!r}.")
    return messages, schema, most


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    if any(part["type"] != "text" for part in content):
        raise OptionError("Expected text alone, got an image: this model cannot see.")
    return "\n".join(str(part["text"]) for part in content)


def serve(model: LocalModel, host: str = "127.0.0.1", port: int = 8000) -> None:
    """Serves until it is stopped."""
    require("uvicorn", "llm").run(make_app(model), host=host, port=port, log_level="warning", ws="none")
