"""The errors of this package: each names the thing, what was expected, what was got and what to do next."""


class HandGeometryError(Exception):
    """Base of every error that this package raises on purpose."""


class ShapeError(HandGeometryError, ValueError):
    """An array has the wrong shape."""

    def __init__(self, name: str, expected: str, got: object, advice: str = "Reshape it.") -> None:
        super().__init__(f"{name}: Expected shape {expected}, got {got}. {advice}")


class InputError(HandGeometryError, ValueError):
    """A value is out of its range, not finite, or of the wrong kind."""


class AssetError(HandGeometryError, ValueError):
    """A hand model file is missing, broken, or of a format that is not read."""


class MotionFileError(HandGeometryError, ValueError):
    """A motion file is missing, corrupt, or lacks an array."""


class MissingDependencyError(HandGeometryError, ImportError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, purpose: str, extra: str = "render") -> None:
        super().__init__(
            f"{purpose} needs the package '{package}', which is not installed. "
            f"Install it with: pip install 'hand-geometry[{extra}]'"
        )
