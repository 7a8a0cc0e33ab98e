"""Our notes and proofs, checked by packages of the Go project that know nothing of us. Needs Go."""

from __future__ import annotations

import base64
import json
import subprocess
from typing import Any

from catalog.ledger.ledger import Ledger
from tests.support.go_tools import notecheck
from tests.support.ledger_home import LedgerHome
from tests.support.log_events import notes

SIZE = 600


def text(content: bytes) -> str:
    """Bytes as JSON has them in Go."""
    return base64.b64encode(content).decode()


def request(lab: LedgerHome, ledger: Ledger) -> dict[str, Any]:
    """A checkpoint, and proofs into it."""
    checkpoint = ledger.checkpoint()
    leaves = list(lab.log.evidence.leaves(0, SIZE))
    positions = [1, 2, 255, 256, 257, 511, 512, 599, 600]
    return {
        "Key": ledger.public_key(),
        "Note": checkpoint.note,
        "Size": checkpoint.size,
        "Root": text(checkpoint.root),
        "Inclusion": [
            {
                "Index": at - 1,
                "Leaf": text(leaves[at - 1]),
                "Path": [text(node) for node in ledger.inclusion(at, checkpoint.size)],
            }
            for at in positions
        ],
        "Consistency": [
            {
                "Size": at,
                "Root": text(ledger.checkpoint_at(at).root),
                "Path": [text(node) for node in ledger.consistency(at, checkpoint.size)],
            }
            for at in positions
        ],
    }


def verified(asked: dict[str, Any]) -> subprocess.CompletedProcess[bytes]:
    """What the Go program says."""
    return subprocess.run([notecheck()], input=json.dumps(asked).encode(), capture_output=True, check=False)


def test_go_verifies(lab: LedgerHome) -> None:
    """Go's `sumdb/note` opens our checkpoints and `sumdb/tlog` accepts our proofs; changed ones they refuse."""
    lab.log.save(*notes(SIZE))
    asked = request(lab, lab.ledger())
    done = verified(asked)
    assert done.returncode == 0, done.stderr
    wrong = {
        **asked,
        "Note": asked["Note"].replace("\n600\n", "\n601\n"),
    }
    assert b"invalid" in verified(wrong).stderr
    assert verified({**asked, "Size": SIZE - 1}).returncode == 1
    shifted = [{**one, "Index": one["Index"] ^ 1} for one in asked["Inclusion"][:1]]
    assert verified({**asked, "Inclusion": shifted}).returncode == 1
