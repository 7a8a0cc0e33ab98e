"""Questions of the reading side, typed: from the index, and where it must work without one, from the log.

May import `catalog` and `storage`.
"""

from catalog.queries.directory import LogDirectory as LogDirectory
from catalog.queries.index import Index as Index
from catalog.queries.names import machine_names as machine_names
from catalog.queries.names import pick_machine as pick_machine
from catalog.queries.names import pick_point as pick_point
