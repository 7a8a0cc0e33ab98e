"""Which options of `holdfast restore` go together. Pure; imports `storage.errors`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from storage.errors import Invalid


@dataclass(frozen=True, slots=True)
class Wish:
    """Each option, and whether it was given: where it goes, how files are written, how a source takes it."""

    where: Mapping[str, bool]
    files: Mapping[str, bool]
    source: Mapping[str, bool]

    def check(self) -> None:
        """Raise Invalid for options that contradict each other."""
        problem = next(self._problems(), None)
        if problem is not None:
            raise Invalid(f"that cannot be restored: {problem}", code="restore-options", hint="holdfast restore --help")

    def _problems(self) -> Iterator[str]:
        if self.where["--to"] == self.where["--to-source"]:
            yield "say where it goes, with either --to PATH or --to-source SOURCE"
        clash = self._beside_source() if self.where["--to-source"] else self._beside_files()
        yield from clash

    def _beside_source(self) -> Iterator[str]:
        in_place = self.source["--in-place"]
        for option in ("--format", "--force", "--salvage"):
            if self.files[option]:
                yield f"{option} is about files"
        if self.where["--configuration"]:
            yield "a source takes the configuration with the disks"
        if in_place != self.files["--disk"]:
            yield "--in-place and --disk D go together: one disk is overwritten, or all make a new machine"
        if in_place and self.source["--as"]:
            yield "the machine that is there has its name"

    def _beside_files(self) -> Iterator[str]:
        for option, given in self.source.items():
            if given:
                yield f"{option} is about a source"
        for option in ("--disk", "--format", "--salvage"):
            if self.where["--configuration"] and self.files[option]:
                yield f"{option} is about disks, --configuration about what is beside them"
