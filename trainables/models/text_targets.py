"""Whether LoRA's default layers, query and value, are what a text model has."""

import re

from torch import nn

from trainables.configs import RankConfig
from trainables.configs.texts import QUERY_AND_VALUE
from trainables.errors import InputError


def check_targets(model: nn.Module, config: RankConfig) -> None:
    """Whether the layers that get LoRA are there, and with the default layers both of every block.

    Raises:
        InputError: the model has no linear layers; or the default finds none, only query or value, or nothing in some
            of the blocks. The message names layers. What a user's own regex matches is for the user to say.
    """
    linears = [path for path, module in model.named_modules() if isinstance(module, nn.Linear)]
    if not linears:
        others = sorted({type(module).__name__ for module in model.modules() if hasattr(module, "weight")})
        raise InputError(
            f"backbone {config.backbone!r}: no linear layer that LoRA could adapt, only {', '.join(others)}; allowed: "
            "method=head or method=full"
        )
    if config.layers != QUERY_AND_VALUE:
        return
    matched = [path for path in linears if re.fullmatch(QUERY_AND_VALUE, path)]
    if not matched:
        kinds = {re.sub(r"\.\d+\.", ".*.", path): path for path in reversed(linears)}
        raise InputError(
            f"layers: backbone {config.backbone!r} has no query and value layers; allowed: a regex over the paths of "
            f"its linear layers, such as {', '.join(list(kinds.values())[:-9:-1])}"
        )
    _check_pairs(matched)
    for path, module in model.named_modules():
        if isinstance(module, nn.ModuleList):
            names = [f"{path}.{index}" for index in range(len(module))]
            bare = [name for name in names if not any(layer.startswith(f"{name}.") for layer in matched)]
            if 0 < len(bare) < len(names):
                raise InputError(
                    f"layers: the default finds query and value in {len(names) - len(bare)} of the {len(names)} blocks "
                    f"of {path}, not in {', '.join(bare[:4])}; allowed: a regex that says which layers get LoRA"
                )


def _check_pairs(matched: list[str]) -> None:
    kinds: dict[str, set[str]] = {}
    for path in matched:
        parent, _, name = path.rpartition(".")
        kinds.setdefault(parent, set()).add(name[0])
    single = [path for path in matched if len(kinds[path.rpartition(".")[0]]) == 1]
    if single:
        raise InputError(
            f"layers: the default means query and value, and finds only one of the two at {', '.join(single[:4])}; "
            "allowed: a regex that says which layers get LoRA"
        )
