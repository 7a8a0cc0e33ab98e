"""The operations, a router for each group of them. Imports its modules; `ROUTERS` are all there are."""

from __future__ import annotations

from fastapi import APIRouter

from catalog.api.routes import chunks, coverage, events, machines, overview, points, system, tokens

ROUTERS: tuple[APIRouter, ...] = (
    overview.router,
    machines.router,
    coverage.router,
    points.router,
    chunks.router,
    events.router,
    tokens.router,
    system.router,
)
