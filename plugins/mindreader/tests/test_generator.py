"""The generator against golden numbers, published shapes and properties."""

from __future__ import annotations

import json

import pytest
import torch
from tiny_gan import (
    FOLDER,
    close,
    golden,
    recorded,
    tiny_generator,
    tiny_shape,
    unit_rows,
)

from brainkit.errors import CheckpointError, DataError
from brainkit_mindreader.generator.network import Generator, GeneratorShape, Noise
from brainkit_mindreader.generator.styled import (
    StyledConvolution,
    ToRGB,
    balanced,
    demodulation,
    merge_branches,
)

NONE = Noise("none")
CONST = Noise("const")
FULL = {"mindreader_generator_two_head_256": 2, "lafite_generator_256": 1}


@pytest.fixture(scope="module")
def numbers():
    return golden("generator_io")


@pytest.fixture(scope="module")
def generator():
    return tiny_generator().eval().requires_grad_(False)


@pytest.fixture(scope="module")
def conditions(numbers):
    return [numbers["cond_1"], numbers["cond_2"]]


def sources(seeds):
    return Noise("random", [torch.Generator().manual_seed(seed) for seed in seeds])


def test_style_vectors_equal_golden(generator, numbers):
    mapping, z = generator.mapping, numbers["z"]
    close(mapping(z), numbers["ws"])
    close(mapping(torch.zeros_like(z)), numbers["ws_zero_z"])
    close(mapping(z, 0.7), numbers["ws_trunc_psi0p7"])
    close(mapping(z, 0.7, 4), numbers["ws_trunc_psi0p7_cutoff4"])
    close(mapping(z[2:3], 0.7, 4), numbers["ws_trunc_psi0p7_cutoff4"][2:3])


@pytest.mark.parametrize("rows", [slice(0, 4), slice(0, 1), slice(1, 2), slice(2, 3), slice(3, 4)])
def test_pictures_equal_golden_together_and_one_by_one(generator, numbers, conditions, rows):
    z, given = numbers["z"][rows], [each[rows] for each in conditions]
    close(generator(z, given), numbers["image_const"][rows])
    close(generator(z, given, NONE), numbers["image_none"][rows])
    close(generator(z, given, CONST, 0.7), numbers["image_const_trunc"][rows])
    close(generator(torch.zeros_like(z), given), numbers["image_const_zero_z"][rows])
    zero, own = numbers["ws_zero_z"][rows], numbers["ws"][rows]
    mixed = torch.cat([zero[:, :3], own[:, 3:]], dim=1)
    close(
        generator.synthesis(mixed, given, CONST),
        numbers["image_const_mixed_cutoff3"][rows],
    )


def test_pictures_lie_in_memory_as_others_expect(generator, numbers, conditions):
    assert generator(numbers["z"], conditions).is_contiguous()


def test_styles_equal_golden_in_the_order_of_layers(generator, numbers, conditions):
    ws, at, found = numbers["ws"], 0, []
    for side in generator.synthesis.sides:
        block = generator.synthesis.get_submodule(f"b{side}")
        for name in ("conv0", "conv1", "torgb"):
            if hasattr(block, name):
                layer = block.get_submodule(name)
                slot = at + (name == "conv1" and side > 4) + 2 * (name == "torgb" and side > 4)
                slot += name == "torgb" and side == 4
                style = layer.style(ws[:, slot], conditions)
                found.append(style * layer.scale if name == "torgb" else style)
        at += 1 if side == 4 else 2
    assert len(found) == 14
    for index, style in enumerate(found):
        close(style, numbers[f"style.{index:02}"])


def test_blocks_and_layers_equal_golden(generator, numbers, conditions):
    given = {}
    hooks = []
    for name in ("b4", "b8", "b16", "b32", "b4.torgb", "b8.conv0"):
        given[name] = []
        hooks.append(recorded(generator.synthesis.get_submodule(name), given[name]))
    generator(numbers["z"], conditions)
    for hook in hooks:
        hook.remove()
    for side in (4, 8, 16, 32):
        maps, picture = given[f"b{side}"][0]
        close(picture, numbers[f"block.b{side}.img"])
        if side < 32:
            close(maps, numbers[f"block.b{side}.x"])
    close(given["b4.torgb"][0], numbers["layer.b4.torgb.out"])
    close(given["b8.conv0"][0], numbers["layer.b8.conv0.out"])


def test_a_clamp_that_bites_equals_golden(numbers, conditions):
    clamped = tiny_generator(conv_clamp=0.7)(numbers["z"], conditions)
    close(clamped, golden("conv_clamp_0p7")["generator_image_const"])


def full_width(kind, layer):
    stored = golden("style_layers_full_width")
    prefix = f"{kind}_layer."
    state = {n.removeprefix(prefix): t.float() for n, t in stored.items() if n.startswith(prefix)}
    layer.load_state_dict(state)
    conditions = stored["fts"].split([12, 20], dim=1)
    return layer, conditions, stored


def test_layers_of_the_full_width_equal_golden():
    shape = tiny_shape(cond_width=512, f_dims=(12, 20), w_dim=16)
    layer, conditions, stored = full_width(
        "synthesis", StyledConvolution(shape, 6, 5, 8, double=True)
    )
    close(layer.style(stored["w"], conditions), stored["synthesis_styles"])
    close(layer(stored["x"], stored["w"], conditions, CONST), stored["synthesis_out"])
    close(layer(stored["x"], stored["w"], conditions, NONE), stored["synthesis_out_no_noise"])
    layer, conditions, stored = full_width("torgb", ToRGB(shape, 6))
    close(
        layer.style(stored["w"], conditions) * layer.scale,
        stored["torgb_styles_scaled"],
    )
    close(layer(stored["x"], stored["w"], conditions), stored["torgb_out"])


@pytest.mark.parametrize("name", FULL)
def test_the_full_size_has_the_published_tensors(name):
    manifest = json.loads((FOLDER.parent / "manifests" / f"{name}.json").read_text())
    with torch.device("meta"):
        network = Generator(GeneratorShape().with_heads(FULL[name]))
    parameters, buffers = dict(network.named_parameters()), dict(network.named_buffers())
    found = {n: ("parameter", list(t.shape)) for n, t in parameters.items()}
    found |= {n: ("buffer", list(t.shape)) for n, t in buffers.items()}
    assert found == {n: (t["kind"], t["shape"]) for n, t in manifest["tensors"].items()}
    count = sum(each.numel() for each in parameters.values())
    assert count == manifest["n_parameters"] == {1: 44_997_026, 2: 55_503_266}[FULL[name]]


def test_random_noise_belongs_to_the_picture_not_to_its_batch(generator, numbers, conditions):
    z, seeds = numbers["z"], [5, 6, 7, 8]
    together = generator(z, conditions, sources(seeds))
    for row in range(4):
        alone = [each[row : row + 1] for each in conditions]
        close(
            generator(z[row : row + 1], alone, sources(seeds[row : row + 1])),
            together[row : row + 1],
        )
    other = generator(z, conditions, sources([5, 6, 7, 9]))
    close(other[:3], together[:3])
    assert (other[3] - together[3]).abs().max() > 1e-2


def test_equal_branches_under_equal_conditions_make_the_single_heads_picture(generator, numbers):
    weights = {n: t for n, t in golden("generator_state").items() if ".pre_01" not in n}
    single_weights = {n: t for n, t in weights.items() if ".pre_11" not in n}
    single = Generator(tiny_shape(f_dims=(16,)))
    single.load_state_dict(single_weights)
    copied = dict(single_weights)
    for name, tensor in single_weights.items():
        for old, new in ((".pre_0.", ".pre_01."), (".pre_1.", ".pre_11.")):
            if old in name:
                copied[name.replace(old, new)] = tensor
    double = Generator(tiny_shape())
    double.load_state_dict(copied)
    z, condition = numbers["z"], numbers["cond_1"]
    expected = single(z, [condition])
    close(double(z, [condition, condition]), expected)
    close(double(z, [condition, None]), expected)
    close(double(z, [None, condition]), expected)


def test_a_condition_left_out_takes_no_part(generator, numbers, conditions):
    one = generator(numbers["z"], [conditions[0], None])
    assert (one - generator(numbers["z"], conditions)).abs().max() > 1e-2
    layer = generator.synthesis.b8.conv0
    first = layer.pre_1(layer.pre_0(conditions[0]))
    expected = layer.affine_0(torch.cat([first, numbers["ws"][:, 1]], dim=1))
    close(layer.style(numbers["ws"][:, 1], [conditions[0], None]), expected)


def test_branches_merge_entry_by_entry():
    units = golden("gan_units")
    pair = [units["signed_max_x"], units["signed_max_y"]]
    assert torch.equal(merge_branches(pair, "signed_max"), units["signed_max"])
    assert torch.equal(merge_branches(pair, "max"), torch.maximum(*pair))
    close(merge_branches(pair, "mean"), (pair[0] + pair[1]) / 2)


def test_scaling_for_half_precision_is_undone_by_demodulation():
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(7, 5, 3, 3, generator=generator) * 1e3
    styles = torch.randn(4, 5, generator=generator) * torch.tensor([1e-2, 1.0, 1e2, 1e4])[:, None]
    maps = torch.randn(4, 5, 8, 8, generator=generator)

    def made(weight, styles):
        scaled = maps * styles[:, :, None, None]
        through = torch.nn.functional.conv2d(scaled, weight, padding=1)
        return through * demodulation(weight, styles)[:, :, None, None]

    small, calm = balanced(weight, styles)
    assert float(small.abs().max()) <= 1 / 45**0.5 + 1e-6
    assert float(calm.abs().max()) <= 1
    close(made(small, calm), made(weight, styles), rtol=1e-4, atol=1e-4)


def test_demodulated_outputs_of_unit_inputs_have_unit_spread():
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(3, 8, 3, 3, generator=generator)
    styles = torch.randn(2, 8, generator=generator)
    factor = demodulation(weight, styles)
    modulated = weight[None] * styles[:, None, :, None, None] * factor[:, :, None, None, None]
    close(modulated.square().sum(dim=(2, 3, 4)), torch.ones(2, 3))


def test_half_precision_stays_close_and_finite(generator, numbers, conditions):
    with torch.autocast("cpu", torch.bfloat16):
        pictures = generator(numbers["z"], conditions)
        styles = generator.synthesis.b8.conv0.style(numbers["ws"][:, 0], conditions)
        assert torch.equal(generator.mapping(numbers["z"]), generator.mapping(numbers["z"]))
    assert pictures.dtype == styles.dtype == torch.float32
    exact = numbers["image_const"]
    # bfloat16 has 8 bits: about 0.4 % a layer, of which eight follow one another.
    assert float((pictures - exact).norm() / exact.norm()) < 0.02
    assert pictures.isfinite().all()


def test_large_weights_pass_half_precision(numbers, conditions):
    network = tiny_generator().requires_grad_(False)
    for name, parameter in network.named_parameters():
        if name.endswith(("conv0.weight", "conv1.weight")):
            parameter.mul_(1e6)
    with torch.autocast("cpu", torch.float16):
        pictures = network(numbers["z"], conditions)
    exact = numbers["image_const"]
    assert float((pictures - exact).norm() / exact.norm()) < 0.01


def test_gradients_reach_the_second_order_in_double_precision(conditions):
    small = GeneratorShape(8, 3, 3, (2, 2), 4, 32, 4, 2)
    network = Generator(small).double()
    ws = torch.randn(1, 4, 3, dtype=torch.float64, requires_grad=True)
    given = [unit_rows(1, 2, seed).double() for seed in (1, 2)]
    assert torch.autograd.gradgradcheck(lambda ws: network.synthesis(ws, given, CONST).mean(), ws)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([(4, 16)], "shapes"),
        ([(4, 16), (4, 15)], "(4, 15)"),
        ([(4, 16), (3, 16)], "(3, 16)"),
        ([None, None], "not for all"),
    ],
)
def test_conditions_that_do_not_fit_are_refused(generator, given, said):
    tensors = [None if shape is None else torch.zeros(shape) for shape in given]
    with pytest.raises(DataError) as refused:
        generator(torch.zeros(4, 24), tensors)
    assert said in str(refused.value)


def test_random_noise_needs_a_source_for_each_picture(generator, conditions):
    with pytest.raises(DataError, match="noise of 4 pictures was given 3 sources"):
        generator(torch.zeros(4, 24), conditions, sources([1, 2, 3]))


@pytest.mark.parametrize("changed", [{"resolution": 100}, {"resolution": 4}, {"f_dims": ()}])
def test_shapes_that_no_network_has_are_refused(changed):
    with pytest.raises(CheckpointError, match="expected"):
        GeneratorShape(**changed)


def test_an_unknown_merge_is_refused():
    with pytest.raises(CheckpointError, match="'min', expected one of"):
        GeneratorShape.of({"merge": "min"})


def test_a_shape_survives_its_configuration_file():
    shape = tiny_shape(f_dims=(16, 20), merge="mean")
    assert GeneratorShape.of(json.loads(json.dumps(shape.config()))) == shape
