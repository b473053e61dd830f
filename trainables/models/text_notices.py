"""What a user should know of a text backbone before anything starts."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, AutoModelForSequenceClassification

from trainables.configs import RankConfig
from trainables.models.text import TextBackbone


def text_notices(backbone: TextBackbone, configs: Iterable[RankConfig]) -> tuple[str, ...]:
    """Where a study departs from what its model would do by itself, one line each.

    Args:
        backbone: without adapters; on the meta device nothing is known of its dropout.
        configs: all with this backbone.
    """
    configs, found = list(configs), list[str]()
    first, model = configs[0], backbone.model
    if not first.pretrained:
        found.append(
            f"{first.backbone} starts from random weights (pretrained=false, weights_seed={first.weights_seed}): "
            "nothing here says what a pretrained model would reach"
        )
    if more := own_classifier(model):
        found.append(
            f"{first.backbone}: transformers' own classifier of this type has {', '.join(more)} between "
            "these features and its last layer; the head trained here is that one linear layer alone"
        )
    return (*found, *_dropout_notices(backbone, {config.dropout for config in configs}, first.backbone))


def own_classifier(model: nn.Module) -> tuple[str, ...]:
    """Modules with weights that transformers' sequence classifier of a model's type has beyond it and one linear layer.

    Returns:
        Their paths there; () where there are none, or no such classifier.
    """
    config = model.config
    if type(config) not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING:
        return ()
    with torch.device("meta"):
        whole = AutoModelForSequenceClassification.from_config(config)
    there = {f"{whole.base_model_prefix}.{name}" for name in model.state_dict()}
    beyond = dict.fromkeys(name.rpartition(".")[0] for name, _ in whole.named_parameters() if name not in there)
    return tuple(beyond)[:-1]


def _dropout_notices(backbone: TextBackbone, rates: set[float | None], name: str) -> list[str]:
    reading, found = backbone.reading, list[str]()
    if reading is None or rates == {0.0}:
        return found
    modules: dict[str, Any] = dict(backbone.model.named_modules())
    still = [path for path in reading.without_dropout if any(modules[path].p if r is None else r for r in rates)]
    if still:
        found.append(
            f"{name}: no dropout in {len(still)} of its layers, such as {still[0]}, where replicas cannot have masks "
            "of their own: the texts of a batch share these tensors, or lie in another order"
        )
    if reading.other_noise:
        found.append(
            f"{name}: its training draws further random numbers, for functional dropout or layers that are skipped, "
            "which replicas cannot have of their own; here that is off"
        )
    elif not reading.on_weights and any(rates):
        found.append(f"{name}: no dropout on the weights of its attention, whatever the rate")
    return found
