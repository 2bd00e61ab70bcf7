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
    } good[] = {
        { "100/s", 100, 1 },
        { "1000/min", 1000, 60 },
        { "5/h", 5, 3600 },
        { "10/d", 10, 86400 },
        { "1/second", 1, 1 },
        { "1000000000/day", 1000000000, 86400 },
        { "007/sec", 7, 1 },
        { "3/m", 3, 60 },
        { "3/minute", 3, 60 },
        { "3/hour", 3, 3600 },
    };
    static const char *const bad[] = { "", "100", "/s", "0/s", "-1/s",
                                       "1.5/s", "1000000001/s", "5/week", "5/s ", "99999999999999999999/s",
                                       "5/S", "5//s", "5/", " 5/s", "+5/s",
                                       "0x5/s" };
    mpx_rate_t rate;

    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        ck_assert_ptr_null(mpx_rate_parse(pool, good[i].text, &rate));
        ck_assert(rate.count == good[i].count && rate.period == good[i].period && rate.burst == rate.count);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ck_assert_ptr_nonnull(mpx_rate_parse(pool, bad[i], &rate));
    }
    /* too great is told from not a rate */
    ck_assert_ptr_nonnull(strstr(mpx_rate_parse(pool, "1000000001/s", &rate), "1000000000"));
    ck_assert_ptr_nonnull(strstr(mpx_rate_parse(pool, "99999999999999999999/s", &rate), "1000000000"));
    ck_assert_ptr_nonnull(strstr(mpx_rate_parse(pool, "5/week", &rate), "5/week"));
}
END_TEST

/* The same limit as a bucket: level rises by 1 each ns up to burst * interval; a unit takes interval. */
typedef struct bucket {
    apr_uint64_t level, last;
} bucket_t;

static int take(bucket_t *b, const mpx_rate_t *rate, apr_uint64_t interval, apr_uint64_t now,
                apr_uint64_t cost)
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
    srandom((unsigned)tap_seed(20261120));
    for (int round = 0; round < 300; round++) {
        static const unsigned periods[] = { 1, 60, 3600, 86400 };
        mpx_rate_t rate = { 1 + (apr_uint64_t)random() % 1000, periods[random() % 4],
                            1 + (apr_uint64_t)random() % 50 };
        apr_uint64_t interval = mpx_rate_interval(&rate), now = 1000 * NS, tat = 0;
        bucket_t bucket = { rate.burst * interval, now };

        ck_assert(interval * rate.count >= rate.period * NS
                  && (interval - 1) * rate.count < rate.period * NS);
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

/* The promise, told without buckets: within any stretch of time no more passes than the burst and what the
 * rate says for it, as exact fractions. Each pair of an admission and a later one is a stretch. */
START_TEST(no_stretch_of_time_admits_more_than_it_says)
{
    enum { REQUESTS = 400 };
    static const unsigned periods[] = { 1, 60, 3600, 86400 };

    srandom((unsigned)tap_seed(20261121));
    for (int round = 0; round < 60; round++) {
        mpx_rate_t rate = { 1 + (apr_uint64_t)random() % (round % 3 ? 50 : 1000000000), periods[random() % 4],
                            1 + (apr_uint64_t)random() % 20 };
        apr_uint64_t when[REQUESTS] = { 0 }, cost[REQUESTS] = { 0 }, now = NS + (apr_uint64_t)random(), tat = 0;
        int n = 0;

        for (int i = 0; i < REQUESTS; i++) {
            mpx_gcra_t g;
            apr_uint64_t ask = 1 + (apr_uint64_t)random() % 3;
            now += (apr_uint64_t)random() % (mpx_rate_interval(&rate) * 3 / 2 + 2);
            mpx_gcra_decide(&rate, tat, now, ask, &g);
            tat = g.tat;
            if (g.allowed) {
                when[n] = now;
                cost[n++] = ask;
            }
        }
        ck_assert_int_gt(n, 0);
        for (int first = 0; first < n; first++) {
            unsigned __int128 passed = 0;
            for (int last = first; last < n; last++) {
                passed += cost[last];
                if (passed > rate.burst
                    && (passed - rate.burst) * rate.period * NS
                        > (unsigned __int128)(when[last] - when[first]) * rate.count) {
                    ck_abort_msg("round %d: more than the rate says", round);
                }
            }
        }
    }
}
END_TEST

/* All that may be configured: against the same arithmetic in 128 bits. Where nothing saturates both agree;
 * where something does, nothing passes that would not have passed. */
START_TEST(extremes_do_not_overflow)
{
    static const unsigned periods[] = { 1, 60, 3600, 86400 };
    static const apr_uint64_t sizes[] = { 1, 2, 10, 53374, 53376, 1000000, 999999999, 1000000000 };
    int saturated = 0, admitted = 0;

    srandom((unsigned)tap_seed(20261120));
    for (int round = 0; round < 3000; round++) {
        mpx_rate_t rate = { sizes[random() % 8], periods[random() % 4], sizes[random() % 8] };
        apr_uint64_t interval = mpx_rate_interval(&rate),
                     now = 1 + (apr_uint64_t)random() * (apr_uint64_t)random(), tat = 0;
        unsigned __int128 exact = 0, full = (unsigned __int128)rate.burst * interval;

        for (int i = 0; i < 20; i++) {
            apr_uint64_t cost =
                random() % 3 ? sizes[random() % 8] : (apr_uint64_t)random() % (rate.burst + 2);
            unsigned __int128 used = exact > now ? exact - now : 0,
                              charge = (unsigned __int128)cost * interval;
            int passes = cost <= rate.burst && used + charge <= full, sure = full <= MPX_RATE_HORIZON;
            mpx_gcra_t g;

            mpx_gcra_decide(&rate, tat, now, cost, &g);
            ck_assert(!g.allowed || passes);
            ck_assert(!sure || g.allowed == passes);
            ck_assert(g.tat >= tat || g.allowed);
            ck_assert(g.remaining <= rate.burst && g.reset_after <= MPX_RATE_HORIZON);
            ck_assert(g.allowed ? g.retry_after == 0 : g.retry_after > 0);
            ck_assert((g.retry_after == APR_UINT64_MAX) == (cost > rate.burst));
            ck_assert(mpx_rate_charge(&rate, cost)
                      == (charge > MPX_RATE_HORIZON ? MPX_RATE_HORIZON : (apr_uint64_t)charge));
            saturated += !sure;
            admitted += g.allowed && !sure;
            if (g.allowed && cost) {
                exact = now + used + charge;
            }
            tat = g.tat;
            now += (apr_uint64_t)random() % (2 * interval);
        }
    }
    ck_assert(saturated > 1000 && admitted > 1000);
}
END_TEST

START_TEST(extremes_by_name)
{
    mpx_rate_t slow = { 1, 86400, 1000000000 }, fast = { 1000000000, 1, 1000000000 };
    mpx_gcra_t g;

    ck_assert_uint_eq(mpx_rate_interval(&fast), 1);
    ck_assert_uint_eq(mpx_rate_interval(&slow), 86400 * NS);
    mpx_gcra_decide(&slow, 0, NS, 1, &g);
    ck_assert(g.allowed && g.tat == NS + 86400 * NS);
    mpx_gcra_decide(&slow, 0, APR_INT64_MAX, 1000000000, &g); /* the last instant of the clock */
    ck_assert(g.allowed && g.tat > APR_INT64_MAX);
    mpx_gcra_decide(&slow, APR_UINT64_MAX, NS, 1, &g);
    ck_assert(!g.allowed);
    mpx_gcra_decide(&slow, APR_UINT64_MAX, NS, APR_UINT64_MAX, &g);
    ck_assert(!g.allowed && g.retry_after == APR_UINT64_MAX);
    mpx_gcra_decide(&fast, 0, NS, 1000000000, &g);
    ck_assert(g.allowed && g.remaining == 0 && g.reset_after == NS);
    mpx_gcra_decide(&fast, g.tat, NS, 1, &g);
    ck_assert(!g.allowed && g.retry_after == 1);
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
    tcase_add_test(tcase, no_stretch_of_time_admits_more_than_it_says);
    tcase_add_test(tcase, extremes_do_not_overflow);
    tcase_add_test(tcase, extremes_by_name);
    suite_add_tcase(suite, tcase);
    return tap_run(suite);
}
