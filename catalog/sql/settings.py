"""DuckDB's settings for statements of others, sealed or not. Imports nothing."""

from __future__ import annotations

SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "temp_directory": "",
    "max_temp_directory_size": "0B",
    "allow_persistent_secrets": False,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "allow_community_extensions": False,
    "python_enable_replacements": False,
    "max_expression_depth": 250,
}
"""Given when connecting; several can't be set later."""

FENCE = "SET enable_external_access = false"
"""No file but those in allowed_paths; can't be undone."""

LOCK = "SET lock_configuration = true"
