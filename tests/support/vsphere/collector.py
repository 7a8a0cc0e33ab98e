"""The PropertyCollector: reading properties in pages, and waiting for them to change.

A collector keeps what it has told under the versions it told it with, the last few of them: a client that lost an
answer asks with the version before, and is told again.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import groupby

from pyVmomi import vmodl

from tests.support.vsphere.managed import Call, Managed, World, prop, soap
from tests.support.vsphere.properties import Collector, content_of, selected
from tests.support.vsphere.sessions import Session
from tests.support.vsphere.updates import Difference, Told, after, differences

_KEPT_VERSIONS = 8


class PropertyFilter(Managed):
    """A filter of a collector."""

    kind = Collector.Filter

    def __init__(self, world: World, collector: PropertyCollector, shown: Collector.FilterSpec) -> None:
        super().__init__(world, f"session-filter-{world.number()}")
        self.collector = collector
        self.shown = shown

    def contents(self, session: Session) -> Sequence[Collector.ObjectContent]:
        """What it shows now; nothing once its objects are gone."""
        try:
            found = selected(self.world, self.shown, session)
        except vmodl.fault.ManagedObjectNotFound:
            return []
        return [content_of(entry, self.shown.propSet, session) for entry in found]

    @prop
    def spec(self) -> Collector.FilterSpec:
        return self.shown

    @soap("DestroyPropertyFilter")
    def destroy(self, call: Call) -> None:
        """Stop telling about it."""
        self.collector.filters.remove(self)
        self.world.remove(self)


class PropertyCollector(Managed):
    """One collector of one session."""

    kind = Collector

    def __init__(self, world: World, moid: str) -> None:
        super().__init__(world, moid)
        self.filters: list[PropertyFilter] = []
        self._told: dict[str, Told] = {}
        self._pages: dict[str, tuple[list[Collector.ObjectContent], int]] = {}
        self._cancelled = False

    @prop
    def filter(self) -> list[Collector.Filter]:
        return [entry.ref for entry in self.filters]

    @soap("RetrieveProperties")
    def retrieve(self, call: Call) -> list[Collector.ObjectContent]:
        """Read everything at once."""
        specs = call["specSet"]
        assert isinstance(specs, list)
        return [
            content_of(entry, spec.propSet, call.session)
            for spec in specs
            for entry in selected(self.world, spec, call.session)
        ]

    @soap("RetrievePropertiesEx")
    def retrieve_page(self, call: Call) -> Collector.RetrieveResult | None:
        """Read a first page; the token in the answer asks for more."""
        contents = self.retrieve(call)
        limit = getattr(call["options"], "maxObjects", None) or len(contents)
        return self._page(contents, limit) if contents else None

    @soap("ContinueRetrievePropertiesEx")
    def retrieve_more(self, call: Call) -> Collector.RetrieveResult:
        """Read the next page. Raises InvalidArgument for a token that is not in force."""
        try:
            return self._page(*self._pages.pop(str(call["token"])))
        except KeyError:
            message = "A specified parameter was not correct: token"
            raise vmodl.fault.InvalidArgument(invalidProperty="token", msg=message) from None

    @soap("CancelRetrievePropertiesEx")
    def cancel_retrieve(self, call: Call) -> None:
        """Forget the pages that were not read."""
        self._pages.pop(str(call["token"]), None)

    @soap("CreatePropertyCollector")
    def create_collector(self, call: Call) -> Collector:
        """Make another collector for the calling session."""
        return self._own(call, PropertyCollector(self.world, f"session-collector-{self.world.number()}")).ref

    @soap("DestroyPropertyCollector")
    def destroy(self, call: Call) -> None:
        """End the collector and its filters; who waits on it is told RequestCanceled."""
        for entry in self.filters:
            self.world.remove(entry)
        self._cancelled = True
        self.world.remove(self)

    @soap("CreateFilter")
    def create_filter(self, call: Call) -> Collector.Filter:
        """Add a filter, whose objects the next wait tells as new. Raises ManagedObjectNotFound, InvalidProperty."""
        made = PropertyFilter(self.world, self, call["spec"])
        selected(self.world, made.shown, call.session)
        self.filters.append(made)
        return self._own(call, made).ref

    @soap("WaitForUpdatesEx")
    def wait(self, call: Call) -> Collector.UpdateSet | None:
        """Wait for changes since a version; None when the time is up. The world goes on meanwhile."""
        version = str(call["version"] or "")
        if version and version not in self._told:
            raise vmodl.query.InvalidCollectorVersion(msg="The version is not one of this collector's")
        told = self._told.get(version, {})
        seconds = getattr(call["options"], "maxWaitSeconds", None)
        deadline = None if seconds is None else time.monotonic() + seconds
        self._cancelled = False
        while not (changes := self._changes(told, call.session)):
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return None
            self.world.wait_for_change(left)
            call.session.check()
            if self._cancelled:
                raise vmodl.fault.RequestCanceled(msg="The task was canceled by a user.")
        return self._tell(told, changes, getattr(call["options"], "maxObjectUpdates", None) or len(changes))

    @soap("WaitForUpdates")
    def wait_without_end(self, call: Call) -> Collector.UpdateSet | None:
        """Wait as older clients do."""
        return self.wait(call)

    @soap("CancelWaitForUpdates")
    def cancel(self, call: Call) -> None:
        """End a wait of this collector."""
        self._cancelled = True
        self.world.touch()

    def _own(self, call: Call, made: Managed) -> Managed:
        call.session.owned.append(made)
        self.world.add(made)
        return made

    def _page(self, contents: list[Collector.ObjectContent], count: int) -> Collector.RetrieveResult:
        token = str(self.world.number()) if len(contents) > count else None
        if token:
            self._pages[token] = contents[count:], count
        return Collector.RetrieveResult(objects=contents[:count], token=token)

    def _changes(self, told: Told, session: Session) -> list[Difference]:
        return [change for entry in self.filters for change in differences(entry.moid, entry.contents(session), told)]

    def _tell(self, told: Told, changes: list[Difference], limit: int) -> Collector.UpdateSet:
        """Tell at most `limit` changes; when there are more, the answer says that it is truncated."""
        version = str(self.world.number())
        self._told[version] = after(told, changes[:limit])
        for old in list(self._told)[:-_KEPT_VERSIONS]:
            del self._told[old]
        filters = [
            Collector.FilterUpdate(filter=Collector.Filter(moid), objectSet=[change.update for change in group])
            for moid, group in groupby(changes[:limit], key=lambda change: change.key[0])
        ]
        return Collector.UpdateSet(version=version, filterSet=filters, truncated=len(changes) > limit or None)
