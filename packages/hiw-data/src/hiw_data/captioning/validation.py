"""Answers held against their JSON schema, with a reason that a model and a person can use."""

from __future__ import annotations

import json
from typing import Any

from hiw_data.captioning.problems import require
from hiw_data.captioning.questions import MOST_LETTERS, Schema


class InvalidAnswerError(ValueError):
    """An answer is no JSON, or does not fit its schema."""


def parse_answer(text: str, schema: Schema) -> dict[str, Any]:
    """The answer as JSON; a fence of Markdown around it is taken off.

    Raises:
        InvalidAnswerError: It does not fit; the message says where.
    """
    stripped = text.strip()
    if stripped.startswith("```") and stripped.endswith("```"):
        stripped = stripped[3:-3].removeprefix("json").strip()
    try:
        value = json.loads(stripped)
    except (ValueError, RecursionError) as error:
        raise InvalidAnswerError(f"expected JSON, got {stripped[:80]!r} ({error})") from None
    validator = require("jsonschema", "vlm").Draft202012Validator(schema)
    for fault in validator.iter_errors(value):
        where = "/".join(map(str, fault.absolute_path)) or "the answer"
        raise InvalidAnswerError(f"{where}: {fault.message[:200]}")
    for where, said in _texts(value, "answer"):
        if not said.strip() or len(said) > MOST_LETTERS:
            raise InvalidAnswerError(f"{where}: expected 1 to {MOST_LETTERS} letters, got {len(said.strip())}")
    return dict(value)


def _texts(value: Any, where: str) -> list[tuple[str, str]]:
    if isinstance(value, str):
        return [(where, value)]
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for name, item in items for found in _texts(item, f"{where}/{name}")]
