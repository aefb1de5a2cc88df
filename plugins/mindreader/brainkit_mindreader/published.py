"""Numbers that were printed for Mind Reader."""

from brainkit.papers import Published

MINDREADER = (
    Published(
        system="Mind Reader",
        scores={"Inception": 78.2},
        source="Table 2 of Neuro-Vision to Language, arXiv 2404.19438",
        doubt="Quoted by a later paper, in percent; not found in the method's own tables, which "
        "could not be read, and its subject and images are not said.",
    ),
)
