"""A store in an object store, read by URL: against a real S3-compatible server on this machine."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

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


class CutOff:
    """An object store whose connection breaks when so many objects were put; notes what was put."""

    def __init__(self, store: object, puts: int) -> None:
        self._store, self._left, self.put_keys = store, puts, []

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def put(self, key: str, value: object) -> None:
        if len(self.put_keys) == self._left:
            raise ConnectionError("cut off")
        self._store.put(key, value)
        self.put_keys.append(key)


def test_an_upload_that_was_cut_off_goes_on_and_one_of_another_store_begins_anew(
    remote: tuple[HiwStore, str, dict], tmp_path: Path, make_clip: MakeClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    local, _, options = remote
    url, from_url, made = "s3://bucket/cut/a.zarr", obstore.store.from_url, []

    def put(store: HiwStore, puts: int) -> set[str]:
        """What an upload puts whose connection breaks after so many objects."""

        def opened(url: str, **how: object) -> CutOff:
            made.append(CutOff(from_url(url, **how), puts))
            return made[-1]

        made.clear()
        monkeypatch.setattr(obstore.store, "from_url", opened)
        with suppress(ConnectionError):
            assert upload(store, url, cache_bytes=1 << 20, **options).data_hash == store.data_hash
        return set(made[0].put_keys)

    shards = {f"{array}/c/{number}/0" for array in ("features", "valid") for number in range(len(local.shards))}
    assert put(local, 4) == {"upload.json", "clips.arrow", "features/c/0/0", "features/c/1/0"}
    with pytest.raises(StoreError, match="got nothing there"):
        HiwStore.open(url, **options)
    went_on = put(local, 100)
    assert shards - went_on == {"features/c/0/0", "features/c/1/0"}
    assert not {"upload.json", "clips.arrow"} & went_on
    HiwStore.open(url, **options).verify()
    assert "upload.json" not in {entry["path"] for entry in from_url(url, **options).list().collect()}

    with StoreWriter(tmp_path / "b.zarr", fps=15, shard_frames=64) as writer:
        for k in range(9):
            writer.append(make_clip(str(k), 8 + 4 * k, seed=100 + k))  # other motions of the same sizes
        writer.publish({})
    put(HiwStore.open(tmp_path / "b.zarr"), 4)
    assert shards <= put(local, 100)
    HiwStore.open(url, **options).verify()
