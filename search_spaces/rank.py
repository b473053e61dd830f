"""LoRA's rank, the rule for its scale and the rates (fields of ``RankConfig``)."""

from search_spaces.dimensions import Choice, Float, Int
from search_spaces.space import Space

RANK = Space(
    {
        "rank": Int(1, 32, log=True),
        "scaling": Choice(("proportional", "fixed")),
        "c": Float(0.25, 16.0, log=True, when={"scaling": "proportional"}),
        "lora_alpha": Float(1.0, 64.0, log=True, when={"scaling": "fixed"}),
        "lr_lora": Float(1e-4, 3e-2, log=True),
        "lr": Float(1e-4, 3e-2, log=True),
        "weight_decay": Float(0.0, 0.2),
    }
)
"""The factor on LoRA's output is ``c`` or ``lora_alpha / rank``; ``--set scaling=fixed`` searches one rule alone."""
