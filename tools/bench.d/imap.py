# imap.py - ten IMAP clients of one Dovecot with its default Maildir settings:
# the same load on mailboxes on ext4 and on the mount, in turn.
import json
import os
import random
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time

from common import Failed, Home, median_range, need, number

CLIENTS = 10
BOXES = 5               # two clients at each
MAILS = 500             # in each, to begin with
UID = 29411             # whom the mailboxes belong to; needs no account
LOG_BAD = re.compile(r"\b(Error|Warning|Panic|Fatal):")

CONFIG = """\
base_dir = {work}/run
state_dir = {work}/state
log_path = {work}/log
protocols = imap
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
mail_max_userip_connections = 100
mail_location = maildir:{work}/%d/%u/Maildir
first_valid_uid = {uid}
first_valid_gid = {uid}
default_internal_user = dovecot
default_login_user = dovenull
service imap-login {{
  inet_listener imap {{
    port = {port}
  }}
  inet_listener imaps {{
    port = 0
  }}
  process_min_avail = 1
  service_count = 0
}}
service stats {{
  unix_listener stats-writer {{
    mode = 0666
  }}
}}
passdb {{
  driver = static
  args = nopassword=y
}}
userdb {{
  driver = static
  args = uid={uid} gid={uid} home={work}/homes/%u
}}
"""


class Dovecot:
    def __init__(self, work):
        self.work = work
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        config = os.path.join(work, "dovecot.conf")
        with open(config, "w", encoding="utf-8") as f:
            f.write(CONFIG.format(work=work, port=self.port, uid=UID))
        self.p = subprocess.Popen(["dovecot", "-F", "-c", config],
                                  stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT)
        for _ in range(200):
            if self.p.poll() is not None:
                raise Failed("dovecot: " + self.p.stdout.read().decode(
                    errors="replace"))
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.05)
        raise Failed("dovecot: nobody listens after ten seconds")

    def stop(self):
        if self.p.poll() is None:
            self.p.send_signal(signal.SIGTERM)
            self.p.wait(30)

    def complaints(self):
        try:
            with open(os.path.join(self.work, "log"), encoding="utf-8",
                      errors="replace") as f:
                return [line.strip() for line in f if LOG_BAD.search(line)
                        and f"signal 15 (by pid={os.getpid()} " not in line]
        except FileNotFoundError:
            return []


def give(path):
    os.chown(path, UID, UID)


def mailboxes(where, domain, corpus):
    """Each with MAILS mails of the corpus, the same on both sides."""
    for b in range(BOXES):
        maildir = os.path.join(where, f"u{b}@{domain}", "Maildir")
        for sub in ("", "cur", "new", "tmp"):
            path = os.path.join(maildir, sub) if sub else maildir
            os.makedirs(path, exist_ok=True)
            give(path)
        give(os.path.dirname(maildir))
        for i in range(MAILS):
            name = f"{1700000000 + i}.{i}.bench"
            before = os.path.join(maildir, "tmp", name)
            with open(before, "wb") as f:
                f.write(b"X-Number: %d %d\n" % (b, i)
                        + corpus[(b * MAILS + i) % len(corpus)])
            give(before)
            os.rename(before, os.path.join(maildir, "cur", name + ":2,"))


def real_mails(maildir, many):
    """A mix of the corpus, none of them huge."""
    names = sorted(os.listdir(maildir))
    random.Random(1).shuffle(names)
    found = []
    for n in names:
        path = os.path.join(maildir, n)
        if 200 < os.path.getsize(path) < 200000:
            with open(path, "rb") as f:
                found.append(f.read())
        if len(found) == many:
            break
    return found


def load(bench, port, domain, turn, seconds):
    """All clients for so long; their figures."""
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)),
                          "imap_client.py")
    clients = [subprocess.Popen(
        [sys.executable, "-B", script, str(port), f"u{i % BOXES}@{domain}",
         str(turn * CLIENTS + i), str(seconds)], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for i in range(CLIENTS)]
    try:
        for c in clients:
            if c.stdout.readline() != "ready\n":
                raise Failed("a client: " + c.stderr.read()[-400:])
        for c in clients:
            c.stdin.write("go\n")
            c.stdin.flush()
        found = []
        for c in clients:
            said, wrong = c.communicate(timeout=seconds + 300)
            if c.returncode:
                raise Failed("a client: " + wrong[-400:])
            found.append(json.loads(said))
        return found
    except subprocess.TimeoutExpired as e:
        raise Failed(f"a client hangs, at {domain}") from e
    finally:
        for c in clients:
            if c.poll() is None:
                c.kill()
                c.wait()


def run(bench):
    need("dovecot")
    seconds = bench.options.seconds
    corpus = real_mails(os.path.join(bench.corpus_maildir()[0], "cur"), 1500)
    work = bench.place("imap")
    for sub in ("ext4.example", "home.example", "state", "homes"):
        os.makedirs(os.path.join(work, sub))
    give(os.path.join(work, "homes"))
    home = Home(os.path.join(work, "post"))
    home.mnt = os.path.join(work, "home.example")
    home.init(*(f"u{b}@home.example" for b in range(BOXES)))
    home.mount()
    bench.title("IMAP", f"Dovecot, {CLIENTS} clients at {BOXES} mailboxes, "
                f"{seconds} s a round, {bench.rounds} rounds on each in turn.")
    domains = ("ext4.example", "home.example")
    for d in domains:
        mailboxes(os.path.join(work, d), d, corpus)
    server = Dovecot(work)
    bench.at_end(server.stop)
    load(bench, server.port, domains[0], 900, 1)    # indexes are made
    load(bench, server.port, domains[1], 900, 1)
    rates = {d: [] for d in domains}
    count = {d: {} for d in domains}
    spent = {d: {} for d in domains}
    errors = []
    for turn in range(bench.rounds):
        # The other way round each time: what comes second may be busier.
        for d in domains if turn % 2 == 0 else domains[::-1]:
            os.sync()
            found = load(bench, server.port, d, turn, seconds)
            rates[d].append(sum(f["commands"] for f in found) / seconds)
            for f in found:
                errors += [f"{d}: {e}" for e in f["errors"]]
                for k, n in f["count"].items():
                    count[d][k] = count[d].get(k, 0) + n
                    spent[d][k] = spent[d].get(k, 0) + f["spent"][k]
    peak = home.memory()["VmHWM"]
    server.stop()
    home.umount()
    complaints = server.complaints()
    ratio = [p / e for e, p in zip(rates[domains[0]], rates[domains[1]])]
    bench.table(("commands each second", "ext4", "POST", "ratio", "at least",
                 "verdict"), [
        ("all clients", median_range(rates[domains[0]]),
         median_range(rates[domains[1]]), median_range(ratio), 1,
         bench.judge("IMAP load, to ext4", statistics.median(ratio), 1.0,
                     rounds=ratio))])
    bench.table(("milliseconds of each", "ext4", "POST", "times on POST"), [
        (k, *(number(1e3 * spent[d][k] / count[d][k]) if k in count[d]
              else "-" for d in domains), count[domains[1]].get(k, 0))
        for k in sorted(count[domains[0]])])
    bench.say(f"Errors of clients: {len(errors)}; complaints in Dovecot's "
              f"log: {len(complaints)}; the daemon's peak: {peak:.0f} MiB\n")
    for line in (errors + complaints)[:10]:
        bench.say(f"    {line}")
    bench.keep("imap", {"rates": rates, "errors": errors,
                        "log": complaints})
    shutil.rmtree(os.path.join(work, "ext4.example"), ignore_errors=True)
    if errors or complaints:
        raise Failed(f"{len(errors)} errors, {len(complaints)} complaints "
                     "in the log, where there must be none")
