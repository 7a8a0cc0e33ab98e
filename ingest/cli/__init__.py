"""The working half of the command line; `main` is the console script of the product."""

from ingest.cli.main import main

__all__ = ["main"]
