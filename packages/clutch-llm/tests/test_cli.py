import copy
import json
import logging
from pathlib import Path

import numpy as np
import pytest
from clutch_llm import Clutch, Sampling
from clutch_llm.cli import build_parser, main
from clutch_llm.motion_files import read_motion
from hand_geometry import canonicalize, features_to_joints, load_motion, params_to_features, relaxed_hand, save_motion
from hand_geometry.exporting import import_motion


@pytest.fixture(scope="module")
def folder(clutch, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("models") / "clutch"
    clutch.save_pretrained(path)
    return path


@pytest.fixture
def tokens_for_text(monkeypatch) -> None:
    """Captions are the tokens themselves."""
    monkeypatch.setattr(
        Clutch, "caption_tokens", lambda self, tokens, detailed=False: [str(t.tolist()) for t in tokens]
    )


def hands(frames: int, *, fps: float = 15.0, at: float = 0.0) -> dict[str, np.ndarray]:
    """Two relaxed hands; the right one goes right by 15 cm a second; both stand ``at`` metres above the origin."""
    rest = [relaxed_hand(side) for side in ("left", "right")]
    params = {
        k: np.stack([np.asarray(h[k]) for h in rest])[None].repeat(frames, 0)
        for k in ("global_orient", "hand_pose", "transl")
    }
    params["transl"][:, 1, 0] += 0.15 * np.arange(frames) / fps
    params["transl"][..., 1] += at
    return params


def captions(capsys, folder: Path, *arguments: object) -> list[str]:
    capsys.readouterr()
    main(["caption", *(str(a) for a in arguments), "--model", str(folder)])
    return capsys.readouterr().out.splitlines()


# clutch generate


def test_a_motion_is_generated_written_and_captioned(folder: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "new" / "wave.npz"
    main(["generate", "the left hand waves", "--model", str(folder), "--out", str(out), "--seconds", "1"])
    assert capsys.readouterr().out.strip() == str(out)
    motion = load_motion(out)
    assert motion["global_orient"].shape == (16, 2, 3)
    assert motion["fps"] == 15.0
    assert motion["captions"] == ["the left hand waves"]
    assert motion["valid"].all()
    assert len(captions(capsys, folder, out)) == 1


def test_what_python_generates_is_what_the_command_writes(clutch, folder: Path, tmp_path: Path) -> None:
    clutch = copy.copy(clutch)
    clutch.generation = Sampling(temperature=0.5, top_k=3, guidance=2.0)
    clutch.save_pretrained(tmp_path / "m")
    words = ["generate", "a", "--model", str(tmp_path / "m"), "--seconds", "1", "--seed", "3"]
    main([*words, "--out", str(tmp_path / "own.npz")])
    main([*words, "--out", str(tmp_path / "given.npz"), "--temperature", "1", "--top-k", "0", "--guidance", "1"])
    main([*words, "--out", str(tmp_path / "greedy.npz"), "--greedy"])
    for name, how in (
        ("own", {}),
        ("given", {"temperature": 1.0, "top_k": 0, "guidance": 1.0}),
        ("greedy", {"greedy": True}),
    ):
        expected = clutch.generate("a", 1.0, seed=3, **how)[0][0]["features"]
        written = np.asarray(params_to_features(load_motion(tmp_path / f"{name}.npz")))
        for wrist in (slice(96, 99), slice(195, 198)):  # 6D rotations are made proper in the file
            np.testing.assert_allclose(written[:, wrist], expected[:, wrist], atol=1e-5)


@pytest.mark.parametrize("suffix", [".npz", ".glb", ".bvh", ".usda", ".npy", ".pth"])
def test_a_motion_goes_to_other_programs_and_comes_back(folder: Path, tmp_path: Path, suffix: str, capsys) -> None:
    if suffix == ".usda":
        pytest.importorskip("pxr")
    plain, out = tmp_path / "plain.npz", tmp_path / f"motion{suffix}"
    for path in (plain, out):
        main(["generate", "the left hand waves", "--model", str(folder), "--out", str(path), "--seconds", "0.6"])
    first, second = (params_to_features(canonicalize(import_motion(path))) for path in (plain, out))
    np.testing.assert_allclose(np.asarray(second), np.asarray(first), atol=2e-3)
    assert len(captions(capsys, folder, out)) == 1


@pytest.mark.parametrize(
    ("suffix", "begins"), [(".gif", b"GIF8"), (".png", b"\x89PNG"), (".webp", b"RIFF"), (".html", b"<!")]
)
def test_a_motion_is_drawn(folder: Path, tmp_path: Path, suffix: str, begins: bytes) -> None:
    out = tmp_path / f"wave{suffix}"
    main(["generate", "the left hand waves", "--model", str(folder), "--out", str(out), "--seconds", "0.6"])
    assert out.read_bytes().lower().startswith(begins.lower())
    assert out.stat().st_size > 1000


def test_samples_are_numbered_and_differ(folder: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "m.npz"
    main(["generate", "x", "--model", str(folder), "--out", str(out), "--samples", "2", "--seconds", "1"])
    paths = capsys.readouterr().out.split()
    assert paths == [str(tmp_path / "m-1.npz"), str(tmp_path / "m-2.npz")]
    first, second = (np.load(p)["hand_pose"] for p in paths)
    assert not np.array_equal(first, second)


def test_several_texts_make_several_files_each_of_its_text(clutch, folder: Path, tmp_path: Path, capsys) -> None:
    texts = ["the left hand waves", "both hands clap"]
    main(["generate", *texts, "--model", str(folder), "--out", str(tmp_path / "m.npz"), "--samples", "2"])
    names = ["m-1-1.npz", "m-1-2.npz", "m-2-1.npz", "m-2-2.npz"]
    assert capsys.readouterr().out.split() == [str(tmp_path / name) for name in names]
    drawn = clutch.generate(texts, samples=2)
    for name, text, motion in zip(
        names, [texts[0]] * 2 + [texts[1]] * 2, [m for row in drawn for m in row], strict=True
    ):
        written = load_motion(tmp_path / name)
        assert written["captions"] == [text]
        np.testing.assert_allclose(
            np.asarray(params_to_features(written))[:, 96:99], motion["features"][:, 96:99], atol=1e-5
        )
    main(["generate", *texts, "--model", str(folder), "--out", str(tmp_path / "n.npz")])
    assert capsys.readouterr().out.split() == [str(tmp_path / "n-1.npz"), str(tmp_path / "n-2.npz")]


def test_a_page_shows_all_motions_with_their_texts(folder: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "all.html"
    texts = ["the left hand waves", "both <b>hands</b> clap"]
    main(["generate", *texts, "--model", str(folder), "--out", str(out), "--seconds", "0.6"])
    assert capsys.readouterr().out.split() == [str(out)]
    assert "the left hand waves" in out.read_text()
    assert "<b>hands</b>" not in out.read_text()


# clutch caption


@pytest.mark.usefixtures("tokens_for_text")
@pytest.mark.parametrize("fill", [0.0, np.nan, 5.0])
def test_an_unseen_hand_has_no_say_in_the_caption(folder: Path, tmp_path: Path, fill: float, capsys) -> None:
    """A right hand alone, far from the origin: what stands for the left one is a convention of who wrote the file."""
    valid = np.zeros((30, 2), dtype=bool)
    valid[:, 1] = True
    clean, other = hands(30), hands(30, at=1.5)
    for values in other.values():
        values[:, 0] = fill
    save_motion(tmp_path / "clean.npz", clean, fps=15, valid=valid)
    np.savez(tmp_path / "other.npz", **other, valid=valid, fps=np.array(15.0))
    lines = captions(capsys, folder, tmp_path / "clean.npz", tmp_path / "other.npz")
    assert lines[1].removeprefix(f"{tmp_path / 'other.npz'}: ") == lines[0].removeprefix(f"{tmp_path / 'clean.npz'}: ")
    save_motion(tmp_path / "both.npz", clean, fps=15)
    assert captions(capsys, folder, tmp_path / "both.npz")[0] not in lines[0]


@pytest.mark.usefixtures("tokens_for_text")
def test_the_command_captions_what_the_library_would(clutch, folder: Path, tmp_path: Path, capsys) -> None:
    features = np.asarray(params_to_features(hands(24)), dtype=np.float32)
    save_motion(tmp_path / "m.npz", hands(24, at=1.5), fps=15)  # the command makes it canonical
    assert captions(capsys, folder, tmp_path / "m.npz") == clutch.caption(features)


@pytest.mark.usefixtures("tokens_for_text")
def test_another_rate_is_resampled_and_said(folder: Path, tmp_path: Path, capsys, caplog) -> None:
    save_motion(tmp_path / "slow.npz", hands(24), fps=15)
    save_motion(tmp_path / "fast.npz", hands(47, fps=30), fps=30)
    save_motion(tmp_path / "ntsc.npz", hands(24), fps=14.985)
    lines = captions(capsys, folder, tmp_path / "fast.npz", tmp_path / "slow.npz", tmp_path / "ntsc.npz")
    assert len({line.split(": ")[1] for line in lines}) == 1
    told = [r.message for r in caplog.records if r.name.startswith("clutch_llm")]
    assert told == [f"{tmp_path / 'fast.npz'}: resampled from 30 frames a second to the model's 15"]


def test_a_long_motion_is_captioned_in_windows_with_times(folder: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    answers = ["the left hand waves", "both hands clap", "both hands clap", "a fist"]
    monkeypatch.setattr(Clutch, "caption_tokens", lambda self, tokens, detailed=False: answers[: len(tokens)])
    save_motion(tmp_path / "long.npz", hands(86), fps=15)
    save_motion(tmp_path / "short.npz", hands(12), fps=15)
    assert captions(capsys, folder, tmp_path / "long.npz") == ["the left hand waves, then both hands clap"]
    assert captions(capsys, folder, "--windows", tmp_path / "long.npz") == [
        "0.0 to 1.9 s: the left hand waves", "1.9 to 3.7 s: both hands clap", "3.7 to 5.7 s: both hands clap",
    ]  # fmt: skip
    assert captions(capsys, folder, "--windows", tmp_path / "long.npz", tmp_path / "short.npz")[2:] == [
        f"{tmp_path / 'long.npz'}: 3.7 to 5.7 s: both hands clap", f"{tmp_path / 'short.npz'}: 0.0 to 0.8 s: a fist",
    ]  # fmt: skip


def test_details_are_asked_for(folder: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(Clutch, "caption_tokens", lambda self, tokens, detailed=False: [f"detailed {detailed}"])
    save_motion(tmp_path / "m.npz", hands(12), fps=15)
    assert captions(capsys, folder, tmp_path / "m.npz") == ["detailed False"]
    assert captions(capsys, folder, "--detailed", tmp_path / "m.npz") == ["detailed True"]


def test_a_file_is_read_canonical_whatever_stands_where_a_hand_is_not_seen(clutch, tmp_path: Path) -> None:
    """The right hand is seen in frames 2, 3, 7 and 8 of 10; it goes right by a centimetre a frame."""
    params, valid = hands(10, at=0.2), np.ones((10, 2), dtype=bool)
    valid[[0, 1, 4, 5, 6, 9], 1] = False
    for values in params.values():
        values[~valid] = 7.0
    np.savez(tmp_path / "m.npz", **params, valid=valid, fps=np.array(15.0))
    read = read_motion(tmp_path / "m.npz", clutch.tokenizer)
    np.testing.assert_array_equal(read.valid, valid)
    wrists = np.asarray(features_to_joints(read.features))[..., 0, :]
    np.testing.assert_allclose(wrists[:, 0], [[-0.14, 0, 0]] * 10, atol=1e-5)
    x = 0.14 + 0.01 * np.array([0, 0, 0, 1, 1, 1, 5, 5, 6, 6])
    np.testing.assert_allclose(wrists[:, 1], np.stack([x, 0 * x, 0 * x], 1), atol=1e-5)


def test_a_file_in_which_no_hand_is_seen_is_named(folder: Path, tmp_path: Path, capsys) -> None:
    np.savez(tmp_path / "m.npz", **hands(8), valid=np.zeros((8, 2), dtype=bool), fps=np.array(15.0))
    assert "m.npz" in error_of(capsys, "caption", tmp_path / "m.npz", "--model", folder)


# Everything else


def test_info_tells_what_is_there(folder: Path, capsys) -> None:
    main(["info", "--model", str(folder)])
    shown = capsys.readouterr().out
    assert "none: 1 layers of width 32" in shown
    assert "15 frames/s, 4 frames a step, 4 tokens a step, up to 2.1 s" in shown
    assert "temperature 1, top k off, guidance 1" in shown
    assert "not trained" in shown


def error_of(capsys, *arguments: object) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit) as exit_info:
        main([str(a) for a in arguments])
    assert exit_info.value.code == 1
    out, error = capsys.readouterr()
    assert not out
    assert error.count("\n") == 1
    assert error.startswith("clutch: ")
    return error


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--guidance", "nan"], "Expected guidance of at least 0, got nan"),
        (["--temperature", "0"], "Expected a temperature above 0, got 0.0"),
        (["--top-k", "-3"], "Expected top_k of at least 1 or None, got -3"),
        (["--samples", "0"], "at least 1 sample, got 0"),
        (["--seconds", "99"], "Expected seconds from 0.27 to 2.13, got 99.0"),
        (["--device", "gpu"], "auto or cpu, got 'gpu'"),
        (["--dtype", "int3"], "float32, bfloat16, float16, got 'int3'"),
        (["--out", "wave.txt"], "Expected a name that ends in .mp4, .gif"),
    ],
)
def test_what_the_user_can_mend_is_one_line(folder: Path, tmp_path: Path, capsys, arguments, says: str) -> None:
    words = ["generate", "x", "--model", folder, "--out", tmp_path / "m.npz", *arguments]
    assert says in error_of(capsys, *words)


@pytest.mark.parametrize("text", ["", " \n", "the left hand waves " * 400, "half a \udc80"])
def test_texts_that_are_none_are_one_line(folder: Path, tmp_path: Path, capsys, text: str) -> None:
    assert "xpected a text" in error_of(capsys, "generate", text, "--model", folder, "--out", tmp_path / "m.npz")
    assert not (tmp_path / "m.npz").exists()


def test_places_that_cannot_be_are_one_line_before_any_work(folder: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    (tmp_path / "file").write_text("x")
    assert "file" in error_of(capsys, "generate", "x", "--model", folder, "--out", tmp_path / "file" / "m.npz")
    monkeypatch.setattr("os.access", lambda path, mode: False)
    monkeypatch.setattr(Clutch, "generate", lambda *args, **how: pytest.fail("worked first"))
    error = error_of(capsys, "generate", "x", "--model", folder, "--out", tmp_path / "m.npz")
    assert f"a folder that can be written to, got {tmp_path}" in error


def test_a_wrong_model_folder_is_one_line(tmp_path: Path, capsys) -> None:
    assert "Expected a CLUTCH model folder at " in error_of(capsys, "info", "--model", tmp_path / "nowhere")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "t5"}))
    assert "something else" in error_of(capsys, "info", "--model", tmp_path)


def test_motion_files_that_are_none_are_one_line(folder: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "m.npz").write_bytes(b"no zip")
    assert "m.npz" in error_of(capsys, "caption", tmp_path / "m.npz", "--model", folder)
    assert "none.npz" in error_of(capsys, "caption", tmp_path / "none.npz", "--model", folder)
    assert "m.txt" in error_of(capsys, "caption", tmp_path / "m.txt", "--model", folder)


def test_a_fault_of_ours_keeps_its_traceback(folder: Path, tmp_path: Path, monkeypatch) -> None:
    def broken(*args, **how):
        raise ValueError("a bug")

    monkeypatch.setattr(Clutch, "generate", broken)
    with pytest.raises(ValueError, match="a bug"):
        main(["generate", "x", "--model", str(folder), "--out", str(tmp_path / "m.npz")])


def test_verbose_tells_where_an_error_comes_from(tmp_path: Path, caplog, capsys) -> None:
    caplog.set_level(logging.INFO)
    error_of(capsys, "info", "--model", tmp_path / "nowhere", "--verbose")
    assert any(r.exc_info and "CheckpointError" in str(r.exc_info[0]) for r in caplog.records)


def test_a_log_file_has_a_mistake_in_full_where_the_terminal_has_one_line(tmp_path: Path, capsys) -> None:
    log = tmp_path / "clutch.log"
    error_of(capsys, "info", "--model", tmp_path / "nowhere", "--log-file", log)
    text = log.read_text(encoding="utf-8")
    assert f"started: clutch info --model {tmp_path}/nowhere" in text
    assert "Traceback" in text
    assert "CheckpointError" in text


def test_every_command_takes_a_log_file() -> None:
    (commands,) = (action for action in build_parser()._actions if action.dest == "command")
    assert set(commands.choices) >= {"generate", "caption", "info", "evaluate"}
    for name, command in commands.choices.items():
        assert "--log-file" in command.format_help(), name


def test_device_and_dtype_reach_the_model(folder: Path, tmp_path: Path, monkeypatch) -> None:
    asked = []
    opened = Clutch.from_pretrained

    def watched(name, **how):
        asked.append(how)
        return opened(name)

    monkeypatch.setattr(Clutch, "from_pretrained", watched)
    words = ["generate", "x", "--model", str(folder), "--out", str(tmp_path / "m.npz")]
    main(words)
    main([*words, "--device", "cpu", "--dtype", "bfloat16"])
    assert asked == [{"device": "auto", "dtype": "float32"}, {"device": "cpu", "dtype": "bfloat16"}]


def test_the_command_of_evaluation_is_there_and_its_errors_are_one_line(tmp_path: Path, capsys) -> None:
    words = [
        "--motions",
        tmp_path / "none",
        "--store",
        tmp_path / "none.zarr",
        "--evaluator",
        tmp_path / "no-evaluator",
    ]
    assert str(tmp_path) in error_of(capsys, "evaluate", *words)


def test_help_teaches_by_example(capsys) -> None:
    with pytest.raises(SystemExit):
        build_parser().parse_args(["--help"])
    assert 'clutch generate "the right hand waves quickly" --out wave.mp4' in capsys.readouterr().out
