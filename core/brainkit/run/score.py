"""What a run is scored by: functions that score one source's results in any order of the items."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainkit.networks.clip import CLIP_L14
from brainkit.run import readers as judges
from brainkit.run.sample import Draw, read_captions
from brainkit.run.shared import Run
from brainkit.run.step import Artefact

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from brainkit.metrics import Score

    Pictures = list[NDArray[np.uint8]]

Order = Any
Features = tuple[Any, list[Any]]
Scorer = Callable[[Order], "tuple[Score, ...]"]
PAPER_NOTE = "beside the standard scores because the method asks for it, or --scores does"


@dataclass(frozen=True)
class Shown:
    """What the chosen images really are."""

    images: NDArray[np.uint8]
    captions: tuple[tuple[str, ...], ...]


def scorers(run: Run, shown: Shown, made: Mapping[str, Sequence[Artefact]]) -> list[Scorer]:
    """Give functions that score one source's results, the items reordered by an index or as is.

    Of several samples each is scored and an item's value is their mean.
    """
    found: list[Scorer] = []
    if "image" in made:
        found += _image_scorers(run, shown, pictures(run, made["image"]))
    if "caption" in made:
        found += _caption_scorers(run, shown, sentences(run, made["caption"]))
    return found


def pictures(run: Run, made: Sequence[Artefact]) -> Pictures:
    """Read the pictures of all draws: for each sample uint8 (images, height, width, 3)."""
    import numpy as np
    from PIL import Image

    read = [np.asarray(Image.open(each.path).convert("RGB")) for each in made]
    return [np.stack(read[first :: run.method.samples]) for first in range(run.method.samples)]


def sentences(run: Run, made: Sequence[Artefact]) -> list[list[str]]:
    """Read the captions of all draws: for each sample one an image."""
    lines = read_captions(made[0].path)
    samples = range(1, run.method.samples + 1)
    return [[str(lines[Draw(i, sample)]["caption"]) for i in run.chosen] for sample in samples]


def _over_samples(score: Callable[[int, Order], Sequence[Score]], n_samples: int) -> Scorer:
    """Average what `score(sample, order)` gives over the samples."""
    from brainkit.metrics import over_samples

    def averaged(order: Order) -> tuple[Score, ...]:
        by_sample = [score(sample, order) for sample in range(n_samples)]
        return tuple(over_samples(found) for found in zip(*by_sample, strict=True))

    return averaged


def _image_scorers(run: Run, shown: Shown, samples: Pictures) -> list[Scorer]:
    features: Features | None = None
    if len(shown.images) > 1 and _sees(run):
        embed = _clip_images(run)
        features = embed(shown.images), [embed(each) for each in samples]
    first = _standard_scorers if run.networks == "released" else _small_scorers
    groups = [each for each in run.method.scores if each not in judges.profiles(run.method.scores)]
    return [
        *first(run, shown, samples, features),
        *(_group_scorer(run, group, shown, samples, features) for group in groups),
        *(_referee_scorers(run, shown, samples) if run.miniature else ()),
    ]


def _small_scorers(
    run: Run, shown: Shown, samples: Pictures, clip: Features | None
) -> list[Scorer]:
    """Score without the released networks: pixels, SSIM, and the run's own CLIP if it is there."""
    from brainkit import metrics

    def small(sample: int, order: Order) -> tuple[Score, ...]:
        recons = ordered(samples[sample], order)
        if clip is None:
            pair = shown.images, recons
            return metrics.pixel_correlation(*pair), metrics.ssim(*pair)
        given = clip[0], ordered(clip[1][sample], order)
        return metrics.image_scores(shown.images, recons, features=given, network=clip_name(run))

    return [_over_samples(small, len(samples))]


def _standard_scorers(
    run: Run, shown: Shown, samples: Pictures, clip: Features | None
) -> list[Scorer]:
    """Score by the eight of each profile, and by CLIP's cosine after the first of them."""
    from brainkit import metrics

    def eight(profile: str, note: tuple[str, ...]) -> Scorer:
        read = judges.standard(run, profile, shown.images, samples)

        def score(sample: int, order: Order) -> tuple[Score, ...]:
            found = read.scores(sample, order)
            return tuple(replace(each, notes=(*each.notes, *note)) for each in found)

        return _over_samples(score, len(samples))

    def cosine(sample: int, order: Order) -> tuple[Score, ...]:
        if clip is None:
            return ()
        given = clip[0], ordered(clip[1][sample], order)
        return (metrics.feature_cosine(*given, network=clip_name(run)),)

    default, *others = judges.profiles(run.method.scores)
    return [
        eight(default, ()),
        _over_samples(cosine, len(samples)),
        *(eight(each, (PAPER_NOTE,)) for each in others),
    ]


def _group_scorer(
    run: Run, group: str, shown: Shown, samples: Pictures, clip: Features | None
) -> Scorer:
    from brainkit import metrics

    if group in judges.GROUPS:
        judge = judges.judge(run, group, side=samples[0].shape[1:])
        if len(shown.images) < 2:
            judge = replace(judge, read=None, lacks="it takes 2 images or more")
        features, network = judge.features(shown.images, samples), judge.name
        absent = judge.absent() if features is None else ()
    else:
        features, network, absent = clip, clip_name(run), ()

    def score(order: Order) -> tuple[Score, ...]:
        if order is not None and (absent or group == judges.UNPAIRED):
            return ()
        found = metrics.extra_scores(
            group,
            shown.images,
            [ordered(each, order) for each in samples],
            features=features and (features[0], [ordered(each, order) for each in features[1]]),
            network=network,
        )
        noted = (replace(each, notes=(*each.notes, PAPER_NOTE)) for each in (*absent, *found))
        return tuple(noted)

    return score


def _referee_scorers(run: Run, shown: Shown, samples: Pictures) -> list[Scorer]:
    from brainkit.miniature import referee

    if len(shown.images) < 2 or not referee.fits(samples[0]):
        return []
    scenes = referee.scenes_of(run.chosen)
    seen, truly = [referee.verdicts(each) for each in samples], referee.verdicts(shown.images)

    def score(sample: int, order: Order) -> tuple[Score, ...]:
        return referee.picture_scores(scenes, ordered(seen[sample], order), truly)

    return [_over_samples(score, len(samples))]


def _caption_scorers(run: Run, shown: Shown, samples: list[list[str]]) -> list[Scorer]:
    from brainkit import metrics
    from brainkit.miniature import referee

    features: tuple[list[Any], list[Any]] | None = None
    if _sees(run):
        embed = _clip_texts(run)
        features = [embed(each) for each in samples], [embed(each) for each in shown.captions]

    def score(sample: int, order: Order) -> tuple[Score, ...]:
        given = (ordered(features[0][sample], order), features[1]) if features else None
        decoded = reordered(samples[sample], order)
        return metrics.caption_scores(
            decoded, shown.captions, features=given, network=clip_name(run)
        )

    found = [_over_samples(score, len(samples))]
    if run.miniature:
        scenes = referee.scenes_of(run.chosen)

        def judged(sample: int, order: Order) -> tuple[Score, ...]:
            return referee.caption_scores(scenes, reordered(samples[sample], order))

        found.append(_over_samples(judged, len(samples)))
    return found


def feature_scorers(run: Run, features: Mapping[str, Artefact]) -> list[Scorer]:
    """Give functions that score the predicted features, before any generator."""
    if len(run.chosen) < 3:
        return []
    return [_feature_scorer(run, name, made.path) for name, made in features.items()]


def _feature_scorer(run: Run, name: str, features: Path) -> Scorer:
    import numpy as np

    from brainkit import metrics
    from brainkit.run.regress import open_tensors

    rows = np.searchsorted(run.image_ids[1], np.asarray(run.chosen))
    path = run.folder / "decoded" / f"{name}.safetensors"
    decoded = open_tensors(path)["decoded"].numpy()[rows].reshape(len(rows), -1)
    targets = open_tensors(features)["test"].numpy()[rows].reshape(len(rows), -1)
    true, predicted, notes = metrics.without_gaps(targets, decoded)

    def score(order: Order) -> tuple[Score, ...]:
        found = ordered(predicted, order)
        scores = (
            metrics.variance_explained(true, found, feature=name),
            metrics.two_way_identification(true, found, network=name),
        )
        return tuple(replace(each, notes=(*notes, *each.notes)) for each in scores)

    return score


def clip_name(run: Run) -> str:
    """Name the CLIP of the run, as part of a score's name."""
    return "CLIP (miniature)" if run.networks == "miniature" else "CLIP ViT-L/14"


def _sees(run: Run) -> bool:
    """Say whether CLIP can score: it is there, and its weights are not random."""
    return run.networks != "random" and run.store.has(CLIP_L14)


def _clip_images(run: Run) -> Callable[[NDArray[np.uint8]], NDArray[Any]]:
    import torch

    from brainkit.networks.clip.network import load_image_embedding

    network = load_image_embedding(run.store, CLIP_L14)
    size = run.config.batch_size

    def embed(images: NDArray[np.uint8]) -> NDArray[Any]:
        starts = range(0, len(images), size)
        with torch.no_grad():
            parts = [network(images[start : start + size]) for start in starts]
        found: NDArray[Any] = torch.cat(parts).cpu().numpy()
        return found

    return embed


def _clip_texts(run: Run) -> Callable[[Sequence[str]], NDArray[Any]]:
    import torch

    from brainkit.networks.clip.network import load_text_embedding

    network = load_text_embedding(run.store, CLIP_L14)

    def embed(texts: Sequence[str]) -> NDArray[Any]:
        with torch.no_grad():
            found: NDArray[Any] = network(list(texts)).cpu().numpy()
        return found

    return embed


def ordered(rows: Any, order: Order) -> Any:
    """Take rows in an order, or as they are."""
    return rows if order is None else rows[order]


def reordered(texts: list[str], order: Order) -> list[str]:
    """Take texts in an order, or as they are."""
    return texts if order is None else [texts[int(index)] for index in order]
