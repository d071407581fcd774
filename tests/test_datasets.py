"""The Kedro datasets keep what they are given, whole, and refuse what they can't keep."""

import urllib.request
from pathlib import Path

import numpy as np
import pytest
import yaml
from hiw_data import ProceduralSource, build
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from kedro.io import DatasetError, Version
from shift_tokenizer import ShiftConfig, ShiftTokenizer

from pipelines.datasets import ArraysDataset, HiwStoreDataset, NotThereError, PretrainedDataset

ROOT = Path(__file__).parents[1]


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


def test_a_store_is_kept_under_versions(tmp_path):
    store = build([ProceduralSource(3)], tmp_path / "a.zarr")
    plain = HiwStoreDataset(filepath=str(tmp_path / "a.zarr"))
    plain.save(store)
    assert plain.exists()
    assert plain.load().data_hash == store.data_hash
    with pytest.raises(DatasetError, match="Expected a store built at"):
        HiwStoreDataset(filepath=str(tmp_path / "b.zarr")).save(store)
    versioned = HiwStoreDataset(filepath=str(tmp_path / "b.zarr"), version=Version(None, "one"))
    versioned.save(store)
    assert HiwStoreDataset(filepath=str(tmp_path / "b.zarr"), version=Version(None, None)).load().path == (
        tmp_path / "b.zarr" / "one" / "b.zarr"
    )
    by_url = HiwStoreDataset(filepath=f"file://{tmp_path / 'b.zarr'}", version=Version("one", None))
    assert by_url.exists()
    assert by_url.load().data_hash == store.data_hash


@pytest.fixture
def bucket():
    """An S3-compatible server on this machine with an empty bucket: what opens it."""
    pytest.importorskip("obstore")
    running = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    urllib.request.urlopen(urllib.request.Request(f"http://{host}:{port}/versions", method="PUT")).close()
    yield {
        "credentials": {"access_key_id": "a", "secret_access_key": "b", "region": "us-east-1"},
        "fs_args": {
            "endpoint": f"http://{host}:{port}",
            "client_options": {"allow_http": True},
            "virtual_hosted_style_request": False,
            "cache_bytes": 1 << 20,
        },
    }
    running.stop()


def test_a_store_is_kept_under_versions_in_an_object_store(tmp_path, bucket):
    first, second = (build([ProceduralSource(count)], tmp_path / f"{count}.zarr") for count in (3, 4))

    def dataset(load=None, save=None):
        return HiwStoreDataset(filepath="s3://versions/data/hiw.zarr", version=Version(load, save), **bucket)

    assert not dataset(load="one").exists()
    with pytest.raises(DatasetError, match="Did not find any versions"):
        dataset().load()
    dataset(save="one").save(first)
    dataset(save="two").save(second)
    newest = dataset().load()
    assert newest.path == "s3://versions/data/hiw.zarr/two/hiw.zarr"
    assert newest.data_hash == second.data_hash
    assert dataset(load="one").exists()
    assert dataset(load="one").load().data_hash == first.data_hash
    with pytest.raises(DatasetError, match="two"):
        dataset(save="two").save(first)
    plain = HiwStoreDataset(filepath="s3://versions/plain.zarr", **bucket)
    assert not plain.exists()
    plain.save(first)
    assert plain.exists()
    assert plain.load().data_hash == first.data_hash


def test_a_store_by_url_gets_its_credentials(tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr("pipelines.datasets.HiwStore.open", lambda path, **options: opened.append((path, options)))
    dataset = HiwStoreDataset(
        filepath="s3://bucket/a.zarr", credentials={"access_key_id": "a"}, fs_args={"block_bytes": 1}
    )
    dataset.load()
    assert opened == [("s3://bucket/a.zarr", {"block_bytes": 1, "access_key_id": "a"})]
    assert "access_key_id" not in str(dataset)


def test_a_model_that_is_not_there_says_what_to_run(tmp_path):
    dataset = PretrainedDataset(filepath=str(tmp_path / "none"), class_path="shift_tokenizer.ShiftTokenizer")
    with pytest.raises(NotThereError, match="Run the pipeline"):
        dataset.load()


def test_a_class_that_is_none_is_named(tmp_path):
    (tmp_path / "model").mkdir()
    dataset = PretrainedDataset(filepath=str(tmp_path / "model"), class_path="shift_tokenizer.Nothing")
    with pytest.raises(DatasetError, match=r"shift_tokenizer\.Nothing"):
        dataset.load()


def test_a_model_is_loaded_with_the_catalogs_arguments(tmp_path):
    ShiftTokenizer(ShiftConfig(width=8, codebook_size=16, code_dim=4, dilations=(1,))).save_pretrained(tmp_path / "m")
    place = {"filepath": str(tmp_path / "m"), "class_path": "shift_tokenizer.ShiftTokenizer"}
    assert str(PretrainedDataset(**place, load_args={"device": "meta"}).load().mean.device) == "meta"
    assert str(PretrainedDataset(**place).load().mean.device) == "cpu"


@pytest.mark.gpu
def test_the_catalogs_models_go_to_the_gpu(tmp_path):
    ShiftTokenizer(ShiftConfig(width=8, codebook_size=16, code_dim=4, dilations=(1,))).save_pretrained(tmp_path / "m")
    place = {"filepath": str(tmp_path / "m"), "class_path": "shift_tokenizer.ShiftTokenizer"}
    assert PretrainedDataset(**place, load_args={"device": "auto"}).load().mean.device.type == "cuda"


def test_every_model_of_the_catalog_goes_to_the_accelerator_that_is_there():
    catalog = yaml.safe_load((ROOT / "conf/base/catalog.yml").read_text())
    models = {
        n: entry for n, entry in catalog.items() if entry.get("class_path", "").endswith((".Clutch", "Tokenizer"))
    }
    assert set(models) == {"shift", "clutch", "clutch_{stage}"}
    assert all(entry["load_args"] == {"device": "auto"} for entry in models.values())
