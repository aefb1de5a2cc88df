"""Which images are test images under either split, against counting by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from safetensors.numpy import load_file
from shared_files import shared
from trees import timeless

from brainkit.cli.run import plan as dry_text
from brainkit.data import Selection
from brainkit.errors import UsageError
from brainkit.nsd import check_data, load_design, load_trials, plan_trials, read_layout
from brainkit.run import prepare, run
from brainkit.run.config import RunConfig, read_config
from brainkit.run.publish import summary
from brainkit.testing import tiny_nsd

GOLDEN = Path(__file__).parent / "golden/nsd"
ROOT = GOLDEN / "fake_nsd"
EXPECTED = load_file(GOLDEN / "expected.safetensors")
SHOWN = EXPECTED["trial_nsd_id_0based"].tolist()
SESSION = EXPECTED["trial_session"].tolist()
ATOL = 2e-5  # the fixture's README: float64 arithmetic stays below 5e-7
SPLIT = "first-seen-85"
PERIODS = [("available", (1, 2)), (1, (1,)), ((2,), (2,))]

pytestmark = pytest.mark.filterwarnings("ignore::brainkit.errors.BrainkitWarning")


def first_seen(shown: list[int]) -> tuple[set[int], set[int]]:
    """Part images in a plain loop: training images until 85 % of all are reached."""
    seen: list[int] = []
    for image in shown:
        if image not in seen:
            seen.append(image)
    train = [image for place, image in enumerate(seen) if (place + 1) * 100 <= len(seen) * 85]
    return set(train), set(seen) - set(train)


def golden_trials(sessions: tuple[int, ...]) -> list[int]:
    return [trial for trial, session in enumerate(SESSION) if session in sessions]


def shown_by(root: Path) -> list[int]:
    """The 0-based images of subject 1's trials, straight from the file of the release's layout."""
    fields = scipy.io.loadmat(root / "nsddata/experiments/nsd/nsd_expdesign.mat")
    layout = read_layout(root)
    n_trials = layout.subject(1).sessions * layout.trials_per_session
    order = fields["masterordering"].ravel()[:n_trials]
    return [int(fields["subjectim"][0, int(place) - 1]) - 1 for place in order]


@pytest.mark.parametrize(("asked", "sessions"), PERIODS)
@pytest.mark.parametrize("repeats", ["average", "single"])
def test_the_last_15_percent_first_seen_in_the_loaded_sessions_are_test(asked, sessions, repeats):
    train, test = first_seen([SHOWN[trial] for trial in golden_trials(sessions)])
    selection = Selection(sessions=asked, repeats=repeats, standardise="none", split=SPLIT)
    trials = load_trials(ROOT, 1, selection)
    assert set(trials.train.image_ids.tolist()) == train
    assert set(trials.test.image_ids.tolist()) == test
    assert len(test) >= 1
    n_trials = len(golden_trials(sessions))
    assert trials.train.repeats.sum() + trials.test.repeats.sum() == n_trials


@pytest.mark.parametrize("which", ["tiny", "miniature"])
def test_the_simulated_subjects_are_parted_as_their_design_says(which, nsd, tmp_path):
    root = tiny_nsd(tmp_path / "tiny") if which == "tiny" else nsd
    train, test = first_seen(shown_by(root))
    trials = load_trials(root, 1, Selection(split=SPLIT, standardise="train"))
    assert set(trials.train.image_ids.tolist()) == train
    assert set(trials.test.image_ids.tolist()) == test
    assert (len(train), len(test)) == {"tiny": (20, 4), "miniature": (34, 6)}[which]
    n_session = read_layout(root).trials_per_session
    first = load_trials(root, 1, Selection(split=SPLIT, standardise="train", sessions=1))
    assert set(first.test.image_ids.tolist()) == first_seen(shown_by(root)[:n_session])[1]
    assert set(first.test.image_ids.tolist()) != test


def test_no_image_is_on_both_sides(nsd):
    for split in ("shared", SPLIT):
        trials = load_trials(nsd, 1, Selection(split=split, repeats="single"))
        assert not set(trials.train.image_ids.tolist()) & set(trials.test.image_ids.tolist())


@pytest.mark.parametrize("repeats", ["average", "single"])
@pytest.mark.parametrize("standardise", ["session", "train", "none"])
def test_betas_are_standardised_by_this_splits_training_trials(standardise, repeats):
    train, _ = first_seen(SHOWN)
    values = EXPECTED["betas_psc"].astype(np.float64)
    if standardise == "session":
        values = values.copy()
        for session in (1, 2):
            own = [t for t in range(len(SHOWN)) if SESSION[t] == session]
            fit = values[[t for t in own if SHOWN[t] in train]]
            spread = fit.std(axis=0)
            values[own] = (values[own] - fit.mean(axis=0)) / np.where(spread < 1e-8, np.inf, spread)
    rows = {}
    for side in (True, False):
        of_side = [t for t in range(len(SHOWN)) if (SHOWN[t] in train) == side]
        ids = sorted({SHOWN[t] for t in of_side})
        if repeats == "average":
            shown = [[t for t in of_side if SHOWN[t] == image] for image in ids]
            rows[side] = np.stack([values[trials].mean(axis=0) for trials in shown])
        else:
            rows[side] = values[sorted(of_side, key=lambda t: (SHOWN[t], t))]
    if standardise == "train":
        mean, spread = rows[True].mean(axis=0), rows[True].std(axis=0, ddof=1)
        spread = np.where(spread < 1e-8, np.inf, spread)
        rows = {side: (each - mean) / spread for side, each in rows.items()}
    selection = Selection(standardise=standardise, repeats=repeats, split=SPLIT)
    trials = load_trials(ROOT, 1, selection)
    np.testing.assert_allclose(trials.train.betas, rows[True], rtol=0, atol=ATOL)
    np.testing.assert_allclose(trials.test.betas, rows[False], rtol=0, atol=ATOL)


def test_without_the_option_the_shared_images_are_test():
    default, said = (
        load_trials(ROOT, 1, each) for each in (Selection(), Selection(split="shared"))
    )
    for trials in (default, said):
        np.testing.assert_array_equal(trials.test.image_ids, EXPECTED["all.test_ids"])
        np.testing.assert_array_equal(trials.train.image_ids, EXPECTED["all.train_ids"])
    np.testing.assert_array_equal(default.train.betas, said.train.betas)
    np.testing.assert_array_equal(default.test.betas, said.test.betas)


def test_the_design_gives_either_side_in_order_of_first_presentation():
    ordered = list(dict.fromkeys(SHOWN))
    train, test = first_seen(SHOWN)
    design = load_design(ROOT, 1)
    found = [design.presented([2, 1], test=side, split=SPLIT).tolist() for side in (False, True)]
    assert found == [ordered[: len(train)], ordered[len(train) :]]
    assert set(found[1]) == test
    # Sessions in another order show the same test images, at other places.
    reversed_ids = design.image_ids[design.trials([2, 1])]
    assert set(reversed_ids[design.tested([2, 1], SPLIT)].tolist()) == test


def test_an_unknown_split_is_told_in_one_sentence(nsd, registry, tmp_path):
    said = r"selection\.split is 'first-seen-86', expected one of shared, first-seen-85, clusters\."
    with pytest.raises(UsageError, match=said):
        plan_trials(ROOT, 1, Selection(split="first-seen-86"))
    config = RunConfig(
        method="toy", nsd=nsd, work=tmp_path, options={"selection.split": "first-seen-86"}
    )
    with pytest.raises(UsageError, match=r"selection\.split is 'first-seen-86'"):
        prepare(config, registry, print)


def test_plan_and_check_say_the_counts_of_either_split():
    _, test = first_seen(SHOWN)
    plan = plan_trials(ROOT, 1, Selection(split=SPLIT))
    assert f"(the last {len(test)} of {len(set(SHOWN))} first seen)" in plan.text()
    shared = plan_trials(ROOT, 1, Selection(sessions=1)).test_images
    assert shared == "the 9 of the 12 shared by all subjects (split shared)"
    found = check_data(ROOT).present
    assert any(f"12 test images ({len(test)} with split {SPLIT})" in each for each in found)


@pytest.fixture
def do(nsd, registry, tmp_path):
    def doing(split: str = "shared", dry: bool = False):
        options = {} if split == "shared" else {"selection.split": split}
        config = RunConfig(method="toy", nsd=nsd, work=tmp_path / "work", options=options)
        said: list[str] = []
        prepared = prepare(config, registry, said.append, dry=dry)
        return (prepared, said) if dry else (run(prepared).parent, said)

    return doing


SENTENCES = {
    "shared": "the 10 shared by all subjects (split shared)",
    SPLIT: "the last 15 % first seen in the 5 sessions loaded, 6 of 40 (split first-seen-85), "
    "so numbers do not compare with the split shared",
}


@pytest.mark.parametrize("split", SENTENCES)
def test_report_metrics_and_run_file_say_which_split_was_used(do, nsd, split):
    folder, _ = do(split)
    assert f"Test images: {SENTENCES[split]}." in (folder / "report.html").read_text()
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["test_images"] == SENTENCES[split]
    test = first_seen(shown_by(nsd))[1]
    if split == SPLIT:
        assert {each["image_id"] for each in metrics["images"]} == test
        assert len(test) == 6
    assert metrics["options"]["selection.split"] == split
    assert read_config(folder / "run.toml")["options"]["selection.split"] == split


def test_the_table_of_scores_ends_with_the_split(nsd, registry, tmp_path):
    options = {"selection.split": SPLIT}
    config = RunConfig(method="toy", nsd=nsd, work=tmp_path, options=options)
    prepared = prepare(config, registry, list)
    run(prepared)
    assert summary(prepared)[-1] == f"Test images: {SENTENCES[SPLIT]}."


def test_a_dry_run_says_the_split(do):
    for split, sentence in SENTENCES.items():
        text = dry_text(do(split, dry=True)[0])
        assert f"tests    {sentence}" in text
    assert "34 training images, 6 test images, 6 to be reconstructed" in text


def test_what_another_split_made_is_never_taken_for_current(do):
    folder, _ = do()
    before = timeless(folder / "metrics.json")
    _, said = do(SPLIT)
    kept = [line for line in said if line.endswith(": kept")]
    assert not kept
    assert any("split" in line and "trials" in line for line in said)
    do()
    assert timeless(folder / "metrics.json") == before
    _, said = do()
    assert any(line.startswith("0 steps computed") for line in said)


def test_equal_ids_under_another_split_are_other_features(do):
    shared, other = do(dry=True)[0], do(dry=True)[0]
    other.__dict__["plan"] = replace(shared.plan, split=SPLIT)
    assert other.files["ids"] != shared.files["ids"]
    # The shared split's own recipe: the ascending training ids, then the ascending test ids.
    every = [np.asarray(sorted(each), dtype="i4") for each in _shared_sides(shared.nsd)]
    assert shared.files["ids"] == sha256(b"".join(x.tobytes() for x in every)).hexdigest()[:16]


def _shared_sides(root: Path) -> tuple[set[int], set[int]]:
    fields = scipy.io.loadmat(root / "nsddata/experiments/nsd/nsd_expdesign.mat")
    test = {int(each) - 1 for each in fields["sharedix"].ravel()}
    return set(shown_by(root)) - test, test


def test_single_test_trials_are_averaged_before_features_are_predicted(nsd, registry, tmp_path):
    options = {"selection.split": SPLIT, "selection.repeats": "single"}
    config = RunConfig(method="toy", nsd=nsd, work=tmp_path, options=options)
    folder = run(prepare(config, registry, list)).parent
    decoded = load_file(shared(folder, "decoded/length"))["decoded"]
    assert len(decoded) == 6
    footnotes = json.loads((folder / "metrics.json").read_text())["footnotes"]
    assert any("Test trials of an image are averaged" in each for each in footnotes)
