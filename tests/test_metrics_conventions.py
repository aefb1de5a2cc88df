"""Scores of captions under the conventions that are published, against other programs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from brainkit import metrics
from brainkit.errors import DataError
from brainkit.metrics import words

GOLDEN = Path(__file__).parent / "golden" / "metrics"
EXPECTED = json.loads((GOLDEN / "expected_captions.json").read_text())
CAPTIONS = json.loads((GOLDEN / "captions.json").read_text())
JAPANESE = "赤い屋根の家の前に犬がいる"


@pytest.mark.parametrize("kind", ["rouge1", "rouge2", "rougeL"])
def test_rouge_of_ascii_is_the_package_rouge_score(kind):
    from rouge_score.rouge_scorer import RougeScorer

    texts = ["It's a dog's day; 2 cats!", "a 3-legged dog", "", "DOG dog, dog", "...", "a_b a b"]
    scorer = RougeScorer([kind], use_stemmer=False)
    for text in texts:
        for other in texts:
            value = metrics.rouge([text], [[other]], kind=kind).mean
            assert value == pytest.approx(scorer.score(other, text)[kind].fmeasure), (text, other)


def test_rouge_l_of_coco_matches_the_coco_evaluation():
    golden = EXPECTED["rouge_l_coco_beta1.2"]
    pairs = [item["hypothesis"] for item in CAPTIONS], [item["references"] for item in CAPTIONS]
    score = metrics.rouge_l_coco(*pairs)
    np.testing.assert_allclose(score.per_item, golden["per_item"], rtol=0, atol=1e-6)
    assert score.name == "ROUGE-L (COCO)@allref"


def test_an_identical_caption_of_any_script_scores_as_one_of_ascii_does():
    one = metrics.word_scores([JAPANESE], [[JAPANESE]])
    text = " ".join(chr(97 + i) for i in range(len(JAPANESE)))
    same = metrics.word_scores([text], [[text]])
    assert [each.mean for each in one] == pytest.approx([each.mean for each in same], abs=1e-4)
    by_name = {each.name: each.mean for each in one}
    for name in ("BLEU-1", "BLEU-4", "ROUGE-1", "ROUGE-L", "ROUGE-L (COCO)"):
        assert by_name[f"{name}@allref"] == pytest.approx(1)
    assert by_name["METEOR (no synonyms)@1ref"] > 0.99


def test_letters_of_any_script_make_words():
    assert metrics.tokens("Un café à côté") == ("un", "café", "à", "côté")
    assert metrics.tokens("Зелёный дом, l'été") == ("зелёный", "дом", "l'été")
    assert metrics.tokens("snake_case 3rd") == ("snake", "case", "3rd")
    assert metrics.rouge(["a café"], [["a caf"]], kind="rouge1").mean == pytest.approx(0.5)


def test_tokens_of_ascii_are_those_of_the_plain_expression():
    plain = re.compile(r"[a-z0-9]+(?:'[a-z]+)?")
    random = np.random.default_rng(0)
    letters = np.array(list("abz09AZ'_-.!? \t\n"))
    for _ in range(2000):
        text = "".join(random.choice(letters, 12))
        assert list(metrics.tokens(text)) == plain.findall(text.lower()), repr(text)


class Lemma:
    def __init__(self, word):
        self.word = word

    def name(self):
        return self.word


class Synset:
    def __init__(self, *words):
        self.words = words

    def lemmas(self):
        return [Lemma(each) for each in self.words]


class Thesaurus:
    """What nltk reads of WordNet, with one synset in it."""

    def synsets(self, word):
        return [Synset("dog", "hound", "domestic_dog")] if word in ("dog", "hound") else []


@pytest.fixture
def thesaurus(monkeypatch):
    import nltk.corpus

    monkeypatch.setattr(nltk.corpus, "wordnet", Thesaurus())
    for cached in (words.synonyms, words._synsets):
        cached.cache_clear()
    yield Thesaurus()
    for cached in (words.synonyms, words._synsets):
        cached.cache_clear()


def test_meteor_with_wordnet_is_nltks(thesaurus):
    from nltk.translate.meteor_score import single_meteor_score

    score = metrics.meteor(["a hound runs"], [["a dog ran"]], synonyms=True)
    truth = single_meteor_score(["a", "dog", "ran"], ["a", "hound", "runs"], wordnet=thesaurus)
    assert score.mean == pytest.approx(truth)
    assert score.mean > metrics.meteor(["a hound runs"], [["a dog ran"]]).mean
    names = [each.name for each in metrics.word_scores(["a hound"], [["a dog"]])]
    assert {"METEOR (WordNet)@allref", "METEOR (no synonyms)@allref"} < set(names)


def test_meteor_with_synonyms_says_what_is_missing(monkeypatch):
    monkeypatch.setattr(words, "synonyms", lambda: False)
    with pytest.raises(DataError, match=r"nltk has no WordNet here; `python -m nltk\.downloader"):
        metrics.meteor(["a dog"], [["a dog"]], synonyms=True)


def test_clip_s_and_ref_clip_s_are_their_formulas():
    random = np.random.default_rng(3)
    images, decoded = random.normal(size=(2, 6, 8))
    references = [random.normal(size=(1 + i % 3, 8)) for i in range(6)]
    seen = metrics.Embedded("toy", decoded, references, images)

    def cosine(a, b):
        return a @ b / np.linalg.norm(a) / np.linalg.norm(b)

    clip, by_all, by_first = metrics.clip_scores(seen)
    assert [each.name for each in (clip, by_all, by_first)] == [
        *("CLIP-S, toy", "RefCLIP-S, toy@allref", "RefCLIP-S, toy@1ref")
    ]
    for item in range(6):
        image = 2.5 * max(cosine(images[item], decoded[item]), 0)
        every = [cosine(decoded[item], each) for each in references[item]]
        assert clip.per_item[item] == pytest.approx(image)
        for score, text in ((by_all, max(*every, 0)), (by_first, max(every[0], 0))):
            mean = 2 * image * text / (image + text) if image + text else 0
            assert score.per_item[item] == pytest.approx(mean)
