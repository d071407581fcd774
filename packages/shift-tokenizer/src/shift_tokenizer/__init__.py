"""SHIFT: motion of two hands to discrete tokens and back, by part and modality."""

__version__ = "0.1.0"
