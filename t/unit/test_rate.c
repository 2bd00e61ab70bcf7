/* mpx_rate: rates as text, and GCRA against an exact simulation that keeps a bucket of nanoseconds. */
#include <stdlib.h>
#include <string.h>

#include <apr_general.h>

#include "mpx_rate.h"
#include "tap.h"

#define NS APR_UINT64_C(1000000000)

static apr_pool_t *pool;

START_TEST(rates_are_read)
{
    static const struct {
        const char *text;
        apr_uint64_t count;
        unsigned period;
    } good[] = { { "100/s", 100, 1 }, { "1000/min", 1000, 60 }, { "5/h", 5, 3600 }, { "10/d", 10, 86400 },
                 { "1/second", 1, 1 }, { "1000000000/day", 1000000000, 86400 } };
    static const char *const bad[] = { "", "100", "/s", "0/s", "-1/s", "1.5/s", "1000000001/s", "5/week", "5/s ", "99999999999999999999/s" };
    mpx_rate_t rate;

    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        ck_assert_ptr_null(mpx_rate_parse(pool, good[i].text, &rate));
        ck_assert(rate.count == good[i].count && rate.period == good[i].period && rate.burst == rate.count);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ck_assert_ptr_nonnull(mpx_rate_parse(pool, bad[i], &rate));
    }
}
END_TEST

/* The same limit as a bucket: level rises by 1 each ns up to burst * interval; a unit takes interval. */
typedef struct bucket {
    apr_uint64_t level, last;
} bucket_t;

static int take(bucket_t *b, const mpx_rate_t *rate, apr_uint64_t interval, apr_uint64_t now, apr_uint64_t cost)
{
    apr_uint64_t full = rate->burst * interval;
    b->level += now - b->last;
    if (b->level > full) {
        b->level = full;
    }
    b->last = now;
    if (cost * interval > b->level) {
        return 0;
    }
    b->level -= cost * interval;
    return 1;
}

START_TEST(decisions_are_those_of_a_bucket)
{
    unsigned seed = 20261120;
    printf("# seed %u\n", seed);
    srandom(seed);
    for (int round = 0; round < 300; round++) {
        static const unsigned periods[] = { 1, 60, 3600, 86400 };
        mpx_rate_t rate = { 1 + (apr_uint64_t)random() % 1000, periods[random() % 4], 1 + (apr_uint64_t)random() % 50 };
        apr_uint64_t interval = mpx_rate_interval(&rate), now = 1000 * NS, tat = 0;
        bucket_t bucket = { rate.burst * interval, now };

        ck_assert(interval * rate.count >= rate.period * NS && (interval - 1) * rate.count < rate.period * NS);
        for (int i = 0; i < 300; i++) {
            apr_uint64_t cost = (apr_uint64_t)random() % 4;
            mpx_gcra_t g;
            now += (apr_uint64_t)random() % (2 * interval);
            mpx_gcra_decide(&rate, tat, now, cost, &g);
            ck_assert_int_eq(g.allowed, take(&bucket, &rate, interval, now, cost));
            ck_assert(g.remaining == bucket.level / interval);
            ck_assert(g.reset_after == rate.burst * interval - bucket.level);
            if (!g.allowed && cost <= rate.burst) {
                mpx_gcra_t later, sooner;
                mpx_gcra_decide(&rate, tat, now + g.retry_after, cost, &later);
                mpx_gcra_decide(&rate, tat, now + g.retry_after - 1, cost, &sooner);
                ck_assert(later.allowed && !sooner.allowed);
            }
            ck_assert(g.allowed || cost <= rate.burst || g.retry_after == APR_UINT64_MAX);
            tat = g.tat;
        }
    }
}
END_TEST

START_TEST(extremes_do_not_overflow)
{
    mpx_rate_t slow = { 1, 86400, 1000000000 }, fast = { 1000000000, 1, 1000000000 };
    mpx_gcra_t g;

    mpx_gcra_decide(&slow, 0, NS, 1, &g);
    ck_assert(g.allowed && g.tat > NS);
    mpx_gcra_decide(&slow, APR_UINT64_MAX, NS, 1, &g);
    ck_assert(!g.allowed);
    mpx_gcra_decide(&fast, 0, NS, 1000000000, &g);
    ck_assert(g.allowed && g.remaining == 0 && g.reset_after == NS);
    mpx_gcra_decide(&fast, 0, NS, 1000000001, &g);
    ck_assert(!g.allowed && g.retry_after == APR_UINT64_MAX);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("rate");
    TCase *tcase = tcase_create("rate");

    apr_initialize();
    apr_pool_create(&pool, NULL);
    tcase_add_test(tcase, rates_are_read);
    tcase_add_test(tcase, decisions_are_those_of_a_bucket);
    tcase_add_test(tcase, extremes_do_not_overflow);
    suite_add_tcase(suite, tcase);
    return tap_run(suite);
}
