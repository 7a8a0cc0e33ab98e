"""Packs: many chunks in one immutable object, sealed by a key of its own. The format is in FORMAT.md."""
