"""The Kedro datasets keep what they are given, whole, and refuse what they can't keep."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from kedro.io import DatasetError

from pipelines.datasets import ArraysDataset, HiwStoreDataset, PretrainedDataset


@given(
    st.dictionaries(
        st.from_regex(r"[a-z][a-z_0-9/]{0,8}", fullmatch=True), arrays(np.int64, array_shapes()), max_size=4
    )
)
def test_arrays_come_back_as_they_were(tmp_path_factory, named):
    dataset = ArraysDataset(filepath=str(tmp_path_factory.mktemp("arrays") / "a.npz"))
    dataset.save(named)
    loaded = dataset.load()
    assert set(loaded) == set(named)
    assert all(np.array_equal(loaded[name], named[name]) for name in named)


def test_objects_are_refused_and_leave_the_old_file(tmp_path):
    dataset = ArraysDataset(filepath=str(tmp_path / "a.npz"))
    dataset.save({"kept": np.arange(3)})
    with pytest.raises(DatasetError, match="object arrays"):
        dataset.save({"bad": np.array([{}], dtype=object)})
    assert np.array_equal(dataset.load()["kept"], np.arange(3))
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


def test_a_store_that_is_not_there_says_how_to_build_it(tmp_path):
    with pytest.raises(DatasetError, match="hiw build"):
        HiwStoreDataset(filepath=str(tmp_path / "none.zarr")).load()


def test_a_model_that_is_not_there_says_what_to_run(tmp_path):
    dataset = PretrainedDataset(filepath=str(tmp_path / "none"), class_path="shift_tokenizer.ShiftTokenizer")
    with pytest.raises(DatasetError, match="Run the pipeline"):
        dataset.load()


def test_a_class_that_is_none_is_named(tmp_path):
    (tmp_path / "model").mkdir()
    dataset = PretrainedDataset(filepath=str(tmp_path / "model"), class_path="shift_tokenizer.Nothing")
    with pytest.raises(DatasetError, match=r"shift_tokenizer\.Nothing"):
        dataset.load()
