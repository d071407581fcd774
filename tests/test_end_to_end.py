"""The whole road in the `test` environment: run by Kedro, run by DVC, killed and resumed, used from the shell."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from hiw_data import HiwStore
from shift_tokenizer import ShiftTokenizer

import mlflow
from pipelines.baselines.plan import TITLES

pytestmark = pytest.mark.slow

STAGES = {
    "data",
    "tokenizer",
    "llm_pretrain",
    "llm_refine",
    "llm_refine_control",
    "llm_instruct",
    "evaluation",
    "report",
}


@pytest.fixture(scope="module")
def metrics(project) -> dict:
    return json.loads((project / "reports/test/metrics.json").read_text())


@pytest.fixture(scope="module")
def store(project) -> HiwStore:
    return HiwStore.open(project / "data/test/hiw.zarr")


def test_every_part_is_measured_on_each_source_of_the_test_split(metrics, store):
    measured = [clip["source"] for clip in store.clips(split="test")]
    expected = {source: min(40, measured.count(source)) for source in ("fingerspelling", "procedural")}
    assert min(expected.values()) > 5
    for part in ("tokenizer", "text_to_motion", "motion_to_text", "refinement"):
        assert {source: figures["clips"] for source, figures in metrics[part].items()} == expected, part
    assert metrics["tokenizer"]["procedural"]["synthetic"] is True
    assert metrics["tokenizer"]["fingerspelling"]["synthetic"] is False
    assert metrics["data_hash"] == store.data_hash


def test_the_baselines_of_the_tokenizer_are_what_they_say(metrics, store):
    """Of clips that hold nearly still, their own mean pose is far closer than the mean of all; it has no jitter."""
    for figures in metrics["tokenizer"].values():
        rows = figures["rows"]
        assert 5 < rows["static_pose"]["mpjpe_root_mm"] < rows["mean_pose"]["mpjpe_root_mm"] < 150
        assert rows["static_pose"]["jitter_mm_frame3"] == rows["mean_pose"]["jitter_mm_frame3"] == 0
        assert rows["reconstruction"]["jitter_mm_frame3"] > 0


def test_the_samples_to_look_at_are_the_stores_clips_and_what_the_saved_tokenizer_makes_of_them(project, store):
    clips = {clip["clip_id"]: clip for clip in store.clips(split="test")}
    shift = ShiftTokenizer.from_pretrained(project / "data/test/models/shift")
    with np.load(project / "data/test/samples.npz") as samples:
        assert len(samples["clip_id"]) == 4  # two of each source
        for k, name in enumerate(samples["clip_id"]):
            clip = clips[str(name)]
            np.testing.assert_array_equal(samples[f"truth_{k}"], clip["features"])
            assert samples["caption"][k] == clip["captions"][-1]
            (tokens,) = shift.encode_list([torch.as_tensor(clip["features"])], [torch.as_tensor(clip["valid"])])
            np.testing.assert_allclose(samples[f"reconstruction_{k}"], shift.decode_list([tokens])[0], atol=1e-4)
            assert samples[f"generations_{k}"].shape == (2, *clip["features"].shape)


def test_the_page_is_one_file_without_outside_resources(project):
    page = (project / "reports/test/index.html").read_text()
    assert "<html" in page
    assert 'src="http' not in page


def test_no_recording_is_in_two_splits_and_what_is_held_out_is_not_learnt(store):
    store.verify()
    split_of: dict[tuple[str, str], set[str]] = {}
    for clip in store.clips():
        split_of.setdefault((clip["source"], clip["origin"]), set()).add(clip["split"])
    assert all(len(found) == 1 for found in split_of.values())
    for source in ("fingerspelling", "procedural"):
        splits = [next(iter(found)) for (name, _), found in split_of.items() if name == source]
        assert splits.count("train") > len(splits) / 2
        assert min(splits.count("val"), splits.count("test")) > len(splits) / 20
    held_out = [clip for clip in store.clips() if clip["attributes"].get("unseen_combination")]
    assert {clip["split"] for clip in held_out} == {"val", "test"}

    def combination(clip: dict) -> tuple:
        return tuple(clip["attributes"].get(name) for name in ("family", "hand", "direction"))

    learnt = {combination(c) for c in store.clips(split="train") if c["source"] == "procedural"}
    assert not learnt & {combination(clip) for clip in held_out}


def test_every_stage_is_a_run_with_its_parent_parameters_and_tags(project):
    client = mlflow.MlflowClient(f"sqlite:///{project / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("clutch")
    runs = client.search_runs([experiment.experiment_id])
    stages = {run.data.tags["stage"]: run for run in runs if "stage" in run.data.tags}
    assert set(stages) == STAGES
    parents = {run.data.tags["mlflow.parentRunId"] for run in stages.values()}
    assert len(parents) == 1
    assert all(run.info.status == "FINISHED" for run in runs)
    refine = stages["llm_refine"]
    assert float(refine.data.params["refine.lam"]) > 0
    assert len(client.get_metric_history(refine.info.run_id, "loss")) >= 1
    assert {"git_revision", "data_hash"} <= set(refine.data.tags)
    artifacts = {item.path for item in client.list_artifacts(refine.info.run_id)}
    assert {"clutch_refined", "refine_history.png"} <= artifacts


def test_a_model_generates_and_captions_from_the_shell(project, environment, tmp_path, run):
    model = str(project / "data/test/models/clutch")
    out = tmp_path / "wave.mp4"
    command = [
        "clutch",
        "generate",
        "the right hand waves",
        "--model",
        model,
        "--out",
        str(out),
        "--seconds",
        "2",
    ]
    run(command, project, environment)
    assert out.stat().st_size > 1000
    motion = tmp_path / "wave.npz"
    run([*command[:5], "--out", str(motion), "--seconds", "2"], project, environment)
    said = run(["clutch", "caption", str(motion), "--model", model], project, environment)
    assert said.stdout.strip()


def test_the_baselines_are_trained_measured_and_kept(project, environment, run, store):
    command = ["kedro", "run", "--env", "test", "--pipeline", "baselines"]
    printed = run(command, project, environment)
    study = json.loads((project / "reports/test/baselines.json").read_text())
    page = (project / "reports/test/baselines.md").read_text()
    assert page in printed.stdout + printed.stderr
    assert set(study["table"]) == {"fingerspelling", "procedural"}
    own = {name: records["0"] for name, records in study["records"].items()}
    assert set(own) == {*TITLES, "clutch"}
    assert all(own[name]["steps"] for name in own if name not in ("retrieval", "clutch"))
    for tables in study["table"].values():
        assert {*TITLES, "clutch", "truth", "random_caption", "plain_decoder reconstruction"} <= set(tables["motion"])
        assert {"retrieval", "plain_language_model", "clutch", "random_caption"} <= set(tables["words"])
        assert all(tables["motion"][name]["jitter_mm_frame3"]["mean"] > 0 for name in TITLES)
    assert study["data_hash"] == store.data_hash
    kept = {path: path.stat().st_mtime_ns for path in (project / "data/test/checkpoints/baselines").iterdir()}
    run(command, project, environment)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    again = json.loads((project / "reports/test/baselines.json").read_text())
    assert (again["records"], again["table"]) == (study["records"], study["table"])


def test_reinforcement_is_the_end_of_the_road_and_its_study_compares_every_arm(project, environment, run):
    (row,) = json.loads((project / "reports/test/history/reinforce.json").read_text())
    assert 0 <= row["reward"] <= 1
    run(
        [sys.executable, "-m", "kedro", "run", "--env", "test", "--pipeline", "reinforcement_study"],
        project,
        environment,
    )
    study = json.loads((project / "reports/test/reinforcement_study.json").read_text())
    arms = {"control", "best_of_n", "refined", "soft_mixture", "expected_codes", "reinforced"}
    for budget in ("equal_steps", "equal_time"):
        for source in ("fingerspelling", "procedural"):
            figures = study[budget][source]
            assert set(figures["arms"]) == {*arms, "truth"}
            assert set(figures["changes"]) == arms - {"control"}
        row = study[budget]["procedural"]["arms"]["reinforced"]
        assert {"claims", "contact_across_f1", "jitter_mm_frame3", "kid_mean", "judge_family"} <= set(row)
    assert study["steps"]["equal_steps"] == dict.fromkeys(sorted(arms - {"best_of_n"}), 3)
    assert "### procedural" in (project / "reports/test/reinforcement_study.md").read_text()


def test_a_killed_stage_goes_on_and_ends_as_if_it_had_not_been_killed(project, environment, run):
    shift = project / "data/test/models/shift/model.safetensors"
    uninterrupted = shift.read_bytes()
    command = [sys.executable, "-m", "kedro", "run", "--env", "test", "--pipeline", "tokenizer"]
    command += ["--params", "tokenizer.training.checkpoint_every=2"]
    process = subprocess.Popen(
        command, cwd=project, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    checkpoints = project / "data/test/checkpoints/tokenizer"
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline and not (checkpoints / "training_state.safetensors").exists():
        assert process.poll() is None, "the stage ended before it wrote a checkpoint"
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert shift.read_bytes() == uninterrupted, "the old model is whole while the new one is not there"
    result = run(command, project, environment)
    assert "from step" in result.stdout + result.stderr
    assert shift.read_bytes() == uninterrupted


def test_dvc_gives_what_kedro_gives(project, repository):
    with np.load(project / "data/test/tokens.npz") as ours, np.load(repository / "data/tokens.npz") as theirs:
        assert set(ours.files) == set(theirs.files)
        assert all(np.array_equal(ours[name], theirs[name]) for name in ours.files)
    ours = json.loads((project / "reports/test/metrics.json").read_text())
    assert ours == json.loads((repository / "reports/metrics.json").read_text())


def test_a_second_repro_runs_nothing(repository, environment, run):
    result = run(["dvc", "repro"], repository, environment | {"KEDRO_ENV": "test"})
    assert "Running stage" not in result.stdout
    assert "up to date" in result.stdout


def test_a_changed_training_parameter_reruns_only_what_depends_on_it(repository, environment, run):
    path = repository / "conf/base/parameters.yml"
    before = path.read_text()
    head, tail = before.split("\ninstruct:")
    path.write_text(f"{head}\ninstruct:{tail.replace('seed: 0', 'seed: 1', 1)}")
    try:
        log = run(["dvc", "repro"], repository, environment | {"KEDRO_ENV": "test"}).stdout
    finally:
        path.write_text(before)
    again = [line.split("'")[1] for line in log.splitlines() if line.startswith("Running stage")]
    assert again == ["llm_instruct", "evaluation", "report"]


def test_dvc_shows_the_metrics(repository, environment, run):
    shown = run(["dvc", "metrics", "show", "--json"], repository, environment)
    assert "reports/metrics.json" in shown.stdout
