"""VHDX and VHD files, read and written by their specifications, whoever keeps them. Shared by the adapters.

Imports `adapters.errors` and its own modules.
"""
