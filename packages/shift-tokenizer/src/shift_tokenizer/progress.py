"""A progress bar where tqdm is installed and somebody looks at a terminal; nothing otherwise."""

from typing import Any, Protocol


class Bar(Protocol):
    """The part of tqdm that is used here."""

    def update(self, n: int) -> Any:
        """Moves on by n."""

    def set_postfix(self, values: dict[str, str]) -> Any:
        """Shows values behind the bar."""

    def close(self) -> Any:
        """Ends the bar."""


class _NoBar:
    def update(self, n: int) -> None:
        pass

    def set_postfix(self, values: dict[str, str]) -> None:
        pass

    def close(self) -> None:
        pass


def progress_bar(total: int, initial: int, title: str) -> Bar:
    """A bar over `total` steps, of which `initial` are done."""
    try:
        from tqdm import tqdm
    except ImportError:
        return _NoBar()
    bar: Bar = tqdm(total=total, initial=initial, desc=title, unit="step", disable=None)
    return bar
