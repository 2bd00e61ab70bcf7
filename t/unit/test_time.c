/* mpx_time: RFC 3339, its own examples, and a loop against the C library's calendar. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <apr_general.h>

#include "mpx_time.h"
#include "tap.h"

static apr_pool_t *pool;

START_TEST(examples_of_the_standard)
{
    static const struct {
        const char *text, *same;
    } good[] = {
        { "1985-04-12T23:20:50.52Z", "1985-04-12T23:20:50.520000Z" },
        { "1996-12-19T16:39:57-08:00", "1996-12-20T00:39:57Z" },
        { "1990-12-31T23:59:60Z", "1991-01-01T00:00:00Z" },
        { "1990-12-31T15:59:60-08:00", "1991-01-01T00:00:00Z" },
        { "1937-01-01T12:00:27.87+00:20", "1937-01-01T11:40:27.870000Z" },
        { "2026-11-20t22:18:00z", "2026-11-20T22:18:00Z" },
        { "2024-02-29T00:00:00.1234567Z", "2024-02-29T00:00:00.123456Z" },
        { "0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z" },
        { "1937-01-01T12:00:27.87-00:00", "1937-01-01T12:00:27.870000Z" },
        { "2000-02-29T23:59:59+23:59", "2000-02-29T00:00:59Z" },
        { "2026-01-01T00:00:00.000001Z", "2026-01-01T00:00:00.000001Z" },
        { "2026-01-01T00:00:00.0000009Z", "2026-01-01T00:00:00Z" },
        { "9999-12-31T23:59:59.999999999999999999999999Z", "9999-12-31T23:59:59.999999Z" },
    };
    static const char *const bad[] = {
        "", "2026-11-20", "2026-11-20T22:18:00", "2026-11-20 22:18:00Z", "2026-02-29T00:00:00Z",
        "2026-13-01T00:00:00Z", "2026-01-01T24:00:00Z", "2026-01-01T00:60:00Z", "2026-01-01T00:00:61Z",
        "2026-01-01T00:00:00.Z", "2026-01-01T00:00:00+24:00", "2026-01-01T00:00:00+0100",
        "0000-01-01T00:00:00Z", "2026-1-01T00:00:00Z", "yesterday", "2026-01-01T00:00:00Zx",
        "2026-01-01T00:00:00+1:00", "2026-01-01T00:00:00+01:60", "2026-01-01T00:00:00 Z",
        "1900-02-29T00:00:00Z", "2026-00-10T00:00:00Z", "2026-01-00T00:00:00Z", "2026-04-31T00:00:00Z",
        "+026-01-01T00:00:00Z", "2026-01-01T00:00:00,5Z", "2026-01-01T00:00Z", "2026-01-01T00:00:00.5",
        "12026-01-01T00:00:00Z",
        /* a leap second is the last of a month, in UTC */
        "2026-11-22T00:00:60Z", "2026-11-22T23:59:60Z", "1990-12-31T23:59:60-08:00", "2016-12-31T23:58:60Z",
        /* in UTC these lie outside of the years that four digits can say */
        "0001-01-01T00:00:00+00:01", "9999-12-31T23:59:59-00:01", "9999-12-31T23:59:60Z"
    };
    apr_time_t t;

    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        ck_assert_msg(mpx_time_parse(good[i].text, strlen(good[i].text), &t), "%s", good[i].text);
        ck_assert_str_eq(mpx_time_text(pool, t), good[i].same);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ck_assert_msg(!mpx_time_parse(bad[i], strlen(bad[i]), &t), "%s", bad[i]);
    }
}
END_TEST

START_TEST(agrees_with_the_c_library)
{
    srandom((unsigned)tap_seed(7));
    for (int i = 0; i < 20000; i++) {
        time_t seconds = (time_t)random() * 100 % APR_INT64_C(250000000000) - APR_INT64_C(60000000000);
        char text[64], want[80];
        struct tm tm;
        apr_time_t back;

        gmtime_r(&seconds, &tm);
        snprintf(want, sizeof want, "%04d-%02d-%02dT%02d:%02d:%02dZ", tm.tm_year + 1900, tm.tm_mon + 1,
                 tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
        ck_assert_str_eq(mpx_time_format((apr_time_t)seconds * 1000000, text), want);
        ck_assert(mpx_time_parse(text, strlen(text), &back) && back == (apr_time_t)seconds * 1000000);
    }
}
END_TEST

/* Before 1970 the count is negative and the fraction still counts forwards. */
START_TEST(before_1970_and_past_the_ends)
{
    static const struct {
        apr_time_t t;
        const char *text;
    } cases[] = {
        { 0, "1970-01-01T00:00:00Z" },
        { -1, "1969-12-31T23:59:59.999999Z" },
        { -1000000, "1969-12-31T23:59:59Z" },
        { -1000001, "1969-12-31T23:59:58.999999Z" },
        { APR_INT64_C(-86400000000), "1969-12-31T00:00:00Z" },
        { APR_INT64_C(-62135596800000000), "0001-01-01T00:00:00Z" },
        { APR_INT64_C(253402300799999999), "9999-12-31T23:59:59.999999Z" },
    };
    char text[MPX_TIME_TEXT];
    apr_time_t back;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ck_assert_str_eq(mpx_time_format(cases[i].t, text), cases[i].text);
        ck_assert(mpx_time_parse(text, strlen(text), &back) && back == cases[i].t);
    }
    ck_assert_str_eq(mpx_time_format(APR_INT64_MIN, text), "0001-01-01T00:00:00Z");
    ck_assert_str_eq(mpx_time_format(APR_INT64_MAX, text), "9999-12-31T23:59:59.999999Z");
    back = 42;
    ck_assert(!mpx_time_parse("9999-12-31T23:59:59-00:01", 25, &back) && back == 42);
}
END_TEST

/* Every day from 0001 to 9999, counted on by hand. */
START_TEST(every_day_follows_the_one_before)
{
    static const int lengths[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    int y = 1, m = 1, d = 1;

    for (apr_time_t t = APR_INT64_C(-62135596800000000); y < 10000; t += APR_INT64_C(86400000000)) {
        char text[MPX_TIME_TEXT], want[40];
        apr_time_t back;
        int leap = y % 400 == 0 || (y % 4 == 0 && y % 100 != 0);

        snprintf(want, sizeof want, "%04d-%02d-%02dT00:00:00Z", y, m, d);
        if (strcmp(mpx_time_format(t, text), want) != 0 || !mpx_time_parse(want, 20, &back) || back != t) {
            ck_abort_msg("%s is written %s", want,
                         text); /* no assertion a day: Check counts each by a message to its parent */
        }
        if (++d > lengths[m - 1] + (m == 2 && leap)) {
            d = 1;
            m = m % 12 + 1;
            y += m == 1;
        }
    }
}
END_TEST

START_TEST(fractions_and_offsets_come_back)
{
    srandom((unsigned)tap_seed(20261120));
    for (int i = 0; i < 20000; i++) {
        apr_time_t t = ((apr_time_t)random() << 28 ^ random()) % APR_INT64_C(315000000000000000)
            - APR_INT64_C(62000000000000000),
                   back;
        int offset = (int)(random() % 2879) - 1439;
        char text[MPX_TIME_TEXT], local[64];

        mpx_time_format(t, text);
        ck_assert(mpx_time_parse(text, strlen(text), &back) && back == t);
        /* the same instant by a clock elsewhere */
        mpx_time_format(t + offset * APR_INT64_C(60000000), text);
        snprintf(local, sizeof local, "%.*s%c%02d:%02d", (int)strlen(text) - 1, text, offset < 0 ? '-' : '+',
                 abs(offset) / 60, abs(offset) % 60);
        ck_assert(mpx_time_parse(local, strlen(local), &back) && back == t);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("time");
    TCase *tcase = tcase_create("time");

    apr_initialize();
    apr_pool_create(&pool, NULL);
    tcase_add_test(tcase, examples_of_the_standard);
    tcase_add_test(tcase, agrees_with_the_c_library);
    tcase_add_test(tcase, before_1970_and_past_the_ends);
    tcase_add_test(tcase, every_day_follows_the_one_before);
    tcase_add_test(tcase, fractions_and_offsets_come_back);
    suite_add_tcase(suite, tcase);
    return tap_run(suite);
}
