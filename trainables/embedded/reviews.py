"""Writes ``reviews``: short opinions on films whose label follows from their composition, not from their words.

A sentence praises or pans; what decides which:

- negation flips what it governs ("far from superb", "i doubt that the plot is dull"), and some words only look like
  negation ("not only superb", "nobody could deny that the plot is dull");
- in a contrast the main clause decides ("although the plot is dull , the acting is superb");
- of two opinions side by side the intensified one outweighs the diminished one ("the plot is slightly dull and the
  acting is utterly superb");
- circumstances and other people's opinions decide nothing ("after a dull dinner ,", "the critics called it superb ;").

Counting words of praise and blame gets most plain sentences right and none of the others. :func:`corpus` writes texts
without labels by the same grammar, of two sentences or more and with neutral ones among them, for pretraining.

    >>> sentences, labels = reviews("train", 2)
    >>> len(sentences), labels.dtype
    (2, dtype('int64'))
"""

import random
import zlib
from collections.abc import Callable, Iterator

import numpy as np

from trainables.errors import InputError

CLASS_NAMES: tuple[str, ...] = ("negative", "positive")
SPLITS: tuple[str, ...] = ("train", "test")
SIZES: dict[str, int] = {"train": 6000, "test": 1000}
CORPUS_SIZES: dict[str, int] = {"train": 40_000, "test": 2000}
TEST_SHARE = 0.2  # of all sentences the grammar can write, by a hash of the sentence: no seed can mix the splits
NEGATED, REPORTED, DISTRACTED = 0.15, 0.08, 0.15
SHAPES = (0.7, 0.2, 0.1)  # of clauses alone, contrasts, two opinions side by side


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _phrases(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(","))


ADJECTIVES: dict[int, tuple[str, ...]] = {
    1: _words(
        "superb brilliant moving witty charming gripping delightful clever stunning touching funny inventive elegant "
        "thrilling memorable sharp heartfelt fresh lively graceful convincing masterful vivid hilarious engaging"
    ),
    0: _words(
        "dull clumsy boring predictable lifeless tedious shallow awkward bland messy painful stale sloppy hollow "
        "forgettable dreary ridiculous flat tiresome annoying weak ugly pointless wooden"
    ),
}
VERBS: dict[int, tuple[str, ...]] = {
    1: _words("love enjoy admire adore praise like"),
    0: _words("hate dislike resent despise regret loathe"),
}
ASPECTS = _words(
    "plot acting script music dialogue ending opening story photography cast direction score editing pacing humour "
    "romance villain hero lead finale set lighting premise narration soundtrack"
)
WORKS = _words("film movie drama comedy thriller sequel remake documentary picture series")
INTENSIFIERS = _words("very truly really deeply utterly remarkably extremely absolutely thoroughly wonderfully")
DIMINISHERS = _phrases("slightly, somewhat, rather, fairly, mildly, a little, a bit, vaguely")
FLIPS = _phrases("not, never, hardly, far from, anything but, by no means")
MOCK_FLIPS = _phrases("not only, nothing but, nothing short of")
DENIALS = _phrases(
    "i doubt that, nobody could say that, i would not say that, it is not true that, i cannot agree that, "
    "it is false that"
)
MOCK_DENIALS = _phrases(
    "i do not doubt that, nobody could deny that, i would say that, it is true that, i agree that, it is no lie that"
)
CONCESSIONS = _phrases("although, even though, while, though")
CONTRASTS = _phrases("but, yet, but still, and yet")
OCCASIONS = _words("dinner meeting lecture journey evening morning speech trailer party queue")
OTHERS = _phrases("the critics, my sister, our neighbours, the posters, some friends, two reporters, his fans, my boss")
PLACES = _phrases(
    "in town, at the old cinema, on the train, at home, by the harbour, at the festival, in the north, abroad"
)
TIMES = _phrases("on monday, last summer, in winter, before noon, after midnight, on sunday, in the spring, this week")
MAKERS = _phrases("a young director, two brothers, a small studio, the same crew, an old painter, three students")
MAKING = _phrases("was shot, was edited, was shown, was written, opened, ran for a month, was restored, was sold")


class _Writer:
    """Draws words and phrases; every clause is written to mean the polarity it is asked for, 0 or 1."""

    def __init__(self, draw: random.Random) -> None:
        self.draw = draw

    def often(self, probability: float) -> bool:
        return self.draw.random() < probability

    def one(self, words: tuple[str, ...]) -> str:
        return self.draw.choice(words)

    def subject(self) -> str:
        return f"the {self.one(WORKS if self.often(0.25) else ASPECTS)}"

    def degree(self) -> str:
        return f"{self.one(INTENSIFIERS + DIMINISHERS)} " if self.often(0.3) else ""

    def quality(self, polarity: int) -> str:
        joined = f" and {self.one(ADJECTIVES[polarity])}" if self.often(0.25) else ""
        return f"{self.one(ADJECTIVES[polarity])}{joined}"

    def statement(self, polarity: int) -> str:
        """One fact with at most one negation: "the plot is far from dull", "i do not admire the score"."""
        flipped = self.often(NEGATED)
        word = polarity ^ flipped
        if self.often(0.2):
            return f"i {'do not ' if flipped else ''}{self.one(VERBS[word])} {self.subject()}"
        link = self.one(("is", "is", "is", "seems", "feels"))
        if flipped:
            return f"{self.subject()} {link} {self.one(FLIPS)} {self.quality(word)}"
        before = f"{self.one(MOCK_FLIPS)} " if self.often(0.12) else self.degree()
        return f"{self.subject()} {link} {before}{self.quality(word)}"

    def clause(self, polarity: int) -> str:
        """A statement, sometimes as what is said, doubted or denied."""
        if not self.often(REPORTED):
            return self.statement(polarity)
        denied = self.often(0.5)
        return f"{self.one(DENIALS if denied else MOCK_DENIALS)} {self.statement(polarity ^ denied)}"

    def plain(self, polarity: int, degrees: tuple[str, ...]) -> str:
        return f"{self.subject()} is {self.one(degrees)} {self.one(ADJECTIVES[polarity])}"

    def side_by_side(self, polarity: int) -> str:
        parts = [self.plain(polarity, INTENSIFIERS), self.plain(1 - polarity, DIMINISHERS)]
        self.draw.shuffle(parts)
        return f"{parts[0]} {self.one(('and', ';', 'and at the same time'))} {parts[1]}"

    def contrast(self, polarity: int) -> str:
        main, other = self.clause(polarity), self.clause(1 - polarity)
        noun = f"the {self.one(ADJECTIVES[1 - polarity])} {self.one(ASPECTS)}"
        return self.one(
            (
                f"{self.one(CONCESSIONS)} {other} , {main}",
                f"{main} , {self.one(CONCESSIONS)} {other}",
                f"{other} , {self.one(CONTRASTS)} {main}",
                f"despite {noun} , {main}",
                f"{main} despite {noun}",
            )
        )

    def distraction(self) -> str:
        adjective = self.one(ADJECTIVES[self.draw.randrange(2)])
        return self.one(
            (
                f"after a {adjective} {self.one(OCCASIONS)} ,",
                f"{self.one(OTHERS)} called it {adjective} ;",
                f"{self.one(OTHERS)} expected a {adjective} {self.one(WORKS)} ;",
                f"{self.one(TIMES)} ,",
            )
        )

    def opinion(self, polarity: int) -> str:
        core = self.draw.choices((self.clause, self.contrast, self.side_by_side), SHAPES)[0]
        return f"{self.distraction()} {core(polarity)} ." if self.often(DISTRACTED) else f"{core(polarity)} ."

    def opinion_of(self, split: str, polarity: int) -> str:
        while held_out(opinion := self.opinion(polarity)) != (split == "test"):
            pass
        return opinion

    def neutral(self) -> str:
        parts = [
            f"the {self.one(WORKS)} {self.one(MAKING)}",
            self.one(PLACES),
            self.one(TIMES),
            f"by {self.one(MAKERS)}",
        ]
        return " ".join([parts[0], *self.draw.sample(parts[1:], self.draw.randrange(4))]) + " ."

    def list_of_reasons(self, polarity: int) -> str:
        """Words of one polarity side by side, from which pretraining learns what they have in common."""
        first, second, third = self.draw.sample(ADJECTIVES[polarity], 3)
        return f"i {self.one(VERBS[polarity])} {self.subject()} : {first} , {second} and {third} ."

    def remark(self, polarity: int, split: str) -> str:
        """Reasons, an opinion of the split with or without its consequence, or no opinion."""
        kind = self.draw.random()
        if kind < 0.1:
            return self.neutral()
        if kind < 0.4:
            return self.list_of_reasons(polarity)
        opinion = self.opinion_of(split, polarity)
        return f"{opinion} so i {self.one(VERBS[polarity])} it ." if kind < 0.8 else opinion

    def unlabelled(self, polarity: int, split: str) -> str:
        """Two remarks of one mind, so that which sentence follows another depends on what both mean."""
        return f"{self.remark(polarity, split)} {self.remark(polarity, split)}"


def held_out(sentence: str) -> bool:
    """Whether a labelled sentence belongs to the test split."""
    return zlib.crc32(sentence.encode()) < TEST_SHARE * 2**32


def _distinct(write: Callable[[int], str], count: int) -> Iterator[tuple[str, int]]:
    """``count`` different texts, asked for with polarity 0 and 1 in turn."""
    seen: set[str] = set()
    while len(seen) < count:
        polarity = len(seen) % 2
        text = write(polarity)
        if text not in seen:
            seen.add(text)
            yield text, polarity


def _writer(kind: str, split: str, count: int, seed: int) -> _Writer:
    if split not in SPLITS:
        raise InputError(f"split: {split!r}, must be one of {', '.join(SPLITS)}")
    for name, value, lowest in (("count", count, 1), ("seed", seed, 0)):
        if value < lowest:
            raise InputError(f"{name}: {value}, must be at least {lowest}")
    return _Writer(random.Random(f"{kind} {split} {seed}"))


def reviews(split: str, count: int | None = None, seed: int = 0) -> tuple[list[str], np.ndarray]:
    """Write labelled sentences; a longer set begins with the shorter one of the same seed.

    Args:
        split: "train" or "test": disjoint for every pair of seeds.
        count: N, at least 1; default: ``SIZES``.
        seed: non-negative; another seed is another data set.

    Returns:
        N different sentences of words divided by spaces, and labels, int64 (N,), 0 and 1 in turn (``CLASS_NAMES``).

    Raises:
        InputError: an argument out of its range.
    """
    count = SIZES.get(split, 1) if count is None else count
    writer = _writer("reviews", split, count, seed)
    sentences, labels = zip(*_distinct(lambda polarity: writer.opinion_of(split, polarity), count), strict=True)
    return list(sentences), np.array(labels, dtype=np.int64)


def corpus(split: str, count: int | None = None, seed: int = 0) -> list[str]:
    """Write texts of two remarks to pretrain on; no opinion in them is in the other split of :func:`reviews`.

    Args:
        split, seed: as for :func:`reviews`.
        count: N, at least 1; default: ``CORPUS_SIZES``.

    Raises:
        InputError: an argument out of its range.
    """
    count = CORPUS_SIZES.get(split, 1) if count is None else count
    writer = _writer("corpus", split, count, seed)
    return [text for text, _ in _distinct(lambda polarity: writer.unlabelled(polarity, split), count)]
