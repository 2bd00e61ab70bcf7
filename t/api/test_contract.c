/* The conventions that hold on every route: bodies, methods, ids, cursors, entity tags, Idempotency-Key. */
#include "harness.h"

#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void up(void)
{
    h_up("MeterplexProblem On\nProtocols h2c http/1.1\nRequestReadTimeout header=1 body=1\n");
}

static const char *unique(const char *what)
{
    static int n;
    return h_format("%s-%d-%d", what, (int)getpid(), n++);
}

static const h_response_t *send_full(const char *method, const char *path, const char *key, const char *header,
                                     const char *type, const char *body, size_t len)
{
    const char *headers[] = { header, NULL };
    h_request_t request = { .method = method,
                            .path = path,
                            .key = key,
                            .headers = header ? headers : NULL,
                            .body = body,
                            .body_len = len,
                            .type = type };
    return h_send(&request);
}

static const h_response_t *post_tenant(const char *body)
{
    return h_post("/v1/tenants", h_admin_key(), body);
}

START_TEST(all_bad_fields_are_named_at_once)
{
    const h_response_t *r = post_tenant("{\"nam\":1,\"slug\":\"-x\",\"metadata\":[]}");

    h_expect_problem(r, 422, "validation_failed");
    ck_assert_int_eq((int)json_array_size(json_object_get(h_json(r), "errors")), 4);
    h_expect_json(r, "/errors/0/pointer", "/nam");
    h_expect_json(r, "/errors/0/code", "unknown_field");
    h_expect_json(r, "/errors/1/pointer", "/slug");
    h_expect_json(r, "/errors/2/pointer", "/metadata");
    h_expect_json(r, "/errors/3/pointer", "/name");
}
END_TEST

/* The members of a map, too, by their names and by what they say. */
START_TEST(all_bad_members_are_named_at_once)
{
    const char *key = h_key(h_tenant(unique("members")), "meters:write", NULL, NULL);
    const h_response_t *r = h_post("/v1/meters", key,
                                   "{\"key\":\"m\",\"name\":\"m\",\"event_type\":\"t\",\"aggregation\":\"count\","
                                   "\"group_by\":{\"bad name\":\"$.x\",\"ok\":\"no path\"}}");

    h_expect_problem(r, 422, "validation_failed");
    h_expect_json(r, "/errors/0/pointer", "/group_by/bad name");
    h_expect_json(r, "/errors/1/pointer", "/group_by/ok");
    h_expect_json(r, "/errors/2", NULL);
    r = post_tenant("{\"name\":\"n\",\"slug\":\"ten_01jzzzzzzze4x9x5j4s8q4vkz3\"}");
    h_expect_problem(r, 422, "validation_failed");
    h_expect_json(r, "/errors/0/code", "reserved");
}
END_TEST

START_TEST(bad_json_is_refused)
{
    static const char *const bodies[] = {
        "{",
        "{\"name\":\"a\",\"name\":\"b\",\"slug\":\"s\"}",
        "{\"name\":\"\\ud800\",\"slug\":\"s\"}",
        "{\"name\":\"\\u0000\",\"slug\":\"s\"}",
        "{\"name\":\"\xff\",\"slug\":\"s\"}",
        "{\"name\":01,\"slug\":\"s\"}",
        "\xef\xbb\xbf{}",
        "{} {}",
        "{\"name\":\"a\nb\"}",
        "nul",
        "'a'",
        "{\"a\":1,}",
    };
    char deep[200] = "{\"metadata\":";

    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        h_expect_problem(post_tenant(bodies[i]), 400, "bad_json");
    }
    memset(deep + 12, '[', 32);
    memset(deep + 44, ']', 32);
    strcpy(deep + 76, "}");
    h_expect_problem(post_tenant(deep), 400, "bad_json");
    h_expect_problem(send_full("POST", "/v1/tenants", h_admin_key(), NULL, "application/json", "{}\0", 3), 400, "bad_json");
    h_expect_problem(post_tenant("[]"), 422, "validation_failed");
}
END_TEST

/* What a reader must refuse and must take, by the rules of RFC 8259 and ours, each sent over HTTP: a refusal is
 * bad_json, what is JSON is judged by its fields. The unit tests hold hundreds more of them. */
/* RFC 8259, and no member twice. */
static const char *const malformed_json[] = {
    "",
    " ",
    "[",
    "]",
    "[1",
    "[1,]",
    "[,1]",
    "[1,,2]",
    "[1 2]",
    "[\"a\"",
    "{\"a\"}",
    "{\"a\":}",
    "{:1}",
    "{1:1}",
    "{a:1}",
    "{'a':1}",
    "{\"a\":1,}",
    "{,\"a\":1}",
    "{\"a\":1 \"b\":2}",
    "{\"a\"::1}",
    "[+1]",
    "[-]",
    "[- 1]",
    "[.5]",
    "[5.]",
    "[1.e1]",
    "[01]",
    "[-01]",
    "[1e]",
    "[1e+]",
    "[1E-]",
    "[0x10]",
    "[1_000]",
    "[NaN]",
    "[Infinity]",
    "[-Infinity]",
    "[True]",
    "[nul]",
    "[nullx]",
    "[tru]",
    "[\"\\x41\"]",
    "[\"\\u12\"]",
    "[\"\\u12g4\"]",
    "[\"\\\"]",
    "[\"\t\"]",
    "[\"\n\"]",
    "[\"\x7f\xff\"]",
    "[\"\\ud800\"]",
    "[\"\\udc00\"]",
    "[\"\\ud800\\ud800\"]",
    "[\"\\ud800x\"]",
    "[\"\\u0000\"]",
    "[\"\xc0\x80\"]",
    "[\"\xed\xa0\x80\"]",
    "[\"\xf4\x90\x80\x80\"]",
    "[\"\xe2\x82\"]",
    "[\"\x80\"]",
    "\xef\xbb\xbf[]",
    "\xff\xfe[\0]\0",
    "[1]x",
    "[1][2]",
    "{}/**/",
    "// x\n{}",
    "[1]\x0c",
    "\x0b[]",
    "\xc2\xa0[]",
    "{\"a\":1,\"a\":1}",
    "{\"a\":1,\"\\u0061\":2}",
    "{\"x\":{\"b\":1,\"b\":2}}",
};

/* JSON, if no tenant. */
static const char *const wellformed_json[] = {
    "{}",
    " {} ",
    "\r\n\t{}",
    "[]",
    "[[]]",
    "null",
    "true",
    "1",
    "-0",
    "-0.0",
    "1E+2",
    "0e1",
    "\"\"",
    "\"\\u00e9\"",
    "\"\\ud83d\\ude00\"",
    "\"\xf0\x9f\x98\x80\"",
    "\"\\/\"",
    "\"\x7f\"",
    "{\"\":1}",
    "{\"a\":{\"a\":{\"a\":1}}}",
    "[1,\n2]",
    "[123456789012345678901234567890]",
};

START_TEST(json_over_http_is_read_strictly)
{
    for (size_t i = 0; i < sizeof malformed_json / sizeof *malformed_json; i++) {
        const h_response_t *r = send_full("POST", "/v1/tenants", h_admin_key(), NULL, "application/json", malformed_json[i],
                                          0);
        ck_assert_msg(r->status == 400 && !strcmp(h_json_text(r, "/code"), "bad_json"), "%s: %d %s", malformed_json[i],
                      r->status, r->body);
    }
    for (size_t i = 0; i < sizeof wellformed_json / sizeof *wellformed_json; i++) {
        const h_response_t *r = send_full("POST", "/v1/tenants", h_admin_key(), NULL, "application/json",
                                          wellformed_json[i], 0);
        ck_assert_msg(r->status == 422 && !strcmp(h_json_text(r, "/code"), "validation_failed"), "%s: %d %s",
                      wellformed_json[i], r->status, r->body);
    }
}
END_TEST

static char *letters(size_t n)
{
    char *text = malloc(n + 1);
    memset(text, 'a', n);
    text[n] = '\0';
    return text;
}

/* One past the length that each field allows, and the field is named; at the length it is not. */
START_TEST(over_long_fields_are_named)
{
    static const struct {
        const char *path, *body; /* %s: the long text */
        size_t most;
        const char *pointer;
    } fields[] = {
        { "/v1/tenants", "{\"slug\":\"-\",\"name\":\"%s\"}", 200, "/name" },
        { "/v1/tenants", "{\"name\":\"\",\"slug\":\"%s\"}", 63, "/slug" },
        { "KEYS", "{\"scopes\":1,\"name\":\"%s\"}", 200, "/name" },
        { "KEYS", "{\"name\":\"\",\"scopes\":[\"%s:b\"]}", 62, "/scopes/0" },
        { "KEYS", "{\"name\":\"\",\"scopes\":[],\"metadata\":{\"a\":\"%s\"}}", 16384 - 8, "/metadata" },
        { "/v1/keys/verify", "{\"cost\":-1,\"key\":\"%s\"}", 256, "/key" },
        { "/v1/meters", "{\"aggregation\":\"\",\"key\":\"%s\"}", 63, "/key" },
        { "/v1/meters", "{\"aggregation\":\"\",\"name\":\"%s\"}", 200, "/name" },
        { "/v1/meters", "{\"aggregation\":\"\",\"event_type\":\"%s\"}", 128, "/event_type" },
        { "/v1/meters", "{\"aggregation\":\"\",\"value_property\":\"$.%s\"}", 254, "/value_property" },
        { "/v1/meters", "{\"aggregation\":\"\",\"unit\":\"%s\"}", 64, "/unit" },
        { "/v1/usage/events", "{\"source\":\"\",\"type\":\"t\",\"id\":\"%s\"}", 256, "/id" },
        { "/v1/usage/events", "{\"id\":\"\",\"type\":\"t\",\"source\":\"%s\"}", 256, "/source" },
        { "/v1/usage/events", "{\"id\":\"\",\"source\":\"s\",\"type\":\"%s\"}", 128, "/type" },
        { "/v1/usage/events", "{\"id\":\"\",\"source\":\"s\",\"type\":\"t\",\"subject\":\"%s\"}", 256, "/subject" },
        { "/v1/usage/events", "{\"id\":\"\",\"source\":\"s\",\"type\":\"t\",\"data\":{\"a\":\"%s\"}}", 65536 - 8, "/data" },
    };
    const char *keys = h_format("/v1/tenants/%s/api-keys", h_tenant(unique("long")));

    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        const char *path = strcmp(fields[i].path, "KEYS") ? fields[i].path : keys;
        for (int past = 0; past < 2; past++) {
            const char *before = strstr(fields[i].body, "%s");
            const char *body = h_format("%.*s%s%s", (int)(before - fields[i].body), fields[i].body,
                                        letters(fields[i].most + (size_t)past), before + 2);
            const h_response_t *r = h_post(path, h_admin_key(), body);
            int named = strstr(r->body, h_format("\"pointer\":\"%s\"", fields[i].pointer)) != NULL;

            h_expect_problem(r, 422, "validation_failed"); /* another field is wrong on purpose: nothing is stored */
            ck_assert_msg(named == past, "%s %s of %d bytes: %s", path, fields[i].pointer, (int)fields[i].most + past,
                          r->body);
        }
    }
}
END_TEST

/* As the OpenAPI document's maxLength counts: in characters. */
START_TEST(lengths_are_of_characters)
{
    char name[3 * 201 + 1] = "";

    for (int i = 0; i < 200; i++) {
        strcat(name, "\xe2\x82\xac"); /* a euro sign */
    }
    h_expect(h_post("/v1/tenants", h_admin_key(), h_format("{\"name\":\"%s\",\"slug\":\"%s\"}", name, unique("euro"))), 201);
    strcat(name, "\xe2\x82\xac");
    h_expect_problem(h_post("/v1/tenants", h_admin_key(),
                            h_format("{\"name\":\"%s\",\"slug\":\"%s\"}", name, unique("euros"))),
                     422, "validation_failed");
}
END_TEST

/* What jsonb would blow up: one past the range is refused by its pointer, before the database sees it. */
START_TEST(numbers_in_metadata_have_the_range_of_numeric)
{
    static const char *const numbers[] = { "1e131000", "0e-16383", "1e38", "-1e-19", "0e999999999999" };

    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        const h_response_t *r =
            post_tenant(h_format("{\"name\":\"a\",\"slug\":\"numbers\",\"metadata\":{\"a\":[1,%s]}}", numbers[i]));
        h_expect_problem(r, 422, "validation_failed");
        h_expect_json(r, "/errors/0/pointer", "/metadata/a/1");
        h_expect_json(r, "/errors/0/code", "range");
    }
    ck_assert(!h_httpd_logged(h_main_httpd, "SQLSTATE 22003"));
}
END_TEST

/* A client that stops in the middle of its header, or of its body, is told so and let go. */
START_TEST(slow_clients_are_let_go)
{
    const char *half = "GET /v1/auth/me HTTP/1.1\r\nHost: a\r\nX-Half: ";
    const char *body =
        h_format("POST /v1/tenants HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\n"
                 "Content-Length: 100\r\n\r\n{",
                 h_admin_key());
    const char *answer;

    answer = h_raw(NULL, half, strlen(half), 8);
    ck_assert_msg(strncmp(answer, "HTTP/1.1 408 ", 13) == 0, "%s", answer);
    ck_assert_ptr_nonnull(strstr(answer, "application/problem+json"));
    answer = h_raw(NULL, body, strlen(body), 8);
    ck_assert_msg(strncmp(answer, "HTTP/1.1 408 ", 13) == 0 || strncmp(answer, "HTTP/1.1 400 ", 13) == 0, "%s", answer);
    ck_assert_ptr_nonnull(strstr(answer, "application/problem+json"));
    ck_assert_msg(strstr(answer, "close\r\n") != NULL, "%s", answer);
}
END_TEST

START_TEST(http2_is_answered_alike)
{
    h_request_t request = { .path = "/v1/tenants?limit=1", .key = h_admin_key(), .http2 = 1 };

    h_expect(h_send(&request), 200);
    request.path = "/v1/nothing";
    h_expect_problem(h_send(&request), 404, "not_found");
    request.path = "/v1/tenants";
    request.body = "{";
    h_expect_problem(h_send(&request), 400, "bad_json");
    request.body = h_format("{\"name\":\"two\",\"slug\":\"%s\"}", unique("h2"));
    h_expect(h_send(&request), 201);
}
END_TEST

START_TEST(media_types_and_sizes_are_checked)
{
    size_t size = 1024 * 1024 + 1;
    char *big = malloc(size + 1);

    h_expect_problem(send_full("POST", "/v1/tenants", h_admin_key(), NULL, "text/plain", "{}", 0), 415,
                     "unsupported_media_type");
    h_expect_problem(send_full("POST", "/v1/tenants", h_admin_key(), "Content-Encoding: gzip", NULL, "{}", 0), 415,
                     "unsupported_media_type");
    h_expect_problem(send_full("POST", "/v1/tenants", h_admin_key(), NULL, "application/json; charset=latin1", "{}", 0), 415,
                     "unsupported_media_type");
    memset(big, ' ', size);
    big[size] = '\0';
    h_expect_problem(send_full("POST", "/v1/tenants", h_admin_key(), NULL, NULL, big, size), 413, "payload_too_large");
    free(big);
}
END_TEST

START_TEST(methods_are_answered)
{
    const h_response_t *r = h_call("PUT", "/v1/tenants", h_admin_key(), "{}");

    h_expect_problem(r, 405, "method_not_allowed");
    ck_assert_ptr_nonnull(strstr(h_header(r, "allow"), "POST"));
    ck_assert_ptr_nonnull(strstr(h_header(r, "allow"), "HEAD"));
    r = h_call("OPTIONS", "/v1/tenants", NULL, NULL);
    h_expect(r, 204);
    h_expect_header(r, "cache-control", "no-store");
    ck_assert_ptr_nonnull(strstr(h_header(r, "allow"), "GET"));
    r = h_call("HEAD", "/v1/tenants", h_admin_key(), NULL);
    h_expect(r, 200);
    ck_assert_int_eq((int)r->body_len, 0);
    ck_assert_int_gt(atoi(h_header(r, "content-length")), 2);
    r = h_call("TRACE", "/v1/tenants", h_admin_key(), NULL);
    h_expect_problem(r, 405, "method_not_allowed");
    ck_assert_ptr_nonnull(strstr(h_header(r, "allow"), "POST"));
    h_expect_problem(h_get("/v1/nothing", NULL), 404, "not_found");
    h_expect_problem(h_get("/v1/tenants/", h_admin_key()), 404, "not_found");
    h_expect_problem(h_get("/v1/meters/%ff", h_admin_key()), 400, "bad_request");
}
END_TEST

START_TEST(request_ids_are_taken_or_made)
{
    const h_response_t *r = send_full("GET", "/v1/nothing", NULL, "X-Request-Id: my-id.0042", NULL, NULL, 0);

    h_expect_header(r, "x-request-id", "my-id.0042");
    h_expect_json(r, "/request_id", "my-id.0042");
    r = send_full("GET", "/health/live", NULL, "X-Request-Id: bad id", NULL, NULL, 0);
    ck_assert_int_eq(strncmp(h_header(r, "x-request-id"), "req_", 4), 0);
    r = h_get("/no-such-file", NULL);
    h_expect_problem(r, 404, "not_found");
}
END_TEST

START_TEST(query_strings_are_checked)
{
    const char *tenant, *id, *key;

    h_expect_problem(h_get("/v1/tenants?limit=0", h_admin_key()), 400, "bad_request");
    h_expect_problem(h_get("/v1/tenants?limit=201", h_admin_key()), 400, "bad_request");
    h_expect_problem(h_get("/v1/tenants?limit=1&limit=2", h_admin_key()), 400, "bad_request");
    h_expect_problem(h_get("/v1/tenants?x=%zz", h_admin_key()), 400, "bad_request");
    h_expect_problem(h_get("/v1/tenants?x=%00", h_admin_key()), 400, "bad_request");
    h_expect_problem(h_get("/v1/tenants?colour=red", h_admin_key()), 400, "bad_request");
    h_expect_problem(h_get("/v1/tenants?cursor=AAAA", h_admin_key()), 400, "bad_cursor");

    /* on every route, and before anything is done */
    tenant = h_tenant(unique("query"));
    h_key(tenant, "a:b", NULL, &id);
    key = h_format("/v1/tenants/%s/api-keys/%s", tenant, id);
    h_expect_problem(h_call("DELETE", h_format("/v1/tenants/%s?dry_run=1", tenant), h_admin_key(), NULL), 400,
                     "bad_request");
    h_expect_problem(h_call("DELETE", h_format("%s?x=", key), h_admin_key(), NULL), 400, "bad_request");
    h_expect_problem(h_post(h_format("%s/rotate?grace_seconds=3600", key), h_admin_key(), "{}"), 400, "bad_request");
    h_expect_problem(h_get(h_format("%s?fields=name", key), h_admin_key()), 400, "bad_request");
    h_expect(h_get(key, h_admin_key()), 200);
    h_expect(h_get("/health/live?probe=7", NULL), 200); /* a prober may say what it likes */
}
END_TEST

START_TEST(pages_are_stable_and_cursors_cannot_be_altered)
{
    const char *tenant = h_tenant(unique("pages")), *path = h_format("/v1/tenants/%s/api-keys", tenant), *cursor, *first;
    const h_response_t *r;
    char *altered;

    for (int i = 0; i < 5; i++) {
        h_key(tenant, "a:b", NULL, NULL);
    }
    r = h_get(h_format("%s?limit=2", path), h_admin_key());
    h_expect(r, 200);
    first = h_json_text(r, "/data/1/id");
    cursor = h_json_text(r, "/next_cursor");
    h_key(tenant, "a:b", NULL, NULL); /* a newer one does not shift the pages */
    r = h_get(h_format("%s?limit=2&cursor=%s", path, cursor), h_admin_key());
    h_expect(r, 200);
    ck_assert_int_gt(strcmp(first, h_json_text(r, "/data/0/id")), 0);
    r = h_get(h_format("%s?limit=2&cursor=%s", path, h_json_text(r, "/next_cursor")), h_admin_key());
    ck_assert_int_eq((int)json_array_size(json_object_get(h_json(r), "data")), 1);
    h_expect_json(r, "/next_cursor", "null");

    altered = strdup(cursor);
    altered[10] = altered[10] == 'A' ? 'B' : 'A';
    h_expect_problem(h_get(h_format("%s?cursor=%s", path, altered), h_admin_key()), 400, "bad_cursor");
    h_expect_problem(h_get(h_format("/v1/tenants?cursor=%s", cursor), h_admin_key()), 400, "bad_cursor");
    free(altered);
}
END_TEST

START_TEST(an_idempotency_key_is_executed_once)
{
    const char *slug = unique("idem"), *header = h_format("Idempotency-Key: %s", slug);
    const char *body = h_format("{\"name\":\"A\",\"slug\":\"%s\"}", slug), *id, *other;
    const h_response_t *r = send_full("POST", "/v1/tenants", h_admin_key(), header, NULL, body, 0);

    h_expect(r, 201);
    id = h_json_text(r, "/id");
    ck_assert_ptr_null(h_header(r, "idempotent-replayed"));
    r = send_full("POST", "/v1/tenants", h_admin_key(), header, NULL, body, 0);
    h_expect(r, 201);
    h_expect_header(r, "idempotent-replayed", "true");
    h_expect_json(r, "/id", id);
    ck_assert_ptr_nonnull(h_header(r, "location"));
    r = send_full("POST", "/v1/tenants", h_admin_key(), header, NULL, "{\"name\":\"B\",\"slug\":\"other\"}", 0);
    h_expect_problem(r, 422, "idempotency_mismatch");
    /* it would stand in the database */
    other = h_format("Idempotency-Key: %s", h_admin_key());
    h_expect_problem(send_full("POST", "/v1/tenants", h_admin_key(), other, NULL, body, 0), 400, "bad_request");
    h_expect_problem(send_full("POST", "/v1/tenants", h_admin_key(), "Idempotency-Key: a b", NULL, body, 0), 400,
                     "bad_request");

    /* bound to the path and to the tenant that is acted in */
    h_expect_problem(send_full("POST", "/v1/meters", h_admin_key(), header, NULL, body, 0), 422, "idempotency_mismatch");
    other = h_tenant(unique("other"));
    h_expect_problem(send_full("POST", h_format("/v1/tenants/%s/api-keys", other), h_admin_key(), header, NULL, body, 0),
                     422, "idempotency_mismatch");
    /* another principal's key of the same name is another */
    r = send_full("POST", h_format("/v1/tenants/%s/api-keys", other), h_key(other, "api_keys:write", NULL, NULL), header,
                  NULL, "{\"name\":\"k\",\"scopes\":[]}", 0);
    h_expect(r, 201);

    /* a refusal is remembered, too: the same key still says what it said */
    header = h_format("Idempotency-Key: %s", unique("refused"));
    h_expect_problem(send_full("POST", "/v1/tenants", h_admin_key(), header, NULL, body, 0), 409, "conflict");
    r = send_full("POST", "/v1/tenants", h_admin_key(), header, NULL, body, 0);
    h_expect(r, 409);
    h_expect_header(r, "idempotent-replayed", "true");
}
END_TEST

/* Who may what can change, and then the same request is another. */
START_TEST(a_lack_of_rights_is_not_remembered)
{
    static const char event[] = "{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"s\",\"type\":\"t\","
                                "\"time\":\"2020-01-01T00:00:00Z\"}";
    const char *header = h_format("Idempotency-Key: %s", unique("rights")), *tenant = h_tenant(unique("rights")), *id,
               *key = h_key(tenant, "usage:write", NULL, &id);
    h_request_t request = { .method = "POST",
                            .path = "/v1/usage/events?backfill=true",
                            .key = key,
                            .headers = (const char *[]){ header, NULL },
                            .body = event,
                            .type = "application/cloudevents+json" };

    h_expect_problem(h_send(&request), 403, "insufficient_scope");
    h_expect(h_call("PATCH", h_format("/v1/tenants/%s/api-keys/%s", tenant, id), h_admin_key(),
                    "{\"scopes\":[\"usage:write\",\"usage:backfill\"]}"),
             200);
    h_expect(h_send(&request), 200);
    h_expect_header(h_send(&request), "idempotent-replayed", "true");
}
END_TEST

/* What failed for want of a database is tried anew by the same key. */
START_TEST(a_failure_of_ours_is_not_remembered)
{
    const char *slug = unique("away"), *header = h_format("Idempotency-Key: %s", slug);
    const char *body = h_format("{\"name\":\"A\",\"slug\":\"%s\"}", slug);
    const h_response_t *r;

    h_expect(h_get("/v1/auth/me", h_admin_key()), 200);
    h_pg_stop(H_PG_FAST);
    r = send_full("POST", "/v1/tenants", h_admin_key(), header, NULL, body, 0);
    h_expect_problem(r, 503, "unavailable");
    ck_assert_ptr_nonnull(h_header(r, "retry-after"));
    h_pg_start();
    H_WAIT(10, (r = send_full("POST", "/v1/tenants", h_admin_key(), header, NULL, body, 0))->status != 503);
    h_expect(r, 201);
    ck_assert_ptr_null(h_header(r, "idempotent-replayed"));
}
END_TEST

START_TEST(a_replayed_secret_is_sealed_at_rest)
{
    const char *tenant = h_tenant(unique("sealed")), *path = h_format("/v1/tenants/%s/api-keys", tenant), *secret;
    const char *header = h_format("Idempotency-Key: %s", unique("k"));
    const h_response_t *r = send_full("POST", path, h_admin_key(), header, NULL, "{\"name\":\"k\",\"scopes\":[]}", 0);

    h_expect(r, 201);
    secret = h_json_text(r, "/secret");
    r = send_full("POST", path, h_admin_key(), header, NULL, "{\"name\":\"k\",\"scopes\":[]}", 0);
    h_expect_json(r, "/secret", secret);
    ck_assert_str_eq(h_sql("SELECT count(*) FROM core.idempotency_keys WHERE position('%s'::bytea IN answer) > 0", secret),
                     "0");
}
END_TEST

START_TEST(foreign_resources_are_not_there)
{
    const char *a = h_tenant(unique("own")), *b = h_tenant(unique("foreign")), *id;
    const char *scopes = "tenant:read tenant:write tenant:delete api_keys:read api_keys:write meters:read meters:write";
    const char *key = h_key(a, scopes, NULL, NULL);
    const char *foreign = h_format("/v1/tenants/%s/api-keys", b);

    h_key(b, "a:b", NULL, &id);
    h_expect_problem(h_get(h_format("/v1/tenants/%s", b), key), 404, "not_found");
    h_expect_problem(h_call("PATCH", h_format("/v1/tenants/%s", b), key, "{\"name\":\"x\"}"), 404, "not_found");
    h_expect_problem(h_call("DELETE", h_format("/v1/tenants/%s", b), key, NULL), 404, "not_found");
    h_expect_problem(h_get(foreign, key), 404, "not_found");
    h_expect_problem(h_get(h_format("%s/%s", foreign, id), key), 404, "not_found");
    h_expect_problem(h_get(h_format("/v1/tenants/%s/api-keys/%s", a, id), key), 404, "not_found");
    h_expect_problem(h_call("DELETE", h_format("/v1/tenants/%s/api-keys/%s", a, id), key, NULL), 404, "not_found");
    h_expect_problem(send_full("GET", "/v1/meters", key, h_format("Meterplex-Tenant: %s", b), NULL, NULL, 0), 404,
                     "not_found");
    h_expect(h_get(h_format("/v1/tenants/%s/api-keys/%s", b, id), h_admin_key()), 200);
}
END_TEST

/* Views that show their owner's rows to whoever may read them, and kept copies, which know no tenant. */
static const char *views_past_row_security(void)
{
    return h_sql("SELECT string_agg(c.oid::regclass::text, ' ') FROM pg_class c JOIN pg_namespace n ON n.oid = "
                 "c.relnamespace WHERE n.nspname IN ('core', 'identity', 'usage', 'events', 'audit') AND "
                 "(c.relkind = 'm' OR (c.relkind = 'v' AND NOT 'security_invoker=true' = ANY "
                 "(coalesce(c.reloptions, '{}'))))");
}

/* Tables with a tenant_id that no policy of the tenant's own rows guards. */
static const char *tables_without_a_tenants_policy(void)
{
    return h_sql("SELECT string_agg(c.oid::regclass::text, ' ') FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid "
                 "AND a.attname = 'tenant_id' WHERE c.relkind IN ('r', 'p') AND NOT EXISTS (SELECT 1 FROM pg_policy p WHERE "
                 "p.polrelid = c.oid AND p.polcmd = '*' AND pg_get_expr(p.polqual, p.polrelid) = '(tenant_id = "
                 "core.tenant_id())')");
}

START_TEST(the_database_shows_nothing_without_a_tenant)
{
    ck_assert_str_eq(views_past_row_security(), "");
    h_sql("CREATE VIEW usage.leak AS SELECT * FROM usage.events");
    ck_assert_str_eq(views_past_row_security(), "usage.leak");
    h_sql("ALTER VIEW usage.leak SET (security_invoker = true)");
    ck_assert_str_eq(views_past_row_security(), "");
    h_sql("DROP VIEW usage.leak");
    ck_assert_str_eq(tables_without_a_tenants_policy(), "");
    ck_assert_str_eq(
        h_sql("SELECT string_agg(c.oid::regclass::text, ' ') FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid "
              "AND a.attname = 'tenant_id' WHERE c.relkind IN ('r', 'p') AND NOT (c.relrowsecurity AND "
              "c.relforcerowsecurity)"),
        "");
    ck_assert_str_eq(
        h_sql("SELECT count(*) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE p.prosecdef AND "
              "n.nspname IN ('core', 'identity', 'usage', 'events', 'audit')"),
        "0");
    ck_assert_str_eq(
        h_sql("SELECT string_agg(r.rolname, ' ') FROM pg_roles r WHERE r.rolname IN ('meterplex', 'meterplex_app', "
              "'meterplex_owner') AND (r.rolsuper OR r.rolbypassrls)"),
        "");
    ck_assert_str_eq(
        h_sql("SELECT count(*) FROM information_schema.role_table_grants WHERE grantee LIKE 'meterplex_app' AND "
              "privilege_type IN ('TRUNCATE', 'REFERENCES', 'TRIGGER')"),
        "0");
    ck_assert_str_eq(h_sql("SELECT string_agg(i.indexrelid::regclass::text, ' ') FROM pg_index i JOIN pg_attribute t ON "
                           "t.attrelid = i.indrelid AND t.attname = 'tenant_id' WHERE i.indisunique AND NOT t.attnum = "
                           "ANY (i.indkey::int2[])"),
                     "");
}
END_TEST

START_TEST(one_of_many_with_one_key_wins)
{
    const char *slug = unique("race"), *key = h_format("Idempotency-Key: %s", slug);
    const char *body = h_format("{\"name\":\"R\",\"slug\":\"%s\"}", slug);
    int created = 0, status;

    h_admin_key();
    for (int i = 0; i < 8; i++) {
        pid_t pid = fork();
        ck_assert_int_ge(pid, 0);
        if (pid == 0) {
            int answer = send_full("POST", "/v1/tenants", h_admin_key(), key, NULL, body, 0)->status;
            /* executed or replayed: 201; still running: 409; nothing else */
            _exit(answer == 201 ? 1 : answer == 409 ? 2
                                                    : 3);
        }
    }
    for (int i = 0; i < 8; i++) {
        ck_assert_int_gt(wait(&status), 0);
        ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) != 3, "one was answered neither 201 nor 409");
        created += WEXITSTATUS(status) == 1;
    }
    ck_assert_int_ge(created, 1);
    ck_assert_str_eq(h_sql("SELECT count(*) FROM identity.tenants WHERE slug = '%s'", slug), "1");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("contract");
    TCase *tcase = tcase_create("contract");

    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, all_bad_fields_are_named_at_once);
    tcase_add_test(tcase, all_bad_members_are_named_at_once);
    tcase_add_test(tcase, bad_json_is_refused);
    tcase_add_test(tcase, json_over_http_is_read_strictly);
    tcase_add_test(tcase, over_long_fields_are_named);
    tcase_add_test(tcase, lengths_are_of_characters);
    tcase_add_test(tcase, numbers_in_metadata_have_the_range_of_numeric);
    tcase_add_test(tcase, slow_clients_are_let_go);
    tcase_add_test(tcase, http2_is_answered_alike);
    tcase_add_test(tcase, media_types_and_sizes_are_checked);
    tcase_add_test(tcase, methods_are_answered);
    tcase_add_test(tcase, request_ids_are_taken_or_made);
    tcase_add_test(tcase, query_strings_are_checked);
    tcase_add_test(tcase, pages_are_stable_and_cursors_cannot_be_altered);
    tcase_add_test(tcase, an_idempotency_key_is_executed_once);
    tcase_add_test(tcase, a_replayed_secret_is_sealed_at_rest);
    tcase_add_test(tcase, foreign_resources_are_not_there);
    tcase_add_test(tcase, the_database_shows_nothing_without_a_tenant);
    tcase_add_test(tcase, one_of_many_with_one_key_wins);
    tcase_add_test(tcase, a_lack_of_rights_is_not_remembered);
    tcase_add_test(tcase, a_failure_of_ours_is_not_remembered);
    suite_add_tcase(suite, tcase);
    return h_run(suite, up);
}
