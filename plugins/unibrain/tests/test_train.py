"""The trainings: sharing a step among threads, and the sentences they learn from."""

import torch

from brainkit.miniature.scenes import captions, make_scene
from brainkit.training.crew import Crew
from brainkit.training.loop import Plan, Seconds, Training
from brainkit_unibrain.networks import Context, FourFlow
from brainkit_unibrain.train.features import Features
from brainkit_unibrain.train.four_flow import (
    BATCH,
    CONFIG,
    MODE_CHANCES,
    MODES,
    Lesson,
    initialise,
    share,
)
from brainkit_unibrain.train.text_vae import both_ids, reading_tokenizer, writing_tokenizer


def few_features() -> Features:
    draw = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=draw).half()

    return Features(
        image_latent=normal(9, 4, 16, 16),
        text_latent=normal(9, 5, 64),
        image_tokens=normal(9, 5, 64),
        text_tokens=normal(9, 5, 3, 64),
        no_image=normal(1, 5, 64).float(),
        no_text=normal(1, 3, 64).float(),
    )


def test_a_crew_of_two_gives_the_gradient_of_both_halves() -> None:
    torch.manual_seed(0)
    lesson = Lesson(few_features(), torch.device("cpu"))
    net = FourFlow(CONFIG)
    training = Training(net, Plan(0.1), clock=Seconds(10.0))
    crew = Crew([net, FourFlow(CONFIG)], share(lesson, training, 2))
    losses = crew.gradients(3)
    shared = {n: p.grad.clone() for n, p in net.named_parameters() if p.grad is not None}
    net.zero_grad()
    chooser = torch.Generator().manual_seed(3)
    picks = torch.multinomial(MODE_CHANCES, len(BATCH), replacement=True, generator=chooser)
    total = torch.zeros(())
    for worker in range(2):
        generator = torch.Generator().manual_seed(3 * 2 + worker + 2**40)
        for (kind, n), pick in zip(BATCH.items(), picks.tolist(), strict=True):
            half = lesson.loss(net, kind, n // 2, MODES[pick], 0.0, generator) / 2
            total = total + half
    total.backward()
    assert abs(sum(losses.values()) - total.item()) < 1e-4
    alone = {n: p.grad for n, p in net.named_parameters() if p.grad is not None}
    assert shared.keys() == alone.keys()
    for name, gradient in alone.items():
        torch.testing.assert_close(shared[name], gradient, atol=1e-5, rtol=1e-3)


def test_an_untrained_denoiser_predicts_nothing() -> None:
    net = FourFlow(CONFIG)
    initialise(net)
    context = [Context("image", torch.randn(2, 5, 64))]
    predicted = net(torch.randn(2, 64), torch.tensor([5, 500]), "text", context)
    assert torch.equal(predicted, torch.zeros(2, 64))


def test_captions_survive_both_tokenizers() -> None:
    sentences = [text for seed in range(20) for text in captions(make_scene(seed))]
    read, written = both_ids(sentences)
    assert (read[:, 0] == reading_tokenizer().cls_token_id).all()
    assert (read != reading_tokenizer().unk_token_id).all()
    assert (written != writing_tokenizer().unk_token_id).all()
    back = writing_tokenizer().batch_decode(written, skip_special_tokens=True)
    assert back == sentences
