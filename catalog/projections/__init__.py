"""The index: tables that the events project into, and the projector that keeps them.

May import `catalog.domain`, `catalog.batches`, `catalog.merkle`, `catalog.log` and `storage`. Every row is a pure
function of events, so the whole index can be dropped and built again.
"""

from catalog.projections.projector import Projector as Projector
from catalog.projections.rebuild import rebuild as rebuild
from catalog.projections.tables import TABLES as TABLES
