"""All of a run -> one page to look at: curves, tables and moving pictures, nothing fetched from anywhere."""

from pipelines.report.media import RenderOptions
from pipelines.report.nodes import create_pipeline, make_page
from pipelines.report.page import write_report

__all__ = ["RenderOptions", "create_pipeline", "make_page", "write_report"]
