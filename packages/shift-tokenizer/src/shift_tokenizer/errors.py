"""What can go wrong in this package, each with its own class; all derive from `ShiftTokenizerError`."""


class ShiftTokenizerError(Exception):
    """Base of every error that this package raises on purpose."""


class ConfigError(ShiftTokenizerError, ValueError):
    """A configuration holds an unknown field, a wrong type or a value out of range."""


class ShapeError(ShiftTokenizerError, ValueError):
    """A tensor or array has not the shape, type or range that was asked for."""


class DataError(ShiftTokenizerError, ValueError):
    """Training clips are missing, empty or malformed."""


class RateError(DataError):
    """Motion has another number of frames a second than the tokenizer was made for."""


class FileFormatError(ShiftTokenizerError, ValueError):
    """A file is missing, corrupt, or was written by another version of this package."""


class BackendError(ShiftTokenizerError, RuntimeError):
    """A `vq_lookup` backend was asked for that is unknown or cannot take these tensors."""
