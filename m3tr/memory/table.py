"""What is remembered of the items: identity columns and arrays, in memory or in a parquet file.

A file is read by row groups, so that a few neighbours among millions cost a few groups.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from m3tr.errors import InputError

ROWS = 2_048  # of a row group: what is decoded for one neighbour
SHAPES = b"m3tr.arrays"


class Table:
    """Rows of a segment.

    Attributes
    ----------
    columns : list of str
        Identity columns: `video_id`, `known_at` and what else describes an item.
    shapes : dict of str to (dtype, shape of a row)
        The arrays.
    """

    def __init__(self, frame: pl.DataFrame, arrays: Mapping[str, np.ndarray]) -> None:
        for name, array in arrays.items():
            if len(array) != frame.height:
                raise InputError(f"value {name!r} is of {len(array)} items, not {frame.height}")
        self._frame: pl.DataFrame | None = frame
        self._arrays = dict(arrays)
        self._file: Any = None
        self.height = frame.height
        self.columns = frame.columns
        self.shapes = {n: (str(a.dtype), a.shape[1:]) for n, a in self._arrays.items()}

    @classmethod
    def open(cls, path: Path) -> "Table":
        """What `save` wrote; nothing but the footer is read yet.

        The file stays open: it can be read on when a writer has removed it.
        """
        import pyarrow.parquet as pq

        new = cls.__new__(cls)
        file = pq.ParquetFile(path, memory_map=True)
        schema = file.schema_arrow
        stored = json.loads(schema.metadata[SHAPES])
        new._frame, new._arrays, new._file = None, {}, file
        new.height = file.metadata.num_rows
        new.shapes = {name: (dtype, tuple(shape)) for name, (dtype, shape) in stored.items()}
        new.columns = [name for name in schema.names if name not in stored]
        return new

    def save(self, path: Path) -> None:
        """Write one parquet file: identity columns, and an array as lists of fixed length."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = self.frame().to_arrow()
        for name in self.shapes:
            width = int(np.prod(self.shapes[name][1], dtype=int))
            values = pa.array(np.ascontiguousarray(self.array(name)).ravel())
            column = pa.FixedSizeListArray.from_arrays(values, width)
            table = table.append_column(name, column)
        about = {SHAPES: json.dumps(self.shapes).encode()}
        table = table.replace_schema_metadata((table.schema.metadata or {}) | about)
        pq.write_table(table, path, row_group_size=ROWS, compression="zstd", compression_level=1)

    def frame(self) -> pl.DataFrame:
        """All identity columns."""
        if self._frame is None:
            self._frame = pl.DataFrame(self._groups_of(range(self._groups), self.columns))
        return self._frame

    def array(self, name: str) -> np.ndarray:
        """A whole array (N, ...), kept once it was read."""
        if name not in self._arrays:
            self._arrays[name] = self._read(name, np.arange(self._groups))
        return self._arrays[name]

    def take(self, name: str, rows: np.ndarray) -> np.ndarray:
        """Some rows of an array, without reading the others' row groups."""
        groups, place = np.unique(rows // ROWS, return_inverse=True)
        if name in self._arrays or 2 * len(groups) > self._groups:
            return self.array(name)[rows]
        return self._read(name, groups)[place * ROWS + rows % ROWS]

    def frame_of(self, rows: np.ndarray) -> pl.DataFrame:
        """The identity columns of some rows."""
        groups, place = np.unique(rows // ROWS, return_inverse=True)
        if self._frame is not None or 2 * len(groups) > self._groups:
            return self.frame()[rows.tolist()]
        found = pl.DataFrame(self._groups_of(groups, self.columns))
        return found[(place * ROWS + rows % ROWS).tolist()]

    def select(self, rows: np.ndarray) -> "Table":
        """A table of some rows, in memory."""
        arrays = {name: self.take(name, rows) for name in self.shapes}
        return Table(self.frame_of(rows), arrays)

    @property
    def _groups(self) -> int:
        return -(-self.height // ROWS)

    def _groups_of(self, groups: Iterable[int], columns: list[str]) -> Any:
        return self._file.read_row_groups([int(g) for g in groups], columns=columns)

    def _read(self, name: str, groups: np.ndarray) -> np.ndarray:
        dtype, shape = self.shapes[name]
        if not len(groups):
            return np.empty((0, *shape), dtype)
        column = self._groups_of(groups, [name]).column(name).combine_chunks()
        values = column.flatten().to_numpy(zero_copy_only=False)
        return values.astype(dtype, copy=False).reshape(-1, *shape)


def concat(tables: Iterable[Table]) -> Table:
    """One table of several, in memory; they must remember the same."""
    given = list(tables)
    frame = pl.concat([t.frame() for t in given], how="diagonal_relaxed")
    arrays = {name: np.concatenate([t.array(name) for t in given]) for name in given[0].shapes}
    return Table(frame, arrays)
