/* mpx_secret.c: see mpx_secret.h. */
#include "mpx_secret.h"

#include <string.h>

#include <sodium.h>

#define CONTEXT "meterplx" /* crypto_kdf takes 8 bytes */
#define SEAL_VERSION 1
#define NONCE crypto_aead_xchacha20poly1305_ietf_NPUBBYTES
#define TAG crypto_aead_xchacha20poly1305_ietf_ABYTES
#define CURSOR_MAC 16
#define CURSOR_TEXT_MAX ((CURSOR_MAC + MPX_CURSOR_PAYLOAD_MAX) / 3 * 4)

void mpx_subkey(const mpx_rootkey_t *root, mpx_subkey_e purpose, unsigned char out[MPX_SUBKEY_SIZE])
{
    crypto_kdf_derive_from_key(out, MPX_SUBKEY_SIZE, (apr_uint64_t)purpose, CONTEXT, root->bytes);
}

void mpx_rootkey_fingerprint(const mpx_rootkey_t *root, unsigned char out[MPX_FINGERPRINT_SIZE])
{
    crypto_kdf_derive_from_key(out, MPX_FINGERPRINT_SIZE, MPX_SUBKEY_FINGERPRINT, CONTEXT, root->bytes);
}

unsigned char *mpx_seal(apr_pool_t *pool, const mpx_rootkey_t *root, const char *associated, const void *text,
                        apr_size_t len, apr_size_t *outlen)
{
    unsigned char key[MPX_SUBKEY_SIZE], *sealed = apr_palloc(pool, 1 + NONCE + len + TAG);
    unsigned long long written;

    sealed[0] = SEAL_VERSION;
    randombytes_buf(sealed + 1, NONCE);
    mpx_subkey(root, MPX_SUBKEY_SEAL, key);
    crypto_aead_xchacha20poly1305_ietf_encrypt(sealed + 1 + NONCE, &written, text, len,
                                               (const unsigned char *)associated, strlen(associated), NULL, sealed + 1,
                                               key);
    sodium_memzero(key, sizeof key);
    *outlen = 1 + NONCE + (apr_size_t)written;
    return sealed;
}

int mpx_unseal(apr_pool_t *pool, const mpx_rootkey_t *root, const char *associated, const unsigned char *sealed,
               apr_size_t len, char **text, apr_size_t *textlen)
{
    unsigned char key[MPX_SUBKEY_SIZE];
    unsigned long long written = 0;
    char *out;
    int failed;

    if (len < 1 + NONCE + TAG || sealed[0] != SEAL_VERSION) {
        return 0;
    }
    out = apr_palloc(pool, len);
    mpx_subkey(root, MPX_SUBKEY_SEAL, key);
    failed = crypto_aead_xchacha20poly1305_ietf_decrypt((unsigned char *)out, &written, NULL, sealed + 1 + NONCE,
                                                        len - 1 - NONCE, (const unsigned char *)associated,
                                                        strlen(associated), sealed + 1, key);
    sodium_memzero(key, sizeof key);
    if (failed) {
        return 0;
    }
    out[written] = '\0';
    *text = out;
    *textlen = (apr_size_t)written;
    return 1;
}

/* MAC over scope, a NUL, payload. */
static void cursor_mac(const mpx_rootkey_t *root, const char *scope, const char *payload, apr_size_t len,
                       unsigned char mac[CURSOR_MAC])
{
    unsigned char key[MPX_SUBKEY_SIZE];
    crypto_generichash_state state;

    mpx_subkey(root, MPX_SUBKEY_CURSOR, key);
    crypto_generichash_init(&state, key, sizeof key, CURSOR_MAC);
    crypto_generichash_update(&state, (const unsigned char *)scope, strlen(scope) + 1);
    crypto_generichash_update(&state, (const unsigned char *)payload, len);
    crypto_generichash_final(&state, mac, CURSOR_MAC);
    sodium_memzero(key, sizeof key);
}

char *mpx_cursor_make(apr_pool_t *pool, const mpx_rootkey_t *root, const char *scope, const char *payload)
{
    apr_size_t len = strlen(payload), total = CURSOR_MAC + len;
    apr_size_t size = sodium_base64_encoded_len(total, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    unsigned char *raw = apr_palloc(pool, total);
    char *text = apr_palloc(pool, size);

    cursor_mac(root, scope, payload, len, raw);
    memcpy(raw + CURSOR_MAC, payload, len); /* NOLINT(bugprone-not-null-terminated-result): counted bytes */
    return sodium_bin2base64(text, size, raw, total, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
}

char *mpx_cursor_open(apr_pool_t *pool, const mpx_rootkey_t *root, const char *scope, const char *cursor)
{
    apr_size_t size = strlen(cursor), len;
    unsigned char *raw, mac[CURSOR_MAC];
    const char *end;

    if (size > CURSOR_TEXT_MAX) {
        return NULL;
    }
    raw = apr_palloc(pool, size + 1);
    if (sodium_base642bin(raw, size, cursor, size, NULL, &len, &end, sodium_base64_VARIANT_URLSAFE_NO_PADDING) != 0
        || *end || len < CURSOR_MAC) {
        return NULL;
    }
    cursor_mac(root, scope, (const char *)raw + CURSOR_MAC, len - CURSOR_MAC, mac);
    if (sodium_memcmp(mac, raw, CURSOR_MAC) != 0) {
        return NULL;
    }
    raw[len] = '\0';
    return (char *)raw + CURSOR_MAC;
}
