"""Maps of importance: files, pictures, tables and report, against volumes read by nibabel."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass, replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace

import nibabel
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file
from scipy.stats import mannwhitneyu
from shared_files import shared

from brainkit import hookimpl, option
from brainkit.errors import BrainkitError, DataError, PartError, UsageError
from brainkit.plugins import Registry, Source
from brainkit.regressors import Ridge
from brainkit.regressors.voxel_selected import VoxelSelectedRidge
from brainkit.run import Run, prepare, run
from brainkit.run.config import RunConfig
from brainkit.run.finished import map_runs
from brainkit.run.folder import Folder, found_runs
from brainkit.run.maps.facts import Facts, read, table
from brainkit.run.maps.feature import FeatureMaps
from brainkit.run.maps.pictures import slices
from brainkit.run.maps.regions import RegionMean
from brainkit.run.maps.volume import Grid, anatomy_of

VOXELS = 60


@dataclass(frozen=True)
class Chosen:
    """Per unit, the sum of the voxels that correlate most with it; selects voxels."""

    name = "chosen"
    count: int = option(5, "voxels a unit uses", ge=1)

    def fit(self, betas, feature):
        import torch

        x, y = betas - betas.mean(0), feature.flatten(1).float()
        slopes = x.T @ (y - y.mean(0)) / (x.square().sum(0)[:, None] + 1)
        kept = slopes.abs().topk(self.count, dim=0).indices
        return {"map": torch.zeros_like(slopes).scatter(0, kept, slopes.gather(0, kept))}

    def predict(self, weights, betas, feature):
        return (betas @ weights["map"]).reshape(len(betas), *feature.shape[1:])

    def importance(self, weights, betas, feature, factor=None):
        used = weights["map"] != 0
        return {"weight": weights["map"].abs().mean(1), "selected": used.float().mean(1)}


@dataclass(frozen=True)
class Odd(Chosen):
    """Return maps that are wrong in one of several ways."""

    name = "odd"
    way: str = option("short", "what is wrong")

    def importance(self, weights, betas, feature, factor=None):
        import torch

        if self.way == "fails":
            raise ValueError("no idea")
        ones = torch.ones(betas.shape[1])
        return {
            "short": {"weight": ones[1:]},
            "unnamed": {"heaviness": ones},
            "negative": {"weight": -ones},
            "gap": {"weight": ones * torch.nan},
        }[self.way]


@dataclass(frozen=True)
class Planted:
    """A number per image id, read from a file; 0 where there is none."""

    name = "planted"
    reads = "image"
    checkpoints = ()
    file: str = option("", "JSON: image id to number")

    def shape(self, store):
        return (1,)

    def load(self, store):
        import torch

        values = json.loads(Path(self.file).read_text())
        return lambda stimuli: torch.tensor(
            [[values.get(str(each), 0.0)] for each in stimuli.image_ids.tolist()]
        )


@dataclass(frozen=True)
class Mute:
    """A regressor that offers no map."""

    name = "mute"

    def fit(self, betas, feature):
        return {"mean": feature.flatten(1).float().mean(0)}

    def predict(self, weights, betas, feature):
        return weights["mean"].expand(len(betas), -1).reshape(len(betas), *feature.shape[1:])


def registered(toy) -> Registry:
    made = ModuleType("made")

    @hookimpl
    def register_regressors(register):
        for part in (Chosen(), Odd(), Mute()):
            register(part)

    @hookimpl
    def register_encoders(register):
        register(Planted())

    made.register_regressors = register_regressors
    made.register_encoders = register_encoders
    sources = [("toy", "brainkit-toy 1.0", toy), ("made", "brainkit-made 1.0", made)]
    return Registry([Source(name, owner, lambda m=m: m) for name, owner, m in sources])


@pytest.fixture(scope="session")
def download(tmp_path_factory) -> Path:
    """A download of 60 voxels, 90 training and 6 test images; read only."""
    from brainkit.miniature import miniature
    from brainkit.miniature.brain import Difficulty

    small = Difficulty(voxels=VOXELS, train_images=90, test_images=6)
    return miniature(tmp_path_factory.mktemp("maps"), difficulty=small).nsd


@pytest.fixture
def everything(toy) -> Registry:
    return registered(toy)


def runs(path: Path) -> list[Folder]:
    return found_runs(path)[0]


def finish(download, work, registry, **settings):
    settings = {"use": {"regressor": "chosen"}, "images": 3, "ceiling": False, **settings}
    said: list[str] = []
    config = RunConfig(method="toy", nsd=download, work=work, **settings)
    return run(prepare(config, registry, said.append)).parent


@pytest.fixture(scope="session")
def mapped(download, toy, tmp_path_factory):
    """(folder of a run whose features are mapped, what was printed); read only."""
    work = tmp_path_factory.mktemp("mapped")
    folder = finish(download, work, registered(toy))
    said: list[str] = []
    return folder, map_runs(runs(work), registered(toy), asked=(), say=said.append)[0].text()


def voxels(folder: Path) -> np.ndarray:
    return load_file(shared(folder, "trials"))["voxel_xyz"]


def regions_of(download: Path, name: str):
    found = next(download.rglob(f"roi/{name}.nii.gz"))
    return nibabel.load(found)


@pytest.mark.parametrize("kind", ["weight", "selected"])
@pytest.mark.parametrize("feature", ["picture", "length"])
def test_a_volume_lies_where_the_rois_lie_and_holds_the_values(download, mapped, feature, kind):
    folder, _ = mapped
    volume = nibabel.load(folder / "maps" / f"{feature}-{kind}.nii.gz")
    roi = regions_of(download, "nsdgeneral")
    assert volume.shape == roi.shape
    assert volume.get_data_dtype() == np.float32
    np.testing.assert_array_equal(volume.affine, roi.affine)
    assert volume.header.get_xyzt_units()[0] == "mm"
    weights = load_file(shared(folder, f"weights/{feature}"))["map"]
    expected = {"weight": np.abs(weights).mean(1), "selected": (weights != 0).mean(1)}[kind]
    xyz, found = voxels(folder), volume.get_fdata()
    # One rounding of a float32 mean.
    np.testing.assert_allclose(found[tuple(xyz.T)], expected, rtol=1e-5)
    found[tuple(xyz.T)] = 0
    assert not found.any()
    assert len(np.unique(expected)) > 1


def test_the_voxels_of_the_map_are_those_of_the_selected_region(download, mapped):
    folder, _ = mapped
    inside = np.asarray(regions_of(download, "nsdgeneral").dataobj) > 0
    np.testing.assert_array_equal(np.argwhere(inside), voxels(folder))


def test_the_picture_is_drawn_and_differs_between_features(mapped):
    folder, _ = mapped
    pictures = [np.asarray(Image.open(folder / f"maps/{n}.png")) for n in ("picture", "length")]
    for each in pictures:
        assert each.shape[2] == 3
        assert 600 <= each.shape[1] <= 1600
        # Colour, not only grey: the map itself is drawn over the cortex.
        assert (np.ptp(each.astype(int), axis=2) > 60).mean() > 0.005
    assert not np.array_equal(*pictures)


def drawn(anatomy=None):
    """Draw a ball of 300 voxels of which one has a thousand times the others' importance."""
    shape = (16, 16, 16)
    xyz = np.argwhere(np.indices(shape).sum(0) % 13 == 0)[:300].astype(np.int32)
    values = np.linspace(0.01, 1, len(xyz)).astype(np.float32)
    values[0] = 1000
    grid = Grid(shape, np.diag([2.0, 2.0, 2.0, 1.0]), np.ones(shape, bool), anatomy)
    return slices(grid, {"weight": values}, xyz, "clip")


def colourful(picture):
    """Count the pixels that are neither grey nor yellow-white, as voxels of some importance."""
    return int((np.ptp(picture.astype(int), axis=-1) > 150).sum())


def test_one_voxel_does_not_hide_the_others():
    # Ends of the scale at the largest value would leave all others in the palest yellow.
    assert colourful(drawn()) > 5000


def test_anatomy_is_drawn_below_where_there_is_one():
    head = np.zeros((16, 16, 16), np.float32)
    head[2:14, 2:14, 2:14] = 700.0
    assert not np.array_equal(drawn(head), drawn())
    np.testing.assert_array_equal(drawn(head), drawn(head))


@pytest.mark.parametrize("spoilt", ["absent", "other grid", "cut off", "flat"])
def test_anatomy_that_cannot_be_used_is_passed_over(tmp_path, spoilt):
    shape = (9, 9, 9) if spoilt == "other grid" else (8, 8, 8)
    values = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    path = tmp_path / "T1_to_func1pt8mm.nii.gz"
    if spoilt != "absent":
        nibabel.save(nibabel.Nifti1Image(values * (spoilt != "flat"), np.eye(4)), path)
    if spoilt == "cut off":
        path.write_bytes(path.read_bytes()[:60])
    assert anatomy_of(tmp_path, "func1pt8mm", (8, 8, 8)) is None
    mean = np.arange(512, dtype=np.float32).reshape(8, 8, 8)
    nibabel.save(nibabel.Nifti1Image(mean, np.eye(4)), tmp_path / "mean.nii.gz")
    np.testing.assert_array_equal(anatomy_of(tmp_path, "func1pt8mm", (8, 8, 8)), mean)


def test_the_table_gives_the_mean_over_each_region_of_the_download(download, mapped):
    folder, printed = mapped
    volume = nibabel.load(folder / "maps/picture-weight.nii.gz").get_fdata()
    share = nibabel.load(folder / "maps/picture-selected.nii.gz").get_fdata()
    brain = np.asarray(regions_of(download, "nsdgeneral").dataobj) > 0
    weight_table, selected_table = printed.split("Share of")
    for atlas, label, name in (("streams", 1, "early"), ("floc-places", 2, "PPA")):
        inside = brain & (np.asarray(regions_of(download, atlas).dataobj) == label)
        relative = volume[inside].mean() / volume[brain].mean()
        row = next(line for line in weight_table.splitlines() if f"{atlas} {name} " in line)
        # Printed with two decimals.
        assert row.split()[2:4] == [str(inside.sum()), f"{relative:.2f}"]
        row = next(line for line in selected_table.splitlines() if f"{atlas} {name} " in line)
        assert row.split()[3:5] == [f"{100 * share[inside].mean():.2f}", "%"]
    assert "length" in printed
    assert str(folder / "maps" / "picture.png") in printed
    assert str(folder / "report.html") in printed


def test_columns_of_the_table_line_up_and_a_missing_region_is_a_dash():
    both = (RegionMean("streams", "early", 10, 2.0), RegionMean("streams", "ventral", 5, 0.5))
    rows = table(
        [Facts("a", "weight", 15, 3.0, 1.0, both), Facts("bb", "weight", 10, 3.0, 2.0, both[:1])],
        "weight",
    ).splitlines()
    assert len({len(row) for row in rows}) == 1
    assert [row.split()[1:] for row in rows[1:3]] == [
        ["early", "10", "2.00", "1.00"],
        ["ventral", "5", "0.50", "-"],
    ]


def test_the_report_shows_each_map_once_the_features_are_mapped(mapped):
    folder, _ = mapped
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert 'id="maps"' in page
    assert page.count('<figure class="map">') == 2
    picture = read(folder / "maps/picture.json")[0]
    assert f"the largest is {picture.largest:.3g}" in page
    best = max(picture.regions, key=lambda each: each.mean)
    assert f"<dt>{best.name}</dt>" in page
    assert 'src="http' not in page


@pytest.fixture
def work(download, everything, tmp_path):
    """A work folder with a finished run, mapped; free to change."""
    finish(download, tmp_path, everything)
    map_runs(runs(tmp_path), everything, asked=(), say=lambda said: None)
    return tmp_path


def mapping(work, registry, *asked):
    said: list[str] = []
    map_runs(runs(work), registry, asked=asked, say=said.append)
    return [line.partition(":")[0] for line in said if ": computing" in line]


def test_mapping_again_computes_nothing_and_a_lost_file_alone_is_made_again(work, everything):
    (folder,) = work.glob("*/subj01/runs/*")
    assert mapping(work, everything) == []
    volume = folder / "maps/length-weight.nii.gz"
    before = volume.read_bytes()
    volume.unlink()
    assert mapping(work, everything) == ["maps/length-weight"]
    assert volume.read_bytes() == before
    assert not list(work.rglob("*.part"))


def test_a_feature_with_its_own_region_is_mapped_on_that_region_alone(
    download, everything, tmp_path
):
    options = {"selection.by_feature": ["picture=streams:early"]}
    folder = finish(download, tmp_path, everything, options=options)
    (printed,) = map_runs(runs(tmp_path), everything, asked=["picture"], say=lambda said: None)
    weights = load_file(shared(folder, "weights/picture"))["map"]
    found = nibabel.load(folder / "maps/picture-weight.nii.gz").get_fdata()
    early = np.asarray(regions_of(download, "streams").dataobj) == 1
    np.testing.assert_allclose(found[early], np.abs(weights).mean(1), rtol=1e-5)
    assert not found[~early].any()
    assert "streams early" in printed.text()
    assert "floc" not in printed.text()


def test_one_feature_can_be_asked_for_from_within_the_folder_of_the_method(
    download, everything, tmp_path, monkeypatch
):
    folder = finish(download, tmp_path, everything)
    monkeypatch.chdir(folder)
    map_runs(runs(Path(".")), everything, asked=["length"], say=lambda said: None)
    assert (folder / "maps/length.png").exists()
    assert not (folder / "maps/picture.png").exists()
    assert (folder / "report.html").read_text(encoding="utf-8").count('<figure class="map">') == 1


def test_maps_of_another_option_lie_in_another_run(download, everything, work):
    (first,) = work.rglob("report.html")
    folder = finish(download, work, everything, options={"regressor.picture.count": 7})
    assert '<figure class="map">' not in (folder / "report.html").read_text(encoding="utf-8")
    assert "maps/picture-weight" in mapping(work, everything)
    share = nibabel.load(folder / "maps/picture-selected.nii.gz").get_fdata()
    assert share.sum() == pytest.approx(7, rel=1e-5)  # each unit uses exactly seven voxels
    for page in (first, folder / "report.html"):
        assert page.read_text(encoding="utf-8").count('<figure class="map">') == 2


def test_a_regressor_that_selects_no_voxels_leaves_no_map_of_selection(download, everything, work):
    folder = finish(download, work, everything, use={"regressor": "ridge"})
    mapping(work, everything)
    assert (folder / "maps/picture-weight.nii.gz").exists()
    assert not (folder / "maps/picture-selected.nii.gz").exists()


@pytest.mark.parametrize("regressor", ["chosen", "ridge"])
def test_the_voxels_that_a_feature_is_made_of_stand_out_where_they_lie(
    download, everything, tmp_path, regressor
):
    folder = finish(download, tmp_path, everything)
    trials = load_file(shared(folder, "trials"))
    planted = [17, 40]
    values = trials["train_betas"][:, planted] @ np.array([1.0, -1.0], np.float32)
    pairs = zip(trials["train_image_ids"].tolist(), values.tolist(), strict=True)
    (tmp_path / "values.json").write_text(json.dumps(dict(pairs)))
    use = {"encoder.length": "planted", "regressor.length": regressor}
    options = {"encoder.length.file": str(tmp_path / "values.json")}
    # With more trials than voxels and hardly a penalty, ridge finds the very combination.
    option_of = {"chosen": ("count", 2), "ridge": ("alpha", 0.1)}[regressor]
    options[f"regressor.length.{option_of[0]}"] = option_of[1]
    folder = finish(download, tmp_path, everything, use=use, options=options)
    map_runs(runs(folder), everything, asked=["length"], say=lambda said: None)
    found = nibabel.load(folder / "maps/length-weight.nii.gz").get_fdata()
    largest = np.argsort(found.ravel())[-2:]
    highest = np.stack(np.unravel_index(np.sort(largest), found.shape), axis=1)
    np.testing.assert_array_equal(highest, trials["voxel_xyz"][planted])


@pytest.mark.parametrize(
    ("way", "error", "words"),
    [
        ("short", DataError, ("'weight'", f"({VOXELS - 1},)", f"({VOXELS},)")),
        ("unnamed", DataError, ("['heaviness']", "'weight'")),
        ("negative", DataError, ("below 0",)),
        ("gap", DataError, ("not finite",)),
        ("fails", PartError, ("failed mapping length", "no idea")),
    ],
)
def test_a_regressor_that_gives_no_proper_map_is_named(
    download, everything, tmp_path, way, error, words
):
    options = {"regressor.length.way": way}
    finish(download, tmp_path, everything, use={"regressor.length": "odd"}, options=options)
    with pytest.raises(error) as caught:
        map_runs(runs(tmp_path), everything, asked=["length"], say=lambda said: None)
    for word in ("'odd' (brainkit-made 1.0)", *words):
        assert word in str(caught.value)
    assert not list(tmp_path.rglob("maps/length*"))


def test_wrong_input_gets_one_sentence(download, everything, tmp_path):
    def failing(work, *asked):
        with pytest.raises(BrainkitError) as caught:
            map_runs(runs(work), everything, asked=asked, say=lambda said: None)
        assert "\n" not in str(caught.value)
        return caught.value

    folder = finish(download, tmp_path, everything, use={"regressor.length": "mute"})
    unknown = failing(tmp_path, "pictrue")
    assert isinstance(unknown, UsageError)
    assert "toy has no feature 'pictrue' (it has: picture, length). Did you mean" in str(unknown)
    silent = failing(tmp_path, "length")
    assert "'mute' (brainkit-made 1.0) of toy offers no map of length" in str(silent)
    shared(folder, "weights/picture").unlink()
    unfinished = failing(tmp_path, "picture")
    assert "has no weights to map (weights/picture are missing or out of date)" in str(unfinished)
    assert f"run `brainkit run --config {folder / 'run.toml'}` first" in str(unfinished)


def test_a_map_takes_weights_alone(download, everything, tmp_path):
    folder = finish(download, tmp_path, everything)
    shutil.rmtree(folder.parents[1] / "latents")
    before = (folder / "report.html").read_bytes()
    said: list[str] = []
    map_runs(runs(tmp_path), everything, asked=["picture"], say=said.append)
    assert (folder / "maps/picture-weight.nii.gz").exists()
    assert not (folder.parents[1] / "latents").exists()
    assert said[-1].startswith("report: not written again, since ")
    assert "latents/brain" in said[-1]
    assert (folder / "report.html").read_bytes() == before


def test_features_without_a_map_are_left_out_with_a_line_unless_asked_for(
    download, everything, tmp_path
):
    use = {"regressor.length": "mute", "regressor.picture": "chosen"}
    folder = finish(download, tmp_path, everything, use=use)
    said: list[str] = []
    map_runs(runs(tmp_path), everything, asked=(), say=said.append)
    assert [line for line in said if line.startswith("maps/length: left out")]
    assert (folder / "maps/picture.png").exists()
    assert not (folder / "maps/length.png").exists()


def test_a_run_of_which_nothing_can_be_mapped_says_so(download, everything, tmp_path):
    finish(download, tmp_path, everything, use={"regressor": "mute"})
    with pytest.raises(UsageError, match="no regressor of toy offers a map"):
        map_runs(runs(tmp_path), everything, asked=(), say=lambda said: None)


class Cortex(ModuleType):
    """Stands for pycortex: keeps what it was given and draws a small picture."""

    def __init__(self, transforms):
        super().__init__("cortex")
        self.given = None
        self.db = SimpleNamespace(get_paths=lambda subject: {"xfms": transforms})
        self.quickflat = SimpleNamespace(make_figure=self.draw)

    def Volume(self, data, subject, transform, **how):  # noqa: N802
        self.given = (data, subject, transform, how)
        return self

    def draw(self, volume, **how):
        from matplotlib import pyplot

        return pyplot.figure(figsize=(2, 1))


def with_pycortex(monkeypatch, module):
    module.__spec__ = ModuleSpec("cortex", None)
    monkeypatch.setitem(sys.modules, "cortex", module)


def test_a_flatmap_is_drawn_of_the_volume_with_its_axes_turned_where_pycortex_is(
    download, everything, tmp_path, monkeypatch
):
    folder = finish(download, tmp_path, everything)
    pycortex = Cortex(["anat", "func1pt8_to_anat", "func1pt8mm"])
    with_pycortex(monkeypatch, pycortex)
    map_runs(runs(tmp_path), everything, asked=["picture"], say=lambda said: None)
    data, subject, transform, how = pycortex.given
    volume = nibabel.load(folder / "maps/picture-weight.nii.gz").get_fdata()
    np.testing.assert_array_equal(data, volume.transpose(2, 1, 0))
    assert (subject, transform) == ("subj01", "func1pt8mm")
    assert how["vmax"] == pytest.approx(np.percentile(volume[volume > 0], 99))
    assert Image.open(folder / "maps/picture-flatmap.png").size[0] > 0
    assert "on the flattened cortex" in (folder / "report.html").read_text(encoding="utf-8")


def test_where_pycortex_cannot_draw_a_line_says_so_and_the_rest_is_written(
    download, everything, tmp_path, monkeypatch
):
    folder = finish(download, tmp_path, everything)
    with_pycortex(monkeypatch, Cortex([]))
    said: list[str] = []
    map_runs(runs(tmp_path), everything, asked=["picture"], say=said.append)
    (line,) = [each for each in said if "not drawn" in each]
    assert "pycortex" in line
    assert "no transform for subj01" in line
    assert (folder / "maps/picture.png").exists()
    assert not list(folder.glob("maps/*flatmap*"))


def test_the_command_prints_the_table_and_refuses_an_unknown_feature(download, cli):
    cli("run", "toy", "--nsd", download, "--images", 3, "--work", "w")
    done = cli("map", "w", "--feature", "picture")
    assert "streams early" in done.stdout
    assert "picture-weight.nii.gz" in done.stdout
    assert "maps/picture-weight: computing" in done.stderr
    failed = cli("map", "w", "--feature", "pictures", code=2)
    assert failed.stderr.strip().splitlines() == [
        "Error: toy has no feature 'pictures' (it has: picture, length). Did you mean 'picture'?"
    ]


READ = {"image_latent": "early", "clip_text": "ventral"}


@pytest.fixture(
    scope="session",
    # A unit reads one voxel in thirty, as the paper's c does of NSD's voxels.
    params=[Ridge(alpha=1000.0), VoxelSelectedRidge(voxels=20)],
    ids=["ridge", "voxel-selected-ridge"],
)
def tuned(request, tmp_path_factory) -> Run:
    """The image latent and the caption embedding of the miniature, predicted and mapped."""
    from brainkit.checkpoints import CheckpointStore
    from brainkit.data import Selection
    from brainkit.encoders.autokl import AutoKL
    from brainkit.encoders.clip import ClipText
    from brainkit.miniature import miniature
    from brainkit.miniature.brain import Difficulty
    from brainkit.run import predictions
    from brainkit.run.shared import Work
    from brainkit.testing.toys import TOYS

    folder = tmp_path_factory.mktemp("tuned")
    subject = Difficulty(voxels=600, train_images=300, test_images=10)
    method = replace(
        TOYS,
        encoders={"image_latent": AutoKL(), "clip_text": ClipText()},
        regressors=dict.fromkeys(READ, request.param),
        selection=Selection(),
    )
    made = Run(
        config=RunConfig(method="toys"),
        method=method,
        registry=Registry([]),
        work=Work(folder / "work", lambda said: None),
        store=CheckpointStore(folder, miniature=True),
        nsd=miniature(folder, difficulty=subject).nsd,
    )
    known = predictions(made)
    for name in READ:
        FeatureMaps(made, name, known).write()
    return made


@pytest.mark.parametrize(("feature", "region"), READ.items())
def test_on_the_miniature_a_feature_is_read_from_the_region_tuned_to_it(tuned, feature, region):
    streams = np.asarray(regions_of(tuned.nsd, "streams").dataobj)
    maps = sorted((tuned.folder.root / "maps").glob(f"{feature}-*.nii.gz"))
    assert maps
    for path in maps:
        values = nibabel.load(path).get_fdata()
        early, ventral = values[streams == 1], values[streams == 5]
        tuned_to, other = (early, ventral) if region == "early" else (ventral, early)
        assert tuned_to.mean() > 1.1 * other.mean()
        # Voxels drawn from one distribution would be ordered so less than once in 1000 times.
        assert mannwhitneyu(tuned_to, other, alternative="greater").pvalue < 1e-3
