"""Cleaning of a data set, each step a pure function with its parameters, as in CLUTCH."""

from hiw_data.cleaning.activity import activity_clusters, activity_vector, balanced, near_duplicates
from hiw_data.cleaning.outliers import outliers, peak_accelerations
from hiw_data.cleaning.smoothing import smooth_motion
from hiw_data.cleaning.steps import CleaningConfig, CleaningReport, ClipSummary, clean
from hiw_data.cleaning.visibility import not_visible

__all__ = [
    "CleaningConfig",
    "CleaningReport",
    "ClipSummary",
    "activity_clusters",
    "activity_vector",
    "balanced",
    "clean",
    "near_duplicates",
    "not_visible",
    "outliers",
    "peak_accelerations",
    "smooth_motion",
]
