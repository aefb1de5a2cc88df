"""The published weights of CLIP ViT-L/14 and ViT-B/32."""

from __future__ import annotations

from typing import Any

from brainkit.networks.clip import names
from brainkit.weights import Companion, Config, Naming, Origin, Release, RemoteFile, Shapes, stems
from brainkit.weights.tokenizers import clip_file


def clip_shapes(config: Config) -> Shapes:
    """Return names and shapes of transformers' CLIPModel of a configuration.

    The scale of its training loss is left out: embeddings do without.
    """
    from transformers import CLIPConfig, CLIPModel

    from brainkit.networks.assemble import manifest

    whole = manifest(lambda: CLIPModel(CLIPConfig.from_dict(dict(config))))
    return {name: shape for name, shape in whole.items() if name != "logit_scale"}


TEXT_CONFIG = {
    "vocab_size": 49408,
    "max_position_embeddings": 77,
    "num_hidden_layers": 12,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-05,
    "bos_token_id": 49406,
    "eos_token_id": 49407,
    "pad_token_id": 49407,
}
VISION_CONFIG = {"image_size": 224, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-05}
L14_CONFIG: dict[str, Any] = {
    "model_type": "clip",
    "projection_dim": 768,
    "text_config": {
        **TEXT_CONFIG,
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_attention_heads": 12,
        "projection_dim": 768,
    },
    "vision_config": {
        **VISION_CONFIG,
        "patch_size": 14,
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "projection_dim": 768,
    },
}
B32_CONFIG: dict[str, Any] = {
    "model_type": "clip",
    "projection_dim": 512,
    "text_config": {
        **TEXT_CONFIG,
        "hidden_size": 512,
        "intermediate_size": 2048,
        "num_attention_heads": 8,
        "projection_dim": 512,
    },
    "vision_config": {
        **VISION_CONFIG,
        "patch_size": 32,
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "projection_dim": 512,
    },
}
CHECKED = tuple(
    f"{tower}_config.{key}"
    for tower in names.TOWERS
    for key in ("hidden_act", "num_attention_heads", "layer_norm_eps")
)
"""What shapes do not tell."""


def clip_layouts(*folders: str) -> tuple[Naming, ...]:
    """Return the layouts of a CLIP network.

    Args:
        folders: that may hold it within a folder with several networks.
    """
    places = ("", *(f"{folder}/" for folder in folders))
    official = [f"{place}open_clip_{end}" for end in OPEN_CLIP for place in places]
    weights = [f"{place}{name}" for name in WHOLE for place in places]
    return (
        Naming("transformers", (stems(*weights),), names.transformers_pieces, names.FOREIGN),
        Naming("open_clip", (tuple(official),), names.official_pieces, names.OFFICIAL_FOREIGN),
        Naming(
            "two towers",
            (stems(*_in("text_encoder")), stems(*_in("image_encoder"))),
            names.tower_pieces,
            names.FOREIGN,
        ),
    )


OPEN_CLIP = ("model.safetensors", "pytorch_model.bin")
WHOLE = ("model", "pytorch_model")


def _in(folder: str) -> list[str]:
    return [f"{folder}/{name}" for name in WHOLE]


def clip_tokenizer(*folders: str) -> Companion:
    """Return the tokenizer of a CLIP network: whole, or made from its two tables."""
    places = ("", "tokenizer/", *(f"{folder}/" for folder in folders))
    tables = [tuple(f"{place}{name}" for place in places) for name in ("vocab.json", "merges.txt")]
    whole = tuple(f"{place}tokenizer.json" for place in places)
    return Companion("tokenizer.json", tuple(whole + each for each in tables), clip_file)


def _open_clip(repository: str, revision: str, size: int, sha256: str) -> Origin:
    weights = RemoteFile("open_clip_model.safetensors", size, sha256)
    return Origin(
        files=(weights, RemoteFile("tokenizer.json")),
        licence="Apache-2.0",
        repository=repository,
        revision=revision,
    )


L14_FOLDERS = ("clip-vit-large-patch14", "clip-vit-l14", "vit_large_patch14_clip_224.openai")
CLIP_L14 = Release(
    name="clip-vit-l14",
    origins=(
        Origin(
            files=(
                RemoteFile(
                    "model.safetensors",
                    1710540580,
                    "a2bf730a0c7debf160f7a6b50b3aaf3703e7e88ac73de7a314903141db026dcb",
                ),
                RemoteFile(
                    "tokenizer.json",
                    2224003,
                    "a83e0809aa4c3af7208b2df632a7a69668c6d48775b3c3fe4e1b1199d1f8b8f4",
                ),
            ),
            licence="MIT (of the code)",
            repository="openai/clip-vit-large-patch14",
            revision="32bd64288804d66eefd0ccbe215aa642df71cc41",
        ),
        _open_clip(
            "timm/vit_large_patch14_clip_224.openai",
            "18d0535469bb561bf468d76c1d73aa35156c922b",
            0,
            "9ce2e8a8ebfff3793d7d375ad6d3c35cb9aebf3de7ace0fc7308accab7cd207e",
        ),
    ),
    config=L14_CONFIG,
    shapes=clip_shapes,
    layouts=clip_layouts(*L14_FOLDERS),
    companions=(clip_tokenizer(*L14_FOLDERS),),
    checked=CHECKED,
)
B32_FOLDERS = ("clip-vit-base-patch32", "clip-vit-b32", "vit_base_patch32_clip_224.openai")
CLIP_B32 = Release(
    name="clip-vit-b32",
    origins=(
        Origin(
            files=(
                RemoteFile(
                    "pytorch_model.bin",
                    605247071,
                    "a63082132ba4f97a80bea76823f544493bffa8082296d62d71581a4feff1576f",
                ),
                RemoteFile(
                    "tokenizer.json",
                    2224041,
                    "b556ac8c99757ffb677208af34bc8c6721572114111a6e0aaf5fa69ff0b8d842",
                ),
            ),
            licence="MIT (of the code)",
            repository="openai/clip-vit-base-patch32",
            revision="3d74acf9a28c67741b2f4f2ea7635f0aaf6f0268",
        ),
        _open_clip(
            "timm/vit_base_patch32_clip_224.openai",
            "a6f597a30f7b82c51704746581f9a4e41421e878",
            605143284,
            "e6d1bd7789aa45192b3bf90570a789b478bae1b74ebcce7eddd908e83a2b7c31",
        ),
    ),
    config=B32_CONFIG,
    shapes=clip_shapes,
    layouts=clip_layouts(*B32_FOLDERS),
    companions=(clip_tokenizer(*B32_FOLDERS),),
    checked=CHECKED,
)
