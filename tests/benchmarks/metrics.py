"""Time and memory of the scores of 982 images, NSD's whole test set.

python tests/benchmarks/metrics.py

Prints seconds of the processor: two-way identification of AlexNet's 184,512 numbers an image beside
one `numpy.corrcoef` of the same features and the loop over pairs, all scores of captions, and the
intervals of everything that a run on NSD reports.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from brainkit import metrics
from brainkit.metrics import Draws, with_intervals

N, WIDTH, PAIRS = 982, 184_512, 300
WORDS = [f"word{index}" for index in range(40)]


def main() -> None:
    """Measure and print."""
    random = np.random.default_rng(0)
    targets, recons = (random.standard_normal((N, WIDTH), dtype=np.float32) for _ in range(2))
    recons += targets
    before = peak()
    ours = timed(lambda: metrics.two_way_identification(targets, recons, network="AlexNet(2)"))
    print(f"two-way identification, {N} x {WIDTH:,}: {ours:.1f} s, peak {peak():.2f} GB")
    print(f"  of which the features {before:.2f} GB")
    loop = timed(lambda: [pair(targets, recons, row) for row in range(PAIRS)]) * N * N / PAIRS
    print(f"  the loop over pairs, from {PAIRS} of them: {loop:,.0f} s, {loop / ours:,.0f} times")
    whole = timed(lambda: np.corrcoef(targets, recons))
    print(f"  numpy.corrcoef: {whole:.1f} s, {whole / ours:.1f} times, peak {peak():.2f} GB")
    captions(random)
    intervals(random)


def pair(targets: Any, recons: Any, row: int) -> float:
    """Correlate one pair as reference loops do."""
    return float(np.corrcoef(targets[row], recons[-row])[0, 1])


def captions(random: np.random.Generator) -> None:
    """Time every score of captions against five references an image."""
    decoded, references, _ = texts(random), [], metrics.word_scores(["a dog"], [["a dog"]])
    references = [list(each) for each in zip(*(texts(random) for _ in range(5)), strict=True)]
    embedded = embeddings(random)
    seconds = timed(lambda: metrics.caption_scores(decoded, references, embedded=embedded))
    count = len(metrics.caption_scores(decoded, references, embedded=embedded))
    print(f"{count} caption scores of {N}, 5 references each: {seconds:.2f} s")


def texts(random: np.random.Generator) -> list[str]:
    """Draw captions of 10 words."""
    return [" ".join(random.choice(WORDS, 10)) for _ in range(N)]


def embeddings(random: np.random.Generator) -> list[metrics.Embedded]:
    """Draw what CLIP and another network would make of captions."""
    references = [random.standard_normal((5, 768)) for _ in range(N)]
    decoded, images = random.standard_normal((2, N, 768))
    return [
        metrics.Embedded("CLIP text-text", decoded, references),
        metrics.Embedded("sentences", decoded, references),
        metrics.Embedded("CLIP", decoded, references, images),
    ]


def intervals(random: np.random.Generator) -> None:
    """Time the intervals of all scores of brain and true features together."""
    shown, made = random.standard_normal((2, N, 256))
    made += shown
    decoded, references = texts(random), [[each] for each in texts(random)]
    scores: list[metrics.Score] = []
    for _ in range(2):
        scores += [metrics.feature_cosine(shown, made, network="toy") for _ in range(8)]
        scores += [metrics.two_way_identification(shown, made, network="toy") for _ in range(12)]
        scores += metrics.retrieval_scores(made, shown, network="toy") * 4
        scores.append(metrics.kernel_distance(shown, made, network="toy"))
        scores += metrics.caption_scores(decoded, references, embedded=embeddings(random))
    seconds = timed(lambda: with_intervals(scores, Draws.of(N)))
    print(f"intervals of {len(scores)} scores, {len(Draws.of(N).counts)} draws: {seconds:.1f} s")


def timed(do: Callable[[], object]) -> float:
    """Return the processor's seconds that a function takes, whatever else the machine does."""
    began = time.process_time()
    do()
    return time.process_time() - began


def peak() -> float:
    """Return the most memory the process has had, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


if __name__ == "__main__":
    main()
