#include "store/chunk.h"

#include "overlay/base/rng.h"

#include <pthread.h>

/* Format: the seed of the gear table, and the masks.
 *
 * A byte shifts the hash left and adds its gear, so bit n of the hash has seen
 * the last n + 1 bytes only; the masks therefore take the topmost bits, which
 * have seen 64.  Before CHUNK_AVG a cut needs 18 zero bits, after it 14: the
 * lengths gather around the average (FastCDC's normalisation, level 2). */
#define GEAR_SEED UINT64_C(0x706f737420676561)
#define MASK_EARLY (((UINT64_C(1) << 18) - 1) << 46)
#define MASK_LATE (((UINT64_C(1) << 14) - 1) << 50)
#define WINDOW 64u

_Static_assert(CHUNK_MIN > WINDOW, "the window fits before the first cut");
_Static_assert(CHUNK_MIN < CHUNK_AVG && CHUNK_AVG < CHUNK_MAX, "");

static uint64_t gear[256];
static pthread_once_t gear_once = PTHREAD_ONCE_INIT;

static void
gear_fill(void)
{
	struct rng rng;

	rng_init(&rng, GEAR_SEED);
	for (unsigned i = 0; i < 256; i++)
		gear[i] = rng_u64(&rng);
}

/* The first position in [from, to) after whose byte the masked hash is zero,
 * or `to`.  *hash is carried on. */
static size_t
find_cut(
    const uint8_t *bytes, size_t from, size_t to, uint64_t mask, uint64_t *hash)
{
	uint64_t h = *hash;
	size_t i;

	for (i = from; i < to; i++) {
		h = (h << 1) + gear[bytes[i]];
		if (!(h & mask))
			break;
	}
	*hash = h;
	return i;
}

size_t
chunk_cut(const uint8_t *bytes, size_t len)
{
	size_t end = len < CHUNK_MAX ? len : CHUNK_MAX;
	size_t turn = end < CHUNK_AVG ? end : CHUNK_AVG, i;
	uint64_t hash = 0;

	if (len <= CHUNK_MIN)
		return len;
	pthread_once(&gear_once, gear_fill);

	/* The hash at a place depends on the 64 bytes before it and nothing
	 * else, so it is warmed before the first place where a cut may be. */
	for (i = CHUNK_MIN - WINDOW; i < CHUNK_MIN; i++)
		hash = (hash << 1) + gear[bytes[i]];
	i = find_cut(bytes, CHUNK_MIN, turn, MASK_EARLY, &hash);
	if (i == turn)
		i = find_cut(bytes, turn, end, MASK_LATE, &hash);
	return i == end ? end : i + 1;
}
