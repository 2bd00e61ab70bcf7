/* Files of the state directory that are removed or moved while httpd uses them: nothing that was counted is lost, the log
 * and /health say so, and no second server gets in. */
#include "harness.h"

#include <glob.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REMOVED "counters has been removed: stop httpd, which writes it there again, and start it"
#define MOVED                                                                                                         \
    "counters has been moved away: move it back; or, when nothing waits in it (meterplex_usage_pending), stop httpd " \
    "and start it with a new one"
#define LOOKED 25 /* seconds in which the parent has looked: httpd's own interval of some ten, and a busy machine */

static const char conf[] = "<Location \"/sold\">\n  AuthType Meterplex\n  Require meterplex-scope demo:read\n  "
                           "MeterplexMeter sold.request\n</Location>\n";
static const char *key;

static void up(void)
{
    h_up(conf);
    h_httpd_expect_log("another server is using it");
    key = h_key(h_tenant("state"), "usage:read meters:read meters:write demo:read", NULL, NULL);
    h_expect(h_post("/v1/meters", key, "{\"key\":\"sold\",\"name\":\"s\",\"event_type\":\"sold.request\","
                                       "\"aggregation\":\"count\"}"),
             201);
}

static long total(void)
{
    const h_response_t *r = h_get("/v1/meters/sold/usage", key);
    const char *value = r->status == 200 ? h_json_text(r, "/data/0/value") : NULL;
    return value ? atol(value) : r->status == 200 ? 0
                                                  : -1;
}

static void serve(int n)
{
    for (int i = 0; i < n; i++) {
        h_expect(h_get("/sold/x", key), 404);
    }
}

/* Counts that wait in the counter file, since there is no database. @return how many there were before */
static long serve_without_a_database(int n)
{
    long before;

    serve(1); /* the key is remembered */
    H_WAIT(10, strstr(h_get("/metrics", NULL)->body, "\nmeterplex_usage_pending 0\n") != NULL);
    before = total();
    ck_assert_int_gt(before, 0);
    h_pg_stop(H_PG_IMMEDIATE);
    serve(n);
    return before;
}

static void database_is_back(void)
{
    h_pg_start();
    H_WAIT(10, h_get("/health/ready", NULL)->status == 200);
}

static void shell(const char *command)
{
    h_output_t output = h_command((const char *[]){ "sh", "-c", command, NULL }, NULL);

    ck_assert_msg(output.status == 0, "%s: %s", command, output.error);
}

static const char *in_state(const char *name)
{
    return h_format("%s/%s", h_main_httpd->state, name);
}

static int state_is(const char *status)
{
    const char *now = h_json_text(h_get("/health", NULL), "/parts/state/status");
    return now && strcmp(now, status) == 0;
}

/* How often the log has said it. */
static int said(const char *text)
{
    const char *line = h_format("MeterplexStateDir %s: %s. This server goes on", h_main_httpd->state, text);
    char *log = h_read_file(h_main_httpd->log);
    int n = 0;

    for (const char *at = log; at && (at = strstr(at, line)) != NULL; at++) {
        n++;
    }
    free(log);
    return n;
}

static void rival_is_refused(h_httpd_t *rival)
{
    unlink(rival->log);
    h_httpd_try(rival);
    H_WAIT(10, h_httpd_logged(rival, "another server is using it") && h_httpd_pid(rival) == 0);
}

static h_httpd_t *rival_make(const char *name)
{
    h_httpd_t *rival = h_httpd_make(name, 1, NULL);

    rival->state = h_main_httpd->state;
    h_httpd_configure(rival, NULL);
    return rival;
}

static void stop_and_start(void)
{
    h_httpd_stop(h_main_httpd);
    h_httpd_start(h_main_httpd);
    H_WAIT(10, h_get("/health/ready", NULL)->status == 200);
    h_expect_json(h_get("/health", NULL), "/parts/state/status", "ok");
}

START_TEST(a_directory_removed_and_made_anew_loses_nothing)
{
    const char *state = h_main_httpd->state, *node = h_read_file(in_state("node.id"));
    const char *gone = h_format("there is no such directory; make it: install -d -m 0700 %s", state);
    h_httpd_t *rival = rival_make("rival");
    long before = serve_without_a_database(30);
    int times;

    ck_assert(state_is("ok"));
    shell(h_format("rm -rf %s", state));
    ck_assert_ptr_nonnull(strstr(h_httpd_test(h_main_httpd).error, gone)); /* as httpd -k graceful looks first */
    H_WAIT(LOOKED, state_is("degraded"));
    ck_assert_int_eq(said(gone), 1);
    h_httpd_graceful(h_main_httpd); /* the signal alone: an error here would be the server's end */
    ck_assert_int_eq(said(gone), 2);
    serve(5);
    shell(h_format("install -d -m 0700 %s", state));
    times = said(REMOVED);
    h_httpd_graceful(h_main_httpd);
    ck_assert_int_gt(said(REMOVED), times); /* the parent may have looked just before, too */
    ck_assert(state_is("degraded"));
    rival_is_refused(rival);
    ck_assert_str_eq(h_read_file(in_state("node.id")), node);
    ck_assert_int_ne(access(in_state("counters"), F_OK), 0);
    serve(30);
    times = said(REMOVED);
    h_httpd_graceful(h_main_httpd);
    ck_assert_int_eq(said(REMOVED), times + 1);
    database_is_back();
    H_WAIT(10, total() == before + 65);
    before = serve_without_a_database(30);
    h_httpd_stop(h_main_httpd);
    ck_assert_int_eq(access(in_state("counters"), F_OK), 0);
    h_httpd_start(h_main_httpd);
    database_is_back();
    H_WAIT(10, total() == before + 30);
    ck_assert(state_is("ok"));
    ck_assert_str_eq(h_read_file(in_state("node.id")), node);
    rival_is_refused(rival);
}
END_TEST

START_TEST(a_counter_file_moved_aside_loses_nothing)
{
    const char *aside = h_format("%s/aside", h_main_httpd->root);
    long before = serve_without_a_database(30);

    shell(h_format("mv %s %s", in_state("counters"), aside));
    h_httpd_graceful(h_main_httpd);
    ck_assert_int_eq(said(MOVED), 1);
    ck_assert(state_is("degraded"));
    ck_assert_int_ne(access(in_state("counters"), F_OK), 0);
    serve(30);
    database_is_back();
    H_WAIT(10, total() == before + 60);
    /* it is put back, and found without a reload */
    shell(h_format("mv %s %s", aside, in_state("counters")));
    H_WAIT(LOOKED, state_is("ok"));
    /* it is left where it is, and the next start makes another */
    shell(h_format("mv %s %s", in_state("counters"), aside));
    h_httpd_graceful(h_main_httpd);
    ck_assert_int_eq(said(MOVED), 2);
    before = serve_without_a_database(0);
    h_httpd_stop(h_main_httpd);
    h_httpd_start(h_main_httpd);
    database_is_back();
    ck_assert(state_is("ok"));
    serve(10);
    H_WAIT(10, total() == before + 10);
}
END_TEST

/* Nobody makes the directory again: the stop does. */
START_TEST(a_directory_removed_before_a_stop_loses_nothing)
{
    long before = serve_without_a_database(30);

    shell(h_format("rm -rf %s", h_main_httpd->state));
    h_httpd_stop(h_main_httpd);
    ck_assert(h_httpd_logged(h_main_httpd, h_format("what was in it is in %s now", in_state("counters"))));
    h_httpd_start(h_main_httpd);
    database_is_back();
    H_WAIT(10, total() == before + 30);
    ck_assert(state_is("ok"));
}
END_TEST

/* Before the parent has looked, which is stopped for that. */
START_TEST(a_directory_that_another_server_took_loses_nothing)
{
    h_httpd_t *rival = rival_make("taker");
    long before = serve_without_a_database(30);
    pid_t parent = h_httpd_pid(h_main_httpd);
    glob_t kept;

    kill(parent, SIGSTOP);
    shell(h_format("rm -rf %s && install -d -m 0700 %s", h_main_httpd->state, h_main_httpd->state));
    h_httpd_start(rival);
    kill(parent, SIGCONT);
    h_httpd_graceful(h_main_httpd);
    ck_assert_int_ge(said("another server is using it; each needs a directory of its own"), 1);
    serve(5);
    h_httpd_stop(h_main_httpd);
    h_httpd_stop(rival);
    ck_assert_int_eq(glob(in_state("counters.kept-*"), 0, NULL, &kept), 0);
    ck_assert_int_eq((int)kept.gl_pathc, 1);
    shell(h_format("mv %s %s", kept.gl_pathv[0], in_state("counters")));
    globfree(&kept);
    h_httpd_start(h_main_httpd);
    database_is_back();
    H_WAIT(10, total() == before + 35);
    stop_and_start();
}
END_TEST

START_TEST(another_id_is_told)
{
    const char *id = h_read_file(in_state("node.id"));

    h_file(in_state("node.id"), "0190a3c0-1111-7222-8333-444455556666");
    H_WAIT(LOOKED, state_is("degraded"));
    ck_assert_int_eq(said("node.id is another than this server's: put the right one there"), 1);
    h_file(in_state("node.id"), id);
    H_WAIT(LOOKED, state_is("ok"));
}
END_TEST

/* The file is as large as it was made; who asks for another size is told. */
START_TEST(another_size_is_told)
{
    h_httpd_configure(h_main_httpd, h_format("%sMeterplexCounters 2M\n", conf));
    h_httpd_graceful(h_main_httpd);
    H_WAIT(5, h_httpd_logged(h_main_httpd, "counters has 67108864 bytes and keeps them, not 2097152"));
    h_httpd_configure(h_main_httpd, conf);
    h_httpd_graceful(h_main_httpd);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("state_dir");
    TCase *tcase = tcase_create("state_dir");

    tcase_set_timeout(tcase, 240);
    tcase_add_test(tcase, a_directory_removed_and_made_anew_loses_nothing);
    tcase_add_test(tcase, a_counter_file_moved_aside_loses_nothing);
    tcase_add_test(tcase, a_directory_removed_before_a_stop_loses_nothing);
    tcase_add_test(tcase, a_directory_that_another_server_took_loses_nothing);
    tcase_add_test(tcase, another_id_is_told);
    tcase_add_test(tcase, another_size_is_told);
    suite_add_tcase(suite, tcase);
    return h_run(suite, up);
}
