/* Tenants over the API: what may be done with them, by whom, and what each wrong request is told. */
#include "harness.h"

#include <string.h>
#include <unistd.h>

static void up(void)
{
    h_up(NULL);
}

static const char *path_of(const char *tenant)
{
    return h_format("/v1/tenants/%s", tenant);
}

/* A name that no other case of this program uses: each case is a process of its own. */
static const char *slug(const char *what)
{
    return h_format("%s-%d", what, (int)getpid());
}

static const h_response_t *send_with(const char *method, const char *path, const char *key, const char *header,
                                     const char *json)
{
    const char *headers[] = { header, NULL };
    h_request_t request = { .method = method, .path = path, .key = key, .headers = headers, .body = json };

    return h_send(&request);
}

START_TEST(a_tenant_is_made_shown_changed_and_deleted)
{
    const char *name = slug("life"), *id, *path, *etag;
    const h_response_t *r =
        h_post("/v1/tenants", h_admin_key(),
               h_format("{\"name\":\"Älpha GmbH\",\"slug\":\"%s\",\"metadata\":{\"plan\":\"x\"}}", name));

    h_expect(r, 201);
    h_expect_json(r, "/name", "Älpha GmbH");
    h_expect_json(r, "/slug", name);
    h_expect_json(r, "/status", "active");
    h_expect_json(r, "/metadata/plan", "x");
    id = h_json_text(r, "/id");
    ck_assert_int_eq(strncmp(id, "ten_", 4), 0);
    path = path_of(id);
    h_expect_header(r, "location", path);
    etag = h_header(r, "etag");
    ck_assert_ptr_nonnull(etag);

    r = h_get(path, h_admin_key());
    h_expect(r, 200);
    h_expect_header(r, "etag", etag);
    h_expect_header(r, "cache-control", "no-store");
    h_expect(send_with("GET", path, h_admin_key(), h_format("If-None-Match: %s", etag), NULL), 304);

    r = send_with("PATCH", path, h_admin_key(), h_format("If-Match: %s", etag), "{\"name\":\"Beta\",\"metadata\":{}}");
    h_expect(r, 200);
    h_expect_json(r, "/name", "Beta");
    h_expect_json(r, "/slug", name);
    h_expect_json(r, "/metadata", "{}");
    ck_assert_str_ne(h_header(r, "etag"), etag);
    h_expect_problem(send_with("PATCH", path, h_admin_key(), h_format("If-Match: %s", etag), "{\"name\":\"C\"}"), 412,
                     "precondition_failed");
    h_expect_problem(send_with("DELETE", path, h_admin_key(), h_format("If-Match: %s", etag), NULL), 412,
                     "precondition_failed");
    h_expect(h_call("DELETE", path, h_admin_key(), NULL), 204);
    h_expect_problem(h_call("DELETE", path, h_admin_key(), NULL), 404, "not_found");
    h_expect_problem(h_get(path, h_admin_key()), 404, "not_found");
}
END_TEST

START_TEST(every_change_leaves_an_event_and_an_audit_row)
{
    const char *id = h_tenant(slug("trail"));

    h_expect(h_call("PATCH", path_of(id), h_admin_key(), "{\"name\":\"New\"}"), 200);
    h_expect(h_call("DELETE", path_of(id), h_admin_key(), NULL), 204);
    ck_assert_str_eq(h_sql("SELECT string_agg(type, ' ' ORDER BY position) FROM events.outbox WHERE subject = '%s'", id),
                     "tenant.created tenant.updated tenant.deleted");
    ck_assert_str_eq(h_sql("SELECT string_agg(action || ':' || as_platform, ' ' ORDER BY id) FROM audit.entries "
                           "WHERE target = '%s'",
                           id),
                     "tenant.create:true tenant.update:true tenant.delete:true");
    ck_assert_str_eq(
        h_sql("SELECT payload->>'name' FROM events.outbox WHERE subject = '%s' AND type = 'tenant.updated'", id), "New");
}
END_TEST

/* The platform's administrator in a tenant that is another's: to send and to look leave a row as well. */
START_TEST(what_the_platform_does_in_a_tenant_is_in_its_audit_trail)
{
    const char *id = h_tenant(slug("visited")), *headers[] = { h_format("Meterplex-Tenant: %s", id), NULL };
    const char *event = "{\"id\":\"1\",\"source\":\"s\",\"type\":\"t\"}";
    h_request_t post = { .path = "/v1/usage/events", .key = h_admin_key(), .headers = headers, .body = event },
                get = { .path = "/v1/usage/events?subject=secret", .key = h_admin_key(), .headers = headers };
    const char *own = h_key(id, "usage:read", NULL, NULL);
    const char *trail = "SELECT string_agg(action || ':' || as_platform || ':' || coalesce(details->>'path', "
                        "details->>'accepted', ''), ' ' ORDER BY id) FROM audit.entries WHERE action IN ('tenant.read', "
                        "'usage_events.ingest') AND tenant_id = (SELECT tenant_id FROM audit.entries WHERE target = '%s' "
                        "LIMIT 1)";

    h_expect(h_send(&post), 200);
    h_expect(h_send(&get), 200);
    h_expect(h_get(h_format("/v1/tenants/%s/api-keys", id), h_admin_key()), 200);
    h_expect(h_get("/v1/usage/events", own), 200); /* in one's own tenant one just works */
    ck_assert_str_eq(h_sql(trail, id), h_format("usage_events.ingest:true:1 tenant.read:true:/v1/usage/events "
                                                "tenant.read:true:/v1/tenants/%s/api-keys",
                                                id));
}
END_TEST

START_TEST(all_bad_fields_are_named_at_once)
{
    const h_response_t *r =
        h_post("/v1/tenants", h_admin_key(), "{\"name\":\"\",\"slug\":\"No Slug\",\"metadata\":[],\"color\":1}");

    h_expect_problem(r, 422, "validation_failed");
    ck_assert_uint_eq(json_array_size(h_json_at(h_json(r), "/errors")), 4);
    ck_assert_ptr_nonnull(strstr(r->body, "\"pointer\":\"/color\",\"code\":\"unknown_field\""));
    ck_assert_ptr_nonnull(strstr(r->body, "\"pointer\":\"/slug\""));
    r = h_post("/v1/tenants", h_admin_key(), "{}");
    h_expect_problem(r, 422, "validation_failed");
    ck_assert_uint_eq(json_array_size(h_json_at(h_json(r), "/errors")), 2);
    h_expect_problem(h_post("/v1/tenants", h_admin_key(), "{\"name\":\"a\",\"name\":\"b\",\"slug\":\"c\"}"), 400,
                     "bad_json");
}
END_TEST

START_TEST(a_slug_belongs_to_one_tenant)
{
    const char *name = slug("twice"), *first = h_tenant(name), *other = h_tenant(slug("other"));
    const h_response_t *r = h_post("/v1/tenants", h_admin_key(), h_format("{\"name\":\"x\",\"slug\":\"%s\"}", name));

    h_expect_problem(r, 409, "conflict");
    h_expect_json(r, "/errors/0/pointer", "/slug");
    r = h_call("PATCH", path_of(other), h_admin_key(), h_format("{\"slug\":\"%s\"}", name));
    h_expect_problem(r, 409, "conflict");
    /* also of one that is deleted: its links must not come to mean another */
    h_expect(h_call("DELETE", path_of(first), h_admin_key(), NULL), 204);
    h_expect_problem(h_post("/v1/tenants", h_admin_key(), h_format("{\"name\":\"x\",\"slug\":\"%s\"}", name)), 409,
                     "conflict");
}
END_TEST

START_TEST(a_tenant_sees_itself_only)
{
    const char *mine = h_tenant(slug("mine")), *theirs = h_tenant(slug("theirs"));
    const char *key = h_key(mine, "tenant:read tenant:write tenant:delete", NULL, NULL);
    const h_response_t *r = h_get("/v1/tenants", key);

    h_expect(r, 200);
    ck_assert_uint_eq(json_array_size(h_json_at(h_json(r), "/data")), 1);
    h_expect_json(r, "/data/0/id", mine);
    h_expect(h_get(path_of(mine), key), 200);
    h_expect_problem(h_get(path_of(theirs), key), 404, "not_found");
    h_expect_problem(h_call("PATCH", path_of(theirs), key, "{\"name\":\"x\"}"), 404, "not_found");
    h_expect_problem(h_call("DELETE", path_of(theirs), key, NULL), 404, "not_found");
    h_expect_problem(h_post("/v1/tenants", key, "{\"name\":\"x\",\"slug\":\"y\"}"), 403, "forbidden");
    h_expect_problem(h_call("PATCH", path_of(mine), key, "{\"status\":\"suspended\"}"), 403, "forbidden");
    h_expect_problem(h_get("/v1/tenants/ten_nothing", key), 404, "not_found");
    h_expect_problem(h_get(path_of(mine), h_key(mine, "usage:read", NULL, NULL)), 403, "insufficient_scope");
    h_expect(h_get(path_of(theirs), h_admin_key()), 200);
}
END_TEST

START_TEST(lists_go_on_where_they_ended)
{
    const char *made[5], *cursor = NULL;
    int seen = 0, found = 0;

    for (int i = 0; i < 5; i++) {
        made[i] = h_tenant(h_format("%s-%d", slug("page"), i));
    }
    do {
        const h_response_t *r = h_get(cursor ? h_format("/v1/tenants?limit=2&cursor=%s", cursor) : "/v1/tenants?limit=2",
                                      h_admin_key());
        json_t *data;

        h_expect(r, 200);
        data = h_json_at(h_json(r), "/data");
        ck_assert_uint_le(json_array_size(data), 2);
        for (size_t i = 0; i < json_array_size(data); i++, seen++) {
            for (int k = 0; k < 5; k++) {
                found += strcmp(json_string_value(json_object_get(json_array_get(data, i), "id")), made[k]) == 0;
            }
        }
        cursor = h_json_text(r, "/next_cursor");
    } while (cursor && strcmp(cursor, "null") != 0 && seen < 500);
    ck_assert_int_eq(found, 5);
    h_expect_problem(h_get("/v1/tenants?cursor=AAAA", h_admin_key()), 400, "bad_cursor");
    h_expect_problem(h_get("/v1/tenants?limit=201", h_admin_key()), 400, "bad_request");
    h_expect_problem(h_get("/v1/tenants?page=2", h_admin_key()), 400, "bad_request");
}
END_TEST

START_TEST(keys_of_a_suspended_tenant_rest_and_of_a_deleted_one_are_dead)
{
    const char *id = h_tenant(slug("rest")), *key = h_key(id, "tenant:read", NULL, NULL);

    h_expect(h_get(path_of(id), key), 200);
    h_expect(h_call("PATCH", path_of(id), h_admin_key(), "{\"status\":\"suspended\"}"), 200);
    h_expect_problem(h_get(path_of(id), key), 403, "tenant_suspended");
    h_expect(h_get(path_of(id), h_admin_key()), 200);
    h_expect(h_call("PATCH", path_of(id), h_admin_key(), "{\"status\":\"active\"}"), 200);
    h_expect(h_get(path_of(id), key), 200);
    h_expect(h_call("DELETE", path_of(id), h_admin_key(), NULL), 204);
    h_expect(h_get(path_of(id), key), 401);
}
END_TEST

START_TEST(the_platform_stays)
{
    const char *id = h_sql("SELECT id FROM identity.tenants WHERE platform"), *path = NULL;
    json_t *data = h_json_at(h_json(h_get("/v1/tenants?limit=200", h_admin_key())), "/data");

    ck_assert_str_ne(id, "");
    for (size_t i = 0; i < json_array_size(data); i++) {
        json_t *tenant = json_array_get(data, i);
        if (strcmp(json_string_value(json_object_get(tenant, "slug")), "platform") == 0) {
            path = path_of(json_string_value(json_object_get(tenant, "id")));
        }
    }
    ck_assert_ptr_nonnull(path);
    ck_assert_int_ge(h_call("DELETE", path, h_admin_key(), NULL)->status, 409);
    h_expect(h_call("PATCH", path, h_admin_key(), "{\"status\":\"suspended\"}"), 422);
    h_expect(h_get(path, h_admin_key()), 200);
}
END_TEST

START_TEST(a_repeated_post_makes_one_tenant)
{
    const char *body = h_format("{\"name\":\"Once\",\"slug\":\"%s\"}", slug("once"));
    const char *header = h_format("Idempotency-Key: %s", slug("idem"));
    const h_response_t *first = send_with("POST", "/v1/tenants", h_admin_key(), header, body);
    const h_response_t *again = send_with("POST", "/v1/tenants", h_admin_key(), header, body);

    h_expect(first, 201);
    h_expect(again, 201);
    h_expect_header(again, "idempotent-replayed", "true");
    ck_assert_str_eq(again->body, first->body);
    ck_assert_str_eq(h_header(again, "location"), h_header(first, "location"));
    h_expect_problem(send_with("POST", "/v1/tenants", h_admin_key(), header, "{\"name\":\"Other\",\"slug\":\"zz\"}"), 422,
                     "idempotency_mismatch");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tenants");
    TCase *tcase = tcase_create("tenants");

    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, a_tenant_is_made_shown_changed_and_deleted);
    tcase_add_test(tcase, every_change_leaves_an_event_and_an_audit_row);
    tcase_add_test(tcase, what_the_platform_does_in_a_tenant_is_in_its_audit_trail);
    tcase_add_test(tcase, all_bad_fields_are_named_at_once);
    tcase_add_test(tcase, a_slug_belongs_to_one_tenant);
    tcase_add_test(tcase, a_tenant_sees_itself_only);
    tcase_add_test(tcase, lists_go_on_where_they_ended);
    tcase_add_test(tcase, keys_of_a_suspended_tenant_rest_and_of_a_deleted_one_are_dead);
    tcase_add_test(tcase, the_platform_stays);
    tcase_add_test(tcase, a_repeated_post_makes_one_tenant);
    suite_add_tcase(suite, tcase);
    return h_run(suite, up);
}
