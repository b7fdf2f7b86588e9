# million.py - a home with a million small mails in folders of 10,000, beside
# one with a single such folder: how soon it is usable, what it takes of
# memory, and whether its folders are as fast.
import os
import random
import statistics
import subprocess
import time

from common import (ADDRESS, Failed, Home, check_imported, drop_caches,
                    median_range, number, on_disk, progress)
from size import parts_of

FOLDER = 10000          # mails in each
FOLDERS = 100
BATCH = 10              # folders taken in at once
FILL_S = 600            # no further batch is begun after that
USABLE_S = 2.0
MEMORY_MB = 1024
AS_FAST = 0.9           # of the small home; less is not noise
WORDS = ("the of and to in is that for it with as was on be by this are or "
         "from at not have but they you all can we an had there their been "
         "which one would what were when more some into its time only new "
         "patch driver board meeting report update release version review "
         "thanks regards server mail folder index kernel module please").split()


class Mails:
    """Small mails, no two the same, as an mbox file."""

    def __init__(self):
        rng = random.Random(1)
        self.lines = [" ".join(rng.choices(WORDS, k=11)).encode()
                      for _ in range(20000)]
        self.rng = rng
        self.count = 0

    def one(self):
        self.count += 1
        n, rng, lines = self.count, self.rng, self.lines
        who = n * 7919 % 997
        body = b"\n".join(lines[rng.randrange(20000)]
                          for _ in range(2 + n % 9))
        return (b"From sender%d@lists.example Mon Jan  6 00:00:00 2025\n"
                b"Return-Path: <sender%d@lists.example>\n"
                b"Date: Mon, 06 Jan 2025 %02d:%02d:%02d +0000\n"
                b"From: Sender %d <sender%d@lists.example>\n"
                b"To: alice@home.example\nSubject: %s\n"
                b"Message-ID: <%016x.%d@lists.example>\nStatus: RO\n\n"
                b"%s\n\n" % (who, who, n // 3600 % 24, n // 60 % 60, n % 60,
                             who, who, lines[rng.randrange(20000)][:50],
                             rng.getrandbits(64), n, body))

    def mbox(self, path, many):
        with open(path, "wb") as f:
            for _ in range(many):
                f.write(self.one())
            return f.tell()


def fill(bench, home, folders, mails, what):
    """Import that many folders; (folders, bytes, rates of the batches)."""
    done = size = 0
    rates = []
    began = time.monotonic()
    work = os.path.dirname(home.home)
    while done < folders and time.monotonic() - began < FILL_S:
        batch = os.path.join(work, "batch")
        os.mkdir(batch)
        many = min(BATCH, folders - done)
        for i in range(many):
            size += mails.mbox(os.path.join(batch, f"f{done + i:03d}"),
                               FOLDER)
        progress(f"{what}: {done * FOLDER:,} mails")
        t = time.monotonic()
        said = home.post("import", "--quiet", batch)
        rates.append(many * FOLDER / (time.monotonic() - t))
        check_imported(said, many * FOLDER)
        for name in os.listdir(batch):
            os.unlink(os.path.join(batch, name))
        os.rmdir(batch)
        done += many
    progress("")
    if done < folders:
        bench.say(f"{what}: stopped after {FILL_S} s of filling with "
                  f"{done * FOLDER:,} mails of {folders * FOLDER:,}\n")
    return done, size, rates


def folder_path(home, number_):
    """Where the mails of a folder are."""
    return os.path.join(home.mnt, "Maildir", f".f{number_:03d}", "cur")


def list_folder(path):
    """Names; seconds for readdir and stat of all."""
    t = time.monotonic()
    with os.scandir(path) as entries:
        names = [e.name for e in entries]
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    for n in names:
        os.stat(n, dir_fd=fd)
    os.close(fd)
    return names, time.monotonic() - t


def rate(work, times):
    t = time.monotonic()
    for i in times:
        work(i)
    return len(times) / (time.monotonic() - t)


def start(home):
    """Unmounted and cold, to a folder listed and a mail read: seconds of
    mounting, ls, reading."""
    drop_caches()
    mounted = home.mount("-o", f"subtree={ADDRESS}")
    t = time.monotonic()
    names = subprocess.run(["ls", "-U", folder_path(home, 0)], check=True,
                           stdout=subprocess.PIPE).stdout.split()
    listed = time.monotonic() - t
    t = time.monotonic()
    with open(os.path.join(folder_path(home, 0).encode(), names[0]),
              "rb") as f:
        whole = f.read()
    if len(names) != FOLDER or b"\nMessage-ID: <" not in whole:
        raise Failed(f"{len(names)} entries in a folder of {FOLDER}")
    return mounted, listed, time.monotonic() - t


def work_on(home, folder, turn, ops):
    """Rates of one folder, cold list first."""
    path = folder_path(home, folder)
    figures = {}
    names, t = list_folder(path)
    if len(names) < FOLDER:
        raise Failed(f"{len(names)} entries in a folder of {FOLDER}")
    figures["list, first"] = len(names) / t
    figures["list, again"] = len(names) / statistics.median(
        list_folder(path)[1] for _ in range(3))
    random.Random(turn).shuffle(names)

    def headers(name):
        fd = os.open(os.path.join(path, name), os.O_RDONLY)
        os.pread(fd, 4096, 0)
        os.close(fd)

    def flag(name):
        base, _, flags = name.rpartition(":2,")
        new = base + ":2," + ("F" + flags if "F" not in flags
                              else flags.replace("F", ""))
        os.rename(os.path.join(path, name), os.path.join(path, new))

    def deliver(i):
        name = f"18000{turn:05d}.{i}.bench"
        there = os.path.join(os.path.dirname(path), "tmp", name)
        fd = os.open(there, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.write(fd, b"Subject: one more %d %d\n\nbody\n" % (turn, i))
        os.fsync(fd)
        os.close(fd)
        os.rename(there, os.path.join(os.path.dirname(path), "new", name))

    figures["headers, cold"] = rate(headers, names[:ops])
    figures["flag"] = rate(flag, names[:ops])
    figures["deliver"] = rate(deliver, range(ops // 5))
    return figures


def compare(bench, homes, folders):
    """Rounds over both homes, in turn; {figure: [ratio]}, {figure: rates}."""
    made, rates = {}, {"small": {}, "big": {}}
    for turn in range(bench.rounds):
        got = {}
        # The other way round each time: what comes second may be busier.
        for name in list(homes)[::1 if turn % 2 == 0 else -1]:
            home = homes[name]
            start(home)
            # Not the folder that start() has listed, if there is another.
            folder = (folders * 2 // 3 + turn) % folders
            if name == "small":
                folder = 1
            got[name] = work_on(home, folder, turn, 2000)
            home.umount()
        for figure, value in got["big"].items():
            made.setdefault(figure, []).append(value / got["small"][figure])
            for name in got:
                rates[name].setdefault(figure, []).append(got[name][figure])
    return made, rates


def memory_rows(bench, home, folders):
    rows = []

    def row(when):
        m = home.memory()
        rows.append((when, f"{m['VmRSS']:.0f}", f"{m['RssAnon']:.0f}",
                     f"{m['RssFile']:.0f}", f"{m['VmHWM']:.0f}"))
        return m["VmHWM"]

    start(home)
    row("started, one folder listed, a mail read")
    for i in range(folders):
        list_folder(folder_path(home, i))
    row("every folder listed, every mail looked at (stat)")
    for i in range(0, folders, max(1, folders // 10)):
        path = folder_path(home, i)
        for n in os.listdir(path)[:1000]:
            with open(os.path.join(path, n), "rb") as f:
                f.read()
    peak = row("10,000 mails of ten folders read")
    home.umount()
    bench.table(("memory of the daemon, MiB", "resident", "its own",
                 "mapped files", "peak"), rows)
    bench.say(f"At most {MEMORY_MB} MiB: " + bench.judge(
        "MiB of the daemon, a million messages", peak, MEMORY_MB,
        at_most=True) + "\n")


def run(bench):
    folders = 5 if bench.quick else FOLDERS
    work = bench.place("million")
    homes = {}
    mails = Mails()
    bench.title("A million messages", f"{folders * FOLDER:,} mails of about "
                "700 bytes in folders of 10,000, beside a home with two "
                "folders; cold: the kernel's caches dropped, then mounted.")
    for name, many in (("small", 2), ("big", folders)):
        os.makedirs(os.path.join(work, name))
        homes[name] = Home(os.path.join(work, name)).init()
        done, size, rates = fill(bench, homes[name], many, mails, name)
        if name == "big":
            folders = done
            blocks, _ = on_disk(homes[name].home)
            bench.say(f"Filled: {done * FOLDER:,} mails, {size / 1e6:.0f} MB, "
                      f"{size / done / FOLDER:.0f} bytes each; "
                      f"{number(rates[0])} mails/s in the first batch, "
                      f"{number(rates[-1])} in the last; {blocks / 1e6:.0f} "
                      f"MB on disk, {blocks / done / FOLDER:.0f} bytes a "
                      f"mail (MB: {parts_of(homes[name].home)}).\n")
    starts = []
    for _ in range(bench.rounds):
        starts.append(start(homes["big"]))
        homes["big"].umount()
    whole = statistics.median(sum(s) for s in starts)
    bench.table(("from a cold start, seconds", "median (least..most)"), [
        ("post mount", median_range([s[0] for s in starts])),
        ("ls of a folder of 10,000", median_range([s[1] for s in starts])),
        ("a mail read", median_range([s[2] for s in starts])),
        ("together", median_range([sum(s) for s in starts]))])
    bench.say(f"Usable within {USABLE_S:.0f} s: " + bench.judge(
        "seconds until a million messages are usable", whole, USABLE_S,
        at_most=True, rounds=[sum(s) for s in starts]) + "\n")
    memory_rows(bench, homes["big"], folders)
    made, rates = compare(bench, homes, folders)
    bench.table(("a folder of 10,000", "small home, /s", "big home, /s",
                 "ratio", "at least", "verdict"), [
        (figure, number(statistics.median(rates["small"][figure])),
         number(statistics.median(rates["big"][figure])), median_range(r),
         AS_FAST, bench.judge(f"a folder of a big home, {figure}, to that "
                              "of a small one", statistics.median(r),
                              AS_FAST, rounds=r))
        for figure, r in made.items()])
