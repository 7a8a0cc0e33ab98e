"""The receiving end of agents: an HTTP service of the writing side, `holdfast receive`.

Start with `PROTOCOL.md`, then `run.py`. Imports `ingest`, and of the API's pieces what is about HTTP only. See
`adr-0001-a-door-of-its-own.md` for why this is no part of `holdfast serve`.
"""
