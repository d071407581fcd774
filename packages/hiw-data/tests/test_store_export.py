"""What leaves a store: Parquet, WebDataset, the hub's card, statistics, and the commands."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from hiw_data import HiwStore, OptionError, ProceduralSource, StoreError, StoreWriter, build
from hiw_data.cli import main
from hiw_data.clips import Clip
from hiw_data.store.export import export
from hiw_data.store.hub_card import hub_card
from hiw_data.store.statistics import feature_statistics

MakeClip = Callable[..., Clip]


@pytest.fixture
def small(make_clip: MakeClip, tmp_path: Path) -> HiwStore:
    with StoreWriter(tmp_path / "a.zarr", fps=15, shard_frames=64) as writer:
        for k in range(7):
            extra = {"betas": np.full((2, 10), k, np.float32), "timestamps": np.arange(8 + 4 * k) / 15.0} if k else {}
            split = "val" if k == 3 else "train"
            writer.append(make_clip(f"../{k}", 8 + 4 * k, seed=k, split=split, licence="CC-BY-4.0", **extra))
        writer.publish({"sources": {}})
    return HiwStore.open(tmp_path / "a.zarr")


def test_parquet_has_every_clip_in_the_hubs_layout(small: HiwStore, tmp_path: Path) -> None:
    files = export(small, tmp_path / "out", shard_clips=4)
    assert [str(path.relative_to(tmp_path / "out")) for path in files] == [
        "data/train-00000-of-00002.parquet",
        "data/train-00001-of-00002.parquet",
        "data/validation-00000-of-00001.parquet",
    ]
    rows = [row for path in files for row in pq.read_table(path).to_pylist()]
    assert [row["clip_id"] for row in rows] == ["../0", "../1", "../2", "../4", "../5", "../6", "../3"]
    of = {clip["clip_id"]: clip for clip in small.clips()}
    for row in rows:
        clip = of[row["clip_id"]]
        np.testing.assert_array_equal(np.array(row["features"], np.float32), clip["features"])
        np.testing.assert_array_equal(np.array(row["valid"]), clip["valid"])
        assert row["captions"] == clip["captions"]
        assert json.loads(row["attributes"]) == clip["attributes"]
        assert row["fps"] == 15.0
    assert rows[1]["betas"] == [1.0] * 20
    assert rows[0]["betas"] is None


def test_webdataset_shards_hold_every_clip_under_plain_names(small: HiwStore, tmp_path: Path) -> None:
    files = export(small, tmp_path / "out", "webdataset", shard_clips=4)
    again = export(small, tmp_path / "again", "webdataset", shard_clips=4)
    assert [path.name for path in files] == ["train-000000.tar", "train-000001.tar", "validation-000000.tar"]
    assert [a.read_bytes() == b.read_bytes() for a, b in zip(files, again, strict=True)] == [True] * 3
    with tarfile.open(files[1]) as archive:
        names = archive.getnames()
        assert names[:3] == ["000000005.features.npy", "000000005.valid.npy", "000000005.json"]
        read = {name: archive.extractfile(name).read() for name in names}  # type: ignore[union-attr]
    clip = small.clip(5)
    np.testing.assert_array_equal(np.load(io.BytesIO(read[names[0]]), allow_pickle=False), clip["features"])
    np.testing.assert_array_equal(np.load(io.BytesIO(read[names[1]]), allow_pickle=False), clip["valid"])
    told = json.loads(read[names[2]])
    assert (told["clip_id"], told["captions"], told["betas"]) == ("../5", ["short", "longer"], [[5.0] * 10] * 2)


def test_an_export_is_there_whole_or_not_at_all(small: HiwStore, tmp_path: Path) -> None:
    (small.path / "valid/c/1/0").unlink()  # type: ignore[operator]
    with pytest.raises(StoreError, match="valid/c/1/0"):
        export(small, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["a.zarr"]
    (tmp_path / "out").mkdir()
    with pytest.raises(OptionError, match="Expected nothing at"):
        export(small, tmp_path / "out")
    with pytest.raises(OptionError, match="Expected a layout"):
        export(small, tmp_path / "new", "csv")


def test_the_hubs_card_has_a_header_that_names_licence_and_splits(small: HiwStore, tmp_path: Path) -> None:
    _, header, body = hub_card(small).split("---\n", 2)
    told = yaml.safe_load(header)
    assert told["license"] == "cc-by-4.0"
    assert told["size_categories"] == ["n<1K"]
    assert told["configs"][0]["data_files"] == [
        {"split": "train", "path": "data/train-*.parquet"},
        {"split": "validation", "path": "data/validation-*.parquet"},
    ]
    assert small.data_hash in body
    built = build([ProceduralSource(20)], tmp_path / "b.zarr")
    _, header, body = hub_card(built).split("---\n", 2)
    assert "synthetic" in yaml.safe_load(header)["tags"]
    assert "**Synthetic: no human made these movements.**" in body


def test_statistics_are_those_of_what_was_seen_in_train(make_clip: MakeClip, tmp_path: Path) -> None:
    features = np.zeros((8, 198), np.float32)
    features[:, 0] = [1, 2, 3, 4, 100, 100, 100, 100]  # left, first number
    features[:, 99] = [5, 5, 5, 5, 7, 7, 7, 7]  # right, first number
    valid = np.ones((8, 2), bool)
    valid[4:, 0] = False
    with StoreWriter(tmp_path / "a.zarr", fps=15) as writer:
        writer.append(make_clip("a", features=features, valid=valid))
        writer.append(make_clip("b", features=features + 2, valid=valid))
        writer.append(make_clip("c", features=features + 1000, split="val"))
        writer.publish({})
    found = feature_statistics(HiwStore.open(tmp_path / "a.zarr"))
    assert found.frames.tolist() == [8, 16]
    assert found.mean[[0, 1, 99]].tolist() == [3.5, 1.0, 7.0]
    np.testing.assert_allclose(found.std[[0, 1, 99]] ** 2, [2.25, 1.0, 2.0])
    assert feature_statistics(HiwStore.open(tmp_path / "a.zarr"), None).frames.tolist() == [16, 24]


def test_the_commands_say_what_they_did(small: HiwStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = str(small.path)
    assert main(["validate", store]) == 0
    assert "7 clips are what was written" in capsys.readouterr().out
    assert main(["stats", store]) == 0
    assert "train: 6 clips, 120 frames, 8.0 s" in capsys.readouterr().out
    assert main(["stats", store, "--json", "--split", "all"]) == 0
    assert len(json.loads(capsys.readouterr().out)["mean"]) == 198
    assert main(["export", store, str(tmp_path / "out"), "--to", "webdataset"]) == 0
    assert "Wrote 2 file(s)" in capsys.readouterr().out
    shard = small.path / "features/c/0/0"  # type: ignore[operator]
    shard.write_bytes(b"?" + shard.read_bytes()[1:])
    assert main(["validate", store]) == 1
    assert "  ../0\n" in capsys.readouterr().out
    assert main(["repair", store]) == 0
    assert "6 clips kept, 1 dropped" in capsys.readouterr().out
    assert main(["validate", store]) == 0
    assert main(["migrate", store]) == 1
    assert "Only such a store can be migrated" in capsys.readouterr().err


def test_a_build_adds_to_a_store_when_told_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "a.zarr")
    assert main(["build", "--source", "procedural", "--clips", "5", "--out", out]) == 0
    assert main(["build", "--source", "procedural", "--clips", "5", "--out", out]) == 1
    assert "--overwrite" in capsys.readouterr().err
    more = ["build", "--source", "procedural", "--clips", "9", "--procedural-seed", "0", "--out", out, "--append"]
    assert main(more) == 0
    assert len(HiwStore.open(out)) == 9
