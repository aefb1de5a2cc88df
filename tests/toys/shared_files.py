"""Where the files lie that runs share, for tests that look into them."""

from __future__ import annotations

import json
from pathlib import Path

from brainkit.run.artefact import Recipe, read_recipe


def shared(run: Path, name: str) -> Path:
    """Return the one file of a run's subject that has this name before its stamp."""
    (path,) = run.parents[1].glob(f"{name}-????????????????.safetensors")
    return path


def latents(run: Path, output: str = "image") -> list[Path]:
    """Return the files of the latents that a run's results from the brain were decoded from."""
    if output == "image":
        paths = sorted((run / "images").glob("nsd*.png"))
        wanted = {path.stem: read_recipe(path)["inputs"]["latent"] for path in paths}
        return [_of_stamp(run, output, name, stamp) for name, stamp in wanted.items()]
    lines = [json.loads(line) for line in (run / "captions.jsonl").read_text().splitlines()]
    names = [
        f"nsd{line['image_id']:05d}" + (f"-{line['sample']}" if "sample" in line else "")
        for line in lines
    ]
    (folder,) = run.parents[1].glob(f"latents/{output}-*")
    return [folder / f"{name}.safetensors" for name in names]


def _of_stamp(run: Path, output: str, name: str, stamp: str) -> Path:
    for path in run.parents[1].glob(f"latents/{output}-*/{name}.safetensors"):
        recipe = read_recipe(path)
        recipe.pop("layout")
        if (
            Recipe(**{k: tuple(v) if isinstance(v, list) else v for k, v in recipe.items()}).stamp
            == stamp
        ):
            return path
    raise AssertionError(f"{name} was made from a latent that is not there")
