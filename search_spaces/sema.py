"""SEMA: when and where it grows, which adapters, their rates, descriptors, routing (fields of ``SemaConfig``)."""

from search_spaces.dimensions import Choice, Float, Int
from search_spaces.space import Space

_GROWING = {"expansion": "on"}
_ONE_PART = {"ffn_adapter_type": ("adaptmlp", "convpass")}
_OF_RANK = {"ffn_adapter_type": ("nested_lora", "lora")}
_NESTED = {"ffn_adapter_type": "nested_lora"}
_CONSOLIDATED = _NESTED | {"consolidation": True}

SEMA = Space(
    {
        "expansion": Choice(("on", "off")),
        "exp_threshold": Float(0.25, 8.0, log=True, when=_GROWING),
        "adapt_start_layer": Choice((-2, -3, -4), when=_GROWING),
        "expansion_criterion": Choice(("batch_mean", "any_sample"), when=_GROWING),
        "without_expansion": Choice(("train_head", "skip"), when=_GROWING),
        "routing": Choice(("softmax", "average", "top1", "top1_inference"), when=_GROWING),
        "adapter_input": Choice(("residual", "norm2")),
        "ffn_adapter_type": Choice(("adaptmlp", "nested_lora", "lora", "convpass")),
        "ffn_num": Int(4, 64, log=True, when=_ONE_PART),
        "rank": Int(2, 32, log=True, when=_OF_RANK),
        "init_lr": Float(1e-3, 0.1, log=True),
        "lr_fast": Float(1e-3, 0.2, log=True, when=_NESTED),
        "lr_slow": Float(1e-3, 1.0, log=True, ratio_to="lr_fast", also=(0.0,), when=_NESTED),
        "update_interval_slow": Int(1, 16, log=True, when=_NESTED),
        "consolidation": Choice((True, False), when=_NESTED),
        "consolidation_alpha": Float(0.0, 1.0, when=_CONSOLIDATED),
        "rd_lr": Float(1e-3, 0.1, log=True, when=_GROWING),
        "rd_dim": Int(8, 256, log=True, when=_GROWING),
        "rd_activation": Choice(("none", "leaky_relu"), when=_GROWING),
        "rd_loss": Choice(("mean", "sum"), when=_GROWING),
    }
)
"""``lr_slow`` is searched as a ratio to ``lr_fast``. Without expansion there is no threshold, descriptor or router."""
