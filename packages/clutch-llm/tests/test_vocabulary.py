import numpy as np
import pytest
from clutch_llm.errors import MalformedMotionError, VocabularyError
from clutch_llm.vocabulary import TokenLayout, Vocabulary, well_formed
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

LAYOUT = TokenLayout(text_size=10, codebook_size=5)
TEXTS = ["the left hand waves", "the right hand waves", "both hands clap"]


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary.train(TEXTS * 2, size=500, codebook_size=5)


def steps(codes: int = 5):
    return st.integers(1, 6).flatmap(lambda n: arrays(np.int64, (n, 4), elements=st.integers(0, codes - 1)))


@given(tokens=steps())
def test_motion_tokens_survive_the_way_to_ids_and_back(vocabulary: Vocabulary, tokens: np.ndarray) -> None:
    ids = vocabulary.motion_to_ids(tokens)
    assert ids[0] == vocabulary.layout.som
    assert ids[-1] == vocabulary.layout.eom
    assert well_formed(ids, vocabulary.layout)
    np.testing.assert_array_equal(vocabulary.ids_to_motion(ids), tokens)


@given(tokens=steps(), data=st.data())
def test_any_single_id_from_the_wrong_range_is_noticed(
    vocabulary: Vocabulary, tokens: np.ndarray, data: st.DataObject
) -> None:
    ids = vocabulary.motion_to_ids(tokens)
    at = data.draw(st.integers(0, len(ids) - 1))
    first, last = vocabulary.layout.slot_range((at - 1) % 4)
    own = {*range(first, last)} if 0 < at < len(ids) - 1 else {int(ids[at])}
    ids[at] = data.draw(st.sampled_from(sorted({*range(vocabulary.layout.size)} - own)))
    assert not well_formed(ids, vocabulary.layout)
    with pytest.raises(MalformedMotionError, match="constrained decoding"):
        vocabulary.ids_to_motion(ids)


@pytest.mark.parametrize(
    "ids", [[], [20, 21], [20, 10, 15, 10, 21], [10, 15, 10, 15], [20, 10, 15, 10, 15], [20, 10, 15, 10, 15, 21, 1]]
)
def test_ragged_or_open_motions_are_malformed(ids: list[int]) -> None:
    assert not well_formed(ids, LAYOUT)


def test_pose_ids_follow_trajectory_ids_as_published(vocabulary: Vocabulary) -> None:
    ids = vocabulary.motion_to_ids(np.array([[0, 0, 4, 4]]))
    names = "<som><motion_id_0><motion_id_5><motion_id_4><motion_id_9><eom>"
    assert vocabulary.to_string(ids) == names


@pytest.mark.parametrize("text", TEXTS)
def test_training_texts_come_back_and_known_words_are_one_token(vocabulary: Vocabulary, text: str) -> None:
    ids = vocabulary.encode_text(text.upper())
    assert vocabulary.decode_text(ids) == text
    assert len(ids) == len(text.split())


def test_motion_tokens_are_left_out_of_texts(vocabulary: Vocabulary) -> None:
    ids = [*vocabulary.encode_text("both hands clap"), vocabulary.layout.som, vocabulary.layout.eos]
    assert vocabulary.decode_text(ids) == "both hands clap"


def test_a_saved_vocabulary_is_the_same(vocabulary: Vocabulary, tmp_path) -> None:
    vocabulary.save(tmp_path / "v.json")
    again = Vocabulary.load(tmp_path / "v.json", codebook_size=5, slot_codebook=(0, 1, 0, 1))
    assert again.layout == vocabulary.layout
    assert again.encode_text("the left hand <som>") == vocabulary.encode_text("the left hand <som>")


def test_a_vocabulary_of_other_codebooks_is_refused(vocabulary: Vocabulary, tmp_path) -> None:
    vocabulary.save(tmp_path / "v.json")
    with pytest.raises(VocabularyError, match="Use the tokenizer files"):
        Vocabulary.load(tmp_path / "v.json", codebook_size=6, slot_codebook=(0, 1, 0, 1))


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (np.zeros((2, 3)), r"shape \(L, 4\)"),
        (np.zeros((0, 4)), "L >= 1"),
        (np.full((1, 4), 5), r"in 0\.\.4"),
        (np.full((1, 4), -1), r"in 0\.\.4"),
    ],
)
def test_tokens_that_do_not_fit_are_refused(vocabulary: Vocabulary, tokens: np.ndarray, message: str) -> None:
    with pytest.raises(VocabularyError, match=message):
        vocabulary.motion_to_ids(tokens)
