"""Wall-clock time, its split and the memory of the embedded study with nothing cached but the packages.

Run: ``python benchmarks/study_time.py [arguments of the study]``; appends a row to benchmarks/results/study_time.md.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from study.records.provenance import hardware

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "study_time.md"
HEADER = """# Time and memory of `python study/run.py nested_alpha` (embedded profile, nothing cached but the packages)

Wall-clock time of the whole command, where the workers' time went, and the highest sum over driver, workers and Ray's
processes of proportional set size (each shared page counted once).

| date | machine | command | wall | split | peak memory |
|---|---|---|---|---|---|
"""


def memory_mib(session: int) -> float:
    """Proportional set size of all processes whose ancestor is ``session``, MiB."""
    parents, total = {}, 0.0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    for pid in parents:
        ancestor = pid
        while ancestor not in (0, 1, session):
            ancestor = parents.get(ancestor, 0)
        if ancestor == session:
            try:
                text = Path(f"/proc/{pid}/smaps_rollup").read_text()
            except OSError:
                continue
            found = re.search(r"^Pss:\s+(\d+)", text, flags=re.MULTILINE)
            total += int(found.group(1)) / 1024 if found else 0.0
    return total


def main() -> None:
    arguments = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"LORA_STUDY_CACHE": f"{folder}/cache"}
        words = [sys.executable, str(ROOT / "study" / "run.py"), "nested_alpha", "--profile", "embedded", *arguments]
        start, peak = time.monotonic(), 0.0
        with open(f"{folder}/out", "w+") as out:
            study = subprocess.Popen(words, cwd=folder, stdout=out, env=environment)
            while study.poll() is None:
                peak = max(peak, memory_mib(study.pid))
                time.sleep(1.0)
            wall = time.monotonic() - start
            out.seek(0)
            text = out.read()
    if study.returncode:
        sys.exit(study.returncode)
    split = re.search(r"^time .*: (start-up .*)$", text, flags=re.MULTILINE)
    assert split, "the study printed no time line"
    command = " ".join(["nested_alpha", *arguments])
    machine = f"{hardware()['cpu']}, {hardware()['cores']} cores"
    date = time.strftime("%Y-%m-%d")
    row = f"| {date} | {machine} | {command} | {wall:.0f} s | {split.group(1)} | {peak:.0f} MiB |\n"
    RESULTS.parent.mkdir(exist_ok=True)
    if not RESULTS.exists():
        RESULTS.write_text(HEADER)
    with RESULTS.open("a") as file:
        file.write(row)
    print(row)


if __name__ == "__main__":
    main()
