"""What a part returns is checked where it returns: one sentence names it, never the next part."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import brainkit_careless
import pytest

from brainkit.errors import BrainkitError, DataError, PartError
from brainkit.plugins import Registry, Source
from brainkit.run import prepare, run
from brainkit.run.config import RunConfig

USED = {
    "encoder.picture": "careless-encoder",
    "regressor.picture": "careless-regressor",
    "conditioner": "careless-conditioner",
    "sampler": "careless-sampler",
    "decoder.image": "careless-pictures",
    "decoder.caption": "careless-sentences",
}
# What is done, by what nobody could go on from, and what the sentence says.
FAULTS = {
    "encoder.picture": {
        "shape raises": "failed telling the shape of picture: KeyError: 'side'",
        "text": "gave '3x8x8' as its shape, expected a tuple of lengths from 1 up",
        "zero": "gave (3, 0) as its shape, expected a tuple of lengths from 1 up",
        "float": "gave (3.0, 8, 8) as its shape, expected a tuple of lengths from 1 up",
        "flat": "gave float32 (8, 192) as features, expected float32 (8, 3, 8, 8)",
        "half": "gave float16 (8, 3, 8, 8) as features, expected float32 (8, 3, 8, 8)",
        "double": "gave float64 (8, 3, 8, 8) as features, expected float32 (8, 3, 8, 8)",
        "nan": "gave values that are not finite or beyond 65504 in size for images ",
        "array": "gave an object of type ndarray as features, expected a tensor, float32 (8, 3, ",
        "nothing": "gave nothing as features, expected a tensor",
        "too few": "gave float32 (7, 3, 8, 8) as features, expected float32 (8, 3, 8, 8)",
        "meta": "gave float32 (8, 3, 8, 8) on meta as features, expected float32 (8, 3, 8, 8) on c",
        "no function": "gave nothing from load, expected a function",
    },
    "regressor.picture": {
        "exits": "failed fitting picture: SystemExit: 0",
        "interrupts": "failed fitting picture: KeyboardInterrupt",
        "learns nothing": "gave nothing from fit, expected a flat dictionary of tensors by name",
        "empty": "gave an object of type dict from fit, expected a flat dictionary of tensors",
        "nested": "gave an object of type dict as 'mean' from fit, expected a flat dictionary",
        "number": "gave an object of type float as 'mean' from fit, expected a flat dictionary",
        "key": "gave float32 (3, 8, 8) as 3 from fit, expected a flat dictionary of tensors",
        "list": "gave an object of type list from fit, expected a flat dictionary of tensors",
        "shared": "gave 'again' and 'mean', which share memory, from fit, expected tensors of th",
        "sparse": "gave float32 (3, 3) as 'mean' from fit, expected a flat dictionary of tensors",
        "flat": "gave float32 (10, 192) as predictions, expected float32 (10, 3, 8, 8)",
        "double": "gave float64 (10, 3, 8, 8) as predictions, expected float32 (10, 3, 8, 8)",
        "one nan": "gave values that are not finite or beyond 65504 in size for image",
        "infinite": "gave values that are not finite or beyond 65504 in size for images ",
        "one row": "gave float32 (1, 3, 8, 8) as predictions, expected float32 (10, 3, 8, 8)",
        "a list": "gave an object of type list as predictions, expected a tensor, float32 (10, 3,",
    },
    "conditioner": {
        "a list": "gave an object of type list, expected a condition for each of ['image', 'capti",
        "no caption": "gave conditions for ['image'] only, expected one for each of ['image', 'ca",
        "a dict": "gave an object of type dict for image, expected a brainkit.Condition",
        "descending": "gave sigmas [10.0, 9.8993, 9.7986]... of image, expected positive noise le"
        "vels in ascending order; turn them round by .flip(0)",
        "no sigmas": "gave float32 (0,) as sigmas of image, expected float32 (steps,)",
        "sigma list": "gave an object of type list as sigmas of image, expected a tensor, float32",
        "sigma zero": "gave sigmas [0.0, 0.1007, 0.2014]... of image, expected positive noise lev",
        "strength 2": "gave the strength 2 for image, expected a number above 0 and up to 1",
        "strength 0": "gave the strength 0 for image, expected a number above 0 and up to 1",
        "strength true": "gave the strength True for image, expected a number above 0 and up to 1",
        "strength text": "gave the strength 'half' for image, expected a number above 0 and up to",
        "start nan": "gave image starts with NaN or infinity for images ",
        "start row": "gave float32 (1, 3, 8, 8) as start of images, expected float32 (2, *latent)",
        "start double": "gave float64 (2, 3, 8, 8) as start of images, expected float32 (2, *late",
        "no denoiser": "gave nothing as denoise of image, expected a function",
        "misfit": "gave an object of type int as misfit of image, expected a function",
        "denoise raises": "failed denoising images: ValueError: no such sigma",
        "denoise flat": "gave float32 (2, 192) as what denoise makes, expected float32 (2, 3, 8,",
        "denoise double": "gave float64 (2, 3, 8, 8) as what denoise makes, expected float32 (2,",
        "denoise nan": "denoised images to NaN or infinity for images ",
        "denoise nothing": "gave nothing as what denoise makes, expected a tensor, float32 (2, 3,",
    },
    "sampler": {
        "flat": "gave float32 (2, 192) as image latents, expected float32 (2, 3, 8, 8)",
        "wide": "gave float32 (2, 3, 16, 8) as image latents, expected float32 (2, 3, 8, 8)",
        "double": "gave float64 (2, 3, 8, 8) as image latents, expected float32 (2, 3, 8, 8)",
        "nothing": "gave nothing as image latents, expected a tensor, float32 (2, 3, 8, 8)",
        "too few": "gave float32 (1, 3, 8, 8) as image latents, expected float32 (2, 3, 8, 8)",
        "infinite": "gave image latents with NaN or infinity for images ",
    },
    "decoder.image": {
        "float": "gave float32 (2, 16, 16, 3) as pictures, expected uint8 (2, height, width, 3)",
        "channels first": "gave uint8 (2, 3, 16, 16) as pictures, expected uint8 (2, height, wid",
        "too few": "gave uint8 (1, 16, 16, 3) as pictures, expected uint8 (2, height, width, 3)",
        "empty": "gave uint8 (2, 0, 16, 3) as pictures, expected uint8 (2, height, width, 3)",
        "array": "gave an object of type ndarray as pictures, expected a tensor, uint8 (2, hei",
        "list": "gave an object of type list as pictures, expected a tensor, uint8 (2, height",
    },
    "decoder.caption": {
        "too few": "gave 1 of str, expected 2 captions as text",
        "one text": "gave an object of type str, expected a list of 2 captions as text",
        "bytes": "gave 2 of bytes, expected 2 captions as text",
        "nothing": "gave nothing, expected a list of 2 captions as text",
        "generator": "gave an object of type generator, expected a list of 2 captions as text",
    },
}
CASES = [(address, fault) for address, faults in FAULTS.items() for fault in faults]


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    """A folder that keeps what the faults do not touch."""
    return tmp_path_factory.mktemp("work")


def do(registry, nsd, work, address="", fault="none"):
    options = {f"{address}.fault": fault} if address else {}
    config = RunConfig(
        "toy", nsd=nsd, work=work, images=2, ceiling=False, use=USED, options=options
    )
    return run(prepare(config, registry, lambda line: None))


@pytest.fixture
def registry(toy):
    sources = [("toy", "brainkit-toy 1.0", toy), ("careless", "bk-careless 2.1", brainkit_careless)]
    return Registry([Source(name, who, lambda m=module: m) for name, who, module in sources])


def test_without_a_fault_they_make_a_report(registry, nsd, work):
    assert do(registry, nsd, work).is_file()


@pytest.mark.parametrize(("address", "fault"), CASES, ids=lambda text: text.replace(" ", "-"))
def test_it_is_one_sentence_about_the_part_that_broke_its_promise(
    registry, nsd, work, address, fault
):
    with pytest.raises((DataError, PartError)) as caught:
        do(registry, nsd, work, address, fault)
    kind = address.partition(".")[0]
    who = f"{kind} '{USED[address]}' (bk-careless 2.1) "
    assert str(caught.value).startswith(who) or f"{who}gave" in str(caught.value)
    assert FAULTS[address][fault] in str(caught.value)


def test_a_part_that_exits_in_fit_fails_the_command(cli, nsd, monkeypatch):
    package = cli.folder / "careless-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: careless\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[brainkit]\ncareless = brainkit_careless\n")
    monkeypatch.syspath_prepend(cli.folder)
    ended = cli(
        *("run", "toy", "--nsd", nsd, "--use", "regressor=careless-regressor"),
        *("-o", "regressor.fault=exits", "--work", "w"),
        env={"BRAINKIT_PLUGINS": "toy,careless"},
        code=1,
    )
    (line,) = [line for line in ended.stderr.splitlines() if line.startswith("Error")]
    assert "regressor 'careless-regressor' (careless 1.0) failed fitting picture: Syst" in line


def test_the_user_s_interrupt_of_a_part_is_no_fault_of_it(registry, nsd, tmp_path, monkeypatch):
    def fit(self, betas, feature):
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("the signal came late")

    monkeypatch.setattr(brainkit_careless.CarelessRegressor, "fit", fit)
    with pytest.raises((KeyboardInterrupt, AssertionError, BrainkitError)) as caught:
        do(registry, nsd, tmp_path)
    assert caught.type is KeyboardInterrupt
