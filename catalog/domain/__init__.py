"""Events, identifiers and the small aggregates that decide; pure, no input or output."""
