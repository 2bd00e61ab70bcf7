/* mpx_cache: values by 32-byte keyed digest, in a fixed block of memory that many threads and processes share. Lock-free; a
 * process killed at any instruction leaves at worst a slot that says nothing. Pure: the clock is a parameter (microseconds
 * of the wall clock).
 *
 * Four tables: three for values of growing size, one for digests that are known to stand for nothing (absent), so that
 * spraying random digests evicts nothing real. Each is set-associative: a digest has two buckets of eight slots, chosen by
 * two parts of it, which are as good as random because it is a keyed hash. The whole digest is compared. When all sixteen
 * slots are in use, one that has expired gives way, else the one used longest ago.
 *
 * A slot's state word is a version and a state: empty, provisional, visible, or being written since a moment. A
 * reader copies the slot and believes the copy only if the word stayed the same and a checksum over all of it fits;
 * anything else is a miss. A writer that has not ended within a second is taken for dead and its slot for free;
 * should it awake, the checksum gives away what it spoils.
 *
 * Dropping is stronger than storing: a value read from the database before a drop can never become visible after it. The
 * storer takes a ticket before it reads; the value is written provisionally, then the epoch compared with the ticket's, then
 * made visible by one compare-and-swap. The dropper moves the epoch first and then empties slots, provisional ones too.
 */
#ifndef MPX_CACHE_H
#define MPX_CACHE_H

#include <apr_pools.h>
#include <apr_time.h>

typedef struct mpx_cache mpx_cache_t;

#define MPX_CACHE_DIGEST 32
#define MPX_CACHE_LABELS 2
#define MPX_CACHE_VALUE_MAX 7880 /* bytes of one value */

/* Make an empty cache in zeroed, 64-byte aligned memory. @return NULL when size is too small (about half a megabyte) */
mpx_cache_t *mpx_cache_format(void *memory, apr_size_t size);
/* The cache that mpx_cache_format() has made there, or NULL when there is none of this size. */
mpx_cache_t *mpx_cache_attach(void *memory, apr_size_t size);

typedef enum mpx_cache_found { MPX_CACHE_MISS = 0, MPX_CACHE_HIT = 1, MPX_CACHE_ABSENT = 2 } mpx_cache_found_e;

/* Look up, and note the use.
 * @param value MPX_CACHE_VALUE_MAX bytes, set on a hit, aligned for any type  @param len bytes set
 * @param doubtful set on a hit: stored before the last mpx_cache_doubt()  */
mpx_cache_found_e mpx_cache_find(mpx_cache_t *cache, const unsigned char digest[MPX_CACHE_DIGEST], apr_time_t now,
                                 void *value, apr_size_t *len, int *doubtful);

typedef struct mpx_cache_ticket {
    apr_uint64_t epoch, generation;
} mpx_cache_ticket_t;

/* Take a ticket: before the database is asked. */
mpx_cache_ticket_t mpx_cache_ticket(mpx_cache_t *cache);

/* Store what was read after the ticket was taken.
 * @param labels  what mpx_cache_drop() finds it by
 * @param until   of no worth after that time (APR_INT64_MAX: for ever)
 * @return 1, or 0: something was dropped since the ticket, no slot was to be had, or len is too great */
int mpx_cache_store(mpx_cache_t *cache, const mpx_cache_ticket_t *ticket, const unsigned char digest[MPX_CACHE_DIGEST],
                    const apr_uint64_t labels[MPX_CACHE_LABELS], const void *value, apr_size_t len, apr_time_t until,
                    apr_time_t now);
/* Remember until then that the digest stands for nothing. */
void mpx_cache_store_absent(mpx_cache_t *cache, const unsigned char digest[MPX_CACHE_DIGEST], apr_time_t until,
                            apr_time_t now);

/* Drop every value with that label. @param which label, 0 or 1 @return how many there were */
unsigned mpx_cache_drop(mpx_cache_t *cache, int which, apr_uint64_t label);
/* From now on every value stored so far is doubtful. */
void mpx_cache_doubt(mpx_cache_t *cache);

/* Claim the loading of a digest, so that one of many asks the database.
 * @return 1: it is the caller's until mpx_cache_release(), or for a second; 0: another's at the moment */
int mpx_cache_claim(mpx_cache_t *cache, const unsigned char digest[MPX_CACHE_DIGEST], apr_time_t now);
void mpx_cache_release(mpx_cache_t *cache, const unsigned char digest[MPX_CACHE_DIGEST]);

/* Up to when somebody vouches that drops have arrived here (a word of the caller's; 0 at first). */
void mpx_cache_heard(mpx_cache_t *cache, apr_time_t now);
apr_time_t mpx_cache_heard_at(mpx_cache_t *cache);

/* Values used since that was last written down: first use at once, then every `interval`.
 * @param visit   value valid during the call; @return 0 to end the walk
 * @param used    time of the last use, to the second */
typedef struct mpx_cache_use {
    unsigned table, bucket, slot;
    apr_time_t used;
} mpx_cache_use_t;
typedef int (mpx_cache_visit_fn)(const mpx_cache_use_t *use, const void *value, apr_size_t len, void *baton);
void mpx_cache_used_walk(mpx_cache_t *cache, apr_time_t now, apr_interval_time_t interval, mpx_cache_visit_fn *visit,
                         void *baton);
/* It is written down. */
void mpx_cache_used_settle(mpx_cache_t *cache, const mpx_cache_use_t *use);

/* Values in the order in which they lie, some buckets at a time: for what goes round the whole cache in the course of time.
 * @param from     bucket to begin with, moved on; beyond the end it is 0 again
 * @param buckets  how many to visit @return of how many in all
 * @param visit    digest and value valid during the call; used: time of the last use, to the second */
typedef void (mpx_cache_entry_fn)(const unsigned char digest[MPX_CACHE_DIGEST], apr_time_t used, const void *value,
                                  apr_size_t len, void *baton);
apr_uint64_t mpx_cache_walk(mpx_cache_t *cache, apr_uint64_t *from, apr_uint64_t buckets, mpx_cache_entry_fn *visit,
                            void *baton);

typedef struct mpx_cache_stats {
    apr_uint64_t capacity; /* values of the smallest size and greater */
    apr_uint64_t entries;  /* visible ones */
    apr_uint64_t evicted;  /* since the format: live values that gave way */
} mpx_cache_stats_t;
void mpx_cache_stats(mpx_cache_t *cache, mpx_cache_stats_t *out); /* walks the tables */

#endif
