"""One language model over text and tokens of hand motion: training, refinement, generation, evaluation."""

__version__ = "0.1.0"
