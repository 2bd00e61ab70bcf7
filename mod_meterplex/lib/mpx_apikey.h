/* mpx_apikey: the text of an API key: mpx_<env>_<43 base62 of 32 random bytes>_<6 base62 CRC-32>, and its
 * digest. Regular expression for secret scanners: mpx_(live|test)_[0-9A-Za-z]{43}_[0-9A-Za-z]{6}. Pure.
 * The CRC-32 (ISO-HDLC, as zlib) is of everything before its own underscore.
 */
#ifndef MPX_APIKEY_H
#define MPX_APIKEY_H

#include <apr_pools.h>

#define MPX_APIKEY_TEXT 64    /* 59 characters and the NUL, rounded */
#define MPX_APIKEY_DIGEST 32

typedef enum mpx_apikey_env { MPX_APIKEY_LIVE = 0, MPX_APIKEY_TEST = 1 } mpx_apikey_env_e;

/* @param out MPX_APIKEY_TEXT bytes; the caller zeroes them after use */
void mpx_apikey_format(mpx_apikey_env_e env, const unsigned char random[32], char *out);

/* Shape, alphabet and checksum; no look-up is worth while without. @return 1 and *env, or 0 */
int mpx_apikey_check(const char *text, apr_size_t len, mpx_apikey_env_e *env);

/* Keyed BLAKE2b-256 of the whole text: what is stored and looked up. @param key 32 bytes */
void mpx_apikey_digest(const unsigned char key[32], const char *text, apr_size_t len,
                       unsigned char out[MPX_APIKEY_DIGEST]);

/* CRC-32/ISO-HDLC, as zlib's crc32(): of "123456789" it is cbf43926. */
apr_uint32_t mpx_crc32(const char *text, apr_size_t len);

/* Big-endian base62 (0-9A-Za-z) of at most 64 bytes, left-padded with '0' to width; what does not fit is lost
 * at the left. @param out width bytes; no NUL is written */
void mpx_base62_encode(const unsigned char *bytes, apr_size_t n, char *out, apr_size_t width);

#endif
