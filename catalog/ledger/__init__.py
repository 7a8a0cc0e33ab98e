"""The ledger: a Merkle tree over the log, signed checkpoints, where they are kept, and proofs. See FORMAT.md."""
