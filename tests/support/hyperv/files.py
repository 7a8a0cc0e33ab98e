"""Files of the simulated hosts straight from their folder: what SMB gives, without the network."""

from __future__ import annotations

from adapters.errors import SourceUnavailable
from adapters.hyperv.smb.paths import SmbPath
from adapters.virtualdisk.file import LocalFile, RandomFile
from tests.support.hyperv.world import HypervWorld


class WorldFiles:
    r"""`\\hv1\C$\VMs\web.vhdx` of a world. Files were `opened` at these servers; those that are `gone` hang up."""

    def __init__(self, world: HypervWorld) -> None:
        self._world = world
        self.opened: list[str] = []
        self.gone: set[str] = set()

    def open(self, unc: str) -> RandomFile:
        """Open a file for reading."""
        server, path = self._split(unc)
        self.opened.append(server)
        return WorldFile(self, server, LocalFile(str(self._world.storage.local(path))))

    def read_bytes(self, unc: str) -> bytes:
        """The whole of a file."""
        file = self.open(unc)
        try:
            content = bytearray(file.size_bytes)
            file.pread_into(0, memoryview(content))
            return bytes(content)
        finally:
            file.close()

    def exists(self, unc: str) -> bool:
        """Whether there is a file."""
        return self._world.storage.local(self._split(unc)[1]).is_file()

    def close(self) -> None:
        """Nothing is open."""

    def require(self, server: str) -> None:
        """Raise SourceUnavailable when the server hung up."""
        if server in self.gone:
            raise SourceUnavailable(f"{server} hung up", code="smb-lost")

    def _split(self, unc: str) -> tuple[str, str]:
        path = SmbPath.parse(unc)
        server = self._world.node_of(path.server)
        self.require(server)
        return server, f"{path.share.removesuffix('$')}:\\{path.path}"


class WorldFile:
    """A file at a server that may hang up."""

    def __init__(self, files: WorldFiles, server: str, file: LocalFile) -> None:
        self.size_bytes = file.size_bytes
        self._files = files
        self._server = server
        self._file = file

    def pread_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from `offset`."""
        self._files.require(self._server)
        self._file.pread_into(offset, buffer)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
