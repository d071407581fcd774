"""The model card that is written beside the weights."""

from __future__ import annotations

from typing import Any


def model_card(*, parameters: int, config: dict[str, Any], layout: dict[str, Any], stages: list[dict[str, Any]]) -> str:
    """The text of README.md of a model folder: what it is, how it was made, how to use it, what it cannot do."""
    kind = config.get("architecture", "encoder-decoder")
    small = f"random weights ({kind}, {config['layers']} layers of width {config['d_model']})"
    base = config["base_model"] or small
    made = "\n".join(f"{k}. {_told(stage)}" for k, stage in enumerate(stages, 1))
    seconds = config["max_steps"] * layout["frames_per_latent"] / layout["fps"]
    return f"""---
library_name: clutch-llm
tags: [hand-motion, text-to-motion, motion-to-text, mano]
---

# CLUTCH: text to two-hand motion and back

One language model over text tokens and tokens of hand motion: {parameters / 1e6:.2f} M parameters, from {base}.
Motions have {layout["fps"]:g} frames a second and last up to {round(seconds, 1):g} s.

```python
from clutch_llm import Clutch

clutch = Clutch.from_pretrained("path/to/this/folder")
motions = clutch.generate(["the right hand waves"], seconds=4, seed=0)
texts = clutch.caption(motions[0][0]["features"])
```

## Files

- `config.json`: sizes, layout of the vocabulary, training stages
- `generation_config.json`: how tokens are drawn unless told otherwise (temperature, guidance)
- `model.safetensors`: weights of the language model
- `text_tokenizer.json`: text and motion tokens ({layout["codebook_size"]} codes a codebook)
- `tokenizer/`: the SHIFT motion tokenizer

## Training

{made or "Not trained yet: the weights are those the model started from."}

## Limits

The model knows the actions and words of its training captions and little else. Hands are two MANO hands with mean
shape; objects, forearms and contacts are not modelled. Check motions before you build on them.
"""


def _told(stage: dict[str, Any]) -> str:
    """A line about a training stage."""
    best = f", of which the best on validation is kept: step {stage['best_step']}" if "best_step" in stage else ""
    return f"{stage['stage']}: {stage['steps']} steps{best}, seed {stage['seed']}"
