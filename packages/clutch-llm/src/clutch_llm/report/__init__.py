"""One page that shows a run: curves, tables, moving pictures, nothing fetched from anywhere."""

from clutch_llm.report.media import RenderOptions
from clutch_llm.report.page import write_report

__all__ = ["RenderOptions", "write_report"]
