"""How the columns of a Parquet file are stored: pages, compression, dictionaries.

Pages have few rows, so that few rows can be read without the others. But a reader of zstd takes
some 20 µs to begin with a page, whatever is in it, and much longer for numbers than these take
without. So a column is compressed by zstd only where that makes it smaller, one of numbers a good
deal smaller, and else by Snappy, which costs next to nothing and helps where later rows are of
another kind. A dictionary must be read before any of its pages, so a column whose values hardly
repeat does without. A trial with the first rows tells.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from parquedb.slotted import dataclass

PAGE_ROWS = 2048
_SAMPLE_ROWS = 16_384
_FEW_ROWS = 1024
_WORTH_ZSTD = 0.85
_WORTH_ZSTD_OF_NUMBERS = 0.4
_WORTH_DICTIONARY = 0.6
_LITTLE_BYTES = 4096
"""Less than this tells nothing: a column without values must be ready for any."""


@dataclass(frozen=True, slots=True)
class _Sizes:
    """Sizes of a column in a trial.

    Args:
        zstd: Compressed.
        raw: Not compressed.
        is_text: Whether its values are of any length.
    """

    zstd: int
    raw: int
    is_text: bool

    @property
    def suits_zstd(self) -> bool:
        """Whether zstd is worth its time."""
        most = _WORTH_ZSTD if self.is_text else _WORTH_ZSTD_OF_NUMBERS
        return self.zstd < most * self.raw


def storing(rows: pa.Table | None) -> dict[str, Any]:
    """Return the settings of pyarrow's writer that suit a file.

    Args:
        rows: Its first row group, None where it has none.
    """
    settings: dict[str, Any] = {
        "compression": "zstd",
        "write_page_index": True,
        "max_rows_per_page": PAGE_ROWS,
        "write_batch_size": PAGE_ROWS,
    }
    if rows is None or rows.num_rows < _FEW_ROWS:
        return settings
    sample = rows.slice(0, _SAMPLE_ROWS)
    coded = _trial(sample, settings | {"use_dictionary": True})
    plain = _trial(sample, settings | {"use_dictionary": False})
    repeats = [
        path
        for path, sizes in coded.items()
        if sizes.raw < max(_WORTH_DICTIONARY * plain[path].raw, _LITTLE_BYTES)
    ]
    chosen = plain | {path: coded[path] for path in repeats}
    codecs = {path: "zstd" if sizes.suits_zstd else "snappy" for path, sizes in chosen.items()}
    return settings | {"compression": codecs, "use_dictionary": repeats}


def _trial(sample: pa.Table, settings: dict[str, Any]) -> dict[str, _Sizes]:
    """Return the sizes of columns by their paths."""
    collected: list[pq.FileMetaData] = []
    pq.write_table(
        sample,
        pa.BufferOutputStream(),
        store_schema=False,
        metadata_collector=collected,
        row_group_size=sample.num_rows,
        **settings,
    )
    group = collected[0].row_group(0)
    found = {}
    for index in range(group.num_columns):
        column = group.column(index)
        found[column.path_in_schema] = _Sizes(
            column.total_compressed_size,
            column.total_uncompressed_size,
            column.physical_type == "BYTE_ARRAY",
        )
    return found
