"""Puts a kept result where readers see it: the plot under docs/, the table into README.

README holds two lines, `<!-- bench:gateway -->` and `<!-- /bench:gateway -->`; what is between them
is replaced.

    python -m bench.publish bench/results/gateway-DATE.json
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from bench import plot, report

ROOT: Final = Path(__file__).resolve().parent.parent
PLOT: Final = Path("docs/gateway-bench.svg")
OPEN: Final = "<!-- bench:gateway -->"
CLOSE: Final = "<!-- /bench:gateway -->"
_HEADS: Final = "| | req/s | p50 ms | p99 ms | CPU µs per request: Envoy + server | MB |"


def main() -> int:
    (path,) = map(Path, sys.argv[1:])
    result = json.loads(path.read_text())
    (ROOT / PLOT).write_text(plot.bars(result))
    readme = ROOT / "README.md"
    text = readme.read_text()
    if OPEN not in text or CLOSE not in text:
        print(f"{PLOT} is written. README has no {OPEN} … {CLOSE}; the table for it:\n")
        print(table(result, path))
        return 1
    readme.write_text(replaced(text, table(result, path)))
    return 0


def replaced(text: str, table: str) -> str:
    """`text` with this between the two lines."""
    before, _, rest = text.partition(OPEN)
    after = rest.partition(CLOSE)[2]
    return f"{before}{OPEN}\n{table}\n{CLOSE}{after}"


def table(result: Mapping[str, Any], path: Path) -> str:
    """The plot, a row for each contestant, and where the rest is."""
    rows = [_row(name, each) for name, each in result["contestants"].items()]
    kept = f"bench/results/{path.name}"
    return "\n".join(
        [
            f"![CPU per request and requests per second of each contestant]({PLOT})",
            "",
            _HEADS,
            "|---|---:|---:|---:|---:|---:|",
            *rows,
            "",
            f"Medians of {result['rounds']} rounds, {result['connections']} connections, a chat "
            f"body of 1 KB; {result['machine']}, load and provider included. Spread and every "
            f"contestant's configuration: [`{kept}`]({kept}).",
        ]
    )


def _row(name: str, each: Mapping[str, Any]) -> str:
    parts = [f"{micros:,.0f}" for micros in map(each["cpu_us"].get, report.CARRIERS) if micros]
    cells = [
        name,
        f"{each['rps']:,.0f}",
        f"{each['p50_ms']:.1f}",
        f"{each['p99_ms']:.1f}",
        " + ".join(parts),
        f"{each['rss_mb']:,.0f}",
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
