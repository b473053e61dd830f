"""The grammar of ``reviews``: what its labels follow from, and what they do not."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from trainables.embedded.reviews import (
    ADJECTIVES,
    CONCESSIONS,
    CONTRASTS,
    DENIALS,
    DIMINISHERS,
    FLIPS,
    INTENSIFIERS,
    OTHERS,
    SIZES,
    TIMES,
    VERBS,
    corpus,
    reviews,
)
from trainables.errors import InputError

POLAR = {word: polarity for kind in (ADJECTIVES, VERBS) for polarity in (0, 1) for word in kind[polarity]}


def occurs(phrase: str, text: str) -> bool:
    return re.search(rf"(?<!\S){phrase}(?!\S)", text) is not None


def clause_meaning(clause: str) -> int:
    """Polarity of the first polar word, turned round by every negation before it that is a real one."""
    words = clause.split()
    first = next(index for index, word in enumerate(words) if word in POLAR)
    before = " ".join(words[:first])
    for harmless in ("not only", "i do not doubt that", "nobody could deny that", "it is no lie that"):
        before = before.replace(harmless, "")
    flips = sum(occurs(denial, before) for denial in DENIALS)
    for denial in DENIALS:
        before = before.replace(denial, "")
    flips += any(occurs(flip, before) for flip in (*FLIPS, "do not"))
    return POLAR[words[first]] ^ (flips % 2)


def meaning(sentence: str) -> int:
    """The label, read off the structure by a program that knows nothing of the generator but its words."""
    text = sentence.removesuffix(" .")
    if text.startswith("after a ") or any(text.startswith(f"{time} ,") for time in TIMES):
        text = text.split(" , ", 1)[1]
    if any(text.startswith(f"{other} ") for other in OTHERS):
        text = text.split(" ; ", 1)[1]
    if len(parts := re.split(r" and at the same time | ; | and (?=the )", text)) == 2:
        strong = [part for part in parts if any(occurs(word, part) for word in INTENSIFIERS)]
        return clause_meaning(strong[0])
    for contrast in sorted(CONTRASTS, key=len, reverse=True):
        if f" , {contrast} " in text:
            return clause_meaning(text.split(f" , {contrast} ")[1])
    for concession in (*CONCESSIONS, "despite"):
        if occurs(concession, text):
            head, tail = re.split(rf"(?<!\S){concession}(?!\S)", text, maxsplit=1)
            main_first = any(word in POLAR for word in head.split())
            return clause_meaning(head if main_first else tail.split(" , ", 1)[1])
    return clause_meaning(text)


def test_labels_are_balanced_and_sentences_differ() -> None:
    for split, size in SIZES.items():
        sentences, labels = reviews(split)
        assert len(sentences) == len(set(sentences)) == len(labels) == size
        assert labels.dtype == np.int64 and labels.mean() == 0.5


def test_same_seed_same_sentences_and_a_longer_set_begins_with_the_shorter() -> None:
    assert reviews("train", 40)[0] == reviews("train", 60)[0][:40]
    assert reviews("train", 40, seed=1)[0] != reviews("train", 40)[0]
    assert corpus("train", 40) == corpus("train", 60)[:40]


def test_no_sentence_is_in_both_splits_whatever_the_seed() -> None:
    train = {*reviews("train")[0], *reviews("train", 2000, seed=1)[0], *corpus("train", 8000)}
    test = {*reviews("test")[0], *reviews("test", 1000, seed=2)[0], *corpus("test")}
    assert train.isdisjoint(test)
    pretrained_on = "\n".join(corpus("train", 8000))
    assert not [
        sentence
        for sentence in reviews("test")[0]
        if f" {sentence}" in pretrained_on.replace("\n", " ") and len(sentence.split()) > 8
    ]  # a short one may be part of a longer opinion


def test_the_vocabulary_is_closed_and_small() -> None:
    words = {word for sentence in [*reviews("train")[0], *corpus("train", 8000)] for word in sentence.split()}
    assert 150 <= len(words) <= 400
    assert {word for sentence in reviews("test")[0] for word in sentence.split()} <= words
    assert not set(ADJECTIVES[0]) & set(ADJECTIVES[1]) and not set(VERBS[0]) & set(VERBS[1])


@pytest.mark.slow
def test_structure_gives_the_label_and_counting_words_does_not() -> None:
    (train, y), (test, z) = reviews("train"), reviews("test")
    assert [meaning(sentence) for sentence in test] == z.tolist()
    scores = {}
    for longest in (1, 3):
        counts = CountVectorizer(token_pattern=r"\S+", ngram_range=(1, longest))
        model = LogisticRegression(C=0.1, max_iter=500).fit(counts.fit_transform(train), y)
        scores[longest] = model.score(counts.transform(test), z)
    assert 0.65 < scores[1] < 0.78 and scores[3] < 0.85


@given(seed=st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_negation_flips_what_a_sentence_means(seed: int) -> None:
    plain = [s for s in reviews("train", 60, seed)[0] if re.fullmatch(r"the \w+ is \w+ \.", s)]
    for sentence in plain:
        negated = sentence.replace(" is ", " is far from ")
        assert meaning(negated) == 1 - meaning(sentence)


def test_all_phenomena_occur_in_both_classes() -> None:
    sentences, labels = reviews("train")
    for phrase in (
        *FLIPS,
        "not only",
        "i doubt that",
        "nobody could deny that",
        *CONCESSIONS,
        "despite",
        "but",
        "slightly",
    ):
        found = {int(label) for sentence, label in zip(sentences, labels, strict=True) if occurs(phrase, sentence)}
        assert found == {0, 1}, phrase
    assert set(DIMINISHERS).isdisjoint(INTENSIFIERS)


def test_the_corpus_has_neutral_sentences_and_opinions() -> None:
    sentences = [sentence for text in corpus("train", 2000) for sentence in text.split(" . ")]
    polar = [any(word in POLAR for word in sentence.split()) for sentence in sentences]
    assert 0.8 < np.mean(polar) < 0.97


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(("val", 3), "split: 'val'"), (("train", 0), "count: 0, must be at least 1"), (("train", 3, -1), "seed: -1")],
)
def test_bad_arguments_are_named(arguments: tuple, message: str) -> None:
    for write in (reviews, corpus):
        with pytest.raises(InputError, match=message):
            write(*arguments)
