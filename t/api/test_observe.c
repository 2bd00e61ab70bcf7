/* What a monitoring system sees: health, its parts under faults, and metrics that Prometheus' own checker accepts. */
#include "harness.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void up(void)
{
    h_up("<Location /gate>\n    AuthType Meterplex\n    Require meterplex-scope demo:read\n    MeterplexRateLimit key 2/d\n"
         "    MeterplexMeter gate.request\n</Location>\n");
}

/* A sample's value; -1 when there is none of this name and these labels. */
static double metric(const char *series)
{
    const char *body = h_get("/metrics", NULL)->body, *at;

    at = strstr(body, h_format("\n%s ", series));
    return at ? atof(at + strlen(series) + 2) : -1;
}

START_TEST(metrics_are_what_prometheus_reads)
{
    const char *key = h_key(h_tenant("metrics"), "demo:read", NULL, NULL);
    const h_response_t *r;
    h_output_t checked;

    for (int i = 0; i < 3; i++) {
        h_get("/gate/x", key); /* two pass, one is refused */
    }
    h_get("/gate/x", NULL);
    H_WAIT(5, metric("meterplex_usage_flushed_total") == 2);
    /* what docs/operations.md says of 64M */
    ck_assert_double_eq(metric("meterplex_limit_capacity{table=\"keys\"}"), 1353429);
    ck_assert_double_eq(metric("meterplex_limit_capacity{table=\"ip\"}"), 676557);
    r = h_get("/metrics", NULL);
    h_expect(r, 200);
    h_expect_header(r, "content-type", "text/plain; version=0.0.4; charset=utf-8");
    checked = h_command((const char *[]){ "promtool", "check", "metrics", NULL }, r->body);
    ck_assert_msg(checked.status == 0, "promtool: %s%s", checked.text, checked.error);
    ck_assert_str_eq(checked.error, "");
    ck_assert(metric("meterplex_usage_counted_total") == 2);
    ck_assert(metric("meterplex_usage_pending") == 0);
    ck_assert(metric("meterplex_usage_lost_total") == 0);
}
END_TEST

START_TEST(health_names_its_parts)
{
    const h_response_t *r = h_get("/health", NULL);

    h_expect(r, 200);
    h_expect_json(r, "/status", "ok");
    h_expect_json(r, "/parts/database/status", "ok");
    h_expect_json(r, "/parts/root_key/status", "ok");
    h_expect_json(r, "/parts/principals/status", "ok");
    h_expect_json(r, "/parts/counters/status", "ok");
    h_expect_json(r, "/parts/state/status", "ok");
    h_expect_header(r, "cache-control", "no-store");
    h_expect_json(h_get("/health/live", NULL), "/status", "ok");
    h_expect_json(h_get("/health/ready", NULL), "/status", "ok");
    h_expect(h_call("HEAD", "/health/live", NULL, NULL), 200);
    h_expect_problem(h_post("/health", NULL, "{}"), 405, "method_not_allowed");
}
END_TEST

static int part_says(const char *part, const char *status)
{
    static const char *const headers[] = { "Connection: close", NULL };
    h_request_t request = { .path = "/health", .headers = headers };
    const h_response_t *r = h_send(&request);
    const char *said = r->status ? h_json_text(r, h_format("/parts/%s/status", part)) : NULL;
    return said && strcmp(said, status) == 0;
}

/* Each child looks for itself, and notices within a second or two: many answers in a row, each over a connection of its own,
 * say that all have. */
static int all_say(const char *part, const char *status)
{
    for (int i = 0; i < 10; i++) {
        if (!part_says(part, status)) {
            return 0;
        }
    }
    return 1;
}

START_TEST(health_follows_the_database)
{
    const char *key = h_key(h_tenant("health"), "demo:read", NULL, NULL);
    const h_response_t *r;

    h_expect(h_get("/gate/x", key), 404);
    h_pg_stop(H_PG_FAST);
    H_WAIT(5, all_say("database", "down"));
    r = h_get("/health", NULL);
    h_expect(r, 503);
    ck_assert_ptr_nonnull(h_header(r, "retry-after"));
    ck_assert(r->seconds < 1);
    r = h_get("/health/ready", NULL);
    h_expect(r, 503);
    h_expect_json(r, "/status", "down");
    h_expect(h_get("/health/live", NULL), 200);
    h_expect(h_get("/metrics", NULL), 200);
    /* counted while nobody can take it: said after a while, and gone by itself when the database is back */
    h_expect(h_get("/gate/x", key), 404);
    H_WAIT(20, part_says("counters", "degraded"));
    h_pg_start();
    H_WAIT(5, all_say("database", "ok") && all_say("principals", "ok") && all_say("counters", "ok"));
    h_expect(h_get("/health/ready", NULL), 200);
}
END_TEST

START_TEST(the_description_is_served)
{
    const h_response_t *r = h_get("/v1/openapi.json", NULL);

    h_expect(r, 200);
    h_expect_json(r, "/openapi", "3.1.0");
    ck_assert_ptr_nonnull(h_json_at(h_json(r), "/paths/~1v1~1usage~1events/post"));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("observe");
    TCase *tcase = tcase_create("observe");

    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, metrics_are_what_prometheus_reads);
    tcase_add_test(tcase, health_names_its_parts);
    tcase_add_test(tcase, health_follows_the_database);
    tcase_add_test(tcase, the_description_is_served);
    suite_add_tcase(suite, tcase);
    return h_run(suite, up);
}
