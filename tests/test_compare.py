"""Comparisons of results, against numbers that are reckoned here by hand or by scipy."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_example import example
from scipy.stats import permutation_test

from brainkit.compare import compared, read_results
from brainkit.compare.formats import FORMATS, blocks
from brainkit.compare.page import Shown, rendered
from brainkit.compare.paired import flipped, holm
from brainkit.errors import DataError, UsageError
from brainkit.papers import Published
from brainkit.report import ReportData, ScoreRow, metrics_json
from brainkit.run.compared import results_of
from brainkit.tables import laid_out

QUOTED = Published(
    system="Old system", scores={"SSIM": 0.3}, source="Table 9", doubt="Other pictures.", n=982
)


def written(folder: Path, data: ReportData) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "metrics.json"
    path.write_text(json.dumps(metrics_json(data)), encoding="utf-8")
    return path


def data(n_images: int = 20, *, better: float = 0.0, **changes) -> ReportData:
    """Return a report whose every value is larger by a constant."""
    of = example(n_images)
    scores = tuple(
        replace(
            row,
            key=row.name.lower().replace(" ", "-"),
            value=row.value + better,
            per_image=tuple(value + better for value in row.per_image),
        )
        for row in of.scores
    )
    of = replace(of, data="miniature", options={"selection.split": "shared", "a.b": 1})
    return replace(of, **{"scores": scores, **changes})


def side_by_side(tmp_path: Path, *every: ReportData, wanted=(), labels=("", "", "", "")):
    paths = [written(tmp_path / f"run{number}", each) for number, each in enumerate(every)]
    return compared([read_results(*each) for each in zip(paths, labels, strict=False)], wanted)


def ssim(comparison):
    return next(line for line in comparison.lines if line.name == "SSIM")


def test_columns_hold_each_runs_value_and_the_best_is_marked(tmp_path):
    second = data(better=0.1, method="other")
    found = side_by_side(tmp_path, data(), second)
    assert [column.label for column in found.columns] == ["toy", "other"]
    value = data().scores[1].value
    assert ssim(found).values == pytest.approx((value, value + 0.1))
    assert ssim(found).best == 1
    assert len(found.ids) == 20


def test_runs_that_show_other_pictures_under_an_id_are_refused(tmp_path):
    shown = data()
    other = replace(shown.rows[3], stimulus=255 - shown.rows[3].stimulus)
    drawn = replace(shown, method="other", rows=(*shown.rows[:3], other, *shown.rows[4:]))
    with pytest.raises(UsageError, match=f"different pictures of image {other.image_id},"):
        side_by_side(tmp_path, shown, drawn)
    side_by_side(tmp_path, shown, replace(drawn, rows=shown.rows))


def test_a_comparison_says_which_images_are_test_images_and_what_the_error_is(tmp_path):
    found = side_by_side(tmp_path, data(), data(method="other"))
    assert f"Test images: {data().test_images}." in found.notes
    assert any("± is the standard error" in note for note in found.notes)


def test_subjects_of_one_composition_share_a_column_that_has_their_mean(tmp_path):
    runs = [data(), data(better=0.2, subject="subj02"), data(better=0.5, method="other")]
    found = side_by_side(tmp_path, *runs, data(better=0.1, subject="subj02", method="other"))
    value = data().scores[1].value
    assert ssim(found).values == pytest.approx((value + 0.1, value + 0.3))
    assert found.subjects == ("subj01", "subj02")
    one = next(each for each in found.differences if each.line.name == "SSIM")
    assert (one.mean, one.n) == (pytest.approx(-0.2), 20)


def test_a_subject_that_one_column_lacks_is_left_out_of_all(tmp_path):
    found = side_by_side(tmp_path, data(), data(better=9.0, subject="subj02"), data(method="other"))
    assert ssim(found).values == pytest.approx((data().scores[1].value,) * 2)
    assert "Left out, since not every column has them: subj02." in found.notes


def test_columns_of_different_brains_are_called_so(tmp_path):
    found = side_by_side(tmp_path, data(), data(subject="subj02", method="other"))
    assert [column.label for column in found.columns] == ["toy, subj01", "other, subj02"]
    assert any("may be the brains" in note for note in found.notes)


def test_compositions_are_told_apart_by_the_options_that_differ(tmp_path):
    changed = {"selection.split": "shared", "a.b": 7}
    found = side_by_side(tmp_path, data(), data(options=changed))
    assert [column.label for column in found.columns] == ["toy a.b=1", "toy a.b=7"]


def test_only_common_images_are_compared_and_scores_of_a_set_are_left_out(tmp_path):
    few = data(12)
    found = side_by_side(tmp_path, data(20), replace(few, method="other"))
    assert len(found.ids) == 12
    first = np.array(data(20).scores[1].per_image)[:12].mean()
    assert ssim(found).values == pytest.approx((first, few.scores[1].value))
    identification = next(line for line in found.lines if "identification" in line.name)
    assert identification.values[0] is None
    assert any(note.startswith("Only the 12 images") for note in found.notes)
    assert any("identification" in note and "Left out" in note for note in found.notes)
    assert {each.line.name for each in found.differences} >= {"SSIM"}
    assert identification not in [each.line for each in found.differences]


def test_a_score_of_the_whole_set_is_compared_but_not_tested(tmp_path):
    whole = ScoreRow(name="BLEU-4", key="bleu-4", value=0.4, per_image=(0.1,) * 20, n=20)
    found = side_by_side(tmp_path, data(scores=(whole,)), data(scores=(whole,), method="other"))
    assert found.lines[0].values == (0.4, 0.4)
    assert found.differences == ()
    assert any("Nothing is tested" in note for note in found.notes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data": "nsd"}, "different data"),
        ({"options": {"selection.split": "sessions"}}, "different test images"),
        ({"rows": replace(example(3)).rows[:0]}, "no image in common"),
    ],
)
def test_what_does_not_compare_is_refused_in_a_sentence(tmp_path, changes, said):
    other = data(method="other", scores=(), **changes)
    with pytest.raises(UsageError, match=said):
        side_by_side(tmp_path, data(), other)


def test_one_composition_and_subject_twice_is_refused(tmp_path):
    with pytest.raises(UsageError, match="are both subj01 of toy; give one, or name them"):
        side_by_side(tmp_path, data(), data(better=0.1))
    named = side_by_side(tmp_path, data(), data(better=0.1), labels=("before", "after"))
    assert [column.label for column in named.columns] == ["before", "after"]


def test_scores_are_chosen_by_a_part_of_their_name(tmp_path):
    found = side_by_side(tmp_path, data(), wanted=["ssim", "CIDEr"])
    assert [line.name for line in found.lines] == ["SSIM", "CIDEr@allref"]
    with pytest.raises(UsageError, match=r"no score is called \['zebra'\]"):
        side_by_side(tmp_path, data(), wanted=["zebra"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("no JSON", "holds no scores"),
        ('{"layout": 1, "scores": []}', "layout 1 of another brainkit"),
        ('{"layout": 2, "scores": []}', "lacks what a comparison needs"),
        ('{"layout": 2, "scores": [3], "options": [], "preset": 1}', "lacks what a comparison"),
    ],
)
def test_a_file_that_holds_no_results_is_named(tmp_path, text, said):
    path = tmp_path / "metrics.json"
    path.write_text(text)
    with pytest.raises(DataError, match=said):
        read_results(path)


def test_values_of_another_number_of_images_are_refused(tmp_path):
    wrong = replace(data().scores[1], per_image=(0.5, 0.6))
    with pytest.raises(DataError, match="another number of values of ssim"):
        read_results(written(tmp_path / "run", data(scores=(wrong,))))


def test_runs_are_found_by_folder_name_file_and_label(tmp_path):
    run = tmp_path / "work" / "miniature" / "subj01" / "runs" / "toy-a=1"
    written(run, data())
    (run / "run.toml").write_text("")
    work = tmp_path / "work"
    for asked in (str(run), "toy-a=1", str(run / "metrics.json"), str(work)):
        assert [each.path for each in results_of([asked], work)] == [run / "metrics.json"]
    (labelled,) = results_of(["mine=toy-a=1"], work)
    assert (labelled.label, labelled.path) == ("mine", run / "metrics.json")
    with pytest.raises(UsageError, match=r"neither results nor a run .*toy-a=1"):
        results_of(["toy-a=2"], work)


def test_sign_flips_count_as_all_signs_would():
    differences = np.array([0.3, -0.1, 0.4, 0.25, 0.5, 0.2, -0.05, 0.35])
    means = [abs(np.mean(differences * signs)) for signs in product((1, -1), repeat=8)]
    exact = np.mean(np.array(means) >= abs(differences.mean()) - 1e-12)
    assert flipped(differences) == pytest.approx(exact, abs=0.006)  # 3 sd of 9999 draws


def test_sign_flips_agree_with_scipy():
    draw = np.random.default_rng(4)
    pairs = draw.normal(size=(2, 60)) + np.array([[0.25], [0.0]])
    expected = permutation_test(
        tuple(pairs), lambda x, y, axis: np.mean(x - y, axis=axis), permutation_type="samples",
        vectorized=True, n_resamples=9999, random_state=1,
    ).pvalue  # fmt: skip
    assert flipped(pairs[0] - pairs[1]) == pytest.approx(expected, abs=0.02)


def test_no_difference_is_no_evidence():
    assert flipped(np.zeros(10)) == 1.0


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_multiplies_the_smallest_by_all_and_never_turns_the_order(p_values):
    corrected = holm(p_values)
    smallest = p_values.index(min(p_values))
    assert corrected[smallest] == min(1.0, len(p_values) * p_values[smallest])
    assert all(p <= c <= 1 for p, c in zip(p_values, corrected, strict=True))
    order = np.argsort(p_values, kind="stable")
    assert np.all(np.diff(np.array(corrected)[order]) >= 0)


def test_formats_hold_the_same_numbers(tmp_path):
    odd = data(better=0.1, method="50% & more_of_it | {x}")
    found = side_by_side(tmp_path, data(), odd, wanted=["SSIM"])
    value = ssim(found).values
    shown = laid_out(blocks(found, [QUOTED]), 120)
    assert f"{value[1]:.3f}*" in shown
    assert "Old system: SSIM 0.3 (subjects not said, n = 982; Table 9). Other pictures." in shown
    as_json = json.loads(FORMATS["json"](found, [QUOTED]))
    assert list(as_json["scores"][0]["values"].values()) == list(value)
    assert as_json["differences"][0]["p_holm"] == found.differences[0].corrected
    (row,) = csv.DictReader(io.StringIO(FORMATS["csv"](found, [QUOTED])))
    assert [float(row["toy"]), float(row[odd.method])] == list(value)
    table = FORMATS["markdown"](found, [QUOTED]).splitlines()
    assert table[0] == r"| score | toy | 50% & more_of_it \| {x} |"
    assert table[2] == f"| SSIM ↑ | {value[0]:.3f} | **{value[1]:.3f}** |"
    latex = FORMATS["latex"](found, [QUOTED])
    assert r" & toy & 50\% \& more\_of\_it | \{x\} \\" in latex
    assert rf"SSIM $\uparrow$ & {value[0]:.3f} & \textbf{{{value[1]:.3f}}} \\" in latex


def test_the_page_escapes_names_and_loads_nothing(tmp_path):
    nasty = data(method="</script><b>", better=0.1)
    found = side_by_side(tmp_path, data(), nasty)
    text = rendered(found, [QUOTED], Shown({}, {}, {}), "title")
    assert "<b>" not in text.replace("<b class", "")
    assert "http://" not in text
    assert text.count("</script>") == 2


def test_an_undefined_value_stays_out_of_a_test(tmp_path):
    row = replace(data().scores[0], per_image=(math.nan, *data().scores[0].per_image[1:]))
    row = replace(row, value=float(np.nanmean(row.per_image)))
    found = side_by_side(tmp_path, data(scores=(row,)), data(method="other"))
    assert found.differences[0].n == 19


def test_finished_runs_are_compared_from_the_command_line(finished, tmp_path):
    run = finished("unibrain")
    out = tmp_path / "page.html"
    printed = run.brainkit("compare", run.folder, f"again={run.folder}", "--out", out).stdout
    assert "SSIM ↑" in printed
    assert "Published numbers" in printed
    assert "METEOR 0.17" in printed
    page = out.read_text(encoding="utf-8")
    assert page.count("<article") == 4
    assert page.count('src="data:image/') == 3 * 4
    (value,) = {
        row["value"]
        for row in json.loads((run.folder / "metrics.json").read_text())["scores"]
        if row["name"] == "SSIM"
    }
    printed = run.brainkit("compare", run.folder, "--format", "json").stdout
    scores = {each["name"]: each["values"] for each in json.loads(printed)["scores"]}
    assert list(scores["SSIM"].values()) == [value]


@pytest.mark.parametrize("nonsense", ["", "nowhere", "a=b=c"])
def test_nonsense_in_place_of_a_run_is_one_sentence(cli, nonsense):
    ended = cli("compare", nonsense, code=2)
    assert "neither results nor a run" in ended.stderr
    assert len(ended.stderr.strip().splitlines()) <= 3


def test_compositions_are_told_apart_by_seed_too(tmp_path):
    found = side_by_side(tmp_path, data(), data(seed=7))
    assert [column.label for column in found.columns] == ["toy seed=0", "toy seed=7"]
