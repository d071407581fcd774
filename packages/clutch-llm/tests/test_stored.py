"""Clips that are read when they are asked for train the same model as those in a list, and are not kept."""

import weakref
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from clutch_llm import Clutch, ClutchConfig, PretrainConfig, RefineConfig, ReinforceConfig, train_stage
from clutch_llm.batching import BatchPlan
from clutch_llm.clips import check_examples
from clutch_llm.corpus import mirror_clip
from clutch_llm.stored import StoredMotion
from hand_geometry import features_to_joints, mirror_features

SHORT: dict[str, Any] = {"steps": 4, "batch_size": 4, "log_every": 1, "warmup": 0, "mirror": 0.5}
STAGES = {
    "pretrain": PretrainConfig(**SHORT),
    "refine": RefineConfig(**SHORT),
    "expected": RefineConfig(relaxation="expected", **SHORT),
    "reinforce": ReinforceConfig(**{**SHORT, "batch_size": 2, "samples": 2}),
}


class Dataset:
    """Reads each example anew, as tensors; knows what was read and which of the arrays are still there."""

    def __init__(self, examples: list[dict[str, Any]]) -> None:
        self.examples, self.read, self.alive, self.most = examples, [], weakref.WeakSet(), 0

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        example, features = self.examples[index], torch.tensor(self.examples[index]["features"])
        self.read.append(index)
        self.alive.add(features)
        self.most = max(self.most, len(self.alive))
        valid = torch.tensor(example["valid"])
        return {**example, "features": features, "valid": valid, "paraphrases": None, "other": features}


@pytest.fixture(scope="module")
def planning(tokenizer) -> Clutch:
    config = ClutchConfig(d_model=32, d_ff=64, heads=2, layers=1, max_steps=8, motion_form="step", plan=True)
    return Clutch.create(config, tokenizer=tokenizer, captions=["the left hand waves"], seed=0)


@pytest.mark.parametrize("form", ["interleaved", "step"])
@pytest.mark.parametrize("stage", STAGES)
def test_they_train_the_same_model_to_the_bit(clutch, planning, examples, stage: str, form: str) -> None:
    start, config = {"interleaved": clutch, "step": planning}[form], STAGES[stage]
    read = Dataset(examples)
    both = [
        train_stage(start, given, config, val_examples=some, joints_fn=features_to_joints)
        for given, some in ((examples, examples[:4]), (read, Dataset(examples[:4])))
    ]
    assert both[0][1] == both[1][1]
    for one, other in zip(*(made.model.state_dict().values() for made, _ in both), strict=True):
        assert torch.equal(one, other)
    assert len(read.alive) == 0
    assert 0 < read.most <= len(examples)


def test_a_step_reads_what_it_compares_and_pretraining_nothing(clutch, examples) -> None:
    for config, compares in ((PretrainConfig(**SHORT), False), (RefineConfig(tasks={"t2m": 1.0}, **SHORT), True)):
        data, seen = Dataset(examples), [0]
        train_stage(clutch, data, config, on_log=lambda *_, data=data, seen=seen: seen.append(len(data.read)))
        steps = [sorted(data.read[a:b]) for a, b in pairwise(seen[1:])]
        plan = BatchPlan(examples, config)
        assert steps == [sorted(plan.batch(k).tolist()) if compares else [] for k in range(1, 4)]


def test_nothing_is_kept_of_an_example_but_what_training_needs(planning, examples) -> None:
    data = Dataset(examples)
    kept = check_examples(data, planning.tokenizer.config)
    assert set(kept[0]) == {"clip_id", "source", "fps", "features", "valid", "captions", "tokens"}
    assert isinstance(kept[0]["valid"], np.ndarray)
    assert len(data.alive) == 0


def test_a_stored_motion_and_its_image_are_read_as_arrays(examples) -> None:
    motion, features = StoredMotion(Dataset(examples), 3, 8), examples[3]["features"]
    assert len(motion) == 8
    np.testing.assert_array_equal(np.asarray(motion), features)
    assert np.asarray(motion, dtype=np.float64).dtype == np.float64
    image = mirror_clip({**examples[3], "features": motion})["features"]
    np.testing.assert_array_equal(np.asarray(image), mirror_features(torch.from_numpy(features)).numpy())
    np.testing.assert_array_equal(np.asarray(image.mirror()), features)
