"""The probe of text models: what it finds in models made for the purpose, and that it leaves them as they were."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from text_types import config_of
from torch import Tensor, nn
from transformers import AutoModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_utils import AttentionInterface

from trainables.errors import InputError
from trainables.models.text_dropout import ATTENTION, attention
from trainables.models.text_probe import probe

VOCABULARY, DIM, POSITIONS = 30, 8, 32


class Toy(nn.Module):
    """Adds to every token ``strength`` times what ``mix`` makes of all of them."""

    def __init__(self, mix: Any, strength: float = 1.0, pooler: Any = None, noise: Any = None) -> None:
        super().__init__()
        self.config = SimpleNamespace(pad_token_id=0, eos_token_id=[2, 3])
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.tokens = nn.Embedding(VOCABULARY, DIM, padding_idx=0)  # of padding: zeros
        self.dropout = nn.Dropout(0.5)
        self.mix, self.strength, self.pooler, self.noise = mix, strength, pooler, noise
        self.eval()

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> SimpleNamespace:
        x, mask = self.tokens(input_ids), attention_mask[..., None].float()
        x = x + self.strength * self.mix(x, mask)
        if self.noise is not None:
            x = self.noise(self, x)
        return SimpleNamespace(last_hidden_state=x, pooler_output=self.pooler and self.pooler(x))


def mean(x: Tensor, mask: Tensor) -> Tensor:
    return ((x * mask).sum(1, keepdim=True) / mask.sum(1, keepdim=True)).expand_as(x)


def past(x: Tensor, mask: Tensor) -> Tensor:
    return (x * mask).cumsum(1) / mask.cumsum(1)


def asked(model: nn.Module, dim: int = DIM):
    return probe(model, dim, VOCABULARY, POSITIONS)


@pytest.mark.parametrize("strength", [1.0, 1e-4])
def test_the_last_token_speaks_for_a_text_where_tokens_see_only_the_past(strength: float) -> None:
    assert not asked(Toy(mean, strength)).last
    assert asked(Toy(past, strength)).last


def test_a_pooler_that_sees_nothing_is_not_used() -> None:
    assert asked(Toy(past, pooler=lambda x: x[:, 0])).last
    assert not asked(Toy(past, pooler=lambda x: x[:, 5])).last


@pytest.mark.parametrize(
    "mix",
    [
        lambda x, mask: x.mean(1, keepdim=True).expand_as(x),
        lambda x, mask: mean(x, mask) + (x * (1 - mask)).sum(1, keepdim=True),  # of the padding token: zero
        lambda x, mask: mean(x, mask) + 1e-4 * x.mean(1, keepdim=True),
        lambda x, mask: mean(x, mask) + x.roll(-1, 1),  # the token before the padding alone reads it
        lambda x, mask: mean(x, mask) * x.shape[1],  # how much padding there is, not which
        lambda x, mask: mean(x, mask) + past(x.flip(1), torch.ones_like(mask)).flip(1),
    ],
)  # fmt: skip
def test_padding_that_is_read_is_found(mix: Any) -> None:
    with pytest.raises(InputError, match="reads padding in spite of the mask"):
        asked(Toy(mix))


def test_tokens_that_are_not_mixed_are_found() -> None:
    with pytest.raises(InputError, match="depend on one token of a text alone"):
        asked(Toy(lambda x, mask: x * 2))


@pytest.mark.parametrize(
    ("mix", "dim", "message"),
    [
        (mean, 9, r"gives \(5, 9, 8\) for token ids \(5, 9\) and a width of 9"),
        (lambda x, mask: mean(x, mask) / 0, 8, "gives values that are not finite"),
        (lambda x, mask: x @ x, 8, r"cannot be run on token ids and a mask alone \(RuntimeError: "),
    ],
)
def test_what_gives_no_features_is_refused_in_one_line(mix: Any, dim: int, message: str) -> None:
    with pytest.raises(InputError, match=message) as refused:
        asked(Toy(mix), dim)
    assert "\n" not in str(refused.value)


def test_dropout_out_of_the_replicas_reach_is_found() -> None:
    plain = asked(Toy(mean, noise=lambda self, x: self.dropout(x)))
    assert not plain.without_dropout and not plain.other_noise and not plain.on_weights
    functional = asked(Toy(mean, noise=lambda self, x: F.dropout(x, 0.1, self.training)))
    assert functional.other_noise and not functional.without_dropout
    shared = asked(Toy(mean, noise=lambda self, x: x + self.dropout(self.tokens.weight[1])))
    turned = asked(Toy(mean, noise=lambda self, x: self.dropout(x.transpose(0, 1)).transpose(0, 1)))
    assert shared.without_dropout == turned.without_dropout == ("dropout",)


def test_attention_says_what_dropout_it_asks_for() -> None:
    config = config_of("Qwen2", attention_dropout=0.3)
    model = AutoModel.from_config(config, attn_implementation=ATTENTION).eval()
    reading = probe(model, 16, 400, 32)
    assert reading.attention == {"layers.0.self_attn": 0.3, "layers.1.self_attn": 0.3}
    assert reading.last and reading.on_weights and not reading.other_noise


def test_an_attention_of_its_own_kind_is_not_given_dropout(monkeypatch: pytest.MonkeyPatch) -> None:
    def doubled(*arguments: Any, **settings: Any) -> tuple[Tensor, None]:
        return sdpa_attention_forward(*arguments, **settings)[0] * 2, None

    model = AutoModel.from_config(config_of("Bert"), attn_implementation=ATTENTION).eval()
    probe(model, 16, 25, 32)
    monkeypatch.setattr("trainables.models.text_dropout.sdpa_attention_forward", doubled)
    with pytest.raises(InputError, match="an attention of its own kind"):
        probe(model, 16, 25, 32)


@pytest.mark.parametrize("kind", ["Bert", "MPNet", "DebertaV2", "GPT2", "ModernBert"])
def test_a_model_is_left_as_it_was(kind: str) -> None:
    config = config_of(kind)
    own = "eager" if kind in ("MPNet", "DebertaV2") else ATTENTION
    model = AutoModel.from_config(config, attn_implementation=own).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    attributes = {path: set(vars(module)) for path, module in model.named_modules()}
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = probe(model, 16, config.vocab_size, 30)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module.training or module._forward_pre_hooks for module in model.modules())
    assert {path: set(vars(module)) for path, module in model.named_modules()} == attributes
    assert AttentionInterface._global_mapping[ATTENTION] is attention
    assert probe(model, 16, config.vocab_size, 30) == first
