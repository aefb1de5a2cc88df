"""One of the processes of a test: trains two steps in float64 and writes its networks."""

import sys
from dataclasses import replace
from pathlib import Path

import torch
from accelerate import Accelerator
from tiny_training import RECIPE, draw, networks

from brainkit_mindreader.generator.objectives import Weights
from brainkit_mindreader.train.gan import GanTraining
from brainkit_mindreader.train.state import save

CONTRASTIVE = Weights(clip=0.0, real_heads=1.0)


def doubled(draws):
    batch = draw(draws)
    conditions = tuple(each.double() for each in batch.conditions)
    return replace(batch, pictures=batch.pictures.double(), conditions=conditions)


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    accelerator = Accelerator(cpu=True)
    for name, weights in (("supervised", RECIPE.weights), ("contrastive", CONTRASTIVE)):
        recipe = replace(RECIPE, batch=8, random_z=0.5, weights=weights)
        pair = (net.double() for net in networks(seed=accelerator.process_index))
        training = GanTraining(*pair, recipe, accelerator)
        training.path_mean = training.path_mean.double()
        for _ in range(2):
            training.advance(doubled, 0.5)
        save(training, folder / f"{name}-{accelerator.process_index}.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
