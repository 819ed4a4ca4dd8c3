"""Clients that put load on a contestant: closed loop (`wrk`), open loop, streams."""

from __future__ import annotations

from bench.load._model import Load, Tool
from bench.load._own import closed_loop, open_loop, streams
from bench.load._wrk import find_wrk, wrk

__all__ = ["Load", "Tool", "closed_loop", "find_wrk", "open_loop", "streams", "wrk"]
