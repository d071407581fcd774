"""One made-up run for the page, whose figures tell which is which; and a parser of the page."""

from __future__ import annotations

import importlib.util
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from clutch_llm.evaluation.arms import empty_row

from pipelines.report import RenderOptions

CLIPS = Path(__file__).parents[1] / "packages/clutch-llm/tests/evaluation_clips.py"
_spec = importlib.util.spec_from_file_location("evaluation_clips", CLIPS)
assert _spec is not None
evaluation_clips = importlib.util.module_from_spec(_spec)
sys.modules["evaluation_clips"] = evaluation_clips
_spec.loader.exec_module(evaluation_clips)  # type: ignore[union-attr]

EVIL = """<script>alert("x")</script><img src=https://evil.example/a.png onerror='go()'> "quoted" & {{ 7 * 7 }}"""
SMALL = RenderOptions(size=(48, 36), max_frames=8, max_codes=2)
VOID = {"meta", "br", "img", "link", "input", "hr", "source"}


class Page(HTMLParser):
    """Tags with attributes, visible text, and whether every tag is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("style", "script"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def made_t2m_row(value: float) -> dict[str, float | None]:
    return empty_row() | {"r_precision_top3": value, "kid_mean": -0.0123, "kid_std": 0.004, "mpjpe_abs_mm": 51.26}


def _change(change: float, low: float, high: float, margin: float, no_worse: bool) -> dict[str, Any]:
    return {"change": change, "ci95_low": low, "ci95_high": high, "margin": margin, "no_worse": no_worse}


def made_metrics() -> dict[str, Any]:
    head = {"synthetic": False, "clips": 40, "seconds": 61.0, "group_size": 32, "groups": 1, "overlap": True}
    errors = {"mpjpe_root_mm": 11.11, "mpjpe_abs_mm": 22.22, "pa_mpjpe_mm": 4.44, "acceleration_error_m_s2": 0.5}
    m2t = {"retrieval_top1": 0.321, "retrieval_top1_std": 0.01, "mm_dist": 0.9, "bleu_1": 0.432, "rouge_l": 0.5}
    unseen = {"true": {"clips": 7, "rows": {"generated": made_t2m_row(0.123)}}}
    return {
        "tokenizer": {
            "waves": {"synthetic": True, "clips": 245, "seconds": 1045.0, "mpjpe_root_share_of_mean_pose": 0.24}
            | {"rows": {"reconstruction": errors, "mean_pose": errors, "static_pose": errors}}
        },
        "text_to_motion": {
            "letters": head
            | {
                "rows": {
                    "truth": made_t2m_row(0.98),
                    "reconstruction": made_t2m_row(0.9),
                    "generated": made_t2m_row(0.777),
                }
            }
            | {"parts": {"unseen_combination": unseen | {"false": unseen["true"] | {"clips": 33}}}}
        },
        "judge": {
            "waves": head
            | {
                "attributes": {"action": {"values": 27, "learnt": True}, "luck": {"values": 2, "learnt": False}},
                "rows": {
                    "truth": {"action": 0.987, "luck": 0.5},
                    "generated": {"action": 0.615, "action_ci95_low": 0.55, "action_ci95_high": 0.68, "luck": 0.51},
                },
                "by_second": {
                    "action": {"generated": {"second_1": 0.802, "second_1_ci95_low": 0.7, "second_2": 0.613}}
                },
                "parts": {},
            }
        },
        "believed": {
            "waves": {
                "generated": {
                    "r_precision_top3": 0.9,
                    "judge_action": 0.63,
                    "believed": 0.63,
                    "believed_by": "judge_action",
                }
            }
            | {"generated_own_length": {"believed": None, "believed_by": None}}
        },
        "claims": {
            "waves": head
            | {
                "stated": 12,
                "claims": 11,
                "kinds": {"hands": 6, "count": 5},
                "in_second": {"second_1": 4, "second_2": 3},
                "rows": {
                    "truth": {"claims": 1.0, "hands": 1.0, "count": 1.0},
                    "generated": {"claims": 0.643, "claims_ci95_low": 0.6, "claims_ci95_high": 0.69, "hands": 0.851},
                },
                "by_second": {"generated": {"second_1": 0.911, "second_2": 0.477}},
                "parts": {"unseen_combination": {"true": {"clips": 5, "rows": {"generated": {"claims": 0.219}}}}},
            }
        },
        "motion": {
            "waves": head
            | {
                "rows": {"generated": {"contact_across_f1": 0.739, "beyond_limits_share": 0.0123}},
                "speeds": {
                    "truth": {"all": 0.1, "all_of_truth": 1.0, "quarter_4": 0.02},
                    "generated": {"all": 0.2, "all_of_truth": 1.98, "quarter_4_of_truth": 3.75},
                },
                "speeds_by": {
                    "speed": {"truth": {"slow": 0.1, "slow_ci95_low": 0.1}, "generated": {"slow_of_truth": 1.47}}
                },
            }
        },
        "motion_to_text": {"letters": head | {"rows": {"generated": m2t, "chance": m2t}}},
        "refinement": {
            "waves": head
            | {
                "seeds": 3,
                "control": "control",
                "arms": {"control": made_t2m_row(0.5), "refined": made_t2m_row(0.6) | {"judge_action": 0.444}},
                "changes": {
                    "refined": {
                        "mpjpe_abs": _change(-0.0512, -0.07, -0.03, 0.01, True),
                        "kid": _change(0.0223, 0.001, 0.05, 0.015, False),
                        "judge_action": _change(-0.02, -0.06, 0.02, 0.03, False),
                    }
                },
            }
        },
        "well_formed_share": {"unconstrained": 0.5312},
        "goals": [
            {"name": "Share", "source": "waves", "value": 0.24, "bound": 0.28, "at_most": True, "met": True}
            | {"kind": "ratio"},
            {"name": "Top 3", "source": "letters", "value": None, "bound": 0.85, "at_most": False, "met": None}
            | {"kind": "ratio"},
            {"name": "Jitter", "source": "waves", "value": -0.05, "bound": -0.08, "at_most": True, "met": False}
            | {"kind": "change"},
        ],
    }


def made_sample(caption: str, i: int = 0) -> dict[str, Any]:
    clip = evaluation_clips.make_clip(i, frames=8)
    f = clip["features"]
    return {
        "caption": caption,
        "source": "waves",
        "clip_id": "a",
        "synthetic": True,
        "truth": f,
        "reconstruction": f,
        "generations": [f[:4], f],
        "valid": clip["valid"],
        "fps": 15,
    }


def made_codes() -> list[dict[str, Any]]:
    """One code of one codebook and three of another, of which the options show two."""
    motions = [evaluation_clips.make_clip(i, frames=8)["features"] for i in range(4)]
    names = ["trajectory", EVIL, EVIL, EVIL]
    return [
        {"codebook": name, "code": 40 + i, "share": 0.251 - 0.01 * i, "features": motion, "hands": [False, True]}
        for i, (name, motion) in enumerate(zip(names, motions, strict=True))
    ]


def made_history(n: int = 30) -> list[dict[str, float]]:
    return [{"step": 10 * i, "loss": 5.0 / (i + 1), "joint_error_mm": 40.0 - i} for i in range(n)]
