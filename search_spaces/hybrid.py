"""Hybrid LoRA and norm tuning: which parts, at which rates (fields of ``HybridConfig``)."""

from search_spaces.dimensions import Choice, Float, Int
from search_spaces.space import Space

_LAYERWISE = {"method": "hybrid_layerwise"}
_LORA = {"method": ("lora", "hybrid_parallel", "hybrid_layerwise")}
_NORM = {"method": ("norm", "hybrid_parallel", "hybrid_layerwise")}
_BOTH = {"method": ("hybrid_parallel", "hybrid_layerwise")}

HYBRID = Space(
    {
        "method": Choice(("lora", "norm", "hybrid_parallel", "hybrid_layerwise")),
        "policy": Choice(("deep_lora", "shallow_lora", "even_lora"), when=_LAYERWISE),
        "lr": Float(1e-4, 3e-2, log=True),
        "lr_norm": Float(1e-4, 3e-2, log=True, when=_NORM),
        "lr_lora": Float(1e-4, 3e-2, log=True, when=_LORA),
        "weight_decay": Float(0.0, 0.2),
        "eta_min": Float(1e-7, 1e-4, log=True, also=(0.0,)),
        "rank": Int(2, 32, log=True, when=_LORA),
        "freeze_lora_steps": Int(0, 40, step=10, when=_LORA),
        "lr_parity": Choice(("off", "dynamic"), when=_BOTH),
    }
)
