"""The index's tables: a DuckLake 1.0 whose catalog we write ourselves; may import `storage.errors` only.

Start at `lake.py`; FORMAT.md says what is on disk.
"""

from storage.lake.lake import Lake as Lake
from storage.lake.tables import Column as Column
from storage.lake.tables import TableSpec as TableSpec
