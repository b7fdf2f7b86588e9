/* The trace: a line for each thing that happens, for people and grep.
 *
 *        12.345678 n17 > n42 LEAVES ask left 12 right 12 dead 0
 *        12.345678 n42 ready
 */
#include "tools/sim_private.h"

#include <inttypes.h>
#include <stdarg.h>

static void
print_time(struct sim *s)
{
	fprintf(s->config.trace, "%8" PRIu64 ".%06" PRIu64 " ",
	    s->now_us / SIM_SECOND, s->now_us % SIM_SECOND);
}

void
sim_trace_say(struct sim *s, const char *format, ...)
{
	va_list args;

	if (!s->config.trace)
		return;
	print_time(s);
	va_start(args, format);
	vfprintf(s->config.trace, format, args);
	va_end(args);
	fputc('\n', s->config.trace);
}

static void
print_peer(struct sim *s, const struct peer *p)
{
	uint32_t i = sim_find(s, p);

	if (i == SIM_NONE)
		fputs("n?", s->config.trace);
	else
		fprintf(s->config.trace, "n%" PRIu32, i);
}

static void
print_key(FILE *f, const struct id *key)
{
	fprintf(f, " key %02x%02x%02x%02x", key->b[0], key->b[1], key->b[2],
	    key->b[3]);
}

static void
print_leaves(FILE *f, const uint8_t *bytes, size_t len)
{
	struct msg_leaves m;

	if (msg_leaves_decode(bytes, len, &m))
		fputs(" malformed", f);
	else
		fprintf(f, "%s%s left %u right %u dead %u", m.ask ? " ask" : "",
		    m.ready ? " ready" : "", m.left, m.right, m.failed);
}

static void
print_beat(FILE *f, const uint8_t *bytes, size_t len)
{
	struct msg_beat m;

	if (msg_beat_decode(bytes, len, &m))
		fputs(" malformed", f);
	else
		fprintf(f, "%s%s%s lease %" PRIu32 " ms", m.ask ? " ask" : "",
		    m.grant ? " grant" : "", m.ready ? " ready" : "",
		    m.lease_ms);
}

static void
print_route(FILE *f, const uint8_t *bytes, size_t len)
{
	struct msg_route m;

	if (msg_route_decode(bytes, len, &m)) {
		fputs(" malformed", f);
		return;
	}
	fprintf(f, " service %u hops %u tries %u nonce %" PRIx64, m.service,
	    m.hops, m.tries, m.nonce);
	print_key(f, &m.key);
}

static void
print_cells(FILE *f, const uint8_t *bytes, size_t len)
{
	struct msg_cells m;

	if (msg_cells_decode(bytes, len, &m))
		fputs(" malformed", f);
	else if (m.ask_row == CELLS_ASK_NONE)
		fprintf(f, " cells %u", m.count);
	else
		fprintf(f, " cells %u ask row %u", m.count, m.ask_row);
}

static void
print_frame(FILE *f, const uint8_t *bytes, size_t len)
{
	enum message_kind kind = message_kind(bytes, len);
	struct msg_relay relay;
	struct rd r;

	fprintf(f, " %s", kind ? message_name(kind) : "GARBAGE");
	switch (kind) {
	case MSG_LEAVES:
		print_leaves(f, bytes, len);
		break;
	case MSG_BEAT:
		print_beat(f, bytes, len);
		break;
	case MSG_ROUTE:
		print_route(f, bytes, len);
		break;
	case MSG_CELLS:
		print_cells(f, bytes, len);
		break;
	case MSG_PING:
	case MSG_PONG:
	case MSG_ROUTE_ACK:
		rd_init(&r, bytes + 1, len - 1);
		fprintf(f, " nonce %" PRIx64, rd_be(&r, 8));
		break;
	case MSG_RELAY:
		if (msg_relay_decode(bytes, len, &relay))
			fputs(" malformed", f);
		else /* one level: a relayed frame is no RELAY */
			fprintf(f, " of %s",
			    message_name(
				message_kind(relay.frame, relay.frame_len)));
		break;
	default:
		fprintf(f, " %zu bytes", len);
	}
}

void
sim_trace_item(struct sim *s, const struct sim_item *it)
{
	FILE *f = s->config.trace;

	if (!f)
		return;
	print_time(s);
	if (it->kind == ITEM_FRAME) {
		fprintf(f, "n%" PRIu32 " > n%" PRIu32, it->from, it->to);
		print_frame(f, it->u.frame->bytes, it->u.frame->len);
	} else if (it->kind == ITEM_UP) {
		fprintf(f, "n%" PRIu32 " has a link with n%" PRIu32, it->to,
		    it->from);
	} else {
		fprintf(f, "n%" PRIu32 " has no link with ", it->to);
		print_peer(s, it->u.peer);
	}
	fputc('\n', f);
}

void
sim_trace_action(struct sim *s, uint32_t i, const struct node_action *a)
{
	static const char *const word[] = {
		[NODE_ACT_SEND] = "sends",
		[NODE_ACT_CONNECT] = "connects to ",
		[NODE_ACT_DROP] = "drops ",
		[NODE_ACT_DELIVER] = "delivers",
		[NODE_ACT_LOST] = "gives up",
		[NODE_ACT_READY] = "ready",
		[NODE_ACT_UNREADY] = "not ready",
		[NODE_ACT_LEAVES_CHANGED] = "leaves changed",
	};
	FILE *f = s->config.trace;

	if (!f || (unsigned)a->kind >= sizeof(word) / sizeof(word[0]))
		return;
	print_time(s);
	fprintf(f, "n%" PRIu32 " %s", i, word[a->kind]);
	switch (a->kind) {
	case NODE_ACT_CONNECT:
	case NODE_ACT_DROP:
		print_peer(s, &a->peer);
		break;
	case NODE_ACT_DELIVER:
		fprintf(f, " service %u hops %u request %" PRIx64 " from ",
		    a->service, a->hops, a->request);
		print_peer(s, &a->peer);
		if (a->routed)
			print_key(f, &a->key);
		break;
	case NODE_ACT_LOST:
		fprintf(f, " request %" PRIx64, a->request);
		break;
	default:
		break;
	}
	fputc('\n', f);
}
