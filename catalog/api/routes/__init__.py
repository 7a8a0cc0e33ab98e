"""The operations, a router for each group of them. Imports its modules; `ROUTERS` are all there are."""

from __future__ import annotations

from fastapi import APIRouter

from catalog.api.routes import blocks, chunks, coverage, events, machines, overview, points, sql, system, tokens

ROUTERS: tuple[APIRouter, ...] = (
    overview.router,
    machines.router,
    coverage.router,
    points.router,
    blocks.router,
    chunks.router,
    events.router,
    sql.router,
    tokens.router,
    system.router,
)
