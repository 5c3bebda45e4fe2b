"""X on disk or elsewhere, in blocks of rows, for data that do not fit into memory.

``SoftmaxClassifier`` takes any object that returns its rows block by block; ``RowBlocks`` describes
the members that it needs. ``NpyBlocks`` reads NumPy's files, ``ParquetBlocks`` Parquet files. A
``numpy.memmap`` needs nothing from this module: pass it as it is.
"""

from ._data.file_readers import NpyBlocks, ParquetBlocks
from ._data.readers import BlockError, RowBlocks

__all__ = ["BlockError", "NpyBlocks", "ParquetBlocks", "RowBlocks"]

# where users find them, and what their pickles say
for _name in __all__:
    globals()[_name].__module__ = __name__
