"""The questions to the models: what is sent, the JSON schema of the answer, and the name that an answer is kept by."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hiw_data.captioning.prompt_files import ATOMIC, Prompt, prompt

Schema = dict[str, Any]

MOST_LETTERS = 400
"""Of one text in an answer; more is a model that has lost its way."""

NONE = "none"
KEY_VERSION = 1


def _object(**properties: Schema) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _one_of(*values: str) -> Schema:
    return {"type": "string", "enum": list(values)}


_TEXT: Schema = {"type": "string"}

SCHEMAS: dict[str, Schema] = {
    "hand_role": _object(left=_TEXT, right=_TEXT, leads=_one_of("left", "right", "both", "neither")),
    "action_object": _object(action=_TEXT, objects={"type": "array", "items": _TEXT}),
    "state_transition": _object(before=_TEXT, change=_TEXT, after=_TEXT),
    "action_intent": _object(intent=_TEXT, certainty=_one_of("low", "medium", "high")),
    "summary": _object(sentence=_TEXT),
    "fine": _object(sentence=_TEXT),
    "verification": _object(high=_one_of("yes", "no", "unsure"), fine=_one_of("yes", "no", "unsure"), reason=_TEXT),
}


@dataclass(frozen=True)
class Question:
    """One question to one model.

    Attributes:
        prompt: What is asked, with its version.
        text: The prompt with its fields.
        schema: Of the answer.
        data: JSON text that goes after the prompt, as a message of the user; "" for none.
        frames: JPEG or PNG files as bytes, in order of time.
    """

    prompt: Prompt
    text: str
    schema: Schema
    data: str = ""
    frames: tuple[bytes, ...] = ()

    def messages(self) -> list[dict[str, Any]]:
        """As the OpenAI protocol has them: the prompt as system's, frames and data as the user's."""
        images = [
            {"type": "image_url", "image_url": {"url": f"data:{_kind(f)};base64,{base64.b64encode(f).decode()}"}}
            for f in self.frames
        ]
        user: Any = [{"type": "text", "text": self.text}, *images] if images else self.data
        return [*([] if images else [{"role": "system", "content": self.text}]), {"role": "user", "content": user}]

    def response_format(self) -> dict[str, Any]:
        """The answer's schema, as the OpenAI protocol has it."""
        schema = {"name": self.prompt.name, "strict": True, "schema": self.schema}
        return {"type": "json_schema", "json_schema": schema}

    def key(self, model: str, **parameters: object) -> str:
        """The name that its answer is kept by: SHA-256 of the model, prompt, data, frames and parameters."""
        asked = {
            "key_version": KEY_VERSION,
            "model": model,
            "prompt": self.prompt.label,
            "text": self.text,
            "data": self.data,
            "schema": self.schema,
            "frames": [hashlib.sha256(frame).hexdigest() for frame in self.frames],
            "parameters": parameters,
        }
        # Keys of a schema stand in the order in which they are asked for, which is part of the question.
        return hashlib.sha256(json.dumps(asked).encode()).hexdigest()


def _kind(frame: bytes) -> str:
    return "image/png" if frame.startswith(b"\x89PNG") else "image/jpeg"


def atomic_questions(frames: Sequence[bytes]) -> dict[str, Question]:
    """The four questions of parallel chain of thought (CLUTCH, ICLR 2026), each asked apart from the others."""
    return {
        name: Question(prompt(name), prompt(name).fill(count=len(frames)), SCHEMAS[name], frames=tuple(frames))
        for name in ATOMIC
    }


def _about(name: str, schema: Schema, **material: object) -> Question:
    data = json.dumps(material, ensure_ascii=False)
    return Question(prompt(name), prompt(name).fill(), schema, data=data)


def summary_question(answers: dict[str, Any], claims: Sequence[str], narrations: Sequence[str]) -> Question:
    """One sentence from the four answers and the motion's claims."""
    return _about("summary", SCHEMAS["summary"], answers=answers, measured=list(claims), narrations=list(narrations))


def choice_question(
    answers: dict[str, Any],
    claims: Sequence[str],
    narrations: Sequence[str],
    actions: Sequence[str],
    objects: Sequence[str],
    roles: Sequence[str],
) -> Question:
    """A choice among candidates of the closed vocabulary: nothing else can be answered."""
    objects = list(dict.fromkeys([*objects, NONE]))
    schema = _object(
        action=_one_of(*actions), object=_one_of(*objects), left_role=_one_of(*roles), right_role=_one_of(*roles)
    )
    return _about(
        "choice",
        schema,
        answers=answers,
        measured=list(claims),
        narrations=list(narrations),
        actions=list(actions),
        objects=objects,
        roles=list(roles),
    )


def fine_question(chosen: dict[str, str], answers: dict[str, Any], claims: Sequence[str]) -> Question:
    """A fine-grained sentence with the chosen words."""
    return _about("fine", SCHEMAS["fine"], chosen=chosen, answers=answers, measured=list(claims))


def verification_question(high: str, fine: str, frames: Sequence[bytes]) -> Question:
    """Do the captions agree with the frames?"""
    asked = prompt("verification")
    captions = json.dumps({"high": high, "fine": fine}, ensure_ascii=False)
    text = asked.fill(count=len(frames), captions=captions)
    return Question(asked, text, SCHEMAS["verification"], frames=tuple(frames))
