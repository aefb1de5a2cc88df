"""One way to call a regressor: what it shares, where it computes and what it keeps."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from brainkit.errors import UsageError
from brainkit.regressors import FoldRidge, Ridge
from brainkit.run.artefact import Artefact, Recipe, write_tensors
from brainkit.run.regress import Regression

RNG = torch.Generator().manual_seed(2)
BETAS = torch.randn(40, 6, generator=RNG)
FEATURE = BETAS @ torch.randn(6, 4, generator=RNG) + torch.randn(40, 4, generator=RNG)
NEW = torch.randn(5, 6, generator=RNG)


class Journal:
    """Counts what is asked of it."""

    def __init__(self) -> None:
        self.kept: list[dict[str, torch.Tensor]] = []

    def state(self) -> dict[str, torch.Tensor]:
        return {}

    def keep(self, state) -> None:
        self.kept.append(dict(state))


@dataclass(frozen=True)
class Descending:
    """Trains for long and says on which device its betas were."""

    name = "descending"
    journalled = True

    def fit(self, betas, feature, journal=None, progress=None):
        for step in range(3):
            if journal:
                journal.keep({"step": torch.tensor(step)})
            if progress:
                progress(step + 1, 3)
        return {"meta": torch.tensor(betas.is_meta)}

    def predict(self, weights, betas, feature):
        return torch.full((len(betas), 4), float(betas.is_meta))


@pytest.fixture
def factor(tmp_path) -> Artefact:
    made = Artefact(tmp_path / "factor.safetensors", Recipe("factor"))
    write_tensors(made.path, Ridge(alpha=3.0).factorise(BETAS), made.recipe)
    return made


def test_a_shared_factor_changes_nothing_but_what_is_kept(factor):
    plain, sharing = Regression(Ridge(alpha=3.0), "cpu"), Regression(Ridge(3.0), "cpu", factor)
    results = []
    for each in (plain, sharing):
        weights = each.fit(BETAS, FEATURE)
        predicted = each.predict(weights, NEW, FEATURE, BETAS)
        results.append((predicted, each.importance(weights, BETAS, FEATURE)["weight"]))
    (first, importance), (second, same) = results
    # Both solve in float64 and round to float32, by another order of sums.
    torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(importance, same, rtol=1e-4, atol=1e-6)
    closed = torch.linalg.solve(
        (BETAS - BETAS.mean(0)).T @ (BETAS - BETAS.mean(0)) + 3.0 * torch.eye(6),
        (BETAS - BETAS.mean(0)).T @ (FEATURE - FEATURE.mean(0)),
    )
    expected = FEATURE.mean(0) + (NEW - BETAS.mean(0)) @ closed
    unscaled = Regression(Ridge(alpha=3.0, scaling="none"), "cpu")
    weights = unscaled.fit(BETAS, FEATURE)
    torch.testing.assert_close(
        unscaled.predict(weights, NEW, FEATURE, BETAS), expected, rtol=1e-3, atol=1e-4
    )


def test_what_a_sharing_regressor_learned_holds_no_betas(factor):
    alone = Regression(Ridge(alpha=3.0), "cpu").fit(BETAS, FEATURE)
    shared = Regression(Ridge(alpha=3.0), "cpu", factor).fit(BETAS, FEATURE)
    sizes = [sum(tensor.numel() for tensor in weights.values()) for weights in (alone, shared)]
    assert sizes[1] < BETAS.numel() <= sizes[0]


def test_one_that_trains_for_long_gets_journal_progress_and_device():
    journal, steps = Journal(), []
    regressor = Regression(Descending(), "meta")
    weights = regressor.fit(
        BETAS, FEATURE, journal, lambda done, total: steps.append((done, total))
    )
    assert [int(state["step"]) for state in journal.kept] == [0, 1, 2]
    assert steps == [(1, 3), (2, 3), (3, 3)]
    assert bool(weights["meta"])
    assert float(regressor.predict(weights, NEW, FEATURE, BETAS).unique()) == 1.0


def test_others_get_neither_and_stay_on_the_cpu():
    journal = Journal()
    regressor = Regression(FoldRidge(), "meta")
    weights = regressor.fit(BETAS, FEATURE, journal, lambda done, total: pytest.fail("told"))
    assert journal.kept == []
    assert not regressor.predict(weights, NEW, FEATURE, BETAS).is_meta


def test_a_regressor_without_maps_says_which_has_them():
    with pytest.raises(UsageError, match=r"'descending' offers no map; .*--use regressor=ridge"):
        Regression(Descending(), "cpu").importance({}, BETAS, FEATURE)
