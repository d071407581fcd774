"""All of it -> one page to look at."""

from __future__ import annotations

import platform
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hand_geometry import features_to_params, params_to_features
from hand_geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from hiw_data import HiwStore
from kedro.pipeline import Pipeline, node
from shift_tokenizer import ShiftTokenizer, codebook_gallery

from pipelines.report.page import write_report
from pipelines.tracking import git_revision

History = list[dict[str, float]]
TURN = 2.6  # radians about the vertical axis


def make_page(
    metrics: dict[str, Any],
    quality: dict[str, Any],
    samples: dict[str, np.ndarray],
    tokenizer: History,
    evaluator: History,
    judge: History,
    pretrain: History,
    refine: History,
    control: History,
    instruct: History,
    store: HiwStore,
    shift: ShiftTokenizer,
    tokens: dict[str, np.ndarray],
) -> str:
    """Return the page: curves, tables, and moving pictures of true, reconstructed and generated motion."""
    shown = [sample(samples, k) for k in range(len(samples["clip_id"]))]
    with tempfile.TemporaryDirectory() as folder:
        page = write_report(
            Path(folder) / "index.html",
            metrics=metrics,
            curves={
                "tokenizer": tokenizer,
                "pretraining": pretrain,
                "refinement": {"refined": refine, "cross-entropy alone": control},
                "instruction tuning": instruct,
                "evaluator": evaluator,
                "judge": judge,
            },
            samples=shown,
            captioned=[caption_example(one) for one in shown],
            codes=code_examples(store, shift, tokens),
            summary=quality,
            run={
                "revision": git_revision(),
                "data_hash": metrics["data_hash"],
                "machine": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
            },
        )
        return page.read_text(encoding="utf-8")


def sample(samples: dict[str, np.ndarray], k: int) -> dict[str, Any]:
    """Return the k-th sample as the page takes it."""
    return {
        "clip_id": str(samples["clip_id"][k]),
        "source": str(samples["source"][k]),
        "synthetic": bool(samples["synthetic"][k]),
        "caption": str(samples["caption"][k]),
        "generated_caption": str(samples["generated_caption"][k]),
        "fps": float(samples["fps"][k]),
        "truth": samples[f"truth_{k}"],
        "valid": samples[f"valid_{k}"],
        "reconstruction": samples[f"reconstruction_{k}"],
        "generations": list(samples[f"generations_{k}"]),
    }


def caption_example(one: dict[str, Any]) -> dict[str, Any]:
    """Return the same sample as an example of motion to text."""
    kept = {key: one[key] for key in ("clip_id", "source", "synthetic", "fps", "valid")}
    return kept | {
        "motion": one["truth"],
        "captions": [one["caption"]],
        "generated": one["generated_caption"],
    }


def code_examples(store: HiwStore, shift: ShiftTokenizer, tokens: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """Return the most used codes of every codebook with their motion; hands that are not seen do not count."""
    clips = store.clips()
    names = shift.config.codebook_names
    ids = [torch.from_numpy(tokens[clip["clip_id"]]) for clip in clips]
    valid = [torch.from_numpy(clip["valid"]) for clip in clips]
    return [
        {
            "codebook": names[entry.codebook],
            "code": entry.code,
            "share": entry.share,
            "features": turned(entry.features) if names[entry.codebook].startswith("pose") else entry.features.numpy(),
            "hands": entry.hands.numpy(),
            "fps": store.fps,
        }
        for entry in codebook_gallery(shift, ids, valid=valid)
    ]


def turned(features: torch.Tensor) -> np.ndarray:
    """Return a motion (T, 198) with each hand turned about the vertical axis, so that its fingers show."""
    params = features_to_params(features)
    turn = axis_angle_to_matrix(torch.tensor([0.0, TURN, 0.0]))
    orient = matrix_to_axis_angle(turn @ axis_angle_to_matrix(params["global_orient"]))
    return np.asarray(params_to_features({**params, "global_orient": orient}))


def create_pipeline() -> Pipeline:
    """Write `report_page`."""
    histories = ["tokenizer", "evaluator", "judge", "pretrain", "refine", "control", "instruct"]
    inputs = ["metrics", "quality_report", "samples", *(f"{name}_history" for name in histories)]
    inputs += ["hiw_store", "shift", "tokens"]
    return Pipeline([node(make_page, inputs, "report_page")], tags="stage.report")
