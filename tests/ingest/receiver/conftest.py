"""A repository with a door for agents, for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.agent_lab import AgentLab, Receiving


@pytest.fixture
def agents(tmp_path: Path) -> AgentLab:
    """A repository, certificates and tokens."""
    return AgentLab(tmp_path)


@pytest.fixture
def door(agents: AgentLab) -> Iterator[Receiving]:
    """Its receiver, over TLS."""
    with agents.receiving_here() as receiving:
        yield receiving
