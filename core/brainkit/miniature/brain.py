"""A simulated subject: where its voxels lie, what drives them, and how noisily they answer.

Early voxels (V1 to hV4) have Gaussian receptive fields over maps of the picture: contrast energy
at two scales and four orientations, luminance, two opponent colours, and signed edges. Fields grow
from area to area and with eccentricity; each hemisphere sees the opposite half of the field,
ventral areas the upper and dorsal ones the lower quarter. The other voxels are driven by what the
scene shows: kind, position and size of objects, their colours, and the background, half-rectified.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final

import numpy as np
from numpy.typing import NDArray

from brainkit.miniature.difficulty import REPEATS
from brainkit.miniature.difficulty import Difficulty as Difficulty
from brainkit.miniature.scenes import BACKGROUNDS, COLOURS, KINDS, POSITIONS, SIZES, Scene

Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Area:
    """A part of the simulated cortex.

    Attributes:
        name: NSD's label where it has one.
        share: voxels out of 2000.
        volume: ROI volume that labels it, empty for none.
        label: its number there.
        stream: its number in the `streams` volume.
        field: standard deviation of receptive fields at the fovea and its growth per eccentricity,
            in half widths of the picture; None for areas driven by the scene.
        prefers: category and response to it, for areas driven by the scene; empty for mixtures.
    """

    name: str
    share: int
    volume: str
    label: int
    stream: int
    field: tuple[float, float] | None = None
    prefers: tuple[tuple[str, float], ...] = ()


_EARLY: Final = "prf-visualrois"
BLOCKS: Final[tuple[tuple[Area, ...], ...]] = (
    (Area("V1v", 175, _EARLY, 1, 1, (0.02, 0.04)), Area("V1d", 175, _EARLY, 2, 1, (0.02, 0.04))),
    (Area("V2v", 150, _EARLY, 3, 1, (0.03, 0.06)), Area("V2d", 150, _EARLY, 4, 1, (0.03, 0.06))),
    (Area("V3v", 125, _EARLY, 5, 1, (0.04, 0.08)), Area("V3d", 125, _EARLY, 6, 1, (0.04, 0.08))),
    (Area("hV4", 250, _EARLY, 7, 2, (0.06, 0.12)),),
    (Area("LO", 160, "", 0, 6),),
    (Area("EBA", 140, "floc-bodies", 1, 6, None, (("bodies", 1), ("animals", 0.35))),),
    (Area("FFA-1", 80, "floc-faces", 2, 5, None, (("faces", 1), ("animals", 0.25))),),
    (Area("FFA-2", 60, "floc-faces", 3, 5, None, (("faces", 1), ("bodies", 0.25))),),
    (Area("VWFA-1", 100, "floc-words", 2, 5, None, (("words", 1),)),),
    (Area("PPA", 160, "floc-places", 2, 5, None, (("places", 1),)),),
    (Area("other", 150, "", 0, 7),),
)
"""Areas from the back of the head to the front; those of one block from bottom to top."""
AREAS: Final = tuple(area for block in BLOCKS for area in block)


@dataclass(frozen=True)
class Anatomy:
    """Where the voxels of the brain lie.

    Attributes:
        volume: grid size along X (left to right), Y (back to front) and Z (bottom to top).
        xyz: int64 (brain voxels, 3), grid position, C order over X, Y, Z.
        area: int64 (brain voxels,), index into `AREAS`, -1 outside `nsdgeneral`.
    """

    volume: tuple[int, int, int]
    xyz: NDArray[np.int64]
    area: NDArray[np.int64]

    @property
    def left(self) -> NDArray[np.bool_]:
        """Whether each voxel belongs to the left hemisphere."""
        return self.xyz[:, 0] < self.volume[0] // 2


def lay_out(voxels: int) -> Anatomy:
    """Place areas with so many voxels in all into an ellipsoid, with a fifth more around them."""
    half = 4
    while True:
        volume = (2 * half, int(2.4 * half), 2 * half)
        grid = np.indices(volume).reshape(3, -1).T
        middle = (np.array(volume) - 1) / 2
        xyz = grid[(((grid - middle) / (middle + 0.5)) ** 2).sum(1) <= 1]
        if len(xyz) >= 1.2 * voxels:
            break
        half += 1
    area = np.full(len(xyz), -1)
    # The x distance to the midline breaks ties, so that both hemispheres get the same share.
    sideways = np.abs(xyz[:, 0] - middle[0])
    queue = np.lexsort((xyz[:, 0], xyz[:, 2], sideways, xyz[:, 1]))
    shares = np.cumsum([sum(area.share for area in block) for block in BLOCKS])
    ends = np.rint(shares / shares[-1] * voxels).astype(int)
    index = 0
    for block, begin, end in zip(BLOCKS, [0, *ends], ends, strict=False):
        taken = queue[begin:end]
        taken = taken[np.argsort(xyz[taken, 2], kind="stable")]
        for piece in np.array_split(taken, len(block)):
            area[piece] = index
            index += 1
    return Anatomy(volume, xyz, area)


def responses(
    images: NDArray[np.uint8], scenes: Sequence[Scene], anatomy: Anatomy, seed: int
) -> Doubles:
    """Return the noiseless response of every brain voxel to every image.

    Args:
        images: uint8 (images, height, width, 3).
        scenes: what each image shows.
        anatomy: where the voxels lie.
        seed: decides the tuning of each voxel.

    Returns:
        float64 (images, brain voxels), mean 0 and variance 1 over images; 0 outside `nsdgeneral`.
    """
    maps = picture_maps(images)
    shown = scene_table(scenes)
    found = np.zeros((len(images), len(anatomy.xyz)))
    for index, area in enumerate(AREAS):
        voxels = np.flatnonzero(anatomy.area == index)
        left = anatomy.left[voxels]
        rng = np.random.default_rng([seed, 1, index])
        if area.field is not None:
            found[:, voxels] = _early(maps, area, left, rng)
        else:
            found[:, voxels] = _driven_by_scene(shown, area, left, rng)
    spread = found.std(0)
    standard = (found - found.mean(0)) / np.where(spread > 1e-9, spread, 1.0)
    # Rounded, so that the order of a sum's terms (threads) does not reach the files.
    rounded: Doubles = np.where(spread > 1e-9, standard, 0.0).round(5)
    return rounded


MAPS: Final = 15


def picture_maps(images: NDArray[np.uint8]) -> Doubles:
    """Return what early voxels see: float64 (15 maps, images, height / 2 * width / 2).

    Eight of contrast energy (two scales, fine first, by four orientations), then luminance, red
    against green, blue against yellow, and four of signed edges (the slope of luminance to the
    right and down, at two scales); each of mean 0 and variance 1 over all pictures.
    """
    side = images.shape[1]
    found = np.empty((MAPS, len(images), (side // 2) ** 2))
    gabors, slopes = _gabors(side), _slopes(side)
    for start in range(0, len(images), 128):
        rows = slice(start, start + 128)
        red, green, blue = np.moveaxis(images[rows] / 255.0, 3, 0)
        luminance = (red + green + blue) / 3
        spectrum = np.fft.fft2(luminance - luminance.mean((1, 2), keepdims=True))
        for number, gabor in enumerate(gabors):
            found[number, rows] = _halved(np.abs(np.fft.ifft2(spectrum * gabor)))
        for number, slope in enumerate(slopes, start=11):
            found[number, rows] = _halved(np.fft.ifft2(spectrum * slope).real)
        found[8, rows] = _halved(luminance)
        found[9, rows] = _halved(red - green)
        found[10, rows] = _halved(blue - (red + green) / 2)
    mean, std = found.mean((1, 2), keepdims=True), found.std((1, 2), keepdims=True)
    standard: Doubles = (found - mean) / np.where(std > 1e-9, std, 1.0)
    return standard


def _gabors(side: int) -> list[Doubles]:
    down, across = np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side), indexing="ij")
    bank = []
    for frequency in (0.25, 0.10):
        for angle in np.pi / 4 * np.arange(4):
            u = across * np.cos(angle) + down * np.sin(angle)
            v = across * np.sin(angle) - down * np.cos(angle)
            width = 0.4 * frequency
            # One half of the spectrum only: the inverse transform's modulus is the energy's root.
            bank.append(np.exp(-((u - frequency) ** 2 + v**2) / (2 * width**2)))
    return bank


def _slopes(side: int) -> list[NDArray[np.complex128]]:
    down, across = np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side), indexing="ij")
    bank = []
    for sigma in (1.0, 2.0):
        smooth = np.exp(-2 * (np.pi * sigma) ** 2 * (across**2 + down**2))
        bank += [2j * np.pi * across * smooth, 2j * np.pi * down * smooth]
    return bank


def _halved(maps: Doubles) -> Doubles:
    count, side, _ = maps.shape
    halved: Doubles = maps.reshape(count, side // 2, 2, side // 2, 2).mean((2, 4))
    return halved.reshape(count, -1)


def _early(maps: Doubles, area: Area, left: NDArray[np.bool_], rng: np.random.Generator) -> Doubles:
    fields = _receptive_fields(area, left, rng, int(maps.shape[2] ** 0.5))
    weights = _map_weights(area, len(left), rng)
    total = np.zeros((maps.shape[1], len(left)))
    for number in range(MAPS):
        total += (maps[number] @ fields.T) * weights[:, number]
    return total


def _receptive_fields(
    area: Area, left: NDArray[np.bool_], rng: np.random.Generator, side: int
) -> Doubles:
    count = len(left)
    eccentricity = _eccentricities(count, rng)
    angle = rng.uniform(-np.pi / 2, np.pi / 2, count)
    if area.name[-1] in "vd":
        angle = np.abs(angle) * (1 if area.name.endswith("v") else -1)
    # The left hemisphere sees the right half of the field; y points up.
    x = eccentricity * np.cos(angle) * np.where(left, 1, -1)
    y = eccentricity * np.sin(angle)
    foveal, growth = area.field or (0.0, 0.0)
    sigma = (foveal + growth * eccentricity)[:, None, None]
    axis = (np.arange(side) + 0.5) / side * 2 - 1
    apart = (axis[None, None, :] - x[:, None, None]) ** 2
    apart = apart + (-axis[None, :, None] - y[:, None, None]) ** 2
    fields = np.exp(-apart / (2 * sigma**2)).reshape(count, -1)
    normed: Doubles = fields / fields.sum(1, keepdims=True)
    return normed


def _eccentricities(count: int, rng: np.random.Generator) -> Doubles:
    drawn: Doubles = 0.05 + 1.15 * rng.random(count) ** 0.55
    return drawn


def eccentricities(anatomy: Anatomy, seed: int) -> Doubles:
    """Return how far from the centre each brain voxel's receptive field lies.

    Returns:
        float64 (brain voxels,), half widths of the picture; NaN where there is no such field.
    """
    found = np.full(len(anatomy.xyz), np.nan)
    for index, area in enumerate(AREAS):
        if area.field is not None:
            voxels = np.flatnonzero(anatomy.area == index)
            found[voxels] = _eccentricities(len(voxels), np.random.default_rng([seed, 1, index]))
    return found


def _map_weights(area: Area, count: int, rng: np.random.Generator) -> Doubles:
    coarse = {"V1": 0.3, "V2": 0.5, "V3": 0.6, "hV": 0.6}[area.name[:2]]
    colour = {"V1": 0.6, "V2": 0.7, "V3": 0.8, "hV": 1.2}[area.name[:2]]
    preferred = rng.uniform(0, np.pi, count)[:, None]
    tuned = np.exp(1.5 * (np.cos(2 * (np.pi / 4 * np.arange(4) - preferred)) - 1))
    weights = np.empty((count, MAPS))
    weights[:, 0:4] = (1 - coarse) * tuned * rng.uniform(0.2, 0.6, (count, 1))
    weights[:, 4:8] = coarse * tuned * rng.uniform(0.2, 0.6, (count, 1))
    weights[:, 8] = 1.2 * rng.standard_normal(count)
    weights[:, 9:11] = colour * rng.standard_normal((count, 2))
    weights[:, 11:15] = rng.standard_normal((count, 4))
    return weights


_PLACED: Final = list(product(KINDS, POSITIONS, SIZES))
_COLOURED: Final = list(product(KINDS, COLOURS))


def scene_table(scenes: Sequence[Scene]) -> Doubles:
    """Count what each scene shows: float64 (scenes, features).

    Features are kind x position x size of objects, kind x colour of objects, and background.
    """
    columns: dict[object, int] = {
        key: number for number, key in enumerate([*_PLACED, *_COLOURED, *BACKGROUNDS])
    }
    table = np.zeros((len(scenes), len(columns)))
    for row, scene in enumerate(scenes):
        table[row, columns[scene.background]] = 1
        for thing in scene.objects:
            table[row, columns[thing.kind, thing.position, thing.size]] += 1
            table[row, columns[thing.kind, thing.colour]] += 1
    return table


def _driven_by_scene(
    shown: Doubles, area: Area, left: NDArray[np.bool_], rng: np.random.Generator
) -> Doubles:
    drive = shown @ _scene_weights(area, left, rng)
    threshold = np.quantile(drive, 0.25, axis=0)
    rectified: Doubles = np.maximum(drive - threshold, 0.0)
    return rectified


def _scene_weights(area: Area, left: NDArray[np.bool_], rng: np.random.Generator) -> Doubles:
    count = len(left)
    kind = rng.normal(0.0, 0.8 if not area.prefers else 0.12, (len(KINDS), count))
    for row, category in enumerate(KINDS.values()):
        kind[row] += dict(area.prefers).get(category, 0.0) * rng.uniform(0.6, 1.4, count)
    opposite = {"left": ~left, "centre": np.zeros(count, bool), "right": left}
    position = np.array([rng.uniform(0.4, 1.0, count) + 0.4 * opposite[name] for name in POSITIONS])
    size = np.array([rng.uniform(0.5, 0.9, count), np.ones(count)])
    placed = kind[:, None, None] * position[None, :, None] * size[None, None]
    plain = rng.normal(0.0, 0.2, (1, len(COLOURS), count))
    coloured = plain + rng.normal(0.0, 0.2, (len(KINDS), len(COLOURS), count))
    spread = 0.6 if area.name in ("PPA", "other") else 0.25
    background = rng.normal(0.0, spread, (len(BACKGROUNDS), count))
    return np.concatenate(
        [placed.reshape(-1, count), coloured.reshape(-1, count), background.reshape(-1, count)]
    )


EARLY_LEAD: Final = 1.5
"""How far early voxels are ahead in the order of noise ceilings, in standard deviations."""


def noise_ceilings(anatomy: Anatomy, median: float, seed: int) -> Doubles:
    """Draw each voxel's ncsnr, the signal's spread over a trial's noise; 0 outside `nsdgeneral`.

    Early voxels tend to have the higher ones, as in NSD. The share NC that the image explains of
    the mean over n presentations is ncsnr² / (ncsnr² + 1 / n).
    """
    concentration = 5.4
    # A Beta's median is (a - 1/3) / (a + b - 2/3), nearly.
    alpha = median * (concentration - 2 / 3) + 1 / 3
    rng = np.random.default_rng([seed, 2])
    share = np.zeros(len(anatomy.xyz))
    voxels = np.flatnonzero(anatomy.area >= 0)
    drawn = np.sort(rng.beta(alpha, concentration - alpha, len(voxels)).clip(1e-3, 0.98))
    early = np.array([area.field is not None for area in AREAS])[anatomy.area[voxels]]
    share[voxels[np.argsort(EARLY_LEAD * early + rng.standard_normal(len(voxels)))]] = drawn
    ncsnr: Doubles = np.sqrt(share / (1 - share) / REPEATS)
    return ncsnr


def session_betas(
    signal: Doubles,
    order: NDArray[np.int64],
    ncsnr: Doubles,
    *,
    signal_space_noise: float,
    seed: Sequence[int],
) -> NDArray[np.int16]:
    """Simulate one session: int16 (trials, brain voxels), percent signal change times 300.

    Args:
        signal: float64 (images, brain voxels) from `responses`.
        order: int64 (trials,), the image of each trial.
        ncsnr: float64 (brain voxels,).
        signal_space_noise: share of the noise variance that is another image's response.
        seed: the subject's seed and the session's number; gain and level drift between sessions.
    """
    subject = np.random.default_rng([seed[0], 3])
    level = subject.uniform(0.2, 1.2, len(ncsnr))
    spread = subject.uniform(1.0, 2.5, len(ncsnr))
    rng = np.random.default_rng([*seed, 4])
    gain, offset = rng.normal(1.0, 0.05), rng.normal(0.0, 0.1, len(ncsnr))
    noise = rng.standard_normal((len(order), len(ncsnr)))
    others = signal[rng.integers(0, len(signal), len(order))]
    noise = (1 - signal_space_noise) ** 0.5 * noise + signal_space_noise**0.5 * others
    trial = (signal[order] * ncsnr + noise) / np.sqrt(ncsnr**2 + 1)
    percent = level + spread * (gain * trial + offset)
    stored: NDArray[np.int16] = np.rint(percent * 300).clip(-32768, 32767).astype(np.int16)
    return stored
