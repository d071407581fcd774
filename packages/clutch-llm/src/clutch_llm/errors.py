"""The errors this package raises on purpose; each message says what was expected, what was got, what to do."""

from __future__ import annotations


class ClutchError(Exception):
    """Base of the errors that clutch-llm raises on purpose."""


class ConfigError(ClutchError, ValueError):
    """A setting has a wrong name, type or range."""


class VocabularyError(ClutchError, ValueError):
    """Text or token ids do not fit the vocabulary."""


class MalformedMotionError(VocabularyError):
    """A run of ids is not one whole motion."""


class DataError(ClutchError, ValueError):
    """A clip or an example does not have what the work needs."""


class CheckpointError(ClutchError, ValueError):
    """A model folder or a training state cannot be read."""


class MissingDependencyError(ClutchError, ImportError):
    """An optional package is needed and not installed."""
