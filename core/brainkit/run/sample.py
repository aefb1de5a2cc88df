"""The steps that make pictures and captions: sample latents, decode them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from brainkit.console import bar
from brainkit.errors import UsageError
from brainkit.parts import resuming_walk, takes_gaps
from brainkit.run.artefact import is_current, write_png, write_text
from brainkit.run.journal import PATH, FileJournal
from brainkit.run.regress import open_tensors
from brainkit.run.shared import Run
from brainkit.run.step import Artefact
from brainkit.seeds import seed_of

STRIP_FRAMES, STRIP_SIDE = 8, 128
"""The most frames a picture of a sampler's way shows, and the width of each in pixels."""


class Draw(NamedTuple):
    """One reconstruction to make: which image's, and which of its samples, counted from 1."""

    image: int
    sample: int

    @property
    def name(self) -> str:
        """What its files are called: nsd00012, nsd00012-2, nsd00012-3."""
        return f"nsd{self.image:05d}" + (f"-{self.sample}" if self.sample > 1 else "")


def draws(run: Run) -> list[Draw]:
    """Give all samples of the first chosen image, then of the second, and so on."""
    samples = range(1, run.method.samples + 1)
    return [Draw(image, sample) for image in run.chosen for sample in samples]


def image_seed(seed: int, image_id: int, output: str, sample: int = 1) -> int:
    """Derive the noise seed of one image, output and sample, in [0, 2**63)."""
    return seed_of(seed, image_id, output, *([sample] if sample > 1 else []))


def _seeds(run: Run, wanted: Sequence[Draw], output: str) -> list[int]:
    return [image_seed(run.config.seed, each.image, output, each.sample) for each in wanted]


def sample(run: Run, source: str, features: Mapping[str, Artefact]) -> dict[str, list[Artefact]]:
    """Walk from the features of each chosen image to its latents, a file each sample.

    Args:
        source: "brain" for predicted features, "true" for those of the stimuli themselves.
        features: feature -> artefact with a tensor "decoded" or "test".

    Returns:
        for each output one artefact a draw, in the order of `draws`.
    """
    needs = run.method.conditioner.needs
    wanted = draws(run)
    inputs = {name: features[name].recipe.stamp for name in needs}
    made: dict[str, list[Artefact]] = {}
    for output in run.method.decoders:
        recipes = (
            run.recipe(
                f"latents/{source}/{output}",
                "conditioner",
                "sampler",
                inputs=inputs,
                output=output,
                extra=f"image={each.image} seed={seed}",
            )
            for each, seed in zip(wanted, _seeds(run, wanted, output), strict=True)
        )
        folder = place(run, source) / "latents" / output
        made[output] = [
            Artefact(folder / f"{each.name}.safetensors", recipe)
            for each, recipe in zip(wanted, recipes, strict=True)
        ]
    waiting = [
        row for row in range(len(wanted)) if not all(_done(each[row]) for each in made.values())
    ]
    if _announce(
        run, f"latents/{source}", [each for row in made.values() for each in row], waiting
    ):
        _walk(run, source, features, made, waiting)
    return made


def _walk(
    run: Run,
    source: str,
    features: Mapping[str, Artefact],
    made: Mapping[str, Sequence[Artefact]],
    waiting: Sequence[int],
) -> None:
    import torch

    key = "decoded" if source == "brain" else "test"
    needs = run.method.conditioner.needs
    tensors = {name: open_tensors(features[name].path)[key] for name in needs}
    _check_gaps(run, tensors)
    rows = {int(each): row for row, each in enumerate(run.image_ids[1])}
    outputs, wanted = list(run.method.decoders), draws(run)
    with run.blame("conditioner", "loading"):
        condition = run.method.conditioner.load(run.store)
    title = f"sampling {' and '.join(outputs)} from {source} features"
    with bar(title, len(waiting), _unit(run)) as shown, torch.no_grad():
        for batch in _batches(waiting, run.config.batch_size):
            these = [wanted[row] for row in batch]
            picked = torch.tensor([rows[each.image] for each in these])
            given = {n: t[picked].float().to(run.store.device) for n, t in tensors.items()}
            with run.blame("conditioner", f"preparing {source} features"):
                conditions = condition(given)
            for output in outputs:
                if all(_done(made[output][row]) for row in batch):
                    shown.add(len(batch) / len(outputs))
                    continue
                seeds = _seeds(run, these, output)
                progress = shown.within(len(batch) / len(outputs))
                journal = FileJournal([made[output][row] for row in batch])
                sampler = run.method.sampler
                more = {"journal": journal} if resuming_walk(sampler) else {}
                with run.blame("sampler", f"sampling {output}"):
                    latents = sampler.sample(conditions[output], seeds, progress, **more)
                for position, latent in enumerate(latents):
                    journal.finish(position, latent.float().cpu())


def _check_gaps(run: Run, tensors: Mapping[str, Any]) -> None:
    """Keep features of which only some units were predicted from conditioners that need all."""
    if takes_gaps(run.method.conditioner):
        return
    for name, tensor in tensors.items():
        left_out = int(tensor[:1].isnan().sum())
        if left_out:
            raise UsageError(
                f"regressor.{name} leaves out {left_out} of {tensor[:1].numel()} units, but "
                f"{run.who('conditioner')} needs all of them; set its option that chooses units "
                "to keep them all"
            )


def decode(
    run: Run, source: str, latents: Mapping[str, Sequence[Artefact]]
) -> dict[str, list[Artefact]]:
    """Decode latents to `images/nsd*.png` and `captions.jsonl`."""
    return {
        output: (_decode_images if output == "image" else _decode_captions)(run, source, each)
        for output, each in latents.items()
    }


def _decode_images(run: Run, source: str, latents: Sequence[Artefact]) -> list[Artefact]:
    made = _decoded_artefacts(run, source, "image", latents, "images", ".png")
    waiting = [row for row, each in enumerate(made) if not _done(each)]
    if _announce(run, f"images/{source}", made, waiting):
        for rows, images in _decoded(run, "image", latents, waiting):
            for row, image in zip(rows, images.numpy(), strict=True):
                write_png(made[row].path, image, made[row].recipe)
    return made


def strips(run: Run, latents: Sequence[Artefact]) -> None:
    """Decode the frames that samplers with a journal kept, side by side, to `paths/nsd*.png`.

    Only of each image's first sample, which is the one the report shows large.
    """
    if not resuming_walk(run.method.sampler):
        return
    latents = latents[:: run.method.samples]
    made = [
        Artefact(
            run.folder / "paths" / latent.path.with_suffix(".png").name,
            run.recipe("paths", "decoder.image", inputs={"latent": latent.recipe.stamp}),
        )
        for latent in latents
    ]
    waiting = [
        row
        for row, each in enumerate(made)
        if not _done(each)
        and _done(latents[row])
        and f"{PATH}latents" in open_tensors(latents[row].path)
    ]
    if not waiting or run.work.dry:
        return
    with run.blame("decoder.image", "loading"):
        function = run.method.decoders["image"].load(run.store)
    with bar("decoding the way there", len(waiting), "images") as shown:
        for row in waiting:
            write_png(made[row].path, _strip(run, function, latents[row]), made[row].recipe)
            shown.add(1)


def _strip(run: Run, function: Any, latent: Artefact) -> Any:
    import numpy as np
    import torch
    from PIL import Image

    kept = open_tensors(latent.path)[f"{PATH}latents"]
    frames = kept[strip_frames(len(kept))].float().to(run.store.device)
    with run.blame("decoder.image", "decoding frames"), torch.no_grad():
        pictures = function(frames, [0] * len(frames)).numpy()
    side = min(STRIP_SIDE, pictures.shape[1])
    small = [np.asarray(Image.fromarray(each).resize((side, side))) for each in pictures]
    return np.concatenate(small, axis=1)


def strip_frames(n_frames: int) -> list[int]:
    """Choose evenly which of the kept frames are shown, the first and the last among them.

    >>> strip_frames(3), strip_frames(31)
    ([0, 1, 2], [0, 4, 9, 13, 17, 21, 26, 30])
    """
    shown = min(n_frames, STRIP_FRAMES)
    return [round(place * (n_frames - 1) / max(1, shown - 1)) for place in range(shown)]


def _decode_captions(run: Run, source: str, latents: Sequence[Artefact]) -> list[Artefact]:
    made = _decoded_artefacts(run, source, "caption", latents, "captions", ".jsonl")
    path = place(run, source) / "captions.jsonl"
    growing = path.with_name(path.name + ".part")
    lines = {**read_captions(path), **read_captions(growing)}
    stamps, wanted = [each.recipe.stamp for each in made], draws(run)
    waiting = [
        row for row, each in enumerate(wanted) if lines.get(each, {}).get("stamp") != stamps[row]
    ]
    why = "its latent or the decoder changed" if waiting and lines else ""
    if _announce(run, f"captions/{source}", made, waiting, why):
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(growing, "a", encoding="utf-8") as file:
            for rows, captions in _decoded(run, "caption", latents, waiting):
                for row, caption in zip(rows, captions, strict=True):
                    lines[wanted[row]] = _line(wanted[row], caption, stamps[row])
                    file.write(json.dumps(lines[wanted[row]], ensure_ascii=False) + "\n")
                file.flush()
    if not run.work.dry and (waiting or growing.exists()):
        kept = (json.dumps(lines[each], ensure_ascii=False) for each in sorted(lines))
        write_text(path, "".join(f"{line}\n" for line in kept))
        growing.unlink(missing_ok=True)
    return [Artefact(path, each.recipe) for each in made]


def _line(draw: Draw, caption: str, stamp: str) -> dict[str, Any]:
    which = {"sample": draw.sample} if draw.sample > 1 else {}
    return {"image_id": draw.image, **which, "caption": caption, "stamp": stamp}


def read_captions(path: Path) -> dict[Draw, dict[str, Any]]:
    """Read `captions.jsonl` as draw -> line; a line cut off by a kill is left out."""
    found: dict[Draw, dict[str, Any]] = {}
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                entry = json.loads(line)
                found[Draw(int(entry["image_id"]), int(entry.get("sample", 1)))] = entry
            except (ValueError, KeyError, TypeError, AttributeError):
                continue
    return found


def _decoded_artefacts(
    run: Run,
    source: str,
    output: str,
    latents: Sequence[Artefact],
    folder: str,
    suffix: str,
) -> list[Artefact]:
    wanted = draws(run)
    extra = _seeds(run, wanted, f"decode/{output}")
    return [
        Artefact(
            place(run, source) / folder / f"{each.name}{suffix}",
            run.recipe(
                f"{folder}/{source}",
                f"decoder.{output}",
                inputs={"latent": latent.recipe.stamp},
                extra=f"seed={seed}",
            ),
        )
        for each, latent, seed in zip(wanted, latents, extra, strict=True)
    ]


def _decoded(
    run: Run, output: str, latents: Sequence[Artefact], waiting: Sequence[int]
) -> Iterator[tuple[Sequence[int], Any]]:
    import torch

    address, wanted = f"decoder.{output}", draws(run)
    with run.blame(address, "loading"):
        function = run.method.decoders[output].load(run.store)
    with bar(f"decoding {output}s", len(waiting), _unit(run)) as shown, torch.no_grad():
        for rows in _batches(waiting, run.config.batch_size):
            batch = torch.stack([open_tensors(latents[row].path)["latent"] for row in rows])
            seeds = _seeds(run, [wanted[row] for row in rows], f"decode/{output}")
            with run.blame(address, f"decoding {output}s"):
                decoded = function(batch.to(run.store.device), seeds)
            yield rows, decoded
            shown.add(len(rows))


def place(run: Run, source: str) -> Path:
    """Give the folder of what was made from a source: the method's own, or `true` in it."""
    return run.folder if source == "brain" else run.folder / "true"


def _unit(run: Run) -> str:
    return "images" if run.method.samples == 1 else "samples"


def _announce(
    run: Run, step: str, made: Sequence[Artefact], waiting: Sequence[int], why: str = ""
) -> bool:
    """Say what a step per image does; give whether it has to be done now."""
    images, word = len(draws(run)), _unit(run)
    if not waiting:
        run.work.kept.append(step)
        run.work.say(f"{step}: kept ({images} {word})")
        return False
    run.work.computed.append(step)
    first = next((each for each in made if not _done(each)), made[0])
    why = why or run.work.why(first.path, first.recipe)
    kept = f", {images - len(waiting)} kept" if len(waiting) < images else ""
    verb = "would be computed for" if run.work.dry else "computing"
    run.work.say(f"{step}: {verb} {len(waiting)} of {images} {word} ({why}{kept})")
    return not run.work.dry


def _done(artefact: Artefact) -> bool:
    return is_current(artefact.path, artefact.recipe)


def _batches(rows: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
