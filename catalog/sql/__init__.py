"""SQL over the index: documented views, what may be asked, and a sealed process to answer anybody.

Start at `door/README.md`. May import `catalog.projections.tables`, `catalog.answers` and `storage`.
"""
