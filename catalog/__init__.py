"""The truth and its questions: events, their projections, and every way to ask them.

May import `storage`; never `ingest`, `adapters` or a hypervisor's library, so a process that only
answers questions has no path to hypervisors or to their credentials.
"""
