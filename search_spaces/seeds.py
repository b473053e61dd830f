"""Seeds of a study: a configuration is always measured over several."""

MAX_SEED = 2**32 - 1
MAX_SEEDS = 10_000
ALLOWED = f"a number of seeds in 1..{MAX_SEEDS}, or distinct seeds a,b,c in 0..{MAX_SEED}"


def parse_seeds(text: str) -> tuple[int, ...]:
    """``5`` -> 0, 1, 2, 3, 4; ``3,8,21`` -> these; ``7,`` -> the single seed 7.

    Raises:
        ValueError: not integers, out of range or repeated; the message names what is allowed.
    """
    try:
        numbers = [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        numbers = []
    if numbers and "," not in text:
        if 1 <= numbers[0] <= MAX_SEEDS:
            return tuple(range(numbers[0]))
    elif numbers and len(set(numbers)) == len(numbers) <= MAX_SEEDS and all(0 <= n <= MAX_SEED for n in numbers):
        return tuple(numbers)
    raise ValueError(f"seeds {text!r}: allowed: {ALLOWED}")
