/* net_test.h - a ring of nodes on loopback: each a net with a thread of its
 * own, and all that its handler was told, under one lock. */
#ifndef POST_TESTS_UNIT_NET_TEST_H
#define POST_TESTS_UNIT_NET_TEST_H

#include "overlay/net/net_private.h"

#include "overlay/base/rng.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define must(call) assert_int_equal((call), OK)
#define WAIT_S 60 /* for what takes a moment, under a sanitizer, on a busy machine */

/* ---- who is who --------------------------------------------------------- */

struct test_ring {
	struct sign_key authority;
	struct ring ring;
};

struct test_identity {
	struct id id;
	struct dh_key dh;
	uint8_t cert[CERT_MAX];
	size_t cert_len;
};

static inline void
test_ring_init(struct test_ring *r, const char *name)
{
	uint8_t seed[SIGN_SEED_BYTES] = { 1 };

	must(crypto_init());
	snprintf((char *)seed + 1, sizeof(seed) - 1, "%s", name);
	sign_key_from_seed(seed, &r->authority);
	ring_init(&r->ring, r->authority.public, name);
}

/* A member for `valid_s` seconds from an hour or two ago. */
static inline void
test_identity_init(struct test_identity *who, const struct test_ring *r,
    unsigned number, int64_t valid_s)
{
	uint8_t seed[SIGN_SEED_BYTES] = { 2, (uint8_t)number,
		(uint8_t)(number >> 8) };
	struct sign_key sign;
	struct node_cert c = { .ring = r->ring.id, .serial = number + 1 };

	sign_key_from_seed(seed, &sign);
	seed[0] = 3;
	dh_key_from_secret(seed, &who->dh);
	memcpy(c.sign, sign.public, sizeof(c.sign));
	memcpy(c.dh, who->dh.public, sizeof(c.dh));
	c.from_s = (int64_t)time(NULL) - 7200;
	c.until_s = c.from_s + valid_s;
	node_cert_id(&c, &who->id);
	node_cert_sign(&c, &r->authority, who->cert, &who->cert_len);
}

#define VALID_S 1000000

/* ---- a node ------------------------------------------------------------- */

struct node_test {
	struct net *net;
	pthread_t thread;
	bool running;
	struct test_identity who;
	struct net_addr at;
	pthread_mutex_t lock;
	/* under the lock: */
	unsigned ups, downs, rooms, timers, guests;
	unsigned unmatched; /* down() of a link without up(): failed dials */
	enum err why;	    /* of the last down() */
	struct peer last_up, last_down;
	uint64_t messages, bytes;
	uint64_t guest;
	uint8_t last[64];
	size_t last_len;
	unsigned links; /* ups less downs of linked ones, never below 0 */
	bool broken;	/* the handler's contract was */
	struct id linked[64];
	/* called with what comes, on the loop's thread; not locked */
	void (*on_message)(struct node_test *t, const struct peer *peer,
	    const uint8_t *bytes, size_t len);
	void (*on_up)(struct node_test *t, const struct peer *peer);
	void (*on_down)(struct node_test *t, const struct peer *peer);
	void (*on_room)(struct node_test *t, const struct peer *peer);
	void (*on_guest)(struct node_test *t, uint64_t guest,
	    const uint8_t *bytes, size_t len);
	void (*on_timer)(struct node_test *t, uint64_t now_us);
	void *arg;
};

static inline void
nt_up(void *arg, const struct peer *peer, const struct node_cert *cert)
{
	struct node_test *t = arg;
	struct id id;

	pthread_mutex_lock(&t->lock);
	t->ups++;
	t->last_up = *peer;
	if (!cert)
		t->broken = true;
	else
		node_cert_id(cert, &id);
	if (!cert || !id_eq(&id, &peer->id) || t->links == 64)
		t->broken = true;
	for (unsigned i = 0; i < t->links; i++)
		if (id_eq(&t->linked[i], &peer->id))
			t->broken = true; /* up() twice */
	if (!t->broken)
		t->linked[t->links++] = peer->id;
	pthread_mutex_unlock(&t->lock);
	if (t->on_up)
		t->on_up(t, peer);
}

static inline void
nt_down(void *arg, const struct peer *peer, enum err why)
{
	struct node_test *t = arg;
	unsigned i;

	pthread_mutex_lock(&t->lock);
	t->downs++;
	t->last_down = *peer;
	t->why = why;
	for (i = 0; i < t->links; i++)
		if (id_eq(&t->linked[i], &peer->id))
			break;
	if (i < t->links)
		t->linked[i] = t->linked[--t->links];
	else
		t->unmatched++;
	pthread_mutex_unlock(&t->lock);
	if (t->on_down)
		t->on_down(t, peer);
}

static inline void
nt_message(
    void *arg, const struct peer *peer, const uint8_t *bytes, size_t len)
{
	struct node_test *t = arg;

	pthread_mutex_lock(&t->lock);
	t->messages++;
	t->bytes += len;
	t->last_len = len < sizeof(t->last) ? len : sizeof(t->last);
	memcpy(t->last, bytes, t->last_len);
	for (unsigned i = 0; i <= t->links; i++)
		if (i == t->links)
			t->broken = true; /* from one who is not up */
		else if (id_eq(&t->linked[i], &peer->id))
			break;
	pthread_mutex_unlock(&t->lock);
	if (t->on_message)
		t->on_message(t, peer, bytes, len);
}

static inline void
nt_guest(void *arg, uint64_t guest, const uint8_t *key, const uint8_t *bytes,
    size_t len)
{
	struct node_test *t = arg;

	(void)key;
	pthread_mutex_lock(&t->lock);
	t->guests++;
	t->guest = guest;
	pthread_mutex_unlock(&t->lock);
	if (t->on_guest)
		t->on_guest(t, guest, bytes, len);
}

static inline void
nt_timer(void *arg, uint64_t now_us)
{
	struct node_test *t = arg;

	pthread_mutex_lock(&t->lock);
	t->timers++;
	pthread_mutex_unlock(&t->lock);
	if (t->on_timer)
		t->on_timer(t, now_us);
}

static inline void
nt_room(void *arg, const struct peer *peer)
{
	struct node_test *t = arg;

	pthread_mutex_lock(&t->lock);
	t->rooms++;
	pthread_mutex_unlock(&t->lock);
	if (t->on_room)
		t->on_room(t, peer);
}

static inline void *
nt_thread(void *arg)
{
	struct node_test *t = arg;

	if (net_run(t->net))
		t->broken = true;
	return NULL;
}

static inline struct net_addr
loopback(uint16_t port)
{
	struct net_addr a = { .port = port };

	a.ip[10] = a.ip[11] = 0xff;
	a.ip[12] = 127;
	a.ip[15] = 1;
	return a;
}

static inline struct net_handler
nt_handler(struct node_test *t)
{
	return (struct net_handler){ .arg = t, .up = nt_up, .down = nt_down,
		.message = nt_message, .guest = nt_guest, .timer = nt_timer,
		.room = nt_room };
}

/* With a net that does not run yet, for a test to change its limits. */
static inline void
nt_make(struct node_test *t, const struct test_ring *r, unsigned number,
    const struct revocations *revoked)
{
	struct net_handler handler = nt_handler(t);
	struct net_config config = { .ring = &r->ring, .revoked = revoked,
		.key = &t->who.dh, .cert = t->who.cert,
		.listen = loopback(0), .listens = true };

	memset(t, 0, sizeof(*t));
	assert_int_equal(pthread_mutex_init(&t->lock, NULL), 0);
	test_identity_init(&t->who, r, number, VALID_S);
	config.cert_len = t->who.cert_len;
	must(net_new(&config, &handler, &t->net));
	t->at = *net_listening(t->net);
	assert_int_not_equal(t->at.port, 0);
}

static inline void
nt_run(struct node_test *t)
{
	assert_int_equal(pthread_create(&t->thread, NULL, nt_thread, t), 0);
	t->running = true;
}

static inline void
nt_stop(struct node_test *t)
{
	if (!t->running)
		return;
	net_stop(t->net);
	assert_int_equal(pthread_join(t->thread, NULL), 0);
	t->running = false;
}

static inline void
nt_end(struct node_test *t)
{
	nt_stop(t);
	net_free(t->net);
	t->net = NULL;
	assert_false(t->broken);
	pthread_mutex_destroy(&t->lock);
}

static inline struct peer
nt_peer(const struct node_test *t)
{
	return (struct peer){ .id = t->who.id, .addr = t->at };
}

/* ---- on the loop's thread ------------------------------------------------ */

/* Run fn there and wait until it has. */
struct errand {
	void (*fn)(struct node_test *t, void *arg);
	struct node_test *t;
	void *arg;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool done;
};

static inline void
errand_run(void *arg)
{
	struct errand *a = arg;

	a->fn(a->t, a->arg);
	pthread_mutex_lock(&a->lock);
	a->done = true;
	pthread_cond_signal(&a->cond);
	pthread_mutex_unlock(&a->lock);
}

static inline void
nt_do(struct node_test *t, void (*fn)(struct node_test *t, void *arg),
    void *arg)
{
	struct errand a = { .fn = fn, .t = t, .arg = arg };

	if (!t->running) {
		fn(t, arg);
		return;
	}
	pthread_mutex_init(&a.lock, NULL);
	pthread_cond_init(&a.cond, NULL);
	must(net_call(t->net, errand_run, &a));
	pthread_mutex_lock(&a.lock);
	while (!a.done)
		pthread_cond_wait(&a.cond, &a.lock);
	pthread_mutex_unlock(&a.lock);
	pthread_mutex_destroy(&a.lock);
	pthread_cond_destroy(&a.cond);
}

static inline void
do_connect(struct node_test *t, void *arg)
{
	net_connect(t->net, arg);
}

static inline void
nt_connect(struct node_test *t, struct peer to)
{
	nt_do(t, do_connect, &to);
}

struct sending {
	struct peer to;
	const void *bytes;
	size_t len;
	enum err e;
};

static inline void
do_send(struct node_test *t, void *arg)
{
	struct sending *s = arg;

	s->e = net_send(t->net, &s->to, s->bytes, s->len);
}

static inline enum err
nt_send(struct node_test *t, struct peer to, const void *bytes, size_t len)
{
	struct sending s = { .to = to, .bytes = bytes, .len = len };

	nt_do(t, do_send, &s);
	return s.e;
}

static inline void
do_drop(struct node_test *t, void *arg)
{
	net_drop(t->net, arg);
}

static inline void
nt_drop(struct node_test *t, struct id id)
{
	nt_do(t, do_drop, &id);
}

struct looking {
	unsigned i;
	bool found;
	struct net_link link;
	struct net_counters count;
};

static inline void
do_look(struct node_test *t, void *arg)
{
	struct looking *l = arg;

	l->found = net_link_at(t->net, l->i, &l->link);
	l->count = *net_counters(t->net);
}

static inline bool
nt_link_at(struct node_test *t, unsigned i, struct net_link *out)
{
	struct looking l = { .i = i };

	nt_do(t, do_look, &l);
	*out = l.link;
	return l.found;
}

static inline struct net_counters
nt_counters(struct node_test *t)
{
	struct looking l = { 0 };

	nt_do(t, do_look, &l);
	return l.count;
}

/* ---- waiting ------------------------------------------------------------ */

static inline uint64_t
test_now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static inline void
nap_ms(unsigned ms)
{
	usleep(ms * 1000);
}

#define nt_get(t, field)                                                       \
	({                                                                     \
		pthread_mutex_lock(&(t)->lock);                                \
		__typeof__((t)->field) value_ = (t)->field;                    \
		pthread_mutex_unlock(&(t)->lock);                              \
		value_;                                                        \
	})

/* Until the condition holds; fails, with its text, when it does not. */
#define wait_until(condition)                                                  \
	do {                                                                   \
		uint64_t until_ = test_now_us() + WAIT_S * 1000000ull;         \
		while (!(condition)) {                                         \
			if (test_now_us() > until_)                            \
				fail_msg("never: %s", #condition);             \
			nap_ms(1);                                             \
		}                                                              \
	} while (0)

static inline void
nt_link(struct node_test *a, struct node_test *b)
{
	unsigned ups = nt_get(a, ups), theirs = nt_get(b, ups);

	nt_connect(a, nt_peer(b));
	wait_until(nt_get(a, ups) > ups && nt_get(b, ups) > theirs);
}

/* A bare TCP connection to a node. */
static inline int
bare_connect(const struct net_addr *a)
{
	struct sockaddr_storage sa;
	socklen_t len = socket_address(a, &sa);
	int fd = socket(sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, len), 0);
	return fd;
}

#endif
