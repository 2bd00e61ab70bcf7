/* mpx_cache.c: see mpx_cache.h. */
#include "mpx_cache.h"

#include <string.h>

#include <sodium.h>

#define WAYS 8
#define STUCK apr_time_from_sec(1)

typedef struct slot {
    apr_uint64_t sequence; /* 0: never written; odd: being written */
    apr_int64_t since;     /* when the writing began */
    apr_int64_t used;      /* not under the checksum: readers set it */
    apr_int64_t noted;     /* the use that mpx_cache_used() has told of */
    apr_uint64_t checksum; /* over the rest */
    apr_int64_t stored;
    mpx_uuid_t owner, group;
    unsigned char digest[MPX_CACHE_DIGEST];
    apr_uint64_t len;
    unsigned char pad[8];
    unsigned char record[];
} slot_t;

_Static_assert(sizeof(slot_t) == MPX_CACHE_OVERHEAD, "a slot's head is two cache lines");

struct mpx_cache {
    unsigned char secret[MPX_CACHE_SECRET];
    apr_uint64_t sets, slot_size;
    unsigned char pad[32];
    unsigned char slots[];
};

mpx_cache_t *mpx_cache_format(void *memory, apr_size_t size, apr_size_t record_max,
                              const unsigned char secret[MPX_CACHE_SECRET])
{
    mpx_cache_t *cache = memory;
    apr_size_t slot_size = (sizeof(slot_t) + record_max + 63) / 64 * 64;

    if (size < sizeof *cache + slot_size * WAYS) {
        return NULL;
    }
    memcpy(cache->secret, secret, MPX_CACHE_SECRET);
    cache->slot_size = slot_size;
    cache->sets = (size - sizeof *cache) / (slot_size * WAYS);
    return cache;
}

mpx_cache_t *mpx_cache_attach(void *memory)
{
    return memory;
}

apr_size_t mpx_cache_record_max(const mpx_cache_t *cache)
{
    return cache->slot_size - sizeof(slot_t);
}

static slot_t *slot_at(const mpx_cache_t *cache, apr_uint64_t index)
{
    return (slot_t *)(cache->slots + index * cache->slot_size);
}

static apr_uint64_t first_of_set(const mpx_cache_t *cache, const unsigned char *digest)
{
    apr_uint64_t number;
    memcpy(&number, digest, sizeof number); /* a keyed digest: nobody chooses the set */
    return number % cache->sets * WAYS;
}

static apr_uint64_t checksum_of(const mpx_cache_t *cache, const slot_t *slot, const void *record, apr_uint64_t len)
{
    unsigned char text[8 + 16 + 16 + MPX_CACHE_DIGEST + 8 + 16384];
    apr_uint64_t sum;

    memcpy(text, &slot->stored, 8);
    memcpy(text + 8, &slot->owner, 16);
    memcpy(text + 24, &slot->group, 16);
    memcpy(text + 40, slot->digest, MPX_CACHE_DIGEST);
    memcpy(text + 72, &len, 8);
    memcpy(text + 80, record, len);
    crypto_shorthash((unsigned char *)&sum, text, 80 + len, cache->secret);
    return sum;
}

static apr_uint64_t sequence(const slot_t *slot)
{
    return __atomic_load_n(&slot->sequence, __ATOMIC_ACQUIRE);
}

/* Copy what a slot holds, if it was at rest all the while and is whole. */
static apr_size_t read_slot(const mpx_cache_t *cache, slot_t *slot, const unsigned char *digest, void *record,
                            apr_time_t *stored)
{
    apr_uint64_t before = sequence(slot), len, sum;
    slot_t head;

    if (before == 0 || before & 1 || memcmp(slot->digest, digest, MPX_CACHE_DIGEST) != 0) {
        return 0;
    }
    memcpy(&head, slot, sizeof head);
    len = head.len;
    sum = head.checksum;
    if (len == 0 || len > cache->slot_size - sizeof *slot) {
        return 0;
    }
    memcpy(record, slot->record, len);
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    if (sequence(slot) != before || checksum_of(cache, &head, record, len) != sum) {
        return 0;
    }
    *stored = head.stored;
    return len;
}

apr_size_t mpx_cache_get(mpx_cache_t *cache, const unsigned char digest[MPX_CACHE_DIGEST], apr_time_t now, void *record,
                         apr_time_t *stored)
{
    apr_uint64_t first = first_of_set(cache, digest);
    int i;

    for (i = 0; i < WAYS; i++) {
        slot_t *slot = slot_at(cache, first + (apr_uint64_t)i);
        apr_size_t len = read_slot(cache, slot, digest, record, stored);
        if (len) {
            /* Once a second is often enough, and spares the line from being passed between processors. */
            if (now - __atomic_load_n(&slot->used, __ATOMIC_RELAXED) > apr_time_from_sec(1)) {
                __atomic_store_n(&slot->used, now, __ATOMIC_RELAXED);
            }
            return len;
        }
    }
    return 0;
}

/* Begin to write a slot. @return its sequence word while it is written, 0 when another is at it */
static apr_uint64_t claim(slot_t *slot, apr_time_t now)
{
    apr_uint64_t old = sequence(slot), mine = old & 1 ? old + 2 : old + 1;

    if (old & 1 && now - __atomic_load_n(&slot->since, __ATOMIC_RELAXED) < STUCK) {
        return 0;
    }
    if (!__atomic_compare_exchange_n(&slot->sequence, &old, mine, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
        return 0;
    }
    __atomic_store_n(&slot->since, now, __ATOMIC_RELAXED);
    return mine;
}

/* End it; when another has taken over meanwhile, the checksum tells whether what stands there is whole. */
static void settle(slot_t *slot, apr_uint64_t mine)
{
    __atomic_compare_exchange_n(&slot->sequence, &mine, mine + 1, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

static slot_t *choose(mpx_cache_t *cache, const unsigned char *digest)
{
    apr_uint64_t first = first_of_set(cache, digest);
    slot_t *oldest = NULL;
    int i;

    for (i = 0; i < WAYS; i++) {
        slot_t *slot = slot_at(cache, first + (apr_uint64_t)i);
        if (memcmp(slot->digest, digest, MPX_CACHE_DIGEST) == 0) {
            return slot;
        }
        if (oldest == NULL || (oldest->len && (slot->len == 0 || slot->used < oldest->used))) {
            oldest = slot;
        }
    }
    return oldest;
}

int mpx_cache_put(mpx_cache_t *cache, const unsigned char digest[MPX_CACHE_DIGEST], const mpx_uuid_t *owner,
                  const mpx_uuid_t *group, apr_time_t now, const void *record, apr_size_t len)
{
    slot_t *slot = choose(cache, digest);
    apr_uint64_t mine;

    if (len == 0 || len > mpx_cache_record_max(cache) || len > 16384 || (mine = claim(slot, now)) == 0) {
        return 0;
    }
    slot->stored = slot->used = now;
    slot->noted = 0;
    slot->owner = *owner;
    slot->group = *group;
    memcpy(slot->digest, digest, MPX_CACHE_DIGEST);
    memcpy(slot->record, record, len);
    slot->len = len;
    slot->checksum = checksum_of(cache, slot, record, len);
    settle(slot, mine);
    return 1;
}

static void clear(slot_t *slot, apr_time_t now)
{
    apr_uint64_t mine = claim(slot, now);
    /* A slot that is being written is dropped all the same: without its checksum it is a miss. */
    slot->checksum = ~slot->checksum;
    slot->len = 0;
    if (mine) {
        memset(slot->digest, 0, sizeof slot->digest);
        settle(slot, mine);
    }
}

int mpx_cache_drop(mpx_cache_t *cache, const mpx_uuid_t *id, apr_time_t now)
{
    apr_uint64_t i;
    int dropped = 0;

    for (i = 0; i < cache->sets * WAYS; i++) {
        slot_t *slot = slot_at(cache, i);
        if (slot->len && (mpx_uuid_equal(&slot->owner, id) || mpx_uuid_equal(&slot->group, id))) {
            clear(slot, now);
            dropped++;
        }
    }
    return dropped;
}

void mpx_cache_used(mpx_cache_t *cache, mpx_cache_used_fn *fn, void *baton)
{
    apr_uint64_t i;
    for (i = 0; i < cache->sets * WAYS; i++) {
        slot_t *slot = slot_at(cache, i);
        apr_int64_t used = __atomic_load_n(&slot->used, __ATOMIC_RELAXED);
        apr_uint64_t before = sequence(slot);
        mpx_uuid_t owner = slot->owner, group = slot->group;
        if (slot->len == 0 || used <= slot->noted || before & 1) {
            continue;
        }
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        if (sequence(slot) == before) {
            slot->noted = used;
            fn(&owner, &group, used, baton);
        }
    }
}

apr_uint64_t mpx_cache_capacity(const mpx_cache_t *cache)
{
    return cache->sets * WAYS;
}

apr_uint64_t mpx_cache_count(const mpx_cache_t *cache)
{
    apr_uint64_t i, n = 0;
    for (i = 0; i < cache->sets * WAYS; i++) {
        n += slot_at(cache, i)->len != 0;
    }
    return n;
}
