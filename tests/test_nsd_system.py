"""What the system refuses is told as such, and harmless variants of files are read."""

import errno
import gzip
import json
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import h5py
import numpy as np
import pytest

from brainkit.data import Selection
from brainkit.errors import DataError
from brainkit.nsd import check_data, load_captions, load_stimuli, load_trials
from brainkit.nsd.files import reading
from brainkit.nsd.fingerprint import fingerprints
from brainkit.nsd.roi import label_names
from brainkit.nsd.trials import plan_trials

ROOT = Path(__file__).parent / "golden/nsd/fake_nsd"
BETAS = "nsddata_betas/ppdata/subj01/func1pt8mm/betas_fithrf_GLMdenoise_RR"
ROIS = "nsddata/ppdata/subj01/func1pt8mm/roi"
PICTURES = "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5"
CAPTIONS = "nsddata_stimuli/stimuli/nsd/annotations/captions_train2017.json"
TABLE = "nsddata/experiments/nsd/nsd_stim_info_merged.csv"
RESPONSES = "nsddata/ppdata/subj01/behav/responses.tsv"
DESIGN = "nsddata/experiments/nsd/nsd_expdesign.mat"
APPLE_DOUBLE = bytes.fromhex("00051607") + bytes(4092)
MARK = b"\xef\xbb\xbf"

pytestmark = pytest.mark.filterwarnings("ignore::brainkit.errors.BrainkitWarning")


@pytest.fixture
def nsd(tmp_path):
    return shutil.copytree(ROOT, tmp_path / "nsd")


def elsewhere(code, *arguments, **environment):
    """Run some lines in a process of their own and give what they print."""
    head = """
        import sys, warnings
        from pathlib import Path
        from brainkit.data import Selection
        from brainkit.errors import BrainkitError
        from brainkit.nsd import check_data, load_captions, load_stimuli, load_trials, plan_trials
        warnings.simplefilter("ignore")
        root = Path(sys.argv[1])
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(head) + textwrap.dedent(code), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        text=True, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.EACCES, "permission"),
        (errno.ESTALE, "mount it again"),
        (errno.EIO, "may be whole"),
        (errno.ENOSPC, "free some space"),
        (errno.EMFILE, "ulimit -n"),
        (errno.ENFILE, "ulimit -n"),
        (errno.EAGAIN, "HDF5_USE_FILE_LOCKING=FALSE"),
        (errno.ENOLCK, "HDF5_USE_FILE_LOCKING=FALSE"),
        (errno.ETIMEDOUT, "mount it again"),
    ],
)
def test_what_the_system_refuses_is_told_with_path_and_remedy(number, remedy):
    path = ROOT / DESIGN
    with pytest.raises(DataError) as caught, reading(path):
        raise OSError(number, os.strerror(number), str(path))
    said = str(caught.value)
    assert str(path) in said
    assert os.strerror(number) in said
    assert remedy in said
    assert not any(word in said for word in ("truncated", "damaged", "download"))


def test_a_number_that_hdf5_only_writes_into_its_text_is_seen():
    path = ROOT / DESIGN
    text = f"Can't synchronously read data (file read failed: errno = {errno.EIO}, ...)"
    with pytest.raises(DataError, match="may be whole"), reading(path):
        raise OSError(text)


def test_an_error_without_a_number_of_the_system_is_damage():
    path = ROOT / DESIGN
    for error in (OSError("truncated file: eof = 96"), OSError(errno.EINVAL, "Invalid argument")):
        with pytest.raises(DataError, match="truncated or damaged"), reading(path):
            raise error


@pytest.mark.parametrize("name", [DESIGN, TABLE, PICTURES, f"{BETAS}/betas_session01.hdf5"])
def test_a_pipe_in_place_of_a_file_is_not_waited_for(nsd, name):
    (nsd / name).unlink()
    os.mkfifo(nsd / name)
    assert any("is a pipe or a device" in each for each in check_data(nsd).contradictions)


def test_memory_that_ran_out_is_no_damage():
    with pytest.raises(DataError, match="memory ran out") as caught, reading(ROOT / DESIGN):
        raise MemoryError
    assert "damaged" not in str(caught.value)


def test_files_that_another_program_writes_are_read(nsd):
    betas = h5py.File(nsd / BETAS / "betas_session01.hdf5", "r+")
    pictures = h5py.File(nsd / PICTURES, "r+")
    with betas, pictures:
        said = elsewhere(
            """
            assert check_data(root).contradictions == ()
            print(load_trials(root, 1, Selection(), beta_format="hdf5").train.betas.shape)
            print(load_stimuli(root, [0]).shape)
            """,
            nsd,
        )
    assert said.split("\n")[:2] == ["(40, 147)", "(1, 32, 32, 3)"]


def test_a_lock_that_is_demanded_and_refused_is_told(nsd):
    with h5py.File(nsd / BETAS / "betas_session01.hdf5", "r+"):
        said = elsewhere(
            """
            try: load_trials(root, 1, Selection(), beta_format="hdf5")
            except BrainkitError as error: print(error)
            """,
            nsd, HDF5_USE_FILE_LOCKING="TRUE",
        )  # fmt: skip
    assert "betas_session01.hdf5" in said
    assert "lock" in said
    assert "HDF5_USE_FILE_LOCKING=FALSE" in said
    assert "damaged" not in said


def test_too_many_open_files_are_told(nsd):
    said = elsewhere(
        """
        import resource
        load_trials(root, 1, Selection())
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, most))
        held = []
        try:
            while True: held.append(open(root / "brainkit-layout.toml"))
        except OSError: pass
        for call in (
            lambda: load_trials(root, 1, Selection()),
            lambda: load_stimuli(root, [0]),
            lambda: load_captions(root, [0]),
            lambda: check_data(root),
        ):
            try: call()
            except BrainkitError as error: print(error)
        """,
        nsd,
    )  # fmt: skip
    lines = said.splitlines()
    assert len(lines) == 4
    assert all("ulimit -n" in line and str(nsd) in line for line in lines)


def test_what_may_not_be_read_is_no_missing_file(nsd):
    betas, rois = nsd / BETAS, nsd / ROIS
    # Another user has to come as far as the folder, however deep pytest puts it.
    temporary = Path(tempfile.gettempdir()).resolve()
    for path in (nsd, *(above for above in nsd.parents if temporary in above.parents)):
        path.chmod(0o755)
    hidden = [rois, nsd / TABLE, nsd / PICTURES]
    try:
        said = elsewhere(
            """
            import os
            import h5py, nibabel, scipy.io
            check_data(root)
            for path in sys.argv[2:]: os.chmod(path, 0)
            if os.geteuid() == 0: os.seteuid(65534)
            for call in (
                lambda: load_trials(root, 1, Selection()),
                lambda: load_captions(root, [0]),
                lambda: load_stimuli(root, [0]),
            ):
                try: call()
                except BrainkitError as error: print(error)
            print("permission" in check_data(root).text())
            """,
            nsd, *hidden,
        )  # fmt: skip
    finally:
        rois.chmod(0o755)
    lines = said.splitlines()
    assert len(lines) == 4
    assert all("permission" in line for line in lines[:3])
    assert not any(word in said for word in ("download", "missing", "damaged"))
    assert betas.is_dir()


@pytest.mark.parametrize("name", [RESPONSES, "brainkit-layout.toml", CAPTIONS, TABLE])
def test_a_byte_order_mark_is_passed_over(nsd, name):
    path = nsd / name
    path.write_bytes(MARK + path.read_bytes())
    plan_trials(nsd, 1, Selection())
    assert load_captions(nsd, range(60)) == load_captions(ROOT, range(60))
    assert check_data(nsd).contradictions == ()


def test_a_byte_order_mark_before_the_first_column_of_the_table(nsd):
    path = nsd / TABLE
    rows = [line.partition(",")[2] for line in path.read_text().splitlines()]
    path.write_bytes(MARK + "\n".join(rows).encode())
    assert load_captions(nsd, range(60)) == load_captions(ROOT, range(60))


def test_colour_tables_may_carry_marks_comments_and_blank_lines(nsd):
    path = nsd / "nsddata/freesurfer/subj01/label/streams.mgz.ctab"
    expected = label_names(nsd, 1, "streams")
    lines = path.read_text().splitlines()
    text = "\r\n".join(["#$Id: made by a program", *lines[:2], "", "  # note", *lines[2:], ""])
    path.write_bytes(MARK + text.encode())
    assert label_names(nsd, 1, "streams") == expected


def test_side_files_of_macos_are_passed_over(nsd):
    before = fingerprints(nsd, 1, plan_trials(nsd, 1, Selection()))
    for path in [*(nsd / ROIS).glob("*.nii.gz"), *(nsd / BETAS).iterdir(), nsd / CAPTIONS]:
        path.with_name(f"._{path.name}").write_bytes(APPLE_DOUBLE)
    assert check_data(nsd).contradictions == ()
    assert check_data(nsd).present == check_data(ROOT).present
    assert fingerprints(nsd, 1, plan_trials(nsd, 1, Selection())) == before
    with pytest.raises(Exception, match="there is no ROI volume 'nowhere'") as caught:
        plan_trials(nsd, 1, Selection(roi="nowhere"))
    assert "._" not in str(caught.value)


def test_annotations_are_found_where_the_archive_puts_them(nsd):
    folder = (nsd / CAPTIONS).parent
    inner = folder / "annotations"
    inner.mkdir()
    for path in folder.glob("*.json"):
        path.rename(inner / path.name)
    assert load_captions(nsd, range(60)) == load_captions(ROOT, range(60))
    assert "captions_train2017.json (COCO captions)" in check_data(nsd).present


def test_annotations_that_lie_right_are_preferred_and_keep_their_fingerprint(nsd):
    plan = plan_trials(nsd, 1, Selection())
    before = fingerprints(nsd, 1, plan)
    inner = (nsd / CAPTIONS).parent / "annotations"
    inner.mkdir()
    (inner / "captions_train2017.json").write_text("{}")
    assert fingerprints(nsd, 1, plan) == before
    assert load_captions(nsd, range(60)) == load_captions(ROOT, range(60))


def test_photographs_without_sizes_have_captions(nsd):
    for path in (nsd / CAPTIONS).parent.glob("captions_*.json"):
        content = json.loads(path.read_text())
        content["images"] = [{"id": image["id"]} for image in content["images"]]
        path.write_text(json.dumps(content))
    assert load_captions(nsd, range(60)) == load_captions(ROOT, range(60))


def test_names_from_files_cannot_steer_a_terminal(nsd):
    evil = "\x1b[2J\nall is well"
    (nsd / ROIS / f"{evil}.nii.gz").write_bytes(b"")
    with pytest.raises(Exception, match="there is no ROI volume") as caught:
        plan_trials(nsd, 1, Selection(roi="nowhere"))
    said = [str(caught.value)]
    with h5py.File(nsd / PICTURES, "w") as file:
        file[evil] = np.zeros(3)
    with pytest.raises(DataError) as caught:
        load_stimuli(nsd, [0])
    said += [str(caught.value), *check_data(nsd).text().splitlines()]
    path = nsd / RESPONSES
    path.write_text(path.read_text().replace("SUBJECT", f'"{evil}"', 1))
    with pytest.raises(DataError) as caught:
        load_trials(nsd, 1, Selection())
    said.append(str(caught.value))
    assert any("\\x1b[2J\\n" in each for each in said)
    assert all(each.isprintable() for each in said)


@pytest.mark.parametrize("caption", [None, ["a", "list"], {"text": "a"}, 7])
def test_a_caption_that_is_no_text_is_named(nsd, caption):
    path = nsd / CAPTIONS
    content = json.loads(path.read_text())
    spoilt = content["annotations"][0]
    spoilt["caption"] = caption
    path.write_text(json.dumps(content))
    with pytest.raises(DataError) as caught:
        load_captions(nsd, range(60))
    said = str(caught.value)
    assert f"annotation {spoilt['id']} of COCO image {spoilt['image_id']}" in said
    assert f"the caption {caption!r}, expected a text" in said


def test_a_design_saved_again_as_matlab_7_3_has_words_of_its_own(nsd):
    path = nsd / DESIGN
    path.unlink()
    with h5py.File(path, "w", userblock_size=512) as file:
        file["subjectim"] = np.ones((3, 3))
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64 ".ljust(124) + b"\x00\x02IM")
    for said in (refusal(nsd), *check_data(nsd).contradictions):
        assert f"{path} is a file of MATLAB 7.3 (HDF5)" in said
        assert "-v7" in said
        assert "damaged" not in said


def refusal(root, **selection):
    with pytest.raises(DataError) as caught:
        load_trials(root, 1, Selection(**selection))
    return str(caught.value)


def unpack(path):
    path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
    path.unlink()


def test_volumes_that_are_not_packed_name_the_command_that_packs_them(nsd):
    for path in (nsd / BETAS).glob("betas_session*.hdf5"):
        path.unlink()
    for path in (nsd / BETAS).glob("betas_session*.nii.gz"):
        unpack(path)
    assert "pack such files with `gzip betas_session01.nii`" in refusal(nsd)
    unpack(nsd / ROIS / "streams.nii.gz")
    assert "pack it with `gzip streams.nii`" in refusal(nsd, roi="streams")
    assert check_data(nsd).contradictions == (
        f"{nsd / ROIS / 'streams.nii'} is not packed; pack them with `gzip`",
        f"{nsd / BETAS / 'betas_session01.nii'} and 1 more are not packed; pack them with `gzip`",
    )


def test_a_noise_ceiling_that_is_not_packed_is_not_passed_over(nsd):
    unpack(nsd / BETAS / "ncsnr.nii.gz")
    assert "pack it with `gzip ncsnr.nii`" in refusal(nsd)


def test_a_volume_under_the_name_of_a_packed_one_is_recognised(nsd):
    path = nsd / ROIS / "nsdgeneral.nii.gz"
    path.write_bytes(gzip.decompress(path.read_bytes()))
    assert "is not packed although its name says so; rename it to nsdgeneral.nii" in refusal(nsd)
