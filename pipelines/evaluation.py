"""Models + test split -> metrics of the tokenizer, both directions and refinement; samples to look at.

Whatever is chosen is chosen on the val split; the test split is measured once.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from clutch_llm import Clutch
from clutch_llm.evaluation import (
    Evaluator,
    EvaluatorConfig,
    Goal,
    Judge,
    JudgeConfig,
    believed_shares,
    check_goals,
    compare_arms,
    evaluate_m2t,
    evaluate_t2m,
    evaluate_tokenizer,
    judge_motions,
    measure_claims,
    measure_motions,
    read_goals,
    temperature_of_multimodality,
    train_evaluator,
    train_judge,
)
from clutch_llm.evaluation.metrics import multimodality
from hiw_data import HiwStore
from hiw_data.captioning import caption_claims
from hiw_data.sources.phrasing import TELLS
from kedro.pipeline import Pipeline, node
from shift_tokenizer import ShiftTokenizer

from pipelines.judge_data import judge_clips
from pipelines.protocol import TERSE, Clips, Motions, Protocol, generate, phrasings_of, seed_of, texts_of
from pipelines.tracking import live_metrics

OTHER_LENGTH = 1.25  # of the true one: longer than the action takes

MATCHED_CLIPS = 48  # of each source of the val split: enough to tell MultiModality to a few percent, a second a try


def set_goals(values: dict[str, Any]) -> list[Goal]:
    """Read the goals of the configuration; it waits for nothing, so that a wrong one stops the run early."""
    return read_goals(values)


def fit_evaluator(
    store: HiwStore, config: EvaluatorConfig, checkpoints: str
) -> tuple[Evaluator, list[dict[str, float]]]:
    """Train the contrastive evaluator on the train split of every source."""
    with live_metrics() as log:
        return train_evaluator(
            store.clips(split="train"),
            config,
            val_clips=store.clips(split="val"),
            data_hash=store.data_hash,
            checkpoint_dir=f"{checkpoints}/evaluator",
            on_log=log,
        )


def fit_judge(
    store: HiwStore, config: JudgeConfig, sources: list[dict[str, Any]], checkpoints: str
) -> tuple[Judge, list[dict[str, float]]]:
    """Train the independent judge on true joints: of the train split, or of clips of its own, see `judge_clips`."""
    clips, data_hash = judge_clips(store, sources)
    with live_metrics() as log:
        return train_judge(
            clips,
            config,
            val_clips=store.clips(split="val"),
            data_hash=data_hash,
            checkpoint_dir=f"{checkpoints}/judge",
            on_log=log,
        )


def measure_tokenizer(
    store: HiwStore, shift: ShiftTokenizer, protocol: Protocol
) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Joint errors of the reconstructions beside the trivial baselines; and the reconstructions."""
    clips = protocol.clips(store)
    features, valid = [clip["features"] for clip in clips], [clip["valid"] for clip in clips]
    tokens = shift.encode_list(features, valid, fps=store.fps)
    reconstructions = [motion.cpu().numpy() for motion in shift.decode_list(tokens)]
    return evaluate_tokenizer(clips, reconstructions, store.clips(split="train")), reconstructions


def draw_motions(store: HiwStore, clutch: Clutch, protocol: Protocol) -> dict[str, Motions]:
    """Motions of the final model: as asked in training, without the true length, longer, from high-level captions.

    And, of sources that have such, from phrasings that are held out of training.
    """
    clips = protocol.clips(store)
    motions = {
        "generated": generate(clutch, clips, protocol),
        "generated_own_length": generate(clutch, clips, protocol, length=None, samples=1),
        "generated_other_length": generate(clutch, clips, protocol, length=OTHER_LENGTH, samples=1),
        "generated_high_level": generate(clutch, clips, protocol, level=0, samples=1),
    }
    if protocol.held_out_phrasings:
        motions |= _phrased("generated_held_out_phrasing", clutch, clips, protocol, TELLS)
    return motions


def draw_terse(store: HiwStore, clutch: Clutch, protocol: Protocol) -> dict[str, Motions]:
    """Motions as people ask who try a model: action and count in held-out words, no more (`TERSE`), and no length.

    Such a sentence fits many motions, so only what it tells can be judged. Nothing where no source has such.
    """
    if not protocol.held_out_phrasings:
        return {}
    return _phrased("generated_terse", clutch, protocol.clips(store), protocol, TERSE, length=None)


def _phrased(
    name: str,
    clutch: Clutch,
    clips: Clips,
    protocol: Protocol,
    tells: Collection[str],
    *,
    length: float | None = 1.0,
) -> dict[str, Motions]:
    """An arm of the clips that have a held-out phrasing; none where no clip has."""
    phrased = phrasings_of(clips, tells)
    if not phrased:
        return {}
    asked = [clips[i] for i in phrased]
    drawn = generate(clutch, asked, protocol, texts=list(phrased.values()), length=length, samples=1)
    found = dict(zip(phrased, drawn, strict=True))
    return {name: [found.get(i, []) for i in range(len(clips))]}


def asked_texts(clips: Clips) -> dict[str, list[str]]:
    """What the arms were asked for: the high-level caption for its arm, the detailed one for all others."""
    return {"": texts_of(clips), "generated_high_level": texts_of(clips, 0)}


def measure_t2m(
    store: HiwStore,
    evaluator: Evaluator,
    motions: dict[str, Motions],
    reconstructions: list[np.ndarray],
    protocol: Protocol,
) -> dict[str, Any]:
    """Text to motion by the final model, beside truth, reconstruction, a random caption's motion and chance."""
    clips = protocol.clips(store)
    return evaluate_t2m(
        evaluator,
        clips,
        motions,
        reconstructions,
        pool_clips=store.clips(split="val"),
        texts=asked_texts(clips),
        split_by=protocol.split_by,
        seed=protocol.seed,
    )


def measure_judge(
    store: HiwStore,
    judge: Judge,
    motions: dict[str, Motions],
    terse: dict[str, Motions],
    reconstructions: list[np.ndarray],
    protocol: Protocol,
) -> dict[str, Any]:
    """What the independent judge names in the same motions, and in the terse ones, as far as those were told."""
    return judge_motions(
        judge,
        protocol.clips(store),
        motions | terse,
        reconstructions,
        told=dict.fromkeys(terse, ("family", *TERSE)),
        split_by=protocol.split_by,
        seed=protocol.seed,
    )


def measure_obedience(
    store: HiwStore, motions: dict[str, Motions], reconstructions: list[np.ndarray], protocol: Protocol
) -> dict[str, Any]:
    """The share of the captions' claims that the same motions fulfil, by kind and by second."""
    clips = protocol.clips(store)
    return measure_claims(
        caption_claims,
        clips,
        motions,
        reconstructions,
        texts=asked_texts(clips),
        split_by=protocol.split_by,
        seed=protocol.seed,
    )


def measure_motion(
    store: HiwStore, motions: dict[str, Motions], reconstructions: list[np.ndarray], protocol: Protocol
) -> dict[str, Any]:
    """Contacts, limits, penetration and speeds of the same motions."""
    return measure_motions(
        protocol.clips(store), motions, reconstructions, group_by=protocol.group_by, seed=protocol.seed
    )


def measure_m2t(
    store: HiwStore, clutch: Clutch, evaluator: Evaluator, protocol: Protocol
) -> tuple[dict[str, Any], list[str]]:
    """Motion to text by the final model, and what it said of each clip."""
    clips = protocol.clips(store)
    features, valid = [clip["features"] for clip in clips], [clip["valid"] for clip in clips]
    captions = clutch.caption(features, valid, fps=store.fps, detailed=True)
    measured = evaluate_m2t(
        evaluator, clips, captions, split_by=protocol.split_by, seed=protocol.seed, bert_model=protocol.bert_model
    )
    return measured, captions


def measure_refinement(
    store: HiwStore, refined: Clutch, control: Clutch, evaluator: Evaluator, judge: Judge, protocol: Protocol
) -> dict[str, Any]:
    """Refinement against the same steps of cross-entropy alone, on the same captions and seeds.

    With several samples a caption the control is also drawn at the temperature at which it is as varied as the refined
    model, chosen on the val split.
    """
    clips = protocol.clips(store)
    arms = {
        "control": [generate(control, clips, protocol)],
        "refined": [generate(refined, clips, protocol)],
    }
    temperature = None
    if protocol.samples > 1:
        temperature = same_variety(store, control, refined, evaluator, protocol)
        arms["control_same_multimodality"] = [generate(control, clips, protocol, temperature=temperature)]
    found = compare_arms(
        evaluator, clips, arms, control="control", texts=texts_of(clips), judge=judge, seed=protocol.seed
    )
    return {source: figures | {"control_temperature": temperature} for source, figures in found.items()}


def same_variety(store: HiwStore, control: Clutch, refined: Clutch, evaluator: Evaluator, protocol: Protocol) -> float:
    """The temperature at which the control has the refined model's MultiModality, on clips of the val split."""
    clips = protocol.clips(store, "val", MATCHED_CLIPS)

    def variety(clutch: Clutch, temperature: float) -> float | None:
        motions = generate(clutch, clips, protocol, temperature=temperature)
        return multimodality([evaluator.embed_motions(several) for several in motions])

    target = variety(refined, protocol.temperature)
    if target is None:
        return protocol.temperature
    return temperature_of_multimodality(lambda temperature: variety(control, temperature), target)[0]


def measure_form(clutch: Clutch, store: HiwStore, protocol: Protocol) -> dict[str, float | None]:
    """Share of well-formed motions where decoding is not constrained; constrained, all are by construction."""
    clips = protocol.clips(store)
    seeds = [seed_of(clip, protocol) for clip in clips]
    free = clutch.generate_free(texts_of(clips), seed=seeds, temperature=protocol.temperature)
    return {"unconstrained": float(np.mean([clutch.well_formed(ids) for ids in free])) if free else None}


def gather(
    store: HiwStore,
    tokenizer: dict[str, Any],
    t2m: dict[str, Any],
    judged: dict[str, Any],
    claims: dict[str, Any],
    motion: dict[str, Any],
    m2t: dict[str, Any],
    refinement: dict[str, Any],
    form: dict[str, float | None],
    evaluator: Evaluator,
    judge: Judge,
    goals: list[Goal],
    protocol: Protocol,
) -> dict[str, Any]:
    """Put all metrics in one document, with the data they were measured on and by whom, and the goals."""
    metrics = {
        "data_hash": store.data_hash,
        "measured_by": {
            "evaluator": {"seed": evaluator.seed, "data_hash": evaluator.data_hash},
            "judge": {"seed": judge.seed, "data_hash": judge.data_hash},
        },
        "generation": protocol.generation,
        "tokenizer": tokenizer,
        "text_to_motion": t2m,
        "judge": judged,
        "believed": believed_shares(t2m, judged),
        "claims": claims,
        "motion": motion,
        "motion_to_text": m2t,
        "refinement": refinement,
        "well_formed_share": form,
    }
    document: dict[str, Any] = without_nan(metrics)
    return document | {"goals": check_goals(document, goals)}


def without_nan(value: Any) -> Any:
    """Return figures with None for every number that is not finite: JSON has no word for those."""
    if isinstance(value, Mapping):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def choose_samples(
    store: HiwStore,
    reconstructions: list[np.ndarray],
    motions: dict[str, Motions],
    captions: list[str],
    protocol: Protocol,
) -> dict[str, np.ndarray]:
    """Keep the first clips of each source, spread over the split, with all that was made of them."""
    clips = protocol.clips(store)
    texts = texts_of(clips)
    kept: list[int] = []
    for source in dict.fromkeys(clip["source"] for clip in clips):
        members = [i for i, clip in enumerate(clips) if clip["source"] == source]
        kept += members[:: max(1, len(members) // protocol.shown)][: protocol.shown]
    arrays: dict[str, np.ndarray] = {
        "clip_id": np.array([clips[i]["clip_id"] for i in kept]),
        "source": np.array([clips[i]["source"] for i in kept]),
        "synthetic": np.array([bool(clips[i]["attributes"].get("synthetic")) for i in kept]),
        "caption": np.array([texts[i] for i in kept]),
        "generated_caption": np.array([captions[i] for i in kept]),
        "fps": np.array([clips[i]["fps"] for i in kept]),
    }
    for k, i in enumerate(kept):
        arrays[f"truth_{k}"] = clips[i]["features"]
        arrays[f"valid_{k}"] = clips[i]["valid"]
        arrays[f"reconstruction_{k}"] = reconstructions[i]
        arrays[f"generations_{k}"] = np.stack(motions["generated"][i])
    return arrays


def create_pipeline() -> Pipeline:
    """Train `evaluator` and `judge`; write `metrics` and `samples`."""
    protocol = "params:evaluation.protocol"
    figures = ["tokenizer", "t2m", "judge", "claims", "motion", "m2t", "refinement", "form"]
    return Pipeline(
        [
            node(set_goals, "params:evaluation.goals", "goals"),
            node(
                fit_evaluator,
                ["hiw_store", "params:evaluation.evaluator", "params:checkpoints"],
                ["evaluator", "evaluator_history"],
            ),
            node(
                fit_judge,
                ["hiw_store", "params:evaluation.judge", "params:evaluation.judge_sources", "params:checkpoints"],
                ["judge", "judge_history"],
            ),
            node(measure_tokenizer, ["hiw_store", "shift", protocol], ["tokenizer_metrics", "reconstructions"]),
            node(draw_motions, ["hiw_store", "clutch", protocol], "motions"),
            node(draw_terse, ["hiw_store", "clutch", protocol], "terse_motions"),
            node(measure_t2m, ["hiw_store", "evaluator", "motions", "reconstructions", protocol], "t2m_metrics"),
            node(
                measure_judge,
                ["hiw_store", "judge", "motions", "terse_motions", "reconstructions", protocol],
                "judge_metrics",
            ),
            node(measure_obedience, ["hiw_store", "motions", "reconstructions", protocol], "claims_metrics"),
            node(measure_motion, ["hiw_store", "motions", "reconstructions", protocol], "motion_metrics"),
            node(measure_m2t, ["hiw_store", "clutch", "evaluator", protocol], ["m2t_metrics", "captions"]),
            node(
                measure_refinement,
                ["hiw_store", "clutch_refined", "clutch_control", "evaluator", "judge", protocol],
                "refinement_metrics",
            ),
            node(measure_form, ["clutch", "hiw_store", protocol], "form_metrics"),
            node(
                gather,
                ["hiw_store", *(f"{name}_metrics" for name in figures), "evaluator", "judge", "goals", protocol],
                "metrics",
            ),
            node(choose_samples, ["hiw_store", "reconstructions", "motions", "captions", protocol], "samples"),
        ],
        tags="stage.evaluation",
    )
