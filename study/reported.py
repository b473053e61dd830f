"""Numbers reported in the experiment notes. They were not measured by this project; every table labels them so."""

from study.spec import Reported


def percent(*values: float) -> tuple[float, ...]:
    return tuple(round(value / 100, 6) for value in values)


SEEDS_000_SOURCE = "notes seeds/000: CIFAR-100 at 224 px, ViT-B/16 ImageNet-21k, one run each"
SEEDS_000 = (
    Reported(
        configuration="baseline",
        label="run 1",
        accuracy=percent(99.20, 86.30, 71.81, 65.49, 60.63, 57.45, 53.55, 50.69, 47.86, 45.92),
    ),
    Reported(
        configuration="alpha=0.1",
        label="run 1",
        accuracy=percent(96.00, 81.10, 70.88, 64.17, 60.48, 57.45, 53.38, 51.13, 48.12, 46.11),
    ),
    Reported(
        configuration="alpha=0.1",
        label="run 2",
        accuracy=percent(96.00, 66.20, 50.43, 44.05, 45.74, 42.25, 29.00, 35.39, 24.06, 28.01),
        ablation={"fast": 0.3957, "slow": 0.2801, "combined": 0.2801},
    ),
    Reported(
        configuration="alpha=0.5",
        label="run 1",
        accuracy=percent(97.80, 84.85, 72.82, 64.72, 59.99, 56.29, 51.82, 48.81, 45.95, 43.96),
    ),
)
