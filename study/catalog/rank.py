"""Studies of LoRA's rank in text classification."""

from search_spaces.rank import RANK
from study.catalog.registry import register
from study.spec import Claim, Objective, Profile, SearchSpec, Study

_RANKS = (1, 2, 4, 8, 16, 32)
# 752 steps, not SST-2's 10,500: quicker rates
_RANK_EMBEDDED = Profile(
    dataset="reviews",
    backbone="review_bert",
    seeds=3,
    settings={"epochs": 4, "lr": 5e-3, "lr_lora": 3e-3, "lr_full": 5e-4},
    gpus_per_trial=0.1,
)
_RANK_PAPER = Profile(dataset="sst2", backbone="prajjwal1/bert-tiny", seeds=5, gpus_per_trial=0.1)

register(
    Study(
        name="lora_rank",
        question="How much rank does LoRA need, and what do the head alone and full fine-tuning reach?",
        trainable="rank",
        configurations={
            "head": {"method": "head"},
            **{f"r={rank}": {"method": "lora", "rank": rank, "scaling": "proportional"} for rank in _RANKS},
            "full": {"method": "full"},
        },
        claims=(
            Claim(order=("r=8", "r=1"), source="notes seeds/004: performance improves rapidly from r=1 to r=8"),
            Claim(order=("full", "r=8", "head"), source="notes seeds/004: LoRA lies between head-only and full"),
        ),
        objective=Objective(metric="final_top1"),
        profiles={"embedded": _RANK_EMBEDDED, "paper": _RANK_PAPER},
    )
)

register(
    Study(
        name="lora_scaling",
        question="Does a fixed alpha harm high ranks, where alpha = c r does not?",
        trainable="rank",
        configurations={
            f"r={rank}, {rule}": {"method": "lora", "rank": rank, "scaling": scaling}
            for scaling, rule in {"proportional": "alpha=c r", "fixed": "alpha fixed"}.items()
            for rank in _RANKS
        },
        claims=(
            Claim(
                order=("r=32, alpha=c r", "r=32, alpha fixed"),
                source="notes seeds/004: a fixed alpha causes rank-dependent optimization issues",
            ),
        ),
        objective=Objective(metric="final_top1"),
        profiles={"embedded": _RANK_EMBEDDED, "paper": _RANK_PAPER},
    )
)

register(
    Study(
        name="rank_search",
        question="Which rank, scale and rates of LoRA are good on seeds that their search has never seen?",
        trainable="rank",
        configurations={
            "r=8": {"rank": 8, "scaling": "proportional"},
            "r=1": {"rank": 1, "scaling": "proportional"},
            "r=32, alpha fixed": {"rank": 32, "scaling": "fixed"},
        },
        objective=Objective(metric="final_top1"),
        search=SearchSpec(space=RANK, objectives=(Objective(metric="final_val_top1"),)),
        profiles={
            "embedded": _RANK_EMBEDDED.model_copy(
                update={"seeds": 8, "data": {"train_examples": 3000}, "settings": _RANK_EMBEDDED.settings
                        | {"epochs": 3, "data.val_fraction": 0.2}}
            ),
            "paper": _RANK_PAPER.model_copy(update={"seeds": 8, "settings": {"data.val_fraction": 0.05}}),
        },
    )
)  # fmt: skip
