# basic.py work DIR - what every program expects of files, each thing once.
# basic.py before|after DIR STATE - what must outlive a remount: `before` makes
# files and notes their look in the file STATE, `after` compares.
import ctypes
import errno
import fcntl
import json
import mmap
import os
import signal
import stat
import subprocess
import sys
import time

from check import check, code_of, done, equal, fails, group, skip

AT_FDCWD = -100
NOREPLACE, EXCHANGE, WHITEOUT = 1, 2, 4
libc = ctypes.CDLL(None, use_errno=True)


def renameat2(old, new, flags):
    if libc.renameat2(AT_FDCWD, os.fsencode(old), AT_FDCWD,
                      os.fsencode(new), flags):
        raise OSError(ctypes.get_errno(), "renameat2")


def link_open(fd, name):
    """Give an open file a name (os.link() does not follow /proc's links)."""
    if libc.linkat(AT_FDCWD, b"/proc/self/fd/%d" % fd, AT_FDCWD,
                   os.fsencode(name), 0x400):
        raise OSError(ctypes.get_errno(), "linkat")


def fallocate(fd, mode, offset, length):
    if libc.fallocate(fd, mode, ctypes.c_int64(offset),
                      ctypes.c_int64(length)):
        raise OSError(ctypes.get_errno(), "fallocate")


def put(path, data, mode=0o644):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        while data:
            data = data[os.write(fd, data):]
    finally:
        os.close(fd)


def get(path):
    with open(path, "rb") as f:
        return f.read()


def pattern(n, seed=1):
    block = bytes((i * 131 + seed * 7 + (i >> 8)) & 255 for i in range(65536))
    return (block * (n // 65536 + 1))[:n]


def in_child(fn):
    """Run fn in another process; its result if it is an int below 200."""
    pid = os.fork()
    if pid == 0:
        try:
            code = fn()
            os._exit(code if isinstance(code, int) else 0)
        except OSError as e:
            os._exit(e.errno)
        except BaseException:
            os._exit(250)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def bytes_and_sizes():
    for n in (0, 1, 100, 4095, 4096, 4097, 65536, 131072, 1 << 20, 3000001):
        put("f", pattern(n))
        equal(f"{n} bytes read back", get("f") == pattern(n), True)
        equal(f"st_size is {n}", os.stat("f").st_size, n)
    big = pattern(20 << 20, 3)
    put("big", big)
    check("20 MiB read back", get("big") == big)
    fd = os.open("big", os.O_RDONLY)
    check("pread in the middle",
          os.pread(fd, 5000, 7777777) == big[7777777:7782777])
    equal("pread past the end", os.pread(fd, 10, 30 << 20), b"")
    check("short read at the end",
          os.pread(fd, 100, (20 << 20) - 7) == big[-7:])
    os.close(fd)
    os.unlink("big")


def writing():
    put("w", b"hello")
    fd = os.open("w", os.O_WRONLY | os.O_APPEND)
    os.write(fd, b" world")
    os.lseek(fd, 0, os.SEEK_SET)
    os.write(fd, b"!")
    os.close(fd)
    equal("O_APPEND appends whatever the offset", get("w"), b"hello world!")
    fd = os.open("w", os.O_RDWR)
    os.pwrite(fd, b"J", 0)
    os.pwrite(fd, b"X" * 3, 20)
    os.close(fd)
    equal("a write behind the end leaves zeros", get("w"),
          b"Jello world!" + b"\0" * 8 + b"XXX")
    os.truncate("w", 5)
    equal("truncate cuts", get("w"), b"Jello")
    os.truncate("w", 9)
    equal("truncate grows with zeros", get("w"), b"Jello\0\0\0\0")
    fd = os.open("w", os.O_RDWR | os.O_TRUNC)
    equal("O_TRUNC empties", os.fstat(fd).st_size, 0)
    os.writev(fd, [b"a", b"", b"bc"])
    os.close(fd)
    equal("writev", get("w"), b"abc")
    put("w", pattern(300000))
    fd = os.open("w", os.O_RDWR)
    os.pwrite(fd, b"#" * 1000, 130000)
    os.fsync(fd)
    os.fdatasync(fd)
    os.close(fd)
    want = pattern(300000)
    want = want[:130000] + b"#" * 1000 + want[131000:]
    check("an overwrite in the middle after sealing", get("w") == want)
    writers = []
    put("log", b"")
    for i in range(4):
        pid = os.fork()
        if pid == 0:
            fd = os.open("log", os.O_WRONLY | os.O_APPEND)
            for j in range(100):
                os.write(fd, b"%d %02d\n" % (i, j))
            os._exit(0)
        writers.append(pid)
    for pid in writers:
        os.waitpid(pid, 0)
    lines = get("log").splitlines()
    equal("four processes append 400 lines, none lost", len(lines), 400)
    equal("... and none torn or doubled", len(set(lines)), 400)


def holes():
    fd = os.open("holes", os.O_RDWR | os.O_CREAT, 0o600)
    os.pwrite(fd, b"a" * 4096, 0)
    os.pwrite(fd, b"b" * 4096, 1 << 20)
    equal("a hole reads as zeros", os.pread(fd, 100, 500000), b"\0" * 100)
    os.ftruncate(fd, 2 << 20)
    equal("SEEK_DATA after the hole is data",
          os.pread(fd, 1, os.lseek(fd, 1 << 20, os.SEEK_DATA)), b"b")
    hole = os.lseek(fd, 0, os.SEEK_HOLE)
    check("SEEK_HOLE is at the end or in the hole",
          4096 <= hole <= 2 << 20, hole)
    fails("SEEK_DATA past the end is ENXIO", errno.ENXIO,
          os.lseek, fd, 3 << 20, os.SEEK_DATA)
    os.posix_fallocate(fd, 0, 3 << 20)
    equal("fallocate grows", os.fstat(fd).st_size, 3 << 20)
    equal("... and keeps what was there", os.pread(fd, 4, 1 << 20), b"bbbb")
    fallocate(fd, 1, 0, 4 << 20)
    equal("FALLOC_FL_KEEP_SIZE keeps it", os.fstat(fd).st_size, 3 << 20)
    code = code_of(fallocate, fd, 3, 1 << 20, 4096)
    if code == errno.EOPNOTSUPP:
        skip("FALLOC_FL_PUNCH_HOLE", "not offered here")
    else:
        equal("FALLOC_FL_PUNCH_HOLE leaves zeros",
              (code, os.pread(fd, 4, 1 << 20)), (0, b"\0\0\0\0"))
    os.close(fd)
    os.unlink("holes")


def names():
    os.mkdir("names")
    every = bytes(b for b in range(1, 256) if b != 0x2f)
    made = {b"names/" + every[i:i + 1] for i in range(len(every))
            if every[i:i + 1] != b"."}
    made |= {b"names/" + every[:127], b"names/" + every[127:]}
    made |= {b"names/" + b"n" * 255, "names/\u00e9\u4e2d\U0001f600".encode(),
             b"names/\xff\xfe not UTF-8", b"names/ leading and trailing ",
             b"names/-rf", b"names/*?[]", b"names/new\nline"}
    for name in made:
        put(name, name)
    got = {b"names/" + n for n in os.listdir(b"names")}
    equal("names of any bytes are listed as made", got ^ made, set())
    check("... and each file holds its own bytes",
          all(get(n) == n for n in made))
    fails("256 bytes are ENAMETOOLONG", errno.ENAMETOOLONG,
          put, "names/" + "n" * 256, b"")
    fails("an empty name is ENOENT", errno.ENOENT, os.stat, "")
    fails("a slash after a file is ENOTDIR", errno.ENOTDIR,
          os.stat, "names/-rf/")
    for name in made:
        os.unlink(name)
    equal("all are removed", os.listdir("names"), [])
    os.rmdir("names")
    for case in ("Upper", "UPPER"):
        put(case, case.encode())
    equal("names differ by case", get("Upper"), b"Upper")
    deep, here = "d" * 50, os.getcwd()
    for _ in range(60):
        os.mkdir(deep)
        os.chdir(deep)
    put("leaf", b"deep")
    equal("60 directories deep", get("leaf"), b"deep")
    os.unlink("leaf")
    for _ in range(60):
        os.chdir("..")
        os.rmdir(deep)
    equal("'..' leads back", os.getcwd(), here)


def opening():
    put("x", b"old")
    fails("O_EXCL refuses a file that is there", errno.EEXIST,
          os.open, "x", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    os.symlink("nowhere", "dangling")
    fails("O_EXCL refuses a dangling link", errno.EEXIST,
          os.open, "dangling", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    fails("O_NOFOLLOW refuses a link", errno.ELOOP,
          os.open, "dangling", os.O_RDONLY | os.O_NOFOLLOW)
    fails("O_DIRECTORY refuses a file", errno.ENOTDIR,
          os.open, "x", os.O_RDONLY | os.O_DIRECTORY)
    winners = 0
    for _ in range(20):
        pids = []
        ready, go = os.pipe()
        for _ in range(3):
            pid = os.fork()
            if pid == 0:
                os.close(go)
                os.read(ready, 1)
                os._exit(code_of(os.open, "lock", os.O_CREAT | os.O_EXCL))
            pids.append(pid)
        os.close(ready)
        os.close(go)
        winners += sum(os.waitstatus_to_exitcode(os.waitpid(p, 0)[1]) == 0
                       for p in pids)
        os.unlink("lock")
    equal("of three O_EXCL at once one wins, 20 times", winners, 20)
    fd = os.open("x", os.O_RDWR)
    os.unlink("x")
    equal("an unlinked open file has no links", os.fstat(fd).st_nlink, 0)
    equal("... is still read", os.pread(fd, 10, 0), b"old")
    os.pwrite(fd, pattern(200000), 0)
    check("... and written", os.pread(fd, 200000, 0) == pattern(200000))
    os.ftruncate(fd, 10)
    os.fchmod(fd, 0o600)
    os.fsync(fd)
    equal("... and its look changes", (os.fstat(fd).st_size,
          os.fstat(fd).st_mode & 0o777), (10, 0o600))
    put("x", b"new")
    equal("... while its name leads to another", get("x"), b"new")
    equal("... which it is not", os.pread(fd, 3, 0), pattern(3))
    os.close(fd)
    fd = os.open(".", os.O_TMPFILE | os.O_RDWR, 0o600) \
        if code_of(lambda: os.close(os.open(
            ".", os.O_TMPFILE | os.O_RDWR, 0o600))) == 0 else -1
    if fd < 0:
        skip("O_TMPFILE", "not offered here; programs then make a name")
    else:
        os.write(fd, b"tmp")
        link_open(fd, "named")
        equal("an O_TMPFILE gets a name", get("named"), b"tmp")
        os.close(fd)
        os.unlink("named")


def links():
    put("one", b"1")
    os.chmod("one", 0o640)
    before = os.stat("one")
    os.link("one", "two")
    both = os.stat("two")
    equal("two links, one inode", (both.st_ino, both.st_nlink),
          (before.st_ino, 2))
    put("two", b"22")
    equal("both names show one content", get("one"), b"22")
    os.chmod("two", 0o600)
    equal("... and one mode", os.stat("one").st_mode & 0o777, 0o600)
    os.rename("one", "two")
    check("rename of one link over the other does nothing",
          os.path.exists("one") and os.path.exists("two"))
    os.unlink("one")
    equal("a link is left", (get("two"), os.stat("two").st_nlink),
          (b"22", 1))
    fails("link over a name is EEXIST", errno.EEXIST, os.link, "two", "x")
    os.mkdir("dir")
    fails("link of a directory is EPERM", errno.EPERM, os.link, "dir", "d2")
    os.symlink("two", "sym")
    equal("a symlink is read", os.readlink("sym"), "two")
    equal("... followed", get("sym"), b"22")
    equal("... and as long as its target", os.lstat("sym").st_size, 3)
    long = "/" + "t" * 4000
    os.symlink(long, "longsym")
    equal("a target of 4,001 bytes", os.readlink("longsym"), long)
    os.mkfifo("fifo", 0o600)
    equal("a fifo is one", stat.S_ISFIFO(os.lstat("fifo").st_mode), True)
    for name in ("sym", "longsym", "fifo", "two"):
        os.unlink(name)
    os.rmdir("dir")


def renaming():
    put("a", b"a")
    put("b", b"b")
    ino = os.stat("a").st_ino
    os.rename("a", "b")
    equal("rename replaces", (get("b"), os.stat("b").st_ino,
          os.path.exists("a")), (b"a", ino, False))
    put("a", b"A")
    fails("RENAME_NOREPLACE refuses", errno.EEXIST,
          renameat2, "a", "b", NOREPLACE)
    renameat2("a", "c", NOREPLACE)
    equal("RENAME_NOREPLACE renames to a free name", get("c"), b"A")
    renameat2("b", "c", EXCHANGE)
    equal("RENAME_EXCHANGE exchanges", (get("b"), get("c")), (b"A", b"a"))
    fails("RENAME_EXCHANGE with nothing is ENOENT", errno.ENOENT,
          renameat2, "b", "nothing", EXCHANGE)
    fails("both flags are EINVAL", errno.EINVAL,
          renameat2, "b", "c", NOREPLACE | EXCHANGE)
    os.mkdir("d1")
    os.mkdir("d1/in")
    put("d1/in/f", b"f")
    os.mkdir("d2")
    fails("rename over a directory with files", (errno.ENOTEMPTY,
          errno.EEXIST), os.rename, "d2", "d1")
    fails("rename into itself is EINVAL", errno.EINVAL,
          os.rename, "d1", "d1/in/below")
    fails("a file over a directory is EISDIR", errno.EISDIR,
          os.rename, "b", "d2")
    fails("a directory over a file is ENOTDIR", errno.ENOTDIR,
          os.rename, "d2", "b")
    os.rename("d1", "d2")
    equal("a directory over an empty one", get("d2/in/f"), b"f")
    renameat2("d2", "b", EXCHANGE)
    equal("a file and a directory change places",
          (get("b/in/f"), get("d2")), (b"f", b"A"))
    os.mkdir("other")
    os.rename("b/in", "other/in")
    equal("'..' follows a moved directory",
          os.stat("other/in/..").st_ino, os.stat("other").st_ino)
    equal("links of both parents", (os.stat("b").st_nlink,
          os.stat("other").st_nlink), (2, 3))
    fails("rmdir of a directory with files", (errno.ENOTEMPTY,
          errno.EEXIST), os.rmdir, "other")
    os.unlink("other/in/f")
    os.rmdir("other/in")
    os.rmdir("other")
    os.rmdir("b")


def attributes():
    put("xa", b"body")
    os.setxattr("xa", "user.one", b"1")
    os.setxattr("xa", "user.empty", b"")
    os.setxattr("xa", "user.bin", bytes(range(256)))
    equal("xattr read back", os.getxattr("xa", "user.bin"),
          bytes(range(256)))
    names_ = {n for n in os.listxattr("xa")
              if not n.startswith(("user.post.", "security."))}
    equal("xattr listed", names_, {"user.one", "user.empty", "user.bin"})
    fails("XATTR_CREATE of one that is there", errno.EEXIST,
          os.setxattr, "xa", "user.one", b"x", os.XATTR_CREATE)
    fails("XATTR_REPLACE of one that is not", errno.ENODATA,
          os.setxattr, "xa", "user.two", b"x", os.XATTR_REPLACE)
    os.setxattr("xa", "user.one", b"longer than before", os.XATTR_REPLACE)
    equal("xattr replaced", os.getxattr("xa", "user.one"),
          b"longer than before")
    os.removexattr("xa", "user.one")
    fails("a removed xattr is ENODATA", errno.ENODATA,
          os.getxattr, "xa", "user.one")
    fails("removed twice is ENODATA", errno.ENODATA,
          os.removexattr, "xa", "user.one")
    os.mkdir("xd")
    os.setxattr("xd", "user.dir", b"d")
    equal("xattr of a directory", os.getxattr("xd", "user.dir"), b"d")
    big = b"v" * 3000
    os.setxattr("xa", "user.big", big)
    equal("an xattr of 3,000 bytes", os.getxattr("xa", "user.big"), big)
    os.rename("xa", "xb")
    equal("xattr goes with a rename", os.getxattr("xb", "user.big"), big)
    os.unlink("xb")
    os.rmdir("xd")


def times():
    put("t", b"t")
    os.utime("t", ns=(1_000_000_000_123_456_789, 1_200_000_000_987_654_321))
    s = os.stat("t")
    equal("mtime to the nanosecond", s.st_mtime_ns, 1_200_000_000_987_654_321)
    equal("atime to the nanosecond", s.st_atime_ns, 1_000_000_000_123_456_789)
    check("ctime is now", abs(s.st_ctime - time.time()) < 60, s.st_ctime)
    os.rename("t", "t2")
    equal("a rename keeps mtime", os.stat("t2").st_mtime_ns,
          1_200_000_000_987_654_321)
    before = os.stat("t2").st_mtime_ns
    put("t2", b"written")
    check("a write sets mtime", os.stat("t2").st_mtime_ns > before + 10**9)
    os.utime("t2", ns=(0, -5_000_000_000))
    equal("a time before 1970", os.stat("t2").st_mtime_ns, -5_000_000_000)
    os.mkdir("td")
    seen = [os.stat("td").st_mtime_ns]
    for i in range(50):
        put(f"td/{i}", b"")
        seen.append(os.stat("td").st_mtime_ns)
        os.rename(f"td/{i}", f"td/{i}.new")
        seen.append(os.stat("td").st_mtime_ns)
    check("a directory's mtime never goes back", seen == sorted(seen))
    if "plain" not in sys.argv:
        check("... and moves on with every change",
              len(set(seen)) == len(seen), len(set(seen)))
    for i in range(50):
        os.unlink(f"td/{i}.new")
    os.rmdir("td")
    os.unlink("t2")


def locking():
    put("lk", b"0123456789")
    fd = os.open("lk", os.O_RDWR)
    other = os.open("lk", os.O_RDWR)

    def record(kind, start, length):
        def go():
            f = os.open("lk", os.O_RDWR)
            fcntl.lockf(f, kind | fcntl.LOCK_NB, length, start)
            return 0
        return in_child(go)

    fcntl.lockf(fd, fcntl.LOCK_EX, 5, 0)
    equal("a record lock keeps another process out",
          record(fcntl.LOCK_EX, 0, 5) in (errno.EAGAIN, errno.EACCES), True)
    equal("... but not from other bytes", record(fcntl.LOCK_EX, 5, 5), 0)
    fcntl.lockf(fd, fcntl.LOCK_UN, 5, 0)
    equal("... until it is let go", record(fcntl.LOCK_EX, 0, 5), 0)
    fcntl.lockf(fd, fcntl.LOCK_SH, 5, 0)
    equal("shared locks share", record(fcntl.LOCK_SH, 0, 5), 0)
    equal("... and refuse an exclusive one",
          record(fcntl.LOCK_EX, 0, 5) in (errno.EAGAIN, errno.EACCES), True)
    fcntl.lockf(fd, fcntl.LOCK_UN, 5, 0)
    fcntl.flock(fd, fcntl.LOCK_EX)
    fails("flock keeps another open file out", errno.EWOULDBLOCK,
          fcntl.flock, other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.flock(fd, fcntl.LOCK_UN)
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fails("... also the other way", errno.EWOULDBLOCK,
          fcntl.flock, fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    os.close(other)
    fails("close lets go of it", 0,
          fcntl.flock, fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.flock(fd, fcntl.LOCK_UN)
    # A lock that is waited for comes, and one held by a dead process goes.
    ready, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        f = os.open("lk", os.O_RDWR)
        fcntl.lockf(f, fcntl.LOCK_EX)
        os.write(told, b"x")
        time.sleep(30)
        os._exit(0)
    os.read(ready, 1)
    signal.signal(signal.SIGALRM, lambda *_: os.kill(pid, signal.SIGKILL))
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    began = time.monotonic()
    fcntl.lockf(fd, fcntl.LOCK_EX)
    took = time.monotonic() - began
    check("a waiting lock comes when its holder is killed",
          0.2 < took < 10, took)
    os.waitpid(pid, 0)
    os.close(fd)
    os.unlink("lk")


def mapping():
    put("mm", pattern(300000))
    with open("mm", "r+b") as f:
        m = mmap.mmap(f.fileno(), 0)
        check("mmap reads", m[200000:200100] == pattern(300000)
              [200000:200100])
        m[100000:100005] = b"MMAPS"
        m.flush()
        equal("a shared mapping is written through",
              os.pread(f.fileno(), 5, 100000), b"MMAPS")
        os.pwrite(f.fileno(), b"WRITE", 100010)
        equal("... and sees writes", m[100010:100015], b"WRITE")

        def other():
            g = os.open("mm", os.O_RDWR)
            n = mmap.mmap(g, 0)
            n[0:5] = b"CHILD"
            n.flush()
            return 0

        equal("another process maps it", in_child(other), 0)
        equal("... and is seen at once", m[0:5], b"CHILD")
        p = mmap.mmap(f.fileno(), 0, flags=mmap.MAP_PRIVATE)
        p[0:5] = b"local"
        equal("a private mapping stays private",
              os.pread(f.fileno(), 5, 0), b"CHILD")
        p.close()
        m[299990:300000] = b"0123456789"
        m.close()
        os.fsync(f.fileno())
    equal("what was mapped is in the file", get("mm")[-10:], b"0123456789")
    put("prog", get("/bin/true"), 0o755)
    equal("a program runs from here",
          in_child(lambda: os.execv("./prog", ["prog"])), 0)
    os.unlink("prog")
    os.unlink("mm")


def listing(plain):
    os.mkdir("many")
    for i in range(10000):
        os.close(os.open(f"many/{i:05d}", os.O_CREAT | os.O_WRONLY))
    equal("10,000 entries are listed", len(os.listdir("many")), 10000)
    seen = []
    with os.scandir("many") as entries:
        for n, entry in enumerate(entries):
            seen.append(entry.name)
            if n % 100 == 0:
                for i in range(n, n + 30):
                    j = i * 37 % 10000
                    if j % 3 == 0 and os.path.exists(f"many/{j:05d}"):
                        os.rename(f"many/{j:05d}", f"many/{j:05d}:2,S")
    bases = [name[:5] for name in seen]
    kept = {b for b in bases if int(b) % 3}
    equal("while others are renamed, each entry that stays is listed",
          len(kept), sum(1 for i in range(10000) if i % 3))
    check("... once", sum(1 for b in bases if int(b) % 3) == len(kept))
    if plain:
        skip("a renamed entry is listed once", "promised by the mount only")
    else:
        equal("each renamed entry is listed once, by one of its names",
              (len(bases), len(set(bases))), (10000, 10000))
    d = os.open("many", os.O_RDONLY)
    first = os.listdir(d)
    os.unlink("many/00001")
    again = os.listdir(d)
    os.close(d)
    equal("a directory read again shows what is new",
          len(first) - len(again), 1)
    with os.scandir("many") as entries:
        check("d_type and inode are right in a listing",
              all(e.is_file(follow_symlinks=False) and
                  e.inode() == os.lstat(e.path).st_ino
                  for e, _ in zip(entries, range(300))))
    for name in os.listdir("many"):
        os.unlink(f"many/{name}")
    os.rmdir("many")


def figures():
    v = os.statvfs(".")
    check("statfs: total, free and available are in order",
          v.f_blocks >= v.f_bfree >= v.f_bavail > 0, v)
    check("statfs: names of 255, a block size, files",
          v.f_namemax == 255 and v.f_bsize >= 512 and
          v.f_files >= v.f_ffree, v)
    put("blocks", pattern(100000))
    s = os.stat("blocks")
    check("st_blocks and st_blksize are sane",
          s.st_blocks * 512 >= 4096 and s.st_blocks * 512 < 200000 and
          512 <= s.st_blksize <= 1 << 20, s)
    out = subprocess.run(["df", "."], capture_output=True, text=True)
    check("df prints it", out.returncode == 0 and "%" in out.stdout,
          out.stderr)
    os.unlink("blocks")


KEPT = ("st_ino", "st_nlink", "st_mtime_ns", "st_mode", "st_uid", "st_gid",
        "st_size")


def look(top):
    """Every path below `top`, as it is now."""
    out = {}
    for where, dirs, files in os.walk(top):
        for name in ["."] + dirs + files:
            path = os.path.join(where, name)
            s = os.lstat(path)
            out[os.path.relpath(path, top)] = [
                *(getattr(s, k) for k in KEPT),
                os.readlink(path) if stat.S_ISLNK(s.st_mode) else
                hash_of(path) if stat.S_ISREG(s.st_mode) else "",
                sorted((n, os.getxattr(path, n).hex())
                       for n in os.listxattr(path, follow_symlinks=False)
                       if n.startswith("user.")
                       and not n.startswith("user.post."))
                if not stat.S_ISLNK(s.st_mode) else []]
    return out


def hash_of(path):
    import hashlib
    return hashlib.sha256(get(path)).hexdigest()


def before(top, state):
    os.mkdir(f"{top}/keep")
    os.chdir(f"{top}/keep")
    for i in range(40):
        put(f"m{i}", pattern(i * 997 + 3, i), 0o600)
        os.utime(f"m{i}", ns=(10**18, 10**18 + i * 1_000_000_007))
    for i in range(5):
        os.link(f"m{i}", f"link{i}")
    os.mkdir("sub", 0o750)
    os.mkdir("sub/deeper", 0o2775)
    os.rename("m39", "sub/moved")
    os.symlink("../m1", "sub/sym")
    os.setxattr("m2", "user.note", b"kept \0 too")
    os.mkfifo("fifo", 0o640)
    os.chmod("m3", 0o444)
    if os.geteuid() == 0:
        os.chown("m4", 1234, 5678)
        os.chown("sub", 4321, 8765)
    os.makedirs("tmp")
    put("tmp/local-only", b"not in the log")
    put("dovecot.index", b"\0" * 100)
    os.utime("sub", ns=(10**18, 11 * 10**17))
    with open(state, "w") as f:
        json.dump(look("."), f)
    check("files for the remount are made", True)


def after(top, state):
    with open(state) as f:
        want = json.load(f)
    # JSON knows no tuples.
    got = json.loads(json.dumps(look(f"{top}/keep")))
    equal("after a remount the same names are there", set(got) ^ set(want),
          set())
    for i, what in enumerate(KEPT + ("content", "xattrs")):
        bad = [(p, got[p][i], want[p][i]) for p in got
               if p in want and got[p][i] != want[p][i]]
        check(f"... each with its {what}", not bad, bad[:3])


if __name__ == "__main__":
    mode, where = sys.argv[1:3]
    if mode == "work":
        os.mkdir(f"{where}/work")
        os.chdir(f"{where}/work")
        for fn in (bytes_and_sizes, writing, holes, names, opening, links,
                   renaming, attributes, times, locking, mapping, figures):
            group(fn)
        group(listing, "plain" in sys.argv)
    elif mode == "before":
        group(before, where, sys.argv[3])
    else:
        group(after, where, sys.argv[3])
    done()
