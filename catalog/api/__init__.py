"""The HTTP API: questions to the catalog, requests for work, proofs. `app.create_app` makes it from its services.

Imports `catalog` and `storage`; nothing imports it but the command line. It has no path to a hypervisor.
"""
