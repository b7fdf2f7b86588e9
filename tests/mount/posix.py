# posix.py DIR - what POSIX and Linux promise of files, call by call, in the
# manner of pjdfstest: who may do what, which errno says no, and what happens
# to modes, links and times.  Runs as root, and as two ordinary users in
# processes of their own.
# Long because it is one list of calls and answers, with one set of helpers.
import errno
import itertools
import os
import pickle
import socket
import stat
import sys
import time

from check import check, code_name, done, equal, fails, group, skip

U1, U2 = 65533, 65532           # uids (and gids) nobody has
G_BOTH = 65500                  # a group of both
NAME_MAX, PATH_MAX = 255, 4096
serial = itertools.count()


def name():
    return f"n{next(serial)}"


def as_(uid, fn, *args, groups=(), gid=None):
    """fn's result, or its errno as an OSError, run as that user."""
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(r)
        try:
            os.setgroups(list(groups))
            os.setresgid(*[gid if gid is not None else uid] * 3)
            os.setresuid(uid, uid, uid)
            out = (0, fn(*args))
        except OSError as e:
            out = (e.errno, None)
        except BaseException as e:      # reported by the parent
            out = (-1, repr(e))
        os.write(w, pickle.dumps(out))
        os._exit(0)
    os.close(w)
    with os.fdopen(r, "rb") as f:
        data = f.read()
    os.waitpid(pid, 0)
    code, value = pickle.loads(data)
    if code == -1:
        raise RuntimeError(value)
    if code:
        raise OSError(code, os.strerror(code))
    return value


def fails_as(text, want, uid, fn, *args, **how):
    fails(text, want, as_, uid, fn, *args, **how)


def make(kind, path=None, mode=0o644):
    path = path or name()
    if kind == "file":
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))
    elif kind == "dir":
        os.mkdir(path, mode)
    elif kind == "fifo":
        os.mkfifo(path, mode)
    elif kind == "link":
        os.symlink("target", path)
        return path
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(path)
    else:
        os.mknod(path, mode | (stat.S_IFBLK if kind == "block"
                               else stat.S_IFCHR), os.makedev(7, 211))
    os.chmod(path, mode)
    return path


KINDS = ("file", "dir", "fifo", "link", "socket", "block", "char")
TYPE = {"file": stat.S_ISREG, "dir": stat.S_ISDIR, "fifo": stat.S_ISFIFO,
        "link": stat.S_ISLNK, "socket": stat.S_ISSOCK,
        "block": stat.S_ISBLK, "char": stat.S_ISCHR}


def remove(path):
    if stat.S_ISDIR(os.lstat(path).st_mode):
        os.rmdir(path)
    else:
        os.unlink(path)


def owned(uid, kind="file", mode=0o644):
    path = make(kind)
    os.chown(path, uid, uid, follow_symlinks=False)
    if kind != "link":
        os.chmod(path, mode)
    return path


def mode_of(path):
    return stat.S_IMODE(os.lstat(path).st_mode)


def pause():
    # More than the tick by which a kernel's clock for files may stand still.
    time.sleep(0.012)


def changes(text, path, fn, *args, ctime=True, mtime=None, result=None):
    """Does the call advance ctime (and mtime) of path?  None: not asked."""
    before = os.lstat(path)
    pause()
    fn(*args)
    after = os.lstat(result or path)
    if ctime is not None:
        check(f"{text}: ctime {'moves' if ctime else 'stays'}",
              (after.st_ctime_ns > before.st_ctime_ns) == ctime,
              f"{before.st_ctime_ns} {after.st_ctime_ns}")
    if mtime is not None:
        check(f"{text}: mtime {'moves' if mtime else 'stays'}",
              (after.st_mtime_ns > before.st_mtime_ns) == mtime,
              f"{before.st_mtime_ns} {after.st_mtime_ns}")


def write_to(path, data=b"x"):
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)


def opened(path, flags, mode=0o644):
    os.close(os.open(path, flags, mode))


# ---- errors that every call with a path has ---------------------------------

def paths():
    other = make("file")
    calls = {
        "chmod": lambda p: os.chmod(p, 0o600),
        "chown": lambda p: os.chown(p, 0, 0),
        "link": lambda p: os.link(p, name()),
        "link to": lambda p: os.link(other, p),
        "mkdir": os.mkdir,
        "mkfifo": os.mkfifo,
        "mknod": lambda p: os.mknod(p, stat.S_IFCHR | 0o600, 1),
        "open": lambda p: opened(p, os.O_RDONLY),
        "open O_CREAT": lambda p: opened(p, os.O_CREAT | os.O_WRONLY),
        "rename": lambda p: os.rename(p, name()),
        "rename to": lambda p: os.rename(other, p),
        "rmdir": os.rmdir,
        "symlink": lambda p: os.symlink("x", p),
        "truncate": lambda p: os.truncate(p, 0),
        "unlink": os.unlink,
        "utimensat": lambda p: os.utime(p, (0, 0)),
        "stat": os.stat,
        "readlink": os.readlink,
        "statvfs": os.statvfs,
        "getxattr": lambda p: os.getxattr(p, "user.x"),
        "listdir": os.listdir,
        "access": lambda p: os.stat(p) and os.access(p, os.R_OK),
    }
    creates = {"link to", "mkdir", "mkfifo", "mknod", "open O_CREAT",
               "rename to", "symlink"}
    not_dir = make("file")
    os.symlink("loop1", "loop2")
    os.symlink("loop2", "loop1")
    os.mkdir("private", 0o700)
    open("private/f", "w").close()
    os.mkdir("full")
    open("full/f", "w").close()
    for call, fn in calls.items():
        fails(f"{call}: a name of 256 bytes is ENAMETOOLONG",
              errno.ENAMETOOLONG, fn, "n" * (NAME_MAX + 1))
        fails(f"{call}: ... also in the middle of a path",
              errno.ENAMETOOLONG, fn, "n" * (NAME_MAX + 1) + "/x")
        fails(f"{call}: a path of 4,096 bytes is ENAMETOOLONG",
              errno.ENAMETOOLONG, fn, "./" * (PATH_MAX // 2 - 1) + "xx")
        fails(f"{call}: a file as a directory is ENOTDIR", errno.ENOTDIR,
              fn, f"{not_dir}/x")
        fails(f"{call}: below a loop of links is ELOOP", errno.ELOOP,
              fn, "loop1/x")
        fails(f"{call}: below nothing is ENOENT", errno.ENOENT,
              fn, "nothing/x")
        fails_as(f"{call}: below a directory that is closed is EACCES",
                 errno.EACCES, U1, fn, "private/f")
        fails(f"{call}: an empty path is ENOENT", errno.ENOENT, fn, "")
        if call not in creates:
            fails(f"{call}: of nothing is ENOENT", errno.ENOENT,
                  fn, "nothing")
        elif call not in ("open O_CREAT", "rename to"):
            fails(f"{call}: over what is there is EEXIST", errno.EEXIST,
                  fn, not_dir)
            fails(f"{call}: ... also over a directory", errno.EEXIST,
                  fn, "full")
            fails(f"{call}: ... also over a dangling link", errno.EEXIST,
                  fn, "loop1")
        if call in creates and call not in ("link to", "rename to"):
            fails_as(f"{call}: in a directory one may not write is EACCES",
                     errno.EACCES, U1, fn, "full/new")
        if call in ("chmod", "chown", "open", "truncate", "utimensat",
                    "stat", "statvfs", "getxattr", "listdir", "access"):
            fails(f"{call}: a loop of links is ELOOP", errno.ELOOP,
                  fn, "loop1")
    long = "n" * NAME_MAX
    for call in ("mkdir", "mkfifo", "mknod", "symlink", "open O_CREAT"):
        fails(f"{call}: a name of 255 bytes is good", 0, calls[call], long)
        remove(long)


# ---- chmod -----------------------------------------------------------------

def chmod():
    for kind in KINDS:
        if kind == "link":
            continue
        path = make(kind)
        for mode in (0, 0o111, 0o751, 0o4711, 0o2715, 0o1777, 0o7777):
            os.chmod(path, mode)
            equal(f"chmod: a {kind} of {mode:o}", mode_of(path), mode)
        check(f"chmod: a {kind} stays one",
              TYPE[kind](os.lstat(path).st_mode))
        changes(f"chmod of a {kind}", path, os.chmod, path, 0o700,
                mtime=False)
        remove(path)
    path = make("file")
    link = name()
    os.symlink(path, link)
    os.chmod(link, 0o640)
    equal("chmod follows a link", mode_of(path), 0o640)
    fails_as("chmod of another's file is EPERM", errno.EPERM, U1,
             os.chmod, path, 0o777)
    mine = owned(U1)
    fails_as("chmod of one's own is good", 0, U1, os.chmod, mine, 0o600)
    equal("... and done", mode_of(mine), 0o600)
    as_(U1, os.chmod, mine, 0o4755)
    equal("an owner may set set-user-id", mode_of(mine), 0o4755)
    os.chown(mine, U1, U2)
    as_(U1, os.chmod, mine, 0o2755)
    equal("set-group-id goes if the group is not one's own",
          mode_of(mine), 0o755)
    as_(U1, os.chmod, mine, 0o2755, groups=[U2])
    equal("... and stays if it is", mode_of(mine), 0o2755)
    fd = os.open(mine, os.O_RDWR)
    os.fchmod(fd, 0)
    equal("fchmod", mode_of(mine), 0)
    os.write(fd, b"still open")
    check("an open file outlives its mode", os.pread(fd, 5, 0) == b"still")
    os.close(fd)
    fails_as("a file of mode 0 does not open, even its owner's",
             errno.EACCES, U1, opened, mine, os.O_RDONLY)
    d = owned(U1, "dir", 0o755)
    as_(U1, os.chmod, d, 0o1777)
    equal("a sticky directory is its owner's to make", mode_of(d), 0o1777)


# ---- chown -----------------------------------------------------------------

def chown():
    for kind in KINDS:
        path = make(kind)
        os.lchown(path, 123, 456)
        s = os.lstat(path)
        equal(f"lchown of a {kind}", (s.st_uid, s.st_gid), (123, 456))
        os.lchown(path, -1, 789)
        s = os.lstat(path)
        equal(f"lchown of a {kind}: -1 leaves the owner",
              (s.st_uid, s.st_gid), (123, 789))
        os.lchown(path, 0, -1)
        s = os.lstat(path)
        equal(f"lchown of a {kind}: -1 leaves the group",
              (s.st_uid, s.st_gid), (0, 789))
        changes(f"lchown of a {kind}", path, os.lchown, path, 5, 5,
                mtime=False)
        remove(path)
    path, link = make("file"), name()
    os.symlink(path, link)
    os.chown(link, 11, 12)
    equal("chown follows a link", (os.stat(path).st_uid,
          os.lstat(link).st_uid), (11, 0))
    for mode, left, what in ((0o6755, 0o755, "set-id bits go"),
                             (0o2745, 0o2745, "mandatory locking stays"),
                             (0o4644, 0o644, "set-user-id goes")):
        path = make("file", mode=mode)
        os.chown(path, U1, U1)
        equal(f"chown of a file by root: {what}", mode_of(path), left)
    d = make("dir", mode=0o6755)
    os.chown(d, U1, U1)
    equal("chown of a directory keeps set-id bits", mode_of(d), 0o6755)
    mine = owned(U1, mode=0o6711)
    as_(U1, os.chown, mine, -1, G_BOTH, groups=[G_BOTH])
    equal("an owner gives a file to a group of hers",
          os.stat(mine).st_gid, G_BOTH)
    equal("... and its set-id bits go", mode_of(mine), 0o711)
    fails_as("... not to another group", errno.EPERM, U1,
             os.chown, mine, -1, U2)
    fails_as("... and not to another owner", errno.EPERM, U1,
             os.chown, mine, U2, -1)
    fails_as("another's file can not be taken", errno.EPERM, U2,
             os.chown, mine, U2, U2)
    fails_as("... nor its group changed", errno.EPERM, U2,
             os.chown, mine, -1, U2)
    fails_as("an owner may say what is so already", 0, U1,
             os.chown, mine, U1, G_BOTH, groups=[G_BOTH])
    os.chown(mine, 4294967294, 4294967294)
    equal("large numbers are kept", os.stat(mine).st_uid, 4294967294)


# ---- link ------------------------------------------------------------------

def link():
    for kind in KINDS:
        if kind == "dir":
            continue
        a, b, c = make(kind), name(), name()
        os.link(a, b, follow_symlinks=False)
        equal(f"link of a {kind}: 2 names", os.lstat(a).st_nlink, 2)
        os.link(b, c, follow_symlinks=False)
        equal(f"link of a {kind}: 3 names", os.lstat(a).st_nlink, 3)
        check(f"link of a {kind}: one inode",
              os.lstat(a).st_ino == os.lstat(c).st_ino and
              TYPE[kind](os.lstat(c).st_mode))
        changes(f"unlink of one name of a {kind}", b, os.unlink, a,
                mtime=False)
        equal(f"link of a {kind}: 2 are left", os.lstat(c).st_nlink, 2)
        os.lchown(b, 7, 8)
        equal(f"link of a {kind}: all names show one owner",
              os.lstat(c).st_uid, 7)
        os.unlink(b)
        os.unlink(c)
    d, a = make("dir"), make("file")
    changes("link", a, os.link, a, f"{d}/l", mtime=False)
    changes("link, its directory", d, os.link, a, f"{d}/l2", mtime=True)
    fails("link of a directory is EPERM", errno.EPERM, os.link, d, name())
    open_ = make("dir", mode=0o777)
    private = make("file", mode=0o600)
    fails_as("link of a file one may not read", (errno.EPERM, 0), U1,
             os.link, private, f"{open_}/l")
    mine = owned(U1)
    fails_as("link of one's own", 0, U1, os.link, mine, f"{open_}/mine")
    fails_as("link into a directory one may not write is EACCES",
             errno.EACCES, U1, os.link, mine, f"{d}/mine")


# ---- making ----------------------------------------------------------------

def making():
    calls = {
        "mkdir": lambda p, m: os.mkdir(p, m),
        "mkfifo": lambda p, m: os.mkfifo(p, m),
        "mknod": lambda p, m: os.mknod(p, m | stat.S_IFREG),
        "open": lambda p, m: opened(p, os.O_CREAT | os.O_EXCL | os.O_WRONLY,
                                    m),
        "socket": lambda p, m: make("socket", p, m),
        "symlink": lambda p, m: os.symlink("t", p),
    }
    old = os.umask(0)
    for call, fn in calls.items():
        d = make("dir", mode=0o777)
        path = f"{d}/x"
        before = os.stat(d)
        pause()
        fn(path, 0o755)
        made, after = os.lstat(path), os.stat(d)
        check(f"{call}: the directory's ctime and mtime move",
              after.st_ctime_ns > before.st_ctime_ns and
              after.st_mtime_ns > before.st_mtime_ns)
        check(f"{call}: atime, mtime, ctime are now",
              all(abs(t - time.time()) < 30 for t in
                  (made.st_atime, made.st_mtime, made.st_ctime)))
        check(f"{call}: ... and not before the call",
              made.st_ctime_ns > before.st_ctime_ns)
        equal(f"{call}: links", made.st_nlink, 2 if call == "mkdir" else 1)
        equal(f"{call}: the directory's links", after.st_nlink,
              before.st_nlink + (call == "mkdir"))
        remove(path)
        if call not in ("symlink", "socket"):
            for mode in (0o755, 0o151, 0o345, 0o777, 0):
                fn(path, mode)
                equal(f"{call}: mode {mode:o}", mode_of(path), mode)
                remove(path)
            os.umask(0o077)
            fn(path, 0o777)
            equal(f"{call}: umask 077", mode_of(path), 0o700)
            remove(path)
            os.umask(0o501)
            fn(path, 0o777)
            equal(f"{call}: umask 501", mode_of(path), 0o276)
            remove(path)
            os.umask(0)
        as_(U1, fn, path, 0o644)
        s = os.lstat(path)
        equal(f"{call}: owner and group are the maker's",
              (s.st_uid, s.st_gid), (U1, U1))
        remove(path)
        os.chown(d, 0, G_BOTH)
        os.chmod(d, 0o2777)
        as_(U1, fn, path, 0o644)
        equal(f"{call}: in a set-group-id directory the group is its",
              os.lstat(path).st_gid, G_BOTH)
        if call == "mkdir":
            check("mkdir: ... and the bit is handed down",
                  mode_of(path) & 0o2000)
        remove(path)
    os.umask(old)
    for kind, bit in (("block", stat.S_IFBLK), ("char", stat.S_IFCHR)):
        path = name()
        os.mknod(path, bit | 0o640, os.makedev(259, 1048575))
        s = os.lstat(path)
        check(f"mknod: a {kind} device keeps its number",
              TYPE[kind](s.st_mode) and
              s.st_rdev == os.makedev(259, 1048575), s.st_rdev)
        d = make("dir", mode=0o777)
        fails_as(f"mknod: a {kind} device by an ordinary user is EPERM",
                 errno.EPERM, U1, os.mknod, f"{d}/dev", bit | 0o600, 1)
    fails("mkdir of '/' at the end is good", 0, os.mkdir, f"{name()}/")
    fails("mkdir of '.' is EEXIST", errno.EEXIST, os.mkdir, ".")
    fails("mkdir of '..' is EEXIST", errno.EEXIST, os.mkdir, "..")


def symlink():
    for target in ("t", "../up", "/abs/olute", "sp ace \xe9", "x" * 1023,
                   "y" * 4095):
        path = name()
        os.symlink(target, path)
        equal(f"symlink: a target of {len(target)} bytes is read",
              os.readlink(path), target)
        equal("symlink: st_size is its length", os.lstat(path).st_size,
              len(os.fsencode(target)))
        equal("symlink: mode is 777", mode_of(path), 0o777)
    fails("symlink: a target of 4,096 bytes is ENAMETOOLONG",
          errno.ENAMETOOLONG, os.symlink, "z" * 4096, name())
    fails("symlink: an empty target is ENOENT", errno.ENOENT,
          os.symlink, "", name())
    fails("readlink of a file is EINVAL", errno.EINVAL,
          os.readlink, make("file"))
    fails("readlink of a directory is EINVAL", errno.EINVAL,
          os.readlink, make("dir"))
    first = last = name()
    make("file", last)
    for _ in range(40):
        path = name()
        os.symlink(last, path)
        last = path
    fails("40 links in a row are followed", 0, os.stat, last)
    path = name()
    os.symlink(last, path)
    fails("41 are ELOOP", errno.ELOOP, os.stat, path)
    os.unlink(last)
    check("unlink of a link leaves its target", os.path.exists(first))


# ---- open and truncate -------------------------------------------------------

def open_():
    modes = {os.O_RDONLY: 0o4, os.O_WRONLY: 0o2, os.O_RDWR: 0o6}
    for bits in range(8):
        for who, uid, gid, groups, shift in (
                ("owner", U1, U1, (), 6), ("group", U2, U1, (), 3),
                ("second group", U2, U2, (U1,), 3), ("other", U2, U2, (), 0)):
            path = owned(U1, mode=bits << shift)
            for flags, wanted in modes.items():
                allowed = bits & wanted == wanted
                fails_as(f"open: mode {bits << shift:03o}, "
                         f"{'r w rw'.split()[flags]} as {who}",
                         0 if allowed else errno.EACCES, uid, opened,
                         path, flags, gid=gid, groups=groups)
            os.unlink(path)
    d = make("dir")
    fails("open of a directory to write is EISDIR", errno.EISDIR,
          opened, d, os.O_WRONLY)
    fails("open of a directory for both is EISDIR", errno.EISDIR,
          opened, d, os.O_RDWR)
    fails("open O_CREAT of a directory is EISDIR", errno.EISDIR,
          opened, d, os.O_RDONLY | os.O_CREAT)
    fails("open O_TRUNC of a directory is EISDIR", errno.EISDIR,
          opened, d, os.O_RDONLY | os.O_TRUNC)
    fifo = make("fifo")
    fails("open of a fifo without a reader is ENXIO", errno.ENXIO,
          opened, fifo, os.O_WRONLY | os.O_NONBLOCK)
    fails("open of a socket is ENXIO", errno.ENXIO,
          opened, make("socket"), os.O_RDONLY)
    r = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    w = os.open(fifo, os.O_WRONLY)
    os.write(w, b"through")
    equal("a fifo leads bytes through", os.read(r, 100), b"through")
    os.close(r)
    os.close(w)
    path = make("file")
    write_to(path, b"12345")
    changes("open O_TRUNC", path, opened, path, os.O_WRONLY | os.O_TRUNC,
            mtime=True)
    equal("open O_TRUNC empties", os.stat(path).st_size, 0)
    d = make("dir")
    pause()
    before = os.stat(d).st_mtime_ns
    make("file", f"{d}/f")
    middle = os.stat(d).st_mtime_ns
    pause()
    opened(f"{d}/f", os.O_CREAT | os.O_RDWR)
    equal("open O_CREAT of what is there leaves the directory",
          os.stat(d).st_mtime_ns, middle)
    check("open O_CREAT of what is not moves its mtime", middle > before)
    path = owned(U1, mode=0)
    os.unlink(path)
    top = make("dir", mode=0o777)

    def create_closed():
        fd = os.open(f"{top}/c", os.O_CREAT | os.O_RDWR, 0)
        os.write(fd, b"mine")
        got = os.pread(fd, 9, 0)
        os.close(fd)
        return got
    equal("a file made with mode 0 is its maker's to use",
          as_(U1, create_closed), b"mine")
    mine = owned(U1)
    fails_as("O_NOATIME of one's own", 0, U1, opened, mine,
             os.O_RDONLY | os.O_NOATIME)
    fails_as("O_NOATIME of another's is EPERM", errno.EPERM, U2, opened,
             mine, os.O_RDONLY | os.O_NOATIME)
    prog = make("file", mode=0o755)
    with open("/bin/true", "rb") as f:
        write_to(prog, f.read())
    old = os.stat(prog).st_mode
    check("a program of mode 755 runs",
          os.spawnv(os.P_WAIT, f"./{prog}", [prog]) == 0)
    os.chmod(prog, old & 0o666)
    check("... and of 644 does not",
          os.spawnv(os.P_WAIT, f"./{prog}", [prog]) == 127)


def truncate():
    path = make("file")
    write_to(path, b"0123456789")
    changes("truncate", path, os.truncate, path, 5, mtime=True)
    changes("truncate up", path, os.truncate, path, 50, mtime=True)
    with open(path, "rb") as f:
        equal("truncate up adds zeros", f.read(), b"01234" + bytes(45))
    for size in (0, 1, 4096, 4097, 1 << 20, (1 << 32) + 7):
        os.truncate(path, size)
        equal(f"truncate to {size}", os.stat(path).st_size, size)
    os.truncate(path, 0)
    fails("truncate to less than nothing is EINVAL", errno.EINVAL,
          os.truncate, path, -1)
    fails("truncate of a directory is EISDIR", errno.EISDIR,
          os.truncate, make("dir"), 0)
    fails_as("truncate of what one may not write is EACCES", errno.EACCES,
             U1, os.truncate, path, 0)
    mine = owned(U1, mode=0o444)
    fails_as("... even one's own", errno.EACCES, U1, os.truncate, mine, 0)
    fails_as("truncate of one's own", 0, U1, os.truncate,
             owned(U1, mode=0o200), 9)
    fd = os.open(path, os.O_RDONLY)
    fails("ftruncate of what is open to read is EINVAL",
          (errno.EINVAL, errno.EBADF), os.ftruncate, fd, 0)
    os.close(fd)
    fd = os.open(path, os.O_RDWR)
    changes("ftruncate", path, os.ftruncate, fd, 1234, mtime=True)
    os.chmod(path, 0)
    os.ftruncate(fd, 99)
    equal("ftruncate asks no mode", os.stat(path).st_size, 99)
    os.close(fd)
    fd = os.open(make("fifo"), os.O_RDWR)
    fails("ftruncate of a fifo is EINVAL", errno.EINVAL,
          os.ftruncate, fd, 0)
    os.close(fd)
    big = make("file")
    fails("truncate beyond every limit is EFBIG or EINVAL",
          (errno.EFBIG, errno.EINVAL), os.truncate, big, (1 << 63) - 1)


# ---- rename ------------------------------------------------------------------

def rename():
    for kind in KINDS:
        a, b = make(kind), name()
        ino = os.lstat(a).st_ino
        os.rename(a, b)
        check(f"rename of a {kind}: the same inode by another name",
              os.lstat(b).st_ino == ino and not os.path.lexists(a))
        d1, d2 = make("dir"), make("dir")
        os.rename(b, f"{d1}/x")
        t1, t2 = os.stat(d1).st_mtime_ns, os.stat(d2).st_mtime_ns
        pause()
        os.rename(f"{d1}/x", f"{d2}/y")
        check(f"rename of a {kind}: mtimes of both directories move",
              os.stat(d1).st_mtime_ns > t1 and
              os.stat(d2).st_mtime_ns > t2)
        changes(f"rename of a {kind}", f"{d2}/y", os.rename, f"{d2}/y",
                f"{d2}/z", mtime=False, result=f"{d2}/z")
        if kind == "dir":
            equal("rename of a directory: links of the parents",
                  (os.stat(d1).st_nlink, os.stat(d2).st_nlink), (2, 3))
            continue
        for over in KINDS:
            if over == "dir":
                fails(f"rename of a {kind} over a directory is EISDIR",
                      errno.EISDIR, os.rename, f"{d2}/z", make("dir"))
                continue
            to = make(over)
            other = name()
            os.link(to, other, follow_symlinks=False)
            ino = os.lstat(f"{d2}/z").st_ino
            pause()
            before = os.lstat(other)
            os.rename(f"{d2}/z", to)
            after = os.lstat(other)
            check(f"rename of a {kind} over a {over}",
                  os.lstat(to).st_ino == ino and after.st_nlink == 1 and
                  after.st_ctime_ns > before.st_ctime_ns)
            os.rename(to, f"{d2}/z")
    d, empty, full = make("dir"), make("dir"), make("dir")
    make("file", f"{full}/f")
    for kind in KINDS:
        if kind != "dir":
            fails(f"rename of a directory over a {kind} is ENOTDIR",
                  errno.ENOTDIR, os.rename, d, make(kind))
    fails("rename over a directory that is not empty",
          (errno.ENOTEMPTY, errno.EEXIST), os.rename, d, full)
    os.rename(full, empty)
    check("rename over an empty one", os.path.exists(f"{empty}/f"))
    os.mkdir(f"{d}/sub")
    fails("rename into itself is EINVAL", errno.EINVAL, os.rename, d,
          f"{d}/sub/x")
    fails("rename over its own parent", (errno.ENOTEMPTY, errno.EEXIST),
          os.rename, f"{d}/sub", d)
    fails("rename of '.' is EBUSY or EINVAL", (errno.EBUSY, errno.EINVAL),
          os.rename, ".", name())
    fails("rename of a directory's '..' is EBUSY or EINVAL",
          (errno.EBUSY, errno.EINVAL), os.rename, f"{d}/..", name())
    a = make("file")
    t = os.stat(a).st_ctime_ns
    os.rename(a, a)
    check("rename to itself does nothing", os.path.exists(a) and
          os.stat(a).st_ctime_ns == t)
    closed, mine = make("dir"), make("dir", mode=0o777)
    make("file", f"{closed}/f")
    fails_as("rename out of a directory one may not write is EACCES",
             errno.EACCES, U1, os.rename, f"{closed}/f", f"{mine}/f")
    x = f"{mine}/x"
    as_(U1, lambda: opened(x, os.O_CREAT))
    fails_as("rename into one", errno.EACCES, U1, os.rename, x,
             f"{closed}/x")
    os.mkdir(f"{mine}/theirs", 0o755)
    fails_as("a directory one may not write does not move to a new parent",
             errno.EACCES, U1, os.rename, f"{mine}/theirs",
             f"{as_(U1, own_dir, mine)}/theirs")
    fails_as("... but may get a new name", 0, U1, os.rename,
             f"{mine}/theirs", f"{mine}/renamed")


def own_dir(where):
    path = f"{where}/own{os.getpid()}"
    os.mkdir(path)
    return path


# ---- unlink and rmdir --------------------------------------------------------

def removing():
    for kind in KINDS:
        d = make("dir")
        path = make(kind, f"{d}/x")
        t = os.stat(d)
        pause()
        remove(path)
        after = os.stat(d)
        check(f"removing a {kind}: it is gone", not os.path.lexists(path))
        check(f"removing a {kind}: times of the directory move",
              after.st_mtime_ns > t.st_mtime_ns and
              after.st_ctime_ns > t.st_ctime_ns)
        equal(f"removing a {kind}: links of the directory",
              after.st_nlink, 2)
    for kind in KINDS:
        if kind != "dir":
            fails(f"rmdir of a {kind} is ENOTDIR", errno.ENOTDIR,
                  os.rmdir, make(kind))
    fails("unlink of a directory is EISDIR or EPERM",
          (errno.EISDIR, errno.EPERM), os.unlink, make("dir"))
    d = make("dir")
    fails("rmdir of '.' is EINVAL", errno.EINVAL, os.rmdir, f"{d}/.")
    fails("rmdir of '..'", (errno.ENOTEMPTY, errno.EEXIST, errno.EINVAL),
          os.rmdir, f"{d}/..")
    for kind in KINDS:
        full = make("dir")
        make(kind, f"{full}/x")
        fails(f"rmdir of a directory with a {kind}",
              (errno.ENOTEMPTY, errno.EEXIST), os.rmdir, full)
    closed = make("dir")
    make("file", f"{closed}/f")
    os.mkdir(f"{closed}/d")
    fails_as("unlink in a directory one may not write is EACCES",
             errno.EACCES, U1, os.unlink, f"{closed}/f")
    fails_as("rmdir in one", errno.EACCES, U1, os.rmdir, f"{closed}/d")
    path = make("file")
    fd = os.open(path, os.O_RDWR)
    os.write(fd, b"alive")
    pause()
    before = os.fstat(fd)
    os.unlink(path)
    after = os.fstat(fd)
    check("unlink of an open file: no links, ctime moves",
          after.st_nlink == 0 and after.st_ctime_ns > before.st_ctime_ns)
    equal("... and its bytes are there", os.pread(fd, 9, 0), b"alive")
    os.close(fd)
    d = make("dir")
    fd = os.open(d, os.O_RDONLY | os.O_DIRECTORY)
    os.rmdir(d)
    equal("a removed directory that is open is empty", os.listdir(fd), [])
    equal("... and has no links", os.fstat(fd).st_nlink, 0)
    fails("... and takes no files", errno.ENOENT, lambda: os.close(os.open(
        "x", os.O_CREAT | os.O_WRONLY, dir_fd=fd)))
    os.close(fd)


def sticky():
    """In a sticky directory only an owner of file or directory removes."""
    for kind in ("file", "dir", "fifo", "link"):
        for dir_uid, uid, file_uid, may in (
                (U1, U1, U2, True), (U2, U1, U1, True), (0, U1, U2, False),
                (0, U1, 0, False), (U1, U1, U1, True)):
            d = owned(dir_uid, "dir", 0o1777)
            path = make(kind, f"{d}/x")
            os.lchown(path, file_uid, file_uid)
            text = (f"sticky: a {kind} of {file_uid} in a directory of "
                    f"{dir_uid}, by {uid}")
            want = 0 if may else (errno.EPERM, errno.EACCES)
            away = owned(uid, "dir", 0o777)
            if kind != "dir" or file_uid == uid:
                fails_as(f"{text}: rename", want, uid, os.rename, path,
                         f"{away}/x")
                if may:
                    os.rename(f"{away}/x", path)
                else:
                    mine = make(kind, f"{away}/y")
                    os.lchown(mine, uid, uid)
                    fails_as(f"{text}: rename over it", want, uid,
                             os.rename, mine, path)
            fails_as(f"{text}: remove", want, uid,
                     os.rmdir if kind == "dir" else os.unlink, path)


# ---- times -------------------------------------------------------------------

def times():
    for kind in ("file", "dir", "fifo", "char"):
        path = make(kind)
        os.utime(path, ns=(1_234_567_890_123_456_789,
                           987_654_321_987_654_321))
        s = os.stat(path)
        equal(f"utimensat of a {kind}, to the nanosecond",
              (s.st_atime_ns, s.st_mtime_ns),
              (1_234_567_890_123_456_789, 987_654_321_987_654_321))
        changes(f"utimensat of a {kind}", path, os.utime, path)
        check(f"utimensat of a {kind} to now",
              abs(os.stat(path).st_mtime - time.time()) < 30)
    link_, path = name(), make("file")
    os.symlink(path, link_)
    os.utime(link_, ns=(5, 6), follow_symlinks=False)
    equal("utimensat of a link itself", os.lstat(link_).st_mtime_ns, 6)
    check("... leaves its target", os.stat(path).st_mtime_ns > 6)
    os.utime(link_, ns=(7, 8))
    equal("utimensat through a link", os.stat(path).st_mtime_ns, 8)
    for t in (0, 1, -1, 2**31 - 1, 2**31, 2**32 + 5, -2**31):
        os.utime(path, (t, t))
        equal(f"a time of {t} s", int(os.stat(path).st_mtime), t)
    writable = make("file", mode=0o666)
    fails_as("utimensat to now by one who may write", 0, U1, os.utime,
             writable)
    fails_as("... to another time by one who is not owner is EPERM",
             errno.EPERM, U1, os.utime, writable, (1, 1))
    closed = make("file", mode=0o644)
    fails_as("... to now by one who may not write is EACCES", errno.EACCES,
             U1, os.utime, closed)
    mine = owned(U1, mode=0o444)
    fails_as("an owner sets any time, whatever the mode", 0, U1, os.utime,
             mine, (1, 1))
    fails_as("... and now", 0, U1, os.utime, mine)
    path = make("file")
    changes("write", path, write_to, path, mtime=True)
    changes("a read", path, lambda: open(path, "rb").read(), ctime=False,
            mtime=False)
    changes("a write of nothing", path, write_to, path, b"", ctime=False,
            mtime=False)
    changes("setxattr", path, os.setxattr, path, "user.x", b"1",
            mtime=False)
    changes("removexattr", path, os.removexattr, path, "user.x",
            mtime=False)
    fd = os.open(path, os.O_WRONLY)
    os.utime(fd, ns=(11, 22))
    equal("futimens", os.fstat(fd).st_mtime_ns, 22)
    os.close(fd)
    equal("... and close leaves it", os.stat(path).st_mtime_ns, 22)
    d = make("dir")
    make("file", f"{d}/f")
    changes("a write in a file, its directory", d, write_to, f"{d}/f",
            ctime=False, mtime=False)
    os.utime(d, ns=(1, 2))
    os.listdir(d)
    equal("a listing leaves a directory's mtime", os.stat(d).st_mtime_ns, 2)


def set_ids():
    """Set-id bits go when another writes, stay when root does."""
    for how, fn in (("write", lambda p: write_to(p)),
                    ("truncate", lambda p: os.truncate(p, 3)),
                    ("O_TRUNC", lambda p: opened(p, os.O_WRONLY |
                                                 os.O_TRUNC))):
        for mode, left in ((0o6777, 0o777), (0o4777, 0o777),
                           (0o2777, 0o777), (0o1777, 0o1777)):
            path = make("file", mode=mode)
            as_(U1, fn, path)
            equal(f"{how} by another user: mode {mode:o}", mode_of(path),
                  left)
        path = owned(U1, mode=0o4777)
        as_(U1, fn, path)
        equal(f"{how} by the owner: set-user-id goes too", mode_of(path),
              0o777)
        path = make("file", mode=0o6777)
        fn(path)
        equal(f"{how} by root: they stay", mode_of(path), 0o6777)


# ---- who may enter -----------------------------------------------------------

def directories():
    d = owned(U1, "dir", 0o700)
    inside = make("file", f"{d}/f")
    for bits, may_list, may_enter, may_make in (
            (0, 0, 0, 0), (1, 0, 1, 0), (2, 0, 0, 0), (3, 0, 1, 1),
            (4, 1, 0, 0), (5, 1, 1, 0), (6, 1, 0, 0), (7, 1, 1, 1)):
        for who, uid, shift in (("owner", U1, 6), ("other", U2, 0)):
            os.chmod(d, bits << shift)
            text = f"a directory of mode {bits << shift:03o}, its {who}"
            no = errno.EACCES
            fails_as(f"{text}: list", 0 if may_list else no, uid,
                     os.listdir, d)
            fails_as(f"{text}: stat in it", 0 if may_enter else no, uid,
                     os.stat, inside)
            fails_as(f"{text}: make in it", 0 if may_make else no, uid,
                     os.mkdir, f"{d}/new")
            if not may_make:
                os.mkdir(f"{d}/new")
            fails_as(f"{text}: remove from it", 0 if may_make else no, uid,
                     os.rmdir, f"{d}/new")
            if not may_make:
                os.rmdir(f"{d}/new")
    fails("root enters all", 0, os.stat, inside)
    f = owned(U1, mode=0o640)
    equal("access(2) tells an owner", as_(U1, lambda: [
        os.access(f, m) for m in (os.R_OK, os.W_OK, os.X_OK)]),
        [True, True, False])
    equal("... and another", as_(U2, lambda: [
        os.access(f, m) for m in (os.R_OK, os.W_OK, os.F_OK)]),
        [False, False, True])
    equal("... and a member of the group", as_(U2, lambda: [
        os.access(f, m) for m in (os.R_OK, os.W_OK)], groups=[U1]),
        [True, False])
    os.setxattr(f, "user.k", b"v")
    fails_as("an xattr is not for one who may not read", errno.EACCES, U2,
             os.getxattr, f, "user.k")
    fails_as("... nor set by one who may not write", errno.EACCES, U2,
             os.setxattr, f, "user.k", b"w")
    fails_as("an owner reads hers", 0, U1, os.getxattr, f, "user.k")
    fails("user.* of a link is EPERM", errno.EPERM, os.setxattr,
          make("link"), "user.k", b"v", follow_symlinks=False)
    fails("user.* of a fifo is EPERM", errno.EPERM, os.setxattr,
          make("fifo"), "user.k", b"v")


if __name__ == "__main__":
    if os.geteuid() != 0:
        print("posix.py: needs root", file=sys.stderr)
        sys.exit(2)
    os.umask(0o022)
    os.setgroups([])
    for fn in (paths, chmod, chown, link, making, symlink, open_, truncate,
               rename, removing, sticky, times, set_ids, directories):
        top = os.path.join(sys.argv[1], f"posix_{fn.__name__}")
        os.mkdir(top, 0o755)
        os.chdir(top)
        group(fn)
    done()
