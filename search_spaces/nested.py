"""Nested LoRA: the two learning rates, consolidation, and the schedule around them (fields of ``NestedConfig``)."""

from search_spaces.dimensions import Choice, Fixed, Float, Int
from search_spaces.space import Space

_CONSOLIDATED = {"consolidation": True}

NESTED = Space(
    {
        "lr_fast": Float(1e-3, 0.2, log=True),
        "lr_slow": Float(1e-3, 1.0, log=True, ratio_to="lr_fast", also=(0.0,)),
        "consolidation": Choice((True, False)),
        "consolidation_alpha": Float(0.0, 1.0, when=_CONSOLIDATED),
        "fast_reset": Choice(("zero", "reinit"), when=_CONSOLIDATED),
        "placement": Fixed("parallel"),
        "consolidation_space": Choice(("parameters", "function"), when=_CONSOLIDATED | {"placement": "linear"}),
        "update_interval_slow": Int(1, 16, log=True),
        "warmup_steps": Int(0, 20, step=2),
        "eta_min": Float(1e-6, 1e-3, log=True, also=(0.0,)),
        "rank": Int(2, 32, log=True),
    }
)
"""``lr_slow`` is searched as a ratio to ``lr_fast``; ``lr_slow=log:1e-5:1e-1`` searches it absolutely.
``placement=linear`` brings ``consolidation_space`` in."""
