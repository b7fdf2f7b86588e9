# memory.py - the most the daemon ever had in memory: one daemon through the
# whole workload, with 10,000 messages.
import os

from common import ADDRESS, Home, run as run_program

TARGET = 64     # MiB


def run(bench):
    tools = bench.maildirbench()
    entries = 2000 if bench.quick else 10000
    bench.title("Memory", f"One daemon through all of the workload, "
                f"{entries:,} messages: its peak resident memory.")
    rows = []
    for what, more in (("mails of the corpus", ["-c", bench.corpus()]),
                       ("made mails, up to 3 MB", [])):
        home = Home(bench.place("memory")).init()
        home.mount("-o", f"subtree={ADDRESS}")
        pid = home.pid()
        run_program(os.path.join(tools, "maildirbench"), "-l", str(entries),
                    "-p", str(pid), *more, home.mnt)
        m = home.memory()
        home.umount()
        rows.append((what, f"{m['VmHWM']:.1f}", f"{m['VmRSS']:.1f}",
                     f"{m['RssAnon']:.1f}", f"{m['RssFile']:.1f}", TARGET,
                     bench.judge(f"MiB of the daemon at its peak, {what}",
                                 m["VmHWM"], TARGET, at_most=True)))
    bench.table(("what", "MiB at the peak", "MiB after", "of that its own",
                 "of that mapped files", "at most", "verdict"), rows)
