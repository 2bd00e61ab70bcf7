/* mpx_utf8: what the reader and the writer of JSON share about text. Private to lib/. */
#ifndef MPX_UTF8_H
#define MPX_UTF8_H

#include <string.h>
#include <apr.h>

/* Characters (code points) of a text that is well-formed UTF-8. */
static inline apr_size_t mpx_utf8_characters(const char *text, apr_size_t len)
{
    apr_size_t n = 0, i;

    for (i = 0; i < len; i++) {
        n += ((unsigned char)text[i] & 0xC0) != 0x80;
    }
    return n;
}

/* The length of the well-formed UTF-8 sequence at p (RFC 3629 section 4: no overlong forms, no surrogates,
 * nothing above U+10FFFF), or 0. p < end. */
static inline unsigned mpx_utf8_sequence(const unsigned char *p, const unsigned char *end)
{
    unsigned char low = 0x80, high = 0xBF; /* bounds of the second byte */
    unsigned length, i;

    if (p[0] < 0x80) {
        return 1;
    }
    if (p[0] < 0xC2 || p[0] > 0xF4) {
        return 0;
    }
    length = p[0] < 0xE0 ? 2 : p[0] < 0xF0 ? 3 : 4;
    if ((apr_size_t)(end - p) < length) {
        return 0;
    }
    if (p[0] == 0xE0) {
        low = 0xA0;
    }
    else if (p[0] == 0xED) {
        high = 0x9F;
    }
    else if (p[0] == 0xF0) {
        low = 0x90;
    }
    else if (p[0] == 0xF4) {
        high = 0x8F;
    }
    if (p[1] < low || p[1] > high) {
        return 0;
    }
    for (i = 2; i < length; i++) {
        if ((p[i] & 0xC0) != 0x80) {
            return 0;
        }
    }
    return length;
}

/* Writes a code point below U+110000 as UTF-8. @return bytes written, 1..4 */
static inline unsigned mpx_utf8_write(unsigned long point, char *out)
{
    if (point < 0x80) {
        out[0] = (char)point;
        return 1;
    }
    if (point < 0x800) {
        out[0] = (char)(0xC0 | (point >> 6));
        out[1] = (char)(0x80 | (point & 0x3F));
        return 2;
    }
    if (point < 0x10000) {
        out[0] = (char)(0xE0 | (point >> 12));
        out[1] = (char)(0x80 | ((point >> 6) & 0x3F));
        out[2] = (char)(0x80 | (point & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | (point >> 18));
    out[1] = (char)(0x80 | ((point >> 12) & 0x3F));
    out[2] = (char)(0x80 | ((point >> 6) & 0x3F));
    out[3] = (char)(0x80 | (point & 0x3F));
    return 4;
}

/* The value of four hexadecimal digits at p, or -1. */
static inline long mpx_utf8_hex4(const char *p)
{
    long value = 0;
    int i;

    for (i = 0; i < 4; i++) {
        int c = (unsigned char)p[i];
        int digit = c >= '0' && c <= '9' ? c - '0'
                  : c >= 'a' && c <= 'f' ? c - 'a' + 10
                  : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;

        if (digit < 0) {
            return -1;
        }
        value = value * 16 + digit;
    }
    return value;
}

/* May c stand in a JSON string as it is, being ASCII? */
static inline int mpx_utf8_plain(unsigned char c)
{
    return c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
}

/* The end of the run of plain characters that begins at p. Eight bytes at a time: each byte of `stop` has
 * its high bit set where the byte is below 0x20, above 0x7F, a quote or a backslash. A borrow can only mark
 * bytes above the first one that is marked rightly, so the lowest mark is exact. */
static inline const unsigned char *mpx_utf8_plain_run(const unsigned char *p, const unsigned char *end)
{
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    const apr_uint64_t ones = 0x0101010101010101u, highs = 0x8080808080808080u;

    while (end - p >= 8) {
        apr_uint64_t v, quote, slash, stop;

        memcpy(&v, p, 8);
        quote = v ^ (ones * '"');
        slash = v ^ (ones * '\\');
        stop = (v | ((v - ones * 0x20) & ~v) | ((quote - ones) & ~quote) | ((slash - ones) & ~slash)) & highs;
        if (stop) {
            return p + (__builtin_ctzll(stop) >> 3);
        }
        p += 8;
    }
#endif
    while (p < end && mpx_utf8_plain(*p)) {
        p++;
    }
    return p;
}

#endif
