/* mpx_cache: small records by a 32-byte digest, in a fixed block of memory that many threads and processes share. Readers take
 * no lock: each slot has a sequence word (odd while it is written) and a checksum over what it holds, so that a slot whose
 * writer was killed, or is merely slow, is a miss and nothing worse; after a second another writer takes it over. Eight slots
 * to a set; the least recently used of a set makes room. Pure: the clock is a parameter.
 */
#ifndef MPX_CACHE_H
#define MPX_CACHE_H

#include <apr_time.h>

#include "mpx_uuid.h"

typedef struct mpx_cache mpx_cache_t;

#define MPX_CACHE_DIGEST 32
#define MPX_CACHE_SECRET 16
#define MPX_CACHE_OVERHEAD 128 /* bytes of a slot that are not record */

/* Make an empty cache. @param memory zeroed, 64-byte aligned @param record_max bytes; rounded up to fill a slot of a multiple
 * of 64 @return NULL when size holds no set */
mpx_cache_t *mpx_cache_format(void *memory, apr_size_t size, apr_size_t record_max,
                              const unsigned char secret[MPX_CACHE_SECRET]);
mpx_cache_t *mpx_cache_attach(void *memory);
apr_size_t mpx_cache_record_max(const mpx_cache_t *cache);

/* Read. @param now when it is used, for the order of eviction @param record record_max bytes
 * @param stored set to when it was stored @return its length, 0 when it is not there */
apr_size_t mpx_cache_get(mpx_cache_t *cache, const unsigned char digest[MPX_CACHE_DIGEST], apr_time_t now, void *record,
                         apr_time_t *stored);

/* Store, in place of what the digest had. @param owner, group what mpx_cache_drop() finds it by
 * @return 0 when it does not fit, or the set is being written by others */
int mpx_cache_put(mpx_cache_t *cache, const unsigned char digest[MPX_CACHE_DIGEST], const mpx_uuid_t *owner,
                  const mpx_uuid_t *group, apr_time_t now, const void *record, apr_size_t len);

/* Drop every record with that owner or group. Walks the cache. @return how many */
int mpx_cache_drop(mpx_cache_t *cache, const mpx_uuid_t *id, apr_time_t now);

/* Visit what was used since it was last noted, and note it. Walks the cache; for one thread at a time. */
typedef void (mpx_cache_used_fn)(const mpx_uuid_t *owner, const mpx_uuid_t *group, apr_time_t used, void *baton);
void mpx_cache_used(mpx_cache_t *cache, mpx_cache_used_fn *fn, void *baton);

apr_uint64_t mpx_cache_capacity(const mpx_cache_t *cache);
apr_uint64_t mpx_cache_count(const mpx_cache_t *cache);

#endif
