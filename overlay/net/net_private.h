/* net_private.h - what the files of this room, and their tests, share.
 *
 *   net.c     the loop, the listener, the public calls
 *   link.c    one connection: bufferevent, session, budgets, its end
 *   greet.c   from handshake to link: greetings, ties, guests, up and down
 *   table.c   which links there are; who wins a tie; who makes room
 *   budget.c  token buckets and messages that wait
 *   socket.c  addresses and options of sockets
 *
 * A handler may call back into net_*() at any time, so nothing that those
 * calls do may call a handler or free a link: they mark what has come to be,
 * and after_events() acts on it once the events of this turn are through. */
#ifndef POST_OVERLAY_NET_PRIVATE_H
#define POST_OVERLAY_NET_PRIVATE_H

#include "overlay/base/map.h"
#include "overlay/net.h"

#include <pthread.h>
#include <sys/socket.h>

struct bufferevent;
struct evconnlistener;
struct event;
struct event_base;

#define NET_ADDRESS_HANDSHAKES_MAX 8 /* of them from one address, unless */
#define NET_GRACE_MS 250	     /* they are younger than this */
#define NET_DIALS_MAX 256	/* in flight, outbound */
#define NET_QUEUED_MAX (64 << 20) /* bytes that wait for all slow peers */
#define NET_TIE_MS 1000		/* a tie's loser waits so long at most */
#define NET_STALL_MS 30000	/* a peer that takes nothing: broken */
#define NET_LINGER_MS 1000	/* for the other side to see our goodbye */
#define NET_GUEST_MS 10000	/* a guest's whole stay */
#define NET_EVICT_MS 1000	/* unused so long: may go when all is full */
#define NET_ACCEPTS 500		/* connections in a second, sustained */
#define NET_RETRY_MS 100	/* the listener, when accept() can not */
#define NET_RESUME_MS 10	/* a link that was over NET_IN_RATE */
/* What a session may hold of one that is no member, or not yet. */
#define NET_STRANGER_BYTES (64 << 10)
#define NET_GUEST_MESSAGE_MAX (16 << 10)
/* Sealed bytes are handed to TCP at once from here on, not at turn's end: so
 * much is worth a system call, and still in the cache. */
#define NET_FLUSH_BYTES (32 << 10)
#define NET_SCRATCH_BYTES (128 << 10) /* read at a time */
#define NET_TURN_BYTES (512 << 10) /* then it is another link's turn */

/* The limits of net.h and those above; tests make them small. */
struct limits {
	unsigned links_max, handshakes_max, address_max, dials_max;
	uint64_t handshake_us, tie_us, idle_us, stall_us, linger_us, guest_us,
	    evict_us, grace_us;
	size_t queue_max, queued_max;
	uint64_t in_rate, accepts;
};
void limits_init(struct limits *l);

/* ---- budget.c ----------------------------------------------------------- */

/* `rate` in a second, and `burst` at once. */
struct bucket {
	uint64_t rate, burst, at_us;
	uint64_t level; /* millionths */
};
void bucket_init(
    struct bucket *b, uint64_t rate, uint64_t burst, uint64_t now_us);
bool bucket_take(struct bucket *b, uint64_t now_us);

/* Messages for a link that is not up yet. */
struct parcel {
	struct parcel *next;
	size_t len;
	uint8_t bytes[];
};
struct outbox {
	struct parcel *first, *last;
	size_t bytes; /* with what the parcels themselves need */
};
enum err outbox_put(struct outbox *o, const void *bytes, size_t len) MUST_CHECK;
struct parcel *outbox_take(struct outbox *o); /* yours to free; NULL: none */
void outbox_move(struct outbox *to, struct outbox *from); /* at its end */
void outbox_fini(struct outbox *o);

/* What one link may have queued while all together have `queued`: while there
 * is enough, queue_max; then a fair share. */
size_t queue_share(const struct limits *l, size_t queued, unsigned links);

/* ---- links -------------------------------------------------------------- */

enum link_state {
	LINK_DIALING,  /* TCP connects */
	LINK_SHAKING,  /* Noise's handshake */
	LINK_GREETING, /* who it is is known; HELLO and its answer (greet.c) */
	LINK_TIED,     /* it greeted us while we dial it: waits for that */
	LINK_UP,
	LINK_GUEST,
	LINK_LEAVING, /* goodbye is on its way; there is no link any more */
	LINK_DEAD     /* to be told of and freed */
};

/* A down() that is due. */
struct notice {
	struct notice *next;
	struct link *link; /* whose it is part of; NULL: of none, to be freed */
	struct peer peer;
	enum err why;
};

struct link {
	struct net *net;
	struct link *prev, *next; /* of its table */
	struct link *next_dirty;
	struct notice notice;
	struct bufferevent *bev;
	struct session *session;
	struct event *timer;
	enum link_state state;
	bool outbound;
	bool known;	/* peer.id is set */
	bool mapped;	/* it is the link of peer.id */
	bool owes;	/* net_connect() or net_send() waits for an answer */
	bool told_up;	/* so down() is due */
	bool promoted;	/* TIED, and what it waited for failed */
	bool dirty, noticed, held, throttled, wants_room, shut;
	enum err why;	/* of its end */
	struct peer peer; /* outbound: the address asked for */
	struct net_addr from; /* inbound: where it comes from */
	struct link *rival; /* TIED: the dial it waits for; dial: who waits */
	struct outbox waiting;
	uint8_t *rest; /* read but not taken, when it was held */
	size_t rest_len;
	struct bucket in;
	uint64_t number; /* guests are known by it */
	uint64_t since_us, used_us;
	uint64_t deadline_us; /* of its state; UINT64_MAX: none */
	uint64_t resume_us;   /* held back until then */
	uint64_t sent_bytes, got_bytes;
	size_t counted; /* how much of net->queued is its */
};

/* ---- table.c ------------------------------------------------------------ */

/* All links in the order they began, and the link of each peer. */
struct link_table {
	struct link *first, *last;
	struct map by_id;
};
void table_add(struct link_table *t, struct link *l);
void table_remove(struct link_table *t, struct link *l);
struct link *table_find(const struct link_table *t, const struct id *id);
/* Make l the link of its peer, which has none. */
enum err table_map(struct link_table *t, struct link *l) MUST_CHECK;
void table_unmap(struct link_table *t, struct link *l); /* if it is */
/* Strangers at the door: how many, and the one that came first; `from` NULL:
 * from anywhere.  A network of IPv6 (/64) counts as one address. */
unsigned table_strangers(const struct link_table *t,
    const struct net_addr *from, struct link **oldest);
unsigned table_dials(const struct link_table *t);
/* The link to an unknown node at this address that is being made. */
struct link *table_dialed(const struct link_table *t, const struct net_addr *a);
/* The least recently used link that nobody would miss; NULL: none. */
struct link *table_idle(
    const struct link_table *t, uint64_t now_us, uint64_t unused_us);

/* The peer greets us; what of the link there is already? */
enum tie {
	TIE_NONE,    /* there is none: take the new one */
	TIE_YIELD,   /* ours is being made: give it up for the new one */
	TIE_WAIT,    /* ours is being made and goes first: hold the new one */
	TIE_REFUSE,  /* ours is up, and younger than a handshake may take */
	TIE_REPLACE, /* ours is up, but the peer would not dial if it knew */
};
enum tie tie_judge(const struct id *self, const struct id *peer,
    const struct link *own, uint64_t now_us, uint64_t handshake_us);

/* ---- socket.c ----------------------------------------------------------- */

socklen_t socket_address(
    const struct net_addr *a, struct sockaddr_storage *out);
void socket_net_addr(const struct sockaddr *sa, struct net_addr *out);
/* What of an address strangers are counted by. */
bool socket_same_place(const struct net_addr *a, const struct net_addr *b);
/* *bound: where, with the port that the kernel chose. */
enum err socket_listen(
    const struct net_addr *a, int *fd, struct net_addr *bound) MUST_CHECK;
enum err socket_new(const struct net_addr *a, int *fd) MUST_CHECK;
void socket_options(int fd);
void socket_suspect(int fd); /* is the other side there still? */
void socket_reset(int fd);   /* when it is closed */
uint32_t socket_rtt_us(int fd);

/* ---- net.c -------------------------------------------------------------- */

struct call {
	struct call *next;
	void (*fn)(void *arg);
	void *arg;
};

struct net {
	struct net_config config;
	struct net_handler handler;
	struct limits limits;
	struct net_counters count;
	struct id self; /* zeros: a guest */
	struct net_addr bound;
	struct event_base *base;
	struct evconnlistener *listener;
	struct event *listen_again, *alarm, *after, *wake;
	bool in_after;
	uint64_t alarm_us, armed_us; /* as asked; as set in the loop */
	struct link_table table;     /* all that live */
	struct link *dead;	     /* by ->next */
	struct link *dirty;	     /* have something for the wire */
	struct notice *notice, **notice_end;
	unsigned up;		     /* links in LINK_UP */
	bool promotions;
	size_t queued;
	uint64_t tick_us;	     /* when this turn's event came */
	uint64_t guests;	     /* numbers given out */
	struct bucket accepts;
	uint8_t *scratch;
	/* from any thread: */
	pthread_mutex_t lock;
	int wake_fd;
	bool stop;
	struct call *call, **call_end;
};

void net_after(struct net *n); /* have after_events() run */
void net_note(struct net *n, struct notice *notice); /* and so told of */

/* ---- link.c ------------------------------------------------------------- */

/* fd becomes the link's in any case. */
enum err link_new(struct net *n, int fd, bool outbound,
    struct link **out) MUST_CHECK;
void link_free(struct link *l);
void link_dial(struct link *l);
void link_shake(struct link *l); /* TCP is connected */
void link_enter(struct link *l, enum link_state state, uint64_t for_us);
void link_arm(struct link *l);
void link_dirty(struct link *l);
void link_flush(struct link *l);
size_t link_queued(const struct link *l);
/* A message for a link in any state; OK also if that broke the link. */
enum err link_send(struct link *l, const void *bytes, size_t len) MUST_CHECK;
void link_kill(struct link *l, enum err why);
/* Say what is still to be said, wait for the other side to go, then close. */
void link_leave(struct link *l, enum err why);
/* The same for one that is up: with a goodbye. */
void link_bye(struct link *l);

/* ---- greet.c ------------------------------------------------------------ */

void greet_ready(struct link *l); /* the handshake is through */
void greet_message(struct link *l, const uint8_t *bytes, size_t len);
void greet_lost(struct link *l, struct link *heir); /* l ends, heir or NULL */
void greet_promote(struct link *l);
void greet_inherit(struct link *heir, struct link *l);
void net_tell(struct net *n); /* all down() that are due */

#endif
