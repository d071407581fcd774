"""One language model over text and tokens of hand motion: training, refinement, generation, evaluation."""

from clutch_llm.clutch import Clutch, Motion
from clutch_llm.config import ClutchConfig, from_mapping
from clutch_llm.corpus import build_corpus
from clutch_llm.model import ClutchModel
from clutch_llm.sampling import Sampling
from clutch_llm.stages import AdaptConfig, InstructConfig, PretrainConfig, RefineConfig, ReinforceConfig, StageConfig
from clutch_llm.training import train_stage
from clutch_llm.vocabulary import TokenLayout, Vocabulary, well_formed

__version__ = "0.1.0"

__all__ = [
    "AdaptConfig",
    "Clutch",
    "ClutchConfig",
    "ClutchModel",
    "InstructConfig",
    "Motion",
    "PretrainConfig",
    "RefineConfig",
    "ReinforceConfig",
    "Sampling",
    "StageConfig",
    "TokenLayout",
    "Vocabulary",
    "build_corpus",
    "from_mapping",
    "train_stage",
    "well_formed",
]
