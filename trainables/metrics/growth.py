"""What is measured of a learner that grows: how many adapters, who uses them, and what another routing would give."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from trainables.configs import SemaConfig
from trainables.configs.sema import Routing
from trainables.data.splits import padded_batches
from trainables.metrics.accuracy import accuracy
from trainables.metrics.continual import continual_finals
from trainables.metrics.finals import Row

if TYPE_CHECKING:  # timm
    from trainables.data.image_input import ImageInput
    from trainables.data.splits import ClassIncremental
    from trainables.peft.growing import GrowingPack


@torch.inference_mode()
def log_routing(
    pack: "GrowingPack", tasks: "ClassIncremental", source: "ImageInput", config: SemaConfig, task: int,
    log: Callable[..., None], alive: Sequence[int],
) -> None:  # fmt: skip
    """Log every adapter's mean routing weight on the test images of every task so far, rows of phase ``routing``.

    Where a softmax routes, also the accuracy with the largest weight alone and with equal weights, phase ``ablation``.
    """
    others: tuple[Routing, ...] = ("top1", "average") if config.routing == "softmax" else ()
    indices = [torch.cat(own[: task + 1]) for own in tasks.test]
    predicted: dict[tuple[int, str], list[Tensor]] = {}
    weights: dict[tuple[int, int], list[Tensor]] = {}
    for chunk, valid in zip(*padded_batches(indices, config.eval_batch_size), strict=True):
        for rows in pack.passes():
            if not bool(valid[rows].any()):
                continue
            routed = pack.routed(source, chunk[rows], (config.routing, *others))
            for routing, features in zip((config.routing, *others), routed, strict=True):
                columns = pack.logits(features, slice(0, tasks.bounds[task + 1])).argmax(-1).cpu()
                for k in range(rows.start, rows.stop):
                    own = valid[k]
                    predicted.setdefault((k, routing), []).append(columns[k - rows.start][own])
                    for block in pack.growing if routing == config.routing else ():
                        found = pack.mixtures[block].weights[k - rows.start].cpu()[own]
                        weights.setdefault((k, block), []).append(found[:, : pack.mixtures[block].counts[k]])
    for k in alive:
        labels = source.pictures.labels[indices[k]]
        column = tasks.position[k][labels]
        for routing in others:
            log(k, "ablation", f"after/routing_{routing}", accuracy(torch.cat(predicted[k, routing]), column), task)
        for block in pack.growing:
            used = torch.cat(weights[k, block])
            for learned, (low, high) in enumerate(zip(tasks.bounds, tasks.bounds[1 : task + 2], strict=False)):
                own = (low <= column) & (column < high)
                for slot, value in enumerate(used[own].mean(0).tolist() if bool(own.any()) else ()):
                    log(k, "routing", f"task_{learned}/block_{block}/adapter_{slot}", value, task)


def growth_finals(rows: Sequence[Row], tasks: int) -> dict[str, float]:
    """Final metrics after ``tasks`` tasks: those of every class-incremental learner, and how it has grown."""
    last = [row for row in rows if row["task"] == tasks - 1]
    counts = {str(row["name"]): float(row["value"]) for row in last
              if row["phase"] == "boundary" and row["name"].startswith("adapters/")}  # fmt: skip
    routings = {f"final_routing/{row['name'].removeprefix('after/routing_')}": float(row["value"]) for row in last
                if row["phase"] == "ablation" and row["name"].startswith("after/routing_")}  # fmt: skip
    added = [row["value"] for row in rows if row["phase"] == "boundary" and row["name"] == "params_added"]
    grown = {"adapters_grown": sum(counts.values()) - len(counts), "added_params": float(sum(added))}
    return continual_finals(rows, tasks) | grown | counts | routings
