/* The conventions that hold on every route: bodies, methods, ids, cursors, entity tags, Idempotency-Key. */
#include "harness.h"

#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void up(void)
{
    h_up("MeterplexProblem On\n");
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
    h_request_t request = { .method = method, .path = path, .key = key, .headers = header ? headers : NULL, .body = body,
                            .body_len = len, .type = type };
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

START_TEST(bad_json_is_refused)
{
    static const char *const bodies[] = {
        "{", "{\"name\":\"a\",\"name\":\"b\",\"slug\":\"s\"}", "{\"name\":\"\\ud800\",\"slug\":\"s\"}",
        "{\"name\":\"\\u0000\",\"slug\":\"s\"}", "{\"name\":\"\xff\",\"slug\":\"s\"}", "{\"name\":01,\"slug\":\"s\"}",
        "\xef\xbb\xbf{}", "{} {}", "{\"name\":\"a\nb\"}", "nul", "'a'", "{\"a\":1,}",
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

START_TEST(media_types_and_sizes_are_checked)
{
    size_t size = 1024 * 1024 + 1;
    char *big = malloc(size + 1);

    h_expect_problem(send_full("POST", "/v1/tenants", h_admin_key(), NULL, "text/plain", "{}", 0), 415, "unsupported_media_type");
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
    ck_assert_ptr_nonnull(strstr(h_header(r, "allow"), "GET"));
    r = h_call("HEAD", "/v1/tenants", h_admin_key(), NULL);
    h_expect(r, 200);
    ck_assert_int_eq((int)r->body_len, 0);
    ck_assert_int_gt(atoi(h_header(r, "content-length")), 2);
    h_expect_problem(h_get("/v1/nothing", NULL), 404, "not_found");
    h_expect_problem(h_get("/v1/tenants/", h_admin_key()), 404, "not_found");
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
    h_expect_problem(h_get("/v1/tenants?limit=0", h_admin_key()), 400, "bad_request");
    h_expect_problem(h_get("/v1/tenants?limit=201", h_admin_key()), 400, "bad_request");
    h_expect_problem(h_get("/v1/tenants?limit=1&limit=2", h_admin_key()), 400, "bad_request");
    h_expect_problem(h_get("/v1/tenants?x=%zz", h_admin_key()), 400, "bad_request");
    h_expect_problem(h_get("/v1/tenants?x=%00", h_admin_key()), 400, "bad_request");
    h_expect_problem(h_get("/v1/tenants?colour=red", h_admin_key()), 400, "bad_request");
    h_expect_problem(h_get("/v1/tenants?cursor=AAAA", h_admin_key()), 400, "bad_cursor");
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
    const char *body = h_format("{\"name\":\"A\",\"slug\":\"%s\"}", slug), *id;
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
    h_expect_problem(send_full("POST", "/v1/tenants", h_admin_key(), "Idempotency-Key: a b", NULL, body, 0), 400, "bad_request");

    /* a refusal is remembered, too: the same key still says what it said */
    header = h_format("Idempotency-Key: %s", unique("refused"));
    h_expect_problem(send_full("POST", "/v1/tenants", h_admin_key(), header, NULL, body, 0), 409, "conflict");
    r = send_full("POST", "/v1/tenants", h_admin_key(), header, NULL, body, 0);
    h_expect(r, 409);
    h_expect_header(r, "idempotent-replayed", "true");
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
    ck_assert_str_eq(h_sql("SELECT count(*) FROM core.idempotency_keys WHERE position('%s'::bytea IN answer) > 0", secret), "0");
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
    h_expect_problem(send_full("GET", "/v1/meters", key, h_format("Meterplex-Tenant: %s", b), NULL, NULL, 0), 404, "not_found");
    h_expect(h_get(h_format("/v1/tenants/%s/api-keys/%s", b, id), h_admin_key()), 200);
}
END_TEST

START_TEST(the_database_shows_nothing_without_a_tenant)
{
    ck_assert_str_eq(h_sql("SELECT string_agg(c.oid::regclass::text, ' ') FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid "
                           "AND a.attname = 'tenant_id' WHERE c.relkind IN ('r', 'p') AND NOT (c.relrowsecurity AND "
                           "c.relforcerowsecurity)"), "");
    ck_assert_str_eq(h_sql("SELECT count(*) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE p.prosecdef AND "
                           "n.nspname IN ('core', 'identity', 'usage', 'events', 'audit')"), "0");
    ck_assert_str_eq(h_sql("SELECT string_agg(r.rolname, ' ') FROM pg_roles r WHERE r.rolname IN ('meterplex', 'meterplex_app', "
                           "'meterplex_owner') AND (r.rolsuper OR r.rolbypassrls)"), "");
    ck_assert_str_eq(h_sql("SELECT count(*) FROM information_schema.role_table_grants WHERE grantee LIKE 'meterplex_app' AND "
                           "privilege_type IN ('TRUNCATE', 'REFERENCES', 'TRIGGER')"), "0");
    ck_assert_str_eq(h_sql("SELECT string_agg(i.indexrelid::regclass::text, ' ') FROM pg_index i JOIN pg_attribute t ON "
                           "t.attrelid = i.indrelid AND t.attname = 'tenant_id' WHERE i.indisunique AND NOT t.attnum = "
                           "ANY (i.indkey::int2[])"), "");
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
            _exit(answer == 201 ? 1 : answer == 409 ? 2 : 3);
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
    tcase_add_test(tcase, bad_json_is_refused);
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
    suite_add_tcase(suite, tcase);
    return h_run(suite, up);
}
