"""Pretrains a BERT of bert-tiny's shape on sentences; their labels are never read.

    python -m trainables.embedded.pretrain_text --out trainables/weights/review_bert
    python -m trainables.embedded.pretrain_text --dataset FOLDER --vocab-size 8192 --minutes 15 --out FOLDER

The first line makes ``review_bert``, which comes with the project, from ``trainables.embedded.reviews``, the second a
model of any text. As in BERT, the objective is masked language modelling plus telling whether a second
segment follows the first: a text of several sentences is cut between two of them, and half of the time another text
goes on. That trains the pooler, which classifiers read; in texts of one sentence each there is nothing to tell and the
pooler stays as it was drawn. The folder holds
``config.json``, ``model.safetensors`` (fp16 on disk, with facts about its making in the metadata) and the tokenizer.

Source: Devlin et al., BERT, NAACL 2019; shape of Turc et al., "Well-read students learn better", 2019 (bert-tiny).
"""

import argparse
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F
from transformers import BertConfig, BertForPreTraining, DataCollatorForLanguageModeling

from trainables.data.text_input import bucketed_batches
from trainables.data.text_source import OWN_DATASET, open_text
from trainables.errors import InputError
from trainables.models.tokenizer import SPECIAL_TOKENS, train_tokenizer

DEFAULT_STEPS = 5000
SHAPE: dict[str, Any] = {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 512}
INITIAL_STD = 0.06  # 0.02 is for wider models: here it leaves the product of query and key too small to learn from
BATCH, WARM_UP, PEAK_LR, WEIGHT_DECAY, MAX_NORM = 64, 0.05, 2e-3, 0.01, 1.0
MASKED = 0.15
PAIRS = 0.5  # share of the texts that are shown as two segments; the others look as they will to a classifier
IGNORED = -100  # label that cross-entropy leaves out
PAD, CLS, SEP = (SPECIAL_TOKENS.index(token) for token in ("[PAD]", "[CLS]", "[SEP]"))
EVALUATED = 2000  # held-out texts that the losses are measured on


def segments(texts: Sequence[list[int]], stop: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Single texts and pairs of segments with their special tokens, padded.

    Args:
        texts: token ids without special tokens, at least one text.
        stop: id of the token that ends a sentence.

    Returns:
        ids, int64 (B, L); token types, int64 (B, L), 1 in second segments; and int64 (B,): 0 where the second segment
        is the first one's own, 1 where it is another sentence's, ``IGNORED`` where there is none.
    """
    draws = torch.rand(len(texts), 3, generator=generator).tolist()
    others = torch.randperm(len(texts), generator=generator).tolist()
    cuts = [[i + 1 for i, token in enumerate(text[:-1]) if token == stop] for text in texts]
    longest = max(map(len, texts))
    rows, types, follows = [], [], []
    for i, (text, (paired, at, swapped)) in enumerate(zip(texts, draws, strict=True)):
        if paired >= PAIRS or not cuts[i] or not cuts[others[i]]:
            rows.append([CLS, *text, SEP])
            types.append([0] * len(rows[-1]))
            follows.append(IGNORED)
            continue
        replaced = swapped < 0.5 and others[i] != i
        source = others[i] if replaced else i
        first = text[: _pick(cuts[i], at)]
        second = texts[source][_pick(cuts[source], at) :][: longest - len(first)]
        rows.append([CLS, *first, SEP, *second, SEP])
        types.append([0] * (len(first) + 2) + [1] * (len(second) + 1))
        follows.append(int(replaced))
    width = max(map(len, rows))
    ids = torch.tensor([row + [PAD] * (width - len(row)) for row in rows])
    return ids, torch.tensor([row + [0] * (width - len(row)) for row in types]), torch.tensor(follows)


def _pick(places: Sequence[int], at: float) -> int:
    """The place that a number in [0, 1) falls on."""
    return places[int(at * len(places))]


def masking(tokenizer: Any, seed: int) -> Any:
    """BERT's corruption: of 15 % of the words 80 % become [MASK], 10 % a random token, 10 % stay.

    Returns:
        ``DataCollatorForLanguageModeling`` with a generator.
    """
    found = DataCollatorForLanguageModeling(tokenizer, mlm_probability=MASKED)
    found.generator = torch.Generator().manual_seed(seed)
    return found


def losses(model: BertForPreTraining, texts: Sequence[list[int]], masks: Any) -> tuple[Tensor, Tensor | None]:
    """Mean cross-entropy of the masked words (0 without any), and of the next segment (None without pairs), in nats."""
    ids, types, follows = segments(texts, masks.tokenizer.convert_tokens_to_ids("."), masks.generator)
    corrupted, labels = masks.torch_mask_tokens(ids.clone(), ids < len(SPECIAL_TOKENS))
    chosen, paired = labels != IGNORED, follows != IGNORED
    hidden, pooled = model.bert(corrupted, attention_mask=ids != PAD, token_type_ids=types, return_dict=False)[:2]
    # Only at the chosen places: over a large vocabulary the decoder costs more than the encoder.
    words = F.cross_entropy(model.cls.predictions(hidden[chosen]), labels[chosen], reduction="sum")
    words = words / max(int(chosen.sum()), 1)
    if not paired.any():
        return words, None
    return words, F.cross_entropy(model.cls.seq_relationship(pooled[paired]), follows[paired])


@torch.inference_mode()
def evaluate(
    model: BertForPreTraining, texts: Sequence[list[int]], tokenizer: Any, seed: int = 0
) -> tuple[float, float]:
    """Both losses on (at most ``EVALUATED``) texts, in nats, averaged over batches; corruption by ``seed``."""
    masks = masking(tokenizer, seed)
    lengths = torch.tensor([len(text) for text in texts[:EVALUATED]])
    batches = bucketed_batches(lengths, BATCH, masks.generator)
    found = [losses(model, [texts[i] for i in batch.tolist()], masks) for batch in batches]
    return mean_of(words for words, _ in found), mean_of(pairs for _, pairs in found)


def mean_of(values: Iterable[Tensor | None]) -> float:
    """Mean of the values that are there, NaN where none is."""
    there = [float(value) for value in values if value is not None]
    return sum(there) / len(there) if there else math.nan


def learning_rate(progress: float) -> float:
    """Linear warm-up over the first ``WARM_UP`` of the training, then linear to zero; progress in [0, 1]."""
    return PEAK_LR * min(progress / WARM_UP, (1 - progress) / (1 - WARM_UP))


def progress_by(steps: int | None, minutes: float | None) -> Iterator[tuple[int, float]]:
    """Number of every step and how far the training is, in (0, 1], by count or by the clock."""
    started, step = time.perf_counter(), 0
    while True:
        done = step / steps if steps else (time.perf_counter() - started) / (60 * (minutes or math.inf))
        if done >= 1:
            return
        yield step, done
        step += 1


def build(config: BertConfig, seed: int) -> BertForPreTraining:
    """The untrained model, in evaluation mode: one this small does not overfit the text and needs no dropout."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return BertForPreTraining(config).eval()


def pretrain(
    texts: Sequence[list[int]], tokenizer: Any, config: BertConfig, seed: int, steps: int | None, minutes: float | None
) -> tuple[BertForPreTraining, int]:
    """Train from random weights with AdamW on texts as token ids without special tokens.

    Returns:
        the model in evaluation mode, and the number of steps it took.
    """
    model, masks = build(config, seed), masking(tokenizer, seed)
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=PEAK_LR, betas=(0.9, 0.98))
    lengths = torch.tensor([len(text) for text in texts])
    queue: list[Tensor] = []
    started, seen, step = time.perf_counter(), [], 0
    for step, progress in progress_by(steps, minutes):
        queue = queue or bucketed_batches(lengths, BATCH, masks.generator)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(progress)
        words, pairs = losses(model, [texts[i] for i in queue.pop().tolist()], masks)
        optimizer.zero_grad()
        (words if pairs is None else words + pairs).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_NORM)
        optimizer.step()
        seen.append((words.detach(), None if pairs is None else pairs.detach()))
        if len(seen) == 500:
            means = f"words {mean_of(pair[0] for pair in seen):.3f}  pairs {mean_of(pair[1] for pair in seen):.3f}"
            print(f"step {step + 1}  {means}  {time.perf_counter() - started:.0f} s", flush=True)
            seen = []
    return model, step + 1


def save(model: BertForPreTraining, tokenizer: Any, folder: Path, facts: dict[str, object]) -> None:
    """Write the Hugging Face layout; weights as fp16, read as the fp32 that config.json says."""
    folder.mkdir(parents=True, exist_ok=True)
    model.config.architectures = [type(model).__name__]
    model.config.dtype = "float32"
    model.config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    state = {name: tensor.detach().half().contiguous() for name, tensor in model.state_dict().items()}
    tied = [name for name in state if name.startswith("cls.predictions.decoder.")]
    for name in tied:
        del state[name]
    metadata = {"format": "pt"} | {name: str(value) for name, value in facts.items()}
    save_file(state, folder / "model.safetensors", metadata=metadata)


def tokenise(tokenizer: Any, sentences: Sequence[str], max_length: int) -> list[list[int]]:
    """Token ids without special tokens, at most as many as leave room for three of these; empty sentences left out."""
    ids = tokenizer(list(sentences), add_special_tokens=False, truncation=True, max_length=max_length - 3)["input_ids"]
    return [row for row in ids if row]


def main(argv: list[str] | None = None) -> None:
    """Train the tokenizer and the model, measure, write the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--dataset", default=OWN_DATASET, help="reviews, a folder or a hub name (default: %(default)s)")
    parser.add_argument("--vocab-size", type=int, default=8192, help="at most (default: %(default)s)")
    parser.add_argument("--max-length", type=int, default=64, help="positions of the model (default: %(default)s)")
    parser.add_argument("--steps", type=int, help=f"updates of {BATCH} sentences (default: {DEFAULT_STEPS})")
    parser.add_argument("--minutes", type=float, help="train for so long instead; not reproducible to the bit")
    parser.add_argument("--seed", type=int, default=0, help="of the weights, order and masks (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="of torch (default: %(default)s)")
    options = parser.parse_args(argv)
    if options.steps is not None and options.minutes is not None:
        raise InputError("--steps and --minutes: give one of them")
    steps = DEFAULT_STEPS if options.steps is None and options.minutes is None else options.steps
    for name, value, lowest in (
        ("steps", steps, 1), ("minutes", options.minutes, 0.01), ("threads", options.threads, 1),
        ("vocab-size", options.vocab_size, 128), ("max-length", options.max_length, 8),
    ):  # fmt: skip
        if value is not None and value < lowest:
            raise InputError(f"--{name}: {value}, must be at least {lowest}")
    torch.set_num_threads(options.threads)
    source = open_text(options.dataset)
    train_text, held_out_text = source.sentences()
    tokenizer = train_tokenizer(train_text, options.vocab_size, options.max_length)
    train, held_out = (tokenise(tokenizer, text, options.max_length) for text in (train_text, held_out_text))
    config = BertConfig(
        **SHAPE,
        vocab_size=len(tokenizer),
        max_position_embeddings=options.max_length,
        pad_token_id=PAD,
        initializer_range=INITIAL_STD,
    )
    before = evaluate(build(config, options.seed), held_out, tokenizer)
    model, steps = pretrain(train, tokenizer, config, options.seed, steps, options.minutes)
    model.load_state_dict({k: v.half().float() for k, v in model.state_dict().items()})  # measure what the file holds
    after = evaluate(model, held_out, tokenizer)
    facts = {
        "dataset": Path(options.dataset).name,
        "dataset_identity": source.identity,
        "sentences": len(train),
        "pretrain": (
            f"masked language modelling and next segment, AdamW, batch {BATCH}, peak learning rate {PEAK_LR}, "
            f"warm-up {WARM_UP}, linear decay, weight decay {WEIGHT_DECAY}, no dropout"
        ),
        "seed": options.seed,
        "steps": steps,
        "held_out_loss_before": f"{before[0]:.4f} words, {before[1]:.4f} pairs (nats)",
        "held_out_loss": f"{after[0]:.4f} words, {after[1]:.4f} pairs (nats)",
        "versions": f"torch {torch.__version__}, transformers {transformers.__version__}",
    }
    save(model, tokenizer, options.out, facts)
    print(f"{options.out}: {steps} steps, {len(tokenizer)} tokens")
    print(f"held-out loss {facts['held_out_loss_before']} -> {facts['held_out_loss']}")


if __name__ == "__main__":
    main()
