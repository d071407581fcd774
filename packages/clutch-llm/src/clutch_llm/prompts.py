"""What the model is asked: the prefixes of pretraining and the templates of instruction tuning.

``{caption}`` and ``{motion}`` are filled in; the first template of each task is the one that pretraining uses and that
`Clutch.generate` and `Clutch.caption` ask with.
"""

from __future__ import annotations

T2M = (
    "generate hand motion: {caption}",
    "show me how {caption}",
    "make the hands move: {caption}",
    "give me a hand motion for: {caption}",
    "i want to see this: {caption}",
    "turn this sentence into motion: {caption}",
    "animate two hands: {caption}",
    "create a motion in which {caption}",
    "what does it look like when {caption}?",
    "move the hands so that {caption}",
    "please act this out: {caption}",
    "synthesize hand movement from text: {caption}",
    "{caption}",
)

#: Asking for the short caption, the first of a clip.
M2T = (
    "describe the motion: {motion}",
    "what are the hands doing? {motion}",
    "give a caption for this motion: {motion}",
    "{motion} what is this?",
    "say in one sentence what happens: {motion}",
    "name the action: {motion}",
    "turn this motion into text: {motion}",
    "{motion} describe what you see.",
)

#: Asking for a finer-grained caption, any but the first.
M2T_DETAILED = (
    "describe the motion in detail: {motion}",
    "what are the hands doing exactly? {motion}",
    "give a detailed caption for this motion: {motion}",
    "{motion} describe the shape and the movement of the hands.",
    "say precisely what happens: {motion}",
    "turn this motion into a detailed text: {motion}",
)

MASKED = ("fill in the motion: {caption} {motion}",)
UNCONDITIONAL = "generate hand motion:"

T2T_BRIEF = (
    "summarize: {caption}",
    "say it shorter: {caption}",
    "give the gist of this: {caption}",
)
T2T_DETAILED = (
    "say it in more detail: {caption}",
    "describe precisely how this looks: {caption}",
)
T2T_HANDS = (
    "which hand moves? {caption}",
    "tell me which hands are used: {caption}",
    "{caption} with which hand?",
)


def hands_of(caption: str) -> str:
    """Which hands a caption speaks of: "the left hand", "the right hand", "both hands", or "" when it does not say."""
    words = caption.lower().replace(",", " ").split()
    if "both" in words or "hands" in words:
        return "both hands"
    named = {words[k] for k in range(len(words) - 1) if words[k + 1] == "hand" and words[k] in ("left", "right")}
    return f"the {named.pop()} hand" if len(named) == 1 else ""


def all_templates() -> list[str]:
    """Every template with its fields left out, which is what the text tokenizer is trained on beside the captions."""
    groups = (T2M, M2T, M2T_DETAILED, MASKED, T2T_BRIEF, T2T_DETAILED, T2T_HANDS)
    texts = [t.replace("{caption}", "").replace("{motion}", "").strip() for group in groups for t in group]
    return [t for t in texts if t] + [UNCONDITIONAL, "the left hand", "the right hand", "both hands"]
