"""SHIFT: motion of two hands to discrete tokens and back, by part and modality."""

from .config import ShiftConfig
from .devices import find_device
from .errors import (
    BackendError,
    ConfigError,
    DataError,
    FileFormatError,
    RateError,
    ShapeError,
    ShiftTokenizerError,
)
from .evaluation import evaluate_reconstruction
from .gallery import GalleryEntry, codebook_gallery
from .lookup import BACKENDS, Backend, codebook_statistics, register_backend, vq_lookup
from .mixing import source_shares
from .released import import_released_checkpoint, released_ids_to_tokens, swap_hands, tokens_to_released_ids
from .settings import TokenizerTraining
from .streaming import StreamingDecoder, StreamingEncoder
from .strings import string_to_tokens, tokens_to_string
from .tokenizer import ShiftTokenizer
from .training import TrainingCallback, train_tokenizer
from .usage import CodebookUsage, codebook_usage

__version__ = "0.1.0"

__all__ = [
    "BACKENDS",
    "Backend",
    "BackendError",
    "CodebookUsage",
    "ConfigError",
    "DataError",
    "FileFormatError",
    "GalleryEntry",
    "RateError",
    "ShapeError",
    "ShiftConfig",
    "ShiftTokenizer",
    "ShiftTokenizerError",
    "StreamingDecoder",
    "StreamingEncoder",
    "TokenizerTraining",
    "TrainingCallback",
    "codebook_gallery",
    "codebook_statistics",
    "codebook_usage",
    "evaluate_reconstruction",
    "find_device",
    "import_released_checkpoint",
    "register_backend",
    "released_ids_to_tokens",
    "source_shares",
    "string_to_tokens",
    "swap_hands",
    "tokens_to_released_ids",
    "tokens_to_string",
    "train_tokenizer",
    "vq_lookup",
]
