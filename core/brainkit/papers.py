"""Papers as they are cited, and numbers as they were published."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


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


@dataclass(frozen=True, kw_only=True)
class Published:
    """Numbers that were printed for a system; they are shown apart from computed ones.

    Attributes:
        system: what was scored, with its variant.
        scores: name as printed -> value as printed.
        subjects: whose data, e.g. "subj01" or "mean of subj01, 02, 05, 07"; empty if not said.
        n: test images; None if not said.
        source: where they were read.
        doubt: what stands against holding a run's scores beside them.
    """

    system: str
    scores: Mapping[str, float]
    source: str
    doubt: str
    subjects: str = ""
    n: int | None = None

    def text(self) -> str:
        """Return the numbers in one paragraph with all that has to be known of them."""
        numbers = ", ".join(f"{name} {value:g}" for name, value in self.scores.items())
        whose = self.subjects or "subjects not said"
        n = f"n = {self.n}" if self.n else "n not said"
        return f"{numbers} ({whose}, {n}; {self.source}). {self.doubt}"

    def json(self) -> dict[str, Any]:
        """Return it as an object that JSON can hold."""
        return {**vars(self), "scores": dict(self.scores)}


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
