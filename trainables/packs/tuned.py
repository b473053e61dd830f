"""Replicas of one way of fine-tuning: head, norms, LoRA, hybrids of the two, or everything."""

from typing import Any

import torch
from torch import Tensor

from trainables.configs import HybridConfig, RankConfig
from trainables.models.vision import parameter_count
from trainables.packs.bank import Bank, Parameter
from trainables.packs.optim import decay_columns
from trainables.packs.replicas import FrozenBackbone, Replicas, check_rank, head_parameters
from trainables.peft import norms
from trainables.peft.dropout import Masks, ReplicaDropout
from trainables.peft.lora import AdaptedLinear, Adapter, insert
from trainables.peft.placement import choose

BACKBONE = "backbone."
"""Prefix of the parameters of a backbone that is trained as a whole; they form a group of that name."""

HEAD_STD = 0.02
"""Of a fresh head's weights, as timm draws them: at the notes' rates a larger one takes epochs to unlearn."""


class TunedReplicas(Replicas):
    """K replicas of a backbone of which each trains what ``config.method`` and ``config.policy`` say.

    Groups of the bank, in this order, as far as they exist: ``head``, ``norm`` (``<path>.weight``, ``<path>.bias``),
    ``lora`` (``<path>.lora.down``, ``<path>.lora.up``), ``backbone``. With ``method=full`` a replica has a copy of the
    whole backbone, so each also has a forward pass of its own.

    Args:
        classes: columns C of the head.

    Raises:
        InputError: rank above the width of a layer, or a regex or policy that matches nothing.
    """

    def __init__(
        self, backbone: FrozenBackbone, config: HybridConfig | RankConfig, classes: int, replicas: int,
        device: torch.device,
    ) -> None:  # fmt: skip
        model = backbone.model
        trained = choose(model, config)
        parameters = head_parameters(backbone.dim, classes, HEAD_STD)
        self.pretrained: dict[str, Tensor] = {}
        for path in trained.norms:
            layer = model.get_submodule(path)
            parameters |= norms.shapes(path, layer)  # type: ignore[arg-type]
            self.pretrained |= norms.pretrained(path, layer)  # type: ignore[arg-type]
        if trained.lora:
            check_rank(config.rank, trained.lora)
        fan_in = config.rank if isinstance(config, HybridConfig) and config.lora_init == "notes" else None
        for path, (d_in, d_out) in trained.lora.items():
            parameters |= Adapter.shapes(path, "lora", d_in, d_out, config.rank, bias=False, fan_in=fan_in)
        if trained.backbone:
            self.pretrained |= {f"{BACKBONE}{name}": value.detach() for name, value in model.named_parameters()}
            parameters |= {name: Parameter(tuple(v.shape), "backbone") for name, v in self.pretrained.items()}
        bank = Bank(parameters, replicas, device)
        self.adapters = {path: Adapter(bank, path, ("lora",), False, config.scale) for path in trained.lora}
        insert(model, self.adapters)
        norms.insert_norms(model, bank, trained.norms)
        frozen = 0 if trained.backbone else parameter_count(model)
        super().__init__(backbone, bank, config.precision, frozen + bank.count())
        self.whole = trained.backbone
        if self.whole:
            self.together = 1

    def initialise(self, replica: int, generator: torch.Generator) -> None:
        """Draw a replica's head and LoRA; norms and backbone begin with the pretrained values."""
        self.bank.reset(replica, generator)
        for name, value in self.pretrained.items():
            self.bank.value(name)[replica] = value.to(self.device)

    def drop_inputs(self, masks: Masks, p: float) -> None:
        """Put dropout on what LoRA reads; it is on within ``masks.drawn``."""
        for path in self.adapters:
            layer = self.backbone.model.get_submodule(path)
            assert isinstance(layer, AdaptedLinear)
            layer.dropout = ReplicaDropout(masks, p)

    def decayed(self) -> list[str]:
        """Parameters that weight decay applies to: no norm scale, no bias, no embedding of class or position."""
        spared: set[str] = getattr(
            self.backbone.model, "no_weight_decay", set
        )()  # timm's models say so, those of text do not
        without = {f"{BACKBONE}{name}" for name in spared}
        wanted = []
        for name, parameter in self.bank.parameters.items():
            matrix = len(parameter.shape) > 1 and name != "head.bias" and name not in without
            if matrix and parameter.group != "norm":
                wanted.append(name)
        return wanted

    def pooled(self, inputs: Any) -> Tensor:
        if not self.whole:
            return super().pooled(inputs)
        own = {name.removeprefix(BACKBONE): self.bank.current(name)[0] for name in self.pretrained}
        return self.backbone.pooled(inputs, own)


def base_rates(config: HybridConfig | RankConfig, groups: tuple[str, ...]) -> list[float]:
    """Initial learning rate of every optimizer group."""
    rates = {"head": config.lr, "lora": config.lr_lora, "backbone": config.lr_full}
    if isinstance(config, HybridConfig):
        rates["norm"] = config.lr_norm
    return [rates[group] for group in groups]


def weight_decays(config: HybridConfig, pack: TunedReplicas) -> Tensor | list[float]:
    """Weight decay by group, in the order of ``bank.groups``; with ``method=full`` by column, (P,).

    The notes' optimizer decays all of the head, its bias too. A backbone that is trained as a whole is decayed as timm
    does it.
    """
    if pack.whole:
        return decay_columns(pack.bank, config.weight_decay, pack.decayed())
    decays = {"head": config.weight_decay, "lora": config.weight_decay_lora, "norm": config.weight_decay_norm}
    return [decays[group] for group in pack.bank.groups]
