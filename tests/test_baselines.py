"""Each baseline learns, follows its caption and its seed, and keeps to its budget."""

from dataclasses import replace
from pathlib import Path

import baseline_clips
import numpy as np
import pytest
from baseline_clips import PLAN, STEPS, WAYS, Steps, made, moving_clip

from pipelines.baselines.base import Baseline, Budget
from pipelines.baselines.plan import TITLES
from pipelines.baselines.retrieval import Retrieval, hold

CLIPS = [moving_clip(k) for k in range(len(WAYS))]
TEXTS = [caption for caption, _, _ in WAYS]
