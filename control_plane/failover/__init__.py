"""What an Envoy starts from while every control plane is away: its own last known good, sealed.

A small process beside each Envoy. It follows the control plane as an observer, keeps what it got,
and serves it to the Envoy that asks on a Unix socket. Envoy asks there only if no control plane has
ever answered it since it was started, and is sent back as soon as one is there.

Deliberately not here: a control plane. Nothing is compiled, and nothing is decided.
Envoy's side: `source/extensions/config_subscription/grpc/grpc_mux_failover.h` in its repository.
"""

from control_plane.failover._process import FailoverSettings, run

__all__ = ["FailoverSettings", "run"]
