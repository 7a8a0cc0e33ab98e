"""Which chunk backs each block of a disk at a restore point: a dense map, from the index or from the events.

May import `catalog.domain`, `catalog.batches`, `catalog.log` and `storage`. A map is derived and never stored
as truth; the checkpoints beside it are a cache that may be deleted at any time.
"""

from catalog.resolve.blockmap import BlockMap as BlockMap
from catalog.resolve.from_events import EventRows as EventRows
from catalog.resolve.from_lake import LakeRows as LakeRows
from catalog.resolve.resolver import Resolver as Resolver
