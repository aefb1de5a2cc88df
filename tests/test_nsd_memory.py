"""Memory while loading, counted by tracemalloc, which sees every numpy array."""

import tracemalloc

import h5py
import nibabel
import numpy as np
import pytest
import scipy.io

from brainkit.data import Selection
from brainkit.nsd import Layout, SubjectLayout, load_trials, write_layout
from brainkit.nsd.betas import SessionGrid, read_session
from brainkit.nsd.sessions import session_path

VOLUME = (20, 20, 20)
TRIALS = 300
SESSIONS = 4
N_IMAGES, N_SHARED = 400, 40
FORMATS = {"hdf5": ".hdf5", "nifti": ".nii.gz"}
SMALL = 1_500_000  # bytes for headers, masks and one block of voxels


@pytest.fixture(scope="module")
def nsd(tmp_path_factory):
    """A download of 4 sessions; its ROI is 3 quarters of the volume."""
    root = tmp_path_factory.mktemp("nsd")
    rng = np.random.default_rng(0)
    subject = root / "nsddata/ppdata/subj01/func1pt8mm/roi"
    betas = root / "nsddata_betas/ppdata/subj01/func1pt8mm/betas_fithrf_GLMdenoise_RR"
    experiment = root / "nsddata/experiments/nsd"
    for folder in (subject, betas, experiment):
        folder.mkdir(parents=True)
    affine = np.diag([1.8, 1.8, 1.8, 1.0])
    labels = np.ones(VOLUME, dtype=np.float32)
    labels[:5] = 0
    nibabel.save(nibabel.Nifti1Image(labels, affine), subject / "nsdgeneral.nii.gz")
    for session in range(1, SESSIONS + 1):
        data = rng.integers(-900, 900, size=(*VOLUME, TRIALS), dtype=np.int16)
        path = session_path(betas, session, ".nii.gz")
        nibabel.save(nibabel.Nifti1Image(data, affine), path)
        with h5py.File(session_path(betas, session, ".hdf5"), "w") as file:
            file.create_dataset("betas", data=data.T, chunks=(TRIALS, 1, 1, 1))
    images = rng.permutation(N_IMAGES) + 1
    fields = {
        "masterordering": rng.permutation(np.repeat(np.arange(1, N_IMAGES + 1), 3)),
        "subjectim": images[None],
        "sharedix": np.sort(images[:N_SHARED]),
    }
    scipy.io.savemat(experiment / "nsd_expdesign.mat", fields)
    subjects = {1: SubjectLayout(VOLUME, SESSIONS)}
    layout = Layout(subjects, TRIALS, shared=N_SHARED, stimuli=N_IMAGES, pixels=8)
    write_layout(root, layout)
    return root


def peak_of(call):
    """What a call gives and the most bytes it held at once."""
    tracemalloc.start()
    try:
        given = call()
        return given, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("standardise", ["session", "train"])
@pytest.mark.parametrize("beta_format", FORMATS)
def test_loading_holds_one_sessions_masked_trials_beyond_the_result(nsd, beta_format, standardise):
    selection = Selection(standardise=standardise)
    load_trials(nsd, 1, Selection(sessions=1), beta_format=beta_format)  # imports count once
    trials, peak = peak_of(lambda: load_trials(nsd, 1, selection, beta_format=beta_format))
    n_voxels = len(trials.voxel_xyz)
    assert n_voxels == 15 * 20 * 20
    result = N_IMAGES * n_voxels * 4
    assert trials.train.betas.nbytes + trials.test.betas.nbytes == result
    one_session = TRIALS * n_voxels * 4
    assert result < peak < result + one_session + SMALL


@pytest.mark.parametrize("beta_format", FORMATS)
def test_a_small_roi_never_costs_a_whole_session(nsd, beta_format):
    folder = nsd / "nsddata_betas/ppdata/subj01/func1pt8mm/betas_fithrf_GLMdenoise_RR"
    path = session_path(folder, 1, FORMATS[beta_format])
    corners = np.array([[0, 0, 0], [19, 19, 19]], dtype=np.int32)
    grid = SessionGrid(VOLUME, TRIALS)
    read_session(path, corners, grid)
    betas, peak = peak_of(lambda: read_session(path, corners, grid))
    whole = int(np.prod(VOLUME)) * TRIALS * 2
    assert peak < whole / 10
    np.testing.assert_array_equal(
        betas,
        np.asanyarray(nibabel.load(session_path(folder, 1, ".nii.gz")).dataobj)[tuple(corners.T)].T,
    )
