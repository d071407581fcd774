"""Measures of text to motion, motion to text and tokenizers, for any system: it knows no model and no training of one.

A contrastive evaluator, an independent judge, claims of captions held against motion codes, contacts and speeds; every
figure with its baselines.
"""

from clutch_llm.evaluation.claims import claim_reader, measure_claims
from clutch_llm.evaluation.comparison import compare_arms, compare_refinement, temperature_of_multimodality
from clutch_llm.evaluation.evaluator import Evaluator, EvaluatorConfig
from clutch_llm.evaluation.files import evaluate_files, read_motion
from clutch_llm.evaluation.goals import Goal, check_goals, read_goals
from clutch_llm.evaluation.intervals import interval_over_clips_and_seeds
from clutch_llm.evaluation.judge import Judge, JudgeConfig
from clutch_llm.evaluation.judge_training import train_judge
from clutch_llm.evaluation.judgement import believed_shares, judge_motions
from clutch_llm.evaluation.motion_measures import measure_motions
from clutch_llm.evaluation.motion_to_text import evaluate_m2t
from clutch_llm.evaluation.text_to_motion import evaluate_t2m
from clutch_llm.evaluation.tokenizer import evaluate_tokenizer
from clutch_llm.evaluation.training import retrieval, train_evaluator

__all__ = [
    "Evaluator",
    "EvaluatorConfig",
    "Goal",
    "Judge",
    "JudgeConfig",
    "believed_shares",
    "check_goals",
    "claim_reader",
    "compare_arms",
    "compare_refinement",
    "evaluate_files",
    "evaluate_m2t",
    "evaluate_t2m",
    "evaluate_tokenizer",
    "interval_over_clips_and_seeds",
    "judge_motions",
    "measure_claims",
    "measure_motions",
    "read_goals",
    "read_motion",
    "retrieval",
    "temperature_of_multimodality",
    "train_evaluator",
    "train_judge",
]
