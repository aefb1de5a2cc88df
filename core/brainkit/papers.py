"""Papers as they are cited: by methods, in reports and beside published numbers."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Paper:
    """A paper, as a reference list names it.

    Attributes:
        authors: in the paper's order, family name last, e.g. ("Weijian Mai", "Zhijun Zhang").
        title: as printed.
        year: of the version that is cited.
        venue: journal or conference, e.g. "CVPR"; empty for a preprint.
        arxiv: number there, e.g. "2308.07428".
        doi: e.g. "10.1038/s41593-021-00962-x".
    """

    authors: tuple[str, ...]
    title: str
    year: int
    venue: str = ""
    arxiv: str = ""
    doi: str = ""

    @property
    def key(self) -> str:
        """What LaTeX cites it by: first author's family name, year, first word of the title."""
        first = re.sub(r"\W", "", self.title.split()[0])
        return f"{self.authors[0].split()[-1]}{self.year}{first}".lower()

    @property
    def url(self) -> str:
        """Where it is read; empty when neither DOI nor arXiv number is known."""
        if self.doi:
            return f"https://doi.org/{self.doi}"
        return f"https://arxiv.org/abs/{self.arxiv}" if self.arxiv else ""

    def short(self) -> str:
        """Return authors and year as texts name it, e.g. "Mai & Zhang 2023"."""
        families = [name.split()[-1] for name in self.authors]
        who = f"{families[0]} et al." if len(families) > 2 else " & ".join(families)
        return f"{who} {self.year}"

    def text(self) -> str:
        """Return it as one line of a reference list."""
        where = [self.venue or "Preprint"]
        where += [f"arXiv:{self.arxiv}"] if self.arxiv else []
        where += [f"doi:{self.doi}"] if self.doi else []
        return f"{_listed(self.authors)} ({self.year}). {self.title}. {', '.join(where)}."

    def bibtex(self) -> str:
        """Return it as an entry of BibTeX."""
        fields = {
            "title": f"{{{self.title}}}",
            "author": " and ".join(self.authors),
            "year": str(self.year),
            "howpublished" if self.venue else "note": self.venue or "Preprint",
            "doi": self.doi,
            **({"eprint": self.arxiv, "archivePrefix": "arXiv"} if self.arxiv else {}),
        }
        lines = [f"  {name} = {{{text}}}," for name, text in fields.items() if text]
        return "\n".join([f"@misc{{{self.key},", *lines, "}"])


def _listed(names: tuple[str, ...]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


NSD = Paper(
    authors=(
        *("Emily J. Allen", "Ghislain St-Yves", "Yihan Wu", "Jesse L. Breedlove"),
        *("Jacob S. Prince", "Logan T. Dowdle", "Matthias Nau", "Brad Caron", "Franco Pestilli"),
        *("Ian Charest", "J. Benjamin Hutchinson", "Thomas Naselaris", "Kendrick Kay"),
    ),
    title="A massive 7T fMRI dataset to bridge cognitive neuroscience and artificial intelligence",
    year=2022,
    venue="Nature Neuroscience 25, 116-126",
    doi="10.1038/s41593-021-00962-x",
)
"""The data set that all runs but those on the miniature read."""
