/* mpx_decimal: grammar, range and arithmetic against numbers kept as strings of digits and added by hand. */
#include <stdlib.h>
#include <string.h>

#include <apr_general.h>

#include "mpx_decimal.h"
#include "tap.h"

#define WIDTH 81 /* digits of the reference: 63 before the point, 18 after */
#define FRACTION 18
#define ROUNDS 20000

START_TEST(what_is_a_number_and_what_is_none)
{
    static const struct {
        const char *text, *plain, *json; /* canonical text, "syntax" or "range" */
    } cases[] = {
        { "0", "0", "0" },
        { "-0", "0", "0" },
        { "-0.000", "0", "0" },
        { "12.50", "12.5", "12.5" },
        { "100", "100", "100" },
        { "-1.05", "-1.05", "-1.05" },
        { "007", "7", "syntax" },
        { "-007.10", "-7.1", "syntax" },
        { "00", "0", "syntax" },
        { "1e3", "syntax", "1000" },
        { "1.5e3", "syntax", "1500" },
        { "15E-1", "syntax", "1.5" },
        { "1e+2", "syntax", "100" },
        { "-25e-2", "syntax", "-0.25" },
        { "0e5", "syntax", "0" },
        { "0.00e-99", "syntax", "0" },
        { "1e37", "syntax", "10000000000000000000000000000000000000" },
        { "1e38", "syntax", "range" },
        { "1e-18", "syntax", "0.000000000000000001" },
        { "1e-19", "syntax", "range" },
        { "10e-19", "syntax", "0.000000000000000001" },
        { "0.00000000000000000000000000000000000001e38", "syntax", "1" },
        { "1e99999999999999999999", "syntax", "range" },
        { "1e-99999999999999999999", "syntax", "range" },
        { "0e99999999999999999999", "syntax", "0" },
        { "99999999999999999999999999999999999999.999999999999999999",
          "99999999999999999999999999999999999999.999999999999999999",
          "99999999999999999999999999999999999999.999999999999999999" },
        { "100000000000000000000000000000000000000", "range", "range" },
        { "000100000000000000000000000000000000000", "100000000000000000000000000000000000", "syntax" },
        { "0.0000000000000000001", "range", "range" },
        { "0.1000000000000000000", "0.1", "0.1" },
        { "", "syntax", "syntax" },
        { "-", "syntax", "syntax" },
        { ".5", "syntax", "syntax" },
        { "5.", "syntax", "syntax" },
        { "+5", "syntax", "syntax" },
        { " 5", "syntax", "syntax" },
        { "5 ", "syntax", "syntax" },
        { "--5", "syntax", "syntax" },
        { "1.2.3", "syntax", "syntax" },
        { "1,5", "syntax", "syntax" },
        { "0x10", "syntax", "syntax" },
        { "1e", "syntax", "syntax" },
        { "1e+", "syntax", "syntax" },
        { "1e5.0", "syntax", "syntax" },
        { "e5", "syntax", "syntax" },
        { "NaN", "syntax", "syntax" },
        { "Infinity", "syntax", "syntax" },
        { "-.5", "syntax", "syntax" },
    };
    static const char *const names[] = { "0", "syntax", "range" };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[MPX_DECIMAL_TEXT];
        mpx_decimal_t d;
        size_t len = strlen(cases[i].text);
        mpx_decimal_status_t status = mpx_decimal_parse(cases[i].text, len, &d);

        ck_assert_str_eq(status ? names[status] : mpx_decimal_format(&d, text), cases[i].plain);
        status = mpx_decimal_parse_json(cases[i].text, len, &d);
        ck_assert_str_eq(status ? names[status] : mpx_decimal_format(&d, text), cases[i].json);
    }
    /* the length rules, not a NUL */
    mpx_decimal_t d;
    ck_assert_int_eq(mpx_decimal_parse("12x", 2, &d), MPX_DECIMAL_OK);
    ck_assert_int_eq(mpx_decimal_parse("12\0", 3, &d), MPX_DECIMAL_SYNTAX);
}
END_TEST

/* --- the reference: WIDTH characters '0'..'9', most significant first, and a sign --- */

typedef struct slow {
    int negative;
    char digit[WIDTH + 1];
} slow_t;

static int slow_magnitude(const slow_t *a, const slow_t *b)
{
    return strcmp(a->digit, b->digit);
}

/* @return 1, or 0 when a digit is carried out */
static int slow_add(const slow_t *a, const slow_t *b, slow_t *sum)
{
    int carry = 0;
    *sum = *a;
    for (int i = WIDTH - 1; i >= 0; i--) {
        int v = a->digit[i] - '0' + b->digit[i] - '0' + carry;
        sum->digit[i] = (char)('0' + v % 10);
        carry = v / 10;
    }
    return carry == 0;
}

static void slow_take(const slow_t *more, const slow_t *less, slow_t *rest)
{
    int borrow = 0;
    *rest = *more;
    for (int i = WIDTH - 1; i >= 0; i--) {
        int v = more->digit[i] - less->digit[i] - borrow;
        borrow = v < 0;
        rest->digit[i] = (char)('0' + (v + 10) % 10);
    }
}

static int slow_sum(const slow_t *a, const slow_t *b, slow_t *sum)
{
    if (a->negative == b->negative) {
        return slow_add(a, b, sum);
    }
    if (slow_magnitude(a, b) >= 0) {
        slow_take(a, b, sum);
    }
    else {
        slow_take(b, a, sum);
    }
    return 1;
}

static const char *slow_text(const slow_t *s, char *out)
{
    char whole[WIDTH + 1], *first = whole, *at = out;
    int n = FRACTION;

    memcpy(whole, s->digit, WIDTH - FRACTION);
    whole[WIDTH - FRACTION] = '\0';
    while (first[0] == '0' && first[1]) {
        first++;
    }
    while (n > 0 && s->digit[WIDTH - FRACTION + n - 1] == '0') {
        n--;
    }
    if (s->negative && strspn(s->digit, "0") < WIDTH) {
        *at++ = '-';
    }
    at += sprintf(at, "%s", first);
    if (n) {
        sprintf(at, ".%.*s", n, s->digit + WIDTH - FRACTION);
    }
    return out;
}

/* A random number of the API's range: many zeros and nines, so that carries run far. */
static void slow_random(slow_t *s)
{
    int whole = (int)(random() % (MPX_DECIMAL_INT_DIGITS + 1)), fraction = (int)(random() % (FRACTION + 1));

    s->negative = (int)(random() % 2);
    memset(s->digit, '0', WIDTH);
    s->digit[WIDTH] = '\0';
    for (int i = WIDTH - FRACTION - whole; i < WIDTH - FRACTION + fraction; i++) {
        long kind = random() % 4;
        s->digit[i] = kind == 0 ? '0' : kind == 1 ? '9'
                                                  : (char)('0' + random() % 10);
    }
}

/* The same number in one of JSON's many spellings. */
static void spell(const char *canonical, char *out)
{
    const char *digits = canonical + (*canonical == '-'), *point = strchr(digits, '.');
    int whole = point ? (int)(point - digits) : (int)strlen(digits), shift = (int)(random() % 60);
    char all[WIDTH * 2] = "";

    strncat(all, digits, (size_t)whole);
    strcat(all, point ? point + 1 : "");
    /* d.ddd e (whole - 1), or 0.00ddd e (whole + shift) */
    if (random() % 2 && all[0] != '0') {
        sprintf(out, "%s%c.%s0%c%d", *canonical == '-' ? "-" : "", all[0], all + 1, random() % 2 ? 'e' : 'E',
                whole - 1);
    }
    else {
        sprintf(out, "%s0.%.*s%s%s%d", *canonical == '-' ? "-" : "", shift,
                "000000000000000000000000000000000000000000000000000000000000", all,
                random() % 2 ? "e" : "E+", whole + shift);
    }
}

START_TEST(arithmetic_is_that_of_digits_on_paper)
{
    char a_text[WIDTH + 4], b_text[WIDTH + 4], want[WIDTH + 4], got[MPX_DECIMAL_TEXT], spelt[4 * WIDTH];

    srandom((unsigned)tap_seed(20261120));
    for (int i = 0; i < ROUNDS; i++) {
        slow_t a, b, minus, result;
        mpx_decimal_t x, y, z;
        int order;

        slow_random(&a);
        slow_random(&b);
        if (i % 5 == 0) {
            int sign = b.negative;
            b = a; /* equal ones cancel, or double */
            b.negative = sign;
        }
        slow_text(&a, a_text);
        slow_text(&b, b_text);
        ck_assert_int_eq(mpx_decimal_parse(a_text, strlen(a_text), &x), MPX_DECIMAL_OK);
        spell(b_text, spelt);
        ck_assert_msg(mpx_decimal_parse_json(spelt, strlen(spelt), &y) == MPX_DECIMAL_OK, "%s", spelt);
        ck_assert_str_eq(mpx_decimal_format(&x, got), a_text);
        ck_assert_str_eq(mpx_decimal_format(&y, got), b_text);

        ck_assert(slow_sum(&a, &b, &result));
        if (a.negative != b.negative) {
            result.negative = slow_magnitude(&a, &b) >= 0 ? a.negative : b.negative;
        }
        ck_assert_int_eq(mpx_decimal_add(&x, &y, &z), MPX_DECIMAL_OK);
        ck_assert_str_eq(mpx_decimal_format(&z, got), slow_text(&result, want));
        order = strcmp(want, "0") == 0 ? 0 : want[0] == '-' ? -1
                                                            : 1; /* of a + b, so of a against -b */

        minus = b;
        minus.negative = !b.negative;
        slow_text(&minus, b_text);
        ck_assert_int_eq(mpx_decimal_parse(b_text, strlen(b_text), &y), MPX_DECIMAL_OK);
        ck_assert_int_eq(mpx_decimal_subtract(&x, &y, &z), MPX_DECIMAL_OK);
        ck_assert_str_eq(mpx_decimal_format(&z, got), want);
        ck_assert_int_eq(mpx_decimal_compare(&x, &y) < 0, order < 0);
        ck_assert_int_eq(mpx_decimal_compare(&x, &y) > 0, order > 0);
        ck_assert_int_eq(mpx_decimal_compare(&y, &x) < 0, order > 0);
    }
}
END_TEST

/* Doubling leaves the range of the API and at last that of the type, which is said and leaves the sum as it
 * was. */
START_TEST(an_overflow_is_said)
{
    char text[MPX_DECIMAL_TEXT], want[WIDTH + 4];
    slow_t slow = { 1, "" }, doubled;
    mpx_decimal_t d, before;
    int times = 0;

    memset(slow.digit, '0', WIDTH);
    memset(slow.digit + WIDTH - FRACTION - MPX_DECIMAL_INT_DIGITS, '9', MPX_DECIMAL_INT_DIGITS + FRACTION);
    slow_text(&slow, want);
    ck_assert_int_eq(mpx_decimal_parse(want, strlen(want), &d), MPX_DECIMAL_OK);
    while (slow_add(&slow, &slow, &doubled)) {
        slow = doubled;
        ck_assert_int_eq(mpx_decimal_add(&d, &d, &d), MPX_DECIMAL_OK); /* the result may be an operand */
        ck_assert_str_eq(mpx_decimal_format(&d, text), slow_text(&slow, want));
        times++;
    }
    ck_assert_int_gt(times, 80);
    before = d;
    ck_assert_int_eq(mpx_decimal_add(&d, &d, &d), MPX_DECIMAL_RANGE);
    ck_assert_int_eq(mpx_decimal_compare(&d, &before), 0);
    ck_assert_uint_lt(strlen(mpx_decimal_format(&d, text)), MPX_DECIMAL_TEXT);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("decimal");
    TCase *tcase = tcase_create("decimal");

    tcase_add_test(tcase, what_is_a_number_and_what_is_none);
    tcase_add_test(tcase, arithmetic_is_that_of_digits_on_paper);
    tcase_add_test(tcase, an_overflow_is_said);
    suite_add_tcase(suite, tcase);
    return tap_run(suite);
}
