"""Work on request: who may ask for what, and what became of it. Imports `catalog` and `storage.errors`."""

from catalog.tasks.book import TaskBook
from catalog.tasks.directory import ListedTask, TaskDirectory, TaskPage

__all__ = ["ListedTask", "TaskBook", "TaskDirectory", "TaskPage"]
