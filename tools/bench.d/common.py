# common.py - what the parts of tools/bench share: the work directory, homes
# and mounts that are always taken away again, targets and tables.
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
SHARED = (os.environ.get("POST_SHARED")
          or os.path.join(os.path.dirname(TOP), "shared"))
POST = os.environ.get("POST") or os.path.join(TOP, "build", "post")
ADDRESS = "alice@home.example"


class Missing(Exception):
    """Something that measuring needs is not here."""


class Failed(Exception):
    """Something that was measured went wrong."""


def need(*programs):
    for p in programs:
        if not shutil.which(p):
            raise Missing(f"'{p}' is not installed")


def run(*command, **more):
    """Run to the end; its output, or Failed with the end of it."""
    p = subprocess.run(command, stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                       text=True, errors="replace", **more)
    if p.returncode:
        raise Failed(f"{' '.join(command[:8])}: status {p.returncode}: "
                     f"{p.stdout.strip()[-600:]}")
    return p.stdout


def drop_caches():
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as f:
        f.write("3\n")


def mounts_below(path):
    """Mountpoints there, the newest first."""
    with open("/proc/self/mounts", encoding="utf-8") as f:
        where = [line.split()[1] for line in f]
    return [w for w in reversed(where) if w.startswith(path + "/")]


def on_disk(path):
    """Bytes allocated below a directory, itself included; bytes of content."""
    seen, blocks, length = set(), 0, 0
    for at, _, names in os.walk(path):
        for p in [at] + [os.path.join(at, n) for n in names]:
            st = os.lstat(p)
            if (st.st_dev, st.st_ino) in seen:
                continue
            seen.add((st.st_dev, st.st_ino))
            blocks += st.st_blocks * 512
            if p != at:
                length += st.st_size
    return blocks, length


def memory_of(pid):
    """MiB by the names of /proc/PID/status: VmRSS, VmHWM, RssAnon ..."""
    found = {}
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        for line in f:
            name, _, rest = line.partition(":")
            if name.startswith(("Vm", "Rss")):
                found[name] = int(rest.split()[0]) / 1024
    return found


def check_imported(said, mails):
    """An import that took in less than all would look fast and small."""
    found = re.search(r"^imported ([0-9,]+) messages", said, re.M)
    got = int(found.group(1).replace(",", "")) if found else 0
    if got != mails:
        raise Failed(f"{got:,} of {mails:,} mails were imported: "
                     f"{said.strip()[-300:]}")


class Home:
    """A home and where it is mounted, both in a directory of their own."""

    def __init__(self, where):
        self.home = os.path.join(where, "home")
        self.mnt = os.path.join(where, "mnt")
        os.makedirs(self.mnt)

    def post(self, verb, *arguments):
        return run(POST, "--home", self.home, verb, *arguments)

    def init(self, *addresses, owner=None):
        for a in addresses or [ADDRESS]:
            self.post("init", "--user", a,
                      *(["--owner", owner] if owner else []))
        return self

    def mount(self, *options):
        """Seconds until it was usable."""
        begun = time.monotonic()
        self.post("mount", *options, self.mnt)
        return time.monotonic() - begun

    def umount(self):
        self.post("umount", self.mnt)

    def pid(self):
        with open(os.path.join(self.home, "lock"), encoding="ascii") as f:
            return int(f.read().split()[0])

    def memory(self):
        return memory_of(self.pid())


class Bench:
    """One run of tools/bench."""

    def __init__(self, options):
        self.options = options
        self.quick = options.quick
        self.rounds = options.rounds
        self.verdicts = []      # of all parts: (what, text, met)
        self.work = None
        self.kept = bool(options.work)
        self.undo = []          # of the part that runs, newest last
        self.corpus_dir = self.maildir = None

    # ---- beginning and end

    def begin(self):
        if os.geteuid() != 0:
            raise Missing("mounting and dropping caches needs root")
        if not os.access(POST, os.X_OK):
            raise Missing(f"there is no program at {POST}: build it with "
                          "'cmake --preset release && cmake --build build'")
        if not os.path.exists("/dev/fuse"):
            raise Missing("this machine has no /dev/fuse")
        if self.kept:
            os.makedirs(self.options.work, exist_ok=True)
            self.work = os.path.realpath(self.options.work)
        else:
            self.work = tempfile.mkdtemp(prefix="post-bench.", dir="/var/tmp")
        os.chmod(self.work, 0o755)
        kind = run("stat", "-f", "-c", "%T", self.work).strip()
        self.say(f"{POST} ({run(POST, '--version').strip()}), "
                 f"{os.cpu_count()} processors, work on {kind}"
                 + ("" if kind.startswith("ext") else
                    ": figures named ext4 are of that file system"))

    def place(self, name):
        """An empty directory for a part."""
        path = os.path.join(self.work, name)
        self.umount_below(path)
        shutil.rmtree(path, ignore_errors=True)
        os.makedirs(path)
        return path

    def at_end(self, fn, *arguments):
        self.undo.append((fn, arguments))

    def umount_below(self, path):
        for where in mounts_below(path):
            for command in (["umount", where], ["umount", "-l", where]):
                if subprocess.run(command, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL,
                                  check=False).returncode == 0:
                    break

    def clean_up_part(self):
        while self.undo:
            fn, arguments = self.undo.pop()
            try:
                fn(*arguments)
            except (Failed, OSError, subprocess.SubprocessError) as e:
                self.say(f"cleaning up: {e}")
        self.umount_below(self.work)

    def end(self):
        """Daemons end by themselves when nothing is mounted any more."""
        if not self.work:
            return
        self.clean_up_part()
        if not self.kept and not mounts_below(self.work):
            shutil.rmtree(self.work, ignore_errors=True)

    # ---- what is measured with

    def shared(self, name):
        path = os.path.join(SHARED, name)
        if not os.path.exists(path):
            raise Missing(f"{path}: not there: have the shared folder "
                          "beside the checkout, or name it in POST_SHARED")
        return path

    def maildirbench(self):
        """The workload, compiled, and its driver beside it."""
        source = self.shared("maildirbench")
        where = os.path.join(self.work, "bin")
        need("gcc")
        if not os.path.exists(os.path.join(where, "maildirbench")):
            os.makedirs(where, exist_ok=True)
            run("gcc", "-O2", "-o", os.path.join(where, "maildirbench"),
                os.path.join(source, "maildirbench.c"), "-lm")
            shutil.copy(os.path.join(source, "drive.py"), where)
        return where

    def corpus(self):
        """The shared mails, unpacked: a directory of one file each."""
        archive = self.shared("corpora/mails.tar.zst")
        if not self.corpus_dir:
            need("tar", "zstd")
            where = self.place("corpus")
            run("tar", "--zstd", "-xf", archive, "-C", where)
            self.corpus_dir = where
        return self.corpus_dir

    def corpus_maildir(self):
        """They as a Maildir, every byte as it is; its path, mails, bytes.
        Made anew in each run: one that is cut off leaves it incomplete."""
        if not self.maildir:
            corpus = self.corpus()
            where = self.place("corpus-maildir")
            for sub in ("cur", "new", "tmp"):
                os.mkdir(os.path.join(where, sub))
            count = total = 0
            for at, folders, names in os.walk(corpus):
                folders.sort()
                for n in sorted(names):
                    size = os.path.getsize(os.path.join(at, n))
                    if not size:
                        continue
                    count += 1
                    total += size
                    shutil.copy(
                        os.path.join(at, n), os.path.join(
                            where, "cur",
                            f"{1700000000 + count}.{count}.bench:2,S"))
            if not count:
                raise Failed("the corpus has no mails")
            self.maildir = (where, count, total)
        return self.maildir

    # ---- what is said

    def say(self, text=""):
        print(text, flush=True)

    def title(self, name, about):
        self.say(f"\n## {name}\n\n{about}")
        self.say(f"(Others kept {os.getloadavg()[0]:.1f} of "
                 f"{os.cpu_count()} processors busy in the minute before.)\n")

    def table(self, head, rows):
        self.say("| " + " | ".join(head) + " |")
        self.say("|" + "---|" * len(head))
        for row in rows:
            self.say("| " + " | ".join(str(c) for c in row) + " |")
        self.say()

    def judge(self, what, value, target, at_most=False, rounds=()):
        """'met', or by how much not; kept for the summary.  Where some of the
        rounds say one thing and some the other, that is said too: on a busy
        machine the median alone is chance."""
        good = value <= target if at_most else value >= target
        if good:
            text = "met"
        elif at_most:
            text = f"missed by {100 * (value / target - 1):.0f} %"
        else:
            text = f"missed by {100 * (1 - value / target):.0f} %"
        if rounds and min(rounds) < target <= max(rounds):
            text += ", undecided"
        wanted = f"at {'most' if at_most else 'least'} {number(target)}"
        self.verdicts.append(
            (what, f"{median_range(rounds) if rounds else number(value)}, "
             f"target {wanted}: {text}", good, "undecided" in text))
        return text

    def keep(self, name, figures):
        """Figures for another program to read, if the work is kept."""
        if self.kept:
            with open(os.path.join(self.work, name + ".json"), "w",
                      encoding="utf-8") as f:
                json.dump(figures, f, indent=1)
                f.write("\n")

    def summary(self):
        if not self.verdicts:
            return
        missed = [v for v in self.verdicts if not v[2]]
        unsure = [v for v in self.verdicts if v[3]]
        self.say(f"\n## Targets: {len(self.verdicts) - len(missed)} met, "
                 f"{len(missed)} missed, of both {len(unsure)} undecided\n")
        for what, text, good, doubt in self.verdicts:
            if not good or doubt:
                self.say(f"- {what}: {text}")
        if unsure:
            self.say("\nUndecided: the rounds do not agree. Measure with more "
                     "of them (-r), or when the machine is quiet.")


def number(v):
    """Three figures, no exponents."""
    if v != 0 and abs(v) < 100:
        return f"{v:.3g}"
    return f"{v:,.0f}"


def median_range(values):
    m = statistics.median(values)
    if len(values) < 2:
        return number(m)
    return f"{number(m)} ({number(min(values))}..{number(max(values))})"


def progress(text):
    """A line that passes, on a terminal only."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
