"""What goes into a captioning run and what comes out: jobs, settings, drafts, the run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hiw_data.captioning.endpoint import Endpoint
from hiw_data.captioning.vocabulary import Vocabulary
from hiw_data.errors import OptionError

if TYPE_CHECKING:
    from hand_geometry import MotionCodes


@dataclass(frozen=True)
class CaptionJob:
    """A clip to caption.

    Attributes:
        clip_id: Unique.
        codes: Of its motion.
        narrations: What people wrote of it, if anything.
    """

    clip_id: str
    codes: MotionCodes
    narrations: tuple[str, ...] = ()


@dataclass(frozen=True)
class CaptionConfig:
    """How clips are captioned.

    Attributes:
        vlm: Is shown the frames.
        llm: Writes the sentences and chooses words.
        cache: The file of kept answers.
        frames: Of a clip that the vision model is shown.
        closed: Whether the second stage is run: choice, fine sentence, verification.
        vocabulary: To choose from; None builds one from this run's narrations and answers. Give one where a later run
            must choose from the same words.
        candidates: Of each kind, for one clip.
        embeddings: See ``load_embedder``.
        drop_contradicted: Drop captions that say something that the motion contradicts.
        outlier_limit: Drop captions above this Local Outlier Factor; None for no limit.
        seed: Draws the jitter of waits.
    """

    vlm: Endpoint
    llm: Endpoint
    cache: Path
    frames: int = 8
    closed: bool = True
    vocabulary: Vocabulary | None = None
    candidates: int = 8
    embeddings: str = "auto"
    drop_contradicted: bool = True
    outlier_limit: float | None = 1.5
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("frames", "candidates"):
            if getattr(self, name) < 1:
                raise OptionError(f"Expected {name} of at least 1, got {getattr(self, name)}.")
        if self.outlier_limit is not None and self.outlier_limit < 1:
            raise OptionError(f"Expected outlier_limit of at least 1, or None, got {self.outlier_limit}.")


@dataclass(frozen=True)
class CaptionRun:
    """What came of a run.

    Attributes:
        results: One plain dictionary a clip, in the order of the clips; see ``results.result_of``.
        usage: "vlm" and "llm" -> questions, requests, tokens, cost.
        prompts: Name -> version and digest of every prompt.
        vocabulary: What was chosen from; None without the second stage.
        stopped: Why the asking ended early; "" if it did not.
    """

    results: list[dict[str, Any]]
    usage: dict[str, dict[str, Any]]
    prompts: dict[str, str]
    vocabulary: Vocabulary | None
    stopped: str = ""

    @property
    def captioned(self) -> int:
        """Clips with at least one caption that was kept."""
        return sum(result["status"] == "captioned" for result in self.results)


@dataclass
class Draft:
    """What is known of a clip so far; ``problems`` by stage."""

    job: CaptionJob
    claims: list[str]
    answers: dict[str, Any] = field(default_factory=dict)
    sentences: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
