/* mpx_time: RFC 3339 time-stamps, to and from microseconds since the epoch (apr_time_t, UTC). Pure. */
#ifndef MPX_TIME_H
#define MPX_TIME_H

#include <apr_pools.h>
#include <apr_time.h>

#define MPX_TIME_TEXT 28 /* "2026-11-20T22:18:00.000000Z" and the NUL */

/* Read an RFC 3339 date-time with any offset ("Z", "+02:00"; 'T' and 'Z' in either case; the fraction of
 * any length, cut to microseconds; second 60 read as the next minute's first, as PostgreSQL does).
 * Years 0001..9999, as written and in UTC. @return 1, or 0 and *out untouched */
int mpx_time_parse(const char *text, apr_size_t len, apr_time_t *out);

/* "YYYY-MM-DDTHH:MM:SS.ffffffZ"; the fraction is left out when it is zero. A time outside of the years
 * 0001..9999 is written as the nearest that can be. @param out MPX_TIME_TEXT bytes @return out */
char *mpx_time_format(apr_time_t t, char *out);

/* The same, allocated. */
char *mpx_time_text(apr_pool_t *pool, apr_time_t t);

#endif
