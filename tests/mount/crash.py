# crash.py run MAILDIR LOG SEED - deliver, flag and delete until the mount dies,
# noting in LOG (outside of it) what is about to be done and what was
# acknowledged.
# crash.py verify MAILDIR LOG... - everything acknowledged must be as it was
# left; what was under way when it died may be done or not, but not half.
#
# Lines of LOG: "put NAME HASH" before a delivery, "has NAME" when its rename
# has returned; "mv NAME" and "moved NAME" around setting its flag; "rm NAME"
# and "gone NAME" around removing it.
import hashlib
import os
import random
import sys

from check import check, done
from deliver import deliver, unique

FLAGGED = ":2,S"


def run(maildir, log_path, seed):
    chance = random.Random(seed)
    log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    mine = {}       # name -> flagged

    def note(*words):
        os.write(log, (" ".join(words) + "\n").encode())

    try:
        while True:
            dice = chance.random()
            if dice < 0.7 or not mine:
                name = unique()
                size = int(chance.paretovariate(0.8) * 400) % 120000
                data = (b"Subject: crash %d\n\n" % seed +
                        chance.randbytes(size // 2) + b"text\n" *
                        (size // 10))
                note("put", name, hashlib.sha256(data).hexdigest())
                deliver(maildir, data, name)
                note("has", name)
                mine[name] = False
                continue
            name = chance.choice(sorted(mine))
            at = (f"{maildir}/cur/{name}{FLAGGED}" if mine[name]
                  else f"{maildir}/new/{name}")
            if dice < 0.9:
                if not mine[name]:
                    note("mv", name)
                    os.rename(at, f"{maildir}/cur/{name}{FLAGGED}")
                    note("moved", name)
                    mine[name] = True
            else:
                note("rm", name)
                os.unlink(at)
                note("gone", name)
                del mine[name]
    except OSError as e:
        # ENOTCONN, ECONNABORTED, EIO: how a dying daemon looks from here.
        note("end", str(e.errno))


def states(log_path):
    """name -> (hash, set of the places where it may be)."""
    out = {}
    with open(log_path) as f:
        text = f.read()
    for line in text.splitlines():
        word, name, *rest = line.split(" ")
        if word == "put":
            out[name] = (rest[0], {None, "new"})
        elif word == "end":
            continue
        else:
            digest, may = out[name]
            out[name] = (digest, {
                "has": {"new"}, "mv": {"new", "cur"}, "moved": {"cur"},
                "rm": may | {None}, "gone": {None}}[word])
    return out


def verify(maildir, logs):
    where = {}
    for sub in ("new", "cur"):
        for entry in os.listdir(f"{maildir}/{sub}"):
            where.setdefault(entry.removesuffix(FLAGGED), []).append(sub)
    lost, doubled, strange, wrong, many = [], [], [], [], 0
    for log in logs:
        for name, (digest, may) in states(log).items():
            many += 1
            at = where.get(name, [])
            if len(at) > 1:
                doubled.append(name)
            elif not at:
                if None not in may:
                    lost.append((name, may))
                continue
            if at[0] not in may:
                strange.append((name, at, may))
            path = f"{maildir}/{at[0]}/{name}"
            with open(path + FLAGGED * (at[0] == "cur"), "rb") as f:
                if hashlib.sha256(f.read()).hexdigest() != digest:
                    wrong.append((name, at))
    for what, bad in (("lost", lost), ("in two places", doubled),
                      ("in a wrong place", strange),
                      ("of wrong bytes", wrong)):
        if bad:
            check(f"of {many} messages none is {what}", False,
                  f"{len(bad)}: {bad[:4]}")
    if not (lost or doubled or strange or wrong):
        check(f"of {many} messages none is lost, doubled or damaged",
              many > 0, "nothing was delivered")


if __name__ == "__main__":
    if sys.argv[1] == "run":
        run(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    else:
        verify(sys.argv[2], sys.argv[3:])
        done()
