/* mpx_decimal.c: see mpx_decimal.h. A number is a sign and 81 decimal digits, 18 of them after the point,
 * in 9 limbs of 9. */
#include "mpx_decimal.h"

#include <string.h>

#define LIMBS 9
#define BASE 1000000000u
#define DIGITS (LIMBS * 9)

/* Digits most significant first, around the point: what both grammars are read into. */
typedef struct reading {
    const char *digits; /* as written, with the point among them */
    apr_size_t len;
    apr_int64_t point; /* number of digits before the point, exponent applied; may be negative */
    int negative;
} reading_t;

static int is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static apr_size_t span(const char *at, const char *end)
{
    const char *start = at;
    while (at < end && is_digit(*at)) {
        at++;
    }
    return (apr_size_t)(at - start);
}

/* [-]digits[.digits] at the start of text. @return where it ends, or NULL */
static const char *read_plain(const char *text, const char *end, reading_t *out)
{
    apr_size_t n;
    out->negative = text < end && *text == '-';
    text += out->negative;
    out->digits = text;
    n = span(text, end);
    if (n == 0) {
        return NULL;
    }
    out->point = (apr_int64_t)n;
    text += n;
    if (text < end && *text == '.') {
        n = span(++text, end);
        if (n == 0) {
            return NULL;
        }
        text += n;
    }
    out->len = (apr_size_t)(text - out->digits);
    return text;
}

static mpx_decimal_status_t convert(const reading_t *reading, mpx_decimal_t *out)
{
    mpx_decimal_t d;
    apr_int64_t place = reading->point - 1; /* power of ten of the digit in hand */
    apr_size_t i;
    int nonzero = 0;

    memset(&d, 0, sizeof d);
    for (i = 0; i < reading->len; i++) {
        char c = reading->digits[i];
        if (c == '.') {
            continue;
        }
        if (c != '0') {
            apr_int64_t at = place + MPX_DECIMAL_FRAC_DIGITS;
            static const unsigned tens[] = { 1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000 };
            if (place >= MPX_DECIMAL_INT_DIGITS || at < 0) {
                return MPX_DECIMAL_RANGE;
            }
            d.limb[at / 9] += (unsigned)(c - '0') * tens[at % 9];
            nonzero = 1;
        }
        place--;
    }
    d.negative = reading->negative && nonzero;
    *out = d;
    return MPX_DECIMAL_OK;
}

mpx_decimal_status_t mpx_decimal_parse(const char *text, apr_size_t len, mpx_decimal_t *out)
{
    reading_t reading;
    const char *end = read_plain(text, text + len, &reading);
    return end == text + len ? convert(&reading, out) : MPX_DECIMAL_SYNTAX;
}

mpx_decimal_status_t mpx_decimal_parse_json(const char *text, apr_size_t len, mpx_decimal_t *out)
{
    const char *end = text + len, *at;
    reading_t reading;
    apr_int64_t exponent = 0;

    at = read_plain(text, end, &reading);
    if (at == NULL || (reading.digits[0] == '0' && reading.point > 1)) {
        return MPX_DECIMAL_SYNTAX;
    }
    if (at < end && (*at == 'e' || *at == 'E')) {
        int minus = ++at < end && *at == '-';
        apr_size_t n;
        at += at < end && (*at == '-' || *at == '+');
        n = span(at, end);
        if (n == 0) {
            return MPX_DECIMAL_SYNTAX;
        }
        for (; n > 0; n--, at++) {
            if (exponent < 1000000000) { /* beyond it every digit but zero is out of range anyway */
                exponent = exponent * 10 + (*at - '0');
            }
        }
        reading.point += minus ? -exponent : exponent;
    }
    return at == end ? convert(&reading, out) : MPX_DECIMAL_SYNTAX;
}

char *mpx_decimal_format(const mpx_decimal_t *d, char *out)
{
    char digits[DIGITS];
    int i, first, last;
    char *at = out;

    for (i = 0; i < DIGITS; i++) { /* digits[0] is the most significant */
        unsigned limb = d->limb[LIMBS - 1 - i / 9];
        static const unsigned tens[] = { 100000000, 10000000, 1000000, 100000, 10000, 1000, 100, 10, 1 };
        digits[i] = (char)('0' + limb / tens[i % 9] % 10);
    }
    for (first = 0; first < DIGITS - MPX_DECIMAL_FRAC_DIGITS - 1 && digits[first] == '0'; first++) {
    }
    for (last = DIGITS; last > DIGITS - MPX_DECIMAL_FRAC_DIGITS && digits[last - 1] == '0'; last--) {
    }
    if (d->negative) {
        *at++ = '-';
    }
    for (i = first; i < last; i++) {
        if (i == DIGITS - MPX_DECIMAL_FRAC_DIGITS) {
            *at++ = '.';
        }
        *at++ = digits[i];
    }
    *at = '\0';
    return out;
}

static int compare_magnitude(const mpx_decimal_t *a, const mpx_decimal_t *b)
{
    int i;
    for (i = LIMBS - 1; i >= 0; i--) {
        if (a->limb[i] != b->limb[i]) {
            return a->limb[i] < b->limb[i] ? -1 : 1;
        }
    }
    return 0;
}

int mpx_decimal_compare(const mpx_decimal_t *a, const mpx_decimal_t *b)
{
    if (a->negative != b->negative) {
        return a->negative ? -1 : 1;
    }
    return a->negative ? compare_magnitude(b, a) : compare_magnitude(a, b);
}

static int is_zero(const mpx_decimal_t *d)
{
    static const mpx_decimal_t zero;
    return memcmp(d->limb, zero.limb, sizeof zero.limb) == 0;
}

mpx_decimal_status_t mpx_decimal_add(const mpx_decimal_t *a, const mpx_decimal_t *b, mpx_decimal_t *sum)
{
    mpx_decimal_t result;
    unsigned carry = 0;
    int i;

    memset(&result, 0, sizeof result);
    if (a->negative == b->negative) {
        for (i = 0; i < LIMBS; i++) {
            unsigned v = a->limb[i] + b->limb[i] + carry;
            carry = v >= BASE;
            result.limb[i] = carry ? v - BASE : v;
        }
        if (carry) {
            return MPX_DECIMAL_RANGE;
        }
        result.negative = a->negative;
    }
    else {
        const mpx_decimal_t *more = compare_magnitude(a, b) >= 0 ? a : b, *less = more == a ? b : a;
        for (i = 0; i < LIMBS; i++) {
            unsigned take = less->limb[i] + carry;
            carry = more->limb[i] < take;
            result.limb[i] = more->limb[i] + (carry ? BASE : 0) - take;
        }
        result.negative = more->negative && !is_zero(&result);
    }
    *sum = result;
    return MPX_DECIMAL_OK;
}

mpx_decimal_status_t mpx_decimal_subtract(const mpx_decimal_t *a, const mpx_decimal_t *b, mpx_decimal_t *difference)
{
    mpx_decimal_t minus = *b;
    minus.negative = !b->negative && !is_zero(b);
    return mpx_decimal_add(a, &minus, difference);
}
