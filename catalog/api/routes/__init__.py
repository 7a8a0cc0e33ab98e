"""The operations, a router for each group of them. Imports its modules; `ROUTERS` are all there are."""

from __future__ import annotations

from fastapi import APIRouter

from catalog.api.routes import (
    blocks,
    chunks,
    coverage,
    events,
    ledger,
    machines,
    overview,
    points,
    sql,
    system,
    tasks,
    tokens,
)

ROUTERS: tuple[APIRouter, ...] = (
    overview.router,
    machines.router,
    coverage.router,
    points.router,
    blocks.router,
    chunks.router,
    events.router,
    ledger.router,
    sql.router,
    tasks.router,
    tokens.router,
    system.router,
)
