/* message_test.h - a frame through its reader and its writer again. */
#ifndef POST_TESTS_UNIT_MESSAGE_TEST_H
#define POST_TESTS_UNIT_MESSAGE_TEST_H

#include "overlay/message.h"

#include <stdlib.h>

#define UNTOUCHED 0xa5

/* Aborts if a refused frame left traces, or if what was read can not be
 * written into as many bytes as it came in. */
#define MESSAGE_AGAIN(function, type)                                          \
	do {                                                                   \
		struct msg_##type m, was;                                      \
                                                                               \
		memset(&was, UNTOUCHED, sizeof(was));                          \
		memcpy(&m, &was, sizeof(m));                                   \
		e = msg_##function##_decode(frame, len, &m);                   \
		if (e && memcmp(&m, &was, sizeof(m)) != 0)                     \
			abort();                                               \
		if (!e && !msg_##function##_encode(&m, out, len, out_len))     \
			abort();                                               \
	} while (0)

static inline enum err
message_again(enum message_kind kind, const uint8_t *frame, size_t len,
    uint8_t *out, size_t *out_len)
{
	enum err e = ERR_MALFORMED;

	switch (kind) {
	case MSG_HELLO:
		MESSAGE_AGAIN(hello, hello);
		break;
	case MSG_PING:
		MESSAGE_AGAIN(ping, ping);
		break;
	case MSG_PONG:
		MESSAGE_AGAIN(pong, ping);
		break;
	case MSG_LEAVES:
		MESSAGE_AGAIN(leaves, leaves);
		break;
	case MSG_BEAT:
		MESSAGE_AGAIN(beat, beat);
		break;
	case MSG_CELLS:
		MESSAGE_AGAIN(cells, cells);
		break;
	case MSG_ROUTE:
		MESSAGE_AGAIN(route, route);
		break;
	case MSG_ROUTE_ACK:
		MESSAGE_AGAIN(route_ack, route_ack);
		break;
	case MSG_RELAY:
		MESSAGE_AGAIN(relay, relay);
		break;
	case MSG_DIRECT:
		MESSAGE_AGAIN(direct, direct);
		break;
	case MSG_REVOKED:
		MESSAGE_AGAIN(revoked, revoked);
		break;
	case MSG_KIND_END:
		break;
	}
	return e;
}

/* By every reader: at most the one of its kind takes it, and then it is
 * written again as it came.  ERR_MALFORMED, or OK. */
static inline enum err
message_read(const uint8_t *frame, size_t len)
{
	enum message_kind kind = message_kind(frame, len);
	uint8_t *out = malloc(len + !len);
	enum err verdict = ERR_MALFORMED;
	size_t out_len = 0;

	if (!out)
		abort();
	for (int k = MSG_HELLO; k < MSG_KIND_END; k++) {
		enum message_kind reader = (enum message_kind)k;
		enum err e = message_again(reader, frame, len, out, &out_len);

		if (e == OK) {
			if (reader != kind || out_len != len ||
			    memcmp(out, frame, len) != 0)
				abort();
			verdict = OK;
		} else if (e != ERR_MALFORMED) {
			abort();
		}
	}
	free(out);
	return verdict;
}

#endif
