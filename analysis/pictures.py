"""Pictures on disk: PNG and SVG for people, the values that they show as Parquet, and both in a page's data URI."""

import base64
from collections.abc import Mapping
from pathlib import Path

import matplotlib
import pyarrow as pa
import pyarrow.parquet as pq

from analysis.style import Picture

DATA_DIR = "data"
CAPTION = b"caption"


def save_pictures(folder: Path, pictures: Mapping[str, Picture | None]) -> list[Path]:
    """Write the pictures that there are as ``<stem>.png`` and ``<stem>.svg``, and ``data/<stem>.parquet`` beside them.

    The caption is metadata of the data file, so that each picture's data say what they are.

    Args:
        folder: of the report.
        pictures: file name of the PNG -> figure, None where there is nothing to draw.

    Returns:
        paths of the PNGs, in the order given.
    """
    (folder / DATA_DIR).mkdir(parents=True, exist_ok=True)
    written = []
    for name, picture in pictures.items():
        path = (folder / name).with_suffix(".png")
        for stale in (path, path.with_suffix(".svg"), _data(path)):
            stale.unlink(missing_ok=True)
        if picture is None:
            continue
        picture.savefig(path)
        picture.set_layout_engine("none")  # the layout that was found holds for the second format
        # Otherwise the names of clip paths are random, and the date differs from run to run.
        with matplotlib.rc_context({"svg.hashsalt": path.stem}):
            picture.savefig(path.with_suffix(".svg"), metadata={"Date": None})
        if picture.data is not None:
            table = pa.Table.from_pandas(picture.data, preserve_index=False)
            metadata = {**(table.schema.metadata or {}), CAPTION: picture.caption.encode()}
            pq.write_table(table.replace_schema_metadata(metadata), _data(path))
        written.append(path)
    return written


def caption(path: Path) -> str:
    """What a saved picture shows; its file name in words where it came without data."""
    if _data(path).is_file():
        return (pq.read_schema(_data(path)).metadata or {}).get(CAPTION, b"").decode()
    return path.stem.replace("_", " ").capitalize()


def data_uri(path: Path) -> str:
    """The picture as a data URI: SVG or PNG, whichever is smaller."""
    png, svg = path.read_bytes(), path.with_suffix(".svg").read_bytes()
    kind, content = ("svg+xml", svg) if len(svg) <= len(png) else ("png", png)
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _data(path: Path) -> Path:
    return path.parent / DATA_DIR / f"{path.stem}.parquet"
