/* mpx_cache.c: see mpx_cache.h.
 *
 * Every word that another process may be writing is read and written by atomic instructions: acquire loads and release
 * stores keep the copy between the two looks at the state word, and cost nothing on the usual machines.
 */
#include "mpx_cache.h"

#include <string.h>

#include <sodium.h>

#define TABLES 4
#define TABLE_ABSENT 3
#define WAYS 8
#define CLAIMS 8192
#define STALE_MS 1000
#define TOUCH apr_time_from_sec(1) /* a hot value's time of use is written once in this time */
#define MAGIC APR_UINT64_C(0x4d50584341434831)

/* Low half of a state word; anything from 16 up: being written since that millisecond. */
enum { STATE_EMPTY = 0,
       STATE_PROVISIONAL = 1,
       STATE_VISIBLE = 2,
       STATE_WRITING = 16 };

typedef apr_uint64_t word_t;

/* What is searched and scanned: a cache line for each property of eight slots. */
typedef struct head {
    word_t tag[WAYS]; /* first 8 bytes of the digest; a hint */
    word_t label[MPX_CACHE_LABELS][WAYS];
    word_t used[WAYS], settled[WAYS], until[WAYS];
} head_t;

typedef struct slot {
    word_t state;
    word_t sum; /* over labels, digest, meta, the state word's version and value */
    word_t digest[4];
    word_t meta; /* generation << 16 | length */
    word_t value[];
} slot_t;

typedef struct table {
    word_t heads, slots; /* offsets */
    word_t buckets, slot_size;
} table_t;

_Static_assert(7936 - sizeof(slot_t) == MPX_CACHE_VALUE_MAX, "the greatest value fills the greatest slot");

struct mpx_cache {
    word_t magic, size;
    table_t table[TABLES];
    word_t epoch __attribute__((aligned(64)));
    word_t generation;
    word_t heard __attribute__((aligned(64)));
    word_t evicted;
    word_t claims[CLAIMS] __attribute__((aligned(64)));
};

static const struct {
    unsigned slot_size, percent;
} classes[TABLES] = { { 256, 62 }, { 1024, 20 }, { 7936, 13 }, { 64, 5 } };

static word_t get(const word_t *at)
{
    return __atomic_load_n(at, __ATOMIC_ACQUIRE);
}

static void put(word_t *at, word_t value)
{
    __atomic_store_n(at, value, __ATOMIC_RELEASE);
}

static int swap(word_t *at, word_t expected, word_t value)
{
    return __atomic_compare_exchange_n(at, &expected, value, 0, __ATOMIC_SEQ_CST, __ATOMIC_ACQUIRE);
}

/* --- Layout ------------------------------------------------------------------------------------------------------------- */

mpx_cache_t *mpx_cache_format(void *memory, apr_size_t size)
{
    mpx_cache_t *cache = memory;
    word_t at = sizeof *cache;
    int i;

    if (size <= sizeof *cache) {
        return NULL;
    }
    for (i = 0; i < TABLES; i++) {
        table_t *t = &cache->table[i];
        word_t bucket = sizeof(head_t) + (word_t)WAYS * classes[i].slot_size;

        t->slot_size = classes[i].slot_size;
        t->buckets = (size - sizeof *cache) / 100 * classes[i].percent / bucket;
        if (t->buckets == 0) {
            return NULL;
        }
        t->heads = at;
        t->slots = at + t->buckets * sizeof(head_t);
        at += t->buckets * bucket;
    }
    cache->size = size;
    cache->generation = 1;
    put(&cache->magic, MAGIC);
    return cache;
}

mpx_cache_t *mpx_cache_attach(void *memory, apr_size_t size)
{
    mpx_cache_t *cache = memory;
    return get(&cache->magic) == MAGIC && cache->size == size ? cache : NULL;
}

static head_t *head_at(mpx_cache_t *cache, const table_t *t, word_t bucket)
{
    return (head_t *)((char *)cache + t->heads) + bucket;
}

static slot_t *slot_at(mpx_cache_t *cache, const table_t *t, word_t bucket, int way)
{
    return (slot_t *)((char *)cache + t->slots + (bucket * WAYS + (word_t)way) * t->slot_size);
}

typedef struct place {
    word_t digest[4];
    word_t tag;
} place_t;

static place_t place_of(const unsigned char digest[MPX_CACHE_DIGEST])
{
    place_t p;
    memcpy(p.digest, digest, MPX_CACHE_DIGEST);
    p.tag = p.digest[0] ? p.digest[0] : 1;
    return p;
}

static word_t bucket_of(const table_t *t, const place_t *p, int which)
{
    return (word_t)(((unsigned __int128)p->digest[1 + which] * t->buckets) >> 64);
}

/* --- State words ---------------------------------------------------------------------------------------------------------- */

static apr_uint32_t state_of(word_t word)
{
    return (apr_uint32_t)word;
}

static word_t with_state(word_t word, apr_uint32_t state)
{
    return (word & ~APR_UINT64_C(0xffffffff)) | state;
}

/* Milliseconds, that run back with the clock alone; the few that would read as another state are the first writing one. */
static apr_uint32_t stamp(apr_time_t now)
{
    apr_uint32_t ms = (apr_uint32_t)(apr_uint64_t)apr_time_as_msec(now);
    return ms < STATE_WRITING ? STATE_WRITING : ms;
}

/* Is somebody at work on it? A clock that was set back makes a writer look dead too early, which costs a miss. */
static int being_written(word_t word, apr_time_t now)
{
    return state_of(word) >= STATE_WRITING && stamp(now) - state_of(word) <= STALE_MS;
}

/* Take the slot for writing. @return the new word, or 0 */
static word_t begin_write(slot_t *slot, word_t word, apr_time_t now)
{
    word_t mine = with_state(word + (APR_UINT64_C(1) << 32), stamp(now));
    return swap(&slot->state, word, mine) ? mine : 0;
}

/* --- Reading ---------------------------------------------------------------------------------------------------------------- */

/* What a slot holds, beside its value. */
typedef struct copy {
    word_t labels[MPX_CACHE_LABELS];
    word_t digest[4];
    word_t meta;
    word_t version; /* the state word's: what a writer writes that has slept and lost its slot fits no later version */
} copy_t;

static apr_size_t length_of(word_t meta)
{
    return (apr_size_t)(meta & 0xffff);
}

static word_t checksum(const copy_t *copy, const void *value, apr_size_t len)
{
    static const unsigned char key[crypto_shorthash_siphashx24_KEYBYTES] = "meterplex cache";
    word_t sums[2], out[2];
    crypto_shorthash_siphashx24((unsigned char *)sums, (const unsigned char *)copy, sizeof *copy, key);
    crypto_shorthash_siphashx24((unsigned char *)out, value, len, key);
    return sums[0] ^ (out[0] + (out[1] << 1) + sums[1]);
}

/* Copy a visible slot. @param value room for the table's longest value, in whole words @return 1 when the copy is whole */
static int read_slot(mpx_cache_t *cache, const table_t *t, word_t bucket, int way, copy_t *copy, word_t *value)
{
    const head_t *head = head_at(cache, t, bucket);
    const slot_t *slot = slot_at(cache, t, bucket, way);
    word_t state = get(&slot->state), sum;
    apr_size_t len, i;

    if (state_of(state) != STATE_VISIBLE) {
        return 0;
    }
    sum = get(&slot->sum);
    copy->version = state >> 32;
    copy->meta = get(&slot->meta);
    for (i = 0; i < 4; i++) {
        copy->digest[i] = get(&slot->digest[i]);
    }
    for (i = 0; i < MPX_CACHE_LABELS; i++) {
        copy->labels[i] = get(&head->label[i][way]);
    }
    len = length_of(copy->meta);
    if (len > t->slot_size - sizeof(slot_t) || len > MPX_CACHE_VALUE_MAX) {
        return 0;
    }
    for (i = 0; i < (len + 7) / 8; i++) {
        value[i] = get(&slot->value[i]);
    }
    return get(&slot->state) == state && checksum(copy, value, len) == sum;
}

static void touch(head_t *head, int way, apr_time_t now)
{
    apr_time_t used = (apr_time_t)get(&head->used[way]);
    if (now - used > TOUCH || used > now) {
        put(&head->used[way], (word_t)now);
    }
}

static int find_in(mpx_cache_t *cache, int table, const place_t *p, apr_time_t now, copy_t *copy, word_t *value)
{
    const table_t *t = &cache->table[table];
    int which, way;

    for (which = 0; which < 2; which++) {
        word_t bucket = bucket_of(t, p, which);
        head_t *head = head_at(cache, t, bucket);
        for (way = 0; way < WAYS; way++) {
            if (get(&head->tag[way]) == p->tag && read_slot(cache, t, bucket, way, copy, value)
                && memcmp(copy->digest, p->digest, sizeof p->digest) == 0) {
                if (table == TABLE_ABSENT && (apr_time_t)get(&head->until[way]) <= now) {
                    return 0;
                }
                touch(head, way, now);
                return 1;
            }
        }
    }
    return 0;
}

mpx_cache_found_e mpx_cache_find(mpx_cache_t *cache, const unsigned char digest[MPX_CACHE_DIGEST], apr_time_t now,
                                 void *value, apr_size_t *len, int *doubtful)
{
    place_t p = place_of(digest);
    copy_t copy;
    int table;

    for (table = 0; table < TABLES; table++) {
        if (find_in(cache, table, &p, now, &copy, value)) {
            *len = length_of(copy.meta);
            *doubtful = copy.meta >> 16 != get(&cache->generation);
            return table == TABLE_ABSENT ? MPX_CACHE_ABSENT : MPX_CACHE_HIT;
        }
    }
    return MPX_CACHE_MISS;
}

/* --- Writing ---------------------------------------------------------------------------------------------------------------- */

/* Empty a slot, whoever's it is, as long as it says what was seen. A slot that is being written is left: its writer has to
 * look at the epoch yet. @return 0 when it says something else by now */
static int empty(slot_t *slot, word_t word)
{
    return state_of(word) >= STATE_WRITING
        || swap(&slot->state, word, with_state(word + (APR_UINT64_C(1) << 32), STATE_EMPTY));
}

static int holds_digest(const slot_t *slot, const place_t *p)
{
    int i;
    for (i = 0; i < 4 && get(&slot->digest[i]) == p->digest[i]; i++) {
    }
    return i == 4;
}

/* Empty every slot of the digest but one. */
static void empty_others(mpx_cache_t *cache, const place_t *p, const slot_t *but)
{
    int table, which, way;
    for (table = 0; table < TABLES; table++) {
        const table_t *t = &cache->table[table];
        for (which = 0; which < 2; which++) {
            word_t bucket = bucket_of(t, p, which);
            head_t *head = head_at(cache, t, bucket);
            for (way = 0; way < WAYS; way++) {
                slot_t *slot = slot_at(cache, t, bucket, way);
                word_t word = get(&slot->state);
                if (slot != but && get(&head->tag[way]) == p->tag && state_of(word) != STATE_EMPTY
                    && holds_digest(slot, p)) {
                    empty(slot, word);
                }
            }
        }
    }
}

typedef struct choice {
    word_t bucket, word;
    int way;
    word_t cost; /* what is lost by taking it: less is better */
} choice_t;

/* 0: the digest's own, 1: free, 2: expired, else its time of use. */
static word_t cost_of(const head_t *head, const slot_t *slot, int way, word_t word, const place_t *p, apr_time_t now)
{
    word_t used;
    if (get(&head->tag[way]) == p->tag && holds_digest(slot, p)) {
        return 0;
    }
    if (state_of(word) != STATE_VISIBLE) {
        return 1;
    }
    if ((apr_time_t)get(&head->until[way]) <= now) {
        return 2;
    }
    used = get(&head->used[way]);
    return used < 3 ? 3 : used;
}

static int choose(mpx_cache_t *cache, const table_t *t, const place_t *p, apr_time_t now, choice_t *best)
{
    int which, way, free_in[2] = { 0, 0 }, found = 0;
    choice_t in[2];

    for (which = 0; which < 2; which++) {
        word_t bucket = bucket_of(t, p, which);
        const head_t *head = head_at(cache, t, bucket);
        in[which].cost = ~(word_t)0;
        for (way = 0; way < WAYS; way++) {
            const slot_t *slot = slot_at(cache, t, bucket, way);
            word_t word = get(&slot->state), cost;
            if (being_written(word, now)) {
                continue;
            }
            cost = cost_of(head, slot, way, word, p, now);
            free_in[which] += cost == 1 || cost == 2;
            if (cost < in[which].cost) {
                in[which] = (choice_t){ bucket, word, way, cost };
                found = 1;
            }
        }
    }
    /* of two buckets with room the emptier: this is what lets the table fill up before anything must give way */
    *best = in[1].cost < in[0].cost || (in[0].cost == in[1].cost && free_in[1] > free_in[0]) ? in[1] : in[0];
    return found;
}

/* Write the chosen slot. @return its word, not yet published, or 0 when another was quicker */
static word_t write_slot(mpx_cache_t *cache, const table_t *t, const choice_t *c, const place_t *p, copy_t *copy,
                         const void *value, apr_time_t until, apr_time_t now)
{
    head_t *head = head_at(cache, t, c->bucket);
    slot_t *slot = slot_at(cache, t, c->bucket, c->way);
    word_t mine = begin_write(slot, c->word, now), last;
    apr_size_t len = length_of(copy->meta), i;

    if (mine == 0) {
        return 0;
    }
    copy->version = mine >> 32;
    put(&head->tag[c->way], p->tag);
    for (i = 0; i < MPX_CACHE_LABELS; i++) {
        put(&head->label[i][c->way], copy->labels[i]);
    }
    put(&head->until[c->way], (word_t)until);
    put(&head->used[c->way], (word_t)now);
    if (c->cost != 0) {
        put(&head->settled[c->way], 0);
    }
    put(&slot->sum, checksum(copy, value, len));
    put(&slot->meta, copy->meta);
    for (i = 0; i < 4; i++) {
        put(&slot->digest[i], copy->digest[i]);
    }
    for (i = 0; i < len / 8; i++) {
        word_t w;
        memcpy(&w, (const char *)value + i * 8, 8);
        put(&slot->value[i], w);
    }
    if (len % 8) {
        last = 0;
        memcpy(&last, (const char *)value + i * 8, len % 8);
        put(&slot->value[i], last);
    }
    return mine;
}

static int store_in(mpx_cache_t *cache, int table, const mpx_cache_ticket_t *ticket, const place_t *p, copy_t *copy,
                    const void *value, apr_time_t until, apr_time_t now)
{
    const table_t *t = &cache->table[table];
    slot_t *slot;
    choice_t c;
    word_t mine = 0;
    int tries;

    for (tries = 0; tries < 4 && mine == 0; tries++) {
        if (!choose(cache, t, p, now, &c)) {
            return 0;
        }
        mine = write_slot(cache, t, &c, p, copy, value, until, now);
    }
    if (mine == 0) {
        return 0;
    }
    slot = slot_at(cache, t, c.bucket, c.way);
    if (c.cost > 2 && table != TABLE_ABSENT) {
        __atomic_fetch_add(&cache->evicted, 1, __ATOMIC_RELAXED);
    }
    if (!swap(&slot->state, mine, with_state(mine, STATE_PROVISIONAL))) {
        return 0;
    }
    empty_others(cache, p, slot);
    if (ticket && __atomic_load_n(&cache->epoch, __ATOMIC_SEQ_CST) != ticket->epoch) {
        swap(&slot->state, with_state(mine, STATE_PROVISIONAL), with_state(mine, STATE_EMPTY));
        return 0;
    }
    return swap(&slot->state, with_state(mine, STATE_PROVISIONAL), with_state(mine, STATE_VISIBLE));
}

mpx_cache_ticket_t mpx_cache_ticket(mpx_cache_t *cache)
{
    mpx_cache_ticket_t ticket;
    ticket.epoch = __atomic_load_n(&cache->epoch, __ATOMIC_SEQ_CST);
    ticket.generation = __atomic_load_n(&cache->generation, __ATOMIC_SEQ_CST);
    return ticket;
}

int mpx_cache_store(mpx_cache_t *cache, const mpx_cache_ticket_t *ticket, const unsigned char digest[MPX_CACHE_DIGEST],
                    const apr_uint64_t labels[MPX_CACHE_LABELS], const void *value, apr_size_t len, apr_time_t until,
                    apr_time_t now)
{
    place_t p = place_of(digest);
    copy_t copy;
    int table;

    for (table = 0; table < TABLE_ABSENT && len > classes[table].slot_size - sizeof(slot_t); table++) {
    }
    if (table == TABLE_ABSENT || len > MPX_CACHE_VALUE_MAX || ticket->epoch != get(&cache->epoch)) {
        return 0;
    }
    memcpy(copy.labels, labels, sizeof copy.labels);
    memcpy(copy.digest, p.digest, sizeof copy.digest);
    copy.meta = ticket->generation << 16 | len;
    return store_in(cache, table, ticket, &p, &copy, value, until, now);
}

void mpx_cache_store_absent(mpx_cache_t *cache, const unsigned char digest[MPX_CACHE_DIGEST], apr_time_t until,
                            apr_time_t now)
{
    place_t p = place_of(digest);
    copy_t copy;
    memset(&copy, 0, sizeof copy);
    memcpy(copy.digest, p.digest, sizeof copy.digest);
    store_in(cache, TABLE_ABSENT, NULL, &p, &copy, "", until, now);
}

/* Empty the slot if it carries the label. It may go from provisional to visible between the look and the swap, by a
 * storer who had compared the epoch before it moved: so until it is empty, another's, or being written by one who
 * compares it yet.
 * @return 1 when a visible value is gone */
static int drop_slot(const head_t *head, slot_t *slot, int way, int which, apr_uint64_t label)
{
    for (;;) {
        word_t word = get(&slot->state);
        /* the label again: the slot may have changed hands between the two looks, and then it keeps its state */
        if (state_of(word) == STATE_EMPTY || get(&head->label[which][way]) != label) {
            return 0;
        }
        if (empty(slot, word)) {
            return state_of(word) == STATE_VISIBLE;
        }
    }
}

unsigned mpx_cache_drop(mpx_cache_t *cache, int which, apr_uint64_t label)
{
    unsigned dropped = 0;
    int table, way;
    word_t bucket;

    __atomic_fetch_add(&cache->epoch, 1, __ATOMIC_SEQ_CST);
    for (table = 0; table < TABLE_ABSENT; table++) {
        const table_t *t = &cache->table[table];
        for (bucket = 0; bucket < t->buckets; bucket++) {
            head_t *head = head_at(cache, t, bucket);
            for (way = 0; way < WAYS; way++) {
                if (get(&head->label[which][way]) == label) {
                    dropped += (unsigned)drop_slot(head, slot_at(cache, t, bucket, way), way, which, label);
                }
            }
        }
    }
    return dropped;
}

void mpx_cache_doubt(mpx_cache_t *cache)
{
    __atomic_fetch_add(&cache->generation, 1, __ATOMIC_SEQ_CST);
}

/* --- Claims ------------------------------------------------------------------------------------------------------------------- */

/* One word for each claim: half a digest's tag, half the moment. Two digests that meet in a word are both loaded by whoever
 * asks, which is no harm. */
static word_t *claim_of(mpx_cache_t *cache, const place_t *p)
{
    return &cache->claims[p->digest[3] % CLAIMS];
}

int mpx_cache_claim(mpx_cache_t *cache, const unsigned char digest[MPX_CACHE_DIGEST], apr_time_t now)
{
    place_t p = place_of(digest);
    word_t *at = claim_of(cache, &p), old = get(at), mine = (p.tag & ~APR_UINT64_C(0xffffffff)) | stamp(now);

    if (old && being_written(old, now)) {
        return old >> 32 != mine >> 32;
    }
    return swap(at, old, mine);
}

void mpx_cache_release(mpx_cache_t *cache, const unsigned char digest[MPX_CACHE_DIGEST])
{
    place_t p = place_of(digest);
    word_t *at = claim_of(cache, &p), old = get(at);
    if (old >> 32 == p.tag >> 32) {
        swap(at, old, 0);
    }
}

void mpx_cache_heard(mpx_cache_t *cache, apr_time_t now)
{
    put(&cache->heard, (word_t)now);
}

apr_time_t mpx_cache_heard_at(mpx_cache_t *cache)
{
    return (apr_time_t)get(&cache->heard);
}

/* --- Walks ---------------------------------------------------------------------------------------------------------------------- */

void mpx_cache_used_walk(mpx_cache_t *cache, apr_time_t now, apr_interval_time_t interval, mpx_cache_visit_fn *visit,
                         void *baton)
{
    word_t value[(MPX_CACHE_VALUE_MAX + 7) / 8], bucket;
    int table, way;
    copy_t copy;

    for (table = 0; table < TABLE_ABSENT; table++) {
        const table_t *t = &cache->table[table];
        for (bucket = 0; bucket < t->buckets; bucket++) {
            head_t *head = head_at(cache, t, bucket);
            for (way = 0; way < WAYS; way++) {
                apr_time_t used = (apr_time_t)get(&head->used[way]), settled = (apr_time_t)get(&head->settled[way]);
                mpx_cache_use_t use = { (unsigned)table, (unsigned)bucket, (unsigned)way, used };
                if (used <= settled || (settled && now - settled < interval)
                    || !read_slot(cache, t, bucket, way, &copy, value)) {
                    continue;
                }
                if (!visit(&use, value, length_of(copy.meta), baton)) {
                    return;
                }
            }
        }
    }
}

void mpx_cache_used_settle(mpx_cache_t *cache, const mpx_cache_use_t *use)
{
    put(&head_at(cache, &cache->table[use->table], use->bucket)->settled[use->slot], (word_t)use->used);
}

static void walk_bucket(mpx_cache_t *cache, const table_t *t, word_t bucket, mpx_cache_entry_fn *visit, void *baton)
{
    word_t value[(MPX_CACHE_VALUE_MAX + 7) / 8];
    const head_t *head = head_at(cache, t, bucket);
    copy_t copy;
    int way;

    for (way = 0; way < WAYS; way++) {
        /* a slot never used has no tag: its memory is not touched */
        if (get(&head->tag[way]) && read_slot(cache, t, bucket, way, &copy, value)) {
            visit((const unsigned char *)copy.digest, (apr_time_t)get(&head->used[way]), value, length_of(copy.meta), baton);
        }
    }
}

apr_uint64_t mpx_cache_walk(mpx_cache_t *cache, apr_uint64_t *from, apr_uint64_t buckets, mpx_cache_entry_fn *visit,
                            void *baton)
{
    word_t total = 0, begins[TABLE_ABSENT];
    int table;

    for (table = 0; table < TABLE_ABSENT; table++) {
        begins[table] = total;
        total += cache->table[table].buckets;
    }
    if (*from >= total) {
        *from = 0;
    }
    for (; buckets > 0 && *from < total; buckets--, (*from)++) {
        for (table = TABLE_ABSENT - 1; *from < begins[table]; table--) {
        }
        walk_bucket(cache, &cache->table[table], *from - begins[table], visit, baton);
    }
    if (*from == total) {
        *from = 0;
    }
    return total;
}

void mpx_cache_stats(mpx_cache_t *cache, mpx_cache_stats_t *out)
{
    int table, way;
    word_t bucket;

    memset(out, 0, sizeof *out);
    out->evicted = get(&cache->evicted);
    for (table = 0; table < TABLE_ABSENT; table++) {
        const table_t *t = &cache->table[table];
        out->capacity += t->buckets * WAYS;
        for (bucket = 0; bucket < t->buckets; bucket++) {
            const head_t *head = head_at(cache, t, bucket);
            for (way = 0; way < WAYS; way++) {
                /* a slot never used has no tag: its memory is not touched */
                out->entries +=
                    get(&head->tag[way]) && state_of(get(&slot_at(cache, t, bucket, way)->state)) == STATE_VISIBLE;
            }
        }
    }
}
