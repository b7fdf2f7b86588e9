/* The code that the simulator runs: ours. */
#include "tools/sim.h"

const struct sim_code sim_node_code = {
	.create = node_new,
	.destroy = node_free,
	.step = node_step,
	.take = node_take,
	.deadline_us = node_deadline_us,
	.ready = node_ready,
	.is_home = node_is_home,
	.leaves = node_leaves,
	.counters = node_counters,
	.bytes = node_bytes,
};
