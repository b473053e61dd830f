"""LoRA rank and its scale beside the learning rate (fields ``rank``, ``lora_alpha``, ``lr_lora``, ``lr``)."""

from search_spaces.dimensions import Float, Int
from search_spaces.space import Space

RANK = Space(
    {
        "rank": Int(1, 32, log=True),
        "lora_alpha": Float(0.5, 8.0, log=True, ratio_to="rank"),
        "lr_lora": Float(1e-4, 3e-2, log=True),
        "lr": Float(1e-4, 3e-2, log=True),
    }
)
"""``lora_alpha`` is searched as a multiple of the rank (alpha = c r); ``lora_alpha=16`` holds it fixed instead."""
