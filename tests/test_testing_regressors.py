# torch is imported inside functions: one check imports this file afresh and looks for it.
from dataclasses import dataclass, field
from importlib import import_module

import pytest

from brainkit.options import option
from brainkit.regressors import Ridge
from brainkit.testing import checks
from brainkit.testing import part as part_kit
from brainkit.testing import regressor as kit
from brainkit.testing.promise import failing
from brainkit.testing.toys import LeastSquares


class Mathematics:
    """The two verbs of a regressor that works, without a declaration of its options."""

    fit, predict = LeastSquares.fit, LeastSquares.predict


@dataclass
class Thawed(Mathematics):
    name = "thawed"
    penalty: float = option(0.1, "penalty on the squared weights", ge=0)


class TwoWords(LeastSquares):
    name = "two words"


@dataclass(frozen=True)
class Unexplained(Mathematics):
    name = "unexplained"
    penalty: float = 0.1


@dataclass(frozen=True)
class OutOfLimits(Mathematics):
    name = "out-of-limits"
    penalty: float = option(0.1, "penalty on the squared weights", ge=1)


@dataclass(frozen=True)
class Secretive(Mathematics):
    name = "secretive"
    penalty: float = field(default=0.1, repr=False, metadata={"help": "penalty"})


@dataclass(frozen=True)
class Boastful(LeastSquares):
    name = "boastful"

    def __repr__(self):
        return f"Boastful(penalty={self.penalty + 1})"


class NotFinite(LeastSquares):
    def fit(self, betas, feature):
        import torch

        return {**super().fit(betas, feature), "spare": torch.tensor([float("nan")])}


class Entangled(LeastSquares):
    def fit(self, betas, feature):
        shared = super().fit(betas, feature)["map"].contiguous()
        return {"map": shared, "again": shared}


class Flattening(LeastSquares):
    def predict(self, weights, betas, feature):
        return super().predict(weights, betas, feature).flatten(1)


class Overwriting(LeastSquares):
    def predict(self, weights, betas, feature):
        predicted = super().predict(weights, betas, feature)
        betas.zero_()
        return predicted


class Forgetful(LeastSquares):
    def predict(self, weights, betas, feature):
        predicted = super().predict(weights, betas, feature)
        weights["map"].zero_()
        return predicted


class Whimsical(LeastSquares):
    def fit(self, betas, feature):
        import torch

        return {**super().fit(betas, feature), "spare": torch.randn(3)}


class Indifferent(LeastSquares):
    def predict(self, weights, betas, feature):
        return super().predict(weights, betas * 0, feature)


class Sociable(LeastSquares):
    def predict(self, weights, betas, feature):
        return super().predict(weights, betas, feature) + betas.mean()


class Choosy(LeastSquares):
    def fit(self, betas, feature):
        if feature.element_size() == 2:
            raise TypeError("half is not enough")
        return super().fit(betas, feature)


class Trimming(LeastSquares):
    def fit(self, betas, feature):
        common = min(len(betas), len(feature))
        return super().fit(betas[:common], feature[:common])


class Ignoring(LeastSquares):
    def predict(self, weights, betas, feature):
        import torch

        padded = torch.zeros(len(betas), len(weights["map"]) - 1)
        padded[:, : betas.shape[1]] = betas
        return super().predict(weights, padded, feature)


class TwoFaced(LeastSquares):
    shares = "two-faced"

    def factorise(self, betas):
        return {}

    def fit_shared(self, betas, feature, factor):
        return self.fit(betas, feature)

    def predict_shared(self, weights, betas, feature, factor, train_betas):
        return 2 * self.predict(weights, betas, feature)


class Gappy(LeastSquares):
    """Leaves out the second unit, as the rules allow."""

    def predict(self, weights, betas, feature):
        predicted = super().predict(weights, betas, feature)
        predicted.flatten(1)[:, 1] = float("nan")
        return predicted


class Patchy(LeastSquares):
    """Leaves out single numbers, which the rules forbid."""

    def predict(self, weights, betas, feature):
        predicted = super().predict(weights, betas, feature)
        predicted[predicted < 0] = float("nan")
        return predicted


class Signed(LeastSquares):
    def importance(self, weights, betas, feature, factor=None):
        return {"weight": weights["map"][:-1].mean(1)}


class Transposed(LeastSquares):
    def importance(self, weights, betas, feature, factor=None):
        return {"weight": weights["map"][:-1].abs().mean(0)}


class Blank(LeastSquares):
    def importance(self, weights, betas, feature, factor=None):
        return {"weight": betas.new_zeros(betas.shape[1])}


class Excessive(LeastSquares):
    def importance(self, weights, betas, feature, factor=None):
        size = weights["map"][:-1].abs().sum(1)
        return {"weight": size, "selected": 1.5 + 0 * size}


class Talkative(LeastSquares):
    def importance(self, weights, betas, feature, factor=None):
        size = weights["map"][:-1].abs().mean(1)
        return {"weight": size, "again": size.clone()}


class Descending(LeastSquares):
    """Comes nearer to the solution in eight steps and keeps where it is."""

    name = "descending"
    journalled = True

    def fit(self, betas, feature, journal=None, progress=None):
        import torch

        goal = super().fit(betas, feature)["map"]
        state = journal.state() if journal else {}
        found, done = state.get("map", torch.zeros_like(goal)), int(state.get("done", 0))
        for step in range(done, 8):
            found = found + 0.8 * (goal - found)
            self.kept(journal, {"map": found, "done": torch.tensor(step + 1)})
            if progress:
                progress(step + 1, 8)
        return {"map": found}

    def kept(self, journal, state):
        if journal:
            journal.keep(state)


class Amnesic(Descending):
    def kept(self, journal, state):
        if journal:
            journal.keep({})


class Silent(Descending):
    def kept(self, journal, state):
        pass


class Drifting(Descending):
    def kept(self, journal, state):
        if journal:
            journal.keep({**state, "map": state["map"].half().float()})


class Hasty(Descending):
    def fit(self, betas, feature, journal=None, progress=None):
        return super().fit(betas, feature, journal)


BROKEN_PARTS = [
    ("is_a_frozen_dataclass", Thawed()),
    ("has_a_name", TwoWords()),
    ("options_have_help", Unexplained()),
    ("options_lie_within_their_limits", OutOfLimits()),
    ("repr_rebuilds_it", Secretive()),
    ("repr_rebuilds_it", Boastful()),
]
BROKEN_REGRESSORS = [
    ("weights_are_finite_tensors", NotFinite()),
    ("weights_survive_a_file", Entangled()),
    ("predictions_have_the_shape_of_the_feature", Flattening()),
    ("inputs_stay_untouched", Overwriting()),
    ("same_trials_give_same_weights", Whimsical()),
    ("a_planted_linear_map_is_found", Indifferent()),
    ("a_prediction_depends_on_its_trial_alone", Sociable()),
    ("float16_features_are_read", Choosy()),
    ("fit_refuses_other_trials", Trimming()),
    ("predict_refuses_other_voxels", Ignoring()),
    ("sharing_changes_nothing", TwoFaced()),
    ("importance_is_one_number_a_voxel", Signed()),
    ("importance_is_one_number_a_voxel", Transposed()),
    ("importance_is_one_number_a_voxel", Blank()),
    ("importance_is_one_number_a_voxel", Excessive()),
    ("importance_is_one_number_a_voxel", Talkative()),
    ("a_killed_fit_goes_on_to_the_same_weights", Amnesic()),
    ("a_killed_fit_goes_on_to_the_same_weights", Silent()),
    ("a_killed_fit_goes_on_to_the_same_weights", Drifting()),
    ("a_killed_fit_goes_on_to_the_same_weights", Hasty()),
]


@pytest.mark.parametrize(("promise", "part"), BROKEN_PARTS + BROKEN_REGRESSORS)
def test_a_regressor_that_breaks_one_promise_fails_its_check_alone(promise, part):
    assert failing(checks.for_regressor(part)) == {promise}


@pytest.mark.parametrize(
    "part",
    [
        LeastSquares(),
        Gappy(),
        Descending(),
        Ridge(),
        Ridge(alpha="cv"),
        Ridge(scaling="none"),
        Ridge(scaling="test-batch"),
    ],
)
def test_regressors_that_keep_their_promises_pass(part):
    assert failing(checks.for_regressor(part)) == set()


def test_a_regressor_that_changes_its_weights_is_caught():
    assert "inputs_stay_untouched" in failing(checks.for_regressor(Forgetful()))


def test_a_regressor_that_leaves_out_single_numbers_is_caught():
    promise = "predictions_have_the_shape_of_the_feature"
    assert promise in failing(checks.for_regressor(Patchy()))


def test_declaring_that_rows_depend_settles_the_matter():
    class Candid(Sociable):
        rowwise = False

    assert "a_prediction_depends_on_its_trial_alone" not in failing(checks.for_regressor(Candid()))


def test_a_part_whose_module_imports_torch_fails_that_check_alone(tmp_path, monkeypatch):
    lines = ["import torch", "from brainkit.testing.toys import LeastSquares"]
    lines += ["class Heavy(LeastSquares):", "    name = 'heavy'", ""]
    (tmp_path / "heavy_part.py").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(tmp_path)
    heavy = import_module("heavy_part").Heavy()
    assert failing(checks.for_regressor(heavy)) == {"importing_it_loads_no_torch"}


def test_a_part_whose_module_cannot_be_imported_afresh_fails_that_check(tmp_path):
    (tmp_path / "needy_part.py").write_text("import not_there_at_all\n")
    with pytest.raises(AssertionError, match="not_there_at_all"):
        part_kit.import_without_torch("needy_part", str(tmp_path / "needy_part.py"))


def test_every_promise_is_broken_by_some_part_above():
    assert {promise for promise, _ in BROKEN_REGRESSORS} == {p.__name__ for p in kit.PROMISES}
    broken = {promise for promise, _ in BROKEN_PARTS}
    # The first is broken by an encoder, the second by a module written in a test above, the others
    # by a part in test_check_plugin.py.
    elsewhere = {"has_the_members_of_its_kind", "importing_it_loads_no_torch"}
    elsewhere |= {"options_are_values", "repr_is_the_same_everywhere"}
    assert broken | elsewhere == {p.__name__ for p in part_kit.PROMISES}
