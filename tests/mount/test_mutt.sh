#!/bin/bash
# test_mutt.sh - Mutt on a mailbox of the mount; mua.sh is what it does.
. "$(dirname "$0")/mua.sh" mutt
