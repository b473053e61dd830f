"""Text data sets as users have them: tokenised once, cached, refused in one line."""

from pathlib import Path
from typing import Any

import datasets
import pytest
import torch

from trainables.configs import TextDataConfig
from trainables.data.texts import known_text_classes, load_text
from trainables.embedded.reviews import SIZES, reviews
from trainables.errors import InputError
from trainables.models.tokenizer import fingerprint, load_tokenizer, train_tokenizer

ROWS = {"sentence": ["the plot is dull", "a film", "the acting is superb and funny", "not bad"], "label": [0, 1, 1, 0]}


def folder(path: Path, **splits: dict[str, list[Any]]) -> str:
    (path / "data").mkdir(parents=True)
    for split, rows in splits.items():
        datasets.Dataset.from_dict(rows).to_parquet(path / "data" / f"{split}-00000-of-00001.parquet")
    return str(path)


def load(dataset: str, tokenizer: str = "review_bert", **settings: Any):
    return load_text(dataset, TextDataConfig(**settings), tokenizer)


def decoded(data: Any, split: str, tokenizer: str = "review_bert") -> list[str]:
    tokens, offsets = getattr(data, f"{split}_tokens"), getattr(data, f"{split}_offsets").tolist()
    words = load_tokenizer(tokenizer)
    return [
        " ".join(words.convert_ids_to_tokens(tokens[a:b].tolist()))
        for a, b in zip(offsets[:-1], offsets[1:], strict=True)
    ]


def test_reviews_come_back_word_for_word() -> None:
    data = load("reviews")
    assert (len(data.train_labels), len(data.test_labels), data.classes) == (*SIZES.values(), 2)
    assert data.train_tokens.dtype == torch.int32
    assert {tensor.dtype for tensor in (data.train_offsets, data.train_labels)} == {torch.int64}
    sentences, labels = reviews("test")
    assert decoded(data, "test") == [f"[CLS] {sentence} [SEP]" for sentence in sentences]
    assert data.test_labels.tolist() == labels.tolist()
    assert data.class_names == ("negative", "positive") and data.pad_id == load_tokenizer("review_bert").pad_token_id


def test_a_parquet_folder_whose_test_labels_are_hidden(tmp_path: Path) -> None:
    hidden = {"sentence": ["nobody knows"], "label": [-1]}
    held_out = {"sentence": ["the film is funny"], "label": [1]}
    data = load(folder(tmp_path, train=ROWS, validation=held_out, test=hidden))
    assert data.train_labels.tolist() == [0, 1, 1, 0] and data.class_names == ("0", "1")
    assert decoded(data, "test") == ["[CLS] the film is funny [SEP]"]
    assert decoded(data, "train")[0] == "[CLS] the plot is dull [SEP]"


def test_other_names_of_the_columns_and_texts_as_labels(tmp_path: Path) -> None:
    rows = {"text": ROWS["sentence"], "labels": ["bad", "good", "good", "bad"]}
    data = load(folder(tmp_path, train=rows, test={"text": ["a film"], "labels": ["good"]}))
    assert data.class_names == ("bad", "good")
    assert (data.train_labels.tolist(), data.test_labels.tolist()) == ([0, 1, 1, 0], [1])


def test_a_single_split_gives_a_fifth_to_the_test_set(tmp_path: Path) -> None:
    data = load(folder(tmp_path, train={name: values * 5 for name, values in ROWS.items()}))
    assert (len(data.train_labels), len(data.test_labels)) == (16, 4)


def test_real_text(real_text: Path) -> None:
    data = load(str(real_text), train_examples=500)
    assert len(data.train_labels) == 500 and len(data.test_labels) == 872 and data.classes == 2
    assert 0.4 < float(data.train_labels.float().mean()) < 0.7


def test_a_subsample_is_fixed_and_part_of_a_larger_one() -> None:
    few, again, many = (load("reviews", train_examples=n, test_examples=7) for n in (40, 40, 90))
    assert few.content_hash == again.content_hash and len(few.test_labels) == 7
    assert set(decoded(few, "train")) < set(decoded(many, "train"))
    assert decoded(few, "train") != reviews("train", 40)[0]


def test_long_sentences_are_cut_at_max_length_and_at_what_the_tokenizer_allows(tmp_path: Path) -> None:
    dataset = folder(tmp_path, train=ROWS, test={"sentence": ["the film is " + "very " * 200], "label": [0]})
    assert load(dataset, max_length=5).train_offsets.diff().tolist() == [5, 4, 5, 4]
    longest = load_tokenizer("review_bert").model_max_length
    assert load(dataset).test_offsets.diff().tolist() == [min(128, longest)]
    assert decoded(load(dataset, max_length=5), "test") == ["[CLS] the film is [SEP]"]


def test_the_second_load_maps_the_cache_and_tokenises_nothing(tmp_path: Path, monkeypatch, own_cache: Path) -> None:
    dataset = folder(tmp_path, train=ROWS, test=ROWS)
    first = load(dataset)
    files = set((own_cache / "text").glob("*.safetensors"))
    monkeypatch.setattr("trainables.data.texts._tokenise", lambda *a: pytest.fail("tokenised again"))
    second = load(dataset)
    assert first.content_hash == second.content_hash and torch.equal(first.train_tokens, second.train_tokens)
    assert set((own_cache / "text").glob("*.safetensors")) == files


def test_other_content_length_or_tokenizer_is_another_cache_entry(tmp_path: Path) -> None:
    dataset = folder(tmp_path / "a", train=ROWS, test=ROWS)
    other = folder(tmp_path / "b", train={**ROWS, "label": [1, 1, 1, 0]}, test=ROWS)
    train_tokenizer(ROWS["sentence"], 128, 64).save_pretrained(tmp_path / "words")
    hashes = [load(dataset), load(dataset, max_length=4), load(other), load(dataset, str(tmp_path / "words"))]
    assert len({data.content_hash for data in hashes}) == 4


def test_a_tokenizer_with_nothing_but_vocab_txt_as_bert_tiny_has_it(tmp_path: Path) -> None:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "plot", "is", "dull", "##er"]
    (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n")
    (tmp_path / "config.json").write_text('{"model_type": "bert", "vocab_size": 10}')
    tokenizer = load_tokenizer(str(tmp_path))
    assert tokenizer("The plot is duller")["input_ids"] == [2, 5, 6, 7, 8, 9, 3]
    dataset = folder(tmp_path / "d", train=ROWS, test=ROWS)
    assert load(dataset, str(tmp_path)).train_tokens[:6].tolist() == [2, 5, 6, 7, 8, 3]


def test_few_words_become_tokens_and_many_become_pieces() -> None:
    few = train_tokenizer(ROWS["sentence"], 128, 64)
    assert len(few) == 5 + 12 and few.decode(few("The PLOT is dull")["input_ids"]) == "[CLS] the plot is dull [SEP]"
    many = train_tokenizer([f"word{n} {n * 7919}" for n in range(500)], 128, 64)
    assert len(many) <= 128 and any(token.startswith("##") for token in many.get_vocab())
    assert fingerprint(few) != fingerprint(many)


def test_classes_of_named_data_sets_are_known_without_loading() -> None:
    assert [known_text_classes(name) for name in ("reviews", "sst2", "some/other")] == [2, 2, None]


def hub_refuses(*arguments: Any, **settings: Any) -> None:
    raise ConnectionError("no route\nto host")


def without(column: str) -> dict[str, list[Any]]:
    return {name: values for name, values in ROWS.items() if name != column}


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"train": without("label"), "test": without("label")}, "no label column; allowed: label or labels, has sent"),
        ({"train": without("sentence"), "test": without("sentence")}, "no text column; allowed: sentence or text"),
        ({"test": ROWS}, "needs a train split, has test"),
        ({"train": ROWS, "test": {**ROWS, "label": [-1] * 4}}, "the labels of test are hidden"),
        ({"train": ROWS, "test": {**ROWS, "label": [0, 1, 2, 0]}}, "test split, 'label' holds 2, which is none of"),
        ({"train": {**ROWS, "label": [0.5, 1.5, 2.5, 0.5]}, "test": ROWS}, "holds float64 with 3 different values"),
        ({"train": {**ROWS, "label": [1] * 4}, "test": ROWS}, "with 1 different values in 4 rows"),
        ({"train": {**ROWS, "label": [None, 1, 1, 0]}, "test": ROWS}, "integers or texts that name at least 2 classes"),
    ],
)
def test_unusable_folders_are_refused_in_one_line(tmp_path: Path, splits: dict, message: str) -> None:
    with pytest.raises(InputError) as refused:
        load(folder(tmp_path, **splits))
    assert message in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"train_examples": 10**6}, "data.train_examples=1000000"),
        ({"test_examples": 10**6}, "data.test_examples=1000000"),
    ],
)
def test_more_examples_than_there_are(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message + r": dataset 'reviews' has \d+; allowed: 1\.\.\d+"):
        load("reviews", **settings)


@pytest.mark.parametrize("dataset", ["no-such-set", "./missing", "/missing/folder"])
def test_unknown_data_sets_name_what_is_allowed(dataset: str) -> None:
    with pytest.raises(InputError, match="allowed: reviews, sst2, a hub name owner/name, or the path of a text folder"):
        load(dataset)


def test_folders_without_text_or_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(InputError, match=r"the folder has no tokenizer; one of tokenizer\.json, vocab\.txt"):
        load("reviews", str(tmp_path))
    (tmp_path / "tokenizer.json").write_text("no json")
    with pytest.raises(InputError, match="tokenizer not readable"):
        load("reviews", str(tmp_path))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="not readable as a Hugging Face text folder") as refused:
        load(str(tmp_path / "empty"))
    assert "\n" not in str(refused.value)
    with pytest.raises(InputError, match="no such folder; allowed: review_bert"):
        load("reviews", "./missing")


def test_the_hub_out_of_reach(monkeypatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("datasets.load_dataset", hub_refuses)
    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", hub_refuses)
    for dataset, tokenizer in (("sst2", "prajjwal1/bert-tiny"), ("reviews", "prajjwal1/bert-tiny")):
        with pytest.raises(InputError, match="hub cannot be reached") as refused:
            load(dataset, tokenizer)
        assert "\n" not in str(refused.value)


def test_sst2_is_the_glue_configuration(monkeypatch) -> None:
    asked = []
    splits = datasets.DatasetDict({name: datasets.Dataset.from_dict(ROWS) for name in ("train", "validation")})
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("datasets.load_dataset", lambda *arguments: asked.append(arguments) or splits)
    assert len(load("sst2").train_labels) == 4 and asked == [("nyu-mll/glue", "sst2")]


@pytest.mark.parametrize(
    "settings", [{"train_examples": 1}, {"test_examples": 0}, {"max_length": 2}, {"val_fraction": 1.0}]
)
def test_bounds_of_the_configuration(settings: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        TextDataConfig(**settings)
