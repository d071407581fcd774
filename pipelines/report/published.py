"""The paper's own figures (CLUTCH, ICLR 2026), for orientation only.

Other data, other sizes, another evaluator.
"""

from __future__ import annotations

from typing import Any

TOKENIZER: dict[str, Any] = {
    "columns": ["MPJPE, mm", "acceleration error"],
    "rows": [
        ["SHIFT", 45.94, 5.395],
        ["by part only", 95.27, 7.500],
        ["one VQ-VAE for both hands", 93.26, 7.771],
        ["MotionGPT's VQ-VAE", 93.49, 8.340],
    ],
}

TEXT_TO_MOTION: dict[str, Any] = {
    "columns": ["R-precision top 3", "MMDist", "KID", "Diversity", "MultiModality"],
    "rows": [
        ["truth", 0.667, 1.903, None, 3.964, None],
        ["HumanMDM", 0.694, 1.971, 0.344, 3.824, 1.748],
        ["MotionGPT", 0.573, 2.183, 0.756, 3.642, 2.015],
        ["T2M-GPT", 0.683, 1.976, 0.431, 3.854, 1.892],
        ["CLUTCH", 0.721, 1.765, 0.216, 3.865, 1.984],
    ],
}

MOTION_TO_TEXT: dict[str, Any] = {
    "columns": ["R-precision top 3", "BLEU-4", "BLEU-1", "ROUGE-L"],
    "rows": [["CLUTCH", 0.571, 0.181, 0.420, 0.472], ["MotionGPT", 0.407, 0.132, 0.345, 0.439]],
}

REFINEMENT: dict[str, Any] = {
    "columns": ["KID", "T2M R-precision top 3", "M2T R-precision top 3"],
    "rows": [["without refinement", 0.297, 0.69, 0.57], ["with refinement", 0.216, 0.72, 0.57]],
}
