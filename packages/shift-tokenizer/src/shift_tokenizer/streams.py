"""One stream of tokens: the encoder, quantizer and decoder of a modality."""

from torch import nn

from .config import ShiftConfig
from .fsq import FiniteScalarQuantizer
from .layout import HAND_FEATURES, HANDS
from .networks import Decoder, Encoder
from .quantizer import EmaQuantizer, Level, ResidualQuantizer


class Stream(nn.Module):
    """Encoder, quantizer and decoder of one modality."""

    def __init__(self, config: ShiftConfig, features: tuple[int, ...]) -> None:
        super().__init__()
        hands = HANDS // config.n_parts
        inputs = len(features) if config.encoder_input == "own" else HAND_FEATURES
        shape = (config.frames_per_latent, config.n_stages, config.dilations)
        self.encoder = Encoder(inputs * hands, config.width, config.code_dim, *shape)
        self.quantizer = ResidualQuantizer([_quantizer(config) for _ in range(config.residual_depth)])
        self.decoder = Decoder(config.code_dim, config.width, len(features) * hands, *shape)


def _quantizer(config: ShiftConfig) -> Level:
    if config.quantizer == "fsq":
        return FiniteScalarQuantizer(config.fsq_levels, config.code_dim, decay=config.decay)
    return EmaQuantizer(
        config.codebook_size,
        config.code_dim,
        decay=config.decay,
        reset_every=config.reset_every,
        reset_threshold=config.reset_threshold,
        cosine=config.quantizer == "cosine",
        kmeans=config.codebook_init == "kmeans",
    )
