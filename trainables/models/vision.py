"""Frozen vision transformers: timm models by name, with weights from the hub or a file, and the embedded one."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import timm
import timm.data
import torch
from safetensors import SafetensorError, safe_open
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor
from torch.func import functional_call

from trainables.data.cache import hash_tensors
from trainables.data.transforms import Interpolation, Scaling
from trainables.errors import InputError
from trainables.models.hub import offline_if_unreachable

SHIPPED = {"glyph_vit": Path(__file__).parents[1] / "embedded" / "weights" / "glyph_vit.safetensors"}
ARCHITECTURE = {"img_size": int, "patch_size": int, "embed_dim": int, "depth": int, "num_heads": int}
"""Metadata of a weights file that timm is built with; ``timm`` names the model. ``mean``, ``std``, ``crop_pct`` and
``interpolation`` stand for what timm says of its input."""


@dataclass(frozen=True)
class Backbone:
    """A frozen vision transformer and what its input looks like.

    Attributes:
        model: timm model without a head; images (B, 3, size, size) -> features (B, dim).
        scaling: what timm says of the input, or the weights file.
        weights_hash: sha256 of the weights file, or of the tensors that timm has loaded; "" without weights.
    """

    model: VisionTransformer
    size: int
    dim: int
    scaling: Scaling
    weights_hash: str

    def pooled(self, images: Tensor, replaced: Mapping[str, Tensor] | None = None) -> Tensor:
        """Features (M, dim) of normalised images (M, 3, size, size); ``replaced`` stands for parameters so named."""
        if replaced is not None:
            return functional_call(self.model, dict(replaced), (images,))
        return self.pool(self.through(self.embed(images), 0))

    def embed(self, images: Tensor) -> Tensor:
        """Tokens (M, N, D) that enter the first block."""
        model = self.model
        return model.norm_pre(model.patch_drop(model._pos_embed(model.patch_embed(images))))

    def through(self, tokens: Tensor, start: int, end: int | None = None) -> Tensor:
        """Tokens (M, N, D) that enter block ``start`` -> those that enter block ``end``, or leave the last one."""
        for block in self.model.blocks[start:end]:
            tokens = block(tokens)
        return tokens

    def pool(self, tokens: Tensor) -> Tensor:
        """Tokens (M, N, D) that leave the last block -> features (M, dim)."""
        return self.model.forward_head(self.model.norm(tokens), pre_logits=True)


def load_backbone(name: str, pretrained: bool = True) -> Backbone:
    """Frozen backbone in evaluation mode, fp32.

    Args:
        name: ``glyph_vit``, a ``.safetensors`` file whose metadata names the timm model, or a timm ViT name.
        pretrained: False builds the architecture alone on the meta device (parameter counts, no download).

    Raises:
        InputError: unknown model, not a plain ViT, unreadable file, weights that do not fit, hub unreachable.
    """
    path = SHIPPED.get(name) or (Path(name).expanduser() if name.endswith(".safetensors") else None)
    if path is None:
        return _from_timm(name, pretrained)
    metadata = _metadata(name, path)
    options: dict[str, Any] = {key: kind(metadata[key]) for key, kind in ARCHITECTURE.items() if key in metadata}
    if pretrained:
        model = _create(metadata["timm"], **options)
        _load_weights(model, name, path)
    else:
        model = _without_weights(metadata["timm"], **options)
    return _frozen(model, metadata, hashlib.sha256(path.read_bytes()).hexdigest())


def _from_timm(name: str, pretrained: bool) -> Backbone:
    if not timm.is_model(name.split(".")[0]):
        near = timm.list_models(f"*{name.split('_')[0]}*patch*")[:3]
        raise InputError(
            f"backbone {name!r}: unknown; allowed: {', '.join(SHIPPED)}, a FILE.safetensors, or a timm ViT"
            + (f" such as {', '.join(near)}" if near else "")
        )
    if not pretrained:
        return _frozen(_without_weights(name), {}, "")
    offline_if_unreachable()
    try:
        model = _create(name, pretrained=True)
    except InputError:
        raise
    except Exception as error:  # the hub client raises many unrelated types when it cannot be reached
        raise InputError(
            f"backbone {name!r}: weights not in the local cache and the hub cannot be reached "
            f"({type(error).__name__}); pass --backbone FILE.safetensors, or use --profile embedded"
        ) from error
    return _frozen(model, {}, hash_tensors(model.state_dict()))


def _metadata(name: str, path: Path) -> Mapping[str, str]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        reason = "no such file" if not path.is_file() else "not a safetensors file"
        raise InputError(f"backbone {name!r}: {reason}; allowed: a FILE.safetensors or a timm ViT name") from error
    if "timm" not in metadata:
        raise InputError(
            f"backbone {name!r}: its metadata does not name the timm model (keys timm, img_size, patch_size)"
        )
    return metadata


def _create(name: str, pretrained: bool = False, **options: Any) -> VisionTransformer:
    try:
        model = timm.create_model(name, pretrained=pretrained, num_classes=0, **options)
    except (RuntimeError, TypeError, ValueError) as error:
        if pretrained:
            raise
        raise InputError(f"backbone {name!r}: timm cannot build it with {options} ({error})") from error
    if not isinstance(model, VisionTransformer) or not all(isinstance(block, Block) for block in model.blocks):
        raise InputError(f"backbone {name!r}: not a plain ViT; allowed: timm models of class VisionTransformer")
    return model


def _without_weights(name: str, **options: Any) -> VisionTransformer:
    plain = timm.models.is_model_in_modules(name.split(".")[0], ["vision_transformer"])
    with torch.device("meta"):
        return _create(name, False, **options | ({"weight_init": "skip"} if plain else {}))


def _load_weights(model: VisionTransformer, name: str, path: Path) -> None:
    with safe_open(path, framework="pt") as file:
        tensors = {key: file.get_tensor(key).float() for key in file.keys() if not key.startswith("head.")}  # noqa: SIM118
    expected = model.state_dict()
    wrong = [key for key in expected if key not in tensors or tensors[key].shape != expected[key].shape]
    wrong += [key for key in tensors if key not in expected]
    if wrong:
        raise InputError(
            f"backbone {name!r}: {len(wrong)} tensors do not fit the model its metadata names, first {wrong[0]}"
        )
    model.load_state_dict(tensors)


def _frozen(model: VisionTransformer, metadata: Mapping[str, str], weights_hash: str) -> Backbone:
    model.requires_grad_(False).eval()
    size = model.patch_embed.img_size[0]
    return Backbone(model, size, model.num_features, _scaling(model, metadata), weights_hash)


def _scaling(model: VisionTransformer, metadata: Mapping[str, str]) -> Scaling:
    said = timm.data.resolve_model_data_config(model)
    mean, std = (
        tuple(float(part) for part in metadata[key].split(",")) if key in metadata else tuple(said[key])
        for key in ("mean", "std")
    )
    interpolation = metadata.get("interpolation", said["interpolation"])
    if interpolation not in get_args(Interpolation):
        raise InputError(
            f"backbone: wants interpolation {interpolation!r}; allowed: {', '.join(get_args(Interpolation))}"
        )
    crop_pct = float(metadata.get("crop_pct", said["crop_pct"]))
    return Scaling(mean, std, interpolation, crop_pct, said["crop_mode"] == "squash")


def parameter_count(model: torch.nn.Module) -> int:
    """Number of scalars in the model's parameters."""
    return sum(parameter.numel() for parameter in model.parameters())
