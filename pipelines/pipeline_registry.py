"""Every pipeline by name. Written out by hand: the names are the project's front doors."""

from kedro.pipeline import Pipeline

from pipelines import (
    ablation,
    baselines,
    data,
    evaluation,
    llm,
    refinement_study,
    reinforcement_study,
    report,
    studies,
    tokenizer,
)


def register_pipelines() -> dict[str, Pipeline]:
    """Return the pipelines that `kedro run --pipeline NAME` knows; `__default__` is `full`."""
    stages = {
        "data": data.create_pipeline(),
        "tokenizer": tokenizer.create_pipeline(),
        "llm_pretrain": llm.create_pretrain_pipeline(),
        "llm_refine": llm.create_refine_pipeline(),
        "llm_instruct": llm.create_instruct_pipeline(),
        "evaluation": evaluation.create_pipeline(),
        "report": report.create_pipeline(),
    }
    full = sum(stages.values(), Pipeline([]))
    return {
        **stages,
        "llm": stages["llm_pretrain"] + stages["llm_refine"] + stages["llm_instruct"],
        "full": full,
        "refinement_sweep": studies.create_refinement_sweep(),
        "refinement_study": refinement_study.create_refinement_study(),
        "reinforcement_study": reinforcement_study.create_reinforcement_study(),
        "ablation": ablation.create_ablation(),
        "baselines": baselines.create_baselines(),
        "__default__": full,
    }
