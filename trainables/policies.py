"""Which parts of a backbone a method trains."""

import re
from dataclasses import dataclass

from torch import nn

from trainables.adapters import Placement, find_sites
from trainables.configs import HybridConfig, Policy, RankConfig
from trainables.errors import InputError


@dataclass(frozen=True)
class Trained:
    """What a method trains beside the head.

    Attributes:
        lora: linear layers that get a LoRA pair.
        norms: paths of the LayerNorms whose scale and shift are trained.
        backbone: whether every parameter of the backbone is.
    """

    lora: Placement
    norms: tuple[str, ...]
    backbone: bool


def choose(model: nn.Module, config: HybridConfig | RankConfig) -> Trained:
    """The parts of ``model`` that ``config`` trains.

    Raises:
        InputError: the regex or the policy leaves no linear layer for LoRA, or no LayerNorm.

    Source: METHODS.md "Hybrid LoRA + norm tuning".
    """
    lora, norms = Placement("linear"), tuple[str, ...]()
    if config.trains_lora:
        lora = find_sites(model, "linear", config.layers)
    if config.method in ("norm", "hybrid_parallel", "hybrid_layerwise"):
        norms = tuple(path for path, module in model.named_modules() if _affine_norm(module))
    if isinstance(config, HybridConfig) and config.policy is not None:
        depth = len(model.blocks)  # type: ignore[arg-type]
        with_lora = lora_blocks(config.policy, depth)
        others = set(range(depth)) - with_lora  # the final norm is in no block, so it stays frozen
        lora = Placement("linear", {path: dims for path, dims in lora.sites.items() if _block(path) in with_lora})
        norms = tuple(path for path in norms if _block(path) in others)
        if not lora.sites:
            listed = ", ".join(map(str, sorted(with_lora)))
            raise InputError(
                f"policy={config.policy}: layers={config.layers!r} matches no linear layer in its blocks {listed}"
            )
        if not norms:
            raise InputError(f"policy={config.policy}: a backbone of {depth} blocks leaves none for norm tuning")
    return Trained(lora, norms, config.method == "full")


def lora_blocks(policy: Policy, depth: int) -> set[int]:
    """Blocks, counted from 0, that get LoRA; the LayerNorms of all the others are trained.

    ``deep_lora`` takes the last third of the blocks (at least one), ``shallow_lora`` the first third, ``alternate``
    blocks 0, 2, 4, ...
    """
    third = max(1, depth // 3)
    return {
        "deep_lora": set(range(depth - third, depth)),
        "shallow_lora": set(range(third)),
        "alternate": set(range(0, depth, 2)),
    }[policy]


def _affine_norm(module: nn.Module) -> bool:
    return isinstance(module, nn.LayerNorm) and module.elementwise_affine


def _block(path: str) -> int | None:
    found = re.match(r"blocks\.(\d+)\.", path)
    return int(found[1]) if found else None
