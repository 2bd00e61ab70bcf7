/* What is too old leaves by itself, in small steps, and nothing else does; windows of long ago. */
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OLD 12000 /* rows of each kind: more than one step of 10,000 */

static void up(void)
{
    h_up_stopped(NULL);
    h_sql("SET SESSION AUTHORIZATION postgres; "
          "INSERT INTO usage.event_keys (tenant_id, digest, received_at) "
          "SELECT gen_random_uuid(), gen_random_uuid(), now() - CASE WHEN n <= %d THEN interval '37 days' ELSE interval "
          "'34 days' END "
          "FROM generate_series(1, %d) AS n; "
          "INSERT INTO core.idempotency_keys (tenant_id, principal_id, key, fingerprint, status, answer, created_at) "
          "SELECT gen_random_uuid(), gen_random_uuid(), 'k', 'f', 200, 'a', "
          "       now() - CASE WHEN n <= %d THEN interval '25 hours' ELSE interval '23 hours' END "
          "FROM generate_series(1, %d) AS n",
          OLD, OLD + 100, OLD, OLD + 100);
    h_httpd_start(h_main_httpd);
}

static int left(const char *table, const char *number)
{
    return strcmp(h_sql("SELECT count(*) FROM %s", table), number) == 0;
}

START_TEST(old_keys_leave_and_young_ones_stay)
{
    H_WAIT(20, left("usage.event_keys", "100"));
    H_WAIT(20, left("core.idempotency_keys", "100"));
}
END_TEST

/* Before standard time a zone's offset had odd minutes and seconds. */
START_TEST(windows_of_long_ago_are_told)
{
    static const struct {
        const char *window, *start, *end;
    } cases[] = {
        { "minute", "1890-01-01T12:29:32Z", "1890-01-01T12:30:32Z" },
        { "hour", "1890-01-01T12:06:32Z", "1890-01-01T13:06:32Z" },
        { "day", "1889-12-31T23:06:32Z", "1890-01-01T23:06:32Z" },
        { "month", "1889-12-31T23:06:32Z", "1890-01-31T23:06:32Z" },
    };
    const char *key = h_key(h_tenant("old"), "usage:read usage:write usage:backfill meters:read meters:write", NULL, NULL);

    h_expect(h_post("/v1/meters", key,
                    "{\"key\":\"old\",\"name\":\"o\",\"event_type\":\"old\",\"aggregation\":\"count\"}"),
             201);
    h_expect(h_post("/v1/usage/events?backfill=true", key,
                    "{\"id\":\"1\",\"source\":\"s\",\"type\":\"old\",\"time\":\"1890-01-01T12:30:00Z\"}"),
             200);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (int fill = 0; fill < 2; fill++) {
            const h_response_t *r = h_get(h_format("/v1/meters/old/usage?from=1890-01-01T12:30:00Z"
                                                   "&to=1890-01-01T12:30:01Z&window=%s"
                                                   "&timezone=Europe/Berlin%s",
                                                   cases[i].window, fill ? "&fill=zero" : ""),
                                          key);
            h_expect(r, 200);
            h_expect_json(r, "/data/0/value", "1");
            h_expect_json(r, "/data/0/window_start", cases[i].start);
            h_expect_json(r, "/data/0/window_end", cases[i].end);
            ck_assert_uint_eq(json_array_size(json_object_get(h_json(r), "data")), 1);
        }
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("expiry");
    TCase *tcase = tcase_create("expiry");

    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, old_keys_leave_and_young_ones_stay);
    tcase_add_test(tcase, windows_of_long_ago_are_told);
    suite_add_tcase(suite, tcase);
    return h_run(suite, up);
}
