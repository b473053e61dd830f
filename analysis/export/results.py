"""``results.parquet``: every estimate of a run with its interval, one a row."""

from pathlib import Path

import pandas as pd
import pyarrow as pa

from analysis.io.parquet_files import RecordsError, field, write_file

ESTIMATES = ("mean", "std", "iqm", "collapse_rate", "difference")
RESULTS_SCHEMA = pa.schema(
    [
        field("configuration", pa.string(), "-", "label of the configuration", False),
        field("metric", pa.string(), "-", "the final metric that is estimated", False),
        field("estimate", pa.string(), "-", " | ".join(ESTIMATES), False),
        field("value", pa.float64(), "that of the metric; a rate is a fraction", "the estimate"),
        field("low", pa.float64(), "like value", "lower end of its interval; null where it cannot be said"),
        field("high", pa.float64(), "like value", "upper end"),
        field("n", pa.int64(), "seeds", "how many it is taken over", False),
        field("baseline", pa.string(), "-", "difference: what it is taken from; else null"),
    ]
)


def write_results(path: Path, frame: pd.DataFrame) -> None:
    """Write, or replace, a table of estimates, atomically: the columns of ``RESULTS_SCHEMA``, in any order; NaN is
    null.

    Raises:
        RecordsError: a missing or unknown column, another estimate, a value that does not fit, a file not to be
            written.
    """
    for name in sorted({*map(str, frame)} ^ {*RESULTS_SCHEMA.names}):
        what = f"unknown column {name!r}" if name in frame else f"column {name!r} is missing"
        raise RecordsError(f"{path}: {what}; allowed: {', '.join(RESULTS_SCHEMA.names)}")
    if other := sorted(set(map(str, frame["estimate"])) - set(ESTIMATES)):
        raise RecordsError(f"{path}: estimate {other[0]!r}; allowed: {', '.join(ESTIMATES)}")
    try:
        table = pa.Table.from_pandas(frame, RESULTS_SCHEMA, preserve_index=False)
        write_file(path, table.cast(RESULTS_SCHEMA))
    except (pa.ArrowException, ValueError) as error:
        raise RecordsError(f"{path}: a value does not fit its column ({error})") from None
