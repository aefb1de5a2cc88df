"""Numbers that were printed for UniBrain."""

from brainkit.papers import Published

UNIBRAIN = (
    Published(
        system="UniBrain",
        scores={"METEOR": 0.170, "ROUGE-L": 0.225, "ROUGE-1": 0.247},
        subjects="subj01",
        source="Table 2 of MindEye2, arXiv 2403.11207",
        doubt="Quoted by a later paper, which holds captions against one COCO caption an image and "
        "reckons by the library evaluate; a run's @1ref scores are nearest.",
    ),
    Published(
        system="UniBrain",
        scores={"METEOR": 16.90, "ROUGE-L": 22.20},
        subjects="mean of four subjects",
        source="Table 1 of Neuro-Vision to Language, arXiv 2404.19438",
        doubt="Quoted by a later paper; in percent, the variants of both scores are not said.",
    ),
)
