# size.py - bytes on disk for each byte of real mail: everything in the home
# counts: packs, index, journal, the user's log, keys.
import os

from common import Home, check_imported, number, on_disk

ONE, THREE = 0.40, 0.16
USERS = ("alice@home.example", "bob@home.example", "carol@home.example")


def parts_of(home):
    """Bytes of each entry of the home, the largest first."""
    sizes = {}
    for name in os.listdir(home):
        path = os.path.join(home, name)
        sizes[name] = (on_disk(path)[0] if os.path.isdir(path)
                       else os.lstat(path).st_blocks * 512)
    return ", ".join(f"{n} {number(s / 1e6)}" for n, s in sorted(
        sizes.items(), key=lambda i: -i[1]) if s >= 50000)


def run(bench):
    maildir, mails, size = bench.corpus_maildir()
    bench.title("Size", f"{mails:,} mails of the corpus, {size / 1e6:.1f} MB, "
                "imported, mounted, unmounted; then all the home counts, as "
                "allocated on the disk.")
    home = Home(bench.place("size")).init(*USERS)
    rows, figures = [], {}
    for n, user in enumerate(USERS, 1):
        check_imported(home.post("import", "--quiet", "--user", user,
                                 maildir), mails)
        if n == 2:
            continue
        home.mount()
        home.umount()
        os.sync()
        blocks, length = on_disk(home.home)
        ratio = blocks / (n * size)
        target = ONE if n == 1 else THREE
        what = "one mailbox" if n == 1 else "the same mails in three mailboxes"
        rows.append((what, f"{blocks / 1e6:.1f}", f"{length / 1e6:.1f}",
                     f"{ratio:.3f}", f"{target:.2f}",
                     bench.judge(f"bytes on disk for each byte, {what}",
                                 ratio, target, at_most=True),
                     parts_of(home.home)))
        figures[what] = ratio
    bench.table(("what", "MB on disk", "MB long", "to each byte of mail",
                 "at most", "verdict", "of that, MB"), rows)
    bench.keep("size", figures)
