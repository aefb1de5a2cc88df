"""The checkpoints of Mind Reader: what its parts load, and what its trainings load besides."""

from brainkit import Checkpoint

GENERATOR = Checkpoint(
    name="mindreader-generator",
    source="G_ema of a LAFITE or Mind Reader .pkl",
    miniature="brainkit_mindreader.miniature:generator",
    release="brainkit_mindreader.released:GENERATOR",
)
RAW_GENERATOR = Checkpoint(
    name="mindreader-generator-raw",
    source="G of a LAFITE or Mind Reader .pkl",
    release="brainkit_mindreader.released:RAW_GENERATOR",
)
"""The generator without the running average; nothing loads it under this name."""
DISCRIMINATOR = Checkpoint(
    name="mindreader-discriminator",
    source="D of a LAFITE or Mind Reader .pkl",
    release="brainkit_mindreader.released:DISCRIMINATOR",
)
RESNET50 = Checkpoint(
    name="resnet50-vicreg",
    source="facebookresearch/vicreg, resnet50.pth",
    release="brainkit_mindreader.released:RESNET50",
)
MAPPERS = tuple(
    Checkpoint(
        name=f"mindreader-mapper-{target}",
        source=f"a .pth of Mind Reader's {target} mapper",
        release=f"brainkit_mindreader.released:MAPPER_{target.upper()}",
    )
    for target in ("image", "caption")
)
