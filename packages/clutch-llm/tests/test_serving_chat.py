"""`clutch chat`: what is typed, what is written, what is said."""

from clutch_llm.serving.chat import Chat
from hand_geometry import load_motion


def test_a_sentence_is_written_and_captioned_and_what_is_wrong_is_said(clutch, tmp_path):
    said = []
    chat = Chat(clutch, tmp_path, ".npz", said.append, seconds=0.5)
    chat.run(["/again", "", "both hands clap", "/seconds x", "/seconds 1", "/again", "/seconds 99", "a", "/quit", "b"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["001.npz", "002.npz"]
    assert load_motion(tmp_path / "002.npz")["captions"] == ["both hands clap"]
    assert len(load_motion(tmp_path / "002.npz")["transl"]) == 16
    expected = clutch.generate("both hands clap", 1.0, seed=1)[0][0]["features"]
    assert f"calls it: {clutch.caption(expected)[0]}" in said
    assert any("before /again" in line for line in said)
    assert any("Expected a number" in line for line in said)
    assert any("seconds from" in line for line in said)
