# check.py - checks that count, printed as lib.sh prints its own, so that its
# count() adds them to a script's.
import errno
import os
import sys
import traceback

passed = 0
failed = 0


def check(name, good, detail=""):
    global passed, failed
    if good:
        passed += 1
        print(f"ok - {name}", flush=True)
    else:
        failed += 1
        print(f"not ok - {name}", flush=True)
        for line in str(detail).splitlines()[:10]:
            print(f"    {line[:300]}", flush=True)
    return good


def equal(name, got, want):
    return check(name, got == want, f"got {got!r}\nwanted {want!r}")


def skip(name, why):
    print(f"skip - {name}: {why}", flush=True)


def code_name(code):
    return errno.errorcode.get(code, str(code)) if code else "success"


def code_of(fn, *args, **named):
    """The errno of a call, 0 if it succeeded."""
    try:
        fn(*args, **named)
    except OSError as e:
        return e.errno
    return 0


def fails(name, want, fn, *args, **named):
    """The call must fail with that errno (0: succeed), or one of a tuple."""
    wants = want if isinstance(want, tuple) else (want,)
    got = code_of(fn, *args, **named)
    return check(name, got in wants,
                 f"got {code_name(got)}, wanted "
                 f"{' or '.join(code_name(w) for w in wants)}")


def group(fn, *args):
    """Run a function of checks; an exception in it is a failed one."""
    try:
        return fn(*args)
    except Exception:
        check(f"{fn.__name__}: no exception", False,
              "\n".join(traceback.format_exc().splitlines()[-8:]))
        return None


def done():
    sys.stdout.flush()
    os._exit(1 if failed or not passed else 0)
