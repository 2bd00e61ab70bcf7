/* Behind PgBouncer in transaction mode, as one node of two: everything works, tenants stay apart on shared sessions, and a
 * revocation by the other node is heeded within a second, although LISTEN does not reach through.
 */
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Of PostgreSQL, for all that the pooled node does. A table that is locked may keep two of them, a job and a look-up. */
#define SESSIONS 4
#define TENANTS 20
#define ROUNDS 10

static h_httpd_t *pooled;

static void up(void)
{
    const char *gate = "<Location /gate>\n    AuthType Meterplex\n    Require meterplex-scope demo:read\n</Location>\n";

    h_up(gate);
    pooled = h_httpd_make("pooled", 1,
                          h_format("%sDBDParams \"host=127.0.0.1 port=%d dbname=meterplex user=meterplex connect_timeout=2 "
                                   "tcp_user_timeout=3000\"\n",
                                   gate, h_pooler_start(SESSIONS)));
    h_httpd_start(pooled);
}

static const h_response_t *at(const h_httpd_t *httpd, const char *method, const char *path, const char *key,
                              const char *json)
{
    h_request_t request = { .httpd = httpd, .method = method, .path = path, .key = key, .body = json };
    return h_send(&request);
}

static int gate_says(const h_httpd_t *httpd, const char *key, int status)
{
    return at(httpd, "GET", "/gate/", key, NULL)->status == status;
}

START_TEST(it_knows_that_a_pooler_stands_between)
{
    const h_response_t *health;

    H_WAIT(5, h_httpd_logged(pooled, "a connection pooler stands in between"));
    health = at(pooled, "GET", "/health", NULL, NULL);
    h_expect_json(health, "/parts/principals/status", "ok");
    h_expect_json(health, "/parts/principals/detail",
                  "a connection pooler carries no LISTEN; API keys are looked up every second");
    ck_assert(!h_httpd_logged(h_main_httpd, "a connection pooler stands in between"));
}
END_TEST

START_TEST(a_revocation_by_the_other_node_is_heeded_within_a_second)
{
    const char *id, *tenant = h_tenant("revoked"), *key = h_key(tenant, "demo:read", NULL, &id);

    for (int i = 0; i < 20; i++) { /* known to every child */
        ck_assert(gate_says(pooled, key, 404));
    }
    h_expect(h_call("DELETE", h_format("/v1/tenants/%s/api-keys/%s", tenant, id), h_admin_key(), NULL), 204);
    H_WAIT(1, gate_says(pooled, key, 401));
    for (int i = 0; i < 20; i++) {
        ck_assert(gate_says(pooled, key, 401));
    }
}
END_TEST

/* The table is locked just after: who cannot hear and is not told must not go on believing. */
START_TEST(a_revocation_is_heeded_while_nobody_can_say)
{
    const char *id, *tenant = h_tenant("locked"), *key = h_key(tenant, "demo:read", NULL, &id);
    pid_t locker;
    const h_response_t *r;

    for (int i = 0; i < 20; i++) {
        ck_assert(gate_says(pooled, key, 404));
    }
    h_expect(h_call("DELETE", h_format("/v1/tenants/%s/api-keys/%s", tenant, id), h_admin_key(), NULL), 204);
    locker = h_lock_tables("identity.api_keys, identity.api_key_secrets", 4);
    H_WAIT(1, !gate_says(pooled, key, 404));
    for (long long end = h_now_ms() + 2000; h_now_ms() < end;) {
        r = at(pooled, "GET", "/gate/", key, NULL);
        if (r->status != 401) { /* before the lock was taken */
            h_expect_problem(r, 503, "unavailable");
            ck_assert_ptr_nonnull(h_header(r, "retry-after"));
            ck_assert_msg(r->seconds < 1.5, "%g s", r->seconds);
        }
    }
    waitpid(locker, NULL, 0);
    H_WAIT(5, gate_says(pooled, key, 401));
}
END_TEST

/* A few sessions carry twenty tenants' requests in turn: each sees its own events and no other's. */
START_TEST(tenants_stay_apart_on_shared_sessions)
{
    const char *keys[TENANTS];

    for (int i = 0; i < TENANTS; i++) {
        keys[i] = h_key(h_tenant(h_format("tenant-%d", i)), "usage:read usage:write meters:read meters:write", NULL, NULL);
        h_expect(at(pooled, "POST", "/v1/meters", keys[i],
                    "{\"key\":\"calls\",\"name\":\"Calls\",\"event_type\":\"call\",\"aggregation\":\"count\"}"),
                 201);
    }
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < TENANTS; i++) {
            if (round <= i % ROUNDS) {
                h_expect(at(pooled, "POST", "/v1/usage/events", keys[i],
                            h_format("{\"id\":\"%d\",\"source\":\"/t\",\"type\":\"call\"}", round)),
                         200);
            }
        }
    }
    for (int i = 0; i < TENANTS; i++) {
        const h_response_t *usage = at(pooled, "GET", "/v1/meters/calls/usage", keys[i], NULL);
        h_expect_json(usage, "/data/0/value", h_format("%d", i % ROUNDS + 1));
        usage = at(pooled, "GET", "/v1/usage/events", keys[i], NULL);
        ck_assert_uint_eq(json_array_size(json_object_get(h_json(usage), "data")), (size_t)(i % ROUNDS + 1));
    }
}
END_TEST

/* A remembered answer is found again whichever session asks; an advisory lock is of a transaction, not of a session. */
START_TEST(idempotent_requests_through_the_pooler)
{
    const char *headers[] = { "Idempotency-Key: one", NULL };
    h_request_t request = { .httpd = pooled,
                            .path = "/v1/tenants",
                            .key = h_admin_key(),
                            .headers = headers,
                            .body = "{\"name\":\"Once\",\"slug\":\"once\"}" };
    const h_response_t *first = h_send(&request);

    h_expect(first, 201);
    for (int i = 0; i < 10; i++) {
        const h_response_t *again = h_send(&request);
        h_expect(again, 201);
        ck_assert_str_eq(again->body, first->body);
    }
    ck_assert_str_eq(h_sql("SELECT count(*) FROM identity.tenants WHERE slug = 'once'"), "1");
    ck_assert_str_eq(h_sql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"), "0");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pooler");
    TCase *tcase = tcase_create("pooler");

    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, it_knows_that_a_pooler_stands_between);
    tcase_add_test(tcase, a_revocation_by_the_other_node_is_heeded_within_a_second);
    tcase_add_test(tcase, a_revocation_is_heeded_while_nobody_can_say);
    tcase_add_test(tcase, tenants_stay_apart_on_shared_sessions);
    tcase_add_test(tcase, idempotent_requests_through_the_pooler);
    suite_add_tcase(suite, tcase);
    return h_run(suite, up);
}
