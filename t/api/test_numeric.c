/* mpx_decimal against PostgreSQL's NUMERIC: random numbers, read, compared, added and subtracted by both. */
#include "harness.h"

#include <string.h>

#include "mpx_decimal.h"

#define PAIRS 3000

static void up(void)
{
    h_pg_setup();
}

static const char *random_number(void)
{
    char *out = calloc(1, 64), *at = out;
    int whole = 1 + (int)(random() % 38), fraction = (int)(random() % 19);

    if (random() % 2) {
        *at++ = '-';
    }
    for (int i = 0; i < whole; i++) {
        *at++ = (char)('0' + (random() % 4 ? random() % 10 : 0));
    }
    if (fraction) {
        *at++ = '.';
        for (int i = 0; i < fraction; i++) {
            *at++ = (char)('0' + random() % 10);
        }
    }
    return out;
}

START_TEST(arithmetic_is_that_of_numeric)
{
    char *sql = calloc(1, PAIRS * 160 + 400), *at = sql, *state = NULL;
    const char *a[PAIRS], *b[PAIRS];
    int n = 0;

    srandom(4711);
    at +=
        sprintf(at,
                "SELECT string_agg(concat_ws(' ', trim_scale(a), trim_scale(a + b), trim_scale(a - b), sign(a - b)), E'\\n' "
                "ORDER BY i) FROM (VALUES ");
    for (int i = 0; i < PAIRS; i++) {
        a[i] = random_number();
        b[i] = i % 10 ? random_number() : a[i];
        at += sprintf(at, "%s(%d, '%s'::numeric, '%s'::numeric)", i ? "," : "", i, a[i], b[i]);
    }
    strcpy(at, ") AS v(i, a, b)");
    for (char *line = strtok_r(strdup(h_sql("%s", sql)), "\n", &state); line; line = strtok_r(NULL, "\n", &state), n++) {
        char own[400], x[MPX_DECIMAL_TEXT], y[MPX_DECIMAL_TEXT], z[MPX_DECIMAL_TEXT];
        mpx_decimal_t da, db, sum, difference;
        int c;
        ck_assert_int_eq(mpx_decimal_parse(a[n], strlen(a[n]), &da), MPX_DECIMAL_OK);
        ck_assert_int_eq(mpx_decimal_parse_json(b[n], strlen(b[n]), &db) == MPX_DECIMAL_SYNTAX,
                         b[n][b[n][0] == '-'] == '0' && strlen(b[n]) > (size_t)(b[n][0] == '-') + 1
                             && b[n][(b[n][0] == '-') + 1] != '.');
        ck_assert_int_eq(mpx_decimal_parse(b[n], strlen(b[n]), &db), MPX_DECIMAL_OK);
        ck_assert_int_eq(mpx_decimal_add(&da, &db, &sum), MPX_DECIMAL_OK);
        ck_assert_int_eq(mpx_decimal_subtract(&da, &db, &difference), MPX_DECIMAL_OK);
        c = mpx_decimal_compare(&da, &db);
        snprintf(own, sizeof own, "%s %s %s %d", mpx_decimal_format(&da, x), mpx_decimal_format(&sum, y),
                 mpx_decimal_format(&difference, z), c < 0 ? -1 : c > 0);
        ck_assert_str_eq(own, line);
    }
    ck_assert_int_eq(n, PAIRS);
}
END_TEST

START_TEST(bounds_and_grammar)
{
    static const struct {
        const char *text;
        mpx_decimal_status_t plain, json;
        const char *value;
    } cases[] = {
        { "0", MPX_DECIMAL_OK, MPX_DECIMAL_OK, "0" },
        { "-0", MPX_DECIMAL_OK, MPX_DECIMAL_OK, "0" },
        { "1e3", MPX_DECIMAL_SYNTAX, MPX_DECIMAL_OK, "1000" },
        { "1.5E-2", MPX_DECIMAL_SYNTAX, MPX_DECIMAL_OK, "0.015" },
        { "1e37", MPX_DECIMAL_SYNTAX, MPX_DECIMAL_OK, "10000000000000000000000000000000000000" },
        { "1e38", MPX_DECIMAL_SYNTAX, MPX_DECIMAL_RANGE, NULL },
        { "1e-18", MPX_DECIMAL_SYNTAX, MPX_DECIMAL_OK, "0.000000000000000001" },
        { "1e-19", MPX_DECIMAL_SYNTAX, MPX_DECIMAL_RANGE, NULL },
        { "1e131071", MPX_DECIMAL_SYNTAX, MPX_DECIMAL_RANGE, NULL },
        { "0e999999999999999999999", MPX_DECIMAL_SYNTAX, MPX_DECIMAL_OK, "0" },
        { "0.1000000000000000000000", MPX_DECIMAL_OK, MPX_DECIMAL_OK, "0.1" },
        { "0.1000000000000000001", MPX_DECIMAL_RANGE, MPX_DECIMAL_RANGE, NULL },
        { "01", MPX_DECIMAL_OK, MPX_DECIMAL_SYNTAX, "1" },
        { ".5", MPX_DECIMAL_SYNTAX, MPX_DECIMAL_SYNTAX, NULL },
        { "5.", MPX_DECIMAL_SYNTAX, MPX_DECIMAL_SYNTAX, NULL },
        { "+1", MPX_DECIMAL_SYNTAX, MPX_DECIMAL_SYNTAX, NULL },
        { "", MPX_DECIMAL_SYNTAX, MPX_DECIMAL_SYNTAX, NULL },
        { "NaN", MPX_DECIMAL_SYNTAX, MPX_DECIMAL_SYNTAX, NULL },
        { "1 ", MPX_DECIMAL_SYNTAX, MPX_DECIMAL_SYNTAX, NULL },
        { "1e", MPX_DECIMAL_SYNTAX, MPX_DECIMAL_SYNTAX, NULL },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mpx_decimal_t d;
        char text[MPX_DECIMAL_TEXT];
        size_t len = strlen(cases[i].text);
        ck_assert_msg(mpx_decimal_parse(cases[i].text, len, &d) == cases[i].plain, "%s", cases[i].text);
        ck_assert_msg(mpx_decimal_parse_json(cases[i].text, len, &d) == cases[i].json, "%s as JSON", cases[i].text);
        if (cases[i].json == MPX_DECIMAL_OK) {
            ck_assert_str_eq(mpx_decimal_format(&d, text), cases[i].value);
        }
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("numeric");
    TCase *tcase = tcase_create("numeric");

    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, arithmetic_is_that_of_numeric);
    tcase_add_test(tcase, bounds_and_grammar);
    suite_add_tcase(suite, tcase);
    return h_run(suite, up);
}
