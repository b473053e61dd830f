"""Ablation of a nested adapter: what the frozen backbone, fast, slow and both parts each predict."""

from torch import Tensor

from trainables.data.image_input import ImageInput
from trainables.metrics.accuracy import predict, predict_frozen
from trainables.packs.replicas import AdapterPack
from trainables.peft.lora import Contribution


class Ablation:
    """Predictions of frozen, fast-only, slow-only and combined models around one task boundary.

    A forward pass is shared by every variant that is the same function: a part whose output is zero counts as
    absent, and what consolidation did not change is not evaluated again.

    Args:
        frozen: features of all test images through the frozen backbone (N, D).
        indices: test images of the classes seen so far, one (n_k,) per replica.
        seen: columns of the head that compete.

    Attributes:
        contribution: sizes of fast(x) and slow(x) over the last combined pass, if both are at work.
        slow_changed, fast_changed: set by the caller when consolidation altered a part.
    """

    def __init__(
        self, pack: AdapterPack, source: ImageInput, frozen: Tensor, indices: list[Tensor], seen: int, batch_size: int
    ) -> None:
        self.pack, self.source, self.indices, self.seen, self.batch_size = pack, source, indices, seen, batch_size
        self.slow_changed = self.fast_changed = False
        self.contribution: Contribution | None = None
        self._known: dict[tuple[tuple[str, bool], ...], list[Tensor]] = {
            (): predict_frozen(pack, frozen, indices, slice(0, seen))
        }

    def measure(self, when: str) -> dict[str, list[Tensor]]:
        """Predicted columns of every variant ``before`` or ``after`` consolidation: name -> one (n_k,) per replica."""
        pack = self.pack
        changed = {"fast": self.fast_changed, "slow": self.slow_changed}  # nothing else ever is
        alone = {part: (part,) for part in ("fast", "slow") if "fast" in pack.parts}
        variants: dict[str, tuple[str, ...]] = {"frozen": (), **alone, "combined": pack.parts}
        loud = {part for part in pack.parts if not pack.silent(part)}
        self.contribution = Contribution(pack.replicas, pack.device) if loud == {"fast", "slow"} else None
        results = {}
        for name, wanted in variants.items():
            used = tuple(part for part in wanted if part in loud)
            key = tuple((part, when == "after" and changed.get(part, False)) for part in used)
            if key not in self._known:
                contribution = self.contribution if name == "combined" else None
                self._known[key] = predict(
                    pack, self.source, self.indices, used, self.seen, self.batch_size, contribution
                )
            results[name] = self._known[key]
        return results


def ratios(contribution: Contribution | None) -> dict[str, Tensor]:
    """||fast(x)|| / ||slow(x)|| and the cosine of fast(x) and slow(x) over tokens and adapters, each (K,).

    Not finite where a part has been silent or nothing was measured.
    """
    if contribution is None:
        return {}
    fast, slow = contribution.fast.sqrt(), contribution.slow.sqrt()
    return {"contribution_ratio": fast / slow, "cosine": contribution.product / (fast * slow)}
