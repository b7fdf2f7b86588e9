/* session_private.h - what a session says before and beside the handshake, for
 * session.c and for tests that play a peer which is not one of ours. */
#ifndef POST_OVERLAY_SESSION_PRIVATE_H
#define POST_OVERLAY_SESSION_PRIVATE_H

#include "overlay/noise.h"
#include "overlay/session.h"

/* The prologue: the label without its NUL, then the ring's id. */
#define SESSION_LABEL "POST session 1"
#define SESSION_PROLOGUE_BYTES (sizeof(SESSION_LABEL) - 1 + ID_BYTES)
void session_prologue(
    const struct ring *ring, uint8_t out[SESSION_PROLOGUE_BYTES]);

/* Rekey after so many transport messages instead of SESSION_REKEY_MESSAGES;
 * before any was sent or received, and on both sides the same. */
void session_rekey_after(struct session *s, uint32_t messages);

#endif
