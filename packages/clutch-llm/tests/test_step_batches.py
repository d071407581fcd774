from typing import Any

import numpy as np
import pytest
import torch
from clutch_llm import PretrainConfig
from clutch_llm.corpus import mirrored
from clutch_llm.errors import ConfigError
from clutch_llm.model import IGNORE
from clutch_llm.step_batches import StepBatches


def batches(clutch, examples, rank: int = 0, world: int = 1, **settings: Any) -> StepBatches:
    config = PretrainConfig(**{"batch_size": 8, **settings})
    return StepBatches(examples, config, clutch.tokenizer, clutch.vocabulary, rank=rank, world=world)


def rows(step_batch) -> list[tuple]:
    """Each row's clip, labels, prompt and noise, sorted: what is computed, whoever computes it."""
    found = []
    for micro in step_batch.micro_batches:
        prompts = [p[m].tolist() for part in micro.parts for p, m in zip(part.prompt, part.prompt_mask, strict=True)]
        labels = [t[t != IGNORE].tolist() for part in micro.parts for t in part.target]
        ids = [e["clip_id"] for e in micro.examples]
        found += list(zip(ids, labels, prompts, micro.noise_seeds, strict=True))
    return sorted(found)


@pytest.mark.parametrize("task", ["t2m", "masked"])
def test_rows_and_examples_stand_in_one_order(clutch, examples, task: str) -> None:
    """What a row asks for is the motion of the example beside it, which refinement compares it with."""
    drawn = batches(clutch, examples, tasks={task: 1.0}, micro_batch_size=4, mirror=0.5, target_truncation=0.0)
    by_id = {e["clip_id"]: e for e in (*examples, *mirrored(examples, clutch.tokenizer))}
    for step in range(4):
        for clip, labels, _, _ in rows(drawn.draw(step)):
            np.testing.assert_array_equal(clutch.vocabulary.ids_to_motion(labels), by_id[clip]["tokens"])


@pytest.mark.parametrize("micro", [None, 1, 2])
def test_any_number_of_processes_and_micro_batches_computes_the_same(clutch, examples, micro: int | None) -> None:
    whole = batches(clutch, examples)
    shared = [batches(clutch, examples, rank, 2, micro_batch_size=micro) for rank in range(2)]
    for step in range(5):
        one, *two = (b.draw(step) for b in (whole, *shared))
        assert {b.task for b in two} == {one.task}
        assert rows(one) == sorted(rows(two[0]) + rows(two[1]))
        assert [len(b.micro_batches) for b in two] == [4 // (micro or 4)] * 2
        assert len({b.dropout_seed for b in two}) == 2
        assert all(len(m.examples) == (micro or 4) for b in two for m in b.micro_batches)


def test_processes_cut_every_micro_batch_into_equally_many_parts(clutch, examples) -> None:
    """ZeRO-3 gathers the weights anew for each forward: one process must not do more of them."""
    shared = [batches(clutch, examples, rank, 2) for rank in range(2)]
    for step in range(8):
        assert [len(m.parts) for b in shared for m in b.draw(step).micro_batches] == [2, 2]


def test_mirrored_examples_are_shown_by_their_share(clutch, examples) -> None:
    def share(mirror: float) -> float:
        drawn = batches(clutch, examples, mirror=mirror)
        ids = [e["clip_id"] for step in range(25) for m in drawn.draw(step).micro_batches for e in m.examples]
        return float(np.mean(["#mirror" in clip for clip in ids]))

    assert share(0.0) == 0.0
    assert share(1.0) == 1.0
    assert share(0.25) == pytest.approx(0.25, abs=0.1)


def test_all_mirrored_is_the_mirrored_data_shown_as_it_is(clutch, examples) -> None:
    images = mirrored(examples, clutch.tokenizer)
    seen, given = batches(clutch, examples, mirror=1.0), batches(clutch, images, mirror=0.0)
    for step in range(4):
        assert rows(seen.draw(step)) == rows(given.draw(step))


def test_a_micro_batch_counts_its_labels_and_the_motions_that_are_seen(clutch, examples) -> None:
    blind = [{**e, "valid": np.zeros_like(e["valid"])} if k % 2 else e for k, e in enumerate(examples)]
    drawn = batches(clutch, blind, mirror=0.0).draw(0)
    (micro,) = drawn.micro_batches
    assert micro.labels == sum(len(labels) for _, labels, _, _ in rows(drawn))
    even = [e for e in micro.examples if int(e["clip_id"].split("-")[1]) % 2 == 0]
    assert 0 < micro.motions == len(even) < 8
    assert all(v.device == torch.device("cpu") for p in micro.to(torch.device("cpu")).parts for v in vars(p).values())


def test_batches_that_cannot_be_shared_out_are_refused(clutch, examples) -> None:
    with pytest.raises(ConfigError, match="batch_size divisible by the 3 processes, got 8"):
        batches(clutch, examples, 0, 3)
    with pytest.raises(ConfigError, match=r"to divide the 8 examples of one process .* got 3"):
        batches(clutch, examples, micro_batch_size=3)
    with pytest.raises(ConfigError, match=r"micro_batch_size in 1\.\.batch_size, got 9"):
        PretrainConfig(batch_size=8, micro_batch_size=9)
