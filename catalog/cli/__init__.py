"""The command line: this half asks, the other half (`ingest.cli`) works.

Standard output is data, standard error is talk. May import `catalog` and `storage` only.
"""
