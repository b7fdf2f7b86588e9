# odd.py make MAILDIR STATE - deliver mail that no program should have written,
# and mail at the limits; note the hashes in STATE.
# odd.py verify MAILDIR STATE - is every byte of it there?
import base64
import hashlib
import json
import os
import random
import sys

from check import check, done
from deliver import deliver

HEAD = b"From: Bob <bob@lip6.example>\nSubject: odd\nMIME-Version: 1.0\n"
chance = random.Random(20261101)


def multipart(boundary, *parts, end=True, eol=b"\n"):
    out = (b"Content-Type: multipart/mixed; boundary=\"" + boundary + b"\"" +
           eol + eol)
    for part in parts:
        out += b"--" + boundary + eol + part + eol
    return out + (b"--" + boundary + b"--" + eol if end else b"")


def encoded(data, eol=b"\n", width=76):
    text = base64.b64encode(data)
    return (b"Content-Type: application/octet-stream" + eol +
            b"Content-Transfer-Encoding: base64" + eol + eol +
            eol.join(text[i:i + width] for i in range(0, len(text), width))
            + eol)


def nested(levels):
    """Multiparts in multiparts, all of them open to the end."""
    out = [HEAD]
    for i in range(levels):
        out.append(b"Content-Type: multipart/mixed; boundary=\"b%d\"\n\n"
                   b"--b%d\n" % (i, i))
    out.append(b"\nat the bottom\n")
    out += [b"--b%d--\n" % i for i in reversed(range(levels))]
    return b"".join(out)


def damaged(mail):
    """The mail with some of what a broken program does to it."""
    data = bytearray(mail)
    for _ in range(chance.randint(1, 8)):
        at = chance.randrange(len(data) or 1)
        data = data or bytearray(b"x")
        match chance.randrange(5):
            case 0:
                data[at] ^= 1 << chance.randrange(8)
            case 1:
                del data[at:at + chance.randrange(200)]
            case 2:
                data[at:at] = chance.randbytes(chance.randrange(50))
            case 3:
                data[at:at] = data[:chance.randrange(300)]
            case 4:
                data = data[:at]
    return bytes(data)


def mails():
    blob = chance.randbytes(60000)
    whole = HEAD + multipart(
        b"=_x", b"Content-Type: text/plain\n\nhello\n", encoded(blob))
    crlf = whole.replace(b"\n", b"\r\n")
    out = {
        "empty": b"",
        "one newline": b"\n",
        "no header": b"\nbody only\n",
        "no body": HEAD,
        "no end of header": HEAD.rstrip(b"\n"),
        "ordinary": whole,
        "CRLF": crlf,
        "CR only": whole.replace(b"\n", b"\r"),
        "mixed line ends": whole[:500] + crlf[500:],
        "NULs": HEAD + b"\n\0\0\0body\0",
        "only NULs": b"\0" * 70000,
        "random bytes": chance.randbytes(300000),
        "8-bit header": b"Subject: \xff\xfe\x80\n\n\x80\n",
        "no last newline": whole.rstrip(b"\n"),
        "never closed": HEAD + multipart(b"y", encoded(blob), end=False),
        "closed twice": whole + b"--=_x--\n--=_x--\n",
        "text after the end": whole + b"epilogue\n" * 1000,
        "empty boundary": HEAD + multipart(b"", encoded(blob)),
        "boundary of 300 bytes": HEAD + multipart(b"z" * 300, encoded(blob)),
        "boundary of which another begins": HEAD + multipart(
            b"a", multipart(b"ab", encoded(blob)), encoded(blob)),
        "same boundary twice": HEAD + multipart(
            b"a", multipart(b"a", encoded(blob)), encoded(blob)),
        "base64, odd lines": HEAD + encoded(blob, width=61),
        "base64, long line": HEAD + encoded(blob, width=10**6),
        "base64, padding inside": HEAD + encoded(blob[:1000]) +
        encoded(blob[:1001])[80:],
        "base64, blanks at line ends": HEAD + encoded(blob).replace(
            b"\n", b" \n"),
        "base64, junk between": HEAD + encoded(blob).replace(b"AA", b"A*A"),
        "base64, no end": HEAD + encoded(blob)[:-3],
        "base64, unused bits set": HEAD + b"Content-Transfer-Encoding: "
        b"base64\n\n" + b"QUJDREU5\n" * 900 + b"QR==\n",
        "quoted-printable, broken": HEAD + b"Content-Transfer-Encoding: "
        b"quoted-printable\n\n" + b"=ZZ=3=\n=\t\n==" * 500,
        "uuencoded": HEAD + b"\nbegin 644 x\n#0V%T\n`\nend\n",
        "a header line of 1 MB": b"Subject: " + b"s" * (1 << 20) + b"\n\n",
        "100,000 header lines": b"X-A: b\n" * 100000 + b"\nbody\n",
        "a folded header without end": b"X: 1\n" + b" more\n" * 50000,
        "a million short lines": HEAD + b"\n" + b"\n" * 1000000,
        "10,000 multiparts in one another": nested(10000),
        "10,000 mails in one another": (
            HEAD + b"Content-Type: message/rfc822\n\n") * 10000 + b"end\n",
        "10,000 parts": HEAD + multipart(
            b"p", *[b"\npart %d\n" % i for i in range(10000)]),
        "10,000 attachments": HEAD + multipart(
            b"p", *[encoded(b"%d" % i * 20) for i in range(10000)]),
        "100 MB, an attachment": HEAD + multipart(
            b"big", encoded(chance.randbytes(75 << 20))),
        "100 MB of text": HEAD + b"\n" + b"line of a long log 1234\n" *
        4400000,
        "content type in a loop": HEAD + b"Content-Type: " + b"(" * 50000 +
        b"multipart/mixed; boundary=x\n\n--x\n--x--\n",
    }
    for i in range(200):
        out[f"damaged {i}"] = damaged(whole if i % 2 else crlf)
    return out


def make(maildir, state):
    hashes = {}
    for number, (title, data) in enumerate(mails().items()):
        name = f"odd.{number}.x"
        deliver(maildir, data, name, sync=number % 4 == 0)
        hashes[name] = (title, hashlib.sha256(data).hexdigest(), len(data))
    with open(state, "w") as f:
        json.dump(hashes, f)
    check(f"{len(hashes)} odd mails are taken", True)


def verify(maildir, state):
    with open(state) as f:
        hashes = json.load(f)
    bad = {}
    for name, (title, digest, size) in hashes.items():
        got = hashlib.sha256()
        path = f"{maildir}/new/{name}"
        try:
            with open(path, "rb") as f:
                while part := f.read(1 << 20):
                    got.update(part)
            if got.hexdigest() != digest or os.stat(path).st_size != size:
                bad[title] = "other bytes"
        except OSError as e:
            bad[title] = str(e)
    for title, digest, size in hashes.values():
        if not title.startswith("damaged "):
            check(f"{title}: every byte", title not in bad, bad.get(title))
    wrong = [(t, w) for t, w in bad.items() if t.startswith("damaged ")]
    check("200 damaged mails: every byte", not wrong, wrong[:3])


if __name__ == "__main__":
    {"make": make, "verify": verify}[sys.argv[1]](*sys.argv[2:])
    done()
