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
        { "1985-04-12T23:20:50.52Z", "1985-04-12T23:20:50.520000Z" }, { "1996-12-19T16:39:57-08:00", "1996-12-20T00:39:57Z" },
        { "1990-12-31T23:59:60Z", "1991-01-01T00:00:00Z" }, { "1990-12-31T15:59:60-08:00", "1991-01-01T00:00:00Z" },
        { "1937-01-01T12:00:27.87+00:20", "1937-01-01T11:40:27.870000Z" }, { "2026-11-20t22:18:00z", "2026-11-20T22:18:00Z" },
        { "2024-02-29T00:00:00.1234567Z", "2024-02-29T00:00:00.123456Z" }, { "0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z" },
    };
    static const char *const bad[] = { "", "2026-11-20", "2026-11-20T22:18:00", "2026-11-20 22:18:00Z", "2026-02-29T00:00:00Z",
        "2026-13-01T00:00:00Z", "2026-01-01T24:00:00Z", "2026-01-01T00:60:00Z", "2026-01-01T00:00:61Z", "2026-01-01T00:00:00.Z",
        "2026-01-01T00:00:00+24:00", "2026-01-01T00:00:00+0100", "0000-01-01T00:00:00Z", "2026-1-01T00:00:00Z", "yesterday",
        "2026-01-01T00:00:00Zx" };
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
        snprintf(want, sizeof want, "%04d-%02d-%02dT%02d:%02d:%02dZ", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour,
                 tm.tm_min, tm.tm_sec);
        ck_assert_str_eq(mpx_time_format((apr_time_t)seconds * 1000000, text), want);
        ck_assert(mpx_time_parse(text, strlen(text), &back) && back == (apr_time_t)seconds * 1000000);
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
    suite_add_tcase(suite, tcase);
    return tap_run(suite);
}
