"""What a study file imports: ``from lora_study import Objective, Profile, Study``.

One name that nobody else uses: a user's own ``study`` or ``analysis`` beside the file keeps its name.
"""

from search_spaces.dimensions import Choice, Fixed, Float, Int
from search_spaces.space import Space
from study.spec import Claim, Confirmation, Contrast, Objective, Profile, Reported, SearchSpec, Study
from trainables.errors import InputError
from trainables.methods.plain import plain
from trainables.registry import Metric, TrainableSpec

__all__ = [
    "Choice", "Claim", "Confirmation", "Contrast", "Fixed", "Float", "InputError", "Int", "Metric", "Objective",
    "Profile", "Reported", "SearchSpec", "Space", "Study", "TrainableSpec", "plain",
]  # fmt: skip
