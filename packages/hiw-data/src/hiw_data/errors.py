"""The errors of hiw_data: each names the thing, what was expected and got, and what to do."""

from collections.abc import Sequence

_LISTED = 50
"""As many reasons a message lists at most."""


class HiwDataError(Exception):
    """Base of every error that this package raises on purpose."""


class OptionError(HiwDataError, ValueError):
    """An option or argument is out of its range."""


class StoreError(HiwDataError):
    """A store cannot be read: it is missing, incomplete or not a store."""


class SchemaVersionError(StoreError):
    """A store was written by another version of the schema."""

    def __init__(self, path: object, got: object, expected: int) -> None:
        super().__init__(
            f"Expected a store of schema version {expected} at {path}, got version {got}. "
            + (f"Do `hiw migrate {path}`." if got == 1 else "Install the hiw-data that wrote it, or build it again.")
        )


class SourceError(HiwDataError):
    """A source cannot be read at all: a package, folder or index is missing."""


class NoClipsError(HiwDataError):
    """Not one clip of a build could be used; the message lists why, clip by clip."""

    def __init__(self, path: object, reasons: Sequence[tuple[str, str]]) -> None:
        rows = [f"  {clip_id}: {reason}" for clip_id, reason in reasons[:_LISTED]]
        if len(reasons) > _LISTED:
            rows.append(f"  and {len(reasons) - _LISTED} more")
        what = f"all {len(reasons)} were skipped:" if reasons else "the sources had none."
        super().__init__("\n".join([f"Expected at least one usable clip for {path}, got none; {what}", *rows]))


class ClipError(HiwDataError):
    """One clip is unusable. A build skips it, counts it and lists the reason."""


class DiskFullError(HiwDataError):
    """No space was left while a store was written; the store that was there before is untouched."""

    def __init__(self, path: object) -> None:
        super().__init__(
            f"No space left on the disk while writing {path}. Nothing was replaced. "
            "Free some space (a default build takes about 150 MB) or choose another place with --out."
        )
