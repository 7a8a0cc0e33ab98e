"""Bytes and tables: object stores, packs, chunks and the lake's tables.

Knows no business words and imports none of our other packages. What it acknowledges is durable;
what it returns was verified on the way out.
"""
