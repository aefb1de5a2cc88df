"""Papers as they are cited, read back by rules of BibTeX."""

import re

import pytest

from brainkit.papers import NSD, Paper
from brainkit.plugins import Registry

PREPRINT = Paper(
    authors=("Ada Lovelace", "Max von der Ziel"), title="Ten: dreams", year=2024, arxiv="2401.00001"
)


def fields(entry: str) -> dict[str, str]:
    return dict(re.findall(r"^  (\w+) = \{(.*)\},$", entry, re.MULTILINE))


def test_a_preprint_is_one_line_and_one_entry():
    assert PREPRINT.text() == (
        "Ada Lovelace and Max von der Ziel (2024). Ten: dreams. Preprint, arXiv:2401.00001."
    )
    assert (PREPRINT.short(), NSD.short()) == ("Lovelace & Ziel 2024", "Allen et al. 2022")
    assert PREPRINT.bibtex().startswith("@misc{lovelace2024ten,\n")
    assert PREPRINT.bibtex().endswith("\n}")
    found = fields(PREPRINT.bibtex())
    assert found["author"].split(" and ") == list(PREPRINT.authors)
    assert found["title"] == "{Ten: dreams}"
    assert (found["eprint"], found["archivePrefix"]) == ("2401.00001", "arXiv")
    assert PREPRINT.url == "https://arxiv.org/abs/2401.00001"


def test_a_doi_wins_and_what_is_not_known_is_left_out():
    assert NSD.url == "https://doi.org/10.1038/s41593-021-00962-x"
    assert "eprint" not in NSD.bibtex()
    assert Paper(authors=("A B",), title="T", year=1).url == ""


@pytest.mark.parametrize("plugin", ["unibrain", "minddiffuser", "mindreader"])
def test_every_method_says_how_it_is_cited(plugin, monkeypatch):
    pytest.importorskip(f"brainkit_{plugin}", reason="the plugin is not installed here")
    monkeypatch.setenv("BRAINKIT_PLUGINS", plugin)
    registry = Registry.installed()
    for name in registry.names("method"):
        papers = registry.get("method", name).papers
        assert papers
        assert all(paper.url and len(paper.authors) > 1 for paper in papers)
        assert len({paper.key for paper in papers}) == len(papers)
