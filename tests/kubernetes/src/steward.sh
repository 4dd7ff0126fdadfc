# Holds the name of one run of the rig, and clears away all that bears it: before the run,
# and after the rig has closed this script's stdin, which its death does too.
# Only its logs stay, in LOGS, until the next run of that name ends.
# usage: sh steward.sh once|hold ID DIR LOGS
#   once  clear away what a dead run left, and end
#   hold  the same, then answer "held" and stay; "taken" where the run is alive
set -u
mode=$1 id=$2 dir=$3 logs=$4

exec 9>"$dir.lock"
flock -n 9 || {
    echo taken
    exit 0
}

trees() { ls -d /sys/fs/cgroup/*/"$id" /sys/fs/cgroup/*/"$id"-* 2>/dev/null; }

pids() {
    trees | while read -r tree; do
        find "$tree" -name cgroup.procs -exec cat {} + 2>/dev/null
    done | grep -vx 0 | sort -un
}

sweep() {
    tries=0
    while found=$(pids); [ -n "$found" ] && [ "$tries" -lt 100 ]; do
        # A frozen process would take the signal only when it thaws.
        for state in $(find /sys/fs/cgroup/freezer/"$id"* -name freezer.state 2>/dev/null); do
            echo THAWED >"$state"
        done
        kill -9 $found 2>/dev/null
        sleep 0.05
        tries=$((tries + 1))
    done
    for link in $(ls /sys/class/net | grep -E "^$id(n[0-9]+)?\$"); do
        ip link del "$link" 2>/dev/null
    done
    for space in $(ls /run/netns 2>/dev/null | grep "^$id-"); do
        ip netns del "$space"
    done
    for tree in $(trees); do
        find "$tree" -depth -type d -exec rmdir {} \; 2>/dev/null
    done
    if [ -e "$dir/log" ]; then
        rm -rf "$logs"
        mv "$dir/log" "$logs"
    fi
    rm -rf --one-file-system "$dir"
}

sweep
[ "$mode" = hold ] || exit 0
mkdir -p "$dir"
echo held
# The answers above may have nobody left to read them; what follows doesn't depend on it.
exec >/dev/null 2>&1
cat >/dev/null
sweep
