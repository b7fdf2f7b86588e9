# speed.py - the Maildir workload on a plain directory, on the mount, on
# bindfs and on gocryptfs, in turn; medians of the ratios within a round.
import os
import shutil
import statistics
import subprocess
import sys

from common import ADDRESS, POST, Failed, median_range, need, number

# What, figure, must reach this ratio to, should reach this ratio to.
WARM = ({"bindfs": 1.5, "gocryptfs": 6.0}, {"ext4": 0.5})
COLD = ({"bindfs": 1.0, "gocryptfs": 1.0}, {"ext4": 1.0})
LIST = ({"bindfs": 1.0}, {"ext4": 1.0})
CHANGE = ({"bindfs": 1.0}, {})
ROWS = (
    ("deliver, 1 worker", "deliver1_rate", {"ext4": 1.0, "gocryptfs": 2.0},
     {}),
    ("deliver, 4 workers", "deliver4_rate", {"ext4": 0.8, "gocryptfs": 2.0},
     {}),
    ("fill without fsync", "fill_rate", {"gocryptfs": 1.0}, {"bindfs": 2.0}),
    ("list, warm", "list_warm_time", *LIST),
    ("list, cold", "list_cold_time", *LIST),
    ("headers, warm", "headers_warm_rate", *WARM),
    ("read all, warm", "readall_warm_throughput", *WARM),
    ("grep, warm", "grep_warm_throughput", *WARM),
    ("random reads, warm", "randread_warm_rate", *WARM),
    ("headers, cold", "headers_cold_rate", *COLD),
    ("read all, cold", "readall_cold_throughput", *COLD),
    ("grep, cold", "grep_cold_throughput", *COLD),
    ("random reads, cold", "randread_cold_rate", *COLD),
    ("flag", "flag_rate", *CHANGE),
    ("move", "move_rate", *CHANGE),
    ("delete", "delete_rate", *CHANGE),
    ("link", "copy_link_rate", *CHANGE),
)
OTHERS = ("ext4", "bindfs", "gocryptfs")
# Not the issue of any target, but what explains the others.
EXTRA = ("fill_daemon_cpu", "deliver1_p50", "deliver1_p99",
         "deliver1_daemon_cpu", "deliver4_daemon_cpu", "multi_copies_rate",
         "multi_alloc_per_byte", "fill_alloc_per_byte", "mount_time")


def load(results):
    """{(back end, figure): {round: (value, unit)}}"""
    found = {}
    for name in os.listdir(results):
        if not name.endswith(".txt"):
            continue
        back, turn, _ = name.rsplit(".", 2)
        with open(os.path.join(results, name), encoding="ascii") as f:
            for line in f:
                figure, value, unit = line.split()
                found.setdefault((back, figure), {})[int(turn)] = (
                    float(value), unit)
    return found


def ratios(found, figure, base):
    """Of the mount to another, over 1 is faster; one for each round."""
    ours, theirs = found.get(("post", figure)), found.get((base, figure))
    if not ours or not theirs:
        return []
    made = []
    for turn in sorted(ours.keys() & theirs.keys()):
        (a, unit), (b, _) = ours[turn], theirs[turn]
        if a and b:
            made.append(b / a if unit in ("ms", "us", "s") else a / b)
    return made


def absolute(found, back, figure):
    values = found.get((back, figure))
    if not values:
        return "-"
    return (number(statistics.median(v for v, _ in values.values())) + " "
            + next(iter(values.values()))[1])


def report(bench, found):
    rows = []
    for what, figure, must, should in ROWS:
        r = {b: ratios(found, figure, b) for b in OTHERS}
        for b in must:
            if not r[b]:
                raise Failed(f"no figure for {what} of {b} and the mount")
        wanted = ", ".join(f"{number(t)} {b}" for b, t in must.items())
        verdicts = [bench.judge(f"{what}, to {b}", statistics.median(r[b]), t,
                                rounds=r[b])
                    for b, t in must.items()]
        if all(v == "met" for v in verdicts):
            verdict = "met"
        else:
            verdict = "; ".join(f"{b} {v}" for b, v in zip(must, verdicts))
        aims = []
        for b, t in should.items():
            m = statistics.median(r[b]) if r[b] else 0
            aims.append(f"{number(t)} {b}: "
                        + ("reached" if m >= t else "not reached"))
        rows.append((what, absolute(found, "post", figure),
                     *(median_range(r[b]) if r[b] else "-" for b in OTHERS),
                     wanted, verdict, ", ".join(aims)))
    bench.table(("work", "POST", "to ext4", "to bindfs", "to gocryptfs",
                 "at least", "verdict", "aim"), rows)
    bench.table(("also",) + ("ext4", "post", "bindfs", "gocryptfs"), [
        (figure, *(absolute(found, b, figure)
                   for b in ("ext4", "post", "bindfs", "gocryptfs")))
        for figure in EXTRA])
    # Absent, nothing was compared with what was written.
    if ("post", "errors_verify") not in found:
        raise Failed("the mails read back were not verified")
    wrong = sum(v for (b, figure), turns in found.items()
                if b == "post" and figure.startswith("errors_")
                for v, _ in turns.values())
    if wrong:
        raise Failed(f"{wrong:.0f} mails came back wrong from the mount")


def run(bench):
    need("bindfs", "gocryptfs", "setsid")
    tools = bench.maildirbench()
    corpus = bench.corpus()
    size = (["-l", "2000", "-n", "300", "-o", "500", "-m", "5"]
            if bench.quick else ["-l", "10000"])
    bench.title("Speed", "Ratios over 1 are faster: medians of "
                f"{bench.rounds} rounds (least..most); "
                f"{'2,000' if bench.quick else '10,000'} mails of the corpus. "
                "Cold: unmounted, the kernel's caches dropped, mounted.")
    work = bench.place("speed")
    init = f"post={POST} init --home {{back}}/home --user {ADDRESS}"
    mount = (f"post={POST} mount -f --home {{back}}/home "
             f"-o subtree={ADDRESS} {{mnt}}")
    p = subprocess.Popen(
        [sys.executable, os.path.join(tools, "drive.py"), "run", work,
         "-r", str(bench.rounds), "-b", "ext4,post,bindfs,gocryptfs",
         "--custom-init", init, "--custom", mount, "--", *size,
         "-c", corpus], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, errors="replace",
        start_new_session=True)
    bench.at_end(stop, p)
    said = []
    for line in p.stdout:
        said.append(line.rstrip())
        if "FAILED" in line or ": not mounted" in line or "ended" in line:
            bench.say(said[-1])
    if p.wait() or not said:
        raise Failed("drive.py: " + "\n".join(said[-5:]))
    bench.say()
    results = os.path.join(work, "results")
    found = load(results)
    short = []
    for b in ("post",) + OTHERS:
        got = len(found.get((b, "fill_rate"), ()))
        if got != bench.rounds:
            short.append(b)
            bench.say(f"{b}: {got} of {bench.rounds} rounds; its log: "
                      + end_of(os.path.join(work, f"{b}.log")))
    report(bench, found)
    for name in os.listdir(work):
        if name.endswith(".back"):
            shutil.rmtree(os.path.join(work, name), ignore_errors=True)
    if short:
        raise Failed("rounds that did not end: " + ", ".join(short))


def stop(p):
    """The driver, and what it started in its session."""
    if p.poll() is None:
        os.killpg(p.pid, 15)
        p.wait()


def end_of(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as f:
            return " / ".join(f.read().strip().splitlines()[-3:]) or "empty"
    except OSError:
        return "none"
