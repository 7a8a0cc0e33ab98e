"""Taking machines back: a new one of its stored configuration, or a disk in place.

Read `machine.py`, then `recipe.py` (what of a configuration is made again) and `upload.py` (how content gets there).
"""
