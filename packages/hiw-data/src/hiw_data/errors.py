"""The errors of hiw_data: each names the thing, what was expected and got, and what to do."""


class HiwDataError(Exception):
    """Base of every error that this package raises on purpose."""


class StoreError(HiwDataError):
    """A store cannot be read: it is missing, incomplete or not a store."""


class SchemaVersionError(StoreError):
    """A store was written by another version of the schema."""

    def __init__(self, path: object, got: object, expected: int) -> None:
        super().__init__(
            f"Expected a store of schema version {expected} at {path}, got version {got}. "
            "Build it again with `hiw build`, or install the hiw-data that wrote it."
        )


class SourceError(HiwDataError):
    """A source cannot be read at all: a package, folder or index is missing."""


class ClipError(HiwDataError):
    """One clip is unusable. A build skips it, counts it and lists the reason."""


class DiskFullError(HiwDataError):
    """No space was left while a store was written; the store that was there before is untouched."""

    def __init__(self, path: object) -> None:
        super().__init__(
            f"No space left on the disk while writing {path}. Nothing was replaced. "
            "Free some space (a default build takes about 150 MB) or choose another place with --out."
        )
