#!/bin/bash
# test_neomutt.sh - NeoMutt on a mailbox of the mount; mua.sh is what it does.
. "$(dirname "$0")/mua.sh" neomutt
