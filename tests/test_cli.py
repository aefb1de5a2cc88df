"""The commands as a user types them: output, exit codes, one-sentence errors."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys

import pytest
from trees import timeless

from brainkit.report.scores import INTERVAL


def test_list_plugins_names_parts_and_methods(cli):
    listed = cli("list-plugins").stdout
    assert "toy  (brainkit-toy 1.0)" in listed
    assert re.search(r"method +toy", listed)
    entries = json.loads(cli("list-plugins", "--json").stdout)
    offers = {(o["kind"], o["name"]) for entry in entries for o in entry["offers"]}
    assert {("regressor", "ridge"), ("sampler", "ddim"), ("method", "toy")} <= offers


def test_a_broken_plugin_is_listed_with_its_reason_and_breaks_nothing(cli, tmp_path, monkeypatch):
    site = tmp_path / "site"
    about = site / "brainkit_broken-0.2.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: brainkit-broken\nVersion: 0.2\n")
    (about / "entry_points.txt").write_text("[brainkit]\nbroken = brainkit_broken\n")
    (site / "brainkit_broken.py").write_text("import nothing_of_that_name\n")
    monkeypatch.syspath_prepend(site)
    env = {"BRAINKIT_PLUGINS": "broken"}
    listed = cli("list-plugins", env=env).stdout
    assert "broken  (brainkit-broken 0.2)" in listed
    assert "No module named 'nothing_of_that_name'" in listed
    failed = cli("show", "toy", env=env, code=2).stderr
    assert "no method named 'toy'" in failed
    assert "brainkit-broken 0.2" in failed
    assert "Traceback" not in failed


def test_show_prints_every_option_with_its_address_and_limits(cli):
    shown = cli("show", "toy", "-o", "sampler.steps=7", "--use", "regressor=ridge").stdout
    assert re.search(r"sampler\.steps +7 ", shown)
    assert ">= 1" in shown
    assert "regressor.picture.alpha" in shown


def test_run_prints_scores_and_the_report_on_stdout_and_progress_on_stderr(cli, nsd):
    done = cli("run", "toy", "--nsd", nsd, "--images", "4", "--work", "w")
    assert done.stdout.splitlines()[-1].endswith("report.html")
    assert "pixel correlation" in done.stdout
    assert "features/picture: computing" in done.stderr
    again = cli("run", "toy", "--nsd", nsd, "--images", "4", "--work", "w")
    assert "0 steps computed" in again.stderr
    assert again.stdout == done.stdout


def test_tables_of_scores_say_what_their_intervals_are(cli, nsd):
    done = cli("run", "toy", "--nsd", nsd, "--images", 4, "--work", "w")
    assert f"Intervals: {INTERVAL}." in done.stdout
    page = next((cli.folder / "w").rglob("report.html")).read_text(encoding="utf-8")
    assert f"shown ({INTERVAL};" in page


def test_few_images_are_told_which_scores_they_lack(cli, nsd, tmp_path):
    words = ("run", "toy", "--nsd", nsd, "--no-ceiling", "--work", "w", "--images")
    one = next(line for line in cli(*words, 1).stdout.splitlines() if line.startswith("1 image is"))
    assert "too few for identification and whatever else compares images (from 2 on)" in one
    assert "chance levels and scores of predicted features (from 3 images on)" in one
    assert "CIDEr of 1 image is always 0." in one
    page = next(tmp_path.rglob("report.html"))
    assert one in page.read_text()
    two = cli(*words, 2).stdout
    assert "\n2 images are too few for chance levels and scores of predicted features" in two
    assert "too few" not in cli(*words, 3).stdout


def test_a_flag_wins_over_the_run_file_and_the_file_over_the_defaults(cli, nsd, tmp_path):
    (tmp_path / "run.toml").write_text(
        f'method = "toy"\nnsd = "{nsd}"\nimages = [3]\nbatch_size = 7\n[options.sampler]\nsteps=3\n'
    )
    words = ("run", "toy", "--config", "run.toml", "--dry-run", "--work", "w")
    ids = cli(*words, code=2).stderr
    assert "--images has [3], not among the 10 test images" in ids
    plan = cli(*words, "--images", "2").stdout
    assert "2 to be reconstructed" in plan
    assert "batches of 7" in plan
    assert "batches of 5" in cli(*words, "--images", "2", "--batch-size", "5").stdout


def test_a_tilde_is_the_home_in_flags_and_in_run_files(cli, nsd, tmp_path):
    (tmp_path / "user").mkdir()
    (tmp_path / "user" / "nsd").symlink_to(nsd)
    (tmp_path / "user" / "run.toml").write_text('work = "~/results"\nnsd = "~/nsd"\nimages = 2\n')
    env = {"HOME": str(tmp_path / "user")}
    page = cli("run", "toy", "--config=~/run.toml", env=env).stdout.splitlines()[-1]
    assert page.startswith(str(tmp_path / "user" / "results"))
    words = ("run", "toy", "--nsd=~/nsd", "--work=~/results", "--images", 2)
    assert "0 steps computed" in cli(*words, env=env).stderr
    assert cli("report", "~/results", env=env).stdout.strip() == page
    assert "has" in cli("check-data", "~/nsd", env=env).stdout
    store = str(tmp_path / "user" / "store")
    assert store in cli("checkpoints", "--checkpoints=~/store", env=env).stdout
    assert not (tmp_path / "~").exists()


def test_the_home_of_nobody_is_told(cli):
    failed = cli("run", "toy", "--work=~nobody-of-that-name/x", code=2).stderr
    assert failed.startswith(
        "Error: --work is '~nobody-of-that-name/x', but that home is not known"
    )
    assert "PATH is '~nobody-of" in cli("check-data", "~nobody-of-that-name/x", code=2).stderr
    home = {"BRAINKIT_HOME": "~nobody-of-that-name"}
    assert "BRAINKIT_HOME is '~nobody-of" in cli("doctor", env=home, code=2).stderr


def test_report_writes_the_page_again(cli, nsd, tmp_path):
    cli("run", "toy", "--nsd", nsd, "--images", "4", "--work", "w")
    page = next(tmp_path.rglob("report.html"))
    before = timeless(page)
    page.unlink()
    printed = cli("report", "w").stdout.strip()
    assert (tmp_path / printed).samefile(page)
    assert timeless(page) == before


def test_dry_run_prints_a_plan_and_writes_nothing(cli, nsd, tmp_path):
    plan = cli("run", "toy", "--nsd", nsd, "--dry-run", "--work", "w").stdout
    assert "30 training images, 10 test images" in plan
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run", "tpy"), "Did you mean 'toy'?"),
        (("run", "toy", "-o", "sampler.steps"), "-o is 'sampler.steps', expected ADDRESS=VALUE"),
        (("run", "toy", "-o", "sampler.steps=many"), "sampler.steps is 'many'"),
        (("run", "toy", "--images", "ten"), "--images is 'ten'"),
        (("run", "toy", "--images", "0"), "--images is 0, expected a whole number of 1 or more"),
        (("run", "toy", "--subject", "9"), "--subject is 9, expected 1 to 8"),
        (("run", "toy", "--batch-size", "0"), "--batch-size is 0"),
        (
            ("run", "toy", "--device", "gpu"),
            "--device is 'gpu', expected auto, cpu, cuda or cuda:n",
        ),
        (("run", "toy", "--dtype", "float8"), "--dtype is 'float8'"),
        (("run", "toy", "--scores", "mindeye"), "--scores has 'mindeye'"),
        (("run", "toy", "--samples", "0"), "--samples is 0"),
        (("run", "toy", "--seed", "-1"), "--seed is -1"),
        (("run", "toy", "--weights", "old"), "--weights is 'old', expected 'released'"),
        (("run", "toy", "--config", "absent.toml"), "absent.toml"),
        (("report", "absent"), "no finished run"),
    ],
)
def test_wrong_usage_exits_with_2_and_one_line(cli, words, said):
    failed = cli(*words, code=2)
    assert said in failed.stderr
    assert failed.stderr.startswith("Error: ")
    assert len(failed.stderr.strip().splitlines()) == 1
    assert failed.stdout == ""


@pytest.mark.parametrize("words", [("--seed", "1.5"), ("--batch-size", "many"), ("--subjct", "1")])
def test_what_is_no_value_of_a_flag_exits_with_2_and_names_it(cli, words):
    failed = cli("run", "toy", *words, code=2)
    assert words[0] in failed.stderr
    assert failed.stdout == ""


def test_missing_data_exits_with_1(cli, tmp_path):
    failed = cli("run", "toy", "--nsd", tmp_path / "absent", code=1)
    assert str(tmp_path / "absent") in failed.stderr
    assert "Traceback" not in failed.stderr


def test_debug_leaves_the_error_whole(cli):
    from brainkit.errors import UsageError

    with pytest.raises(UsageError, match="no method named 'tpy'"):
        cli("--debug", "run", "tpy")


def test_check_data_says_what_is_there_and_what_is_not(cli, nsd, tmp_path):
    assert "has" in cli("check-data", nsd).stdout
    cli("check-data", tmp_path, code=1)


def test_doctor_prints_versions_devices_and_weights(cli):
    told = cli("doctor").stdout
    for pattern in ("python ", "torch ", "cpu ", "brainkit-toy 1.0 +works", "home ", "alexnet +"):
        assert re.search(pattern, told)


def test_version_and_completion(cli):
    assert cli("--version").stdout.startswith("brainkit ")
    assert "--install-completion" in cli("--help").stdout


# What only a process of its own can tell


def test_a_process_ends_with_the_exit_code_and_one_line(cli):
    _, errors = (failing := cli.process("run", "tpy")).communicate(timeout=120)
    assert failing.returncode == 2
    assert errors.startswith("Error: no method named 'tpy'.")
    assert len(errors.strip().splitlines()) == 1


def test_a_reader_that_has_gone_is_no_error(cli):
    process = cli.process("show", "toy")
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(timeout=120) == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no full disk to write to")
@pytest.mark.parametrize("words", [("list-plugins",), ("show", "toy")])
def test_what_is_printed_into_a_full_disk_is_told(words, toy_environment):
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "brainkit", *words]
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, env=toy_environment
        )
    assert done.returncode == 1
    said = " ".join(done.stderr.split())
    assert "standard output cannot be read or written: No space left on device" in said
    assert said.count("Error") == 1
    assert "Traceback" not in said


SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT]


@pytest.fixture
def _heed_signals():
    """A process in the background of a shell inherits that it ignores interrupts; not so here."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in SIGNALS[1:]}
    before[signal.SIGINT] = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("_heed_signals")
@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_signal_says_how_to_go_on_frees_the_folder_and_has_its_exit_code(
    cli, nsd, tmp_path, number
):
    process = cli.process("run", "toy", "--nsd", nsd, "--work", "w", env={"TOY_SECONDS": "0.5"})
    assert any("computing" in line for line in process.stderr)
    process.send_signal(number)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 128 + number, errors
    assert errors.splitlines()[-1] == "Stopped; run the same command again to go on from here."
    assert "Traceback" not in errors
    assert list((tmp_path / "w").rglob("*owner*")) == []


def test_a_signal_that_the_caller_ignores_is_ignored(cli, nsd):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        words = ("run", "toy", "--nsd", nsd, "--images", 2, "--no-ceiling", "--work", "w")
        process = cli.process(*words, env={"TOY_SECONDS": "0.1"})
        assert any("computing" in line for line in process.stderr)
        process.send_signal(signal.SIGHUP)
        _, errors = process.communicate(timeout=120)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert process.returncode == 0, errors


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_what_a_terminal_cannot_encode_is_escaped(cli, nsd, tmp_path, encoding):
    work = tmp_path / "\u2713"
    words = ("run", "toy", "--nsd", nsd, "--images", 2, "--no-ceiling", "--work", work)
    process = cli.process(*words, env={"PYTHONIOENCODING": encoding})
    printed, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert printed.splitlines()[-1].endswith("report.html")
    assert "\\u2713" in printed.splitlines()[-1]


def test_the_module_and_the_command_are_one(cli):
    done = subprocess.run(
        [sys.executable, "-m", "brainkit", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == cli("--version").stdout
