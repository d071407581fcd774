"""Which dataset reaches which argument of a node, where its result goes, and where each dataset is kept."""

import inspect
from pathlib import Path
from typing import Any

import pytest
from kedro.config import OmegaConfigLoader
from kedro.io import DataCatalog

from pipelines.pipeline_registry import register_pipelines

ROOT = Path(__file__).parents[1]
PIPELINES = register_pipelines()

WIRES = {
    "build_store": (
        {"sources": "params:data.sources", "config": "params:data.build", "path": "params:data.store"},
        "hiw_store",
    ),
    "describe_store": ({"store": "hiw_store"}, "quality_report data_card"),
    "train": (
        {
            "store": "hiw_store",
            "config": "params:tokenizer.model",
            "training": "params:tokenizer.training",
            "checkpoints": "params:checkpoints",
        },
        "shift tokenizer_history",
    ),
    "tokenize": ({"store": "hiw_store", "shift": "shift"}, "tokens"),
    "pretrain": (
        {
            "store": "hiw_store",
            "tokens": "tokens",
            "shift": "shift",
            "model": "params:llm",
            "config": "params:pretrain",
            "checkpoints": "params:checkpoints",
        },
        "clutch_pretrained pretrain_history",
    ),
    "refine": (
        {
            "store": "hiw_store",
            "tokens": "tokens",
            "clutch": "clutch_pretrained",
            "config": "params:refine",
            "checkpoints": "params:checkpoints",
        },
        "clutch_refined refine_history",
    ),
    "refine_control": (
        {
            "store": "hiw_store",
            "tokens": "tokens",
            "clutch": "clutch_pretrained",
            "config": "params:refine",
            "checkpoints": "params:checkpoints",
        },
        "clutch_control control_history",
    ),
    "instruct": (
        {
            "store": "hiw_store",
            "tokens": "tokens",
            "clutch": "clutch_refined",
            "config": "params:instruct",
            "reinforce": "params:reinforce",
            "protocol": "params:evaluation.protocol",
            "checkpoints": "params:checkpoints",
        },
        "clutch instruct_history reinforce_history",
    ),
    "sweep_refinement": (
        {
            "store": "hiw_store",
            "tokens": "tokens",
            "clutch": "clutch_pretrained",
            "evaluator": "evaluator",
            "config": "params:refine",
            "plan": "params:refinement_sweep",
            "protocol": "params:evaluation.protocol",
            "checkpoints": "params:checkpoints",
        },
        "refinement_sweep",
    ),
    "study_refinement": (
        {
            "store": "hiw_store",
            "tokens": "tokens",
            "clutch": "clutch_pretrained",
            "evaluator": "evaluator",
            "judge": "judge",
            "refine": "params:refine",
            "instruct": "params:instruct",
            "plan": "params:refinement_study",
            "protocol": "params:evaluation.protocol",
            "checkpoints": "params:checkpoints",
        },
        "refinement_study",
    ),
    "refinement_page": ({"study": "refinement_study"}, "refinement_study_page"),
    "study_reinforcement": (
        {
            "store": "hiw_store",
            "tokens": "tokens",
            "clutch": "clutch_pretrained",
            "evaluator": "evaluator",
            "judge": "judge",
            "refine": "params:refine",
            "reinforce": "params:reinforce",
            "plan": "params:reinforcement_study",
            "protocol": "params:evaluation.protocol",
            "checkpoints": "params:checkpoints",
        },
        "reinforcement_study",
    ),
    "reinforcement_page": ({"study": "reinforcement_study"}, "reinforcement_study_page"),
    "ablate_tokenizer": (
        {
            "store": "hiw_store",
            "config": "params:tokenizer.model",
            "training": "params:tokenizer.training",
            "plan": "params:ablation",
            "checkpoints": "params:checkpoints",
        },
        "ablation",
    ),
    "as_markdown": ({"study": "ablation"}, "ablation_table"),
    "compare_baselines": (
        {
            "store": "hiw_store",
            "evaluator": "evaluator",
            "judge": "judge",
            "plan": "params:baselines",
            "tokenizer": "params:tokenizer.model",
            "training": "params:tokenizer.training",
            "llm": "params:llm",
            "pretrain": "params:pretrain",
            "protocol": "params:evaluation.protocol",
            "checkpoints": "params:checkpoints",
        },
        "baselines",
    ),
    "baselines_page": ({"study": "baselines"}, "baselines_table"),
    "fit_evaluator": (
        {"store": "hiw_store", "config": "params:evaluation.evaluator", "checkpoints": "params:checkpoints"},
        "evaluator evaluator_history",
    ),
    "measure_tokenizer": (
        {"store": "hiw_store", "shift": "shift", "protocol": "params:evaluation.protocol"},
        "tokenizer_metrics reconstructions",
    ),
    "measure_m2t": (
        {"store": "hiw_store", "clutch": "clutch", "evaluator": "evaluator", "protocol": "params:evaluation.protocol"},
        "m2t_metrics captions",
    ),
    "set_goals": ({"values": "params:evaluation.goals"}, "goals"),
    "fit_judge": (
        {
            "store": "hiw_store",
            "config": "params:evaluation.judge",
            "sources": "params:evaluation.judge_sources",
            "checkpoints": "params:checkpoints",
        },
        "judge judge_history",
    ),
    "draw_motions": ({"store": "hiw_store", "clutch": "clutch", "protocol": "params:evaluation.protocol"}, "motions"),
    "draw_terse": (
        {"store": "hiw_store", "clutch": "clutch", "protocol": "params:evaluation.protocol"},
        "terse_motions",
    ),
    "measure_t2m": (
        {
            "store": "hiw_store",
            "evaluator": "evaluator",
            "motions": "motions",
            "reconstructions": "reconstructions",
            "protocol": "params:evaluation.protocol",
        },
        "t2m_metrics",
    ),
    "measure_judge": (
        {
            "store": "hiw_store",
            "judge": "judge",
            "motions": "motions",
            "terse": "terse_motions",
            "reconstructions": "reconstructions",
            "protocol": "params:evaluation.protocol",
        },
        "judge_metrics",
    ),
    "measure_obedience": (
        {
            "store": "hiw_store",
            "motions": "motions",
            "reconstructions": "reconstructions",
            "protocol": "params:evaluation.protocol",
        },
        "claims_metrics",
    ),
    "measure_motion": (
        {
            "store": "hiw_store",
            "motions": "motions",
            "reconstructions": "reconstructions",
            "protocol": "params:evaluation.protocol",
        },
        "motion_metrics",
    ),
    "measure_refinement": (
        {
            "store": "hiw_store",
            "refined": "clutch_refined",
            "control": "clutch_control",
            "evaluator": "evaluator",
            "judge": "judge",
            "protocol": "params:evaluation.protocol",
        },
        "refinement_metrics",
    ),
    "measure_form": (
        {"clutch": "clutch", "store": "hiw_store", "protocol": "params:evaluation.protocol"},
        "form_metrics",
    ),
    "gather": (
        {
            "store": "hiw_store",
            "tokenizer": "tokenizer_metrics",
            "t2m": "t2m_metrics",
            "judged": "judge_metrics",
            "claims": "claims_metrics",
            "motion": "motion_metrics",
            "m2t": "m2t_metrics",
            "refinement": "refinement_metrics",
            "form": "form_metrics",
            "evaluator": "evaluator",
            "judge": "judge",
            "goals": "goals",
            "protocol": "params:evaluation.protocol",
        },
        "metrics",
    ),
    "make_page": (
        {
            "metrics": "metrics",
            "quality": "quality_report",
            "samples": "samples",
            "tokenizer": "tokenizer_history",
            "evaluator": "evaluator_history",
            "judge": "judge_history",
            "pretrain": "pretrain_history",
            "refine": "refine_history",
            "control": "control_history",
            "instruct": "instruct_history",
            "store": "hiw_store",
            "shift": "shift",
            "tokens": "tokens",
        },
        "report_page",
    ),
    "choose_samples": (
        {
            "store": "hiw_store",
            "reconstructions": "reconstructions",
            "motions": "motions",
            "captions": "captions",
            "protocol": "params:evaluation.protocol",
        },
        "samples",
    ),
}
PLACES = {
    "hiw_store": "data/hiw.zarr",
    "quality_report": "reports/data_quality.json",
    "data_card": "reports/data_card.md",
    "shift": "data/models/shift",
    "tokens": "data/tokens.npz",
    "clutch": "data/models/clutch",
    "clutch_pretrained": "data/models/clutch_pretrained",
    "clutch_refined": "data/models/clutch_refined",
    "clutch_control": "data/models/clutch_control",
    "evaluator": "data/models/evaluator",
    "judge": "data/models/judge",
    "samples": "data/samples.npz",
    "metrics": "reports/metrics.json",
    "refinement_sweep": "reports/refinement_sweep.json",
    "refinement_study": "reports/refinement_study.json",
    "refinement_study_page": "reports/refinement_study.md",
    "reinforcement_study": "reports/reinforcement_study.json",
    "reinforcement_study_page": "reports/reinforcement_study.md",
    "ablation": "reports/ablation.json",
    "ablation_table": "reports/ablation.md",
    "baselines": "reports/baselines.json",
    "baselines_table": "reports/baselines.md",
    "report_page": "reports/index.html",
    "tokenizer_history": "reports/history/tokenizer.json",
    "control_history": "reports/history/control.json",
}


def nodes() -> dict[str, Any]:
    studies = ("refinement_sweep", "refinement_study", "reinforcement_study", "ablation", "baselines")
    every = [n for name in ("full", *studies) for n in PIPELINES[name].nodes]
    return {n.func.__name__: n for n in every}


def wires(node: Any) -> dict[str, str]:
    """The dataset that each argument of a node's function gets."""
    return dict(zip(inspect.signature(node.func).parameters, node.inputs, strict=True))


@pytest.mark.parametrize("name", WIRES)
def test_each_argument_of_a_node_gets_its_dataset_and_each_result_goes_to_its_own(name):
    found = nodes()[name]
    inputs, outputs = WIRES[name]
    assert wires(found) == inputs
    assert found.outputs == outputs.split()


def test_every_node_is_in_the_table():
    assert set(nodes()) == set(WIRES)


def test_each_dataset_has_its_own_place():
    loader = OmegaConfigLoader(str(ROOT / "conf"), base_env="base", default_run_env="base")
    catalog = DataCatalog.from_config(loader["catalog"])
    assert {name: str(catalog.get(name)._filepath) for name in PLACES} == PLACES
