"""Screening of captions: which of an image's captions describe what a viewer sees.

The rule: with one image's captions k and CLIP ViT-B/32,

    p_k = softmax_k(scale * cos(image, caption_k)),  kept where p_k > ratio * max_k p_k,

so that at least one caption is kept. Mind Reader's own screening was never published, only that it
used CLIP; the rule is this project's reading of it. A table that others curated can replace it
(see `brainkit_mindreader.captions.curated`).

    python -m brainkit_mindreader.captions.screening --nsd PATH --curated FILE --checkpoints STORE

says how often both agree; without `--nsd` on the miniature, without `--curated` against keeping
all.

Source: Lin et al. 2022, arXiv 2210.01769.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from brainkit.errors import BrainkitError, DataError
from brainkit.networks.clip import CLIP_B32
from brainkit_mindreader.captions.curated import Table, read_curated, tidied

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from brainkit.checkpoints import CheckpointStore
    from brainkit.data import Integers, Stimuli

Rule = Callable[["NDArray[np.uint8]", Sequence["Tensor"]], list["Tensor"]]
AT_ONCE = 32


def screened(image: Tensor, captions: Tensor, ratio: float = 0.5, scale: float = 100.0) -> Tensor:
    """Say which captions of one image are kept.

    Args:
        image: float (dim,), its CLIP embedding of any length.
        captions: float (captions, dim), those of its captions; at least one.
        ratio: in [0, 1).
        scale: factor of the cosines.

    Returns:
        bool (captions,), at least one True.
    """
    import torch

    cosine = torch.cosine_similarity(image[None].double(), captions.double(), dim=1)
    likely = torch.softmax(scale * cosine, dim=0)
    return likely > ratio * likely.max()


def load_rule(store: CheckpointStore, ratio: float = 0.5, scale: float = 100.0) -> Rule:
    """Return a function from images uint8 (batch, height, width, 3) and each one's raw caption
    embeddings (captions, dim) to each one's mask, bool (captions,).
    """
    from brainkit.networks.clip.network import load_image_embedding

    embed = load_image_embedding(store, CLIP_B32)

    def keep(images: NDArray[np.uint8], captions: Sequence[Tensor]) -> list[Tensor]:
        pairs = zip(embed(images), captions, strict=True)
        return [screened(image, texts, ratio, scale) for image, texts in pairs]

    return keep


def said_of(stimuli: Stimuli, table: Table | None = None) -> list[tuple[str, ...]]:
    """Return each image's captions, from a table if there is one; empty texts are left out.

    Raises:
        DataError: an image has none.
    """
    if table:
        return [table(image_id) for image_id in stimuli.image_ids.tolist()]
    said = [tidied(texts) for texts in stimuli.captions]
    for image_id, texts in zip(stimuli.image_ids.tolist(), said, strict=True):
        if not texts:
            raise DataError(
                f"image id {image_id} has no caption, expected at least one; check the captions"
            )
    return said


@dataclass(frozen=True)
class Agreement:
    """How often two screenings decide alike.

    Attributes:
        images: how many were compared.
        captions: of all of them.
        kept: captions the first keeps, and the second.
        alike: captions on which both decide alike.
        whole: images on all of whose captions they do.
    """

    images: int
    captions: int
    kept: tuple[int, int]
    alike: int
    whole: int

    @property
    def expected(self) -> float:
        """The share of captions alike if both kept as many as they do, each at random."""
        first, second = (each / self.captions for each in self.kept)
        return first * second + (1 - first) * (1 - second)


def compared(first: Sequence[Sequence[bool]], second: Sequence[Sequence[bool]]) -> Agreement:
    """Count the agreement of two screenings, each a mask for every image."""
    pairs = list(zip(first, second, strict=True))
    alike = [[a == b for a, b in zip(one, other, strict=True)] for one, other in pairs]
    return Agreement(
        images=len(pairs),
        captions=sum(map(len, alike)),
        kept=(sum(map(sum, first)), sum(map(sum, second))),
        alike=sum(map(sum, alike)),
        whole=sum(map(all, alike)),
    )


def ruled(
    nsd: Path, ids: Integers, store: CheckpointStore, ratio: float = 0.5, scale: float = 100.0
) -> Iterator[tuple[tuple[str, ...], list[bool]]]:
    """Return the COCO captions of each image and which of them the rule keeps."""
    import torch

    from brainkit.networks.clip.network import load_text_embedding
    from brainkit.nsd import load_captions, load_stimuli

    captions = load_captions(nsd, ids, curated=False)
    embed, rule = load_text_embedding(store, CLIP_B32), load_rule(store, ratio, scale)
    for start in range(0, len(ids), AT_ONCE):
        said = captions[start : start + AT_ONCE]
        with torch.no_grad():
            every = embed([text for texts in said for text in texts])
            found = torch.split(every, [len(texts) for texts in said])
            masks = rule(load_stimuli(nsd, ids[start : start + AT_ONCE]), found)
        yield from zip(said, (mask.tolist() for mask in masks), strict=True)


def tell(found: Agreement, other: str) -> str:
    """Put an agreement of the rule with another screening into lines."""
    share = [100 * each / found.captions for each in found.kept]
    return (
        f"{found.images} images, {found.captions} captions\n"
        f"kept by the rule: {share[0]:.1f} % of captions, "
        f"{found.kept[0] / found.images:.2f} an image\n"
        f"kept by {other}: {share[1]:.1f} % of captions, "
        f"{found.kept[1] / found.images:.2f} an image\n"
        f"decided alike: {100 * found.alike / found.captions:.1f} % of captions "
        f"({100 * found.expected:.1f} % by chance), all captions of "
        f"{100 * found.whole / found.images:.1f} % of images"
    )


def main(arguments: list[str] | None = None) -> int:
    """Run the check; exit status 0 when done, 1 after an error, told in one sentence."""
    parser = argparse.ArgumentParser(
        prog="python -m brainkit_mindreader.captions.screening",
        description="Compare the screening of captions by CLIP with a curated table.",
    )
    parser.add_argument("--nsd", type=Path, help="NSD download; the miniature by default")
    parser.add_argument("--subject", type=int, default=1, help="whose images (1)")
    parser.add_argument("--curated", type=Path, metavar="FILE", help=".npy, .csv or .jsonl")
    parser.add_argument("--checkpoints", type=Path, metavar="STORE", help="needed with --nsd")
    parser.add_argument("--ratio", type=float, default=0.5, help="in [0, 1) (0.5)")
    parser.add_argument("--scale", type=float, default=100.0, help="above 0 (100)")
    parser.add_argument("--images", type=int, metavar="N", help="only the first N images")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    given = parser.parse_args(arguments)
    if given.nsd and not given.checkpoints:
        parser.error("--nsd needs --checkpoints, the store that has clip-vit-b32")
    if (
        not 0 <= given.ratio < 1
        or given.scale <= 0
        or (given.images is not None and given.images < 1)
    ):
        parser.error("expected --ratio in [0, 1), --scale above 0 and --images of 1 or more")
    try:
        print(_checked(given))
    except BrainkitError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return 0


def _checked(given: argparse.Namespace) -> str:
    import numpy as np

    from brainkit.checkpoints import CheckpointStore
    from brainkit.console import bar
    from brainkit.miniature import miniature
    from brainkit.nsd import load_design
    from brainkit.run import quick_device

    table = read_curated(given.curated) if given.curated else None
    nsd = given.nsd or miniature().nsd
    store = CheckpointStore(
        given.checkpoints or Path(), quick_device(given.device), miniature=given.nsd is None
    )
    ids = np.unique(load_design(nsd, given.subject).image_ids)[: given.images]
    rule: list[list[bool]] = []
    other: list[list[bool]] = []
    foreign = 0
    with bar("screening", len(ids), "images") as shown:
        for image_id, (texts, mask) in zip(
            ids.tolist(), ruled(nsd, ids, store, given.ratio, given.scale), strict=True
        ):
            kept = set(table(image_id) if table else texts)
            rule.append(mask)
            other.append([text in kept for text in texts])
            foreign += len(kept - set(texts))
            shown.add(1)
    said = tell(compared(rule, other), given.curated.name if given.curated else "all")
    return f"{said}\ncaptions of the table that are none of COCO's: {foreign}" if table else said


if __name__ == "__main__":
    raise SystemExit(main())
