/* mpx_uuid.c: see mpx_uuid.h. */
#include "mpx_uuid.h"

#include <string.h>

static const char base32[] = "0123456789abcdefghjkmnpqrstvwxyz"; /* Crockford's, lower case */

void mpx_uuid_v7(mpx_uuid_t *out, apr_time_t now, const unsigned char random[8])
{
    apr_uint64_t ms = (apr_uint64_t)now / 1000;
    unsigned within = (unsigned)((apr_uint64_t)now % 1000) * 4096 / 1000;
    int i;

    for (i = 0; i < 6; i++) {
        out->b[i] = (unsigned char)(ms >> (40 - 8 * i));
    }
    out->b[6] = (unsigned char)(0x70 | within >> 8);
    out->b[7] = (unsigned char)within;
    memcpy(out->b + 8, random, 8);
    out->b[8] = (unsigned char)(0x80 | (out->b[8] & 0x3f));
}

char *mpx_uuid_format(const mpx_uuid_t *id, char *out)
{
    static const char hex[] = "0123456789abcdef";
    char *at = out;
    int i;

    for (i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) {
            *at++ = '-';
        }
        *at++ = hex[id->b[i] >> 4];
        *at++ = hex[id->b[i] & 15];
    }
    *at = '\0';
    return out;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int mpx_uuid_parse(const char *text, mpx_uuid_t *out)
{
    mpx_uuid_t id;
    int i, high, low;

    for (i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) {
            if (*text++ != '-') {
                return 0;
            }
        }
        if ((high = hex_digit(text[0])) < 0 || (low = hex_digit(text[1])) < 0) {
            return 0;
        }
        id.b[i] = (unsigned char)(high << 4 | low);
        text += 2;
    }
    if (*text) {
        return 0;
    }
    *out = id;
    return 1;
}

int mpx_uuid_is_nil(const mpx_uuid_t *id)
{
    static const mpx_uuid_t nil;
    return memcmp(id, &nil, sizeof nil) == 0;
}

int mpx_uuid_equal(const mpx_uuid_t *a, const mpx_uuid_t *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

/* 26 characters hold 130 bits: the first stands for the upper 3 of the 128, so it is at most '7'. */
static void encode(const mpx_uuid_t *id, char out[26])
{
    int i;
    for (i = 0; i < 26; i++) {
        int bit = i * 5 - 2, value = 0, k;
        for (k = 0; k < 5; k++, bit++) {
            value = value << 1 | (bit < 0 ? 0 : id->b[bit / 8] >> (7 - bit % 8) & 1);
        }
        out[i] = base32[value];
    }
}

char *mpx_typeid_format(apr_pool_t *pool, const char *prefix, const mpx_uuid_t *id)
{
    apr_size_t len = strlen(prefix);
    char *text = apr_palloc(pool, len + 1 + 26 + 1), *at = text;

    memcpy(at, prefix, len);
    at += len;
    if (len) {
        *at++ = '_';
    }
    encode(id, at);
    at[26] = '\0';
    return text;
}

static int decode(const char *text, mpx_uuid_t *out)
{
    mpx_uuid_t id;
    int i, k;

    memset(&id, 0, sizeof id);
    if (text[0] > '7') {
        return 0; /* more than 128 bits */
    }
    for (i = 0; i < 26; i++) {
        const char *found = text[i] ? strchr(base32, text[i]) : NULL;
        int bit = i * 5 - 2, value;
        if (found == NULL) {
            return 0;
        }
        value = (int)(found - base32);
        for (k = 4; k >= 0; k--, bit++) {
            if (bit >= 0 && value >> k & 1) {
                id.b[bit / 8] |= (unsigned char)(1 << (7 - bit % 8));
            }
        }
    }
    *out = id;
    return 1;
}

/* Prefix rule of TypeID 0.3: [a-z_], at most 63, neither first nor last is '_'. */
static int prefix_valid(const char *prefix, apr_size_t len)
{
    apr_size_t i;
    if (len > MPX_TYPEID_PREFIX_MAX || (len && (prefix[0] == '_' || prefix[len - 1] == '_'))) {
        return 0;
    }
    for (i = 0; i < len; i++) {
        if (prefix[i] != '_' && (prefix[i] < 'a' || prefix[i] > 'z')) {
            return 0;
        }
    }
    return 1;
}

int mpx_typeid_parse(const char *text, const char *prefix, mpx_uuid_t *out)
{
    apr_size_t len = strlen(text), given;

    if (len < 26) {
        return 0;
    }
    given = len - 26;
    if (given > 0) {
        if (given < 2 || text[given - 1] != '_') {
            return 0; /* an empty prefix has no separator */
        }
        given--;
    }
    if (!prefix_valid(text, given) || (prefix && (strlen(prefix) != given || memcmp(prefix, text, given) != 0))) {
        return 0;
    }
    return decode(text + len - 26, out);
}
