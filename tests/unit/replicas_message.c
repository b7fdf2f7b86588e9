/* PAST's messages: each comes back as it was, has the bytes that the format
 * says, and no prefix or longer one is taken for it. */
#include "overlay/base/rng.h"
#include "store/replicas_private.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define ROOM 8192u
#define GOLDEN_LEN 1504
#define GOLDEN_SUM                                                             \
	"eff2e61b2c9586cf3868ccf082567d46"                                     \
	"d772044179a3ee5b547648a5e1005af0"

static struct id
an_id(unsigned n)
{
	struct id id = { { 0 } };

	id.b[0] = (uint8_t)n;
	id.b[31] = 0x77;
	return id;
}

/* One of each kind, small; its rows in `room`. */
static void
a_message(enum past_kind kind, struct past_msg *m, struct id ids[3],
    uint8_t room[ROOM])
{
	struct replica_lease lease = { an_id(9), 1790000000 };
	struct past_range g = { an_id(1), an_id(2), 0x0102030405060708, 5 };
	struct past_head_row h = { an_id(1), 17 };
	struct replica_node node = { .id = an_id(3), .site = 0xabcdef };
	struct replica_block b = { an_id(4), (const uint8_t *)"block", 5,
		&lease, 1 };
	struct wr w;

	memset(m, 0, sizeof(*m));
	memset(node.where, 0x44, sizeof(node.where));
	wr_init(&w, room, ROOM);
	for (unsigned i = 0; i < 3; i++)
		ids[i] = an_id(i + 1);
	m->kind = kind;
	m->nonce = 0x1122334455667788;
	switch (kind) {
	case PAST_HAVE:
		m->until_s = 1790000000;
		/* fallthrough */
	case PAST_GET:
	case PAST_WANT:
		m->ids = ids;
		m->count = 3;
		break;
	case PAST_LIST:
		m->flags = PAST_FLAG_ANY;
		m->from = an_id(0);
		m->to = an_id(200);
		m->ids = ids;
		m->count = 2;
		break;
	case PAST_NEED:
		m->count = 4;
		for (unsigned i = 0; i < 4; i++)
			wr_be(&w, i, 1);
		break;
	case PAST_LEASED:
		m->count = 2;
		wr_be(&w, 1, 2);
		break;
	case PAST_PUT:
		m->count = 2;
		past_write_block(&w, kind, &b);
		b.id = an_id(5);
		b.lease_count = 0;
		past_write_block(&w, kind, &b);
		break;
	case PAST_BLOCKS:
		m->count = 2;
		past_write_block(&w, kind, &b);
		b.len = 0;
		past_write_block(&w, kind, &b);
		break;
	case PAST_STORED:
		m->flags = PAST_STORED_BUSY;
		break;
	case PAST_LEASE:
		m->until_s = -1;
		/* fallthrough */
	case PAST_DIGEST:
		m->count = 2;
		past_write_range(&w, &g);
		g.to = g.from;
		past_write_range(&w, &g);
		break;
	case PAST_HEADS:
		m->count = 2;
		past_write_head(&w, &h);
		h.id = an_id(2);
		past_write_head(&w, &h);
		break;
	case PAST_HEAD:
		m->flags = PAST_HEAD_NEWER;
		/* fallthrough */
	case PAST_HEAD_PUT:
		wr_bytes(&w, "head", 4);
		/* fallthrough */
	case PAST_HEAD_GET:
	case PAST_LOCATE:
		m->id = an_id(7);
		break;
	case PAST_HOLDERS:
		m->from = an_id(1);
		m->to = an_id(2);
		m->count = 2;
		past_write_node(&w, &node);
		node.id = an_id(1);
		past_write_node(&w, &node);
		break;
	case PAST_KIND_END:
		fail();
	}
	m->bytes = room;
	m->len = wr_len(&w);
	if (m->len == 0)
		m->bytes = NULL;
}

static size_t
encoded(enum past_kind kind, uint8_t out[ROOM])
{
	uint8_t room[ROOM];
	struct past_msg m;
	struct id ids[3];
	size_t len;

	a_message(kind, &m, ids, room);
	assert_true(past_encode(&m, out, ROOM, &len));
	assert_true(len <= past_encoded_max(&m));
	return len;
}

static enum err
decode_exact(const uint8_t *bytes, size_t len, uint8_t again[ROOM], bool *same)
{
	uint8_t *exact = malloc(len + !len);
	struct past_msg m;
	size_t again_len;
	enum err e;

	assert_non_null(exact);
	memcpy(exact, bytes, len);
	e = past_decode(exact, len, &m);
	if (!e) {
		assert_true(past_encode(&m, again, ROOM, &again_len));
		*same = again_len == len && memcmp(again, bytes, len) == 0;
	}
	free(exact);
	return e;
}

static void
each_message_comes_back_as_it_was(void **state)
{
	(void)state;
	for (unsigned k = PAST_HAVE; k < PAST_KIND_END; k++) {
		uint8_t bytes[ROOM], room[ROOM];
		struct past_msg m, got;
		struct id ids[3];
		size_t len = encoded(k, bytes);

		a_message(k, &m, ids, room);
		assert_int_equal(past_decode(bytes, len, &got), OK);
		assert_int_equal(got.kind, k);
		assert_int_equal(got.flags, m.flags);
		assert_int_equal(got.until_s, m.until_s);
		assert_int_equal(got.count, m.count);
		assert_true(id_eq(&got.id, &m.id) &&
			    id_eq(&got.from, &m.from) && id_eq(&got.to, &m.to));
		if (m.ids)
			assert_memory_equal(
			    got.ids, m.ids, m.count * sizeof(struct id));
		assert_int_equal(got.len, m.len);
		if (m.len)
			assert_memory_equal(got.bytes, m.bytes, m.len);
	}
}

static void
rows_and_blocks_come_back_as_they_were(void **state)
{
	uint8_t bytes[ROOM];
	struct past_msg m;
	struct past_range g;
	struct past_head_row h;
	struct replica_node node;
	struct past_block b;
	struct replica_lease lease;
	struct id want = an_id(2);
	struct rd r;

	(void)state;
	assert_int_equal(
	    past_decode(bytes, encoded(PAST_DIGEST, bytes), &m), OK);
	past_row_range(&m, 0, &g);
	assert_true(id_eq(&g.to, &want));
	assert_int_equal(g.sum, 0x0102030405060708);
	assert_int_equal(g.count, 5);
	assert_int_equal(
	    past_decode(bytes, encoded(PAST_HEADS, bytes), &m), OK);
	past_row_head(&m, 1, &h);
	assert_true(id_eq(&h.id, &want));
	assert_int_equal(h.sequence, 17);
	assert_int_equal(
	    past_decode(bytes, encoded(PAST_HOLDERS, bytes), &m), OK);
	past_row_node(&m, 0, &node);
	assert_int_equal(node.site, 0xabcdef);
	assert_int_equal(node.where[17], 0x44);
	assert_int_equal(past_decode(bytes, encoded(PAST_PUT, bytes), &m), OK);
	rd_init(&r, m.bytes, m.len);
	past_read_block(&m, &r, &b);
	assert_int_equal(b.lease_count, 1);
	past_lease(&b, 0, &lease);
	assert_int_equal(lease.until_s, 1790000000);
	assert_int_equal(b.len, 5);
	assert_memory_equal(b.bytes, "block", 5);
	assert_int_equal(
	    past_decode(bytes, encoded(PAST_BLOCKS, bytes), &m), OK);
	rd_init(&r, m.bytes, m.len);
	past_read_block(&m, &r, &b);
	past_read_block(&m, &r, &b);
	assert_null(b.bytes);
}

static void
every_prefix_and_every_longer_one_is_malformed(void **state)
{
	(void)state;
	for (unsigned k = PAST_HAVE; k < PAST_KIND_END; k++) {
		uint8_t bytes[ROOM], again[ROOM];
		size_t len = encoded(k, bytes);
		bool same;

		for (size_t n = 0; n < len; n++)
			assert_int_equal(decode_exact(bytes, n, again, &same),
			    ERR_MALFORMED);
		bytes[len] = 0;
		assert_int_equal(
		    decode_exact(bytes, len + 1, again, &same), ERR_MALFORMED);
	}
}

static void
a_flipped_bit_is_malformed_or_means_just_what_it_says(void **state)
{
	unsigned refused = 0;

	(void)state;
	for (unsigned k = PAST_HAVE; k < PAST_KIND_END; k++) {
		uint8_t bytes[ROOM], again[ROOM];
		size_t len = encoded(k, bytes);

		for (size_t bit = 0; bit < 8 * len; bit++) {
			bool same = false;
			enum err e;

			bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
			e = decode_exact(bytes, len, again, &same);
			assert_true(e == ERR_MALFORMED || (e == OK && same));
			refused += e != OK;
			bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		}
	}
	assert_true(refused > 200);
}

static void
lists_out_of_order_and_counts_beyond_their_limits_are_malformed(void **state)
{
	uint8_t bytes[ROOM], *big;
	struct past_msg m;
	size_t len = encoded(PAST_GET, bytes);
	struct id swap;

	(void)state;
	memcpy(&swap, bytes + 11, ID_BYTES);
	memcpy(bytes + 11, bytes + 11 + ID_BYTES, ID_BYTES);
	memcpy(bytes + 11 + ID_BYTES, &swap, ID_BYTES);
	assert_int_equal(past_decode(bytes, len, &m), ERR_MALFORMED);
	memcpy(bytes + 11 + ID_BYTES, bytes + 11, ID_BYTES);
	assert_int_equal(past_decode(bytes, len, &m), ERR_MALFORMED);

	/* A count one beyond, with all the ids it says. */
	big = calloc(1, 11 + 513 * ID_BYTES);
	assert_non_null(big);
	big[0] = PAST_GET;
	for (unsigned i = 0; i < 513; i++) {
		big[11 + i * ID_BYTES] = (uint8_t)(i >> 8);
		big[12 + i * ID_BYTES] = (uint8_t)i;
	}
	big[9] = 2;
	assert_int_equal(past_decode(big, 11 + 512 * ID_BYTES, &m), OK);
	big[10] = 1;
	assert_int_equal(
	    past_decode(big, 11 + 513 * ID_BYTES, &m), ERR_MALFORMED);
	free(big);

	/* A block longer than any is. */
	big = calloc(1, 64 + REPLICA_BLOCK_MAX + 1);
	assert_non_null(big);
	big[0] = PAST_PUT;
	big[10] = 1;
	len = REPLICA_BLOCK_MAX;
	for (unsigned over = 0; over < 2; over++, len++) {
		big[44] = (uint8_t)(len >> 16);
		big[45] = (uint8_t)(len >> 8);
		big[46] = (uint8_t)len;
		assert_int_equal(
		    past_decode(big, 47 + len, &m), over ? ERR_MALFORMED : OK);
	}
	free(big);
}

/* BLAKE2b-256 of all messages, one after the other, as this file makes them;
 * and the first of them in full. */
static void
messages_have_the_bytes_that_the_format_says(void **state)
{
	static const char have[] =
	    "01"
	    "1122334455667788"
	    "000000006ab13b80"
	    "0003"
	    "0100000000000000000000000000000000000000000000000000000000000077"
	    "0200000000000000000000000000000000000000000000000000000000000077"
	    "0300000000000000000000000000000000000000000000000000000000000077";
	static uint8_t all[PAST_KIND_END * ROOM];
	char hex[2 * ROOM + 1];
	struct id sum;
	size_t len = encoded(PAST_HAVE, all);

	(void)state;
	for (size_t i = 0; i < len; i++)
		snprintf(hex + 2 * i, 3, "%02x", all[i]);
	assert_string_equal(hex, have);
	for (unsigned k = PAST_NEED; k < PAST_KIND_END; k++)
		len += encoded(k, all + len);
	hash_bytes(all, len, &sum);
	id_to_hex(&sum, hex);
	assert_int_equal(len, GOLDEN_LEN);
	assert_string_equal(hex, GOLDEN_SUM);
}

/* Makes the corpus of the fuzz target: give a directory. */
static int
write_corpus(const char *dir)
{
	for (unsigned k = PAST_HAVE; k < PAST_KIND_END; k++) {
		uint8_t bytes[ROOM];
		size_t len = encoded(k, bytes);
		char path[512];
		FILE *f;

		snprintf(path, sizeof(path), "%s/kind%u", dir, k);
		f = fopen(path, "wb");
		if (!f || fwrite(bytes, 1, len, f) != len || fclose(f))
			return 1;
	}
	return 0;
}

int
main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_message_comes_back_as_it_was),
		cmocka_unit_test(rows_and_blocks_come_back_as_they_were),
		cmocka_unit_test(
		    every_prefix_and_every_longer_one_is_malformed),
		cmocka_unit_test(
		    a_flipped_bit_is_malformed_or_means_just_what_it_says),
		cmocka_unit_test(
		    lists_out_of_order_and_counts_beyond_their_limits_are_malformed),
		cmocka_unit_test(messages_have_the_bytes_that_the_format_says),
	};

	if (argc == 2)
		return write_corpus(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
