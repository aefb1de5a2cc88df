"""Every phase of a training step against golden values, scalars and gradients."""

from __future__ import annotations

import math

import pytest
import torch
from tiny_gan import (
    LOSS,
    close,
    golden,
    gradient_close,
    settings,
    tiny_discriminator,
    tiny_generator,
    unit_rows,
)
from torch import nn
from torch.nn import functional

from brainkit_mindreader.generator.discriminator import Verdict
from brainkit_mindreader.generator.network import CONST
from brainkit_mindreader.generator.objectives import (
    JointWeights,
    Seen,
    Weights,
    fake_terms,
    generator_terms,
    mapper_terms,
    noised,
    path_length_penalty,
    path_lengths,
    r1,
    real_terms,
)
from brainkit_mindreader.generator.views import Window, resnet_vector, view
from brainkit_mindreader.mapper.contrast import contrast

CASES = ("default", "all_terms")


@pytest.fixture(autouse=True)
def _one_thread():
    """One thread, as the golden numbers were made.

    A feature of theirs lies within rounding of 0, where leaky ReLU bends: with sums in another
    order it falls on the other side, and gradients differ by 3e-4 of their largest value.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


GAINS = settings("gan_losses_config")["common"]["gain"]
MEAN_BEFORE = settings("gan_losses_config")["common"]["pl_mean_before"]


def weights_of(case):
    """Turn the published program's flags into direct factors, as the module's head says."""
    flags = settings("gan_losses_config")[case]
    return Weights(
        heads=flags["itd"] / 2,
        clip=flags["itc"] / 2,
        real_heads=flags["iid"] / 2,
        clip_image=flags["iic"],
        resnet=flags["ires"] if flags["resloss"] else 0.0,
        temperature=flags["temp"],
        lam=flags["lam"],
    )


class Phase:
    """One phase's networks, inputs and golden numbers."""

    def __init__(self, case, name):
        self.case, self.name = case, name
        self.inputs, self.numbers = golden("gan_losses_inputs"), golden(f"gan_losses_{case}")
        self.generator, self.discriminator = tiny_generator(), tiny_discriminator()
        self.weights = weights_of(case)
        self.gain = GAINS[name]
        self.conditions = self.noised(self.inputs["mapped_1"], self.inputs["mapped_2"])

    def __getitem__(self, name):
        return self.numbers[f"{self.name}.{name}"]

    def noised(self, *mapped):
        return [noised(each, self[f"noise_{k}"]) for k, each in enumerate(mapped, start=1)]

    def styles(self, rows=4):
        return self.generator.mapping(self.inputs["gen_z"][:rows])

    def pictures(self):
        return self.generator.synthesis(self.styles(), self.conditions, CONST)

    def contrasts(self, first, second, name):
        found = contrast(first, second, self.weights.temperature, self.weights.lam)
        close(found, self[f"contra.{name}"], **LOSS)

    def check_gradients(self, network):
        parameters = dict(network.named_parameters())
        prefix = f"{self.name}.grad."
        names = [n.removeprefix(prefix) for n in self.numbers if n.startswith(prefix)]
        assert names
        for name in names:
            grown = parameters[name].grad
            grown = torch.zeros_like(parameters[name]) if grown is None else grown
            gradient_close(grown, self[f"grad.{name}"])
        grown = [each.grad.square().sum() for each in parameters.values() if each.grad is not None]
        close(torch.stack(grown).sum().sqrt(), self["grad_norm_total"], rtol=1e-4, atol=0)


def total(terms):
    return torch.stack(list(terms.values())).sum()


def clip_stub(phase, pictures):
    size, left, top = phase["randint"][:3].tolist()
    pixels = view(pictures, 48, Window(size, left, top))
    flat = functional.adaptive_avg_pool2d(pixels, 4).flatten(1)
    return functional.linear(flat, phase.inputs["clip_stub_weight"], phase.inputs["clip_stub_bias"])


def resnet_stub(phase, pictures, place):
    left, top = phase["randint"][place : place + 2].tolist()
    pixels = view(pictures, 128, Window(128, left, top))
    weight, bias = phase.inputs["res_stub_weight"], phase.inputs["res_stub_bias"]
    maps = functional.softplus(functional.conv2d(pixels, weight, bias, stride=16))
    return resnet_vector(maps, "batch")


def seen_by_stubs(phase, pictures):
    seen = Seen(clip=clip_stub(phase, pictures), true_clip=phase.inputs["img_embedding"])
    if not phase.weights.resnet:
        return seen
    real = phase.inputs["real_image"]
    return Seen(
        clip=seen.clip,
        true_clip=seen.true_clip,
        resnet=resnet_stub(phase, pictures, 3),
        true_resnet=resnet_stub(phase, real, 5),
    )


@pytest.mark.parametrize("case", CASES)
def test_the_generators_phase_equals_golden(case):
    phase = Phase(case, "Gmain")
    close(torch.cat(phase.conditions, dim=1), phase["cond"])
    pictures = phase.pictures()
    close(pictures, phase["gen_image"])
    fake = phase.discriminator(pictures, phase.conditions)
    close(fake.logit, phase["gen_logits"])
    close(fake.heads, (phase["gen_head_1"], phase["gen_head_2"]))
    real = None
    if phase.weights.real_heads:
        real = phase.discriminator(phase.inputs["real_image"], phase.conditions)
        for k in (0, 1):
            name = f"dhead{k + 1}_real_vs_gen"
            phase.contrasts(real.heads[k], fake.heads[k], name)
    seen = seen_by_stubs(phase, pictures)
    for k, condition in enumerate(phase.conditions, start=1):
        close(
            functional.normalize(seen.clip, dim=1),
            functional.normalize(phase[f"contra_in.clip_gen_vs_cond{k}.a"], dim=1),
        )
        phase.contrasts(fake.heads[k - 1], condition, f"dhead{k}_gen_vs_cond{k}")
        phase.contrasts(seen.clip, condition, f"clip_gen_vs_cond{k}")
    if phase.weights.clip_image:
        phase.contrasts(seen.clip, seen.true_clip, "clip_gen_vs_img")
    if phase.weights.resnet:
        close(seen.true_resnet, phase["contra_in.res_real_vs_gen.a"])
        close(seen.resnet, phase["contra_in.res_real_vs_gen.b"])
        phase.contrasts(seen.true_resnet, seen.resnet, "res_real_vs_gen")
    terms = generator_terms(fake, real, phase.conditions, seen, phase.weights)
    rest = total(terms) - terms["adversarial"]
    close(functional.softplus(-fake.logit) + rest, phase["stat.G_loss"], **LOSS)
    loss = total(terms) * phase.gain
    close(loss[None], phase["backward_scalars"], **LOSS)
    loss.backward()
    phase.check_gradients(phase.generator)


@pytest.mark.parametrize("case", CASES)
def test_the_path_length_phase_equals_golden(case):
    phase = Phase(case, "Greg")
    ws = phase.styles(2)
    pictures = phase.generator.synthesis(ws, [c[:2] for c in phase.conditions], CONST)
    close(pictures, phase["gen_image"])
    lengths = path_lengths(pictures, ws, phase["pl_noise_raw"])
    bare, mean = path_length_penalty(lengths, torch.tensor(MEAN_BEFORE), 1.0)
    close(bare, phase["stat.pl_penalty"], **LOSS)
    penalty, _ = path_length_penalty(lengths, torch.tensor(MEAN_BEFORE))
    close(penalty, phase["stat.G_reg"], **LOSS)
    close(mean, phase["pl_mean_after"], **LOSS)
    loss = penalty.mean() * phase.gain
    close(loss[None], phase["backward_scalars"], **LOSS)
    loss.backward()
    phase.check_gradients(phase.generator)


@pytest.mark.parametrize("case", CASES)
def test_the_discriminators_phase_equals_golden(case):
    phase = Phase(case, "Dmain")
    with torch.no_grad():
        pictures = phase.pictures()
    fake = phase.discriminator(pictures, phase.conditions)
    close(fake.logit, phase["gen_logits"])
    real = phase.discriminator(phase.inputs["real_image"], phase.conditions)
    close(real.logit, phase["real_logits"])
    for k, condition in enumerate(phase.conditions, start=1):
        close(real.heads[k - 1], phase[f"real_head_{k}"])
        phase.contrasts(real.heads[k - 1], condition, f"dhead{k}_real_vs_cond{k}")
    against, of = fake_terms(fake), real_terms(real, phase.conditions, phase.weights)
    scalars = torch.stack([total(against), total(of)]) * phase.gain
    close(scalars, phase["backward_scalars"], **LOSS)
    losses = functional.softplus(fake.logit) + functional.softplus(-real.logit) + of["real_read"]
    close(losses, phase["stat.D_loss"], **LOSS)
    scalars.sum().backward()
    phase.check_gradients(phase.discriminator)


@pytest.mark.parametrize("case", CASES)
def test_the_r1_phase_equals_golden(case):
    phase = Phase(case, "Dreg")
    pictures = phase.inputs["real_image"].requires_grad_()
    verdict = phase.discriminator(pictures, phase.conditions)
    close(verdict.logit, phase["stat.scores_real"])
    penalty = r1(pictures, verdict, settings("gan_losses_config")[case]["r1_gamma"])
    close(r1(pictures, verdict, 2.0), phase["stat.r1_penalty"], **LOSS)
    close(penalty, phase["stat.D_reg"], **LOSS)
    loss = penalty.mean() * phase.gain
    close(loss[None], phase["backward_scalars"], **LOSS)
    loss.backward()
    phase.check_gradients(phase.discriminator)


class TinyMapper(nn.Module):
    """The mapper of the golden inputs, written out: one strided convolution, one residual block."""

    def __init__(self, weights):
        super().__init__()
        self.weights = {n: t.clone().requires_grad_() for n, t in weights.items()}

    def named_parameters(self, *_, **__):
        return self.weights.items()

    def conv(self, x, name, **how):
        return functional.conv1d(
            x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"], **how
        )

    def forward(self, fmri):
        x = self.conv(fmri[:, None], "encoder.0.0", stride=2, padding=1).relu()
        inner = self.conv(x, "encoder.1.net.0", padding=1).relu()
        inner = self.conv(inner, "encoder.1.net.2", padding=1).relu()
        x = (x + self.conv(inner, "encoder.1.net.4")).relu()
        x = self.conv(x, "encoder.2").relu().transpose(1, 2)
        return self.conv(self.conv(x, "fc.1").relu(), "fc.3")[:, 0]


class JointPhase(Phase):
    """A phase that trains one mapper with the generator."""

    def __init__(self, name):
        super().__init__("all_terms", name)
        self.mappers = []
        for k in (1, 2):
            prefix = f"mapper{k}."
            stored = {n: t for n, t in self.inputs.items() if n.startswith(prefix)}
            self.mappers.append(TinyMapper({n.removeprefix(prefix): t for n, t in stored.items()}))
        mapped = [mapper(self.inputs["fmri"]) for mapper in self.mappers]
        for k in (0, 1):
            close(mapped[k], self.inputs[f"mapped_{k + 1}"])
        self.conditions = self.noised(*mapped)
        self.fake = self.discriminator(self.pictures(), self.conditions)

    def terms(self, mapper, target, **changed):
        joint = JointWeights(**changed)
        given = self.inputs[target]
        return mapper_terms(mapper, self.conditions, given, self.fake, self.weights, joint)


def test_the_first_mappers_joint_phase_equals_golden():
    phase = JointPhase("Mmain")
    phase.contrasts(phase.conditions[0], phase.inputs["img_embedding"], "cond1_vs_img")
    loss = total(phase.terms(0, "img_embedding"))
    close(loss[None], phase["backward_scalars"], **LOSS)
    loss.backward()
    phase.check_gradients(phase.mappers[0])


def test_the_second_mappers_joint_phase_equals_golden_with_the_published_slip():
    phase = JointPhase("M2main")
    phase.contrasts(phase.conditions[0], phase.inputs["caption_embedding"], "cond1_vs_cap")
    loss = total(phase.terms(1, "caption_embedding", first_only=True))
    close(loss[None], phase["backward_scalars"], **LOSS)
    loss.backward()
    phase.check_gradients(phase.mappers[1])


def test_the_second_mapper_learns_from_its_own_target_by_default():
    phase = JointPhase("M2main")
    terms = phase.terms(1, "caption_embedding", adversarial=0.0)
    own, target = phase.conditions[1], phase.inputs["caption_embedding"]
    apart = 1 - (own * target).sum(dim=1)
    told = contrast(own, target, phase.weights.temperature, phase.weights.lam)
    expected = 0.2 * (own - target).square().mean() + 0.3 * apart.mean() - 0.5 * told.mean()
    close(total(terms), expected)
    total(terms).backward()
    assert not any(each.grad.any() for each in phase.mappers[0].weights.values())
    assert float(phase.mappers[1].weights["fc.3.weight"].grad.abs().max()) > 1e-3


def verdict(batch=4, dims=(16, 16), seed=0):
    heads = tuple(unit_rows(batch, dim, seed + k) for k, dim in enumerate(dims))
    return Verdict(unit_rows(batch, 1, seed), heads, (torch.zeros(batch, 2, 4, 4) + seed,))


@pytest.mark.parametrize("n", [1, 2, 3])
def test_factors_count_for_each_condition(n):
    conditions = [unit_rows(4, 16, 10 + k) for k in range(n)]
    fake, seen = verdict(dims=(16,) * n), Seen(clip=unit_rows(4, 16, 5))
    weights = Weights(heads=2.0, clip=3.0)
    terms = generator_terms(fake, None, conditions, seen, weights)
    pairs = zip(fake.heads, conditions, strict=True)
    close(terms["heads"], -2 * sum(contrast(a, b).mean() for a, b in pairs))
    close(terms["clip"], -3 * sum(contrast(seen.clip, b).mean() for b in conditions))
    read = real_terms(fake, conditions, weights)["real_read"]
    close(read, terms["heads"])


def test_supervised_terms_are_mean_absolute_differences():
    conditions = [unit_rows(4, 16, 8), unit_rows(4, 16, 9)]
    picture, true = torch.zeros(4, 3, 8, 8), torch.ones(4, 3, 8, 8)
    weights = Weights(heads=0.0, clip=0.0, paired=20.0, matching=5.0)
    seen = Seen(picture=picture, true_picture=true)
    terms = generator_terms(verdict(seed=0), verdict(seed=3), conditions, seen, weights)
    assert set(terms) == {"adversarial", "matching", "paired"}
    close(terms["paired"], torch.tensor(20.0))
    close(terms["matching"], torch.tensor(15.0))


def test_without_an_adversary_only_other_networks_count():
    conditions = [unit_rows(4, 16, 8), unit_rows(4, 16, 9)]
    seen = Seen(clip=unit_rows(4, 16, 5))
    assert set(generator_terms(None, None, conditions, seen, Weights())) == {"clip"}


@pytest.mark.parametrize("term", ["clip", "clip_image", "real_heads", "resnet", "paired"])
def test_a_weight_without_its_input_is_named(term):
    zero = Weights(heads=0.0, clip=0.0)
    weights = Weights(**{"heads": 0.0, "clip": 0.0, term: 1.0})
    conditions = [unit_rows(4, 16, 8), unit_rows(4, 16, 9)]
    generator_terms(verdict(), None, conditions, Seen(), zero)
    with pytest.raises(ValueError, match=f"'{term}'"):
        generator_terms(verdict(), None, conditions, Seen(), weights)


def test_r1_of_a_linear_judge_is_its_squared_length():
    weight = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(0))
    pictures = torch.zeros(5, 3, 8, 8, requires_grad=True)
    logit = (pictures * weight).sum(dim=(1, 2, 3))[:, None]
    found = r1(pictures, Verdict(logit, (), ()), 10.0)
    close(found, (5 * weight.square().sum()).expand(5))


def test_path_lengths_of_a_linear_generator_are_those_of_its_matrix():
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(2 * 3 * 4 * 4, 6, generator=generator).view(2, 48, 6)
    ws = torch.randn(2, 5, 6, generator=generator, requires_grad=True)
    pictures = torch.einsum("npw,nw->np", matrix, ws.sum(dim=1)).view(2, 3, 4, 4)
    noise = torch.randn(2, 3, 4, 4, generator=generator)
    slope = torch.einsum("npw,np->nw", matrix, noise.flatten(1)) / 4
    close(path_lengths(pictures, ws, noise), slope.norm(dim=1))


@pytest.mark.parametrize("share", [0.0, 0.1, 0.75])
def test_noise_mixes_into_conditions_by_its_share(share):
    condition = unit_rows(3, 32, 0)
    noise = 7 * unit_rows(3, 32, 1)
    found = noised(condition, noise, share)
    close(found.norm(dim=1), torch.ones(3))
    cosine = (condition * noise).sum(dim=1) / 7
    length = ((1 - share) ** 2 + share**2 + 2 * share * (1 - share) * cosine).sqrt()
    close((found * condition).sum(dim=1), (1 - share + share * cosine) / length)
    per_row = noised(condition, noise, torch.full((3, 1), share))
    close(per_row, found)
    assert math.isclose(float(noised(2 * condition, noise, 0.0)[0] @ condition[0]), 1, rel_tol=1e-5)
