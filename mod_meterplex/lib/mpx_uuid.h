/* mpx_uuid: UUIDv7 (RFC 9562) and TypeID text (prefix, '_', 26 characters of Crockford base32).
 * Pure: clock and randomness are parameters. Thread-safe: no state.
 */
#ifndef MPX_UUID_H
#define MPX_UUID_H

#include <apr_pools.h>
#include <apr_time.h>

typedef struct mpx_uuid {
    unsigned char b[16];
} mpx_uuid_t;

#define MPX_UUID_TEXT 37 /* 8-4-4-4-12 lower-case hex and the NUL */
#define MPX_TYPEID_PREFIX_MAX 63
#define MPX_TYPEID_TEXT (MPX_TYPEID_PREFIX_MAX + 1 + 26 + 1)

/* Make a version 7 UUID.
 * @param now     microseconds since the epoch; the millisecond part becomes the first 48 bits, the
 *                microseconds within it the 12 bits of rand_a (RFC 9562 section 6.2, method 3), so that
 *                ids of one node sort by time even within a millisecond
 * @param random  8 random bytes; 62 bits of them are used
 */
void mpx_uuid_v7(mpx_uuid_t *out, apr_time_t now, const unsigned char random[8]);

/* The 8-4-4-4-12 form. @param out at least MPX_UUID_TEXT bytes. @return out */
char *mpx_uuid_format(const mpx_uuid_t *id, char *out);

/* Read the 8-4-4-4-12 form, either case. @return 1 if it is one, else 0 and *out untouched */
int mpx_uuid_parse(const char *text, mpx_uuid_t *out);

int mpx_uuid_is_nil(const mpx_uuid_t *id);
int mpx_uuid_equal(const mpx_uuid_t *a, const mpx_uuid_t *b);

/* TypeID text of an id. @param prefix 0..63 of [a-z_] @return text allocated in pool */
char *mpx_typeid_format(apr_pool_t *pool, const char *prefix, const mpx_uuid_t *id);

/* Read a TypeID. @param prefix the one that is required, or NULL for any valid one
 * @return 1 if text is a valid TypeID (specification 0.3: lower case, no overflow past 128 bits) with
 * that prefix, else 0 and *out untouched */
int mpx_typeid_parse(const char *text, const char *prefix, mpx_uuid_t *out);

#endif
