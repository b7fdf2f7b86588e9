/* blockdb_walk.c - every frame of every pack, without an index; and a new
 * index from that. */
#include "store/pack.h"

#include "overlay/base/crypto.h"

#include <stdlib.h>

static enum err
walk_pack(struct disk *d, uint32_t pack, blockdb_walk_fn *fn, void *arg)
{
	char name[PACK_NAME_CAP];
	struct pack_found found;
	struct pack_scan scan;
	enum err e, stopped = OK;

	pack_name(pack, name);
	e = pack_scan_begin(d, pack, 0, &scan);
	if (e)
		return e;
	while (!stopped && !(e = pack_scan_next(&scan, &found))) {
		struct frame_place at = { name, found.off, found.type,
			found.e };

		stopped = fn(arg, &at, found.bytes, found.len);
	}
	pack_scan_end(&scan);
	return stopped ? stopped : e == ERR_ABSENT ? OK : e;
}

enum err
blockdb_walk(struct disk *d, blockdb_walk_fn *fn, void *arg)
{
	uint32_t *number;
	size_t count;
	enum err e;

	e = pack_list(d, &number, &count);
	if (e)
		return e;
	for (size_t i = 0; !e && i < count; i++)
		e = walk_pack(d, number[i], fn, arg);
	free(number);
	return e;
}

/* ---- rebuilding --------------------------------------------------------- */

struct rebuild {
	struct index_txn *txn;
	uint32_t pack;
	uint64_t end; /* of its last whole frame */
	uint64_t damaged;
};

static enum err
rebuild_one(
    void *arg, const struct frame_place *at, const uint8_t *bytes, size_t len)
{
	struct rebuild *r = arg;
	uint8_t row[PLACE_ROW_MAX];
	struct block_place place;
	struct id id;

	if (at->e) {
		r->damaged += len;
		return OK;
	}
	r->end = at->off + frame_size(len);
	if (at->type != FRAME_BLOCK)
		return OK;
	place = (struct block_place){ r->pack, (uint32_t)len, at->off };
	hash_bytes(bytes, len, &id);
	/* Of two copies the later: the first may be of a checkpoint that a
	 * crash interrupted, and the index knew the other. */
	return index_put(r->txn, INDEX_BLOCKS, id.b, ID_BYTES, row,
	    place_encode(&place, row));
}

enum err
blockdb_rebuild(struct disk *d, struct index_txn *txn, uint64_t *damaged)
{
	struct rebuild r = { txn, 0, 0, 0 };
	uint32_t *number;
	size_t count;
	enum err e;

	e = pack_list(d, &number, &count);
	if (e)
		return e;
	for (size_t i = 0; !e && i < count; i++) {
		r.pack = number[i];
		r.end = 0;
		e = walk_pack(d, number[i], rebuild_one, &r);
	}
	free(number);
	if (!e)
		e = mark_put(txn, &(struct pack_mark){ r.pack, r.end });
	if (!e)
		*damaged = r.damaged;
	return e;
}
