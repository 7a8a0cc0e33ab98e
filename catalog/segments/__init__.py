"""The event log beside the packs: sealed segments in the object store, from which the log can be made anew.

May import `catalog.log` and `storage`. A segment holds consecutive rows as they were recorded and the chain's heads
around them; what is loaded from segments has the same chain, byte for byte.
"""
