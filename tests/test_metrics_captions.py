"""Metrics of captions against values other programs computed."""

import json
from pathlib import Path

import numpy as np
import pytest

from brainkit import metrics
from brainkit.errors import DataError

GOLDEN = Path(__file__).parent / "golden" / "metrics"
EXPECTED = json.loads((GOLDEN / "expected_captions.json").read_text())
CAPTIONS = json.loads((GOLDEN / "captions.json").read_text())
DECODED = [item["hypothesis"] for item in CAPTIONS]
REFERENCES = [item["references"] for item in CAPTIONS]


def check(score, golden, tolerance=1e-6):
    np.testing.assert_allclose(score.per_item, golden["per_item"], rtol=0, atol=tolerance)
    assert score.mean == pytest.approx(golden["mean"], abs=tolerance)


def test_tokens_match_those_the_golden_values_were_computed_on():
    for item in CAPTIONS:
        golden = EXPECTED["tokens"][str(item["id"])]
        assert list(metrics.tokens(item["hypothesis"])) == golden["hypothesis"]
        assert [list(metrics.tokens(text)) for text in item["references"]] == golden["references"]


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize(
    ("first_only", "key", "suffix"),
    [(False, "bleu_coco", "@allref"), (True, "bleu_coco_first_reference", "@1ref")],
)
def test_bleu_matches_the_coco_evaluation(order, first_only, key, suffix):
    score = metrics.bleu(DECODED, REFERENCES, order=order, first_only=first_only)
    assert score.mean == pytest.approx(EXPECTED[key][f"bleu{order}"], abs=1e-6)
    assert score.name == f"BLEU-{order}{suffix}"


def test_bleu_of_one_caption_is_its_item_value():
    for item in (0, 3, 8):
        alone = metrics.bleu([DECODED[item]], [REFERENCES[item]], order=2)
        together = metrics.bleu(DECODED, REFERENCES, order=2)
        assert together.per_item[item] == pytest.approx(alone.mean)


def test_cider_matches_the_coco_evaluation():
    check(metrics.cider(DECODED, REFERENCES), EXPECTED["cider_coco"], tolerance=1e-5)


@pytest.mark.parametrize("kind", ["rouge1", "rouge2", "rougeL"])
def test_rouge_matches_the_published_package(kind):
    best = metrics.rouge(DECODED, REFERENCES, kind=kind)
    first = metrics.rouge(DECODED, REFERENCES, kind=kind, first_only=True)
    check(best, EXPECTED["rouge_score_best_reference"][kind])
    check(first, EXPECTED["rouge_score_first_reference"][kind])
    assert (best.name[-7:], first.name[-5:]) == ("@allref", "@1ref")


def test_meteor_matches_nltk_without_synonyms():
    best = metrics.meteor(DECODED, REFERENCES)
    first = metrics.meteor(DECODED, REFERENCES, first_only=True)
    check(best, EXPECTED["meteor_exact_stem_best_reference"])
    check(first, EXPECTED["meteor_exact_stem_first_reference"])
    assert "no synonyms" in best.name


def test_empty_caption_scores_nothing_everywhere():
    for score in metrics.caption_scores(DECODED, REFERENCES):
        assert score.per_item[2] == 0, score.name
        assert score.n_defined == 24


def test_caption_scores_put_the_references_into_every_name():
    references = [np.eye(24, 30)[[(i + 1) % 24, i]] for i in range(24)]
    seen = metrics.Embedded("CLIP (miniature) text-text", np.eye(24, 30), references)
    scores = metrics.caption_scores(DECODED, REFERENCES, embedded=[seen])
    names = [score.name for score in scores]
    assert sum(name.endswith("@allref") for name in names) == len(names) / 2
    assert sum(name.endswith("@1ref") for name in names) == len(names) / 2
    assert names[-2:] == [f"CLIP (miniature) text-text@{which}" for which in ("allref", "1ref")]
    # The second reference equals the decoded caption, the first is at right angles to it.
    assert [score.mean for score in scores[-2:]] == pytest.approx([1, 0])


def test_captions_without_references_are_refused():
    with pytest.raises(DataError, match="item 1 has references"):
        metrics.meteor(["a dog", "a cat"], [["a dog"], []])
    with pytest.raises(DataError, match="item 0 has references 'a dog'"):
        metrics.meteor(["a dog"], ["a dog"])


def test_derangements_move_every_item_and_repeat_with_the_seed():
    orders = metrics.derangements(9, count=20, seed=4)
    assert all(sorted(order.tolist()) == list(range(9)) for order in orders)
    assert not np.any(orders == np.arange(9))
    np.testing.assert_array_equal(orders, metrics.derangements(9, count=20, seed=4))
    with pytest.raises(DataError, match="1 items cannot be shuffled"):
        metrics.derangements(1, count=1)


def test_chance_of_shuffled_pairs_is_the_known_chance():
    generator = np.random.default_rng(5)
    shown = generator.normal(size=(200, 40))
    decoded = shown + 0.5 * generator.normal(size=shown.shape)

    def score(order):
        return [metrics.two_way_identification(shown, decoded[order], network="toy")]

    level = metrics.chance_levels(score, 200, n_shuffles=6)["two-way identification, toy"]
    assert level.mean == pytest.approx(0.5, abs=0.04)
    assert 0 < level.sd < 0.1
    assert level.n_shuffles == 6
