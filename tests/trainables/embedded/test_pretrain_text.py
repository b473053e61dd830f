"""The recipe of ``review_bert``, and the weights that it made."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, BertForMaskedLM, BertForPreTraining

from trainables.embedded.pretrain_text import (
    CLS,
    IGNORED,
    PAD,
    SEP,
    SHAPE,
    SPECIAL_TOKENS,
    evaluate,
    learning_rate,
    losses,
    main,
    masking,
    segments,
    tokenise,
)  # fmt: skip
from trainables.embedded.reviews import corpus
from trainables.errors import InputError
from trainables.models.tokenizer import SHIPPED, load_tokenizer

WEIGHTS = SHIPPED["review_bert"]
STOP = 9


def test_the_folder_is_small_and_says_how_it_was_made() -> None:
    assert sum(path.stat().st_size for path in WEIGHTS.rglob("*")) <= 2e6
    assert not [path for path in WEIGHTS.rglob("*") if path.suffix in (".bin", ".pt", ".pkl")]
    with safe_open(WEIGHTS / "model.safetensors", framework="pt") as file:
        facts = file.metadata()
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    assert set(facts) >= {"dataset", "pretrain", "seed", "steps", "held_out_loss_before", "held_out_loss", "versions"}
    assert {tensor.dtype for tensor in state.values()} == {torch.float16}
    assert all(tensor.isfinite().all() for tensor in state.values())


def test_it_is_a_bert_of_bert_tinys_shape_with_a_trained_pooler() -> None:
    model, found = AutoModelForSequenceClassification.from_pretrained(
        WEIGHTS, use_safetensors=True, output_loading_info=True
    )
    assert {name: getattr(model.config, name) for name in SHAPE} == SHAPE
    assert set(found["missing_keys"]) == {"classifier.weight", "classifier.bias"}
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert model.config.vocab_size == len(load_tokenizer("review_bert"))


def test_it_predicts_masked_words_of_fresh_sentences() -> None:
    model = BertForMaskedLM.from_pretrained(WEIGHTS).eval()
    tokenizer = load_tokenizer("review_bert")
    fresh = tokenizer(corpus("test", 300, seed=99), padding=True, return_tensors="pt")["input_ids"]
    corrupted, labels = masking(tokenizer, 0).torch_mask_tokens(fresh.clone(), fresh < len(SPECIAL_TOKENS))
    chosen = labels != IGNORED
    with torch.inference_mode():
        logits = model(corrupted, attention_mask=fresh != PAD).logits[chosen]
    assert (logits.argmax(1) == fresh[chosen]).float().mean() > 0.4
    most_frequent = fresh[fresh >= len(SPECIAL_TOKENS)].mode().values
    assert (fresh[chosen] == most_frequent).float().mean() < 0.25


def test_the_recorded_loss_is_that_of_the_file() -> None:
    model, tokenizer = BertForPreTraining.from_pretrained(WEIGHTS).eval(), load_tokenizer("review_bert")
    words, pairs = evaluate(model, tokenise(tokenizer, corpus("test"), 64), tokenizer)
    with safe_open(WEIGHTS / "model.safetensors", framework="pt") as file:
        recorded = [float(part.split()[0]) for part in file.metadata()["held_out_loss"].split(", ")]
    assert [words, pairs] == pytest.approx(recorded, abs=0.05)  # its masks were drawn in another way


def test_segments_say_whether_the_second_follows_the_first() -> None:
    # a token tells its text: of one sentence, which cannot be cut, or of several
    texts = [([100 + i] * (1 + i % 5) + [STOP]) * (1 if i % 4 == 0 else 3) for i in range(400)]
    ids, types, follows = segments(texts, STOP, torch.Generator().manual_seed(0))
    for i, (row, kinds, label) in enumerate(zip(ids.tolist(), types.tolist(), follows.tolist(), strict=True)):
        row = row[: len(row) - row[::-1].index(SEP)]
        assert row[0] == CLS and row[1] == 100 + i
        if label == IGNORED:
            assert row == [CLS, *texts[i], SEP] and not any(kinds)
            continue
        first, second = row[1 : row.index(SEP)], row[row.index(SEP) + 1 : -1]
        assert first[-1] == second[-1] == STOP and len(first) + len(second) <= max(map(len, texts))
        assert second and (second[0] != 100 + i) == bool(label)
        assert sum(kinds) == len(second) + 1
    shares = [float((follows == value).float().mean()) for value in (0, 1, IGNORED)]
    assert shares[0] == pytest.approx(shares[1], abs=0.08) and 0.4 < shares[2] < 0.75


def test_a_batch_without_a_masked_word_has_no_loss_of_words() -> None:
    model, tokenizer = BertForPreTraining.from_pretrained(WEIGHTS).eval(), load_tokenizer("review_bert")
    found = [float(losses(model, [[STOP]], masking(tokenizer, seed))[0]) for seed in range(20)]
    assert 0.0 in found and max(found) > 0.0


def test_the_learning_rate_rises_and_falls() -> None:
    rates = [learning_rate(i / 100) for i in range(101)]
    assert rates[0] == 0.0 and rates.index(max(rates)) == 5 and rates[100] == 0.0


def test_the_command_makes_a_folder_of_any_text_and_repeats_itself(tmp_path: Path) -> None:
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "train.txt").write_text("\n".join(corpus("train", 200)))
    arguments = ["--dataset", str(tmp_path / "text"), "--steps", "3", "--max-length", "40"]
    for name in "ab":
        main([*arguments, "--out", str(tmp_path / name)])
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in "ab")
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
    model = BertForMaskedLM.from_pretrained(tmp_path / "a")
    assert model.config.max_position_embeddings == 40


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--steps", "0"], "--steps: 0, must be at least 1"),
        (["--minutes", "-1"], "--minutes: -1.0, must be"),
        (["--steps", "3", "--minutes", "1"], "give one of them"),
        (["--vocab-size", "5"], "--vocab-size: 5"),
        (["--max-length", "2"], "--max-length: 2"),
        (["--dataset", "./missing"], "neither a folder nor a known name"),
    ],
)
def test_bad_arguments_are_refused(tmp_path: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        main(["--out", str(tmp_path / "out"), *arguments])
    assert not (tmp_path / "out").exists()
