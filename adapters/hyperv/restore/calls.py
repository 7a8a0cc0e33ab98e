"""What a host is asked while a machine is made: each call is one script. Imports this package's `asking` and `facts`.

An imported machine is planned: it is nowhere listed, uses nothing and can be changed freely, until it is realised.
"""

from __future__ import annotations

from adapters.hyperv.asking import Asked, start
from adapters.hyperv.facts import Started


class MakingCalls:
    """The calls to one host."""

    def __init__(self, host: Asked) -> None:
        self._host = host

    def import_definition(self, path: str) -> Started:
        """Start planning a machine by a .vmcx file, with an identifier of its own: `affected` at the end."""
        return start(self._host, "import-definition", "The machine's definition was not imported", path=path)

    def describe(self, machine_id: str, name: str, notes: str, folder: str | None) -> Started:
        """Start giving a machine a name and notes, and a planned one the folder of its files."""
        what = "The machine was not named"
        return start(self._host, "describe-machine", what, machine=machine_id, name=name, notes=notes, folder=folder)

    def set_disk_path(self, machine_id: str, place: str, path: str) -> Started:
        """Start putting another file in a disk's place. Raises SourceNotFound `disk-missing` for no such place."""
        what = "The disk was not attached"
        return start(self._host, "set-disk-path", what, machine=machine_id, place=place, path=path)

    def remove_disk(self, machine_id: str, place: str) -> Started:
        """Start taking a disk out of a planned machine."""
        what = "A disk was not taken out of the machine"
        return start(self._host, "remove-disk", what, machine=machine_id, place=place)

    def disconnect(self, machine_id: str) -> Started:
        """Start taking the network from all cards of a planned machine."""
        what = "The machine's networks were not disconnected"
        return start(self._host, "disconnect-networks", what, machine=machine_id)

    def validate(self, machine_id: str) -> Started:
        """Start checking whether the host can have a planned machine."""
        return start(self._host, "validate-machine", "The machine cannot be at this host", machine=machine_id)

    def realise(self, machine_id: str) -> Started:
        """Start making a planned machine a real one, switched off."""
        return start(self._host, "realise-machine", "The machine was not made", machine=machine_id)

    def destroy(self, machine_id: str) -> Started:
        """Start removing a machine's definition; its disks stay."""
        return start(self._host, "destroy-machine", "The machine was not removed", machine=machine_id)
