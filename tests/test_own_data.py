"""The README's recipe for own data through every stage to the report, started from elsewhere; and its variations.

Sizes and steps are those of the `test` environment: what is tested is that the road ends, and with whose data.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hiw_data import HiwStore
from transformers import T5Config, T5ForConditionalGeneration, T5Tokenizer

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
ACTIONS = ("waves", "turns a page", "taps twice", "rests", "points ahead")


def write_clips(folder: Path, count: int = 30) -> None:
    """Clips as a user might have them: of many lengths (two longer than the model holds), rates and persons."""
    folder.mkdir(parents=True)
    for k in range(count):
        rng = np.random.default_rng(k)
        frames = 150 if k < 2 else 40 + 2 * (k % 5)
        hand, action = ("left", "right")[k % 2], ACTIONS[k % len(ACTIONS)]
        sway = np.sin(np.linspace(0, 2 + k % 3, frames))[:, None]
        wrists = np.array([[-0.1, 0, 0], [0.1, 0, 0]]) + 0.05 * sway[..., None] * rng.normal(size=(1, 2, 3))
        valid = np.ones((frames, 2), bool)
        valid[:, k % 2] = k % 3 > 0
        np.savez(
            folder / f"clip_{k:02}.npz",
            global_orient=(0.2 * sway[..., None] * rng.normal(size=(1, 2, 3))).astype(np.float32),
            hand_pose=(0.3 * sway[..., None, None] * rng.normal(size=(1, 2, 15, 3))).astype(np.float32),
            transl=wrists.astype(np.float32),
            valid=valid,
            fps=np.float32(30 if k % 2 else 15),
            captions=np.array([f"the {hand} hand {action}", f"the {hand} hand {action}, clip {k} of a person"]),
            group=np.array(f"person {k // 2}"),
        )


def readme_settings() -> dict:
    """The YAML of README's "Use your own data"."""
    (block,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    return yaml.safe_load(block)


def merge(base: dict, changes: dict) -> dict:
    both = {key: merge(base[key], changes[key]) for key in base if isinstance(base.get(key), dict) and key in changes}
    return base | changes | both


def environment_of(copy: Path, name: str, settings: dict, base: str = "test") -> None:
    """An environment of the user's own, which writes beside the demo's."""
    folder = copy / "conf" / name
    folder.mkdir()
    shared = yaml.safe_load((copy / "conf" / base / "parameters.yml").read_text())
    (folder / "parameters.yml").write_text(yaml.safe_dump(merge(shared, settings)))
    (folder / "globals.yml").write_text(f"data: data/{name}\nreports: reports/{name}\n")


RUN = """
import sys
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
bootstrap_project(sys.argv[1])
with KedroSession.create(sys.argv[1], env=sys.argv[2]) as session:
    session.run(pipeline_names=["full"])
"""


def check_report(copy: Path, name: str, sources: set[str]) -> dict:
    text = (copy / "reports" / name / "metrics.json").read_text()
    metrics = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    for part in ("tokenizer", "text_to_motion", "motion_to_text", "refinement"):
        assert set(metrics[part]) == sources, part
    page = (copy / "reports" / name / "index.html").read_text()
    assert all(source in page for source in sources)
    shown = re.sub(r"<(script|style).*?</\1>|<[^>]*>", " ", page, flags=re.DOTALL)
    assert not re.search(r"\bnan\b", shown, re.IGNORECASE)
    return metrics


@pytest.fixture(scope="module")
def copy(new_copy) -> Path:
    folder = new_copy("own")
    write_clips(folder / "my_clips")
    return folder


def test_the_readmes_recipe_goes_through_every_stage_started_from_elsewhere(copy, tmp_path, environment, run):
    settings = readme_settings()
    assert settings["data"]["sources"] == [{"type": "npz", "folder": "my_clips"}]
    environment_of(copy, "mine", settings)
    run([sys.executable, "-c", RUN, str(copy), "mine"], tmp_path, environment)
    assert os.listdir(tmp_path) == []
    check_report(copy, "mine", {"npz"})
    assert {"mlflow.db", "mlruns", "logs"} <= set(os.listdir(copy))
    store = HiwStore.open(copy / "data/mine/hiw.zarr")
    store.verify()
    clips = store.clips()
    assert {clip["fps"] for clip in clips} == {15.0}
    assert len(clips) > 30, "the long ones are cut into pieces"
    split_of: dict[str, set[str]] = {}
    for clip in clips:
        person = int(re.search(r"clip_(\d+)", clip["clip_id"])[1]) // 2
        split_of.setdefault(person, set()).add(clip["split"])
    assert len(split_of) == 15
    assert all(len(found) == 1 for found in split_of.values()), split_of
    assert set.union(*split_of.values()) == {"train", "val", "test"}


@pytest.fixture(scope="module")
def less(new_copy, environment, run) -> Path:
    """A repository whose conf/base is the smallest, with one of the demo's sources left out; Kedro has run it all."""
    folder = new_copy("less")
    base, small = (folder / "conf" / name / "parameters.yml" for name in ("base", "test"))
    sources = {"data": {"sources": [{"type": "procedural", "clips": 120}]}}
    values = merge(merge(yaml.safe_load(base.read_text()), yaml.safe_load(small.read_text())), sources)
    base.write_text(yaml.safe_dump(values))
    run(["git", "init", "--quiet"], folder, environment)
    run(["kedro", "run", "--pipeline", "full"], folder / "docs", environment)
    return folder


def test_the_demo_goes_on_with_one_of_its_sources_left_out(less):
    check_report(less, "", {"procedural"})
    assert "data" not in os.listdir(less / "docs")


def test_what_kedro_has_run_dvc_need_not_run_again(less, environment, run):
    assert json.loads(run(["dvc", "status", "--json"], less, environment).stdout) == {}
    assert "Running stage" not in run(["dvc", "repro"], less, environment).stdout
    run(["kedro", "run", "--pipeline", "llm_instruct", "--params", "instruct.seed=1"], less, environment)
    assert "llm_instruct" in json.loads(run(["dvc", "status", "--json"], less, environment).stdout)


def tiny_t5(folder: Path) -> None:
    """A T5 with random weights and a text tokenizer of T5's kind, as a folder of Flan-T5 holds them."""
    pieces = ["▁the", "▁left", "▁right", "▁hand", "▁", *(chr(k) for k in range(33, 127))]
    marks = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    sentinels = [(f"<extra_id_{k}>", 0.0) for k in range(99, -1, -1)]
    text = T5Tokenizer(vocab=[*marks, *((piece, -2.0) for piece in pieces), *sentinels])
    text.save_pretrained(folder)
    torch.manual_seed(0)
    sizes = T5Config(
        vocab_size=len(text), d_model=32, d_kv=8, d_ff=64, num_layers=1, num_heads=4,
        feed_forward_proj="gated-gelu", tie_word_embeddings=False, decoder_start_token_id=0,
    )  # fmt: skip
    T5ForConditionalGeneration(sizes).save_pretrained(folder)


def test_the_papers_environment_with_sizes_and_steps_shrunk_goes_through_every_stage(copy, environment, run):
    tiny_t5(copy / "t5")
    shrunk = {
        "data": {"sources": [{"type": "npz", "folder": "my_clips"}]},
        "tokenizer": {"model": {"width": 32, "codebook_size": 64}, "training": {"steps": 20, "batch_size": 16}},
        "llm": {"base_model": "t5"},
        **{stage: {"steps": 6, "batch_size": 8} for stage in ("pretrain", "refine", "instruct")},
        "evaluation": {"evaluator": {"width": 32, "hidden": 16, "steps": 20, "batch_size": 16}},
    }
    environment_of(copy, "small_paper", shrunk, base="paper")
    made = yaml.safe_load((copy / "conf/small_paper/parameters.yml").read_text())
    assert {made[stage]["zero_stage"] for stage in ("pretrain", "refine", "instruct")} == {2}
    assert {made[stage]["precision"] for stage in ("pretrain", "refine", "instruct")} == {"bf16"}
    run(["kedro", "run", "--env", "small_paper", "--pipeline", "full"], copy, environment)
    check_report(copy, "small_paper", {"npz"})


def test_a_setting_that_does_not_fit_stops_the_run_before_anything_is_read(copy, environment, tmp_path):
    """The whole command: one line, no traceback on the screen, all of it in the log."""
    shutil.rmtree(copy / "logs", ignore_errors=True)
    command = ["kedro", "run", "--env", "test", "--params", "data.build.fps=30"]
    result = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr.strip().splitlines()[-1].startswith("Error: Expected 'tokenizer.model.fps' equal to")
    assert "Traceback" not in result.stderr
    assert "Traceback" in (copy / "logs/clutch.log").read_text()
