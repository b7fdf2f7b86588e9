# imports.py - how fast mail is taken in, by processor time and by the clock,
# for the corpus and for a larger set made of it.
import os
import re
import shutil
import subprocess
import time

from common import (POST, Failed, Home, check_imported, drop_caches,
                    need)

TARGET = 60     # MB of mail for each second of one core
COPIES = 5      # of the corpus, in the larger set


def timed_import(home, source, mails, pinned):
    """Seconds by the clock, of processor time, MiB of memory at most."""
    command = [POST, "--home", home.home, "import", "--quiet", source]
    if pinned:
        command = ["taskset", "-c", "0"] + command
    begun = time.monotonic()
    p = subprocess.Popen(command, stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    said = p.stdout.read().decode(errors="replace")
    _, status, used = os.wait4(p.pid, 0)
    took = time.monotonic() - begun
    p.returncode = os.waitstatus_to_exitcode(status)
    if p.returncode:
        raise Failed("import: " + said[-400:])
    check_imported(said, mails)
    return took, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def changed_headers(maildir, where):
    """Each mail COPIES times, with another Message-ID, trace and subject, as
    one gets who is on many lists; the bodies are the same."""
    for sub in ("cur", "new", "tmp"):
        os.makedirs(os.path.join(where, sub))
    source = os.path.join(maildir, "cur")
    mid = re.compile(rb"^(message-id:[ \t]*<)", re.I | re.M)
    subject = re.compile(rb"^(subject:[ \t]*)", re.I | re.M)
    count = size = 0
    for name in sorted(os.listdir(source)):
        with open(os.path.join(source, name), "rb") as f:
            mail = f.read()
        blank = re.search(rb"\r?\n\r?\n", mail)
        cut = blank.start() if blank else 0
        head, body = mail[:cut], mail[cut:]
        end = b"\r\n" if blank and mail[cut:cut + 1] == b"\r" else b"\n"
        for k in range(COPIES):
            new = head
            if k and cut:
                new = mid.sub(rb"\g<1>%d.copy." % k, head, count=1)
                new = subject.sub(rb"\g<1>[list-%d] " % k, new, count=1)
                new = (b"Return-Path: <list-%d-bounces@lists.example>" % k
                       + end + b"Received: from mx%d.lists.example by "
                       b"mail.example with ESMTP id %08x" % (
                           k, count * 2654435761 % 2**32) + end + new)
            with open(os.path.join(where, "cur", f"{1700000000 + count}."
                                   f"{count}.copy:2,S"), "wb") as f:
                f.write(new + body)
            count += 1
            size += len(new) + len(body)
    return count, size


def run(bench):
    need("taskset")
    maildir, mails, size = bench.corpus_maildir()
    work = bench.place("import")
    sets = [("the corpus", maildir, mails, size)]
    if not bench.quick:
        many = os.path.join(work, "many")
        sets.append((f"the corpus {COPIES} times, headers changed", many,
                     *changed_headers(maildir, many)))
    bench.title("Import", "A Maildir, read from the kernel's cache; the home "
                "is new each time.  The target is for each second of one "
                "core, user and system together.")
    rows, figures = [], {}
    for what, source, n, length in sets:
        for name in os.listdir(os.path.join(source, "cur")):
            with open(os.path.join(source, "cur", name), "rb") as f:
                f.read()
        for pinned in (False, True):
            where = os.path.join(work, "home")
            home = Home(where).init()
            os.sync()
            clock, cpu, peak = timed_import(home, source, n, pinned)
            shutil.rmtree(where)
            rate = length / 1e6 / cpu
            name = what + (", on one core" if pinned else ", on all")
            rows.append((name, f"{n:,}", f"{length / 1e6:.0f}",
                         f"{length / 1e6 / clock:.1f}", f"{rate:.1f}",
                         f"{peak:.0f}", TARGET,
                         bench.judge(f"import, {name}, MB for each second of "
                                     "one core", rate, TARGET)))
            figures[name] = {"clock": length / 1e6 / clock, "core": rate}
    bench.table(("what", "mails", "MB", "MB/s by the clock",
                 "MB for each core second", "MiB of memory", "at least",
                 "verdict"), rows)
    bench.keep("import", figures)
    drop_caches()
