"""The agent: runs inside a machine and sends what it reads there to a receiver, for what hypervisors cannot snapshot.

Imports `adapters`, `storage` and the progress of `ingest`; nothing of `catalog` but the command line's output. It has
no path to a repository: all it knows of one is what the receiver answers.
"""
