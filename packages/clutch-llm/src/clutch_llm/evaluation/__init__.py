"""What was learned, measured.

A contrastive evaluator of text and motion, and every figure with its baselines.
"""

from clutch_llm.evaluation.evaluator import Evaluator, EvaluatorConfig
from clutch_llm.evaluation.goals import check_goals
from clutch_llm.evaluation.motion_to_text import evaluate_m2t
from clutch_llm.evaluation.refinement import compare_refinement
from clutch_llm.evaluation.text_to_motion import evaluate_t2m
from clutch_llm.evaluation.tokenizer import evaluate_tokenizer
from clutch_llm.evaluation.training import retrieval, train_evaluator

__all__ = [
    "Evaluator",
    "EvaluatorConfig",
    "check_goals",
    "compare_refinement",
    "evaluate_m2t",
    "evaluate_t2m",
    "evaluate_tokenizer",
    "retrieval",
    "train_evaluator",
]
