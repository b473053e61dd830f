"""Which parts of a backbone a method trains."""

from dataclasses import dataclass

from torch import nn

from trainables.configs import HybridConfig, Policy, RankConfig
from trainables.errors import InputError
from trainables.peft.lora import block_number, find_sites


@dataclass(frozen=True)
class Trained:
    """What a method trains beside the head.

    Attributes:
        lora: linear layers that get a LoRA pair, path -> (d_in, d_out).
        norms: paths of the LayerNorms whose scale and shift are trained.
        backbone: whether every parameter of the backbone is.
    """

    lora: dict[str, tuple[int, int]]
    norms: tuple[str, ...]
    backbone: bool


def choose(model: nn.Module, config: HybridConfig | RankConfig) -> Trained:
    """The parts of ``model`` that ``config`` trains.

    Raises:
        InputError: the regex or the policy leaves no linear layer for LoRA, or no LayerNorm.

    Source: METHODS.md "Hybrid LoRA + norm tuning".
    """
    layers, norms = config.lora_layers if isinstance(config, HybridConfig) else config.layers, tuple[str, ...]()
    lora = find_sites(model, "linear", layers) if config.trains_lora else {}
    if isinstance(config, HybridConfig) and config.trains_norms:
        _check_norms(model, config.method)
        affine = ((path, m) for path, m in model.named_modules() if isinstance(m, nn.LayerNorm))
        norms = tuple(path for path, norm in affine if norm.elementwise_affine)
    if isinstance(config, HybridConfig) and config.policy is not None:
        depth = len(model.blocks)  # type: ignore[arg-type]
        with_lora = lora_blocks(config.policy, depth)
        others = set(range(depth)) - with_lora  # the final norm is in no block, so it stays frozen
        lora = {path: dims for path, dims in lora.items() if block_number(path) in with_lora}
        norms = tuple(path for path in norms if block_number(path) in others)
        if not lora:
            listed = ", ".join(map(str, sorted(with_lora)))
            raise InputError(
                f"policy={config.policy}: layers={layers!r} matches no linear layer in its blocks {listed}"
            )
        if not norms:
            raise InputError(f"policy={config.policy}: a backbone of {depth} blocks leaves none for norm tuning")
    return Trained(lora, norms, config.method == "full")


def lora_blocks(policy: Policy, depth: int) -> set[int]:
    """Blocks, counted from 0, that get LoRA; the LayerNorms of all the others are trained.

    ``deep_lora`` takes those from int(2 depth / 3) on, ``shallow_lora`` as many from the front, ``even_lora`` blocks 0,
    2, 4, ... and ``odd_lora`` blocks 1, 3, 5, ...
    """
    cut = 2 * depth // 3
    return {
        "deep_lora": set(range(cut, depth)),
        "shallow_lora": set(range(depth - cut)),
        "even_lora": set(range(0, depth, 2)),
        "odd_lora": set(range(1, depth, 2)),
    }[policy]


def _check_norms(model: nn.Module, method: str) -> None:
    """Raises InputError where some of the model's norms are none that can be trained here."""
    others = [path for path, module in model.named_modules() if _other_norm(module)]
    if others:
        kinds = sorted({type(model.get_submodule(path)).__name__ for path in others})
        shown = ", ".join(others[:3]) + (f" and {len(others) - 3} more" if len(others) > 3 else "")
        raise InputError(
            f"method={method}: trains LayerNorms, and this backbone has {' and '.join(kinds)} ({shown}); allowed: "
            "head, lora, full"
        )


def _other_norm(module: nn.Module) -> bool:
    own = any(True for _ in module.parameters(recurse=False))
    return own and "norm" in type(module).__name__.lower() and not isinstance(module, nn.LayerNorm)
