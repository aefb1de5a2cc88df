"""The small trained networks on scenes they never saw; bars are well above chance (0.13)."""

import pytest
import torch

from brainkit.miniature.scenes import HELD_OUT_SEEDS, captions, make_scene
from brainkit.miniature.train.features import small_store
from brainkit.miniature.train.scores import pixel_correlation
from brainkit_unibrain.loading import load_reader, load_writer
from brainkit_unibrain.parts import FourFlow, OptimusDecoder
from brainkit_unibrain.train import evaluate

STORE = small_store()


@torch.no_grad()
def test_held_out_captions_survive_the_text_autoencoder() -> None:
    seeds = HELD_OUT_SEEDS[2000:2100]
    sentences = [captions(make_scene(seed))[seed % 5] for seed in seeds]
    latent = load_reader(STORE)(sentences)
    wrote = load_writer(STORE, OptimusDecoder(decode="greedy"))(latent, range(len(latent)))
    exact = sum(a == b for a, b in zip(wrote, sentences, strict=True))
    assert exact >= 80
    # Scaled to spread 1 in training; a hundred sentences estimate it to about 15 %.
    assert 0.6 < latent.std(dim=0).min() < latent.std(dim=0).max() < 1.5


@pytest.mark.slow
def test_pictures_from_true_features_show_the_object() -> None:
    judged = evaluate.held_out(STORE, 60)
    latents = evaluate.latents(judged, FourFlow(guidance=3.0), "image")
    scores = evaluate.named("made", evaluate.pictures_of(latents, judged), judged)
    assert scores["made_objects"] >= 0.65
    assert scores["made_background"] >= 0.95


@pytest.mark.slow
def test_pictures_from_noise_resemble_the_stimulus() -> None:
    judged = evaluate.held_out(STORE, 60)
    options = FourFlow(guidance=2.0, use_zi=False, use_ct=False)
    made = evaluate.pictures_of(evaluate.latents(judged, options, "image"), judged)
    assert pixel_correlation(made, judged.pictures) >= 0.55


@pytest.mark.slow
def test_captions_from_true_features_name_the_object() -> None:
    judged = evaluate.held_out(STORE, 60)
    latents = evaluate.latents(judged, FourFlow(guidance=3.0), "caption")
    assert evaluate.caption_recall(evaluate.captions_of(latents, judged), judged.scenes) >= 0.70
