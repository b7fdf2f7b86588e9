# profile_daemon.py - where the daemon's time goes in one phase of the
# workload.  perf looks from the line that ends what comes before until the
# line that begins the phase's figures, so that the filling is not counted
# where it is not asked for.  What the daemon still does in the background for
# the phases before is counted: it is part of the phase's time.
import os
import re
import signal
import subprocess
import time

from common import ADDRESS, Failed, Home, drop_caches, need

LINES = 30
# Phase: options of maildirbench that make it long and the rest short; after
# which line it begins ("" at once; None: the daemon starts anew for it), and
# its first figure.
SHORT = ["-l", "50", "-o", "50"]
MANY = ["-l", "10000", "-o", "10000"]
PHASES = {
    "fill": (MANY + ["-x", "none"], "", "fill_sync"),
    "deliver1": (SHORT + ["-n", "5000", "-x", "deliver1"],
                 "fill_daemon_cpu", "deliver1_rate"),
    "deliver4": (SHORT + ["-n", "8000", "-x", "deliverw"],
                 "fill_daemon_cpu", "deliver4_rate"),
    "multi": (SHORT + ["-m", "100", "-x", "multi"], "fill_daemon_cpu",
              "multi_rate"),
    "list_cold": (MANY + ["-x", "list"], None, "list_cold_time"),
    "headers_cold": (MANY + ["-x", "headers"], None, "headers_cold_rate"),
    "readall_cold": (MANY + ["-x", "readall"], None, "readall_cold_rate"),
    "randread_cold": (MANY + ["-x", "randread"], None, "randread_cold_rate"),
    # Headers before it, since warming up is no part of it.
    "flag": (MANY + ["-x", "headers,flag"], "headers_warm_daemon_cpu",
             "flag_rate"),
    "link": (MANY + ["-x", "copy"], "flag_daemon_cpu", "copy_link_rate"),
    "move": (MANY + ["-x", "move"], "flag_daemon_cpu", "move_rate"),
    "delete": (MANY + ["-x", "delete"], "move_daemon_cpu", "delete_rate"),
}


def workload(bench, home, options):
    return subprocess.Popen(
        [os.path.join(bench.maildirbench(), "maildirbench"), *options,
         "-c", bench.corpus(), home.mnt], stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def look(pid, data):
    return subprocess.Popen(
        ["perf", "record", "-q", "--call-graph", "dwarf,4096", "-F", "997",
         "-o", data, "-p", str(pid)], stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def stop_looking(p):
    if p.poll() is None:
        p.send_signal(signal.SIGINT)
        p.wait(60)


def report(bench, name, data, said, first):
    kept = os.path.join(os.path.dirname(data), name + ".txt")
    with open(kept, "w", encoding="utf-8") as f:
        subprocess.run(["perf", "report", "-i", data, "--stdio",
                        "--no-inline", "--no-children",
                        "-g", "caller,0.5,callee"],
                       stdout=f, stderr=subprocess.DEVNULL, check=False)
    flat = {}
    for how in ("--no-children", "--children"):
        flat[how] = subprocess.run(
            ["perf", "report", "-i", data, "--stdio", how, "-g", "none",
             "--no-inline", "--percent-limit", "0.7", "--sort", "dso,sym"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            check=False).stdout
    bench.say(f"### {name}\n")
    phase = first.rpartition("_")[0]
    bench.say("    " + "; ".join(
        line for line in said.splitlines()
        if re.match(rf"{phase}_(rate|time|daemon_cpu|throughput) ", line)))
    for how, text in flat.items():
        bench.say("\n    itself:" if how == "--no-children"
                  else "\n    with what it calls:")
        lines = [li for li in text.splitlines()
                 if li.strip() and not li.startswith("#")]
        for line in lines[:LINES]:
            bench.say("    " + line.rstrip())
    bench.say()


def remount_for(p, home, hook, pidfile):
    """The workload's hook waits while the daemon starts anew, and cold."""
    while not os.path.exists(hook + ".asked"):
        if p.poll() is not None:
            raise Failed("maildirbench: " + p.stdout.read()[-300:])
        time.sleep(0.02)
    home.umount()
    drop_caches()
    home.mount("-o", f"subtree={ADDRESS}")
    write_pid(home, pidfile)


def write_pid(home, pidfile):
    with open(pidfile, "w", encoding="ascii") as f:
        f.write(f"{home.pid()}\n")


def profile(bench, name):
    options, begins, ends = PHASES[name]
    work = bench.place("profile-" + name)
    home = Home(work).init()
    data, hook = os.path.join(work, "perf.data"), os.path.join(work, "hook")
    pidfile = os.path.join(work, "pid")
    home.mount("-o", f"subtree={ADDRESS}")
    write_pid(home, pidfile)
    cold = "none"
    if begins is None:
        cold = (f"touch {hook}.asked; while [ ! -e {hook}.done ]; "
                "do sleep 0.02; done")
    watcher = look(home.pid(), data) if begins == "" else None
    p = workload(bench, home, options + ["-p", pidfile, "-C", cold])
    bench.at_end(lambda: p.poll() is None and p.kill())
    if begins is None:
        remount_for(p, home, hook, pidfile)
        watcher = look(home.pid(), data)
        time.sleep(0.5)
        with open(hook + ".done", "x", encoding="ascii"):
            pass
    said = ""
    for line in p.stdout:
        said += line
        if watcher is None and begins and line.startswith(begins):
            watcher = look(home.pid(), data)
        elif watcher and line.startswith(ends + " "):
            stop_looking(watcher)
    if p.wait():
        raise Failed(f"{name}: maildirbench: {said[-300:]}")
    if watcher is None or ends + " " not in said:
        raise Failed(f"{name}: the workload never came to it")
    home.umount()
    report(bench, name, data, said, ends)


def run(bench):
    need("perf")
    bench.maildirbench()
    bench.corpus()
    bench.title("Profile", "The daemon alone, by functions; the call graphs "
                "are beside, with -o WORKDIR, in profile-PHASE/PHASE.txt.")
    for name in bench.options.phases:
        profile(bench, name)
        bench.clean_up_part()
