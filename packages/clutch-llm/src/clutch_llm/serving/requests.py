"""What requests may hold: the schemas of the service's OpenAPI description."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator


def _plain(text: str) -> str:
    if not text.strip():
        raise ValueError("expected words, got none")
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise ValueError("expected Unicode text, got half of a surrogate pair")
    return text


Text = Annotated[str, AfterValidator(_plain), Field(min_length=1, description="what the hands should do")]
Seed = Annotated[int, Field(ge=0, lt=2**63, description="the same text and seed give the same motion")]
Seconds = Annotated[float, Field(gt=0, le=3600, description="exact length; left out, the model decides")]
MotionId = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_-]+$")]


class _Strict(BaseModel):
    """No field that is not known, no NaN, no infinity."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Sampled(_Strict):
    """How tokens are drawn; what is left out is what is saved with the model."""

    seed: Seed = 0
    temperature: float | None = Field(None, gt=0, le=100, description="below 1 safer, above 1 more varied")
    top_k: int | None = Field(None, ge=0, le=2**31, description="among the k likeliest alone, 0 for all")
    greedy: bool | None = Field(None, description="the likeliest motion")
    guidance: float | None = Field(None, ge=0, le=100, description="above 1 follows the text more closely")


class StreamRequest(Sampled):
    """A motion that is sent while it is made."""

    text: Text
    seconds: Seconds | None = None
    explain: bool = Field(False, description="give its plan at the end, if the model has plans")


class GenerateRequest(StreamRequest):
    """Motions for a text."""

    samples: int = Field(1, ge=1, le=1024, description="motions to make")
    rank: int = Field(1, ge=1, le=1024, description="draw so many for each, keep the one that does most of its plan")
    features: bool = Field(False, description="send the features (T, 198) of each motion as well")


class Motions(_Strict):
    """A motion that is kept, or features."""

    motion: MotionId | None = Field(None, description="id of a motion that the service made")
    features: list[Annotated[list[float | None], Field(min_length=198, max_length=198)]] | None = Field(
        None, min_length=1, description="canonical features (T, 198); null where nothing is given"
    )
    valid: list[Annotated[list[bool], Field(min_length=2, max_length=2)]] | None = Field(
        None, description="whether each hand is seen, (T, 2); left out, both are"
    )
    fps: float | None = Field(None, ge=1, le=1000, description="frames a second of the features: the model's")

    @model_validator(mode="after")
    def _one_of_them(self) -> Motions:
        if (self.motion is None) == (self.features is None):
            raise ValueError("expected either motion or features")
        if self.features is not None and self.fps is None:
            raise ValueError("expected fps, the features' frames a second")
        if self.valid is not None and (self.features is None or len(self.valid) != len(self.features)):
            raise ValueError("expected valid with features, a pair for each frame")
        return self


class CaptionRequest(Motions):
    """A motion to be told in words."""

    detailed: bool = Field(False, description="tell the shape of the hand as well")


class CompleteRequest(Motions, Sampled):
    """A motion with gaps, which is made whole."""

    text: Text | None = None
    keep: Literal["left", "right", "both"] = Field("both", description="the hand that stays as it is")
    seconds: Seconds | None = Field(None, description="length of the whole; left out, the motion's")
    samples: int = Field(1, ge=1, le=1024, description="motions to make")


class Line(_Strict):
    """A sentence of a chain."""

    text: Text
    seconds: Seconds


class ChainRequest(Sampled):
    """Sentences, one after the other."""

    lines: list[Line] = Field(min_length=1, max_length=1024)
