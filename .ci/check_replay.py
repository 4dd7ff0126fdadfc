"""Checks what the replay of made-up loads prints with --json: objective has to
stay clearly better than an HPA. The bounds leave room for other draws."""

import json
import sys

against = {
    row["baseline"]: row
    for row in json.load(sys.stdin)["against"]
    if row["policy"] == "objective"
}
seen = against["HPA-70"]
print(json.dumps(seen))
wrong = [
    why
    for why, holds in {
        "replica-hours above 0.95 of HPA's": seen["replica_hours_ratio"] <= 0.95,
        "more than half of HPA's violation minutes": seen["violation_minutes"] * 2
        <= seen["baseline_violation_minutes"],
        "fewer than seven of ten loads dominated": seen["dominated"] * 10
        >= seen["traces"] * 7,
        "more than twice HPA's changes of size": seen["changes_ratio"] <= 2,
    }.items()
    if not holds
]
if wrong:
    sys.exit("objective has become worse: " + "; ".join(wrong))
print("objective is as good as expected")
