"""One checkpoint and one coverage proof as they were first written, and the key that signed them.

    python -m tests.support.golden_ledger

writes the files when there are none. They are never written again: readers must understand them for ever.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from catalog.ledger.note import SignerKey
from tests.support.ledger_home import LedgerHome
from tests.support.recorded import REPOSITORY

FOLDER = Path(__file__).resolve().parents[1] / "golden" / "ledger"
KEY = SignerKey(f"holdfast/{REPOSITORY}", bytes(range(32)))


def write() -> None:
    """Write the files."""
    FOLDER.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as folder:
        lab = LedgerHome(Path(folder))
        lab.home.ledger_key_file.write_text(KEY.secret_text() + "\n")
        lab.home.ledger_key_file.chmod(0o600)
        machine = lab.author.machine("db")
        lab.days(machine, 2)
        ledger = lab.add_place()
        ledger.publish()
        points = lab.days(machine, 3)
        lab.verify(machine, points[0])
        lab.delete(machine, points[1])
        lab.days(machine, 2)
        ledger.publish()
        (FOLDER / "key-1.txt").write_text(ledger.public_key() + "\n")
        (FOLDER / "checkpoint-1.note").write_text(ledger.latest().note)
        request = lab.request(machine, 1, 6, rpo_seconds=49 * 3600)
        (FOLDER / "coverage-1.proof").write_bytes(ledger.prove_coverage(request))
        lab.close()


if __name__ == "__main__":
    write()
