"""Latents to pictures, captions, and strips that show a sampler's way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainkit.disk import writing
from brainkit.errors import DataError, NotFiniteError
from brainkit.locks import locked
from brainkit.parts import resuming_walk
from brainkit.run.artefact import Artefact, Recipe, write_png
from brainkit.run.captions import (
    CaptionLine,
    CaptionLines,
    caption_line,
    confirm_captions,
    write_captions,
)
from brainkit.run.folder import REMEDY, Source, lock_of
from brainkit.run.journal import PATH, STRIP_FRAMES, strip_frames
from brainkit.run.remembered import training_rows, training_stamps
from brainkit.run.returned import loaded, named, pixels, sentences, way_out
from brainkit.run.shared import Run
from brainkit.run.step import Batch, Batches, each

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

STRIP_SIDE = 128
"""The width of each frame of a strip in pixels."""


def decode(
    run: Run,
    source: Source,
    latents: Mapping[str, Sequence[Artefact]],
    training: Mapping[str, Artefact] | None = None,
) -> dict[str, Sequence[Artefact]]:
    """Decode latents to `images/nsd*.png` and `captions.jsonl`, for each output one a draw.

    Args:
        run: whose decoders.
        source: of the latents.
        latents: by output.
        training: files of the true features, for decoders that want the training images.
    """
    steps = {"image": pictures, "caption": captions}
    known = training or {}
    return {output: steps[output](run, source, of, known) for output, of in latents.items()}


def pictures(
    run: Run, source: Source, latents: Sequence[Artefact], training: Mapping[str, Artefact]
) -> Sequence[Artefact]:
    """Decode latents to pictures, a PNG each draw."""
    step = f"images/{source}"
    recipes = _recipes(run, step, "image", latents, training)
    made = [
        Artefact(run.folder.picture(source, draw), recipe)
        for draw, recipe in zip(run.draws, recipes, strict=True)
    ]
    with each(run, step, made, doing="decoding images") as batches:
        for batch, decoded in _decoded(run, "image", latents, batches, training):
            artefacts, drawn = batch.of(made), pixels(run, decoded, len(batch))
            for row in batch.writing_order(made):
                write_png(artefacts[row].path, drawn[row], artefacts[row].recipe)
    return made


def captions(
    run: Run, source: Source, latents: Sequence[Artefact], training: Mapping[str, Artefact]
) -> Sequence[Artefact]:
    """Decode latents to captions, a line each draw of one file."""
    step, path = f"captions/{source}", run.folder.captions(source)
    lines = CaptionLines(path)
    if lines.damage:
        run.work.say(f"{step}: {path.name} {lines.damage}, so all of it is made again")
    recipes = _recipes(run, step, "caption", latents, training)
    made = [
        CaptionLine(path, recipe, draw, lines)
        for draw, recipe in zip(run.draws, recipes, strict=True)
    ]
    with each(run, step, made, doing="decoding captions") as batches:
        for batch, decoded in _decoded(run, "caption", latents, batches, training):
            entries, texts = batch.of(made), sentences(run, decoded, len(batch))
            told = [entries[row].entry(texts[row]) for row in batch.writing_order(made)]
            with (
                _alone_in(run, path),
                writing(path),
                lines.growing.open("a", encoding="utf-8") as (file),
            ):
                file.write("".join(caption_line(entry, checked=True) for entry in told))
    # Also of a run that was killed after its last batch.
    if lines.growing.exists() and not run.work.dry:
        with _alone_in(run, path):
            write_captions(path, lines)
            lines.growing.unlink(missing_ok=True)
    elif not run.work.dry:
        confirm_captions(path)
    return made


def _alone_in(run: Run, path: Path) -> AbstractContextManager[None]:
    """Keep other processes from writing the file of captions while the block runs."""
    return locked(lock_of(path), path.name, run.work.say, remedy=REMEDY)


def _recipes(
    run: Run,
    step: str,
    output: str,
    latents: Sequence[Artefact],
    training: Mapping[str, Artefact],
) -> list[Recipe]:
    """Describe what decodes each draw's latent."""
    known = training_stamps(run, f"decoder.{output}", training)
    return [
        run.recipe(
            step,
            f"decoder.{output}",
            inputs={"latent": latent.stamp, **known},
            extra=f"seed={seed}",
        )
        for latent, seed in zip(latents, run.seeds(f"decode/{output}"), strict=True)
    ]


def _decoded(
    run: Run,
    output: str,
    latents: Sequence[Artefact],
    batches: Batches,
    training: Mapping[str, Artefact],
) -> Iterator[tuple[Batch, Any]]:
    """Decode the latents of each batch; the decoder is loaded if there is one."""
    if not batches:
        return
    import torch

    address = f"decoder.{output}"
    function = loaded(run, address, training=training_rows(run, address, training))
    for batch in batches:
        stacked = torch.stack([latent["latent"] for latent in batch.of(latents)])
        seeds = run.seeds(f"decode/{output}", batch.of(run.draws))
        images = [draw.image for draw in batch.of(run.draws)]
        with (
            _images_named(run, images),
            run.blame(address, f"decoding {output}s"),
            torch.no_grad(),
        ):
            decoded = function(stacked.to(run.store.device), seeds)
        yield batch, decoded


@contextmanager
def _images_named(run: Run, images: Sequence[int]) -> Iterator[None]:
    """Say whose picture a decoder could not compute, rather than which row of a batch.

    Raises:
        DataError: a picture is NaN or infinite.
    """
    try:
        yield
    except NotFiniteError as error:
        raise DataError(
            f"{run.who('decoder.image')} gave pictures with NaN or infinity for "
            f"{named(images, error.rows)}; {way_out(run, 'its weights and its options')}"
        ) from error


def strips(
    run: Run, latents: Sequence[Artefact], training: Mapping[str, Artefact] | None = None
) -> Sequence[Artefact]:
    """Decode the frames that samplers with a journal kept, side by side, to `paths/nsd*.png`.

    Only of each image's first sample, which is the one the report shows large.
    """
    if not resuming_walk(run.method.sampler):
        return ()
    frames = f"{PATH}latents"
    # A latent that is yet to be made, as on a dry run, may be expected to have a way.
    ways = [
        place
        for place, latent in enumerate(latents)
        if run.draws[place].sample == 1 and (frames in latent or not latent.current)
    ]
    made = [
        run.artefact(
            run.folder.strip(run.draws[place]),
            "paths",
            "decoder.image",
            inputs={"latent": latents[place].stamp},
        )
        for place in ways
    ]
    with each(run, "paths", made, doing="decoding the way there", unit="images", places=ways) as (
        batches
    ):
        if batches:
            function = loaded(
                run, "decoder.image", training=training_rows(run, "decoder.image", training or {})
            )
        for batch in batches:
            artefacts, places = batch.of(made), batch.of(ways)
            for row in batch.writing_order(made):
                image = run.draws[places[row]].image
                # The frames are all of one image, and decoded by themselves.
                with _images_named(run, [image] * STRIP_FRAMES):
                    strip = _strip(run, function, latents[places[row]][frames])
                write_png(artefacts[row].path, strip, artefacts[row].recipe)
    return made


def _strip(
    run: Run, function: Callable[[Tensor, Sequence[int]], Any], kept: Tensor
) -> NDArray[np.uint8]:
    import numpy as np
    import torch
    from PIL import Image

    frames = kept[strip_frames(len(kept))].float().to(run.store.device)
    with run.blame("decoder.image", "decoding frames"), torch.no_grad():
        decoded = pixels(run, function(frames, [0] * len(frames)), len(frames))
    side = min(STRIP_SIDE, decoded.shape[1])
    small = [np.asarray(Image.fromarray(frame).resize((side, side))) for frame in decoded]
    return np.concatenate(small, axis=1)
