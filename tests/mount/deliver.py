# deliver.py MAILDIR [COUNT] - deliver standard input to a Maildir as a mail
# program does: write in tmp, fsync, rename into new, fsync the directory.
# Prints the names.  With COUNT, that many copies, without fsync.
import itertools
import os
import socket
import sys
import time

numbers = itertools.count()


def unique():
    return (f"{time.time():.6f}.{os.getpid()}_{next(numbers)}"
            f".{socket.gethostname()}")


def deliver(maildir, data, name=None, sync=True):
    """Put one message into new; returns its name."""
    name = name or unique()
    before = os.path.join(maildir, "tmp", name)
    after = os.path.join(maildir, "new", name)
    fd = os.open(before, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view):]
        if sync:
            os.fsync(fd)
    finally:
        os.close(fd)
    os.rename(before, after)
    if sync:
        fd = os.open(os.path.join(maildir, "new"), os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    return name


if __name__ == "__main__":
    mail = sys.stdin.buffer.read()
    many = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    for _ in range(many or 1):
        print(deliver(sys.argv[1], mail, sync=not many))
