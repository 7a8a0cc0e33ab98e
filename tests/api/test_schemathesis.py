"""Every operation of the document, asked in every way that Schemathesis can think of, of a real server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from catalog.access.caller import Role
from catalog.api.app import bare_app
from tests.support.api_home import ApiHome
from tests.support.api_server import ApiServer, served

ENDLESS = ["stream_events", "stream_task"]
DOCUMENT = bare_app().state.document
schema = schemathesis.openapi.from_dict(DOCUMENT).exclude(operation_id=ENDLESS)
schema.config.checks.negative_data_rejection.expected_statuses = [
    "400",
    "401",
    "403",
    "404",
    "405",
    "406",
    "414",
    "422",
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ApiServer, str]]:
    """The server and the token of an admin."""
    with served(ApiHome.made(tmp_path_factory.mktemp("api")).home) as running:
        _, secret = running.services.tokens.create("admin", Role.ADMIN, None, None, "test")
        yield running, secret


@pytest.mark.slow
@schema.parametrize()
@settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_no_answer_breaks_the_document(case: schemathesis.Case, server: tuple[ApiServer, str]) -> None:
    """No request, right or wrong, gets a 5xx, an undocumented status, or a body that is not as documented."""
    running, secret = server
    case.call_and_validate(
        base_url=running.url,
        headers={"Authorization": f"Bearer {secret}"},
        timeout=30,
        # A cursor or a position can be well-formed and still not be one of ours.
        excluded_checks=[positive_data_acceptance],
    )
