/* mpx_rate: what a rate limit says, and the generic cell rate algorithm (GCRA, ITU-T I.371 virtual
 * scheduling) as arithmetic on one 64-bit theoretical arrival time. Pure: the clock is a parameter.
 *
 * Times are nanoseconds of CLOCK_MONOTONIC: a step of the wall clock neither opens nor closes a limit.
 */
#ifndef MPX_RATE_H
#define MPX_RATE_H

#include <apr_pools.h>

typedef struct mpx_rate {
    apr_uint64_t count;  /* units allowed in each period; 0 means "no limit set" */
    apr_uint32_t period; /* seconds: 1, 60, 3600 or 86400 */
    apr_uint64_t burst;  /* units that pass at once from rest; at least 1 */
} mpx_rate_t;

#define MPX_RATE_MAX_COUNT APR_UINT64_C(1000000000)

/* Where products of costs and intervals saturate: 146 years of nanoseconds. What takes longer than that to come back
 * is refused (10^9 units of one a day would take 2.7 million years: of those, 53,375 pass one by one), and a clock that
 * has run for as long still has room above it. */
#define MPX_RATE_HORIZON (APR_UINT64_MAX / 4)

/* Read "100/s", "1000/min", "5/h", "10/d" (also sec, second, m, minute, hour, day). burst becomes count.
 * @return NULL, or an English phrase that says what is wrong (allocated) */
const char *mpx_rate_parse(apr_pool_t *pool, const char *text, mpx_rate_t *rate);

/* Nanoseconds between two units, rounded up so that a limit never admits more than it says.
 * @param rate one that is set: here and below its count, period and burst are at least 1 */
apr_uint64_t mpx_rate_interval(const mpx_rate_t *rate);

/* Can so great a burst be told from a smaller one? Above MPX_RATE_HORIZON it could not. @return 1 or 0 */
int mpx_rate_fits(const mpx_rate_t *rate);

/* Nanoseconds that cost units stand for, at most MPX_RATE_HORIZON: what an allowed decision puts on the arrival time,
 * and so what a refund takes off it. */
apr_uint64_t mpx_rate_charge(const mpx_rate_t *rate, apr_uint64_t cost);

typedef struct mpx_gcra {
    int allowed;
    apr_uint64_t tat;         /* new theoretical arrival time; equal to the old one when refused */
    apr_uint64_t remaining;   /* units that would pass at once right after this decision */
    apr_uint64_t retry_after; /* ns until the same cost could pass; 0 when allowed; UINT64_MAX: never, the
                               * cost exceeds the burst */
    apr_uint64_t reset_after; /* ns until the whole burst is there again */
} mpx_gcra_t;

/* Decide. @param tat 0 or the stored time @param now ns, less than 2^63 @param cost units; 0 only looks */
void mpx_gcra_decide(const mpx_rate_t *rate, apr_uint64_t tat, apr_uint64_t now, apr_uint64_t cost, mpx_gcra_t *out);

/* What to say to one whose cost never passes: a whole period at the least, so that who waits as told does not hammer. */
apr_uint64_t mpx_rate_never(const mpx_rate_t *rate, const mpx_gcra_t *result);

#endif
