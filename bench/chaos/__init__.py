"""Parts are killed at random under load and edits; afterwards everything must agree.

    python -m bench.chaos [--minutes 10] [--seed N]

Two sites on one etcd: `naru up` with its own control plane, two workers and an Envoy; and a second
control plane, with an Envoy that is connected to the first one and a worker that is connected to
the second, so that no move can be right at one replica alone. What must hold:

- no call is handled by a mixture of two revisions;
- no write that was acknowledged is lost, and none that was refused is there;
- in the end every node has what etcd has, at both replicas' word and by Envoy's own.
"""

from bench.chaos._run import Outcome, run

__all__ = ["Outcome", "run"]
