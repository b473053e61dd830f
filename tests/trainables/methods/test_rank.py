"""The rank trainable as its user relies on it: what it trains, that it is LoRA, and that its numbers return."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from peft import LoraConfig, PeftModel, get_peft_model
from pydantic import ValidationError
from text_fixtures import SHAPE, write_encoder, write_texts
from training import check_pack_and_cut, numbers, trained, values
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    DistilBertConfig,
    PretrainedConfig,
    RobertaConfig,
    get_linear_schedule_with_warmup,
)

from study.catalog import STUDIES
from study.cli import main
from study.ray_tune.resources import Machine
from study.records.run_directory import RunDirectory
from study.resolve.options import Options
from study.resolve.study import resolve
from trainables.configs import RankConfig, TextDataConfig
from trainables.configs.names import aliases
from trainables.data.texts import load_text
from trainables.errors import InputError
from trainables.methods.rank import RankRun, check, count_parameters, materials, train
from trainables.metrics.finals import RANK
from trainables.models.text import Tokens, load_text_backbone
from trainables.packs.checkpoint import Checkpoints
from trainables.packs.optim import linear_rates
from trainables.packs.text import TextReplicas

CPU = torch.device("cpu")
SMALL = SHAPE | {"vocab_size": 30}
TINY = "prajjwal1/bert-tiny"
METHODS: dict[str, dict] = {
    "head": {"method": "head"},
    "lora": {"method": "lora", "data": TextDataConfig(max_length=24, val_fraction=0.2)},
    "fixed": {"method": "lora", "scaling": "fixed", "rank": 2, "steps_per_epoch": 2},
    "full": {"method": "full"},
}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_encoder(tmp_path_factory.mktemp("encoder") / "tiny_bert"))


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_texts(tmp_path_factory.mktemp("texts") / "good_or_bad"))


@pytest.fixture
def make(encoder: str, texts: str):
    def made(**settings: object) -> RankConfig:
        defaults: dict = {"epochs": 2, "batch_size": 16, "rank": 4, "log_every": 1, "lr": 5e-3,
                          "data": TextDataConfig(max_length=24), "backbone": encoder, "dataset": texts}  # fmt: skip
        return RankConfig(**(defaults | settings))

    return made


run = partial(trained, train)


def tokens() -> Tokens:
    ids = torch.randint(5, 25, (6, 9), generator=torch.Generator().manual_seed(0))
    mask = torch.arange(9) < torch.tensor([9, 4, 7, 2, 9, 5])[:, None]
    return Tokens(torch.where(mask, ids, 0), mask)


def filled(pack: TextReplicas) -> TextReplicas:
    pack.bank.flat.copy_(torch.randn(pack.bank.flat.shape, generator=torch.Generator().manual_seed(3)) * 0.3)
    return pack


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"method": "head"}, 258),
        *[({"rank": rank}, 258 + 1024 * rank) for rank in (1, 2, 4, 8, 16, 32)],
        ({"method": "full"}, 4_386_178),
    ],
)
def test_counts_are_those_of_bert_tiny(settings: dict, expected: int) -> None:
    trained, total = count_parameters(RankConfig(backbone=TINY, **settings), 2)
    assert trained == expected
    assert total == 4_386_178 + (1024 * settings["rank"] if "rank" in settings else 0)


def test_a_dry_run_of_the_paper_profile_needs_no_network(capsys: pytest.CaptureFixture[str]) -> None:
    for study, ranks in (("lora_rank", 1), ("lora_scaling", 2)):
        with pytest.raises(SystemExit) as stopped:
            main([study, "--profile", "paper", "--dry-run", "--json"])
        assert not stopped.value.code
        trials = json.loads(capsys.readouterr().out)
        counts = [trial["trainable_params"] for trial in trials if trial["params"]["method"] == "lora"]
        assert sorted(counts) == sorted([1_282, 2_306, 4_354, 8_450, 16_642, 33_026] * ranks)
        assert {trial["params"]["backbone"] for trial in trials} == {TINY}
        assert all(len(trial["seeds"]) == 5 for trial in trials)


@pytest.mark.parametrize("settings", METHODS.values(), ids=METHODS.keys())
def test_a_pack_and_a_cut_change_no_number(make, tmp_path: Path, settings: dict) -> None:
    check_pack_and_cut(train, make(epochs=3, **settings), tmp_path)


def test_rows_are_the_vocabulary_of_the_report(make, tmp_path: Path) -> None:
    rows = run(make(data=TextDataConfig(max_length=24, val_fraction=0.2)), (0,), tmp_path)[0]
    expected = {("train", name) for name in ("loss", "lr/head", "lr/lora")}
    expected |= {(phase, name) for phase in ("eval", "val", "curve") for name in ("top1", "ece", "nll")}
    expected |= {("diagnostics", "delta_norm"), ("timing", "peak_memory_mib"), ("timing", "pack")}
    expected |= {("reference", "chance"), ("reference", "majority")}
    expected |= {("timing", f"{name}_s") for name in ("data", "train", "eval", "checkpoint", "step_time", "step_share")}
    expected |= {
        ("final", name) for name in RANK if not name.startswith(("ece_batch", "final_ece_batch", "temperature"))
    }
    expected -= {("final", "ece_after_temperature")}
    assert {(row["phase"], row["name"]) for row in rows} == expected
    steps = [row["step"] for row in rows if row["name"] == "top1" and row["phase"] in ("curve", "eval")]
    assert steps == [0, 2, 5, 7, 10]  # 72 of 90 texts in batches of 16: before the first step, and twice an epoch
    assert len(values(rows, "train", "loss")) == 10 and len(values(rows, "eval", "top1")) == 2


def test_reference_lines_are_those_of_the_test_labels(make, tmp_path: Path) -> None:
    made = make(method="head")
    labels = load_text(made.dataset, made.data, made.backbone).test_labels.tolist()
    for own in run(made, (0, 1), tmp_path).values():
        lines = [row for row in own if row["phase"] == "reference"]
        assert {(row["name"], row["epoch"]) for row in lines} == {("chance", 1), ("majority", 1)}
        assert values(own, "reference", "chance") == [0.5]
        assert values(own, "reference", "majority") == [max(map(labels.count, (0, 1))) / len(labels)]
    assert values(own, "reference", "majority")[0] > 0.5  # the classes are not equally frequent


def test_a_search_does_not_see_test_texts(make, tmp_path: Path) -> None:
    data = TextDataConfig(max_length=24, val_fraction=0.2)
    tested = run(make(data=data), (3,), tmp_path / "tested")[3]
    searched = run(make(data=data, evaluate="validation"), (3,), tmp_path / "searched")[3]
    assert not [row for row in searched if row["phase"] in ("eval", "curve", "reference")]
    kept, also = (
        [row for row in rows if row["phase"] not in ("eval", "curve", "final", "reference")]
        for rows in (tested, searched)
    )
    assert numbers(also) == numbers(kept)
    finals = {row["name"]: row["value"] for row in searched if row["phase"] == "final" and row["epoch"] == 1}
    assert finals["final_val_top1"] == values(tested, "val", "top1")[-1] and "final_top1" not in finals
    assert {name for name, metric in RANK.items() if metric.held_out} <= set(finals)
    with pytest.raises(ValidationError, match="val_fraction above 0"):
        make(evaluate="validation")


def test_a_diverged_replica_leaves_the_others_bit_equal(make, tmp_path: Path, monkeypatch) -> None:
    healthy = run(make(), (4,), tmp_path / "healthy")[4]
    original = RankRun.backward

    def poisoned(self, indices):
        loss = original(self, indices)
        if len(self.seeds) == 2 and self.steps[0] == 7:
            self.pack.bank.grad[0, 3] = float("nan")
        return loss

    monkeypatch.setattr(RankRun, "backward", poisoned)
    rows = run(make(), (9, 4), tmp_path / "poisoned")
    assert numbers(rows[4]) == numbers(healthy)
    assert values(rows[9], "boundary", "diverged") == [1.0]
    assert len(values(rows[9], "eval", "top1")) == 1  # nothing after the epoch in which it diverged


@pytest.mark.parametrize("scaling", ["proportional", "fixed"])
def test_an_exported_replica_is_the_same_in_peft(
    make, encoder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], scaling: str
) -> None:
    settings = [f"scaling={scaling}", "c=3", "max_length=24", "epochs=1", "rank=4", "lr_lora=0.05"]
    options = Options("lora_rank", "embedded", make().dataset, encoder, settings, seeds="1", trials=2)
    study, _ = resolve(options, Machine(1, 0, "this machine"))
    directory = RunDirectory.create(tmp_path / "run", study)
    trial = study.trials[1]
    config, replica_id = RankConfig.model_validate(trial.params), trial.replica_id(0)
    checkpoints = Checkpoints(directory.path / "checkpoints", {0: replica_id}, "epoch")
    train(config, trial.seeds, lambda rows: None, checkpoints)
    with pytest.raises(SystemExit) as stopped:
        main(["export", str(directory.path), "--peft", "--replica", replica_id, "--out", str(tmp_path / "out")])
    assert not stopped.value.code, capsys.readouterr().err
    trained = RankRun(config, (0,))
    trained.restore(checkpoints, 0)
    base = AutoModelForSequenceClassification.from_pretrained(encoder, num_labels=2)
    theirs = PeftModel.from_pretrained(base, tmp_path / "out").eval()
    with torch.no_grad():
        expected = theirs(input_ids=tokens().ids, attention_mask=tokens().mask).logits
        ours = trained.pack.logits(trained.pack.features(tokens()), slice(None))[0]
    assert torch.allclose(ours, expected, atol=1e-5)
    assert theirs.peft_config["default"].lora_alpha == (12 if scaling == "proportional" else 16)


@pytest.mark.parametrize("scaling", ["proportional", "fixed"])
def test_lora_is_pefts_in_outputs_and_gradients(make, encoder: str, scaling: str) -> None:
    config = make(scaling=scaling, c=3.0, lora_alpha=6.0, dropout=0.0)
    pack = filled(TextReplicas(load_text_backbone(encoder), config, 2, (0,), CPU))
    reference = AutoModelForSequenceClassification.from_pretrained(encoder, num_labels=2, attn_implementation="eager")
    alpha = 12 if scaling == "proportional" else 6
    theirs = get_peft_model(
        reference.eval(),
        LoraConfig(r=4, lora_alpha=alpha, target_modules=["query", "value"], modules_to_save=["classifier"]),
    ).eval()
    factors = {name: value for name, value in theirs.named_parameters() if "lora_" in name}
    assert len(factors) == len(pack.adapters) * 2 == 8
    state = pack.bank.state(0)
    pairs = {}
    for name, value in factors.items():
        path = name.removeprefix("base_model.model.bert.").partition(".lora_")[0]
        pairs[f"{path}.lora.{'down' if 'lora_A' in name else 'up'}"] = value
    classifier = theirs.base_model.model.classifier.modules_to_save["default"]
    with torch.no_grad():
        for name, value in pairs.items():
            value.copy_(state[name].T)
        classifier.weight.copy_(state["head.weight"].T)
        classifier.bias.copy_(state["head.bias"][0])
    batch, target = tokens(), torch.tensor([0, 1, 1, 0, 1, 0])
    expected = theirs(input_ids=batch.ids, attention_mask=batch.mask).logits
    ours = pack.logits(pack.features(batch), slice(None))[0]
    assert torch.allclose(ours, expected, atol=1e-5)
    F.cross_entropy(expected, target).backward()
    F.cross_entropy(ours, target).backward()
    for name, value in pairs.items():
        assert torch.allclose(pack.bank.views[name].grad[0], value.grad.T, atol=1e-5), name
    assert torch.allclose(pack.bank.views["head.weight"].grad[0], classifier.weight.grad.T, atol=1e-5)
    merged = theirs.merge_and_unload()
    with torch.no_grad():
        assert torch.allclose(merged(input_ids=batch.ids, attention_mask=batch.mask).logits, ours, atol=1e-5)


def test_a_shared_pass_of_unmerged_factors_equals_separate_merged_ones(make, encoder: str) -> None:
    """As on a GPU, batches of the replicas being of unequal size and length."""
    started = RankRun(make(dropout=0.3), (0, 1, 2))
    filled(started.pack)
    texts = [torch.arange(9), torch.arange(20, 24), torch.arange(40, 49)]
    results = []
    for together in (1, 3):
        started.pack.together = together
        started.pack.masks.begin_epoch(0)
        loss = started.backward(texts)
        results.append((loss, started.pack.bank.grad.clone()))
    assert torch.allclose(*[loss for loss, _ in results], atol=1e-5)
    assert torch.allclose(*[gradient for _, gradient in results], atol=1e-5)


def test_full_equals_torch_adamw_on_transformers(make, encoder: str) -> None:
    started = RankRun(make(method="full", dropout=0.0, lr=1e-3, lr_full=1e-3, weight_decay=0.1), (0,))
    model = AutoModelForSequenceClassification.from_pretrained(encoder, num_labels=2).eval()
    model.classifier.weight.data.copy_(started.pack.bank.value("head.weight")[0].T)
    model.classifier.bias.data.copy_(started.pack.bank.value("head.bias")[0, 0])
    named = list(model.named_parameters())
    optimizer = torch.optim.AdamW([{"params": [p for _, p in named if p.ndim > 1], "weight_decay": 0.1},
                                   {"params": [p for _, p in named if p.ndim <= 1], "weight_decay": 0.0}],
                                  lr=1e-3)  # fmt: skip
    schedule = get_linear_schedule_with_warmup(optimizer, 0, 1000)
    started.all_steps, started.warmup_steps = 1000, 0
    for indices in started.batches(0)[:4]:
        loss = started.backward(indices)
        rates = linear_rates(started.base_rates, started.steps, 1000, 0)
        started.optimizer.step(rates, started.finite.unsqueeze(1).expand_as(rates))
        started.steps += 1
        optimizer.zero_grad()
        batch, _ = started.train_input.batch(indices)
        out = model(input_ids=batch.ids, attention_mask=batch.mask, labels=started.train_labels[indices[0]])
        out.loss.backward()
        optimizer.step()
        schedule.step()
        assert float(loss[0]) == pytest.approx(out.loss.item(), abs=1e-5)
    ours = started.pack.bank.state(0)
    for name, value in model.bert.named_parameters():
        assert torch.allclose(ours[f"backbone.{name}"], value, atol=2e-5), name


def test_rates_rise_and_fall_linearly() -> None:
    base = torch.tensor([[1.0, 0.5]])
    rates = torch.cat([linear_rates(base, torch.tensor([step]), 10, 4) for step in range(10)])
    assert rates[:, 0].tolist() == pytest.approx([0, 1 / 4, 2 / 4, 3 / 4, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6])
    assert torch.allclose(rates[:, 1], rates[:, 0] / 2)
    without = torch.cat([linear_rates(base, torch.tensor([step]), 4, 0) for step in range(4)])
    assert without[:, 0].tolist() == pytest.approx([1, 3 / 4, 2 / 4, 1 / 4])


def test_the_logged_rates_are_those_of_the_schedule(make, tmp_path: Path) -> None:
    rows = run(make(lr_lora=2e-3, warmup_fraction=0.25), (0,), tmp_path)[0]
    found = values(rows, "train", "lr/lora")
    assert len(found) == 12 and found[:4] == pytest.approx([0.0, 2e-3 / 3, 4e-3 / 3, 2e-3])
    assert found[-1] == pytest.approx(2e-3 / 9) and max(found) == pytest.approx(2e-3)
    assert values(rows, "train", "lr/head")[3] == pytest.approx(5e-3)


def test_the_rules_of_alpha_agree_where_they_meet(make, tmp_path: Path) -> None:
    assert [RankConfig(rank=rank, scaling="fixed").scale for rank in (1, 8, 32)] == [16.0, 2.0, 0.5]
    assert [RankConfig(rank=rank).scale for rank in (1, 8, 32)] == [2.0, 2.0, 2.0]
    proportional = run(make(c=2.0), (0,), tmp_path / "c")[0]
    fixed = run(make(scaling="fixed", lora_alpha=8.0), (0,), tmp_path / "alpha")[0]
    assert numbers(proportional) == numbers(fixed)
    assert numbers(run(make(c=4.0), (0,), tmp_path / "other")[0]) != numbers(fixed)


def test_the_recorded_norm_is_that_of_the_change_of_the_weights(make, encoder: str) -> None:
    pack = filled(TextReplicas(load_text_backbone(encoder), make(c=3.0), 2, (0, 1), CPU))
    for k, measured in enumerate(pack.delta_norm().tolist()):
        state = pack.bank.state(k)
        changes = [3.0 * state[f"{path}.lora.down"] @ state[f"{path}.lora.up"] for path in pack.adapters]
        assert measured == pytest.approx(float(torch.cat([c.flatten() for c in changes]).norm()), rel=1e-5)


def test_dropout_is_of_the_training_alone_and_of_the_seed(make, tmp_path: Path) -> None:
    assert numbers(run(make(dropout=0.0), (0,), tmp_path / "off")[0]) != numbers(run(make(), (0,), tmp_path / "on")[0])
    pack = filled(TextReplicas(load_text_backbone(make().backbone), make(dropout=0.4), 2, (0, 1), CPU))
    pack.bank.rows, batch = slice(0, 1), tokens()
    assert torch.equal(pack.features(batch), pack.features(batch))
    pack.masks.begin_epoch(0)
    with pack.masks.drawn([(6, 9)]):
        drawn = [pack.features(batch) for _ in range(2)]
    pack.masks.begin_epoch(0)
    with pack.masks.drawn([(6, 9)]):
        again = pack.features(batch)
    assert not torch.equal(*drawn) and torch.equal(drawn[0], again)
    assert float((drawn[0] == 0).float().mean()) == pytest.approx(0.4, abs=0.15)
    ones = torch.ones(400, 10, 16)
    pack.masks.begin_epoch(1)
    with pack.masks.drawn([(400, 10)]):
        factors = pack.masks.of(ones, 0.4)
    assert factors.unique().tolist() == pytest.approx([0.0, 1 / 0.6])
    assert float(factors.mean()) == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize(
    ("config", "adapted"),
    [
        (BertConfig(**SMALL, pad_token_id=0), ["query", "value"]),
        (RobertaConfig(**SMALL, pad_token_id=0), ["query", "value"]),
        (DistilBertConfig(dim=16, n_layers=2, n_heads=2, hidden_dim=32, vocab_size=30), ["q_lin", "v_lin"]),
    ],
    ids=["bert", "roberta", "distilbert"],
)
def test_the_default_layers_are_query_and_value_of_every_family(
    config: PretrainedConfig, adapted: list[str], tmp_path: Path
) -> None:
    config.save_pretrained(tmp_path / "encoder")
    backbone = load_text_backbone(str(tmp_path / "encoder"), pretrained=False)
    pack = TextReplicas(backbone, RankConfig(rank=2), 2, (0,), CPU)
    assert sorted({path.rpartition(".")[2] for path in pack.adapters}) == adapted and len(pack.adapters) == 4
    pack.masks.begin_epoch(0)
    with pack.masks.drawn([(6, 9)]):
        assert pack.features(tokens()).isfinite().all()
    changed = Tokens(torch.where(tokens().mask, tokens().ids, 7), tokens().mask)
    assert torch.allclose(pack.features(tokens()), pack.features(changed), atol=1e-5)  # padding is not read


def test_random_weights_are_asked_for_aloud_and_the_same_every_time(make, tmp_path: Path, texts: str) -> None:
    folder = str(write_encoder(tmp_path / "bare", weights=False))
    with pytest.raises(InputError, match="pretrained=false"):
        load_text_backbone(folder)
    random = make(backbone=folder, pretrained=False)
    (notice,) = materials([random], load=True).notices
    assert "random weights" in notice
    first, again = (load_text_backbone(folder, False, 0).weights_hash for _ in range(2))
    assert first == again != load_text_backbone(folder, False, 1).weights_hash
    assert not materials([make()], load=True).notices


def test_training_learns(make, tmp_path: Path) -> None:
    rows = run(make(method="full", epochs=6, lr=1e-2, lr_full=1e-2, dropout=0.0, batch_size=8), (0,), tmp_path)[0]
    assert values(rows, "eval", "top1")[-1] > 0.8
    assert values(rows, "eval", "nll")[-1] < values(rows, "curve", "nll")[0]


def test_held_out_texts_are_never_trained_on(make) -> None:
    started = RankRun(make(method="head", data=TextDataConfig(max_length=24, val_fraction=0.2)), (0, 1))
    for k, (kept, held_out) in enumerate(started.splits):
        parts = set(kept.tolist()), set(held_out.tolist())
        assert len(parts[0]) + len(parts[1]) == len(parts[0] | parts[1]) == 90 and all(parts)
        assert {index for batch in started.batches(0) for index in batch[k].tolist()} == parts[0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layers": "nothing"}, "matches no linear layer"),
        ({"layers": "("}, "not a regular expression"),
        ({"rank": 17}, r"allowed: 1\.\.16"),
        ({"backbone": "no_such/folder/at/all"}, "no such folder"),
    ],
)
def test_what_matches_nothing_is_refused_without_weights(make, settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        count_parameters(make(**settings), 2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"warmup_steps": 12}, r"the run has 12 steps; allowed: 0\.\.11"),
        ({"data": TextDataConfig(max_length=24, val_fraction=0.99)}, "val_fraction=0.99: leaves no training"),
    ],
)
def test_what_does_not_fit_the_data_is_refused(make, settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        materials([make(**settings)], load=True)


def test_labels_and_tokens_must_fit_the_model(make, encoder: str, tmp_path: Path) -> None:
    config = make()
    data = load_text(config.dataset, config.data, encoder)
    backbone = load_text_backbone(encoder)
    with pytest.raises(InputError, match=r"a text has 14 tokens and .*tiny_bert 13 positions; allowed: 3\.\.13"):
        check(config, data, replace(backbone, positions=13))
    with pytest.raises(InputError, match=r"test labels -1\.\.1; a head of 2 classes allows 0\.\.1"):
        check(config, replace(data, test_labels=torch.where(data.test_labels == 0, -1, 1)), backbone)
    with pytest.raises(InputError, match="its tokenizer gives token 30"):
        check(config, replace(data, train_tokens=data.train_tokens.clone().fill_(30)), backbone)


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["--set", "rank=0"], "rank=0"),
        (["--set", "rank=17"], "rank=17: the narrowest adapted layer has width 16; allowed: 1..16"),
        (["--set", "layers=nothing"], "matches no linear layer"),
        (["--set", "c=0"], "c=0"),
        (["--set", "train_exampels=3"], "did you mean 'train_examples'"),
        (["--dataset", "NO_LABEL"], "label"),
        (["--dataset", "WRONG_LABEL"], "label"),
        (["--backbone", "NO_TOKENIZER"], "tokenizer"),
        (["--backbone", "NO_WEIGHTS"], "--set pretrained=false"),
        (["--backbone", "EMPTY"], "config.json"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_exit_code_2(
    words: list[str], hint: str, encoder: str, texts: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    special = {
        "NO_LABEL": lambda: write_texts(tmp_path / "t", label=None),
        "WRONG_LABEL": lambda: write_texts(tmp_path / "t", label=-1),
        "NO_TOKENIZER": lambda: write_encoder(tmp_path / "e", tokenizer=False),
        "NO_WEIGHTS": lambda: write_encoder(tmp_path / "e", weights=False),
        "EMPTY": lambda: (tmp_path / "e").mkdir() or tmp_path / "e",
    }
    given = [str(special[word]()) if word in special else word for word in words]
    for option, own in (("--dataset", texts), ("--backbone", encoder)):
        given += [] if option in given else [option, own]
    with pytest.raises(SystemExit) as stopped:
        main(["lora_rank", "--trials", "2", *given, "--set", "max_length=24", "--out", str(tmp_path / "out")])
    out, err = capsys.readouterr()
    errors = [line for line in err.strip().splitlines() if line.startswith("error: ")]
    assert stopped.value.code == 2 and out == "" and len(errors) == 1 and "Traceback" not in err, err
    assert hint in errors[0]
    assert not (tmp_path / "out").exists()


def test_numbers_of_texts_have_a_short_name() -> None:
    assert aliases(RankConfig)["train_examples"] == "data.train_examples"


@pytest.mark.slow
def test_the_embedded_task_tells_the_head_from_lora_and_full_fine_tuning(tmp_path: Path) -> None:
    profile = STUDIES["lora_rank"].profiles["embedded"]
    final = {}
    for method in ("head", "lora", "full"):
        made = RankConfig(
            dataset=profile.dataset, backbone=profile.backbone, method=method,
            data=TextDataConfig(train_examples=4000), **(profile.settings | {"epochs": 3, "evaluations_per_epoch": 1}),
        )  # fmt: skip
        final[method] = values(run(made, (0,), tmp_path / method)[0], "eval", "top1")[-1]
    assert final["head"] < 0.65 and final["lora"] > final["head"] + 0.08 and final["full"] > final["head"] + 0.15
