"""Exit codes: 2 for what was typed wrongly, 1 for data that are absent or wrong; one sentence."""

from __future__ import annotations

import pytest

from brainkit.cli import COMMANDS

NAMES = [name for group in COMMANDS.values() for name in group]
IMPORTED = ("--trials", "absent", "--subject", "1")
USAGE = {
    "run": ("absent",),
    "evaluate": ("absent", "--images", "none"),
    "runs": ("absent", "--remove", "x"),
    "compare": ("absent",),
    "figure": ("absent",),
    "report": ("absent",),
    "map": ("absent",),
    "verify": ("file.txt",),
    "fetch": ("absent", "--offline"),
    "checkpoints": ("absent",),
    "check-data": (),
    "import-data": ("new", "--betas", "absent", *IMPORTED),
    "list-plugins": ("absent",),
    "show": ("absent",),
    "new-plugin": ("a name", "--kind", "regressor"),
    "check-plugin": ("absent",),
    "doctor": ("absent",),
}
DATA = {
    "run": ("toy", "--nsd", "absent"),
    "evaluate": ("absent",),
    "compare": ("junk",),
    "figure": ("junk/metrics.json",),
    "fetch": ("alexnet", "--offline"),
    "check-data": ("absent",),
}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "junk").mkdir()
    (tmp_path / "junk" / "metrics.json").write_text("{}")
    (tmp_path / "file.txt").write_text("x")


def test_every_command_is_looked_at():
    assert set(USAGE) == set(NAMES)


@pytest.mark.parametrize("command", NAMES)
def test_an_unknown_flag_exits_with_2(cli, command):
    assert "--nonsense" in cli(command, "--nonsense", code=2).stderr


@pytest.mark.parametrize("command", USAGE)
def test_wrong_usage_exits_with_2(cli, folder, command):
    failed = cli(command, *USAGE[command], code=2)
    assert "Error: " in failed.stderr
    assert "Traceback" not in failed.stderr
    assert failed.stdout == ""


@pytest.mark.parametrize("command", DATA)
def test_wrong_data_exit_with_1(cli, folder, command):
    failed = cli(command, *DATA[command], code=1)
    assert "Error: " in failed.stderr
    assert "Traceback" not in failed.stderr
