/* Lives of httpd, one after another, each short: started, asked a little, and ended in the middle of something - stopped,
 * reloaded, stopped gracefully, or killed. No child may die of itself (the alarming lines of the error log are looked
 * at when this program ends), no request that was answered may be missing from the count, no event may be doubled.
 *
 * It goes on for METERPLEX_SOAK_SECONDS (20); the seed is printed, METERPLEX_SEED repeats it.
 */
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static unsigned seed;

static void up(void)
{
    h_up("<Location \"/sold\">\n  AuthType Meterplex\n  Require meterplex-scope demo:read\n"
         "  MeterplexRateLimit key 1000000/s\n  MeterplexMeter sold.request\n</Location>\n");
}

static int below(int n)
{
    return (int)(rand_r(&seed) % (unsigned)n);
}

static void end_somehow(h_httpd_t *httpd)
{
    switch (below(6)) {
    case 0: h_httpd_kill(httpd); break;
    case 1: h_httpd_graceful_stop(httpd); break;
    case 2:
    case 3: h_httpd_graceful(httpd); return;
    default: h_httpd_stop(httpd);
    }
}

static long total(const char *key, const char *meter)
{
    const h_response_t *r = h_get(h_format("/v1/meters/%s/usage", meter), key);
    const char *value = r->status == 200 ? h_json_text(r, "/data/0/value") : NULL;

    return r->status != 200 ? -1 : value ? atol(value)
                                         : 0;
}

/* What makes every job have something to do: uses of a key, counts to flush, a change to hear of, a kept answer. */
static void ask(const char *tenant, const char *key, int round, long *served, long *sent)
{
    for (int i = below(4); i > 0; i--) {
        *served += h_get("/sold/x", key)->status == 404;
    }
    if (below(3) == 0) {
        *sent += h_post("/v1/usage/events", key,
                        h_format("{\"id\":\"%d\",\"source\":\"lives\",\"type\":\"sent\"}", round))
                     ->status
            == 200;
    }
    if (below(4) == 0) {
        const char *keys = h_format("/v1/tenants/%s/api-keys", tenant);
        const h_response_t *r = h_post(keys, h_admin_key(), "{\"name\":\"short\",\"scopes\":[\"demo:read\"]}");

        /* a life that has just begun may have no connection yet */
        ck_assert_msg(r->status == 201 || r->status == 503, "status %d: %s", r->status, r->body);
        if (r->status == 201) {
            h_call("DELETE", h_format("%s/%s", keys, h_json_text(r, "/id")), h_admin_key(), NULL);
        }
    }
}

START_TEST(no_life_ends_badly)
{
    const char *text = getenv("METERPLEX_SOAK_SECONDS"), *fixed = getenv("METERPLEX_SEED");
    long long end = h_now_ms() + (text ? atoll(text) : 20) * 1000;
    const char *tenant = h_tenant("lives"), *key;
    long served = 0, sent = 0;
    int round;

    seed = fixed ? (unsigned)strtoul(fixed, NULL, 10) : (unsigned)time(NULL);
    printf("# seed %u\n", seed);
    key = h_key(tenant, "usage:read usage:write meters:read meters:write demo:read", NULL, NULL);
    h_expect(h_post("/v1/meters", key,
                    "{\"key\":\"sold\",\"name\":\"s\",\"event_type\":\"sold.request\",\"aggregation\":\"count\"}"),
             201);
    h_expect(h_post("/v1/meters", key,
                    "{\"key\":\"sent\",\"name\":\"s\",\"event_type\":\"sent\",\"aggregation\":\"count\"}"),
             201);
    for (round = 0; h_now_ms() < end; round++) {
        long long moment = h_now_ms() + below(700);

        ask(tenant, key, round, &served, &sent);
        H_WAIT(1, h_now_ms() >= moment);
        end_somehow(h_main_httpd);
        if (!h_httpd_pid(h_main_httpd)) {
            h_httpd_start(h_main_httpd);
        }
        H_WAIT(10, h_get("/health/ready", NULL)->status == 200);
    }
    printf("# %d lives, %ld requests, %ld events\n", round, served, sent);
    H_WAIT(5, total(key, "sold") == served);
    ck_assert_int_eq(total(key, "sent"), sent);
    ck_assert(!h_httpd_logged(h_main_httpd, "exit signal S"));
    ck_assert(!h_httpd_logged(h_main_httpd, "exit signal A"));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("lives");
    TCase *tcase = tcase_create("lives");
    const char *text = getenv("METERPLEX_SOAK_SECONDS");

    tcase_set_timeout(tcase, (text ? atof(text) : 20) + 100);
    tcase_add_test(tcase, no_life_ends_badly);
    suite_add_tcase(suite, tcase);
    return h_run(suite, up);
}
