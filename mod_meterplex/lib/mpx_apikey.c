/* mpx_apikey.c: see mpx_apikey.h. */
#include "mpx_apikey.h"

#include <string.h>

#include <sodium.h>

#define RANDOM_DIGITS 43
#define CRC_DIGITS 6
#define PREFIX "mpx_"

static const char base62[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
static const char *const environments[] = { "live", "test" };

void mpx_base62_encode(const unsigned char *bytes, apr_size_t n, char *out, apr_size_t width)
{
    unsigned char number[64];
    apr_size_t i, digit;

    /* Schoolbook division: the numbers are 32 bytes, and made once. */
    memcpy(number, bytes, n);
    for (digit = width; digit-- > 0;) {
        unsigned rest = 0;
        for (i = 0; i < n; i++) {
            unsigned value = rest << 8 | number[i];
            number[i] = (unsigned char)(value / 62);
            rest = value % 62;
        }
        out[digit] = base62[rest];
    }
    sodium_memzero(number, sizeof number);
}

/* Bit by bit: it is asked for 52 bytes at a time. */
apr_uint32_t mpx_crc32(const char *text, apr_size_t len)
{
    apr_uint32_t crc = 0xffffffffu;
    int bit;
    while (len--) {
        crc ^= (unsigned char)*text++;
        for (bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
        }
    }
    return ~crc;
}

static void write_crc(const char *text, apr_size_t len, char out[CRC_DIGITS])
{
    apr_uint32_t crc = mpx_crc32(text, len);
    unsigned char bytes[4] = { (unsigned char)(crc >> 24), (unsigned char)(crc >> 16), (unsigned char)(crc >> 8),
                               (unsigned char)crc };
    mpx_base62_encode(bytes, 4, out, CRC_DIGITS);
}

void mpx_apikey_format(mpx_apikey_env_e env, const unsigned char random[32], char *out)
{
    char *at = out;
    memcpy(at, PREFIX, 4);
    memcpy(at + 4, environments[env], 4);
    at[8] = '_';
    mpx_base62_encode(random, 32, at + 9, RANDOM_DIGITS);
    at += 9 + RANDOM_DIGITS;
    write_crc(out, (apr_size_t)(at - out), at + 1);
    *at = '_';
    at[1 + CRC_DIGITS] = '\0';
}

int mpx_apikey_check(const char *text, apr_size_t len, mpx_apikey_env_e *env)
{
    apr_size_t body = 9 + RANDOM_DIGITS, i;
    char crc[CRC_DIGITS];
    int which;

    if (len != body + 1 + CRC_DIGITS || memcmp(text, PREFIX, 4) != 0 || text[8] != '_' || text[body] != '_') {
        return 0;
    }
    for (which = 0; which < 2 && memcmp(text + 4, environments[which], 4) != 0; which++) {
    }
    if (which == 2) {
        return 0;
    }
    for (i = 9; i < len; i++) {
        if (i != body && (text[i] == '\0' || strchr(base62, text[i]) == NULL)) {
            return 0;
        }
    }
    write_crc(text, body, crc);
    if (memcmp(crc, text + body + 1, CRC_DIGITS) != 0) {
        return 0;
    }
    *env = (mpx_apikey_env_e)which;
    return 1;
}

void mpx_apikey_digest(const unsigned char key[32], const char *text, apr_size_t len,
                       unsigned char out[MPX_APIKEY_DIGEST])
{
    crypto_generichash(out, MPX_APIKEY_DIGEST, (const unsigned char *)text, len, key, 32);
}
