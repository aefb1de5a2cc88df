"""Methods run on data of one's own: under their names, and without captions if there are none."""

import json
import warnings

import numpy as np
import pytest

from brainkit.data import Selection
from brainkit.nsd import Recording, load_captions, load_stimuli, load_trials, write_dataset

WITHOUT = {
    "unibrain": (
        *("unibrain", "-o", "conditioner.use_zt=false", "-o", "conditioner.use_ct=false"),
        *("-o", "sampler.steps=4"),
    ),
    "takagi": ("minddiffuser", "-o", "conditioner.use_c=false"),
    "minddiffuser": ("minddiffuser", "-o", "conditioner.use_c=false"),
    "mindreader": ("mindreader", "-o", "conditioner.heads=image", "-o", "regressor.epochs=1"),
}
ASKED = {
    "unibrain": ("text_latent, clip_text", WITHOUT["unibrain"][1:5]),
    "takagi": ("text_tokens", WITHOUT["takagi"][1:]),
    "minddiffuser": ("text_tokens", WITHOUT["minddiffuser"][1:]),
    "mindreader": ("clip_text", WITHOUT["mindreader"][1:3]),
}


@pytest.fixture(scope="session")
def lab(nsd, tmp_path_factory):
    """Trials of a tiny subject as a lab's own, in two sessions: with captions and without."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trials = load_trials(nsd, 1, Selection(standardise="none", repeats="single"))
    halves = (trials.train, trials.test)
    betas = np.concatenate([half.betas for half in halves])
    images = np.concatenate([half.image_ids for half in halves])
    order = np.random.default_rng(0).permutation(len(images))
    parts = order[:70], order[70:]
    recording = Recording(
        "sub-CSI1", [betas[part] for part in parts], [images[part].tolist() for part in parts]
    )
    ids = range(int(images.max()) + 1)
    captions = {str(each): texts for each, texts in zip(ids, load_captions(nsd, ids), strict=True)}
    folder, tests = tmp_path_factory.mktemp("lab"), np.unique(trials.test.image_ids).tolist()
    for name, told in (("captioned", captions), ("silent", None)):
        pictures = load_stimuli(nsd, ids)
        write_dataset(
            folder / name, [recording], pictures, captions=told, test=tests, name="My lab"
        )
    return folder


def asked(method, folder, *more):
    small = ("--subject", "sub-CSI1", "--weights", "miniature", "--samples", 1, "--images", 2)
    return ("run", method, "--nsd", folder, *small, "--no-ceiling", *more)


@pytest.mark.parametrize("method", WITHOUT)
def test_data_without_captions_are_decoded_without_features_of_captions(method, lab, cli_with):
    plugin, *options = WITHOUT[method]
    brainkit = cli_with(plugin)
    features, offered = ASKED[method]
    refused = brainkit(*asked(method, lab / "silent"), code=2).stderr
    assert f"the data have no captions, from which {method} makes {features}; " in refused
    assert f"leave them out with {' '.join(offered)}" in refused
    told = brainkit(*asked(method, lab / "silent", *options))
    assert f"the data have no captions: {features} left out" in told.stderr
    report = brainkit.folder / told.stdout.splitlines()[-1]
    assert "sub-CSI1" in report.parts or "sub-CSI1" in str(report)
    written = json.loads((report.parent / "metrics.json").read_text())
    names = [score["name"] for score in written["scores"]]
    assert any(name.startswith("pixel correlation") for name in names)
    assert not any("BLEU" in name for name in names)
    assert written["subject"] == "sub-CSI1"
    assert "My lab" in written["title"]


def test_the_report_says_that_small_networks_read_other_data(lab, cli_with):
    brainkit = cli_with("unibrain")
    told = brainkit(*asked("unibrain", lab / "captioned", "-o", "sampler.steps=4"))
    assert told.stdout.splitlines()[0].startswith("Small networks: the miniature's")
    page = (brainkit.folder / told.stdout.splitlines()[-1]).read_text()
    assert (
        "Small networks: the miniature&#39;s" in page or "Small networks: the miniature's" in page
    )
    assert "BLEU" in page
    again = brainkit(*asked("unibrain", lab / "captioned", "-o", "sampler.steps=4"))
    assert "0 steps computed" in again.stderr
    made = (brainkit.folder / told.stdout.splitlines()[-1]).parent
    whose = ("--nsd", lab / "captioned", "--subject", "sub-CSI1", "--images", "given")
    scored = brainkit("evaluate", made, *whose)
    assert "Test images: the 10 that the data name" in scored.stdout


def test_what_a_paper_selects_of_nsd_gives_way_to_all_that_was_imported(lab, cli_with):
    brainkit = cli_with("minddiffuser")
    given = ("-o", "selection.sessions=1", "--dry-run", "--work", "other")
    told = brainkit(*asked("takagi", lab / "captioned", *given))
    assert "data of your own: selection.roi=nsdgeneral, not what the paper" in told.stderr
    assert "1 of 2 sessions" in told.stdout
    assert "40 voxels" in told.stdout


def test_small_networks_are_for_own_data_not_for_nsd(nsd, cli_with):
    ended = cli_with("unibrain")("run", "unibrain", "--nsd", nsd, "--weights", "miniature", code=2)
    assert "--weights is miniature, but networks trained on small drawings cannot" in ended.stderr


def test_a_subject_that_is_not_there_is_one_sentence(lab, cli_with):
    brainkit = cli_with("unibrain")
    ended = brainkit(*asked("unibrain", lab / "captioned", "--subject", "sub-X"), code=2)
    assert "there is no subject 'sub-X'; choose one of sub-CSI1" in ended.stderr
    ended = brainkit(*asked("unibrain", lab / "captioned", "--subject", "../x"), code=2)
    assert "--subject is '../x', expected 1 to 8, or in data of your own a name" in ended.stderr
