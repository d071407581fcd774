"""A store in an object store, read by URL: against a real S3-compatible server on this machine."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hiw_data import HiwDataset, HiwStore, HiwStream, StoreError, StoreWriter, collate
from hiw_data.clips import Clip
from hiw_data.store.files import ObjectFiles
from hiw_data.store.upload import upload
from torch.utils.data import DataLoader

MakeClip = Callable[..., Clip]

obstore = pytest.importorskip("obstore")
moto_server = pytest.importorskip("moto.server")

KEYS = {"access_key_id": "a", "secret_access_key": "b", "region": "us-east-1"}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    running = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture(scope="module")
def remote(
    server: str, tmp_path_factory: pytest.TempPathFactory, make_clip: MakeClip
) -> tuple[HiwStore, str, dict[str, object]]:
    """The same store in a folder, and its URL with what opens it."""
    import urllib.request

    path = tmp_path_factory.mktemp("objects") / "a.zarr"
    with StoreWriter(path, fps=15, shard_frames=64) as writer:
        for k in range(9):
            writer.append(make_clip(str(k), 8 + 4 * k, seed=k))
        writer.publish({})
    urllib.request.urlopen(urllib.request.Request(f"{server}/bucket", method="PUT")).close()
    options = {
        "endpoint": server,
        "client_options": {"allow_http": True},
        "virtual_hosted_style_request": False,
        **KEYS,
    }
    store = HiwStore.open(path)
    for _ in range(2):  # the second time it replaces itself
        assert upload(store, "s3://bucket/data/a.zarr", **options).data_hash == store.data_hash
    return store, "s3://bucket/data/a.zarr", options


def test_a_store_is_read_by_its_url(remote: tuple[HiwStore, str, dict]) -> None:
    local, url, options = remote
    store = HiwStore.open(url, block_bytes=1000, cache_bytes=5000, **options)
    assert (store.data_hash, len(store)) == (local.data_hash, 9)
    for near, far in zip(local.clips(), store.clips(), strict=True):
        np.testing.assert_array_equal(near["features"], far["features"])
        np.testing.assert_array_equal(near["valid"], far["valid"])
        assert near["captions"] == far["captions"]
    assert isinstance(store.files, ObjectFiles)
    assert len(store.files._blocks) <= 5
    store.verify()


def test_datasets_read_it_with_workers_too(remote: tuple[HiwStore, str, dict]) -> None:
    local, url, options = remote
    store = HiwStore.open(url, **options)
    assert pickle.loads(pickle.dumps(store)).data_hash == local.data_hash
    loader = DataLoader(
        HiwDataset(store, window=16), batch_size=8, num_workers=1, collate_fn=collate, multiprocessing_context="spawn"
    )
    near = DataLoader(HiwDataset(local, window=16), batch_size=8, collate_fn=collate)
    for a, b in zip(loader, near, strict=True):
        assert (a["features"] == b["features"]).all()
    assert [item["clip_id"] for item in HiwStream(store)] == [item["clip_id"] for item in HiwStream(local)]


def test_nothing_there_and_a_lost_shard_are_said_clearly(remote: tuple[HiwStore, str, dict]) -> None:
    _, url, options = remote
    with pytest.raises(StoreError, match=r"Expected a store at s3://bucket/none\.zarr, got nothing there"):
        HiwStore.open("s3://bucket/none.zarr", **options)
    store = HiwStore.open(url, **options)
    obstore.delete(obstore.store.from_url(url, **options), "valid/c/1/0")
    with pytest.raises(StoreError, match="Expected a readable valid/c/1/0 in s3://bucket"):
        store.clips()
