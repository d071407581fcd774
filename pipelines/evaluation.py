"""Models + test split -> metrics of the tokenizer, both directions and refinement; samples to look at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from clutch_llm import Clutch
from clutch_llm.evaluation import (
    Evaluator,
    EvaluatorConfig,
    compare_refinement,
    evaluate_m2t,
    evaluate_t2m,
    evaluate_tokenizer,
    train_evaluator,
)
from hiw_data import Clip, HiwStore
from kedro.pipeline import Pipeline, node
from shift_tokenizer import ShiftTokenizer

from pipelines.tracking import live_metrics

Clips = list[Clip]
Motions = list[list[np.ndarray]]


@dataclass(frozen=True)
class Protocol:
    """How the models are asked.

    Attributes:
        split: the split that is measured.
        samples: motions for each caption.
        temperature: of sampling.
        guidance: classifier-free guidance of sampling; 1 is none.
        seed: of sampling and of every random choice of the metrics.
        max_clips: at most so many clips of each source; 0 for all.
        shown: clips of each source that the page shows.
    """

    split: str = "test"
    samples: int = 2
    temperature: float = 1.0
    guidance: float = 1.0
    seed: int = 0
    max_clips: int = 0
    shown: int = 6

    def clips(self, store: HiwStore) -> Clips:
        """Return the clips to measure on, in the store's order."""
        clips = store.clips(split=self.split)
        sources = dict.fromkeys(clip["source"] for clip in clips)
        limit = self.max_clips or len(clips)
        return [c for s in sources for c in [c for c in clips if c["source"] == s][:limit]]


def generate(clutch: Clutch, clips: Clips, protocol: Protocol) -> Motions:
    """Return `samples` motions for the finest caption of each clip, as long as the clip."""
    motions: Motions = [[] for _ in clips]
    lengths = sorted({len(clip["features"]) for clip in clips})
    for length in lengths:
        members = [i for i, clip in enumerate(clips) if len(clip["features"]) == length]
        drawn = clutch.generate(
            [clips[i]["captions"][-1] for i in members],
            seconds=length / clips[members[0]]["fps"],
            samples=protocol.samples,
            temperature=protocol.temperature,
            guidance=protocol.guidance,
            seed=protocol.seed,
        )
        for i, samples in zip(members, drawn, strict=True):
            motions[i] = [motion["features"] for motion in samples]
    return motions


def fit_evaluator(
    store: HiwStore, config: EvaluatorConfig, checkpoints: str
) -> tuple[Evaluator, list[dict[str, float]]]:
    """Train the contrastive evaluator on the train split of every source."""
    with live_metrics() as log:
        return train_evaluator(
            store.clips(split="train"),
            config,
            val_clips=store.clips(split="val"),
            checkpoint_dir=f"{checkpoints}/evaluator",
            on_log=log,
        )


def measure_tokenizer(
    store: HiwStore, shift: ShiftTokenizer, protocol: Protocol
) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Joint errors of the reconstructions beside the trivial baselines; and the reconstructions."""
    clips = protocol.clips(store)
    tokens = shift.encode_list([clip["features"] for clip in clips])
    reconstructions = [np.asarray(motion) for motion in shift.decode_list(tokens)]
    return evaluate_tokenizer(clips, reconstructions, store.clips(split="train")), reconstructions


def measure_t2m(
    store: HiwStore,
    clutch: Clutch,
    evaluator: Evaluator,
    reconstructions: list[np.ndarray],
    protocol: Protocol,
) -> tuple[dict[str, Any], Motions]:
    """Text to motion by the final model, beside truth, reconstruction, a random caption's motion and chance."""
    clips = protocol.clips(store)
    motions = generate(clutch, clips, protocol)
    metrics = evaluate_t2m(
        evaluator,
        clips,
        motions,
        reconstructions,
        pool_clips=store.clips(split="val"),
        texts=[clip["captions"][-1] for clip in clips],
        seed=protocol.seed,
    )
    return metrics, motions


def measure_m2t(
    store: HiwStore, clutch: Clutch, evaluator: Evaluator, protocol: Protocol
) -> tuple[dict[str, Any], list[str]]:
    """Motion to text by the final model, and what it said of each clip."""
    clips = protocol.clips(store)
    captions = clutch.caption([clip["features"] for clip in clips], detailed=True)
    return evaluate_m2t(evaluator, clips, captions, seed=protocol.seed), captions


def measure_refinement(
    store: HiwStore, refined: Clutch, control: Clutch, evaluator: Evaluator, protocol: Protocol
) -> dict[str, Any]:
    """Refinement against the same steps of cross-entropy alone, on the same captions and seeds."""
    clips = protocol.clips(store)
    return compare_refinement(
        evaluator,
        clips,
        generate(control, clips, protocol),
        generate(refined, clips, protocol),
        texts=[clip["captions"][-1] for clip in clips],
        seed=protocol.seed,
    )


def measure_form(clutch: Clutch, store: HiwStore, motions: Motions, protocol: Protocol) -> dict[str, float]:
    """Share of well-formed motions: as generated, under the slot grammar, and with nothing constrained."""
    clips = protocol.clips(store)
    steps = clutch.tokenizer.config.frames_per_latent
    good = [
        motion.shape == (len(clip["features"]), 198) and len(motion) % steps == 0 and bool(np.isfinite(motion).all())
        for clip, samples in zip(clips, motions, strict=True)
        for motion in samples
    ]
    free = clutch.generate_free([clip["captions"][-1] for clip in clips], seed=protocol.seed)
    return {
        "generated": float(np.mean(good)),
        "unconstrained": float(np.mean([clutch.well_formed(ids) for ids in free])),
    }


def gather(
    store: HiwStore,
    tokenizer: dict[str, Any],
    t2m: dict[str, Any],
    m2t: dict[str, Any],
    refinement: dict[str, Any],
    form: dict[str, float],
) -> dict[str, Any]:
    """Put all metrics in one document, with the data they were measured on."""
    return {
        "data_hash": store.data_hash,
        "tokenizer": tokenizer,
        "text_to_motion": t2m,
        "motion_to_text": m2t,
        "refinement": refinement,
        "well_formed_share": form,
    }


def choose_samples(
    store: HiwStore,
    reconstructions: list[np.ndarray],
    motions: Motions,
    captions: list[str],
    protocol: Protocol,
) -> dict[str, np.ndarray]:
    """Keep the first clips of each source, spread over the split, with all that was made of them."""
    clips = protocol.clips(store)
    kept: list[int] = []
    for source in dict.fromkeys(clip["source"] for clip in clips):
        members = [i for i, clip in enumerate(clips) if clip["source"] == source]
        kept += members[:: max(1, len(members) // protocol.shown)][: protocol.shown]
    arrays: dict[str, np.ndarray] = {
        "clip_id": np.array([clips[i]["clip_id"] for i in kept]),
        "source": np.array([clips[i]["source"] for i in kept]),
        "synthetic": np.array([bool(clips[i]["attributes"].get("synthetic")) for i in kept]),
        "caption": np.array([clips[i]["captions"][-1] for i in kept]),
        "generated_caption": np.array([captions[i] for i in kept]),
        "fps": np.array([clips[i]["fps"] for i in kept]),
    }
    for k, i in enumerate(kept):
        arrays[f"truth_{k}"] = clips[i]["features"]
        arrays[f"valid_{k}"] = clips[i]["valid"]
        arrays[f"reconstruction_{k}"] = reconstructions[i]
        arrays[f"generations_{k}"] = np.stack(motions[i])
    return arrays


def create_pipeline() -> Pipeline:
    """Train `evaluator`; write `metrics` and `samples`."""
    protocol = "params:evaluation.protocol"
    return Pipeline(
        [
            node(
                fit_evaluator,
                ["hiw_store", "params:evaluation.evaluator", "params:checkpoints"],
                ["evaluator", "evaluator_history"],
            ),
            node(measure_tokenizer, ["hiw_store", "shift", protocol], ["tokenizer_metrics", "reconstructions"]),
            node(
                measure_t2m,
                ["hiw_store", "clutch", "evaluator", "reconstructions", protocol],
                ["t2m_metrics", "motions"],
            ),
            node(measure_m2t, ["hiw_store", "clutch", "evaluator", protocol], ["m2t_metrics", "captions"]),
            node(
                measure_refinement,
                ["hiw_store", "clutch_refined", "clutch_control", "evaluator", protocol],
                "refinement_metrics",
            ),
            node(measure_form, ["clutch", "hiw_store", "motions", protocol], "form_metrics"),
            node(
                gather,
                [
                    "hiw_store",
                    "tokenizer_metrics",
                    "t2m_metrics",
                    "m2t_metrics",
                    "refinement_metrics",
                    "form_metrics",
                ],
                "metrics",
            ),
            node(choose_samples, ["hiw_store", "reconstructions", "motions", "captions", protocol], "samples"),
        ],
        tags="stage.evaluation",
    )
