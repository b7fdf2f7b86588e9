/* rng.h - a seeded generator (splitmix64): the only chance that code which
 * decides, tests and simulations may use.  One seed, one sequence, for ever. */
#ifndef POST_BASE_RNG_H
#define POST_BASE_RNG_H

#include <stdint.h>

struct rng {
	uint64_t state;
};

static inline void
rng_init(struct rng *r, uint64_t seed)
{
	r->state = seed;
}

static inline uint64_t
rng_u64(struct rng *r)
{
	uint64_t z = (r->state += 0x9e3779b97f4a7c15u);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

/* Uniform enough below n (n > 0): the bias is under n / 2^64. */
static inline uint64_t
rng_below(struct rng *r, uint64_t n)
{
	return (uint64_t)(((unsigned __int128)rng_u64(r) * n) >> 64);
}

#endif
