"""Part the images into clusters that CLIP finds alike, and hold some of them out of training."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from brainkit.errors import DataError, UsageError
from brainkit.networks.clip import CLIP_L14
from brainkit.run.artefact import Artefact, write_text
from brainkit.run.encode import embeddings
from brainkit.run.shared import Run
from brainkit.run.step import one

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Labels = NDArray[np.int64]


def held_out(run: Run) -> tuple[int, ...]:
    """Return the ids of the images whose clusters are held out, ascending.

    Raises:
        UsageError: there are fewer images than clusters, or a dry run has no clusters to read.
        CheckpointError: CLIP is not there.
        DataError: the file of clusters is damaged.
    """
    from brainkit.nsd.trials import shown_images

    selection = run.method.selection
    image_ids = shown_images(run.nsd, run.config.subject, selection)
    if len(image_ids) < selection.clusters:
        raise UsageError(
            f"selection.clusters is {selection.clusters}, but there are {len(image_ids)} images; "
            "choose fewer"
        )
    run.store.folder(CLIP_L14)
    embedded = embeddings(run, image_ids)
    numbers = f"{selection.clusters} clusters, {selection.held_out} held out"
    recipe = run.recipe(
        "clusters",
        inputs={"embeddings": embedded.stamp},
        extra=f"{numbers}, seed {selection.cluster_seed}",
    )

    def make(artefact: Artefact) -> None:
        labels = clustered(
            embedded["all"].float().numpy(), selection.clusters, selection.cluster_seed
        )
        chosen = chosen_clusters(labels, selection.held_out, selection.cluster_seed)
        told = [
            {"held_out": cluster in chosen, "image_ids": image_ids[labels == cluster].tolist()}
            for cluster in range(selection.clusters)
        ]
        write_text(artefact.path, json.dumps(told) + "\n")

    artefact = one(run, Artefact(run.folder.clusters(recipe.stamp), recipe), make)
    return _read(run, artefact)


def clustered(embedded: NDArray[np.float32], n_clusters: int, seed: int) -> Labels:
    """Return the cluster of each image by k-means of embeddings at unit length, int64 (images,).

    Args:
        embedded: float32 (images, dim).
        n_clusters: how many.
        seed: of the first centres; the best of four beginnings is taken.
    """
    import numpy as np
    from sklearn.cluster import KMeans
    from sklearn.preprocessing import normalize

    means = KMeans(n_clusters=n_clusters, n_init=4, random_state=seed)
    return np.asarray(means.fit_predict(normalize(embedded)), np.int64)


def chosen_clusters(labels: Labels, share: float, seed: int) -> set[int]:
    """Draw whole clusters until they have a share of the images; one cluster at least stays.

    Args:
        labels: int64 (images,), the cluster of each image.
        share: of the images, in (0, 1).
        seed: of the order in which clusters are drawn.
    """
    import numpy as np

    clusters, counts = np.unique(labels, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(clusters))
    before = np.cumsum(counts[order]) - counts[order]
    drawn = order[before < share * len(labels)][: len(clusters) - 1]
    return {int(cluster) for cluster in clusters[drawn]}


def _read(run: Run, artefact: Artefact) -> tuple[int, ...]:
    if run.work.dry and not artefact.current:
        raise UsageError(
            "which images selection.split='clusters' holds out is known once CLIP has read all "
            "pictures, which a dry run does not; leave out --dry-run, with --images 1 for a short "
            "run"
        )
    try:
        told = json.loads(artefact.intact().read_text(encoding="utf-8"))
        return tuple(sorted(int(i) for each in told if each["held_out"] for i in each["image_ids"]))
    except (OSError, ValueError, TypeError, LookupError, RecursionError) as error:
        raise DataError(
            f"{artefact.path} does not tell the clusters; delete it and run again"
        ) from error
