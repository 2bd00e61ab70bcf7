/* meterplexctl import: each line of an access log is one event, once. */
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINE(second, request, rest) "192.0.2.7 - - [17/May/2015:10:05:" second " +0200] \"" request "\" " rest "\n"
#define AGENT "\"http://example.org/a\" \"curl/8 \\\"x\\\"\""

static const char five[] =
    LINE("01", "GET /a?b=c HTTP/1.1", "200 10 " AGENT)
        LINE("01", "GET /a?b=c HTTP/1.1", "200 10 " AGENT)
            LINE("02", "POST /b HTTP/1.1", "201 - \"-\" \"-\"")
                LINE("03", "-", "408 0 \"-\" \"-\"")
                    LINE("04", "HEAD /c HTTP/1.0", "304 - \"-\" \"agent\"");

static void up(void)
{
    h_up(NULL);
}

#define contains(text, part) ck_assert_msg(strstr(text, part) != NULL, "\"%s\" is not in:\n%s", part, text)
#define lacks(text, part) ck_assert_msg(strstr(text, part) == NULL, "\"%s\" is in:\n%s", part, text)

/* A tenant of the case's own. */
static void tenant(const char *slug)
{
    h_ctl_ok("tenant", "create", "--slug", slug, "--database", h_pg_url("meterplex"), NULL);
}

/* import --format FORMAT --tenant SLUG FILE [OPTION] */
static h_output_t import(const char *format, const char *slug, const char *file, const char *option)
{
    return h_ctl("import", "--database", h_pg_url("meterplex"), "--format", format, "--tenant", slug, file, option, NULL);
}

/* One value of the tenant's events. */
static const char *ask(const char *slug, const char *expression)
{
    return h_sql("SELECT %s FROM usage.events WHERE tenant_id = (SELECT id FROM identity.tenants WHERE slug = '%s')",
                 expression, slug);
}

static void summary_is(const h_output_t *output, const char *line)
{
    ck_assert_msg(strcmp(output->text, h_format("%s\n", line)) == 0, "expected: %s\nsaid: %s%s", line, output->text,
                  output->error);
}

START_TEST(twice_counts_once)
{
    const char *log = h_file("twice.log", five);
    h_output_t output;

    tenant("twice");
    output = import("combined", "twice", log, NULL);
    ck_assert_int_eq(output.status, 0);
    summary_is(&output, "5 lines: 5 events (5 new, 0 already there), 0 malformed, 0 cut");
    ck_assert_str_eq(output.error, ""); /* no progress bar where there is no terminal */
    output = import("combined", "twice", log, NULL);
    ck_assert_int_eq(output.status, 0);
    summary_is(&output, "5 lines: 5 events (0 new, 5 already there), 0 malformed, 0 cut");
    /* also when ingest has forgotten that they came */
    h_sql("UPDATE usage.event_keys SET received_at = now() - interval '3 years'");
    output = import("combined", "twice", log, NULL);
    summary_is(&output, "5 lines: 5 events (0 new, 5 already there), 0 malformed, 0 cut");
    ck_assert_str_eq(ask("twice", "count(*)"), "5");
    /* another source is another log */
    output = import("combined", "twice", log, "--source=second server");
    summary_is(&output, "5 lines: 5 events (5 new, 0 already there), 0 malformed, 0 cut");
    output = import("combined", "twice", log, "--source=second server");
    summary_is(&output, "5 lines: 5 events (0 new, 5 already there), 0 malformed, 0 cut");
    ck_assert_str_eq(ask("twice", "string_agg(DISTINCT source, ' ' ORDER BY source)"),
                     "urn:meterplex:access-log urn:meterplex:access-log:second server");
}
END_TEST

START_TEST(a_line_becomes_an_event)
{
    tenant("fields");
    import("combined", "fields", h_file("fields.log", five), NULL);
    ck_assert_str_eq(ask("fields", "string_agg(DISTINCT type || ' ' || source || ' ' || length(external_id), '')"),
                     "http.request urn:meterplex:access-log 32");
    ck_assert_str_eq(ask("fields", "min(time) = '2015-05-17T08:05:01Z' AND max(time) = '2015-05-17T08:05:04Z'"), "t");
    ck_assert_str_eq(ask("fields",
                         "bool_and(data = '{\"method\":\"GET\",\"path\":\"/a?b=c\",\"protocol\":\"HTTP/1.1\","
                         "\"status\":200,\"bytes\":10,\"client\":\"192.0.2.7\",\"referer\":\"http://example.org/a\","
                         "\"user_agent\":\"curl/8 \\\"x\\\"\"}') FILTER (WHERE data->>'path' = '/a?b=c')"),
                     "t");
    ck_assert_str_eq(ask("fields",
                         "bool_and(data = '{\"method\":null,\"path\":null,\"protocol\":null,\"status\":408,\"bytes\":0,"
                         "\"client\":\"192.0.2.7\",\"referer\":null,\"user_agent\":null,\"request\":\"-\"}') "
                         "FILTER (WHERE data->>'status' = '408')"),
                     "t");
}
END_TEST

/* Whoever knows the log knows the ids. What a tenant posts under them must not stand in for its usage. */
START_TEST(a_client_cannot_take_a_lines_id)
{
    const char *log = h_file("taken.log", five), *ten = h_tenant("taken"), *key = h_key(ten, "usage:write", NULL, NULL), *id;
    const h_response_t *r;
    h_output_t output;
    int i;

    tenant("foresight"); /* where the ids are read that this log's lines have */
    import("combined", "foresight", log, NULL);
    for (i = 0; i < 5; i++) {
        id = ask("foresight", h_format("(array_agg(external_id ORDER BY external_id))[%d]", i + 1));
        ck_assert_int_eq((int)strlen(id), 32);
        r = h_post("/v1/usage/events", key,
                   h_format("{\"id\":\"%s\",\"source\":\"urn:meterplex:access-log\",\"type\":\"junk\"}", id));
        h_expect_problem(r, 422, "validation_failed");
        h_expect_json(r, "/errors/0/pointer", "/source");
        h_expect_json(r, "/errors/0/code", "reserved");
        r = h_post("/v1/usage/events", key,
                   h_format("{\"id\":\"%s\",\"source\":\"urn:meterplex:access-log:b\",\"type\":\"junk\"}", id));
        h_expect_problem(r, 422, "validation_failed");
        r = h_post("/v1/usage/events", key, h_format("{\"id\":\"%s\",\"source\":\"access-log\",\"type\":\"junk\"}", id));
        h_expect_json(r, "/accepted", "1");
        r = h_post("/v1/usage/events", key, h_format("{\"id\":\"%s\",\"source\":\"b\",\"type\":\"junk\"}", id));
        h_expect_json(r, "/accepted", "1");
    }
    output = import("combined", "taken", log, NULL);
    summary_is(&output, "5 lines: 5 events (5 new, 0 already there), 0 malformed, 0 cut");
    output = import("combined", "taken", log, "--source=b");
    summary_is(&output, "5 lines: 5 events (5 new, 0 already there), 0 malformed, 0 cut");
    ck_assert_str_eq(ask("taken", "count(*) FILTER (WHERE type = 'http.request')"), "10");
}
END_TEST

/* The source as it is stored is no longer than that of any other event. */
START_TEST(a_name_of_a_log_has_its_bounds)
{
    static const char *const wrong[] = { "", "urn:meterplex:access-log:b", "URN:Meterplex:node:1", "a\tb", "\xff" };
    const char *log = h_file("named.log", LINE("01", "GET /a HTTP/1.1", "200 1 " AGENT)), *longest;
    h_output_t output;
    size_t i;

    tenant("named");
    for (i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        output = import("combined", "named", log, h_format("--source=%s", wrong[i]));
        ck_assert_msg(output.status == 2, "\"%s\": %s%s", wrong[i], output.text, output.error);
        contains(output.error, "--source takes ");
    }
    longest = h_format("%0*d", 256 - (int)strlen("urn:meterplex:access-log:"), 1);
    output = import("combined", "named", log, h_format("--source=0%s", longest));
    ck_assert_int_eq(output.status, 2);
    contains(output.error, "--source takes 1 to 231 bytes");
    ck_assert_str_eq(ask("named", "count(*)"), "0");
    output = import("combined", "named", log, h_format("--source=%s", longest));
    summary_is(&output, "1 lines: 1 events (1 new, 0 already there), 0 malformed, 0 cut");
    ck_assert_str_eq(ask("named", "max(length(source))"), "256");
}
END_TEST

START_TEST(common_and_vhost_combined)
{
    h_output_t output;

    tenant("formats");
    output = import("common", "formats", h_file("common.log", LINE("01", "GET /common HTTP/1.1", "200 1")), NULL);
    summary_is(&output, "1 lines: 1 events (1 new, 0 already there), 0 malformed, 0 cut");
    output = import("vhost_combined", "formats",
                    h_file("vhost.log", "www.example.org:443 " LINE("02", "GET /vhost HTTP/1.1", "200 2 " AGENT)), NULL);
    summary_is(&output, "1 lines: 1 events (1 new, 0 already there), 0 malformed, 0 cut");
    ck_assert_str_eq(ask("formats", "max(data->>'vhost') FILTER (WHERE data->>'path' = '/vhost')"), "www.example.org:443");
    ck_assert_str_eq(ask("formats", "bool_and(NOT data ? 'vhost') FILTER (WHERE data->>'path' = '/common')"), "t");
    output = import("combined", "formats", h_file("common.log", LINE("01", "GET /common HTTP/1.1", "200 1")), "--strict");
    ck_assert_int_eq(output.status, 1);
    contains(output.error, "common.log:1: malformed: ");
}
END_TEST

START_TEST(malformed_lines_are_shown)
{
    const char *text = five, *log;
    h_output_t output;
    int i;

    tenant("malformed");
    for (i = 0; i < 25; i++) {
        text = h_format("%sthis is line %d\n", text, 6 + i);
    }
    log = h_file("malformed.log", h_format("%s%s", text, LINE("09", "GET /last HTTP/1.1", "200 1 " AGENT)));
    output = import("combined", "malformed", log, NULL);
    ck_assert_int_eq(output.status, 0);
    summary_is(&output, "31 lines: 6 events (6 new, 0 already there), 25 malformed, 0 cut");
    contains(output.error, "malformed.log:6: malformed: ");
    contains(output.error, "malformed.log:25: malformed: ");
    lacks(output.error, "malformed.log:26:");
    contains(output.error, "and 5 more malformed lines");
    output = import("combined", "malformed", log, "--show-all");
    ck_assert_int_eq(output.status, 0);
    contains(output.error, "malformed.log:30: malformed: ");
    output = import("combined", "malformed", log, "--strict");
    ck_assert_int_eq(output.status, 1);
    summary_is(&output, "31 lines: 6 events (0 new, 6 already there), 25 malformed, 0 cut");
}
END_TEST

START_TEST(a_line_from_the_future_is_malformed)
{
    h_output_t output;

    tenant("future");
    output = import("common", "future",
                    h_file("future.log", "192.0.2.7 - - [17/May/2999:10:05:01 +0000] \"GET / HTTP/1.1\" 200 1\n"
                                         "192.0.2.7 - - [17/May/1999:10:05:01 +0000] \"GET / HTTP/1.1\" 200 1\n"),
                    NULL);
    summary_is(&output, "2 lines: 1 events (1 new, 0 already there), 1 malformed, 0 cut");
}
END_TEST

START_TEST(a_grown_file_brings_its_new_lines)
{
    const char *next = LINE("05", "GET /new HTTP/1.1", "200 5 " AGENT);
    h_output_t output;

    tenant("grown");
    /* the server was in the middle of a line */
    output = import("combined", "grown", h_file("grown.log", h_format("%s%.60s", five, next)), NULL);
    ck_assert_int_eq(output.status, 0);
    summary_is(&output, "6 lines: 5 events (5 new, 0 already there), 0 malformed, 0 cut, 1 unfinished");
    contains(output.error, "grown.log:6: unfinished: ");
    output = import("combined", "grown", h_file("grown.log", h_format("%s%s", five, next)), NULL);
    summary_is(&output, "6 lines: 6 events (1 new, 5 already there), 0 malformed, 0 cut");
    /* only the newline was missing */
    output = import("combined", "grown", h_file("grown.log", h_format("%s%.*s", five, (int)strlen(next) - 1, next)), NULL);
    summary_is(&output, "6 lines: 6 events (0 new, 6 already there), 0 malformed, 0 cut");
    /* rotation renames it */
    output = import("combined", "grown", h_file("grown.log.1", h_format("%s%s", five, next)), NULL);
    summary_is(&output, "6 lines: 6 events (0 new, 6 already there), 0 malformed, 0 cut");
}
END_TEST

START_TEST(a_cut_line_is_counted_and_said)
{
    static const char cut[] =
        "192.0.2.7 - - [17/May/2015:10:05:06 +0200] \"GET /cut HTTP/1.1\" 200 77 \"-\" \"Mozilla/5.0 (comp\n";
    h_output_t output;

    tenant("cut");
    output = import("combined", "cut", h_file("cut.log", h_format("%s%s", cut, five)), NULL);
    ck_assert_int_eq(output.status, 0);
    summary_is(&output, "6 lines: 6 events (6 new, 0 already there), 0 malformed, 1 cut");
    contains(output.error, "cut.log:1: cut: ");
    ck_assert_str_eq(ask("cut", "max(data->>'user_agent') FILTER (WHERE data->>'path' = '/cut')"), "Mozilla/5.0 (comp");
    output = import("combined", "cut", h_file("cut2.log", h_format("%.*s", (int)sizeof cut - 2, cut)), "--unfinished");
    summary_is(&output, "1 lines: 1 events (0 new, 1 already there), 0 malformed, 1 cut");
}
END_TEST

START_TEST(a_very_long_line_costs_no_memory)
{
    const char *argv[] = { "sh", "-c",
                           h_format("{ head -c 3000000 /dev/zero | tr '\\0' x; echo; cat; } >%s/long.log", h_dir()), NULL };
    h_output_t output;

    tenant("long");
    ck_assert_int_eq(h_command(argv, five).status, 0);
    output = import("combined", "long", h_format("%s/long.log", h_dir()), NULL);
    summary_is(&output, "6 lines: 5 events (5 new, 0 already there), 1 malformed, 0 cut");
    contains(output.error, "long.log:1: malformed: longer than");
}
END_TEST

START_TEST(a_pipe_a_compressed_file_and_none)
{
    const char *log = h_file("pipe.log", five);
    const char *build = getenv("top_builddir");
    const char *import_it = h_format("%s/meterplexctl import --database '%s' --format combined --tenant pipe",
                                     build ? build : ".", h_pg_url("meterplex"));
    h_output_t output;

    tenant("pipe");
    output = h_command(
        (const char *[]){ "sh", "-c", h_format("gzip -k %s && zcat %s.gz | %s -", log, log, import_it), NULL }, NULL);
    summary_is(&output, "5 lines: 5 events (5 new, 0 already there), 0 malformed, 0 cut");
    output = h_command((const char *[]){ "bash", "-c", h_format("%s <(zcat %s.gz)", import_it, log), NULL }, NULL);
    summary_is(&output, "5 lines: 5 events (0 new, 5 already there), 0 malformed, 0 cut");
    output = import("combined", "pipe", h_format("%s.gz", log), NULL);
    ck_assert_int_eq(output.status, 1);
    contains(output.error, "is compressed: zcat");
    output = h_command((const char *[]){ "sh", "-c", h_format("%s - <%s.gz", import_it, log), NULL }, NULL);
    ck_assert_int_eq(output.status, 1);
    contains(output.error, "standard input is compressed: pass it through zcat first");
    /* nothing is stored when one of several cannot be read */
    tenant("none");
    output = import("combined", "none", log, "/nonexistent.log");
    ck_assert_int_eq(output.status, 1);
    contains(output.error, "/nonexistent.log");
    ck_assert_str_eq(ask("none", "count(*)"), "0");
}
END_TEST

START_TEST(the_summary_as_json)
{
    h_output_t output;
    json_t *root;

    tenant("json");
    output = import("combined", "json", h_file("json.log", h_format("%sx\n", five)), "--json");
    root = json_loads(output.text, 0, NULL);
    ck_assert_msg(root != NULL, "%s", output.text);
    ck_assert_int_eq(json_integer_value(json_object_get(root, "new")), 5);
    ck_assert_int_eq(json_integer_value(json_object_get(root, "malformed")), 1);
    ck_assert_int_eq(json_integer_value(json_object_get(json_array_get(json_object_get(root, "reports"), 0), "line")), 6);
    json_decref(root);
}
END_TEST

/* The writer keeps the pipe open, so that only the signal can end it. */
START_TEST(an_interrupt_ends_it_cleanly)
{
    const char *build = getenv("top_builddir"), *text = five, *stored;
    const char *script;
    h_output_t output;
    int i;

    tenant("stopped");
    for (i = 0; i < 10; i++) {
        text = h_format("%s%s", text, text); /* 5,120 lines, more than a pipe holds */
    }
    h_file("stopped.log", text);
    script = h_format("cd %s && mkfifo fifo && "
                      "{ %s/meterplexctl import --database '%s' --format combined --tenant stopped fifo & "
                      "pid=$!; exec 3>fifo; cat stopped.log >&3; kill -INT $pid; wait $pid; }",
                      h_dir(), build ? build : ".", h_pg_url("meterplex"));
    output = h_command((const char *[]){ "sh", "-c", script, NULL }, NULL);
    ck_assert_msg(output.status == 1, "status %d: %s%s", output.status, output.text, output.error);
    contains(output.error, "run the same command again");
    stored = ask("stopped", "count(*)");
    contains(output.text, h_format("(%s new, 0 already there)", stored));
    output = import("combined", "stopped", h_format("%s/stopped.log", h_dir()), NULL);
    text = h_format("5120 lines: 5120 events (%d new, %s already there), 0 malformed, 0 cut", 5120 - atoi(stored), stored);
    summary_is(&output, text);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ctl_import");
    TCase *tcase = tcase_create("ctl_import");

    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, twice_counts_once);
    tcase_add_test(tcase, a_line_becomes_an_event);
    tcase_add_test(tcase, a_client_cannot_take_a_lines_id);
    tcase_add_test(tcase, a_name_of_a_log_has_its_bounds);
    tcase_add_test(tcase, common_and_vhost_combined);
    tcase_add_test(tcase, malformed_lines_are_shown);
    tcase_add_test(tcase, a_line_from_the_future_is_malformed);
    tcase_add_test(tcase, a_grown_file_brings_its_new_lines);
    tcase_add_test(tcase, a_cut_line_is_counted_and_said);
    tcase_add_test(tcase, a_very_long_line_costs_no_memory);
    tcase_add_test(tcase, a_pipe_a_compressed_file_and_none);
    tcase_add_test(tcase, the_summary_as_json);
    tcase_add_test(tcase, an_interrupt_ends_it_cleanly);
    suite_add_tcase(suite, tcase);
    return h_run(suite, up);
}
