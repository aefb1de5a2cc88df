"""Repositories of the Hugging Face hub whose ids changed since papers and programs named them."""

from __future__ import annotations

MOVED = {
    "bert-base-cased": "google-bert/bert-base-cased",
    "bert-base-uncased": "google-bert/bert-base-uncased",
    "gpt2": "openai-community/gpt2",
    "runwayml/stable-diffusion-v1-5": "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "runwayml/stable-diffusion-inpainting": "stable-diffusion-v1-5/stable-diffusion-inpainting",
    "shi-labs/versatile-diffusion-model": "shi-labs/versatile-diffusion",
}
"""Old id -> the id under which the same files are published now."""


def moved(repository: str) -> str:
    """Give the id that a repository has now, which is its own when it never moved.

    >>> moved("runwayml/stable-diffusion-v1-5")
    'stable-diffusion-v1-5/stable-diffusion-v1-5'
    >>> moved("openai/clip-vit-large-patch14")
    'openai/clip-vit-large-patch14'
    """
    return MOVED.get(repository, repository)


def names(repository: str) -> tuple[str, ...]:
    """Give every id a repository had, the present one first; caches may know it by an old one.

    >>> names("gpt2")
    ('openai-community/gpt2', 'gpt2')
    """
    present = moved(repository)
    return present, *(old for old, new in MOVED.items() if new == present)
