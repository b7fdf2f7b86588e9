# imap.py HOST PORT MAILDIR [LMTP-SOCKET] - a conversation with Dovecot about the
# Maildir that it serves, from outside and from the files' side.
import imaplib
import os
import pwd
import re
import smtplib
import subprocess
import sys
import time

from check import check, done, equal, group

host, port, maildir = sys.argv[1], int(sys.argv[2]), sys.argv[3]
lmtp_socket = sys.argv[4] if len(sys.argv) > 4 else None
USER = "alice@home.example"
HERE = os.path.dirname(os.path.abspath(__file__))
owner = os.stat(maildir).st_uid
imaplib.Commands.setdefault("MOVE", ("SELECTED",))


def mail(n, body="body"):
    return (f"From: Bob <bob@lip6.example>\r\nTo: <{USER}>\r\n"
            f"Subject: imap {n}\r\nDate: Sun, 1 Nov 2026 12:00:00 +0000\r\n"
            f"Message-ID: <imap{n}.{os.getpid()}@lip6.example>\r\n\r\n"
            f"{body} {n}\r\n").encode()


def deliver(n, body="body"):
    """As another process and the mail user would."""
    p = subprocess.run(
        [sys.executable, "-B", os.path.join(HERE, "deliver.py"), maildir],
        input=mail(n, body).replace(b"\r\n", b"\n"), capture_output=True,
        check=True, user=owner, group=owner, extra_groups=[], cwd="/")
    return p.stdout.decode().strip()


def session(box="INBOX"):
    c = imaplib.IMAP4(host, port, timeout=30)
    c.login(USER, "secret")
    if box:
        good(c.select(box))
    return c


def good(answer):
    if answer[0] != "OK":
        raise RuntimeError(f"answered {answer}")
    return answer[1]


def search(c, *words):
    words = [f'"{w}"' if " " in w else w for w in words]
    return good(c.uid("SEARCH", *words))[0].split()


def flags(c, uid):
    text = good(c.uid("FETCH", uid, "(FLAGS)"))[0]
    return set(imaplib.ParseFlags(text))


def fetch(c, uid):
    return good(c.uid("FETCH", uid, "(BODY.PEEK[])"))[0][1]


def files(box=""):
    out = []
    for sub in ("new", "cur"):
        out += os.listdir(os.path.join(maildir, box, sub))
    return out


def file_of(name, box=""):
    found = [f for f in files(box) if f.startswith(name)]
    return found[0] if len(found) == 1 else None


def seen_in_files(name, letters):
    have = file_of(name)
    return have is not None and set(letters) <= set(have.partition(":2,")[2])


def reading():
    names = [deliver(n) for n in range(1, 6)]
    c = session(None)
    equal("SELECT counts what was delivered", good(c.select("INBOX")),
          [b"5"])
    uids = search(c, "ALL")
    equal("SEARCH ALL", len(uids), 5)
    for n, uid in enumerate(uids, 1):
        equal(f"FETCH {n} is what was delivered", fetch(c, uid), mail(n))
    data = good(c.uid("FETCH", uids[0], "(ENVELOPE RFC822.SIZE "
                      "INTERNALDATE BODYSTRUCTURE)"))[0]
    check("FETCH ENVELOPE, RFC822.SIZE and INTERNALDATE",
          b'"imap 1"' in data and b"RFC822.SIZE %d" % len(mail(1)) in data
          and b"INTERNALDATE" in data, data)
    equal("SEARCH SUBJECT", search(c, "SUBJECT", "imap 3"), [uids[2]])
    equal("SEARCH TEXT", search(c, "TEXT", "body 4"), [uids[3]])
    equal("SEARCH UNSEEN", len(search(c, "UNSEEN")), 5)
    good(c.uid("FETCH", uids[0], "(BODY[])"))
    equal("reading sets \\Seen", search(c, "UNSEEN"), uids[1:])
    c.logout()
    return names


def storing(names):
    c = session()
    uids = search(c, "ALL")
    good(c.uid("STORE", uids[0], "+FLAGS", r"(\Flagged \Answered)"))
    check("STORE flags are shown",
          {rb"\Flagged", rb"\Answered"} <= flags(c, uids[0]))
    good(c.uid("STORE", uids[0], "-FLAGS", r"(\Answered)"))
    check("... and taken away", rb"\Answered" not in flags(c, uids[0]))
    good(c.uid("STORE", uids[1], "+FLAGS", "(Important $Label1)"))
    check("keywords are shown", {b"Important", b"$Label1"} <=
          flags(c, uids[1]))
    equal("SEARCH KEYWORD", search(c, "KEYWORD", "Important"), [uids[1]])
    c.logout()
    check("flags are in the file's name", seen_in_files(names[0], "F"),
          files())
    check("keywords are letters in the file's name",
          seen_in_files(names[1], "ab"), files())
    c = session()
    check("flags and keywords are there in a new session",
          rb"\Flagged" in flags(c, uids[0]) and
          b"Important" in flags(c, uids[1]))
    c.logout()
    # A mail program renames the file; Dovecot sees it.
    name = file_of(names[4])
    where = "new" if name in os.listdir(f"{maildir}/new") else "cur"
    os.rename(f"{maildir}/{where}/{name}",
              f"{maildir}/cur/{names[4]}:2,FS")
    c = session()
    check("a flag set by renaming the file is seen",
          rb"\Flagged" in flags(c, uids[4]))
    c.logout()


def moving(names):
    c = session()
    uids = search(c, "ALL")
    good(c.create("Archive"))
    check("CREATE makes a Maildir++ folder",
          os.path.isdir(f"{maildir}/.Archive/cur"))
    good(c.uid("COPY", uids[2], "Archive"))
    equal("COPY copies", len(files(".Archive")), 1)
    check("... and leaves the first", file_of(names[2]) is not None)
    good(c.uid("MOVE", uids[3], "Archive"))
    equal("MOVE moves", len(files(".Archive")), 2)
    check("... and does not leave it", file_of(names[3]) is None)
    equal("SEARCH no longer finds it", search(c, "ALL"),
          uids[:3] + uids[4:])
    good(c.uid("STORE", uids[4], "+FLAGS", r"(\Deleted)"))
    good(c.expunge())
    check("EXPUNGE removes the file", file_of(names[4]) is None)
    equal("... and the message", search(c, "ALL"), uids[:3])
    good(c.select("Archive"))
    equal("the other folder shows what came, byte for byte",
          [fetch(c, u) for u in search(c, "ALL")], [mail(3), mail(4)])
    good(c.select("INBOX"))
    listed = [line.decode() for line in good(c.list())]
    check("LIST shows both", any("Archive" in s for s in listed) and
          any("INBOX" in s for s in listed), listed)
    good(c.rename("Archive", "Archive2"))
    check("RENAME of a folder", os.path.isdir(f"{maildir}/.Archive2/cur")
          and not os.path.exists(f"{maildir}/.Archive"))
    good(c.subscribe("Archive2"))
    data = good(c.status("Archive2", "(MESSAGES UIDNEXT UIDVALIDITY)"))
    check("STATUS", b"MESSAGES 2" in data[0], data)
    good(c.delete("Archive2"))
    check("DELETE of a folder",
          not os.path.exists(f"{maildir}/.Archive2"))
    c.logout()


def appending():
    c = session()
    big = mail(50, "x" * 70000)
    for what in (mail(40), big):
        good(c.append("INBOX", r"(\Seen)",
                      '" 1-Nov-2026 12:00:00 +0000"', what))
    uids = search(c, "SUBJECT", "imap 40") + search(c, "SUBJECT", "imap 50")
    equal("APPEND: read back", [fetch(c, u) for u in uids],
          [mail(40), big])
    check("APPEND: flags", rb"\Seen" in flags(c, uids[0]))
    sizes = [f for f in files() if ",S=" in f]
    check("APPEND: ,S= in the name is the file's size",
          sizes and all(os.stat(f"{maildir}/cur/{f}").st_size ==
                        int(re.search(r",S=(\d+)", f)[1])
                        for f in sizes if f in os.listdir(f"{maildir}/cur")),
          sizes)
    dates = good(c.uid("FETCH", uids[0], "(INTERNALDATE)"))[0]
    check("APPEND: INTERNALDATE is kept", b"01-Nov-2026 12:00:00" in dates
          or b" 1-Nov-2026 12:00:00" in dates, dates)
    c.logout()


def idling():
    c = session()
    before = len(search(c, "ALL"))
    c.send(b"%s IDLE\r\n" % c._new_tag())
    check("IDLE is answered", c.readline().startswith(b"+"))
    began = time.monotonic()
    name = deliver(60)
    line = b""
    c.sock.settimeout(30)
    try:
        while b"EXISTS" not in line:
            line = c.readline()
            if not line:
                break
    except OSError as e:
        line = repr(e).encode()
    took = time.monotonic() - began
    check(f"IDLE announces what another process delivers (after {took:.1f} "
          "s)", b"%d EXISTS" % (before + 1) in line and took < 5, line)
    c.send(b"DONE\r\n")
    while b"OK" not in c.readline():
        pass
    c.logout()
    check("... which is in the Maildir", file_of(name) is not None)


def two_sessions():
    a, b = session(), session()
    uid = search(a, "ALL")[0]
    good(a.uid("STORE", uid, "+FLAGS", r"(\Draft)"))
    good(b.noop())
    check("a second session sees a flag", rb"\Draft" in flags(b, uid))
    good(a.append("INBOX", None, None, mail(70)))
    good(b.noop())
    new = search(b, "SUBJECT", "imap 70")
    equal("... and a new message", len(new), 1)
    good(b.uid("STORE", new[0], "+FLAGS", r"(\Deleted)"))
    good(b.expunge())
    good(a.noop())
    equal("... and the first its removal", search(a, "SUBJECT", "imap 70"),
          [])
    for i in range(30):
        good(a.append("INBOX", None, None, mail(100 + i)))
        good(b.append("INBOX", None, None, mail(200 + i)))
        if i % 3 == 0:
            u = search(b, "ALL")[-1]
            good(b.uid("STORE", u, "+FLAGS", r"(\Seen)"))
    good(a.noop())
    good(b.noop())
    ua, ub = search(a, "ALL"), search(b, "ALL")
    equal("after 60 appends by both they agree", ua, ub)
    equal("... and each message is there once",
          len(search(a, "SUBJECT", "imap 1")) >= 30, True)
    equal("... as many as files", len(ua), len(files()))
    validity = [s.response("UIDVALIDITY")[1] for s in (a, b)]
    check("... under one UIDVALIDITY", validity[0] == validity[1], validity)
    a.logout()
    b.logout()


def lmtp():
    with smtplib.LMTP(lmtp_socket) as s:
        for n in range(300, 305):
            refused = s.sendmail("bob@lip6.example", [USER], mail(n))
            check(f"LMTP delivers {n}", refused == {}, refused)
        refused = s.sendmail("bob@lip6.example", [USER],
                             mail(310, "y" * 200000))
        check("LMTP delivers a large one", refused == {}, refused)
    c = session()
    for n in (300, 304, 310):
        uid = search(c, "SUBJECT", f"imap {n}")
        body = fetch(c, uid[0]) if uid else b""
        want = mail(n, "y" * 200000 if n == 310 else "body")
        check(f"LMTP: {n} ends with what was sent", body.endswith(want),
              body[:200])
    c.logout()


def owned():
    uids = {os.lstat(os.path.join(where, f)).st_uid
            for where, dirs, names in os.walk(maildir)
            for f in dirs + names}
    equal("every file belongs to the mail user", uids, {owner})
    check("... who is an ordinary one", owner != 0,
          pwd.getpwuid(owner).pw_name)


if __name__ == "__main__":
    found = group(reading)
    if found:
        group(storing, found)
        group(moving, found)
    group(appending)
    group(idling)
    group(two_sessions)
    if lmtp_socket:
        group(lmtp)
    group(owned)
    done()
