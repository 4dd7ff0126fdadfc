"""Checks the JSON object that `starling demo -o json` prints."""

import json
import sys

seen = json.load(sys.stdin)
expected = {
    "agents": lambda v: v == 3,
    "jobs_offered": lambda v: v > 100,
    "jobs_done": lambda v: v == seen["jobs_offered"],
    "jobs_lost": lambda v: v == 0,
    "replicas_max_seen": lambda v: 3 <= v <= 12,
    "replicas_min_seen": lambda v: v == 1,
    "decisions": lambda v: v > 3,
    "leader_kills": lambda v: v == 1,
    "failover_ms": lambda v: 0 < v < 10_000,
    "ledger_digests_equal": lambda v: v is True,
    "agent_rss_mib_max": lambda v: 0 < v < 200,
    "agent_cpu_percent_mean": lambda v: 0 < v < 50,
}
wrong = [
    f"{name} is {seen.get(name)!r}"
    for name, holds in expected.items()
    if name not in seen or not holds(seen[name])
]
if wrong:
    sys.exit("the demo's result is not as expected: " + "; ".join(wrong))
print("the demo's result is as expected")
