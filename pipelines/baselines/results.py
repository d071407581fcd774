"""What a trained baseline has made of the test captions, kept in one file by what it is made of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from clutch_llm.atomic import write_beside
from hiw_data import HiwStore

from pipelines.baselines.base import Baseline, Budget, Motion, clock
from pipelines.protocol import Clips, Motions, Protocol, texts_of


@dataclass(frozen=True)
class Result:
    """What a baseline has made.

    Attributes:
        motions: of each clip's detailed caption, the protocol's samples.
        captions: of each clip's motion; None of a baseline without words.
        reconstructions: by its tokenizer; None of one without.
        record: `parameters`, `steps` by part, `training_seconds` of training (the tokenizer's included) and
            `generation_seconds` a motion, by `base.clock`.
    """

    motions: Motions
    captions: list[str] | None
    reconstructions: list[Motion] | None
    record: dict[str, Any]

    def save(self, path: Path) -> None:
        """Write all of it to one `.npz`."""
        arrays: dict[str, Any] = {"record": np.array(json.dumps(self.record))}
        arrays |= {f"motions_{k}": np.stack(samples) for k, samples in enumerate(self.motions)}
        if self.captions is not None:
            arrays["captions"] = np.array(self.captions)
        arrays |= {f"reconstruction_{k}": motion for k, motion in enumerate(self.reconstructions or [])}
        with write_beside(path) as partial:
            np.savez(partial, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, path: Path, clips: int) -> Result:
        """Read what `save` wrote, of so many clips."""
        with np.load(path, allow_pickle=False) as kept:
            again = "reconstruction_0" in kept.files
            return cls(
                [list(kept[f"motions_{k}"]) for k in range(clips)],
                [str(text) for text in kept["captions"]] if "captions" in kept.files else None,
                [kept[f"reconstruction_{k}"] for k in range(clips)] if again else None,
                json.loads(str(kept["record"])),
            )


def run_baseline(
    name: str,
    make: Callable[[], Baseline],
    store: HiwStore,
    seconds: float,
    seed: int,
    protocol: Protocol,
    folder: Path,
) -> Result:
    """Train a baseline on the train split and draw from it for the protocol's clips; or take what is kept of that.

    Args:
        name: of the baseline.
        make: makes it, untrained.
        store: the data.
        seconds: of processor time for its training.
        seed: of its training.
        protocol: which clips, how many samples, the seed of sampling.
        folder: where results are kept.
    """
    clips = protocol.clips(store)
    baseline = make()
    made_of = [baseline.made_of, seconds, seed, asdict(protocol), [c["clip_id"] for c in clips], store.data_hash]
    mark = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:16]
    kept = folder / f"{name}-{mark}.npz"
    if not kept.is_file():
        budget = Budget(seconds)
        began = clock()
        baseline.fit(store.clips(split="train"), budget, seed)
        spent = clock() - began - budget.timing + budget.charged
        began = clock()
        motions = draw(baseline.generate, clips, protocol)
        each = (clock() - began) / (len(clips) * protocol.samples)
        record = {
            "parameters": baseline.parameters,
            "steps": baseline.steps,
            "training_seconds": spent,
            "generation_seconds": each,
        }
        Result(motions, baseline.caption(clips), baseline.reconstruct(clips), record).save(kept)
    return Result.load(kept, len(clips))


def draw(generate: Callable[[list[str], list[int], int], list[Motion]], clips: Clips, protocol: Protocol) -> Motions:
    """Motions of each clip's detailed caption, as long as the clip: samples of each.

    Args:
        generate: as `Baseline.generate`.
        clips: whose captions are asked for.
        protocol: how many samples; sample k is asked for with the seed `protocol.seed + k * len(clips)`.
    """
    texts, frames = texts_of(clips), [len(clip["features"]) for clip in clips]
    drawn = [generate(texts, frames, protocol.seed + k * len(clips)) for k in range(protocol.samples)]
    return [list(samples) for samples in zip(*drawn, strict=True)]
