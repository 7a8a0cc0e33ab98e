"""Who may ask what: callers, their roles and their scope; tokens and identity providers.

May import `catalog.domain`, `catalog.log` and `storage`. What is not granted is denied.
"""
