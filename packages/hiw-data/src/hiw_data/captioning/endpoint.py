"""Where a model is asked: address, name, key and limits of an OpenAI-compatible endpoint.

Address, model and key come from options or the environment, never from a file. The key is held in a ``Secret``, which
prints as ``***``, cannot be written as JSON, and strikes itself out of any text that it is shown.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn
from urllib.parse import urlsplit

from hiw_data.captioning.problems import EndpointError
from hiw_data.errors import OptionError

_SHORTEST_STRUCK = 4
"""A key shorter than this ("x", as vLLM takes any) is no secret, and striking it out would spoil every text."""


class Secret:
    """A key that does not print.

    >>> str(Secret("sk-1234")), Secret("sk-1234").struck_from("wrong key sk-1234")
    ('***', 'wrong key ***')
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The key itself, for the client that sends it."""
        return self._value

    def struck_from(self, text: str) -> str:
        """The text without the key."""
        return text.replace(self._value, "***") if len(self._value) >= _SHORTEST_STRUCK else text

    def __repr__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> NoReturn:
        raise TypeError("A key is not pickled.")

    def __deepcopy__(self, memo: dict[int, Any]) -> Secret:
        return self


@dataclass(frozen=True)
class Endpoint:
    """An OpenAI-compatible endpoint and how gently it is asked.

    Attributes:
        base_url: Such as ``http://127.0.0.1:8000/v1``; no name or password in it.
        model: The model's name there.
        key: None for endpoints that want none.
        concurrency: Requests under way at once, at most.
        requests_per_minute, tokens_per_minute: In any 60 seconds, at most; None for no limit. They hold for this
            process: give each of N processes an N-th.
        tokens_per_image: What one frame counts against ``tokens_per_minute`` before the endpoint has said.
        timeout: Seconds for one request from its first byte to its last.
        tries: How often one request is sent at most, where the endpoint times out, drops it or answers 408, 409, 429
            or 5xx.
        answers: How often the model is asked for a valid answer at most.
        first_wait, longest_wait: Seconds; waits double from the first up to the longest, drawn evenly between zero and
            that ("full jitter"). A ``Retry-After`` is kept to; one above ``longest_wait`` gives the question up.
        give_up_after: So many questions in a row that got no answer end the asking; the rest is listed.
        max_tokens: Of one answer.
        temperature: 0 for the likeliest answer.
        price_in, price_out: Of a million tokens, in any currency, for the summary of cost.

    Raises:
        OptionError: If a part is out of its range.
    """

    base_url: str
    model: str
    key: Secret | None = None
    concurrency: int = 8
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    tokens_per_image: int = 800
    timeout: float = 120.0
    tries: int = 6
    answers: int = 3
    first_wait: float = 1.0
    longest_wait: float = 120.0
    give_up_after: int = 20
    max_tokens: int = 512
    temperature: float = 0.0
    price_in: float = 0.0
    price_out: float = 0.0

    def __post_init__(self) -> None:
        address = urlsplit(self.base_url)
        if address.scheme not in ("http", "https") or not address.hostname:
            raise OptionError(f"Expected base_url as http://HOST/v1 or https://HOST/v1, got {address.netloc[-60:]!r}.")
        if address.username or address.password:
            raise OptionError("Expected base_url without a name and password in it; give the key by the environment.")
        if not self.model:
            raise OptionError("Expected the model's name, got ''.")
        for name in ("concurrency", "tries", "answers", "give_up_after", "max_tokens", "tokens_per_image"):
            if getattr(self, name) < 1:
                raise OptionError(f"Expected {name} of at least 1, got {getattr(self, name)}.")
        for name in ("requests_per_minute", "tokens_per_minute"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise OptionError(f"Expected {name} of at least 1, or None, got {getattr(self, name)}.")
        for name in ("timeout", "longest_wait"):
            if not getattr(self, name) > 0:
                raise OptionError(f"Expected {name} above 0 seconds, got {getattr(self, name)}.")

    def struck(self, text: str) -> str:
        """A text without the key."""
        return self.key.struck_from(text) if self.key else text


def endpoint_from_environment(kind: str, environment: Mapping[str, str] | None = None, **options: Any) -> Endpoint:
    """An endpoint of ``HIW_VLM_BASE_URL``, ``HIW_VLM_MODEL``, ``HIW_VLM_API_KEY`` (or ``HIW_LLM_...``).

    Args:
        kind: "vlm" or "llm". What is not set for "llm" is taken from "vlm", and the address and key of either from
            ``OPENAI_BASE_URL`` and ``OPENAI_API_KEY``. A key goes only to the address that it is set with: where
            ``HIW_LLM_BASE_URL`` is set, the VLM's key is not sent there.
        environment: None for ``os.environ``.
        options: Of ``Endpoint``; they come before the environment where they are not None.

    Raises:
        EndpointError: There is no address or no model.
    """
    env = os.environ if environment is None else environment
    given = {name: value for name, value in options.items() if value is not None}
    own_key = env.get(f"HIW_{kind.upper()}_API_KEY")
    if "base_url" in given:
        _take_key(given, own_key)
    for name in dict.fromkeys((kind.upper(), "VLM")):
        if "model" not in given and env.get(f"HIW_{name}_MODEL"):
            given["model"] = env[f"HIW_{name}_MODEL"]
        if "base_url" not in given and env.get(f"HIW_{name}_BASE_URL"):
            given["base_url"] = env[f"HIW_{name}_BASE_URL"]
            _take_key(given, own_key or env.get(f"HIW_{name}_API_KEY"))
    if "base_url" not in given and env.get("OPENAI_BASE_URL"):
        given["base_url"] = env["OPENAI_BASE_URL"]
        _take_key(given, own_key or env.get("OPENAI_API_KEY"))
    for name, words in (("base_url", "address"), ("model", "model")):
        if name not in given:
            raise EndpointError(
                f"Expected the {words} of the {kind.upper()}, got none. "
                f"Set HIW_{kind.upper()}_{name.upper()}, or give --{kind}-{name.replace('_', '-')}."
            )
    return Endpoint(**given)


def _take_key(given: dict[str, Any], key: str | None) -> None:
    if key and "key" not in given:
        given["key"] = Secret(key)
