"""The driver that an array's settings name. Imports `adapters.errors` and this package only."""

from __future__ import annotations

import ssl

from adapters.errors import SourceInvalid
from adapters.vmware.transport.array.ontap import OntapArray, OntapPlace
from adapters.vmware.transport.array.port import ArrayDriver
from adapters.vmware.transport.array.reflink import ReflinkArray
from adapters.vmware.transport.array.rest import RestServer
from adapters.vmware.transport.array.settings import ArraySettings, OntapSettings


def build_array(settings: ArraySettings) -> ArrayDriver:
    """Build the driver; nothing is asked of the array yet. Raises SourceInvalid for a CA file that is none."""
    told = settings.driver
    if isinstance(told, OntapSettings):
        server = RestServer(told.host, told.port, told.user, told.password, _trust(told))
        return OntapArray(server, OntapPlace(told.svm, told.igroup, told.portal, told.initiator))
    return ReflinkArray(told.root)


def _trust(told: OntapSettings) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=told.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise SourceInvalid(
            f"{told.ca_file} holds no certificates", code="array-settings", why=error.strerror or type(error).__name__
        ) from None
