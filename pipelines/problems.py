"""An error of the user's making is one line; any other keeps its traceback. The log file has both in full."""

from __future__ import annotations

import errno
import logging
from typing import Any

import click
from clutch_llm.errors import ClutchError
from hand_geometry.errors import HandGeometryError
from hiw_data import HiwDataError
from kedro.config import MissingConfigException
from kedro.framework.hooks import hook_impl
from kedro.framework.project import pipelines
from kedro.io import DatasetError
from omegaconf.errors import OmegaConfBaseException
from shift_tokenizer.errors import ShiftTokenizerError
from yaml import YAMLError

from pipelines.agreement import check_agreement
from pipelines.datasets import NotThereError
from pipelines.logs import start_logging
from pipelines.parameters import ParameterError, check_parameters, expected_types
from pipelines.places import resolve_paths
from pipelines.processes import processes, rank

logger = logging.getLogger(__name__)

ON_PURPOSE = (
    ClutchError,
    HandGeometryError,
    HiwDataError,
    ShiftTokenizerError,
    ParameterError,
    NotThereError,
)
"""What the packages and the pipelines raise to tell a user something; the message says what to do."""


class CheckedStart:
    """Checks the configuration before anything runs, and makes its paths those of the project."""

    @hook_impl
    def after_context_created(self, context: Any) -> None:
        """Check every parameter's name, type and agreement with the others."""
        start_logging(context.project_path, rank())
        loader = context.config_loader
        try:
            values = _read(loader)
            check_parameters(values, expected_types(pipelines.values()))
            loader["parameters"] = resolve_paths(values, context.project_path)
            check_agreement(context.params, processes())
        except ParameterError as error:
            logger.debug("The configuration was refused", exc_info=error)
            raise click.ClickException(str(error)) from error


def _read(loader: Any) -> Any:
    """The parameters of an environment as YAML gives them, merged with base's and the command line's."""
    try:
        return loader["parameters"]
    except (OmegaConfBaseException, YAMLError, MissingConfigException) as error:
        said = str(error).split("\n    full_key")[0]
        advice = " `data.sources` is a list: [{type: npz, folder: my_clips}]." if "merge" in said else ""
        raise ParameterError(f"The configuration can't be read: {said}.{advice}") from error


class ClearErrors:
    """Turns what a user can mend into one line; anything else keeps its traceback."""

    @hook_impl(trylast=True)
    def on_pipeline_error(self, error: Exception) -> None:
        """Raise the error again as a message of the command, where it says by itself what to do."""
        logger.debug("The run failed", exc_info=error)
        message = explain(error)
        if message:
            raise click.ClickException(message) from error


def explain(error: BaseException) -> str | None:
    """Return a user's sentence for an error that is not a defect of the code, else None.

    An error that Kedro has wrapped (`DatasetError ... from error`) is taken out first. What was being handled when
    another error came up does not count: a defect in the handling of a user's mistake is a defect.
    """
    while isinstance(error, DatasetError) and not isinstance(error, NotThereError) and error.__cause__ is not None:
        error = error.__cause__
    if getattr(error, "errno", None) == errno.ENOSPC:
        return f"The disk is full: {error}. Free some space and run the same command again: it goes on from there."
    if getattr(error, "errno", None) == errno.EADDRINUSE or "EADDRINUSE" in str(error):  # torch raises its own
        return f"A port is in use: {error}. Give the launcher a free one, with --master_port or MASTER_PORT."
    if isinstance(error, ON_PURPOSE):
        return str(error)
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"The package '{error.name}' is missing. Run `make setup`, or install it with pip."
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.strerror}: '{error.filename}'. Correct the path or its permissions, and run the command again."
    return None
