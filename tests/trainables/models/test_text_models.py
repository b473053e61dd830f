"""Text models of every type: right, or refused in one line before any work."""

import itertools
from pathlib import Path

import pytest
import torch
from text_fixtures import write_texts
from text_types import LAYERS, TYPES, config_of, write_type
from torch import nn
from training import numbers, trained, values
from transformers import AutoModelForSequenceClassification

from study.cli import main
from trainables.configs import RankConfig, TextDataConfig
from trainables.data.texts import load_text
from trainables.errors import InputError
from trainables.methods.rank import RankRun, check, count_parameters, materials, train
from trainables.models.text import TextBackbone, Tokens, load_text_backbone
from trainables.models.text_dropout import ReplicaDropout
from trainables.models.text_targets import check_targets
from trainables.packs.text import TextReplicas

CPU = torch.device("cpu")
REFUSED = ("T5", "FNet")
WORKING = [kind for kind in TYPES if kind not in REFUSED]
WITH_LORA = [kind for kind in WORKING if kind != "GPT2"]


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_texts(tmp_path_factory.mktemp("texts") / "good_or_bad"))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("types")
    return {kind: str(write_type(folder / kind, kind)) for kind in TYPES}


@pytest.fixture
def make(folders: dict[str, str], texts: str):
    def made(kind: str, **settings: object) -> RankConfig:
        defaults: dict = {"epochs": 1, "batch_size": 16, "rank": 2, "log_every": 1, "lr": 2e-2, "lr_full": 1e-2,
                          "data": TextDataConfig(max_length=24), "backbone": folders[kind], "dataset": texts,
                          "pretrained": False, "evaluations_per_epoch": 1}  # fmt: skip
        if kind in LAYERS:
            defaults["layers"] = LAYERS[kind]
        return RankConfig(**(defaults | {"method": "lora" if kind in WITH_LORA else "full"} | settings))

    return made


def tokens(vocabulary: int = 25) -> Tokens:
    """Six texts of unequal length, padded to the longest."""
    ids = torch.randint(5, vocabulary, (6, 9), generator=torch.Generator().manual_seed(0))
    mask = torch.arange(9) < torch.tensor([9, 4, 7, 2, 9, 5])[:, None]
    return Tokens(torch.where(mask, ids, 0), mask)


def built(folder: Path, kind: str, **changes: object) -> TextBackbone:
    config_of(kind, **changes).save_pretrained(folder)
    return load_text_backbone(str(folder), pretrained=False)


@pytest.mark.parametrize("kind", WORKING)
def test_a_type_learns_what_a_later_token_says(make, tmp_path: Path, kind: str) -> None:
    rows = trained(train, make(kind, method="full", epochs=10, dropout=0.0), (0, 1), tmp_path)
    losses = [values(own, "train", "loss") for own in rows.values()]
    assert min(sum(own[-4:]) / 4 / own[0] for own in losses) < 0.5
    assert max(values(own, "eval", "top1")[-1] for own in rows.values()) > 0.9


@pytest.mark.parametrize("kind", WORKING)
def test_features_do_not_depend_on_the_texts_beside(folders: dict[str, str], kind: str) -> None:
    backbone, (ids, mask) = load_text_backbone(folders[kind], False), tokens()
    features = backbone.pooled(Tokens(ids, mask))
    for row, length in enumerate(mask.sum(1).tolist()):
        alone = backbone.pooled(Tokens(ids[row : row + 1, :length], mask[row : row + 1, :length]))
        assert torch.allclose(features[row], alone[0], atol=1e-6)
    for filling in (1, 7, 24):
        assert torch.equal(backbone.pooled(Tokens(torch.where(mask, ids, filling), mask)), features)


@pytest.mark.parametrize("kind", WORKING)
def test_features_depend_on_every_token(folders: dict[str, str], kind: str) -> None:
    backbone, (ids, mask) = load_text_backbone(folders[kind], False), tokens()
    features = backbone.pooled(Tokens(ids, mask))
    for position in range(2):
        changed = ids.clone()
        changed[:, position] = torch.where(ids[:, position] == 6, 7, 6)
        moved = (backbone.pooled(Tokens(changed, mask)) - features).norm(dim=1)
        assert (moved > 1e-5 * features.norm(dim=1)).all()


@pytest.mark.parametrize("kind", WORKING)
def test_a_pack_changes_no_number_of_a_replica(make, tmp_path: Path, kind: str) -> None:
    config = make(kind, dropout=0.3, lr_lora=0.05, epochs=2, steps_per_epoch=3)
    packed = trained(train, config, (0, 7), tmp_path / "packed")
    assert numbers(trained(train, config, (7,), tmp_path / "alone")[7]) == numbers(packed[7])
    assert numbers(packed[0]) != numbers(packed[7])


@pytest.mark.parametrize("kind", WITH_LORA)
def test_replicas_that_share_a_pass_have_masks_of_their_own(make, kind: str) -> None:
    """As on a GPU, batches of the replicas being of unequal size and length."""
    started = RankRun(make(kind, dropout=0.3), (0, 1, 2))
    flat = started.pack.bank.flat
    flat.copy_(torch.randn(flat.shape, generator=torch.Generator().manual_seed(3)) * 0.3)
    results = []
    for together in (1, 3):
        started.pack.together = together
        started.pack.masks.begin_epoch(0)
        loss = started.backward([torch.arange(9), torch.arange(20, 24), torch.arange(40, 49)])
        results.append((loss, started.pack.bank.grad.clone()))
    assert torch.allclose(*[loss for loss, _ in results], atol=1e-5)
    assert torch.allclose(*[gradient for _, gradient in results], atol=1e-5)


@pytest.mark.parametrize("kind", WORKING)
def test_dropout_reaches_the_weights_of_attention(make, kind: str) -> None:
    pack = TextReplicas(load_text_backbone(make(kind).backbone, False), make(kind, dropout=0.5), 2, (0,), CPU)
    inside = [path for path, m in pack.backbone.model.named_modules() if isinstance(m, ReplicaDropout)]
    pack.masks.begin_epoch(0)
    shapes: dict[str, torch.Size] = {}
    for path in inside:
        pack.backbone.model.get_submodule(path).register_forward_pre_hook(
            lambda module, inputs, path=path: shapes.__setitem__(path, inputs[0].shape)
        )
    still = pack.backbone.pooled(tokens())
    with pack.masks.drawn([(6, 9)]):
        noisy = pack.backbone.pooled(tokens())
    layers = 1 if kind == "Albert" else 2  # ALBERT's layers are one
    assert sum(shape == (6, 2, 9, 9) for shape in shapes.values()) == layers
    assert not torch.equal(still, noisy) and noisy.isfinite().all()


RATES = {
    "DistilBert": ("attention_dropout", ("dropout",)), "GPT2": ("attn_pdrop", ("resid_pdrop", "embd_pdrop")),
    "ModernBert": ("attention_dropout", ("mlp_dropout", "embedding_dropout")), "Llama": ("attention_dropout", ()),
    "Qwen2": ("attention_dropout", ()),
}  # fmt: skip


@pytest.mark.parametrize("kind", WORKING)
def test_attention_keeps_the_rate_that_the_model_gives_it(tmp_path: Path, kind: str) -> None:
    own, others = RATES.get(kind, ("attention_probs_dropout_prob", ("hidden_dropout_prob",)))
    backbone = built(tmp_path, kind, **{own: 0.4}, **dict.fromkeys(others, 0.0))
    pack = TextReplicas(backbone, RankConfig(method="head"), 2, (0,), CPU)
    rates = {m.p for path, m in backbone.model.named_modules() if isinstance(m, ReplicaDropout)}
    assert rates == {0.4}
    pack.masks.begin_epoch(0)
    with pack.masks.drawn([(6, 9)]):
        drawn = [backbone.pooled(tokens()) for _ in range(2)]
    assert not torch.equal(*drawn)


@pytest.mark.parametrize("kind", ["Bert", "Albert", "GPT2", "Qwen2", "Llama"])
def test_logits_are_those_of_transformers_where_its_classifier_is_ours(tmp_path: Path, kind: str) -> None:
    whole = AutoModelForSequenceClassification.from_config(config_of(kind, pad_token_id=0)).eval()
    whole.base_model.save_pretrained(tmp_path)
    backbone = load_text_backbone(str(tmp_path))
    pack = TextReplicas(backbone, RankConfig(method="head"), 2, (0,), CPU)
    last = whole.score if hasattr(whole, "score") else whole.classifier
    pack.bank.value("head.weight")[0] = last.weight.detach().T
    if last.bias is not None:
        pack.bank.value("head.bias")[0] = last.bias.detach()
    expected = whole(input_ids=tokens().ids, attention_mask=tokens().mask.long()).logits
    assert torch.allclose(pack.logits(pack.features(tokens()), slice(None))[0], expected, atol=1e-5)


def test_a_line_says_whose_own_classifier_has_more_than_one_layer(make) -> None:
    more = {"Roberta": "classifier.dense", "DistilBert": "pre_classifier", "Electra": "classifier.dense",
            "MPNet": "classifier.dense", "RoFormer": "classifier.dense", "DebertaV2": "pooler.dense",
            "ModernBert": "head.dense, head.norm"}  # fmt: skip
    for kind in WORKING:
        lines = [line for line in materials([make(kind)], load=True).notices if "own classifier" in line]
        assert [f"of this type has {more[kind]} between" in line for line in lines] == [True] * (kind in more), kind


def test_a_line_says_which_dropout_is_off(make) -> None:
    said = {kind: [line for line in materials([make(kind)], True).notices if "dropout" in line] for kind in WORKING}
    assert "2 of its layers, such as encoder.layer.0.attention.self.pos_dropout" in said.pop("DebertaV2")[0]
    assert not list(itertools.chain(*said.values()))
    assert not [line for line in materials([make("DebertaV2", dropout=0.0)], True).notices if "dropout" in line]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("T5", "t5 is an encoder with a decoder; allowed: either alone"),
        ("FNet", "fnet reads padding in spite of the mask"),
        ("GPT2", "no linear layer that LoRA could adapt, only Conv1D, Embedding, LayerNorm; allowed: method=head or"),
        ("ModernBert", "has no query and value layers; allowed: a regex over the paths of its linear layers, such as "
         "layers.0.attn.Wqkv, layers.0.attn.Wo,"),
    ],
)  # fmt: skip
def test_what_does_not_work_is_one_line_and_exit_code_2(
    folders: dict[str, str], texts: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, message: str
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["lora_rank", "--trials", "2", "--dataset", texts, "--backbone", folders[kind], "--set",
              "pretrained=false", "--set", "max_length=24", "--out", str(tmp_path / "out")])  # fmt: skip
    out, err = capsys.readouterr()
    errors = [line for line in err.strip().splitlines() if line.startswith("error: ")]
    assert stopped.value.code == 2 and out == "" and len(errors) == 1 and "Traceback" not in err, err
    assert message in errors[0] and not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", WITH_LORA)
def test_lora_adapts_query_and_value_of_every_block(make, kind: str) -> None:
    pack = TextReplicas(load_text_backbone(make(kind).backbone, None), make(kind), 2, (0,), torch.device("meta"))
    blocks, layers = (1 if kind == "Albert" else 2), (1 if kind in LAYERS else 2)
    assert len(pack.adapters) == blocks * layers
    assert count_parameters(make(kind), 2)[0] > 0


def test_the_default_layers_are_all_there_or_an_error_names_them(make) -> None:
    config = make("Bert")
    model = load_text_backbone(config.backbone, None).model
    model.encoder.layer[1].attention.self.value = nn.Identity()
    with pytest.raises(InputError, match=r"only one of the two at encoder\.layer\.1\.attention\.self\.query; allowed"):
        check_targets(model, config)
    model.encoder.layer[1].attention.self.query = nn.Identity()
    with pytest.raises(InputError, match=r"in 1 of the 2 blocks of encoder\.layer, not in encoder\.layer\.1; allowed"):
        check_targets(model, config)
    check_targets(model, make("Bert", layers=r".*query"))  # what a user asks for is the user's affair


@pytest.mark.parametrize("kind", ["Bert", "Roberta", "MPNet", "DebertaV2", "GPT2"])
def test_the_longest_allowed_text_is_the_longest_that_runs(folders: dict[str, str], kind: str) -> None:
    backbone = load_text_backbone(folders[kind], False)
    assert backbone.positions == {"Roberta": 31, "MPNet": 30}.get(kind, 32)
    longest = torch.full((1, backbone.positions), 7)
    assert backbone.pooled(Tokens(longest, longest > 0)).isfinite().all()


def test_weights_without_a_pooler_are_used_without_one(tmp_path: Path) -> None:
    for kind in ("MPNet", "Albert", "Electra"):
        built(tmp_path / kind, kind)
        model = load_text_backbone(str(tmp_path / kind), False).model
        model.pooler = None
        model.save_pretrained(tmp_path / kind)
        assert load_text_backbone(str(tmp_path / kind)).pooled(tokens()).isfinite().all(), kind


def test_the_rate_before_the_head_is_that_of_the_own_classifier(tmp_path: Path) -> None:
    assert built(tmp_path / "a", "Albert", classifier_dropout_prob=0.15).head_dropout == 0.15
    assert built(tmp_path / "b", "DebertaV2", cls_dropout=0.25).head_dropout == 0.25
    assert built(tmp_path / "c", "Qwen2", attention_dropout=0.25).head_dropout == 0.0


def test_full_fine_tuning_leaves_what_a_model_never_trains(make) -> None:
    """RoFormer's positions are a table of sines."""
    pack = RankRun(make("RoFormer", method="full"), (0,)).pack
    assert "encoder.embed_positions.weight" in pack.backbone.model.state_dict()
    assert not [name for name in pack.bank.parameters if "embed_positions" in name]


def test_a_text_without_tokens_is_refused(make) -> None:
    config = make("GPT2")
    data = load_text(config.dataset, config.data, config.backbone)
    data.train_offsets[1] = 0
    with pytest.raises(InputError, match="a text without tokens; allowed"):
        check(config, data, load_text_backbone(config.backbone, False))
