/* Where the database stands, and what it lets in: far away, full, silent from the start, and one that refuses. */
#include "harness.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define WAY 140 /* ms to the far database: two such are a round trip, and a connection takes two of those */

static const char gate[] = "StartServers 2\n"
                           "<Location /gate>\n    AuthType Meterplex\n    Require meterplex-scope demo:read\n"
                           "    MeterplexMeter sold.request\n</Location>\n";
static h_httpd_t *far, *mute;

static void up(void)
{
    h_up(gate);
    far = h_httpd_make("far", 1,
                       h_format("%sDBDParams \"host=127.0.0.1 port=%d dbname=meterplex user=meterplex\"\n", gate,
                                h_relay_start(WAY)));
    h_httpd_start(far);
    /* connections at the start of a child, and nobody has said how long they may take */
    mute = h_httpd_make("mute", 1,
                        h_format("%sDBDMin 1\nDBDParams \"host=127.0.0.1 port=%d dbname=meterplex user=meterplex\"\n", gate,
                                 h_silent_port()));
}

static int far_says(const char *path, const char *key)
{
    h_request_t request = { .httpd = far, .path = path, .key = key };
    return h_send(&request)->status;
}

static double round_trip(void)
{
    h_request_t request = { .httpd = far, .path = "/metrics", .key = h_admin_key() };
    const h_response_t *r = h_send(&request);
    const char *line = r->status == 200 ? strstr(r->body, "\nmeterplex_database_round_trip_seconds ") : NULL;

    return line ? atof(strchr(line + 1, ' ')) : 0;
}

START_TEST(a_far_database_is_there)
{
    const char *key = h_key(h_tenant("far"), "demo:read meters:read", NULL, NULL);
    h_request_t health = { .httpd = far, .path = "/health" };

    H_WAIT(10, far_says("/health/ready", NULL) == 200 && far_says("/gate/", key) == 404);
    H_WAIT(10, far_says("/v1/meters", key) == 200);
    ck_assert_msg(round_trip() >= 2 * WAY / 1000.0, "round trips of %g s", round_trip());
    ck_assert_ptr_nonnull(strstr(h_send(&health)->body, "PostgreSQL is far away, "));
    for (int reload = 0; reload < 3; reload++) {
        long long moment = h_now_ms() + 1500;

        h_httpd_graceful(far);
        H_WAIT(5, h_now_ms() > moment);
        /* whoever takes it for away has done so by now, and must not for good */
        H_WAIT(10, far_says("/health/ready", NULL) == 200 && far_says("/v1/meters", key) == 200);
    }
}
END_TEST

/* It went, and when it is back its distance is no reason to call it away. */
START_TEST(a_far_database_comes_back)
{
    const char *key = h_key(h_tenant("back"), "demo:read meters:read", NULL, NULL);

    H_WAIT(5, far_says("/v1/meters", key) == 200);
    h_pg_stop(H_PG_FAST);
    H_WAIT(5, h_httpd_logged(far, "database is away"));
    h_pg_start();
    H_WAIT(8, far_says("/health/ready", NULL) == 200 && far_says("/v1/meters", key) == 200);
}
END_TEST

static int times_logged(const h_httpd_t *httpd, const char *text)
{
    const char *log = h_read_file(httpd->log);
    int n = 0;

    for (; log && (log = strstr(log, text)) != NULL; log++) {
        n++;
    }
    return n;
}

static const h_response_t *api(const char *key)
{
    static const char *const headers[] = { "Connection: close", NULL };
    h_request_t request = { .path = "/v1/meters", .key = key, .headers = headers };
    return h_send(&request);
}

static int all_work(const char *key)
{
    int i;

    for (i = 0; i < 40 && api(key)->status == 200; i++) {
    }
    return i == 40;
}

static int gate_says(const char *key, int status)
{
    return h_get("/gate/", key)->status == status;
}

/* A server that has no more room is as good as away, and that is said once; with room for one, one child has it. */
START_TEST(a_full_database_is_as_one_that_is_away)
{
    const char *key = h_key(h_tenant("full"), "demo:read meters:read", NULL, NULL);
    long long moment;
    int away, back = times_logged(h_main_httpd, "database is back");

    H_WAIT(5, all_work(key));
    for (int i = 0; i < 40; i++) {
        h_expect(h_get("/gate/", key), 404);
    }
    h_httpd_stop(far);
    h_sql("ALTER ROLE meterplex CONNECTION LIMIT 0");
    h_sql("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'meterplex'");
    moment = h_now_ms() + 3000; /* both children know */
    H_WAIT(5, h_now_ms() > moment);
    away = times_logged(h_main_httpd, "database is away");
    for (moment += 3000; h_now_ms() < moment; h_pause()) {
        const h_response_t *r = api(key);

        h_expect(r, 503);
        ck_assert_msg(r->seconds < 1, "it took %g s", r->seconds);
        ck_assert(gate_says(key, 404));
        h_expect(h_get("/health/ready", NULL), 503);
    }
    h_sql("ALTER ROLE meterplex CONNECTION LIMIT 1");
    for (moment += 3000; h_now_ms() < moment; h_pause()) {
        ck_assert(api(key)->seconds < 1 && gate_says(key, 404));
    }
    ck_assert_int_eq(times_logged(h_main_httpd, "database is away"), away);
    ck_assert_int_le(times_logged(h_main_httpd, "database is back"), back + 1);
    h_sql("ALTER ROLE meterplex CONNECTION LIMIT -1");
    H_WAIT(5, all_work(key) && h_get("/health/ready", NULL)->status == 200);
}
END_TEST

START_TEST(a_silent_database_holds_up_neither_start_nor_stop)
{
    h_request_t live = { .httpd = mute, .path = "/health/live" }, ready = { .httpd = mute, .path = "/health/ready" };
    long long begun = h_now_ms();

    h_httpd_expect_log("child init failed"); /* mod_dbd, which then goes on without */
    h_httpd_start(mute);
    H_WAIT(6, h_send(&live)->status == 200);
    H_WAIT(6, h_send(&ready)->status == 503);
    ck_assert_msg(h_now_ms() - begun < 10000, "it took %lld ms", h_now_ms() - begun);
    begun = h_now_ms();
    h_httpd_stop(mute);
    ck_assert_msg(h_now_ms() - begun < 6000, "the stop took %lld ms", h_now_ms() - begun);
}
END_TEST

/* A child that alone gets no connection leaves what the node does for itself to those that have some. */
START_TEST(a_child_without_connections_does_nobodys_work)
{
    const char *tenant = h_tenant("alone"),
               *key = h_key(tenant, "demo:read usage:read meters:read meters:write", NULL, NULL);
    long long end;
    int served = 0, lines;

    h_expect(h_post("/v1/meters", key,
                    "{\"key\":\"sold\",\"name\":\"s\",\"event_type\":\"sold.request\",\"aggregation\":\"count\"}"),
             201);
    H_WAIT(5, all_work(key));
    /* room for both pulses, the listener, and one connection */
    h_sql("ALTER ROLE meterplex CONNECTION LIMIT 4");
    h_sql("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'meterplex'");
    H_WAIT(8, api(key)->status == 200);
    for (end = h_now_ms() + 6000; h_now_ms() < end; h_pause()) {
        served += h_get("/gate/", key)->status == 404;
    }
    ck_assert_int_gt(served, 100);
    /* mod_dbd writes lines of its own at each try: a child that has no room tries less and less often */
    lines = times_logged(h_main_httpd, "AH02655");
    for (end = h_now_ms() + 4000; h_now_ms() < end; h_pause()) {
    }
    lines = times_logged(h_main_httpd, "AH02655") - lines;
    ck_assert_msg(lines <= 8, "%d lines in 4 s", lines);
    for (end = h_now_ms() + 3000; h_now_ms() < end && atoi(h_sql("SELECT coalesce(sum(repeats), 0) FROM usage.events WHERE "
                                                                 "type = 'sold.request' AND tenant_id = (SELECT tenant_id "
                                                                 "FROM audit.entries WHERE target = '%s' LIMIT 1)",
                                                                 tenant))
             < served;
         h_pause()) {
    }
    h_sql("ALTER ROLE meterplex CONNECTION LIMIT -1");
    ck_assert_msg(h_now_ms() < end, "not flushed within 3 s, of %d", served);
    H_WAIT(5, all_work(key));
}
END_TEST

static int times_in_vain(void)
{
    static const char name[] = "\nmeterplex_database_waits_in_vain_total ";
    const char *line = strstr(h_get("/metrics", NULL)->body, name);

    return line ? atoi(line + sizeof name - 1) : 0;
}

/* What it refuses of each request is not a line for each. */
START_TEST(a_database_that_refuses_does_not_fill_the_log)
{
    const char *key = h_key(h_tenant("refused"), "demo:read meters:read", NULL, NULL);
    long long begun;
    int lines, seconds;

    H_WAIT(5, all_work(key));
    h_sql("REVOKE SELECT ON usage.meters FROM meterplex_app");
    begun = h_now_ms();
    for (int i = 0; i < 400; i++) {
        h_expect_problem(api(key), 503, "unavailable");
    }
    seconds = (int)((h_now_ms() - begun) / 1000);
    h_sql("GRANT SELECT ON usage.meters TO meterplex_app");
    h_expect(api(key), 200);
    lines = times_logged(h_main_httpd, "SQLSTATE 42501");
    ck_assert_msg(lines >= 1 && lines <= 4 * (seconds + 2), "%d lines in %d s", lines, seconds);
}
END_TEST

/* Every connection waits for a lock; who asks next is told, and so is the administrator. */
START_TEST(a_request_without_a_connection_is_told_of)
{
    const char *tenant = h_tenant("crowded"), *key = h_key(tenant, "meters:read meters:write", NULL, NULL);
    pid_t pids[24], locker;
    int busy = 0, status;

    H_WAIT(5, all_work(key));
    locker = h_lock_tables("usage.meters", 3);
    for (int p = 0; p < 24; p++) {
        pids[p] = fork();
        if (pids[p] == 0) {
            _exit(strstr(api(key)->body, "Every database connection is in use") ? 1 : 0);
        }
    }
    for (int p = 0; p < 24; p++) {
        ck_assert_int_eq(waitpid(pids[p], &status, 0), pids[p]);
        busy += WIFEXITED(status) && WEXITSTATUS(status) == 1;
    }
    waitpid(locker, NULL, 0);
    ck_assert_int_gt(busy, 0);
    H_WAIT(3, h_httpd_logged(h_main_httpd, "every connection is in use"));
    ck_assert_int_ge(times_in_vain(), busy);
    H_WAIT(5, all_work(key));
}
END_TEST

static int health_is(const char *status, const char *detail)
{
    const h_response_t *r = h_get("/health", NULL);

    return strcmp(h_json_text(r, "/parts/database/status"), status) == 0 && strstr(r->body, detail);
}

/* It answers, and lets nobody do anything: a balancer is to know without a customer's request. */
START_TEST(what_the_database_lets_us_do_is_said)
{
    H_WAIT(10, health_is("ok", ""));
    h_sql("UPDATE meterplex.migrations SET version = -version WHERE version = "
          "(SELECT max(version) FROM meterplex.migrations)");
    H_WAIT(10, health_is("down", "schema migrations") && h_get("/health/ready", NULL)->status == 503);
    h_sql("UPDATE meterplex.migrations SET version = -version WHERE version < 0");
    H_WAIT(10, health_is("ok", ""));
    h_sql("REVOKE INSERT ON core.idempotency_keys FROM meterplex_app");
    H_WAIT(10, health_is("down", "lacks rights") && h_get("/health/ready", NULL)->status == 503);
    h_sql("GRANT INSERT ON core.idempotency_keys TO meterplex_app");
    H_WAIT(10, health_is("ok", ""));
    h_sql("ALTER ROLE meterplex SET default_transaction_read_only = on");
    h_sql("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'meterplex'");
    H_WAIT(12, health_is("degraded", "takes no writes") && h_get("/health/ready", NULL)->status == 200);
    h_sql("ALTER ROLE meterplex RESET default_transaction_read_only");
    h_sql("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'meterplex'");
    H_WAIT(12, health_is("ok", "") && h_get("/health/ready", NULL)->status == 200);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("database");
    TCase *tcase = tcase_create("database");

    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, a_far_database_is_there);
    tcase_add_test(tcase, a_far_database_comes_back);
    tcase_add_test(tcase, a_full_database_is_as_one_that_is_away);
    tcase_add_test(tcase, a_silent_database_holds_up_neither_start_nor_stop);
    tcase_add_test(tcase, a_child_without_connections_does_nobodys_work);
    tcase_add_test(tcase, a_request_without_a_connection_is_told_of);
    tcase_add_test(tcase, what_the_database_lets_us_do_is_said);
    tcase_add_test(tcase, a_database_that_refuses_does_not_fill_the_log);
    suite_add_tcase(suite, tcase);
    return h_run(suite, up);
}
