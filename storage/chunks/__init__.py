"""Chunks: identity, index, and the pipelines that write and read them."""
