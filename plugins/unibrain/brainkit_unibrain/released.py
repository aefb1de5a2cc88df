"""Where Versatile Diffusion's four-flow network and Optimus are published, and in which layouts.

All lie in one repository on the hub. The four-flow network has been published three times:
*official*, the current file, whose tensor names the network here has too; *deprecated*, the first
file, which holds the autoencoders and CLIP besides and is the one Brain-Diffuser loads; and the
*diffusers* folder, an image and a text network. The first file had the current one's name before it
was renamed, so a file's layout is told from its tensors, never from its name.

Optimus is one file without tokenizers; those are made from BERT's and GPT-2's vocabularies. Its
reader keeps letters and accents as they are (`brainkit_unibrain.loading` lowers sentences first, as
the published code does).

Source: SHI-Labs/Versatile-Diffusion and shi-labs/versatile-diffusion on the hub (Xu et al. 2022,
arXiv 2211.08332); Li et al. 2020, arXiv 2004.04092, for Optimus.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict
from functools import cache, partial
from typing import TYPE_CHECKING, Final

from brainkit.weights import (
    Companion,
    Config,
    Naming,
    Origin,
    Piece,
    Release,
    RemoteFile,
    Shapes,
    stems,
)
from brainkit.weights.tokenizers import bert_file, gpt2_file
from brainkit_unibrain.walk import FourFlowConfig

if TYPE_CHECKING:
    from brainkit_unibrain.keymap import Names

REPOSITORY: Final = "shi-labs/versatile-diffusion"
REVISION: Final = "2926f8e11ea526b562cd592b099fcf9c2985d0b7"
FOLDER: Final = "pretrained_pth"
COMPONENTS: Final = ("image_unet", "text_unet")
FOREIGN: Final = {
    "official": r"(?!diffuser\.)",
    "deprecated": r"(?!model\.diffusion_model\.)",
    # The text network's copy of the time embedding; the image network has the one that is used.
    "diffusers": r"time_embedding\.linear_[12]\.(weight|bias)$",
    # Causal masks, the head tied to the token embedding, and what is not Optimus' at all.
    "optimus": (
        r"decoder\.transformer\.h\.\d+\.attn\.(masked_)?bias$|decoder\.lm_head\.weight$"
        r"|encoder\.embeddings\.position_ids$|(?!encoder\.|decoder\.)"
    ),
}
"""Names of tensors that are passed over, by layout."""

Collections = tuple[Collection[str], ...]


def _published(*files: RemoteFile) -> Origin:
    page = f"https://huggingface.co/{REPOSITORY}"
    return Origin(files, licence="MIT", repository=REPOSITORY, revision=REVISION, page=page)


def _paths(*names: str) -> tuple[str, ...]:
    return tuple(f"{FOLDER}/{name}{end}" for name in names for end in (".pth", ".safetensors"))


def four_flow_shapes(config: Config) -> Shapes:
    """Return the shape of every tensor of a four-flow network, without making its weights."""
    from brainkit.networks.assemble import manifest
    from brainkit_unibrain.networks import FourFlow

    return manifest(lambda: FourFlow(FourFlowConfig.from_dict(config)))


def optimus_shapes(config: Config) -> Shapes:
    """Return the shape of every tensor of an Optimus, without making its weights."""
    from brainkit.networks.assemble import manifest
    from brainkit_unibrain.optimus import Optimus, OptimusConfig

    return manifest(lambda: Optimus(OptimusConfig.from_dict(config)))


@cache
def _other_names(config: FourFlowConfig) -> Mapping[str, Names]:
    from brainkit_unibrain.keymap import names_of

    return names_of(config)


def _official(config: Config, names: Collections) -> dict[str, Piece]:
    return {name: Piece(name) for name in _other_names(FourFlowConfig.from_dict(config))}


def _deprecated(config: Config, names: Collections) -> dict[str, Piece]:
    others = _other_names(FourFlowConfig.from_dict(config))
    return {name: Piece(other.deprecated) for name, other in others.items()}


def _diffusers(config: Config, names: Collections) -> dict[str, Piece]:
    others = _other_names(FourFlowConfig.from_dict(config))
    return {
        name: Piece(other.diffusers, COMPONENTS.index(other.component))
        for name, other in others.items()
    }


def _optimus(config: Config, names: Collections) -> dict[str, Piece]:
    return {name: Piece(name) for name in optimus_shapes(config)}


FOUR_FLOW: Final = Release(
    name="vd-four-flow",
    origins=(
        _published(
            RemoteFile(
                f"{FOLDER}/vd-four-flow-v1-0.pth",
                size=10_265_764_113,
                sha256="05313cbe0467e6543d0151b7c6f5adcac4478647162743374904cdfa6a63376d",
            )
        ),
        _published(
            RemoteFile(
                f"{FOLDER}/vd-four-flow-v1-0-fp16.pth",
                size=5_133_104_945,
                sha256="47eae01cad5ab095c15e12cfec7c0365bad653d00ff5e228c9f558ba817f786d",
            )
        ),
        _published(
            RemoteFile(
                f"{FOLDER}/vd-four-flow-v1-0-fp16-deprecated.pth",
                size=6_664_692_139,
                sha256="b7814655665a98a74d723025c7453503db926741e785486741f4b4f06af6664b",
            )
        ),
        _published(
            RemoteFile(
                f"{FOLDER}/vd-four-flow-v1-0-deprecated.pth",
                size=13_328_086_079,
                sha256="cf3261e4b14eaedf842dcb69bc345532abecc8ca8212d28d86aef241fbb13114",
            )
        ),
        _published(*(RemoteFile(f"{each}/diffusion_pytorch_model.bin") for each in COMPONENTS)),
    ),
    config=asdict(FourFlowConfig()),
    shapes=four_flow_shapes,
    layouts=(
        Naming(
            "official",
            (_paths("vd-four-flow-v1-0", "vd-four-flow-v1-0-fp16"),),
            _official,
            FOREIGN["official"],
        ),
        Naming(
            "deprecated",
            (
                _paths(
                    "vd-four-flow-v1-0-deprecated",
                    "vd-four-flow-v1-0-fp16-deprecated",
                    "vd-four-flow-v1-0",
                    "vd-four-flow-v1-0-fp16",
                ),
            ),
            _deprecated,
            FOREIGN["deprecated"],
        ),
        Naming(
            "diffusers",
            tuple(stems(f"{each}/diffusion_pytorch_model") for each in COMPONENTS),
            _diffusers,
            FOREIGN["diffusers"],
        ),
    ),
)


def _either(folders: tuple[str, ...], *names: str) -> tuple[str, ...]:
    """Return the paths a tokenizer's file may have; by a name that many tokenizers have in folders
    of its own only, and there last, as it may have been made for other sentences."""
    own = [f"{folder}/{name}" for folder in folders for name in names]
    return (*own, *names, *(f"{folder}/tokenizer.json" for folder in folders))


OWN_TOKENS: Final = ("<PAD>", "<BOS>", "<EOS>")
"""What Optimus adds to GPT-2's tokens, in this order."""
BERT_FOLDERS: Final = ("reader", "bert-base-cased", "google-bert/bert-base-cased")
GPT2_FOLDERS: Final = ("writer", "gpt2", "openai-community/gpt2")
PIECES: Final = "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783"
MERGES: Final = "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"
"""SHA-256 of GPT-2's two files, which the hub has under other names than OpenAI."""

OPTIMUS: Final = Release(
    name="optimus-vae",
    origins=(
        _published(
            RemoteFile(
                f"{FOLDER}/optimus-vae.pth",
                size=1_016_873_389,
                sha256="5f82e8759f7ecf1e20397f0c70b6b0b5d84149cdc1875be1016142c0de053d69",
            )
        ),
    ),
    config={
        "latent": 768,
        "bert": {"vocab_size": 28_996},
        "gpt2": {"vocab_size": 50_260},
        "pad": 50_257,
        "bos": 50_258,
        "eos": 50_259,
    },
    shapes=optimus_shapes,
    layouts=(Naming("official", (_paths("optimus-vae"),), _optimus, FOREIGN["optimus"]),),
    companions=(
        Companion(
            "reader/tokenizer.json",
            (_either(BERT_FOLDERS, "vocab.txt"),),
            bert_file,
            (
                Origin(
                    (RemoteFile("vocab.txt"),),
                    licence="Apache-2.0",
                    repository="google-bert/bert-base-cased",
                    revision="cd5ef92a9fb2f889e972770a36d4ed042daf221e",
                ),
            ),
        ),
        Companion(
            "writer/tokenizer.json",
            (
                _either(GPT2_FOLDERS, "vocab.json", "encoder.json"),
                _either(GPT2_FOLDERS, "merges.txt", "vocab.bpe"),
            ),
            partial(gpt2_file, added=OWN_TOKENS),
            (
                Origin(
                    (RemoteFile("vocab.json", 0, PIECES), RemoteFile("merges.txt", 0, MERGES)),
                    licence="MIT",
                    repository="openai-community/gpt2",
                    revision="607a30d783dfa663caf39e06633721c8d4cfcd7e",
                ),
                Origin(
                    (RemoteFile("encoder.json", 0, PIECES), RemoteFile("vocab.bpe", 0, MERGES)),
                    licence="MIT",
                    url="https://openaipublic.blob.core.windows.net/gpt-2/encodings/main",
                ),
            ),
        ),
    ),
)
