"""docs/sources.md has a section for every dataset, and says of each how certain it is."""

import re
from pathlib import Path

from hiw_data.sources.datasets import DATASETS, dataset

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/sources.md").read_text()


def test_every_dataset_has_a_section_with_its_certainty():
    sections = dict(re.findall(r"^### (\S+)\n(.*?)(?=^##|\Z)", PAGE, re.M | re.S))
    assert set(sections) == set(DATASETS)
    said = {name: re.search(r"Certainty:\s(\w+)", text)[1] for name, text in sections.items()}
    assert said == {name: dataset(name).certainty for name in DATASETS}


def test_the_pipeline_takes_every_dataset():
    from pipelines.data import SOURCES

    assert set(DATASETS) <= set(SOURCES)


def test_the_folder_of_mano_files_starts_at_the_project():
    from pipelines.places import resolve_paths

    entry = {"type": "arctic", "folder": "data/arctic", "mano": "data/mano"}
    assert resolve_paths(entry, Path("/p")) == {"type": "arctic", "folder": "/p/data/arctic", "mano": "/p/data/mano"}
