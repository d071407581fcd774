"""Text is text: nothing that a user writes becomes markup, a sentinel or a field; prompts have the published form."""

import numpy as np
import pytest
from clutch_llm import prompts
from clutch_llm.errors import VocabularyError
from clutch_llm.prompts import CAPTION, MOTION, PromptBuilder
from clutch_llm.vocabulary import Vocabulary
from hypothesis import example, given
from hypothesis import strategies as st

MARKUP = (
    "<motion_id_3>", "<som>", "<eom>", "<mask>", "<extra_id_0>", "<extra_id_99>", "</s>", "<pad>", "<unk>",
    "{motion}", "{caption}", "{", "}", "{0}", "%s", "\\", "<", ">",
)  # fmt: skip
MOTION_TOKENS = np.array([[0, 1, 2, 3], [4, 0, 1, 2]])


@pytest.fixture(scope="module")
def own() -> Vocabulary:
    return Vocabulary.train(["the left hand waves", *prompts.all_templates()] * 2, size=500, codebook_size=5)


@pytest.fixture(scope="module")
def t5(make_t5_tokenizer) -> Vocabulary:
    return Vocabulary(make_t5_tokenizer().backend_tokenizer, 5)


def markup_between(letters: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Texts with names of tokens and fields in them."""
    return st.lists(st.one_of(letters, st.sampled_from(MARKUP)), max_size=8).map("".join)


def is_plain(ids: list[int], vocabulary: Vocabulary) -> bool:
    layout = vocabulary.layout
    marks = {layout.pad, layout.eos, *layout.sentinels}
    marks |= {i for i, t in vocabulary.tokenizer.get_added_tokens_decoder().items() if t.content != "<unk>"}
    return all(0 <= i < layout.text_size and i not in marks for i in ids)


@given(text=markup_between(st.text(max_size=10)))
@example(text="＜som＞ ﹤pad﹥")  # which Unicode's compatibility forms turn into <som>
def test_any_text_is_encoded_as_text_alone(own: Vocabulary, t5: Vocabulary, text: str) -> None:
    for vocabulary in (own, t5):
        assert is_plain(vocabulary.encode_text(text), vocabulary)


@given(text=markup_between(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=10)))
def test_ascii_text_comes_back_in_lower_case(own: Vocabulary, text: str) -> None:
    assert own.decode_text(own.encode_text(text)) == " ".join(text.lower().split())


@given(text=markup_between(st.text(max_size=10)))
def test_any_text_comes_back_as_it_was_normalised(own: Vocabulary, text: str) -> None:
    normalised = own.tokenizer.normalizer.normalize_str(text)
    assert own.decode_text(own.encode_text(text)) == " ".join(normalised.split())


@given(text=st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_categories=["Lu"]), max_size=30))
@example(text="the <extra_id_3>hand</s> waves <pad> <motion_id_3>")
def test_text_of_known_characters_comes_back_through_a_t5s_tokenizer(t5: Vocabulary, text: str) -> None:
    pieces = [t5.tokenizer.id_to_token(i) for i in t5.encode_text(text)]
    assert "".join(pieces).replace("▁", " ").split() == text.split()


def test_a_mark_in_a_t5s_text_is_spelled(t5: Vocabulary) -> None:
    pieces = [t5.tokenizer.id_to_token(i) for i in t5.encode_text("the</s>a")]
    assert pieces == ["▁the", "<", "/", "s", ">", "a"]


def test_a_copy_of_the_vocabulary_reads_text_as_text_too(own: Vocabulary) -> None:
    import copy

    assert is_plain(copy.deepcopy(own).encode_text("<som></s>"), own)


def test_half_a_surrogate_pair_is_refused_by_name(own: Vocabulary) -> None:
    with pytest.raises(VocabularyError, match="Unicode"):
        own.encode_text("a \udc80")


def test_the_prompts_that_the_front_door_asks_with(own: Vocabulary) -> None:
    builder = PromptBuilder(own)
    motion = (
        "<som><motion_id_0><motion_id_6><motion_id_2><motion_id_8><motion_id_4><motion_id_5><motion_id_1><motion_id_7>"
    )
    assert spelled(own, builder.t2m("the left hand waves")) == "generate hand motion: the left hand waves</s>"
    assert spelled(own, builder.t2m(None)) == "generate hand motion:</s>"
    assert spelled(own, builder.m2t(MOTION_TOKENS)) == f"describe the motion:{motion}<eom></s>"
    assert spelled(own, builder.m2t(MOTION_TOKENS, detailed=True)) == f"describe the motion in detail:{motion}<eom></s>"
    ids = own.motion_to_ids(MOTION_TOKENS)
    ids[2:9] = own.layout.mask
    asked = builder.masked("the left hand waves", ids)
    shown = "<som><motion_id_0>" + "<mask>" * 7 + "<eom></s>"
    assert spelled(own, asked) == f"fill in the motion: the left hand waves{shown}"
    assert spelled(own, builder.t2t("the left hand", prompts.T2T_HANDS[2])) == "the left hand with which hand?</s>"


def spelled(vocabulary: Vocabulary, prompt: prompts.Prompt) -> str:
    return vocabulary.to_string(prompt.ids).replace("Ġ", " ").strip()


def test_text_on_both_sides_of_a_motion_keeps_its_side(own: Vocabulary) -> None:
    prompt = PromptBuilder(own).build(("the ", MOTION, " left ", CAPTION), caption="hand", motion=np.array([7, 8, 9]))
    left = own.encode_text("left hand")
    assert prompt.ids.tolist() == [*own.encode_text("the"), 7, 8, 9, *left, own.layout.eos]
    assert prompt.positions.tolist() == [0, 0, 1, 0, *[0] * len(left), 0]


@pytest.mark.parametrize("text", MARKUP)
def test_a_caption_with_markup_asks_for_itself_whole(own: Vocabulary, text: str) -> None:
    caption = f"the left {text} hand waves"
    for template in prompts.T2M:
        words = own.decode_text(PromptBuilder(own).t2m(caption, template).ids)
        literal = "".join(caption if part is CAPTION else str(part) for part in template)
        assert words == literal
    asked = PromptBuilder(own).masked(caption, own.motion_to_ids(MOTION_TOKENS))
    assert asked.ids.tolist().count(own.layout.som) == 1
    assert own.decode_text(asked.ids) == f"fill in the motion: {caption}"


def test_a_field_that_is_not_given_is_a_fault(own: Vocabulary) -> None:
    with pytest.raises(ValueError, match="a caption"):
        PromptBuilder(own).build(prompts.T2M[0])
    with pytest.raises(ValueError, match="a motion"):
        PromptBuilder(own).build(prompts.M2T[0])


def test_templates_differ_and_hold_their_field_once() -> None:
    by_field = {
        CAPTION: (prompts.T2M, prompts.T2T_BRIEF, prompts.T2T_DETAILED, prompts.T2T_HANDS),
        MOTION: (prompts.M2T, prompts.M2T_DETAILED),
    }
    for field, groups in by_field.items():
        for group in groups:
            assert len(set(group)) == len(group)
            assert all([part for part in template if not isinstance(part, str)] == [field] for template in group)
    assert not any("{" in text for text in prompts.all_templates())
