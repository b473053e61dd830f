"""``export --parquet``: the records of many runs as one data set."""

from collections.abc import Sequence
from pathlib import Path

from analysis.data_set import merge_runs


def export_parquet(run_dirs: Sequence[Path], out: Path) -> None:
    """Merge runs into the data set in ``out`` and print what each contributed.

    Raises:
        RecordsError: see ``merge_runs``.
    """
    target = out.expanduser().absolute()
    for one in merge_runs([path.expanduser().absolute() for path in run_dirs], target):
        what = "replaced" if one.replaced else "added"
        print(f"{one.study} {one.run_id}: {one.replicas:,} replicas, {one.rows:,} metric rows {what}")
    print(f"{target / 'trials'}\n{target / 'metrics'}")
