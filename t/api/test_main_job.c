/* The main job: an access log is imported and metered, and its requests are sent again over HTTP and metered as they are
 * answered. Both agree with what awk reads in the file, to the last unit: with a log that the test makes, and with the real
 * one where it stands beside the checkout.
 */
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINES 10000

static h_httpd_t *upstream;

#define contains(text, part) ck_assert_msg(strstr(text, part) != NULL, "\"%s\" is not in:\n%s", part, text)

static void up(void)
{
    h_up_stopped(NULL);
    upstream = h_httpd_make("upstream", 0, "FallbackResource /index.html\n");
    h_httpd_start(upstream);
    h_httpd_configure(h_main_httpd,
                      h_format("<Location /files>\n"
                               "    AuthType Meterplex\n"
                               "    Require meterplex-scope demo:read\n"
                               "    MeterplexMeter files.request prop=method:%%{REQUEST_METHOD}\n"
                               "</Location>\n"
                               "<Location /proxied>\n"
                               "    AuthType Meterplex\n"
                               "    Require meterplex-scope demo:read\n"
                               "    MeterplexMeter proxied.request prop=method:%%{REQUEST_METHOD}\n"
                               "    ProxyPass http://127.0.0.1:%d\n"
                               "</Location>\n",
                               upstream->port));
    h_httpd_start(h_main_httpd);
}

/* --- Two logs ---------------------------------------------------------------------------------------------------------- */

static const char *real_log(void)
{
    const char *source = getenv("top_srcdir");
    return h_format("%s/../shared/data/access-logs/combined.log", source ? source : ".");
}

/* The same on every run: clients of both families, seven methods, sizes past 32 bits, quotes inside quotes, no bytes, three
 * days with their hours. */
static const char *made_log(void)
{
    static const char *const methods[] = { "GET", "GET", "GET", "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH" };
    static const int statuses[] = { 200, 200, 200, 200, 206, 301, 304, 404, 416, 500 };
    const char *path = h_format("%s/made.log", h_dir());
    FILE *file = fopen(path, "w");
    unsigned long long state = 20260517;

    ck_assert_ptr_nonnull(file);
    for (int i = 0; i < LINES; i++) {
        unsigned roll[5];
        for (int k = 0; k < 5; k++) { /* MMIX's linear congruential generator (Knuth) */
            state = state * 6364136223846793005ULL + 1442695040888963407ULL;
            roll[k] = (unsigned)(state >> 33);
        }
        fprintf(file, roll[0] % 5 ? "198.51.100.%u" : "2001:db8::%x", roll[0] % 997 % 250);
        fprintf(file, " - %s [%02d/May/2015:%02d:%02d:%02d +0000] \"%s /p/%u?q=%u HTTP/1.%d\" %d ",
                roll[1] % 7 ? "-" : "ann", 17 + i / 4000, i / 200 % 24, i / 4 % 60, i % 60, methods[roll[1] % 10],
                roll[2] % 800, roll[3] % 9, (int)(roll[2] % 2), statuses[roll[3] % 10]);
        if (roll[4] % 11 == 0) {
            fprintf(file, "-");
        }
        else {
            fprintf(file, "%llu", roll[4] % 1000 ? roll[4] % 1000000ULL : 5000000000ULL + roll[4]);
        }
        fprintf(file, " \"%s\" \"agent/%u \\\"quoted\\\"\"\n", roll[4] % 3 ? "-" : "http://example.org/", roll[2] % 40);
    }
    ck_assert_int_eq(fclose(file), 0);
    return path;
}

/* An independent reading: fields between quotes. */
static const char awk[] =
    "{ line = $0; gsub(/\\\\\"/, \"'\", line); split(line, q, \"\\\"\"); split(q[3], r, \" \"); n = split(q[2], m, \" \")\n"
    "  lines++; bytes += r[2]; status[r[1]]++; method[n == 3 ? m[1] : \"-\"]++; client[$1] = 1\n"
    "  split($4, t, \"[/:]\"); day[substr(t[1], 2)]++; hour[substr(t[1], 2) \"T\" t[4]]++ }\n"
    "END { printf \"%d %.0f %d\\n\", lines, bytes, length(client)\n"
    "  for (k in status) print \"status\", k, status[k]\n"
    "  for (k in method) print \"method\", k, method[k]\n"
    "  for (k in day) print \"day\", k, day[k]\n"
    "  for (k in hour) print \"hour\", k, hour[k] }";

static const char *read_by_awk(const char *log)
{
    h_output_t output = h_command((const char *[]){ "awk", awk, log, NULL }, NULL);
    ck_assert_msg(output.status == 0, "awk: %s", output.error);
    return output.text;
}

/* --- What was metered ---------------------------------------------------------------------------------------------------- */

#define MAY "from=2015-05-01T00:00:00Z&to=2015-06-01T00:00:00Z"
#define EVER "from=2015-01-01T00:00:00Z&to=2100-01-01T00:00:00Z"

static json_t *usage(const char *key, const char *meter, const char *query)
{
    const h_response_t *response = h_get(h_format("/v1/meters/%s/usage?%s", meter, query), key);

    h_expect(response, 200);
    return json_object_get(h_json(response), "data");
}

static const char *total(const char *key, const char *meter, const char *range)
{
    json_t *data = usage(key, meter, range);
    ck_assert_int_eq((int)json_array_size(data), 1);
    return json_string_value(json_object_get(json_array_get(data, 0), "value"));
}

/* Each row of a grouped or windowed answer stands in awk's reading with the same count, and nothing else of that kind does.
 * @param group the property grouped by, or NULL for windows
 * @param digits of a window's start that awk's key has: "2015-05-17T10:00:00Z" is its hour "17T10" and its day "17" */
static void rows_agree(const char *reading, const char *kind, json_t *data, const char *group, int digits)
{
    const char *line;
    json_t *row;
    size_t i, n = 0;

    for (line = reading; (line = strstr(line, h_format("\n%s ", kind))) != NULL; line++) {
        n++;
    }
    ck_assert_msg(n > 0 && json_array_size(data) == n, "%d rows by %s, awk has %d", (int)json_array_size(data), kind,
                  (int)n);
    json_array_foreach(data, i, row)
    {
        const char *value = json_string_value(json_object_get(row, "value"));
        const char *name = group ? json_string_value(json_object_get(json_object_get(row, "group"), group))
                                 : json_string_value(json_object_get(row, "window_start"));
        const char *text = group ? h_format("\n%s %s %s\n", kind, name ? name : "-", value)
                                 : h_format("\n%s %.*s %s\n", kind, digits, name + 8, value);
        contains(reading, text);
    }
}

static void make_meter(const char *key, const char *name, const char *type, const char *more)
{
    h_expect(h_post("/v1/meters", key,
                    h_format("{\"key\":\"%s\",\"name\":\"%s\",\"event_type\":\"%s\",%s}", name, name, type, more)),
             201);
}

/* (a) The file as usage. */
static void import_agrees(const char *slug, const char *log, const char *summary, const char *again)
{
    const char *reading = read_by_awk(log), *id = h_tenant(slug);
    const char *key = h_key(id, "meters:read meters:write usage:read", NULL, NULL);

    ck_assert_str_eq(
        h_ctl_ok("import", "--database", h_pg_url("meterplex"), "--format", "combined", "--tenant", id, log, NULL), summary);
    ck_assert_str_eq(
        h_ctl_ok("import", "--database", h_pg_url("meterplex"), "--format", "combined", "--tenant", slug, log, NULL), again);
    make_meter(key, "requests", "http.request",
               "\"aggregation\":\"count\",\"group_by\":{\"status\":\"$.status\",\"method\":\"$.method\"}");
    make_meter(key, "bytes", "http.request", "\"aggregation\":\"sum\",\"value_property\":\"$.bytes\"");
    make_meter(key, "clients", "http.request", "\"aggregation\":\"unique_count\",\"value_property\":\"$.client\"");
    contains(reading,
             h_format("%s %s %s\n", total(key, "requests", MAY), total(key, "bytes", MAY), total(key, "clients", MAY)));
    rows_agree(reading, "status", usage(key, "requests", MAY "&group_by=status"), "status", 0);
    rows_agree(reading, "method", usage(key, "requests", MAY "&group_by=method"), "method", 0);
    rows_agree(reading, "hour", usage(key, "requests", MAY "&window=hour"), NULL, 5);
    rows_agree(reading, "day", usage(key, "requests", MAY "&window=day"), NULL, 2);
}

/* (b) The same requests over HTTP, through a gated location. */
static void replay_agrees(const char *slug, const char *log, const char *location, const char *type)
{
    const char *reading = read_by_awk(log), *build = getenv("top_builddir"), *id = h_tenant(slug);
    const char *key = h_key(id, "meters:read meters:write usage:read demo:read", NULL, NULL);
    const char *url = h_format("http://127.0.0.1:%d%s", h_main_httpd->port, location);
    h_output_t output;

    make_meter(key, "sent", type, "\"aggregation\":\"count\",\"group_by\":{\"method\":\"$.method\"}");
    output = h_command((const char *[]){ h_format("%s/replay", build ? build : "."), log, url, key, NULL }, NULL);
    ck_assert_msg(output.status == 0, "replay: %s%s", output.text, output.error);
    contains(output.text, h_format("%d requests:", LINES));
    /* what is counted can be seen within two seconds */
    H_WAIT(2, !strcmp(total(key, "sent", EVER), h_format("%d", LINES)));
    rows_agree(reading, "method", usage(key, "sent", EVER "&group_by=method"), "method", 0);
    ck_assert_str_eq(h_sql("SELECT sum(occurrences * repeats) FROM usage.events e JOIN identity.tenants t "
                           "ON t.id = e.tenant_id WHERE t.slug = '%s'",
                           slug),
                     h_format("%d", LINES));
}

#define COUNTED(new, old, cut) "10000 lines: 10000 events (" new " new, " old " already there), 0 malformed, " cut " cut\n"

START_TEST(a_made_log_imported)
{
    import_agrees("made-a", made_log(), COUNTED("10000", "0", "0"), COUNTED("0", "10000", "0"));
}
END_TEST

START_TEST(a_made_log_over_files)
{
    replay_agrees("made-b", made_log(), "/files", "files.request");
}
END_TEST

START_TEST(a_made_log_over_a_proxy)
{
    replay_agrees("made-c", made_log(), "/proxied", "proxied.request");
}
END_TEST

static int has_real_log(void)
{
    return access(real_log(), R_OK) == 0;
}

START_TEST(the_real_log_imported)
{
    if (!has_real_log()) {
        h_skip("the real log stands beside the checkout only where the project is developed");
        return;
    }
    import_agrees("real-a", real_log(), COUNTED("10000", "0", "1"), COUNTED("0", "10000", "1"));
}
END_TEST

START_TEST(the_real_log_over_files)
{
    if (!has_real_log()) {
        h_skip("the real log stands beside the checkout only where the project is developed");
        return;
    }
    replay_agrees("real-b", real_log(), "/files", "files.request");
}
END_TEST

START_TEST(the_real_log_over_a_proxy)
{
    if (!has_real_log()) {
        h_skip("the real log stands beside the checkout only where the project is developed");
        return;
    }
    replay_agrees("real-c", real_log(), "/proxied", "proxied.request");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("main_job");
    TCase *tcase = tcase_create("main_job");

    tcase_set_timeout(tcase, 180);
    tcase_add_test(tcase, a_made_log_imported);
    tcase_add_test(tcase, a_made_log_over_files);
    tcase_add_test(tcase, a_made_log_over_a_proxy);
    tcase_add_test(tcase, the_real_log_imported);
    tcase_add_test(tcase, the_real_log_over_files);
    tcase_add_test(tcase, the_real_log_over_a_proxy);
    suite_add_tcase(suite, tcase);
    return h_run(suite, up);
}
