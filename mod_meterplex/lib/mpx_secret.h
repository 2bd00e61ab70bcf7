/* mpx_secret: the root key and what is derived from it (libsodium). One 32-byte root key; crypto_kdf (BLAKE2b)
 * subkeys, one for each purpose, so that no two uses share a key. Pure but for randomness, which sodium
 * provides (sodium_init() is the caller's business).
 */
#ifndef MPX_SECRET_H
#define MPX_SECRET_H

#include <apr_pools.h>

#define MPX_ROOTKEY_SIZE 32
#define MPX_SUBKEY_SIZE 32
#define MPX_FINGERPRINT_SIZE 16

typedef enum mpx_subkey {          /* crypto_kdf subkey ids: never renumber */
    MPX_SUBKEY_APIKEY = 1,         /* keyed BLAKE2b of API keys */
    MPX_SUBKEY_SEAL = 2,           /* XChaCha20-Poly1305 of sealed columns */
    MPX_SUBKEY_CURSOR = 3,         /* MAC of cursors */
    MPX_SUBKEY_CSRF = 4,
    MPX_SUBKEY_TOKEN = 5,          /* seed of token signing */
    MPX_SUBKEY_FINGERPRINT = 6     /* mpx_rootkey_fingerprint() alone: what is derived here is not secret */
} mpx_subkey_e;

typedef struct mpx_rootkey {
    unsigned char bytes[MPX_ROOTKEY_SIZE];
} mpx_rootkey_t;

void mpx_subkey(const mpx_rootkey_t *root, mpx_subkey_e purpose, unsigned char out[MPX_SUBKEY_SIZE]);
/* What a root key is known again by; whoever reads it learns nothing of the key or of what is derived from it. */
void mpx_rootkey_fingerprint(const mpx_rootkey_t *root, unsigned char out[MPX_FINGERPRINT_SIZE]);

/* Seal with a random nonce; associated data binds the text to its row ("table/column/id").
 * @return version byte + nonce + ciphertext in pool, *outlen its bytes */
unsigned char *mpx_seal(apr_pool_t *pool, const mpx_rootkey_t *root, const char *associated, const void *text,
                        apr_size_t len, apr_size_t *outlen);

/* @return 1 and the text (NUL-terminated, in pool), or 0: forged, cut, or for another row */
int mpx_unseal(apr_pool_t *pool, const mpx_rootkey_t *root, const char *associated, const unsigned char *sealed,
               apr_size_t len, char **text, apr_size_t *textlen);

#define MPX_CURSOR_PAYLOAD_MAX 3056

/* Opaque list cursor: base64url of payload and a 16-byte MAC over scope and payload, so that a cursor of
 * another list, filter or tenant is refused like a forged one.
 * @param payload at most MPX_CURSOR_PAYLOAD_MAX bytes: a longer one would not open again */
char *mpx_cursor_make(apr_pool_t *pool, const mpx_rootkey_t *root, const char *scope, const char *payload);
/* @return the payload, or NULL if it is not ours */
char *mpx_cursor_open(apr_pool_t *pool, const mpx_rootkey_t *root, const char *scope, const char *cursor);

#endif
