"""Hooks of the documentation site: pages take the READMEs as they are, with their links and pictures.

A line `<!-- include: packages/hiw-data/README.md -->` in a page stands for that file of the repository, and
`<!-- include: README.md, Results -->` for the section of that heading.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
INCLUDE = re.compile(r"^<!-- include: ([^,>]+?)(?:, ([^>]+?))? -->$", re.MULTILINE)
LINK = re.compile(r"(\]\()(?!https?:|#|mailto:)([^)#\s]+)(#[^)\s]*)?(\))")
PICTURES = (".png", ".gif", ".svg", ".jpg")


def on_files(files: Files, config: Any) -> Files:
    """Add the pictures of the packages, which stand beside their READMEs."""
    for path in sorted(ROOT.glob("packages/*/docs/*")):
        if path.suffix in PICTURES:
            files.append(File(str(path.relative_to(ROOT)), str(ROOT), config["site_dir"], config["use_directory_urls"]))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Put the included files in their places."""
    return INCLUDE.sub(lambda match: included(match[1], match[2], page.file.src_uri), markdown)


def included(name: str, heading: str | None, page: str) -> str:
    """Return a file of the repository, or the section of one heading, as a page of the site takes it.

    Raises:
        PluginError: no such file or heading.
    """
    path = ROOT / name
    if not path.is_file():
        raise PluginError(f"{page} includes '{name}', which is not a file of the repository.")
    text = path.read_text(encoding="utf-8")
    if heading is not None:
        sections = re.split(r"^(?=## )", text, flags=re.MULTILINE)
        found = [section for section in sections if section.startswith(f"## {heading}\n")]
        if not found:
            raise PluginError(f"{page} includes '{heading}' of '{name}', which has no such heading.")
        text = found[0]

    def link(match: re.Match[str]) -> str:
        target = os.path.normpath(Path(name).parent / match[2])
        return f"{match[1]}{_on_the_site(target, page)}{match[3] or ''}{match[4]}"

    return LINK.sub(link, text)


def _on_the_site(target: str, page: str) -> str:
    """Where a file or folder of the repository stands on the site, seen from a page."""
    folder = re.fullmatch(r"packages/([a-z-]+)", target)
    if folder:
        target = f"reference/{folder[1]}.md"
    elif target.startswith("docs/"):
        target = target.removeprefix("docs/")
    elif not target.startswith("packages/"):
        target = {"mlflow": "mlflow.md", "mlflow/README.md": "mlflow.md"}.get(target, "concepts.md")
    return os.path.relpath(target, Path(page).parent)
