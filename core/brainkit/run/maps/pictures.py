"""Draw maps: slices by nilearn, a flatmap by pycortex where it is installed."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainkit.run.maps.volume import Grid

TITLES = {
    "weight": "mean |weight| over the units of {feature}",
    "selected": "share of the units of {feature} that use a voxel",
}
CUTS = 6
MARGIN = 3
DPI = 120
COLOURS = "inferno_r"


def slices(
    grid: Grid, maps: Mapping[str, NDArray[np.float32]], xyz: NDArray[np.int32], feature: str
) -> NDArray[np.uint8]:
    """Draw axial and sagittal slices of each map, uint8 (height, width, 3).

    Colours run from 0 to the 99th percentile of each map, so that single voxels do not hide the
    rest; the head, or cortex without importance, is grey. Slices are spread evenly over the mapped
    voxels, and the volume is cropped to them.
    """
    from matplotlib import pyplot
    from PIL import Image

    figure = pyplot.figure(figsize=(9, 0.1 + 3.9 * len(maps)), dpi=DPI, facecolor="white")
    try:
        for row, (kind, values) in enumerate(maps.items()):
            _panel(figure, row, len(maps), grid=_cropped(grid, xyz), values=values, xyz=xyz)
            title = TITLES.get(kind, kind + " of {feature}").format(feature=feature)
            top = 1 - row / len(maps)
            figure.text(0.02, top - 0.02 / len(maps), title, va="top", fontsize=13)
        drawn = io.BytesIO()
        figure.savefig(drawn, format="png", facecolor="white")
    finally:
        pyplot.close(figure)
    picture: NDArray[np.uint8] = np.asarray(Image.open(drawn).convert("RGB"))
    return picture


def _panel(
    figure: Any,
    row: int,
    rows: int,
    *,
    grid: tuple[Grid, NDArray[np.int32]],
    values: NDArray[np.float32],
    xyz: NDArray[np.int32],
) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from nilearn.plotting import plot_img

    cropped, start = grid
    places = (xyz - start).astype(np.int32)
    image = cropped.image(values, places)
    under = cropped.cortex if cropped.cortex is not None else np.ones(cropped.shape, np.bool_)
    cortex = _like(image, under.astype(np.float32))
    highest = _highest(values)
    how: dict[str, Any] = {"cmap": "Greys", "vmin": 0, "vmax": 5, "threshold": 0.5}
    if cropped.anatomy is not None:
        cortex = _like(image, cropped.anatomy)
        most = float(np.percentile(cropped.anatomy, 99.5)) * 1.3
        how = {"cmap": "gray", "vmin": 0, "vmax": most, "threshold": 0.1 * most}
    for line, axis in enumerate("zx"):
        box = (0.0, 1 - (row + 0.54 + 0.45 * line) / rows, 0.87, 0.36 / rows)
        display = plot_img(
            cortex, display_mode=axis, cut_coords=_cuts(cropped, places, "xyz".index(axis)),
            figure=figure, axes=box, annotate=False, colorbar=False, black_bg=False,
            resampling_interpolation="nearest", **how,
        )  # fmt: skip
        display.add_overlay(image, cmap=COLOURS, vmin=0, vmax=highest, threshold=1e-9 * highest)
        _labelled(display, axis)
    bar = figure.add_axes((0.9, 1 - (row + 0.85) / rows, 0.012, 0.65 / rows))
    beyond = "max" if float(values.max(initial=0)) > highest else "neither"
    figure.colorbar(ScalarMappable(Normalize(0, highest), COLOURS), cax=bar, extend=beyond)
    bar.tick_params(labelsize=10)


def _highest(values: NDArray[np.float32]) -> float:
    """Return where colours end: the 99th percentile of the values above 0, or 1."""
    above = values[values > 0]
    return float(np.percentile(above, 99)) if len(above) else 1.0


def _labelled(display: Any, axis: str) -> None:
    """Write above each slice where it lies, and above axial ones which side is which."""
    for place, slice_axes in display.axes.items():
        above = slice_axes.ax
        above.text(0.5, 1.03, f"{axis} = {place:.1f}", transform=above.transAxes, ha="center",
                   va="bottom", fontsize=9)  # fmt: skip
        for x, side in ((0.11, "L"), (0.89, "R")) if axis == "z" else ():
            above.text(x, 1.03, side, transform=above.transAxes, ha="center", va="bottom",
                       fontsize=9)  # fmt: skip


def _cropped(grid: Grid, xyz: NDArray[np.int32]) -> tuple[Grid, NDArray[np.int32]]:
    """Cut the grid to the voxels and a margin; give it with the position of its first corner."""
    start = np.maximum(xyz.min(0) - MARGIN, 0)
    stop = np.minimum(xyz.max(0) + MARGIN + 1, grid.shape)
    inside = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    affine = grid.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ start
    x, y, z = (int(size) for size in stop - start)
    cortex = None if grid.cortex is None else grid.cortex[inside]
    anatomy = None if grid.anatomy is None else grid.anatomy[inside]
    return Grid((x, y, z), affine, cortex, anatomy), start


def _cuts(grid: Grid, xyz: NDArray[np.int32], axis: int) -> list[float]:
    """Return the millimetres of slices that share the mapped voxels evenly, ends left out."""
    shares = (np.arange(CUTS) + 0.5) / CUTS
    planes = np.unique(np.quantile(xyz[:, axis], shares, method="nearest"))
    return [float(grid.affine[axis, axis] * each + grid.affine[axis, 3]) for each in planes]


def _like(image: Any, volume: NDArray[np.float32]) -> Any:
    import nibabel

    return nibabel.Nifti1Image(volume, image.affine)


def has_pycortex() -> bool:
    """Say whether pycortex can be imported."""
    return importlib.util.find_spec("cortex") is not None


def flatmap(volume: NDArray[np.float32], subject: str, space: str) -> NDArray[np.uint8]:
    """Draw a map float32 (X, Y, Z) on the subject's flattened cortex by pycortex.

    Args:
        volume: the map.
        subject: name of the subject in pycortex's own store, e.g. "subj01".
        space: e.g. "func1pt8mm"; the transform is the one in the store whose name begins so, or
            the only one.

    Raises:
        Exception: whatever pycortex raises when its store has no such subject, surface or
            transform.
    """
    import cortex
    from matplotlib import pyplot
    from PIL import Image

    names = sorted(cortex.db.get_paths(subject)["xfms"])
    fitting = [name for name in names if name.startswith(space)] or names
    if not fitting:
        raise LookupError(f"its store has no transform for {subject}")
    # pycortex counts axes from Z to X.
    drawing = cortex.Volume(
        np.ascontiguousarray(volume.T), subject, fitting[0], cmap="inferno_r",
        vmin=0, vmax=_highest(volume),
    )  # fmt: skip
    drawn = io.BytesIO()
    figure = cortex.quickflat.make_figure(drawing, with_curvature=True, height=800)
    try:
        figure.savefig(drawn, format="png", facecolor="white")
    finally:
        pyplot.close(figure)
    picture: NDArray[np.uint8] = np.asarray(Image.open(drawn).convert("RGB"))
    return picture
