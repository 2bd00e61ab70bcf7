/* mpx_decimal: exact decimal numbers within the range of the API: at most 38 digits before and 18 after
 * the point. Never through a double. Pure; no allocation but for text.
 */
#ifndef MPX_DECIMAL_H
#define MPX_DECIMAL_H

#include <apr_pools.h>

#define MPX_DECIMAL_INT_DIGITS 38
#define MPX_DECIMAL_FRAC_DIGITS 18
/* sign, digits, point, NUL; results of arithmetic may use all of 63 integer digits */
#define MPX_DECIMAL_TEXT 88

/* A value as an integer count of 10^-18: limb[0] is the least significant, base 10^9, 9 limbs = 81 digits. */
typedef struct mpx_decimal {
    int negative; /* never set for zero */
    unsigned limb[9];
} mpx_decimal_t;

typedef enum mpx_decimal_status {
    MPX_DECIMAL_OK = 0,
    MPX_DECIMAL_SYNTAX, /* not a number of the grammar asked for */
    MPX_DECIMAL_RANGE   /* more than 38 digits before, or 18 significant ones after the point, or overflow */
} mpx_decimal_status_t;

/* Plain decimal text: [-]digits[.digits], no exponent, no plus sign, no spaces; leading zeros allowed,
 * ".5" and "5." are not. Trailing zeros after the point do not count as digits. */
mpx_decimal_status_t mpx_decimal_parse(const char *text, apr_size_t len, mpx_decimal_t *out);

/* A JSON number (RFC 8259 section 6), exponent included: "1.5e3" is 1500. */
mpx_decimal_status_t mpx_decimal_parse_json(const char *text, apr_size_t len, mpx_decimal_t *out);

/* Canonical text: no exponent, no leading zeros, no trailing zeros after the point, "0" for zero.
 * @param out MPX_DECIMAL_TEXT bytes @return out */
char *mpx_decimal_format(const mpx_decimal_t *d, char *out);

int mpx_decimal_compare(const mpx_decimal_t *a, const mpx_decimal_t *b); /* <0, 0, >0 */
mpx_decimal_status_t mpx_decimal_add(const mpx_decimal_t *a, const mpx_decimal_t *b, mpx_decimal_t *sum);
mpx_decimal_status_t mpx_decimal_subtract(const mpx_decimal_t *a, const mpx_decimal_t *b, mpx_decimal_t *difference);

#endif
