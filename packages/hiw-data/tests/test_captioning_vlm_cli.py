from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from hiw_data import HiwStore, __version__
from hiw_data.captioning.check import check_caption
from hiw_data.captioning.cli import codes_of_clip
from hiw_data.captioning.vocabulary import Vocabulary
from hiw_data.cli import main
from hiw_data.store.writer import StoreWriter
from stand_in import stand_in

pytest.importorskip("openai")
pytest.importorskip("sklearn")

KEY = "sk-very-secret-0123456789"


@pytest.fixture
def frames(store: HiwStore, tmp_path: Path) -> Path:
    for index in range(3):
        folder = tmp_path / "frames" / store.clip(index)["clip_id"]
        folder.mkdir(parents=True)
        for number in range(2):
            (folder / f"{number}.jpg").write_bytes(b"\xff\xd8\xff" + bytes([index, number]))
    return tmp_path / "frames"


def test_caption_writes_one_line_a_clip_and_resumes_from_the_kept_answers(
    store: HiwStore, frames: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("HIW_LLM_BASE_URL", "HIW_LLM_MODEL", "HIW_LLM_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HIW_VLM_API_KEY", KEY)
    settings = tmp_path / "captions.toml"
    path = tmp_path / "store.zarr"
    shutil.copytree(store.path, path)
    settings.write_text('[run]\nframes = 2\nembeddings = "letters"\n[vlm]\nconcurrency = 2\nprice_in = 1.0\n')
    with stand_in() as server:
        monkeypatch.setenv("HIW_VLM_BASE_URL", server.url)
        command = [
            "caption", str(path), "--frames", str(frames), "--out", str(tmp_path / "out.jsonl"), "--limit", "4",
            "--cache", str(tmp_path / "answers.sqlite"), "--config", str(settings), "--vlm-model", "eye",
            "--llm-model", "pen", "--vocabulary", str(tmp_path / "words.json"),
        ]  # fmt: skip
        assert main(command) == 0
        sent = len(server.bodies)
        first, captioned = (tmp_path / "out.jsonl").read_bytes(), HiwStore.open(path)
        assert main(command) == 0
        assert HiwStore.open(path).data_hash == captioned.data_hash
        assert len(server.bodies) == sent
        assert {body["model"] for body in server.bodies} == {"eye", "pen"}
    assert (tmp_path / "out.jsonl").read_bytes() == first
    results = [json.loads(line) for line in first.splitlines()]
    assert [result["status"] for result in results] == 3 * ["captioned"] + ["listed"]
    assert "jpg" in results[3]["reason"]
    assert Vocabulary.from_json((tmp_path / "words.json").read_text()).names("actions") == ["pick up"]
    for index, result in enumerate(results):
        clip, before = captioned.clip(index), store.clip(index)
        new = list(dict.fromkeys(c["text"] for c in result["captions"] if c["kept"]))  # the server says it twice
        assert clip["captions"] == before["captions"] + new
        assert len(new) == (0 if index == 3 else 1)
        made = clip.get("caption_provenance", [])[len(before["captions"]) :]
        assert [(m["level"], m["models"], m["version"]) for m in made] == [
            (level, {"vlm": "eye", "llm": "pen"}, __version__) for level in ("high", "fine")[: len(new)]
        ]
        assert all("hand_role" in m["prompts"] for m in made)
        assert clip.get("atomic_answers") == (result["answers"] if new else None)
    captioned.verify()
    assert not (tmp_path / ".store.zarr.building").exists()
    said = capsys.readouterr()
    assert "3 of 4 clips captioned" in said.out
    assert "+3 captions, content hash" in said.out
    assert "nothing new, it is as it was" in said.out
    assert "vlm: 15 questions, 0 of them kept answers, 15 requests" in said.out
    assert "1500 tokens in" in said.out
    assert "cost 0.0015" in said.out
    assert "hand_role@1-" in said.out
    assert KEY not in said.out + said.err + first.decode()


def test_an_endpoint_that_refuses_the_key_is_said_without_the_key(
    store: HiwStore, frames: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HIW_VLM_API_KEY", KEY)
    with stand_in() as server:
        server.faults = lambda question, before: "401"
        monkeypatch.setenv("HIW_VLM_BASE_URL", server.url)
        monkeypatch.setenv("HIW_VLM_MODEL", "eye")
        command = ["caption", str(store.path), "--frames", str(frames), "--out", str(tmp_path / "o"), "--limit", "3"]
        assert main([*command, "--cache", str(tmp_path / "answers.sqlite")]) == 1
    said = capsys.readouterr()
    assert "the key was refused" in said.out
    assert KEY not in said.out + said.err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[vlm]\nkey = "sk-1"\n', "environment, never in a file"),
        ('[vlm]\napi_key = "sk-1"\n', "environment, never in a file"),
        ("[other]\n", "'other'"),
        ("vlm = 3\n", "'vlm'"),
        ("[run]\ncache = 3\n", "cache"),
        ("[run\n", "TOML"),
        ("[run]\nframes = 0\n", "frames"),
    ],
)
def test_a_file_of_settings_with_something_else_in_it_is_refused(
    store: HiwStore, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, words: str
) -> None:
    (tmp_path / "c.toml").write_text(text)
    command = ["caption", str(store.path), "--frames", str(tmp_path), "--out", str(tmp_path / "o")]
    ends = ["--vlm-base-url", "http://127.0.0.1:1/v1", "--vlm-model", "m", "--llm-base-url", "http://127.0.0.1:1/v1"]
    assert main([*command, *ends, "--llm-model", "m", "--config", str(tmp_path / "c.toml")]) == 1
    said = capsys.readouterr().err
    assert words in said
    assert "sk-1" not in said
    assert not (tmp_path / "o").exists()


def test_captions_go_to_a_file_alone_where_asked_and_never_nowhere(
    store: HiwStore, frames: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["caption", str(store.path), "--no-store"]) == 1
    assert "--no-store" in capsys.readouterr().err
    before, out = store.data_hash, tmp_path / "out.jsonl"
    with stand_in() as server:
        ends = ["--vlm-base-url", server.url, "--vlm-model", "m", "--llm-base-url", server.url, "--llm-model", "m"]
        command = ["caption", str(store.path), "--frames", str(frames), "--no-store", "--out", str(out), "--limit", "1"]
        assert main([*command, *ends, "--cache", str(tmp_path / "answers.sqlite")]) == 0
    assert json.loads(out.read_text())["status"] == "captioned"
    assert HiwStore.open(store.path).data_hash == before


def test_without_frames_the_motion_itself_is_told(
    store: HiwStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "store.zarr"
    shutil.copytree(store.path, path)
    command = ["caption", str(path), "--limit", "5", "--variants", "2", "--seed", "3"]
    assert main(command) == 0
    assert "5 of 5 clips captioned from their motion" in capsys.readouterr().out
    captioned = HiwStore.open(path)
    captioned.verify()
    for index in range(5):
        clip, before = captioned.clip(index), store.clip(index)
        new = clip["captions"][len(before["captions"]) :]
        assert clip["captions"][: len(before["captions"])] == before["captions"]
        assert len(new) == 6
        assert all(not check_caption(text, codes_of_clip(clip)).contradictions for text in new)
        assert clip["caption_provenance"][-1]["maker"] == "motion codes"
        assert clip["motion_codes"] == json.loads(codes_of_clip(clip).to_json())
    assert captioned.clip(5)["captions"] == store.clip(5)["captions"]
    assert main([*command, "--replace"]) == 0
    assert len(HiwStore.open(path).clip(0)["captions"]) == 6
    assert main(["caption", str(path), "--variants", "6"]) == 1
    assert "--variants of 1 to 5, got 6" in capsys.readouterr().err


def test_a_clip_in_which_no_hand_is_seen_half_of_the_time_is_listed(
    store: HiwStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a moment's sight nothing is told: one clip's hands are unseen but for an eighth of its frames."""
    path, clips = tmp_path / "store.zarr", [store.clip(index) for index in range(2)]
    clips[1]["valid"][:] = False
    clips[1]["valid"][: len(clips[1]["valid"]) // 8, 1] = True
    with StoreWriter(path, fps=store.fps) as writer:
        for clip in clips:
            writer.append(clip)
        writer.publish({})
    assert main(["caption", str(path)]) == 0
    said = capsys.readouterr().out
    assert "1 of 2 clips captioned from their motion" in said
    assert f"  {clips[1]['clip_id']}: Expected a hand in half of the frames or more, got one in 1" in said
    assert HiwStore.open(path).clip(1)["captions"] == clips[1]["captions"]
    assert HiwStore.open(path).clip(0)["captions"] != clips[0]["captions"]


def test_axes_that_are_not_the_wearers_leave_all_else_to_tell(
    store: HiwStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "store.zarr"
    shutil.copytree(store.path, path)
    assert main(["caption", str(path), "--replace", "--no-directions"]) == 0
    assert f"{len(store)} of {len(store)} clips captioned" in capsys.readouterr().out
    told = [text for clip in HiwStore.open(path).iterate() for text in clip["captions"]]
    assert len(told) == 3 * len(store)
    assert not any(re.search(r"\b(up|down|left|right)(wards?)?\b(?! hand)", text) for text in told)
    assert any(re.search(r"\b(times|slowly|extended)\b", text) for text in told)
