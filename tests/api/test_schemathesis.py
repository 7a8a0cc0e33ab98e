"""Every operation of the document, asked in every way that Schemathesis can think of, of a real server.

Alone, and in sequences that follow the document's links from answer to answer.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from catalog.access.caller import Role
from catalog.api.app import bare_app
from catalog.api.links import LINKS
from catalog.home import Home
from tests.support.api_examples import SETTINGS
from tests.support.api_home import ApiHome, clock, counted_bytes, counted_ids
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
# A cursor or a position can be well-formed and still not be one of ours.
EXCLUDED: list[Any] = [positive_data_acceptance]
SETTLED = settings(deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
HARD_TO_GUESS = {"cursor", "as_of", "min_position", "name"}
"""Left out of sequences: those would end there."""
LINKED = LINKS.keys() | {target for links in LINKS.values() for target in links}
linked = schemathesis.openapi.from_dict(DOCUMENT).include(operation_id=sorted(LINKED))
linked.config.generation.update(modes=[schemathesis.GenerationMode.POSITIVE])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ApiServer, str]]:
    """The server and the token of an admin."""
    with served(ApiHome.made(tmp_path_factory.mktemp("api")).home) as running:
        yield running, admin_of(running)


@pytest.mark.slow
@schema.parametrize()
@settings(SETTLED, max_examples=5, phases=[Phase.explicit, Phase.generate])
def test_no_answer_breaks_the_document(case: schemathesis.Case[Any], server: tuple[ApiServer, str]) -> None:
    """No request, right or wrong, gets a 5xx, an undocumented status, or a body that is not as documented."""
    case.call_and_validate(**_call(server), excluded_checks=EXCLUDED)


@pytest.mark.slow
def test_no_sequence_of_answers_breaks_the_document(tmp_path: Path) -> None:
    """Whatever the links of an answer lead to is answered as documented, and much of it with success.

    Each sequence has a server of its own that always does the same, so that a failing one can be made shorter.
    """
    made = ApiHome.made(tmp_path / "made").home.root
    reached: set[str] = set()

    class Machine(linked.as_state_machine()):  # type: ignore[misc]  # made at run time
        def setup(self) -> None:
            self.open = ExitStack()
            home = shutil.copytree(made, self.open.enter_context(TemporaryDirectory(dir=tmp_path)), dirs_exist_ok=True)
            parts = {"clock": clock, "random": counted_bytes("api"), "new_id": counted_ids()}
            running = self.open.enter_context(served(Home(Path(home)), SETTINGS, with_door=False, **parts))
            self.server = running, admin_of(running)

        def teardown(self) -> None:
            self.open.close()

        def before_call(self, case: schemathesis.Case[Any]) -> None:
            for name in HARD_TO_GUESS & set(case.query or ()):
                del case.query[name]

        def get_call_kwargs(self, case: schemathesis.Case[Any]) -> dict[str, Any]:
            return _call(self.server)

        def validate_response(self, response: Any, case: schemathesis.Case[Any], **_: Any) -> None:
            if response.status_code < 300:
                reached.add(case.operation.definition.raw["operationId"])
            case.validate_response(response, excluded_checks=EXCLUDED)

    Machine.run(settings=settings(SETTLED, max_examples=25, stateful_step_count=8, phases=[Phase.generate]))
    targets = {target for links in LINKS.values() for target in links}
    assert len(reached & targets) > len(targets) // 2, targets - reached


def admin_of(running: ApiServer) -> str:
    """The secret of an admin."""
    return running.services.tokens.create("admin", Role.ADMIN, None, None, "test")[1]


def _call(server: tuple[ApiServer, str]) -> dict[str, Any]:
    running, secret = server
    return {"base_url": running.url, "headers": {"Authorization": f"Bearer {secret}"}, "timeout": 30}
