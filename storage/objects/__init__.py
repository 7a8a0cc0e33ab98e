"""Object stores behind one port; every backend passes the same conformance suite."""
