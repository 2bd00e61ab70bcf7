/* Events in, meters over them, windows of the calendar, and requests counted by MeterplexMeter. */
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SCOPES "usage:read usage:write usage:backfill meters:read meters:write demo:read"

static void up(void)
{
    h_up("<Location \"/sold\">\n"
         "  AuthType Meterplex\n"
         "  Require meterplex-scope demo:read\n"
         "  MeterplexMeter sold.request prop=method:%{REQUEST_METHOD} prop=status:%{REQUEST_STATUS}\n"
         "</Location>\n"
         "<Location \"/long\">\n"
         "  AuthType Meterplex\n"
         "  Require meterplex-scope demo:read\n"
         "  MeterplexMeter long.request value=%{HTTP:X-Value} subject=%{HTTP:X-Subject} prop=a:%{HTTP:X-A} "
         "prop=b:%{HTTP:X-B} "
         "prop=c:%{HTTP:X-C} prop=d:%{HTTP:X-A}\n"
         "</Location>\n");
}

/* A tenant and a key of its own for each case. */
static const char *fresh_key(void)
{
    static int n;
    return h_key(h_tenant(h_format("usage-%d-%d", (int)getpid(), n++)), SCOPES, NULL, NULL);
}

static const h_response_t *post_as(const char *key, const char *type, const char *const *headers, const char *body,
                                   const char *query)
{
    h_request_t request = { .method = "POST",
                            .path = h_format("/v1/usage/events%s", query),
                            .key = key,
                            .headers = headers,
                            .body = body,
                            .type = type };
    return h_send(&request);
}

static void expect_ingest(const h_response_t *r, int accepted, int duplicates)
{
    h_expect(r, 200);
    h_expect_json(r, "/accepted", h_format("%d", accepted));
    h_expect_json(r, "/duplicates", h_format("%d", duplicates));
}

static void make_meter(const char *key, const char *body)
{
    h_expect(h_post("/v1/meters", key, body), 201);
}

static const char *total(const char *key, const char *meter, const char *query)
{
    const h_response_t *r = h_get(h_format("/v1/meters/%s/usage%s", meter, query), key);
    h_expect(r, 200);
    return h_json_text(r, "/data/0/value");
}

static const h_response_t *post_binary(const char *key, const char *id, const char *idempotency)
{
    const char *headers[] = { "ce-specversion: 1.0", h_format("ce-id: %s", id), "ce-source: s", "ce-type: t",
                              idempotency ? h_format("Idempotency-Key: %s", idempotency) : NULL, NULL };
    h_request_t request = { .method = "POST", .path = "/v1/usage/events", .key = key, .headers = headers };

    return h_send(&request);
}

/* The event is in the header: that belongs to what a repetition must be the same in. */
START_TEST(an_event_in_the_header_is_not_another_ones_repetition)
{
    const char *key = fresh_key();
    const h_response_t *r;

    expect_ingest(post_binary(key, "1", "once"), 1, 0);
    r = post_binary(key, "1", "once");
    h_expect_header(r, "idempotent-replayed", "true");
    h_expect_problem(post_binary(key, "2", "once"), 422, "idempotency_mismatch");
    expect_ingest(post_binary(key, "2", NULL), 1, 0);
    /* in quotes it is the same id (CloudEvents HTTP binding, section 3.1.3.2) */
    expect_ingest(post_binary(key, "\"2\"", NULL), 0, 1);
    expect_ingest(post_binary(key, "\"a\\\\\\\"b\"", NULL), 1, 0);
    h_expect_json(h_get("/v1/usage/events?id=a%5C%22b", key), "/data/0/id", "a\\\"b");
    expect_ingest(post_binary(key, "\"open", NULL), 1, 0);
}
END_TEST

START_TEST(five_forms_count_alike)
{
    static const char *const binary[] = { "ce-specversion: 1.0", "ce-id: 5", "ce-source: s", "ce-type: t", NULL };
    const char *key = fresh_key(),
               *event = "{\"specversion\":\"1.0\",\"id\":\"%d\",\"source\":\"s\",\"type\":\"t\",\"data\":{}}";
    char one[200], two[200];

    snprintf(one, sizeof one, event, 1);
    expect_ingest(post_as(key, "application/json", NULL, one, ""), 1, 0);
    snprintf(two, sizeof two, event, 2);
    expect_ingest(post_as(key, "application/cloudevents+json", NULL, two, ""), 1, 0);
    expect_ingest(post_as(key, "application/cloudevents-batch+json", NULL, h_format("[%s,%s]", one, two), ""), 0, 2);
    snprintf(one, sizeof one, event, 3);
    snprintf(two, sizeof two, event, 4);
    expect_ingest(post_as(key, "application/x-ndjson", NULL, h_format("%s\n%s\n", one, two), ""), 2, 0);
    expect_ingest(post_as(key, "application/json", binary, "{\"n\":1}", ""), 1, 0);
    expect_ingest(post_as(key, "application/json", NULL, h_format("[%s,%s]", one, one), ""), 0, 2);
    h_expect_problem(post_as(key, "text/csv", NULL, "x", ""), 415, "unsupported_media_type");
    make_meter(key, "{\"key\":\"n\",\"name\":\"n\",\"event_type\":\"t\",\"aggregation\":\"count\"}");
    ck_assert_str_eq(total(key, "n", ""), "5");
}
END_TEST

/* Who forgets one of the fields that make an event is told so; what is in the body is data, not another event. */
START_TEST(a_binary_event_needs_its_fields)
{
    static const char *const fields[] = { "ce-specversion: 1.0", "ce-id: 9", "ce-source: s", "ce-type: t" };
    static const char body[] = "{\"id\":\"q\",\"source\":\"z\",\"type\":\"other\"}";
    const char *key = fresh_key();

    for (int missing = 0; missing < 4; missing++) {
        const char *headers[5] = { NULL }, *name = h_format("%.*s", (int)strcspn(fields[missing], ":"), fields[missing]);
        const h_response_t *r;

        for (int i = 0, n = 0; i < 4; i++) {
            if (i != missing) {
                headers[n++] = fields[i];
            }
        }
        r = post_as(key, "application/json", headers, body, "");
        h_expect_problem(r, 422, "validation_failed");
        h_expect_json(r, "/errors/0/pointer", h_format("/%s", name + 3));
        headers[0] = fields[missing];
        headers[1] = NULL;
        h_expect_problem(post_as(key, "application/json", headers, body, ""), 422, "validation_failed");
    }
    ck_assert_uint_eq(json_array_size(json_object_get(h_json(h_get("/v1/usage/events", key)), "data")), 0);
}
END_TEST

START_TEST(a_batch_is_stored_whole_or_not_at_all)
{
    const char *key = fresh_key();
    const h_response_t *r =
        h_post("/v1/usage/events", key,
               "[{\"id\":\"1\",\"source\":\"s\",\"type\":\"t\"},{\"id\":\"2\",\"source\":\"s\",\"type\":\"t\","
               "\"time\":\"yesterday\"},{\"id\":\"3\",\"source\":\"s\",\"type\":\"t\",\"data\":{\"v\":1e40}}]");

    h_expect_problem(r, 422, "validation_failed");
    h_expect_json(r, "/errors/0/pointer", "/1/time");
    h_expect_json(r, "/errors/1/pointer", "/2/data/v");
    r = h_get("/v1/usage/events", key);
    ck_assert_int_eq((int)json_array_size(json_object_get(h_json(r), "data")), 0);
    h_expect_problem(h_post("/v1/usage/events", key, "{\"id\":\"1\",\"source\":\"s\",\"type\":\"t\",\"typo\":1}"), 422,
                     "validation_failed");
    h_expect_problem(h_post("/v1/usage/events", key, "{\"id\":\"1\",\"source\":\"s\",\"type\":\"t\",\"time\":"
                                                     "\"2015-05-17T10:05:03Z\"}"),
                     422, "validation_failed");
    expect_ingest(post_as(key, NULL, NULL,
                          "{\"id\":\"1\",\"source\":\"s\",\"type\":\"t\",\"time\":\"2015-05-17T10:05:03Z\"}",
                          "?backfill=true"),
                  1, 0);
}
END_TEST

/* A moment so many seconds ago. */
static const char *ago(int seconds)
{
    time_t t = time(NULL) - seconds;
    struct tm utc;
    char text[32];

    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&t, &utc));
    return h_format("%s", text);
}

START_TEST(aggregations_are_exact)
{
    static const struct {
        const char *name, *value;
    } expected[] = { { "count", "9" },
                     { "sum", "100000000000000000000.35" },
                     { "min", "-0.5" },
                     { "max", "100000000000000000000.1" },
                     { "avg", "25000000000000000000.0875" },
                     { "unique_count", "5" },
                     { "latest", "0.5" } };
    const char *key = fresh_key();

    expect_ingest(
        h_post("/v1/usage/events", key,
               h_format("[{\"id\":\"1\",\"source\":\"s\",\"type\":\"t\",\"time\":\"%s\","
                        "\"data\":{\"v\":100000000000000000000.1}},"
                        "{\"id\":\"2\",\"source\":\"s\",\"type\":\"t\",\"time\":\"%s\",\"data\":{\"v\":\"0.25\"}},"
                        "{\"id\":\"3\",\"source\":\"s\",\"type\":\"t\",\"time\":\"%s\",\"data\":{\"v\":-0.50}},"
                        "{\"id\":\"4\",\"source\":\"s\",\"type\":\"t\",\"time\":\"%s\",\"data\":{\"v\":5e-1}},"
                        "{\"id\":\"5\",\"source\":\"s\",\"type\":\"t\",\"time\":\"%s\",\"occurrences\":5,"
                        "\"data\":{\"v\":\"NaN\"}}]",
                        ago(60), ago(50), ago(40), ago(30), ago(20))),
        5, 0);
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        const char *name = expected[i].name;
        make_meter(key,
                   h_format("{\"key\":\"m-%s\",\"name\":\"m\",\"event_type\":\"t\",\"aggregation\":\"%s\"%s}", name, name,
                            i ? ",\"value_property\":\"$.v\"" : ""));
        ck_assert_str_eq(total(key, h_format("m-%s", name), ""), expected[i].value);
    }
    h_expect_json(h_get("/v1/meters/m-sum", key), "/status/invalid", "1");
    /* what its filters leave out is nothing to a meter */
    make_meter(key, "{\"key\":\"m-none\",\"name\":\"n\",\"event_type\":\"t\",\"aggregation\":\"sum\","
                    "\"value_property\":\"$.v\",\"filters\":{\"region\":[\"nowhere\"]}}");
    h_expect_json(h_get("/v1/meters/m-none", key), "/status/invalid", "0");
}
END_TEST

START_TEST(groups_filters_and_subjects)
{
    const char *key = fresh_key();
    const h_response_t *r;

    expect_ingest(
        h_post("/v1/usage/events", key,
               "[{\"id\":\"1\",\"source\":\"s\",\"type\":\"t\",\"subject\":\"u1\",\"data\":{\"v\":1,\"model\":\"a\","
               "\"region\":\"eu\"}},"
               "{\"id\":\"2\",\"source\":\"s\",\"type\":\"t\",\"subject\":\"u2\",\"data\":{\"v\":2,\"model\":\"b, "
               "c\",\"region\":\"eu\"}},"
               "{\"id\":\"3\",\"source\":\"s\",\"type\":\"t\",\"subject\":\"u1\",\"data\":{\"v\":4,\"region\":\"us\"}},"
               "{\"id\":\"4\",\"source\":\"s\",\"type\":\"t\",\"data\":{\"v\":8,\"model\":\"a\",\"region\":\"ap\"}}]"),
        4, 0);
    make_meter(key, "{\"key\":\"v\",\"name\":\"v\",\"event_type\":\"t\",\"aggregation\":\"sum\",\"value_property\":\"$.v\","
                    "\"group_by\":{\"model\":\"$.model\"},\"filters\":{\"region\":[\"eu\",\"us\"]}}");
    ck_assert_str_eq(total(key, "v", ""), "7");
    ck_assert_str_eq(total(key, "v", "?subject=u1"), "5");
    ck_assert_str_eq(total(key, "v", "?filter%5Bmodel%5D=a"), "1");
    r = h_get("/v1/meters/v/usage?group_by=model", key);
    h_expect_json(r, "/data/0/group/model", "a");
    h_expect_json(r, "/data/0/value", "1");
    h_expect_json(r, "/data/1/group/model", "b, c");
    h_expect_json(r, "/data/2/group/model", "null");
    h_expect_json(r, "/data/2/value", "4");
    h_expect_problem(h_get("/v1/meters/v/usage?group_by=nope", key), 400, "bad_request");
    h_expect_problem(h_get("/v1/meters/v/usage?group_by=model,model", key), 400, "bad_request");
    h_expect_problem(h_get("/v1/meters/v/usage?group_by=subject,model,subject", key), 400, "bad_request");
    h_expect_problem(h_get("/v1/meters/v/usage?window=week", key), 400, "bad_request");
    h_expect_problem(h_get("/v1/meters/v/usage?timezone=Mars/Phobos", key), 400, "bad_request");
    h_expect_problem(h_get("/v1/meters/v/usage?window=minute&from=2020-01-01T00:00:00Z&to=2021-01-01T00:00:00Z", key), 422,
                     "validation_failed");
}
END_TEST

/* One event at each instant; the day that it lies in, from the zone's own rules. Havana: midnight comes twice on 2026-11-01;
 * Cairo: it is missing on 2026-04-24; Apia: 2011-12-30 is missing. */
START_TEST(days_are_the_calendars)
{
    static const struct {
        const char *zone, *from, *to, *time, *start, *end;
    } days[] = {
        { "America/Havana", "2026-10-30T00:00:00Z", "2026-11-04T00:00:00Z", "2026-11-01T04:30:00Z", "2026-11-01T04:00:00Z",
          "2026-11-02T05:00:00Z" },
        { "America/Havana", "2026-10-30T00:00:00Z", "2026-11-04T00:00:00Z", "2026-11-01T03:59:59Z", "2026-10-31T04:00:00Z",
          "2026-11-01T04:00:00Z" },
        { "Africa/Cairo", "2026-04-20T00:00:00Z", "2026-04-28T00:00:00Z", "2026-04-23T22:00:00Z", "2026-04-23T22:00:00Z",
          "2026-04-24T21:00:00Z" },
        { "Europe/Berlin", "2026-03-27T00:00:00Z", "2026-03-31T00:00:00Z", "2026-03-29T12:00:00Z", "2026-03-28T23:00:00Z",
          "2026-03-29T22:00:00Z" },
        { "Pacific/Apia", "2011-12-28T00:00:00Z", "2012-01-02T00:00:00Z", "2011-12-30T10:00:00Z", "2011-12-30T10:00:00Z",
          "2011-12-31T10:00:00Z" },
    };
    for (size_t i = 0; i < sizeof days / sizeof *days; i++) {
        const char *key = fresh_key();
        const h_response_t *r;
        expect_ingest(post_as(key, NULL, NULL,
                              h_format("{\"id\":\"1\",\"source\":\"s\",\"type\":\"t\",\"time\":\"%s\"}", days[i].time),
                              "?backfill=true"),
                      1, 0);
        make_meter(key, "{\"key\":\"n\",\"name\":\"n\",\"event_type\":\"t\",\"aggregation\":\"count\"}");
        r = h_get(
            h_format("/v1/meters/n/usage?window=day&timezone=%s&from=%s&to=%s", days[i].zone, days[i].from, days[i].to),
            key);
        h_expect_json(r, "/data/0/window_start", days[i].start);
        h_expect_json(r, "/data/0/window_end", days[i].end);
    }
}
END_TEST

/* 152 over 101: to 18 digits from the quotient itself, and not from one that was rounded before. */
START_TEST(an_average_is_rounded_once)
{
    const char *key = fresh_key(), *body = "";

    for (int i = 0; i < 101; i++) {
        body = h_format("%s%c{\"id\":\"%d\",\"source\":\"s\",\"type\":\"t\",\"data\":{\"v\":%d}}", body, i ? ',' : '[', i,
                        i ? 1 : 52);
    }
    expect_ingest(h_post("/v1/usage/events", key, h_format("%s]", body)), 101, 0);
    make_meter(key, "{\"key\":\"a\",\"name\":\"a\",\"event_type\":\"t\",\"aggregation\":\"avg\","
                    "\"value_property\":\"$.v\"}");
    ck_assert_str_eq(total(key, "a", ""), "1.50495049504950495");
}
END_TEST

START_TEST(an_empty_range_has_no_windows)
{
    static const char *const windows[] = { "minute", "hour", "day", "month" };
    const char *key = fresh_key();

    make_meter(key, "{\"key\":\"n\",\"name\":\"n\",\"event_type\":\"t\",\"aggregation\":\"count\"}");
    for (int i = 0; i < 16; i++) {
        const char *bound = i % 2 ? "2026-11-01T00:00:00Z" : "2026-11-01T00:00:30.5Z", *fill = i / 8 ? "&fill=zero" : "";
        const h_response_t *r = h_get(h_format("/v1/meters/n/usage?window=%s&from=%s&to=%s%s", windows[i / 2 % 4], bound,
                                               bound, fill),
                                      key);
        h_expect(r, 200);
        ck_assert_uint_eq(json_array_size(json_object_get(h_json(r), "data")), 0);
    }
}
END_TEST

START_TEST(windows_tile_the_range)
{
    static const char *const zones[] = { "UTC", "Europe/Berlin", "America/Havana", "Australia/Lord_Howe", "Asia/Kathmandu" };
    static const char *const windows[] = { "hour", "day", "month" };
    const char *key = fresh_key();

    make_meter(key, "{\"key\":\"n\",\"name\":\"n\",\"event_type\":\"t\",\"aggregation\":\"count\"}");
    for (size_t z = 0; z < sizeof zones / sizeof *zones; z++) {
        for (size_t w = 0; w < sizeof windows / sizeof *windows; w++) {
            const h_response_t *r =
                h_get(h_format("/v1/meters/n/usage?window=%s&timezone=%s&fill=zero&from=2026-03-01T00:00:00Z"
                               "&to=2026-11-15T00:00:00Z",
                               windows[w], zones[z]),
                      key);
            json_t *data = json_object_get(h_json(r), "data");
            size_t n = json_array_size(data);
            ck_assert_int_gt((int)n, 8);
            for (size_t i = 1; i < n; i++) {
                ck_assert_str_eq(json_string_value(json_object_get(json_array_get(data, i), "window_start")),
                                 json_string_value(json_object_get(json_array_get(data, i - 1), "window_end")));
                ck_assert_str_eq(json_string_value(json_object_get(json_array_get(data, i), "value")), "0");
            }
        }
    }
}
END_TEST

/* Each series in each window, what is missing as zero, in the order of the windows. */
START_TEST(filled_series_are_whole)
{
    const char *key = fresh_key();
    const char *body = "[]", *events = "";
    const h_response_t *r;
    json_t *data;

    make_meter(key, "{\"key\":\"n\",\"name\":\"n\",\"event_type\":\"t\",\"aggregation\":\"sum\",\"value_property\":\"$.v\","
                    "\"group_by\":{\"g\":\"$.g\"}}");
    for (int i = 0; i < 11; i++) { /* subject i, in hour i */
        events = h_format("%s%s{\"id\":\"%d\",\"source\":\"s\",\"type\":\"t\",\"subject\":\"%d\","
                          "\"time\":\"2026-05-01T%02d:30:00Z\","
                          "\"data\":{\"v\":%d%s}}",
                          events, i ? "," : "", i, i, i, i + 1, i % 2 ? ",\"g\":\"1:\"" : "");
    }
    body = h_format("[%s]", events);
    expect_ingest(post_as(key, NULL, NULL, body, "?backfill=true"), 11, 0);
    r = h_get("/v1/meters/n/usage?window=hour&group_by=subject,g&fill=zero"
              "&from=2026-05-01T00:00:00Z&to=2026-05-01T12:00:00Z",
              key);
    h_expect(r, 200);
    data = json_object_get(h_json(r), "data");
    ck_assert_uint_eq(json_array_size(data), 11 * 12);
    for (size_t i = 0; i < json_array_size(data); i++) {
        json_t *v = json_array_get(data, i), *g = json_object_get(json_object_get(v, "group"), "g");
        int hour = (int)i / 11, subject = atoi(json_string_value(json_object_get(v, "subject")));

        ck_assert_str_eq(json_string_value(json_object_get(v, "window_start")), h_format("2026-05-01T%02d:00:00Z", hour));
        ck_assert_str_eq(json_string_value(json_object_get(v, "value")), subject == hour ? h_format("%d", hour + 1) : "0");
        ck_assert(subject % 2 ? strcmp(json_string_value(g), "1:") == 0 : json_is_null(g));
    }
    /* what would not fit into memory is refused, and says what to do */
    r = h_get("/v1/meters/n/usage?window=minute&group_by=subject&fill=zero"
              "&from=2026-05-01T00:00:00Z&to=2026-05-07T22:39:00Z",
              key);
    h_expect_problem(r, 422, "validation_failed");
    ck_assert_ptr_nonnull(strstr(h_json_text(r, "/detail"), "more than 100000 values"));
}
END_TEST

START_TEST(platform_meters_are_in_every_tenant)
{
    const char *key = fresh_key(), *name = h_format("platform-%d", (int)getpid());
    const char *body =
        h_format("{\"key\":\"%s\",\"name\":\"p\",\"event_type\":\"t\",\"aggregation\":\"count\",\"scope\":\"all\"}", name);

    h_expect_problem(h_post("/v1/meters", key, body), 403, "forbidden");
    make_meter(h_admin_key(), body);
    h_expect(h_post("/v1/usage/events", key, "{\"id\":\"1\",\"source\":\"s\",\"type\":\"t\"}"), 200);
    ck_assert_str_eq(total(key, name, ""), "1");
    h_expect_problem(h_post("/v1/meters", key, h_format("{\"key\":\"%s\",\"name\":\"p\",\"event_type\":\"t\","
                                                        "\"aggregation\":\"count\"}",
                                                        name)),
                     409, "conflict");
    h_expect_problem(h_call("DELETE", h_format("/v1/meters/%s", name), key, NULL), 403, "forbidden");
    h_expect(h_call("DELETE", h_format("/v1/meters/%s", name), h_admin_key(), NULL), 204);
}
END_TEST

static int counted(const char *key, const char *query, const char *value)
{
    const char *now = total(key, "sold", query);
    return now && strcmp(now, value) == 0;
}

START_TEST(finished_requests_are_counted_within_two_seconds)
{
    const char *key = fresh_key();
    const h_response_t *r;

    make_meter(key, "{\"key\":\"sold\",\"name\":\"s\",\"event_type\":\"sold.request\",\"aggregation\":\"count\","
                    "\"group_by\":{\"method\":\"$.method\",\"status\":\"$.status\"}}");
    for (int i = 0; i < 7; i++) {
        h_get("/sold/nothing", key);
    }
    h_call("POST", "/sold/nothing", key, "{}");
    h_expect_problem(h_get("/sold/nothing", NULL), 401, "unauthenticated");
    H_WAIT(2, counted(key, "", "8"));
    ck_assert_str_eq(total(key, "sold", "?filter%5Bmethod%5D=POST"), "1");
    ck_assert_str_eq(total(key, "sold", "?filter%5Bstatus%5D=404"), "8");
    r = h_get("/v1/usage/events?type=sold.request", key);
    ck_assert_int_le((int)json_array_size(json_object_get(h_json(r), "data")), 8);
}
END_TEST

static char *filled(const char *name, char c, size_t n)
{
    char *text = h_format("%s: %*s", name, (int)n, "");
    memset(strchr(text, ' ') + 1, c, n);
    return text;
}

static int sum_is(const char *key, const char *value)
{
    const char *text = total(key, "long", "");
    return text && strcmp(text, value) == 0;
}

/* However long the texts beside it are, the quantity is kept: properties are cut, and that is counted. */
START_TEST(a_quantity_is_kept_whatever_stands_beside_it)
{
    const char *key = fresh_key();
    const h_response_t *r;

    make_meter(key, "{\"key\":\"long\",\"name\":\"l\",\"event_type\":\"long.request\",\"aggregation\":\"sum\","
                    "\"value_property\":\"$.value\"}");
    for (int i = 0; i < 3; i++) {
        static const char fills[] = { 'x', '\x80', '\\' };
        const char *headers[] = { "X-Value: 1000.000000000000000001", filled("X-Subject", 'y', 250),
                                  filled("X-A", fills[i], 256), filled("X-B", fills[i], 256),
                                  filled("X-C", fills[i], 256), NULL };
        h_request_t request = { .path = "/long/x", .key = key, .headers = headers };
        h_expect(h_send(&request), 404);
    }
    H_WAIT(3, sum_is(key, "3000.000000000000000003"));
    r = h_get("/v1/usage/events?type=long.request", key);
    ck_assert_ptr_nonnull(strstr(r->body, "\"value\": 1000.000000000000000001"));
    ck_assert_ptr_nonnull(h_json_text(r, "/data/0/data/a"));
    ck_assert_ptr_null(strstr(h_get("/metrics", NULL)->body, "meterplex_usage_cut_total 0\n"));
}
END_TEST

/* Our counters' ids can be read and foretold: nobody else may post under their source and so make them duplicates. */
START_TEST(the_counters_source_is_nobody_elses)
{
    const char *key = fresh_key(), *source, *id;
    const h_response_t *r;

    make_meter(key, "{\"key\":\"sold\",\"name\":\"s\",\"event_type\":\"sold.request\",\"aggregation\":\"count\"}");
    h_expect(h_get("/sold/x", key), 404);
    H_WAIT(2, counted(key, "", "1"));
    r = h_get("/v1/usage/events?type=sold.request", key);
    source = h_json_text(r, "/data/0/source");
    id = h_json_text(r, "/data/0/id");
    ck_assert_int_eq(strncmp(source, "urn:meterplex:node:", 19), 0);
    r = h_post("/v1/usage/events", key, h_format("{\"id\":\"%s9\",\"source\":\"%s\",\"type\":\"x\"}", id, source));
    h_expect_problem(r, 422, "validation_failed");
    h_expect_json(r, "/errors/0/pointer", "/source");
    h_expect_json(r, "/errors/0/code", "reserved");
    r = h_post("/v1/usage/events", key, "{\"id\":\"1\",\"source\":\"URN:Meterplex:node:1\",\"type\":\"x\"}");
    h_expect_problem(r, 422, "validation_failed");
}
END_TEST

/* A sender whose clock is ahead of ours is asked for nothing special. */
START_TEST(what_was_acknowledged_is_in_the_answer)
{
    const char *key = fresh_key();
    time_t ahead = time(NULL) + 3600;
    struct tm parts;
    char text[40];

    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&ahead, &parts));
    make_meter(key, "{\"key\":\"a\",\"name\":\"a\",\"event_type\":\"t\",\"aggregation\":\"count\"}");
    expect_ingest(
        h_post("/v1/usage/events", key, h_format("{\"id\":\"1\",\"source\":\"s\",\"type\":\"t\",\"time\":\"%s\"}", text)), 1,
        0);
    ck_assert_str_eq(total(key, "a", ""), "1");
    ck_assert_str_eq(total(key, "a", "?window=hour"), "1");
    ck_assert_str_eq(total(key, "a", "?from=2020-01-01T00:00:00Z"), "1");
    ck_assert_str_eq(total(key, "a", h_format("?to=%s", text)), "0");
}
END_TEST

START_TEST(groups_are_named_by_value)
{
    const char *key = fresh_key();
    const h_response_t *r;

    expect_ingest(h_post("/v1/usage/events", key,
                         "[{\"id\":\"1\",\"source\":\"s\",\"type\":\"t\",\"data\":{\"m\":5}},{\"id\":\"2\",\"source\":\"s\","
                         "\"type\":\"t\",\"data\":{\"m\":5.0}},"
                         "{\"id\":\"3\",\"source\":\"s\",\"type\":\"t\",\"data\":{\"m\":\"a,b\"}},{\"id\":\"4\",\"source\":"
                         "\"s\",\"type\":\"t\",\"data\":{\"m\":\"a\"}},"
                         "{\"id\":\"5\",\"source\":\"s\",\"type\":\"t\",\"data\":{\"m\":\"\"}}]"),
                  5, 0);
    make_meter(key,
               "{\"key\":\"g\",\"name\":\"g\",\"event_type\":\"t\",\"aggregation\":\"count\",\"group_by\":{\"m\":\"$.m\"}}");
    r = h_get("/v1/meters/g/usage?group_by=m", key);
    h_expect_json(r, "/data/1/group/m", "5");
    h_expect_json(r, "/data/1/value", "2");
    ck_assert_str_eq(total(key, "g", "?filter%5Bm%5D=5"), "2");
    ck_assert_str_eq(total(key, "g", "?filter%5Bm%5D=a%5C,b"), "1");
    ck_assert_str_eq(total(key, "g", "?filter%5Bm%5D=a%5C,b,a"), "2");
    ck_assert_str_eq(total(key, "g", "?filter%5Bm%5D=a,b"), "1");
    ck_assert_str_eq(total(key, "g", "?filter%5Bm%5D="), "1");
    h_expect_problem(h_get("/v1/meters/g/usage?timezone=localtime", key), 400, "bad_request");
    h_expect_problem(h_get("/v1/meters/g/usage?timezone=posix/Europe/Berlin", key), 400, "bad_request");
}
END_TEST

/* The same bytes have the same entity tag, other bytes another; a change of the version is what If-Match asks for. */
START_TEST(entity_tags_tell_representations_apart)
{
    const char *key = fresh_key(), *tag, *headers[2] = { NULL, NULL };
    h_request_t request = { .path = "/v1/meters/e", .key = key, .headers = headers };

    make_meter(key,
               "{\"key\":\"e\",\"name\":\"e\",\"event_type\":\"t\",\"aggregation\":\"sum\",\"value_property\":\"$.v\"}");
    tag = h_header(h_get("/v1/meters/e", key), "etag");
    ck_assert_str_eq(h_header(h_get("/v1/meters/e", key), "etag"), tag);
    headers[0] = h_format("If-None-Match: %s", tag);
    h_expect(h_send(&request), 304);
    expect_ingest(
        h_post("/v1/usage/events", key, "{\"id\":\"1\",\"source\":\"s\",\"type\":\"t\",\"data\":{\"v\":\"junk\"}}"), 1, 0);
    h_expect(h_send(&request), 200); /* status.invalid has moved */
    request.method = "PATCH";
    request.body = "{\"name\":\"f\"}";
    headers[0] = h_format("If-Match: %s", tag);
    h_expect(h_send(&request), 200); /* the meter has not */
    h_expect_problem(h_send(&request), 412, "precondition_failed");
}
END_TEST

static void refused_as_too_large(const char *key, const char *meter, const char *query)
{
    const h_response_t *r = h_get(h_format("/v1/meters/%s/usage?%s", meter, query), key);

    h_expect_problem(r, 422, "validation_failed");
    ck_assert_ptr_nonnull(strstr(h_json_text(r, "/detail"), "larger than 16 MiB"));
}

/* Long texts in many windows, dimensions or groups: an answer is made in memory, whose it is does not decide how much. */
START_TEST(an_answer_has_an_end)
{
    const char *key = fresh_key(), *day = "from=2026-05-01T00:00:00Z&to=2026-05-02T00:00:00Z";
    char *text = calloc(1, 60001), *subject = calloc(1, 3 * 2600 + 1), *body = NULL;
    size_t size = 0;

    memset(text, 'x', 60000);
    for (int i = 0; i < 2600; i++) {
        strcat(subject, "%01"); /* six bytes each in JSON */
    }
    make_meter(key, "{\"key\":\"wide\",\"name\":\"w\",\"event_type\":\"t\",\"aggregation\":\"count\",\"group_by\":{"
                    "\"a\":\"$.m\",\"b\":\"$.m\",\"c\":\"$.m\",\"d\":\"$.m\",\"e\":\"$.m\"}}");
    for (int i = 0; i < 6; i++) { /* 50 groups each: within the size of a request */
        FILE *out = open_memstream(&body, &size);

        for (int k = 0; k < 50; k++) {
            fprintf(out, "%s{\"id\":\"%d\",\"source\":\"s\",\"type\":\"t\",\"time\":\"2026-05-01T10:00:00Z\","
                         "\"data\":{\"m\":\"%d %s\"}}",
                    k ? "," : "[", 50 * i + k, 50 * i + k, text);
        }
        fputc(']', out);
        fclose(out);
        expect_ingest(post_as(key, NULL, NULL, body, "?backfill=true"), 50, 0);
        free(body);
    }
    refused_as_too_large(key, "wide", "group_by=a"); /* 300 groups of 60,000 bytes */
    h_expect_json(h_get("/v1/meters/wide/usage", key), "/data/0/value", "300");
    /* none of these groups has a value; the last one, which has, must not be missing without a word */
    make_meter(key, "{\"key\":\"late\",\"name\":\"l\",\"event_type\":\"t\",\"aggregation\":\"sum\","
                    "\"value_property\":\"$.v\","
                    "\"group_by\":{\"a\":\"$.m\"}}");
    expect_ingest(post_as(key, NULL, NULL,
                          "{\"id\":\"v\",\"source\":\"s\",\"type\":\"t\",\"data\":{\"m\":\"zzz\",\"v\":5}}", ""),
                  1, 0);
    refused_as_too_large(key, "late", "group_by=a");
    h_expect_json(h_get("/v1/meters/late/usage?group_by=a&filter[a]=zzz", key), "/data/0/value", "5");
    h_sql("DELETE FROM usage.events WHERE external_id = 'v'");
    refused_as_too_large(key, "wide", h_format("window=minute&fill=zero&subject=%s&%s", subject, day));
    h_sql("DELETE FROM usage.events WHERE data ? 'm' AND external_id <> '1'");
    h_expect(h_get(h_format("/v1/meters/wide/usage?window=hour&fill=zero&group_by=a,b&%s", day), key), 200);
    refused_as_too_large(key, "wide", h_format("window=minute&fill=zero&group_by=a&%s", day));
    refused_as_too_large(key, "wide", "window=hour&fill=zero&group_by=a,b,c,d,e,subject&"
                                      "from=2026-05-01T00:00:00Z&to=2026-05-04T00:00:00Z");
    ck_assert(!h_httpd_logged(h_main_httpd, "Memory allocation failed"));
    free(text);
    free(subject);
}
END_TEST

/* Numbers of four bytes that are kept as 38 digits: a page of such events ends early, and the list goes on. */
START_TEST(a_page_has_an_end)
{
    const char *key = fresh_key(), *cursor = "";
    char *body = NULL;
    size_t size = 0;
    int seen = 0, pages = 0;

    for (int i = 0; i < 2; i++) {
        FILE *out = open_memstream(&body, &size);

        for (int k = 0; k < 10; k++) {
            fprintf(out, "%s{\"id\":\"%d\",\"source\":\"s\",\"type\":\"t\",\"data\":{\"a\":[1", k ? "," : "[", 10 * i + k);
            for (int n = 0; n < 13000; n++) {
                fputs(",1e37", out);
            }
            fputs("]}}", out);
        }
        fputc(']', out);
        fclose(out);
        expect_ingest(post_as(key, NULL, NULL, body, ""), 10, 0);
        free(body);
    }
    do { /* read as text: no reader of JSON here takes such integers */
        const h_response_t *r = h_get(h_format("/v1/usage/events?limit=200%s", cursor), key);
        const char *next = strstr(r->body, "\"next_cursor\":\"");

        h_expect(r, 200);
        ck_assert_msg(r->body_len < 5 * 1024 * 1024, "%zu bytes", r->body_len);
        for (const char *at = r->body; (at = strstr(at, "\"event_id\"")) != NULL; at++) {
            seen++;
        }
        next = next ? next + strlen("\"next_cursor\":\"") : NULL;
        cursor = next ? h_format("&cursor=%.*s", (int)strcspn(next, "\""), next) : NULL;
        pages++;
    } while (cursor && pages < 20);
    ck_assert_int_eq(seen, 20);
    ck_assert_int_ge(pages, 2);
}
END_TEST

START_TEST(a_meters_parts_have_their_lengths)
{
    const char *key = fresh_key();
    const char *form = "{\"key\":\"m\",\"name\":\"n\",\"event_type\":\"t\",\"aggregation\":\"count\",%s}";
    char path[300] = "$.";
    char *values = calloc(1, 100 * 710), *at = values;

    memset(path + 2, 'x', 255);
    h_expect_json(h_post("/v1/meters", key, h_format(form, h_format("\"group_by\":{\"a\":\"%s\"}", path))),
                  "/errors/0/pointer", "/group_by/a");
    h_expect_json(h_post("/v1/meters", key, h_format(form, h_format("\"filters\":{\"%s\":[\"a\"]}", path))),
                  "/errors/0/pointer", "/filters");
    for (int i = 0; i < 100; i++) {
        at += sprintf(at, "%s\"%0700d\"", i ? "," : "", i);
    }
    h_expect_json(h_post("/v1/meters", key, h_format(form, h_format("\"filters\":{\"f\":[%s]}", values))),
                  "/errors/0/pointer", "/filters");
    free(values);
    path[256] = '\0';
    h_expect(h_post("/v1/meters", key, h_format(form, h_format("\"group_by\":{\"a\":\"%s\"}", path))), 201);
}
END_TEST

static long rows_read(void)
{
    return atol(h_sql("SELECT coalesce(sum(seq_tup_read + coalesce(idx_tup_fetch, 0)), 0) FROM pg_stat_user_tables WHERE "
                      "relname = 'meters'"));
}

/* Meters of ten thousand others, of the same keys: a request for one's own reads none of them. */
START_TEST(the_meters_of_others_are_not_read)
{
    const char *key = fresh_key();
    long before;

    h_sql("WITH t AS (INSERT INTO identity.tenants (id, slug, name) SELECT gen_random_uuid(), 'many-' || n, 'm' FROM "
          "generate_series(1, 2500) AS n RETURNING id) INSERT INTO usage.meters (tenant_id, id, key, name, event_type, "
          "aggregation) SELECT t.id, gen_random_uuid(), k, 'm', 't', 'count' FROM t, unnest('{a,b,c,d}'::text[]) AS k");
    h_sql("VACUUM ANALYZE usage.meters");
    make_meter(key, "{\"key\":\"b\",\"name\":\"n\",\"event_type\":\"t\",\"aggregation\":\"count\"}");
    before = rows_read();
    for (int i = 0; i < 50; i++) {
        h_expect(h_get("/v1/meters", key), 200);
        h_expect(h_get("/v1/meters/b", key), 200);
        h_expect(h_get("/v1/meters/b/usage", key), 200);
        make_meter(key, h_format("{\"key\":\"b%d\",\"name\":\"n\",\"event_type\":\"t\","
                                 "\"aggregation\":\"count\"}",
                                 i));
    }
    H_WAIT(15, rows_read() - before > 50); /* sessions report what they did when they rest, once a second at the most */
    for (long long end = h_now_ms() + 2000; h_now_ms() < end;) {
        h_pause();
    }
    ck_assert_msg(rows_read() - before < 20000, "%ld rows were read", rows_read() - before);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("usage");
    TCase *tcase = tcase_create("usage");

    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, an_event_in_the_header_is_not_another_ones_repetition);
    tcase_add_test(tcase, five_forms_count_alike);
    tcase_add_test(tcase, a_binary_event_needs_its_fields);
    tcase_add_test(tcase, a_batch_is_stored_whole_or_not_at_all);
    tcase_add_test(tcase, aggregations_are_exact);
    tcase_add_test(tcase, groups_filters_and_subjects);
    tcase_add_test(tcase, days_are_the_calendars);
    tcase_add_test(tcase, an_average_is_rounded_once);
    tcase_add_test(tcase, an_empty_range_has_no_windows);
    tcase_add_test(tcase, windows_tile_the_range);
    tcase_add_test(tcase, filled_series_are_whole);
    tcase_add_test(tcase, platform_meters_are_in_every_tenant);
    tcase_add_test(tcase, finished_requests_are_counted_within_two_seconds);
    tcase_add_test(tcase, a_quantity_is_kept_whatever_stands_beside_it);
    tcase_add_test(tcase, the_counters_source_is_nobody_elses);
    tcase_add_test(tcase, what_was_acknowledged_is_in_the_answer);
    tcase_add_test(tcase, groups_are_named_by_value);
    tcase_add_test(tcase, entity_tags_tell_representations_apart);
    tcase_add_test(tcase, an_answer_has_an_end);
    tcase_add_test(tcase, a_page_has_an_end);
    tcase_add_test(tcase, a_meters_parts_have_their_lengths);
    tcase_add_test(tcase, the_meters_of_others_are_not_read);
    suite_add_tcase(suite, tcase);
    return h_run(suite, up);
}
