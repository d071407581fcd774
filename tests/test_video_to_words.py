"""A video goes the whole road: file to store, store to tokens, tokens back to motion and to a caption."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av")
from clutch_llm import Clutch, ClutchConfig
from hiw_data import BuildConfig, annotate
from hiw_data.captioning import check_caption
from shift_tokenizer import ShiftConfig, TokenizerTraining, train_tokenizer

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def view():
    """The made-up hand that hiw-data's tests track."""
    path = ROOT / "packages/hiw-data/tests/hands_in_view.py"
    spec = importlib.util.spec_from_file_location("hands_in_view", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def two_waving_hands(view):
    def see(time):
        return [
            view.hand(0, 36 + 3 * np.sin(3 * time), 10, 22),
            view.hand(1, 6 + 3 * np.sin(3 * time + 1), 10, 22),
        ]

    return view.ScriptedTracker(see)


def test_a_video_becomes_clips_tokens_motion_and_words(view, tmp_path):
    for name, seconds in (("a", 6), ("b", 9)):
        view.write_video(tmp_path / "videos" / f"{name}.mp4", frames=30 * seconds)
    store = annotate(tmp_path / "videos", tmp_path / "out.zarr", tracker=two_waving_hands(view), store=BuildConfig())
    clips = [{**clip, "split": "train"} for clip in store.clips()]
    assert len(clips) >= 2
    assert all(clip["valid"].any(0).all() for clip in clips)

    training = TokenizerTraining(steps=30, batch_size=4, window=16, learning_rate=5e-3, source_weights={})
    tokenizer, _ = train_tokenizer(clips, ShiftConfig(width=16, codebook_size=24, code_dim=8), training)
    tokenizer = tokenizer.eval().requires_grad_(False)
    first = clips[0]
    tokens = tokenizer.encode_list([first["features"]], [first["valid"]])[0]
    assert tokens.shape == (len(first["features"]) // 4, 4)
    assert tokenizer.decode(tokens[None]).shape == (1, len(first["features"]), 198)

    words = [text for clip in clips for text in clip["captions"]]
    config = ClutchConfig(d_model=32, d_ff=64, heads=2, layers=1, max_steps=16)
    clutch = Clutch.create(config, tokenizer=tokenizer, captions=words, seed=0)
    said = clutch.caption([first["features"]], [first["valid"]], fps=first["fps"])
    assert len(said) == 1
    assert isinstance(said[0], str)


def test_what_the_captions_say_is_what_the_motion_shows(view, tmp_path):
    from hand_geometry import features_to_joints, motion_codes

    view.write_video(tmp_path / "a.mp4", frames=150)
    store = annotate(tmp_path / "a.mp4", tmp_path / "out.zarr", tracker=two_waving_hands(view))
    for clip in store.clips():
        codes = motion_codes(np.asarray(features_to_joints(clip["features"])), clip["valid"], clip["fps"])
        for text in clip["captions"]:
            statuses = {claim.status for claim in check_caption(text, codes).claims}
            assert "contradicted" not in statuses, text


def test_the_data_pipeline_takes_keypoints_from_its_configuration(tmp_path):
    from hiw_data import HiwDataError
    from hiw_data.sources.keypoints import KeypointSource

    from pipelines.data import make_sources

    np.savez(tmp_path / "a.npz", keypoints=np.zeros((4, 21, 3)), fps=15)
    (source,) = make_sources([{"type": "keypoints", "folder": str(tmp_path), "hands": "both", "side": "left"}])
    assert isinstance(source, KeypointSource)
    assert source.config.cleaning.hands == "both"
    with pytest.raises(HiwDataError, match="views"):
        make_sources([{"type": "keypoints", "folder": str(tmp_path), "views": 2}])
