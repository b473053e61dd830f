"""Orders that the notes claim are data of a study: checked when it is defined, written into study.json."""

import json

import pytest

from study.catalog import STUDIES
from study.ray_tune.resources import Machine
from study.resolve.options import Options
from study.resolve.study import resolve
from study.spec import Claim, Study

CLAIMED = {"hybrid_week1", "hybrid_week6", "hybrid_eta_min", "lora_rank", "lora_scaling"}


def test_claims_say_what_is_claimed_and_where() -> None:
    assert {name for name, study in STUDIES.items() if study.claims} == CLAIMED
    for name in CLAIMED:
        study = STUDIES[name]
        assert all(claim.source.startswith("notes seeds/00") for claim in study.claims), name
        assert len({(claim.order, claim.metric) for claim in study.claims}) == len(study.claims), name
    assert [claim.order for claim in STUDIES["hybrid_week6"].claims] == [("deep_lora", "lora", "norm")]


def test_claims_reach_study_json() -> None:
    resolved, _ = resolve(Options("hybrid_week6", "embedded"), Machine(1, 0, "this machine"), load_data=False)
    (written,) = json.loads(resolved.model_dump_json())["claims"]
    assert written["order"] == ["deep_lora", "lora", "norm"] and written["metric"] == ""


@pytest.mark.parametrize(
    ("claim", "words"),
    [
        ({"order": ["lora", "nothing"]}, "claims name no configuration: nothing"),
        ({"order": ["lora", "norm"], "metric": "beauty"}, "claims name no final metric: beauty"),
        ({"order": ["lora"]}, "at least 2"),
        ({"order": ["lora", "norm", "lora"]}, "not twice lora"),
    ],
)
def test_a_claim_of_what_is_not_there_is_refused(claim: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Study.model_validate(dict(STUDIES["hybrid_week6"]) | {"claims": (claim,)})


def test_claims_are_part_of_what_a_study_file_imports() -> None:
    import lora_study

    assert lora_study.Claim is Claim
