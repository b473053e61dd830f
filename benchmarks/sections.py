"""Result files of the benchmarks: a Markdown file of sections, each one measured in one run on one machine."""

import statistics
from collections.abc import Sequence
from datetime import date
from importlib import metadata
from pathlib import Path

from study.records.provenance import hardware


def write_section(path: Path, head: str, title: str, text: str) -> None:
    """Put a section into a results file, in the place of an older one with the same title.

    Args:
        head: what the file begins with: its title and how it is written.
    """
    sections = {}
    if path.exists():
        for section in path.read_text().split("\n## ")[1:]:
            name, _, body = section.partition("\n")
            sections[name] = body.strip()
    sections[title] = text
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n\n".join([head, *(f"## {name}\n\n{body}" for name, body in sections.items())]) + "\n")


def circumstances(device: str, *packages: str) -> str:
    """Date, machine and versions, for the first line of a section.

    Args:
        device: ``cpu`` or ``gpu``, what was measured.
    """
    machine = hardware()
    place = machine["gpus"][0] if device == "gpu" and machine["gpus"] else machine["cpu"]
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in packages)
    return f"{date.today().isoformat()}; {place}, {machine['cores']} cores; {versions}"


def with_spread(values: Sequence[float], digits: int = 3) -> str:
    """Median and 5-95 % quantiles."""
    ordered = sorted(values)
    low, high = (ordered[round(share * (len(ordered) - 1))] for share in (0.05, 0.95))
    return f"{statistics.median(ordered):.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
