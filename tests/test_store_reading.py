"""The tokenizer's command reads the stores that hiw-data writes, though neither package imports the other."""

import numpy as np
import pytest
from hiw_data import ProceduralSource, StoreWriter, build
from shift_tokenizer.errors import FileFormatError
from shift_tokenizer.stores import read_store


def test_the_tokenizer_reads_every_clip_of_a_store_of_many_shards(tmp_path):
    whole = build([ProceduralSource(9)], tmp_path / "whole.zarr")
    with StoreWriter(tmp_path / "a.zarr", fps=15, shard_frames=128) as writer:
        for clip in whole.iterate():
            writer.append(clip)
        writer.publish({})
    for path in (whole.path, tmp_path / "a.zarr"):
        for split in (None, "train"):
            read = read_store(path, 4, split=split)
            assert [clip["clip_id"] for clip in read] == [clip["clip_id"] for clip in whole.clips(split)]
            for own, clip in zip(read, whole.clips(split), strict=True):
                assert (own["source"], own["fps"]) == ("procedural", 15.0)
                np.testing.assert_array_equal(own["features"], clip["features"])
                np.testing.assert_array_equal(own["valid"], clip["valid"])
    with pytest.raises(FileFormatError, match="expected a split among"):
        read_store(whole.path, 4, split="dev")
