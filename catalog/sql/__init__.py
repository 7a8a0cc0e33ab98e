"""SQL over the index: documented views, and a runner that lets a statement read them and nothing else.

May import `catalog.projections.tables` and `storage`.
"""

from catalog.sql.runner import run_sql as run_sql
