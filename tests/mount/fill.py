# fill.py fill MAILDIR LIST - deliver mail that does not compress until there is
# no room; the names and hashes of what was acknowledged go to LIST.
# fill.py verify MAILDIR LIST - is all of it there?
# fill.py refused MAILDIR - one more delivery must fail, with ENOSPC
import errno
import hashlib
import os
import sys

from check import check, code_name, done
from deliver import deliver


def fill(maildir, path):
    count = 0
    with open(path, "a") as out:
        while count < 20000:
            data = b"Subject: fill\n\n" + os.urandom(60000)
            try:
                name = deliver(maildir, data)
            except OSError as e:
                check(f"after {count} messages there is no room: ENOSPC",
                      e.errno == errno.ENOSPC and count > 20,
                      code_name(e.errno))
                return
            out.write(f"{name} {hashlib.sha256(data).hexdigest()}\n")
            count += 1
    check("the disk becomes full", False)


def verify(maildir, path):
    bad = []
    with open(path) as f:
        lines = f.read().splitlines()
    for line in lines:
        name, digest = line.split()
        try:
            with open(f"{maildir}/new/{name}", "rb") as m:
                good = hashlib.sha256(m.read()).hexdigest() == digest
        except OSError as e:
            good = False
            name += f" {code_name(e.errno)}"
        if not good:
            bad.append(name)
    check(f"all {len(lines)} acknowledged messages are intact",
          lines and not bad, bad[:3])


def refused(maildir):
    try:
        deliver(maildir, os.urandom(200000))
        check("a delivery to a full disk fails", False)
    except OSError as e:
        check("a delivery to a full disk is ENOSPC",
              e.errno == errno.ENOSPC, code_name(e.errno))


if __name__ == "__main__":
    {"fill": fill, "verify": verify, "refused": refused}[sys.argv[1]](
        *sys.argv[2:])
    done()
