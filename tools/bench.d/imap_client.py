# imap_client.py PORT USER SEED SECONDS - one IMAP client that does a random
# mix of what clients do, as fast as it is answered; prints one JSON object:
# commands, counts and seconds of each kind, errors.
#
# Little is parsed, so that the server is measured and not this.
import json
import random
import re
import socket
import sys
import time

FETCHED = 40            # messages of which headers are fetched at once
KEPT = 400              # messages that a mailbox is kept at, about
IDLE_S = 0.02


class Connection:
    def __init__(self, port, user):
        self.sock = socket.create_connection(("127.0.0.1", port), 60)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.tag = 0
        self.unique = b"%08x" % random.getrandbits(32)
        self.until(b"\n", b"")
        self.must(b"LOGIN %s x" % user.encode())

    def until(self, end, had):
        """Read until the answer has a line that begins with `end`."""
        parts, tail = [had], had
        while True:
            if end in tail:
                if tail.endswith(b"\n"):
                    return b"".join(parts)
            got = self.sock.recv(262144)
            if not got:
                raise ConnectionError("the server hung up")
            parts.append(got)
            tail = (tail + got)[-65536:]

    def command(self, text):
        """(OK, NO or BAD; all that was said)"""
        self.tag += 1
        tag = b"%s.%d" % (self.unique, self.tag)
        self.sock.sendall(tag + b" " + text + b"\r\n")
        return self.answer(tag)

    def answer(self, tag):
        said = self.until(b"\n" + tag + b" ", b"\n")
        at = said.rindex(b"\n" + tag + b" ") + len(tag) + 2
        return said[at:].split(b" ", 1)[0], said

    def must(self, text):
        status, said = self.command(text)
        if status != b"OK":
            raise RuntimeError(f"{text[:60]!r}: {said[-200:]!r}")
        return said

    def begin(self, text):
        """A command that is continued; its tag."""
        self.tag += 1
        tag = b"%s.%d" % (self.unique, self.tag)
        self.sock.sendall(tag + b" " + text + b"\r\n")
        return tag

    def append(self, folder, mail):
        tag = self.begin(b"APPEND %s (\\Seen) {%d}" % (folder, len(mail)))
        said = self.until(b"\n+", b"\n")
        if b"\n+" not in said:
            return b"NO", said
        self.sock.sendall(mail + b"\r\n")
        return self.answer(tag)

    def idle(self):
        tag = self.begin(b"IDLE")
        self.until(b"\n+", b"\n")
        time.sleep(IDLE_S)
        self.sock.sendall(b"DONE\r\n")
        return self.answer(tag)


class Client:
    def __init__(self, port, user, seed):
        self.rng = random.Random(seed)
        self.seed = seed
        self.c = Connection(port, user)
        self.uids = []
        self.sent = 0
        self.words = ["alpha", "bravo", "delta", "golf", "hotel", "kilo"]
        # Made here, so that a client spends little of the processor later.
        self.bodies = ["\r\n".join(" ".join(self.rng.choices(self.words, k=10))
                                   for _ in range(self.rng.randrange(10, 300)))
                       for _ in range(30)]
        status, said = self.c.command(b"CREATE Archive")
        if status != b"OK" and b"ALREADYEXISTS" not in said:
            raise RuntimeError(f"CREATE: {said[-200:]!r}")
        self.select()

    def select(self):
        answer = self.c.command(b"SELECT INBOX")
        status, said = self.c.command(b"UID SEARCH UNDELETED")
        found = re.search(rb"\* SEARCH([ 0-9]*)", said)
        self.uids = [int(u) for u in found.group(1).split()] if found else []
        return answer if answer[0] != b"OK" else (status, said)

    def some(self, many):
        at = self.rng.randrange(max(1, len(self.uids) - many + 1))
        return b",".join(b"%d" % u for u in self.uids[at:at + many])

    def mail(self):
        self.sent += 1
        rng = self.rng
        body = rng.choice(self.bodies)
        return (f"From: Client {self.seed} <c{self.seed}@lists.example>\r\n"
                f"To: user@home.example\r\nSubject: {rng.choice(self.words)} "
                f"{self.sent}\r\nDate: Mon, 06 Jan 2025 00:00:00 +0000\r\n"
                f"Message-ID: <{self.seed}.{self.sent}.{rng.random()}@lists."
                f"example>\r\n\r\n{body}\r\n").encode()

    # ---- what clients do

    def headers(self):
        return self.c.command(
            b"UID FETCH %s (UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK["
            b"HEADER.FIELDS (From To Subject Date Message-ID)])"
            % self.some(FETCHED))

    def body(self):
        return self.c.command(b"UID FETCH %s (BODY.PEEK[])" % self.some(1))

    def structure(self):
        return self.c.command(b"UID FETCH %s (ENVELOPE BODYSTRUCTURE)"
                              % self.some(10))

    def store(self):
        return self.c.command(b"UID STORE %s %sFLAGS.SILENT (%s)" % (
            self.some(self.rng.choice((1, 1, 1, 5))), self.rng.choice(
                (b"+", b"-")), self.rng.choice((
                    b"\\Seen", b"\\Flagged", b"\\Answered", b"$Label1"))))

    def search(self):
        word = self.rng.choice(self.words).encode()
        return self.c.command(b"UID SEARCH " + self.rng.choice((
            b"UNSEEN", b"FLAGGED", b"HEADER Subject " + word,
            b"SINCE 1-Jan-2020 SUBJECT " + word, b"BODY " + word)))

    def append(self):
        return self.c.append(b"INBOX", self.mail())

    def copy(self):
        return self.c.command(b"UID COPY %s Archive" % self.some(2))

    def expunge(self):
        many = 3 if len(self.uids) > KEPT else 1
        gone = self.some(many)
        answer = self.c.command(b"UID STORE %s +FLAGS.SILENT (\\Deleted)"
                                % gone)
        if answer[0] != b"OK":
            return answer
        named = {int(u) for u in gone.split(b",") if u}
        self.uids = [u for u in self.uids if u not in named]
        return self.c.command(b"EXPUNGE")

    def idle(self):
        return self.c.idle()

    MIX = ((select, 4), (headers, 14), (body, 24), (structure, 6),
           (store, 20), (search, 6), (append, 9), (copy, 6), (expunge, 8),
           (idle, 3))

    def work(self, seconds):
        kinds = [k for k, _ in self.MIX]
        weights = [w for _, w in self.MIX]
        count, spent, errors, commands = {}, {}, [], 0
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            kind = self.rng.choices(kinds, weights)[0]
            if len(self.uids) < FETCHED:
                kind = Client.append if self.rng.random() < .5 \
                    else Client.select
            begun, before = time.monotonic(), self.c.tag
            status, said = kind(self)
            name = kind.__name__
            count[name] = count.get(name, 0) + 1
            spent[name] = spent.get(name, 0) + time.monotonic() - begun
            commands += self.c.tag - before
            # Another client of the mailbox may have expunged it meanwhile;
            # then RFC 3501 has the server say NO.
            if status != b"OK" and not (
                    status == b"NO" and (b"EXPUNGEISSUED" in said or
                                         b"no longer exist" in said)):
                errors.append(f"{name}: {said[-200:]!r}")
        self.c.must(b"LOGOUT")
        return {"commands": commands, "count": count, "spent": spent,
                "errors": errors}


def main():
    port, user, seed, seconds = sys.argv[1:5]
    client = Client(int(port), user, int(seed))
    print("ready", flush=True)
    sys.stdin.readline()        # all begin together
    print(json.dumps(client.work(float(seconds))))


if __name__ == "__main__":
    main()
